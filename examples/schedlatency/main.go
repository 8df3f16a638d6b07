// Schedlatency starts 500 goroutines that all compute at once. Each of them gets
// its turn on one of the few Ps, for up to 10 ms, and then waits until all the
// others had theirs: a goroutine that only wants to answer a request is ready
// to run for seconds before it does.
//
// See it:
//
//	go run ./examples/schedlatency
//	heapwright diagnose PID     # HW4003
//
// Fix: bound the goroutines that compute to GOMAXPROCS (a semaphore, or a fixed
// set of workers with a queue).
package main

import (
	"context"
	"sync"

	"github.com/heapwright/heapwright/examples/internal/run"
)

func main() {
	ctx, stop := run.Context()
	defer stop()
	run.Ready()
	var wg sync.WaitGroup
	for range 500 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			compute(ctx)
		}()
	}
	wg.Wait()
}

func compute(ctx context.Context) (sum uint64) {
	for ctx.Err() == nil {
		for i := range uint64(1 << 20) {
			sum = sum*31 + i
		}
	}
	return sum
}
