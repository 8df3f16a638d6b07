package cli

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/horizon"
	"github.com/heapwright/heapwright/cmd/internal/horizon/shapes"
	"github.com/heapwright/heapwright/record"
)

// simulated is a trial of a shape, cut after a part of it.
func simulated(t *testing.T, shape string, number uint64, part float64) *record.Recording {
	t.Helper()
	trial, ok := shapes.Make(shape, number)
	if !ok {
		t.Fatalf("there is no shape %q", shape)
	}
	r := trial.Recording
	r.Samples = r.Samples[:int(float64(len(r.Samples))*part)]
	end := r.Samples[len(r.Samples)-1].Time
	r.Cycles = slices.DeleteFunc(r.Cycles, func(c record.Cycle) bool { return c.End.After(end) })
	return r
}

func TestForecastText(t *testing.T) {
	for _, tc := range []struct {
		name string
		rec  *record.Recording
		args []string
		want ExitCode
	}{
		{"leak", simulated(t, "leak, linear", 7, 0.8), nil, ExitOK},
		{"leak-soon", simulated(t, "leak, linear", 7, 0.8), []string{"--fail-within", "100h"}, ExitFinding},
		{"gomemlimit", simulated(t, "leak, linear", 0, 0.8), nil, ExitOK},
		{"level", simulated(t, "healthy, level", 3, 1), []string{"--fail-within", "100h"}, ExitOK},
		{"limit", simulated(t, "leak, linear", 7, 0.8), []string{"--limit", "64GiB"}, ExitOK},
		{"not-enough", recordingOf(proc(7, "short"), ruletest.Server{Seconds: 0.3}), nil, ExitInconclusive},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFakeEnv()
			f.run(t, tc.want, append([]string{"forecast", save(t, tc.rec)}, tc.args...)...)
			at80(t, f.out.String())
			golden(t, "forecast/"+tc.name+".txt", f.out.String()+"--- stderr\n"+f.err.String())
		})
	}
}

func TestForecastUsage(t *testing.T) {
	file := save(t, simulated(t, "healthy, level", 3, 1))
	for _, args := range [][]string{
		{}, {file, file}, {file, "--limit", "much"}, {file, "--limit", "0"}, {file, "--fail-within", "-1h"}, {file, "--for", "-1s"},
		{"--backtest", "--number", "0"}, {"--backtest", file, "--for", "1m"}, {"--backtest", "nowhere.hwrec"}, {"nowhere.hwrec"},
	} {
		f := newFakeEnv()
		f.run(t, ExitCouldNotRun, append([]string{"forecast"}, args...)...)
	}
}

func TestForecastBacktest(t *testing.T) {
	killed := simulated(t, "leak, linear", 7, 1)
	end := killed.Samples[len(killed.Samples)-1].Time.Add(time.Second)
	killed.Events = append(killed.Events, record.Event{Time: end, Kind: record.EventOOMKill})
	file := save(t, killed)
	// save leaves events out.
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := record.NewWriter(f)
	if err := w.Process(killed.Process); err != nil {
		t.Fatal(err)
	}
	for i := range killed.Samples {
		if err := w.Sample(&killed.Samples[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range killed.Cycles {
		if err := w.Cycle(&killed.Cycles[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Event(&killed.Events[0]); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	// The first life of the file goes on, the second ends in the kill.
	env := newFakeEnv()
	env.run(t, ExitOK, "forecast", "--backtest", file, save(t, simulated(t, "healthy, level", 3, 1)))
	at80(t, env.out.String())
	for _, want := range []string{"not killed", "Warned before the end: 1 of 1 killed"} {
		if !strings.Contains(env.out.String(), want) {
			t.Errorf("%q is not in\n%s", want, env.out.String())
		}
	}
}

// What forecast --json prints and what docs/cli-json.md says agree, both ways.
func TestForecastJSON(t *testing.T) {
	calm := save(t, simulated(t, "healthy, level", 3, 1))
	leak := save(t, simulated(t, "leak, linear", 0, 0.8))
	killed := save(t, simulated(t, "leak, linear", 7, 1))
	for schema, runs := range map[string][][]string{
		schemaForecast: {{"forecast", "--json", leak}, {"forecast", "--json", calm}},
		schemaBacktest: {{"forecast", "--json", "--backtest", killed, calm}},
	} {
		keys, seen := documented(t, schema), map[string]string{}
		check := func(doc map[string]any) {
			if doc["schema"] != schema {
				t.Errorf("schema is %v", doc["schema"])
			}
			compare(t, schema, keys, seen, "", doc)
		}
		for _, args := range runs {
			f := newFakeEnv()
			f.run(t, ExitOK, args...)
			var doc map[string]any
			decode(t, f.out.Bytes(), &doc)
			check(doc)
		}
		if schema == schemaForecast {
			high := time.Now()
			check(document(t, &outlook{Schema: schema, State: horizon.Reaches, Killed: &instant{High: &high, HighSeconds: new(float64)},
				GCHurts: &instant{High: &high, HighSeconds: new(float64)}, NotBefore: &high, Inflection: &inflection{}, LiveSlope: &slope{}, NeedSlope: &slope{}, Since: &high}))
		}
		for k := range keys {
			if seen[k] == "" {
				t.Errorf("%s: documented, and in none of the documents: %s", schema, k)
			}
		}
	}
}
