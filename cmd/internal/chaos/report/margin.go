package report

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// maxMargin bounds how many levels of a margin are drawn and tabled.
const maxMargin = 200

// marginFigure draws what the collector takes, and latency, as room falls from left to
// right, with where what failed; false when there is too little to draw.
func (o *outcome) marginFigure() (figure, bool) {
	m := o.verdict.Margin
	if m == nil {
		return figure{}, false
	}
	points := slices.DeleteFunc(slices.Clone(m.Points), func(p chaos.MarginPoint) bool { return !finite(p.RoomBytes) || p.RoomBytes < 0 })
	slices.SortStableFunc(points, func(a, b chaos.MarginPoint) int { return cmp.Compare(b.RoomBytes, a.RoomBytes) })
	points = thin(points, maxMargin)
	if len(points) < 2 {
		return figure{}, false
	}
	most, least := points[0].RoomBytes, points[len(points)-1].RoomBytes
	if !(most > least) {
		return figure{}, false
	}
	pad := (most - least) * 0.03
	most, least = most+pad, least-pad
	x := func(room float64) float64 { return (most - room) / (most - least) }
	inside := func(room float64) bool { return room > 0 && room <= most && room >= least }

	f := figure{Label: o.marginText()}
	var under drawing
	if inside(m.SafeLimitBytes) {
		under.add(`<rect class="safe" x="0" width="%s" y="0" height="100%%"/><line class="line safeline" x1="%[1]s" x2="%[1]s" y1="0" y2="100%%"/>`, at(x(m.SafeLimitBytes)))
	}
	if inside(m.KneeLimitBytes) {
		under.add(`<line class="line kneeline" x1="%[1]s" x2="%[1]s" y1="0" y2="100%%"/>`, at(x(m.KneeLimitBytes)))
	}
	for _, l := range first(m.Layers, maxFlags) {
		if inside(l.RoomBytes) {
			under.add(`<line class="line broken" x1="%[1]s" x2="%[1]s" y1="0" y2="100%%"/>`, at(x(l.RoomBytes)))
		}
	}
	f.Under = template.HTML(under.String())

	f.Lanes = append(f.Lanes, o.marginFlags(x, inside))
	curve := func(title, class, name string, height float64, metric chaos.Metric, seconds bool, also chaos.Metric, alsoClass, alsoName string) {
		lo, hi := math.Inf(1), 0.0
		for _, p := range points {
			for _, q := range []chaos.Metric{metric, also} {
				if v := has(p, q); v != nil && *v > 0 {
					lo, hi = min(lo, *v), max(hi, *v)
				}
			}
		}
		if !(hi > 0) || !finite(hi) {
			return
		}
		if !seconds {
			hi = max(hi, 0.05)
		}
		p := newPlot(height, 8, 0, hi*1.08, false)
		text := func(v float64) string { return measure(metric, v) }
		if seconds && hi > 8*lo {
			p = newPlot(height, 8, max(lo/1.3, hi/1e6), hi*1.3, true)
			p.decades(text)
		} else {
			for _, v := range rules(hi*1.08, int(height/32), false) {
				p.rule(v, text(v))
			}
		}
		l := lane{Title: title}
		draw := func(metric chaos.Metric, class, name string) {
			t := &trace{}
			var dots drawing
			for _, q := range points {
				v := has(q, metric)
				if v == nil {
					continue
				}
				t.to(x(q.RoomBytes), p.y(*v))
				dots.add(`<circle class="%s point tip" cx="%s" cy="%s" r="3.5">%s</circle>`, class, at(x(q.RoomBytes)), px(p.y(*v)), titled(fmt.Sprintf("%s of room: %s %s", bytes(q.RoomBytes), name, measure(metric, *v))))
			}
			if t.n > 0 {
				p.paths(p.height, path(class, t.String()))
				p.add("%s", dots.String())
				l.Keys = append([]key{{class, name}}, l.Keys...)
			}
		}
		if also != "" {
			draw(also, alsoClass, alsoName)
		}
		draw(metric, class, name)
		if metric == chaos.GCCPURatio && m.SafeGCCPURatio > 0 && m.SafeGCCPURatio <= p.hi {
			y := px(p.y(m.SafeGCCPURatio))
			p.add(`<line class="bound" x1="0" x2="100%%" y1="%s" y2="%s"/>`, y, y)
			l.Keys = append(l.Keys, key{"bound", "still safe"})
		}
		p.ground()
		f.Lanes = append(f.Lanes, p.lane(l))
	}
	curve("CPU of the collector", "gc", "share of the CPU time", 130, chaos.GCCPURatio, false, chaos.AssistRatio, "assistline", "of it mark assists")
	curve("Latency", "p99", "p99", 100, chaos.LatencyP99, true, "", "", "")
	curve("GC pauses", "pause", "p99", 64, chaos.PauseP99, true, "", "", "")
	step := rules(most, 10, true)
	for i := len(step) - 1; i >= 0; i-- {
		if v := step[i]; inside(v) {
			k := tick{At: at(x(v)), Text: bytes(v), Anchor: "middle", Sub: (len(step)-1-i)%2 == 1}
			switch {
			case x(v) < 0.05:
				k.Anchor = "start"
			case x(v) > 0.95:
				k.Anchor = "end"
			}
			f.Ticks = append(f.Ticks, k)
		}
	}
	return f, len(f.Lanes) > 1
}

// marginFlags name what lies where on the curve.
func (o *outcome) marginFlags(x func(float64) float64, inside func(float64) bool) lane {
	m := o.verdict.Margin
	type flag struct {
		room        float64
		text, class string
		title       string
	}
	var list []flag
	if inside(m.SafeLimitBytes) {
		list = append(list, flag{m.SafeLimitBytes, "smallest safe limit " + bytes(m.SafeLimitBytes), "fine", "nothing had failed, and the collector took no more than " + percent(m.SafeGCCPURatio)})
	}
	for i, l := range first(m.Layers, 24) {
		if inside(l.RoomBytes) {
			list = append(list, flag{l.RoomBytes, fmt.Sprintf("%d %s", i+1, layerName(l)), "broken", cmp.Or(clean(l.Text), layerName(l))})
		}
	}
	if inside(m.KneeLimitBytes) {
		list = append(list, flag{m.KneeLimitBytes, "knee " + bytes(m.KneeLimitBytes), "state", "from here down the collector's share rises steeply"})
	}
	return flagged(lane{Title: "What failed, by how much room was left"}, func(d *drawing, width float64) int {
		var taken [][][2]float64
		for _, g := range list {
			left := x(g.room) * width
			long := 12 + charWidth*float64(term.Width(g.text)) + 6
			anchor, dx, from, to := "start", "11", left-7, left+long
			if to > width {
				anchor, dx, from, to = "end", "-11", left-long, left+7
			}
			row := 0
			for row < len(taken) && slices.ContainsFunc(taken[row], func(t [2]float64) bool { return from < t[1] && to > t[0] }) {
				row++
			}
			if row == len(taken) {
				taken = append(taken, nil)
			}
			taken[row] = append(taken[row], [2]float64{from, to})
			y := 9 + flagStep*float64(row)
			kind := map[string]chaos.EventKind{"fine": chaos.EventHolds, "broken": chaos.EventBroken, "state": chaos.EventState}[g.class]
			d.add(`<g class="flag %s tip">%s<line x1="%[3]s" x2="%[3]s" y1="%[4]s" y2="100%%"/><svg class="mark" x="%[3]s" y="%[4]s" overflow="visible">%[5]s</svg><text class="halo" x="%[3]s" dx="%[6]s" y="%[7]s" text-anchor="%[8]s">%[9]s</text></g>`,
				g.class, titled(g.title), at(x(g.room)), px(y), flagShape(kind), dx, px(y+4), anchor, esc(g.text))
		}
		return len(taken)
	})
}
