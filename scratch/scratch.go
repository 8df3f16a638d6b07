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
// By BenchmarkRequest, which parses requests into trees and answers them, a request of 8
// allocations takes 0.49 of the CPU time that it takes with make and new, one of 519
// allocations 0.41; none of them is left, and the collector's share falls from 0.27 to
// 0.10 and 0.04. Slices that are kept and cut by hand are as fast. docs/PRIMITIVES.md has
// all of it, and what arenas come to.
//
//	go test ./scratch -run '^$' -bench Request
//
// A [Slab] holds values of one type, so the collector sees the pointers in it. It is
// no arena: memory is not freed early, it is used again, and to use a slice after Reset
// is a mistake that shows another request's values. Built with -tags
// heapwright_invariants a slab never uses memory again: such a slice shows zeros, or
// 0xDB in bytes, and one that was written to panics at the next Reset, with the stack of
// the Reset before. Putting a value back twice panics too.
package scratch

import (
	"reflect"
	"sync"
)

// What a Slab takes from the allocator at once, and the most that it keeps over a
// Reset, in bytes.
const (
	firstChunk = 1 << 10
	mostChunk  = 1 << 20
)

// A Slab cuts slices of T from chunks. The zero Slab is ready. It is not safe for
// concurrent use, and must not be copied once used.
type Slab[T any] struct {
	chunk []T // its length is what was given out
	most  int // values in a chunk of mostChunk; 0 before the first chunk
	stale stale[T]
}

// Make returns n zero values, as make([]T, n) does. To append to them never
// overwrites a neighbour. A negative n is 0.
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

// New returns a pointer to a zero value, as new(T) does.
func (s *Slab[T]) New() *T { return &s.Make(1)[0] }

// Clone returns a copy of v.
func (s *Slab[T]) Clone(v []T) []T {
	c := s.Make(len(v))
	copy(c, v)
	return c
}

// grow begins a chunk that n values fit in, twice as large as the last. That one
// belongs to those who have slices of it.
func (s *Slab[T]) grow(n int) {
	if s.most == 0 {
		s.most = max(mostChunk/int(max(reflect.TypeFor[T]().Size(), 1)), 1)
	}
	s.stale.leave(s.chunk)
	least := max(s.most/(mostChunk/firstChunk), 1)
	s.chunk = make([]T, 0, max(n, min(max(2*cap(s.chunk), least), s.most)))
}

// Reset takes all slices back: nothing that Make, New and Clone returned may be used
// any more. The last chunk is cleared and kept, unless it is above a megabyte: after
// some requests it is as large as a request needs.
func (s *Slab[T]) Reset() {
	if invariants {
		s.stale.leave(s.chunk)
		s.stale.check()
		s.chunk = nil
		return
	}
	if cap(s.chunk) > s.most {
		s.chunk = nil
		return
	}
	clear(s.chunk)
	s.chunk = s.chunk[:0]
}

// A Pool keeps values that hold slabs, from one request to the next. What is not used
// over two collections is given up, as by a [sync.Pool].
type Pool[R any] struct {
	pool  sync.Pool
	reset func(*R)
	idle  idle[R]
}

// NewPool returns a pool of R, which calls reset for each that is put back.
func NewPool[R any](reset func(*R)) *Pool[R] {
	return &Pool[R]{pool: sync.Pool{New: func() any { return new(R) }}, reset: reset}
}

// Get returns an R that is the caller's until Put.
func (p *Pool[R]) Get() *R {
	r := p.pool.Get().(*R)
	p.idle.took(r)
	return r
}

// Put takes r back, and all that was made from its slabs.
func (p *Pool[R]) Put(r *R) {
	p.idle.put(r)
	p.reset(r)
	p.pool.Put(r)
}
