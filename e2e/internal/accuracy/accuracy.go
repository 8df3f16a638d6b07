// Package accuracy says how far predictions are from what was measured. It
// predicts nothing and measures nothing.
package accuracy

import (
	"math"
	"slices"
)

// A Comparison is one predicted number, with the interval that was promised, and
// what was measured. What is not known is NaN.
type Comparison struct {
	Predicted float64
	Low, High float64
	Measured  float64
}

// Known reports whether there is something to compare.
func (c Comparison) Known() bool { return finite(c.Predicted) && finite(c.Measured) }

// Covered reports whether the measured value lies in the interval.
func (c Comparison) Covered() bool { return c.Low <= c.Measured && c.Measured <= c.High }

// Relative is how much larger the prediction is than the measured value, as a
// ratio of the latter: 0.1 is 10% too much. Of nothing measured and something
// predicted there is no ratio.
func (c Comparison) Relative() float64 {
	if c.Predicted == c.Measured {
		return 0
	}
	if c.Measured == 0 {
		return math.NaN()
	}
	return c.Predicted/c.Measured - 1
}

// Difference is the prediction less the measured value.
func (c Comparison) Difference() float64 { return c.Predicted - c.Measured }

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// A Summary is what a number of errors come to. Errors are absolute.
type Summary struct {
	N       int     `json:"n"`
	Median  float64 `json:"median"`
	P90     float64 `json:"p90"`
	Worst   float64 `json:"worst"`
	WorstAt int     `json:"-"`       // which of the errors given
	Bias    float64 `json:"bias"`    // median of the errors with their signs
	Covered int     `json:"covered"` // of N, how many intervals held; see [Summarise]
}

// Summarise sums up errors; those that are NaN are left out. It returns the zero
// Summary when there is none.
func Summarise(errors []float64, covered []bool) Summary {
	s := Summary{}
	var signed, size []float64
	for i, e := range errors {
		if math.IsNaN(e) {
			continue
		}
		if s.N == 0 || math.Abs(e) > s.Worst {
			s.Worst, s.WorstAt = math.Abs(e), i
		}
		signed, size = append(signed, e), append(size, math.Abs(e))
		if i < len(covered) && covered[i] {
			s.Covered++
		}
		s.N++
	}
	if s.N == 0 {
		return Summary{}
	}
	s.Median, s.P90, s.Bias = Quantile(size, 0.5), Quantile(size, 0.9), Quantile(signed, 0.5)
	return s
}

// Quantile interpolates between the values next to it, NaN when there are none.
func Quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	at := q * float64(len(v)-1)
	i := min(int(at), len(v)-1)
	j := min(i+1, len(v)-1)
	return v[i] + (at-float64(i))*(v[j]-v[i])
}

// A Rung is a memory limit that was tried, and what came of it.
type Rung struct {
	LimitBytes float64 `json:"limit_bytes"`
	GCShare    float64 `json:"gc_share"` // of all CPUs that the process can have
	Limiter    bool    `json:"limiter"`  // the runtime's GC CPU limiter stepped in
}

// StormShare is the share of all CPUs from which on it is a storm.
const StormShare = 0.25

// Storms reports whether the collector no longer keeps up.
func (r Rung) Storms() bool { return r.Limiter || r.GCShare > StormShare }

// A Boundary is where storms begin: between Below, the highest limit with one, and
// Above, the lowest limit above it, which has none. At is interpolated. NaN stands
// for what was not tried.
type Boundary struct{ Below, At, Above float64 }

// FindBoundary finds where storms begin on a ladder of limits.
func FindBoundary(rungs []Rung) Boundary {
	rungs = slices.Clone(rungs)
	slices.SortFunc(rungs, func(a, b Rung) int { return int(math.Copysign(1, a.LimitBytes-b.LimitBytes)) })
	b := Boundary{math.NaN(), math.NaN(), math.NaN()}
	last := -1
	for i, r := range rungs {
		if r.Storms() {
			last = i
		}
	}
	if last >= 0 {
		b.Below = rungs[last].LimitBytes
	}
	if last+1 < len(rungs) {
		b.Above = rungs[last+1].LimitBytes
	}
	if last < 0 || last+1 == len(rungs) {
		return b
	}
	// The share is as good as proportional to 1/(limit - what lives): its inverse
	// is a line.
	at := 0.5
	if low, high := 1/rungs[last].GCShare, 1/rungs[last+1].GCShare; low < 1/StormShare && finite(high) {
		at = (1/StormShare - low) / (high - low)
	}
	b.At = b.Below + at*(b.Above-b.Below)
	return b
}

// lower is the ratio to the lowest limit of one to try below it.
const lower = 0.95

// near is the ratio of two limits between which none needs to be tried.
const near = 1.02

// Next is a limit to try, to know better where storms begin, and whether there is
// one.
func (b Boundary) Next() (limit float64, ok bool) {
	switch {
	case finite(b.Below) && finite(b.Above):
		return math.Sqrt(b.Below * b.Above), b.Above > near*b.Below
	case finite(b.Above):
		return lower * b.Above, true
	case finite(b.Below):
		return b.Below / lower, true
	}
	return 0, false
}
