package paired

import (
	"math"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

func TestFinding(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	line := math.Log1p(0.1) // 0.0953
	for _, tt := range []struct {
		low, high float64
		margin    float64
		better    experiment.Direction
		want      experiment.Finding
	}{
		// Less is better.
		{-0.3, -0.2, 0.1, experiment.Lower, experiment.Improved},
		{-0.03, -0.02, 0.1, experiment.Lower, experiment.Improved}, // small, but sure: and the same by the margin
		{-0.3, 0.05, 0.1, experiment.Lower, experiment.NonInferior},
		{-0.09, 0.09, 0.1, experiment.Lower, experiment.Equivalent},
		{0.01, 0.09, 0.1, experiment.Lower, experiment.Equivalent}, // worse, but by less than matters
		{0, 0, 0.1, experiment.Lower, experiment.Equivalent},
		{-0.3, 0.1, 0.1, experiment.Lower, experiment.Inconclusive},
		{0.01, 0.1, 0.1, experiment.Lower, experiment.Inconclusive},
		{0.1, 0.2, 0.1, experiment.Lower, experiment.Regressed},
		{-0.3, 0.3, 0.1, experiment.Lower, experiment.Inconclusive},
		// More is better: the same, turned.
		{0.2, 0.3, 0.1, experiment.Higher, experiment.Improved},
		{-0.05, 0.3, 0.1, experiment.Higher, experiment.NonInferior},
		{-0.09, 0.09, 0.1, experiment.Higher, experiment.Equivalent},
		{-0.1, 0.3, 0.1, experiment.Higher, experiment.Inconclusive},
		{-0.2, -0.1, 0.1, experiment.Higher, experiment.Regressed},
		// Neither: only sameness can be shown, or missed.
		{-0.09, 0.09, 0.1, experiment.Neither, experiment.Equivalent},
		{-0.3, -0.2, 0.1, experiment.Neither, experiment.Changed},
		{0.2, 0.3, 0.1, experiment.Neither, experiment.Changed},
		{-0.3, 0.05, 0.1, experiment.Neither, experiment.Inconclusive},
		{-0.3, -0.2, 0, experiment.Neither, experiment.Changed},
		{-0.1, 0.2, 0, experiment.Neither, experiment.Inconclusive},
		// No margin.
		{-0.3, -0.2, 0, experiment.Lower, experiment.Improved},
		{-0.3, -0.2, 0, experiment.Higher, experiment.Regressed},
		{0.001, 0.2, 0, experiment.Lower, experiment.Regressed},
		{-0.001, 0.001, 0, experiment.Lower, experiment.Inconclusive},
		{0, 0, 0, experiment.Lower, experiment.Inconclusive},
		// A bound on a line has not left it.
		{-line, line / 2, 0.1, experiment.Lower, experiment.NonInferior},
		{-line / 2, line, 0.1, experiment.Lower, experiment.Inconclusive},
		{line, 1, 0.1, experiment.Lower, experiment.Inconclusive},
		{-1, 0, 0.1, experiment.Lower, experiment.NonInferior},
		// Too few pairs, half a bound, or nonsense.
		{-inf, inf, 0.1, experiment.Lower, experiment.Inconclusive},
		{-inf, -0.1, 0.1, experiment.Lower, experiment.Improved},
		{0.2, inf, 0.1, experiment.Lower, experiment.Regressed},
		{nan, nan, 0.1, experiment.Lower, experiment.Inconclusive},
		{nan, -0.1, 0.1, experiment.Lower, experiment.Inconclusive},
		{1, -1, 0.1, experiment.Lower, experiment.Inconclusive},
		{-0.3, -0.2, -0.1, experiment.Lower, experiment.Inconclusive},
		{-0.3, -0.2, nan, experiment.Lower, experiment.Inconclusive},
		{-0.3, -0.2, inf, experiment.Lower, experiment.Inconclusive},
	} {
		if got := Finding(Interval{0, tt.low, tt.high, 10}, tt.margin, tt.better); got != tt.want {
			t.Errorf("%g to %g, margin %g, better %d: %s, want %s", tt.low, tt.high, tt.margin, tt.better, got, tt.want)
		}
	}
}
