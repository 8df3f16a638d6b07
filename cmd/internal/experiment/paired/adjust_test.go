package paired

import (
	"math"
	"slices"
	"testing"
)

func TestAdjust(t *testing.T) {
	// Benjamini and Hochberg 1995, table 1 in the text of section 4.1.
	thrombolysis := []float64{0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1}
	for _, tt := range []struct {
		name        string
		p, holm, bh []float64
	}{
		{"none", nil, []float64{}, []float64{}},
		{"one", []float64{0.03}, []float64{0.03}, []float64{0.03}},
		// As R's p.adjust has it.
		{"in steps", []float64{0.01, 0.02, 0.03, 0.04, 0.05}, []float64{0.05, 0.08, 0.09, 0.09, 0.09}, []float64{0.05, 0.05, 0.05, 0.05, 0.05}},
		{"in any order", []float64{0.04, 0.01, 0.03}, []float64{0.06, 0.03, 0.06}, []float64{0.04, 0.03, 0.04}},
		{"ties", []float64{0.02, 0.02, 0.9}, []float64{0.06, 0.06, 0.9}, []float64{0.03, 0.03, 0.9}},
		{"at most one", []float64{0.6, 0.7}, []float64{1, 1}, []float64{0.7, 0.7}},
		{"no probabilities", []float64{math.NaN(), 0.01, -1, 2}, []float64{1, 0.04, 1, 1}, []float64{1, 0.04, 1, 1}},
		{"zero", []float64{0, math.Copysign(0, -1)}, []float64{0, 0}, []float64{0, 0}},
	} {
		for name, got := range map[string][2][]float64{"Holm": {Holm(tt.p), tt.holm}, "BH": {BH(tt.p), tt.bh}} {
			if !slices.EqualFunc(got[0], got[1], func(a, b float64) bool { return near(a, b, 1e-12) }) {
				t.Errorf("%s of %s: %v, want %v", name, tt.name, got[0], got[1])
			}
		}
	}
	below := func(p []float64, level float64) (n int) {
		for _, x := range p {
			count(&n, x <= level)
		}
		return n
	}
	if holm, bh := below(Holm(thrombolysis), 0.05), below(BH(thrombolysis), 0.05); holm != 3 || bh != 4 {
		t.Errorf("Holm rejects %d and BH %d, the paper 3 and 4", holm, bh)
	}
}

// TestHolmByDefinition goes down the list until one is not rejected.
func TestHolmByDefinition(t *testing.T) {
	p := []float64{0.012, 0.2, 0.001, 0.013, 0.04, 0.012, 0.6}
	for _, level := range []float64{0.001, 0.01, 0.05, 0.07, 0.08, 0.2, 0.5} {
		rejected := map[float64]bool{}
		for i, x := range slices.Sorted(slices.Values(p)) {
			if x > level/float64(len(p)-i) {
				break
			}
			rejected[x] = true
		}
		for i, adjusted := range Holm(p) {
			if (adjusted <= level) != rejected[p[i]] {
				t.Errorf("at %g: %g is adjusted to %g, rejected is %v", level, p[i], adjusted, rejected[p[i]])
			}
		}
	}
}
