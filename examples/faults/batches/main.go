// Batches is healthy: it collects records for two minutes, writes them out, and
// begins anew. The live heap is a saw.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

type record struct {
	id   int
	body []byte
}

var batch []*record

func main() {
	work.Run(60, func(n int) {
		batch = append(batch, receive(n))
		if len(batch) == 7200 {
			batch = nil
		}
	})
}

func receive(n int) *record { return &record{n, make([]byte, 2<<10)} }
