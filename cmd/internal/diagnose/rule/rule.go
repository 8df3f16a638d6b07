package rule

import (
	"fmt"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

// A Rule decides about one kind of trouble. Everything but Check is its manual
// page, kept as data: `heapwright explain ID` and docs/findings print it.
type Rule struct {
	ID    string // HW1001: 10xx settings, 20xx allocation, 30xx retention, 40xx latency, 90xx the recording itself
	Name  string // the directory's name
	Title string

	Severities []Severity // those it can report, rising

	What        string // what is the case when it fires
	Why         string // why it matters
	How         string // how it is decided: the numbers and the thresholds
	Remedy      string // what to do
	FalseAlarms string // when it is wrong, and how to tell
	Since       string // the version of Heapwright that has it first

	// Needs are the fields without which the rule says nothing.
	Needs []record.Field

	// Check is pure: it reads the view and returns findings, most often none.
	Check func(*view.View) []Finding
}

// Missing returns the fields that the rule needs and no sample has.
func (r *Rule) Missing(v *view.View) []record.Field {
	var missing []record.Field
	for _, f := range r.Needs {
		if !v.Has(f) {
			missing = append(missing, f)
		}
	}
	return missing
}

// A section of the manual page.
type section struct{ head, body string }

func (r *Rule) sections() []section {
	sev := make([]string, len(r.Severities))
	for i, s := range r.Severities {
		sev[i] = s.String()
	}
	needs := make([]string, len(r.Needs))
	for i, f := range r.Needs {
		needs[i] = f.String()
	}
	out := []section{
		{"What", r.What},
		{"Why it matters", r.Why},
		{"How it is decided", r.How},
		{"Remedy", r.Remedy},
		{"False alarms", r.FalseAlarms},
		{"Severity", strings.Join(sev, ", ")},
	}
	if len(needs) > 0 {
		out = append(out, section{"Needs", strings.Join(needs, ", ") + ". Where the source cannot give them, the rule says nothing."})
	}
	return append(out, section{"Since", r.Since})
}

// Text returns the manual page for a terminal, at most 80 columns wide.
func (r *Rule) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s\n", r.ID, r.Name, r.Title)
	for _, s := range r.sections() {
		fmt.Fprintf(&b, "\n%s\n", s.head)
		for _, para := range paragraphs(s.body) {
			Wrap(&b, para, "  ", 80)
		}
	}
	return b.String()
}

// Markdown returns the manual page for docs/findings.
func (r *Rule) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %s\n\n`%s`\n", r.ID, r.Title, r.Name)
	for _, s := range r.sections() {
		fmt.Fprintf(&b, "\n## %s\n", s.head)
		for _, para := range paragraphs(s.body) {
			b.WriteString("\n")
			Wrap(&b, para, "", 100)
		}
	}
	return b.String()
}

// paragraphs splits at blank lines and joins the lines of each.
func paragraphs(s string) []string {
	var out []string
	for _, p := range strings.Split(strings.TrimSpace(s), "\n\n") {
		out = append(out, strings.Join(strings.Fields(p), " "))
	}
	return out
}

// Wrap writes the words of s in lines of at most width bytes, each behind indent.
func Wrap(b *strings.Builder, s, indent string, width int) {
	n := 0
	for _, w := range strings.Fields(s) {
		switch {
		case n == 0:
			b.WriteString(indent)
			n = len(indent)
		case n+1+len(w) > width:
			b.WriteString("\n" + indent)
			n = len(indent)
		default:
			b.WriteString(" ")
			n++
		}
		b.WriteString(w)
		n += len(w)
	}
	b.WriteString("\n")
}
