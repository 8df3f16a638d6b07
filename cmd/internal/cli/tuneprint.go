package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
	"github.com/heapwright/heapwright/cmd/internal/tune"
	"github.com/heapwright/heapwright/pacer"
)

// aim says what a plan was made for.
func aim(p *tune.Plan) string {
	within := ""
	if p.Container.LimitBytes > 0 {
		within = " within " + compactBytes(float64(p.Container.LimitBytes))
	}
	switch o := p.Objective; o.Kind {
	case tune.LeastMemory:
		return "least memory with GC at most " + percentUnit(o.MaxGCCPURatio, o.MaxGCCPURatio) + " of the CPU"
	case tune.Bound:
		var bounds []string
		if o.MaxPauseRatio > 0 {
			bounds = append(bounds, "pauses at most "+percentUnit(o.MaxPauseRatio, o.MaxPauseRatio)+" of the time")
		}
		if o.MaxAssistRatio > 0 {
			bounds = append(bounds, "assists at most "+percentUnit(o.MaxAssistRatio, o.MaxAssistRatio)+" of the CPU")
		}
		return "least memory with " + strings.Join(bounds, " and ")
	case tune.Price:
		return fmt.Sprintf("least cost at %g for a GiB and %g for a core, an hour", o.MemoryPrice, o.CPUPrice)
	}
	return "least GC CPU" + within
}

// print writes a plan for people.
func (d *tuning) print(env Env, parameters bool) error {
	w, width, paint := env.Stdout, env.textColumns(env.Stdout), env.painter(env.Stdout)
	p := d.plan
	head := fmt.Sprintf("%s, %s of its work replayed; %s", d.Process.GoVersion, span(p.Expected.Span), aim(p))
	twinHead(w, d.Process, head, width, paint)
	d.printSettings(w, width, paint)
	if err := d.printEffect(env); err != nil {
		return err
	}
	fmt.Fprintln(w)
	d.printSections(w, width, paint)
	if err := d.printAlternatives(env); err != nil {
		return err
	}
	if parameters {
		fmt.Fprintln(w)
		if err := printParameters(env, d.Parameters); err != nil {
			return err
		}
	}
	if d.File != nil {
		fmt.Fprintf(w, "\n%s has the settings.\n", term.Clean(*d.File))
	} else if next := d.next(); next != "" {
		fmt.Fprintf(w, "\n%s\n", term.Wrap(next, "", width))
	}
	return nil
}

// printSettings writes what to set, each on a line of its own.
func (d *tuning) printSettings(w io.Writer, width int, paint term.Painter) {
	p := d.plan
	if p.Keep {
		fmt.Fprintf(w, "\n  %s\n", paint.Paint(term.Green, "Leave the settings as they are."))
	}
	fmt.Fprintln(w)
	line := func(name, value, was string) {
		if was != "" && was != value {
			value += strings.Repeat(" ", max(10-term.Width(value), 1)) + paint.Paint(term.Faint, " was "+was)
		}
		fmt.Fprintf(w, "  %s  %s\n", paint.Paint(term.Bold, fmt.Sprintf("%-10s", name)), value)
	}
	now := p.Current.Settings
	line("GOGC", gogcText(p.Settings.GOGCPercent), gogcText(now.GOGCPercent))
	line("GOMEMLIMIT", limitText(p.Settings.GOMEMLIMITBytes), limitText(now.GOMEMLIMITBytes))
	if p.Settings.GOMAXPROCS > 0 {
		line("GOMAXPROCS", fmt.Sprint(p.Settings.GOMAXPROCS), "")
	}
	if p.Container.LimitBytes > 0 {
		line("container", fmt.Sprintf("request %s, limit %s", rule.MemLimitUp(float64(p.Container.RequestBytes)), rule.MemLimitUp(float64(p.Container.LimitBytes))), "")
	}
	fmt.Fprintln(w)
}

// printEffect writes what the plan changes.
func (d *tuning) printEffect(env Env) error {
	p := d.plan
	now, then := &p.Current, &p.Expected
	tab := texttab.Table{Columns: []texttab.Column{{}, {Head: "NOW", Right: true}, {}, {Head: "PLANNED", Right: true}, {}, {Head: "CHANGE", Right: true}}}
	if p.Keep {
		tab.Columns = tab.Columns[:3]
	}
	row := func(name string, a, b pacer.Estimate, u unit) {
		if !isKnown(a) && !isKnown(b) {
			return
		}
		cells := append([]texttab.Cell{{Text: name}}, estimateCells(a, u)...)
		if !p.Keep {
			cells = append(append(cells, estimateCells(b, u)...), changeCell(a, b))
		}
		tab.Row(cells...)
	}
	row("GC CPU", now.GCCPURatio, then.GCCPURatio, percentUnit)
	row("GC cycles/s", now.CyclesPerSecond, then.CyclesPerSecond, rateUnit)
	row("assists", now.AssistRatio, then.AssistRatio, percentUnit)
	row("pauses", now.PauseRatio, then.PauseRatio, percentUnit)
	row("heap peak", now.HeapPeakBytes, then.HeapPeakBytes, bytesUnit)
	row("RSS peak", now.RSSPeakBytes, then.RSSPeakBytes, bytesUnit)
	if p.Container.LimitBytes > 0 {
		cells := []texttab.Cell{{Text: "chance of OOM"}, {Text: chanceText(now.OOMProbability)}, {}}
		if !p.Keep {
			cells = append(cells, texttab.Cell{Text: chanceText(then.OOMProbability)})
		}
		tab.Row(cells...)
	}
	return tab.Write(env.Stdout, env.columns(env.Stdout), env.painter(env.Stdout))
}

// chanceText writes a probability; what is less than one in a thousand is no
// more than that: the twin does not know it better.
func chanceText(e pacer.Estimate) string {
	switch {
	case !isKnown(e):
		return "-"
	case e.Estimate < 0.001:
		return "< 0.1%"
	}
	return percent(e.Estimate)
}

// changeCell says by how much an estimate changes, when it does: intervals that
// overlap may come from the same value.
func changeCell(a, b pacer.Estimate) texttab.Cell {
	if !isKnown(a) || !isKnown(b) || a.Estimate == 0 {
		return texttab.Cell{}
	}
	if a.Low <= b.High && b.Low <= a.High {
		return texttab.Cell{Text: "~", Style: term.Faint}
	}
	r := b.Estimate/a.Estimate - 1
	c := texttab.Cell{Text: fmt.Sprintf("%+.0f%%", 100*r), Style: term.Green}
	switch {
	case r >= 99:
		c.Text = "> 100 times"
	case r >= 9:
		c.Text = fmt.Sprintf("%.0f times", 1+r)
	}
	if r > 0 {
		c.Style = term.Yellow
	}
	return c
}

// printSections writes the reasons, the risks, and what would show them wrong.
func (d *tuning) printSections(w io.Writer, width int, paint term.Painter) {
	p := d.plan
	list := func(label string, texts []string) {
		for _, t := range texts {
			section(w, label, t, width, paint)
			label = ""
		}
	}
	list("why", p.Why)
	list("GOMAXPROCS", nonEmpty(p.GOMAXPROCS))
	list("risk", p.Risk)
	var wrong []string
	for _, f := range p.Falsifiers {
		wrong = append(wrong, f.Text)
	}
	list("check", wrong)
	var notes []string
	if len(p.SetInCode) > 0 {
		notes = append(notes, "The program sets "+strings.Join(p.SetInCode, " and ")+" in its own code: its environment does not change that.")
	}
	list("note", append(notes, p.Notes...))
	list("sure?", nonEmpty(strings.TrimSuffix(fmt.Sprintf("%s confidence: %s", p.Confidence, p.ConfidenceReason), ": ")))
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// printAlternatives writes what else there was, and why it lost.
func (d *tuning) printAlternatives(env Env) error {
	p := d.plan
	if len(p.Alternatives) == 0 {
		return nil
	}
	fmt.Fprintln(env.Stdout)
	tab := texttab.Table{Columns: []texttab.Column{{Head: "INSTEAD", Min: 16}, {Head: "GOGC", Right: true}, {Head: "GOMEMLIMIT", Right: true},
		{Head: "GC CPU", Right: true}, {Head: "RSS PEAK", Right: true}, {}}}
	for _, a := range p.Alternatives {
		verdict := texttab.Cell{Text: "works"}
		if !a.Fits {
			verdict = texttab.Cell{Text: "does not work", Style: term.Red}
		}
		verdict.Text += tab.Note(a.Lost)
		tab.Row(texttab.Cell{Text: a.Name}, texttab.Cell{Text: gogcText(a.Settings.GOGCPercent)}, texttab.Cell{Text: memlimitText(a.Settings.GOMEMLIMITBytes)},
			texttab.Cell{Text: estimateText(a.Forecast.GCCPURatio, percentUnit)}, texttab.Cell{Text: estimateText(a.Forecast.RSSPeakBytes, bytesUnit)}, verdict)
	}
	return tab.Write(env.Stdout, env.columns(env.Stdout), env.painter(env.Stdout))
}

// next says what to do with the plan.
func (d *tuning) next() string {
	if d.plan.Keep || d.Live != nil {
		return ""
	}
	who := "PID"
	if d.Process.PID != 0 {
		who = fmt.Sprint(d.Process.PID)
	}
	return fmt.Sprintf("To use it: heapwright tune %s with --apply env, systemd, docker, compose or k8s; or --apply live for the running process.", who)
}
