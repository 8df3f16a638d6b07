package stat

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestPairedRatioRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ a, b []float64 }{
		"one pair":    {[]float64{1}, []float64{1}},
		"unequal":     {[]float64{1, 2}, []float64{1}},
		"zero":        {[]float64{1, 0}, []float64{1, 1}},
		"negative":    {[]float64{1, 1}, []float64{1, -1}},
		"not finite":  {[]float64{1, math.Inf(1)}, []float64{1, 1}},
		"not numbers": {[]float64{1, math.NaN()}, []float64{1, 1}},
	} {
		if r, err := PairedRatio(tt.a, tt.b); err == nil {
			t.Errorf("%s: %v", name, r)
		}
	}
}

func TestPairedRatioOfEqualPairs(t *testing.T) {
	// What both of a pair have in common, here a machine that gets slower and
	// slower, must not widen the interval.
	var a, b []float64
	for i := range 10 {
		b = append(b, 1000/float64(i+1))
		a = append(a, 900/float64(i+1))
	}
	r, err := PairedRatio(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(r.Estimate-0.9) > 1e-12 || r.High-r.Low > 1e-12 {
		t.Errorf("got %v, want 0.9 without spread", r)
	}
}

// TestPairedRatioCovers holds the promise of the interval: about 95% of them
// contain the truth. The random numbers are always the same.
func TestPairedRatioCovers(t *testing.T) {
	const trials, truth = 400, 0.97
	for _, n := range []int{5, 20} {
		rnd := rand.New(rand.NewPCG(7, uint64(n)))
		covered := 0
		for range trials {
			a, b := make([]float64, n), make([]float64, n)
			for i := range a {
				machine := math.Exp(rnd.NormFloat64())
				b[i] = machine
				a[i] = machine * truth * math.Exp(0.05*rnd.NormFloat64())
			}
			r, err := PairedRatio(a, b)
			if err != nil {
				t.Fatal(err)
			}
			if r.Low <= truth && truth <= r.High {
				covered++
			}
		}
		// Three standard deviations of a binomial around 95% are 3.3 points.
		if share := float64(covered) / trials; share < 0.917 || share > 0.983 {
			t.Errorf("n=%d: %.1f%% of the intervals contain the truth, want about 95%%", n, 100*share)
		}
	}
}

func TestStudentQuantile(t *testing.T) {
	for df, want := range map[int]float64{1: 12.706, 10: 2.228, 11: 2.201, 19: 2.093, 29: 2.045, 100: 1.984} {
		if got := studentQuantile(df); math.Abs(got-want) > 0.0025 {
			t.Errorf("df=%d: %.4f, want %.3f", df, got, want)
		}
	}
}
