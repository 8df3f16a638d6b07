package leak

import (
	"cmp"
	"math"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
)

const (
	// minSnapshots is the fewest readings that a shape can be seen in.
	minSnapshots = trend.MinPoints
	// z95 and z90 are quantiles of the normal distribution: of a two-sided 95%
	// interval, and of a one-sided test at 5%.
	z95, z90 = 1.959964, 1.644854

	// centerLine is where the growth of a steady leak has its centre in time: the
	// middle. A course that saturates, 1-exp(-t/τ), has it at T/2 - T(1/2 + 1/(e^x-1) - 1/x)
	// with x = T/τ: 0.42 T for x = 1 and 0.34 T for x = 2. What is below leastCenter
	// slows down.
	leastCenter = 0.43
	// mostCenter is beyond where growth that began late may be a step still.
	mostCenter = 0.85

	// oneStep is the part of the growth in one of eight stretches of time that makes
	// it a step.
	oneStep = 0.60
	// sawDrop is the part of the growth that may be lost again on the way.
	sawDrop = 0.5
)

// A course is what a curve does.
type course int

const (
	flat    course = iota // no significant growth
	steady                // grows, and does not slow down
	slowing               // grows ever more slowly
	stopped               // grew, and stands still
	step                  // grew once
	saw                   // comes and goes
	unclear               // grows; what kind of growth cannot be told yet
)

// An assessment is what can be said of one curve by itself.
type assessment struct {
	course        course
	growth        float64 // over the window, by the ends
	rate          float64 // per second
	low, high     float64 // 95% interval of rate
	start, end    float64
	net, events   int64   // samples: more at the end, and those the noise rests on
	kept          float64 // of the samples allocated meanwhile, the part that stayed; -1 when not known
	pChance       float64 // of so much growth by sampling and by chance where nothing grows
	pTrend        float64 // of so many rises where there is no trend
	center, sigma float64 // of the growth in time, and its standard error
	load          bool    // what grows is what is allocated there per second
}

// p is the chance of both where nothing grows: the larger (Berger 1982, the
// intersection-union test).
func (a *assessment) p() float64 { return max(a.pChance, a.pTrend) }

// assess looks at a curve. alpha is the chance of error at which growth counts as
// significant, before any correction for the number of curves. It says flat for
// too few readings.
//
// The noise of a site is known: the profiler takes each byte allocated with the
// same small chance, so that the samples in use, and those allocated and freed
// meanwhile, are Poisson counts when nothing changes. What arrives and stays for a
// while, M/G/∞, is Poisson too. Of the two counts that must be equal then (in use
// at the ends; allocated and freed between) the pair with fewer events is compared.
// For both, chance can only be overstated: what is alive at both ends, and what is
// allocated and freed in the window, makes the pair more alike.
func assess(c *curve, exact, refills bool, alpha float64) assessment {
	a := assessment{pChance: 1, pTrend: 1, kept: -1}
	n := len(c.v)
	if n < minSnapshots || c.t[n-1] <= c.t[0] {
		return a
	}
	points := make([]trend.Point, n)
	for i := range points {
		points[i] = trend.Point{T: c.t[i], V: c.v[i]}
	}
	fit, ok := trend.Theil(points)
	if !ok {
		return a
	}
	q := max(1, n/5)
	i0, i1 := (q-1)/2, n-1-(q-1)/2
	span := c.t[i1] - c.t[i0]
	a.start, a.end = median(c.v[:q]), median(c.v[n-q:])
	a.growth = a.end - a.start
	a.pTrend = fit.PValue

	n0, n1 := highMedian(c.n[:q]), lowMedian(c.n[n-q:])
	a.net, a.events = n1-n0, n0+n1
	up := n1
	if c.allocs != nil {
		allocs := c.allocs[i1] - c.allocs[i0]
		frees := max(0, allocs-a.net)
		if allocs > 0 {
			a.kept = max(0, float64(a.net)/float64(allocs))
		}
		if allocs >= 0 && allocs+frees < a.events {
			a.events, up = allocs+frees, allocs
		}
	}
	a.pChance = binomialUpper(a.events, up)

	noise := 0.0 // of the slope, from sampling alone
	if last := c.n[n-1]; !exact && last > 0 {
		noise = z95 * math.Sqrt(float64(a.events)) * c.v[n-1] / float64(last) / span
	}
	a.rate = fit.Slope
	a.low = a.rate - math.Hypot(fit.Slope-fit.Low, noise)
	a.high = a.rate + math.Hypot(fit.High-fit.Slope, noise)
	if a.growth <= 0 {
		return a
	}
	if exact || refills {
		// A room that is made larger by a factor: few samples, or many at a time.
		if r := refill(c); r.rises >= 3 && 3*r.rises <= n && r.course == steady {
			// Each is sampled, or larger than the one before in any case.
			a.pChance = min(a.pChance, math.Exp2(-float64(3*r.rises)))
			a.rate, a.low, a.high = r.rate, min(max(fit.Low, 0), r.rate), max(fit.High, r.rate)
			a.center, a.course = r.center, steady
			return a
		}
	}
	if a.pChance > alpha || a.net <= 0 {
		return a
	}

	// Where in time the growth is: the mean of t over dv, by parts.
	a.center = center(c, i0, i1, a.start, a.end)
	a.sigma = math.Sqrt(float64(a.events)/12) / float64(a.net)
	a.load = growsWithLoad(c, i0, i1, &a)
	switch {
	case drops(c, a.growth, alpha):
		a.course = saw
	case fit.Shaped && fit.LargestStep >= oneStep && fit.LargestStep*fit.Growth >= oneStep*a.growth || a.center > mostCenter:
		a.course = step
		if a.center > mostCenter {
			a.course = unclear // it has only just begun
		}
	case stands(c, &a):
		a.course = stopped
	case a.center >= leastCenter && a.center-z90*a.sigma >= leastCenter-0.1:
		a.course = steady
	case a.center+z90*a.sigma < leastCenter || a.center < leastCenter && a.sigma < 0.02:
		a.course = slowing
	default:
		a.course = unclear
	}
	return a
}

func lowMedian(x []int64) int64 {
	s := slices.Sorted(slices.Values(x))
	return s[(len(s)-1)/2]
}

func highMedian(x []int64) int64 {
	s := slices.Sorted(slices.Values(x))
	return s[len(s)/2]
}

// center is the mean time of the growth between two readings, as a part of the
// time between them: (x(T) - mean of x) / (x(T) - x(0)).
func center(c *curve, i0, i1 int, start, end float64) float64 {
	area := 0.0
	for i := i0; i < i1; i++ {
		area += (c.v[i] + c.v[i+1]) / 2 * (c.t[i+1] - c.t[i])
	}
	return finite((end - area/(c.t[i1]-c.t[i0])) / (end - start))
}

// drops reports whether so much of the growth is lost again on the way that it is
// a sawtooth, unless even its floor rises.
func drops(c *curve, growth, alpha float64) bool {
	high, highN := c.v[0], int64(0)
	deepest := 0.0
	for i, v := range c.v {
		if v > high {
			high, highN = v, c.n[i]
		}
		// What chance takes away is no drop.
		if d := high - v; d > deepest && float64(highN-c.n[i]) > 4*math.Sqrt(float64(max(highN, 1))) {
			deepest = d
		}
	}
	if deepest < sawDrop*growth {
		return false
	}
	var floor [4]int64
	for q := range floor {
		lo, hi := q*len(c.n)/4, (q+1)*len(c.n)/4
		floor[q] = slices.Min(c.n[lo:hi])
		if q > 0 && floor[q] <= floor[q-1] {
			return true
		}
	}
	return binomialUpper(floor[0]+floor[3], floor[3]) > alpha
}

// stands reports whether growth has come to its end: in the last quarter, or the
// last eighth, of the time there is so much less of it than a steady growth would
// have that chance does not explain it, and the pause is longer than any before.
func stands(c *curve, a *assessment) bool {
	n := len(c.v)
	span := c.t[n-1] - c.t[0]
	if !paused(c, 0.02*a.growth) {
		return false
	}
	for _, part := range []struct{ share, z float64 }{{0.25, 2.6}, {0.125, 3.3}} {
		from := c.t[n-1] - part.share*span
		i, _ := slices.BinarySearchFunc(c.t, from, cmp.Compare[float64])
		if n-i < 3 {
			continue
		}
		got := float64(c.n[n-1] - c.n[i])
		want := part.share * float64(a.net)
		if got < 0.35*want && (want-got)/math.Sqrt(max(part.share*float64(a.events), 1)) > part.z {
			return true
		}
	}
	return false
}

// paused reports whether the time since a curve last rose by more than least is
// twice as long as any pause before. Rooms that are made larger by a factor pause
// longer and longer too, but by that factor only.
func paused(c *curve, least float64) bool {
	longest, since, high := 0.0, c.t[0], c.v[0]
	for i := 1; i < len(c.v); i++ {
		if c.v[i] > high+least {
			longest, since, high = max(longest, c.t[i]-since), c.t[i], c.v[i]
		}
	}
	return c.t[len(c.t)-1]-since >= 2*longest
}

// growsWithLoad reports whether more is alive because more is allocated per
// second, each of it for as long as before (Little's law): then what is alive is
// the same number of seconds of allocation at the end as at the start.
func growsWithLoad(c *curve, i0, i1 int, a *assessment) bool {
	if c.allocs == nil || a.kept < 0 || a.kept > 0.5 || a.start <= 0 {
		return false
	}
	mid := (i0 + i1) / 2
	if mid == i0 || mid == i1 {
		return false
	}
	first := float64(c.allocs[mid] - c.allocs[i0])
	second := float64(c.allocs[i1] - c.allocs[mid])
	t1, t2 := c.t[mid]-c.t[i0], c.t[i1]-c.t[mid]
	if first <= 0 || second <= 0 || t1 <= 0 || t2 <= 0 {
		return false
	}
	if binomialUpper(int64(first+second), int64(second)) > 0.01 {
		return false
	}
	// A rate that rises evenly is that of a half in the middle of it. What is alive
	// follows, from the start to the end of the window.
	r1, rise := first/t1, second/t2-first/t1
	atStart := r1 - rise/2
	if atStart <= 0 {
		return true // nearly nothing was allocated at first
	}
	return a.start*2*rise/atStart >= 0.5*a.growth
}

// A filling is what the room of one slice or map tells of what is in it: it is
// known at the moments when it became full.
type filling struct {
	rises  int     // how often it was made larger
	rate   float64 // of what is in it, per second
	center float64
	course course
}

// refill reads the filling from a curve that stands, and jumps up. A curve that
// ever falls by more than a twentieth has none.
func refill(c *curve) filling {
	type knot struct{ t, v float64 }
	var knots []knot // full: the last reading before each rise
	high := c.v[0]
	var f filling
	for i := 1; i < len(c.v); i++ {
		switch v := c.v[i]; {
		case v < 0.95*high:
			return filling{}
		case v > 1.08*high && high >= 0:
			if high > 0 {
				knots = append(knots, knot{c.t[i-1], high})
			}
			f.rises++
			high = v
		}
		high = max(high, c.v[i])
	}
	if len(knots) < 3 {
		f.course = unclear
		return f
	}
	first, last := knots[0], knots[len(knots)-1]
	if last.t <= first.t {
		return filling{}
	}
	f.rate = (last.v - first.v) / (last.t - first.t)
	area := 0.0
	for i := 1; i < len(knots); i++ {
		area += (knots[i].v + knots[i-1].v) / 2 * (knots[i].t - knots[i-1].t)
	}
	f.center = (last.v - area/(last.t-first.t)) / (last.v - first.v)
	// The next rise is due when what is in it comes to today's room.
	due := (high - last.v) / f.rate
	end := c.t[len(c.t)-1]
	switch {
	case end-last.t > 1.75*due:
		f.course = stopped
	case f.center < 0.38:
		f.course = slowing
	default:
		f.course = steady
	}
	return f
}
