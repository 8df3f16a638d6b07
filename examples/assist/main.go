// Assist allocates small objects with pointers from many goroutines at once, so
// fast that the background workers of the garbage collector cannot keep up. The
// runtime then makes the allocating goroutines help with marking before they get
// their memory (mark assist): requests become slow while a cycle runs, and it
// looks as if the allocation itself were slow.
//
// See it:
//
//	GOGC=25 go run ./examples/assist
//	heapwright diagnose PID     # HW2002
//
// Fix: allocate less in the hot path (main.work), keep pointers out of what is
// allocated, or raise GOGC, so that cycles, and assists with them, are rarer.
package main

import (
	"context"
	"sync"

	"github.com/heapwright/heapwright/examples/internal/run"
)

// A node is 48 bytes, and the collector has to follow its pointers.
type node struct {
	left, right *node
	data        [4]uint64
}

// depth 20 is two million nodes, 96 MiB.
const depth = 20

var live *node

func main() {
	ctx, stop := run.Context()
	defer stop()
	live = tree(depth)
	run.Ready()
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			work(ctx)
		}()
	}
	wg.Wait()
}

// work builds small trees and drops them, as fast as it can.
func work(ctx context.Context) {
	for ctx.Err() == nil {
		tree(8)
	}
}

func tree(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{left: tree(depth - 1), right: tree(depth - 1)}
}
