// Forcedgc calls runtime.GC every second, "to keep the memory down". Each call
// marks the whole live heap and blocks its caller, whether or not there is
// garbage worth collecting.
//
// See it:
//
//	go run ./examples/forcedgc
//	heapwright diagnose PID     # HW1006
//
// Fix: delete the call. The collector starts by itself when the heap has grown
// by GOGC percent; to bound the memory, set GOMEMLIMIT.
package main

import (
	"runtime"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

// A node is 64 bytes, and the collector has to follow its pointer.
type node struct {
	next *node
	data [7]uint64
}

// index is many short lists: 100 MiB of live heap.
var index [100 << 20 / 64 / 16]*node

func main() {
	ctx, stop := run.Context()
	defer stop()
	for i := range index {
		for range 16 {
			index[i] = &node{next: index[i]}
		}
	}
	run.Ready()
	run.Every(ctx, time.Second, keepMemoryDown)
}

func keepMemoryDown() {
	runtime.GC()
}
