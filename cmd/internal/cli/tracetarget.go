package cli

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/gctrace"
	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/process"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/record"
)

// A trace collects what a command prints under GODEBUG=gctrace=1.
type trace struct {
	mu     sync.Mutex
	parser *gctrace.Parser
	cycles []record.Cycle
	latest record.Sample // valid when fresh
	fresh  bool
	lost   uint64
}

// maxTraceCycles bounds the cycles kept for a recorder that does not take them.
const maxTraceCycles = 1 << 14

// line takes a line of the trace.
func (t *trace) line(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.parser == nil {
		return
	}
	var c gctrace.Cycle
	if !t.parser.Line(b, &c) {
		return
	}
	t.lost += c.Lost
	if len(t.cycles) == maxTraceCycles {
		t.lost++
		t.cycles = t.cycles[1:]
	}
	t.cycles = append(t.cycles, c.Cycle)
	t.latest, t.fresh = c.Sample, true
}

// start says when the command began: its trace counts from there.
func (t *trace) start(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.parser = gctrace.NewParser(at)
}

// A traceTarget is a command that is known by its trace, and by what the kernel
// knows of it where there is a kernel to ask.
type traceTarget struct {
	trace   *trace
	stat    *goproc.Stat // nil when the kernel tells nothing
	process record.Process
	done    <-chan struct{}
}

// newTraceTarget describes a command that was just started.
func newTraceTarget(t *trace, c *child) *traceTarget {
	target := &traceTarget{trace: t, done: c.done}
	// What is not known of the process is no reason not to record its trace.
	target.process, _ = goproc.Identify(c.pid())
	if target.process.PID == 0 {
		target.process.PID = c.pid()
	}
	if target.process.Name == "" {
		target.process.Name = c.name()
	}
	if stat, err := goproc.OpenStat(c.pid(), target.process); err == nil {
		target.stat = stat
	}
	return target
}

func (t *traceTarget) Process() record.Process { return t.process }

// Ready is nil: there is always the next line to wait for.
func (t *traceTarget) Ready() error { return nil }

func (t *traceTarget) Hz() float64 { return recorder.DefaultHz }

func (t *traceTarget) Close() error {
	if t.stat == nil {
		return nil
	}
	return t.stat.Close()
}

// Sample gives what the last cycle told, once, and the kernel's numbers always:
// what a trace says is true of the end of a cycle only.
func (t *traceTarget) Sample(s *record.Sample) error {
	select {
	case <-t.done:
		return &process.EndedError{Err: errors.New("the command has ended")}
	default:
	}
	t.trace.mu.Lock()
	*s = record.Sample{}
	if t.trace.fresh {
		*s = t.trace.latest
		t.trace.fresh = false
	}
	t.trace.mu.Unlock()
	s.Time, s.Source = time.Now(), record.SourceGCTrace
	if t.stat != nil {
		if err := t.stat.Fill(s); err != nil && process.IsEnded(err) {
			return process.Ended(err)
		}
	}
	return nil
}

func (t *traceTarget) Cycles(dst []record.Cycle) ([]record.Cycle, uint64, error) {
	t.trace.mu.Lock()
	defer t.trace.mu.Unlock()
	dst = append(dst, t.trace.cycles...)
	lost := t.trace.lost
	t.trace.cycles, t.trace.lost = t.trace.cycles[:0], 0
	return dst, lost, nil
}

// Goroutines returns none: a trace has none.
func (t *traceTarget) Goroutines() (*record.Goroutines, error) { return nil, nil }

// Profile returns none: a trace has none.
func (t *traceTarget) Profile(record.ProfileKind) (*record.Profile, error) { return nil, nil }

// WriteProfile fails: a trace has no profiles.
func (t *traceTarget) WriteProfile(context.Context, string, io.Writer) error {
	return errors.New("a trace has no profiles")
}
