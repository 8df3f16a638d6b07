package alert

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
)

// told are the alerts that were printed.
func told(t *testing.T, b *bytes.Buffer) []Alert {
	t.Helper()
	var out []Alert
	for d := json.NewDecoder(b); d.More(); {
		var a Alert
		if err := d.Decode(&a); err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

// TestRestart: what fired when the agent ended fires when it is there again, without being
// said anew, and who was told hears of its end.
func TestRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "alerts.json")
	half := 0.5
	cfg := Config{NoDefaults: true, Stdout: true, Rules: []Rule{
		{Name: "gc", Severity: diagnose.Warning, Signal: GCCPURatio, Above: &half},
		{Name: "gone", Severity: diagnose.Warning, Signal: ProcessGone},
	}}
	now := time.Unix(1_700_000_000, 0)
	begin := func(cfg Config) (*Alerter, *bytes.Buffer) {
		t.Helper()
		b := new(bytes.Buffer)
		a, err := start(cfg, nil, quiet, b)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Remember(file, now); err != nil {
			t.Fatal(err)
		}
		return a, b
	}
	observe := func(a *Alerter, share float64, process string, up bool) {
		now = now.Add(5 * time.Second)
		a.Observe(now, []Observation{{Process: process, Time: now, Up: up, Values: map[Signal]float64{GCCPURatio: share}}})
	}
	a, b := begin(cfg)
	for range 200 {
		observe(a, 0.9, "svc", true)
	}
	if got := told(t, b); len(got) != 1 || got[0].State != Firing {
		t.Fatalf("%+v", got)
	}

	now = now.Add(time.Hour)
	a, b = begin(cfg)
	if got := a.Active(); len(got) != 1 || got[0].Rule != "gc" || got[0].Process != "svc" || len(got[0].Evidence) == 0 {
		t.Fatalf("after the restart: %+v", got)
	}
	for range 20 {
		observe(a, 0.9, "svc", true)
	}
	if got := told(t, b); len(got) != 0 {
		t.Errorf("it is said again: %+v", got)
	}

	// One whose process does not come back ends as one that is gone.
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	a, b = begin(cfg)
	for range 200 {
		observe(a, 0, "other", true)
	}
	if got := told(t, b); len(got) != 1 || got[0].State != Resolved || got[0].Process != "svc" {
		t.Errorf("the process is gone: %+v", got)
	}

	// And one whose rule is gone ends at once.
	if err := os.WriteFile(file, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	_, b = begin(Config{NoDefaults: true, Stdout: true, Rules: cfg.Rules[1:]})
	if got := told(t, b); len(got) != 1 || got[0].State != Resolved || got[0].Note != notInForce {
		t.Errorf("the rule is gone: %+v", got)
	}

	a, b = begin(cfg)
	for range 200 {
		observe(a, 0.1, "svc", true)
	}
	if got := told(t, b); len(got) != 1 || got[0].State != Resolved {
		t.Errorf("it is over: %+v", got)
	}
	if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), "svc") {
		t.Errorf("%s, %v", text, err)
	}
}

// TestDamagedMemory: a file that is no good is said, and keeps nobody from going on.
func TestDamagedMemory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "alerts.json")
	if err := os.WriteFile(file, []byte(`{"schema":"other"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := start(Config{}, nil, quiet, new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Remember(file, time.Now()); err == nil || len(a.Active()) != 0 {
		t.Errorf("%v, %+v", err, a.Active())
	}
}
