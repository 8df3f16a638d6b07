// Package judge comes to the verdict of an experiment. It is pure: the verdict
// follows from what was known before the first block and from the blocks, so that
// who doubts it can compute it again.
//
// Each metric is judged by the pairs of one design, on the log of variant over
// baseline, with the Hodges-Lehmann estimate and the interval that inverts the
// signed-rank test (package paired). Findings are made at declared looks alone,
// with the interval widened for their number and for the number of variants.
// Nothing is dropped without being said: a metric that is zero or absent in a
// block is unusable, a block that does not count is listed with the reason, which
// is never an outcome.
package judge

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/paired"
	"github.com/heapwright/heapwright/cmd/internal/experiment/schedule"
)

// falseDiscoveries is the share of false ones among the differences that are
// reported for exploratory metrics (Benjamini-Hochberg).
const falseDiscoveries = 0.10

// power is that of "about k more pairs would decide it".
const power = 0.8

// Judge comes to the verdict on all variants.
func Judge(h experiment.Header, blocks []experiment.Block) *experiment.Verdict {
	v := &experiment.Verdict{Outcome: experiment.Undecided}
	if h.Plan == nil || len(h.Plan.Variants) < 2 {
		v.Reasons = []string{"there is nothing to compare: a plan has two variants or more"}
		return v
	}
	c := &court{header: h, plan: h.Plan, blocks: blocks}
	c.hosts()
	v.Grade = c.grade
	for _, b := range blocks {
		if b.Invalid != "" {
			v.Dropped = append(v.Dropped, fmt.Sprintf("block %d: %s", b.N, b.Invalid))
		}
	}
	v.Calibration = Calibrate(h.Plan, blocks)
	c.units(v.Calibration)
	for i := 1; i < len(h.Plan.Variants); i++ {
		v.Comparisons = append(v.Comparisons, c.compare(i))
	}
	v.Pairs = Pairs(h.Plan, blocks, compared(h.Plan))
	v.Warnings = c.warnings(v)
	if len(h.Plan.Variants) > 2 {
		v.Front = c.front()
		c.stopped(v)
	}
	c.outcome(v)
	return v
}

// compared is every variant but the baseline.
func compared(p *experiment.Plan) []int {
	var out []int
	for i := 1; i < len(p.Variants); i++ {
		out = append(out, i)
	}
	return out
}

// A court is a verdict in the making.
type court struct {
	header experiment.Header
	plan   *experiment.Plan
	blocks []experiment.Block
	grade  string
	quads  map[string]bool // designs in which neighbouring pairs are alike, so that a quad is the unit
	kept   map[costOf]paired.Interval
}

// alpha is one-sided, of each bound of an interval: 5%, shared among the looks,
// and among the variants, any of which could be found better by chance. Claims of a
// difference are made at half of it; see finding.
func (c *court) alpha() float64 {
	return paired.LookAlpha(max(len(c.plan.Design.Looks), 1)) / float64(len(c.plan.Variants)-1)
}

func (c *court) hosts() {
	var hosts []experiment.Host
	for _, b := range c.blocks {
		hosts = append(hosts, b.Host)
	}
	c.grade = Grade(hosts)
}

// units finds the designs in which the calibration saw neighbours alike.
func (c *court) units(cal []experiment.Calibration) {
	c.quads = map[string]bool{}
	for _, k := range cal {
		if alike(k) && c.plan.Role(k.Name) != experiment.RoleExploratory {
			c.quads[k.Design] = true
		}
	}
}

// compare is the judgement on one variant.
func (c *court) compare(variant int) experiment.Comparison {
	out := experiment.Comparison{Variant: variant, Outcome: experiment.Undecided, Same: c.same(variant)}
	var harm []float64 // p values of being worse, of every metric that the plan decides by
	var harmed []int   // and which those are
	var gain []float64 // p values of gains, in the guards
	var guards []int
	var guardIntervals []paired.Interval
	var chance []float64
	var explored []int
	for _, m := range experiment.Metrics() {
		mv, s, ok := c.metric(m, variant)
		if !ok {
			continue
		}
		if set, ok := c.header.Forecasts[variant]; ok {
			if f, ok := set[m.Name]; ok {
				mv.Forecast = &f
			}
		}
		i := len(out.Metrics)
		out.Metrics = append(out.Metrics, mv)
		switch {
		case mv.Verdict == experiment.Unusable || s.pairs < c.firstLook():
		case mv.Role == experiment.RoleExploratory:
			chance = append(chance, mv.P)
			explored = append(explored, i)
		default:
			p := 1.0 // what is not claimed counts as one that was looked at
			if mv.Verdict == experiment.Regressed {
				p = s.above(m.Better, c.delta(mv), c.alpha()/2, len(c.primaries()), c.plan.Seed)
			}
			harm, harmed = append(harm, p), append(harmed, i)
			if mv.Role != experiment.RoleGuard || mv.Verdict == experiment.Regressed {
				continue
			}
			if p = 1; mv.Verdict == experiment.Improved {
				p = s.above(-m.Better, 0, c.alpha()/2, len(c.primaries()), c.plan.Seed)
			}
			gain = append(gain, p)
			guards = append(guards, i)
			guardIntervals = append(guardIntervals, s.interval(c.alpha(), c.plan.Seed))
		}
	}
	// That one metric of several is worse must hold beside the others, claimed or not:
	// each had its chance to seem so (Holm).
	for k, p := range paired.Holm(harm) {
		if mv := &out.Metrics[harmed[k]]; mv.Verdict == experiment.Regressed && p > c.alpha()/2 {
			mv.Verdict = experiment.Inconclusive
			mv.Why = fmt.Sprintf("worse by itself, but not as one of %d metrics that could have been (Holm)", len(harm))
		}
	}
	// The goal has an alpha of its own. A guard is there to hold; that it improved
	// is said when it shows beside the other guards.
	for k, p := range paired.Holm(gain) {
		if mv := &out.Metrics[guards[k]]; mv.Verdict == experiment.Improved && p > c.alpha()/2 {
			mv.Verdict = unclaimed(guardIntervals[k], c.delta(*mv))
		}
	}
	for k, q := range paired.BH(chance) {
		mv := &out.Metrics[explored[k]]
		mv.Q = q
		mv.Verdict = explore(mv, q)
	}
	c.family(&out)
	return out
}

// delta is the margin of a metric on the scale of its pairs.
func (c *court) delta(mv experiment.MetricVerdict) float64 {
	if mv.Name == "error_ratio" {
		return mv.Margin
	}
	return math.Log1p(mv.Margin)
}

// explore is the finding on a metric that no margin was declared for.
func explore(mv *experiment.MetricVerdict, q float64) experiment.Finding {
	m, _ := experiment.MetricByName(mv.Name)
	switch up := mv.Ratio > 1; {
	case !(q <= falseDiscoveries):
		return experiment.Inconclusive
	case m.Better == experiment.Neither:
		return experiment.Changed
	case up == (m.Better == experiment.Higher):
		return experiment.Improved
	}
	return experiment.Regressed
}

// metric judges one metric of one variant by itself. Not ok means that no block
// has it, and no block was to have it.
func (c *court) metric(m experiment.Metric, variant int) (experiment.MetricVerdict, series, bool) {
	role := c.plan.Role(m.Name)
	design := c.design(m)
	mv := experiment.MetricVerdict{Name: m.Name, Role: role, Design: design, Level: 1 - 2*c.alpha(), Verdict: experiment.Inconclusive}
	if margin, ok := c.plan.Margin(m.Name); ok {
		mv.Margin = float64(margin)
	}
	ps, look := c.atLook(pairsOf(c.blocks, phaseOf(design), design, variant))
	s := seriesOf(ps, m, c.quads[design])
	if s.absent == s.pairs && role == experiment.RoleExploratory {
		return mv, s, false
	}
	mv.N = len(s.d)
	if s.why != "" {
		mv.Verdict, mv.Why = experiment.Unusable, s.why
		mv.Baseline, mv.Value = s.a, s.b
		return mv, s, true
	}
	mv.Baseline, mv.Value = s.a, s.b
	mv.Why = s.note
	mv.Sigma = paired.SD(s.d)
	iv := s.interval(c.alpha(), c.plan.Seed)
	mv.Ratio, mv.Low, mv.High = s.ratio(iv.Estimate), s.ratio(iv.Low), s.ratio(iv.High)
	mv.P = s.p(c.plan.Seed)
	if refused := c.refuses(m, design); refused != "" {
		mv.Verdict, mv.Why = experiment.Unusable, refused
		return mv, s, true
	}
	if role == experiment.RoleExploratory {
		return mv, s, true
	}
	if !look {
		mv.MorePairs = max(c.firstLook()-len(ps), 0)
		mv.Why = fmt.Sprintf("the first look is at %d pairs", c.firstLook())
		return mv, s, true
	}
	mv.Verdict = c.finding(&s, iv, c.delta(mv))
	if mv.Verdict == experiment.Inconclusive {
		mv.MorePairs = c.more(mv, m.Better, iv.Estimate)
	}
	if why := c.interferes(m, variant, design, iv); why != "" {
		mv.Verdict, mv.Why = experiment.Inconclusive, why
	}
	return mv, s, true
}

// finding holds an interval against the margin. That a metric holds is a claim in one
// direction, and is made at alpha; that it differs could be claimed in either, and
// is made at half of it, so that of experiments with nothing to find no more than
// alpha find something.
func (c *court) finding(s *series, iv paired.Interval, delta float64) experiment.Finding {
	better := s.metric.Better
	switch claim := s.finding(s.interval(c.alpha()/2, c.plan.Seed), delta, better); claim {
	case experiment.Improved, experiment.Regressed, experiment.Changed:
		return claim
	}
	switch f := s.finding(iv, delta, better); f {
	case experiment.Improved:
		return unclaimed(iv, delta)
	case experiment.Regressed, experiment.Changed:
		return experiment.Inconclusive
	default:
		return f
	}
}

// unclaimed is what is left of a gain that is not claimed.
func unclaimed(iv paired.Interval, delta float64) experiment.Finding {
	if -delta < iv.Low && iv.High < delta {
		return experiment.Equivalent
	}
	return experiment.NonInferior
}

// more is about how many pairs would decide a metric: for the goal, that it improved;
// for a guard, on which side of the margin it lies.
func (c *court) more(mv experiment.MetricVerdict, better experiment.Direction, effect float64) int {
	if better == experiment.Higher {
		effect = -effect
	}
	line := c.delta(mv)
	if mv.Role == experiment.RoleGoal {
		line = 0
	}
	alpha := c.alpha()
	if mv.Role == experiment.RoleGoal || effect > line {
		alpha /= 2 // it would be a claim of a difference
	}
	n := paired.MorePairs(mv.Sigma, effect, line, alpha, power, mv.N)
	if c.quads[mv.Design] {
		n *= 2
	}
	return n
}

// design is the one that a metric is judged by: tails by duets where there are
// some, all else by switchbacks.
func (c *court) design(m experiment.Metric) string {
	designs := schedule.Designs(c.plan)
	want := experiment.Switchback
	if m.Family == experiment.Latency {
		want = experiment.Duet
	}
	if slices.Contains(designs, want) {
		return want
	}
	return designs[0]
}

// refuses says why this host cannot carry a claim.
func (c *court) refuses(m experiment.Metric, design string) string {
	latency := m.Family == experiment.Latency && m.Unit == experiment.Seconds
	switch {
	case latency && design != experiment.Duet && c.grade == "C":
		return "this host is too busy for claims of latency from a switchback (grade C): ask for a duet"
	case latency && design != experiment.Duet && c.lateTails():
		return "in most blocks the generator was late by a quarter of the p99 or more: ask for a duet, whose sides share that"
	case m.Name == "gc_pause_p99_seconds" && c.grade == "C":
		return "this host is too busy for claims about the tail of pauses (grade C)"
	}
	return ""
}

// lateTails says whether, in most switchbacks, the tail of the latency is in good
// part the generator's. In a duet both sides have the same of it.
func (c *court) lateTails() bool {
	late, n := 0, 0
	for _, b := range c.blocks {
		for _, a := range b.Arms {
			p99, ok := a.Values["latency_p99_seconds"]
			if b.Design != experiment.Switchback || !ok {
				continue
			}
			n++
			if a.Audit.SlipP99 > max(maxSlip, p99/4) {
				late++
			}
		}
	}
	return 2*late > n
}

// interferes holds the design that a metric is judged by against the other one:
// when they exclude each other, the two processes of a duet, or the blocks of a
// switchback, act on each other, and neither is to be believed.
func (c *court) interferes(m experiment.Metric, variant int, design string, iv paired.Interval) string {
	for _, other := range schedule.Designs(c.plan) {
		if other == design || m.Family == experiment.Pause || m.Family == experiment.Once {
			continue
		}
		ps, look := c.atLook(pairsOf(c.blocks, phaseOf(other), other, variant))
		s := seriesOf(ps, m, c.quads[other])
		if !look || s.why != "" {
			continue
		}
		// Processes that share the CPUs dilute each other's effect: a duet may show
		// less than a switchback, but not the opposite, and not more.
		o := s.interval(c.alpha(), c.plan.Seed)
		if apart := iv.High < o.Low || o.High < iv.Low; apart && iv.Estimate*o.Estimate < 0 && excludesZero(iv) && excludesZero(o) {
			return fmt.Sprintf("the designs contradict each other: %s says %+.1f%%, %s %+.1f%%: interference",
				design, 100*(s.ratio(iv.Estimate)-1), other, 100*(s.ratio(o.Estimate)-1))
		}
	}
	return ""
}

func excludesZero(iv paired.Interval) bool { return iv.Low > 0 || iv.High < 0 }

// firstLook is the number of pairs before which nothing is found.
func (c *court) firstLook() int {
	if len(c.plan.Design.Looks) == 0 {
		return math.MaxInt32
	}
	return c.plan.Design.Looks[0]
}

// atLook cuts pairs to the largest declared look that they reach; look is false
// when they reach none.
func (c *court) atLook(ps []pair) (cut []pair, look bool) {
	n := 0
	for _, l := range c.plan.Design.Looks {
		if l <= len(ps) {
			n = l
		}
	}
	if n == 0 {
		return ps, false
	}
	return ps[:n], true
}

// same says whether a variant is the baseline under another name.
func (c *court) same(variant int) bool {
	var a, b string
	for _, build := range c.header.Builds {
		switch build.Variant {
		case 0:
			a = build.SHA256
		case variant:
			b = build.SHA256
		}
	}
	if a == "" || a != b {
		return false
	}
	return SameSettings(c.plan.Variants[0], c.plan.Variants[variant])
}

// SameSettings says whether two variants run the same way, whatever they are
// called and however they are built.
func SameSettings(a, b experiment.Variant) bool {
	return a.GOGC == b.GOGC && a.GOMEMLIMIT == b.GOMEMLIMIT && a.GOMAXPROCS == b.GOMAXPROCS && a.GODEBUG == b.GODEBUG &&
		maps.Equal(a.Env, b.Env) && slices.Equal(a.Args, b.Args) && a.MemoryLimit == b.MemoryLimit && a.CPUQuota == b.CPUQuota
}
