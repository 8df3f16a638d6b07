// Churn builds every answer in fresh buffers: 650 MB a second, of which nothing
// outlives its request. The collector runs over and over to find the same 50
// megabytes alive.
//
// See it:
//
//	go run ./examples/churn
//	heapwright diagnose PID     # HW2001 names main.render
//
// Fix: write into one buffer that is passed in, or kept in a sync.Pool. Often
// handing out an io.Writer instead of returning strings is enough.
package main

import (
	"math/rand/v2"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

// An entry is what the service keeps, and answers from: 64 bytes, and a pointer
// that the collector has to follow each time.
type entry struct {
	next *entry
	text [56]byte
}

var (
	table [768 << 10]*entry // 48 MiB
	sink  []byte
)

func main() {
	ctx, stop := run.Context()
	defer stop()
	for i := range table {
		table[i] = &entry{}
	}
	// Neighbours in a list that has lived for a while are not neighbours in memory.
	for i, j := range rand.Perm(len(table)) {
		table[i].next = table[j]
	}
	run.Ready()
	n := 0
	run.Every(ctx, 5*time.Millisecond, func() {
		for range 800 {
			sink = render(table[n%len(table)])
			n++
		}
	})
}

// render makes an answer of 4 KiB, in a new buffer each time.
func render(e *entry) []byte {
	out := make([]byte, 0, 4<<10)
	for len(out)+len(e.text) <= cap(out) {
		out = append(out, e.text[:]...)
	}
	return out
}
