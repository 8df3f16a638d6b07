//go:build heapwright_invariants

package scratch

import (
	"strings"
	"testing"
)

func mustPanic(t *testing.T, f func(), want string) {
	t.Helper()
	defer func() {
		t.Helper()
		if text, _ := recover().(string); !strings.Contains(text, want) {
			t.Errorf("panic says %q, want %q in it", text, want)
		}
	}()
	f()
	t.Error("no panic")
}

func TestMisuseIsSeen(t *testing.T) {
	var s Slab[byte]
	b := s.Make(5)
	s.Reset()
	if b[0] != poisonByte {
		t.Error("bytes are not poisoned")
	}
	if v := s.Make(5); v[0] != 0 {
		t.Error("memory was used again")
	}
	b[3] = 1
	mustPanic(t, s.Reset, "uint8 was written after the Reset")

	var p Slab[*int]
	v := p.Make(3)
	v[0] = new(int)
	p.Reset()
	if v[0] != nil {
		t.Error("pointers are still there")
	}
	v[0] = new(int)
	mustPanic(t, p.Reset, "TestMisuseIsSeen")

	type request struct{ s Slab[int] }
	pool := NewPool(func(r *request) { r.s.Reset() })
	r := pool.Get()
	pool.Put(r)
	mustPanic(t, func() { pool.Put(r) }, "twice")
}
