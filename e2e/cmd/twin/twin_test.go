package main

import (
	"bytes"
	"encoding/json"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/e2e/internal/accuracy"
	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/internal/ladder"
	"github.com/heapwright/heapwright/pacer"
)

// TestTwin is a slice of make twin: one program, calibrated in seconds, and two
// other settings. The bounds are wide, because the machine may be busy; how good
// forecasts are is what make twin is for.
func TestTwin(t *testing.T) {
	product, err := harness.Build("../../..")
	if product != nil {
		defer product.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	args := []string{
		"collect", "-heapwright", product.Binary, "-dir", dir, "-subjects", "webcache", "-go", runtime.Version(),
		"-settings", "gogc100,gogc200,off-1.00", "-calibrate", "5s", "-for", "5s",
	}
	var out bytes.Buffer
	if err := run(t.Context(), args, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.Bytes())
	}
	if n := strings.Count(out.String(), "[GOGC="); n != 3 {
		t.Errorf("want three runs:\n%s", out.Bytes())
	}
	out.Reset()
	if err := run(t.Context(), args, &out); err != nil || strings.Contains(out.String(), "[GOGC=") {
		t.Errorf("a second collection does not skip what there is: %v\n%s", err, out.Bytes())
	}

	cases, storms, err := scoreDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) != 2 || len(storms) != 1 {
		t.Fatalf("%d cases and %d storms, want 2 and 1", len(cases), len(storms))
	}
	for i, c := range cases {
		if want := []string{"gogc200", "off-1.00"}[i]; c.Run.Setting.Name != want || c.Run.Subject != "webcache" || c.Run.GoVersion != runtime.Version() {
			t.Errorf("case %d is %+v, want %s of webcache", i, c.Run, want)
		}
		if len(c.Values) != len(quantities) {
			t.Fatalf("%s has %d values", c.Run.Setting.Name, len(c.Values))
		}
		// On a machine so busy that the program could not do its work, forecast and
		// outcome are of two different programs.
		held := !slices.ContainsFunc(c.Notes, func(n string) bool { return strings.HasPrefix(n, "it allocated") })
		for i, v := range c.Values {
			q := quantities[i]
			if !v.comparison().Known() || !(v.Low <= v.Predicted && v.Predicted <= v.High) {
				t.Errorf("%s: %s is %+v", c.Run.Setting.Name, q.name, v)
			}
			if e := q.errorOf(v.Predicted, v.Measured); held && slices.Contains([]string{"cycles", "heap peak"}, q.name) && !(math.Abs(e) < 0.4) {
				t.Errorf("%s: %s was forecast as %.2f and is %.2f; %v", c.Run.Setting.Name, q.name, v.Predicted, v.Measured, c.Notes)
			}
		}
	}

	rungs, err := readRungs(filepath.Join(dir, runtime.Version(), "webcache"))
	if err != nil || len(rungs) != 1 || rungs[0].Storms() || rungs[0].LimitBytes != float64(cases[1].Run.Setting.GOMEMLIMITBytes) {
		t.Errorf("rungs are %+v, %v; want one without a storm", rungs, err)
	}
	if _, err := readRungs(dir); err == nil {
		t.Error("a directory without runs has rungs")
	}

	out.Reset()
	file := filepath.Join(dir, "table.txt")
	if err := run(t.Context(), []string{"score", "-dir", dir, "-o", file}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 runs of 1 program", "All settings (2 runs)", "By program", "Where storms begin", "gogc200"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, out.Bytes())
		}
	}
	out.Reset()
	if err := run(t.Context(), []string{"score", "-dir", dir, "-json"}, &out); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases []struct {
			Run    Run              `json:"run"`
			Values []map[string]any `json:"values"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil || len(doc.Cases) != 2 || doc.Cases[0].Values[0]["quantity"] != "cycles" {
		t.Errorf("%v: %.500s", err, out.Bytes())
	}
}

func TestRunRefuses(t *testing.T) {
	for name, args := range map[string][]string{
		"nothing":         nil,
		"no such command": {"predict"},
		"no binary":       {"collect", "-dir", t.TempDir()},
		"no such subject": {"collect", "-heapwright", "x", "-dir", t.TempDir(), "-subjects", "nonesuch"},
		"no recordings":   {"score", "-dir", t.TempDir()},
	} {
		if err := run(t.Context(), args, &bytes.Buffer{}); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

// TestTooOld leaves out what a Go release cannot build.
func TestTooOld(t *testing.T) {
	var out bytes.Buffer
	args := []string{"collect", "-heapwright", "x", "-dir", t.TempDir(), "-subjects", "prometheus", "-go", "go1.22.12"}
	if err := run(t.Context(), args, &out); err != nil || !strings.Contains(out.String(), "go1.22.12 prometheus: left out") {
		t.Errorf("%v; it says %q", err, out.String())
	}
}

// TestReport holds the arithmetic of the summary on cases that are made up.
func TestReport(t *testing.T) {
	value := func(i int, predicted, measured, again float64) Value {
		q := quantities[i]
		return Value{q.name, q.unit, predicted, predicted * 0.9, predicted * 1.1, measured, predicted * 2, again}
	}
	made := func(setting ladder.Setting, predicted, measured, again float64) Case {
		c := Case{Run: Run{Subject: "s", GoVersion: "go1.27.4", Setting: setting, CPUs: 2}, Outcome: &pacer.Outcome{}, Control: !math.IsNaN(again)}
		for i := range quantities {
			c.Values = append(c.Values, value(i, predicted, measured, again))
		}
		return c
	}
	nan := math.NaN()
	failed := Case{Run: Run{Subject: "s", GoVersion: "go1.27.4", Setting: ladder.Limited("off-floor", 1e6), Failed: "it ended"}}
	cases := []Case{
		made(ladder.Setting{Name: "gogc25", GOGCPercent: 25, GOMEMLIMITBytes: math.MaxInt64}, 10, 8, nan), // 25% too much, not covered
		made(ladder.Control, 10, 10, 11), // reality itself errs by 10%
		made(ladder.Limited("off-1.00", 1e8), 10, 10.5, nan),
		failed,
	}
	var out bytes.Buffer
	storm := Storm{GoVersion: "go1.27.4", Subject: "s", Measured: accuracy.Boundary{Below: 80 * mib, At: 90 * mib, Above: 100 * mib}, Predicted: pacer.Estimate{Estimate: 99 * mib, Low: 95 * mib, High: 105 * mib}}
	if err := report(&out, cases, []Storm{storm}); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"2 runs of 1 program", "1 run could not be recorded",
		"cycles 14.9 23.0 25.0 2 +10.1 50% 120.2 144.0 10.0 10.0 go1.27.4 s gogc25", // medians of 25 and 4.76, naive 150 and 90.5
		"GC share 1.2 1.8 2.0 2 +0.8 50%",                                           // in points
		"go1.27.4 s 80.0 and 100.0 90.0 99.0 95.0 to 105.0 +10.0",
		"10.0 > 8.00 +25.0*",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q:\n%s", want, out.String())
		}
	}
}
