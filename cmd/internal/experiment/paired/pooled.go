package paired

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

const (
	resamples  = 2000
	mostPooled = 1 << 20 // values of one side
)

// PooledQuantile is the log ratio of the q-quantiles of all values of the variant to
// all values of the baseline, such as of every GC pause in all blocks: base[i] and
// variant[i] are the values of pair i. It is for quantities of which a single block
// has too few for a quantile of its own.
//
// The interval is a bootstrap over pairs: values of one block depend on each other, so
// whole pairs are drawn, 2,000 times, from the seed. Its bounds are corrected for bias
// and for skewness (BCa: Efron 1987), and its level for few pairs as Student's
// quantiles are wider than the normal ones (Hesterberg 2014, 4.4.3). Quantiles are
// values that occurred: the smallest with at least the share q at or below it.
//
// It assumes independent pairs, not independent values. It has no bounds with fewer
// pairs than [SignedRank] needs for the level, or when all values of a side are in one
// pair. It knows nothing at all when the two sides have not the same number of pairs,
// a value is negative or not finite, a side has none or more than 2^20, or a quantile
// is 0.
func PooledQuantile(base, variant [][]float64, q, alpha float64, seed uint64) Interval {
	n := len(base)
	if n != len(variant) || !(q > 0 && q < 1) || !validLevel(alpha) {
		return unknown(n)
	}
	a, okA := pool(base)
	b, okB := pool(variant)
	if !okA || !okB {
		return unknown(n)
	}
	weights := make([]int, n)
	ratio := func() float64 {
		return math.Log(b.quantile(q, weights)) - math.Log(a.quantile(q, weights))
	}
	for i := range weights {
		weights[i] = 1
	}
	iv := unknown(n)
	iv.Estimate = ratio()
	if !finite(iv.Estimate) {
		return unknown(n)
	}
	if signedRankCritical(n, alpha) < 0 {
		return iv
	}
	without := make([]float64, 0, n)
	for i := range weights {
		weights[i] = 0
		without = append(without, ratio())
		weights[i] = 1
	}
	rnd := rand.New(rand.NewPCG(seed, uint64(n)))
	draws := make([]float64, resamples)
	for i := range draws {
		clear(weights)
		for range n {
			weights[rnd.IntN(n)]++
		}
		draws[i] = ratio()
	}
	if !allFinite(without) || !allFinite(draws) {
		return iv // one pair has all there is
	}
	slices.Sort(draws)
	iv.Low, iv.High = accelerated(iv.Estimate, draws, without, alpha)
	return iv
}

// accelerated are the bounds of the BCa interval from sorted bootstrap estimates and
// the estimates without one pair each.
func accelerated(estimate float64, draws, without []float64, alpha float64) (low, high float64) {
	below, _ := slices.BinarySearch(draws, estimate)
	upTo, _ := slices.BinarySearchFunc(draws, estimate, func(x, e float64) int {
		if x <= e {
			return -1
		}
		return 1
	})
	// Half of those that are equal count as below; never none or all.
	share := (float64(below+upTo)/2 + 0.5) / float64(len(draws)+1)
	bias := -normalQuantile(share)

	var mean, square, cube float64
	for _, x := range without {
		mean += x / float64(len(without))
	}
	for _, x := range without {
		square += (mean - x) * (mean - x)
		cube += (mean - x) * (mean - x) * (mean - x)
	}
	skew := 0.0
	if square > 0 {
		skew = cube / (6 * math.Pow(square, 1.5))
	}
	n := float64(len(without))
	z := studentQuantile(len(without)-1, alpha) * math.Sqrt(n/(n-1))
	at := func(z float64) float64 {
		p := normalTail(-z)
		if stretch := 1 - skew*(bias+z); stretch > 0 {
			p = normalTail(-(bias + (bias+z)/stretch))
		} else if p > 0.5 { // so skewed that the correction has left its domain
			p = 1
		} else {
			p = 0
		}
		return draws[min(int(p*float64(len(draws))), len(draws)-1)]
	}
	low, high = at(-z), at(z)
	return min(low, estimate), max(high, estimate)
}

// A pooled holds the values of all clusters in their order.
type pooled struct {
	values []value
	sizes  []int // of the clusters
}

type value struct {
	x       float64
	cluster int
}

func pool(clusters [][]float64) (*pooled, bool) {
	p := &pooled{sizes: make([]int, len(clusters))}
	total := 0
	for i, c := range clusters {
		p.sizes[i] = len(c)
		if total += len(c); total > mostPooled {
			return nil, false
		}
	}
	p.values = make([]value, 0, total)
	for i, c := range clusters {
		for _, x := range c {
			if !(x >= 0) || math.IsInf(x, 1) {
				return nil, false
			}
			p.values = append(p.values, value{x, i})
		}
	}
	slices.SortFunc(p.values, func(a, b value) int { return cmp.Compare(a.x, b.x) })
	return p, true
}

// quantile is the q-quantile of the values, each as often as its cluster's weight
// says; NaN when that leaves none. It counts from the nearer end.
func (p *pooled) quantile(q float64, weights []int) float64 {
	total := 0
	for i, w := range weights {
		total += w * p.sizes[i]
	}
	if total == 0 {
		return math.NaN()
	}
	rank := min(max(int(math.Ceil(q*float64(total))), 1), total) // from below, from 1
	if 2*rank <= total {
		for _, v := range p.values {
			if rank -= weights[v.cluster]; rank <= 0 {
				return v.x
			}
		}
	}
	above := total - rank // values that are allowed above it
	for _, v := range slices.Backward(p.values) {
		if above -= weights[v.cluster]; above < 0 {
			return v.x
		}
	}
	return math.NaN()
}
