package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

var update = flag.Bool("update", false, "write the goldens anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew)\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

// plan is one with a goal and guards; variants are settings of GOGC.
func plan(names ...string) *experiment.Plan {
	p := &experiment.Plan{
		Schema: experiment.PlanSchema, Name: "checkout", Seed: 20260901,
		Load:   experiment.Load{Arrivals: experiment.Poisson, Rate: 1500, Connections: 64},
		Goal:   &experiment.Goal{Metric: "cpu_seconds_per_request", Margin: 0.05},
		Guards: []experiment.Guard{{Metric: "latency_p99_seconds", Margin: 0.15}, {Metric: "rss_peak_bytes", Margin: 0.1}, {Metric: "latency_p50_seconds", Margin: 0.1}, {Metric: "error_ratio", Margin: 0.1}},
		Design: experiment.Design{Kind: experiment.Both, Calibration: 12, Looks: []int{10, 16, 24, 32, 40}, Warmup: 2 * time.Second, Measure: 10 * time.Second},
		Budget: experiment.Budget{Time: time.Hour},
	}
	for _, n := range names {
		gogc := strings.TrimPrefix(n, "gogc-")
		p.Variants = append(p.Variants, experiment.Variant{Name: n, GOGC: gogc})
	}
	return p
}

// gogc is what a GOGC does to a heap of 60 MiB, of which the baseline has 100.
func gogc(percent float64) map[string]float64 {
	heap := (1 + percent/100) / 2
	gc := 100 / percent
	return map[string]float64{
		"cpu_seconds_per_request": 0.86 + 0.14*gc, "gc_cycles_per_second": gc, "gc_cpu_ratio": gc, "stw_seconds_per_minute": gc, "heap_goal_bytes": heap,
		"rss_mean_bytes": 0.2 + 0.8*heap, "rss_peak_bytes": 0.2 + 0.8*heap, "latency_p99_seconds": 0.9 + 0.1*gc, "gc_assist_ratio": gc,
	}
}

func ended(r *experiment.Result, how, text string) *experiment.Result {
	r.Ending = &experiment.Ending{Time: startTime.Add(72 * time.Minute), How: how, Text: text}
	return r
}

// A sample is a result and the verdict on it.
type sample struct {
	r *experiment.Result
	v *experiment.Verdict
}

// samples are made once: nobody changes them.
var samples = sync.OnceValue(func() map[string]sample {
	out := map[string]sample{}
	add := func(name string, r *experiment.Result, v *experiment.Verdict) { out[name] = sample{r, v} }

	two := ended(makeResult(1, plan("gogc-100", "gogc-200"), 24, []map[string]float64{nil, gogc(200)}), experiment.EndDecided, "")
	two.Looks = []experiment.Look{{Pairs: 10, Time: startTime.Add(30 * time.Minute), Outcome: experiment.Undecided}, {Pairs: 16, Time: startTime.Add(50 * time.Minute), Outcome: experiment.Undecided}, {Pairs: 24, Time: startTime.Add(71 * time.Minute), Outcome: experiment.Fail}}
	two.Header.Forecasts = map[int]map[string]experiment.Forecast{1: {"gc_cycles_per_second": {Ratio: 0.51, Low: 0.47, High: 0.56}, "rss_peak_bytes": {Ratio: 1.33, Low: 1.22, High: 1.36}}}
	v := judged(two)
	v.Warnings = []string{"the duet and the switchback disagree about latency p50: the arms of a duet share the CPU"}
	for i := range v.Comparisons[0].Metrics {
		if m := &v.Comparisons[0].Metrics[i]; m.Name == "gc_pause_p99_seconds" {
			m.Verdict, m.Why, m.Ratio, m.Low, m.High, m.N = experiment.Unusable, "437 pauses, want 1000", math.NaN(), 0, math.Inf(1), 0
		}
	}
	add("two", two, v)

	pass := ended(makeResult(2, plan("gogc-100", "gogc-120"), 16, []map[string]float64{nil, {"cpu_seconds_per_request": 0.9, "latency_p99_seconds": 0.8}}), experiment.EndDecided, "")
	pass.Header.Plan.Guards = pass.Header.Plan.Guards[1:3]
	add("pass", pass, judged(pass))

	same := ended(makeResult(3, plan("a", "a2"), 12, nil), experiment.EndLooks, "")
	v = judged(same)
	v.Comparisons[0].Same = true
	v.Calibration[2].Failed = "its bias leaves out 1: the design favours one of two equals"
	add("same", same, v)

	names := []string{"gogc-100", "gogc-25", "gogc-50", "gogc-200", "gogc-400", "gogc-800"}
	effects := []map[string]float64{nil, gogc(25), gogc(50), gogc(200), gogc(400), gogc(800)}
	sweep := ended(makeResult(4, plan(names...), 10, effects), experiment.EndBudget, "")
	sweep.Header.Plan.Guards = sweep.Header.Plan.Guards[:1]
	sweep.Header.Forecasts = map[int]map[string]experiment.Forecast{}
	for i, p := range []float64{100, 25, 50, 200, 400, 800} {
		e := gogc(p)
		if i > 0 {
			sweep.Header.Forecasts[i] = map[string]experiment.Forecast{
				"rss_peak_bytes": {Ratio: e["rss_peak_bytes"] * 1.03, Low: e["rss_peak_bytes"] * 0.93, High: e["rss_peak_bytes"] * 1.08},
				"gc_cpu_ratio":   {Ratio: e["gc_cpu_ratio"] * 0.94, Low: e["gc_cpu_ratio"] * 0.8, High: e["gc_cpu_ratio"] * 1.2}}
		}
	}
	v = judged(sweep)
	v.Front = []int{0, 2, 3, 4, 5}
	v.Comparisons[0].Eliminated = "after 4 pairs CPU per request was 18% worse, and could not become better"
	add("sweep", sweep, v)

	interrupted := makeResult(5, plan("gogc-100", "gogc-200"), 3, []map[string]float64{nil, gogc(200)})
	ended(interrupted, experiment.EndInterrupted, "")
	v = judged(interrupted)
	v.Outcome, v.Reasons = experiment.Undecided, []string{"it was interrupted after 3 of 10 pairs"}
	add("interrupted", interrupted, v)

	cut := makeResult(6, plan("gogc-100", "gogc-200"), 0, nil)
	add("cut", cut, nil)

	refused := ended(makeResult(7, plan("gogc-100", "gogc-200"), 0, nil), experiment.EndRefused, "latency p99 is to hold 5%, and 40 pairs can hold 12% on this host: raise the margin, or the last look")
	v = judged(refused)
	v.Outcome, v.Reasons, v.Grade, v.Comparisons = experiment.Undecided, []string{"refused after the calibration"}, "C", nil
	add("refused", refused, v)

	oom := ended(makeResult(8, plan("gogc-100", "gogc-off"), 10, []map[string]float64{nil, gogc(900)}), experiment.EndDecided, "")
	for i := range oom.Blocks {
		for j := range oom.Blocks[i].Arms {
			if a := &oom.Blocks[i].Arms[j]; a.Variant == 1 && oom.Blocks[i].Round%3 == 0 {
				a.End = experiment.End{How: experiment.EndedOOM, Text: "killed at 512MiB"}
			}
		}
	}
	v = judged(oom)
	v.Reasons = []string{"gogc-off was killed for memory in 8 of 20 blocks"}
	add("oom", oom, v)

	hostile := ended(makeResult(9, plan("<script>alert(1)</script>\x1b[2J", `"><img src=x onerror=alert(2)>`), 4, nil), "exploded\x07", "</style><script>alert(3)</script> ")
	p := hostile.Header.Plan
	p.Name = "]]><!-- {{.}} `x` | \u202e https://evil.example/ " + strings.Repeat("long ", 50)
	p.Variants[1].Env = map[string]string{"X": "javascript:alert(4)", "A|B": "*bold* <b>"}
	hostile.Header.Machine.CPU = "<svg onload=alert(5)>"
	hostile.Header.PlanHash = "<b>" + strings.Repeat("f", 64)
	hostile.Header.PlanText = "</pre><script>alert(6)</script>"
	v = judged(hostile)
	v.Reasons = append(v.Reasons, "\n\n# heading\n<script>alert(7)</script>", "[link](https://evil.example)", "```")
	v.Dropped = append(v.Dropped, "</td></tr></table><script>")
	v.Warnings = append(v.Warnings, "\x1b]0;owned\x07")
	v.Front = []int{-1, 99}
	v.Comparisons = append(v.Comparisons, experiment.Comparison{Variant: -7, Outcome: "<i>", Metrics: []experiment.MetricVerdict{
		{Name: "</title><script>", Role: "<r>", Design: "<d>", Verdict: "<v>", Ratio: math.NaN(), Low: math.Inf(-1), High: math.Inf(1), Margin: math.NaN(), Baseline: math.Inf(1), Value: math.NaN(), N: -4, Why: "<script>alert(8)</script>"},
		{Name: "latency_p99_seconds", Role: experiment.RoleGoal, Ratio: 1e300, Low: 1e-300, High: 1e308, Margin: 1e300, Baseline: 1e300, Value: -1},
	}})
	add("hostile", hostile, v)

	add("empty", &experiment.Result{}, &experiment.Verdict{})
	add("nil", nil, nil)
	return out
})

func TestText(t *testing.T) {
	for name, s := range samples() {
		t.Run(name, func(t *testing.T) {
			for _, opt := range []TextOptions{{File: "checkout.hwcmp"}, {File: "checkout.hwcmp", Width: 80}, {Width: 140, All: true, File: "a b'c"}, {Width: 20}} {
				var b strings.Builder
				if err := Text(&b, s.r, s.v, opt); err != nil {
					t.Fatal(err)
				}
				if strings.ContainsFunc(b.String(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r == 0x202e }) {
					t.Error("a control character without colour")
				}
				if opt.Width == 80 {
					golden(t, name+".txt", b.String())
					for _, l := range strings.Split(b.String(), "\n") {
						if n := term.Width(l); n > opt.Width && !strings.Contains(l, strings.Repeat("f", 40)) && !strings.Contains(l, "sha256") {
							t.Errorf("%d columns: %s", n, l)
						}
					}
				}
				if opt.Width == 140 && (name == "two" || name == "sweep") {
					golden(t, name+"-wide.txt", b.String())
				}
			}
		})
	}
}

// TestTextColour has no meaning in colour alone: without it the text is the same.
func TestTextColour(t *testing.T) {
	sgr := regexp.MustCompile("\x1b\\[[0-9]+m")
	for name, s := range samples() {
		var plain, painted strings.Builder
		if err := Text(&plain, s.r, s.v, TextOptions{Width: 100}); err != nil {
			t.Fatal(err)
		}
		if err := Text(&painted, s.r, s.v, TextOptions{Width: 100, Paint: true}); err != nil {
			t.Fatal(err)
		}
		if painted.String() == plain.String() {
			t.Errorf("%s: no colour", name)
		}
		if sgr.ReplaceAllString(painted.String(), "") != plain.String() {
			t.Errorf("%s: the colours say more than the text", name)
		}
	}
}

func TestDropped(t *testing.T) {
	v := &experiment.Verdict{Dropped: []string{"block 3: steal", "block 4: slip: late", "block 5: steal", "round 5: x", "block x: y", "", "block 7"}}
	for i := range 20 {
		v.Dropped = append(v.Dropped, fmt.Sprintf("block %d: busy", 10+i))
	}
	want := []string{"blocks 3, 5: steal", "block 4: slip: late", "round 5: x", "block x: y", "block 7", "20 blocks, 10 to 29: busy"}
	if got := of(nil, v, "").dropped(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A failing writer is one whose disk is full.
type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errors.New("no space left")
	}
	return len(p), nil
}

func TestWriteErrors(t *testing.T) {
	s := samples()["two"]
	for name, write := range map[string]func(io.Writer) error{
		"text":     func(w io.Writer) error { return Text(w, s.r, s.v, TextOptions{}) },
		"markdown": func(w io.Writer) error { return Markdown(w, s.r, s.v, "") },
		"benchfmt": func(w io.Writer) error { return Benchfmt(w, s.r) },
		"html":     func(w io.Writer) error { return HTML(w, s.r, s.v, "") },
	} {
		if err := write(&failing{left: 500}); err == nil {
			t.Errorf("%s: no error on a full disk", name)
		}
	}
}

func TestJSON(t *testing.T) {
	for name, s := range samples() {
		t.Run(name, func(t *testing.T) {
			doc := Of(s.r, s.v, "checkout.hwcmp")
			var b bytes.Buffer
			enc := json.NewEncoder(&b)
			enc.SetIndent("", "  ")
			if err := enc.Encode(doc); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".json", b.String())
		})
	}
}

func TestMarkdown(t *testing.T) {
	for name, s := range samples() {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			if err := Markdown(&b, s.r, s.v, "checkout.hwcmp"); err != nil {
				t.Fatal(err)
			}
			text := b.String()
			if len(text) > 65536 {
				t.Errorf("%d characters, more than a comment may have", len(text))
			}
			if strings.Contains(text, "://") {
				t.Error("a link of the result's")
			}
			for _, ours := range []string{"<!-- -->", "<details>", "</details>", "<summary>", "</summary>"} {
				text = strings.ReplaceAll(text, ours, "")
			}
			if strings.ContainsAny(text, "<\x1b\x07") {
				t.Error("markup or a control character of the result's")
			}
			for _, l := range strings.Split(text, "\n") {
				if cells := strings.Count(strings.ReplaceAll(l, `\|`, ""), "|"); strings.HasPrefix(l, "|") && (cells < 7 || !strings.HasSuffix(l, "|")) {
					t.Errorf("a row of %d: %s", cells, l)
				}
			}
			golden(t, name+".md", b.String())
		})
	}
}

func TestMark(t *testing.T) {
	for in, want := range map[string]string{
		"plain 1.5% (a-b)":   "plain 1.5% (a-b)",
		"a|b":                `a\|b`,
		"*b* _i_ `c` [l](u)": "\\*b\\* \\_i\\_ \\`c\\` \\[l\\](u)",
		"<b>&amp;":           "&lt;b&gt;&amp;amp;",
		"@owner #12":         "@<!-- -->owner #<!-- -->12",
		"https://x www.y":    "https:<!-- -->//x www<!-- -->.y",
		"two\nlines\x1b[2J":  "two lines\ufffd\\[2J",
	} {
		if got := mark(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}
