package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/braille"
	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chart"
	"github.com/heapwright/heapwright/cmd/internal/human"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
)

// Bounds of the timeline.
const (
	maxColumns = 160
	leftNames  = 7  // columns of what stands to the left of the plots
	rightNames = 11 // and to the right: working set
)

var eighths = []rune(" ▁▂▃▄▅▆▇█")

// timeline draws what happened, all of it on one axis of time: memory, beneath it the
// faults, events, states of the guard, cycles, and latency.
func (p *printer) timeline(o *outcome) {
	if o.axis.len() <= 0 || len(o.points) == 0 {
		return
	}
	opt := chart.Options{Width: min(p.columns(), maxColumns), Height: 8, Paint: p.paint, Left: leftNames, Right: rightNames, End: o.axis.len().Seconds(), Bare: true,
		Format: func(v float64) string { return bytes(v) }}
	n := opt.Columns()
	p.printf("\n")
	if lines := o.memory(2 * n); len(lines) > 0 {
		p.chart(opt, lines)
	}
	if bars := o.bars(); len(bars) > 0 {
		p.strip(opt, "faults", o.barNames(bars, n), "", term.Plain)
		p.strip(opt, "level", o.barCells(bars, n), "", term.Blue)
	}
	if row, legend := o.eventCells(n); legend != "" {
		p.strip(opt, "events", row, "", term.Bold)
	}
	if g := o.guard(); len(g) > 0 {
		p.strip(opt, "guard", guardCells(g, o.axis, n), "", term.Yellow)
	}
	if row, ok := o.errorCells(n); ok {
		p.strip(opt, "errors", row, "", term.Red)
	}
	if cells, longest := o.cycleCells(n); longest > 0 {
		p.strip(opt, amount(longest.Seconds(), chaos.Seconds), cells, "GC pauses", term.Cyan)
	}
	if lines := o.latency(2 * n); len(lines) > 0 {
		opt.Height, opt.Format = 4, func(v float64) string { return amount(v, chaos.Seconds) }
		p.chart(opt, lines)
	}
	p.axis(opt, o.axis)
	if s := o.legend(n); s != "" {
		p.faint(s)
	}
}

func (p *printer) chart(opt chart.Options, lines []chart.Line) {
	if p.err == nil {
		p.err = chart.Draw(p.w, opt, lines...)
	}
}

// strip writes one row of cells on the axis of time.
func (p *printer) strip(opt chart.Options, name string, cells []rune, right string, style term.Style) {
	text := string(cells)
	if right != "" {
		right = " " + right
	} else {
		text = strings.TrimRight(text, " ")
	}
	p.printf("%s%s%s\n", p.paint.Paint(term.Faint, fmt.Sprintf("%*s│", opt.Left, term.Cut(name, opt.Left))), p.paint.Paint(style, text), right)
}

// axis writes the times.
func (p *printer) axis(opt chart.Options, a axis) {
	n := opt.Columns()
	line, names := []rune(strings.Repeat("─", n)), []rune(strings.Repeat(" ", n+8))
	free := 0
	for _, t := range ticks(a, max(n/12, 1)) {
		at := column(t, a, n)
		if at < 0 {
			continue
		}
		line[at] = '┬'
		if at < free {
			continue
		}
		for i, r := range span(t) {
			if at+i < len(names) {
				names[at+i] = r
				free = at + i + 2
			}
		}
	}
	p.printf("%s\n", p.paint.Paint(term.Faint, strings.Repeat(" ", opt.Left)+"└"+string(line)))
	p.printf("%s\n", p.paint.Paint(term.Faint, strings.TrimRight(strings.Repeat(" ", opt.Left+1)+string(names), " ")))
}

// memory are the lines of memory, for so many columns of dots.
func (o *outcome) memory(dots int) []chart.Line {
	lines := []chart.Line{
		{Name: "limit", Style: term.Red, Dotted: true},
		{Name: "GOMEMLIMIT", Style: term.Yellow, Dotted: true},
		{Name: "working set", Style: term.Plain},
		{Name: "live heap", Style: term.Blue},
	}
	most := 0.0
	for i, metrics := range [][]chaos.Metric{{chaos.Limit}, {chaos.MemoryLimitGo}, {chaos.WorkingSet, chaos.Usage, chaos.RSS}, {chaos.LiveHeap}} {
		for n, m := range metrics {
			if list := o.series(m); len(list) > 0 {
				if n > 0 {
					lines[i].Name = []string{"", "memory", "RSS"}[n]
				}
				lines[i].Points = thinned(list, o.axis, dots)
				break
			}
		}
		if i >= 2 {
			most = max(most, top(lines[i].Points))
		}
	}
	// A limit that is far away says that it is, and would flatten everything.
	for i := range 2 {
		if t := top(lines[i].Points); most > 0 && t > 4*most {
			lines[i].Points = nil
		}
	}
	return slices.DeleteFunc(lines, func(l chart.Line) bool { return len(l.Points) == 0 })
}

// latency are the lines of latency: the 99th percentile and what is tolerated.
func (o *outcome) latency(dots int) []chart.Line {
	list := o.series(chaos.LatencyP99)
	if len(list) == 0 {
		return nil
	}
	out := []chart.Line{{Name: "latency p99", Style: term.Plain, Points: thinned(list, o.axis, dots)}}
	peace, fault, hasPeace, hasFault := o.tolerated(chaos.LatencyP99)
	most := top(out[0].Points)
	bound := func(name string, v float64) {
		if v <= 4*most {
			out = append(out, chart.Line{Name: name, Style: term.Faint, Dotted: true, Points: []chart.Point{{T: 0, V: v}, {T: o.axis.len().Seconds(), V: v}}})
		}
	}
	if hasFault {
		bound("tolerated", fault)
	}
	if hasPeace && (!hasFault || peace < 0.8*fault) {
		bound("normal", peace)
	}
	for i := range out[1:] { // as dense as dots are, for the line to be one
		l := &out[i+1]
		first := l.Points[0]
		l.Points = nil
		for d := range dots {
			l.Points = append(l.Points, chart.Point{T: (float64(d) + 0.5) / float64(dots) * o.axis.len().Seconds(), V: first.V})
		}
	}
	return out
}

func top(list []chart.Point) float64 {
	most := 0.0
	for _, p := range list {
		most = max(most, p.V)
	}
	return most
}

// thinned are samples as points, the least and the most of each column.
func thinned(list []sample, a axis, n int) []chart.Point {
	var out []chart.Point
	width := a.len().Seconds() / float64(n)
	for i, e := range columns(list, a, n) {
		if !e.any {
			continue
		}
		t := (float64(i) + 0.25) * width
		out = append(out, chart.Point{T: t, V: e.lo})
		if e.hi > e.lo {
			out = append(out, chart.Point{T: t + width/4, V: e.hi})
		}
		if e.last != e.hi {
			out = append(out, chart.Point{T: t + width/2, V: e.last})
		}
	}
	return out
}

// barNames are the numbers of the faults, with as much of their names as has room.
func (o *outcome) barNames(bars []bar, n int) []rune {
	out := []rune(strings.Repeat(" ", n))
	sorted := slices.Clone(bars)
	slices.SortStableFunc(sorted, func(a, b bar) int { return cmp.Compare(a.from, b.from) })
	free := 0
	for i, b := range sorted {
		at := max(column(b.from, o.axis, n), free)
		room := n - at
		if i+1 < len(sorted) {
			room = min(room, column(sorted[i+1].from, o.axis, n)-at-1)
		}
		name := fmt.Sprintf("%d %s", b.fault+1, o.fault(b.fault))
		if room < 5 && term.Width(name) > room {
			name = fmt.Sprint(b.fault + 1)
		}
		for j, r := range []rune(term.Cut(name, max(room, 1))) {
			if at+j < n {
				out[at+j] = r
				free = at + j + 2
			}
		}
	}
	return out
}

// barCells are the levels of the faults, each as a share of its highest.
func (o *outcome) barCells(bars []bar, n int) []rune {
	out := []rune(strings.Repeat(" ", n))
	width := o.axis.len() / time.Duration(n)
	for _, b := range bars {
		for i := max(column(b.from, o.axis, n), 0); i < n; i++ {
			at := o.axis.from + o.axis.len()*time.Duration(i)/time.Duration(n)
			if at >= b.to {
				break
			}
			share := max(b.share(min(max(at+width/2, b.from), b.to)), b.share(min(at+width, b.to)))
			out[i] = eighths[min(max(int(math.Ceil(share*8)), 1), 8)]
		}
	}
	return out
}

// eventCells are letters of what happened; in one column the gravest.
func (o *outcome) eventCells(n int) ([]rune, string) {
	out := []rune(strings.Repeat(" ", n))
	ranks := make([]int, n)
	legend := ""
	for _, e := range recoveredOnce(o.events) {
		i := column(e.At, o.axis, n)
		if i < 0 || o.rank(e) <= ranks[i] {
			continue
		}
		out[i], _ = letter(e.Kind)
		ranks[i] = o.rank(e)
	}
	for _, k := range []chaos.EventKind{chaos.EventAbort, chaos.EventKill, chaos.EventGone, chaos.EventBroken, chaos.EventState, chaos.EventFinding, chaos.EventHolds, chaos.EventRecover} {
		if sign, text := letter(k); slices.Contains(out, sign) {
			legend += fmt.Sprintf(", %c %s", sign, text)
		}
	}
	return out, strings.TrimPrefix(legend, ", ")
}

// guardRunes are the states of the guard as they are drawn.
var guardRunes = []rune("─▒█")

func guardCells(list []stretch, a axis, n int) []rune {
	out := []rune(strings.Repeat(" ", n))
	worst := make([]float64, n)
	for _, s := range list {
		from, to := column(max(s.from, a.from), a, n), column(min(s.to, a.to), a, n)
		if from < 0 || to < from || s.v < 0 || s.v > 2 {
			continue
		}
		for i := from; i <= to; i++ {
			if out[i] == ' ' || s.v > worst[i] {
				out[i], worst[i] = guardRunes[int(s.v)], s.v
			}
		}
	}
	return out
}

// errorCells are the share of errors, with × where the target was not ready; false
// when there was neither.
func (o *outcome) errorCells(n int) ([]rune, bool) {
	out := []rune(strings.Repeat(" ", n))
	any := false
	for i, e := range columns(o.series(chaos.ErrorRatio), o.axis, n) {
		if e.any && e.hi > 0 {
			out[i], any = eighths[min(max(int(math.Ceil(math.Sqrt(e.hi)*8)), 1), 8)], true
		}
	}
	for i, e := range columns(o.series(chaos.Ready), o.axis, n) {
		if e.any && e.lo < 1 {
			out[i], any = '×', true
		}
	}
	return out, any
}

// cycleCells are the GC cycles as ticks, as high as their pauses are long against the
// longest.
func (o *outcome) cycleCells(n int) ([]rune, time.Duration) {
	c := braille.New(n, 1)
	longest := time.Duration(0)
	for _, g := range o.cycles {
		longest = max(longest, g.Pause)
	}
	if len(o.cycles) > 0 {
		longest = max(longest, 1)
	}
	for _, g := range o.cycles {
		x := column(g.At, o.axis, 2*n)
		if x < 0 {
			continue
		}
		h := min(max(int(math.Ceil(4*math.Sqrt(float64(max(g.Pause, 0))/float64(longest)))), 1), 4)
		for y := range h {
			c.Set(x, 3-y, 0)
		}
	}
	out := make([]rune, n)
	for i := range out {
		out[i], _ = c.Cell(i, 0)
	}
	return out, longest
}

// legend says what the rows mean.
func (o *outcome) legend(n int) string {
	var out []string
	if _, s := o.eventCells(n); s != "" {
		out = append(out, "Events: "+s+".")
	}
	if len(o.guard()) > 0 {
		out = append(out, "Guard: ─ healthy, ▒ recovering, █ degraded.")
	}
	if _, ok := o.errorCells(n); ok {
		out = append(out, "Errors: by height, × not ready.")
	}
	return strings.Join(out, " ")
}

// margin writes how much memory could be taken before what failed.
func (p *printer) margin(o *outcome) {
	m := o.verdict.Margin
	if m == nil {
		return
	}
	p.head("Margin, by " + o.fault(m.Fault))
	p.text("", o.marginText())
	points := thin(m.Points, maxRows)
	if len(points) == 0 {
		return
	}
	most := 0.25 // a collector that takes little is not to look as if it took much
	for _, q := range points {
		if v := has(q, chaos.GCCPURatio); v != nil {
			most = max(most, *v)
		}
	}
	tab := texttab.Table{Columns: []texttab.Column{{Head: "ROOM", Right: true}, {Head: "TAKEN", Right: true, Drop: 4}, {Head: "GC CPU", Right: true}, {Head: "", Drop: 1}, {Head: "ASSISTS", Right: true, Drop: 3}, {Head: "P99", Right: true}, {Head: "PAUSE P99", Right: true, Drop: 5}, {Head: "FAILED", Min: 24}}}
	for _, q := range points {
		ratio := func(metric chaos.Metric) string {
			if v := has(q, metric); v != nil {
				return percent(*v)
			}
			return "-"
		}
		secs := func(metric chaos.Metric) string {
			if v := has(q, metric); v != nil {
				return amount(*v, chaos.Seconds)
			}
			return "-"
		}
		gauge := ""
		if v := has(q, chaos.GCCPURatio); v != nil {
			gauge = gaugeOf(*v/most, 16)
		}
		failed := strings.Join(layerNames(q.Failed), ", ")
		style := term.Plain
		if failed != "" {
			style = term.Red
		}
		tab.Row(texttab.Cell{Text: amount(q.RoomBytes, chaos.Bytes) + o.marginMark(q)}, texttab.Cell{Text: amount(q.TakenBytes, chaos.Bytes), Style: term.Faint}, texttab.Cell{Text: ratio(chaos.GCCPURatio)}, texttab.Cell{Text: gauge, Style: term.Cyan},
			texttab.Cell{Text: ratio(chaos.AssistRatio)}, texttab.Cell{Text: secs(chaos.LatencyP99)}, texttab.Cell{Text: secs(chaos.PauseP99)}, texttab.Cell{Text: cmp.Or(failed, "-"), Style: style})
	}
	p.table(&tab)
	if n := len(m.Points) - len(points); n > 0 {
		p.faint(fmt.Sprintf("%s between; %s.", human.Plural(n, "more level"), more))
	}
	for _, l := range o.layers() {
		p.text("", l)
	}
}

// marginMark marks the safe limit.
func (o *outcome) marginMark(q chaos.MarginPoint) string {
	if m := o.verdict.Margin; m.SafeLimitBytes > 0 && q.RoomBytes == m.SafeLimitBytes {
		return "*"
	}
	return " "
}

// gaugeOf draws a share in so many columns.
func gaugeOf(share float64, n int) string {
	full := min(max(share, 0), 1) * float64(n)
	s := strings.Repeat("█", int(full))
	if part := []rune("▏▎▍▌▋▊▉"); full-math.Floor(full) >= 0.125 {
		s += string(part[min(int((full-math.Floor(full))*8)-1, 6)])
	}
	return s
}

// marginText says what the curve comes to.
func (o *outcome) marginText() string {
	m := o.verdict.Margin
	var out []string
	if len(m.Layers) > 0 {
		l := m.Layers[0]
		s := "First failed: " + layerName(l)
		if l.RoomBytes > 0 && finite(l.RoomBytes) {
			s += ", with " + bytes(l.RoomBytes) + " of room"
		}
		out = append(out, s)
	} else {
		out = append(out, "Nothing failed")
	}
	if m.TakenBytes > 0 && finite(m.TakenBytes) {
		if len(m.Layers) > 0 {
			out = append(out, "at most "+bytes(m.TakenBytes)+" could be taken before")
		} else {
			out = append(out, bytes(m.TakenBytes)+" were taken")
		}
	}
	text := strings.Join(out, "; ") + "."
	if m.SafeLimitBytes > 0 && finite(m.SafeLimitBytes) {
		text += " The smallest limit that is safe is " + bytes(m.SafeLimitBytes)
		if m.SafeGCCPURatio > 0 && finite(m.SafeGCCPURatio) {
			text += ", with at most " + percent(m.SafeGCCPURatio) + " of the CPU for the collector"
		}
		text += "."
	} else {
		text += " No limit that was tried is safe."
	}
	if m.KneeLimitBytes > 0 && finite(m.KneeLimitBytes) {
		text += " The collector's share rises steeply from " + bytes(m.KneeLimitBytes) + " down."
	}
	return text
}

// layers are the lines of defence in the order in which they failed, in words.
func (o *outcome) layers() []string {
	var out []string
	for i, l := range o.verdict.Margin.Layers[:min(len(o.verdict.Margin.Layers), maxRows)] {
		s, text := fmt.Sprintf("%d. %s at %s", i+1, layerName(l), span(l.At)), clean(l.Text)
		if l.RoomBytes > 0 && finite(l.RoomBytes) && !strings.HasSuffix(text, " left") {
			s += ", " + bytes(l.RoomBytes) + " of room"
		}
		out = append(out, sentence(s+prefix(": ", text)))
	}
	return out
}

// layerName is a line of defence for people: gc_cpu_10 is when the collector took more
// than 10% of the CPU.
func layerName(l chaos.Layer) string { return cmp.Or(layerWords(l.Name), "a layer") }

func layerWords(name string) string {
	name = term.Cut(clean(name), 24)
	if share, ok := strings.CutPrefix(name, "gc_cpu_"); ok {
		return "GC CPU " + share + "%"
	}
	switch name {
	case "gc_cpu":
		return "GC CPU"
	case "oom":
		return "OOM"
	}
	return strings.ReplaceAll(name, "_", " ")
}

func layerNames(list []string) []string {
	var out []string
	for _, s := range list[:min(len(list), 16)] {
		if s = layerWords(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// thin leaves at most n of a list, evenly, with its first and its last.
func thin[T any](list []T, n int) []T {
	if len(list) <= n || n < 2 {
		return list[:min(len(list), max(n, 0))]
	}
	out := make([]T, 0, n)
	for i := range n {
		out = append(out, list[i*(len(list)-1)/(n-1)])
	}
	return out
}
