package pause

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// A Stopped is a process that stands still.
type Stopped struct {
	resume  chan struct{}
	once    sync.Once
	expired chan struct{}
	done    chan struct{}
	report  Report // when done is closed
}

// Stop stops all threads of a process, those included that it starts meanwhile. The
// process goes on with Resume, at the deadline, when the context ends, or when this
// process does. Errors: *TracedError, *Error with [ErrNotStopped] or the kernel's
// reason in it, those of package procmem, and the context's.
func Stop(ctx context.Context, p *procmem.Process, opt Options) (*Stopped, error) {
	pid := p.PID()
	if pid == os.Getpid() {
		return nil, &Error{PID: pid, Err: errors.New("that is this process")}
	}
	if opt.For <= 0 {
		opt.For = DefaultFor
	}
	if n := tracer(pid); n != 0 {
		return nil, &TracedError{PID: pid, Tracer: n}
	}
	s := &Stopped{resume: make(chan struct{}), expired: make(chan struct{}), done: make(chan struct{})}
	ready := make(chan error, 1)
	go ownThread(func() { s.hold(ctx, p, opt.For, ready) })
	if err := <-ready; err != nil {
		<-s.done
		return nil, err
	}
	return s, nil
}

// Resume lets the process go on, and returns when it does. It may be called again.
func (s *Stopped) Resume() Report {
	s.once.Do(func() { close(s.resume) })
	<-s.done
	return s.report
}

// Expired is closed when the process goes on though nobody has resumed it.
func (s *Stopped) Expired() <-chan struct{} { return s.expired }

// A thread is one that was told to stop.
type thread struct {
	tid     int
	stopped bool
	signal  int // that it was about to receive
}

// ownThread calls fn on a thread that ends when fn returns. The process's first
// thread does not end before the process, so that is never it.
func ownThread(fn func()) {
	runtime.LockOSThread() // never unlocked: this is what ends the thread
	if unix.Gettid() != os.Getpid() {
		fn()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		fn()
	}()
	<-done
	runtime.UnlockOSThread()
}

// hold stops the process and keeps it stopped. All of it is done by one thread of
// ours, which the kernel takes as the tracer.
func (s *Stopped) hold(ctx context.Context, p *procmem.Process, limit time.Duration, ready chan<- error) {
	defer close(s.done)
	begin := time.Now()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	threads, err := stopAll(ctx, p, begin.Add(limit))
	s.report.Threads = len(threads)
	s.report.Stopping = time.Since(begin)
	if err == nil {
		// What was stopped is the process only if it is still there.
		err = p.Alive()
	}
	if err != nil {
		release(threads)
		ready <- err
		return
	}
	ready <- nil
	select {
	case <-s.resume:
	case <-deadline.C:
		s.report.Expired = true
	case <-ctx.Done():
		s.report.Expired = true
	}
	release(threads)
	s.report.Stopped = time.Since(begin)
	if s.report.Expired {
		close(s.expired)
	}
}

// stopAll stops threads until the process has no other. Whatever it returns has to be
// released.
func stopAll(ctx context.Context, p *procmem.Process, deadline time.Time) ([]*thread, error) {
	pid := p.PID()
	known := map[int]*thread{}
	var threads []*thread
	for {
		if err := ctx.Err(); err != nil {
			return threads, err
		}
		tids, err := tasks(p)
		if err != nil {
			return threads, err
		}
		fresh := 0
		for _, tid := range tids {
			if known[tid] != nil {
				continue
			}
			switch err := unix.PtraceSeize(tid); {
			case err == unix.ESRCH:
				continue // it has ended meanwhile
			case err != nil && ended(p, tid):
				continue
			case err != nil:
				return threads, seizeError(pid, err)
			}
			t := &thread{tid: tid}
			known[tid] = t
			threads = append(threads, t)
			fresh++
			if err := unix.PtraceInterrupt(tid); err != nil && err != unix.ESRCH {
				return threads, seizeError(pid, err)
			}
		}
		if fresh == 0 {
			if len(threads) == 0 {
				return nil, &Error{PID: pid, Err: procmem.ErrExited}
			}
			// A thread that stands still starts no other.
			return threads, nil
		}
		if err := await(ctx, threads, deadline); err != nil {
			if errors.Is(err, ErrNotStopped) {
				err = &Error{PID: pid, Err: err, hint: "a thread hangs in the kernel (state D in ps); do without --pause"}
			}
			return threads, err
		}
	}
}

// await waits until every thread has stopped or ended.
func await(ctx context.Context, threads []*thread, deadline time.Time) error {
	pause := 20 * time.Microsecond
	for {
		waiting := false
		for _, t := range threads {
			if t.stopped {
				continue
			}
			var status unix.WaitStatus
			n, err := unix.Wait4(t.tid, &status, unix.WNOHANG|unix.WALL, nil)
			switch {
			case err == unix.EINTR || err == nil && n == 0:
				waiting = true
			case err != nil, status.Exited(), status.Signaled():
				t.stopped, t.tid = true, 0 // gone
			case status.Stopped():
				t.stopped = true
				// A thread that was about to receive a signal stops for that; the number
				// above it tells other stops.
				if int(status)>>16 == 0 {
					t.signal = int(status.StopSignal())
				}
			}
		}
		if !waiting {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return ErrNotStopped
		}
		time.Sleep(pause)
		pause = min(2*pause, 2*time.Millisecond)
	}
}

// release lets threads go on, with the signals that they were about to receive. Those
// that have not stopped cannot be let go by name; the end of this thread does it.
func release(threads []*thread) {
	for _, t := range threads {
		if t.tid != 0 && t.stopped {
			unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_DETACH, uintptr(t.tid), 0, uintptr(t.signal), 0, 0)
		}
	}
}

// tasks lists the threads of a process.
func tasks(p *procmem.Process) ([]int, error) {
	if err := p.Alive(); err != nil {
		return nil, err
	}
	d, err := os.Open("/proc/" + strconv.Itoa(p.PID()) + "/task")
	if err != nil {
		return nil, &Error{PID: p.PID(), Err: err}
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, &Error{PID: p.PID(), Err: err}
	}
	var tids []int
	for _, n := range names {
		if tid, err := strconv.Atoi(n); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids, nil
}

// ended says whether a thread is no more, or a zombie: a process whose first thread
// has ended keeps that as one.
func ended(p *procmem.Process, tid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID()) + "/task/" + strconv.Itoa(tid) + "/stat")
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	return rest == "" || rest[0] == 'Z' || rest[0] == 'X'
}

// tracer returns who traces a process, 0 when nobody does.
func tracer(pid int) int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "TracerPid:"); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(v))
			return n
		}
	}
	return 0
}

func seizeError(pid int, err error) error {
	// The tracer may be this thread already.
	if n := tracer(pid); n != 0 && n != unix.Gettid() {
		return &TracedError{PID: pid, Tracer: n}
	}
	e := &Error{PID: pid, Err: err}
	if errors.Is(err, unix.EPERM) {
		e.hint = "run as the process's own user, or with CAP_SYS_PTRACE (sudo); a container's seccomp profile may forbid ptrace"
	}
	return e
}
