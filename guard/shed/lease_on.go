//go:build heapwright_invariants

package shed

import "sync/atomic"

// A lease knows whether its ticket was returned. It costs an allocation per
// request, so it is in the invariants build only.
type lease struct{ returned *atomic.Bool }

func newLease() lease { return lease{new(atomic.Bool)} }

func (l lease) release() {
	if l.returned.Swap(true) {
		panic("shed: Done called twice for one Ticket")
	}
}
