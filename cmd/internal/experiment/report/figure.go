package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// A drawing is the inside of an SVG that is being written. Places across are in
// percent of its width, so that it fits any screen with its text unscaled; those
// down are in pixels.
type drawing struct {
	strings.Builder
	height float64
}

// add writes markup. Text in it has been through esc.
func (d *drawing) add(format string, args ...any) { fmt.Fprintf(d, format, args...) }

// esc makes text safe in markup, as text and as a value of an attribute.
func esc(s string) string { return html.EscapeString(clean(s)) }

// at writes a place across, from 0 to 1. What lies outside is at the edge.
func at(x float64) string {
	if math.IsNaN(x) {
		x = 0
	}
	return fmt.Sprintf("%.2f%%", 100*min(max(x, 0), 1))
}

// px writes a length. One that is none is 0.
func px(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		v = 0
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
}

// svg is the whole drawing, with a name for those who do not see it.
func (d *drawing) svg(class, label string) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg class="%s" width="100%%" height="%s" role="img" aria-label="%s">%s</svg>`, class, px(d.height), esc(label), d.String()))
}

// A line of points, in shares of the width and in pixels, for a path that is
// stretched with the drawing.
type trace struct {
	strings.Builder
	points int
}

func (t *trace) to(x, y float64) {
	if math.IsNaN(x) || math.IsNaN(y) || math.IsInf(x, 0) || math.IsInf(y, 0) {
		return
	}
	fmt.Fprintf(t, "%c%s %s", "ML"[min(t.points, 1)], px(10000*x), px(y))
	t.points++
}

// path writes lines into a space of their own that is stretched across.
func (d *drawing) paths(body string) {
	if body != "" {
		d.add(`<svg x="0" y="0" width="100%%" height="%s" viewBox="0 0 10000 %s" preserveAspectRatio="none">%s</svg>`, px(d.height), px(d.height), body)
	}
}

func path(class, d string) string {
	if d == "" {
		return ""
	}
	return fmt.Sprintf(`<path class="%s" vector-effect="non-scaling-stroke" d="%s"/>`, class, d)
}

// marker writes a small shape around a place, which is not stretched.
func (d *drawing) marker(x, y float64, class, shape, title string) {
	d.add(`<svg x="%s" y="%s" class="mark %s" overflow="visible">%s%s</svg>`, at(x), px(y), class, titled(title), shape)
}

func titled(s string) string {
	if s == "" {
		return ""
	}
	return "<title>" + esc(s) + "</title>"
}

// Shapes of markers: they differ in form, not only in colour.
const (
	shapeRight = `<path d="M-6 -5L1 0L-6 5Z"/>`
	shapeLeft  = `<path d="M6 -5L-1 0L6 5Z"/>`
	shapeUp    = `<path d="M-4 2L0 -5L4 2Z"/>`
	shapeDown  = `<path d="M-4 -2L0 5L4 -2Z"/>`
)

// A scale maps values to a length: lo to 0, hi to 1.
type scale struct {
	lo, hi float64
	log    bool
}

func (s scale) at(v float64) float64 {
	lo, hi := s.lo, s.hi
	if s.log {
		lo, hi, v = math.Log(lo), math.Log(hi), math.Log(v)
	}
	if !(hi > lo) {
		return 0.5
	}
	return (v - lo) / (hi - lo)
}

func (s scale) in(v float64) bool { return v >= s.lo && v <= s.hi }

// ticks are round values on the scale, about n of them.
func (s scale) ticks(n int, u experiment.Unit) []float64 {
	if math.IsNaN(s.lo) || math.IsNaN(s.hi) || math.IsInf(s.lo, 0) || math.IsInf(s.hi, 0) || s.lo >= s.hi {
		return nil
	}
	if s.log && s.lo > 0 && s.hi/s.lo > 4 {
		return s.logTicks(n, u)
	}
	unit := 1.0
	if u == experiment.ByteSize {
		for s.hi/unit >= 1000 {
			unit *= 1024
		}
	}
	lo, hi := s.lo/unit, s.hi/unit
	step := roundUp((hi - lo) / float64(max(n, 1)))
	if !(step > 0) || math.IsInf(step, 0) {
		return nil
	}
	var out []float64
	for i := math.Ceil(lo / step); i*step <= hi && len(out) <= 4*n; i++ {
		if math.IsInf(i, 0) || i == i+1 { // too far from zero for the step to count
			break
		}
		out = append(out, i*step*unit)
	}
	return out
}

// roundUp is the next of 1, 2, 2.5 and 5 times a power of ten.
func roundUp(raw float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, f := range []float64{1, 2, 2.5, 5} {
		if raw <= f*unit {
			return f * unit
		}
	}
	return 10 * unit
}

// logTicks are 1, 2 and 5 times powers of the base, or only some of those.
func (s scale) logTicks(n int, u experiment.Unit) []float64 {
	base := 10.0
	factors := [][]float64{{1, 2, 5}, {1}}
	if u == experiment.ByteSize {
		base, factors = 2, [][]float64{{1}}
	}
	for _, f := range factors {
		for stride := 1; stride <= 64; stride *= 2 {
			if stride > 1 && len(f) > 1 {
				break
			}
			var out []float64
			for e := math.Floor(math.Log(s.lo) / math.Log(base)); len(out) <= n && math.Pow(base, e) <= s.hi; e += float64(stride) {
				for _, k := range f {
					if v := k * math.Pow(base, e); s.in(v) {
						out = append(out, v)
					}
				}
			}
			if len(out) <= n {
				return out
			}
		}
	}
	return nil
}

// tick writes a value of an axis as short as it is round.
func tick(v float64, u experiment.Unit) string {
	if u == experiment.Seconds && v != 0 && math.Abs(v) < 1e-9 {
		return number(v*1e9) + "ns"
	}
	return round(v, u)
}

// A chart is a drawing with an axis of values to its left, which is not stretched.
type chart struct {
	drawing
	y            scale
	top, bottom  float64
	axis         drawing
	gutter       float64
	label, class string
}

func newChart(y scale, height, top, bottom float64, label string) *chart {
	c := &chart{y: y, top: top, bottom: bottom, label: label}
	c.height, c.axis.height = height, height
	return c
}

// py is the place of a value down; what lies outside is at the edge.
func (c *chart) py(v float64) float64 {
	p := c.y.at(v)
	if math.IsNaN(p) {
		p = 0
	}
	return c.bottom - min(max(p, 0), 1)*(c.bottom-c.top)
}

// yticks draws lines across, and what they are.
func (c *chart) yticks(values []float64, text func(float64) string) {
	for _, v := range values {
		y := c.py(v)
		c.add(`<line class="grid" x1="0" x2="100%%" y1="%s" y2="%s"/>`, px(y), px(y))
		name := text(v)
		c.beside(y, name)
	}
}

// beside writes text on the axis to the left.
func (c *chart) beside(y float64, name string) {
	c.axis.add(`<text class="muted" x="100%%" dx="-7" y="%s" text-anchor="end">%s</text>`, px(y+4), esc(name))
	c.gutter = max(c.gutter, charWidth*float64(term.Width(name))+12)
}

// charWidth is that of digits in the widest of the usual fonts, in pixels.
const charWidth = 7.0

// html is the chart with its axis.
func (c *chart) html() template.HTML {
	return template.HTML(fmt.Sprintf(`<div class="chart" style="grid-template-columns:%spx 1fr"><svg class="axis" width="100%%" height="%s" aria-hidden="true">%s</svg>%s</div>`,
		px(max(c.gutter, 34)), px(c.axis.height), c.axis.String(), c.svg("plot "+c.class, c.label)))
}

// xtick writes a place on the axis below, with its name inside the drawing.
func (c *chart) xtick(x float64, name string) {
	anchor := "middle"
	switch {
	case x < 0.04:
		anchor = "start"
	case x > 0.96:
		anchor = "end"
	}
	c.add(`<line class="tick" x1="%s" x2="%s" y1="%s" y2="%s"/><text class="muted" x="%s" y="%s" text-anchor="%s">%s</text>`, at(x), at(x), px(c.bottom), px(c.bottom+4), at(x), px(c.bottom+18), anchor, esc(name))
}

// ground draws the axis below.
func (c *chart) ground() {
	c.add(`<line class="tick" x1="0" x2="100%%" y1="%s" y2="%s"/>`, px(c.bottom), px(c.bottom))
}

// A legend is what the colours and forms of a figure mean.
type key struct {
	Class string // of the swatch
	Text  string
}

// A figure is a drawing, and the words that belong to it.
type figure struct {
	Title   string
	Caption string
	Keys    []key
	Body    template.HTML
}

// quantile is a value of sorted numbers, by nearest rank.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[min(max(int(q*float64(len(sorted))), 0), len(sorted)-1)]
}

// diffTicks are round differences in percent on a scale of logarithms of ratios,
// at most n.
func diffTicks(lo, hi float64, n int) []float64 {
	for _, step := range []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10} {
		var out []float64
		for i := math.Ceil(math.Expm1(lo) / step); len(out) <= n; i++ {
			v := i * step
			if v <= -1 {
				continue
			}
			l := math.Log1p(v)
			if !(l <= hi) {
				break
			}
			if l >= lo {
				out = append(out, l)
			}
		}
		if len(out) <= n {
			return out
		}
	}
	return []float64{0}
}

// diffText writes the logarithm of a ratio as a difference.
func diffText(l float64) string {
	d := 100 * math.Expm1(l)
	if math.Abs(d) < 0.05 {
		return "0%"
	}
	return trim(fmt.Sprintf("%+.1f", d)) + "%"
}

// thin leaves about n of a list, evenly.
func thin[T any](list []T, n int) []T {
	if len(list) <= n {
		return list
	}
	out := make([]T, 0, n)
	for i := range n {
		out = append(out, list[i*len(list)/n])
	}
	return out
}

func sortedOf(p []pair) []float64 {
	out := make([]float64, len(p))
	for i := range p {
		out[i] = p[i].d
	}
	slices.Sort(out)
	return out
}
