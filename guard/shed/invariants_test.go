//go:build heapwright_invariants

package shed

import "testing"

const TicketAllocs = 1.0 // the lease

func TestDoneTwicePanics(t *testing.T) {
	ticket, _ := NewGate(Options{}).Admit(Normal, 1)
	ticket.Done()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	ticket.Done()
}
