package report

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
)

// TextOptions say how a report for a terminal looks.
type TextOptions struct {
	Width int // of the terminal, in columns; 0 is any
	Paint term.Painter
	File  string // the result's, for the commands that are named; may be unknown
	All   bool   // every metric, and the table of every variant of a sweep
}

// maxTables bounds how many comparisons, and how many of anything else, a report shows.
const maxTables, maxLines = 64, 200

// prose is how wide running text is where lines may be of any width.
const prose = 80

// A printer writes text, and remembers the first error.
type printer struct {
	w     io.Writer
	opt   TextOptions
	width int // of running text
	err   error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// text writes a paragraph, with its first line where the indent is shorter.
func (p *printer) text(s, first, indent string) {
	wrapped := term.Wrap(s, indent, p.width)
	p.printf("%s%s\n", first, strings.TrimPrefix(wrapped, indent))
}

func (p *printer) faint(s string) {
	p.printf("%s\n", p.opt.Paint.Paint(term.Faint, term.Wrap(s, "", p.width)))
}

func (p *printer) table(t *texttab.Table) {
	if p.err == nil {
		p.err = t.Write(p.w, p.opt.Width, p.opt.Paint)
	}
}

// Text writes a report for a terminal: the verdict and why, a table for each
// variant, or one for all of a sweep, what the calibration and the host say, and
// how to come to the verdict again. The verdict may be nil: it is then that with
// which the result ended.
func Text(w io.Writer, r *experiment.Result, v *experiment.Verdict, opt TextOptions) error {
	o := of(r, v, opt.File)
	p := &printer{w: w, opt: opt, width: opt.Width}
	if p.width <= 0 {
		p.width = prose
	}
	p.verdict(o)
	if o.sweep() {
		p.sweep(o)
	}
	if !o.sweep() || opt.All {
		for _, c := range o.verdict.Comparisons[:min(len(o.verdict.Comparisons), maxTables)] {
			p.comparison(o, c)
		}
	}
	p.forecasts(o)
	p.calibration(o)
	p.facts(o)
	return p.err
}

func outcomeStyle(o experiment.Outcome) term.Style {
	switch o {
	case experiment.Pass:
		return term.Green
	case experiment.Fail:
		return term.Red
	}
	return term.Yellow
}

func findingStyle(f experiment.Finding) term.Style {
	switch f {
	case experiment.Improved:
		return term.Green
	case experiment.Regressed:
		return term.Red
	case experiment.Inconclusive, experiment.Unusable:
		return term.Yellow
	case experiment.Changed:
		return term.Cyan
	}
	return term.Plain
}

// verdict writes the line that a person in a hurry reads, and why.
func (p *printer) verdict(o *outcome) {
	w := word(o.verdict.Outcome)
	head := p.opt.Paint.Paint(term.Bold, p.opt.Paint.Paint(outcomeStyle(w), string(w))) + "  "
	indent := strings.Repeat(" ", len(w)+2)
	reasons := cleanAll(o.verdict.Reasons)
	if len(reasons) == 0 {
		reasons = []string{o.name()}
	}
	for _, r := range reasons[:min(len(reasons), maxLines)] {
		p.text(r, head, indent)
		head = indent
	}
	p.printf("\n")
	if e := o.ending(); e != "" {
		p.text(e, "", "")
		p.printf("\n")
	}
}

// comparison writes the table of one variant.
func (p *printer) comparison(o *outcome, c experiment.Comparison) {
	name := o.variant(c.Variant)
	head := fmt.Sprintf("%s: %s against %s", o.name(), name, o.variant(0))
	p.printf("%s\n", p.opt.Paint.Paint(term.Bold, term.Cut(head, p.width)))
	if a, b := o.settingsText(0), o.settingsText(c.Variant); a != "" || b != "" {
		p.faint(b + ", against " + a)
	}
	p.printf("\n")
	tab := texttab.Table{Columns: []texttab.Column{
		{Head: "METRIC"}, {Head: "ROLE", Drop: 7}, {Head: "DESIGN", Drop: 9},
		{Head: heading(o.variant(0)), Right: true, Drop: 4}, {Head: heading(name), Right: true, Drop: 3},
		{Head: "DIFF", Right: true}, {Head: "INTERVAL", Right: true, Drop: 2}, {Head: "MARGIN", Right: true, Drop: 6},
		{Head: "VERDICT"}, {Head: "N", Right: true, Drop: 8},
	}}
	decides, exploratory := false, false
	metrics := ordered(c.Metrics)
	shown := metrics
	if !p.opt.All && slices.ContainsFunc(metrics, deciding) {
		shown = slices.DeleteFunc(slices.Clone(metrics), func(m experiment.MetricVerdict) bool {
			return !deciding(m) && (m.Verdict == experiment.Inconclusive || m.Verdict == experiment.Unusable)
		})
	}
	for _, m := range shown[:min(len(shown), maxLines)] {
		role := string(m.Role)
		verdict := clean(string(m.Verdict))
		if deciding(m) {
			decides = true
		} else {
			role = "-"
			if m.Verdict == experiment.Inconclusive {
				verdict = "-" // nobody asked
			}
			if decides && !exploratory {
				tab.Text()
			}
			exploratory = true
		}
		if note := o.note(m); note != "" {
			verdict += tab.Note(sentence(note))
		}
		tab.Row(texttab.Cell{Text: short(m.Name)}, texttab.Cell{Text: clean(role), Style: term.Faint}, texttab.Cell{Text: clean(m.Design), Style: term.Faint},
			texttab.Cell{Text: measured(m, m.Baseline)}, texttab.Cell{Text: measured(m, m.Value)},
			texttab.Cell{Text: difference(m), Style: diffStyle(m)}, texttab.Cell{Text: intervalOf(m), Style: term.Faint},
			texttab.Cell{Text: marginOf(m), Style: term.Faint}, texttab.Cell{Text: verdict, Style: findingStyle(m.Verdict)}, texttab.Cell{Text: fmt.Sprint(m.N)})
	}
	if len(metrics) == 0 {
		p.printf("Nothing was measured.\n\n")
		return
	}
	p.table(&tab)
	var notes []string
	if l := levelsText(c); l != "" {
		notes = append(notes, l+" ~ is where intervals leave open whether anything differs.")
	}
	if decides && exploratory {
		notes = append(notes, "What stands below the gap is exploratory: it decides nothing.")
	}
	if n := len(metrics) - len(shown); n > 0 {
		notes = append(notes, fmt.Sprintf("Of %s nothing is shown to differ; --all prints them.", plural(n, "more metric")))
	}
	if len(notes) > 0 {
		p.faint(strings.Join(notes, " "))
	}
	p.printf("\n")
	p.eliminated(o, c)
}

// diffStyle is the colour of a difference: of what is shown, good or bad.
func diffStyle(m experiment.MetricVerdict) term.Style {
	if !differs(m) {
		return term.Plain
	}
	return findingStyle(m.Verdict)
}

func (p *printer) eliminated(o *outcome, c experiment.Comparison) {
	if why := strings.TrimSpace(clean(c.Eliminated)); why != "" {
		p.text(fmt.Sprintf("%s was stopped early: %s", o.variant(c.Variant), sentence(why)), "", "")
		p.printf("\n")
	}
}

// heading is the name of a variant as the head of a column.
func heading(name string) string { return term.Cut(name, 16) }

// inSweep are the metrics of the table of a sweep: the goal, the guards, and the
// four of the front, and what the collector takes, as many as fit.
func (o *outcome) inSweep() []string {
	var out []string
	add := func(name string) {
		has := func(c experiment.Comparison) bool {
			return slices.ContainsFunc(c.Metrics, func(m experiment.MetricVerdict) bool { return m.Name == name })
		}
		if len(out) < 6 && !slices.Contains(out, name) && slices.ContainsFunc(o.verdict.Comparisons, has) {
			out = append(out, name)
		}
	}
	if o.plan.Goal != nil {
		add(o.plan.Goal.Metric)
	}
	for _, g := range o.plan.Guards {
		add(g.Metric)
	}
	for _, name := range frontMetrics {
		add(name)
	}
	add("gc_cpu_ratio")
	return out
}

// frontMetrics are those by which no variant on the front is beaten.
var frontMetrics = []string{"latency_p99_seconds", "rss_peak_bytes", "cpu_seconds_per_request", "throughput_per_second"}

// frontText says what the front is.
const frontText = "no other is at least as good in p99, peak RSS, CPU per request and throughput, and better in one"

// baseline is the value of the baseline, as the first comparison that has it says.
func (o *outcome) baseline(metric string) string {
	for _, c := range o.verdict.Comparisons {
		if m, ok := c.Metric(metric); ok {
			return value(m.Baseline, unitOf(metric))
		}
	}
	return "-"
}

// sweep writes a line for each variant.
func (p *printer) sweep(o *outcome) {
	p.printf("%s\n\n", p.opt.Paint.Paint(term.Bold, term.Cut(fmt.Sprintf("%s: %s against %s", o.name(), plural(len(o.verdict.Comparisons), "variant"), o.variant(0)), p.width)))
	names := o.inSweep()
	tab := texttab.Table{Columns: []texttab.Column{{Head: ""}, {Head: "VARIANT", Min: 12}}}
	for i, name := range names {
		tab.Columns = append(tab.Columns, texttab.Column{Head: strings.ToUpper(tiny(name)), Right: true, Drop: 1 + 2*i}, texttab.Column{Drop: 2 + 2*i, Right: true})
	}
	tab.Columns = append(tab.Columns, texttab.Column{Head: "VERDICT"}, texttab.Column{Head: "N", Right: true, Drop: 20})
	const star = "*"
	front := func(i int) texttab.Cell {
		if o.onFront(i) {
			return texttab.Cell{Text: star, Style: term.Blue}
		}
		return texttab.Cell{}
	}
	base := []texttab.Cell{front(0), {Text: o.variant(0)}}
	for _, name := range names {
		base = append(base, texttab.Cell{Text: o.baseline(name)}, texttab.Cell{})
	}
	tab.Row(append(base, texttab.Cell{Text: "baseline", Style: term.Faint})...)
	for _, c := range o.verdict.Comparisons[:min(len(o.verdict.Comparisons), maxLines)] {
		row := []texttab.Cell{front(c.Variant), {Text: o.variant(c.Variant)}}
		pairs := 0
		for _, name := range names {
			m, ok := c.Metric(name)
			if !ok {
				row = append(row, texttab.Cell{Text: "-"}, texttab.Cell{})
				continue
			}
			row = append(row, texttab.Cell{Text: value(m.Value, unitOf(name))}, texttab.Cell{Text: difference(m), Style: diffStyle(m)})
			if pairs == 0 || m.N < pairs {
				pairs = m.N
			}
		}
		w := word(c.Outcome)
		verdict := string(w)
		if why := strings.TrimSpace(clean(c.Eliminated)); why != "" {
			verdict += tab.Note("Stopped early: " + sentence(why))
		} else if reasons := cleanAll(c.Reasons); len(reasons) > 0 && w != experiment.Pass {
			verdict += tab.Note(sentence(strings.Join(first(reasons, 3), "; ")))
		}
		if c.Same {
			verdict += tab.Note("The same program with the same settings as the baseline: a difference is a false alarm.")
		}
		tab.Row(append(row, texttab.Cell{Text: verdict, Style: outcomeStyle(w)}, texttab.Cell{Text: fmt.Sprint(pairs)})...)
	}
	p.table(&tab)
	if len(o.verdict.Front) > 0 {
		p.text(frontText, p.opt.Paint.Paint(term.Blue, star)+"  ", "   ")
	}
	p.printf("\n")
}

// forecasts writes what the twin said before beside what was measured.
func (p *printer) forecasts(o *outcome) {
	tab := texttab.Table{Columns: []texttab.Column{{Head: "VARIANT", Min: 12}, {Head: "METRIC"}, {Head: "FORECAST", Right: true}, {Head: "INTERVAL", Right: true, Drop: 2}, {Head: "MEASURED", Right: true}, {Head: "INTERVAL", Right: true, Drop: 1}, {Head: "AGREE"}}}
	rows := 0
	for _, c := range o.verdict.Comparisons {
		for _, m := range ordered(c.Metrics) {
			f := m.Forecast
			if f == nil || !known(f.Ratio) || rows >= maxLines {
				continue
			}
			rows++
			tab.Row(texttab.Cell{Text: o.variant(c.Variant)}, texttab.Cell{Text: short(m.Name)},
				texttab.Cell{Text: digitsFor(f.Ratio, f.Low, f.High).diff(f.Ratio)}, texttab.Cell{Text: interval(f.Ratio, f.Low, f.High), Style: term.Faint},
				texttab.Cell{Text: effect(m)}, texttab.Cell{Text: intervalOf(m), Style: term.Faint}, texttab.Cell{Text: agree(m)})
		}
	}
	if rows == 0 {
		if why := strings.TrimSpace(clean(o.Header.NoForecast)); why != "" {
			p.text("There is no forecast of the twin to compare with: "+sentence(why), "", "")
			p.printf("\n")
		}
		return
	}
	p.printf("%s\n\n", p.opt.Paint.Paint(term.Bold, "What the twin forecast"))
	p.table(&tab)
	p.printf("\n")
}

// agree says whether a forecast and a measurement can both be right.
func agree(m experiment.MetricVerdict) string {
	f := m.Forecast
	if f == nil || !known(f.Low) || !known(f.High) || !known(m.Low) || !known(m.High) {
		return "-"
	}
	if f.Low <= m.High && m.Low <= f.High {
		return "yes"
	}
	return "no"
}

// calibration writes what comparing the baseline with itself showed.
func (p *printer) calibration(o *outcome) {
	list := o.calibrated()
	if len(list) == 0 {
		return
	}
	pairs := 0
	tab := texttab.Table{Columns: []texttab.Column{{Head: "METRIC"}, {Head: "DESIGN", Drop: 3}, {Head: "BIAS", Right: true}, {Head: "INTERVAL", Right: true, Drop: 2}, {Head: "SPREAD", Right: true}, {Head: "AUTOCORR", Right: true, Drop: 4}, {Head: "SMALLEST MARGIN", Right: true}, {Head: "N", Right: true, Drop: 1}}}
	for _, c := range list {
		pairs = max(pairs, c.N)
		name, style := short(c.Name), term.Plain
		if why := strings.TrimSpace(clean(c.Failed)); why != "" {
			name += tab.Note(sentence(why))
			style = term.Red
		}
		tab.Row(texttab.Cell{Text: name, Style: style}, texttab.Cell{Text: clean(c.Design), Style: term.Faint}, texttab.Cell{Text: points(c.Name, digitsFor(c.Bias, c.Low, c.High).diff(c.Bias))},
			texttab.Cell{Text: points(c.Name, interval(c.Bias, c.Low, c.High)), Style: term.Faint}, texttab.Cell{Text: value(c.Sigma, experiment.Share)}, texttab.Cell{Text: number(c.ACF1)},
			texttab.Cell{Text: smallest(c)}, texttab.Cell{Text: fmt.Sprint(c.N)})
	}
	p.printf("%s\n", p.opt.Paint.Paint(term.Bold, "Calibration: the baseline against itself"))
	p.faint("What differs here is the host's doing. No margin under the smallest can be held with the pairs of this plan.")
	p.printf("\n")
	p.table(&tab)
	if n := len(o.verdict.Calibration) - len(list); n > 0 {
		p.faint(fmt.Sprintf("and %s that decide nothing", plural(n, "metric")))
	}
	p.printf("\n")
}

// calibrated are the calibrations of the metrics that decide, and those that failed.
func (o *outcome) calibrated() []experiment.Calibration {
	out := slices.DeleteFunc(slices.Clone(o.verdict.Calibration), func(c experiment.Calibration) bool {
		return o.plan.Role(c.Name) == experiment.RoleExploratory && strings.TrimSpace(c.Failed) == ""
	})
	return out[:min(len(out), maxLines)]
}

// facts writes what a sceptic asks for: what was left out, where it ran, by which
// plan, and how to come to the verdict again.
func (p *printer) facts(o *outcome) {
	for _, w := range cleanAll(o.verdict.Warnings[:min(len(o.verdict.Warnings), maxLines)]) {
		p.text(sentence(w), p.opt.Paint.Paint(term.Yellow, "!")+" ", "  ")
	}
	if len(o.verdict.Warnings) > 0 {
		p.printf("\n")
	}
	for _, f := range o.facts() {
		p.text(f.Text, p.opt.Paint.Paint(term.Faint, fmt.Sprintf("%-10s", f.Name)), strings.Repeat(" ", 10))
	}
}

// A fact is a line about the experiment.
type fact struct{ Name, Text string }

func (o *outcome) facts() []fact {
	var out []fact
	add := func(name, format string, args ...any) {
		if s := strings.TrimSpace(fmt.Sprintf(format, args...)); s != "" {
			out = append(out, fact{name, s})
		}
	}
	v := o.verdict
	ran := ""
	if d := o.took(); d > 0 {
		ran = " in " + span(d)
	}
	add("pairs", "%d%s, %s", v.Pairs, ran, plural(len(o.Blocks), "block"))
	if looks := o.looks(); looks != "" {
		add("looks", "%s", looks)
	}
	for i, d := range o.dropped() {
		name := ""
		if i == 0 {
			name = "dropped"
		}
		add(name, "%s", d)
	}
	if r := o.Header.Rate; r > 0 {
		add("load", "%s of each process, %s arrivals%s", rate(r), orUnknown(o.plan.Load.Arrivals), o.knee())
	}
	add("host", "%s%s%s", grade(v.Grade), o.covariates(), prefix("; ", o.machine()))
	add("processes", "%s", o.ends())
	add("generator", "%s", o.generator())
	if h := o.Header.PlanHash; h != "" {
		add("plan", "seed %d, sha256 %s", o.plan.Seed, clean(h))
	} else {
		add("plan", "seed %d", o.plan.Seed)
	}
	add("tool", "%s", clean(o.Header.Tool))
	add("go on", "%s", o.resume())
	add("recompute", "%s", o.recompute())
	return out
}

// ends says which processes did not end as they should, and which answered errors.
func (o *outcome) ends() string {
	type tally struct {
		of, requests, errors uint64
		how                  map[string]int
	}
	tallies := map[int]*tally{}
	firstError := ""
	for i := range o.Blocks {
		for _, a := range o.Blocks[i].Arms {
			t := tallies[a.Variant]
			if t == nil {
				if len(tallies) >= maxLines {
					continue
				}
				t = &tally{how: map[string]int{}}
				tallies[a.Variant] = t
			}
			t.of++
			t.requests += a.Requests
			t.errors += a.Errors
			switch a.End.How {
			case experiment.EndedOOM, experiment.EndedCrashed, experiment.EndedKilled:
				t.how[a.End.How]++
			}
			if a.Audit.FirstError != "" && firstError == "" {
				firstError = clean(a.Audit.FirstError)
			}
		}
	}
	if len(tallies) == 0 {
		return ""
	}
	var out []string
	for _, v := range slices.Sorted(maps.Keys(tallies)) {
		t := tallies[v]
		for _, end := range []struct{ how, text string }{
			{experiment.EndedOOM, "were killed by the kernel for memory"}, {experiment.EndedCrashed, "crashed"}, {experiment.EndedKilled, "had to be killed, as they did not end when told to"},
		} {
			if n := t.how[end.how]; n > 0 {
				out = append(out, fmt.Sprintf("%s: %d of %d %s", o.variant(v), n, t.of, end.text))
			}
		}
		if t.errors > 0 {
			out = append(out, fmt.Sprintf("%s: %d errors in %d requests", o.variant(v), t.errors, t.requests))
		}
	}
	if firstError != "" {
		out = append(out, "the first error: "+firstError)
	}
	if len(out) == 0 {
		return "all ended when told to, and answered without errors"
	}
	return strings.Join(out, "; ")
}

// generator is what the load generator says about itself, at its worst.
func (o *outcome) generator() string {
	var slip, cpu float64
	var cycles uint64
	n := 0
	for i := range o.Blocks {
		b := &o.Blocks[i]
		for _, a := range b.Arms {
			n++
			if known(a.Audit.SlipP99) {
				slip = max(slip, a.Audit.SlipP99)
			}
			if share := a.Audit.CPUSeconds / b.Seconds; known(share) {
				cpu = max(cpu, share)
			}
			cycles = max(cycles, a.Audit.GCCycles)
		}
	}
	if n == 0 || slip == 0 && cpu == 0 && cycles == 0 {
		return ""
	}
	return fmt.Sprintf("at worst %s late (p99 of a block), with %s of a core and %s in a block", value(slip, experiment.Seconds), value(cpu, experiment.Share), count(cycles, "GC cycle"))
}

// covariates is the machine during the blocks that count.
func (o *outcome) covariates() string {
	var external []float64
	var steal float64
	for i := range o.Blocks {
		if b := &o.Blocks[i]; b.Invalid == "" && b.Host.ExternalCPU >= 0 && !math.IsInf(b.Host.ExternalCPU, 0) {
			external = append(external, b.Host.ExternalCPU)
			if known(b.Host.Steal) {
				steal = max(steal, b.Host.Steal)
			}
		}
	}
	if len(external) == 0 {
		return ""
	}
	slices.Sort(external)
	return fmt.Sprintf(" (%s in the middle block, steal at most %s)", value(quantile(external, 0.5), experiment.Share), value(steal, experiment.Share))
}

func count(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// looks says at which numbers of pairs the verdict could be reached, and when it was.
func (o *outcome) looks() string {
	declared := make([]string, 0, len(o.plan.Design.Looks))
	for _, n := range o.plan.Design.Looks[:min(len(o.plan.Design.Looks), 50)] {
		declared = append(declared, fmt.Sprint(n))
	}
	if len(declared) == 0 {
		return ""
	}
	s := "declared at " + strings.Join(declared, ", ") + " pairs"
	if n := len(o.Looks); n > 0 {
		s += fmt.Sprintf("; taken %s, the last at %d: %s", times(n), o.Looks[n-1].Pairs, word(o.Looks[n-1].Outcome))
	}
	return s
}

func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

func (o *outcome) knee() string {
	k := o.Header.Knee
	if k == nil || !(k.Rate > 0) {
		return ""
	}
	return fmt.Sprintf("; the highest that every variant served was %s", rate(k.Rate))
}

func prefix(p, s string) string {
	if s == "" {
		return ""
	}
	return p + s
}

func orUnknown(s string) string {
	if s = clean(s); s == "" {
		return "unknown"
	}
	return s
}
