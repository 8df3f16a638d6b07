package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/record"
)

// A diagnosis is the document of diagnose --json.
type diagnosis struct {
	Schema  string         `json:"schema"`
	Process record.Process `json:"process"`
	// Source is where the samples come from; nil when there are none.
	Source *record.Source `json:"source"`
	// WindowSeconds is the time between the first sample and the last.
	WindowSeconds float64 `json:"window_seconds"`
	Samples       int     `json:"samples"`
	// GCCycles are those that ended in the window; nil when not known.
	GCCycles *uint64            `json:"gc_cycles"`
	Findings []diagnose.Finding `json:"findings"`
	// Rules says which rules could look, and what the others lacked.
	Rules []ruleUse `json:"rules"`

	history *history
}

type ruleUse struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Looked bool   `json:"looked"`
	// Missing are the fields that the source could not give.
	Missing []string `json:"missing"`
}

// labelColumns is how wide a label such as "cause" is set.
const labelColumns = 11

// printFinding writes one finding for people.
func printFinding(w io.Writer, f *diagnose.Finding, width int, paint term.Painter) {
	severity := strings.ToUpper(f.Severity.String())
	head := fmt.Sprintf("%-8s %s  ", severity, f.ID)
	indent := strings.Repeat(" ", len(head))
	title := strings.TrimPrefix(term.Wrap(term.Clean(f.Title), indent, width), indent)
	fmt.Fprintf(w, "\n%s%s\n", paint.Paint(severityStyle(f.Severity), head), paint.Paint(term.Bold, title))
	names, values := 0, 0
	for _, e := range f.Evidence {
		names = max(names, term.Width(evidenceName(e)))
		values = max(values, term.Width(term.Clean(e.Text)))
	}
	for _, e := range f.Evidence {
		line := fmt.Sprintf("  %-*s  %*s  %s", names, evidenceName(e), values, term.Clean(e.Text), paint.Paint(term.Faint, term.Clean(e.Source)))
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
	section(w, "cause", f.Cause, width, paint)
	for _, s := range f.Sites {
		section(w, strings.ReplaceAll(s.Role, "_", " "), s.String()+"  "+s.Text, width, paint)
	}
	section(w, "remedy", f.Remedy, width, paint)
	if f.Confidence != rule.High {
		section(w, "sure?", fmt.Sprintf("%s confidence: %s", f.Confidence, f.ConfidenceReason), width, paint)
	}
}

// section writes a label and a wrapped text beside it.
func section(w io.Writer, label, text string, width int, paint term.Painter) {
	if text == "" {
		return
	}
	indent := strings.Repeat(" ", labelColumns+2)
	body := strings.TrimPrefix(term.Wrap(term.Clean(text), indent, width), indent)
	fmt.Fprintf(w, "  %s%s\n", paint.Paint(term.Faint, fmt.Sprintf("%-*s", labelColumns, label)), body)
}

// evidenceName is the name of an evidence without its unit: what stands beside
// it has one.
func evidenceName(e diagnose.Evidence) string {
	name := strings.TrimSuffix(e.Name, "_"+e.Unit)
	return strings.ReplaceAll(term.Clean(name), "_", " ")
}

// tail says how it comes out, and what was looked at.
func (d *diagnosis) tail(w io.Writer, width int) {
	var looked int
	var groups, blind []string
	for _, r := range d.Rules {
		if !r.Looked {
			blind = append(blind, r.ID)
			continue
		}
		looked++
		if g := diagnose.Group(r.ID); !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	var count [diagnose.Critical + 1]int
	for _, f := range d.Findings {
		count[min(max(f.Severity, diagnose.Info), diagnose.Critical)]++
	}
	var parts []string
	for s := diagnose.Critical; s >= diagnose.Info; s-- {
		if count[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[s], s))
		}
	}
	text := "Nothing found."
	if len(parts) > 0 {
		text = strings.Join(parts, ", ") + "."
	}
	text += fmt.Sprintf(" %d of %d rules looked: %s.", looked, len(d.Rules), strings.Join(groups, ", "))
	switch {
	case d.Source == nil || len(blind) == 0:
	case len(blind) > 6:
		text += fmt.Sprintf(" The source (%s) does not give what the other %d need.", *d.Source, len(blind))
	default:
		text += fmt.Sprintf(" Not %s: the source (%s) does not give what they need.", strings.Join(blind, ", "), *d.Source)
	}
	if len(d.Findings) > 0 {
		text += fmt.Sprintf(" heapwright explain %s says how it is decided.", d.Findings[0].ID)
	}
	found := func(group string) bool {
		return slices.ContainsFunc(d.Findings, func(f diagnose.Finding) bool { return diagnose.Group(f.ID) == group })
	}
	if found("settings") && !found("retention") { // it sizes nothing that grows
		text += " heapwright tune works out the settings, and what they will do."
	}
	fmt.Fprintf(w, "\n%s\n", term.Wrap(text, "", width))
}
