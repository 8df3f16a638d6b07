package judge

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/paired"
)

// dimensions are what variants are weighed by when there are many: tail latency,
// memory, CPU, throughput.
var dimensions = []string{"latency_p99_seconds", "rss_peak_bytes", "cpu_seconds_per_request", "throughput_per_second"}

// weighed is the dimensions by which a variant is given up: the goal is one, whatever
// it is, since a variant that is worth its price in it is what is looked for.
func (c *court) weighed() []string {
	if c.plan.Goal == nil || slices.Contains(dimensions, c.plan.Goal.Metric) {
		return dimensions
	}
	return append(slices.Clone(dimensions), c.plan.Goal.Metric)
}

// costs is each variant's log ratio to the baseline in every dimension, the lower
// the better; NaN where it is not known. The baseline's is zero.
func (c *court) costs() [][]float64 {
	out := make([][]float64, len(c.plan.Variants))
	for v := range out {
		out[v] = make([]float64, len(dimensions))
		if v == 0 {
			continue
		}
		for i, name := range dimensions {
			out[v][i] = c.cost(name, v).Estimate
		}
	}
	return out
}

// cost is the log ratio of a variant to the baseline, with its interval, the lower
// the better. It is kept, as every variant is held against every other.
func (c *court) cost(name string, variant int) paired.Interval {
	of := costOf{name, variant}
	iv, ok := c.kept[of]
	if !ok {
		iv = c.computeCost(name, variant)
		if c.kept == nil {
			c.kept = map[costOf]paired.Interval{}
		}
		c.kept[of] = iv
	}
	return iv
}

type costOf struct {
	metric  string
	variant int
}

func (c *court) computeCost(name string, variant int) paired.Interval {
	m, _ := experiment.MetricByName(name)
	design := c.design(m)
	s := seriesOf(pairsOf(c.blocks, phaseOf(design), design, variant), m, c.quads[design])
	if s.why != "" {
		nan := math.NaN()
		return paired.Interval{Estimate: nan, Low: nan, High: nan}
	}
	iv := s.interval(c.alpha(), c.plan.Seed)
	if m.Better == experiment.Higher {
		iv.Estimate, iv.Low, iv.High = -iv.Estimate, -iv.High, -iv.Low
	}
	return iv
}

// front is the variants that no other beats: none is as good in every dimension
// and better in one. The estimates decide; a dimension that is not known for all
// that lived is left out.
func (c *court) front() []int {
	costs := c.costs()
	var living []int
	for v := range costs {
		if c.deaths(v) == "" {
			living = append(living, v)
		}
	}
	known := make([]bool, len(dimensions))
	for i := range known {
		known[i] = !slices.ContainsFunc(living, func(v int) bool { return math.IsNaN(costs[v][i]) || math.IsInf(costs[v][i], 0) })
	}
	var out []int
	for _, v := range living {
		if !slices.ContainsFunc(living, func(u int) bool { return dominates(costs[u], costs[v], known) }) {
			out = append(out, v)
		}
	}
	return out
}

func dominates(a, b []float64, known []bool) bool {
	better := false
	for i := range a {
		if !known[i] {
			continue
		}
		if a[i] > b[i] {
			return false
		}
		better = better || a[i] < b[i]
	}
	return better
}

// worthwhile is how much better the best must be in a dimension before a variant
// that is nowhere better is given up.
const worthwhile = 0.05

// Hopeless says which variants need not run any longer, and why: those that fail,
// and, when there are several, those that another is shown to beat somewhere and
// that are nowhere shown to be better. The variants that passed run on only while
// others are undecided and might be better.
func Hopeless(h experiment.Header, blocks []experiment.Block, v *experiment.Verdict) map[int]string {
	out := map[int]string{}
	if h.Plan == nil || len(h.Plan.Variants) <= 2 {
		return out
	}
	c := &court{header: h, plan: h.Plan, blocks: blocks}
	c.hosts()
	c.units(v.Calibration)
	for _, k := range v.Comparisons {
		if k.Outcome == experiment.Fail && len(k.Reasons) > 0 {
			out[k.Variant] = k.Reasons[0]
		}
	}
	for _, k := range v.Comparisons {
		if out[k.Variant] != "" {
			continue
		}
		for u := range h.Plan.Variants {
			if u == k.Variant || out[u] != "" {
				continue
			}
			if why := c.beats(u, k.Variant); why != "" {
				out[k.Variant] = fmt.Sprintf("%s beats it: %s", h.Plan.Variants[u].Name, why)
				break
			}
		}
	}
	return out
}

// stopped says of each variant that is run no longer why it is not: it lacks the
// last rounds, which others have.
func (c *court) stopped(v *experiment.Verdict) {
	rounds := make([]int, len(c.plan.Variants))
	last := 0
	for _, b := range c.blocks {
		if b.Phase == experiment.PhaseCalibration {
			continue
		}
		for _, a := range b.Arms {
			if a.Variant > 0 && a.Variant < len(rounds) {
				rounds[a.Variant] = max(rounds[a.Variant], b.Round+1)
				last = max(last, b.Round+1)
			}
		}
	}
	var why map[int]string
	for i := range v.Comparisons {
		k := &v.Comparisons[i]
		if last-rounds[k.Variant] < 2 { // a quad that is not finished
			continue
		}
		if why == nil {
			why = Hopeless(c.header, c.blocks, v)
		}
		k.Eliminated = cmp.Or(why[k.Variant], fmt.Sprintf("it was beaten at %d pairs", rounds[k.Variant]))
	}
}

// beats says in what u is shown to be better than v by more than worthwhile, when
// v's estimate is nowhere better than u's; "" when that is not shown.
func (c *court) beats(u, v int) string {
	why := ""
	for _, name := range c.weighed() {
		x, y := paired.Interval{}, c.cost(name, v)
		if u != 0 {
			x = c.cost(name, u)
		}
		switch {
		case math.IsNaN(x.Estimate) || math.IsNaN(y.Estimate) || y.Estimate < x.Estimate:
			return ""
		case y.Low > x.High+worthwhile && why == "":
			why = fmt.Sprintf("%s %+.0f%%", title(name), 100*math.Expm1(y.Estimate-x.Estimate))
		}
	}
	return why
}
