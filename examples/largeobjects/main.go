// Largeobjects reads every page into a new buffer of a megabyte. Objects above
// 32 KiB bypass the allocator's caches: each takes a lock, its own span, and has
// to be zeroed, and a few of them are enough to start a GC cycle.
//
// See it:
//
//	go run ./examples/largeobjects
//	heapwright diagnose PID     # HW2004 names main.readPage
//
// Fix: reuse the buffer (a sync.Pool, or one per worker), or read in pieces.
package main

import (
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var sum uint64

func main() {
	ctx, stop := run.Context()
	defer stop()
	run.Ready()
	run.Every(ctx, 10*time.Millisecond, func() {
		for range 3 { // 300 MB a second
			sum += checksum(readPage())
		}
	})
}

// readPage makes a page as if it had been read from somewhere.
//
//go:noinline
func readPage() []byte {
	page := make([]byte, 1<<20)
	for i := 0; i < len(page); i += 4096 {
		page[i] = byte(i >> 12)
	}
	return page
}

func checksum(page []byte) (s uint64) {
	for i := 0; i < len(page); i += 4096 {
		s += uint64(page[i])
	}
	return s
}
