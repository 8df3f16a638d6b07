package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// subjectName is what the processes that are watched are called, so that the observers
// can tell them from what else runs on the machine.
const subjectName = "hwsubject"

// kinds are the work that the processes do in turn, and at which part of its full rate.
var kinds = []struct{ name, scale string }{
	{"json", "0.002"}, {"json", "0.002"}, {"json", "0.002"}, {"json", "0.02"}, {"kv", "0.002"},
	{"kv", "0.02"}, {"webcache", "0.002"}, {"tinyheap", "0.02"}, {"phases", "0.01"}, {"bytes", "0.005"},
}

// A fleet is processes to watch.
type fleet struct {
	bin  string
	cmds []*exec.Cmd
}

// newFleet builds the program, of the toolchain in use.
func newFleet(ctx context.Context, dir string) (*fleet, error) {
	f := &fleet{bin: filepath.Join(dir, subjectName)}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", f.bin, "github.com/heapwright/heapwright/e2e/workloads")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the workloads (run this inside the repository): %w\n%.2000s", err, text)
	}
	return f, nil
}

// grow starts processes until there are n, a few at a time: they fill their heaps first.
func (f *fleet) grow(ctx context.Context, n int) error {
	for len(f.cmds) < n {
		k := kinds[len(f.cmds)%len(kinds)]
		cmd := exec.Command(f.bin, "-run", k.name, "-scale", k.scale, "-seed", strconv.Itoa(len(f.cmds)+1), "-for", "24h")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("starting a process to watch: %w", err)
		}
		f.cmds = append(f.cmds, cmd)
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// cpu is the CPU time of all of them, in seconds.
func (f *fleet) cpu() (seconds float64, err error) {
	for _, cmd := range f.cmds {
		u, err := usageOf(cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		seconds += u.cpu()
	}
	return seconds, nil
}

func (f *fleet) stop() {
	for _, cmd := range f.cmds {
		cmd.Process.Kill()
	}
	for _, cmd := range f.cmds {
		cmd.Wait()
	}
}

// A program is a running part of an observer.
type program struct {
	name string
	cmd  *exec.Cmd
	log  string
}

// start runs a program in a directory, with an environment that does not change what is
// measured.
func start(dir, name, bin string, args ...string) (*program, error) {
	p := &program{name: name, cmd: exec.Command(bin, args...), log: filepath.Join(dir, name+".log")}
	f, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, f, f
	for _, kv := range os.Environ() {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG":
		default:
			p.cmd.Env = append(p.cmd.Env, kv)
		}
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return p, nil
}

// said is the end of what the program printed.
func (p *program) said() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

func (p *program) stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- p.cmd.Wait() }()
	select {
	case <-done:
		return nil
	case <-time.After(20 * time.Second):
		p.cmd.Process.Kill()
		<-done
		return fmt.Errorf("%s did not stop on SIGTERM", p.name)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// until asks again and again until something is so.
func until(ctx context.Context, what string, limit time.Duration, ok func() (bool, error)) error {
	end := time.Now().Add(limit)
	for {
		is, err := ok()
		if is {
			return nil
		}
		if time.Now().After(end) {
			return errors.Join(fmt.Errorf("%s: not within %v", what, limit), err)
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}
