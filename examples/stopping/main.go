// Stopping always computes in loops without a function call, 40 ms each, and runs
// with GODEBUG=asyncpreemptoff=1. Stopping the world, which the garbage collector
// has to do twice in a cycle, waits for the end of such a loop, while all other
// goroutines are stopped already. The pauses themselves would be microseconds.
//
// See it:
//
//	GODEBUG=asyncpreemptoff=1 go run ./examples/stopping
//	heapwright diagnose PID     # HW4002
//
// Fix: remove asyncpreemptoff=1. The runtime then interrupts such loops.
package main

import (
	"context"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var (
	last []byte
	sum  uint64
)

func main() {
	ctx, stop := run.Context()
	defer stop()
	run.Ready()
	go computeAll(ctx)
	run.Every(ctx, 5*time.Millisecond, func() {
		for range 40 {
			last = make([]byte, 16<<10)
		}
	})
}

func computeAll(ctx context.Context) {
	for ctx.Err() == nil {
		sum += compute(40 * time.Millisecond)
	}
}

// compute spins for about d without a call in which it could be stopped.
func compute(d time.Duration) (s uint64) {
	for range uint64(d) {
		s = s*31 + 7
	}
	return s
}
