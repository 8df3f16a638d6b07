package cli

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// Signals receives what is sent to heapwright. The first interrupt asks the
// command to end with what it has, the second ends heapwright at once. A command
// that runs another program takes the signals over, to pass them on.
type Signals struct {
	ch   chan os.Signal
	exit func(ExitCode)

	mu      sync.Mutex
	forward func(os.Signal)
}

// NewSignals starts to receive SIGINT and SIGTERM.
func NewSignals() *Signals {
	s := &Signals{ch: make(chan os.Signal, 8), exit: func(c ExitCode) { os.Exit(int(c)) }}
	signal.Notify(s.ch, os.Interrupt, syscall.SIGTERM)
	return s
}

// sameSignal is how soon after the first a second signal is an echo of it: what
// starts us may hand on a signal that the terminal has sent us already.
const sameSignal = 200 * time.Millisecond

// context returns a context that the first signal cancels.
func (s *Signals) context(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	if s == nil {
		return ctx, cancel
	}
	go func() {
		var first time.Time
		for {
			select {
			case sig := <-s.ch:
				s.mu.Lock()
				forward := s.forward
				s.mu.Unlock()
				if forward != nil {
					forward(sig)
					continue
				}
				switch {
				case first.IsZero():
					first = time.Now()
					cancel()
				case time.Since(first) > sameSignal:
					s.exit(ExitCouldNotRun)
				}
			case <-parent.Done():
				return
			}
		}
	}()
	return ctx, cancel
}

// takeOver sends all signals that can be passed on to another program to f
// until release is called.
func (s *Signals) takeOver(f func(os.Signal)) (release func()) {
	if s == nil {
		return func() {}
	}
	s.mu.Lock()
	s.forward = f
	s.mu.Unlock()
	more := make(chan os.Signal, 8)
	signal.Notify(more, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case sig := <-more:
				f(sig)
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(more)
		close(done)
		s.mu.Lock()
		s.forward = nil
		s.mu.Unlock()
	}
}
