package paired

import (
	"math"
	"slices"
)

// SD is the standard deviation of the log ratios, with n-1 in the denominator: how
// far apart pairs are that differ in chance alone. It is NaN for fewer than two, or
// when one is not finite.
func SD(d []float64) float64 {
	if len(d) < 2 || !allFinite(d) {
		return math.NaN()
	}
	_, sd := moments(d)
	return sd
}

// moments are mean and standard deviation. Values are scaled first, so that their
// squares neither overflow nor vanish; equal ones have no deviation at all.
func moments(d []float64) (mean, sd float64) {
	low, high := slices.Min(d), slices.Max(d)
	if low == high {
		return low, 0
	}
	scale := max(math.Abs(low), math.Abs(high))
	n := float64(len(d))
	for _, x := range d {
		mean += x / scale / n
	}
	for _, x := range d {
		sd += (x/scale - mean) * (x/scale - mean)
	}
	if n > 1 {
		sd = math.Sqrt(sd / (n - 1))
	}
	return mean * scale, sd * scale
}

// Autocorrelation is the lag-1 autocorrelation of d in the order of time, from -1 to
// 1. Pairs should have none: one that remembers the pair before says that blocks are
// too short for the machine's moods, and that n counts for less than n. With nothing
// to remember it is about -1/n, give or take 2/sqrt(n). It is 0 for fewer than three
// values, for equal ones, and when one is not finite.
func Autocorrelation(d []float64) float64 {
	if len(d) < 3 || !allFinite(d) {
		return 0
	}
	mean, sd := moments(d)
	if !(sd > 0) || math.IsInf(sd, 0) {
		return 0
	}
	var product, square float64
	before := 0.0
	for _, x := range d {
		z := (x - mean) / sd
		product += before * z
		square += z * z
		before = z
	}
	if r := product / square; finite(r) {
		return r
	}
	return 0
}

// Median is the middle value of x, in its own unit: what a block of a variant
// typically has. It is NaN when there are none, or one is NaN.
func Median(x []float64) float64 {
	if len(x) == 0 || slices.ContainsFunc(x, math.IsNaN) {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(x))
	low, high := sorted[(len(sorted)-1)/2], sorted[len(sorted)/2]
	if low == high {
		return low // also when it is infinite
	}
	return low/2 + high/2
}
