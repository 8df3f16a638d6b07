// Package stat compares two ways of running the same thing by measurements that
// were taken in pairs, one after the other. It measures nothing.
package stat

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// A Ratio is how much larger one quantity is than another, with its 95%
// confidence interval.
type Ratio struct {
	N                   int // pairs
	Estimate, Low, High float64
}

// String shows a ratio as "0.998 [0.991, 1.005], n=20".
func (r Ratio) String() string {
	return fmt.Sprintf("%.4f [%.4f, %.4f], n=%d pairs", r.Estimate, r.Low, r.High, r.N)
}

// resamples is large enough for the 2.5% quantile to be steady in the third digit.
const resamples = 10000

// PairedRatio is the geometric mean of a[i]/b[i]. Its interval is a bootstrap of
// the pairs' log ratios, with the quantiles widened as a t interval is (Hesterberg
// 2014, "What Teachers Should Know about the Bootstrap", 4.4): plain percentiles
// are too narrow for small samples. The values must be positive and there must be
// at least two pairs. The same values give the same interval.
func PairedRatio(a, b []float64) (Ratio, error) {
	n := len(a)
	if n != len(b) || n < 2 {
		return Ratio{}, fmt.Errorf("comparing pairs: %d and %d values, want two or more of both", len(a), len(b))
	}
	logs := make([]float64, n)
	for i := range logs {
		if !(a[i] > 0) || !(b[i] > 0) || math.IsInf(a[i], 0) || math.IsInf(b[i], 0) {
			return Ratio{}, fmt.Errorf("comparing pairs: pair %d is %g and %g, want positive numbers", i, a[i], b[i])
		}
		logs[i] = math.Log(a[i] / b[i])
	}
	rnd := rand.New(rand.NewPCG(uint64(n), 1))
	means := make([]float64, resamples)
	for i := range means {
		var sum float64
		for range n {
			sum += logs[rnd.IntN(n)]
		}
		means[i] = sum / float64(n)
	}
	slices.Sort(means)
	var mean float64
	for _, l := range logs {
		mean += l / float64(n)
	}
	// The bootstrap's spread is too small by sqrt((n-1)/n), and its quantiles are
	// the normal's and not Student's.
	widen := math.Sqrt(float64(n)/float64(n-1)) * studentQuantile(n-1) / 1.959964
	at := func(q float64) float64 {
		return mean + (means[int(q*(resamples-1))]-mean)*widen
	}
	return Ratio{N: n, Estimate: math.Exp(mean), Low: math.Exp(at(0.025)), High: math.Exp(at(0.975))}, nil
}

// studentQuantile is the 97.5% quantile of Student's t distribution.
func studentQuantile(df int) float64 {
	small := []float64{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228}
	if df <= len(small) {
		return small[df-1]
	}
	// Cornish-Fisher expansion around the normal quantile; within 0.002 here.
	const z = 1.959964
	d := float64(df)
	return z + (z*z*z+z)/(4*d) + (5*math.Pow(z, 5)+16*z*z*z+3*z)/(96*d*d)
}
