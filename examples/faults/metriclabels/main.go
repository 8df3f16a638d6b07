// Metriclabels counts requests by address and status. The address is what the
// client sent, with IDs in it, so that there is a counter for nearly every request.
//
// Fix: count by the route, "/orders/{id}".
package main

import (
	"fmt"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type counter struct {
	count   uint64
	buckets [24]uint64
}

type registry struct {
	byLabels map[string]map[int]*counter
}

var metrics = registry{map[string]map[int]*counter{}}

func main() {
	work.Run(30, func(n int) { metrics.counterOf(fmt.Sprintf("/orders/%d", n), 200+n%2).count++ })
}

func (r *registry) counterOf(address string, status int) *counter {
	byStatus := r.byLabels[address]
	if byStatus == nil {
		byStatus = map[int]*counter{}
		r.byLabels[address] = byStatus
	}
	c := byStatus[status]
	if c == nil {
		c = &counter{}
		byStatus[status] = c
	}
	return c
}
