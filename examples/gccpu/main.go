// Gccpu keeps its data as millions of small linked objects and runs with GOGC=25:
// the garbage collector takes more CPU time than the program does. Marking costs
// by the object and by the pointer, not by the byte.
//
// See it:
//
//	GOGC=25 go run ./examples/gccpu
//	heapwright diagnose PID     # HW2003
//
// Fix: GOGC=100 makes it a quarter. Then hold the data in slices of values
// instead of lists of pointers; the collector skips what has no pointers.
package main

import (
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

// A node is 32 bytes, half of it pointers.
type node struct {
	next, prev *node
	key, value uint64
}

// index is many short lists: 100 MiB of live heap.
var index [100 << 20 / 32 / 16]*node

func main() {
	ctx, stop := run.Context()
	defer stop()
	for i := range index {
		index[i] = list(16)
	}
	run.Ready()
	n := 0
	run.Every(ctx, 10*time.Millisecond, func() {
		for range 3000 { // 150 MB of lists a second, each replacing one
			index[n%len(index)] = list(16)
			n++
		}
	})
}

func list(length int) *node {
	var head *node
	for range length {
		n := &node{next: head}
		if head != nil {
			head.prev = n
		}
		head = n
	}
	return head
}
