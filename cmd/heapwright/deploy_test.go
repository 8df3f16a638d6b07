package main

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/config"
)

const deploy = "../../deploy"

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// checkConfig runs heapwright with the arguments of a deployment, to have them checked.
func checkConfig(t *testing.T, args ...string) {
	t.Helper()
	exe, err := exec.LookPath("heapwright") // testscript put it there
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, append(args, "--check-config")...)
	cmd.Env = append(cmd.Environ(), "STATE_DIRECTORY="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("heapwright %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestUnits has systemd read the units, and heapwright the arguments in them.
func TestUnits(t *testing.T) {
	const installed = "/usr/local/bin/heapwright"
	for _, unit := range []string{"systemd/heapwright.service", "systemd/user/heapwright.service"} {
		t.Run(unit, func(t *testing.T) {
			text := readFile(t, filepath.Join(deploy, unit))
			m := regexp.MustCompile(`(?m)^ExecStart=` + installed + ` (.*)$`).FindStringSubmatch(text)
			if m == nil {
				t.Fatal("it starts no heapwright")
			}
			args := slices.DeleteFunc(strings.Fields(m[1]), func(a string) bool { return strings.HasPrefix(a, "$") })
			checkConfig(t, args...)

			analyze, err := exec.LookPath("systemd-analyze")
			if err != nil {
				t.Skip("systemd-analyze is not installed")
			}
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "heapwright.service")
			if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, installed, exe)), 0o644); err != nil {
				t.Fatal(err)
			}
			verify := []string{"verify", "--man=no", "--recursive-errors=no"}
			if strings.Contains(unit, "/user/") {
				verify = append(verify, "--user")
			}
			cmd := exec.Command(analyze, append(verify, file)...)
			cmd.Env = append(cmd.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
			if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("systemd-analyze verify: %v\n%s", err, out)
			}
			if strings.Contains(unit, "/user/") {
				return
			}
			// systemd's own score of how much is taken away: 0 is everything, 10 nothing.
			if out, err := exec.Command(analyze, "security", "--offline=true", "--threshold=25", file).CombinedOutput(); err != nil {
				t.Errorf("systemd-analyze security: %v\n%s", err, out)
			}
		})
	}
}

// TestContainer holds the recipe's words against what heapwright does with them.
func TestContainer(t *testing.T) {
	text := readFile(t, filepath.Join(deploy, "container", "Containerfile"))
	word := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + name + ` (.*)$`).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("it has no %s", name)
		}
		return m[1]
	}
	var entry, args []string
	if err := json.Unmarshal([]byte(word("ENTRYPOINT")), &entry); err != nil || !slices.Equal(entry, []string{"/heapwright"}) {
		t.Errorf("ENTRYPOINT %v, %v", entry, err)
	}
	if err := json.Unmarshal([]byte(word("CMD")), &args); err != nil {
		t.Fatal(err)
	}
	checkConfig(t, args...)
	if _, port, err := net.SplitHostPort(config.DefaultListen); err != nil || word("EXPOSE") != port {
		t.Errorf("EXPOSE %s, and heapwright listens on %s", word("EXPOSE"), config.DefaultListen)
	}
	if data := word("VOLUME"); !slices.Contains(args, data) {
		t.Errorf("VOLUME %s is not where data go: %v", data, args)
	}
}
