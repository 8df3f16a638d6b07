package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/gctrace"
	"github.com/heapwright/heapwright/cmd/internal/process"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/record"
)

// A session is one run of record: a lane for every file.
type session struct {
	env    Env
	opt    recordOptions
	start  time.Time
	status *ExitCode // of the command that was recorded; nil without one

	mu       sync.Mutex
	tried    map[lifeKey]int // by --name
	lanes    []*lane
	progress *term.Progress
	shown    time.Time
	wg       sync.WaitGroup
}

// life records one process into a lane, to its end or that of the context.
func (s *session) life(ctx context.Context, l *lane, t Target) {
	defer t.Close()
	s.mu.Lock()
	l.process = t.Process()
	l.lives++
	s.mu.Unlock()
	opt := recorder.Options{Hz: rate(s.opt.hz, t), Snapshots: s.opt.snapshots, Observe: func(sample *record.Sample, sum recorder.Summary) {
		s.observe(l, sample, sum)
	}}
	if opt.Snapshots == 0 {
		opt.Snapshots = -1
	}
	sum, err := recorder.Record(ctx, t, t.Process(), l.w, opt)
	s.mu.Lock()
	defer s.mu.Unlock()
	l.now = sum
	l.before, l.now = l.total(), recorder.Summary{}
	l.now.Exited = sum.Exited
	if err != nil {
		l.err = err
	}
	l.busy = false
}

// observe takes a reading for the summary and moves the progress line.
func (s *session) observe(l *lane, sample *record.Sample, sum recorder.Summary) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.now = sum
	if sample != nil {
		l.last = readingOf(sample)
		l.hist.add(l.last)
	}
	s.show()
}

// show moves the progress line, at most five times a second. The lock is held.
func (s *session) show() {
	now := s.env.Now()
	if !s.progress.Active() || now.Sub(s.shown) < 200*time.Millisecond {
		return
	}
	s.shown = now
	s.progress.Show(s.line(now))
}

func (s *session) line(now time.Time) string {
	var b strings.Builder
	elapsed := now.Sub(s.start)
	if len(s.lanes) == 1 {
		fmt.Fprintf(&b, "recording %s  ", term.Cut(term.Clean(s.lanes[0].process.Name), 16))
	} else {
		fmt.Fprintf(&b, "recording %s  ", plural(len(s.lanes), "process"))
	}
	b.WriteString(span(elapsed))
	if s.opt.over > 0 {
		fmt.Fprintf(&b, " of %s %s", span(s.opt.over), term.Bar(elapsed.Seconds(), s.opt.over.Seconds(), 8))
	}
	samples, cycles := 0, 0
	for _, l := range s.lanes {
		t := l.total()
		samples += t.Samples
		cycles += t.Cycles
	}
	if len(s.lanes) == 1 {
		b.WriteString(s.lanes[0].last.text())
	} else {
		fmt.Fprintf(&b, "  %s", plural(samples, "sample"))
	}
	fmt.Fprintf(&b, "  %s", plural(cycles, "GC"))
	return b.String()
}

// targets records processes and endpoints that are there now.
func (s *session) targets(ctx context.Context, args []string) error {
	var failed error
	var open []Target
	for _, arg := range args {
		ref, err := parseTarget(ctx, s.env, arg, false)
		var t Target
		if err == nil {
			t, err = ref.watch(ctx, s.env)
		}
		if err != nil {
			if len(args) == 1 {
				return err
			}
			printError(s.env.Stderr, fmt.Errorf("%s: %w", arg, err))
			failed = fmt.Errorf("not all of the processes could be recorded")
			continue
		}
		open = append(open, t)
	}
	for _, t := range open {
		l, err := s.lane(t.Process(), len(args) > 1)
		if err != nil {
			for _, t := range open {
				t.Close()
			}
			return err
		}
		s.lanes = append(s.lanes, l)
	}
	for i, t := range open {
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			s.life(ctx, s.lanes[i], t)
		}()
	}
	s.wg.Wait()
	return failed
}

// follow records every process of a name, and those that come after it.
func (s *session) follow(ctx context.Context) error {
	single := s.opt.out != "" && !strings.HasSuffix(s.opt.out, string(os.PathSeparator))
	if st, err := os.Stat(s.opt.out); err == nil && st.IsDir() {
		single = false
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	defer s.wg.Wait()
	for {
		entries, err := s.env.Host.Processes(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		for _, e := range entries {
			if e.Process.Name != s.opt.name || e.Err != nil || e.Process.PID == os.Getpid() || !s.wants(e.Process) {
				continue
			}
			if err := s.join(ctx, e.Process, single); err != nil {
				return err
			}
		}
		s.mu.Lock()
		if len(s.lanes) == 0 {
			s.progress.Show("waiting for a process named " + term.Clean(s.opt.name))
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			s.wg.Wait()
			if len(s.lanes) == 0 {
				return hinted(fmt.Errorf("no process named %s came up", s.opt.name), "heapwright ps lists the Go processes here")
			}
			return nil
		case <-tick.C:
		}
	}
}

// A lifeKey tells one life of a process from others.
type lifeKey struct {
	pid   int
	start time.Time
}

func keyOf(p record.Process) lifeKey { return lifeKey{p.PID, p.StartTime} }

// attempts is how often a process is tried before it is given up: the first time
// it may still be starting.
const attempts = 3

// wants reports whether a process is to be recorded and is not.
func (s *session) wants(p record.Process) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tried[keyOf(p)] < attempts
}

// settle notes that a process is not to be tried any more, or that it is to be
// tried anew: it has ended, or runs another program under the same PID.
func (s *session) settle(p record.Process, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if again {
		delete(s.tried, keyOf(p))
		return
	}
	s.tried[keyOf(p)] = attempts
}

// join records a process into a lane that has nothing to do any more, or a new one.
func (s *session) join(ctx context.Context, p record.Process, single bool) error {
	t, err := s.env.Host.Attach(ctx, p.PID)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tried[keyOf(p)]++
		if s.tried[keyOf(p)] == attempts && !process.IsEnded(err) && ctx.Err() == nil {
			s.progress.Clear()
			printError(s.env.Stderr, fmt.Errorf("%s %d: %w", p.Name, p.PID, err))
		}
		return nil
	}
	s.settle(p, false)
	s.mu.Lock()
	defer s.mu.Unlock()
	var l *lane
	for _, have := range s.lanes {
		if !have.busy {
			l = have
			break
		}
	}
	if l == nil && single && len(s.lanes) > 0 {
		t.Close()
		s.progress.Clear()
		printError(s.env.Stderr, hinted(fmt.Errorf("not recording %s %d as well: -o names one file", p.Name, p.PID), "give -o a directory to record them all"))
		return nil
	}
	if l == nil {
		if l, err = s.lane(p, false); err != nil {
			t.Close()
			return err
		}
		s.lanes = append(s.lanes, l)
	}
	l.busy = true
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		s.life(ctx, l, t)
		s.settle(p, l.err == nil)
	}()
	return nil
}

// command runs a command and records it, over every program that it execs.
func (s *session) command(ctx context.Context, argv []string) error {
	stdout := s.env.Stdout
	if s.opt.json || s.opt.out == "-" {
		stdout = s.env.Stderr
	}
	// What the command prints and our progress do not mix.
	s.progress = &term.Progress{}
	byTrace, err := s.chooseSource(argv[0])
	if err != nil {
		return err
	}
	if byTrace {
		return s.traced(ctx, argv, stdout)
	}
	c, err := startChild(s.env, argv, stdout, s.env.Stderr, nil)
	if err != nil {
		return err
	}
	err = s.lives(ctx, c)
	<-c.done
	s.status = &c.code
	return err
}

// chooseSource decides whether a command is recorded by its trace, and says so
// where the user left it to us.
func (s *session) chooseSource(exe string) (byTrace bool, err error) {
	unreadable := s.env.Host.Readable(exe)
	switch {
	case s.opt.source == sourceGCTrace:
		return true, nil
	case unreadable == nil:
		return false, nil
	case s.opt.source == sourceRemote:
		return false, unreadable
	}
	s.env.warnf("the memory of %s cannot be read (%v): recording what GODEBUG=gctrace=1 makes it print", exe, unreadable)
	return true, nil
}

// traced records a command by the GC trace that it prints to its stderr, which
// is taken out of it.
func (s *session) traced(ctx context.Context, argv []string, stdout io.Writer) error {
	var t trace
	environ, asked := gctrace.Environ(os.Environ())
	stderr := gctrace.NewSplitter(s.env.Stderr, t.line)
	stderr.Forward = asked
	t.start(s.env.Now())
	c, err := startChild(s.env, argv, stdout, stderr, environ)
	if err != nil {
		return err
	}
	target := newTraceTarget(&t, c)
	l, err := s.lane(target.process, false)
	if err == nil {
		s.lanes = append(s.lanes, l)
		s.life(ctx, l, target)
	}
	<-c.done
	s.status = &c.code
	return errors.Join(err, stderr.Flush())
}

// lives records a command as long as it runs and can be read.
func (s *session) lives(ctx context.Context, c *child) error {
	for c.running() && ctx.Err() == nil {
		t, err := c.attach(ctx, s.env)
		if err != nil {
			if len(s.lanes) > 0 {
				return nil
			}
			return fmt.Errorf("nothing was recorded of the command: %w", err)
		}
		if len(s.lanes) == 0 {
			l, err := s.lane(t.Process(), false)
			if err != nil {
				t.Close()
				return err
			}
			s.lanes = append(s.lanes, l)
		}
		s.life(ctx, s.lanes[0], t)
		if s.lanes[0].err != nil {
			return nil
		}
	}
	return nil
}

// failure is the error of a recording in which something went wrong.
func (s *session) failure() error {
	for _, l := range s.lanes {
		if l.err != nil {
			return fmt.Errorf("recording %s: %w", l.process.Name, l.err)
		}
	}
	return nil
}
