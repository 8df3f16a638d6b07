//go:build !heapwright_invariants

package shed

const TicketAllocs = 0.0
