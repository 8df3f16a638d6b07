package horizon

import (
	"math"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
)

// z95 is the standard normal quantile for a two-sided 95% interval.
const z95 = 1.959964

// unlike is by how much a rate that held for some time may differ from that of the
// same time after it, as a share of it (one standard deviation): load is not the same
// in two hours. It grows with the square root of the times that are looked ahead. The
// back-test of real programs and of drifting ones set it.
const unlike = 0.12

// A line is the trend of one series. Times are seconds from now.
type line struct {
	level     float64 // now
	slope     float64 // a second
	low, high float64 // its 95% interval
	sd        float64 // of a value around the line
	upper     float64 // how far the highest twentieth lies above it
	drift     float64 // variance that a second adds: what grows by chance grows on by chance
	since     float64 // the line holds since then
	changed   bool    // the trend was another before
	rises     float64 // it has risen since then, at whatever rate; now when it does not
	steady    bool
	points    int
	daily     *rhythm

	gains  float64 // what the slope grows by each second, 0 when it does not for sure
	slows  float64 // time constant in which the growth dies away, 0 when it does not
	within bool    // the rise is one like those before that fell back
}

// at is the value that the line has at a time. Of a slope that grows half as much growth
// is taken to go on.
func (l *line) at(t float64) float64 {
	return l.level + l.slope*t + l.gains*t*t/4 + l.daily.at(t)
}

// low95 and high95 are how far the value may be below and above that.
func (l *line) low95(t float64) float64 { return math.Hypot(l.apart(t, l.slope-l.low), l.gains*t*t/4) }
func (l *line) high95(t float64) float64 {
	return math.Hypot(l.apart(t, l.high-l.slope), l.gains*t*t/3)
}

func (l *line) apart(t, half float64) float64 {
	if t < 0 {
		t = 0
	}
	v := half * half * t * t
	v += z95 * z95 * (l.sd*l.sd + l.drift*t)
	if l.since < 0 {
		u := z95 * unlike * l.slope * t
		v += u * u * max(1, t/-l.since)
	}
	return math.Sqrt(v)
}

// leastPoints is the fewest points that a line is given for.
const leastPoints = 4

// few is the line of a few points: the median of the slopes of their pairs, and all of
// them as its interval.
func few(pts []trend.Point) (l line, ok bool) {
	var slopes, residuals []float64
	for i := range pts {
		for j := i + 1; j < len(pts); j++ {
			if dt := pts[j].T - pts[i].T; dt > 0 {
				slopes = append(slopes, (pts[j].V-pts[i].V)/dt)
			}
		}
	}
	if len(pts) < leastPoints || len(slopes) < leastPoints {
		return l, false
	}
	l.slope = median(slopes)
	l.low, l.high = slopes[0], slopes[len(slopes)-1]
	for _, p := range pts {
		residuals = append(residuals, p.V-l.slope*p.T)
	}
	l.level = median(residuals)
	l.spread(residuals)
	l.rises = pts[0].T
	l.since, l.points = pts[0].T, len(pts)
	l.steady = l.low > l.slope/4 && steadily(pts)
	return l, true
}

// stretches is how many equal stretches of time the shape of a rise is judged on.
const stretches = 8

// steadily reports whether a series grows all the time, without slowing down and not by a
// few steps, as [trend.Fit.Steady] does, by the same shares. But points that lie far apart
// are no gap here: GC cycles become rare where a heap grows.
func steadily(pts []trend.Point) bool {
	pts = medians(pts, 4*stretches)
	first, last := pts[0], pts[len(pts)-1]
	var at [stretches + 1]float64
	i := 0
	for k := range at {
		t := first.T + (last.T-first.T)*float64(k)/stretches
		for i+2 < len(pts) && pts[i+1].T < t {
			i++
		}
		a, b := pts[i], pts[min(i+1, len(pts)-1)]
		at[k] = a.V
		if b.T > a.T {
			at[k] += (b.V - a.V) * min((t-a.T)/(b.T-a.T), 1)
		}
	}
	growth := at[stretches] - at[0]
	rises, largest := 0, 0.0
	for k := 1; k <= stretches; k++ {
		d := at[k] - at[k-1]
		largest = max(largest, d)
		if d > 0 {
			rises++
		}
	}
	return growth > 0 && rises >= 6 && largest <= 0.45*growth && at[stretches]-at[stretches/2] >= 0.4*growth && at[stretches]-at[stretches-2] >= 0.15*growth
}

// spread sets how far values lie around the line.
func (l *line) spread(residuals []float64) {
	middle := median(residuals)
	l.upper = max(0, quantile(residuals, 0.95)-middle)
	for i := range residuals {
		residuals[i] = math.Abs(residuals[i] - middle)
	}
	l.sd = 1.4826 * median(residuals)
}

// fit finds the line of a series; ok is false where there are too few points.
func fit(pts []trend.Point) (l line, ok bool) {
	if len(pts) < trend.MinPoints {
		return few(pts)
	}
	pts = slices.Clone(pts)
	l.daily, pts = findRhythm(pts)
	blocks := medians(pts, maxBlocks)
	if len(blocks) < trend.MinPoints {
		return l, false
	}
	segs := segments(blocks)
	last := segs[len(segs)-1]
	from := last.from
	// A stair: each step is a change, and the flat since the last one says nothing.
	if whole, isRising := risingSince(blocks, segs); isRising {
		from = whole
	}
	window := after(pts, blocks[from].T)
	if len(window) < trend.MinPoints && from > 0 {
		from = segs[max(0, len(segs)-2)].from
		window = after(pts, blocks[from].T)
	}
	f, ok := trend.Theil(medians(window, maxBlocks))
	if !ok {
		return l, false
	}
	l.slope, l.low, l.high, l.points = f.Slope, f.Low, f.High, len(window)
	l.since, l.changed, l.steady = window[0].T, from > 0, steadily(window)
	residuals := make([]float64, len(window))
	for i, p := range window {
		residuals[i] = p.V - f.Slope*p.T
	}
	// The newest say where it stands; all say how far values lie apart.
	l.level = median(residuals[len(residuals)-max(trend.MinPoints/2, len(residuals)/8):])
	l.spread(residuals)
	l.drift = drift(window)
	l.slows = slowing(segs, blocks)
	l.quicken(segs, blocks)
	l.overall(segs, blocks)
	l.within = within(segs, blocks)
	return l, true
}

// overall finds since when it rises, and widens the slope's interval to hold that of all
// that time: what came and went may come and go again.
func (l *line) overall(segs []segment, blocks []trend.Point) {
	if l.slope <= 0 {
		return
	}
	i := runOf(segs, len(segs)-1)
	from := min(blocks[segs[i].from].T, l.since)
	l.rises = from
	if f := segs[i].start; from < l.since {
		if mean := (l.level - f) / -from; mean > 0 {
			l.low, l.high = min(l.low, mean), max(l.high, mean)
		}
	}
}

// quicken looks whether the slope has grown all the time since the rise began: whether in
// the second half of that time it was larger for sure than in the first. Then the line
// goes on from the slope of the end.
func (l *line) quicken(segs []segment, blocks []trend.Point) {
	i := len(segs) - 1
	for i > 0 && segs[i-1].slope > 0 && segs[i-1].slope < segs[i].slope && math.Abs(segs[i].start-segs[i-1].end) < segs[i-1].rise()/4 {
		i--
	}
	run := blocks[segs[i].from:]
	half := len(run) / 2
	first, ok1 := trend.Theil(run[:half])
	second, ok2 := trend.Theil(run[half:])
	if !ok1 || !ok2 || first.Low <= 0 || second.Low <= first.High {
		return
	}
	middle := func(p []trend.Point) float64 { return (p[0].T + p[len(p)-1].T) / 2 }
	between := middle(run[half:]) - middle(run[:half])
	l.gains = (second.Slope - first.Slope) / between
	if end := second.Slope + l.gains*-middle(run[half:]); end > l.slope {
		l.low, l.high = min(l.low, second.Low), max(end+second.High-second.Slope, l.high)
		l.slope = end
		// Where it stands is what the newest say, with that slope.
		newest := run[len(run)-max(3, len(run)/16):]
		now := make([]float64, len(newest))
		for k, p := range newest {
			now[k] = p.V - end*p.T
		}
		l.level = median(now)
	}
}

// risingSince is the first block of the longest stretch that ends now and rises steadily,
// where the newest segment alone does not rise.
func risingSince(blocks []trend.Point, segs []segment) (int, bool) {
	last := segs[len(segs)-1]
	if f, ok := trend.Theil(blocks[last.from:]); ok && f.Rising() && steadily(blocks[last.from:]) {
		return 0, false
	}
	for _, s := range segs[:max(0, len(segs)-3)] {
		if f, ok := trend.Theil(blocks[s.from:]); ok && f.Rising() && steadily(blocks[s.from:]) {
			return s.from, true
		}
	}
	return 0, false
}

// drift is the variance a second of what grows by chance: the long-run variance of the
// increments of eight to sixteen stretches (Newey and West, 1987, with the one lag that
// the noise of neighbouring medians makes).
func drift(pts []trend.Point) float64 {
	m := medians(pts, 16)
	if len(m) < 8 {
		return 0
	}
	span := m[len(m)-1].T - m[0].T
	if span <= 0 {
		return 0
	}
	step := span / float64(len(m)-1)
	slope := (m[len(m)-1].V - m[0].V) / span
	inc := make([]float64, len(m)-1)
	for i := range inc {
		inc[i] = m[i+1].V - m[i].V - slope*(m[i+1].T-m[i].T)
	}
	var g0, g1 float64
	for i, x := range inc {
		g0 += x * x
		if i > 0 {
			g1 += x * inc[i-1]
		}
	}
	n := float64(len(inc) - 1)
	return max(0, (g0+2*g1)/n) / step
}

// after are the points from a time on.
func after(pts []trend.Point, t float64) []trend.Point {
	i, _ := slices.BinarySearchFunc(pts, t, func(p trend.Point, t float64) int {
		if p.T < t {
			return -1
		}
		return 1
	})
	return pts[i:]
}

// medians are at most n points: the medians of equal stretches of time, those without
// points left out.
func medians(pts []trend.Point, n int) []trend.Point { return condense(pts, n, median) }

// condense makes one point of each of n equal stretches of time.
func condense(pts []trend.Point, n int, of func([]float64) float64) []trend.Point {
	if len(pts) <= n {
		return slices.Clone(pts)
	}
	first, span := pts[0].T, pts[len(pts)-1].T-pts[0].T
	if !(span > 0) {
		return nil
	}
	out := make([]trend.Point, 0, n)
	var ts, vs []float64
	i := 0
	for b := range n {
		end := first + span*float64(b+1)/float64(n)
		ts, vs = ts[:0], vs[:0]
		for ; i < len(pts) && (pts[i].T < end || b == n-1); i++ {
			ts, vs = append(ts, pts[i].T), append(vs, pts[i].V)
		}
		if len(vs) > 0 {
			out = append(out, trend.Point{T: median(ts), V: of(vs)})
		}
	}
	return out
}

// median sorts what it is given.
func median(x []float64) float64 { return quantile(x, 0.5) }

// quantile sorts what it is given.
func quantile(x []float64, q float64) float64 {
	if len(x) == 0 {
		return math.NaN()
	}
	slices.Sort(x)
	at := q * float64(len(x)-1)
	i := int(at)
	if i+1 >= len(x) {
		return x[len(x)-1]
	}
	return x[i] + (at-float64(i))*(x[i+1]-x[i])
}
