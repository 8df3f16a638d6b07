package cgroup2

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/heapwright/heapwright/e2e/internal/vm"
)

func TestParseTests(t *testing.T) {
	got := parseTests([]byte("=== RUN   TestA\r\n--- PASS: TestA (0.00s)\r\n=== RUN   TestB\n=== RUN   TestB/one\n    x_test.go:7: it is 3\n--- FAIL: TestB (0.10s)\n    --- FAIL: TestB/one (0.05s)\n    --- PASS: TestB/two (0.05s)\n" +
		"=== RUN   TestC\n    x_test.go:9: needs cgroup v1\n--- SKIP: TestC (0.00s)\nFAIL\n"))
	if got.Passed != 2 || !slices.Equal(got.Failed, []string{"TestB", "TestB/one"}) || !maps.Equal(got.Skipped, map[string]string{"TestC": "needs cgroup v1"}) {
		t.Errorf("%+v", got)
	}
}

func TestProblem(t *testing.T) {
	for want, o := range map[string]Outcome{
		"":                {Result: vm.Result{Ran: true}},
		"it was not run":  {},
		"exit status 3":   {Result: vm.Result{Ran: true, Exit: 3, Why: "exit status 3"}},
		"it ended with 1": {Result: vm.Result{Ran: true, Exit: 1}},
		"no test ran":     {Step: Step{Package: "cgroup"}, Result: vm.Result{Ran: true}},
	} {
		if got := o.Problem(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestPackages: what is to be tested is there, and each suite has something to do.
func TestPackages(t *testing.T) {
	names := map[string]bool{}
	for _, s := range append(Suites(), Slice()) {
		if len(s.Steps) == 0 || s.MemoryMiB == 0 || s.DiskMiB == 0 || names[s.Name] {
			t.Errorf("%+v", s)
		}
		names[s.Name] = true
		for _, step := range s.Steps {
			if step.within <= 0 {
				t.Errorf("%s: %s has no bound", s.Name, step.Name)
			}
			if step.Package == "" {
				continue
			}
			if found, _ := filepath.Glob(filepath.Join("../../..", step.Package, "*_test.go")); len(found) == 0 {
				t.Errorf("%s has no tests", step.Package)
			}
		}
	}
	if got := Named(Suites(), "kill"); len(got) != 1 || len(got[0].Only("nothing").Steps) != 0 {
		t.Errorf("%+v", got)
	}
}
