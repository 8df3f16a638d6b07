package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/heapwright/heapwright/e2e/internal/faults"
)

func TestRefuses(t *testing.T) {
	const root = "../../.."
	for name, args := range map[string][]string{
		"nothing":          nil,
		"no such command":  {"score"},
		"no binary":        {"run", "-root", root, "-dir", t.TempDir()},
		"no such program":  {"run", "-root", root, "-dir", t.TempDir(), "-heapwright", "heapwright", "-only", "nothing"},
		"no such release":  {"truth", "-root", root, "-dir", t.TempDir(), "-only", "ordinary", "-go", "go0.1"},
		"no time":          {"truth", "-root", root, "-dir", t.TempDir(), "-for", "0s"},
		"no speed":         {"truth", "-root", root, "-dir", t.TempDir(), "-speed", "0"},
		"nobody runs":      {"truth", "-root", root, "-dir", t.TempDir(), "-parallel", "0"},
		"another argument": {"truth", "-root", root, "-dir", t.TempDir(), "ordinary"},
		"no results":       {"report", "-root", root, "-dir", t.TempDir()},
		"no list":          {"report", "-root", t.TempDir(), "-dir", t.TempDir()},
	} {
		if err := run(t.Context(), args, &bytes.Buffer{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestLatest(t *testing.T) {
	got := latest([]faults.Run{
		{Fault: "a", Go: "go1", Failed: "no"}, {Fault: "b", Go: "go1"}, {Fault: "a", Go: "go2"}, {Fault: "a", Go: "go1"},
	})
	want := []faults.Run{{Fault: "b", Go: "go1"}, {Fault: "a", Go: "go2"}, {Fault: "a", Go: "go1"}}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i].Fault != want[i].Fault || got[i].Go != want[i].Go || got[i].Failed != want[i].Failed {
			t.Errorf("%d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

func TestEach(t *testing.T) {
	kinds := []string{faults.Leak, faults.OOM, faults.Healthy, faults.Leak, faults.Healthy}
	var jobs []job
	for _, kind := range kinds {
		jobs = append(jobs, job{fault: &faults.Fault{Kind: kind}})
	}
	b := &bench{parallel: 1}
	var got []string
	if err := b.each(t.Context(), jobs, func(_ context.Context, j job) error {
		got = append(got, j.fault.Kind)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{faults.Healthy, faults.Healthy, faults.OOM, faults.Leak, faults.Leak}; !slices.Equal(got, want) {
		t.Errorf("in the order %v, want %v", got, want)
	}
	b.parallel = 2
	var ran atomic.Int32
	broken := errors.New("broken")
	if err := b.each(t.Context(), jobs, func(context.Context, job) error {
		ran.Add(1)
		return broken
	}); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if n := ran.Load(); n > 4 {
		t.Errorf("%d ran after the first had failed", n)
	}
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	runs := `{"fault":"mapunbounded","go":"go1.26.8","seconds":120,"said":{"verdict":"leak","findings":[{"cause":"map-unbounded","site":"main.openSession"}]}}
{"fault":"lrucache","go":"go1.26.8","seconds":240,"said":{"verdict":"no-leak"}}
`
	if err := os.WriteFile(filepath.Join(dir, "runs.jsonl"), []byte(runs), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"report", "-root", "../../..", "-dir", dir}
	var out bytes.Buffer
	if err := run(t.Context(), args, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"map-unbounded", "lrucache", "leaks found        1 of 1"} {
		if !bytes.Contains(out.Bytes(), []byte(want)) {
			t.Errorf("the report has no %q:\n%s", want, out.String())
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, "runs.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"fault":"ordinary","go":"go1.26.8","said":{"verdict":"leak"}}` + "\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := run(t.Context(), args, &out); err == nil {
		t.Error("a false alarm, and the report is content")
	}
}
