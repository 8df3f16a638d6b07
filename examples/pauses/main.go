// Pauses now and then computes for 40 ms in a loop without a function call, and
// runs with GODEBUG=asyncpreemptoff=1, a workaround from years ago that nobody
// took out again. When a GC cycle wants to begin or end during that time, every
// goroutine is stopped until the loop is done: most pauses are short, one in a
// while is a hundred times longer.
//
// See it:
//
//	GODEBUG=asyncpreemptoff=1 go run ./examples/pauses
//	heapwright diagnose PID     # HW4001
//
// Fix: remove asyncpreemptoff=1. The runtime then interrupts such loops.
package main

import (
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
	go run.Every(ctx, 400*time.Millisecond, func() { sum += compute(40 * time.Millisecond) })
	run.Every(ctx, 5*time.Millisecond, func() {
		for range 40 { // 130 MB a second: 30 GC cycles
			last = make([]byte, 16<<10)
		}
	})
}

// compute spins for about d without a call in which it could be stopped.
func compute(d time.Duration) (s uint64) {
	for range uint64(d) {
		s = s*31 + 7
	}
	return s
}
