// Package diagnose says what is wrong with a Go process, from a recording of it.
//
// It runs the rules, each of which lives in a directory of its own under rules,
// and is pure: the same recording gives the same findings. It does not observe,
// change or print anything. What a rule means, how it decides and when it is
// wrong is data, for [Explain] and docs/findings.
package diagnose

import (
	"cmp"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

//go:generate go run ./mkdocs ../../../docs/findings

// The types of a diagnosis.
type (
	Finding    = rule.Finding
	Evidence   = rule.Evidence
	Site       = rule.Site
	Severity   = rule.Severity
	Confidence = rule.Confidence
	Rule       = rule.Rule
)

// The severities, rising.
const (
	Info     = rule.Info
	Warning  = rule.Warning
	Critical = rule.Critical
)

// ParseSeverity reads the name of a severity: info, warning, critical.
func ParseSeverity(name string) (Severity, error) { return rule.ParseSeverity(name) }

// Options say what to look for. The zero value is everything.
type Options struct {
	Rules []*Rule // the rules to run; nil for all
}

// Run returns the findings about a recording, the most severe first, and by ID
// among equals. The slice is never nil, so that it is [] in JSON.
func Run(rec *record.Recording, opts Options) []Finding {
	chosen := opts.Rules
	if chosen == nil {
		chosen = rules
	}
	v := view.New(rec)
	findings := []Finding{}
	for _, r := range chosen {
		for _, f := range r.Check(v) {
			// A rule that slips must not put a NaN into JSON, which cannot hold it.
			f.Evidence = slices.DeleteFunc(f.Evidence, func(e Evidence) bool { return !e.Finite() })
			findings = append(findings, f)
		}
	}
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.ID, b.ID))
	})
	return findings
}

// Worst is the highest severity among findings; ok is false when there are none.
func Worst(findings []Finding) (worst Severity, ok bool) {
	for _, f := range findings {
		worst = max(worst, f.Severity)
	}
	return worst, len(findings) > 0
}

// Undecided is a rule that a recording cannot decide, and the fields that its
// source does not give.
type Undecided struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Missing []string `json:"missing"`
}

// Undecidable returns the rules that say nothing about a recording because its
// source lacks what they need. They are no findings: nothing is known.
func Undecidable(rec *record.Recording) []Undecided {
	v := view.New(rec)
	out := []Undecided{}
	for _, r := range rules {
		if missing := r.Missing(v); len(missing) > 0 {
			u := Undecided{ID: r.ID, Title: r.Title}
			for _, f := range missing {
				u.Missing = append(u.Missing, f.String())
			}
			out = append(out, u)
		}
	}
	return out
}

// Rules returns all rules by ID. The caller must not change them.
func Rules() []*Rule { return slices.Clone(rules) }

// Find returns the rule with an ID or a name, in any case.
func Find(name string) (*Rule, bool) {
	for _, r := range rules {
		if strings.EqualFold(r.ID, name) || strings.EqualFold(r.Name, name) {
			return r, true
		}
	}
	return nil, false
}

// Explain returns the manual page of a rule, by ID or name.
func Explain(name string) (string, bool) {
	r, ok := Find(name)
	if !ok {
		return "", false
	}
	return r.Text(), true
}

// Suggest returns the ID of the rule whose ID or name is nearest to what was
// meant; ok is false when none is near.
func Suggest(name string) (id string, ok bool) {
	const near, longest = 2, 64
	if name == "" || len(name) > longest {
		return "", false
	}
	best := near + 1
	for _, r := range rules {
		for _, s := range []string{r.ID, r.Name} {
			if d := rule.EditDistance(strings.ToLower(name), strings.ToLower(s)); d < best && d < len(name) {
				best, id = d, r.ID
			}
		}
	}
	return id, best <= near
}
