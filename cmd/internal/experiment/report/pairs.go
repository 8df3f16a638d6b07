package report

import (
	"math"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// calibration stands for a variant where the baseline is compared with itself.
const calibration = -1

// maxPairs bounds how many pairs are drawn.
const maxPairs = 2000

// A place is an arm and its block, both of the result.
type place struct {
	block int
	arm   *experiment.Arm
}

// A match is two arms that differ in the variant alone.
type match struct{ base, value place }

// matched are the arms of a variant with those of the baseline that they are
// compared with, in the order of time: in a duet they are of one block, in a
// switchback of one round. Blocks that do not count are left out.
func matched(r *experiment.Result, variant int, design string) []match {
	var out []match
	var rounds []int
	half := map[int]*match{} // by round, of a switchback
	for n := range r.Blocks {
		b := &r.Blocks[n]
		if len(out) >= maxPairs || len(rounds) >= maxPairs {
			break
		}
		if b.Invalid != "" || b.Design != design || (b.Phase == experiment.PhaseCalibration) != (variant == calibration) {
			continue
		}
		m := &match{}
		if design != experiment.Duet {
			if half[b.Round] == nil {
				half[b.Round] = m
				rounds = append(rounds, b.Round)
			}
			m = half[b.Round]
		}
		for i := range b.Arms {
			a := &b.Arms[i]
			switch {
			case a.End.How == experiment.EndedCrashed || a.End.How == experiment.EndedOOM:
				// Its values are of the time before, if any.
			case isBase(a, variant) && m.base.arm == nil:
				m.base = place{n, a}
			case isVariant(a, variant) && m.value.arm == nil:
				m.value = place{n, a}
			}
		}
		if design == experiment.Duet && m.base.arm != nil && m.value.arm != nil {
			out = append(out, *m)
		}
	}
	for _, round := range rounds {
		if m := half[round]; m.base.arm != nil && m.value.arm != nil {
			out = append(out, *m)
		}
	}
	return out
}

func isBase(a *experiment.Arm, variant int) bool {
	return a.Variant == 0 && (variant != calibration || a.Slot == 0)
}

func isVariant(a *experiment.Arm, variant int) bool {
	if variant == calibration {
		return a.Variant == 0 && a.Slot == 1
	}
	return a.Variant == variant && variant != 0
}

// A pair is two values of a metric that are compared.
type pair struct {
	block       int // of the later of the two
	base, value float64
	d           float64 // ln(value/base); of shares, ln(1+value-base)
}

// pairsOf are the pairs of a metric, for drawing. What is absent or not above zero
// has no place on a scale of ratios; shares of errors differ by points.
func pairsOf(r *experiment.Result, variant int, design, metric string) []pair {
	var out []pair
	for _, m := range matched(r, variant, design) {
		b, ok1 := m.base.arm.Values[metric]
		v, ok2 := m.value.arm.Values[metric]
		if !ok1 || !ok2 {
			continue
		}
		d := math.Log(v) - math.Log(b)
		if metric == "error_ratio" { // most often it is 0: what is compared is the difference
			d = math.Log1p(v - b)
		}
		if !math.IsNaN(d) && !math.IsInf(d, 0) {
			out = append(out, pair{block: max(m.base.block, m.value.block), base: b, value: v, d: d})
		}
	}
	return out
}

// typical is the match that is nearest to the middle of all by a metric, of those
// that have a time line.
func typical(r *experiment.Result, variant int, metric string) (match, bool) {
	var best match
	found := false
	for _, design := range []string{experiment.Switchback, experiment.Duet} {
		list := slices.DeleteFunc(matched(r, variant, design), func(m match) bool {
			return len(m.base.arm.Heap)+len(m.base.arm.Cycles) == 0 || len(m.value.arm.Heap)+len(m.value.arm.Cycles) == 0
		})
		if len(list) == 0 {
			continue
		}
		d := make([]float64, len(list))
		var sorted []float64
		for i, m := range list {
			d[i] = math.Log(m.value.arm.Values[metric]) - math.Log(m.base.arm.Values[metric])
			if !math.IsNaN(d[i]) && !math.IsInf(d[i], 0) {
				sorted = append(sorted, d[i])
			}
		}
		if len(sorted) == 0 {
			return list[len(list)/2], true
		}
		slices.Sort(sorted)
		middle := sorted[len(sorted)/2]
		least := math.Inf(1)
		for i, m := range list {
			if off := math.Abs(d[i] - middle); off < least {
				best, least, found = m, off, true
			}
		}
		if found {
			return best, true
		}
	}
	return best, found
}
