package subject

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// A Spec is what to start.
type Spec struct {
	Program
	Subject experiment.Subject
	Variant experiment.Variant
	Dir     string // where the process's directory is made; "" is the system's place for temporary files
	// Group has the process in cgroups of its own even where its variant has no
	// limit. The scheduler shares the CPUs between groups before it does between
	// threads: if one arm of an experiment has a group, all must.
	Group Controllers
	// Crowded says that others will be put into its cgroup, which are to be killed in its
	// place when memory is short. With v2 the kernel kills all of a group otherwise.
	Crowded bool
}

// A Process is a subject that runs.
type Process struct {
	spec    Spec
	id      string // of this process, wherever it leaves traces
	dir     string
	expand  *strings.Replacer
	log     *ring
	group   *group
	left    *marker
	watch   *watcher
	cmd     *exec.Cmd
	out     *os.File // what it prints comes from here
	started time.Time
	took    time.Duration
	done    chan struct{}

	stop sync.Once
	end  experiment.End
}

// Start starts a program and returns when it is ready to be loaded. Of a start
// that fails nothing is left. Errors are [*StartError], [*NotReadyError],
// [*LimitError], or the context's, which is not asked any more once Start has
// returned.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	const tries = 3
	for try := 1; ; try++ {
		p, err := start(ctx, spec)
		if err == nil {
			return p, nil
		}
		if early := new(NotReadyError); try < tries && errors.As(err, &early) && early.portTaken() {
			continue // between the choice of the ports and the start
		}
		return nil, err
	}
}

// portTaken reports whether the process ended because it could not listen.
func (e *NotReadyError) portTaken() bool {
	return e.End.How == experiment.EndedCrashed && strings.Contains(e.Log, syscall.EADDRINUSE.Error())
}

func start(ctx context.Context, spec Spec) (_ *Process, err error) {
	fail := func(err error) error {
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("starting variant %s: %w", spec.Variant.Name, ctx.Err())
		}
		known := []any{new(*StartError), new(*NotReadyError), new(*LimitError)}
		for _, k := range known {
			if errors.As(err, k) {
				return err
			}
		}
		return &StartError{Variant: spec.Variant.Name, Err: err}
	}
	if runtime.GOOS != "linux" {
		return nil, fail(fmt.Errorf("programs are run on Linux only: %w", errors.ErrUnsupported))
	}
	if err := ctx.Err(); err != nil {
		return nil, fail(err)
	}
	if err := spec.unchanged(); err != nil {
		return nil, fail(err)
	}
	p := &Process{spec: spec, id: newID(), log: newRing(logBytes), done: make(chan struct{})}
	if err := p.prepare(); err != nil {
		p.clear()
		return nil, fail(err)
	}
	q, err := ready(spec.Subject.Ready, p.Expand)
	if err == nil {
		err = p.spawn()
	}
	if err != nil {
		p.clear()
		return nil, fail(err)
	}
	within := spec.Subject.Ready.Within
	if within <= 0 {
		within = readyWithin
	}
	waiting, cancel := context.WithDeadline(ctx, p.started.Add(within))
	defer cancel()
	ok, last := q.await(waiting, p.started, p.done)
	if ok {
		p.took = time.Since(p.started)
		return p, nil
	}
	gone, cancel := context.WithCancel(ctx)
	cancel() // it is not worth waiting for
	end := p.Stop(gone)
	return nil, fail(&NotReadyError{Variant: spec.Variant.Name, Within: within, Asked: q.text, Last: last, End: end, Log: p.Log()})
}

// unchanged refuses a program that is not the one that was built any more.
func (s Spec) unchanged() error {
	if s.stamp == (stamp{}) {
		return nil
	}
	info, err := os.Stat(s.Path)
	if err != nil {
		return err
	}
	if stampOf(info) != s.stamp {
		return &StartError{Variant: s.Variant.Name, Err: fmt.Errorf("%s has changed since the experiment began", s.Path),
			hint: "do not build over a program while it is compared; begin anew"}
	}
	return nil
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// dirPrefix begins the name of a process's directory, groupPrefix that of its cgroups.
const (
	dirPrefix   = "heapwright-subject-"
	groupPrefix = "heapwright-"
)

// prepare makes all that the process needs. What is made is written down first.
func (p *Process) prepare() error {
	parent := p.spec.Dir
	if parent == "" {
		parent = os.TempDir()
	}
	parent, err := filepath.Abs(parent)
	if err != nil {
		return err
	}
	dir := filepath.Join(parent, dirPrefix+p.id)
	group, err := planGroup(p.spec, groupPrefix+p.id)
	if err != nil {
		return err
	}
	if p.left, err = mark(p.id, dir, group.dirs()); err != nil {
		return err
	}
	p.dir, p.group = dir, group
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := group.create(); err != nil {
		return err
	}
	numbers, err := ports()
	if err != nil {
		return err
	}
	p.expand = placeholders(numbers, dir, p.spec.Variant.Name)
	if err := write(dir, p.spec.Subject.Files, p.Expand); err != nil {
		return fmt.Errorf("writing the plan's files: %w", err)
	}
	p.watch = startWatcher(p.id, dir, p.left.path, group.dirs())
	return nil
}

// spawn starts the program on a thread that stays until it ends.
func (p *Process) spawn() error {
	var args []string
	if c := p.spec.Subject.Command; len(c) > 1 {
		args = append(args, c[1:]...)
	}
	args = append(append(args, p.spec.Subject.Args...), p.spec.Variant.Args...)
	for i := range args {
		args[i] = p.Expand(args[i])
	}
	p.cmd = exec.Command(p.spec.Path, args...)
	p.cmd.Dir = p.dir
	p.cmd.Env = environment(os.LookupEnv, p.spec.Subject, p.spec.Variant, p.id, p.Expand)
	p.cmd.SysProcAttr = attributes()
	// A pipe of our own: Wait must not wait for what the program has forked.
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	p.out = r
	p.cmd.Stdout, p.cmd.Stderr = w, w

	started := make(chan error)
	go func() {
		// The kernel kills the process when the thread that started it ends, and a
		// thread can enter a cgroup of version 1 for what it starts.
		runtime.LockOSThread()
		err := p.group.enter(p.cmd.SysProcAttr)
		p.started = time.Now()
		if err == nil {
			err = p.cmd.Start()
		}
		if leave := p.group.leave(); leave == nil {
			defer runtime.UnlockOSThread()
		} else if err == nil {
			// A thread that cannot get back ends with this goroutine.
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
			err = leave
		}
		started <- err
		if err != nil {
			return
		}
		_ = p.cmd.Wait() // ProcessState says it all
		// While the number is certain to be its own, and nobody else's.
		_ = killGroup(p.cmd.Process.Pid)
		close(p.done)
	}()
	err = <-started
	w.Close()
	if err != nil {
		return err
	}
	p.watch.tell(p.cmd.Process.Pid)
	go io.Copy(p.log, r) // ends with the last that can print, or when Stop closes r
	return nil
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Expand replaces {port} to {port8}, {dir} and {variant} by this process's.
func (p *Process) Expand(s string) string { return p.expand.Replace(s) }

// StartSeconds is the time from the start to the first answer.
func (p *Process) StartSeconds() float64 { return p.took.Seconds() }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Log is the end of what the process has printed, 64 KiB at most.
func (p *Process) Log() string { return p.log.String() }

// Cgroup is the directory of the process's own cgroup, "" when it has none. With
// cgroup v1 it is the one for memory where there is one.
func (p *Process) Cgroup() string { return p.group.main() }

// Throttled is how long the process was stopped because its CPU quota was used up.
func (p *Process) Throttled() time.Duration { return p.group.throttled() }

// OOMKills is how many processes of its cgroup the kernel has killed for memory.
func (p *Process) OOMKills() uint64 { return p.group.oomKills() }

// Stop asks the process to end, kills it when it has not after the plan's time or
// when ctx ends, and returns when it, all that it has forked, its directory and
// its cgroup are gone. It says how the process ended, also if that was before.
// Further calls return the same.
func (p *Process) Stop(ctx context.Context) experiment.End {
	p.stop.Do(func() {
		p.end = p.finish(ctx)
		p.clear()
	})
	return p.end
}

func (p *Process) finish(ctx context.Context) experiment.End {
	end := experiment.End{How: experiment.EndedCrashed}
	select {
	case <-p.done:
	default:
		end = p.ask(ctx)
	}
	kills := p.group.oomKills()
	state := p.cmd.ProcessState
	switch {
	case kills > 0:
		end = experiment.End{How: experiment.EndedOOM, Text: fmt.Sprintf("the kernel killed %d of its processes for memory: %s", kills, state)}
	case end.How == experiment.EndedCrashed:
		end.Text = state.String()
		if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			end.Text += ", and not by us: by a person, or by the kernel because the machine had no memory left (dmesg says)"
		} else if why := cause(p.Log()); why != "" {
			end.Text += ": " + why
		}
	}
	return end
}

// ask sends the plan's signal, and SIGKILL when that is of no use.
func (p *Process) ask(ctx context.Context) experiment.End {
	name, sig := stopSignal(p.spec.Subject.Stop.Signal)
	within := p.spec.Subject.Stop.Within
	if within <= 0 {
		within = stopWithin
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	why := fmt.Sprintf("it had not ended %v after %s", within, name)
	if ctx.Err() == nil {
		_ = p.cmd.Process.Signal(sig) // fails when it has just ended
		select {
		case <-p.done:
			end := experiment.End{How: experiment.EndedAsked}
			status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
			if !p.cmd.ProcessState.Success() && !(ok && status.Signaled() && status.Signal() == sig) {
				end.Text = p.cmd.ProcessState.String()
			}
			return end
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		why = "there was no time to wait for its end"
	}
	_ = killGroup(p.cmd.Process.Pid)
	_ = p.cmd.Process.Kill() // it may have left its group
	<-p.done
	return experiment.End{How: experiment.EndedKilled, Text: why}
}

var signals = map[string]syscall.Signal{
	"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT, "SIGQUIT": syscall.SIGQUIT, "SIGHUP": syscall.SIGHUP,
	"SIGUSR1": syscall.SIGUSR1, "SIGUSR2": syscall.SIGUSR2, "SIGKILL": syscall.SIGKILL,
}

// stopSignal is the plan's signal, SIGTERM when it names none that can be.
func stopSignal(name string) (string, syscall.Signal) {
	if sig, ok := signals[name]; ok {
		return name, sig
	}
	return "SIGTERM", syscall.SIGTERM
}

// clear removes everything that prepare and spawn have made, and what the process
// has forked. It is called when the process has ended, or was never started.
func (p *Process) clear() {
	if p.left == nil {
		return // nothing was made
	}
	killMarked(map[string]bool{p.id: true})
	left := p.group.remove()
	if p.out != nil {
		p.out.Close()
	}
	if p.dir != "" {
		left = errors.Join(left, os.RemoveAll(p.dir))
	}
	if left == nil {
		p.left.remove() // otherwise Sweep tries again
	}
	p.watch.finish()
}
