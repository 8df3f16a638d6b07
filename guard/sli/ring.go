package sli

import (
	"slices"
	"time"

	"github.com/heapwright/heapwright/record"
)

const (
	minPoints = 8
	// maxPoints keeps a Ring below 4 MiB.
	maxPoints = 440
	// trendPoints bounds what a slope is computed from; its cost grows with the square.
	trendPoints = 64
)

// A Ring keeps Points of the past, for windows of several lengths, in a fixed amount of
// memory: about 9 kB a Point, so 4 MiB for the 440 that it may have at most.
//
// When it is full it drops the Point that is missed least: Points that are near to one
// another in comparison with their age. So the youngest are as dense as they were read, and
// the distance between older ones grows with their age, by some percent of it. With 256
// Points read once a second, an hour back, it is 3%.
//
// It is not safe for concurrent use.
type Ring struct {
	longest time.Duration
	slots   []Point
	order   []int // of slots, the oldest Point first

	at, live []float64 // of the trend
	slopes   []float64
}

// NewRing returns a Ring of a number of Points, between 8 and 440, for windows of up to the
// given length. All of its memory is allocated now.
func NewRing(points int, longest time.Duration) *Ring {
	points = min(max(points, minPoints), maxPoints)
	return &Ring{
		longest: longest,
		slots:   make([]Point, points),
		order:   make([]int, 0, points),
		at:      make([]float64, 0, trendPoints),
		live:    make([]float64, 0, trendPoints),
		slopes:  make([]float64, 0, trendPoints*(trendPoints-1)/2),
	}
}

// Read takes a Point of the source and keeps it. It is good until the next Read, and not
// to be changed.
func (r *Ring) Read(s *Source) *Point {
	p := r.next()
	s.Read(p)
	return p
}

// next returns the Point to overwrite, as the youngest.
func (r *Ring) next() *Point {
	n := len(r.order)
	slot := n
	if n == len(r.slots) {
		drop := r.leastMissed()
		slot = r.order[drop]
		r.order = slices.Delete(r.order, drop, drop+1)
	}
	r.order = append(r.order, slot)
	return &r.slots[slot]
}

// leastMissed returns the index of the Point to drop.
func (r *Ring) leastMissed() int {
	last := len(r.order) - 1
	now := r.point(last).Time
	// Another is old enough for the longest window.
	if now.Sub(r.point(1).Time) >= r.longest {
		return 0
	}
	best, least := 0, 0.0
	for i := 1; i < last; i++ {
		before := r.point(i - 1).Time
		gap := float64(r.point(i+1).Time.Sub(before)) / float64(max(now.Sub(before), 1))
		if i == 1 || gap < least {
			best, least = i, gap
		}
	}
	return best
}

func (r *Ring) point(i int) *Point { return &r.slots[r.order[i]] }

// Last is the youngest Point, nil if there is none.
func (r *Ring) Last() *Point {
	if len(r.order) == 0 {
		return nil
	}
	return r.point(len(r.order) - 1)
}

// Before returns the youngest Point that is at least window older than now; the oldest of all
// when none is, and nil when there is none before now. [Reading.Window] says how long the
// window is in truth.
func (r *Ring) Before(now time.Time, window time.Duration) *Point {
	for i := len(r.order) - 1; i >= 0; i-- {
		if p := r.point(i); now.Sub(p.Time) >= max(window, 1) {
			return p
		}
	}
	if len(r.order) > 0 && now.After(r.point(0).Time) {
		return r.point(0)
	}
	return nil
}

// Window is [Window] from Before to Last, with TimeToFull from the cycles between them.
// ok is false when there are no two Points.
func (r *Ring) Window(window time.Duration) (reading Reading, ok bool) {
	newer := r.Last()
	if newer == nil {
		return Reading{}, false
	}
	older := r.Before(newer.Time, window)
	if older == nil {
		return Reading{}, false
	}
	reading = Window(older, newer)
	if seconds, ok := r.timeToFull(older, newer); ok {
		reading.Set(TimeToFull, seconds)
	}
	return reading, true
}

// Samples returns copies of the samples that are not older than age, in comparison with the
// youngest, oldest first.
func (r *Ring) Samples(age time.Duration) []record.Sample {
	var samples []record.Sample
	for i := range r.order {
		if p := r.point(i); r.Last().Time.Sub(p.Time) <= age {
			samples = append(samples, p.Sample)
		}
	}
	return samples
}

// timeToFull says when the memory that a collection can't free reaches the limit.
func (r *Ring) timeToFull(older, newer *Point) (seconds float64, ok bool) {
	slope, ok := r.liveSlope(older)
	if !ok {
		return 0, false
	}
	ok = false
	for _, m := range memories(newer) {
		needed, known := m.needed(newer)
		if m.limit == 0 || !known {
			continue
		}
		t := max(float64(m.limit)-needed, 0) / slope
		if !ok || t < seconds {
			seconds, ok = t, true
		}
	}
	return seconds, ok
}

// liveSlope is by how many bytes a second the live heap grows, from the first Point on.
// It is not ok when it is not sure to grow.
func (r *Ring) liveSlope(from *Point) (bytesPerSecond float64, ok bool) {
	first := 0
	for r.point(first) != from {
		first++
	}
	n := 0
	r.cycles(first, func(*Point) { n++ })
	every := (n + trendPoints - 1) / trendPoints
	r.at, r.live = r.at[:0], r.live[:0]
	i := 0
	r.cycles(first, func(p *Point) {
		if i++; (n-i)%every == 0 { // the last one is among them
			r.at = append(r.at, p.Time.Sub(from.Time).Seconds())
			r.live = append(r.live, float64(p.HeapMarkedBytes))
		}
	})
	return growth(r.at, r.live, r.slopes[:0])
}

// cycles calls f with the Points from the first on that are the first to see another cycle.
func (r *Ring) cycles(first int, f func(*Point)) {
	for i := first + 1; i < len(r.order); i++ {
		if p := r.point(i); p.Has.Has(record.FieldHeapMarkedBytes) && p.GCCycles > r.point(i-1).GCCycles {
			f(p)
		}
	}
}

// The least of a trend: so many values, and of their pairs such a share that rises. By
// chance, with values that come and go without a trend, less than one window in a hundred
// has that.
const (
	minTrend  = 10
	minRising = 0.8
)

// growth is the Theil-Sen estimate of the slope: the median of the slopes of all pairs, which
// a few outliers do not move. It is not ok when the values are not sure to rise. slopes is
// room to work in.
func growth(at, v, slopes []float64) (slope float64, ok bool) {
	if len(v) < minTrend {
		return 0, false
	}
	rising := 0
	for i := range v {
		for j := range i {
			if dt := at[i] - at[j]; dt > 0 {
				s := (v[i] - v[j]) / dt
				slopes = append(slopes, s)
				if s > 0 {
					rising++
				}
			}
		}
	}
	if len(slopes) == 0 || float64(rising) < minRising*float64(len(slopes)) {
		return 0, false
	}
	slices.Sort(slopes)
	slope = slopes[len(slopes)/2]
	return slope, slope > 0
}
