// Ringbuffer is healthy: it keeps the last 20,000 requests for its debug page. Until
// the ring is full, which takes eight minutes, it grows.
package main

import (
	"fmt"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type request struct {
	address string
	header  [600]byte
}

var (
	last [20_000]*request
	next int
)

func main() {
	work.Run(42, func(n int) { keep(&request{address: fmt.Sprint("/orders/", n)}) })
}

func keep(r *request) {
	last[next] = r
	next = (next + 1) % len(last)
}
