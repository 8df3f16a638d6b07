package toolkit

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/planfile"
	"github.com/heapwright/heapwright/record"
)

var update = flag.Bool("update", false, "write the golden files anew")

// everything is a plan with everything that a plan can have.
func everything(t testing.TB) *chaos.Plan {
	t.Helper()
	plan, _, err := planfile.Load("../planfile/testdata/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// plans are plans of all kinds.
func plans(t testing.TB) map[string]*chaos.Plan {
	t.Helper()
	out := map[string]*chaos.Plan{"everything": everything(t)}
	for _, kind := range planfile.Kinds() {
		p, err := planfile.Parse(kind+".yaml", planfile.Template(kind))
		if err != nil {
			t.Fatal(err)
		}
		out[kind] = p
	}
	return out
}

// What is exported comes back as it was.
func TestRoundTrip(t *testing.T) {
	for name, p := range plans(t) {
		text, notes, err := Export(p, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(notes) == 0 {
			t.Errorf("%s: the Toolkit cannot say all of it, and nothing is told", name)
		}
		got, err := Import(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(got.Plan, p) {
			t.Errorf("%s came back as\n%+v\nand was\n%+v", name, got.Plan, p)
		}
	}
}

func TestExport(t *testing.T) {
	text, _, err := Export(plans(t)["pid"], Options{File: "orders.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "pid.json", text)
}

// TestValid asks the Toolkit's own library whether experiments are valid. The path of an
// activity has to be there for it, so that a file by the name of heapwright is.
func TestValid(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3, in which the Chaos Toolkit is written")
	}
	dir := t.TempDir()
	env := append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	check := func(script string, args ...string) ([]byte, error) {
		c := exec.Command(python, append([]string{"-c", script}, args...)...)
		c.Env = env
		return c.CombinedOutput()
	}
	if out, err := check("import chaoslib, chaoslib.experiment; print(chaoslib.__version__)"); err != nil {
		t.Skipf("python3 has no package chaoslib (chaostoolkit-lib): %.200s", bytes.TrimSpace(out[max(len(out)-200, 0):]))
	} else {
		t.Logf("chaostoolkit-lib %s", bytes.TrimSpace(out))
	}
	if err := os.WriteFile(filepath.Join(dir, "heapwright"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	const script = `import json, sys
from chaoslib.experiment import ensure_experiment_is_valid
ensure_experiment_is_valid(json.load(open(sys.argv[1])))`
	for name, p := range plans(t) {
		text, _, err := Export(p, Options{})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name+".json")
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := check(script, file); err != nil {
			t.Errorf("%s is not valid: %v\n%s", name, err, out)
		}
	}
	// Its checks of activities and of tolerances come to what our journal says.
	const journal = `import json, sys
from chaoslib.activity import ensure_activity_is_valid
from chaoslib.experiment import ensure_experiment_is_valid
from chaoslib.hypothesis import ensure_hypothesis_tolerance_is_valid, within_tolerance
j = json.load(open(sys.argv[1]))
ensure_experiment_is_valid(j["experiment"])
for r in j["run"] + j["rollbacks"]:
    ensure_activity_is_valid(r["activity"])
for s in [j["steady_states"]["before"], j["steady_states"]["after"]] + j["steady_states"]["during"]:
    for r in s["probes"] if s else []:
        a = r["activity"]
        ensure_activity_is_valid(a)
        ensure_hypothesis_tolerance_is_valid(a["tolerance"])
        assert within_tolerance(a["tolerance"], r["output"], {}, {}) == r["tolerance_met"], r`
	if out, err := check(journal, filepath.Join("testdata", "journal.json")); err != nil {
		t.Errorf("the journal is not as the Toolkit's: %v\n%s", err, out)
	}
	// It is the Toolkit that says so: what is wrong is not valid.
	file := filepath.Join(dir, "wrong.json")
	if err := os.WriteFile(file, []byte(`{"title": "x", "description": "y", "method": [{"type": "action"}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := check(script, file); err == nil {
		t.Error("an action without a name is valid")
	}
}

// An experiment that was not made here.
const foreign = `{
  "version": "1.0.0", "title": "What if memory is short?", "description": "x",
  "configuration": {"size": "64M", "host": {"type": "env", "key": "HOST", "default": "orders"}, "token": {"type": "vault"}},
  "secrets": {"a": {}},
  "steady-state-hypothesis": {"title": "ok", "probes": [
    {"type": "probe", "name": "ready", "tolerance": 200, "provider": {"type": "http", "url": "http://${host}:8080/ready"}},
    {"type": "probe", "name": "other", "tolerance": 200, "provider": {"type": "http", "url": "http://x/"}},
    {"type": "probe", "name": "posts", "tolerance": 201, "provider": {"type": "http", "url": "http://x/", "method": "POST"}},
    {"type": "probe", "name": "count", "tolerance": 1, "provider": {"type": "python", "module": "m", "func": "f"}}]},
  "method": [
    {"type": "action", "name": "Eat memory!", "provider": {"type": "process", "path": "/usr/bin/stress-ng", "arguments": "--vm 2 --vm-bytes ${size} --timeout 30s"}, "pauses": {"after": 15}},
    {"type": "action", "name": "Eat memory!", "provider": {"type": "process", "path": "stress", "arguments": ["-m", "1", "--vm-bytes", "1G", "-t", "20"]}},
    {"type": "action", "name": "map", "provider": {"type": "process", "path": "stress-ng", "arguments": {"--vm": 1, "--vm-bytes": "50%"}}},
    {"type": "action", "name": "cpu", "provider": {"type": "process", "path": "stress-ng", "arguments": ["--cpu", "2"]}},
    {"type": "action", "name": "io", "provider": {"type": "process", "path": "stress-ng", "arguments": ["--io", "2"]}},
    {"type": "action", "name": "mesh", "provider": {"type": "python", "module": "chaosk8s.chaosmesh.stress.faults", "func": "stress_memory", "arguments": {"workers": 1, "size": "256MB"}}},
    {"type": "action", "name": "mesh cpu", "provider": {"type": "python", "module": "chaosk8s.chaosmesh.stress.faults", "func": "stress_cpu"}},
    {"type": "action", "name": "net", "provider": {"type": "python", "module": "chaosk8s.chaosmesh.network.faults", "func": "add_latency"}},
    {"type": "action", "name": "own", "provider": {"type": "process", "path": "heapwright", "arguments": ["stress", "--yes", "plan.yaml"]}},
    {"type": "action", "name": "rm\u001b[2J", "provider": {"type": "process", "path": "rm", "arguments": "-rf /"}},
    {"type": "probe", "name": "look", "provider": {"type": "http", "url": "http://x/"}},
    {"ref": "ready"}, 5],
  "rollbacks": [{"type": "action", "name": "x", "provider": {"type": "process", "path": "true"}}]
}`

func TestImport(t *testing.T) {
	got, err := Import([]byte(foreign))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "foreign.yaml", got.Text)
	if got.Plan != nil {
		t.Error("a plan without a process is complete")
	}
	if text := strings.Join(got.Notes, "\n"); strings.Contains(text, "\x1b") || !strings.Contains(text, "target: there is no process to do it to") {
		t.Errorf("notes:\n%s", text)
	}
	// With the process it is a plan.
	p, err := planfile.Parse("x.yaml", bytes.Replace(got.Text, []byte("target:\n"), []byte("target:\n    pid: 4711\n"), 1))
	if err != nil {
		t.Fatal(err)
	}
	var levels []float64
	for _, f := range p.Faults {
		levels = append(levels, f.Level.Value)
	}
	if want := []float64{128 << 20, 1 << 30, 256 << 20}; !reflect.DeepEqual(levels, want) || p.Faults[0].Hold != 30*time.Second || p.Faults[1].Hold != 20*time.Second || p.Faults[1].Name != "Eat-memory-2" || p.Between != 15*time.Second {
		t.Errorf("%+v", p.Faults)
	}
	// The same as YAML.
	var v any
	if err := json.Unmarshal([]byte(foreign), &v); err != nil {
		t.Fatal(err)
	}
	again, err := Import([]byte("# a comment, which JSON has none of\n" + foreign))
	if err != nil || string(again.Text) != string(got.Text) {
		t.Errorf("as YAML: %v\n%s", err, again.Text)
	}
}

func TestImportRefuses(t *testing.T) {
	for _, text := range []string{
		"", "[]", "x", "a: [", strings.Repeat(" ", 300<<10),
		`{"extensions": [{"name": "heapwright", "schema": "heapwright.stress/1", "plan": {"name": 5}}]}`,
		`{"extensions": [{"name": "heapwright", "schema": "heapwright.stress/1", "plan": {"surprise": 5}}]}`,
		`{"extensions": [{"name": "heapwright", "schema": "heapwright.stress/1", "plan": {"schema": "heapwright.stress/1", "target": {"pid": 1}}}]}`,
	} {
		if got, err := Import([]byte(text)); err == nil {
			t.Errorf("%.80q is an experiment: %s", text, got.Text)
		}
	}
}

func TestJournal(t *testing.T) {
	plan := plans(t)["pid"]
	at := func(s int) time.Duration { return time.Duration(s) * time.Second }
	one := 1.0
	ready := chaos.Criterion{Metric: chaos.Ready, AtLeast: &one}
	run := &chaos.Run{Schema: chaos.ResultSchema, Started: time.Date(2026, 11, 22, 5, 0, 0, 250e6, time.UTC), Plan: *plan, Target: record.Process{PID: 5, Name: "orders"},
		Machine: chaos.Machine{Kernel: "Linux 6.18"},
		Phases:  []chaos.Phase{{Kind: chaos.PhaseBefore, Fault: -1, To: at(60)}, {Kind: chaos.PhaseFault, Fault: 0, From: at(60), To: at(90)}, {Kind: chaos.PhaseRecovery, Fault: 0, From: at(90), To: at(100)}},
		Faults:  []chaos.Done{{Fault: 0, Began: at(60), Ended: at(90), Peak: 8e7, Measured: 8e7, By: "GOMEMLIMIT as read", Happened: true, Undo: 20 * time.Millisecond, Verified: true}},
	}
	verdict := func(o chaos.Outcome, during bool, wrong string) *chaos.Verdict {
		return &chaos.Verdict{Outcome: o, Faults: []chaos.FaultResult{{Fault: 0, Wrong: wrong}}, Criteria: []chaos.CriterionResult{
			{Criterion: ready, Phase: chaos.PhaseBefore, Fault: -1, Bound: 1, Worst: 1, Points: 600, Held: true},
			{Criterion: ready, Phase: chaos.PhaseFault, Fault: 0, Bound: 1, Points: 300, Held: during},
			{Criterion: chaos.Criterion{Metric: chaos.OOMKills, AtMost: new(float64)}, Phase: chaos.PhaseRecovery, Fault: 0, Unknown: true},
		}}
	}
	text, err := Journal(run, verdict(chaos.Deviated, false, "it was not ready"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "journal.json", text)
	shape(t, text)
	for _, tc := range []struct {
		outcome     chaos.Outcome
		interrupted bool
		want        string
	}{
		{chaos.Pass, false, "completed"}, {chaos.Deviated, false, "completed"}, {chaos.Aborted, false, "aborted"}, {chaos.NotRun, false, "failed"}, {chaos.Aborted, true, "interrupted"},
	} {
		run.Interrupted = tc.interrupted
		text, err := Journal(run, verdict(tc.outcome, true, ""), Options{})
		if err != nil {
			t.Fatal(err)
		}
		var j struct {
			Status   string `json:"status"`
			Deviated bool   `json:"deviated"`
		}
		if err := json.Unmarshal(text, &j); err != nil || j.Status != tc.want || j.Deviated != (tc.outcome == chaos.Deviated) {
			t.Errorf("%s is %+v, %v", tc.outcome, j, err)
		}
	}
	// Nothing was done: no phases, no faults.
	if _, err := Journal(&chaos.Run{Plan: *plan, Refused: "no"}, &chaos.Verdict{Outcome: chaos.NotRun}, Options{}); err != nil {
		t.Error(err)
	}
}

// shape holds a journal against what chaostoolkit-lib 1.45.0 wrote of experiments that
// were exported here and run by it, at 2026-11-22: the keys of each object and the kinds
// of their values. Outputs are the provider's own.
func shape(t *testing.T, text []byte) {
	t.Helper()
	var j map[string]any
	if err := json.Unmarshal(text, &j); err != nil {
		t.Fatal(err)
	}
	keys := func(what string, v any, kinds map[string]string, maybe ...string) map[string]any {
		t.Helper()
		m, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("%s is %T", what, v)
		}
		for k, v := range m {
			kind, known := kinds[k]
			if got := fmt.Sprintf("%T", v); !known || kind != "" && got != kind {
				t.Errorf("%s.%s is %s, want %q", what, k, got, kind)
			}
		}
		for k := range kinds {
			if _, there := m[k]; !there && !slices.Contains(maybe, k) {
				t.Errorf("%s has no %s", what, k)
			}
		}
		return m
	}
	const text0, number, list, object = "string", "float64", "[]interface {}", "map[string]interface {}"
	stamped := func(what string, v any) {
		if _, err := time.Parse("2006-01-02T15:04:05.999999-07:00", fmt.Sprint(v)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	activity := func(what string, v any, probe bool) {
		kinds := map[string]string{"activity": object, "output": "", "start": text0, "end": text0, "duration": number, "status": text0, "exception": list, "tolerance_met": "bool"}
		maybe := []string{"exception", "tolerance_met"}
		m := keys(what, v, kinds, maybe...)
		stamped(what, m["start"])
		stamped(what, m["end"])
		failed := m["status"] == "failed"
		if !failed && m["status"] != "succeeded" || failed != (m["exception"] != nil) {
			t.Errorf("%s is %v, with %v", what, m["status"], m["exception"])
		}
		if met, judged := m["tolerance_met"].(bool); judged != probe || failed && met {
			t.Errorf("%s is %v, and its tolerance %v", what, m["status"], m["tolerance_met"])
		}
	}
	keys("journal", j, map[string]string{"chaoslib-version": text0, "platform": text0, "node": text0, "experiment": object, "start": text0, "status": text0,
		"deviated": "bool", "steady_states": object, "run": list, "rollbacks": list, "end": text0, "duration": number})
	stamped("journal", j["start"])
	stamped("journal", j["end"])
	if !slices.Contains([]any{"completed", "failed", "aborted", "interrupted"}, j["status"]) {
		t.Errorf("%v is no status", j["status"])
	}
	states := keys("steady_states", j["steady_states"], map[string]string{"before": "", "after": "", "during": list})
	all := append([]any{states["before"], states["after"]}, states["during"].([]any)...)
	for _, s := range all {
		if s == nil {
			continue
		}
		m := keys("a state", s, map[string]string{"steady_state_met": "bool", "probes": list})
		met := true
		for _, p := range m["probes"].([]any) {
			activity("a probe", p, true)
			met = met && p.(map[string]any)["tolerance_met"] == true
		}
		if m["steady_state_met"] != met {
			t.Errorf("a state is %v, and its probes are %v", m["steady_state_met"], met)
		}
	}
	for _, key := range []string{"run", "rollbacks"} {
		for _, a := range j[key].([]any) {
			activity(key, a, false)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs (-update writes it anew)\ngot:\n%s", file, got)
	}
}

func FuzzImport(f *testing.F) {
	f.Add([]byte(foreign))
	for _, p := range plans(f) {
		text, _, err := Export(p, Options{})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := Import(text)
		if err != nil {
			return
		}
		if len(got.Notes) > maxNotes {
			t.Errorf("%d notes", len(got.Notes))
		}
		if got.Plan == nil {
			return
		}
		// What was taken is a plan, and stays one.
		again, err := planfile.Parse("imported.yaml", got.Text)
		if err != nil || !reflect.DeepEqual(again, got.Plan) {
			t.Errorf("%v\n%s", err, got.Text)
		}
	})
}
