// Step serves requests from a table of 20 MiB, and after a while loads another one of
// 110 MiB, which it keeps: what is alive jumps, and stays. Nothing grows, so that no
// trend shows it.
//
// See it:
//
//	go run ./examples/step
//	heapwright diagnose PID --for 30s     # HW3008
//
// Fix: let go of the old when the new is there, or size the limits for both.
package main

import (
	"flag"
	"runtime"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var (
	after = flag.Duration("after", 12*time.Second, "when the second table is loaded")
	last  []byte
)

// load makes a table of so many KiB.
func load(kib int) map[int][]byte {
	table := make(map[int][]byte, kib)
	for i := range kib {
		table[i] = make([]byte, 1<<10)
	}
	return table
}

func main() {
	ctx, stop := run.Context()
	defer stop()
	tables := []map[int][]byte{load(20 << 10)}
	run.Ready()
	began := time.Now()
	run.Every(ctx, 5*time.Millisecond, func() {
		if len(tables) == 1 && time.Since(began) >= *after {
			tables = append(tables, load(110<<10))
		}
		for range 20 {
			last = make([]byte, 16<<10)
		}
	})
	runtime.KeepAlive(tables)
}
