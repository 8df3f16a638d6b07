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

// TestPace: on a slow machine a plan takes its time, and its amounts stay.
func TestPace(t *testing.T) {
	for _, s := range Subjects("127.0.0.1:1", "127.0.0.1:2") {
		plan := s.Plan(s.Kinds()...)
		if s.Pace = 1; s.Plan(s.Kinds()...) != plan {
			t.Errorf("%s: the pace 1 changes the plan", s.Name)
		}
		s.Pace = 3
		slow := s.Plan(s.Kinds()...)
		for was, is := range map[string]string{
			"before: 5s": "before: 15s", "ramp: 1s, hold: 3s": "ramp: 3s, hold: 9s", "rate: 60/s": "rate: 20/s", "within: 45s": "within: 135s",
			"64MiB": "64MiB", "60MiB/s": "60MiB/s", "500ms": "500ms", "level: 200,": "level: 200,",
		} {
			if strings.Contains(plan, was) && !strings.Contains(slow, is) {
				t.Errorf("%s: there is no %q in\n%s", s.Name, is, slow)
			}
		}
	}
}
