package e2e

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestEmptyRoot builds heapwright as deploy/container/Containerfile does, and runs it
// where there is no other file: no libraries, no shell, no /proc.
func TestEmptyRoot(t *testing.T) {
	t.Parallel()
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			if arch != runtime.GOARCH {
				long(t) // all of it is compiled anew
			}
			root := t.TempDir()
			exe := filepath.Join(root, "heapwright")
			cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", exe, "./cmd/heapwright")
			cmd.Dir = ".."
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("go build: %v\n%s", err, out)
			}
			f, err := elf.Open(exe)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, p := range f.Progs {
				if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
					t.Errorf("it is not static: there is a %v", p.Type)
				}
			}
			if runtime.GOARCH != arch {
				t.Skipf("the rest needs a %s machine", arch)
			}
			if os.Getuid() != 0 {
				t.Skip("the rest needs root, to change the root directory")
			}
			for _, c := range []struct {
				args, want string
			}{
				{"version", "for linux/" + arch},
				{"serve --data /data --check-config", "is fine; data goes to /data"},
				{"serve --print-config", "schema: heapwright.serve/1"},
				{"explain HW1001", "HW1001"},
			} {
				cmd := exec.Command("/heapwright", strings.Fields(c.args)...)
				cmd.Dir, cmd.Env = "/", []string{}
				cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
				if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), c.want) {
					t.Errorf("heapwright %s: %v\n%s", c.args, err, out)
				}
			}
		})
	}
}
