package paired

import (
	"math"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// Finding is what an interval says about a metric of which a ratio up to 1+margin,
// or down to 1/(1+margin), counts as the same. It is the first of these that holds;
// bad and good are by the metric's direction, and bounds on a line have not left it:
//
//	REGRESSED     the interval is beyond the margin on the bad side
//	IMPROVED      it is on the good side of no change
//	EQUIVALENT    it is within the margin on both sides (two one-sided tests)
//	NON-INFERIOR  it is within the margin on the bad side
//	INCONCLUSIVE  otherwise
//
// Each is wrong with at most the interval's one-sided level. An interval that
// excludes nothing is INCONCLUSIVE, and a difference that was not found is not
// thereby the same.
//
// A margin of 0 is none: then REGRESSED means worse than no change, and sameness is
// never said. A metric of which neither more nor less is better is EQUIVALENT, has
// CHANGED (the interval is beyond the margin on either side), or is INCONCLUSIVE.
func Finding(iv Interval, margin float64, better experiment.Direction) experiment.Finding {
	low, high := iv.Low, iv.High
	if !(low <= high) || !(margin >= 0) || math.IsInf(margin, 1) {
		return experiment.Inconclusive
	}
	delta := math.Log1p(margin)
	same := margin > 0 && low > -delta && high < delta
	if better == experiment.Neither {
		switch {
		case same:
			return experiment.Equivalent
		case low > delta || high < -delta:
			return experiment.Changed
		}
		return experiment.Inconclusive
	}
	if better == experiment.Higher {
		low, high = -high, -low // positive is worse
	}
	switch {
	case low > delta:
		return experiment.Regressed
	case high < 0:
		return experiment.Improved
	case same:
		return experiment.Equivalent
	case margin > 0 && high < delta:
		return experiment.NonInferior
	}
	return experiment.Inconclusive
}
