// Fragmentation loads a million records and keeps every sixteenth. Objects do not
// move in Go, so each 8 KiB span keeps its memory for the two records that are
// left in it: 16 MiB of data hold 256 MiB.
//
// See it:
//
//	go run ./examples/fragmentation
//	heapwright diagnose PID     # HW3006
//
// Fix: copy what is kept into new memory (slices.Clone) and drop the rest, or
// filter before loading.
package main

import (
	"runtime"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

type record struct {
	data [256]byte
}

var (
	kept []*record
	last []byte
)

func main() {
	ctx, stop := run.Context()
	defer stop()
	load()
	runtime.GC() // drops what was not kept
	runtime.GC() // and finishes its sweep
	run.Ready()
	run.Every(ctx, 10*time.Millisecond, func() { last = make([]byte, 128<<10) })
}

// load reads everything before it selects, so that what it keeps is spread
// over all of the memory.
func load() {
	all := make([]*record, 1<<20)
	for i := range all {
		all[i] = new(record)
	}
	for i := 0; i < len(all); i += 16 {
		kept = append(kept, all[i])
	}
}
