package fault

import (
	"context"
	"errors"
	"sync"
	"time"
)

var errUndone = errors.New("the fault was undone")

// A gate lets one Set at a time run, until Undo closes it.
type gate struct {
	turn    chan struct{} // holds one: of who runs
	over    chan struct{} // closed by Undo
	closing sync.Once
}

func newGate() *gate {
	g := &gate{turn: make(chan struct{}, 1), over: make(chan struct{})}
	g.turn <- struct{}{}
	return g
}

// enter waits for the turn. The context that it returns ends with the one given, and
// when the gate is closed; leave must be called.
func (g *gate) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	select {
	case <-g.over:
		return nil, nil, errUndone
	default:
	}
	select {
	case <-g.over:
		return nil, nil, errUndone
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case <-g.turn:
	}
	in, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		select {
		case <-g.over:
			cancel(errUndone)
		case <-done:
		}
	}()
	return in, func() {
		close(done)
		cancel(nil)
		g.turn <- struct{}{}
	}, nil
}

// close has the Set that runs return, and no other begin.
func (g *gate) close() { g.closing.Do(func() { close(g.over) }) }

// wait waits until no Set runs, and keeps it so until leave is called.
func (g *gate) wait(ctx context.Context, most time.Duration) (leave func(), ok bool) {
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-g.turn:
		return func() { g.turn <- struct{}{} }, true
	default:
	}
	select {
	case <-g.turn:
		return func() { g.turn <- struct{}{} }, true
	case <-ctx.Done():
	case <-t.C:
	}
	return nil, false
}
