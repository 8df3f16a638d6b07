package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
)

// TestWaitsAcrossTimeNamespaces: where the process's clock is not ours, a wait
// has no length rather than a wrong one.
func TestWaitsAcrossTimeNamespaces(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A clock that is behind, so that waits would look longer than they are.
	behind := strconv.FormatInt(-procmem.Nanotime()/2/int64(time.Second), 10)
	for _, c := range []struct {
		name    string
		command []string
		known   bool
	}{
		{"same", nil, true},
		{"another", []string{"unshare", "--time", "--monotonic", behind, "--"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.command != nil {
				if out, err := exec.Command(c.command[0], append(c.command[1:], "true")...).CombinedOutput(); err != nil {
					t.Skipf("no time namespace to be had: %v: %s", err, out)
				}
			}
			args := append(c.command, self, "-test.run=^TestWaitingHelper$")
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Env = append(os.Environ(), "HEAPWRIGHT_TEST_WAITING=1")
			cmd.Stderr = os.Stderr
			targettest.Ready(t, cmd)
			if c.command != nil {
				own, err1 := os.Readlink("/proc/self/ns/time")
				its, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/time", cmd.Process.Pid))
				if err := errors.Join(err1, err2); err != nil {
					t.Fatal(err)
				}
				if own == its {
					t.Skip("this kernel lets only children into a new time namespace, not the program itself")
				}
			}
			target, err := localHost{}.Attach(t.Context(), cmd.Process.Pid)
			if errors.Is(err, goproc.ErrAccess) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			gs, err := target.Goroutines()
			if err != nil {
				t.Fatal(err)
			}
			seen, longest := 0, time.Duration(0)
			for _, g := range gs.Groups {
				longest = max(longest, g.WaitMax)
				if g.WaitReason == "select (no cases)" {
					seen += g.Count
				}
			}
			if seen != 3 || (longest > 0) != c.known {
				t.Errorf("%d goroutines wait, want 3; the longest wait is %v, known is %v", seen, longest, c.known)
			}
		})
	}
}

// TestWaitingHelper is the program that the test above looks into: it has
// goroutines that have waited since a garbage collection.
func TestWaitingHelper(t *testing.T) {
	if os.Getenv("HEAPWRIGHT_TEST_WAITING") == "" {
		t.Skip("only as another test's child")
	}
	for range 3 {
		go func() { select {} }()
	}
	for range 3 { // the first of a process leaves no time behind
		time.Sleep(10 * time.Millisecond)
		runtime.GC()
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}
