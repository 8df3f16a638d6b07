package judge

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

const (
	// safeGCCPU is the most that the collector may take at a limit that is called safe.
	safeGCCPU = 0.10
	// mostLevels is how many levels are looked at one by one; a slope has more, and is cut
	// into slopeBins.
	mostLevels, slopeBins = 40, 16
	// settling is how long a level is not looked at: values are of the last seconds.
	settling = 5 * time.Second
	// lasting is how long a layer has to be over its line to have failed.
	lasting = time.Second
	// unlimited is what a limit that is none looks like.
	unlimited = 1 << 60
)

// Names of layers, by what is usual to fail first.
const (
	layerGCCPU10  = "gc_cpu_10"
	layerAssist   = "assist"
	layerGCCPU25  = "gc_cpu_25"
	layerGuard    = "guard"
	layerThrottle = "throttle"
	layerPressure = "pressure"
	layerLatency  = "latency"
	layerErrors   = "errors"
	layerGCCPU50  = "gc_cpu_50"
	layerLimit    = "limit"
	layerOOM      = "oom"
)

// lines are where layers fail: assists from where HW2002 tells of them, throttling from
// where HW4004 warns, pressure from where HW-CHAOS/1 has it.
var lines = []struct {
	name   string
	metric chaos.Metric
	line   float64
}{
	{layerGCCPU10, chaos.GCCPURatio, safeGCCPU},
	{layerAssist, chaos.AssistRatio, 0.05},
	{layerGCCPU25, chaos.GCCPURatio, 0.25},
	{layerThrottle, chaos.ThrottledRatio, 0.10},
	{layerPressure, chaos.PressureFull, 0.05},
	{layerGCCPU50, chaos.GCCPURatio, 0.50},
}

// A held is a stretch of a level.
type held struct {
	from, to time.Duration
	level    float64
}

// takes is how a kind of fault takes memory: room says what is left to the target.
// False for kinds that take none.
func (j *judging) room(f *chaos.Fault, level float64) (room, taken float64, ok bool) {
	switch f.Kind {
	case chaos.HardLimit, chaos.Reclaim:
		// The level is the room itself.
		limit, has := j.limit(chaos.Limit)
		if !has {
			limit, has = j.limit(chaos.Usage)
		}
		return level, max(0, limit-level), has
	case chaos.SoftLimit:
		limit, has := j.limit(chaos.MemoryLimitGo)
		if !has {
			limit, has = j.limit(chaos.Limit)
		}
		if !has {
			limit, has = j.limit(chaos.GoTotal)
		}
		return level, max(0, limit-level), has
	case chaos.Sibling, chaos.Shared, chaos.OffHeap, chaos.Retain, chaos.Pointers, chaos.Large, chaos.Fragments, chaos.Stacks:
		limit, has := j.limit(chaos.Limit)
		return limit - level, level, has
	}
	return 0, 0, false
}

// limit is what a limit was before the first fault.
func (j *judging) limit(m chaos.Metric) (float64, bool) {
	l, ok := j.base[m]
	return l.middle, ok && l.middle > 0 && l.middle < unlimited
}

// margin is how much memory can be taken before what fails, from the fault that left the
// least room; nil where none took memory from a target whose limit is known. A lowered
// GOMEMLIMIT is looked at where there is nothing else: what is safe as one is not safe as
// a limit of the cgroup, which has more to hold.
func (j *judging) margin() *chaos.Margin {
	var best *chaos.Margin
	least, soft := math.Inf(1), false
	for i := range j.run.Plan.Faults[:min(len(j.run.Plan.Faults), mostFaults)] {
		d, ok := j.done(i)
		if !ok || !d.Happened {
			continue
		}
		m := j.marginOf(i, d)
		if m == nil {
			continue
		}
		isSoft := j.run.Plan.Faults[i].Kind == chaos.SoftLimit
		if room := m.Points[len(m.Points)-1].RoomBytes; best == nil || soft && !isSoft || soft == isSoft && room < least {
			best, least, soft = m, room, isSoft
		}
	}
	return best
}

func (j *judging) marginOf(i int, d chaos.Done) *chaos.Margin {
	plan := &j.run.Plan.Faults[i]
	if _, _, ok := j.room(plan, 0); !ok {
		return nil
	}
	levels := j.levels(i, d)
	if len(levels) == 0 {
		return nil
	}
	m := &chaos.Margin{Fault: i, Points: []chaos.MarginPoint{}, Layers: []chaos.Layer{}, SafeGCCPURatio: safeGCCPU}
	at := func(t time.Duration) (room, taken float64) {
		level := levels[0].level
		k, _ := slices.BinarySearchFunc(levels, t, func(h held, t time.Duration) int { return cmp.Compare(h.from, t+1) })
		if k > 0 {
			level = levels[k-1].level
		}
		room, taken, _ = j.room(plan, level)
		return finite(room), finite(taken)
	}
	m.Layers = j.layers(d, at)

	// What it was like with nothing taken is the first point of the curve.
	room, taken := at(d.Began)
	if l, ok := j.limit(chaos.Limit); ok {
		room, taken = l, 0
	} else {
		room, taken = room+taken, 0
	}
	if p, ok := j.point(j.before, room, taken); ok {
		m.Points = append(m.Points, p)
	}
	stretches := levels
	if len(levels) > mostLevels {
		stretches = binned(levels)
	}
	for _, h := range stretches {
		from := h.from + min(settling, (h.to-h.from)/2)
		room, taken, _ := j.room(plan, h.level)
		p, ok := j.point(j.between(from, h.to), finite(room), finite(taken))
		if !ok {
			continue
		}
		for _, l := range m.Layers {
			if l.At < h.to {
				p.Failed = append(p.Failed, l.Name)
			}
		}
		m.Points = append(m.Points, p)
	}
	if len(m.Points) == 0 {
		return nil
	}
	slices.SortStableFunc(m.Points, func(a, b chaos.MarginPoint) int { return cmp.Compare(b.RoomBytes, a.RoomBytes) })
	for _, p := range m.Points {
		if len(p.Failed) > 0 || !slices.Contains(p.Has, chaos.GCCPURatio) || p.GCCPURatio > safeGCCPU {
			break
		}
		m.SafeLimitBytes, m.TakenBytes = p.RoomBytes, p.TakenBytes
	}
	m.TakenBytes = 0
	for _, p := range m.Points {
		if len(p.Failed) > 0 {
			break
		}
		m.TakenBytes = max(m.TakenBytes, p.TakenBytes)
	}
	m.KneeLimitBytes = knee(m.Points)
	return m
}

// levels are the levels that a fault had, and from when to when.
func (j *judging) levels(i int, d chaos.Done) []held {
	end := max(d.Ended, d.Began)
	var out []held
	for _, e := range j.events(chaos.EventLevel, d.Began, end) {
		if e.Fault != i || math.IsNaN(e.Value) || math.IsInf(e.Value, 0) || e.Value < 0 {
			continue
		}
		if n := len(out); n > 0 {
			if out[n-1].level == e.Value {
				continue
			}
			out[n-1].to = e.At
		}
		out = append(out, held{from: e.At, to: end, level: e.Value})
	}
	if len(out) == 0 && d.Peak > 0 {
		out = append(out, held{from: d.Began, to: end, level: d.Peak})
	}
	return slices.DeleteFunc(out, func(h held) bool { return h.to <= h.from })
}

// binned cuts a slope into as many stretches of equal levels. Each has the level in the
// middle of it, as long as the level goes one way.
func binned(levels []held) []held {
	low, high := math.Inf(1), math.Inf(-1)
	for _, h := range levels {
		low, high = min(low, h.level), max(high, h.level)
	}
	width := (high - low) / slopeBins
	if !(width > 0) {
		return levels[:1]
	}
	bin := func(v float64) int { return min(int((v-low)/width), slopeBins-1) }
	var out []held
	was := -1
	for _, h := range levels {
		k := bin(h.level)
		if n := len(out); n > 0 && k == was {
			out[n-1].to = h.to
			// The end of a slope is held for long: what is held counts.
			if h.to-h.from > (out[n-1].to-out[n-1].from)/2 {
				out[n-1].level = h.level
			}
			continue
		}
		if len(out) == 4*slopeBins {
			break // a closed loop may go up and down for long
		}
		out, was = append(out, held{from: h.from, to: h.to, level: low + (float64(k)+0.5)*width}), k
	}
	return out
}

// point is what a stretch came to; false where there are no points of it.
func (j *judging) point(points []chaos.Point, room, taken float64) (chaos.MarginPoint, bool) {
	p := chaos.MarginPoint{RoomBytes: room, TakenBytes: taken, Has: []chaos.Metric{}}
	if len(points) == 0 {
		return p, false
	}
	for _, x := range []struct {
		m  chaos.Metric
		to *float64
	}{
		{chaos.GCCPURatio, &p.GCCPURatio}, {chaos.AssistRatio, &p.AssistRatio}, {chaos.LatencyP99, &p.P99Seconds},
		{chaos.PauseP99, &p.PauseP99},
	} {
		var values []float64
		for _, q := range points {
			if v, ok := value(q, x.m); ok {
				values = append(values, v)
			}
		}
		if len(values) > 0 {
			*x.to = median(values)
			p.Has = append(p.Has, x.m)
		}
	}
	// Of failures the mean: the median of a few is none.
	sum, n := 0.0, 0
	for _, q := range points {
		if v, ok := value(q, chaos.ErrorRatio); ok {
			sum, n = sum+v, n+1
		}
	}
	if n > 0 {
		p.ErrorRatio = finite(sum / float64(n))
		p.Has = append(p.Has, chaos.ErrorRatio)
	}
	return p, true
}

// layers are what failed during a fault, the first first. What had failed before the
// fault says nothing of memory, and is left out.
func (j *judging) layers(d chaos.Done, room func(time.Duration) (room, taken float64)) []chaos.Layer {
	out := []chaos.Layer{}
	end := max(d.Ended, d.Began) + 1
	points := j.between(d.Began, end)
	add := func(name string, at time.Duration, what string) {
		left, _ := room(at)
		out = append(out, chaos.Layer{Name: name, At: at, RoomBytes: left, Text: fmt.Sprintf("%s, with %s left", what, words(chaos.Limit, left))})
	}
	for _, l := range lines {
		c := chaos.Criterion{Metric: l.metric, AtMost: &l.line, For: lasting}
		if _, _, ok := first(&c, j.before, nil); ok {
			continue
		}
		if at, v, ok := first(&c, points, nil); ok {
			add(l.name, at, fmt.Sprintf("%s: %s, the line is %s", name(l.metric), words(l.metric, v), words(l.metric, l.line)))
		}
	}
	for _, c := range j.run.Plan.Hypothesis {
		layer := map[chaos.Metric]string{chaos.LatencyP50: layerLatency, chaos.LatencyP99: layerLatency, chaos.ErrorRatio: layerErrors}[c.Metric]
		if layer == "" || c.AtMost == nil || slices.ContainsFunc(out, func(l chaos.Layer) bool { return l.Name == layer }) {
			continue
		}
		if _, _, ok := first(&c, j.before, j.base); ok && !c.OfBaseline {
			continue
		}
		if at, v, ok := first(&c, points, j.base); ok {
			_, high, _ := bounds(&c, toHold, j.base)
			add(layer, at, fmt.Sprintf("%s: %s, normal is at most %s", name(c.Metric), words(c.Metric, v), words(c.Metric, high)))
		}
	}
	if took := j.degraded(d, end); took != nil {
		add(layerGuard, d.Began+*took, "the guard degraded")
	}
	if at, by, ok := j.rise(chaos.LimitEvents, d.Began, points); ok {
		add(layerLimit, at, fmt.Sprintf("the cgroup was at its limit (%s times)", words(chaos.LimitEvents, by)))
	}
	if at, _, ok := j.rise(chaos.OOMKills, d.Began, points); ok {
		add(layerOOM, at, "the kernel killed for memory")
	} else if e := j.events(chaos.EventKill, d.Began, end); len(e) > 0 {
		add(layerOOM, e[0].At, "the kernel killed for memory")
	} else if d.KilledTarget {
		add(layerOOM, d.Ended, "the kernel killed the target for memory")
	}
	slices.SortStableFunc(out, func(a, b chaos.Layer) int { return cmp.Compare(a.At, b.At) })
	return out
}

// first is when a criterion began to be broken, by its normal bound, and the value when
// that was certain.
func first(c *chaos.Criterion, points []chaos.Point, b baseline) (time.Duration, float64, bool) {
	w := newFollower(c)
	for _, p := range points {
		if s := w.step(p, toHold, b); s.broken {
			return s.since, s.value, true
		}
	}
	return 0, 0, false
}

// rise is when a counter first rose, and by how much in all.
func (j *judging) rise(m chaos.Metric, from time.Duration, points []chaos.Point) (at time.Duration, by float64, ok bool) {
	was, has := 0.0, false
	earlier := j.between(0, from)
	for i := len(earlier) - 1; i >= 0 && !has; i-- {
		was, has = value(earlier[i], m)
	}
	for _, p := range points {
		v, known := value(p, m)
		if !known || v <= was {
			continue
		}
		if !ok {
			at, ok = p.At, true
		}
		by = max(by, v-was)
	}
	return at, by, ok
}

const (
	// kneeRise is how much more CPU the collector has to take over the curve for it to
	// have a knee, and kneeBend how far from a straight line it has to be, as a share.
	kneeRise, kneeBend = 0.05, 0.15
	kneePoints         = 4
)

// knee is the room at which the collector's share begins to rise steeply: where the
// curve is farthest below the straight line between its ends (Satopää et al. 2011,
// "Finding a Kneedle in a Haystack"). 0 where the curve rises too little, or all along.
func knee(points []chaos.MarginPoint) float64 {
	var x, y []float64
	for _, p := range points { // by falling room
		if slices.Contains(p.Has, chaos.GCCPURatio) {
			x, y = append(x, p.RoomBytes), append(y, p.GCCPURatio)
		}
	}
	n := len(x)
	if n < kneePoints {
		return 0
	}
	top := 0 // the highest: past it the limiter holds the collector back
	for i := range y {
		if y[i] > y[top] {
			top = i
		}
	}
	width, rise := x[0]-x[top], y[top]-y[0]
	if top < 2 || !(width > 0) || rise < kneeRise {
		return 0
	}
	best, at := 0.0, 0.0
	for i := 1; i < top; i++ {
		if below := (x[0]-x[i])/width - (y[i]-y[0])/rise; below > best {
			best, at = below, x[i]
		}
	}
	if best < kneeBend {
		return 0
	}
	return finite(at)
}
