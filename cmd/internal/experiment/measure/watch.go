package measure

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/process"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/record"
)

// DefaultHz is how often a process is read where the caller does not say.
const DefaultHz = 20

// Bounds of what a Watch keeps.
const (
	maxPoints = 1 << 16 // of a window; when there are more, every second is given up
	maxCycles = 1 << 16 // of a window; more count as lost
	// maxRecorded bounds the cycles of the recording.
	maxRecorded = 1 << 18
)

// ErrEnded is wrapped by the errors of a [Watch] whose process is no more, or is
// another program now.
var ErrEnded = recorder.ErrEnded

// An UnreadableError says that the runtime of a process cannot be read from
// outside: it is not Go, of a release that the tables lack, or not ours to look at.
type UnreadableError struct {
	PID int
	Err error
}

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("process %d cannot be measured: %v", e.PID, e.Err)
}

func (e *UnreadableError) Unwrap() error { return e.Err }

// A target is the process that is watched.
type target interface {
	recorder.Source
	CPUTime() (time.Duration, error)
	Process() record.Process
	Close() error
}

// A Watch reads one process at a fixed rate, so that no GC cycle is missed. Its
// methods are for one goroutine; beside them the Watch reads on its own.
type Watch struct {
	target target
	tick   time.Duration
	cancel context.CancelFunc
	done   chan struct{} // closed when reading is over
	record recorder.Memory

	close    sync.Once
	closeErr error

	mu       sync.Mutex
	ended    error // of the process
	cycles   []record.Cycle
	pending  []record.Cycle // for the recording
	lost     uint64         // for the recording
	recorded int
	upTo     uint64 // the last cycle that the recording's last sample counts
	heap     settling
	settled  bool
	window   *Raw
	keep     int // of the window's points, one in 2^keep
	seen     int
}

// Begin attaches to a process and reads it hz times a second (0 for [DefaultHz])
// until Close, the end of the context, or that of the process. The error is an
// [*UnreadableError] when its runtime cannot be read, and wraps [ErrEnded] when it
// is no more.
func Begin(ctx context.Context, pid int, hz float64) (*Watch, error) {
	t, err := process.Attach(ctx, pid)
	switch {
	case err == nil:
		return begin(ctx, t, hz), nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case process.IsEnded(err):
		return nil, fmt.Errorf("beginning to measure process %d: %w", pid, err)
	}
	return nil, &UnreadableError{PID: pid, Err: err}
}

func begin(ctx context.Context, t target, hz float64) *Watch {
	if !(hz > 0) {
		hz = DefaultHz
	}
	hz = min(hz, recorder.MaxHz)
	ctx, cancel := context.WithCancel(ctx)
	w := &Watch{target: t, tick: time.Duration(float64(time.Second) / hz), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		// It fails only if not one reading succeeded, and then Start will too.
		_, _ = recorder.Record(ctx, source{w}, t.Process(), &w.record, recorder.Options{Hz: hz, Snapshots: -1})
	}()
	return w
}

// Close ends the watch and lets go of the process.
func (w *Watch) Close() error {
	w.close.Do(func() {
		w.cancel()
		<-w.done
		w.closeErr = w.target.Close()
	})
	return w.closeErr
}

// Recording closes the watch, and returns everything that it saw since Begin: what
// a twin is fitted from. It holds at most recorder.MemorySamples samples; of more,
// every second, then every fourth.
func (w *Watch) Recording() *record.Recording {
	w.Close() // what is kept is whole whether or not letting go succeeds
	return &w.record.Recording
}

// Process is what does not change about the process.
func (w *Watch) Process() record.Process { return w.target.Process() }

// Ended says why the process can be read no more, nil while it can.
func (w *Watch) Ended() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended
}

// A source is the watched process as the recorder sees it. Readings at the edges
// of a window come between those of the recorder, and must not take cycles away
// from it.
type source struct{ w *Watch }

func (s source) Sample(dst *record.Sample) error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	err := s.w.read(dst)
	if err == nil {
		s.w.upTo = dst.GCCycles
	}
	return err
}

func (s source) Cycles(dst []record.Cycle) ([]record.Cycle, uint64, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	n := 0
	for n < len(s.w.pending) && s.w.pending[n].N <= s.w.upTo {
		n++
	}
	dst = append(dst, s.w.pending[:n]...)
	lost := s.w.lost
	s.w.pending, s.w.lost = s.w.pending[:copy(s.w.pending, s.w.pending[n:])], 0
	return dst, lost, nil
}

// read takes one sample, and the cycles that ended before it. The lock is held.
func (w *Watch) read(s *record.Sample) error {
	err := w.target.Sample(s)
	var lost uint64
	if err == nil {
		w.cycles, lost, err = w.target.Cycles(w.cycles[:0])
	}
	if err != nil {
		if errors.Is(err, ErrEnded) {
			p := w.target.Process()
			w.ended = fmt.Errorf("process %d (%s) ended while it was measured: %w", p.PID, p.Name, err)
		} else if w.window != nil {
			w.window.Failed++
		}
		return err
	}
	room := max(min(len(w.cycles), maxRecorded-w.recorded), 0)
	w.pending = append(w.pending, w.cycles[:room]...)
	w.recorded += room
	w.lost += lost + uint64(len(w.cycles)-room)
	w.heap.observe(s)
	if w.window == nil {
		return nil
	}
	room = max(min(len(w.cycles), maxCycles-len(w.window.Cycles)), 0)
	w.window.Cycles = append(w.window.Cycles, w.cycles[:room]...)
	w.window.Lost += lost + uint64(len(w.cycles)-room)
	w.point(s)
	return nil
}

// point keeps the numbers of a sample that are followed through the window. The
// lock is held.
func (w *Watch) point(s *record.Sample) {
	w.seen++
	if (w.seen-1)%(1<<w.keep) != 0 {
		return
	}
	points := append(w.window.Points, pointOf(s))
	if len(points) > maxPoints {
		n := 0
		for i := 0; i < len(points); i += 2 {
			points[n] = points[i]
			n++
		}
		points = points[:n]
		w.keep++
	}
	w.window.Points = points
}

// edgeWait bounds how long a reading at an edge of the window is tried.
const edgeWait = 2 * time.Second

// edge takes a reading now, and calls then with the CPU clock before there can be
// another reading. What fails in passing is tried again for edgeWait.
func (w *Watch) edge(s *record.Sample, then func(cpu time.Duration, known bool)) error {
	deadline := time.Now().Add(edgeWait)
	for {
		err := w.edgeOnce(s, then)
		if err == nil || errors.Is(err, ErrEnded) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (w *Watch) edgeOnce(s *record.Sample, then func(cpu time.Duration, known bool)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended == nil {
		err := w.read(s)
		if err == nil {
			// A clock that cannot be read is no reason to lose the sample; see Values.
			cpu, clockErr := w.target.CPUTime()
			then(cpu, clockErr == nil)
			return nil
		}
		if w.ended == nil {
			return err
		}
	}
	return w.ended
}

// Start begins the measured window, with a reading now. A window that was begun
// before and not finished is given up.
func (w *Watch) Start() error {
	w.mu.Lock()
	w.window = nil
	w.mu.Unlock()
	raw := &Raw{}
	err := w.edge(&raw.First, func(cpu time.Duration, known bool) {
		raw.cpuFirst, raw.CPUKnown = cpu, known
		w.window, w.keep, w.seen = raw, 0, 0
		w.point(&raw.First)
	})
	if err != nil {
		return fmt.Errorf("beginning the measured time: %w", err)
	}
	return nil
}

// Finish ends the measured window, with a reading now, and returns what was seen
// in it. When the process ended in it, what was seen until then comes with the
// error.
func (w *Watch) Finish() (Raw, error) {
	w.mu.Lock()
	raw := w.window
	w.mu.Unlock()
	if raw == nil {
		return Raw{}, errors.New("ending the measured time: it was not begun")
	}
	known := false
	err := w.edge(&raw.Last, func(cpu time.Duration, ok bool) {
		raw.CPU, known = cpu-raw.cpuFirst, ok
		w.window = nil
	})
	raw.CPUKnown = raw.CPUKnown && known
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.window = nil
		return *raw, fmt.Errorf("ending the measured time: %w", err)
	}
	if n := len(raw.Points); !raw.Points[n-1].Time.Equal(raw.Last.Time) {
		raw.Points = append(raw.Points, pointOf(&raw.Last)) // it was thinned out
	}
	return *raw, nil
}
