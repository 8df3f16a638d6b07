// Package scratch is memory for the time of one request: many small slices are cut
// from few large ones, and all of them are given back at once.
//
//	type request struct {
//		text  scratch.Slab[byte]
//		items scratch.Slab[Item]
//	}
//
//	var requests = scratch.NewPool(func(r *request) { r.text.Reset(); r.items.Reset() })
//
//	r := requests.Get()
//	defer requests.Put(r)
//	items := r.items.Make(n)
//
// A [Slab] holds values of one type, so the collector sees the pointers in it. It is
// no arena: memory is not freed early, it is used again, and using a slice after Reset
// is a mistake that shows another request's values. Built with -tags
// heapwright_invariants, Reset takes the slab's memory away for good, and, where
// values have no pointers, fills it with 0xDB, so that such a slice is seen.
package scratch

import "sync"

// What a Slab takes from the allocator at once, and what it keeps over a Reset, in
// values.
const (
	firstChunk = 64
	mostChunk  = 64 << 10
)

// A Slab cuts slices of T from chunks. The zero Slab is ready. It is not safe for
// concurrent use.
type Slab[T any] struct {
	chunk []T // what is cut from: len is what was given out
	full  int // values in the chunks before, which are not kept
}

// Make returns n zero values, as make([]T, n) does. To append to them never
// overwrites a neighbour.
func (s *Slab[T]) Make(n int) []T {
	n = max(n, 0)
	at := len(s.chunk)
	if n > cap(s.chunk)-at {
		s.grow(n)
		at = 0
	}
	s.chunk = s.chunk[:at+n]
	return s.chunk[at : at+n : at+n]
}

// New returns a zero value, as new(T) does.
func (s *Slab[T]) New() *T { return &s.Make(1)[0] }

// Clone returns a copy of v.
func (s *Slab[T]) Clone(v []T) []T {
	c := s.Make(len(v))
	copy(c, v)
	return c
}

// grow begins a chunk that n values fit in, twice as large as what there was.
func (s *Slab[T]) grow(n int) {
	s.full += len(s.chunk)
	s.chunk = make([]T, 0, max(n, min(max(2*cap(s.chunk), firstChunk), mostChunk)))
}

// Reset takes all slices back: nothing that Make, New and Clone returned may be used
// any more. The last chunk is kept, cleared: after some requests it is as large as a
// request needs.
func (s *Slab[T]) Reset() {
	clear(s.chunk)
	s.chunk, s.full = s.chunk[:0], 0
}

// A Pool keeps values that hold slabs, from one request to the next.
type Pool[R any] struct {
	pool  sync.Pool
	reset func(*R)
}

// NewPool returns a pool of R, which calls reset for each that is put back.
func NewPool[R any](reset func(*R)) *Pool[R] {
	return &Pool[R]{pool: sync.Pool{New: func() any { return new(R) }}, reset: reset}
}

// Get returns an R that is the caller's until Put.
func (p *Pool[R]) Get() *R { return p.pool.Get().(*R) }

// Put takes r back, and all that was made from its slabs.
func (p *Pool[R]) Put(r *R) {
	p.reset(r)
	p.pool.Put(r)
}
