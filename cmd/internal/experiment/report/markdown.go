package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// maxRows bounds the rows of a table in Markdown: a comment on a pull request may
// have 65536 characters.
const maxRows = 64

// Markdown writes a summary fit for a pull request: the verdict, what it depends
// on in one table, and the rest folded.
func Markdown(w io.Writer, r *experiment.Result, v *experiment.Verdict, file string) error {
	o := of(r, v, file)
	d := &document{}
	d.line("### %s: %s", word(o.verdict.Outcome), mark(o.headline()))
	d.line("")
	for _, reason := range first(cleanAll(o.verdict.Reasons), 20) {
		d.line("- %s", mark(reason))
	}
	if e := o.ending(); e != "" {
		d.line("- %s", mark(e))
	}
	for _, warning := range first(cleanAll(o.verdict.Warnings), 20) {
		d.line("- **Warning:** %s", mark(sentence(warning)))
	}
	d.line("")
	var besides []experiment.MetricVerdict
	switch {
	case o.sweep():
		d.sweep(o)
	case len(o.verdict.Comparisons) == 1:
		c := o.verdict.Comparisons[0]
		var decide []experiment.MetricVerdict
		for _, m := range ordered(c.Metrics) {
			if deciding(m) {
				decide = append(decide, m)
			} else {
				besides = append(besides, m)
			}
		}
		if len(decide) == 0 {
			decide, besides = besides, nil
		}
		d.metrics(o, c, decide)
	}
	if len(besides) > 0 {
		d.fold(plural(len(besides), "more metric")+", exploratory: they decide nothing", func() { d.metrics(o, o.verdict.Comparisons[0], besides) })
	}
	if list := first(o.calibrated(), maxRows); len(list) > 0 {
		d.fold("Calibration: the baseline against itself", func() {
			d.row("metric", "bias", "interval", "spread", "smallest margin", "pairs")
			d.line("|---|--:|--:|--:|--:|--:|")
			for _, c := range list {
				d.row(short(c.Name)+prefix(": ", c.Failed), points(c.Name, digitsFor(c.Bias, c.Low, c.High).diff(c.Bias)), points(c.Name, interval(c.Bias, c.Low, c.High)), value(c.Sigma, experiment.Share), smallest(c), fmt.Sprint(c.N))
			}
		})
	}
	d.fold("How it was measured", func() {
		for _, f := range first(o.facts(), maxRows) {
			if f.Name == "" {
				f.Name = "dropped"
			}
			text := mark(f.Text)
			if (f.Name == "recompute" || f.Name == "go on") && !strings.Contains(f.Text, "`") {
				text = "`" + f.Text + "`"
			}
			d.line("- %s: %s", f.Name, text)
		}
	})
	_, err := io.WriteString(w, d.String())
	return err
}

// headline says what was compared.
func (o *outcome) headline() string {
	switch n := len(o.verdict.Comparisons); {
	case o.sweep():
		return fmt.Sprintf("%s, %s against %s", o.name(), plural(n, "variant"), o.variant(0))
	case n == 1:
		return fmt.Sprintf("%s, %s against %s", o.name(), o.variant(o.verdict.Comparisons[0].Variant), o.variant(0))
	}
	return o.name()
}

func first[T any](s []T, n int) []T { return s[:min(len(s), n)] }

// A document is Markdown that is being written.
type document struct{ strings.Builder }

func (d *document) line(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

// row writes a row of a table; its cells are text.
func (d *document) row(cells ...string) {
	for i := range cells {
		cells[i] = mark(cells[i])
	}
	d.line("| %s |", strings.Join(cells, " | "))
}

// fold writes what is seen when somebody asks for it.
func (d *document) fold(title string, body func()) {
	d.line("\n<details><summary>%s</summary>\n", mark(title))
	body()
	d.line("\n</details>")
}

func (d *document) metrics(o *outcome, c experiment.Comparison, list []experiment.MetricVerdict) {
	d.row("metric", heading(o.variant(0)), heading(o.variant(c.Variant)), "difference", "interval", "margin", "verdict", "pairs")
	d.line("|---|--:|--:|--:|--:|--:|---|--:|")
	for _, m := range first(list, maxRows) {
		verdict := string(m.Verdict)
		if note := o.note(m); note != "" {
			verdict += ": " + note
		}
		name := short(m.Name)
		if m.Role == experiment.RoleGoal {
			name += " (goal)"
		}
		d.row(name, measured(m, m.Baseline), measured(m, m.Value), difference(m), intervalOf(m), marginOf(m), verdict, fmt.Sprint(m.N))
	}
	if l := levelsText(c); l != "" {
		d.line("\n%s A tilde is where intervals leave open whether anything differs.", l)
	}
}

func (d *document) sweep(o *outcome) {
	names := o.inSweep()
	head, rule := []string{"variant"}, "|---|"
	base := []string{o.variant(0)}
	if o.onFront(0) {
		base[0] += " ◆"
	}
	for _, name := range names {
		head = append(head, short(name))
		rule += "--:|"
		base = append(base, o.baseline(name))
	}
	d.row(append(head, "verdict")...)
	d.line("%s---|", rule)
	d.row(append(base, "baseline")...)
	for _, c := range first(o.verdict.Comparisons, maxRows) {
		row := []string{o.variant(c.Variant)}
		if o.onFront(c.Variant) {
			row[0] += " ◆"
		}
		for _, name := range names {
			cell := "-"
			if m, ok := c.Metric(name); ok {
				cell = value(m.Value, unitOf(name)) + " " + difference(m)
			}
			row = append(row, cell)
		}
		d.row(append(row, says(o, c))...)
	}
	if len(o.verdict.Front) > 0 {
		d.line("\n◆ %s.", frontText)
	}
}

// says is the verdict on a variant, and why, where it did not pass.
func says(o *outcome, c experiment.Comparison) string {
	w := word(c.Outcome)
	if why := strings.TrimSpace(clean(c.Eliminated)); why != "" {
		return string(w) + ", stopped early: " + why
	}
	if reasons := cleanAll(c.Reasons); len(reasons) > 0 && w != experiment.Pass {
		return string(w) + ": " + reasons[0]
	}
	return string(w)
}

// mark escapes text for Markdown as GitHub reads it: nothing of it is markup, a
// link, a mention of a person or the number of an issue.
func mark(s string) string {
	var b strings.Builder
	for _, r := range clean(s) {
		switch {
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '&':
			b.WriteString("&amp;")
		case strings.ContainsRune("\\`*_{}[]|~!$", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '@' || r == '#':
			b.WriteRune(r)
			b.WriteString("<!-- -->")
		default:
			b.WriteRune(r)
		}
	}
	return unlink.Replace(b.String())
}

// unlink breaks what would become a link by itself.
var unlink = strings.NewReplacer("://", ":<!-- -->//", "www.", "www<!-- -->.", "mailto:", "mailto<!-- -->:")
