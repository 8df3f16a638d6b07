package report

import (
	"fmt"
	"html/template"
	"math"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// maxDots bounds the pairs of one figure.
const maxDots = 300

// strip draws every pair of a metric in the order of time, beside those of the
// calibration, on the ground of the interval and the margin.
func (o *outcome) strip(variant int, m experiment.MetricVerdict) (template.HTML, bool) {
	pairs := thin(pairsOf(o.Result, variant, m.Design, m.Name), maxDots)
	if len(pairs) == 0 {
		return "", false
	}
	same := thin(pairsOf(o.Result, calibration, m.Design, m.Name), maxDots)
	lo, hi := 0.0, 0.0
	take := func(l float64) {
		if !math.IsNaN(l) && !math.IsInf(l, 0) {
			lo, hi = min(lo, l), max(hi, l)
		}
	}
	for _, list := range [][]pair{pairs, same} {
		sorted := sortedOf(list)
		take(quantile(sorted, 0.02))
		take(quantile(sorted, 0.98))
	}
	if m.Margin > 0 && math.Log1p(m.Margin) < 3*max(hi, -lo) {
		take(math.Log1p(m.Margin))
		take(-math.Log1p(m.Margin))
	}
	if known(m.Low) && known(m.High) {
		take(max(math.Log(m.Low), -mostLimit))
		take(min(math.Log(m.High), mostLimit))
	}
	pad := max(0.08*(hi-lo), 0.0005)
	const height = 190
	c := newChart(scale{lo: lo - pad, hi: hi + pad}, height, 8, height-26, fmt.Sprintf("%s of every pair: %s", title(m.Name), inWords(m)))
	ticks := diffTicks(c.y.lo, c.y.hi, 6)
	if c.y.hi-c.y.lo < 0.02 {
		ticks = []float64{0}
	}
	c.yticks(ticks, diffText)

	// The calibration has a share of the width as it has of the pairs.
	total := len(same) + len(pairs)
	edge := 0.0
	if len(same) > 0 {
		edge = min(max(float64(len(same))/float64(total), 0.15), 0.5)
	}
	if known(m.Low) && known(m.High) && m.Low <= m.High {
		y0, y1 := c.py(math.Log(m.High)), c.py(math.Log(m.Low))
		c.add(`<rect class="band %s" x="%s" width="%s" y="%s" height="%s"/>`, findingClass(m.Verdict), at(edge), at(1-edge), px(y0), px(max(y1-y0, 1)))
	}
	if metric, _ := experiment.MetricByName(m.Name); m.Margin > 0 && !math.IsInf(m.Margin, 0) {
		for _, side := range []float64{1, -1} {
			if l := side * math.Log1p(m.Margin); c.y.in(l) {
				class := "margin"
				if float64(metric.Better)*side < 0 || metric.Better == experiment.Neither {
					class += " bad"
				}
				c.add(`<line class="%s" x1="0" x2="100%%" y1="%s" y2="%s"><title>margin %s</title></line>`, class, px(c.py(l)), px(c.py(l)), esc(marginOf(m)))
			}
		}
	}
	c.add(`<line class="zero" x1="0" x2="100%%" y1="%s" y2="%s"/>`, px(c.py(0)), px(c.py(0)))
	if edge > 0 {
		c.add(`<line class="divide" x1="%s" x2="%s" y1="0" y2="%s"/>`, at(edge), at(edge), px(height))
	}
	u := unitOf(m.Name)
	dots := func(list []pair, from, to float64, class, one, other string) {
		for i, p := range list {
			x := from + (to-from)*(float64(i)+0.5)/float64(len(list))
			text := fmt.Sprintf("block %d: %s %s, %s %s, %s", p.block, one, value(p.base, u), other, value(p.value, u), diffText(p.d))
			switch {
			case p.d > c.y.hi:
				c.marker(x, c.top+2, class, shapeUp, text)
			case p.d < c.y.lo:
				c.marker(x, c.bottom-2, class, shapeDown, text)
			default:
				c.add(`<circle class="pair %s" cx="%s" cy="%s" r="3.5">%s</circle>`, class, at(x), px(c.py(p.d)), titled(text))
			}
		}
	}
	dots(same, 0, edge, "self", "one", "the other")
	dots(pairs, edge, 1, "open-"+findingClass(m.Verdict), o.variant(0), o.variant(variant))
	c.ground()
	if edge > 0 {
		c.add(`<text class="muted" x="%s" y="%s" text-anchor="middle">A/A</text>`, at(edge/2), px(c.bottom+18))
	}
	c.add(`<text class="muted" x="%s" y="%s" text-anchor="middle">%s</text>`, at((1+edge)/2), px(c.bottom+18), esc(plural(len(pairs), "pair")+", in order of time"))
	return c.html(), true
}

func stripTitle(metric string) string {
	if metric == "error_ratio" {
		return title(metric) + ", percentage points"
	}
	return title(metric)
}
