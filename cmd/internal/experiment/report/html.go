package report

import (
	"bufio"
	"embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

//go:embed page
var pageFiles embed.FS

// Bounds of the page.
const (
	maxDetailed = 24   // variants with figures of their own
	maxRaw      = 4000 // arms in the table of blocks
	maxPlan     = 64 << 10
)

// A page is what the template shows. Text in it is as it came: the template
// escapes it. Drawings are made here, of numbers and escaped text.
type page struct {
	Style    template.CSS
	Script   template.JS
	Policy   string
	Title    string
	Headline string
	Word     string
	Class    string
	Reasons  []string
	Ending   string
	Warnings []string
	Tiles    []fact
	Sweep    *sweepTable
	Pareto   []figure
	Latency  *figure
	Compared []compared
	Left     int // variants without figures
	Twin     []twinRow
	NoTwin   string
	Self     []selfRow
	SelfAxis template.HTML
	SelfRest int
	Facts    []fact
	Variants []variantRow
	Knee     []kneeRow
	Looks    []lookRow
	Plan     string
	Raw      *rawTable
}

type compared struct {
	ID, Name, Against string
	Settings          string
	Word, Class       string
	Reasons           []string
	Stopped           string
	Same              bool
	Open              bool
	Decide, Besides   []metricRow
	Axis, BesidesAxis template.HTML
	Level             string
	Strips            []figure
	Times             *figure
}

type metricRow struct {
	Name, Role             string
	Bar                    template.HTML
	Diff, Interval         string
	Span, From             string // the same, for running text
	Baseline, Value        string
	Margin, Verdict, Class string
	N                      int
	Design, P, Q, Sigma    string
	Note                   string
}

type sweepTable struct {
	Metrics []string
	Rows    []sweepRow
	Front   string // what it is, "" when there is none
}

type sweepRow struct {
	ID, Name, Settings string
	Front              bool
	Cells              []sweepCell
	Word, Class, Note  string
}

type sweepCell struct{ Value, Diff, Class string }

type twinRow struct {
	Variant, Metric, Agree, Class          string
	Forecast, ForecastSpan, Measured, Span string
}

type selfRow struct {
	Name, Design, Bias, Span, Sigma, ACF, Smallest, Failed string
	Bar                                                    template.HTML
	N                                                      int
}

type variantRow struct {
	Name, Settings, Go, SHA, Bytes, Module string
}

type kneeRow struct {
	Variant, Rate, Achieved, P99, Slip, Held string
}

type lookRow struct {
	Pairs               int
	Time, Word, Stopped string
}

type rawTable struct {
	Metrics []string
	Rows    [][]string
	Left    int
}

// HTML writes the report as one page that needs nothing else: no network, and no
// script but for switching its colours and for showing what is under the pointer.
func HTML(w io.Writer, r *experiment.Result, v *experiment.Verdict, file string) error {
	o := of(r, v, file)
	p, err := o.page()
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

func (o *outcome) page() (*page, error) {
	style, err := pageFiles.ReadFile("page/page.css")
	if err != nil {
		return nil, fmt.Errorf("reading the style of the report: %w", err)
	}
	script, err := pageFiles.ReadFile("page/page.js")
	if err != nil {
		return nil, fmt.Errorf("reading the script of the report: %w", err)
	}
	w := word(o.verdict.Outcome)
	p := &page{
		Style: template.CSS(style), Script: template.JS(script), Policy: policy(script),
		Title: string(w) + ": " + o.headline(), Headline: o.headline(), Word: string(w), Class: outcomeClass(w),
		Reasons: first(cleanAll(o.verdict.Reasons), maxLines), Ending: o.ending(), Warnings: first(cleanAll(o.verdict.Warnings), maxLines),
		Tiles: o.tiles(), Facts: o.facts(), Plan: printable(o.Header.PlanText, maxPlan),
	}
	if o.sweep() {
		p.Sweep = o.sweepTable()
		for _, m := range [][2]string{{"rss_peak_bytes", "cpu_seconds_per_request"}, {"rss_peak_bytes", "latency_p99_seconds"}, {"rss_peak_bytes", "gc_cpu_ratio"}} {
			if f, ok := o.pareto(m[0], m[1]); ok {
				if len(p.Pareto) > 0 {
					f.Caption = "" // it has been said
				}
				p.Pareto = append(p.Pareto, f)
			}
		}
	}
	if f, ok := o.latency(); ok {
		p.Latency = &f
	}
	for i, c := range first(o.verdict.Comparisons, maxDetailed) {
		p.Compared = append(p.Compared, o.compared(i, c))
	}
	p.Left = len(o.verdict.Comparisons) - len(p.Compared)
	p.Twin, p.NoTwin = o.twin()
	p.Self, p.SelfAxis = o.self()
	p.SelfRest = len(o.verdict.Calibration) - len(p.Self)
	for i := range first(o.plan.Variants, maxLines) {
		b := o.build(i)
		row := variantRow{Name: o.variant(i), Settings: o.settingsText(i), Go: orDash(b.GoVersion), SHA: orDash(hash(b.SHA256)), Bytes: "-", Module: orDash(b.Module)}
		if b.Bytes > 0 {
			row.Bytes = value(float64(b.Bytes), experiment.ByteSize)
		}
		p.Variants = append(p.Variants, row)
	}
	if k := o.Header.Knee; k != nil {
		for _, t := range first(k.Tries, maxLines) {
			row := kneeRow{Variant: o.variant(t.Variant), Rate: rate(t.Rate), Achieved: rate(t.Achieved), P99: value(t.P99, experiment.Seconds), Slip: value(t.Slip, experiment.Seconds), Held: "held"}
			if !t.Held {
				row.Held = "not held" + prefix(": ", clean(t.Why))
			}
			p.Knee = append(p.Knee, row)
		}
	}
	for _, l := range first(o.Looks, maxLines) {
		row := lookRow{Pairs: l.Pairs, Time: clock(l.Time), Word: string(word(l.Outcome))}
		for _, i := range first(l.Stopped, maxLines) {
			row.Stopped += prefix(", ", o.variant(i))
		}
		row.Stopped = strings.TrimPrefix(row.Stopped, ", ")
		p.Looks = append(p.Looks, row)
	}
	p.Raw = o.raw()
	return p, nil
}

// printable is text of several lines that is safe to show.
func printable(s string, limit int) string {
	cut := len(s) > limit
	if cut {
		s = s[:limit]
	}
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = clean(strings.ReplaceAll(lines[i], "\t", "    "))
	}
	s = strings.Join(lines, "\n")
	if cut {
		s += "\n…"
	}
	return s
}

func orDash(s string) string {
	if s = clean(s); s == "" {
		return "-"
	}
	return s
}

func clock(t time.Time) string {
	if u := instant(t); u != nil {
		return u.Format("2006-01-02 15:04:05 UTC")
	}
	return "-"
}

// tiles are the numbers that are looked for first.
func (o *outcome) tiles() []fact {
	out := []fact{{"pairs", fmt.Sprint(o.verdict.Pairs)}}
	if d := o.took(); d > 0 {
		out = append(out, fact{"ran for", span(d)})
	}
	if r := o.Header.Rate; r > 0 {
		out = append(out, fact{"load, each process", rate(r)})
	}
	if g := clean(o.verdict.Grade); g != "" {
		out = append(out, fact{"host grade", g})
	}
	if n := len(o.verdict.Dropped); n > 0 {
		out = append(out, fact{"dropped", fmt.Sprint(n)})
	}
	if !o.Header.Started.IsZero() {
		out = append(out, fact{"started", strings.TrimSuffix(clock(o.Header.Started), ":00 UTC")})
	}
	return out
}

// compared is everything about one variant.
func (o *outcome) compared(i int, c experiment.Comparison) compared {
	w := word(c.Outcome)
	out := compared{ID: fmt.Sprintf("v%d", i), Name: o.variant(c.Variant), Against: o.variant(0), Settings: o.settingsText(c.Variant), Word: string(w), Class: outcomeClass(w),
		Reasons: first(cleanAll(c.Reasons), maxLines), Stopped: sentence(strings.TrimSpace(clean(c.Eliminated))), Same: c.Same, Open: !o.sweep(), Level: levels(c)}
	metrics := first(ordered(c.Metrics), maxLines)
	var intervals [][2]float64
	var margins []float64
	decides := slices.ContainsFunc(metrics, deciding)
	for _, m := range metrics {
		if deciding(m) || !decides {
			intervals = append(intervals, [2]float64{m.Low, m.High}, [2]float64{m.Ratio, m.Ratio})
			margins = append(margins, m.Margin)
		}
	}
	// What decides nothing has a scale of its own: it may differ by far more.
	var rest [][2]float64
	for _, m := range metrics {
		rest = append(rest, [2]float64{m.Low, m.High})
	}
	f, g := newForest(intervals, margins), newForest(rest, nil)
	out.Axis, out.BesidesAxis = f.axis(), g.axis()
	for _, m := range metrics {
		if deciding(m) || !decides {
			out.Decide = append(out.Decide, o.metricRow(f, m))
		} else {
			out.Besides = append(out.Besides, o.metricRow(g, m))
		}
		if len(out.Strips) < 8 && (deciding(m) || !decides) {
			if body, ok := o.strip(c.Variant, m); ok {
				out.Strips = append(out.Strips, figure{Title: stripTitle(m.Name), Caption: string(m.Verdict), Keys: []key{{findingClass(m.Verdict), ""}}, Body: body})
			}
		}
	}
	if t, ok := o.timelines(c.Variant); ok {
		out.Times = &t
	}
	return out
}

func (o *outcome) metricRow(f forest, m experiment.MetricVerdict) metricRow {
	row := metricRow{
		Name: title(m.Name), Bar: f.row(m.Ratio, m.Low, m.High, m.Margin, findingClass(m.Verdict), inWords(m)),
		Diff: difference(m), Interval: intervalOf(m), Baseline: measured(m, m.Baseline), Value: measured(m, m.Value),
		Margin: marginOf(m), Verdict: clean(string(m.Verdict)), Class: findingClass(m.Verdict), N: m.N, Design: clean(m.Design),
		P: chance(m.P), Q: chance(m.Q), Sigma: value(m.Sigma, experiment.Share), Note: o.note(m),
	}
	if deciding(m) {
		row.Role = string(m.Role)
	} else if m.Verdict == experiment.Inconclusive {
		row.Verdict = "" // nobody asked
	}
	if row.Interval != "-" {
		row.Span = "(" + row.Interval + ")"
	}
	if row.Baseline != "-" || row.Value != "-" {
		row.From = row.Baseline + " to " + row.Value + ", "
	}
	return row
}

// chance writes a probability; 0 is how "not known" is written.
func chance(p float64) string {
	switch {
	case !(p > 0) || p > 1:
		return "-"
	case p < 0.001:
		return "<0.001"
	}
	return fmt.Sprintf("%.3f", p)
}

func (o *outcome) sweepTable() *sweepTable {
	t := &sweepTable{}
	if len(o.verdict.Front) > 0 {
		t.Front = frontText
	}
	names := o.inSweep()
	base := sweepRow{Name: o.variant(0), Settings: o.settingsText(0), Front: o.onFront(0), Word: "baseline"}
	for _, name := range names {
		t.Metrics = append(t.Metrics, short(name))
		base.Cells = append(base.Cells, sweepCell{Value: o.baseline(name)})
	}
	t.Rows = append(t.Rows, base)
	for i, c := range first(o.verdict.Comparisons, maxLines) {
		w := word(c.Outcome)
		row := sweepRow{Name: o.variant(c.Variant), Settings: o.settingsText(c.Variant), Front: o.onFront(c.Variant), Word: string(w), Class: outcomeClass(w)}
		if i < maxDetailed {
			row.ID = fmt.Sprintf("v%d", i)
		}
		if why := strings.TrimSpace(clean(c.Eliminated)); why != "" {
			row.Note = "stopped early: " + sentence(why)
		} else if reasons := cleanAll(c.Reasons); len(reasons) > 0 && w != experiment.Pass {
			row.Note = sentence(strings.Join(first(reasons, 3), "; "))
		}
		for _, name := range names {
			cell := sweepCell{Value: "-"}
			if m, ok := c.Metric(name); ok {
				cell = sweepCell{value(m.Value, unitOf(name)), difference(m), ""}
				if differs(m) {
					cell.Class = findingClass(m.Verdict)
				}
			}
			row.Cells = append(row.Cells, cell)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func (o *outcome) twin() ([]twinRow, string) {
	var out []twinRow
	for _, c := range o.verdict.Comparisons {
		for _, m := range ordered(c.Metrics) {
			f := m.Forecast
			if f == nil || !known(f.Ratio) || len(out) >= maxLines {
				continue
			}
			row := twinRow{Variant: o.variant(c.Variant), Metric: title(m.Name), Agree: agree(m), Forecast: digitsFor(f.Ratio, f.Low, f.High).diff(f.Ratio), ForecastSpan: interval(f.Ratio, f.Low, f.High),
				Measured: effect(m), Span: intervalOf(m)}
			row.Class = map[string]string{"yes": "good", "no": "bad"}[row.Agree]
			out = append(out, row)
		}
	}
	if len(out) > 0 {
		return out, ""
	}
	return nil, sentence(strings.TrimSpace(clean(o.Header.NoForecast)))
}

// self is what comparing the baseline with itself showed.
func (o *outcome) self() ([]selfRow, template.HTML) {
	list := o.calibrated()
	var intervals [][2]float64
	for _, c := range list {
		intervals = append(intervals, [2]float64{c.Low, c.High})
	}
	f := newForest(intervals, nil)
	var out []selfRow
	for _, c := range list {
		class := "open"
		if c.Failed != "" {
			class = "bad"
		}
		label := fmt.Sprintf("%s: bias %s (%s)", title(c.Name), digitsFor(c.Bias, c.Low, c.High).diff(c.Bias), interval(c.Bias, c.Low, c.High))
		out = append(out, selfRow{Name: title(c.Name), Design: clean(c.Design), Bias: points(c.Name, digitsFor(c.Bias, c.Low, c.High).diff(c.Bias)), Span: "(" + points(c.Name, interval(c.Bias, c.Low, c.High)) + ")", Sigma: value(c.Sigma, experiment.Share),
			ACF: number(c.ACF1), Smallest: smallest(c), Failed: sentence(strings.TrimSpace(clean(c.Failed))), N: c.N, Bar: f.row(c.Bias, c.Low, c.High, 0, class, label)})
	}
	return out, f.axis()
}

// raw is every arm of every block: its course, its host, and the metrics that decide.
func (o *outcome) raw() *rawTable {
	var names []string
	add := func(n string) {
		if n != "" && !slices.Contains(names, n) && len(names) < 6 {
			names = append(names, n)
		}
	}
	if o.plan.Goal != nil {
		add(o.plan.Goal.Metric)
	}
	for _, g := range o.plan.Guards {
		add(g.Metric)
	}
	for _, n := range frontMetrics {
		add(n)
	}
	t := &rawTable{Metrics: []string{"block", "phase", "design", "round", "variant", "start", "requests", "errors", "end", "external CPU", "steal", "slip p99"}}
	for _, n := range names {
		t.Metrics = append(t.Metrics, short(n))
	}
	t.Metrics = append(t.Metrics, "left out")
	for n := range o.Blocks {
		b := &o.Blocks[n]
		for i := range b.Arms {
			if len(t.Rows) >= maxRaw {
				t.Left++
				continue
			}
			a := &b.Arms[i]
			row := []string{fmt.Sprint(b.N), clean(string(b.Phase)), clean(b.Design), fmt.Sprint(b.Round), o.variant(a.Variant), strings.TrimSuffix(clock(b.Start), " UTC"), fmt.Sprint(a.Requests), fmt.Sprint(a.Errors),
				clean(a.End.How), value(b.Host.ExternalCPU, experiment.Share), value(b.Host.Steal, experiment.Share), value(b.Host.SlipP99, experiment.Seconds)}
			for _, name := range names {
				cell := "-"
				if v, ok := a.Values[name]; ok {
					cell = value(v, unitOf(name))
				}
				row = append(row, cell)
			}
			t.Rows = append(t.Rows, append(row, clean(b.Invalid)))
		}
	}
	return t
}
