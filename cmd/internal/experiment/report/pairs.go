package report

import (
	"math"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// calibration stands for a variant where the baseline is compared with itself.
const calibration = -1

// A pair is two values of a metric that are compared.
type pair struct {
	block       int // of the later of the two
	base, value float64
	d           float64 // ln(value/base)
}

// maxPairs bounds how many pairs are drawn.
const maxPairs = 2000

// pairsOf are the pairs of a variant with the baseline, or those of the
// calibration, for drawing: of each round the baseline's arm and the variant's, in
// a duet those of one block. What was invalid, absent or not above zero has no
// place on a scale of ratios.
func pairsOf(r *experiment.Result, variant int, design, metric string) []pair {
	var out []pair
	bases := map[int]place{} // by round, of a switchback
	values := map[int]place{}
	var rounds []int
	for n := range r.Blocks {
		b := &r.Blocks[n]
		if b.Invalid != "" || b.Design != design || (b.Phase == experiment.PhaseCalibration) != (variant == calibration) {
			continue
		}
		var base, value *experiment.Arm
		for i := range b.Arms {
			a := &b.Arms[i]
			switch {
			case isBase(a, variant):
				base = a
			case isVariant(a, variant):
				value = a
			}
		}
		if design == experiment.Duet {
			if base != nil && value != nil {
				out = appendPair(out, n, base.Values, value.Values, metric)
			}
			continue
		}
		if base == nil && value == nil {
			continue
		}
		_, hadBase := bases[b.Round]
		_, hadValue := values[b.Round]
		if !hadBase && !hadValue {
			rounds = append(rounds, b.Round)
		}
		if base != nil && !hadBase {
			bases[b.Round] = place{n, base}
		}
		if value != nil && !hadValue {
			values[b.Round] = place{n, value}
		}
	}
	for _, round := range rounds {
		base, ok1 := bases[round]
		value, ok2 := values[round]
		if ok1 && ok2 {
			out = appendPair(out, max(base.block, value.block), base.arm.Values, value.arm.Values, metric)
		}
	}
	return out[:min(len(out), maxPairs)]
}

// A place is an arm and its block, both of the result.
type place struct {
	block int
	arm   *experiment.Arm
}

func isBase(a *experiment.Arm, variant int) bool {
	return a.Variant == 0 && (variant != calibration || a.Slot == 0)
}

func isVariant(a *experiment.Arm, variant int) bool {
	if variant == calibration {
		return a.Variant == 0 && a.Slot == 1
	}
	return a.Variant == variant
}

func appendPair(out []pair, block int, base, value map[string]float64, metric string) []pair {
	b, ok1 := base[metric]
	v, ok2 := value[metric]
	if !ok1 || !ok2 || !known(b) || !known(v) {
		return out
	}
	d := math.Log(v / b)
	if math.IsNaN(d) || math.IsInf(d, 0) {
		return out
	}
	return append(out, pair{block: block, base: b, value: v, d: d})
}
