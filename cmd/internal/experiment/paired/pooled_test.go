package paired

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// clusters draws values of pairs of blocks; every third block has one value less.
func clusters(seed uint64, n, size int, draw func(*rand.Rand) float64) [][]float64 {
	out := make([][]float64, n)
	for i := range out {
		out[i] = draws(seed+uint64(i), size-max(0, i%3-1), draw)
	}
	return out
}

func exponential(r *rand.Rand) float64 { return 1e-4 * r.ExpFloat64() }

// slowPooled is PooledQuantile by its definition: values are put together and sorted
// for every draw.
func slowPooled(base, variant [][]float64, q, alpha float64, seed uint64) Interval {
	n := len(base)
	ratio := func(of []int) float64 {
		quantile := func(clusters [][]float64) float64 {
			var all []float64
			for _, i := range of {
				all = append(all, clusters[i]...)
			}
			slices.Sort(all)
			for i, x := range all {
				if float64(i+1) >= q*float64(len(all)) {
					return math.Log(x)
				}
			}
			return math.NaN()
		}
		return quantile(variant) - quantile(base)
	}
	var everyone []int
	for i := range n {
		everyone = append(everyone, i)
	}
	estimate := ratio(everyone)
	rnd := rand.New(rand.NewPCG(seed, uint64(n)))
	drawn := make([]float64, 2000)
	for i := range drawn {
		var of []int
		for range n {
			of = append(of, rnd.IntN(n))
		}
		drawn[i] = ratio(of)
	}
	slices.Sort(drawn)
	z := math.Sqrt(float64(n)/float64(n-1)) * studentQuantile(n-1, alpha)
	p := (1 - math.Erf(z/math.Sqrt2)) / 2
	return Interval{estimate, min(drawn[int(2000*p)], estimate), max(drawn[1999-int(2000*p)], estimate), n}
}

func TestPooledQuantileByDefinition(t *testing.T) {
	kinds := map[string]func(*rand.Rand) float64{
		"exponential": exponential,
		"ties":        func(r *rand.Rand) float64 { return float64(1 + r.IntN(4)) },
	}
	for name, draw := range kinds {
		for i, q := range []float64{0.5, 0.9, 0.1} {
			n := 6 + 3*i
			size := 12 + int(10/min(q, 1-q))/n
			base, variant := clusters(1, n, size, draw), clusters(100, n, size-2, draw)
			got, want := PooledQuantile(base, variant, q, 0.05, 11), slowPooled(base, variant, q, 0.05, 11)
			if !near(got.Estimate, want.Estimate, 1e-12) || !near(got.Low, want.Low, 1e-12) || !near(got.High, want.High, 1e-12) || got.N != n {
				t.Errorf("%s, quantile %g: %+v, want %+v", name, q, got, want)
			}
			if got != PooledQuantile(base, variant, q, 0.05, 11) {
				t.Errorf("%s, quantile %g: the same seed gives another interval", name, q)
			}
			if turned := PooledQuantile(variant, base, q, 0.05, 11); !near(turned.Low, -got.High, 1e-12) || !near(turned.High, -got.Low, 1e-12) {
				t.Errorf("%s, quantile %g: %+v, and turned %+v", name, q, got, turned)
			}
		}
	}
}

func TestPooledQuantileOfDoubles(t *testing.T) {
	base := clusters(1, 12, 30, exponential)
	var variant [][]float64
	for _, c := range base {
		var doubled []float64
		for _, x := range c {
			doubled = append(doubled, 2*x)
		}
		variant = append(variant, doubled)
	}
	// Pairs are drawn, not blocks: each pair says two.
	if iv := PooledQuantile(base, variant, 0.9, 0.0158, 1); !near(iv.Estimate, math.Ln2, 1e-12) || !near(iv.Low, math.Ln2, 1e-12) || !near(iv.High, math.Ln2, 1e-12) {
		t.Errorf("%+v, want ln 2", iv)
	}
	if iv := PooledQuantile(base, base, 0.9, 0.0158, 1); iv != (Interval{0, 0, 0, 12}) {
		t.Errorf("of the same: %+v", iv)
	}
}

func TestPooledQuantileRefuses(t *testing.T) {
	fine := clusters(1, 10, 30, exponential)
	with := func(i int, c ...float64) [][]float64 {
		out := slices.Clone(fine)
		out[i] = c
		return out
	}
	one := make([][]float64, 10)
	one[3] = draws(9, 100, exponential)
	ninety := clusters(50, 10, 10, exponential)
	ninety[0] = ninety[0][:4]
	zeros := make([][]float64, 10)
	for i := range zeros {
		zeros[i] = []float64{0, 0}
	}
	for _, tt := range []struct {
		why           string
		base, variant [][]float64
		q, alpha      float64
		estimated     bool // an estimate without bounds
	}{
		{"no pairs", nil, nil, 0.5, 0.05, false},
		{"other numbers of pairs", fine, fine[1:], 0.5, 0.05, false},
		{"too few pairs", fine[:5], fine[:5], 0.5, 0.0158, true},
		{"nothing in any", make([][]float64, 10), fine, 0.5, 0.05, false},
		{"all in one", fine, one, 0.5, 0.05, true},
		{"nine beyond the quantile", fine, ninety, 0.9, 0.05, true},
		{"nine below the quantile", fine, ninety, 0.1, 0.05, true},
		{"NaN", with(3, math.NaN()), fine, 0.5, 0.05, false},
		{"infinite", fine, with(3, math.Inf(1)), 0.5, 0.05, false},
		{"negative", fine, with(9, -1), 0.5, 0.05, false},
		{"zeros", fine, zeros, 0.5, 0.05, false},
		{"too many", fine, with(0, make([]float64, mostPooled+1)...), 0.5, 0.05, false},
		{"quantile 0", fine, fine, 0, 0.05, false},
		{"quantile 1", fine, fine, 1, 0.05, false},
		{"no quantile", fine, fine, math.NaN(), 0.05, false},
		{"no level", fine, fine, 0.5, 0, false},
	} {
		iv := PooledQuantile(tt.base, tt.variant, tt.q, tt.alpha, 1)
		if !math.IsInf(iv.Low, -1) || !math.IsInf(iv.High, 1) || math.IsNaN(iv.Estimate) == tt.estimated {
			t.Errorf("%s: %+v", tt.why, iv)
		}
	}
	// A block without a pause is no reason to refuse.
	if iv := PooledQuantile(with(2), fine, 0.5, 0.05, 1); !iv.Bounded() {
		t.Errorf("one block without values: %+v", iv)
	}
}
