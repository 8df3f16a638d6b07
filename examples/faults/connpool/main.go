// Connpool is healthy: a pool of connections that is allowed 400 of them, and opens
// one when none is free. Each has a buffer and a goroutine that reads.
package main

import (
	"math/rand/v2"

	"github.com/heapwright/heapwright/examples/internal/work"
)

const most = 400

type conn struct {
	in     chan byte
	buffer []byte
}

var (
	open []*conn
	rnd  = rand.New(rand.NewPCG(7, 8))
)

func main() {
	work.Run(20, func(int) {
		// How many are needed at once grows as the service gets known.
		if c := rnd.IntN(most + most/10); c < len(open) {
			open[c].in <- 1
		} else if len(open) < most && rnd.IntN(4) == 0 {
			open = append(open, dial())
		}
	})
}

func dial() *conn {
	c := &conn{in: make(chan byte, 1), buffer: make([]byte, 32<<10)}
	go c.read()
	return c
}

func (c *conn) read() {
	for b := range c.in {
		c.buffer[0] = b
	}
}
