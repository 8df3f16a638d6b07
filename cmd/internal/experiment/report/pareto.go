package report

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// maxPoints bounds the variants of one plot.
const maxPoints = 64

// A point is a variant in two metrics, with the intervals of both, in their units.
type point struct {
	variant  int
	name     string
	x, y     [3]float64 // value, low, high
	front    bool
	stopped  bool
	forecast *[2]float64
}

// points are the variants in two metrics. What is measured is a ratio to the
// baseline, pair by pair, so that each stands where its ratio puts it, not where
// the median of its own blocks does.
func (o *outcome) points(mx, my string) []point {
	bx, by := math.NaN(), math.NaN()
	var out []point
	for _, c := range o.verdict.Comparisons {
		x, ok1 := c.Metric(mx)
		y, ok2 := c.Metric(my)
		if !ok1 || !ok2 || !known(x.Ratio) || !known(y.Ratio) {
			continue
		}
		if math.IsNaN(bx) && known(x.Baseline) && known(y.Baseline) {
			bx, by = x.Baseline, y.Baseline
			out = append(out, point{variant: 0, name: o.variant(0), x: [3]float64{bx, bx, bx}, y: [3]float64{by, by, by}, front: o.onFront(0)})
		}
		if math.IsNaN(bx) || len(out) >= maxPoints {
			continue
		}
		p := point{variant: c.Variant, name: o.variant(c.Variant), x: around(bx, x), y: around(by, y), front: o.onFront(c.Variant), stopped: c.Eliminated != ""}
		if fx, fy := x.Forecast, y.Forecast; fx != nil && fy != nil && known(fx.Ratio) && known(fy.Ratio) {
			p.forecast = &[2]float64{bx * fx.Ratio, by * fy.Ratio}
		}
		out = append(out, p)
	}
	// What no axis can show is in the table.
	return slices.DeleteFunc(out, func(p point) bool {
		return !known(p.x[0]) || !known(p.y[0]) || p.x[0] > 1e18 || p.y[0] > 1e18 || p.x[0] < 1e-12 || p.y[0] < 1e-12
	})
}

// around is a value where the ratio puts it, and its interval.
func around(base float64, m experiment.MetricVerdict) [3]float64 {
	v := [3]float64{base * m.Ratio, base * m.Low, base * m.High}
	if !known(m.Low) || !known(m.High) {
		v[1], v[2] = v[0], v[0]
	}
	return v
}

// pareto draws what two metrics have against each other, once for wide screens and
// once for narrow ones: names find other room.
func (o *outcome) pareto(mx, my string) (figure, bool) {
	points := o.points(mx, my)
	if len(points) < 2 {
		return figure{}, false
	}
	f := figure{Title: fmt.Sprintf("%s against %s", short(my), short(mx)), Keys: []key{{"k-front", "on the front of all four metrics"}, {"k-other", "not on it"}}}
	f.Caption = "Lower left is better, and the line joins what no other beats in these two. Crosses are the intervals; each variant stands where its ratio to the baseline puts it."
	if slices.ContainsFunc(points, func(p point) bool { return p.stopped }) {
		f.Keys = append(f.Keys, key{"k-stopped", "stopped early"})
	}
	if slices.ContainsFunc(points, func(p point) bool { return p.forecast != nil }) {
		f.Keys = append(f.Keys, key{"k-twin", "what the twin forecast"})
	}
	f.Keys = append(f.Keys, key{"k-base", "baseline"})
	for _, size := range []struct {
		class         string
		width, height float64
	}{{"wide", 900, 420}, {"narrow", 380, 360}} {
		f.Body += template.HTML(plot(points, mx, my, size.class, size.width, size.height))
	}
	return f, true
}

// reach is the scale of one of the two axes.
func reach(points []point, of func(point) [3]float64, forecast int) scale {
	s := scale{lo: math.Inf(1), hi: math.Inf(-1)}
	take := func(v float64) {
		if known(v) {
			s.lo, s.hi = min(s.lo, v), max(s.hi, v)
		}
	}
	for _, p := range points {
		v := of(p)
		take(v[0])
		for _, end := range v[1:] { // an interval is shown whole, unless that would be most of the plot
			take(min(max(end, v[0]/1.5), v[0]*1.5))
		}
		if p.forecast != nil {
			take(min(max(p.forecast[forecast], v[0]/1.5), v[0]*1.5))
		}
	}
	if s.hi/s.lo > 4 {
		s.log = true
		s.lo, s.hi = s.lo/1.12, s.hi*1.12
		return s
	}
	pad := max(0.08*(s.hi-s.lo), 0.01*s.hi)
	s.lo, s.hi = max(s.lo-pad, 0), s.hi+pad
	return s
}

func plot(points []point, mx, my, class string, width, height float64) string {
	ux, uy := unitOf(mx), unitOf(my)
	xs, ys := reach(points, func(p point) [3]float64 { return p.x }, 0), reach(points, func(p point) [3]float64 { return p.y }, 1)
	d := &drawing{height: height}
	left, right, top, bottom := 20.0, width-22, 30.0, height-46
	yticks := ys.ticks(6, uy)
	for _, t := range yticks {
		left = max(left, charWidth*float64(term.Width(tick(t, uy)))+14)
	}
	px2 := func(v float64) float64 { return left + min(max(xs.at(v), 0), 1)*(right-left) }
	py2 := func(v float64) float64 { return bottom - min(max(ys.at(v), 0), 1)*(bottom-top) }
	for _, t := range yticks {
		d.add(`<line class="grid" x1="%s" x2="%s" y1="%s" y2="%s"/><text class="muted" x="%s" y="%s" text-anchor="end">%s</text>`, px(left), px(right), px(py2(t)), px(py2(t)), px(left-8), px(py2(t)+4), esc(tick(t, uy)))
	}
	last := math.Inf(-1)
	for _, t := range xs.ticks(int(width/100), ux) {
		name := tick(t, ux)
		if w := charWidth*float64(term.Width(name)) + 12; px2(t)-last > w {
			d.add(`<line class="tick" x1="%s" x2="%s" y1="%s" y2="%s"/><text class="muted" x="%s" y="%s" text-anchor="middle">%s</text>`, px(px2(t)), px(px2(t)), px(bottom), px(bottom+5), px(px2(t)), px(bottom+19), esc(name))
			last = px2(t)
		}
	}
	d.add(`<line class="tick" x1="%s" x2="%s" y1="%s" y2="%s"/>`, px(left), px(right), px(bottom), px(bottom))
	d.add(`<text class="muted" x="0" y="14">%s</text><text class="muted" x="%s" y="%s" text-anchor="end">%s</text>`, esc(axisName(my, ys)), px(right), px(bottom+38), esc(axisName(mx, xs)))

	var curve trace
	for _, p := range efficient(points) {
		fmt.Fprintf(&curve, "%c%s %s", "ML"[min(curve.points, 1)], px(px2(p.x[0])), px(py2(p.y[0])))
		curve.points++
	}
	if curve.points > 1 {
		d.add(`<path class="efficient" d="%s"/>`, curve.String())
	}

	var marks []box
	for _, p := range points {
		x, y := px2(p.x[0]), py2(p.y[0])
		marks = append(marks, box{x - 8, y - 8, x + 8, y + 8})
		c := pointClass(p)
		if p.variant != 0 {
			d.add(`<g class="%s"><line class="whisker" x1="%s" x2="%s" y1="%s" y2="%s"/><line class="whisker" x1="%s" x2="%s" y1="%s" y2="%s"/></g>`, c, px(px2(p.x[1])), px(px2(p.x[2])), px(y), px(y), px(x), px(x), px(py2(p.y[1])), px(py2(p.y[2])))
		}
		if p.forecast != nil {
			fx, fy := px2(p.forecast[0]), py2(p.forecast[1])
			d.add(`<g class="twin"><line x1="%s" y1="%s" x2="%s" y2="%s"/><rect x="%s" y="%s" width="8" height="8"><title>%s</title></rect></g>`, px(x), px(y), px(fx), px(fy), px(fx-4), px(fy-4),
				esc(fmt.Sprintf("the twin forecast for %s: %s %s, %s %s", p.name, short(mx), value(p.forecast[0], ux), short(my), value(p.forecast[1], uy))))
			marks = append(marks, box{fx - 5, fy - 5, fx + 5, fy + 5})
		}
	}
	for _, p := range points {
		says := fmt.Sprintf("%s: %s %s, %s %s", p.name, short(mx), value(p.x[0], ux), short(my), value(p.y[0], uy))
		d.add(`<g class="%s" transform="translate(%s %s)">%s%s</g>`, pointClass(p), px(px2(p.x[0])), px(py2(p.y[0])), titled(says), pointShape(p))
	}
	var labels []box
	for _, p := range points {
		name := term.Cut(p.name, 26)
		x, y, w := px2(p.x[0]), py2(p.y[0]), charWidth*float64(term.Width(name))+4
		const h, gap = 14.0, 10.0
		for _, b := range []struct {
			box
			anchor string
		}{
			{box{x + gap, y - h/2, x + gap + w, y + h/2}, "start"}, {box{x + gap, y - h - 4, x + gap + w, y - 4}, "start"}, {box{x + gap, y + 4, x + gap + w, y + h + 4}, "start"},
			{box{x - gap - w, y - h/2, x - gap, y + h/2}, "end"}, {box{x - gap - w, y - h - 4, x - gap, y - 4}, "end"}, {box{x - gap - w, y + 4, x - gap, y + h + 4}, "end"},
			{box{x - w/2, y - h - gap, x + w/2, y - gap}, "middle"}, {box{x - w/2, y + gap, x + w/2, y + h + gap}, "middle"},
		} {
			if b.x0 < left || b.x1 > width || b.y0 < top-10 || b.y1 > bottom || slices.ContainsFunc(labels, b.overlaps) || slices.ContainsFunc(marks, b.overlaps) {
				continue
			}
			labels = append(labels, b.box)
			tx := map[string]float64{"start": b.x0, "end": b.x1, "middle": (b.x0 + b.x1) / 2}[b.anchor]
			d.add(`<text class="halo" x="%s" y="%s" text-anchor="%s">%s</text>`, px(tx), px(b.y1-3.5), b.anchor, esc(name))
			break
		}
	}
	return fmt.Sprintf(`<svg class="plot %s" viewBox="0 0 %s %s" role="img" aria-label="%s">%s</svg>`, class, px(width), px(height), esc(short(my)+" against "+short(mx)+" of every variant"), d.String())
}

// efficient are the points than which none is better in one of the two metrics and
// as good in the other, from left to right.
func efficient(points []point) []point {
	order := slices.DeleteFunc(slices.Clone(points), func(p point) bool { return p.stopped })
	slices.SortStableFunc(order, func(a, b point) int { return cmp.Or(cmp.Compare(a.x[0], b.x[0]), cmp.Compare(a.y[0], b.y[0])) })
	least := math.Inf(1)
	return slices.DeleteFunc(order, func(p point) bool {
		if p.y[0] >= least {
			return true
		}
		least = p.y[0]
		return false
	})
}

func axisName(metric string, s scale) string {
	if s.log {
		return short(metric) + ", logarithmic"
	}
	return short(metric)
}

// A box is a rectangle that is taken.
type box struct{ x0, y0, x1, y1 float64 }

func (a box) overlaps(b box) bool { return a.x0 < b.x1 && b.x0 < a.x1 && a.y0 < b.y1 && b.y0 < a.y1 }

func pointClass(p point) string {
	switch {
	case p.variant == 0:
		return "base"
	case p.stopped:
		return "stopped"
	case p.front:
		return "front"
	}
	return "other"
}

func pointShape(p point) string {
	switch pointClass(p) {
	case "base":
		return `<path class="shape" d="M0 -7L7 0L0 7L-7 0Z"/>`
	case "stopped":
		return `<path class="shape" d="M-5 -5L5 5M-5 5L5 -5"/>`
	}
	return `<circle class="shape" r="5.5"/>`
}
