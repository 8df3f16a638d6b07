package stress

import (
	"strings"
	"testing"
)

func TestWrong(t *testing.T) {
	no, yes, took := false, true, 2.0
	r := &Report{
		Criteria: []Criterion{{Metric: "error_ratio", Held: &no}, {Metric: "error_ratio", Held: &no}, {Metric: "ready", Held: &yes}, {Metric: "gc_cpu_ratio"}},
		Faults:   []Fault{{Recovery: []Recovery{{What: "growth", Known: true}, {What: "errors", Known: true, Took: &took}, {What: "guard"}}}},
	}
	if got := strings.Join(r.Wrong(), " "); got != "error_ratio recovery:growth" {
		t.Error(got)
	}
}

// TestCases holds the cases to what the documents say of them.
func TestCases(t *testing.T) {
	names := map[string]bool{}
	if n := len(Violations()); n < 10 {
		t.Errorf("%d violations", n)
	}
	for _, c := range append(Violations(), Healthy(20)...) {
		if names[c.Name] {
			t.Errorf("two cases %q", c.Name)
		}
		names[c.Name] = true
		pass := &Result{Report: Report{Verdict: "PASS"}}
		if right := c.Right(pass) == ""; right != (c.Violate == "") {
			t.Errorf("%s: PASS is right: %v", c.Name, right)
		}
		if left := (&Result{Report: Report{Verdict: "PASS", Left: []string{"a process"}}}); c.Right(left) == "" {
			t.Errorf("%s may leave something behind", c.Name)
		}
	}
	for _, s := range Subjects("127.0.0.1:1", "127.0.0.1:2") {
		if len(s.Kinds()) != len(s.Faults) {
			t.Errorf("%s: %d faults, %d kinds in order", s.Name, len(s.Faults), len(s.Kinds()))
		}
	}
}
