// Gogclow runs with GOGC=10 to "save memory" on a machine that has plenty. The
// heap may grow by only a tenth between two collections, so 40 MiB of live heap
// are marked after every 4 MiB of allocation: most of the CPU time goes to
// marking the same objects again.
//
// See it:
//
//	GOGC=10 go run ./examples/gogclow
//	heapwright diagnose PID     # HW1005
//
// Fix: GOGC=100 costs 36 MiB more here and a tenth of the GC work. Where memory
// is limited, say so with GOMEMLIMIT instead.
package main

import (
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

// A node is 64 bytes, and the collector has to follow its pointer.
type node struct {
	next *node
	data [7]uint64
}

// index is many short lists: 40 MiB of live heap.
var index [40 << 20 / 64 / 16]*node

func main() {
	ctx, stop := run.Context()
	defer stop()
	for i := range index {
		index[i] = list(16)
	}
	run.Ready()
	n := 0
	run.Every(ctx, 10*time.Millisecond, func() {
		for range 1200 { // 120 MB of lists a second, each replacing one
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
