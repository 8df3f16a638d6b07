// Scavenger does a job every 1.5 seconds for which it needs 250 MiB, and next to
// nothing in between. After the job it calls runtime.GC, to "give the memory
// back". The memory is free then, but still the process's: the background
// scavenger returns it slowly, on a hundredth of the CPUs, and before it is done
// the next job needs it again. The RSS stays at the peak.
//
// See it:
//
//	go run ./examples/scavenger
//	heapwright diagnose PID     # HW3007
//
// Fix: usually none: it is memory that the program needs again. If others need
// it more, make the job smaller (stream it), or set GOMEMLIMIT, which makes the
// scavenger work as fast as it has to.
package main

import (
	"context"
	"runtime"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var last []byte

func main() {
	ctx, stop := run.Context()
	defer stop()
	job()
	run.Ready()
	go jobs(ctx)
	run.Every(ctx, 10*time.Millisecond, func() { last = make([]byte, 16<<10) })
}

func jobs(ctx context.Context) {
	run.Every(ctx, 1500*time.Millisecond, job)
}

// job needs a lot of memory for a moment.
func job() {
	var blocks [250][]byte
	for i := range blocks {
		blocks[i] = make([]byte, 1<<20)
		for p := 0; p < len(blocks[i]); p += 4096 {
			blocks[i][p] = 1
		}
	}
	runtime.KeepAlive(&blocks)
	clear(blocks[:])
	runtime.GC()
}
