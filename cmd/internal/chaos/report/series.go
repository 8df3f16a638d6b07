package report

import (
	"math"
	"slices"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// A sample is a value at an instant.
type sample struct {
	at time.Duration
	v  float64
}

// series are the values of a metric, by time.
func (o *outcome) series(m chaos.Metric) []sample {
	var out []sample
	for _, p := range o.points {
		if v, ok := p.Values[m]; ok && finite(v) {
			out = append(out, sample{p.At, v})
		}
	}
	return out
}

// before is the last value of a metric that was seen until an instant.
func (o *outcome) before(m chaos.Metric, at time.Duration) (float64, bool) {
	v, ok := 0.0, false
	for _, p := range o.points {
		if p.At > at && ok {
			break
		}
		if x, has := p.Values[m]; has && finite(x) {
			v, ok = x, true
		}
	}
	return v, ok
}

// A bar is a fault as it is drawn: how much of it there was, over time.
type bar struct {
	fault    int
	from, to time.Duration
	steps    []step // the first at from
}

// A step is what a level is from an instant on; share is of the most that there was.
type step struct {
	at           time.Duration
	level, share float64
}

// bars are the faults that began, in the order of the plan, at most maxBars.
func (o *outcome) bars() []bar { return slices.Clone(o.drawn) }

// maxBars bounds how many faults are drawn.
const maxBars = 64

// draw gathers the bars.
func (o *outcome) draw() {
	for i := range o.Plan.Faults[:min(len(o.Plan.Faults), maxBars)] {
		if b, ok := o.bar(i); ok {
			o.drawn = append(o.drawn, b)
		}
	}
}

func (o *outcome) bar(i int) (bar, bool) {
	b := bar{fault: i}
	if d, ok := o.done(i); ok && sane(d.Began) && sane(d.Ended) && d.Ended > d.Began {
		b.from, b.to = d.Began, d.Ended
	} else {
		for _, p := range o.Phases {
			if p.Kind == chaos.PhaseFault && p.Fault == i && sane(p.From) && sane(p.To) {
				b.from, b.to = p.From, p.To
			}
		}
	}
	if b.to <= b.from {
		return b, false
	}
	for _, e := range o.events {
		if e.Kind == chaos.EventLevel && e.Fault == i && e.At >= b.from && e.At <= b.to && finite(e.Value) {
			b.steps = append(b.steps, step{at: e.At, level: e.Value})
		}
	}
	if len(b.steps) == 0 { // nobody says: all of it, all the time
		level := math.NaN()
		if d, ok := o.done(i); ok {
			level = d.Peak
		}
		b.steps = []step{{b.from, level, 1}}
		return b, true
	}
	zero := 0.0
	if k := o.kind(i); k.Down {
		zero = o.rest(i, b)
	}
	most := 0.0
	for _, s := range b.steps {
		most = max(most, math.Abs(s.level-zero))
	}
	for n := range b.steps {
		b.steps[n].share = 1 // of a fault that has no more than one level, and came from nobody knows where
		if most > 0 {
			b.steps[n].share = math.Abs(b.steps[n].level-zero) / most
		}
	}
	if b.steps[0].at > b.from && most > 0 {
		b.steps = slices.Insert(b.steps, 0, step{b.from, zero, 0})
	}
	return b, true
}

// rest is what a level that falls was before it fell.
func (o *outcome) rest(i int, b bar) float64 {
	most := 0.0
	for _, s := range b.steps {
		most = max(most, s.level)
	}
	metric := map[chaos.Kind]chaos.Metric{chaos.HardLimit: chaos.Limit, chaos.SoftLimit: chaos.MemoryLimitGo, chaos.Reclaim: chaos.Usage}[o.kind(i).Kind]
	if v, ok := o.before(metric, b.from); ok && v >= most && v < 1<<60 {
		return v
	}
	if q := o.Plan.Target.CPUQuota; o.kind(i).Kind == chaos.CPUQuota && q >= most {
		return q
	}
	return most
}

// share is how much of the fault there was at an instant.
func (b bar) share(at time.Duration) float64 {
	s := 0.0
	for _, x := range b.steps {
		if x.at > at {
			break
		}
		s = x.share
	}
	return s
}

// A stretch is a time in which something did not change.
type stretch struct {
	from, to time.Duration
	v        float64
}

// stretches are the times in which a metric did not change. Where it is not known for
// longer than a few seconds there is none.
func (o *outcome) stretches(m chaos.Metric) []stretch {
	const gap = 3 * time.Second
	var out []stretch
	for _, s := range o.series(m) {
		if n := len(out); n > 0 && s.at-out[n-1].to <= gap {
			out[n-1].to = s.at
			if out[n-1].v == s.v {
				continue
			}
		}
		out = append(out, stretch{s.at, s.at, s.v})
	}
	return out
}

// guard are the states of the guard, by what was seen, or by what it told.
func (o *outcome) guard() []stretch {
	if seen := o.stretches(chaos.GuardState); len(seen) > 0 {
		return seen
	}
	var out []stretch
	of := func(name string) float64 {
		for v := range 3 {
			if stateName(float64(v)) == name {
				return float64(v)
			}
		}
		return 0
	}
	for _, e := range o.events {
		if e.Kind != chaos.EventState {
			continue
		}
		if len(out) == 0 {
			out = append(out, stretch{0, e.At, of(e.From)})
		}
		out[len(out)-1].to = e.At
		out = append(out, stretch{e.At, o.end, of(e.To)})
	}
	return out
}

// A range is the values of a column of a drawing.
type extent struct {
	lo, hi, last float64
	any          bool
}

// columns gathers samples by column of a drawing from 0 to end, so that a short peak
// is never lost.
func columns(list []sample, a axis, n int) []extent {
	out := make([]extent, n)
	for _, s := range list {
		i := column(s.at, a, n)
		if i < 0 {
			continue
		}
		e := &out[i]
		if !e.any {
			*e = extent{s.v, s.v, s.v, true}
		}
		e.lo, e.hi, e.last = min(e.lo, s.v), max(e.hi, s.v), s.v
	}
	return out
}

// An axis is the time that drawings span.
type axis struct{ from, to time.Duration }

func (a axis) len() time.Duration { return a.to - a.from }

// middle is the instant in the middle of a column of n.
func (a axis) middle(i, n int) time.Duration {
	return a.from + a.len()*time.Duration(2*i+1)/time.Duration(2*n)
}

// span is the axis of the run: from when something was seen, without what went before,
// when the target was built and warmed up.
func (o *outcome) span() axis {
	a := axis{o.end, o.end}
	see := func(d time.Duration) {
		if sane(d) {
			a.from = min(a.from, d)
		}
	}
	for _, p := range o.Phases {
		see(p.From)
	}
	for _, d := range o.Run.Faults {
		see(d.Began)
	}
	if len(o.points) > 0 {
		see(o.points[0].At)
	}
	if a.from == a.to || a.from < o.end/50 {
		a.from = 0
	}
	return a
}

// column is where an instant lies in a drawing of n columns, -1 when it does not.
func column(at time.Duration, a axis, n int) int {
	if at < a.from || at > a.to || a.len() <= 0 || n <= 0 {
		return -1
	}
	return min(int(float64(at-a.from)/float64(a.len())*float64(n)), n-1)
}

// tolerated are the bounds of the hypothesis on a metric: what holds in peace, and what
// is tolerated under a fault; false for a bound that is not there, or is a factor.
func (o *outcome) tolerated(m chaos.Metric) (peace, fault float64, hasPeace, hasFault bool) {
	for _, c := range o.Plan.Hypothesis {
		if c.Metric != m || c.AtMost == nil {
			continue
		}
		peace, hasPeace = *c.AtMost, finite(*c.AtMost)
		if c.Tolerated != nil {
			fault, hasFault = *c.Tolerated, finite(*c.Tolerated)
		}
		if c.OfBaseline { // what it comes to stands in the results
			hasPeace, hasFault = false, false
			for _, r := range o.verdict.Criteria {
				if r.Criterion.Metric != m || !r.Criterion.OfBaseline || !finite(r.Bound) {
					continue
				}
				if r.Phase == chaos.PhaseFault {
					fault, hasFault = r.Bound, c.Tolerated != nil
				} else {
					peace, hasPeace = r.Bound, true
				}
			}
		}
		return peace, fault, hasPeace, hasFault
	}
	return 0, 0, false, false
}

// ticks are round times on the axis, at most n steps.
func ticks(a axis, n int) []time.Duration {
	steps := []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
		10 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 72 * time.Hour, 240 * time.Hour}
	step := steps[len(steps)-1]
	for _, s := range steps {
		if int64(a.len()/s) <= int64(max(n, 1)) {
			step = s
			break
		}
	}
	var out []time.Duration
	for t := (a.from + step - 1) / step * step; t <= a.to && len(out) <= 4*n+4; t += step {
		out = append(out, t)
	}
	return out
}
