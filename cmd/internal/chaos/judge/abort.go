package judge

import (
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// An Abort watches the conditions that end everything.
type Abort struct {
	base  baseline
	list  []*follower
	last  time.Duration
	begun bool
}

// NewAbort watches criteria.
func NewAbort(criteria []chaos.Criterion) *Abort {
	a := &Abort{}
	criteria = sane(criteria)
	for i := range criteria {
		a.list = append(a.list, newFollower(&criteria[i]))
	}
	return a
}

// Baseline says what bounds that are of the baseline are of: points from before the
// first fault. Without it those are not looked at. What counters count by then is no
// reason to end anything.
func (a *Abort) Baseline(points []chaos.Point) {
	a.base = newBaseline(points)
	for _, w := range a.list {
		w.usual = lateness(points)
		for _, p := range points {
			if v, ok := value(p, w.c.Metric); ok {
				w.seen = max(w.seen, v)
			}
		}
		w.recount()
	}
}

// Step looks at a point, while there is the fault f, or while the target recovers from
// it; nil while there is none. It says the first criterion that is broken, and why in
// words; nil when none is. A value that is absent breaks nothing. A point from before
// the last one is not looked at.
func (a *Abort) Step(p chaos.Point, f *chaos.Fault) (broken *chaos.Criterion, why string) {
	if a.begun && p.At < a.last {
		return nil, ""
	}
	a.begun, a.last = true, p.At
	for _, w := range a.list {
		if excepted(w.c, f) {
			w.skip(p)
			continue
		}
		// Conditions have one bound: a fault is why they are there.
		if s := w.step(p, toEnd, a.base); s.broken && broken == nil {
			broken, why = w.c, broke(w.c, s.value, s.low, s.high, p.At-s.since)
		}
	}
	return broken, why
}
