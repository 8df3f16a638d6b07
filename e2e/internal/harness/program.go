package harness

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Program is a running program that Heapwright looks at.
type Program struct {
	PID int
	// Ready is what it printed after "ready".
	Ready string
	// Since is when it said that it was ready.
	Since time.Time

	cmd *exec.Cmd
	err bytes.Buffer
}

// A Start says how to start a program. Env is added to an environment without
// the Go runtime's settings.
type Start struct {
	Path   string
	Args   []string
	Env    []string
	Cgroup *Cgroup // nil: the test's own
	Attr   *syscall.SysProcAttr
	// Silent programs are not expected to print "ready".
	Silent bool
	// Wrapper is a command in front of the program that ends in exec-ing it.
	Wrapper []string
}

// CanRun says whether the kernel executes the program's format.
func (s Start) CanRun() error {
	cmd := exec.Command(s.Path)
	if err := cmd.Start(); err != nil {
		return err
	}
	cmd.Process.Kill()
	cmd.Wait()
	return nil
}

// Start starts a program, waits until it says that it is ready, and ends it with
// the test.
func (s Start) Start(t testing.TB) *Program {
	t.Helper()
	argv := append(append(s.Wrapper, s.Path), s.Args...)
	if s.Cgroup != nil {
		argv = s.Cgroup.wrap(argv)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(withoutGoSettings(os.Environ()), s.Env...)
	cmd.SysProcAttr = s.Attr
	dieWithTest(cmd)
	p := &Program{cmd: cmd}
	cmd.Stderr = &p.err
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", s.Path, err)
	}
	p.PID = cmd.Process.Pid
	ended := make(chan struct{})
	ready := make(chan string, 1)
	go func() {
		defer close(ended)
		for sc := bufio.NewScanner(stdout); sc.Scan(); {
			if rest, ok := strings.CutPrefix(sc.Text(), "ready"); ok {
				select {
				case ready <- strings.TrimSpace(rest):
				default: // said so before
				}
			}
		}
		cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
	})
	if !s.Silent {
		select {
		case p.Ready = <-ready:
		case <-ended:
			t.Fatalf("%s ended before it was ready:\n%s", s.Path, p.err.String())
		case <-time.After(60 * time.Second):
			t.Fatalf("%s did not get ready", s.Path)
		}
	}
	p.Since = time.Now()
	return p
}

// Kill ends the program at once and waits for it.
func (p *Program) Kill(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if syscall.Kill(p.PID, 0) == syscall.ESRCH {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d does not end", p.PID)
		}
	}
}

func withoutGoSettings(env []string) (out []string) {
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG", "GOTRACEBACK":
		default:
			out = append(out, kv)
		}
	}
	return out
}
