// Package honesty counts how often judgements on experiments are wrong, and what
// other ways to judge would have said of the same measurements. It measures nothing.
package honesty

import (
	"fmt"
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

// A Rate is how often something happened in so many tries, with the exact 95%
// interval of Clopper and Pearson for how often it does.
type Rate struct {
	Count int     `json:"count"`
	Of    int     `json:"of"`
	Low   float64 `json:"low_ratio"`
	High  float64 `json:"high_ratio"`
}

// RateOf is a rate with its interval. Of no tries nothing is known.
func RateOf(count, of int) Rate {
	r := Rate{Count: count, Of: of, High: 1}
	if count > 0 {
		r.Low = root(func(p float64) float64 { return 0.025 - (1 - below(count-1, of, p)) })
	}
	if count < of {
		r.High = root(func(p float64) float64 { return below(count, of, p) - 0.025 })
	}
	return r
}

// String shows a rate as "2/40 = 5% (1% to 17%)".
func (r Rate) String() string {
	if r.Of == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d = %.0f%% (%.0f%% to %.0f%%)", r.Count, r.Of, 100*float64(r.Count)/float64(r.Of), 100*r.Low, 100*r.High)
}

// below is the chance of k or fewer of n, each with chance p.
func below(k, n int, p float64) float64 {
	if p <= 0 {
		return 1
	}
	if p >= 1 {
		return 0 // k is less than n
	}
	sum := 0.0
	for i := range k + 1 {
		sum += math.Exp(choose(n, i) + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
	}
	return min(sum, 1)
}

// choose is the logarithm of n over k.
func choose(n, k int) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return a - b - c
}

// root is where f, which falls from 0 to 1, crosses zero.
func root(f func(float64) float64) float64 {
	low, high := 0.0, 1.0
	for range 60 {
		if mid := (low + high) / 2; f(mid) > 0 {
			low = mid
		} else {
			high = mid
		}
	}
	return (low + high) / 2
}

// A Block is what was measured of one process.
type Block struct {
	Variant int // 0 is the baseline
	Value   float64
}

// Halves relabels the blocks of an experiment in which both variants are the same
// program: the first half is what "all of A, then all of B" would have measured of A
// on this machine at this time, the second half of B. Where the variants differ it
// would be nonsense. Blocks must be in the order of time; of an odd number the last
// is left out.
func Halves(blocks []Block) (a, b []float64) {
	n := len(blocks) / 2
	for _, k := range blocks[:n] {
		a = append(a, k.Value)
	}
	for _, k := range blocks[n : 2*n] {
		b = append(b, k.Value)
	}
	return a, b
}

// Arms are the values of the baseline, and of the other variant.
func Arms(blocks []Block) (a, b []float64) {
	for _, k := range blocks {
		if k.Variant == 0 {
			a = append(a, k.Value)
		} else {
			b = append(b, k.Value)
		}
	}
	return a, b
}

// Benchstat says whether benchstat would report a difference, by its own package:
// the test of Mann and Whitney at p < 0.05.
func Benchstat(a, b []float64) bool {
	if len(a) == 0 || len(b) == 0 || slices.ContainsFunc(slices.Concat(a, b), math.IsNaN) {
		return false
	}
	t := benchmath.DefaultThresholds
	c := benchmath.AssumeNothing.Compare(benchmath.NewSample(slices.Clone(a), &t), benchmath.NewSample(slices.Clone(b), &t))
	return c.P < c.Alpha
}

// Threshold says whether the medians differ by more than a share, as gates with a
// fixed threshold have it.
func Threshold(a, b []float64, share float64) bool {
	x, y := median(a), median(b)
	return x > 0 && math.Abs(y/x-1) > share
}

// Worse says whether b has the larger median.
func Worse(a, b []float64) bool { return median(b) > median(a) }

func median(v []float64) float64 {
	if len(v) == 0 || slices.ContainsFunc(v, math.IsNaN) {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
