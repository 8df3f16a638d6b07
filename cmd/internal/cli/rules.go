package cli

import (
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/notenough"
	"github.com/heapwright/heapwright/record"
)

// settingsRules are the rules about settings, which one sample is enough for.
func settingsRules() []*diagnose.Rule {
	return slices.DeleteFunc(diagnose.Rules(), func(r *diagnose.Rule) bool { return diagnose.Group(r.ID) != "settings" })
}

// quickFindings are what the settings of a process alone show.
func quickFindings(rec *record.Recording) []diagnose.Finding {
	return diagnose.Run(rec, diagnose.Options{Rules: settingsRules()})
}

// examine diagnoses a recording.
func examine(rec *record.Recording) *diagnosis {
	d := &diagnosis{
		Schema: schemaDiagnose, Process: rec.Process, Samples: len(rec.Samples), Findings: diagnose.Run(rec, diagnose.Options{}),
		Rules: []ruleUse{}, history: historyOf(rec),
	}
	missing := map[string][]string{}
	for _, u := range diagnose.Undecidable(rec) {
		missing[u.ID] = u.Missing
	}
	for _, r := range diagnose.Rules() {
		use := ruleUse{ID: r.ID, Title: r.Title, Looked: true, Missing: []string{}}
		if m, blind := missing[r.ID]; blind {
			use.Looked, use.Missing = false, m
		}
		d.Rules = append(d.Rules, use)
	}
	if n := len(rec.Samples); n > 0 {
		d.Source = nonZero(rec.Samples[0].Source)
		d.WindowSeconds = rec.Samples[n-1].Time.Sub(rec.Samples[0].Time).Seconds()
		if first, last := rec.Ends(record.FieldGCCycles); first != nil && last.GCCycles >= first.GCCycles {
			cycles := last.GCCycles - first.GCCycles
			d.GCCycles = &cycles
		}
	}
	return d
}

// inconclusive reports whether the data did not suffice: a rule said so, and
// nothing serious was found all the same.
func (d *diagnosis) inconclusive() bool {
	short := false
	for _, f := range d.Findings {
		if f.Severity > diagnose.Info {
			return false
		}
		short = short || f.ID == notenough.Rule.ID
	}
	return short
}
