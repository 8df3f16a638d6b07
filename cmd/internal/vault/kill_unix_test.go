//go:build unix

package vault

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// makePipe makes a named pipe: opening it would wait for somebody to write.
func makePipe(name string) bool { return syscall.Mkfifo(name, 0o600) == nil }

// childDir tells a child of TestKill where its vault is.
const childDir = "HEAPWRIGHT_TEST_VAULT_DIR"

// TestKill kills a writer again and again. Each snapshot that it said it had is there
// afterwards, whole.
func TestKill(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		writeForever(dir)
		return
	}
	dir := t.TempDir()
	said := map[string]bool{}
	for round := range 12 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if key, ok := strings.CutPrefix(lines.Text(), "has "); ok {
				said[key] = true
			}
			if n == 3+round { // in the middle of the next one
				cmd.Process.Kill()
			}
		}
		cmd.Wait() // it was killed
		v := open(t, Options{Dir: dir})
		if s := v.Stats(); s.Ignored != 0 {
			t.Errorf("round %d: %d files are no snapshots", round, s.Ignored)
		}
		for key := range said {
			rec, err := v.Get("x", key)
			if err != nil || rec.Truncated != "" {
				t.Fatalf("round %d: %s was acknowledged: %v", round, key, err)
			}
		}
		v.Close()
	}
	if len(said) < 12*3 {
		t.Errorf("only %d were acknowledged", len(said))
	}
}

func writeForever(dir string) {
	v, err := Open(Options{Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 10_000 {
		e, err := v.Put("x", "test", snapshot(time.Now(), 300))
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("has", e.Key)
	}
}

// TestDiskFull fills a small file system: what is there stays whole, and it goes on
// when there is room again.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := mountSmall(dir); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { unmount(dir) })
	v := open(t, Options{Dir: dir + "/snapshots"})
	var kept []string
	var full *FullError
	for range 1000 {
		e, err := v.Put("x", "test", snapshot(time.Now(), 1000))
		if errors.As(err, &full) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, e.Key)
	}
	if full == nil || full.Hint() == "" || len(kept) == 0 {
		t.Fatalf("%d were kept on a small disk, and then: %v", len(kept), full)
	}
	for _, key := range kept {
		if rec, err := v.Get("x", key); err != nil || rec.Truncated != "" {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := os.Remove(dir + "/snapshots/x/" + kept[0] + suffix); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Put("x", "test", snapshot(time.Now(), 500)); err != nil {
		t.Errorf("there is room again: %v", err)
	}
}
