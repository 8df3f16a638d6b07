package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/e2e/internal/jsonl"
	"github.com/heapwright/heapwright/e2e/internal/peers"
)

func TestCampaign(t *testing.T) {
	items := campaign(peers.Faults, peers.Guards, 3, 4)
	count := map[string]int{}
	for i, it := range items {
		if it.n != i {
			t.Errorf("block %d has the number %d", i, it.n)
		}
		if len(it.guards) > 4 || !slices.Contains(it.guards, peers.Heapwright) {
			t.Errorf("block %d has %v", i, it.guards)
		}
		for _, g := range it.guards {
			count[it.fault.Name+" "+g]++
		}
	}
	for _, f := range peers.Faults {
		for _, g := range peers.Guards {
			n := count[f.Name+" "+g]
			if g == peers.Heapwright && n != 9 || g != peers.Heapwright && n != 3 {
				t.Errorf("%s happens to %s %d times", f.Name, g, n)
			}
		}
	}
	again := campaign(peers.Faults, peers.Guards, 3, 4)
	for i := range items {
		if items[i].fault.Name != again[i].fault.Name || !slices.Equal(items[i].guards, again[i].guards) {
			t.Fatal("the same campaign is drawn otherwise: it could not be gone on with")
		}
	}
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	for block := range 3 {
		for guard, good := range map[string]int{peers.Plain: 50, "failsafe": 100, peers.Heapwright: 200} {
			r := peers.Run{Guard: guard, Fault: "slow", Block: block, CPU: 0.005}
			r.Score.Fault = peers.Part{Seconds: 10, Due: 400, Good: good, Refused: 100, P99: 0.5}
			r.Score.After.Seconds = 20
			r.Score.Trip, r.Score.Recover = 1, float64(block)
			if guard == peers.Plain {
				r.Kills = 2
			}
			if err := jsonl.Append(filepath.Join(dir, faultsFile), r); err != nil {
				t.Fatal(err)
			}
			if err := jsonl.Append(filepath.Join(dir, oomFile), r); err != nil {
				t.Fatal(err)
			}
		}
		m := Minute{Guard: peers.Heapwright, Minute: 2 * block, Part: peers.Part{Due: 100, Good: 99, Refused: 1}}
		if err := jsonl.Append(filepath.Join(dir, healthyFile), m); err != nil {
			t.Fatal(err)
		}
	}
	page := filepath.Join(dir, "page.md")
	if err := os.WriteFile(page, []byte("before\n"+resultsBegin+"\nold\n"+resultsEnd+"\nafter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	benchmarks := filepath.Join(dir, "bench.txt")
	if err := os.WriteFile(benchmarks, []byte("BenchmarkAdmitted/failsafe-2 \t 40004\t 6760 ns/op\t 1026 B/op\nPASS\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"report", "-dir", dir, "-into", page, "-bench", benchmarks}, os.Stderr); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"before\n" + resultsBegin, resultsEnd + "\nafter\n",
		"| plain | 3 | 2.0 | 5.0 | 4.00 (4.00 to 4.00) | 500 | 25% | 62% | 1.0 | 1.0 |",
		"| **heapwright** | 3 | 0.0 | 20.0 | – |",
		"2.00 (2.00 to 2.00) times failsafe's | yes |",
		"| **all** | 3 of 3 runs | 0 of 3 runs |",
		"3 in 3 minutes, 3 requests refused | **no** |",
		"| failsafe | 3 | 5.00 | 1.000 (1.000 to 1.000) | 6760 |",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if bytes.Contains(text, []byte("old")) {
		t.Error("the page has the old results too")
	}
	if err := os.WriteFile(page, []byte("nothing\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"report", "-dir", dir, "-into", page}, os.Stderr); err == nil {
		t.Error("a page without a place for results was written")
	}
}

// TestPage holds docs/GUARD.md against the results that it was made of.
func TestPage(t *testing.T) {
	const page, results = "../../../docs/GUARD.md", "testdata/2026-11-21"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(again, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"report", "-dir", results, "-bench", filepath.Join(results, "admitted.txt"), "-into", again}, os.Stderr); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(again)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		t.Errorf("%s says something else than %s: run peers report -dir %s -bench %s/admitted.txt -into %s", page, results, results, results, page)
	}
}
