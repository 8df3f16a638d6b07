package horizon

import (
	"math"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
)

const (
	day = 24 * 3600.0
	// leastDays is how much history a daily rhythm is looked for in.
	leastDays = 2
	// hands is how many parts a day has, each with a median of its own.
	hands = 48
)

// A rhythm is what comes again each day: how far each half hour lies from the day's
// middle. A nil one is none.
type rhythm struct {
	offset [hands]float64
	phase  float64 // seconds of the first part's middle from now
}

// at is the rhythm's part at a time, between the middles of two half hours.
func (r *rhythm) at(t float64) float64 {
	if r == nil {
		return 0
	}
	x := math.Mod(t-r.phase, day) / day * hands
	if x < 0 {
		x += hands
	}
	i := int(x) % hands
	f := x - math.Floor(x)
	return r.offset[i]*(1-f) + r.offset[(i+1)%hands]*f
}

// findRhythm takes the daily rhythm out of a series that spans two days or more, when it
// has one: when what lies a day apart differs less by half than what lies half a day
// apart. The trend that is taken out before is that of points a whole day apart (Hirsch,
// Slack and Smith's seasonal slope, 1982), which no rhythm moves.
func findRhythm(pts []trend.Point) (*rhythm, []trend.Point) {
	if len(pts) < 4*hands || pts[len(pts)-1].T-pts[0].T < leastDays*day {
		return nil, pts
	}
	first, last := pts[0].T, pts[len(pts)-1].T
	// The medians of half hours; what is not known is not a number.
	n := int((last-first)/(day/hands)) + 1
	if n > hands*60 {
		n = hands * 60
	}
	halfHours := make([]float64, n)
	buckets := make([][]float64, n)
	for _, p := range pts {
		if i := n - 1 - int((last-p.T)/(day/hands)); i >= 0 {
			buckets[i] = append(buckets[i], p.V)
		}
	}
	for i := range buckets {
		halfHours[i] = median(buckets[i])
	}
	slopes := []float64{}
	for lag := hands; lag < n; lag += hands {
		for i := 0; i+lag < n; i++ {
			if d := halfHours[i+lag] - halfHours[i]; !math.IsNaN(d) {
				slopes = append(slopes, d/float64(lag))
			}
		}
	}
	if len(slopes) < hands {
		return nil, pts
	}
	slope := median(slopes)
	var sameTime, otherTime []float64
	for i := range halfHours {
		halfHours[i] -= slope * float64(i)
		if i >= hands {
			sameTime = append(sameTime, math.Abs(halfHours[i]-halfHours[i-hands]))
			otherTime = append(otherTime, math.Abs(halfHours[i]-halfHours[i-hands/2]))
		}
	}
	known := func(x []float64) (out []float64) {
		for _, v := range x {
			if !math.IsNaN(v) {
				out = append(out, v)
			}
		}
		return out
	}
	same, other := median(known(sameTime)), median(known(otherTime))
	if !(same < other/2) {
		return nil, pts
	}
	r := &rhythm{phase: last - (float64(n)-0.5)*day/hands}
	var all []float64
	for h := range hands {
		var vs []float64
		for i := h; i < n; i += hands {
			if v := halfHours[i]; !math.IsNaN(v) {
				vs = append(vs, v)
			}
		}
		if len(vs) == 0 {
			return nil, pts
		}
		r.offset[h] = median(vs)
		all = append(all, r.offset[h])
	}
	middle := median(all)
	for h := range r.offset {
		r.offset[h] -= middle
	}
	out := make([]trend.Point, len(pts))
	for i, p := range pts {
		out[i] = trend.Point{T: p.T, V: p.V - r.at(p.T)}
	}
	return r, out
}
