package e2e

import (
	"strconv"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/e2e/internal/harness"
)

// A leakReport is what these tests read of leaks --json.
type leakReport struct {
	Verdict  string `json:"verdict"`
	Findings []struct {
		Kind       string `json:"kind"`
		Cause      string `json:"cause"`
		Confidence string `json:"confidence"`
		Site       struct {
			Func string `json:"func"`
		} `json:"site"`
		Growth struct {
			PerHour, Low, High float64
		} `json:"growth"`
		HeldBy []struct {
			Root string `json:"root"`
		} `json:"held_by"`
		Evidence []struct {
			Name  string  `json:"name"`
			Value float64 `json:"value"`
		} `json:"evidence"`
	} `json:"findings"`
	PausedSeconds float64  `json:"paused_seconds"`
	Notes         []string `json:"notes"`
}

// TestLeaks looks at three small programs from outside: one that leaks memory, one
// that leaks goroutines, and one that does neither. One that leaks less and less, as
// others take its CPU, is a warm-up: it has the machine to itself.
func TestLeaks(t *testing.T) {
	bin := product.Build(t, "./testdata/leaky")
	for _, tc := range []struct {
		leak, verdict, kind, cause, site, held string
		args                                   []string
	}{
		{leak: "memory", verdict: "leak", kind: "heap", cause: "map-unbounded", site: "main.open", held: "main.sessions", args: []string{"--pause"}},
		{leak: "goroutines", verdict: "leak", kind: "goroutine", cause: "goroutine-send", site: "main.ask"},
		{leak: "", verdict: "no-leak"},
	} {
		t.Run("leak "+tc.leak, func(t *testing.T) {
			t.Parallel()
			prog := harness.Start{Path: bin, Args: []string{"-leak", tc.leak}}.Start(t)
			var r leakReport
			res := product.JSON(t, &r, append([]string{"leaks", strconv.Itoa(prog.PID), "--for", "45s"}, tc.args...)...)
			harness.Alive(t, prog.PID)
			if r.Verdict != tc.verdict || (res.Code == 1) != (tc.verdict == "leak") {
				t.Fatalf("the verdict is %s\n%v", r.Verdict, res)
			}
			if tc.verdict != "leak" {
				return
			}
			f := r.Findings[0]
			if f.Kind != tc.kind || f.Cause != tc.cause || f.Site.Func != tc.site {
				t.Errorf("%s, %s at %s, want %s, %s at %s\n%v", f.Kind, f.Cause, f.Site.Func, tc.kind, tc.cause, tc.site, res)
			}
			if tc.held != "" && (len(f.HeldBy) == 0 || !strings.Contains(f.HeldBy[0].Root, tc.held)) {
				t.Errorf("held by %v, want %s", f.HeldBy, tc.held)
			}
			if paused := len(tc.args) > 0; paused != (r.PausedSeconds > 0) {
				t.Errorf("stopped for %v s", r.PausedSeconds)
			}
		})
	}
}

// TestGoroutineLeakProfile asks a program of Go 1.27 what its own collector found.
func TestGoroutineLeakProfile(t *testing.T) {
	t.Parallel()
	bin := product.Build(t, "./testdata/leaky", "GOTOOLCHAIN=go1.27.4", "GOWORK=off")
	prog := harness.Start{Path: bin, Args: []string{"-leak", "goroutines"}}.Start(t)
	var r leakReport
	res := product.JSON(t, &r, "leaks", strconv.Itoa(prog.PID), "--for", "20s", "--retention", "off", "--url", prog.Ready)
	if r.Verdict != "leak" || r.Findings[0].Confidence != "high" || !strings.Contains(strings.Join(r.Notes, "\n"), "nothing can wake") {
		t.Fatalf("%v", res)
	}
	proven := 0.0
	for _, e := range r.Findings[0].Evidence {
		if e.Name == "proven_leaked_count" {
			proven = e.Value
		}
	}
	if proven < 10 {
		t.Errorf("%v goroutines are proven to have leaked\n%v", proven, res)
	}
}
