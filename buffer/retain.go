package buffer

import (
	"math"
	"runtime"
	"weak"
)

// SetPressure says how short memory is, from 0, there is enough, to 1, keep nothing.
// The bound of what the pool keeps falls with it, from Options.RetainBytes to 0; what
// is above the new bound is given up before SetPressure returns, and a later, lower
// level lets the pool fill again. It is what a guard's degradation calls:
//
//	Enter: func(context.Context) error { pool.SetPressure(0.75); return nil },
//	Exit:  func(context.Context) error { pool.SetPressure(0); return nil },
//
// Something that is not a number is 0.
func (p *Pool) SetPressure(level float64) {
	if !(level > 0) {
		level = 0
	}
	level = min(level, 1)
	p.pressure.Lock()
	defer p.pressure.Unlock()
	limit := int64(math.Floor(float64(p.retain) * (1 - level)))
	p.credit.Add(limit - p.pressure.limit)
	p.pressure.level, p.pressure.limit = level, limit
	p.shrink(0)
}

// Trim gives up all idle buffers at once, and returns how many bytes those were.
// The bound stays as it is.
func (p *Pool) Trim() int64 {
	p.pressure.Lock()
	defer p.pressure.Unlock()
	return p.shrink(math.MaxInt64)
}

// shrink takes credit and idle buffers, the greatest first, from one shard after the
// other until the pool's credit is at least want. A shard that was passed by has
// nothing left, or want was reached: either way the bound holds afterwards,
// whatever others do meanwhile.
func (p *Pool) shrink(want int64) (freed int64) {
	for _, s := range p.shards {
		if p.credit.Load() >= want {
			return freed
		}
		var gone []*block
		s.mu.Lock()
		p.credit.Add(s.credit)
		s.credit = 0
		for c := len(s.classes) - 1; c >= 0 && p.credit.Load() < want; c-- {
			st := &s.classes[c]
			for len(st.free) > 0 && p.credit.Load() < want {
				gone = append(gone, s.give(p, st))
			}
		}
		s.mu.Unlock()
		for _, b := range gone {
			freed += int64(len(b.mem))
			b.discard()
		}
	}
	return freed
}

// give takes a buffer out of the stack, and returns its credit to the pool.
func (s *shard) give(p *Pool, st *stack) *block {
	last := len(st.free) - 1
	b := st.free[last]
	st.free[last] = nil
	st.free = st.free[:last]
	st.low = min(st.low, last)
	s.retained -= int64(len(b.mem))
	s.discards++
	p.credit.Add(int64(len(b.mem)))
	return b
}

// How idle buffers go, collection by collection: a part of those that were not needed
// since the last one, and the last few after some collections.
const (
	idlePart   = 2
	idleCycles = 4
)

// decay gives up some of what was not used since the last collection, and all of it
// where buffers that were used had to be thrown away meanwhile: the sizes that the
// service asks for have changed.
func (p *Pool) decay() {
	for _, s := range p.shards {
		var gone []*block
		s.mu.Lock()
		for c := range s.classes {
			st := &s.classes[c]
			n := st.low / idlePart
			if st.low == 0 {
				st.idle = 0
			} else if st.idle++; st.idle >= idleCycles {
				n = max(n, 1)
			}
			if s.refused {
				n = st.low
			}
			for range n {
				gone = append(gone, s.give(p, st))
			}
			st.low = len(st.free)
		}
		s.refused = false
		if s.credit > p.grain {
			p.credit.Add(s.credit - p.grain)
			s.credit = p.grain
		}
		s.mu.Unlock()
		for _, b := range gone {
			b.discard()
		}
	}
}

// atCollection lets the pool decay after each garbage collection, for as long as
// there is the pool: an object that nothing refers to is found by every one.
func atCollection(pool weak.Pointer[Pool]) {
	// A pointer keeps it out of the allocator of tiny objects, which are found late
	// or never.
	sentinel := &struct{ _ *byte }{}
	runtime.AddCleanup(sentinel, func(pool weak.Pointer[Pool]) {
		if p := pool.Value(); p != nil {
			p.decay()
			atCollection(pool)
		}
	}, pool)
}
