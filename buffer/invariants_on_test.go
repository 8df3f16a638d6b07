//go:build heapwright_invariants

package buffer

import (
	"strings"
	"testing"
)

func mustPanic(t *testing.T, f func(), texts ...string) {
	t.Helper()
	defer func() {
		t.Helper()
		text, _ := recover().(string)
		for _, want := range texts {
			if !strings.Contains(text, want) {
				t.Errorf("panic says %q, want %q in it", text, want)
			}
		}
	}()
	f()
	t.Error("no panic")
}

func takeLease(p *Pool) Lease { return p.Get(4096) }

func giveLease(l *Lease) { l.Release() }

func TestMisusePanics(t *testing.T) {
	p := NewPool(Options{})
	l := takeLease(p)
	bytes := l.Bytes()
	stale := l
	giveLease(&l)
	for _, b := range bytes {
		if b != poisonByte {
			t.Fatal("a released buffer is not poisoned")
		}
	}
	mustPanic(t, stale.Release, "second release", "takeLease", "giveLease")
	mustPanic(t, func() { stale.Bytes() }, "use of a lease", "takeLease", "giveLease")
	mustPanic(t, func() { l.Resize(1) }, "use of a lease")
	next := takeLease(p)
	mustPanic(t, stale.Release, "second release", "takeLease", "giveLease")
	next.Bytes()[0] = 1
	giveLease(&next)
	bytes[17] = 1
	mustPanic(t, func() { takeLease(p) }, "byte 17 of 4096 was written after the release", "giveLease")
}
