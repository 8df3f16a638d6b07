package paired

import (
	"math"
	"math/rand/v2"
	"testing"
)

func same(a, b float64) bool { return near(a, b, 1e-12*math.Abs(b)) || math.IsNaN(a) && math.IsNaN(b) }

func TestSpread(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, tt := range []struct {
		name            string
		d               []float64
		sd, acf, median float64
	}{
		{"none", nil, nan, 0, nan},
		{"one", []float64{3}, nan, 0, 3},
		{"two", []float64{1, 3}, math.Sqrt2, 0, 2},
		{"equal", []float64{0.1, 0.1, 0.1, 0.1}, 0, 0, 0.1},
		// Deviations -1.5, -0.5, 0.5, 1.5: (0.75-0.25+0.75)/5.
		{"one to four", []float64{1, 2, 3, 4}, math.Sqrt(5.0 / 3), 0.25, 2.5},
		{"up and down", []float64{1, -1, 1, -1}, math.Sqrt(4.0 / 3), -0.75, 0},
		{"huge", []float64{math.MaxFloat64, 0, math.MaxFloat64, 0}, math.MaxFloat64 / math.Sqrt(3), -0.75, math.MaxFloat64 / 2},
		{"tiny", []float64{4e-300, 0, 4e-300, 0}, 4e-300 / math.Sqrt(3), -0.75, 2e-300},
		{"NaN", []float64{1, nan, 3}, nan, 0, nan},
		{"infinite", []float64{1, inf, inf, inf}, nan, 0, inf},
	} {
		if got := SD(tt.d); !same(got, tt.sd) {
			t.Errorf("deviation of %s: %g, want %g", tt.name, got, tt.sd)
		}
		if got := Autocorrelation(tt.d); !near(got, tt.acf, 1e-12) {
			t.Errorf("autocorrelation of %s: %g, want %g", tt.name, got, tt.acf)
		}
		if got := Median(tt.d); !same(got, tt.median) {
			t.Errorf("median of %s: %g, want %g", tt.name, got, tt.median)
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	if got := Autocorrelation(wander(r, 2000)); got < 0.6 || got > 0.8 { // 0.9 of the mood, which is 4/5 of the variance
		t.Errorf("of a machine that wanders: %g", got)
	}
	if got := Autocorrelation(switchback(r, wander(r, 4000))); math.Abs(got) > 0.07 {
		t.Errorf("of pairs on it: %g", got)
	}
}
