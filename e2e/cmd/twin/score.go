package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/e2e/internal/accuracy"
	"github.com/heapwright/heapwright/e2e/internal/ladder"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// A quantity is something that a twin forecasts and a recording shows.
type quantity struct {
	name   string
	unit   string
	factor float64 // from the data model's unit to unit
	// points are errors as differences: of a share of 2%, a ratio of two says little.
	points   bool
	forecast func(*pacer.Forecast) pacer.Estimate
	outcome  func(*pacer.Outcome) float64
	// naive is what the formula says, nil when it says nothing.
	naive func(n accuracy.Naive, goal float64) float64
}

const mib = 1 << 20

var quantities = []quantity{
	{"cycles", "1/s", 1, false,
		func(f *pacer.Forecast) pacer.Estimate { return f.CyclesPerSecond },
		func(o *pacer.Outcome) float64 { return o.CyclesPerSecond },
		func(n accuracy.Naive, goal float64) float64 { return n.CyclesPerSecond(goal) }},
	{"heap p90", "MiB", 1. / mib, false,
		func(f *pacer.Forecast) pacer.Estimate { return f.HeapP90Bytes },
		func(o *pacer.Outcome) float64 { return o.HeapP90Bytes },
		func(n accuracy.Naive, goal float64) float64 {
			return max(n.LiveBytes, n.LiveBytes+0.9*(goal-n.LiveBytes))
		}},
	{"heap peak", "MiB", 1. / mib, false,
		func(f *pacer.Forecast) pacer.Estimate { return f.HeapPeakBytes },
		func(o *pacer.Outcome) float64 { return o.HeapPeakBytes },
		func(n accuracy.Naive, goal float64) float64 { return max(n.LiveBytes, goal) }},
	{"RSS peak", "MiB", 1. / mib, false,
		func(f *pacer.Forecast) pacer.Estimate { return f.RSSPeakBytes },
		func(o *pacer.Outcome) float64 { return o.RSSPeakBytes },
		nil},
	{"GC CPU", "cores", 1, false,
		func(f *pacer.Forecast) pacer.Estimate { return f.GCCPUCores },
		func(o *pacer.Outcome) float64 { return o.GCCPUCores },
		func(n accuracy.Naive, goal float64) float64 { return n.CycleCPUSeconds * n.CyclesPerSecond(goal) }},
	{"GC share", "%", 100, true,
		func(f *pacer.Forecast) pacer.Estimate { return f.GCCPURatio },
		func(o *pacer.Outcome) float64 { return o.GCCPURatio },
		nil},
}

// A Case is one run of a subject, held against the twin of its calibration.
type Case struct {
	Run     Run            `json:"run"`
	Control bool           `json:"control,omitempty"` // the second run at the calibration's setting
	Values  []Value        `json:"values"`            // in the order of the quantities
	Outcome *pacer.Outcome `json:"-"`
	Notes   []string       `json:"notes,omitempty"`
}

// A Value is one quantity of a case, in the unit of its column.
type Value struct {
	Quantity  string
	Unit      string
	Predicted float64
	Low, High float64
	Measured  float64
	Naive     float64
	Again     float64 // of the control only: what the calibration run itself had
}

// MarshalJSON leaves out what is not known.
func (v Value) MarshalJSON() ([]byte, error) {
	m := map[string]any{"quantity": v.Quantity, "unit": v.Unit}
	for name, x := range map[string]float64{"predicted": v.Predicted, "low": v.Low, "high": v.High, "measured": v.Measured, "naive": v.Naive, "calibration": v.Again} {
		if !math.IsNaN(x) && !math.IsInf(x, 0) {
			m[name] = x
		}
	}
	return json.Marshal(m)
}

func (v Value) comparison() accuracy.Comparison {
	return accuracy.Comparison{Predicted: v.Predicted, Low: v.Low, High: v.High, Measured: v.Measured}
}

// errorOf is the error of a prediction in the manner of the quantity: a ratio, or
// points.
func (q quantity) errorOf(predicted, measured float64) float64 {
	c := accuracy.Comparison{Predicted: predicted, Measured: measured}
	switch {
	case !c.Known():
		return math.NaN()
	case q.points:
		return c.Difference() / 100
	}
	return c.Relative()
}

// A Storm is where storms begin for one subject.
type Storm struct {
	GoVersion string            `json:"go_version"`
	Subject   string            `json:"subject"`
	Rungs     []accuracy.Rung   `json:"rungs"`
	Measured  accuracy.Boundary `json:"-"`
	Predicted pacer.Estimate    `json:"-"`
}

func score(_ context.Context, args []string, out io.Writer) error {
	dir, err := defaultDir()
	if err != nil {
		return err
	}
	fs := flag.NewFlagSet("score", flag.ContinueOnError)
	fs.StringVar(&dir, "dir", dir, "where the recordings are")
	file := fs.String("o", "", "write to this file")
	asJSON := fs.Bool("json", false, "print JSON")
	if err := fs.Parse(args); err != nil {
		return err
	}
	cases, storms, err := scoreDir(dir)
	if err != nil {
		return err
	}
	if *file != "" {
		f, err := os.Create(*file)
		if err != nil {
			return err
		}
		defer f.Close()
		out = io.MultiWriter(out, f)
	}
	if *asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(map[string]any{"cases": cases, "storms": storms})
	}
	return report(out, cases, storms)
}

// scoreDir scores all that is in a directory: DIR/GO/SUBJECT/SETTING.json.
func scoreDir(dir string) ([]Case, []Storm, error) {
	subjects, err := filepath.Glob(filepath.Join(dir, "go1.*", "*"))
	if err != nil {
		return nil, nil, err
	}
	var cases []Case
	var storms []Storm
	for _, s := range subjects {
		c, storm, err := scoreSubject(s)
		if errors.Is(err, os.ErrNotExist) {
			continue // not collected yet
		}
		if err != nil {
			return nil, nil, fmt.Errorf("scoring %s: %w", s, err)
		}
		cases = append(cases, c...)
		storms = append(storms, storm)
	}
	if len(cases) == 0 {
		return nil, nil, fmt.Errorf("there are no recordings in %s: run twin collect", dir)
	}
	return cases, storms, nil
}

// scoreSubject fits a twin to the calibration run, and holds it against the others.
func scoreSubject(dir string) ([]Case, Storm, error) {
	rec, calibration, err := readRun(dir, ladder.Calibration.Name)
	if err != nil {
		return nil, Storm{}, err
	}
	at100, err := pacer.Measure(rec)
	if err != nil {
		return nil, Storm{}, err
	}
	twin, err := pacer.Fit(rec)
	if err != nil {
		return nil, Storm{}, err
	}
	naive, err := accuracy.NewNaive(rec, at100.GCCPUCores)
	if err != nil {
		return nil, Storm{}, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, Storm{}, err
	}
	storm := Storm{GoVersion: calibration.GoVersion, Subject: calibration.Subject, Predicted: twin.StormFloorBytes()}
	var cases []Case
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if name == ladder.Calibration.Name {
			continue
		}
		other, run, err := readRun(dir, name)
		if err != nil {
			return nil, Storm{}, err
		}
		if run.Failed != "" {
			cases = append(cases, Case{Run: run, Notes: []string{run.Failed}})
			continue
		}
		outcome, err := pacer.Measure(other)
		if err != nil {
			return nil, Storm{}, fmt.Errorf("%s: %w", name, err)
		}
		set := pacer.Settings{GOGCPercent: run.Setting.GOGCPercent, GOMEMLIMITBytes: run.Setting.GOMEMLIMITBytes}
		forecast := twin.Forecast(set)
		c := Case{Run: run, Control: name == ladder.Control.Name, Outcome: &outcome}
		goal := naive.GoalBytes(set.GOGCPercent, set.GOMEMLIMITBytes)
		for _, q := range quantities {
			e, f := q.forecast(&forecast), q.factor
			v := Value{q.name, q.unit, f * e.Estimate, f * e.Low, f * e.High, f * q.outcome(&outcome), math.NaN(), math.NaN()}
			if q.naive != nil {
				v.Naive = f * q.naive(naive, goal)
			}
			if c.Control {
				v.Again = f * q.outcome(&at100)
			}
			c.Values = append(c.Values, v)
		}
		c.Notes = notes(rec, other, run, &outcome)
		cases = append(cases, c)
		if set.GOGCPercent < 0 {
			storm.Rungs = append(storm.Rungs, rung(run, &outcome))
		}
	}
	slices.SortFunc(cases, func(a, b Case) int { return ladder.Compare(a.Run.Setting, b.Run.Setting) })
	storm.Measured = accuracy.FindBoundary(storm.Rungs)
	return cases, storm, nil
}

// readMeta reads what is kept of a run beside its recording.
func readMeta(file string) (r Run, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("reading %s: %w", file, err)
	}
	return r, nil
}

// readRun reads what collect wrote of a run. There is no recording when it failed.
func readRun(dir, name string) (*record.Recording, Run, error) {
	r, err := readMeta(filepath.Join(dir, name+".json"))
	if err != nil {
		return nil, r, err
	}
	if r.Failed != "" {
		if name == ladder.Calibration.Name {
			return nil, r, fmt.Errorf("its calibration run failed: %s", r.Failed)
		}
		return nil, r, nil
	}
	rec, err := readRecording(filepath.Join(dir, name+".hwrec"))
	return rec, r, err
}

// notes say what was different in a run beside its settings, or makes its numbers
// rough: why a forecast may be off although the twin is right, and where to look
// when it is not.
func notes(calibration, rec *record.Recording, r Run, o *pacer.Outcome) []string {
	var out []string
	say := func(format string, a ...any) { out = append(out, fmt.Sprintf(format, a...)) }
	was, is := allocRate(calibration), allocRate(rec)
	if d := is/was - 1; math.Abs(d) > 0.03 {
		say("it allocated %+.0f%%", 100*d)
	}
	if left := leftOut(r.Said); left > 0.01 {
		say("the load was not held: %.0f%% left out", 100*left)
	}
	wasLive, isLive := mean(calibration, record.FieldHeapMarkedBytes), mean(rec, record.FieldHeapMarkedBytes)
	if d := isLive/wasLive - 1; math.Abs(d) > 0.05 {
		say("%+.0f%% survived cycles", 100*d)
	}
	if o.LimiterEngaged {
		say("the GC CPU limiter was on")
	}
	if o.Cycles < 6 {
		say("only %d cycles in the window", o.Cycles)
	}
	if r.OtherCores > 0.5*float64(r.CPUs) {
		say("others used %.1f cores", r.OtherCores)
	}
	if rec.Truncated != "" {
		say("the recording was cut: %s", rec.Truncated)
	}
	return out
}

func allocRate(rec *record.Recording) float64 {
	first, last := rec.Ends(record.FieldTotalAllocBytes)
	if first == nil {
		return math.NaN()
	}
	rate, ok := record.Rate(first, last, record.FieldTotalAllocBytes)
	if !ok {
		return math.NaN()
	}
	return rate
}

func mean(rec *record.Recording, f record.Field) float64 {
	points := rec.Series(f)
	sum := 0.0
	for _, p := range points {
		sum += p.Value
	}
	return sum / float64(len(points))
}

// leftOut reads "done 123, left out 4" as a share.
func leftOut(said string) float64 {
	var done, left float64
	if n, err := fmt.Sscanf(said, "done %f, left out %f", &done, &left); n != 2 || err != nil || done+left == 0 {
		return 0
	}
	return left / (done + left)
}
