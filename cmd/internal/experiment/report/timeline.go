package report

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// Bounds of a time line.
const maxLevels, maxMarks = 400, 600

// timelines are the courses of a typical match, the baseline's and the variant's,
// on the same scales.
func (o *outcome) timelines(variant int) (figure, bool) {
	metric := "gc_cycles_per_second"
	if o.plan.Goal != nil {
		metric = o.plan.Goal.Metric
	}
	m, ok := typical(o.Result, variant, metric)
	if !ok {
		return figure{}, false
	}
	arms := []*course{courseOf(&o.Blocks[m.base.block], m.base), courseOf(&o.Blocks[m.value.block], m.value)}
	seconds, bytes, pause := 0.0, 0.0, 0.0
	for _, a := range arms {
		seconds, bytes, pause = max(seconds, a.seconds), max(bytes, a.bytes), max(pause, a.pause)
	}
	f := figure{Title: "A typical block", Keys: []key{{"area", "heap live"}, {"goal", "heap goal"}, {"rss", "RSS"}, {"stem", "GC cycle, as high as its pause"}},
		Caption: fmt.Sprintf("The pair that is nearest to the middle of all by %s.", title(metric))}
	for i, a := range arms {
		name := o.variant([]int{0, variant}[i])
		f.Body += template.HTML(fmt.Sprintf(`<h4>%s <span class="muted">block %d, %s, %s</span></h4>`, esc(name), a.block, esc(a.design), esc(plural(len(a.marks), "GC cycle"))))
		f.Body += a.draw(seconds, bytes, pause, name)
	}
	return f, true
}

// A course is what is drawn of one arm.
type course struct {
	block                 int
	design                string
	levels                []experiment.Level
	marks                 []experiment.Mark
	seconds, bytes, pause float64
}

func courseOf(b *experiment.Block, p place) *course {
	c := &course{block: p.block, design: b.Design}
	within := func(at float64) bool { return at >= 0 && at <= 1e6 } // NaN is neither
	for _, l := range p.arm.Heap {
		if within(l.At) {
			c.levels = append(c.levels, l)
		}
	}
	c.levels = thin(c.levels, maxLevels)
	for _, m := range p.arm.Cycles {
		if within(m.At) && m.Pause >= 0 && !math.IsInf(m.Pause, 0) {
			c.marks = append(c.marks, m)
		}
	}
	if len(c.marks) > maxMarks { // the longest are what is looked for
		slices.SortFunc(c.marks, func(a, b experiment.Mark) int { return cmp.Compare(b.Pause, a.Pause) })
		c.marks = c.marks[:maxMarks]
	}
	slices.SortStableFunc(c.levels, func(a, b experiment.Level) int { return cmp.Compare(a.At, b.At) })
	slices.SortStableFunc(c.marks, func(a, b experiment.Mark) int { return cmp.Compare(a.At, b.At) })
	if within(b.Seconds) {
		c.seconds = b.Seconds
	}
	for _, l := range c.levels {
		c.seconds = max(c.seconds, l.At)
		c.bytes = max(c.bytes, float64(l.Live), sane(l.Goal), sane(l.RSS))
	}
	for _, m := range c.marks {
		c.seconds, c.pause = max(c.seconds, m.At), max(c.pause, m.Pause)
	}
	return c
}

// sane is a size, or 0 for one that is as large as numbers go: with GOGC=off the
// runtime has no goal.
func sane(bytes uint64) float64 {
	if bytes >= 1<<48 {
		return 0
	}
	return float64(bytes)
}

// draw is one arm, on scales that all arms share.
func (a *course) draw(seconds, bytes, pause float64, name string) template.HTML {
	seconds, bytes = max(seconds, 1e-3), max(bytes, 1)
	const height, stems = 214.0, 40.0 // the pauses have a strip of their own
	c := newChart(scale{hi: bytes * 1.04}, height, 8, height-24, fmt.Sprintf("%s: heap, goal and RSS over %s, with %s, the longest pause %s", name, value(seconds, experiment.Seconds), plural(len(a.marks), "GC cycle"), value(a.pause, experiment.Seconds)))
	floor := c.bottom // of the pauses
	c.bottom -= stems + 16
	c.yticks(c.y.ticks(4, experiment.ByteSize), func(v float64) string { return tick(v, experiment.ByteSize) })
	var live, area, goal, rss trace
	for i, l := range a.levels {
		x := l.At / seconds
		if i == 0 {
			area.to(x, c.bottom)
		}
		live.to(x, c.py(sane(l.Live)))
		area.to(x, c.py(sane(l.Live)))
		if i == len(a.levels)-1 {
			area.to(x, c.bottom)
		}
		if g := sane(l.Goal); g > 0 {
			goal.to(x, c.py(g))
		}
		if r := sane(l.RSS); r > 0 {
			rss.to(x, c.py(r))
		}
	}
	closed := area.String()
	if closed != "" {
		closed += "Z"
	}
	c.paths(path("area", closed) + path("live", live.String()) + path("goal", goal.String()) + path("rss", rss.String()))
	c.add(`<line class="grid" x1="0" x2="100%%" y1="%s" y2="%s"/>`, px(c.bottom), px(c.bottom))
	if pause > 0 {
		c.beside(floor-stems+4, value(pause, experiment.Seconds))
	}
	for _, m := range a.marks {
		h := 3.0
		if pause > 0 {
			h = max(stems*m.Pause/pause, h)
		}
		x := at(m.At / seconds)
		c.add(`<line class="stem" x1="%s" x2="%s" y1="%s" y2="%s"><title>%s</title></line>`, x, x, px(floor), px(floor-h),
			esc(fmt.Sprintf("at %s a pause of %s", value(m.At, experiment.Seconds), value(m.Pause, experiment.Seconds))))
	}
	c.bottom = floor
	c.ground()
	for _, t := range (scale{hi: seconds}).ticks(6, experiment.Seconds) {
		c.xtick(t/seconds, tick(t, experiment.Seconds))
	}
	return c.html()
}
