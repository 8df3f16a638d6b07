package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUsage(t *testing.T) {
	stat := []byte("7 (a) b (c) R 1 7 7 0 -1 4194560 1 0 0 0 250 130 0 0 20 0 9 0 100 1000 20 0\n")
	status := []byte("Name:\ta\nVmRSS:\t    2048 kB\nRssAnon:\t    1024 kB\nRssFile:\t    1020 kB\nRssShmem:\t       4 kB\n")
	u, err := parseUsage(stat, status)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Usage{User: 2.5, System: 1.3, RSS: 2 << 20, Anon: 1 << 20, File: 1020 << 10}); u != want {
		t.Errorf("got %+v, want %+v", u, want)
	}
	for _, bad := range [][2]string{{"", ""}, {"7 (a) R 1", ""}, {"7 (a) R 1 7 7 0 -1 4194560 1 0 0 0 x 130 0", ""}, {string(stat), "VmRSS: much kB"}} {
		if _, err := parseUsage([]byte(bad[0]), []byte(bad[1])); err == nil {
			t.Errorf("%q was understood", bad)
		}
	}
}

func TestInterval(t *testing.T) {
	m, half := interval([]float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	if math.Abs(m-5.5) > 1e-9 || math.Abs(half-2.166) > 0.005 { // R: t.test(1:10)
		t.Errorf("%.3f ± %.3f, want 5.5 ± 2.166", m, half)
	}
	if _, half := interval([]float64{1}); !math.IsInf(half, 1) {
		t.Errorf("one value has an interval of ± %g", half)
	}
}

func TestBench(t *testing.T) {
	head, all := parseBench("# a machine\ngoos: linux\nBenchmarkQuery/raw,_one_series-2 \t 10\t 12.5 ms/query\t 3 B/op\nBenchmarkAppend-2\t1\t2 ns/op\nPASS\n")
	if head != "a machine" || len(all) != 2 || all[0].Name != "Query/raw, one series" || strings.Join(all[0].Values, ", ") != "12.5 ms/query, 3 B/op" {
		t.Errorf("%q, %+v", head, all)
	}
}

// TestPage holds docs/performance.md against the results that it was made of.
func TestPage(t *testing.T) {
	const page, results = "../../../docs/performance.md", "testdata/2026-11-21"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(again, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"report", "-dir", results, "-into", again}, os.Stderr); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(again)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		t.Errorf("%s says something else than %s: run agentcost report -dir %s -into %s", page, results, results, page)
	}
}

func TestRefusals(t *testing.T) {
	for _, args := range [][]string{nil, {"walk"}, {"run"}, {"run", "-heapwright", "x", "-for", "1s"}, {"report", "-dir", t.TempDir()}} {
		if err := run(t.Context(), args, os.Stderr); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}
