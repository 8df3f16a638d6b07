// Gogcoff runs with GOGC=off and no GOMEMLIMIT, which somebody took from a
// benchmark: nothing is ever collected. The memory use rises by whatever the
// program allocates until the machine or the container is full.
//
// See it:
//
//	GOGC=off go run ./examples/gogcoff
//	heapwright diagnose PID     # HW1004
//
// Fix: take GOGC=off away, or give it the partner it is meant to be used with:
// GOGC=off GOMEMLIMIT=200MiB collects only when memory gets short.
package main

import (
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

// limit keeps the example from doing real harm: then it stops working.
const limit = 250 << 20

var last []byte

func main() {
	ctx, stop := run.Context()
	defer stop()
	run.Ready()
	allocated := 0
	run.Every(ctx, 10*time.Millisecond, func() {
		if allocated < limit {
			allocated += len(serve()) // 1.6 MB a second
		}
	})
}

func serve() []byte {
	last = make([]byte, 16<<10)
	return last
}
