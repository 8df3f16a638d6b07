package main

import (
	"bytes"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/gain"
	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/internal/ladder"
)

// TestQuick is a slice of make tune-bench. What a plan gains is what make tune-bench
// is for; here it must be made, and live in its budget.
func TestQuick(t *testing.T) {
	product, err := harness.Build("../../..")
	if product != nil {
		defer product.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	args := []string{"run", "-quick", "-heapwright", product.Binary, "-dir", dir, "-go", runtime.Version()}
	var out bytes.Buffer
	if err := run(t.Context(), args, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.Bytes())
	}
	g, err := store(dir).group("webcache")
	if err != nil || g == nil {
		t.Fatalf("%v\n%s", err, out.Bytes())
	}
	if g.NoPlan != "" || g.Expected == nil || len(g.Variants) != 5 || g.Variants[4].Name != planName {
		t.Fatalf("want four others and a plan: %+v", g)
	}
	if s := g.Sizes[0]; !(s.LiveBytes > 20<<20 && s.LiveBytes < 200<<20) || float64(g.Budget) < 2*s.LiveBytes {
		t.Errorf("the budget of %+v is %d", s, g.Budget)
	}
	if p := g.variant(planName)[0]; p.GOMEMLIMITBytes >= int64(g.Budget) {
		t.Errorf("the plan for %d bytes is %+v", g.Budget, p)
	}
	results, err := store(dir).results()
	if err != nil || len(results) != 5 {
		t.Fatalf("%d results, %v\n%s", len(results), err, out.Bytes())
	}
	for _, r := range results {
		if r.Variant != planName {
			continue // the others may be killed
		}
		if r.Killed || r.Failed != "" || len(r.Members) != 1 {
			t.Fatalf("the plan's run did not live: %+v\n%s", r, out.Bytes())
		}
		m := r.Members[0]
		if !(m.GCCores > 0 && m.GCCores < m.Cores && m.CyclesPerSecond > 0 && r.RSSMean > 0 && r.RSSMean <= r.RSSPeak) || !strings.HasPrefix(m.Said, "done ") {
			t.Errorf("the plan's run is %+v", r)
		}
	}
	for _, want := range []string{"ONE PROGRAM IN A BUDGET", "default", "limit-90%", "off-90%", "tuner-70%", "plan"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, out.Bytes())
		}
	}

	out.Reset()
	if err := run(t.Context(), args, &out); err != nil {
		t.Fatal(err)
	}
	if again, err := store(dir).results(); err != nil || len(again) != len(results) {
		t.Errorf("a second run does not skip what there is: %d results, %v", len(again), err)
	}
}

func TestRunRefuses(t *testing.T) {
	broken := t.TempDir()
	if err := os.WriteFile(store(broken).path("results.jsonl"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"nothing":         nil,
		"no such command": {"score"},
		"no binary":       {"run", "-dir", t.TempDir()},
		"no such subject": {"run", "-heapwright", "x", "-dir", t.TempDir(), "-subjects", "nonesuch", "-shared", ""},
		"no results":      {"report", "-dir", t.TempDir()},
		"broken results":  {"report", "-dir", broken},
	} {
		if err := run(t.Context(), args, &bytes.Buffer{}); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

func TestSmallest(t *testing.T) {
	for refused, want := range map[string]uint64{
		"heapwright: 96.0 MiB is too small: the live heap takes up to 28.8 MiB; the smallest budget that works is 116MiB\nheapwright: hint: plan for 116MiB": 116 << 20,
		"heapwright: the live heap grows by 1 MiB/s":                0,
		"the smallest budget that works is 1.5GiB":                  0,
		"the smallest budget that works is 99999999999999999999MiB": 0,
		"": 0,
	} {
		if got := smallest(refused); got != want {
			t.Errorf("%q: %d, want %d", refused, got, want)
		}
	}
}

// TestReport holds what is made of results that are made up.
func TestReport(t *testing.T) {
	s := store(t.TempDir())
	none := int64(math.MaxInt64)
	set := func(gogc, limit int64) []ladder.Setting {
		return []ladder.Setting{{GOGCPercent: gogc, GOMEMLIMITBytes: limit}}
	}
	twice := func(gogc, limit int64) []ladder.Setting { return slices.Concat(set(gogc, limit), set(gogc, limit)) }
	sizes := gain.Sizes{LiveBytes: 50 << 20, RuntimeBytes: 5 << 20, NonGoBytes: 10 << 20, PerHeapByte: 1}
	groups := []Group{
		{Name: "kv", Subjects: []string{"kv"}, Sizes: []gain.Sizes{sizes}, Budget: 110 << 20, Raised: 90 << 20,
			Variants: []Variant{{"default", set(100, none)}, {"off-90%", set(-1, 99<<20)}, {planName, set(90, 95<<20)}},
			Expected: &Expected{GCCores: Interval{0.05, 0.04, 0.06}, RSSPeak: Interval{50 << 20, 45 << 20, 55 << 20}}},
		{Name: "leak", Subjects: []string{"leak"}, Sizes: []gain.Sizes{sizes}, Budget: 110 << 20, Variants: []Variant{{"default", set(100, none)}}, NoPlan: "it grows\nand grows"},
		{Name: "kv+json", Subjects: []string{"kv", "json"}, Sizes: []gain.Sizes{sizes, sizes}, Budget: 220 << 20,
			Variants: []Variant{{"equal", twice(80, 90<<20)}, {planName, twice(90, 80<<20)}}},
	}
	for i := range groups {
		if err := s.saveGroup(&groups[i]); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Date(2026, 11, 21, 14, 0, 0, 0, time.UTC)
	add := func(group, variant string, block, members int, gc, rss float64, change func(*Result)) {
		r := Result{Group: group, Variant: variant, Block: block, Started: at, Seconds: 8, RSSPeak: rss, RSSMean: rss, AnonPeak: rss / 2, Enforced: true}
		for range members {
			r.Members = append(r.Members, Member{GCCores: gc / float64(members), Cores: 0.5, Said: "done 990, left out 10"})
		}
		if change != nil {
			change(&r)
		}
		if err := s.saveResult(r); err != nil {
			t.Fatal(err)
		}
	}
	for block := range 2 {
		add("kv", "default", block, 0, 0, 0, func(r *Result) { r.Killed = block == 1; r.Failed = "it ended" })
		add("kv", "off-90%", block, 1, 0.1, 100<<20, func(r *Result) { r.Members[0].Limiter = true })
		add("kv", planName, block, 1, 0.05, 100<<20, nil)
		add("leak", "default", block, 1, 0.1, 100<<20, nil)
		add("kv+json", "equal", block, 2, 0.2, 200<<20, nil)
		add("kv+json", planName, block, 2, 0.18, 190<<20, nil)
	}
	var out bytes.Buffer
	if err := s.report(&out); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"12 runs of 8s from 2026-11-21 14:00 to 14:00 UTC, 12 of them",
		"kv 110Mi 90/95Mi off-90% 0.50 [0.50, 0.50] 0.44 [0.44, 0.44] 1.00 [1.00, 1.00] 1.00 [1.00, 1.00] 1.00 [1.00, 1.00] goal reached: less GC CPU",
		"budget 110Mi, the smallest that works, instead of 90Mi",
		"leak 110Mi - - - - - - - no plan: it grows",
		"kv+json 220Mi 90/80Mi 90/80Mi equal 0.90 [0.90, 0.90] 0.88 [0.88, 0.88] 1.00 [1.00, 1.00] 0.95 [0.95, 0.95] 0.95 [0.95, 0.95] better, goal missed",
		"default 100 2 - - - - - - - 1 0 - - - ",
		"off-90% off/99Mi 2 0.1000 20.0% 0.500 100Mi 100Mi 50Mi 0.45 0 2 1.0% 0.50 [0.50, 0.50]",
		"0.0500 [0.0400, 0.0600] cores of GC CPU for itself (the mean is in it) and an RSS peak of 50Mi [45Mi, 55Mi] (the mean is not in it: +100%)",
		"default, block 1, failed: it ended",
		"kv 50Mi live, 5Mi of the runtime beside it, 10Mi not Go's; json 50Mi live",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q:\n%s", want, out.Bytes())
		}
	}
}
