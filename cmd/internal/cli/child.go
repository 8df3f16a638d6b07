package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// A child is a command that runs under record or diagnose: with our stdin and
// stderr, and signals passed on.
type child struct {
	cmd     *exec.Cmd
	done    chan struct{} // closed when it has ended
	code    ExitCode      // valid after done
	release func()
}

// startChild starts a command in an environment; nil is ours.
func startChild(env Env, argv []string, stdout, stderr io.Writer, environ []string) (*child, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = env.Stdin, stdout, stderr, environ
	if err := cmd.Start(); err != nil {
		var cause *os.PathError
		var lookup *exec.Error
		switch { // both repeat the name
		case errors.As(err, &lookup):
			err = lookup.Err
		case errors.As(err, &cause):
			err = cause.Err
		}
		return nil, fmt.Errorf("starting %s: %w", argv[0], err)
	}
	c := &child{cmd: cmd, done: make(chan struct{})}
	c.release = env.Signals.takeOver(c.passOn)
	go func() {
		defer close(c.done)
		c.code = exitStatus(cmd.Wait())
		c.release()
	}()
	return c, nil
}

// exitStatus is the status that a shell would report.
func exitStatus(err error) ExitCode {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return ExitOK
	case !errors.As(err, &exit):
		return ExitCouldNotRun
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return ExitCode(128 + int(ws.Signal()))
	}
	return ExitCode(exit.ExitCode())
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) name() string { return filepath.Base(c.cmd.Path) }

// passOn hands a signal to the command, unless the terminal has sent it to the
// command already: Ctrl-C and Ctrl-\ go to everybody in the foreground.
func (c *child) passOn(sig os.Signal) {
	if (sig == syscall.SIGINT || sig == syscall.SIGQUIT) && inForeground() {
		return
	}
	// It fails only when the command has ended.
	_ = c.cmd.Process.Signal(sig)
}

// inForeground reports whether our process group has the controlling terminal.
func inForeground() bool {
	// The process group and the terminal's foreground group are the third and the
	// sixth field after the command's name, which may hold anything (proc(5)).
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return false
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	return len(f) > 5 && bytes.Equal(f[2], f[5])
}

// running reports whether the command has not ended yet.
func (c *child) running() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// stop asks the command to end, and after grace does not ask any more.
func (c *child) stop(grace time.Duration) {
	if !c.running() {
		return
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(grace):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}

// attach waits for the command to be a Go program that can be read: it may be a
// script that execs one. It returns nil when the command ended before that, with
// the last reason why it could not be read.
func (c *child) attach(ctx context.Context, env Env) (Target, error) {
	const patience = 5 * time.Second
	wait, start, told := 5*time.Millisecond, time.Now(), false
	for {
		t, err := env.Host.Attach(ctx, c.pid())
		if err == nil {
			return t, nil
		}
		if !told && time.Since(start) > patience {
			told = true
			env.warnf("cannot read the command, still trying: %v", err)
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-c.done:
			return nil, err
		case <-time.After(wait):
		}
		wait = min(2*wait, time.Second)
	}
}
