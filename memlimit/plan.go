package memlimit

import (
	"fmt"
	"math"
	"time"
)

// Shares and bounds of the plan. docs and tests refer to them by these names.
const (
	// guessShare of the limit stands for memory that is not Go's until it was
	// measured: a tenth is what is usually left. At least guessLeast, at most
	// guessMost of the limit.
	guessShare = 0.10
	guessLeast = 16 << 20
	guessMost  = 0.25

	// The reserve is never less than leastShare of the limit or leastReserve, of
	// which a small container gives up leastMost at most. Go itself stays 3% below
	// its limit while it can, so that little is wanted here; what is not bounded by
	// that is one surprise between two looks. The rate of allocation has no part in
	// it: the collector paces itself by that, and where it does not keep up Go is over
	// its limit, which is measured.
	leastShare   = 0.02
	leastReserve = 32 << 20
	leastMost    = 0.10
	// noiseMost bounds what the measured noise adds.
	noiseMost = 0.25
	// lastShare of the limit is kept even when what lives wants the rest, or, of a
	// small one, lastBytes but no more than lastMost: memory of the kernel that cgroup
	// v1 does not tell apart, and what hides behind memory that Go holds and has not
	// touched yet, 4 MiB in a small process.
	lastShare = 0.01
	lastBytes = 8 << 20
	lastMost  = 0.03

	// livingShare over the live heap is the least runway that is still worth
	// collecting for: with less, the collector takes most of the CPUs, and the heap
	// does not get smaller.
	livingShare = 0.10

	// holdTime is how fast it is forgotten by how much memory moved. What memory that
	// is not Go's came to is forgotten at releaseTime: should it come back, the reserve
	// still knows how fast that went.
	holdTime    = 10 * time.Minute
	releaseTime = 15 * time.Second
)

// inputs are what a plan is made from. Bytes.
type inputs struct {
	limit    uint64
	nonGo    uint64 // peak of late; with measured false, what there is at the start
	measured bool
	rise     uint64 // by how much memory that is not Go's grew at most between two looks, of late
	over     uint64 // by how much Go was over its limit at most, of late
	reserve  uint64 // Config.Reserve
	live     uint64 // heap found alive by the last collection
	fixed    uint64 // of Go's memory, what is not heap: stacks and the runtime's own
}

// settings are what a plan comes to. Bytes.
type settings struct {
	nonGo      uint64
	nonGoWhy   string
	reserve    uint64
	reserveWhy string
	limit      int64  // GOMEMLIMIT
	ceiling    int64  // what Go may have as a last resort
	floor      uint64 // what lives needs
	tooSmall   bool   // the floor is above the ceiling, which the limit is then
}

// plan decides on GOMEMLIMIT. It is never above the limit less the memory that is
// not Go's and the last of the reserve, whatever lives.
func plan(in inputs) settings {
	var s settings
	m := float64(in.limit)
	s.nonGo, s.nonGoWhy = min(in.nonGo, in.limit), "measured; a peak is forgotten within a minute"
	if !in.measured {
		s.nonGo = max(s.nonGo, uint64(min(max(guessShare*m, guessLeast), guessMost*m)))
		s.nonGoWhy = "10% of the limit, or what there is already: it was not measured over time yet"
	}

	least := min(max(leastShare*m, leastReserve), leastMost*m)
	noise := min(float64(in.rise)+float64(in.over), noiseMost*m)
	switch {
	case float64(in.reserve) >= max(least, noise):
		s.reserve, s.reserveWhy = min(in.reserve, in.limit), "as configured"
	case noise > least:
		s.reserve = uint64(noise)
		s.reserveWhy = fmt.Sprintf("memory that is not Go's grew by %s between two looks, and Go was %s over its limit, at most of late", human(in.rise), human(in.over))
	default:
		s.reserve, s.reserveWhy = uint64(least), "2% of the limit or 32 MiB, at most a tenth: more than was seen to be needed"
	}

	s.floor = uint64(min(float64(in.fixed)+float64(in.live)*(1+livingShare), math.MaxInt64/2))
	s.floor = max(s.floor, minLimit/2)
	s.ceiling = left(in.limit, s.nonGo, lastReserve(in.limit))
	s.limit = left(in.limit, s.nonGo, s.reserve)
	if s.limit < int64(s.floor) {
		s.limit = int64(s.floor)
		if s.limit > s.ceiling {
			// Above the ceiling the kernel kills. Below what lives the collector takes
			// half of the CPUs, no more (runtime/mgclimit.go): a service that is slow can
			// still shed load.
			s.ceiling = max(s.ceiling, minLimit/2)
			s.tooSmall, s.limit = true, s.ceiling
			s.reserve, s.reserveWhy = min(lastReserve(in.limit), in.limit-s.nonGo), "the last of it, since what lives needs more than there is"
		} else {
			s.reserveWhy += "; less is kept, since what lives needs it"
			s.reserve = in.limit - s.nonGo - uint64(s.limit)
		}
	}
	return s
}

// lastReserve is what is kept of a limit in any case.
func lastReserve(limit uint64) uint64 {
	m := float64(limit)
	return uint64(max(lastShare*m, min(lastBytes, lastMost*m)))
}

// left is what of a limit is left, at least 0.
func left(limit, a, b uint64) int64 {
	if a >= limit || b >= limit-a {
		return 0
	}
	return int64(min(limit-a-b, math.MaxInt64))
}

// A peak holds the highest value of late: it falls towards what is there with
// a time constant.
type peak struct {
	v float64
}

func (p *peak) add(v uint64, since, hold time.Duration) uint64 {
	f := float64(v)
	if f < p.v {
		f += (p.v - f) * math.Exp(-max(0, since.Seconds())/hold.Seconds())
	}
	p.v = f
	return uint64(f)
}

// A noise follows what is measured from one look to the next.
type noise struct {
	nonGo, rise, over peak
	last              uint64        // memory that is not Go's, at the last look
	at                time.Duration // of the last look
	looks             int
}

// add takes a measurement: what is used of the limit and cannot be reclaimed, and
// what Go holds of it. limit is GOMEMLIMIT as it was since the last look; a
// negative one, or none, says nothing about Go being over it.
func (n *noise) add(at time.Duration, used, goes uint64, limit int64) {
	since := at - n.at
	now := used - min(used, goes)
	if n.looks > 0 {
		n.rise.add(now-min(now, n.last), since, holdTime)
	}
	var over uint64
	if limit > 0 && goes > uint64(limit) {
		over = goes - uint64(limit)
	}
	n.over.add(over, since, holdTime)
	n.nonGo.add(now, since, releaseTime)
	n.last, n.at = now, at
	n.looks++
}
