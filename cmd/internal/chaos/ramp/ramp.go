// Package ramp says which level a fault has at an instant: up a slope or in steps and
// then held, or led so that something of the target comes to a value and stays there.
//
// It is pure: time and what is seen come with each step. It makes nothing happen, and
// what a level means is package fault's.
package ramp

import (
	"math"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// A Stage is how far a ramp is.
type Stage uint8

// The stages, in their order.
const (
	Rising  Stage = iota // on its way
	Holding              // at its level, or at its goal
	Over                 // the hold is over: the fault is to be undone
)

// String is "rising", "holding" or "over".
func (s Stage) String() string {
	switch s {
	case Rising:
		return "rising"
	case Holding:
		return "holding"
	case Over:
		return "over"
	}
	return "unknown"
}

// A Ramp is the course of one fault's level.
type Ramp struct {
	from, level float64
	ramp, hold  time.Duration
	steps       int
	loop        *loop // nil for an open ramp
}

// New is the ramp of a fault, from a level to a level that are in the unit of its kind:
// what the plan says in shares has been resolved.
func New(f chaos.Fault, from, level float64) *Ramp {
	r := &Ramp{from: finite(from), level: finite(level), ramp: max(f.Ramp, 0), hold: max(f.Hold, 0), steps: max(f.Steps, 0)}
	if f.Until != nil {
		r.loop = newLoop(f, r.from, r.level, r.ramp)
	}
	return r
}

// Step is the level at an instant, elapsed since the fault began, and what it does
// there. An open ramp does not look at p.
func (r *Ramp) Step(elapsed time.Duration, p chaos.Point) (level float64, stage Stage) {
	elapsed = max(elapsed, 0)
	if r.loop != nil {
		return r.loop.step(elapsed, p, r.hold)
	}
	switch {
	case elapsed >= r.ramp+r.hold:
		return r.level, Over
	case elapsed >= r.ramp:
		return r.level, Holding
	}
	share := float64(elapsed) / float64(r.ramp)
	if r.steps > 0 {
		// The first step is taken at once, the last a step's time before the ramp ends:
		// each level has the same time.
		share = min(math.Floor(share*float64(r.steps))+1, float64(r.steps)) / float64(r.steps)
	}
	return between(r.from, r.level, share), Rising
}

// Missed is why the goal of a closed loop was not reached in time, or ever: "" when it
// was, while it may still be, and of an open ramp.
func (r *Ramp) Missed() string {
	if r.loop == nil {
		return ""
	}
	return r.loop.missed()
}

// between is exact at both ends, and never past them.
func between(from, level, share float64) float64 {
	switch {
	case share <= 0:
		return from
	case share >= 1:
		return level
	}
	v := from + (level-from)*share
	return min(max(v, min(from, level)), max(from, level))
}

func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}
