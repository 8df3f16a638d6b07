package judge

import (
	"fmt"
	"math"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/paired"
)

// A pair is two arms that differ in the variant alone.
type pair struct {
	round, quad int
	a, b        experiment.Arm // baseline, variant
}

func phaseOf(design string) experiment.Phase {
	if design == experiment.Duet {
		return experiment.PhaseDuet
	}
	return experiment.PhaseSwitchback
}

// pairsOf finds the pairs of a variant with the baseline, in the order of rounds.
// In a calibration the variant is 0, and slots tell the two apart. A pair of which
// one half does not count is none.
func pairsOf(blocks []experiment.Block, phase experiment.Phase, design string, variant int) []pair {
	type half struct {
		p        pair
		hasA     bool
		hasB     bool
		excluded bool
	}
	rounds := map[int]*half{}
	slot := 1
	for _, b := range blocks {
		if b.Phase != phase || b.Design != design {
			continue
		}
		if design == experiment.Duet && !slices.ContainsFunc(b.Arms, func(a experiment.Arm) bool { return a.Variant == variant && a.Slot == slot }) {
			continue // a duet of the baseline with another variant
		}
		for _, a := range b.Arms {
			base := a.Variant == 0 && a.Slot == 0
			if !base && (a.Variant != variant || a.Slot != slot) {
				continue
			}
			h := rounds[b.Round]
			if h == nil {
				h = &half{p: pair{round: b.Round, quad: b.Quad}}
				rounds[b.Round] = h
			}
			h.excluded = h.excluded || b.Invalid != ""
			switch {
			case base && !h.hasA:
				h.p.a, h.hasA = a, true
			case !base && !h.hasB:
				h.p.b, h.hasB = a, true
			}
		}
	}
	var out []pair
	for _, h := range rounds {
		if h.hasA && h.hasB && !h.excluded && !died(h.p.a) && !died(h.p.b) {
			out = append(out, h.p)
		}
	}
	slices.SortFunc(out, func(x, y pair) int { return x.round - y.round })
	return out
}

// died says whether a process ended while it was measured.
func died(a experiment.Arm) bool {
	return a.End.How == experiment.EndedCrashed || a.End.How == experiment.EndedOOM
}

// A series is what pairs say about one metric.
type series struct {
	metric experiment.Metric
	pairs  int
	absent int       // pairs that lack it on both sides
	d      []float64 // by pair: the log of variant over baseline; of error_ratio, the difference
	a, b   float64   // medians
	pool   [2][][]float64
	why    string // why it cannot be used
	note   string // what is to be said though it can
}

// mostAbsent is the share of pairs that may lack a metric, because a reading
// failed or came late. What is left out is said; where it is more, its being absent
// may be an outcome.
const mostAbsent = 0.2

// minTail is how many pauses must lie beyond a quantile, in each arm, before
// anything is said about it. The research asks for hundreds to prove ±15%; with
// fewer than this the quantile is the largest value.
const minTail = 10

// quantiles of the pooled metrics.
var quantiles = map[string]float64{"gc_pause_p50_seconds": 0.5, "gc_pause_p90_seconds": 0.9, "gc_pause_p99_seconds": 0.99}

func seriesOf(ps []pair, m experiment.Metric, byQuad bool) series {
	s := series{metric: m, pairs: len(ps)}
	var as, bs []float64
	if m.Family == experiment.Pause {
		s.poolPauses(ps)
		return s
	}
	var zero, partly int
	var quads []int
	for _, p := range ps {
		a, okA := p.a.Values[m.Name]
		b, okB := p.b.Values[m.Name]
		okA, okB = okA && !math.IsNaN(a) && !math.IsInf(a, 0), okB && !math.IsNaN(b) && !math.IsInf(b, 0)
		switch {
		case !okA && !okB:
			s.absent++
		case okA != okB:
			partly++
		case m.Name == "error_ratio":
			s.d, as, bs, quads = append(s.d, b-a), append(as, a), append(bs, b), append(quads, p.quad)
		case !(a > 0) || !(b > 0):
			zero++
			as, bs = append(as, a), append(bs, b)
		default:
			s.d, as, bs, quads = append(s.d, math.Log(b/a)), append(as, a), append(bs, b), append(quads, p.quad)
		}
	}
	s.a, s.b = median(as), median(bs)
	switch {
	case len(ps) == 0:
		s.why = "there is no pair"
	case float64(s.absent+partly) > mostAbsent*float64(len(ps)):
		s.why = fmt.Sprintf("absent in %d of %d pairs", s.absent+partly, len(ps))
	case zero > 0:
		s.why = fmt.Sprintf("zero in %d of %d pairs: there is no ratio", zero, len(ps))
	}
	if missing := s.absent + partly; missing > 0 && s.why == "" {
		s.note = fmt.Sprintf("without the %d of %d pairs that lack it", missing, len(ps))
	}
	if byQuad && s.why == "" {
		s.d = overQuads(quads, s.d)
	}
	return s
}

// overQuads is the mean of each quad's pairs.
func overQuads(quads []int, d []float64) []float64 {
	var out []float64
	for i := 0; i < len(d); {
		sum, n, quad := 0.0, 0, quads[i]
		for ; i < len(d) && quads[i] == quad; i++ {
			sum += d[i]
			n++
		}
		out = append(out, sum/float64(n))
	}
	return out
}

// poolPauses takes all pauses of all blocks: one block has too few for a quantile.
func (s *series) poolPauses(ps []pair) {
	q := quantiles[s.metric.Name]
	var na, nb int
	var all [2][]float64
	for _, p := range ps {
		s.pool[0] = append(s.pool[0], p.a.Pauses)
		s.pool[1] = append(s.pool[1], p.b.Pauses)
		na, nb = na+len(p.a.Pauses), nb+len(p.b.Pauses)
		all[0], all[1] = append(all[0], p.a.Pauses...), append(all[1], p.b.Pauses...)
	}
	slices.Sort(all[0])
	slices.Sort(all[1])
	if na > 0 && nb > 0 {
		s.a, s.b = all[0][min(int(q*float64(na)), na-1)], all[1][min(int(q*float64(nb)), nb-1)]
	} else {
		s.absent = s.pairs
	}
	need := int(math.Ceil(minTail / (1 - q)))
	switch {
	case len(ps) == 0:
		s.why = "there is no pair"
	case na == 0 && nb == 0:
		s.why = "there was no GC cycle"
	case min(na, nb) < need:
		s.why = fmt.Sprintf("%d pauses, want %d", min(na, nb), need)
	case !(s.a > 0) || !(s.b > 0):
		s.why = "a pause of zero length"
	default:
		// The pairs are the clusters; d is only for their number and spread.
		for i := range s.pool[0] {
			if a, b := median(s.pool[0][i]), median(s.pool[1][i]); a > 0 && b > 0 {
				s.d = append(s.d, math.Log(b/a))
			}
		}
	}
}

func (s *series) interval(alpha float64, seed uint64) paired.Interval {
	if s.metric.Family == experiment.Pause {
		return paired.PooledQuantile(s.pool[0], s.pool[1], quantiles[s.metric.Name], alpha, seed)
	}
	return paired.SignedRank(s.d, alpha)
}

// ratio is an effect as a ratio; of shares, whose pairs are differences, 1 is no
// difference and 1.01 one of a percentage point.
func (s *series) ratio(effect float64) float64 {
	if s.metric.Name == "error_ratio" {
		return 1 + effect
	}
	return math.Exp(effect)
}

// p is that of a difference, two-sided.
func (s *series) p(seed uint64) float64 {
	if s.metric.Family != experiment.Pause {
		return paired.SignFlip(s.d, seed)
	}
	// The least level, of a ladder, at which the interval of the pooled quantile
	// leaves out that there is none.
	p := 1.0
	for _, alpha := range []float64{0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.0025, 0.001} {
		if !excludesZero(s.interval(alpha, seed)) {
			break
		}
		p = 2 * alpha
	}
	return p
}

func (s *series) finding(iv paired.Interval, delta float64, better experiment.Direction) experiment.Finding {
	return paired.Finding(iv, math.Expm1(delta), better)
}

// above is the one-sided p of the effect lying beyond delta on the worse side, or,
// with the direction turned, on the better one, to be held against alpha beside so
// many others.
func (s *series) above(better experiment.Direction, delta, alpha float64, others int, seed uint64) float64 {
	if s.metric.Family == experiment.Pause {
		// The pooled quantiles have an interval and no p: the least level, of those that
		// Holm asks for, at which the interval says so.
		for ; others > 0; others-- {
			iv := s.interval(alpha/float64(others), seed)
			if better == experiment.Higher {
				iv.Low = -iv.High
			}
			if iv.Low > delta {
				return alpha / float64(others) * (1 - 1e-9) // what Holm multiplies must not round up
			}
		}
		return 1
	}
	d := s.d
	if better == experiment.Higher {
		d = make([]float64, len(s.d))
		for i, x := range s.d {
			d[i] = -x
		}
	}
	return paired.SignedRankP(d, delta)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
