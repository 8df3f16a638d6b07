// Keyspace is healthy: it counts by customer, and there are so many customers. The
// map grows until it has seen all of them, the slower the more it has seen.
package main

import (
	"math/rand/v2"

	"github.com/heapwright/heapwright/examples/internal/work"
)

const customers = 20_000

type counts struct {
	requests, errors uint64
	latencies        [64]uint32
}

var (
	byCustomer = map[int]*counts{}
	rnd        = rand.New(rand.NewPCG(3, 4))
)

func main() {
	work.Run(100, func(int) { count(rnd.IntN(customers)) })
}

func count(customer int) {
	c := byCustomer[customer]
	if c == nil {
		c = &counts{}
		byCustomer[customer] = c
	}
	c.requests++
}
