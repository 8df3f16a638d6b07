package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A Process is a program of the demo that runs.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	out  tailBuffer
}

// start starts a program that does not outlive us, however we end.
func start(path string, args []string, dir string, env ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = attributes()
	started := make(chan error)
	go func() {
		// The kernel sends the signal when the thread that forked ends, not the
		// process: this one stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = p.cmd.Wait() // how it ends is told by whoever misses it
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", filepath.Base(path), err)
	}
	return p, nil
}

// PID returns the process's ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop ends the process and waits for it.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(3 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// waitFor polls until ready is true, or fails when the process ends.
func (p *Process) waitFor(ctx context.Context, what string, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for !ready() {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended at once: %s", what, p.out.last())
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to start: %w", what, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// StartNATS starts the server on a loopback port of its choice, with JetStream
// in memory, and returns its address.
func StartNATS(ctx context.Context, path, dir string) (*Process, string, error) {
	p, err := start(path, []string{"--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir", dir, "--jetstream", "--store_dir", filepath.Join(dir, "store")}, dir)
	if err != nil {
		return nil, "", err
	}
	var addr string
	file := filepath.Join(dir, fmt.Sprintf("nats-server_%d.ports", p.PID()))
	err = p.waitFor(ctx, "nats-server", func() bool {
		addr, err = readPorts(file)
		return err == nil
	})
	if err != nil {
		p.Stop()
		return nil, "", err
	}
	return p, addr, nil
}

// readPorts reads the file in which the server says where it listens.
func readPorts(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var ports struct {
		NATS []string `json:"nats"`
	}
	if err := json.Unmarshal(b, &ports); err != nil {
		return "", err
	}
	if len(ports.NATS) == 0 {
		return "", errors.New("the server listens nowhere")
	}
	u, err := url.Parse(ports.NATS[0])
	if err != nil {
		return "", err
	}
	return u.Host, nil
}

// LeakLimit is the GOMEMLIMIT of the example: services have one.
const LeakLimit = "384MiB"

// StartLeak starts the example that leaks.
func StartLeak(ctx context.Context, path, dir string) (*Process, error) {
	p, err := start(path, nil, dir, "GOMEMLIMIT="+LeakLimit)
	if err != nil {
		return nil, err
	}
	if err := p.waitFor(ctx, Example, func() bool { return p.out.last() != "" }); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// A tailBuffer keeps the end of what a program prints.
type tailBuffer struct {
	mu sync.Mutex
	b  []byte
}

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if n := len(t.b) - 4096; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

func (t *tailBuffer) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return lastLine(string(bytes.ToValidUTF8(t.b, []byte("?"))))
}
