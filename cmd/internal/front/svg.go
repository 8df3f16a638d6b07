package front

import (
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/term"
)

// The size of the drawing, and of the plot in it.
const (
	width, height            = 760.0, 472.0
	plotLeft, plotRight      = 68.0, width - 28
	plotTop, plotBottom      = 98.0, height - 62
	fontSize                 = 12.0
	charWidth                = 7.3 // of capitals and digits in the widest of the usual fonts
	markRadius               = 4.5
	maxLabels, maxOtherMarks = 16, 500
)

// The colours hold a contrast of at least 4.5 to their ground, in both schemes.
const style = `
.hwf{--bg:#ffffff;--ink:#1c2128;--muted:#59636e;--grid:#e4e7ea;--front:#0b63ce;--now:#b35309;--best:#17753a;--bad:#c62828}
@media(prefers-color-scheme:dark){.hwf{--bg:#14181d;--ink:#e6e9ec;--muted:#9aa4af;--grid:#2a3139;--front:#6cb0ff;--now:#f0a35a;--best:#5ecb85;--bad:#ff7b72}}
.hwf text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;fill:var(--ink)}
.hwf .title{font-size:16px;font-weight:600}
.hwf .muted{fill:var(--muted)}
.hwf .halo{paint-order:stroke;stroke:var(--bg);stroke-width:4px;stroke-linejoin:round}
.hwf .strong{font-weight:600}
.hwf .grid{stroke:var(--grid)}
.hwf .axis{stroke:var(--muted)}
.hwf .curve{fill:none;stroke:var(--front);stroke-width:2;stroke-linejoin:round;opacity:.55}
.hwf .limit{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:5 4}
.hwf .beyond{fill:var(--bad);opacity:.07}
.hwf .whisker{stroke-width:1.25;opacity:.5}
.hwf .other{fill:none;stroke:var(--muted);opacity:.45}
.hwf .fails{stroke:var(--bad);stroke-width:1.75;fill:none}
.hwf .front{fill:var(--front);stroke:var(--front)}
.hwf .now{fill:var(--now);stroke:var(--now)}
.hwf .best{fill:var(--best);stroke:var(--best)}
.hwf text.now{fill:var(--now);stroke:var(--bg)}
.hwf text.best{fill:var(--best);stroke:var(--bg)}
.hwf text.bad{fill:var(--bad);stroke:var(--bg)}
.hwf .mark{stroke:var(--bg);stroke-width:1.5}
`

// A box is a rectangle that is taken.
type box struct{ x0, y0, x1, y1 float64 }

func (a box) overlaps(b box) bool { return a.x0 < b.x1 && b.x0 < a.x1 && a.y0 < b.y1 && b.y0 < a.y1 }

// crossed reports whether a straight line runs through the box.
func (a box) crossed(x0, y0, x1, y1 float64) bool {
	t0, t1 := 0.0, 1.0
	for _, s := range [4][2]float64{{x0 - x1, x0 - a.x0}, {x1 - x0, a.x1 - x0}, {y0 - y1, y0 - a.y0}, {y1 - y0, a.y1 - y0}} {
		switch d, q := s[0], s[1]; {
		case d == 0 && q < 0:
			return false
		case d < 0:
			t0 = max(t0, q/d)
		case d > 0:
			t1 = min(t1, q/d)
		}
	}
	return t0 <= t1
}

type drawing struct {
	strings.Builder
	labels []box // where text stands
	marks  []box // of points
	curve  [][2]float64
	limit  float64 // where its line stands, 0 for none
}

func (d *drawing) add(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

// SVG draws the plot as one SVG file, which follows the reader's light or dark
// scheme. Without points it says that there are none.
func (p *Plot) SVG(w io.Writer) error {
	d := &drawing{}
	d.add(`<svg xmlns="http://www.w3.org/2000/svg" class="hwf" viewBox="0 0 %g %g" width="%g" height="%g" role="img" aria-labelledby="t s">`, width, height, width, height)
	d.add(`<style>%s</style>`, style)
	d.add(`<rect width="100%%" height="100%%" fill="var(--bg)"/>`)
	d.add(`<text id="t" class="title" x="%g" y="32">%s</text>`, 20.0, escape(term.Cut(p.Title, 80)))
	d.add(`<text id="s" class="muted" x="%g" y="52">%s</text>`, 20.0, escape(term.Cut(p.Subtitle, 110)))
	x, y, ok := p.scales()
	if ok {
		p.draw(d, x, y)
	} else {
		d.add(`<text class="muted" x="%g" y="%g">There is nothing to draw.</text>`, plotLeft, (plotTop+plotBottom)/2)
	}
	d.add(`</svg>`)
	_, err := io.WriteString(w, d.String())
	return err
}

func escape(s string) string { return html.EscapeString(term.Clean(s)) }

func (p *Plot) draw(d *drawing, x, y scale) {
	px := func(v float64) float64 { return plotLeft + x.at(v)*(plotRight-plotLeft) }
	py := func(v float64) float64 { return plotBottom - y.at(v)*(plotBottom-plotTop) }
	p.axes(d, x, y, px, py)

	efficient := Efficient(p.Points)
	for _, i := range efficient {
		q := &p.Points[i]
		d.curve = append(d.curve, [2]float64{px(q.RSS.Value), py(q.GCCPU.Value)})
	}
	if len(d.curve) > 1 {
		var path strings.Builder
		for i, c := range d.curve {
			fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(i, 1)], c[0], c[1])
		}
		d.add(`<path class="curve" d="%s"/>`, path.String())
	}

	order := slices.DeleteFunc(p.rank(efficient), func(i int) bool {
		q := &p.Points[i]
		return !q.finite() || !x.in(q.RSS.Value) || !y.in(q.GCCPU.Value)
	})
	// Of very many points that are not on the front, the rest is left out: they
	// would be a grey area.
	if over := len(order) - maxOtherMarks; over > 0 {
		order = order[over:]
	}
	for _, i := range order {
		q := &p.Points[i]
		on := slices.Contains(efficient, i)
		if on && len(efficient) <= maxLabels || q.Now || q.Best {
			p.whiskers(d, q, x, y, px, py)
		}
	}
	for _, i := range order {
		q := &p.Points[i]
		cx, cy := px(q.RSS.Value), py(q.GCCPU.Value)
		d.add(`<g>%s<title>%s</title></g>`, q.shape(cx, cy, slices.Contains(efficient, i)), escape(p.says(q)))
		d.marks = append(d.marks, box{cx - markRadius - 1, cy - markRadius - 1, cx + markRadius + 1, cy + markRadius + 1})
	}
	slices.Reverse(order)
	labels := 0
	for _, i := range order {
		q := &p.Points[i]
		named := q.Now || q.Best
		if !named && (!slices.Contains(efficient, i) || labels >= maxLabels) {
			continue
		}
		if d.label(q, px(q.RSS.Value), py(q.GCCPU.Value), named) {
			labels++
		}
	}
	note := "Bars are the intervals in which nine of ten outcomes lie."
	if n := p.left(x, y); n == 1 {
		note += " One setting that fails lies outside."
	} else if n > 1 {
		note += fmt.Sprintf(" %d settings that fail lie outside.", n)
	}
	d.add(`<text class="muted" x="20" y="%g">%s</text>`, height-12, note)
}

func (p *Plot) axes(d *drawing, x, y scale, px, py func(float64) float64) {
	step := y.hi
	if len(y.ticks) > 1 {
		step = y.ticks[1] - y.ticks[0]
	}
	for _, t := range y.ticks {
		d.add(`<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/>`, plotLeft, plotRight, py(t), py(t))
		d.add(`<text class="muted" x="%g" y="%.1f" text-anchor="end">%s</text>`, plotLeft-8, py(t)+4, share(t, step))
	}
	for _, t := range x.ticks {
		d.add(`<line class="axis" x1="%.1f" x2="%.1f" y1="%g" y2="%g"/>`, px(t), px(t), plotBottom, plotBottom+5)
		d.add(`<text class="muted" x="%.1f" y="%g" text-anchor="middle">%s</text>`, px(t), plotBottom+19, escape(p.Bytes(t)))
	}
	d.add(`<line class="axis" x1="%g" x2="%g" y1="%g" y2="%g"/>`, plotLeft, plotRight, plotBottom, plotBottom)
	d.add(`<text class="muted" x="%g" y="%g">GC CPU, of all CPU of the process</text>`, 20.0, plotTop-14)
	d.add(`<text class="muted" x="%g" y="%g" text-anchor="end">peak RSS</text>`, plotRight, plotBottom+36)
	if p.Limit > 0 && x.in(p.Limit) {
		at := px(p.Limit)
		d.limit = at
		d.add(`<rect class="beyond" x="%.1f" y="%g" width="%.1f" height="%g"/>`, at, plotTop, plotRight-at, plotBottom-plotTop)
		d.add(`<line class="limit" x1="%.1f" x2="%.1f" y1="%g" y2="%g"/>`, at, at, plotTop-6, plotBottom)
		name := "limit " + p.Bytes(p.Limit)
		anchor, x0 := "end", at-6-charWidth*float64(term.Width(name))
		tx := at - 6
		if x0 < plotLeft+150 {
			anchor, tx, x0 = "start", at+6, at+6
		}
		d.add(`<text class="bad halo" x="%.1f" y="%g" text-anchor="%s">%s</text>`, tx, plotTop+4, anchor, escape(name))
		d.labels = append(d.labels, box{x0, plotTop - 10, x0 + charWidth*float64(term.Width(name)), plotTop + 8})
	}
}

func (p *Plot) says(q *Point) string {
	return fmt.Sprintf("%s: GC CPU %s (%s to %s), peak RSS %s (%s to %s)", q.caption(),
		share(q.GCCPU.Value, 0.001), share(q.GCCPU.Low, 0.001), share(q.GCCPU.High, 0.001),
		p.Bytes(q.RSS.Value), p.Bytes(q.RSS.Low), p.Bytes(q.RSS.High))
}

func (q *Point) class() string {
	switch {
	case q.Best:
		return "best"
	case q.Now:
		return "now"
	}
	return "front"
}

func (p *Plot) whiskers(d *drawing, q *Point, x, y scale, px, py func(float64) float64) {
	clamp := func(s scale, v float64) float64 { return min(max(v, s.lo), s.hi) }
	cx, cy := px(q.RSS.Value), py(q.GCCPU.Value)
	if lo, hi := q.RSS.Low, q.RSS.High; lo <= hi {
		d.add(`<line class="%s whisker" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, q.class(), px(clamp(x, lo)), px(clamp(x, hi)), cy, cy)
	}
	if lo, hi := q.GCCPU.Low, q.GCCPU.High; lo <= hi {
		d.add(`<line class="%s whisker" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, q.class(), cx, cx, py(clamp(y, lo)), py(clamp(y, hi)))
	}
}

// shape is the mark of a point. Their forms differ, not only their colours.
func (q *Point) shape(x, y float64, efficient bool) string {
	const r = markRadius
	switch {
	case q.Best:
		var path strings.Builder
		for i := range 10 {
			rad := 2 * r
			if i%2 == 1 {
				rad = 0.9 * r
			}
			sin, cos := math.Sincos(math.Pi * float64(i) / 5)
			fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(i, 1)], x+rad*sin, y-rad*cos)
		}
		return fmt.Sprintf(`<path class="best mark" d="%sZ"/>`, path.String())
	case q.Now:
		const h = 1.5 * r
		return fmt.Sprintf(`<path class="now mark" d="M%.1f %.1fL%.1f %.1fL%.1f %.1fL%.1f %.1fZ"/>`, x, y-h, x+h, y, x, y+h, x-h, y)
	case q.Fails:
		const h = 0.8 * r
		return fmt.Sprintf(`<path class="fails" d="M%.1f %.1fL%.1f %.1fM%.1f %.1fL%.1f %.1f"/>`, x-h, y-h, x+h, y+h, x-h, y+h, x+h, y-h)
	case efficient:
		return fmt.Sprintf(`<circle class="front mark" cx="%.1f" cy="%.1f" r="%g"/>`, x, y, r)
	}
	return fmt.Sprintf(`<circle class="other" cx="%.1f" cy="%.1f" r="%g"/>`, x, y, 0.6*r)
}

// label names a point where its name covers nothing, and else not at all, unless
// it must be named: then it may cover the front, or marks, but no other name.
func (d *drawing) label(q *Point, x, y float64, must bool) bool {
	name := q.caption()
	w := charWidth*float64(term.Width(name)) + 4
	if must {
		w *= 1.06 // it is set in bold
	}
	const h, gap = fontSize + 2, 9.0
	type place struct {
		x0, y0, tx float64
		anchor     string
	}
	places := []place{
		{x + gap, y - h - 2, x + gap, "start"}, {x + gap, y - h/2, x + gap + 2, "start"}, {x + gap, y + 2, x + gap, "start"},
		{x - gap - w, y - h/2, x - gap - 2, "end"}, {x - gap - w, y + 4, x - gap, "end"}, {x - gap - w, y - h - 4, x - gap, "end"},
		{x - w/2, y - h - gap - 2, x, "middle"}, {x - w/2, y + gap, x, "middle"},
		{x + gap, y - 2.2*h, x + gap, "start"}, {x + gap, y + 1.2*h, x + gap, "start"},
	}
	try := func(over cover) bool {
		for _, at := range places {
			b := box{at.x0, at.y0, at.x0 + w, at.y0 + h}
			if !d.room(b, over) {
				continue
			}
			d.labels = append(d.labels, b)
			class := "halo"
			if must {
				class = "halo strong " + q.class()
			}
			d.add(`<text class="%s" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, class, at.tx, at.y0+h-3.5, at.anchor, escape(name))
			return true
		}
		return false
	}
	return try(coverNothing) || must && (try(coverCurve) || try(coverMarks))
}

// cover is what a label may hide.
type cover int

const (
	coverNothing cover = iota
	coverCurve
	coverMarks // and the curve
)

// room reports whether a box covers no more than it may.
func (d *drawing) room(b box, over cover) bool {
	if b.x0 < plotLeft-4 || b.x1 > plotRight+20 || b.y0 < plotTop-12 || b.y1 > plotBottom-2 {
		return false
	}
	if d.limit > 0 && b.x0 < d.limit && d.limit < b.x1 {
		return false
	}
	if slices.ContainsFunc(d.labels, b.overlaps) || over < coverMarks && slices.ContainsFunc(d.marks, b.overlaps) {
		return false
	}
	for i := 1; i < len(d.curve) && over < coverCurve; i++ {
		if b.crossed(d.curve[i-1][0], d.curve[i-1][1], d.curve[i][0], d.curve[i][1]) {
			return false
		}
	}
	return true
}
