package paired

import (
	"math"
	"slices"

	"github.com/aclements/go-moremath/stats"
)

// MannWhitney is the two-sided p-value of Mann and Whitney's U test on two samples
// that are not paired: what benchstat asks, with benchstat's own library. It is here
// to be compared with, not to decide anything: it takes all values for independent,
// and a machine that drifts while first a and then b is measured makes it find
// differences where there are none. It is 1 where the test knows nothing: a sample is
// empty or has a NaN, or all values are equal.
func MannWhitney(a, b []float64) float64 {
	if slices.ContainsFunc(a, math.IsNaN) || slices.ContainsFunc(b, math.IsNaN) {
		return 1 // the library would not end
	}
	r, err := stats.MannWhitneyUTest(a, b, stats.LocationDiffers)
	if err != nil || !(r.P >= 0 && r.P <= 1) {
		return 1
	}
	return r.P
}

// FixedThreshold reports whether the median of b is more than the share t above or
// below that of a: the usual gate of CI, "fail at 15%". It is here to be compared
// with; it has no idea of noise. It reports false when a median is not known, or is 0.
func FixedThreshold(a, b []float64, t float64) bool {
	base, variant := Median(a), Median(b)
	return base != 0 && math.Abs(variant/base-1) > t
}
