package report

import (
	"bufio"
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/human"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

//go:embed page
var pageFiles embed.FS

// Policy is what the page that [HTML] writes lets a browser do, for a server to say it
// too: show itself. It runs nothing and reaches nothing.
const Policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

// Bounds of the page.
const (
	maxPlan     = 64 << 10
	maxTable    = 300 // rows
	maxReadings = 60
)

type fact struct{ Name, Text string }

// A page is what the template shows. Text in it is as it came: the template escapes
// it. Drawings are made here, of numbers and escaped text.
type page struct {
	Style        template.CSS
	Policy       string
	Title        string
	Word, Class  string
	Reason       string
	Also         string // how soon all was undone
	Left         string
	Tiles        []fact
	Time         *figure
	Faults       []faultRow
	FaultsLeft   int
	Criteria     []criterionRow
	CriteriaLeft int
	Slow         []slowRow
	SlowLeft     int
	Unmeasured   string
	Margin       *figure
	MarginText   string
	Layers       []string
	Levels       []levelRow
	LevelsLeft   int
	Score        string
	Named        []namedRow
	Events       []eventRow
	EventsLeft   int
	Read         []string
	Readings     [][]string
	Remarks      []string
	Facts        []fact
	PlanText     string
}

type levelRow struct{ Room, Taken, GC, Assist, P99, Pause, Errors, Failed, Class string }

type eventRow struct{ At, What, Fault, Text, Class string }

// HTML writes the report as one page that needs nothing else: no network, and no script.
func HTML(w io.Writer, r *chaos.Run, v *chaos.Verdict) error {
	p, err := of(r, v).page()
	if err != nil {
		return err
	}
	t, err := template.ParseFS(pageFiles, "page/page.gohtml")
	if err != nil {
		return fmt.Errorf("reading the template of the report: %w", err)
	}
	b := bufio.NewWriter(w)
	if err := t.Execute(b, p); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return b.Flush()
}

func outcomeClass(o chaos.Outcome) string {
	switch o {
	case chaos.Pass:
		return "good"
	case chaos.Deviated, chaos.Aborted:
		return "bad"
	}
	return "warn"
}

func (o *outcome) page() (*page, error) {
	style, err := pageFiles.ReadFile("page/page.css")
	if err != nil {
		return nil, fmt.Errorf("reading the style of the report: %w", err)
	}
	w := word(o.verdict.Outcome)
	p := &page{
		Style: template.CSS(style), Policy: Policy, Title: o.name() + ": " + string(w), Word: string(w), Class: outcomeClass(w),
		Reason: cmp.Or(sentence(capital(o.reason())), o.name()), Also: o.rolledBack(), Tiles: o.tiles(), Facts: o.facts(), PlanText: printable(o.Run.PlanText, maxPlan),
	}
	if s, clean := o.leftText(); !clean {
		p.Left = s
	}
	if f, ok := o.timelineFigure(); ok {
		p.Time = &f
	}
	for i := range first(o.Plan.Faults, maxTable) {
		p.Faults = append(p.Faults, o.row(i))
	}
	p.FaultsLeft = len(o.Plan.Faults) - len(p.Faults)
	criteria := o.criteria()
	p.Criteria = first(criteria, maxTable)
	p.CriteriaLeft = len(criteria) - len(p.Criteria)
	slow, unknown := o.slow()
	p.Slow, p.Unmeasured = first(slow, maxTable), strings.Join(unknown, ", ")
	p.SlowLeft = len(slow) - len(p.Slow)
	if m := o.verdict.Margin; m != nil {
		p.MarginText, p.Layers = o.marginText(), o.layers()
		if f, ok := o.marginFigure(); ok {
			p.Margin = &f
		}
		points := thin(m.Points, maxMargin)
		for _, q := range points {
			p.Levels = append(p.Levels, o.levelRow(q))
		}
		p.LevelsLeft = len(m.Points) - len(points)
	}
	if s := o.verdict.Score; s != nil {
		p.Score = scoreText(s)
		for i := range first(o.Plan.Faults, maxTable) {
			if row, ok := o.namedRow(i); ok {
				p.Named = append(p.Named, row)
			}
		}
	}
	events := o.told(maxTable)
	for _, e := range events {
		_, what := letter(e.Kind)
		row := eventRow{At: span(e.At), What: what, Text: o.say(e), Class: flagClass(e.Kind), Fault: "-"}
		if e.Fault >= 0 {
			row.Fault = o.fault(e.Fault)
		}
		switch e.Kind {
		case chaos.EventFault:
			row.What = "fault"
		case chaos.EventRestored:
			row.What = "restored"
		case chaos.EventLevel:
			row.What, row.Text = "level", "-"
			if finite(e.Value) {
				row.Text = amount(e.Value, o.kind(e.Fault).Unit)
			}
		}
		p.Events = append(p.Events, row)
	}
	p.EventsLeft = len(o.Run.Events) - len(events)
	p.Read, p.Readings = o.readings()
	p.Remarks = first(o.remarks(), maxTable)
	return p, nil
}

// capital writes the first letter of a sentence large.
func capital(s string) string {
	if s == "" {
		return s
	}
	r := []rune(s)
	return strings.ToUpper(string(r[:1])) + string(r[1:])
}

// printable is text of several lines that is safe to show.
func printable(s string, limit int) string {
	cut := len(s) > limit
	if cut {
		s = s[:limit]
	}
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = term.Clean(strings.ReplaceAll(lines[i], "\t", "    "))
	}
	s = strings.Join(lines, "\n")
	if cut {
		s += "\n…"
	}
	return s
}

// tiles are the numbers that are looked for first.
func (o *outcome) tiles() []fact {
	var out []fact
	add := func(name, text string) { out = append(out, fact{name, text}) }
	if n := len(o.verdict.Faults); n > 0 {
		happened, survived, recovered := 0, 0, 0
		for _, f := range o.verdict.Faults {
			if f.Happened {
				happened++
			}
			if f.Happened && f.Survived {
				survived++
			}
			if f.Happened && f.Recovered != nil {
				recovered++
			}
		}
		add("faults that happened", fmt.Sprintf("%d of %d", happened, max(len(o.Plan.Faults), n)))
		add("survived", fmt.Sprintf("%d of %d", survived, happened))
		add("recovered from", fmt.Sprintf("%d of %d", recovered, happened))
	}
	if m := o.verdict.Margin; m != nil && m.SafeLimitBytes > 0 && finite(m.SafeLimitBytes) {
		add("smallest safe limit", bytes(m.SafeLimitBytes))
	}
	if s := o.verdict.Score; s != nil && s.Faults > 0 {
		add("named by our diagnosis", fmt.Sprintf("%d of %d", s.Named, s.Faults))
	}
	for _, e := range o.events {
		if e.Kind == chaos.EventAbort && e.Value > 0 && finite(e.Value) {
			add("rolled back in", amount(e.Value, chaos.Seconds))
			break
		}
	}
	if o.end > 0 {
		add("took", span(o.end.Round(time.Second)))
	}
	return out
}

// facts say what was stressed, where and by what.
func (o *outcome) facts() []fact {
	var out []fact
	add := func(name, text string) {
		if text = clean(text); text != "" {
			out = append(out, fact{name, text})
		}
	}
	if !o.Started.IsZero() && instant(o.Started) != nil {
		add("started", o.Started.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	target := clean(o.Target.Name)
	if o.Target.PID > 0 {
		target += fmt.Sprintf(" (PID %d)", o.Target.PID)
	}
	add("target", target)
	add("executable", o.Target.Exe)
	if v := o.Target.GoVersion; v != "" {
		add("Go", human.GoVersion(v))
	}
	if o.Cgroup != "" && o.Version > 0 {
		add("cgroup", fmt.Sprintf("%s (v%d)", clean(o.Cgroup), o.Version))
	} else {
		add("cgroup", o.Cgroup)
	}
	if l := o.Target.MemoryLimitBytes; l > 0 {
		add("memory limit", bytes(float64(l)))
	}
	var machine []string
	if o.Machine.CPUs > 0 {
		machine = append(machine, human.Plural(o.Machine.CPUs, "CPU"))
	}
	if o.Machine.MemoryBytes > 0 {
		machine = append(machine, bytes(float64(o.Machine.MemoryBytes)))
	}
	if k := clean(o.Machine.Kernel); k != "" {
		machine = append(machine, "Linux "+k)
	}
	add("machine", strings.Join(machine, ", "))
	add("tool", o.Tool)
	if h := clean(o.PlanHash); h != "" {
		add("plan, SHA-256", h)
	}
	if o.Interrupted {
		add("ended", "interrupted by the user")
	}
	return out
}

func (o *outcome) levelRow(q chaos.MarginPoint) levelRow {
	of := func(m chaos.Metric) string {
		if v := has(q, m); v != nil {
			return measure(m, *v)
		}
		return "-"
	}
	row := levelRow{Room: amount(q.RoomBytes, chaos.Bytes), Taken: amount(q.TakenBytes, chaos.Bytes), GC: of(chaos.GCCPURatio), Assist: of(chaos.AssistRatio), P99: of(chaos.LatencyP99),
		Pause: of(chaos.PauseP99), Errors: of(chaos.ErrorRatio), Failed: cmp.Or(strings.Join(layerNames(q.Failed), ", "), "-")}
	if m := o.verdict.Margin; m.SafeLimitBytes > 0 && q.RoomBytes == m.SafeLimitBytes {
		row.Class = "safest"
	}
	return row
}

// readings are the values over time as a table, without columns that say nothing.
func (o *outcome) readings() (head []string, rows [][]string) {
	moments := o.moments(maxReadings)
	var metrics []chaos.Metric
	for _, m := range read {
		for _, r := range moments {
			if r.text(m) != "-" {
				metrics = append(metrics, m)
				head = append(head, title(m))
				break
			}
		}
	}
	for _, r := range moments {
		if len(r.values) == 0 {
			continue
		}
		row := []string{span(r.at.Round(100 * time.Millisecond)), r.fault()}
		for _, m := range metrics {
			row = append(row, r.text(m))
		}
		rows = append(rows, row)
	}
	return head, rows
}
