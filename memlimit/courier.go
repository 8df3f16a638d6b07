package memlimit

import "sync/atomic"

// A courier carries values to a function of somebody else's, which may block or
// panic, in a goroutine of its own. What does not fit into its queue pushes the
// oldest out.
type courier[T any] struct {
	queue   chan T
	done    chan struct{}
	dropped *atomic.Uint64
}

func newCourier[T any](size int, dropped, panics *atomic.Uint64, to func(T)) *courier[T] {
	c := &courier[T]{queue: make(chan T, size), done: make(chan struct{}), dropped: dropped}
	go func() {
		defer close(c.done)
		for v := range c.queue {
			guarded(panics, func() { to(v) })
		}
	}()
	return c
}

// post does not block. It may not be called after the queue was closed, nor by two at once.
func (c *courier[T]) post(v T) {
	for {
		select {
		case c.queue <- v:
			return
		default:
		}
		select {
		case <-c.queue:
			c.dropped.Add(1)
		default:
		}
	}
}

// guarded calls f, and counts a panic instead of passing it on.
func guarded(panics *atomic.Uint64, f func()) {
	defer func() {
		if recover() != nil {
			panics.Add(1)
		}
	}()
	f()
}
