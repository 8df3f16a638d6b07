package run

import (
	"context"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/record"
)

// A Source is a process that can be recorded, with its profiles where it has them.
type Source interface {
	recorder.Source
	Process() record.Process
	Close() error
}

// snapshots is the time between two snapshots of goroutines and profiles: a fault may
// be short.
const snapshots = 5 * time.Second

// A recording is made beside a run, and can be looked at while it is.
type recording struct {
	source Source
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	memory recorder.Memory
}

func startRecording(ctx context.Context, s Source) *recording {
	ctx, cancel := context.WithCancel(ctx)
	r := &recording{source: s, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		// It fails only when no sample could be taken, and then there is nothing to say.
		_, _ = recorder.Record(ctx, s, s.Process(), r, recorder.Options{Snapshots: snapshots})
	}()
	return r
}

// between is the stretch between two instants.
func (r *recording) between(from, to time.Time) *record.Recording {
	r.mu.Lock()
	defer r.mu.Unlock()
	return cut(&r.memory.Recording, from, to)
}

func (r *recording) close() {
	r.cancel()
	<-r.done
	r.source.Close()
}

func (r *recording) keep(f func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return f()
}

// Process implements recorder.Sink, as do those that follow.
func (r *recording) Process(p record.Process) error {
	return r.keep(func() error { return r.memory.Process(p) })
}

func (r *recording) Sample(s *record.Sample) error {
	return r.keep(func() error { return r.memory.Sample(s) })
}

func (r *recording) Cycle(c *record.Cycle) error {
	return r.keep(func() error { return r.memory.Cycle(c) })
}

func (r *recording) Event(e *record.Event) error {
	return r.keep(func() error { return r.memory.Event(e) })
}

func (r *recording) Goroutines(g *record.Goroutines) error {
	return r.keep(func() error { return r.memory.Goroutines(g) })
}

func (r *recording) Profile(p *record.Profile) error {
	return r.keep(func() error { return r.memory.Profile(p) })
}

func (r *recording) Flush() error { return nil }
