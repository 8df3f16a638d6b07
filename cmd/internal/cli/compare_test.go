package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/journal"
	"github.com/heapwright/heapwright/cmd/internal/experiment/planfile"
	runner "github.com/heapwright/heapwright/cmd/internal/experiment/run"
	"github.com/heapwright/heapwright/cmd/internal/experiment/schedule"
)

// A fakeLab measures what it is told to, with noise that depends on the block alone.
type fakeLab struct {
	plan   *experiment.Plan
	clock  time.Time
	effect map[string]float64 // of variants on RSS, as ratios to the baseline
	noise  float64            // of RSS in the comparison, as a standard deviation of logs
	blocks int
	before func(n int) error // the nth block, from 1
	change func(*experiment.Block)
	err    error // of Prepare
	log    io.Writer
}

func (l *fakeLab) Prepare(_ context.Context, progress func(runner.Progress)) (experiment.Header, error) {
	progress(runner.Progress{Doing: "building " + l.plan.Variants[0].Name})
	fmt.Fprintln(l.log, "go: downloading")
	h := experiment.Header{
		Rate: 600, Machine: experiment.Machine{Kernel: "6.1", CPU: "a CPU", Cores: 2, Memory: 4 << 30, Cgroup: "v2"},
		Knee: &experiment.Knee{Rate: 1000, Tries: []experiment.KneeTry{{Rate: 1000, Achieved: 999, Held: true}}}, Forecasts: map[int]map[string]experiment.Forecast{},
	}
	for i := range l.plan.Variants {
		h.Builds = append(h.Builds, experiment.Build{Variant: i, SHA256: fmt.Sprintf("%064d", i), GoVersion: "go1.26.8", Bytes: 1 << 20})
		if i > 0 {
			h.Forecasts[i] = map[string]experiment.Forecast{"rss_peak_bytes": {Ratio: 0.8, Low: 0.7, High: 0.9}}
		}
	}
	return h, l.err
}

func (l *fakeLab) Release() {}

func (l *fakeLab) Restore(context.Context, experiment.Header, func(runner.Progress)) error {
	return nil
}

func (l *fakeLab) Block(_ context.Context, it schedule.Item) (experiment.Block, error) {
	l.blocks++
	l.clock = l.clock.Add(8 * time.Second)
	if l.before != nil {
		if err := l.before(l.blocks); err != nil {
			return experiment.Block{}, err
		}
	}
	b := experiment.Block{Start: l.clock, Seconds: 6, Host: experiment.Host{Cores: 2, ExternalCPU: 0.05}}
	for _, a := range it.Arms {
		rnd := rand.New(rand.NewPCG(uint64(it.Round)<<8+uint64(a.Variant)<<4+uint64(a.Slot), uint64(len(it.Phase)*10+len(it.Design))))
		effect, noise := 1.0, 0.02
		if it.Phase != experiment.PhaseCalibration {
			effect, noise = cmp.Or(l.effect[l.plan.Variants[a.Variant].Name], 1), cmp.Or(l.noise, noise)
		}
		b.Arms = append(b.Arms, experiment.Arm{
			Variant: a.Variant, Slot: a.Slot, Requests: 3600, End: experiment.End{How: experiment.EndedAsked},
			Values: map[string]float64{
				"rss_peak_bytes":          60e6 * effect * math.Exp(noise*rnd.NormFloat64()),
				"latency_p99_seconds":     5e-3 * math.Exp(0.05*rnd.NormFloat64()),
				"cpu_seconds_per_request": 2e-4 * math.Exp(0.02*rnd.NormFloat64()),
				"throughput_per_second":   600,
				"error_ratio":             0,
			},
		})
	}
	if l.change != nil {
		l.change(&b)
	}
	return b, nil
}

// compareHost is an Env with a fakeLab, in a directory of its own with an
// experiment of two variants, tea.yaml, and one of three, grid.yaml.
func compareHost(t *testing.T) (*fakeEnv, *fakeLab) {
	t.Helper()
	f := newFakeEnv()
	l := &fakeLab{clock: ruletest.Epoch, effect: map[string]float64{"green": 0.8}}
	f.vars["HEAPWRIGHT_CACHE"] = t.TempDir()
	f.Now = func() time.Time { return l.clock }
	f.Lab = func(plan *experiment.Plan, _, _ string, log io.Writer) runner.Lab {
		l.plan, l.log = plan, log
		return l
	}
	t.Chdir(t.TempDir())
	const text = `schema: heapwright.experiment/1
name: green tea
subject:
  command: [./server]
variants:
- {name: black, gogc: 100}
- {name: green, gogc: 50}
load:
  http: {requests: [{url: "http://127.0.0.1:{port}/"}]}
goal: {metric: rss_peak_bytes}
guards:
- {metric: latency_p99_seconds, margin: 15%}
design: {calibration: 6, looks: [10, 16]}
`
	put(t, "tea.yaml", text)
	put(t, "grid.yaml", strings.Replace(text, "- {name: green, gogc: 50}\n", "- {name: green, gogc: 50}\n- {name: white, gogc: 200}\n", 1))
	return f, l
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func contains(t *testing.T, what, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s lacks %q:\n%s", what, w, text)
		}
	}
}

func TestCompareVerdicts(t *testing.T) {
	for _, tc := range []struct {
		name          string
		effect, noise float64
		want          ExitCode
		says          string
	}{{"pass", 0.8, 0.02, ExitOK, "PASS"}, {"fail", 1.3, 0.02, ExitFinding, "FAIL"}, {"noise", 1, 0.3, ExitInconclusive, "INCONCLUSIVE"}} {
		t.Run(tc.name, func(t *testing.T) {
			f, l := compareHost(t)
			l.effect["green"], l.noise = tc.effect, tc.noise
			f.run(t, tc.want, "compare", "tea.yaml")
			contains(t, "stdout", f.out.String(), tc.says, "peak RSS", "tea.hwcmp has every block; its last sum is ")
			at80(t, strings.Split(f.out.String(), "tea.hwcmp has every block")[0])
			contains(t, "stderr", f.err.String(), "heapwright: green tea: building black\n", "heapwright: green tea: calibration\n", "heapwright: green tea: comparison\n")
			if strings.Contains(f.err.String(), "downloading") {
				t.Errorf("builds are heard without -v: %s", &f.err)
			}
			// A result is not overwritten.
			f.run(t, ExitCouldNotRun, "compare", "tea.yaml")
			contains(t, "stderr", f.err.String(), "tea.hwcmp is there already")
			f.run(t, tc.want, "compare", "verify", "tea.hwcmp")
			contains(t, "stdout", f.out.String(), tc.says+": computed again, and what the result says")
			at80(t, strings.ReplaceAll(f.out.String(), resultSum(t, "tea.hwcmp"), ""))
		})
	}
}

func resultSum(t *testing.T, path string) string {
	t.Helper()
	_, sum, err := journal.ReadSum(path)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestCompareForms(t *testing.T) {
	f, _ := compareHost(t)
	f.run(t, ExitOK, "compare", "tea.yaml", "-o", "x.hwcmp", "-v", "--html", "x.html", "--markdown", "x.md", "--benchfmt", "x.txt", "--json")
	contains(t, "stderr", f.err.String(), "go: downloading")
	var doc struct {
		Schema, Verdict, File string
		Metrics               []struct {
			Name, Verdict string
			Ratio         float64
			Low           float64 `json:"ci_low"`
			High          float64 `json:"ci_high"`
			N             int
		}
	}
	if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Schema != schemaCompare || doc.Verdict != "PASS" || doc.File != "x.hwcmp" || doc.Metrics[0].Name != "rss_peak_bytes" || doc.Metrics[0].Verdict != "IMPROVED" ||
		math.Abs(doc.Metrics[0].Ratio-0.8) > 0.03 || doc.Metrics[0].Low > 0.8 || doc.Metrics[0].High < 0.78 || doc.Metrics[0].N != 10 {
		t.Errorf("%+v", doc)
	}
	written := map[string][]byte{}
	for file, word := range map[string]string{"x.html": "</html>", "x.md": "PASS", "x.txt": "Benchmark"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		contains(t, file, string(b), word)
		written[file] = b
	}
	ran := f.out.String()
	// The report of the result is that of the run.
	f.run(t, ExitOK, "compare", "report", "x.hwcmp", "--json", "--html", "y.html", "--markdown", "y.md", "--benchfmt", "y.txt")
	if f.out.String() != ran {
		t.Errorf("the run printed\n%s\nits report\n%s", ran, &f.out)
	}
	for file, want := range written {
		if b, _ := os.ReadFile("y" + file[1:]); !bytes.Equal(b, want) {
			t.Errorf("%s is not what the run wrote", file)
		}
	}
	for flag, file := range map[string]string{"--markdown": "x.md", "--benchfmt": "x.txt", "--html": "x.html"} {
		f.run(t, ExitOK, "compare", "report", "x.hwcmp", flag, "-")
		if f.out.String() != string(written[file]) {
			t.Errorf("%s - is not %s", flag, file)
		}
	}
	f.run(t, ExitOK, "compare", "report", "x.hwcmp")
	contains(t, "stdout", f.out.String(), "PASS", "peak RSS")
	at80(t, f.out.String())
	f.run(t, ExitCouldNotRun, "compare", "report", "x.hwcmp", "--html", "no/x.html")
	contains(t, "stderr", f.err.String(), "writing the HTML report: ")
}

func TestCompareGrid(t *testing.T) {
	f, l := compareHost(t)
	l.effect["white"] = 1.5
	f.run(t, ExitOK, "compare", "grid.yaml")
	contains(t, "stdout", f.out.String(), "green", "white")
	one := f.out.Len()
	f.run(t, ExitOK, "compare", "report", "grid.hwcmp", "--all")
	if f.out.Len() <= one {
		t.Errorf("--all shows no more:\n%s", &f.out)
	}
	f.run(t, ExitOK, "compare", "verify", "grid.hwcmp")
}

// What was measured before Ctrl-C, or before the machine went down, is not measured
// again.
func TestCompareResume(t *testing.T) {
	f, l := compareHost(t)
	whole := filepath.Join(t.TempDir(), "whole.hwcmp")
	f.run(t, ExitOK, "compare", "tea.yaml", "-o", whole)
	blocks := l.blocks
	l.blocks, l.clock = 0, ruletest.Epoch
	ctx, cancel := context.WithCancel(t.Context())
	l.before = func(n int) error {
		if n == 30 { // pairs are there, and no look was taken
			cancel()
		}
		return ctx.Err()
	}
	f.out.Reset()
	if code := run(ctx, f.Env, []string{"compare", "tea.yaml"}); code != ExitInconclusive {
		t.Fatalf("exit code %d: %s", code, &f.err)
	}
	contains(t, "stdout", f.out.String(), "INCONCLUSIVE", "--resume")
	f.run(t, ExitInconclusive, "compare", "verify", "tea.hwcmp")
	l.before = nil
	f.run(t, ExitOK, "compare", "tea.yaml", "--resume")
	if l.blocks != blocks+1 {
		t.Errorf("%d blocks were begun, want %d and the one that was interrupted", l.blocks, blocks)
	}
	f.run(t, ExitOK, "compare", "verify", "tea.hwcmp")
	f.run(t, ExitCouldNotRun, "compare", "tea.yaml", "--resume")
	contains(t, "stderr", f.err.String(), "tea.hwcmp is whole, and ended (decided)")

	// Of a run that was killed half a line is left.
	b, err := os.ReadFile("tea.hwcmp")
	if err != nil {
		t.Fatal(err)
	}
	put(t, "cut.hwcmp", string(b[:len(b)/2]))
	f.run(t, ExitInconclusive, "compare", "verify", "cut.hwcmp")
	contains(t, "stdout", f.out.String(), "the experiment was not finished")
	f.run(t, ExitOK, "compare", "report", "cut.hwcmp")
	contains(t, "stdout", f.out.String(), "INCONCLUSIVE")
	f.run(t, ExitOK, "compare", "tea.yaml", "-o", "cut.hwcmp", "--resume")

	// Another plan is another experiment.
	put(t, "tea.yaml", strings.Replace(read(t, "tea.yaml"), "15%", "30%", 1))
	put(t, "cut.hwcmp", string(b[:len(b)/2]))
	f.run(t, ExitCouldNotRun, "compare", "tea.yaml", "-o", "cut.hwcmp", "--resume")
	contains(t, "stderr", f.err.String(), "of another plan")
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCompareTime(t *testing.T) {
	f, _ := compareHost(t)
	f.run(t, ExitInconclusive, "compare", "tea.yaml", "--time", "1m")
	contains(t, "stdout", f.out.String(), "budget of 1m0s is spent")
	// The budget is not what a plan promises.
	f.run(t, ExitInconclusive, "compare", "verify", "tea.hwcmp")
	f.run(t, ExitOK, "compare", "tea.yaml", "--resume")
}

func TestCompareFails(t *testing.T) {
	f, l := compareHost(t)
	l.err = &runner.UnfitError{Variant: "green", Why: "it does not build"}
	f.run(t, ExitCouldNotRun, "compare", "tea.yaml", "--json")
	contains(t, "stderr", f.err.String(), "heapwright: variant green: it does not build\n")
	if _, err := os.Stat("tea.hwcmp"); !errors.Is(err, os.ErrNotExist) || f.out.Len() > 0 {
		t.Errorf("there is a result of nothing, or output %q", &f.out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.err = fmt.Errorf("building green: %w", context.Canceled)
	f.err.Reset()
	if code := run(ctx, f.Env, []string{"compare", "tea.yaml"}); code != ExitCouldNotRun {
		t.Errorf("interrupted: exit code %d", code)
	}
	contains(t, "stderr", f.err.String(), "heapwright: interrupted before the first block: there is no result\n")
	l.err = nil
	l.before = func(n int) error {
		if n < 5 {
			return nil
		}
		return fmt.Errorf("starting green: %w", syscall.ENOENT)
	}
	f.run(t, ExitCouldNotRun, "compare", "tea.yaml")
	contains(t, "stderr", f.err.String(), "starting green: no such file", "hint: heapwright compare report tea.hwcmp shows what was measured")
	f.run(t, ExitOK, "compare", "report", "tea.hwcmp")
	f.run(t, ExitInconclusive, "compare", "verify", "tea.hwcmp")
}

// rewrite changes a result, and gives it sums that are right.
func rewrite(t *testing.T, from, to string, change func(*experiment.Result)) {
	t.Helper()
	r, err := journal.Read(from)
	if err != nil {
		t.Fatal(err)
	}
	change(r)
	j, err := journal.Create(to, r.Header)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	for _, b := range r.Blocks {
		err = errors.Join(err, j.Block(b))
	}
	for _, l := range r.Looks {
		err = errors.Join(err, j.Look(l))
	}
	if err := errors.Join(err, j.End(*r.Ending)); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyFinds(t *testing.T) {
	f, _ := compareHost(t)
	f.run(t, ExitOK, "compare", "tea.yaml")
	text := read(t, "tea.hwcmp")
	put(t, "edited.hwcmp", strings.Replace(text, `"requests":3600`, `"requests":3601`, 1))
	f.run(t, ExitCouldNotRun, "compare", "verify", "edited.hwcmp", "--json")
	contains(t, "stderr", f.err.String(), "edited.hwcmp was changed after it was written: line 2 does not have the sum that it had")
	f.run(t, ExitCouldNotRun, "compare", "report", "edited.hwcmp")
	put(t, "tea.txt", "hello\n")
	f.run(t, ExitCouldNotRun, "compare", "verify", "tea.txt")
	contains(t, "stderr", f.err.String(), "does not begin as a result does")
	f.run(t, ExitCouldNotRun, "compare", "verify", "none.hwcmp")

	// Who gives the lines new sums is found out by what does not follow.
	for _, tc := range []struct {
		name   string
		change func(*experiment.Result)
		says   []string
	}{
		{"verdict", func(r *experiment.Result) { r.Ending.Verdict.Outcome = experiment.Fail }, []string{"it says FAIL, and the blocks give PASS"}},
		{"interval", func(r *experiment.Result) { r.Ending.Verdict.Comparisons[0].Metrics[0].High = 0.5 }, []string{"green, throughput_per_second: it says ", ", 0.5000], and the blocks give "}},
		{"metric left out", func(r *experiment.Result) { r.Ending.Verdict.Comparisons[0].Metrics = nil }, []string{"it says nothing, and the blocks give IMPROVED"}},
		{"grade", func(r *experiment.Result) { r.Ending.Verdict.Grade = "C" }, []string{"its calibration, grade or front is not the one"}},
		{"block", func(r *experiment.Result) {
			for i := range r.Blocks {
				if b := &r.Blocks[i]; b.Phase != experiment.PhaseCalibration {
					for _, a := range b.Arms {
						if a.Variant == 1 {
							a.Values["rss_peak_bytes"] *= 1.5
						}
					}
				}
			}
		}, []string{"it says PASS, and the blocks give FAIL", "REGRESSED"}},
		{"block left out", func(r *experiment.Result) { r.Blocks[3].Invalid = "it was unlucky" }, []string{`block 3 counts: it says "it was unlucky", and its covariates say nothing against it`}},
		{"block taken out", func(r *experiment.Result) {
			r.Blocks = slices.Delete(r.Blocks, 2, 3)
			for i := range r.Blocks {
				r.Blocks[i].N = i
			}
		}, []string{"the order: block 2 is not the one that the plan's seed draws there (calibration switchback, round 1)"}},
	} {
		file := strings.ReplaceAll(tc.name, " ", "-") + ".hwcmp"
		rewrite(t, "tea.hwcmp", file, tc.change)
		f.run(t, ExitCouldNotRun, "compare", "verify", file)
		contains(t, tc.name, strings.Join(strings.Fields(f.out.String()), " "), append(tc.says, "NOT what the result says")...)
		contains(t, tc.name, f.err.String(), "does not say what its blocks give")
		f.run(t, ExitOK, "compare", "report", file)
		contains(t, tc.name, f.err.String(), "compare verify says more")
	}
	// An ulp is another machine's.
	rewrite(t, "tea.hwcmp", "ulp.hwcmp", func(r *experiment.Result) {
		m := &r.Ending.Verdict.Comparisons[0].Metrics[0]
		m.Ratio, m.Sigma = math.Nextafter(m.Ratio, 2), math.Nextafter(m.Sigma, 2)
	})
	f.run(t, ExitOK, "compare", "verify", "ulp.hwcmp")
	// The sentences are those of the release that reads.
	rewrite(t, "tea.hwcmp", "words.hwcmp", func(r *experiment.Result) {
		v := r.Ending.Verdict
		v.Reasons, v.Warnings = []string{"all is well"}, []string{"or nearly"}
		v.Comparisons[0].Reasons = nil
	})
	f.run(t, ExitOK, "compare", "verify", "words.hwcmp")
	if strings.Contains(f.out.String(), "all is well") {
		t.Errorf("what the file says is shown:\n%s", &f.out)
	}
	for name, change := range map[string]func(*experiment.Result){
		"margin":  func(r *experiment.Result) { r.Header.Plan.Guards[0].Margin = 0.5 },
		"seed":    func(r *experiment.Result) { r.Header.Plan.Seed++ },
		"variant": func(r *experiment.Result) { r.Header.Plan.Variants[1].GOGC = "400" },
	} {
		rewrite(t, "tea.hwcmp", name+".hwcmp", change)
		f.run(t, ExitCouldNotRun, "compare", "verify", name+".hwcmp")
		contains(t, name, f.err.String(), "line 1 has a plan that is not what its text says")
	}
	rewrite(t, "tea.hwcmp", "text.hwcmp", func(r *experiment.Result) {
		r.Header.PlanText = "x: y"
		r.Header.PlanHash = planfile.Hash([]byte(r.Header.PlanText))
	})
	f.run(t, ExitCouldNotRun, "compare", "verify", "text.hwcmp")
	contains(t, "stderr", f.err.String(), "heapwright: green tea.yaml:1:1: ")
}

func TestCompareInit(t *testing.T) {
	f, _ := compareHost(t)
	for _, kind := range append(planfile.Kinds(), "") {
		args := []string{"compare", "--init"}
		if kind != "" {
			args = append(args, kind)
		}
		f.run(t, ExitOK, args...)
		put(t, "new.yaml", f.out.String())
		f.run(t, ExitOK, "compare", "--check", "new.yaml")
		contains(t, kind, f.out.String(), "new.yaml is an experiment")
		at80(t, strings.Split(f.out.String(), "sha256")[0])
	}
	f.run(t, ExitOK, "compare", "--init", "git", "-o", "git.yaml")
	contains(t, "stdout", f.out.String(), "git.yaml is an experiment to start from")
	f.run(t, ExitCouldNotRun, "compare", "--init", "git", "-o", "git.yaml")
	contains(t, "stderr", f.err.String(), "git.yaml exists, and is not overwritten")
	f.run(t, ExitCouldNotRun, "compare", "--init", "binary")
}

func TestCompareCheck(t *testing.T) {
	f, _ := compareHost(t)
	everything := read(t, filepath.Join(sourceDir, "../experiment/planfile/testdata/everything.yaml"))
	put(t, "everything.yaml", everything)
	f.run(t, ExitOK, "compare", "--check", "everything.yaml")
	t.Chdir(sourceDir)
	golden(t, "compare/check.txt", f.out.String())
	f, _ = compareHost(t)
	put(t, "bad.yaml", strings.NewReplacer("gogc: 50", "gogc: \"\\e[2J\"", "goal:", "gaol:").Replace(read(t, "tea.yaml")))
	f.run(t, ExitCouldNotRun, "compare", "--check", "bad.yaml")
	const want = `heapwright: bad.yaml:7:23: variants[1].gogc: "\x1b[2J" is no GOGC, and Go would take it for 100: write a whole number, or off
heapwright: bad.yaml:10:1: "gaol" is no key here; did you mean goal?
`
	if f.out.Len() > 0 || f.err.String() != want {
		t.Errorf("stdout %q, stderr\n%s", &f.out, &f.err)
	}
	f.run(t, ExitCouldNotRun, "compare", "bad.yaml")
	if f.err.String() != want {
		t.Errorf("run: stderr\n%s", &f.err)
	}
	f.run(t, ExitCouldNotRun, "compare", "--check", "none.yaml")
	// What only who builds knows is asked, too.
	put(t, "flags.yaml", strings.NewReplacer("command: [./server]", "source: .", "gogc: 50", "build_flags: [-toolexec=x]").Replace(read(t, "tea.yaml")))
	f.run(t, ExitCouldNotRun, "compare", "--check", "flags.yaml")
	contains(t, "stderr", f.err.String(), "variant green: build_flags: ")
}

func TestCompareUsage(t *testing.T) {
	for _, args := range [][]string{
		{}, {"a", "b"}, {"--check"}, {"--init", "git", "x"}, {"--init", "--check"}, {"--init", "--json"}, {"--check", "x", "--resume"}, {"--check", "x", "-o", "y"},
		{"x", "--time", "-1s"}, {"x", "-o", "-"}, {"x", "--html", "-", "--markdown", "-"}, {"x", "--json", "--markdown", "-"},
		{"verify"}, {"verify", "a", "b"}, {"report"}, {"report", "x", "--json", "--benchfmt", "-"},
	} {
		f := newFakeEnv()
		f.run(t, ExitCouldNotRun, append([]string{"compare"}, args...)...)
		if f.out.Len() > 0 || !strings.Contains(f.err.String(), "heapwright: hint: heapwright compare") {
			t.Errorf("%q: stdout %q, stderr %q", args, &f.out, &f.err)
		}
	}
}

func TestCompareProgress(t *testing.T) {
	f, l := compareHost(t)
	f.errTerminal = 80
	l.effect["green"] = 0.8
	f.run(t, ExitOK, "compare", "tea.yaml")
	contains(t, "stderr", f.err.String(), "\r\x1b[2Kgreen tea  building black", "\r\x1b[2Kgreen tea  calibration  block 1 of ", "━", " to the next look")
	if strings.Contains(f.err.String(), "\n") || !strings.HasSuffix(f.err.String(), "\r\x1b[2K") {
		t.Errorf("stderr %q", &f.err)
	}
}

// testdata/compare/tea.hwcmp is a result as it is written, for the scripts of
// cmd/heapwright too.
func TestCommittedResult(t *testing.T) {
	f, _ := compareHost(t)
	f.run(t, ExitOK, "compare", "tea.yaml")
	got := read(t, "tea.hwcmp")
	t.Chdir(sourceDir)
	const file = "testdata/compare/tea.hwcmp"
	if update() {
		put(t, file, got)
	}
	f.run(t, ExitOK, "compare", "verify", file)
	was, err := journal.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(was.Blocks) == 0 || was.Ending == nil || strings.Count(got, "\n") != strings.Count(read(t, file), "\n") {
		t.Errorf("%s is not what is written now (go test -update writes it anew)", file)
	}
}

// contractHost is a lab with something of everything in its results.
func contractHost(t *testing.T) *fakeEnv {
	f, l := compareHost(t)
	l.effect["white"] = 1.5
	l.change = func(b *experiment.Block) {
		if l.blocks == 8 {
			b.Host.Steal = 0.5
		}
	}
	put(t, "bad.yaml", "schema: x\n")
	return f
}
