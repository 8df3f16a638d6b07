package ramp

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// A loop leads the level so that a metric comes to a value: a PI controller in its
// velocity form. What it keeps is the share of the way from one level to the other; an
// error, and how fast it closes, make that go up or down, never faster than the slope
// and never past an end. There is nothing else that could wind up.
//
// The gain is found on the way, from how far the metric has come for how much of the
// fault: nobody knows beforehand how much CPU the collector takes for a GiB.
type loop struct {
	goal        chaos.Goal
	from, level float64
	slope       float64       // share of the way, a second
	sign        float64       // +1: more of the fault, more of the metric
	lag         time.Duration // over which the metric is a mean
	patience    time.Duration // for the goal

	share float64
	last  time.Duration
	begun bool
	met   bool
	held  time.Duration // since when; -1: not yet

	seen  bool // a reading
	first float64
	past  []reading // of the last lag, a second at least

	bend    float64 // how much steeper than on average it is
	caution float64 // for having passed the goal
	side    float64 // of the goal, the last time that it was off it
}

type reading struct {
	at           time.Duration
	value, share float64
}

const (
	// withoutRamp is the way's time where the plan says neither how long the ramp is nor
	// how steep.
	withoutRamp = 10 * time.Second
	// waits is how many times the ramp's time the goal may take.
	waits = 3
	// seeing is how many times the lag all of the way takes at least.
	seeing = 3
	// longest is what counts of the time between two steps: who was stopped does not jump.
	longest = time.Second
	// band is how near the goal is at the goal, as a share of it, and bandWay as a share
	// of the way to it.
	band, bandWay = 0.05, 0.02
	// smooth is how much of the newest readings is one: their median.
	smooth = 500 * time.Millisecond
	// apart is the least time between two readings that are kept.
	apart = 50 * time.Millisecond
	// little is what the metric has to move, as a share of the way to the goal, and the
	// level, as a share of its way, before one is put down to the other.
	little, littleShare = 0.05, 0.01
	// pushing is the least change of the level that says how steep the curve is here, as a
	// share of the slope.
	pushing = 0.2
	// bends is how much steeper than on average it has to be here for the curve to bend.
	bends = 1.5
	// steepest is how much steeper the curve may be than it was on average.
	steepest = 20
	// careful is how much more is taken for the gain each time that the goal was passed,
	// and mostCareful the most.
	careful, mostCareful = 1.5, 10
)

func newLoop(f chaos.Fault, from, level float64, ramp time.Duration) *loop {
	l := &loop{goal: *f.Until, from: from, level: level, sign: direction(f.Kind, f.Until.Metric), lag: lag(f.Until.Metric), held: -1}
	l.goal.Reaches = finite(l.goal.Reaches)
	if ramp <= 0 {
		ramp = withoutRamp
	}
	// Who goes all the way in less time than it takes to see where it leads passes every
	// goal.
	ramp = max(ramp, seeing*l.lag)
	l.slope = 1 / ramp.Seconds()
	if way, s := math.Abs(level-from), finite(f.Until.Slope); s > 0 && way > 0 {
		l.slope = min(s/way, 1/(seeing*l.lag).Seconds())
		ramp = max(ramp, time.Duration(min(way/s, 1e6)*float64(time.Second)))
	}
	l.patience = waits * min(ramp, 24*time.Hour)
	return l
}

// direction is whether more of a fault makes a metric rise, or fall.
func direction(k chaos.Kind, m chaos.Metric) float64 {
	switch m {
	case chaos.Ready, chaos.Throughput, chaos.Headroom, chaos.HeadroomRatio, chaos.HeadroomSeconds, chaos.HostFreeRatio:
		return -1
	case chaos.MemoryLimitGo, chaos.HeapGoal, chaos.GoTotal:
		if k == chaos.SoftLimit {
			return -1
		}
	case chaos.Limit:
		if k == chaos.HardLimit {
			return -1
		}
	case chaos.Usage, chaos.WorkingSet, chaos.RSS:
		if k == chaos.SoftLimit || k == chaos.HardLimit || k == chaos.Reclaim {
			return -1
		}
	case chaos.CPUUsed, chaos.Requests:
		if k == chaos.CPUQuota || k == chaos.Freeze || k == chaos.SlowDependency || k == chaos.BlackHole || k == chaos.ResetPeer {
			return -1
		}
	}
	return 1
}

// lag is over how long a metric is taken.
func lag(m chaos.Metric) time.Duration {
	switch m {
	case chaos.PauseP99, chaos.PressureSome, chaos.PressureFull:
		return 10 * time.Second
	case chaos.GCCPURatio, chaos.AssistRatio, chaos.LatencyP99, chaos.CyclesPerSecond:
		return 5 * time.Second
	case chaos.Headroom, chaos.HeadroomRatio, chaos.Usage, chaos.WorkingSet, chaos.RSS, chaos.Limit, chaos.GoroutineCount:
		return 200 * time.Millisecond
	}
	return time.Second
}

func (l *loop) step(elapsed time.Duration, p chaos.Point, hold time.Duration) (float64, Stage) {
	if l.begun && elapsed < l.last {
		elapsed = l.last
	}
	dt := min(elapsed-l.last, longest)
	if !l.begun {
		dt = 0
	}
	l.begun, l.last = true, elapsed
	// Without a reading the level stays as it is: nobody knows where it leads.
	if v, ok := p.Values[l.goal.Metric]; ok && !math.IsNaN(v) && !math.IsInf(v, 0) {
		l.read(elapsed, v)
		l.lead(elapsed, dt.Seconds())
	}
	if l.held < 0 && (l.met || elapsed >= l.patience) {
		l.held = elapsed
	}
	stage := Rising
	switch {
	case l.held >= 0 && elapsed-l.held >= hold:
		stage = Over
	case l.held >= 0:
		stage = Holding
	}
	return between(l.from, l.level, l.share), stage
}

// read takes a reading in.
func (l *loop) read(at time.Duration, v float64) {
	if !l.seen {
		l.seen, l.first = true, v
	}
	n := len(l.past)
	if n > 0 && at-l.past[n-1].at > max(2*longest, l.lag) {
		l.past = l.past[:0] // who has not looked for long knows no slope
	} else if n > 0 && at-l.past[n-1].at < apart {
		l.past = l.past[:n-1]
	}
	l.past = append(l.past, reading{at, v, l.share})
	l.past = slices.DeleteFunc(l.past, func(r reading) bool { return at-r.at > max(l.lag, longest) })
}

// lead moves the share for dt seconds.
func (l *loop) lead(at time.Duration, dt float64) {
	v := l.value(at)
	way := math.Abs(l.goal.Reaches - l.first)
	near := max(band*math.Abs(l.goal.Reaches), bandWay*way)
	if near == 0 {
		near = 1e-9
	}
	way = max(way, near)
	off := l.sign * (l.goal.Reaches - v) // more than nothing: more of the fault is wanted
	if off <= near {
		l.met = true
	}
	if math.Abs(off) > 2*near {
		side := math.Copysign(1, off)
		if l.side*side < 0 {
			l.caution = min(max(l.caution, 1)*careful, mostCareful)
		}
		l.side = side
	}
	drift, pushed := l.slopes()
	// A mean over the lag shows what was half of it ago. While the metric still moves, it
	// will have come so much further.
	ahead := off - l.sign*drift*(l.lag.Seconds()/2+0.2)
	if math.Abs(off) <= near && math.Abs(ahead) <= 2*near || off*ahead < 0 {
		return // there, or on the way there by itself
	}
	if math.Abs(ahead) > math.Abs(off) {
		ahead = off // what runs away is not chased harder
	}
	rate := math.Copysign(l.slope, ahead)
	if gain, ok := l.gain(v, way, drift, pushed); ok {
		// As much as it takes, over a time in which it can be seen what came of it.
		rate = ahead / gain / (1.5*l.lag.Seconds() + 1)
	}
	rate = min(max(rate, -l.slope), l.slope)
	l.share = min(max(l.share+finite(rate)*dt, 0), 1)
}

// value is the median of the newest readings: one that is far off moves nothing.
func (l *loop) value(at time.Duration) float64 {
	var v []float64
	for i := len(l.past) - 1; i >= 0 && at-l.past[i].at <= smooth; i-- {
		v = append(v, l.past[i].value)
	}
	slices.Sort(v)
	n := len(v)
	return v[(n-1)/2]/2 + v[n/2]/2
}

// slopes are the change of the metric and of the share, a second, by least squares over
// the readings that are kept.
func (l *loop) slopes() (metric, share float64) {
	n := float64(len(l.past))
	if n < 5 {
		return 0, 0
	}
	var t, v, s float64
	zero := l.past[0].at
	for _, r := range l.past {
		t, v, s = t+(r.at-zero).Seconds()/n, v+r.value/n, s+r.share/n
	}
	var tt, tv, ts float64
	for _, r := range l.past {
		d := (r.at - zero).Seconds() - t
		tt, tv, ts = tt+d*d, tv+d*(r.value-v), ts+d*(r.share-s)
	}
	if !(tt > 0) {
		return 0, 0
	}
	return finite(tv / tt), finite(ts / tt)
}

// gain is how much the metric moves for all of the way: on average so far, times how much
// more it bends from here to the goal. False while it has hardly moved.
func (l *loop) gain(v, way, drift, pushed float64) (float64, bool) {
	come := l.sign * (v - l.first)
	if l.share < littleShare || come < little*way {
		return 0, false
	}
	gain := come / l.share
	if pushed > pushing*l.slope {
		// A curve that is so much steeper here than on average will be steeper still.
		here := l.sign * drift / pushed / gain
		if !(here >= bends) {
			here = 1 // noise is no bend
		}
		l.bend += finite(min(here*math.Sqrt(here), steepest)-l.bend) / 10
	} else {
		l.bend += (1 - l.bend) / 100 // what was seen long ago is forgotten
	}
	return gain * max(l.bend, 1) * max(l.caution, 1), gain > 0
}

// missed is why the goal was not reached: "" when it was, or may still be.
func (l *loop) missed() string {
	if l.met || l.held < 0 {
		return ""
	}
	what := string(l.goal.Metric)
	if i, ok := l.goal.Metric.Info(); ok {
		what = i.What
	}
	goal := strconv.FormatFloat(l.goal.Reaches, 'g', 4, 64)
	if !l.seen {
		return fmt.Sprintf("%s could not be seen: the level stayed where it began", what)
	}
	now := strconv.FormatFloat(l.past[len(l.past)-1].value, 'g', 4, 64)
	if l.share >= 1 {
		return fmt.Sprintf("%s did not come to %s with all of the level: it is at %s", what, goal, now)
	}
	return fmt.Sprintf("%s did not come to %s within %s: it is at %s", what, goal, l.patience, now)
}
