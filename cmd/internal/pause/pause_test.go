//go:build linux

package pause

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// The test binary is its own target and its own tracer.
const role = "HEAPWRIGHT_PAUSE_TEST"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "target":
		target()
	case "stopper":
		pid, _ := strconv.Atoi(os.Args[1])
		p, err := procmem.Open(pid)
		if err == nil {
			_, err = Stop(context.Background(), p, Options{For: time.Hour})
		}
		fmt.Println("stopped", err)
		select {}
	}
	os.Exit(m.Run())
}

// target runs many threads that count, starts and ends others all the time, and
// answers each line with how far it has counted.
func target() {
	var count atomic.Uint64
	var locked sync.WaitGroup
	for range 24 {
		locked.Add(1)
		go func() {
			runtime.LockOSThread()
			locked.Done()
			for {
				count.Add(1)
				time.Sleep(100 * time.Microsecond)
			}
		}()
	}
	go func() {
		for {
			// A goroutine that ends locked ends its thread.
			done := make(chan struct{})
			go func() {
				runtime.LockOSThread()
				count.Add(1)
				close(done)
			}()
			<-done
			time.Sleep(200 * time.Microsecond)
		}
	}()
	locked.Wait()
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		fmt.Println(count.Load())
	}
	os.Exit(0)
}

type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  *os.File
	out *bufio.Reader
}

func start(t *testing.T, as string, args ...string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), role+"="+as)
	cmd.Stdin, cmd.Stderr = r, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	c := &child{t, cmd, w, bufio.NewReader(out)}
	t.Cleanup(func() {
		w.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return c
}

func (c *child) line() string {
	c.t.Helper()
	l, err := c.out.ReadString('\n')
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(l)
}

// ask returns how far the target has counted.
func (c *child) ask() int {
	c.t.Helper()
	fmt.Fprintln(c.in)
	n, err := strconv.Atoi(c.line())
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *child) open() *procmem.Process {
	c.t.Helper()
	p, err := procmem.Open(c.cmd.Process.Pid)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { p.Close() })
	return p
}

// states counts the states of a process's threads.
func (c *child) states() map[byte]int {
	out := map[byte]int{}
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", c.cmd.Process.Pid))
	for _, f := range stats {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		if i := strings.LastIndexByte(string(b), ')'); i > 0 && len(b) > i+2 {
			out[b[i+2]]++
		}
	}
	return out
}

func (c *child) eventuallyRuns() {
	c.t.Helper()
	// All of its threads are let go, the last of them by the kernel.
	for c.states()['t'] > 0 {
		time.Sleep(time.Millisecond)
	}
	before := c.ask()
	for c.ask() == before {
		time.Sleep(time.Millisecond)
	}
}

func TestStop(t *testing.T) {
	c := start(t, "target")
	c.line()
	p := c.open()
	for range 20 {
		s, err := Stop(context.Background(), p, Options{For: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Resume() })
		got := c.states()
		all := 0
		for _, n := range got {
			all += n
		}
		if got['t'] != all || all < 25 {
			t.Fatalf("threads by state while stopped: %v", got)
		}
		r := s.Resume()
		if r.Threads < 25 || r.Expired || r.Stopped < r.Stopping || r != s.Resume() {
			t.Errorf("report %+v", r)
		}
	}
	c.eventuallyRuns()
}

func TestDeadline(t *testing.T) {
	c := start(t, "target")
	c.line()
	s, err := Stop(context.Background(), c.open(), Options{For: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Resume() })
	<-s.Expired() // with nobody resuming it
	c.eventuallyRuns()
	if r := s.Resume(); !r.Expired || r.Stopped < 2*time.Second {
		t.Errorf("report %+v", r)
	}
}

func TestContext(t *testing.T) {
	c := start(t, "target")
	c.line()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := Stop(ctx, c.open(), Options{For: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-s.Expired()
	c.eventuallyRuns()
	if _, err := Stop(ctx, c.open(), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	c.eventuallyRuns()
}

func TestKilled(t *testing.T) {
	c := start(t, "target")
	c.line()
	k := start(t, "stopper", strconv.Itoa(c.cmd.Process.Pid))
	if got := k.line(); got != "stopped <nil>" {
		t.Fatal(got)
	}
	var traced *TracedError
	if _, err := Stop(context.Background(), c.open(), Options{}); !errors.As(err, &traced) || traced.PID != c.cmd.Process.Pid || traced.Hint() == "" {
		t.Errorf("stopping what is stopped: %v", err)
	}
	if got := c.states(); got['t'] < 25 {
		t.Errorf("threads by state while stopped: %v", got)
	}
	k.cmd.Process.Kill()
	c.eventuallyRuns()
}

func TestRefused(t *testing.T) {
	p, err := procmem.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var refused *Error
	if _, err := Stop(context.Background(), p, Options{}); !errors.As(err, &refused) {
		t.Errorf("stopping ourselves: %v", err)
	}
	c := start(t, "target")
	c.line()
	gone := c.open()
	c.cmd.Process.Kill()
	c.cmd.Wait()
	if _, err := Stop(context.Background(), gone, Options{}); !errors.Is(err, procmem.ErrExited) {
		t.Errorf("stopping what is gone: %v", err)
	}
}
