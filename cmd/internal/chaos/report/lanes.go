package report

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/human"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// The timeline fits any screen: places across are shares of its width. Where names have
// room is reckoned for the narrowest that each of two layouts is shown at, in pixels.
const (
	wideAtLeast   = 560.0
	narrowAtLeast = 262.0
	charWidth     = 6.6 // of the small text, in the widest of the usual fonts
)

// A figure is all lanes of the timeline, and what lies beneath them.
type figure struct {
	Under template.HTML // bands of faults, lines of events, and what is under the pointer
	Lanes []lane
	Ticks []tick
	Label string
}

// A tick is a time on the axis; Sub is one that has no room on a small screen.
type tick struct {
	At, Text, Anchor string
	Sub              bool
}

// timelineFigure draws everything on one axis of time; false when there is nothing.
func (o *outcome) timelineFigure() (figure, bool) {
	if o.axis.len() <= 0 || len(o.points) == 0 && len(o.events) == 0 {
		return figure{}, false
	}
	f := figure{Under: o.under(), Label: o.timelineLabel()}
	for _, l := range []func() (lane, bool){o.faultLane, o.flagLane, o.guardLane, o.errorLane, o.memoryLane, o.cycleLane, o.gcLane, o.latencyLane, o.pressureLane, o.goroutineLane} {
		if l, ok := l(); ok {
			f.Lanes = append(f.Lanes, l)
		}
	}
	all := ticks(o.axis, 12)
	for i, t := range all {
		k := tick{At: at(share(t, o.axis)), Text: span(t), Anchor: "middle", Sub: len(all) > 6 && i%2 == 1}
		switch x := share(t, o.axis); {
		case x < 0.03:
			k.Anchor = "start"
		case x > 0.97:
			k.Anchor = "end"
		}
		f.Ticks = append(f.Ticks, k)
	}
	return f, true
}

// timelineLabel is the timeline for those who do not see it.
func (o *outcome) timelineLabel() string {
	var out []string
	for _, b := range o.bars()[:min(len(o.bars()), 12)] {
		out = append(out, fmt.Sprintf("%s from %s to %s", o.fault(b.fault), span(b.from), span(b.to)))
	}
	return fmt.Sprintf("Timeline of %s: %s. The table of readings below has the values.", span(o.axis.len()), cmp.Or(strings.Join(out, ", "), "no fault"))
}

// under are the bands of the faults, and lines where something grave happened. It
// spans all lanes, and says what there was at the instant under the pointer.
func (o *outcome) under() template.HTML {
	var d drawing
	for _, b := range o.bars() {
		d.add(`<rect class="during" x="%s" y="0" width="%s" height="100%%"/>`, at(share(b.from, o.axis)), at(width(b.from, b.to, o.axis)))
	}
	for _, t := range ticks(o.axis, 12) {
		d.add(`<line class="grid" x1="%[1]s" x2="%[1]s" y1="0" y2="100%%"/>`, at(share(t, o.axis)))
	}
	for _, e := range o.flags() {
		if o.rank(e) >= 5 {
			d.add(`<line class="line %[2]s" x1="%[1]s" x2="%[1]s" y1="0" y2="100%%"/>`, at(share(e.At, o.axis)), flagClass(e.Kind))
		}
	}
	const hits = 160
	for i, m := range o.moments(hits) {
		lines := m.lines()
		for i := range lines {
			lines[i] = esc(lines[i])
		}
		if len(lines) > 0 {
			d.add(`<rect class="hit" x="%s" y="0" width="%s" height="100%%"><title>%s</title></rect>`, at(float64(i)/hits), at(1.0/hits), strings.Join(lines, "\n"))
		}
	}
	return template.HTML(d.String())
}

// Bounds of the drawings.
const maxFlags, maxStretches = 160, 240

func first[T any](list []T, n int) []T { return list[:min(len(list), n)] }

// A reading is what there was in a column of the timeline, the last of each metric and
// the worst of some.
type reading struct {
	o      *outcome
	at     time.Duration
	values map[chaos.Metric]float64
}

// read are the metrics that readings tell, in their order.
var read = []chaos.Metric{chaos.Limit, chaos.WorkingSet, chaos.MemoryLimitGo, chaos.LiveHeap, chaos.HeapGoal, chaos.GCCPURatio, chaos.AssistRatio, chaos.PauseMax, chaos.LatencyP50, chaos.LatencyP99,
	chaos.ErrorRatio, chaos.Ready, chaos.GuardState, chaos.GoroutineCount, chaos.PressureFull, chaos.ThrottledRatio}

// moments are readings at so many instants, evenly.
func (o *outcome) moments(n int) []reading {
	out := make([]reading, n)
	for i := range out {
		out[i] = reading{o: o, at: o.axis.middle(i, n)}
	}
	for _, p := range o.points {
		i := column(p.At, o.axis, n)
		if i < 0 {
			continue
		}
		if out[i].values == nil {
			out[i].values = map[chaos.Metric]float64{}
		}
		for _, m := range read {
			v, ok := p.Values[m]
			if !ok || !finite(v) {
				continue
			}
			was, seen := out[i].values[m]
			switch {
			case !seen:
			case m == chaos.Ready || m == chaos.Limit:
				v = min(v, was)
			default:
				v = max(v, was)
			}
			out[i].values[m] = v
		}
	}
	return out
}

// text is a value of the reading.
func (r reading) text(m chaos.Metric) string {
	v, ok := r.values[m]
	if !ok || m == chaos.HeapGoal && v >= 1<<48 || m == chaos.MemoryLimitGo && v >= 1<<60 || m == chaos.Limit && v >= 1<<60 {
		return "-"
	}
	return measure(m, v)
}

// fault is the fault at that instant, with its level.
func (r reading) fault() string {
	for _, b := range r.o.bars() {
		if r.at >= b.from && r.at <= b.to {
			level := math.NaN()
			for _, s := range b.steps {
				if s.at <= r.at {
					level = s.level
				}
			}
			if !finite(level) {
				return r.o.fault(b.fault)
			}
			return r.o.fault(b.fault) + " " + amount(level, r.o.kind(b.fault).Unit)
		}
	}
	return "-"
}

// lines are the reading in words.
func (r reading) lines() []string {
	if len(r.values) == 0 {
		return nil
	}
	out := []string{"at " + span(r.at.Round(100*time.Millisecond))}
	if f := r.fault(); f != "-" {
		out[0] += ", " + f
	}
	for _, m := range read {
		if s := r.text(m); s != "-" && !(m == chaos.Ready && s == "ready") && !(r.values[m] == 0 && (m == chaos.PressureFull || m == chaos.ThrottledRatio)) {
			if m == chaos.GuardState {
				s = "guard " + s
			} else if m != chaos.Ready {
				s = title(m) + " " + s
			}
			out = append(out, s)
		}
	}
	return out
}

// flagStep is how far rows of flags lie apart.
const flagStep = 17.0

// flagged is a lane of flags, for each of two layouts as high as it has to be: write
// returns how many rows there are.
func flagged(l lane, write func(d *drawing, width float64) int) lane {
	l.Class = "flags"
	body := func(width float64) (string, template.HTML) {
		var d drawing
		height := px(flagStep*float64(write(&d, width)) + 2)
		return height, template.HTML(d.String())
	}
	l.Small = &smallBody{}
	l.Height, l.Body = body(wideAtLeast)
	l.Small.Height, l.Small.Body = body(narrowAtLeast)
	return l
}

// layouts writes text twice, where it has room on a large screen and on a small one.
func layouts(d *drawing, write func(d *drawing, width float64)) {
	for _, l := range []struct {
		class string
		width float64
	}{{"wide", wideAtLeast}, {"narrow", narrowAtLeast}} {
		var in drawing
		write(&in, l.width)
		if in.Len() > 0 {
			d.add(`<g class="%s">%s</g>`, l.class, in.String())
		}
	}
}

// fit cuts text to so many pixels, "" when next to nothing of it would be left.
func fit(s string, room float64) string {
	n := int(room / charWidth)
	if term.Width(s) <= n {
		return s
	}
	if n < 4 {
		return ""
	}
	return term.Cut(s, n)
}

// faultLane are the faults, each as high as its level is against its highest.
func (o *outcome) faultLane() (lane, bool) {
	bars := o.bars()
	if len(bars) == 0 {
		return lane{}, false
	}
	slices.SortStableFunc(bars, func(a, b bar) int { return cmp.Compare(a.from, b.from) })
	p := newPlot(74, 34, 0, 1, false)
	for _, b := range bars {
		t := &trace{}
		last := 0.0
		t.to(share(b.from, o.axis), p.bottom)
		for _, s := range thin(b.steps, 400) {
			t.to(share(s.at, o.axis), p.y(last))
			last = s.share
			t.to(share(s.at, o.axis), p.y(last))
		}
		t.to(share(b.to, o.axis), p.y(last))
		p.paths(p.height, path("fault", t.closed(p.bottom)))
		k := o.kind(b.fault)
		d, _ := o.done(b.fault)
		p.add(`<rect class="tip clear" x="%s" width="%s" y="0" height="%s">%s</rect>`, at(share(b.from, o.axis)), at(width(b.from, b.to, o.axis)), px(p.height),
			titled(fmt.Sprintf("%s (%s): %s at most, from %s to %s", o.fault(b.fault), cmp.Or(k.What, clean(string(k.Kind))), amount(d.Peak, k.Unit), span(b.from), span(b.to))))
	}
	layouts(&p.drawing, func(d *drawing, width float64) {
		for i, b := range bars {
			x := share(b.from, o.axis)
			to := 1.0
			if i+1 < len(bars) {
				to = share(bars[i+1].from, o.axis)
			}
			room := (to-x)*width - 4
			name := fmt.Sprintf("%d %s", b.fault+1, o.fault(b.fault))
			s := fit(name, room)
			if s == "" || len(s) < 7 && s != name {
				s = fmt.Sprint(b.fault + 1)
				if room < charWidth*float64(len(s)) {
					continue
				}
			}
			d.add(`<text class="strong" x="%s" y="12">%s</text>`, at(x), esc(s))
			if peak := amount(o.peak(b.fault), o.kind(b.fault).Unit); peak != "-" && fit(peak, room) == peak {
				d.add(`<text class="muted" x="%s" y="27">%s</text>`, at(x), esc(peak))
			}
		}
	})
	return p.lane(lane{Title: "Faults", Note: "how much of each there was, against its most"}), true
}

// peak is the highest level of a fault, or the lowest of one that falls.
func (o *outcome) peak(i int) float64 {
	d, ok := o.done(i)
	if !ok {
		return math.NaN()
	}
	return d.Peak
}

// flags are the events that are drawn.
func (o *outcome) flags() []chaos.Event {
	return slices.DeleteFunc(o.telling(maxFlags), func(e chaos.Event) bool { return o.rank(e) < 2 || e.At < o.axis.from })
}

func flagClass(k chaos.EventKind) string {
	switch k {
	case chaos.EventAbort, chaos.EventKill, chaos.EventGone:
		return "grave"
	case chaos.EventBroken:
		return "broken"
	case chaos.EventState:
		return "state"
	case chaos.EventFinding:
		return "finding"
	case chaos.EventHolds, chaos.EventRecover:
		return "fine"
	}
	return "plain"
}

// flagShape is the form of a flag: they differ not only in colour.
func flagShape(k chaos.EventKind) string {
	switch k {
	case chaos.EventAbort:
		return `<path d="M-3 -6H3L6 -3V3L3 6H-3L-6 3V-3Z"/>`
	case chaos.EventKill, chaos.EventGone:
		return `<path class="stroke" d="M-5 -5L5 5M-5 5L5 -5"/>`
	case chaos.EventBroken:
		return `<path d="M0 -6L6 5H-6Z"/>`
	case chaos.EventState:
		return `<path d="M0 -6L6 0L0 6L-6 0Z"/>`
	case chaos.EventFinding:
		return `<circle r="5"/>`
	case chaos.EventHolds, chaos.EventRecover:
		return `<path class="stroke" d="M-5 0L-1.5 4L5 -5"/>`
	}
	return `<circle r="3"/>`
}

// broken is the metric that an event of a criterion is about, as short as it can be said.
func broken(text string) string {
	for _, m := range chaos.Metrics() {
		if strings.HasPrefix(text, m.What) || text == string(m.Metric) || strings.HasPrefix(text, string(m.Metric)+" ") {
			return title(m.Metric)
		}
	}
	if strings.HasPrefix(text, "the readiness URL") {
		return "ready"
	}
	what, _, _ := strings.Cut(text, ":")
	return term.Cut(what, 24)
}

// flagText is an event in as few words as are understood.
func (o *outcome) flagText(e chaos.Event) string {
	text := clean(e.Text)
	word, _, _ := strings.Cut(text, " ")
	what := broken(text)
	switch e.Kind {
	case chaos.EventAbort:
		return "aborted"
	case chaos.EventKill:
		return "killed for memory"
	case chaos.EventGone:
		return "target ended"
	case chaos.EventBroken:
		return "broken" + prefix(": ", what)
	case chaos.EventState:
		return cmp.Or(clean(e.To), "guard")
	case chaos.EventFinding:
		return term.Cut(word, 24)
	case chaos.EventHolds:
		return "holds" + prefix(": ", what)
	case chaos.EventRecover:
		if v, ok := o.result(e.Fault); ok && v.Recovered == nil {
			return "recovered in part"
		}
		return "recovered"
	}
	return term.Cut(text, 32)
}

// flagLane are the events with what they are, as far as there is room: the rest say it
// under the pointer, and in the table.
func (o *outcome) flagLane() (lane, bool) {
	events := o.flags()
	if len(events) == 0 {
		return lane{}, false
	}
	const rows = 7
	byRank := slices.Clone(events)
	slices.SortStableFunc(byRank, func(a, b chaos.Event) int { return cmp.Compare(o.rank(b), o.rank(a)) })
	return flagged(lane{Title: "Events"}, func(d *drawing, width float64) int {
		used := 0
		var taken [rows][][2]float64 // pixels
		free := func(row int, from, to float64) bool {
			return !slices.ContainsFunc(taken[row], func(t [2]float64) bool { return from < t[1] && to > t[0] })
		}
		for _, e := range byRank {
			x := share(e.At, o.axis)
			left := x * width
			text := o.flagText(e)
			long := 12 + charWidth*float64(term.Width(text)) + 6
			place := func() (row int, from, to float64, anchor string) {
				for row := range rows {
					if left+long <= width && free(row, left-7, left+long) {
						return row, left - 7, left + long, "start"
					}
					if left-long >= 0 && free(row, left-long, left+7) {
						return row, left - long, left + 7, "end"
					}
				}
				for row := range rows {
					if free(row, left-7, left+7) {
						return row, left - 7, left + 7, ""
					}
				}
				return rows - 1, left - 7, left + 7, ""
			}
			row, from, to, anchor := place()
			taken[row] = append(taken[row], [2]float64{from, to})
			used = max(used, row+1)
			y := 9 + flagStep*float64(row)
			d.add(`<g class="flag %s tip">%s<line x1="%[3]s" x2="%[3]s" y1="%[4]s" y2="100%%"/><svg class="mark" x="%[3]s" y="%[4]s" overflow="visible">%[5]s</svg>`,
				flagClass(e.Kind), titled(span(e.At)+": "+o.say(e)), at(x), px(y), flagShape(e.Kind))
			if anchor != "" {
				dx := "11"
				if anchor == "end" {
					dx = "-11"
				}
				d.add(`<text class="halo" x="%s" dx="%s" y="%s" text-anchor="%s">%s</text>`, at(x), dx, px(y+4), anchor, esc(text))
			}
			d.add(`</g>`)
		}
		return used
	}), true
}

// guardLane are the states of the guard: higher is worse.
func (o *outcome) guardLane() (lane, bool) {
	list := o.guard()
	if len(list) == 0 {
		return lane{}, false
	}
	times := map[float64]time.Duration{}
	for _, s := range list {
		times[s.v] += s.to - s.from
	}
	list = first(list, maxStretches)
	p := newPlot(24, 0, 0, 1, false)
	class := []string{"healthy", "recovering", "degraded"}
	tall := []float64{3, 11, 22}
	for _, s := range list {
		if s.v != 0 && s.v != 1 && s.v != 2 || s.to < o.axis.from {
			continue
		}
		h := tall[int(s.v)]
		p.add(`<rect class="tip %s" x="%s" width="%s" y="%s" height="%s">%s</rect>`, class[int(s.v)], at(share(s.from, o.axis)), at(max(width(s.from, s.to, o.axis), 0.001)), px(p.height-1-h), px(h),
			titled(fmt.Sprintf("%s from %s to %s", stateName(s.v), span(s.from), span(s.to))))
	}
	layouts(&p.drawing, func(d *drawing, width float64) {
		for _, s := range list {
			if s.v != 2 {
				continue
			}
			text := "degraded " + span((s.to - s.from).Round(100*time.Millisecond))
			room := (share(s.to, o.axis)-share(s.from, o.axis))*width - 8
			if fit(text, room) != text {
				text = "degraded"
			}
			if fit(text, room) == text {
				d.add(`<text class="inside" x="%s" dx="5" y="16">%s</text>`, at(share(s.from, o.axis)), esc(text))
			}
		}
	})
	note := "healthy throughout"
	if n := times[2]; n > 0 {
		note = "degraded for " + span(n.Round(100*time.Millisecond)) + " in all"
	}
	return p.lane(lane{Title: "Guard", Note: note, Keys: []key{{"healthy", "healthy"}, {"recovering", "recovering"}, {"degraded", "degraded"}}}), true
}

// errorLane is the share of errors, and when the target was not ready.
func (o *outcome) errorLane() (lane, bool) {
	errors, ready := o.series(chaos.ErrorRatio), o.stretches(chaos.Ready)
	if len(errors) == 0 && len(ready) == 0 {
		return lane{}, false
	}
	most := 0.0
	for _, s := range errors {
		most = max(most, s.v)
	}
	away := slices.DeleteFunc(slices.Clone(ready), func(s stretch) bool { return s.v >= 1 })
	l := lane{Title: "Readiness and errors"}
	if len(away) == 0 && most == 0 {
		var parts []string
		if len(ready) > 0 {
			parts = append(parts, "always ready")
		}
		if len(errors) > 0 {
			parts = append(parts, "no errors")
		}
		l.Note = strings.Join(parts, ", ")
		return l, true
	}
	p := newPlot(44, 6, 0, max(most*1.05, 1e-6), false)
	if most > 0 {
		p.rule(most, percent(most))
		p.paths(p.height, path("errors", p.area(errors, o.axis)))
		l.Keys = append(l.Keys, key{"errors", "share of requests that failed"})
	}
	for _, s := range first(away, maxStretches) {
		p.add(`<rect class="away tip" x="%s" width="%s" y="4" height="%s">%s</rect>`, at(share(s.from, o.axis)), at(max(width(s.from, s.to, o.axis), 0.002)), px(p.height-5),
			titled(fmt.Sprintf("not ready from %s to %s", span(s.from), span(s.to))))
	}
	if len(away) > 0 {
		l.Keys = append(l.Keys, key{"away", "not ready"})
	} else if len(ready) > 0 {
		l.Note = "always ready"
	}
	p.ground()
	return p.lane(l), true
}

// ground draws the axis below.
func (p *plot) ground() {
	p.add(`<line class="ground" x1="0" x2="100%%" y1="%s" y2="%s"/>`, px(p.bottom), px(p.bottom))
}

// memoryLane is memory: what may be used, what is, and what of it is alive.
func (o *outcome) memoryLane() (lane, bool) {
	used, name := o.series(chaos.WorkingSet), "working set"
	if len(used) == 0 {
		used, name = o.series(chaos.Usage), "memory of the cgroup"
	}
	if len(used) == 0 {
		used, name = o.series(chaos.RSS), "RSS"
	}
	limit, soft := o.series(chaos.Limit), o.series(chaos.MemoryLimitGo)
	live, goal := o.perCycle()
	most := 0.0
	for _, list := range [][]sample{used, live} {
		for _, s := range list {
			most = max(most, s.v)
		}
	}
	if !(most > 0) {
		return lane{}, false
	}
	// What is far above everything would flatten it, and is left to the words.
	near := func(list []sample) []sample {
		hi := 0.0
		for _, s := range list {
			hi = max(hi, s.v)
		}
		if hi > 4*most {
			return nil
		}
		return list
	}
	limit, soft, goal = near(limit), near(soft), near(goal)
	for _, list := range [][]sample{limit, soft, goal} {
		for _, s := range list {
			most = max(most, s.v)
		}
	}
	p := newPlot(196, 8, 0, most*1.04, false)
	for _, v := range rules(most, 4, true) {
		p.rule(v, bytes(v))
	}
	l := lane{Title: "Memory"}
	var body []string
	add := func(class, name string, d string) {
		if d != "" {
			body = append(body, path(class, d))
			l.Keys = append(l.Keys, key{class, name})
		}
	}
	lives := p.steps(live, o.axis)
	if s := lives.closed(p.bottom); s != "" {
		body = append(body, path("area", s))
	}
	add("limit", "limit of the cgroup", p.line(limit, o.axis).String())
	add("used", name, p.line(used, o.axis).String())
	add("soft", "GOMEMLIMIT", p.line(soft, o.axis).String())
	add("goal", "heap goal", p.steps(goal, o.axis).String())
	add("live", "live heap", lives.String())
	p.paths(p.height, body...)
	p.ground()
	return p.lane(l), true
}

// perCycle are the live heap and the goal by cycle, or by point where cycles are not
// known or too many to draw.
func (o *outcome) perCycle() (live, goal []sample) {
	for _, c := range o.cycles {
		if v := float64(c.LiveBytes); v > 0 {
			live = append(live, sample{c.At, v})
		}
		if v := float64(c.GoalBytes); v > 0 && c.GoalBytes < 1<<48 {
			goal = append(goal, sample{c.At, v})
		}
	}
	if len(live) == 0 {
		live, goal = o.series(chaos.LiveHeap), slices.DeleteFunc(o.series(chaos.HeapGoal), func(s sample) bool { return s.v >= 1<<48 })
	}
	thinSteps := func(list []sample) []sample {
		const n = 600
		if len(list) <= n {
			return list
		}
		var out []sample
		for i, e := range columns(list, o.axis, n/2) {
			if !e.any {
				continue
			}
			t := o.axis.middle(i, n/2)
			if e.hi != e.last {
				out = append(out, sample{t - o.axis.len()/(2*n), e.hi})
			}
			out = append(out, sample{t, e.last})
		}
		return out
	}
	return thinSteps(live), thinSteps(goal)
}

// cycleLane are the GC cycles, as high as their pauses.
func (o *outcome) cycleLane() (lane, bool) {
	if len(o.cycles) == 0 {
		return lane{}, false
	}
	longest, forced := time.Duration(0), 0
	type mark struct {
		pause  time.Duration
		n      int
		forced bool
	}
	marks := make([]mark, maxPixels)
	for _, c := range o.cycles {
		longest = max(longest, c.Pause)
		if c.Forced {
			forced++
		}
		i := column(c.At, o.axis, maxPixels)
		if i < 0 {
			continue
		}
		m := &marks[i]
		m.pause, m.n, m.forced = max(m.pause, c.Pause), m.n+1, m.forced || c.Forced
	}
	shortest := longest
	for _, m := range marks {
		if m.pause > 0 {
			shortest = min(shortest, m.pause)
		}
	}
	// Most pauses are short, and one that is a hundred times longer is to be seen beside them.
	hi := max(longest.Seconds(), 1e-6) * 1.15
	p := newPlot(52, 4, max(min(shortest.Seconds()/3, hi/10), hi/1e6), hi, true)
	p.decades(func(v float64) string { return amount(v, chaos.Seconds) })
	for i, m := range marks {
		if m.n == 0 {
			continue
		}
		class := "cycle"
		if m.forced {
			class += " forced"
		}
		text := fmt.Sprintf("at %s a cycle, pause %s", span(o.axis.middle(i, maxPixels)), amount(m.pause.Seconds(), chaos.Seconds))
		if m.n > 1 {
			text = fmt.Sprintf("at %s %s, longest pause %s", span(o.axis.middle(i, maxPixels)), human.Plural(m.n, "cycle"), amount(m.pause.Seconds(), chaos.Seconds))
		}
		p.add(`<line class="%s tip" x1="%[2]s" x2="%[2]s" y1="%s" y2="%s">%s</line>`, class, at((float64(i)+0.5)/maxPixels), px(p.bottom), px(min(p.y(m.pause.Seconds()), p.bottom-3)), titled(text))
	}
	p.ground()
	l := lane{Title: "GC cycles", Note: fmt.Sprintf("%s, each as high as its pause, the longest %s", human.Plural(len(o.cycles), "cycle"), amount(longest.Seconds(), chaos.Seconds))}
	if forced > 0 {
		l.Keys = []key{{"cycle", "cycle"}, {"cycle forced", "forced"}}
	}
	return p.lane(l), true
}

// gcLane is what the collector takes of the CPU.
func (o *outcome) gcLane() (lane, bool) {
	total, assist := o.series(chaos.GCCPURatio), o.series(chaos.AssistRatio)
	most := 0.0
	for _, s := range append(slices.Clone(total), assist...) {
		most = max(most, s.v)
	}
	if !(most > 0) {
		return lane{}, false
	}
	hi := max(most*1.05, 0.05)
	l := lane{Title: "CPU of the collector", Keys: []key{{"gc", "share of the CPU time"}}}
	bound := o.boundSteps(chaos.GCCPURatio)
	for _, s := range bound {
		if s.v <= 2.5*most {
			hi = max(hi, s.v*1.05)
		}
	}
	p := newPlot(76, 6, 0, hi, false)
	for _, v := range rules(hi, 4, false) {
		p.rule(v, percent(v))
	}
	body := []string{path("gcarea", p.area(total, o.axis)), path("gc", p.line(total, o.axis).String())}
	if len(assist) > 0 {
		body = append(body, path("assist", p.area(assist, o.axis)))
		l.Keys = append(l.Keys, key{"assist", "of it mark assists"})
	}
	if s := p.boundPath(bound, o.axis); s != "" {
		body = append(body, path("bound", s))
		l.Keys = append(l.Keys, key{"bound", "hypothesis"})
	}
	p.paths(p.height, body...)
	p.ground()
	return p.lane(l), true
}

// boundSteps is the bound of the hypothesis on a metric over time: what is tolerated
// while there is a fault, and what is normal else.
func (o *outcome) boundSteps(m chaos.Metric) []sample {
	peace, fault, hasPeace, hasFault := o.tolerated(m)
	if !hasPeace && !hasFault {
		return nil
	}
	if !hasFault {
		fault = peace
	}
	if !hasPeace {
		peace = fault
	}
	out := []sample{{0, peace}}
	for _, b := range o.bars() {
		out = append(out, sample{b.from, fault}, sample{b.to, peace})
	}
	return out
}

// boundPath draws a bound where it is on the scale.
func (p *plot) boundPath(list []sample, a axis) string {
	var on []sample
	for _, s := range list {
		on = append(on, sample{s.at, min(s.v, p.hi)})
	}
	if !slices.ContainsFunc(list, func(s sample) bool { return s.v <= p.hi }) {
		return ""
	}
	return p.steps(on, a).String()
}

// latencyLane is latency, on a scale of logarithms.
func (o *outcome) latencyLane() (lane, bool) {
	p50, p99 := o.series(chaos.LatencyP50), o.series(chaos.LatencyP99)
	lo, hi := math.Inf(1), 0.0
	for _, s := range append(slices.Clone(p99), p50...) {
		if s.v > 0 {
			lo, hi = min(lo, s.v), max(hi, s.v)
		}
	}
	if !(hi > 0) {
		return lane{}, false
	}
	bound := o.boundSteps(chaos.LatencyP99)
	for _, s := range bound {
		if s.v > 0 && s.v < 20*hi {
			hi = max(hi, s.v)
		}
	}
	lo, hi = max(lo/1.3, hi/1e6), hi*1.3
	p := newPlot(110, 6, lo, hi, true)
	p.decades(func(v float64) string { return amount(v, chaos.Seconds) })
	l := lane{Title: "Latency", Note: "from when requests were due"}
	var body []string
	if len(p50) > 0 {
		body = append(body, path("p50", p.line(p50, o.axis).String()))
		l.Keys = append(l.Keys, key{"p50", "median"})
	}
	if len(p99) > 0 {
		body = append(body, path("p99", p.line(p99, o.axis).String()))
		l.Keys = append(l.Keys, key{"p99", "p99"})
	}
	if s := p.boundPath(bound, o.axis); s != "" {
		body = append(body, path("bound", s))
		l.Keys = append(l.Keys, key{"bound", "hypothesis on p99"})
	}
	p.paths(p.height, body...)
	p.ground()
	return p.lane(l), true
}

// pressureLane is what the kernel says of waiting for memory, and of the quota.
func (o *outcome) pressureLane() (lane, bool) {
	l := lane{Title: "Pressure and throttling"}
	type line struct {
		class, name string
		list        []sample
	}
	lines := []line{{"some", "PSI memory some", o.series(chaos.PressureSome)}, {"full", "PSI memory full", o.series(chaos.PressureFull)}, {"throttled", "periods throttled", o.series(chaos.ThrottledRatio)}}
	most := 0.0
	for i := range lines {
		hi := 0.0
		for _, s := range lines[i].list {
			hi = max(hi, s.v)
		}
		if hi == 0 {
			lines[i].list = nil
		}
		most = max(most, hi)
	}
	if !(most > 0) {
		return lane{}, false
	}
	if most < 0.005 {
		l.Note = "none to speak of: at most " + percent(most)
		return l, true
	}
	p := newPlot(60, 6, 0, most*1.05, false)
	p.rule(most, percent(most))
	var body []string
	for _, x := range lines {
		if len(x.list) > 0 {
			body = append(body, path(x.class, p.line(x.list, o.axis).String()))
			l.Keys = append(l.Keys, key{x.class, x.name})
		}
	}
	p.paths(p.height, body...)
	p.ground()
	return p.lane(l), true
}

// goroutineLane is how many goroutines there were.
func (o *outcome) goroutineLane() (lane, bool) {
	list := o.series(chaos.GoroutineCount)
	most := 0.0
	for _, s := range list {
		most = max(most, s.v)
	}
	if !(most > 0) {
		return lane{}, false
	}
	p := newPlot(52, 6, 0, most*1.05, false)
	p.rule(most, plain(most))
	p.paths(p.height, path("goroutines", p.line(list, o.axis).String()))
	p.ground()
	return p.lane(lane{Title: "Goroutines"}), true
}
