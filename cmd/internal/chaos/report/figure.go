package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"
)

// A drawing is the inside of an SVG that is being written. Places across are in percent
// of its width, so that it fits any screen with its text unscaled; those down are in
// pixels.
type drawing struct{ strings.Builder }

// add writes markup. Text in it has been through esc.
func (d *drawing) add(format string, args ...any) { fmt.Fprintf(d, format, args...) }

// esc makes text safe in markup, as text and as a value of an attribute.
func esc(s string) string { return html.EscapeString(clean(s)) }

// at writes a place across, from 0 to 1. What lies outside is at the edge.
func at(x float64) string {
	if math.IsNaN(x) {
		x = 0
	}
	return short(100*min(max(x, 0), 1)) + "%"
}

// px writes a length. One that is none is 0.
func px(v float64) string {
	if !finite(v) {
		v = 0
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
}

func short(v float64) string {
	s := fmt.Sprintf("%.2f", v)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// A trace is a line of points, in shares of the width and in pixels, for a path that is
// stretched with the drawing.
type trace struct {
	strings.Builder
	up    bool // the pen: the next point begins a new line
	n     int
	x0, x float64
}

func (t *trace) to(x, y float64) {
	if !finite(x) || !finite(y) {
		return
	}
	verb := 'L'
	if t.n == 0 || t.up {
		verb = 'M'
		t.x0 = x
	}
	fmt.Fprintf(t, "%c%.0f %s", verb, 10000*min(max(x, 0), 1), px(y))
	t.up, t.x = false, x
	t.n++
}

// closed is the area between the line and a height, for lines that were not lifted.
func (t *trace) closed(y float64) string {
	if t.n == 0 {
		return ""
	}
	return fmt.Sprintf("%sL%.0f %sL%.0f %sZ", t.String(), 10000*min(max(t.x, 0), 1), px(y), 10000*min(max(t.x0, 0), 1), px(y))
}

// paths writes lines into a space of their own that is stretched across.
func (d *drawing) paths(height float64, body ...string) {
	if s := strings.Join(body, ""); s != "" {
		d.add(`<svg x="0" y="0" width="100%%" height="%s" viewBox="0 0 10000 %s" preserveAspectRatio="none" overflow="hidden">%s</svg>`, px(height), px(height), s)
	}
}

func path(class, d string) string {
	if d == "" {
		return ""
	}
	return fmt.Sprintf(`<path class="%s" vector-effect="non-scaling-stroke" d="%s"/>`, class, d)
}

func titled(s string) string {
	if s == "" {
		return ""
	}
	return "<title>" + esc(s) + "</title>"
}

// A key says what a colour and form of a figure means.
type key struct{ Class, Text string }

// A lane is one drawing of several that share their axis across.
type lane struct {
	Title  string
	Note   string // beside the title
	Keys   []key
	Class  string
	Height string // "" for a lane that has words alone
	Axis   template.HTML
	Body   template.HTML
	Small  *smallBody // what a small screen has instead of Body
}

// A smallBody is the drawing of a lane for a small screen.
type smallBody struct {
	Height string
	Body   template.HTML
}

// A plot is the drawing of a lane, with its scale down.
type plot struct {
	drawing
	axis                drawing
	height, top, bottom float64
	lo, hi              float64
	log                 bool
}

func newPlot(height, top, lo, hi float64, log bool) *plot {
	if !(hi > lo) {
		hi = lo + 1
	}
	return &plot{height: height, top: top, bottom: height - 1, lo: lo, hi: hi, log: log}
}

// y is the place of a value; what lies outside is at the edge.
func (p *plot) y(v float64) float64 {
	lo, hi := p.lo, p.hi
	if p.log {
		lo, hi, v = math.Log(lo), math.Log(hi), math.Log(max(v, p.lo))
	}
	share := (v - lo) / (hi - lo)
	if math.IsNaN(share) {
		share = 0
	}
	return p.bottom - min(max(share, 0), 1)*(p.bottom-p.top)
}

// rule draws a line across at a value, and writes the value beside it.
func (p *plot) rule(v float64, name string) {
	y := px(p.y(v))
	p.add(`<line class="grid" x1="0" x2="100%%" y1="%s" y2="%s"/>`, y, y)
	p.beside(p.y(v), name)
}

func (p *plot) beside(y float64, name string) {
	p.axis.add(`<text class="muted" x="100%%" dx="-7" y="%s" text-anchor="end">%s</text>`, px(min(max(y+4, 10), p.height)), esc(name))
}

// lane is the plot, done.
func (p *plot) lane(l lane) lane {
	l.Height, l.Axis, l.Body = px(p.height), template.HTML(p.axis.String()), template.HTML(p.drawing.String())
	return l
}

// line traces samples, the least and the most of each column. Where nothing is known
// for long it is lifted.
func (p *plot) line(list []sample, a axis) *trace {
	t := &trace{}
	last := -1
	for i, e := range columns(list, a, maxPixels) {
		if !e.any {
			continue
		}
		t.up = last >= 0 && i-last > lifted(len(list))
		last = i
		x := (float64(i) + 0.5) / maxPixels
		t.to(x, p.y(e.lo))
		if e.hi > e.lo {
			t.to(x, p.y(e.hi))
			t.to(x, p.y(e.last))
		}
	}
	return t
}

// maxPixels is how many columns lines have.
const maxPixels = 480

// lifted is how many columns may lack a value before a line ends.
func lifted(n int) int { return max(6, 4*maxPixels/max(n, 1)) }

// area traces the most of each column down to the ground.
func (p *plot) area(list []sample, a axis) string {
	var out strings.Builder
	t := &trace{}
	last := -1
	for i, e := range columns(list, a, maxPixels) {
		if !e.any {
			continue
		}
		if last >= 0 && i-last > lifted(len(list)) {
			out.WriteString(t.closed(p.bottom))
			t = &trace{}
		}
		last = i
		t.to((float64(i)+0.5)/maxPixels, p.y(e.hi))
	}
	out.WriteString(t.closed(p.bottom))
	return out.String()
}

// steps traces values that hold until the next.
func (p *plot) steps(list []sample, a axis) *trace {
	t := &trace{}
	for i, s := range list {
		x := share(s.at, a)
		if i > 0 {
			t.to(x, p.y(list[i-1].v))
		}
		t.to(x, p.y(s.v))
	}
	if n := len(list); n > 0 {
		t.to(1, p.y(list[n-1].v))
	}
	return t
}

// share is where an instant lies, from 0 to 1.
func share(at time.Duration, a axis) float64 {
	if a.len() <= 0 {
		return 0
	}
	return min(max(float64(at-a.from)/float64(a.len()), 0), 1)
}

// width is how much of the axis a stretch takes.
func width(from, to time.Duration, a axis) float64 { return max(share(to, a)-share(from, a), 0) }

// rules are round values up to the highest, about n of them.
func rules(hi float64, n int, bytes bool) []float64 {
	unit := 1.0
	if bytes {
		for hi/unit >= 1000 {
			unit *= 1024
		}
	}
	step := hi / unit / float64(max(n, 1))
	if !(step > 0) || !finite(step) {
		return nil
	}
	ten := math.Pow(10, math.Floor(math.Log10(step)))
	factors := []float64{1, 2, 2.5, 5, 10}
	if bytes && hi/unit > 16 { // sizes are powers of two
		ten, factors = math.Exp2(math.Floor(math.Log2(step))), []float64{1, 2}
	}
	for _, f := range factors {
		if step <= f*ten {
			step = f * ten
			break
		}
	}
	var out []float64
	for v := step; v*unit <= hi && len(out) < 4*n; v += step {
		out = append(out, v*unit)
	}
	return out
}

// decades writes powers of ten on a scale of logarithms beside it, and five and two
// times those where there is room.
func (p *plot) decades(text func(float64) string) {
	if !p.log || !(p.lo > 0) || !finite(p.hi) {
		return
	}
	var taken []float64
	for _, f := range []float64{1, 5, 2} {
		from := math.Floor(math.Log10(p.lo))
		for e := from; e < from+16; e++ {
			v := f * math.Pow(10, e)
			if v < p.lo || v > p.hi || slices.ContainsFunc(taken, func(y float64) bool { return math.Abs(y-p.y(v)) < 20 }) {
				continue
			}
			taken = append(taken, p.y(v))
			p.rule(v, text(v))
		}
	}
}
