// Package front draws what the collector costs against what memory it needs: a
// point for each of several settings, and the line of those that no other beats
// in both. It draws for a terminal and as an SVG file that needs nothing else.
// It knows points and their intervals, not where they come from.
package front

import (
	"math"
	"slices"
	"strconv"
)

// An Interval is a value and the range in which it is likely to lie.
type Interval struct{ Value, Low, High float64 }

// A Point is one setting.
type Point struct {
	Label string   // such as "GOGC 100"
	RSS   Interval // highest resident memory, in bytes
	GCCPU Interval // of the process's CPU, 1 is all
	Now   bool     // the setting that is in force
	Best  bool     // the setting that is recommended
	Fails bool     // it would be killed, or do little but collect
}

// A Plot is what is drawn.
type Plot struct {
	Title    string
	Subtitle string
	Points   []Point
	// Limit is the memory at which the kernel kills, 0 for none.
	Limit float64
	// Bytes writes a number of bytes.
	Bytes func(float64) string
}

func (q *Point) finite() bool {
	for _, v := range []float64{q.RSS.Value, q.GCCPU.Value} {
		if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
			return false
		}
	}
	return true
}

// Efficient returns the indexes of the points than which none is better in one
// of memory and CPU and as good in the other, in the order of memory. Of equal
// points it is the first; those that fail are never among them.
func Efficient(points []Point) []int {
	var order []int
	for i := range points {
		if points[i].finite() && !points[i].Fails {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := &points[a], &points[b]
		switch {
		case x.RSS.Value != y.RSS.Value:
			return sign(x.RSS.Value - y.RSS.Value)
		default:
			return sign(x.GCCPU.Value - y.GCCPU.Value)
		}
	})
	least := math.Inf(1)
	return slices.DeleteFunc(order, func(i int) bool {
		if points[i].GCCPU.Value >= least {
			return true
		}
		least = points[i].GCCPU.Value
		return false
	})
}

func sign(v float64) int {
	switch {
	case v < 0:
		return -1
	case v > 0:
		return 1
	}
	return 0
}

// A scale maps values to a length: lo to 0, hi to 1.
type scale struct {
	lo, hi float64
	ticks  []float64
}

func (s scale) at(v float64) float64 { return (v - s.lo) / (s.hi - s.lo) }

// in reports whether a value is on the scale.
func (s scale) in(v float64) bool { return v >= s.lo && v <= s.hi }

// scales are those on which all points lie that do not fail, their labels have
// room, and the limit is, when it is near. GC CPU begins at zero; memory does
// not, for what all settings have in common says nothing about them.
func (p *Plot) scales() (x, y scale, ok bool) {
	x, y = scale{lo: math.Inf(1), hi: math.Inf(-1)}, scale{hi: math.Inf(-1)}
	take := func(q *Point) {
		x.lo, x.hi = min(x.lo, q.RSS.Value), max(x.hi, q.RSS.Value)
		y.hi = max(y.hi, q.GCCPU.Value)
		if high := q.GCCPU.High; high < 1.5*q.GCCPU.Value {
			y.hi = max(y.hi, high) // an interval is shown whole, unless that would be most of the plot
		}
		ok = true
	}
	for i := range p.Points {
		if q := &p.Points[i]; q.finite() && (!q.Fails || q.Now) {
			take(q)
		}
	}
	if !ok {
		for i := range p.Points {
			if q := &p.Points[i]; q.finite() {
				take(q)
			}
		}
	}
	if !ok {
		return x, y, false
	}
	if near := max(x.hi-x.lo, x.hi/2); p.Limit > max(x.lo-near, 0) && p.Limit < x.hi+near {
		x.lo, x.hi = min(x.lo, p.Limit), max(x.hi, p.Limit)
	}
	pad := max((x.hi-x.lo)*0.06, x.hi*0.02, 1)
	x.lo, x.hi = max(x.lo-pad, 0), x.hi+pad
	y.hi = max(y.hi*1.05, 0.001)
	x.ticks, y.ticks = byteTicks(x.lo, x.hi, 6), ticks(y.lo, y.hi, 5)
	return x, y, true
}

// left counts the points that are not on the scales.
func (p *Plot) left(x, y scale) int {
	n := 0
	for i := range p.Points {
		if q := &p.Points[i]; !q.finite() || !x.in(q.RSS.Value) || !y.in(q.GCCPU.Value) {
			n++
		}
	}
	return n
}

// ticks returns round values from lo to hi, about n of them.
func ticks(lo, hi float64, n int) []float64 {
	raw := (hi - lo) / float64(n)
	if !(raw > 0) || math.IsInf(raw, 0) {
		return nil
	}
	unit := math.Pow(10, math.Floor(math.Log10(raw)))
	step := 10 * unit
	for _, f := range []float64{1, 2, 2.5, 5} {
		if raw <= f*unit {
			step = f * unit
			break
		}
	}
	var out []float64
	for i := math.Ceil(lo / step); i*step <= hi && len(out) <= 4*n; i++ {
		out = append(out, i*step)
	}
	return out
}

// byteTicks are ticks that are round in binary units.
func byteTicks(lo, hi float64, n int) []float64 {
	unit := 1.0
	for hi/unit >= 2048 {
		unit *= 1024
	}
	out := ticks(lo/unit, hi/unit, n)
	for i := range out {
		out[i] *= unit
	}
	return out
}

// rank orders points for drawing: what matters most is drawn last.
func (p *Plot) rank(efficient []int) []int {
	order := make([]int, len(p.Points))
	weight := make([]int, len(p.Points))
	for i := range p.Points {
		order[i] = i
		q := &p.Points[i]
		switch {
		case q.Best:
			weight[i] = 4
		case q.Now:
			weight[i] = 3
		case slices.Contains(efficient, i):
			weight[i] = 2
		case !q.Fails:
			weight[i] = 1
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return weight[a] - weight[b] })
	return order
}

// caption is the label of a point with what is special about it.
func (q *Point) caption() string {
	switch {
	case q.Now && q.Best:
		return "now and best: " + q.Label
	case q.Now:
		return "now: " + q.Label
	case q.Best:
		return "best: " + q.Label
	}
	return q.Label
}

// share writes a part of the whole for an axis with steps of a size: in as many
// digits as the steps have.
func share(v, step float64) string {
	digits := 0
	for s := 100 * step; math.Abs(s-math.Round(s)) > 1e-6*s && digits < 4; s *= 10 {
		digits++
	}
	return strconv.FormatFloat(100*v, 'f', digits, 64) + "%"
}
