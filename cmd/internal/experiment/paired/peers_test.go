package paired

import (
	"math"
	"testing"
)

func TestMannWhitney(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, tt := range []struct {
		name string
		a, b []float64
		want float64
	}{
		{"benchstat's four and four", []float64{1, 2, 3, 4}, []float64{5, 6, 7, 8}, 2.0 / 70},
		{"three and three", []float64{1, 2, 3}, []float64{4, 5, 6}, 0.1},
		{"in between", []float64{1, 4}, []float64{2, 3}, 1},
		// Permeability of the human chorioamnion (Hollander, Wolfe and Chicken 2014,
		// example 4.1): one-sided 0.1272.
		{"membranes", []float64{0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46}, []float64{1.15, 0.88, 0.90, 0.74, 1.21}, 2 * 0.1272},
		{"equal", []float64{1, 1, 1}, []float64{1, 1, 1}, 1},
		{"none", nil, []float64{1}, 1},
		{"NaN", []float64{1, nan, 2}, []float64{4, 5, 6}, 1},
		{"infinite", []float64{1, 2, 3}, []float64{inf, inf, inf}, 0.1},
	} {
		for _, got := range []float64{MannWhitney(tt.a, tt.b), MannWhitney(tt.b, tt.a)} {
			if !near(got, tt.want, 1e-4) {
				t.Errorf("%s: %g, want %g", tt.name, got, tt.want)
			}
		}
	}
}

// TestMannWhitneyByDefinition tries all ways to divide the values, with ties.
func TestMannWhitneyByDefinition(t *testing.T) {
	all := []float64{3, 1, 4, 1, 5, 9, 2, 6, 5, 3}
	const n = 10
	u := func(pattern int) (u float64) {
		for i := range n {
			for j := range n {
				if pattern>>i&1 == 1 && pattern>>j&1 == 0 {
					switch {
					case all[i] > all[j]:
						u++
					case all[i] == all[j]:
						u += 0.5
					}
				}
			}
		}
		return u
	}
	for _, observed := range []int{0b0000011111, 0b0001110101, 0b1110000011, 0b0111101000} {
		var a, b []float64
		for i, x := range all {
			if observed>>i&1 == 1 {
				a = append(a, x)
			} else {
				b = append(b, x)
			}
		}
		centre := float64(len(a)*len(b)) / 2
		hits, ways := 0, 0
		for pattern := range 1 << n {
			if size := onesOf(pattern); size == len(a) {
				ways++
				count(&hits, math.Abs(u(pattern)-centre) >= math.Abs(u(observed)-centre))
			}
		}
		if got, want := MannWhitney(a, b), float64(hits)/float64(ways); !near(got, want, 1e-12) {
			t.Errorf("%v and %v: %g, want %g", a, b, got, want)
		}
	}
}

func onesOf(pattern int) (n int) {
	for ; pattern > 0; pattern &= pattern - 1 {
		n++
	}
	return n
}

func TestFixedThreshold(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b []float64
		want bool
	}{
		{"above", []float64{100, 90, 110}, []float64{116, 116, 0}, true},
		{"below", []float64{100, 90, 110}, []float64{84}, true},
		{"within", []float64{100}, []float64{114}, false},
		{"none", nil, []float64{1}, false},
		{"none either", []float64{1}, nil, false},
		{"zero", []float64{0}, []float64{1}, false},
		{"NaN", []float64{1}, []float64{math.NaN()}, false},
	} {
		if got := FixedThreshold(tt.a, tt.b, 0.15); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
