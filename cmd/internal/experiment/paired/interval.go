package paired

import (
	"math"
	"slices"
	"sync"
)

// An Interval is an estimate with its confidence interval, on the log scale. When
// there are too few pairs for the level, bounds are infinite; when there is no
// estimate either, because there are no pairs or one is not finite, Estimate is NaN.
// JSON has neither: ask Bounded first.
type Interval struct {
	Estimate  float64
	Low, High float64 // both belong to the interval
	N         int     // pairs it rests on
}

// Bounded reports whether the estimate and both bounds are finite numbers.
func (iv Interval) Bounded() bool {
	return finite(iv.Estimate) && finite(iv.Low) && finite(iv.High)
}

// Contains reports whether x, on the log scale, is in the interval.
func (iv Interval) Contains(x float64) bool { return iv.Low <= x && x <= iv.High }

// unknown is the interval that excludes nothing.
func unknown(n int) Interval {
	return Interval{Estimate: math.NaN(), Low: math.Inf(-1), High: math.Inf(1), N: n}
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

func allFinite(d []float64) bool {
	for _, x := range d {
		if !finite(x) {
			return false
		}
	}
	return true
}

// validLevel reports whether a one-sided level makes an interval: at 0.5 the bounds
// meet.
func validLevel(alpha float64) bool { return alpha > 0 && alpha < 0.5 }

// SignedRank is the Hodges-Lehmann estimate of the centre of d, and the confidence
// interval that inverts Wilcoxon's signed-rank test: the values that the test, with
// alpha on either side, does not reject (Hodges and Lehmann 1963; Hollander, Wolfe
// and Chicken 2014, 3.2 and 3.3).
//
// The estimate is the median of the n(n+1)/2 Walsh averages (d[i]+d[j])/2, i <= j.
// The bounds are the (k+1)-th from below and from above, where k is the largest
// number with P(W <= k) <= alpha for the signed-rank statistic W. Its distribution is
// exact up to 200 pairs, and normal with continuity correction above. With fewer than
// log2(1/alpha) pairs, 5 for 0.05, no such k exists and the bounds are infinite.
//
// It assumes that the pairs are independent and symmetric around one centre; not that
// they are normal, nor equally noisy. Ties and zeros need no correction: the bounds
// belong to the interval, which then covers at least as often as it says (add to
// every value a symmetric noise that is too small to reorder what differs: the values
// are continuous then, and the bounds where they were).
func SignedRank(d []float64, alpha float64) Interval {
	n := len(d)
	if n == 0 || !allFinite(d) || !validLevel(alpha) {
		return unknown(n)
	}
	w := walsh(slices.Sorted(slices.Values(d)))
	m := w.count()
	iv := Interval{N: n, Low: math.Inf(-1), High: math.Inf(1)}
	iv.Estimate = w.at((m + 1) / 2)
	if m%2 == 0 {
		iv.Estimate = iv.Estimate/2 + w.at(m/2+1)/2
	}
	if k := signedRankCritical(n, alpha); k >= 0 {
		iv.Low, iv.High = w.at(k+1), w.at(m-k)
	}
	return iv
}

// SignedRankP is the one-sided p-value of the centre of d being above line: how
// probable what lies at or below it is, were line the centre. It is the test that
// [SignedRank] inverts, with its assumptions: the interval's Low is above line exactly
// where the p-value is at most alpha, so what several intervals claim can be adjusted
// with [Holm]. For being below, turn d and line. It is 1 when there are no values, or
// one of them or line is not a number.
func SignedRankP(d []float64, line float64) float64 {
	if len(d) == 0 || !allFinite(d) || math.IsNaN(line) {
		return 1
	}
	w := walsh(slices.Sorted(slices.Values(d)))
	count, _, _ := w.split(line)
	if n := len(d); n <= exactPairs {
		return min(signedRankCDF(n)[count], 1)
	}
	mean, sd := signedRankMoments(len(d))
	return normalTail((mean - 0.5 - float64(count)) / sd)
}

// walsh is the Walsh averages of sorted values, which are not kept: n values have
// n(n+1)/2 of them, and a result file may hold many blocks.
type walsh []float64

func (w walsh) count() int { return len(w) * (len(w) + 1) / 2 }

// average cannot overflow, and does not fall when i or j grows.
func (w walsh) average(i, j int) float64 { return w[i]/2 + w[j]/2 }

// split counts the averages that are at most x, and gives the two next to it: the
// largest of those, and the smallest of the others.
func (w walsh) split(x float64) (count int, floor, ceil float64) {
	floor, ceil = math.Inf(-1), math.Inf(1)
	j := len(w) - 1 // all averages of i with more than j are above x
	for i := 0; i <= j; i++ {
		for j >= i && w.average(i, j) > x {
			j--
		}
		if j >= i {
			count += j - i + 1
			floor = max(floor, w.average(i, j))
		}
		if j+1 < len(w) {
			ceil = min(ceil, w.average(i, j+1))
		}
	}
	return count, floor, ceil
}

// at is the k-th smallest average, counted from 1. It halves the range of floating
// point numbers, in their order, and goes on to the next average: 64 steps at most,
// some 15 usually.
func (w walsh) at(k int) float64 {
	last := len(w) - 1
	low, high := ordinal(w.average(0, 0)), ordinal(w.average(last, last))
	for low < high {
		mid := low + int64(uint64(high-low)/2)
		count, floor, ceil := w.split(fromOrdinal(mid))
		if count >= k {
			high = ordinal(floor)
		} else {
			low = ordinal(ceil)
		}
	}
	return fromOrdinal(low)
}

// ordinal numbers the finite floating point numbers in their order; both zeros are 0.
func ordinal(x float64) int64 {
	bits := int64(math.Float64bits(x))
	if bits < 0 {
		return math.MinInt64 - bits
	}
	return bits
}

func fromOrdinal(o int64) float64 {
	if o < 0 {
		o = math.MinInt64 - o
	}
	return math.Float64frombits(uint64(o))
}

// exactPairs is up to how many pairs the distribution of the signed-rank statistic
// is computed; at 200 the normal one is right in the fourth digit.
const exactPairs = 200

// signedRankCritical is the largest k with P(W <= k) <= alpha, -1 when there is none.
func signedRankCritical(n int, alpha float64) int {
	if n > exactPairs {
		mean, sd := signedRankMoments(n)
		return int(math.Floor(mean - 0.5 - normalQuantile(alpha)*sd))
	}
	cdf := signedRankCDF(n)
	k, _ := slices.BinarySearchFunc(cdf, alpha, func(p, alpha float64) int {
		if p <= alpha {
			return -1
		}
		return 1
	})
	return k - 1
}

func signedRankMoments(pairs int) (mean, sd float64) {
	n := float64(pairs)
	return n * (n + 1) / 4, math.Sqrt(n * (n + 1) * (2*n + 1) / 24)
}

var signedRankCDFs [exactPairs + 1]struct {
	once sync.Once
	cdf  []float64
}

// signedRankCDF is P(W <= k) at index k, for the sum W of the ranks 1 to n that a
// fair coin chooses: the coefficients of the product of (1+x^i)/2.
func signedRankCDF(n int) []float64 {
	c := &signedRankCDFs[n]
	c.once.Do(func() {
		p := make([]float64, n*(n+1)/2+1)
		p[0] = 1
		for i := 1; i <= n; i++ {
			for s := i * (i + 1) / 2; s >= 0; s-- {
				p[s] /= 2
				if s >= i {
					p[s] += p[s-i] / 2
				}
			}
		}
		for s := 1; s < len(p); s++ {
			p[s] += p[s-1]
		}
		c.cdf = p
	})
	return c.cdf
}

// StudentT is the mean of d with Student's t interval: the cross-check of SignedRank,
// which it agrees with when the values are normal. It assumes that they are, or that
// there are many; one outlier widens it without bound.
func StudentT(d []float64, alpha float64) Interval {
	n := len(d)
	if n == 0 || !allFinite(d) || !validLevel(alpha) {
		return unknown(n)
	}
	mean, sd := moments(d)
	iv := Interval{Estimate: mean, Low: math.Inf(-1), High: math.Inf(1), N: n}
	if n < 2 {
		return iv
	}
	half := studentQuantile(n-1, alpha) * sd / math.Sqrt(float64(n))
	if low, high := mean-half, mean+half; low <= high { // not NaN, after an overflow
		iv.Low, iv.High = low, high
	}
	return iv
}
