package judge

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// family joins what was found about the metrics of a variant: it passes when all
// guards hold and the goal improved (an intersection-union test: no guard needs a
// smaller alpha for that), and fails when one of them is shown to be worse, or the
// goal to be the same. A variant that dies where the baseline lives fails at once:
// that is a matter of safety and not of statistics.
func (c *court) family(out *experiment.Comparison) {
	if why := c.deaths(out.Variant); why != "" {
		out.Outcome, out.Reasons = experiment.Fail, []string{why}
		return
	}
	var worse, held, open []string
	goal := c.plan.Goal == nil
	// The goal is what is asked for: it comes first.
	ordered := slices.Clone(out.Metrics)
	slices.SortStableFunc(ordered, func(a, b experiment.MetricVerdict) int { return order(a.Role) - order(b.Role) })
	for _, mv := range ordered {
		name := title(mv.Name)
		switch {
		case mv.Role == experiment.RoleExploratory:
		case mv.Verdict == experiment.Regressed:
			worse = append(worse, name+" regressed: "+effect(mv))
		case mv.Role == experiment.RoleGoal && mv.Verdict == experiment.Improved:
			goal = true
			held = append(held, name+" improved: "+effect(mv))
		case mv.Role == experiment.RoleGoal && mv.Verdict == experiment.Equivalent:
			worse = append(worse, name+" did not improve: "+effect(mv)+" is the same within "+percent(mv.Margin))
		case mv.Role == experiment.RoleGoal:
			open = append(open, name+" is not decided: "+orWhy(mv))
		case mv.Verdict == experiment.Inconclusive || mv.Verdict == experiment.Unusable:
			open = append(open, name+" is not decided: "+orWhy(mv))
		default:
			held = append(held, name+" holds: "+effect(mv))
		}
	}
	for _, name := range c.primaries() {
		if !slices.ContainsFunc(out.Metrics, func(mv experiment.MetricVerdict) bool { return mv.Name == name }) {
			open = append(open, title(name)+" was not measured")
		}
	}
	if why := c.failing(out.Variant); why != "" && !slices.Contains(c.primaries(), "error_ratio") {
		open = append(open, why)
	}
	switch {
	case len(worse) > 0:
		out.Outcome, out.Reasons = experiment.Fail, worse
	case len(open) > 0 || !goal:
		out.Outcome, out.Reasons = experiment.Undecided, open
	case len(held) == 0:
		out.Outcome, out.Reasons = experiment.Undecided, []string{"the plan has no goal and no guards: there is nothing to pass"}
	default:
		out.Outcome, out.Reasons = experiment.Pass, held
	}
}

func order(r experiment.Role) int {
	return slices.Index([]experiment.Role{experiment.RoleGoal, experiment.RoleGuard, experiment.RoleExploratory}, r)
}

// primaries are the metrics that the plan decides by.
func (c *court) primaries() []string {
	var names []string
	if c.plan.Goal != nil {
		names = append(names, c.plan.Goal.Metric)
	}
	for _, g := range c.plan.Guards {
		names = append(names, g.Metric)
	}
	return names
}

// mostFailing is how much more of a variant's requests may fail than of the
// baseline's, in plans that do not say.
const mostFailing = 0.01

// failing says that a variant answers with errors what the baseline answers. It is
// then quick and cheap by what it does not do: latency and cost are of the others.
func (c *court) failing(variant int) string {
	var sent, failed [2]float64 // of the baseline and of the variant
	for _, b := range c.blocks {
		for _, a := range b.Arms {
			side := 0
			if a.Variant == variant {
				side = 1
			} else if a.Variant != 0 {
				continue
			}
			sent[side] += float64(a.Requests)
			failed[side] += float64(a.Errors)
		}
	}
	base, share := failed[0]/max(sent[0], 1), failed[1]/max(sent[1], 1)
	if share-base <= mostFailing {
		return ""
	}
	return fmt.Sprintf("%.1f%% of its requests failed, and %.1f%% of the baseline's: what is measured is of the rest; have error_ratio for a guard", 100*share, 100*base)
}

// deaths says how a variant died where the baseline did not.
func (c *court) deaths(variant int) string {
	var runs, base [2]int // of the variant and of the baseline: died, and of memory
	var sent, failed [2]uint64
	blocks := 0
	for _, b := range c.blocks {
		for _, a := range b.Arms {
			n, side := &base, 0
			if a.Variant == variant {
				n, side = &runs, 1
				blocks++
			} else if a.Variant != 0 {
				continue
			}
			sent[side] += a.Requests
			failed[side] += a.Errors
			if died(a) {
				n[0]++
			}
			if a.End.How == experiment.EndedOOM {
				n[1]++
			}
		}
	}
	// Most requests fail, and the baseline's do not: it is there, and does not serve.
	if sent[1] >= fewest && failed[1] > sent[1]/2 && failed[0] <= sent[0]/20 {
		return fmt.Sprintf("%d of its %d requests failed; of the baseline's %d of %d", failed[1], sent[1], failed[0], sent[0])
	}
	switch {
	case runs[0] == 0 || base[0] > 0:
		return ""
	case runs[1] > 0:
		return fmt.Sprintf("killed for memory in %d of %d blocks; the baseline in none", runs[1], blocks)
	}
	return fmt.Sprintf("ended by itself in %d of %d blocks; the baseline in none", runs[0], blocks)
}

// outcome is that of the whole: the best of the variants.
func (c *court) outcome(v *experiment.Verdict) {
	count := map[experiment.Outcome]int{}
	var best *experiment.Comparison
	for i := range v.Comparisons {
		k := &v.Comparisons[i]
		count[k.Outcome]++
		if best == nil || rank(k.Outcome) > rank(best.Outcome) || k.Outcome == best.Outcome && c.better(*k, *best) {
			best = k
		}
	}
	switch {
	case count[experiment.Pass] > 0:
		v.Outcome = experiment.Pass
	case count[experiment.Fail] == len(v.Comparisons):
		v.Outcome = experiment.Fail
	default:
		v.Outcome = experiment.Undecided
	}
	for _, a := range c.blocks {
		if why := baselineDied(a); why != "" && v.Outcome != experiment.Fail {
			v.Outcome = experiment.Undecided
			v.Reasons = []string{why}
			return
		}
	}
	v.Reasons = best.Reasons
	if len(v.Comparisons) > 1 {
		v.Reasons = nil
		for _, why := range best.Reasons {
			v.Reasons = append(v.Reasons, c.plan.Variants[best.Variant].Name+": "+why)
		}
	}
}

func baselineDied(b experiment.Block) string {
	for _, a := range b.Arms {
		if a.Variant == 0 && died(a) {
			return fmt.Sprintf("the baseline itself ended under this load (block %d: %s): there is nothing to compare with", b.N, a.End.How)
		}
	}
	return ""
}

// better says whether a is the better of two variants with the same outcome: by
// the goal, else by memory.
func (c *court) better(a, b experiment.Comparison) bool {
	name := "rss_peak_bytes"
	if c.plan.Goal != nil {
		name = c.plan.Goal.Metric
	}
	m, _ := experiment.MetricByName(name)
	x, okX := a.Metric(name)
	y, okY := b.Metric(name)
	if !okX || !okY || !(x.Ratio > 0) || !(y.Ratio > 0) {
		return false
	}
	if m.Better == experiment.Higher {
		return x.Ratio > y.Ratio
	}
	return x.Ratio < y.Ratio
}

func rank(o experiment.Outcome) int {
	return slices.Index([]experiment.Outcome{experiment.Fail, experiment.Undecided, experiment.Pass}, o)
}

func (c *court) warnings(v *experiment.Verdict) []string {
	var out []string
	if c.plan.Design.Calibration == 0 {
		out = append(out, "the baseline was not compared with itself first: nothing says how much of a difference is noise")
	}
	for _, k := range v.Calibration {
		if alike(k) && c.plan.Role(k.Name) != experiment.RoleExploratory {
			out = append(out, fmt.Sprintf("neighbouring pairs of %s resemble each other (autocorrelation %.2f): quads are the unit of the %s", title(k.Name), k.ACF1, k.Design))
		}
		if k.Failed != "" {
			out = append(out, title(k.Name)+": "+k.Failed)
		}
	}
	var same []string
	for _, k := range v.Comparisons {
		if k.Same {
			same = append(same, c.plan.Variants[k.Variant].Name)
		}
	}
	if len(same) > 0 {
		out = append(out, fmt.Sprintf("%s is the same program with the same settings as %s: this compares it with itself", strings.Join(same, ", "), c.plan.Variants[0].Name))
	}
	if c.grade == "C" {
		out = append(out, "more than half of the machine's CPU was used by others (grade C): latency is claimed from duets alone, the tail of pauses not at all")
	}
	if n := c.unsettled(); 2*n > len(c.blocks) {
		out = append(out, fmt.Sprintf("in %d of %d blocks the heap goal still moved after the warm-up, or there was no cycle to tell: a longer warmup would compare steadier heaps", n, len(c.blocks)))
	}
	if n, why := c.retried(); n > 0 {
		out = append(out, fmt.Sprintf("%d of %d blocks were measured at the second try; the last first try ended with: %s", n, len(c.blocks), why))
	}
	if late := c.lateBlocks(); late > 0 {
		out = append(out, fmt.Sprintf("in %d of %d blocks the generator sent one request in a hundred more than 1 ms late: latency includes that, on both sides alike", late, len(c.blocks)))
	}
	return out
}

func (c *court) retried() (n int, why string) {
	for _, b := range c.blocks {
		if b.Retried != "" {
			n, why = n+1, b.Retried
		}
	}
	return n, why
}

func (c *court) unsettled() int {
	n := 0
	for _, b := range c.blocks {
		if slices.ContainsFunc(b.Arms, func(a experiment.Arm) bool { return a.Unsettled }) {
			n++
		}
	}
	return n
}

func (c *court) lateBlocks() int {
	n := 0
	for _, b := range c.blocks {
		if slices.ContainsFunc(b.Arms, func(a experiment.Arm) bool { return a.Audit.SlipP99 > 1e-3 }) {
			n++
		}
	}
	return n
}

func title(name string) string {
	if m, ok := experiment.MetricByName(name); ok {
		return m.Title
	}
	return name
}

// orWhy is why a metric is open.
func orWhy(mv experiment.MetricVerdict) string {
	if mv.Verdict == experiment.Unusable {
		return mv.Why
	}
	text := effect(mv)
	if mv.Why != "" {
		text += "; " + mv.Why
	}
	if mv.MorePairs > 0 {
		text += fmt.Sprintf("; about %d more pairs would decide it", mv.MorePairs)
	}
	return text
}

// effect shows a ratio as a change with its interval.
func effect(mv experiment.MetricVerdict) string {
	unit := "%"
	if mv.Name == "error_ratio" {
		unit = " points"
	}
	if math.IsInf(mv.High, 0) || math.IsInf(mv.Low, 0) {
		return fmt.Sprintf("%+.1f%s, of too few pairs for an interval", 100*(mv.Ratio-1), unit)
	}
	return fmt.Sprintf("%+.1f%s [%+.1f, %+.1f]", 100*(mv.Ratio-1), unit, 100*(mv.Low-1), 100*(mv.High-1))
}

func percent(r float64) string { return fmt.Sprintf("%.3g%%", 100*r) }
