package ruletest

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

var update = flag.Bool("update", false, "write the golden files anew")

// A Case is a recording and what a rule has to say about it.
type Case struct {
	Name string
	Rec  *record.Recording
	// Want is the severity of the finding that must come, "" for none. What it
	// says is in testdata/<name>.json; cases that find nothing have no file.
	Want string
}

// Run checks a rule against its cases, against the healthy server, against the
// healthy server under load, and against sources that lack what the rule needs.
func Run(t *testing.T, r *rule.Rule, cases ...Case) {
	t.Helper()
	fired := false
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			got := r.Check(view.New(c.Rec))
			check(t, r, got)
			if c.Want == "" {
				if len(got) > 0 {
					t.Fatalf("got %d findings, want none: %s", len(got), encode(t, got))
				}
				return
			}
			fired = true
			if len(got) != 1 {
				t.Fatalf("got %d findings, want one at %s: %s", len(got), c.Want, encode(t, got))
			}
			if s := got[0].Severity.String(); s != c.Want {
				t.Errorf("severity %s, want %s", s, c.Want)
			}
			golden(t, filepath.Join("testdata", c.Name+".json"), encode(t, got))

			// The rule must be silent about the same recording from a source that
			// lacks any one of the fields that it says it needs.
			for _, f := range r.Needs {
				less := *c.Rec
				less.Samples = append([]record.Sample(nil), c.Rec.Samples...)
				less.Cycles = nil
				if got := r.Check(view.New(Without(&less, f))); len(got) > 0 {
					t.Errorf("without %s: got %s, want silence", f, encode(t, got))
				}
			}
		})
	}
	if !fired {
		t.Error("no case makes the rule fire")
	}
	for name, rec := range Healthy() {
		t.Run("healthy/"+name, func(t *testing.T) {
			for _, f := range r.Check(view.New(rec)) {
				if f.Severity > rule.Info {
					t.Errorf("a healthy server gets %s", encode(t, f))
				}
			}
		})
	}
}

// check are the rules for all findings.
func check(t *testing.T, r *rule.Rule, fs []rule.Finding) {
	t.Helper()
	for i := range fs {
		f := &fs[i]
		for _, e := range f.Evidence {
			if !e.Finite() {
				t.Errorf("evidence is not finite: %+v", e)
			}
		}
		if f.ID != r.ID {
			t.Errorf("ID %q, want %q", f.ID, r.ID)
		}
		for what, s := range map[string]string{"title": f.Title, "cause": f.Cause, "remedy": f.Remedy, "confidence reason": f.ConfidenceReason} {
			if s == "" {
				t.Errorf("the %s is empty", what)
			}
			if strings.Contains(s, "NaN") || strings.Contains(s, "Inf") || strings.Contains(s, "%!") {
				t.Errorf("the %s holds no number: %q", what, s)
			}
		}
		if len(f.Evidence) == 0 {
			t.Error("there is no evidence")
		}
		allowed := false
		for _, s := range r.Severities {
			allowed = allowed || s == f.Severity
		}
		if !allowed {
			t.Errorf("severity %s is not in the rule's list %v", f.Severity, r.Severities)
		}
	}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		t.Fatalf("encoding findings: %v", err)
	}
	return b.String()
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; make it with -update", err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
