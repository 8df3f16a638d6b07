package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/honesty"
)

func TestCampaignIsMixed(t *testing.T) {
	items := campaign(map[string]int{"a/a": 4, "drift": 4, "burn": 2})
	var got []string
	seen := map[int]bool{}
	for _, it := range items {
		got = append(got, fmt.Sprint(it.kind.Name, it.n))
		if s := seed(it); seen[s] {
			t.Errorf("two experiments have seed %d", s)
		} else {
			seen[s] = true
		}
	}
	const want = "a/a0 drift0 burn0 a/a1 drift1 a/a2 drift2 burn1 a/a3 drift3"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
}

func TestDuty(t *testing.T) {
	const over = 10 * time.Second
	for _, tt := range []struct {
		at       time.Duration
		up, down float64
	}{
		{0, 0, 0.8}, {5 * time.Second, 0.4, 0.4}, {10 * time.Second, 0.8, 0}, {20 * time.Second, 0.8, 0},
	} {
		if got := duty(tt.at, over, 0.8, false); got != tt.up {
			t.Errorf("up at %v: %g, want %g", tt.at, got, tt.up)
		}
		if got := duty(tt.at, over, 0.8, true); got != tt.down {
			t.Errorf("down at %v: %g, want %g", tt.at, got, tt.down)
		}
	}
}

func TestRefuses(t *testing.T) {
	broken := t.TempDir()
	if err := os.WriteFile(store(broken).path("experiments.jsonl"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"nothing":            nil,
		"no such command":    {"score"},
		"no binary":          {"run", "-dir", t.TempDir()},
		"no such kind":       {"run", "-heapwright", "/bin/false", "-dir", t.TempDir(), "-kinds", "a/b"},
		"no results":         {"report", "-dir", t.TempDir()},
		"judges by nothing":  {"judge", "-dir", t.TempDir()},
		"broken results":     {"report", "-dir", broken},
		"burns for no time":  {"burn", "-over", "0s"},
		"burns without end":  {"burn", "-most", "2"},
		"burns with threads": {"burn", "-threads", "0"},
	} {
		if err := run(t.Context(), args, &bytes.Buffer{}); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

// fake is a heapwright whose machine becomes slower by the block, and which finds
// what the plan hides and nothing else.
const fake = `#!/bin/sh
if [ "$1 $2" = "compare report" ] && [ "$4" = --json ]; then
	printf '{"verdict":"PASS","metrics":[{"name":"cpu_seconds_per_request","role":"goal","verdict":"IMPROVED","ratio":0.5}]}\n'
	exit 0
fi
[ "$1" = compare ] && [ "$3" = -o ] && [ "$5" = --json ] || exit 2
finding=EQUIVALENT ratio=1.001 outcome=FAIL status=1
case "$(cat "$2")" in
*BURN_RATIO*) finding=REGRESSED ratio=1.1 ;;
esac
case "$2" in
*aa-001.yaml) finding=IMPROVED ratio=0.9 outcome=PASS status=0 ;;
*aa-002.yaml) echo "heapwright: no room" >&2; exit 2 ;;
esac
printf '{"sum":"","kind":"header","body":{}}\n' > "$4"
for i in 1 2 3 4 5 6 7 8 9 10; do
	printf '{"sum":"","kind":"block","body":{"phase":"switchback","arms":[{"variant":%d,"values":{"cpu_seconds_per_request":%d}}],"host":{"external_cpu_ratio":0.5}}}\n' $((i / 2 % 2)) $((100 + 10 * i)) >> "$4"
done
printf '{"sum":"","kind":"block","body":{"phase":"switchback","invalid":"steal","arms":[{"variant":0,"values":{"cpu_seconds_per_request":1}}]}}\n' >> "$4"
printf '{"sum":"","kind":"block","body":{"phase":"calibration","arms":[{"variant":0,"values":{"cpu_seconds_per_request":1}}]}}\n' >> "$4"
printf '{"verdict":"%s","host_grade":"A","pairs":5,"dropped":["block 10"],"metrics":[{"name":"cpu_seconds_per_request","role":"goal","verdict":"%s","ratio":%s,"log_ratio_sd":0.05}]}\n' $outcome $finding $ratio
exit $status
`

func TestCampaign(t *testing.T) {
	dir := t.TempDir()
	heapwright := filepath.Join(dir, "heapwright")
	if err := os.WriteFile(heapwright, []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{"run", "-heapwright", heapwright, "-dir", dir, "-null", "3", "-power", "2", "-most", "0"}
	var out bytes.Buffer
	if err := run(t.Context(), args, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.Bytes())
	}
	all, err := store(dir).experiments()
	if err != nil || len(all) != 10 {
		t.Fatalf("%d experiments, %v\n%s", len(all), err, out.Bytes())
	}
	if err := run(t.Context(), args, &out); err != nil {
		t.Fatal(err)
	}
	if again, err := store(dir).experiments(); err != nil || len(again) != len(all) {
		t.Errorf("a second run makes anew what there is: %d experiments, %v", len(again), err)
	}

	out.Reset()
	if err := run(t.Context(), []string{"report", "-dir", dir, "-json"}, &out); err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	got := map[string]KindReport{}
	for _, k := range r.Kinds {
		got[k.Kind] = k
	}
	for _, tt := range []struct {
		kind                      string
		runs, failed, claimed     int
		ours, benchstat, over, of int
	}{
		// What rises by the block is a difference to whoever runs all of A first.
		{"a/a", 2, 1, 1, 1, 2, 2, 2},
		{"drift", 3, 0, 0, 0, 3, 3, 3},
		// Interleaved, it is none.
		{"burn", 2, 0, 2, 2, 0, 0, 2},
		{"alloc", 2, 0, 0, 0, 0, 0, 0},
	} {
		k := got[tt.kind]
		if k.Runs != tt.runs || k.Failed != tt.failed || k.Claimed.Count != tt.claimed {
			t.Errorf("%s: %+v", tt.kind, k)
			continue
		}
		if tt.of == 0 {
			continue
		}
		m := k.Metrics[0]
		if m.Metric != "cpu_seconds_per_request" || m.Heapwright != honesty.RateOf(tt.ours, tt.of) ||
			m.Benchstat != honesty.RateOf(tt.benchstat, tt.of) || m.Threshold != honesty.RateOf(tt.over, tt.of) {
			t.Errorf("%s: %+v", tt.kind, m)
		}
		if k.External != 0.5 {
			t.Errorf("%s: others used %g", tt.kind, k.External)
		}
	}

	out.Reset()
	if err := run(t.Context(), []string{"report", "-dir", dir}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a/a: nothing to find. 2 runs of 5.0 pairs", "1 failed", "verdicts map[FAIL:1 PASS:1]", "burn: BURN_RATIO=0.1. 2 runs of 5.0 pairs", "3/3 = 100% (29% to 100%)", "found: 2/2 = 100% (16% to 100%)", "found: 0/2 = 0% (0% to 84%)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, out.Bytes())
		}
	}
}

// TestJudge: another heapwright says something else of the same blocks.
func TestJudge(t *testing.T) {
	dir := t.TempDir()
	heapwright := filepath.Join(dir, "heapwright")
	if err := os.WriteFile(heapwright, []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"run", "-heapwright", heapwright, "-dir", dir, "-null", "1", "-kinds", "a/a"}, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	before, err := store(dir).experiments()
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"judge", "-heapwright", heapwright, "-dir", dir}, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	after, err := store(dir).experiments()
	if err != nil || len(after) != 1 || len(before) != 1 {
		t.Fatalf("%d experiments, were %d, %v", len(after), len(before), err)
	}
	if got := after[0].Findings["cpu_seconds_per_request"].Verdict; got != "IMPROVED" || after[0].Outcome != "PASS" {
		t.Errorf("it is judged %s, %s", got, after[0].Outcome)
	}
	if len(after[0].Blocks) != len(before[0].Blocks) || after[0].Seconds != before[0].Seconds {
		t.Errorf("more than the judgement was changed: %+v, was %+v", after[0], before[0])
	}
}

func TestCampaignEndsWhenNothingWorks(t *testing.T) {
	dir := t.TempDir()
	args := []string{"run", "-heapwright", "/bin/false", "-dir", dir, "-null", "5", "-power", "0", "-most", "0"}
	if err := run(t.Context(), args, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "three experiments in a row") {
		t.Errorf("error %v", err)
	}
	all, err := store(dir).experiments()
	if err != nil || len(all) != 3 || all[0].Failed == "" {
		t.Errorf("%d experiments, %v", len(all), err)
	}
}
