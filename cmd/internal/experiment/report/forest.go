package report

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// A forest is intervals of ratios on one scale of logarithms, one below the other,
// each on the ground of what counts as the same.
type forest struct {
	limit float64   // ln of the ratio at the right edge; the left is its inverse
	ticks []float64 // ln of ratios
}

// bounds of a forest: what differs by less than 2% or more than about fourfold is not
// what its scale is for.
var leastLimit, mostLimit = math.Log(1.02), math.Log(4.2)

// newForest is one whose scale holds all of the intervals, and the margins with
// room beside them.
func newForest(intervals [][2]float64, margins []float64) forest {
	limit := leastLimit
	for _, iv := range intervals {
		for _, r := range iv {
			if known(r) {
				limit = max(limit, math.Abs(math.Log(r)))
			}
		}
	}
	widest := 0.0
	for _, m := range margins {
		if m > 0 && !math.IsInf(m, 0) {
			widest = max(widest, math.Log1p(m))
		}
	}
	if widest > 0 {
		// What is many margins away would leave no room to see the others.
		limit = min(max(limit, 1.35*widest), max(4*widest, math.Log(1.25)))
	}
	limit = min(1.08*limit, mostLimit)
	if limit > math.Log(2.2) { // where half and twice are as far from nothing
		ln2 := math.Ln2
		return forest{limit: limit, ticks: slices.DeleteFunc([]float64{-2 * ln2, -ln2, 0, ln2, 2 * ln2}, func(t float64) bool { return math.Abs(t) > limit })}
	}
	return forest{limit: limit, ticks: diffTicks(-limit, limit, 7)}
}

// x is the place of a ratio.
func (f forest) x(ratio float64) float64 {
	return 0.5 + 0.5*math.Log(ratio)/f.limit
}

const rowHeight = 30.0

// row draws one interval. A bar that runs out of the scale ends in an arrow.
func (f forest) row(ratio, low, high, margin float64, class, label string) template.HTML {
	d := &drawing{height: rowHeight}
	const mid = rowHeight / 2
	if margin > 0 && !math.IsInf(margin, 0) {
		x0, x1 := max(f.x(1/(1+margin)), 0), min(f.x(1+margin), 1)
		d.add(`<rect class="zone" x="%s" width="%s" y="4" height="%s" rx="2"/>`, at(x0), at(x1-x0), px(rowHeight-8))
	}
	for _, t := range f.ticks {
		if t != 0 {
			x := at(0.5 + 0.5*t/f.limit)
			d.add(`<line class="grid" x1="%s" x2="%s" y1="0" y2="%s"/>`, x, x, px(rowHeight))
		}
	}
	d.add(`<line class="zero" x1="50%%" x2="50%%" y1="0" y2="%s"/>`, px(rowHeight))
	if known(ratio) && known(low) && known(high) && low <= high {
		d.add(`<line class="ci %s" x1="%s" x2="%s" y1="%s" y2="%s"/>`, class, at(f.x(low)), at(f.x(high)), px(mid), px(mid))
		if f.x(low) < 0 {
			d.marker(0, mid, class, shapeLeft, "")
		}
		if f.x(high) > 1 {
			d.marker(1, mid, class, shapeRight, "")
		}
	}
	if x := f.x(ratio); known(ratio) && x >= 0 && x <= 1 {
		d.add(`<circle class="dot %s" cx="%s" cy="%s" r="5">%s</circle>`, class, at(x), px(mid), titled(label))
	} else if known(ratio) && !(known(low) && known(high)) {
		d.marker(min(max(x, 0), 1), mid, class, map[bool]string{true: shapeRight, false: shapeLeft}[x > 1], label)
	}
	return d.svg("bar", label)
}

// apart is how far from each other the names of two ticks stand at least: room for
// them on a narrow screen.
const apart = 0.135

// axis draws the scale below the rows. Where names would meet, it is those farther
// from zero that are left out.
func (f forest) axis() template.HTML {
	d := &drawing{height: 22}
	ticks := slices.Clone(f.ticks)
	slices.SortStableFunc(ticks, func(a, b float64) int { return cmp.Compare(math.Abs(a), math.Abs(b)) })
	var taken []float64
	for _, t := range ticks {
		x := 0.5 + 0.5*t/f.limit
		if slices.ContainsFunc(taken, func(other float64) bool { return math.Abs(other-x) < apart }) {
			continue
		}
		taken = append(taken, x)
		anchor := "middle"
		if x < 0.04 {
			anchor = "start"
		} else if x > 0.96 {
			anchor = "end"
		}
		d.add(`<text class="muted" x="%s" y="14" text-anchor="%s">%s</text>`, at(x), anchor, esc(diffText(t)))
	}
	return d.svg("bar", "scale of differences from the baseline")
}

// findingClass is the colour of a finding: what is not shown has none.
func findingClass(f experiment.Finding) string {
	switch f {
	case experiment.Improved:
		return "good"
	case experiment.Regressed:
		return "bad"
	case experiment.NonInferior, experiment.Equivalent:
		return "same"
	case experiment.Changed:
		return "front"
	}
	return "open"
}

func outcomeClass(o experiment.Outcome) string {
	switch o {
	case experiment.Pass:
		return "good"
	case experiment.Fail:
		return "bad"
	}
	return "warn"
}

// inWords is a metric's verdict for those who do not see the drawing.
func inWords(m experiment.MetricVerdict) string {
	s := fmt.Sprintf("%s: %s", title(m.Name), clean(string(m.Verdict)))
	if known(m.Ratio) {
		s += ", " + effect(m)
	}
	if known(m.Low) && known(m.High) {
		s += " (" + intervalOf(m) + ")"
	}
	if t := marginOf(m); t != "-" {
		s += ", margin " + t
	}
	return s
}
