// Risingsaw collects records for a minute and writes them out. Those that cannot be
// written, one in ten, are to be tried again, and stay for ever.
//
// Fix: an end to the attempts.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

type record struct {
	id   int
	body []byte
}

var (
	batch []*record
	again []*record
)

func main() {
	work.Run(100, func(n int) {
		batch = append(batch, receive(n))
		if len(batch) == 6000 {
			flush()
		}
	})
}

func receive(n int) *record { return &record{n, make([]byte, 2<<10)} }

func flush() {
	for _, r := range batch {
		if r.id%10 == 0 {
			again = append(again, r)
		}
	}
	batch = nil
}
