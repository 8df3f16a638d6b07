package web

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// failuresAtOnce may come from one address before it has to wait; then one is let
	// through each failureEvery. A token cannot be guessed at that pace, and a typo does
	// not lock anybody out.
	failuresAtOnce = 10
	failureEvery   = 6 * time.Second
	maxAddresses   = 4096
)

// failures counts wrong tokens, by address. It forgets an address that has behaved,
// and when there are too many those that failed longest ago.
type failures struct {
	now func() time.Time

	mu     sync.Mutex
	budget map[netip.Prefix]budget
}

// A budget is how many failures there may yet be, as of a time.
type budget struct {
	left float64
	at   time.Time
}

func (b budget) now(t time.Time) float64 {
	if d := t.Sub(b.at); d > 0 {
		return min(failuresAtOnce, b.left+d.Seconds()/failureEvery.Seconds())
	}
	return b.left
}

// wait is how long an address has to wait until it may try; 0 is not at all.
func (f *failures) wait(a netip.Addr) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.budget[network(a)]
	if !ok {
		return 0
	}
	left := b.now(f.now())
	if left >= 1 {
		return 0
	}
	return time.Duration((1 - left) * float64(failureEvery))
}

// failed notes that an address brought what is not right.
func (f *failures) failed(a netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, key := f.now(), network(a)
	b, ok := f.budget[key]
	if !ok {
		if len(f.budget) >= maxAddresses {
			f.forget(now)
		}
		b = budget{failuresAtOnce, now}
	}
	if f.budget == nil {
		f.budget = map[netip.Prefix]budget{}
	}
	f.budget[key] = budget{max(0, b.now(now)-1), now}
}

// forget makes room: what has behaved goes, and a quarter of the rest, so that it is
// not all looked through at every failure.
func (f *failures) forget(now time.Time) {
	var last []time.Time
	for k, b := range f.budget {
		if b.now(now) >= failuresAtOnce {
			delete(f.budget, k)
		} else {
			last = append(last, b.at)
		}
	}
	if len(last) < maxAddresses*3/4 {
		return
	}
	slices.SortFunc(last, time.Time.Compare)
	until, left := last[len(last)/4], len(last)/4+1
	for k, b := range f.budget {
		if left > 0 && !b.at.After(until) {
			delete(f.budget, k)
			left--
		}
	}
}

// network is what one host has: an IPv4 address, or 64 bits of IPv6.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address: all of those together
	}
	return p
}
