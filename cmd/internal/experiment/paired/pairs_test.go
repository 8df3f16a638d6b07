package paired

import (
	"math"
	"testing"
)

// TestEquivalencePairs holds the formula against the table of the protocol: pairs for
// EQUIVALENT within 15%, 10% and 5% when nothing differs, with 80% and 90% power.
func TestEquivalencePairs(t *testing.T) {
	for _, tt := range []struct {
		sd, margin, power float64
		want              int
	}{
		{0.10, 0.15, 0.8, 7}, {0.10, 0.15, 0.9, 8},
		{0.15, 0.15, 0.8, 12}, {0.15, 0.15, 0.9, 15},
		{0.20, 0.15, 0.8, 20}, {0.20, 0.15, 0.9, 25},
		{0.25, 0.15, 0.8, 30}, {0.25, 0.15, 0.9, 37},
		{0.30, 0.15, 0.8, 42}, {0.30, 0.15, 0.9, 52},
		{0.40, 0.15, 0.8, 73}, {0.40, 0.15, 0.9, 91},
		{0.05, 0.05, 0.9, 14}, {0.10, 0.05, 0.9, 48}, {0.25, 0.05, 0.9, 287},
		{0.05, 0.10, 0.9, 5}, {0.10, 0.10, 0.9, 14}, {0.25, 0.10, 0.9, 77},
	} {
		got := EquivalencePairs(tt.sd, math.Log1p(tt.margin), 0.05, tt.power)
		if abs := got - tt.want; abs < -1 || abs > 1 {
			t.Errorf("deviation %g, margin %g, power %g: %d pairs, the table says %d", tt.sd, tt.margin, tt.power, got, tt.want)
		}
	}
}

func TestMorePairs(t *testing.T) {
	for _, tt := range []struct {
		why                             string
		sd, effect, delta, alpha, power float64
		have, want                      int
	}{
		// By hand: 23 pairs need (1.717+1.321)²·(0.2/0.1272)² = 22.8, 22 need 22.9.
		{"an improvement", 0.2, -0.1272, 0, 0.05, 0.9, 0, 23},
		{"some are there", 0.2, -0.1272, 0, 0.05, 0.9, 13, 10},
		{"as many as it takes are there", 0.2, -0.1272, 0, 0.05, 0.9, 60, 1},
		{"as far above the line as below", 0.2, 0.2272, 0.1, 0.05, 0.9, 0, 23},
		{"the level asks for five", 0.001, 1, 0, 0.05, 0.9, 0, 5},
		{"the level asks for six", 0.001, 1, 0, 0.0158, 0.9, 0, 6},
		{"on the line", 0.2, 0.1, 0.1, 0.05, 0.9, 0, 0},
		{"next to the line", 0.2, 0.1001, 0.1, 0.05, 0.9, 0, 0},
		{"no deviation", 0, 0.2, 0.1, 0.05, 0.9, 0, 0},
		{"a deviation of nothing", math.NaN(), 0.2, 0.1, 0.05, 0.9, 0, 0},
		{"endless", math.Inf(1), 0.2, 0.1, 0.05, 0.9, 0, 0},
		{"no effect is known", 0.2, math.NaN(), 0.1, 0.05, 0.9, 0, 0},
		{"an endless effect", 0.2, math.Inf(-1), 0.1, 0.05, 0.9, 0, 5},
		{"no level", 0.2, 0.2, 0.1, 0, 0.9, 0, 0},
		{"no power", 0.2, 0.2, 0.1, 0.05, 1, 0, 0},
		{"less power than a coin", 0.2, 0.2, 0.1, 0.05, 0.4, 0, 0},
		{"fewer than none", 0.2, -0.1272, 0, 0.05, 0.9, -1, 0},
	} {
		if got := MorePairs(tt.sd, tt.effect, tt.delta, tt.alpha, tt.power, tt.have); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.why, got, tt.want)
		}
	}
}

func TestSmallestMargin(t *testing.T) {
	for _, tt := range []struct {
		sd   float64
		n    int
		want float64
	}{
		{0.1, 40, 0.0534}, {0.2, 40, 0.1096}, {0, 10, 0}, {0.25, 1, 1.2762},
		{0.1, 0, math.NaN()}, {math.NaN(), 10, math.NaN()}, {math.Inf(1), 10, math.NaN()}, {-1, 10, math.NaN()},
	} {
		got := SmallestMargin(tt.sd, tt.n)
		if !near(got, tt.want, 5e-5) && !(math.IsNaN(got) && math.IsNaN(tt.want)) {
			t.Errorf("deviation %g, %d pairs: %g, want %g", tt.sd, tt.n, got, tt.want)
		}
	}
}
