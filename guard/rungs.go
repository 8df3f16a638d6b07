package guard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A rung carries out one degradation. Its Enter and Exit run one at a time, in a
// goroutine that lives for the call, and the guard never waits for them.
type rung struct {
	Degradation
	timeout time.Duration
	failed  func(what string, err error)

	mu      sync.Mutex
	wanted  bool // the service is to be degraded
	entered bool // Enter was called, and Exit not yet
	busy    bool
	idle    chan struct{} // closed when not busy
}

func newRung(d Degradation, timeout time.Duration, failed func(string, error)) *rung {
	idle := make(chan struct{})
	close(idle)
	return &rung{Degradation: d, timeout: timeout, failed: failed, idle: idle}
}

// want says whether the degradation is to be in effect.
func (r *rung) want(degraded bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wanted = degraded
	if !r.busy && r.wanted != r.entered {
		r.busy = true
		r.idle = make(chan struct{})
		go r.work()
	}
}

// work calls until what is wanted is so.
func (r *rung) work() {
	for {
		r.mu.Lock()
		if r.wanted == r.entered {
			r.busy = false
			close(r.idle)
			r.mu.Unlock()
			return
		}
		r.entered = !r.entered
		f, what := r.Enter, "enter"
		if !r.entered {
			f, what = r.Exit, "exit"
		}
		r.mu.Unlock()
		if err := r.call(f); err != nil {
			r.failed(what, err)
		}
	}
}

func (r *rung) call(f func(context.Context) error) (err error) {
	if f == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.timeout)
	defer cancel()
	late := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			r.failed("callback", fmt.Errorf("it has not returned for %v", r.timeout))
		}
	})
	defer late()
	return guarded(func() error { return f(ctx) })
}

// guarded calls what is the service's. A panic is an error; so is runtime.Goexit, for
// which the call has a goroutine of its own.
func guarded(f func() error) (err error) {
	err = errors.New("it ended its goroutine")
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		err = f()
	}()
	<-done
	return err
}

// wait waits until no call runs, or ctx is done.
func (r *rung) wait(ctx context.Context) error {
	r.mu.Lock()
	idle := r.idle
	r.mu.Unlock()
	select {
	case <-idle:
		return nil
	default:
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("rung %q: a callback still runs", r.Name)
	}
}
