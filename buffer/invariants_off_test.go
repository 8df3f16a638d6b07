//go:build !heapwright_invariants

package buffer

import "testing"

// TestDoubleRelease: a second release of a lease, or of a copy, must not give away the
// buffer of who has it now.
func TestDoubleRelease(t *testing.T) {
	p := NewPool(Options{})
	l := p.Get(4096)
	stale := l
	l.Release()
	l.Release()
	next := p.Get(4096)
	stale.Release()
	l.Release()
	other := p.Get(4096)
	if &next.Bytes()[0] == &other.Bytes()[0] {
		t.Error("two leases have one buffer")
	}
	if st := p.Stats(); st.DoubleReleases != 3 || st.Releases != 1 || st.Out != 2 {
		t.Errorf("%+v", st)
	}
	next.Release()
	other.Release()
}
