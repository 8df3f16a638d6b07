// Mapshrink has a map of the orders in flight for each tenant. When a tenant has a
// busy hour its map takes 2,000 orders; afterwards it is empty again, but a map
// never gives its memory back, and every tenant has its busy hour some day.
//
// Fix: t.inFlight = make(map[uint64]order) when it has become empty.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

type order struct{ item, count uint64 }

type tenant struct{ inFlight map[uint64]order }

var tenants = make([]*tenant, 20_000)

func main() {
	for i := range tenants {
		tenants[i] = &tenant{inFlight: map[uint64]order{}}
	}
	work.Run(0.25, func(n int) { tenants[n%len(tenants)].busyHour() })
}

func (t *tenant) busyHour() {
	const orders = 2000
	for id := range uint64(orders) {
		t.begin(id, order{item: id * 7, count: 1})
	}
	for id := range uint64(orders) {
		delete(t.inFlight, id)
	}
}

func (t *tenant) begin(id uint64, o order) { t.inFlight[id] = o }
