package ramp

import (
	"math"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// A loop leads a share of the way from one level to the other.
type loop struct {
	goal        chaos.Goal
	from, level float64
	slope       float64       // share of the way, a second
	patience    time.Duration // for the goal

	share float64
	last  time.Duration
	begun bool
	held  time.Duration // since when; -1: not yet
	met   bool
}

func newLoop(f chaos.Fault, from, level float64, ramp time.Duration) *loop {
	l := &loop{goal: *f.Until, from: from, level: level, held: -1}
	way := math.Abs(level - from)
	if ramp <= 0 {
		ramp = 10 * time.Second
	}
	l.slope = 1 / ramp.Seconds()
	if s := finite(f.Until.Slope); s > 0 && way > 0 {
		l.slope = s / way
		ramp = max(ramp, time.Duration(way/s*float64(time.Second)))
	}
	l.patience = 3 * ramp
	return l
}

func (l *loop) step(elapsed time.Duration, p chaos.Point, hold time.Duration) (float64, Stage) {
	return between(l.from, l.level, l.share), Rising
}

func (l *loop) missed() string { return "" }
