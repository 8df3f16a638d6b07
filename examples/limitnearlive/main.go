// Limitnearlive has a GOMEMLIMIT that its live heap almost fills. Whatever GOGC
// says, the collector must start again as soon as the last cycle ended, because
// there are only a few megabytes between what is alive and what is allowed: the
// program burns CPU on garbage collection and gets no memory for it.
//
// See it:
//
//	GOMEMLIMIT=110MiB go run ./examples/limitnearlive
//	heapwright diagnose PID     # HW1003
//
// Fix: raise GOMEMLIMIT (and the container) to at least one and a half times the
// live heap, here 160MiB, or keep less in memory. A smaller GOGC does not help.
package main

import (
	"flag"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var live = flag.Int("live", 96, "live heap, MiB")

// A node is 64 bytes, and the collector has to follow its pointer.
type node struct {
	next *node
	data [7]uint64
}

// index is many short lists: the live heap.
var index []*node

func main() {
	ctx, stop := run.Context()
	defer stop()
	index = make([]*node, *live<<20/64/16)
	for i := range index {
		index[i] = list(16)
	}
	run.Ready()
	n := 0
	run.Every(ctx, 10*time.Millisecond, func() {
		for range 400 { // 40 MB of lists a second, each replacing one
			index[n%len(index)] = list(16)
			n++
		}
	})
}

func list(length int) (head *node) {
	for range length {
		head = &node{next: head}
	}
	return head
}
