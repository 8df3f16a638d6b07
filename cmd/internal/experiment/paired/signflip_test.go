package paired

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestSignFlip(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, tt := range []struct {
		name string
		d    []float64
		want float64
	}{
		// Fisher 1935, section 21: in 863 of 32768 the sum is at least as large.
		{"Darwin", darwin, 2 * 863.0 / 32768},
		{"none", nil, 1},
		{"one", []float64{5}, 1},
		{"two", []float64{5, 5}, 0.5},
		{"two that cancel", []float64{5, -5}, 1},
		{"six of one sign", []float64{1, 2, 3, 4, 5, 6}, 2.0 / 64},
		{"ties that sum in another order", []float64{0.1, 0.2, 0.3, -0.1}, 6.0 / 16},
		{"sixteen", []float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 2.0 / 65536},
		{"zeros", make([]float64, 9), 1},
		{"zeros of many", make([]float64, 99), 1},
		{"tiny", []float64{5e-324, 5e-324, 5e-324}, 0.25},
		{"huge", []float64{math.MaxFloat64, math.MaxFloat64, math.MaxFloat64}, 0.25},
		{"NaN", []float64{1, nan, 1}, 1},
		{"infinite", []float64{1, inf, 1}, 1},
	} {
		if got := SignFlip(tt.d, 1); !near(got, tt.want, 1e-15) {
			t.Errorf("%s: %g, want %g", tt.name, got, tt.want)
		}
	}
}

// TestSignFlipByDefinition sums every pattern from the start.
func TestSignFlipByDefinition(t *testing.T) {
	for n := 1; n <= 18; n++ {
		d := draws(uint64(n), n, func(r *rand.Rand) float64 { return math.Round(8*(r.NormFloat64()+0.3)) / 8 })
		observed := 0.0
		for _, x := range d {
			observed += x
		}
		hits := 0
		for pattern := range 1 << n {
			sum := 0.0
			for i, x := range d {
				if pattern>>i&1 == 1 {
					x = -x
				}
				sum += x
			}
			count(&hits, math.Abs(sum) >= math.Abs(observed)) // eighths sum without error
		}
		want, tolerance := float64(hits)/float64(int(1)<<n), 0.0
		if n > flipExact { // four standard errors of the draws
			tolerance = 4 * math.Sqrt(want*(1-want)/flipDraws)
		}
		if got := SignFlip(d, 7); math.Abs(got-want) > tolerance {
			t.Errorf("n=%d: %g, want %g", n, got, want)
		}
	}
}

func TestSignFlipOfMany(t *testing.T) {
	d := draws(1, 200, func(r *rand.Rand) float64 { return 0.02 + 0.2*r.NormFloat64() })
	if a, b := SignFlip(d, 3), SignFlip(d, 3); a != b {
		t.Errorf("the same seed gives %g and %g", a, b)
	}
	many := draws(1, flipMost+1, func(r *rand.Rand) float64 { return 0.012 + 0.2*r.NormFloat64() })
	drawn, normal := SignFlip(many[:flipMost], 3), SignFlip(many, 3)
	if drawn < 0.001 || drawn > 0.5 || math.Abs(drawn-normal) > 0.1*normal+0.01 {
		t.Errorf("%g by draws, %g by the normal distribution", drawn, normal)
	}
	for i := range many {
		many[i] = 1
	}
	if p := SignFlip(many[:1000], 3); p != 1.0/(flipDraws+1) {
		t.Errorf("of a thousand ones: %g", p)
	}
}
