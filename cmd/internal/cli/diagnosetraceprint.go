package cli

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/exectrace"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
	"github.com/heapwright/heapwright/record"
)

// How many rows the tables have; --json has more.
const (
	shownKinds    = 8
	shownTasks    = 6
	shownCulprits = 5
)

// print writes what a trace shows for people: the answer first.
func (d *traceDocument) print(env Env) error {
	w, width, paint := env.Stdout, env.textColumns(env.Stdout), env.painter(env.Stdout)
	t := &d.Trace
	procs := ""
	if n := d.Processors.GOMAXPROCS; n > 0 {
		procs = fmt.Sprintf(", GOMAXPROCS %d", n)
	}
	who := filepath.Base(d.From.Name)
	switch d.From.Kind {
	case "pid":
		who = fmt.Sprintf("process %d", d.From.PID)
	case "url":
		who = d.From.Name
	}
	head := fmt.Sprintf("%s: %s, %s in the format of Go 1.%d%s, %s", term.Clean(who), rule.FormatSeconds(t.Seconds),
		plural(int(t.Events), "event"), t.Format, procs, plural(d.Cycles.N, "GC cycle"))
	fmt.Fprintln(w, term.Wrap(head, "", width))
	fmt.Fprintf(w, "\n%s\n", paint.Paint(term.Bold, term.Wrap(d.Verdict, "", width)))
	if t.Cut != "" {
		fmt.Fprintf(w, "%s\n", term.Wrap("The trace could not be read to its end, and what follows is of the part before: "+term.Clean(t.Cut)+".", "", width))
	}
	fmt.Fprintln(w)
	drawTimeline(w, d.Report, width, paint)
	for i := range d.Findings {
		printFinding(w, &d.Findings[i], width, paint)
	}
	for _, table := range []func() *texttab.Table{d.costTable, d.taskTable, d.stopTable, d.culpritTable, d.delayTable} {
		tab := table()
		if tab == nil {
			continue
		}
		fmt.Fprintln(w)
		if err := tab.Write(w, env.columns(env.Stdout), paint); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "\n%s\n", term.Wrap(d.cycleText(), "", width))
	for _, n := range t.Notes {
		fmt.Fprintln(w, term.Wrap("Not in the numbers: "+term.Clean(n)+".", "", width))
	}
	return nil
}

func (d *traceDocument) cycleText() string {
	c, p := &d.Cycles, &d.Processors
	if c.N == 0 {
		return "No cycle ended in the trace."
	}
	text := fmt.Sprintf("%s; a mark phase takes %s, the longest %s, and marking is on for %s of the time.", plural(c.N, "cycle"),
		rule.FormatSeconds(c.Mark.P50), rule.FormatSeconds(c.Mark.Max), rule.FormatPercent(c.On))
	if p.Available > 0 {
		text += fmt.Sprintf(" While it is on, %s of the Ps mark. Of all P time GC has %s: dedicated workers %s, fractional %s, idle %s, assists %s, sweeping %s, stopped %s.",
			rule.FormatPercent(c.CPU), rule.FormatPercent(p.GC()/p.Available), rule.FormatPercent(p.Dedicated/p.Available), rule.FormatPercent(p.Fractional/p.Available),
			rule.FormatPercent(p.Idle/p.Available), rule.FormatPercent(p.Assist/p.Available), rule.FormatPercent(p.Sweep/p.Available), rule.FormatPercent(p.Stopped/p.Available))
	}
	if c.Heap.Objects > 0 {
		text += fmt.Sprintf(" Heap at most %s, last goal %s.", rule.FormatBytes(float64(c.Heap.Objects)), rule.FormatBytes(float64(c.Heap.Goal)))
	}
	return text
}

func duration(s float64) string {
	if s == 0 {
		return "-"
	}
	return rule.FormatSeconds(s)
}

func (d *traceDocument) costTable() *texttab.Table {
	tab := &texttab.Table{Columns: []texttab.Column{
		{Head: "GOROUTINES OF", Min: 24}, {Head: "N", Right: true, Drop: 3}, {Head: "RUNNING", Right: true}, {Head: "GC", Right: true},
		{Head: "ASSIST", Right: true}, {Head: "BLOCKED", Right: true}, {Head: "STOPPED", Right: true, Drop: 1}, {Head: "DELAYED", Right: true}, {Head: "SWEEP", Right: true, Drop: 2},
	}}
	n := 0
	for _, k := range d.Kinds {
		total := k.Cost.Total()
		if n == shownKinds || total == 0 { // those that GC cost nothing come last
			break
		}
		n++
		share := total / (k.Running + k.Runnable + k.Cost.Blocked)
		tab.Text(k.Func, fmt.Sprint(k.N), duration(k.Running), rule.FormatPercent(min(share, 1)),
			duration(k.Cost.Assist), duration(k.Cost.Blocked), duration(k.Cost.Stopped), duration(k.Cost.Delayed), duration(k.Cost.Sweep))
	}
	if n == 0 {
		return nil
	}
	return tab
}

func (d *traceDocument) taskTable() *texttab.Table {
	tab := &texttab.Table{Columns: []texttab.Column{
		{Head: "TASK", Min: 16}, {Head: "N", Right: true}, {Head: "P50", Right: true}, {Head: "P99", Right: true}, {Head: "MAX", Right: true, Drop: 2},
		{Head: "GC", Right: true}, {Head: "GC OF SLOWEST", Right: true}, {Head: "GC P99", Right: true, Drop: 1},
	}}
	for i, t := range d.Tasks {
		if i == shownTasks {
			break
		}
		tab.Text(t.Type, fmt.Sprint(t.N), duration(t.Wall.P50), duration(t.Wall.P99), duration(t.Wall.Max), rule.FormatPercent(t.Share), rule.FormatPercent(t.ShareWorst), duration(t.GC.P99))
	}
	if len(d.Tasks) == 0 {
		return nil
	}
	return tab
}

func (d *traceDocument) stopTable() *texttab.Table {
	tab := &texttab.Table{Columns: []texttab.Column{
		{Head: "WORLD STOPPED FOR", Min: 20}, {Head: "N", Right: true}, {Head: "SUM", Right: true, Drop: 2}, {Head: "P50", Right: true}, {Head: "P99", Right: true, Drop: 1}, {Head: "MAX", Right: true},
		{Head: "STOPPING P50", Right: true, Drop: 3}, {Head: "STOPPING MAX", Right: true},
	}}
	for _, s := range d.Stops {
		tab.Text(s.Reason, fmt.Sprint(s.Spread.N), duration(s.Spread.Sum), duration(s.Spread.P50), duration(s.Spread.P99), duration(s.Spread.Max), duration(s.Stopping.P50), duration(s.Stopping.Max))
	}
	if len(d.Stops) == 0 {
		return nil
	}
	return tab
}

func (d *traceDocument) culpritTable() *texttab.Table {
	tab := &texttab.Table{Columns: []texttab.Column{
		{Head: "LAST TO STOP", Min: 24}, {Head: "N", Right: true}, {Head: "ALONE", Right: true}, {Head: "MAX", Right: true}, {Head: "GOROUTINES OF", Min: 16, Drop: 1},
	}}
	n := 0
	for _, c := range d.Culprits {
		// Some microseconds are what stopping takes.
		if n == shownCulprits || c.Max < 100e-6 {
			break
		}
		n++
		tab.Text(rule.FrameString(record.Frame{Func: c.Func, File: filepath.Base(c.File), Line: c.Line}), fmt.Sprint(c.N), duration(c.Sum), duration(c.Max), c.Kind)
	}
	if n == 0 {
		return nil
	}
	return tab
}

func (d *traceDocument) delayTable() *texttab.Table {
	if d.Delay.All.N == 0 {
		return nil
	}
	tab := &texttab.Table{Columns: []texttab.Column{
		{Head: "WAIT FOR A P"}, {Head: "N", Right: true}, {Head: "P50", Right: true}, {Head: "P99", Right: true}, {Head: "MAX", Right: true}, {Head: "WAITING ON AVERAGE", Right: true, Drop: 1},
	}}
	tab.Text("while marking is on", fmt.Sprint(d.Delay.Marking.N), duration(d.Delay.Marking.P50), duration(d.Delay.Marking.P99), duration(d.Delay.Marking.Max), fmt.Sprintf("%.2f", d.Steal.RunnableMarking))
	tab.Text("while it is not", fmt.Sprint(d.Delay.Other.N), duration(d.Delay.Other.P50), duration(d.Delay.Other.P99), duration(d.Delay.Other.Max), fmt.Sprintf("%.2f", d.Steal.RunnableOther))
	return tab
}

// A lane is one line of the timeline.
type traceLane struct {
	name  string
	style term.Style
	of    func(s *exectrace.Step) float64 // seconds, added up over a column
	full  float64                         // how much, on average, fills a cell; 0 for the most that there is
	text  func(most float64) string
}

func traceLanes(r *exectrace.Report) []traceLane {
	procs := math.Max(float64(r.Processors.GOMAXPROCS), 1)
	share := func(most float64) string { return "up to " + rule.FormatPercent(most) }
	return []traceLane{
		{"marking", term.Blue, func(s *exectrace.Step) float64 { return s.Marking }, 1, share},
		{"stopped", term.Red, func(s *exectrace.Step) float64 { return s.Stopped }, 0, share},
		{"workers", term.Cyan, func(s *exectrace.Step) float64 { return s.Worker }, procs, func(m float64) string { return fmt.Sprintf("up to %.2g Ps", m) }},
		{"assisting", term.Yellow, func(s *exectrace.Step) float64 { return s.Assist }, procs, func(m float64) string { return fmt.Sprintf("up to %.2g Ps", m) }},
		{"waiting", term.Plain, func(s *exectrace.Step) float64 { return s.Runnable }, 0, func(m float64) string { return fmt.Sprintf("up to %.2g for a P", m) }},
	}
}

// laneColumns are the averages of a lane over equal parts of the trace, and the
// largest of them.
func laneColumns(r *exectrace.Report, l traceLane, columns int) (out []float64, most float64) {
	steps := r.Timeline.Steps
	columns = min(columns, len(steps))
	for i := range columns {
		from, to := i*len(steps)/columns, (i+1)*len(steps)/columns
		var sum float64
		for j := from; j < to; j++ {
			sum += l.of(&steps[j])
		}
		// The last step is not full.
		length := min(float64(to)*r.Timeline.Step, r.Trace.Seconds) - float64(from)*r.Timeline.Step
		v := sum / math.Max(length, r.Timeline.Step/64)
		out, most = append(out, v), math.Max(most, v)
	}
	return out, most
}

const levels = " ▁▂▃▄▅▆▇█"

// drawTimeline draws a line of bars for each of what GC did.
func drawTimeline(w io.Writer, r *exectrace.Report, width int, paint term.Painter) {
	const label, right = 11, 22
	columns := max(width-label-right, 10)
	steps := []rune(levels)
	for _, l := range traceLanes(r) {
		values, most := laneColumns(r, l, columns)
		if most <= 0 {
			continue
		}
		full := l.full
		if full == 0 {
			full = most
		}
		var b strings.Builder
		for _, v := range values {
			// What is there is seen, however little it is.
			i := int(math.Ceil(math.Min(v/full, 1) * float64(len(steps)-1)))
			b.WriteRune(steps[i])
		}
		fmt.Fprintf(w, "%-*s%s  %s\n", label, l.name, paint.Paint(l.style, b.String()), paint.Paint(term.Faint, l.text(most)))
	}
	if n := min(columns, len(r.Timeline.Steps)); n > 0 {
		end := span(time.Duration(r.Trace.Seconds * float64(time.Second)))
		if r.Trace.Seconds < 10 {
			end = rule.FormatSeconds(r.Trace.Seconds)
		}
		fmt.Fprintf(w, "%s%s\n", strings.Repeat(" ", label), paint.Paint(term.Faint, "0"+strings.Repeat(" ", max(n-1-term.Width(end), 1))+end))
	}
}
