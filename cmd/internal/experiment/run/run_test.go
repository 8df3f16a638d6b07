package run

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/journal"
	"github.com/heapwright/heapwright/cmd/internal/experiment/judge"
	"github.com/heapwright/heapwright/cmd/internal/experiment/planfile"
	"github.com/heapwright/heapwright/cmd/internal/experiment/schedule"
)

// A fakeLab measures what it is told to. What it measures in a block depends on the
// block alone, not on what ran before.
type fakeLab struct {
	plan   *experiment.Plan
	effect []float64 // of each variant on peak RSS, as a log
	sigma  float64
	clock  time.Time
	blocks int
	before func(n int) error // called before the nth block
	change func(*experiment.Block)
}

func (l *fakeLab) Prepare(context.Context, func(Progress)) (experiment.Header, error) {
	return experiment.Header{Rate: 1000}, nil
}

func (l *fakeLab) Restore(context.Context, experiment.Header, func(Progress)) error { return nil }

func (l *fakeLab) Release() {}

func (l *fakeLab) Block(ctx context.Context, it schedule.Item) (experiment.Block, error) {
	l.blocks++
	l.clock = l.clock.Add(8 * time.Second)
	if l.before != nil {
		if err := l.before(l.blocks); err != nil {
			return experiment.Block{}, err
		}
	}
	b := experiment.Block{Start: l.clock, Seconds: 6}
	for _, a := range it.Arms {
		rnd := rand.New(rand.NewPCG(uint64(it.Round)<<8+uint64(a.Variant)<<4+uint64(a.Slot), uint64(len(it.Phase)*10+len(it.Design))))
		b.Arms = append(b.Arms, experiment.Arm{
			Variant: a.Variant, Slot: a.Slot, Requests: 6000, End: experiment.End{How: experiment.EndedAsked},
			Values: map[string]float64{
				"rss_peak_bytes":        60e6 * math.Exp(l.effect[a.Variant]+l.sigma*rnd.NormFloat64()),
				"latency_p99_seconds":   5e-3 * math.Exp(0.1*rnd.NormFloat64()),
				"throughput_per_second": 1000,
			},
		})
	}
	if l.change != nil {
		l.change(&b)
	}
	return b, nil
}

func fixture(t *testing.T, variants int) (*fakeLab, Options) {
	t.Helper()
	p := &experiment.Plan{
		Schema: experiment.PlanSchema, Name: "t", Seed: 3,
		Goal:   &experiment.Goal{Metric: "rss_peak_bytes", Margin: 0.05},
		Guards: []experiment.Guard{{Metric: "latency_p99_seconds", Margin: 0.25}},
		Design: experiment.Design{Kind: experiment.Auto, Calibration: 8, Looks: []int{10, 16, 24}},
		Budget: experiment.Budget{Time: time.Hour},
	}
	for i := range variants {
		p.Variants = append(p.Variants, experiment.Variant{Name: fmt.Sprintf("v%d", i)})
	}
	l := &fakeLab{plan: p, effect: make([]float64, variants), sigma: 0.03, clock: time.Unix(1e9, 0).UTC()}
	return l, Options{Plan: p, Text: []byte("plan"), Hash: planfile.Hash([]byte("plan")), Path: filepath.Join(t.TempDir(), "r.hwcmp"), Tool: "test", Lab: l,
		Now: func() time.Time { return l.clock }}
}

func mustRun(t *testing.T, opt Options) *experiment.Result {
	t.Helper()
	r, err := Run(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := journal.Read(opt.Path)
	if err != nil {
		t.Fatal(err)
	}
	// What was kept leads to the verdict that was reached.
	if v := judge.Judge(stored.Header, stored.Blocks); stored.Ending.How != experiment.EndRefused && v.Outcome != r.Ending.Verdict.Outcome {
		t.Errorf("recomputed from the journal: %s, was %s", v.Outcome, r.Ending.Verdict.Outcome)
	}
	return r
}

func TestRunDecides(t *testing.T) {
	lab, opt := fixture(t, 2)
	lab.effect[1] = math.Log(0.8)
	r := mustRun(t, opt)
	if r.Ending.How != experiment.EndDecided || r.Ending.Verdict.Outcome != experiment.Pass {
		t.Fatalf("%s %+v", r.Ending.How, r.Ending.Verdict.Reasons)
	}
	// 8 pairs and 8 duets of calibration, 10 and 10 of comparison.
	if want := 16 + 8 + 20 + 10; len(r.Blocks) != want || len(r.Looks) != 1 || r.Looks[0].Pairs != 10 {
		t.Errorf("%d blocks, want %d; looks %+v", len(r.Blocks), want, r.Looks)
	}
}

func TestRunLooksAgain(t *testing.T) {
	lab, opt := fixture(t, 2)
	lab.sigma, lab.effect[1] = 0.10, math.Log(0.96)
	r := mustRun(t, opt)
	if len(r.Looks) < 2 {
		t.Errorf("a small effect in noise was decided at once: %+v %v", r.Looks, r.Ending.Verdict.Reasons)
	}
}

// TestRunSweepGoesOn: a variant that the kernel kills is a result. It is run no
// longer, the others are not kept waiting for its pairs, and the front is of those
// that lived.
func TestRunSweepGoesOn(t *testing.T) {
	lab, opt := fixture(t, 4)
	lab.effect[1], lab.effect[3] = math.Log(0.8), math.Log(1.3)
	lab.change = func(b *experiment.Block) {
		for i := range b.Arms {
			if b.Arms[i].Variant == 2 {
				b.Arms[i].End, b.Arms[i].Values = experiment.End{How: experiment.EndedOOM}, nil
			}
		}
	}
	r := mustRun(t, opt)
	v := r.Ending.Verdict
	if r.Ending.How != experiment.EndDecided || v.Outcome != experiment.Pass || v.Comparisons[1].Outcome != experiment.Fail {
		t.Fatalf("%s %s: %s %+v", r.Ending.How, r.Ending.Text, v.Outcome, v.Reasons)
	}
	for _, b := range r.Blocks {
		for _, a := range b.Arms {
			if a.Variant == 2 && b.Quad > 0 {
				t.Fatalf("block %d runs a variant that was killed", b.N)
			}
		}
	}
	if len(r.Looks) == 0 || !slices.Contains(r.Looks[0].Stopped, 2) {
		t.Errorf("looks %+v, want one that says that variant 2 was stopped", r.Looks)
	}
	if slices.Contains(v.Front, 2) || slices.Contains(v.Front, 3) || !slices.Contains(v.Front, 1) {
		t.Errorf("front %v, want 1 and neither 2, which died, nor 3, which is worse", v.Front)
	}
	if v.Pairs < opt.Plan.Design.Looks[0] {
		t.Errorf("%d pairs count", v.Pairs)
	}
}

// TestResume: wherever an experiment is cut off, going on with it comes to the
// blocks, looks and verdict of one that was not cut off.
func TestResume(t *testing.T) {
	setup := func() (*fakeLab, Options) {
		lab, opt := fixture(t, 4)
		lab.effect[1], lab.effect[2], lab.effect[3] = math.Log(0.9), math.Log(1.4), math.Log(0.97)
		return lab, opt
	}
	_, opt := setup()
	whole := mustRun(t, opt)
	for _, cut := range []int{1, 7, 24, 40, 60, len(whole.Blocks)} {
		lab, opt := setup()
		ctx, cancel := context.WithCancel(t.Context())
		lab.before = func(n int) error {
			if n == cut {
				cancel()
				return ctx.Err()
			}
			return nil
		}
		r, err := Run(ctx, opt)
		if err != nil || r.Ending.How != experiment.EndInterrupted {
			t.Fatalf("cut at %d: %+v %v", cut, r.Ending, err)
		}
		if len(r.Blocks) != cut-1 {
			t.Errorf("cut at block %d: %d are kept", cut, len(r.Blocks))
		}
		lab.before = nil
		opt.Resume = true
		r = mustRun(t, opt)
		if got, want := order(r), order(whole); got != want {
			t.Errorf("cut at %d:\n%s\nwhole:\n%s", cut, got, want)
		}
		if !reflect.DeepEqual(r.Ending.Verdict.Comparisons, whole.Ending.Verdict.Comparisons) || r.Ending.How != whole.Ending.How {
			t.Errorf("cut at %d: another verdict", cut)
		}
		var looks, want []int
		for _, l := range r.Looks {
			looks = append(looks, l.Pairs)
		}
		for _, l := range whole.Looks {
			want = append(want, l.Pairs)
		}
		if !reflect.DeepEqual(looks, want) {
			t.Errorf("cut at %d: looks at %v, want %v", cut, looks, want)
		}
	}
}

func order(r *experiment.Result) string {
	var b strings.Builder
	for _, k := range r.Blocks {
		fmt.Fprintf(&b, "%s/%d", k.Phase, k.Round)
		for _, a := range k.Arms {
			fmt.Fprintf(&b, ".%d", a.Variant)
		}
		b.WriteByte(' ')
	}
	return b.String()
}

func TestResumeRefuses(t *testing.T) {
	lab, opt := fixture(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	lab.before = func(n int) error {
		if n == 50 {
			cancel()
		}
		return ctx.Err()
	}
	if _, err := Run(ctx, opt); err != nil {
		t.Fatal(err)
	}
	lab.before = nil
	if _, err := Run(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "--resume") {
		t.Errorf("a result that is there was not noticed: %v", err)
	}
	opt.Resume = true
	other := opt
	other.Hash = "another"
	if _, err := Run(t.Context(), other); err == nil || !strings.Contains(err.Error(), "another plan") {
		t.Errorf("another plan: %v", err)
	}
	opt.Plan.Seed++ // draws another order
	if _, err := Run(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "seed") {
		t.Errorf("blocks of another order: %v", err)
	}
}

func TestRunEnds(t *testing.T) {
	for _, tt := range []struct {
		name    string
		setup   func(*fakeLab, *Options)
		how     string
		outcome experiment.Outcome
		text    string
		err     bool
	}{
		{"budget", func(_ *fakeLab, o *Options) { o.Plan.Budget.Time = 5 * time.Minute }, experiment.EndBudget, experiment.Undecided, "budget", false},
		{"margin too tight", func(_ *fakeLab, o *Options) { o.Plan.Guards[0].Margin = 0.01 }, experiment.EndRefused, experiment.Undecided, "cannot be held here", false},
		{"killed for memory", func(l *fakeLab, _ *Options) {
			l.change = func(b *experiment.Block) {
				for i := range b.Arms {
					if b.Arms[i].Variant == 1 {
						b.Arms[i].End, b.Arms[i].Values = experiment.End{How: experiment.EndedOOM}, nil
					}
				}
			}
		}, experiment.EndDecided, experiment.Fail, "killed for memory", false},
		{"baseline answers errors", func(l *fakeLab, _ *Options) {
			l.change = func(b *experiment.Block) {
				b.Arms[0].Errors, b.Arms[0].Audit.FirstError = 5000, "status 500, want 200"
			}
		}, experiment.EndRefused, experiment.Undecided, "status 500", true},
		{"rate above the knee", func(l *fakeLab, _ *Options) {
			l.change = func(b *experiment.Block) { b.Arms[0].Values["throughput_per_second"] = 500 }
		}, experiment.EndRefused, experiment.Undecided, "rate: knee", true},
		{"rate above what a busy machine leaves", func(l *fakeLab, _ *Options) {
			l.change = func(b *experiment.Block) {
				b.Arms[0].Values["throughput_per_second"], b.Host.ExternalCPU = 500, 0.8
			}
		}, experiment.EndRefused, experiment.Undecided, "less busy", false},
		{"no block counts", func(l *fakeLab, _ *Options) {
			l.change = func(b *experiment.Block) { b.Host.Steal = 0.5 }
		}, experiment.EndRefused, experiment.Undecided, "too few blocks count", false},
		{"does not start", func(l *fakeLab, _ *Options) {
			l.before = func(n int) error {
				if n >= 30 {
					return errors.New("it is not ready")
				}
				return nil
			}
		}, experiment.EndRefused, experiment.Undecided, "not ready", true},
		{"fails once", func(l *fakeLab, _ *Options) {
			l.effect[1] = math.Log(0.8)
			l.before = func(n int) error {
				if n == 30 {
					return errors.New("the port is taken")
				}
				return nil
			}
		}, experiment.EndDecided, experiment.Pass, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lab, opt := fixture(t, 2)
			tt.setup(lab, &opt)
			r, err := Run(t.Context(), opt)
			if (err != nil) != tt.err {
				t.Fatalf("error %v", err)
			}
			if r.Ending == nil || r.Ending.How != tt.how || r.Ending.Verdict.Outcome != tt.outcome {
				t.Fatalf("%+v", r.Ending)
			}
			if got := r.Ending.Text + strings.Join(r.Ending.Verdict.Reasons, " "); !strings.Contains(got, tt.text) {
				t.Errorf("%q, want %q", got, tt.text)
			}
			if _, err := journal.Read(opt.Path); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRunTriesAgain: that a block came to nothing at first is kept, and said.
func TestRunTriesAgain(t *testing.T) {
	lab, opt := fixture(t, 2)
	lab.effect[1] = math.Log(0.8)
	lab.before = func(n int) error {
		if n == 30 {
			return errors.New("variant v1 ended before it was \x1bready\nlog")
		}
		return nil
	}
	mustRun(t, opt)
	r, err := journal.Read(opt.Path)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Blocks[29].Retried; !strings.Contains(got, "before it was") || strings.ContainsAny(got, "\x1b\n") {
		t.Errorf("kept of the first try: %q", got)
	}
	if got := strings.Join(r.Ending.Verdict.Warnings, "; "); !strings.Contains(got, "1 of 54 blocks were measured at the second try") {
		t.Errorf("warnings: %s", got)
	}
}

// TestInterruptedAfterALook: one variant has passed, the others are open.
func TestInterruptedAfterALook(t *testing.T) {
	lab, opt := fixture(t, 4)
	lab.sigma, lab.effect[1], lab.effect[2], lab.effect[3] = 0.06, math.Log(0.7), math.Log(0.69), math.Log(0.96)
	lab.change = func(b *experiment.Block) {
		for i := range b.Arms {
			if b.Arms[i].Variant == 2 {
				b.Arms[i].Values["latency_p99_seconds"] *= 1.22 // near the margin of its guard
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opt.Progress = func(p Progress) {
		if p.Block != nil && p.Block.Quad == 5 && p.Block.Phase != experiment.PhaseCalibration {
			cancel()
		}
	}
	r, err := Run(ctx, opt)
	if err != nil || len(r.Looks) != 1 || r.Looks[0].Outcome != experiment.Pass {
		t.Fatalf("want a look at which a variant passed, and to go on: %+v, %v", r.Looks, err)
	}
	if v := r.Ending.Verdict; r.Ending.How != experiment.EndInterrupted || v.Outcome != experiment.Undecided || v.Comparisons[0].Outcome != experiment.Pass {
		t.Errorf("%s: %s %q", r.Ending.How, v.Outcome, v.Reasons)
	}
}

// TestRunNeedsAFile: what cannot be written is not run.
func TestRunNeedsAFile(t *testing.T) {
	lab, opt := fixture(t, 2)
	opt.Path = filepath.Join(t.TempDir(), "no", "such", "directory", "r")
	if _, err := Run(t.Context(), opt); !errors.Is(err, os.ErrNotExist) || lab.blocks > 0 {
		t.Errorf("%v after %d blocks", err, lab.blocks)
	}
}

func TestTooSeldom(t *testing.T) {
	for _, tt := range []struct {
		metric, kind string
		rate         float64
		measure      time.Duration
		want         string
	}{
		{"latency_p99_seconds", experiment.Switchback, 40, 3 * time.Second, "latency_p99_seconds takes 545 requests to a process in a block, and 40 a second for 3s are 120"},
		{"latency_p99_seconds", experiment.Switchback, 200, 3 * time.Second, ""},
		{"latency_p99_seconds", experiment.Auto, 200, 3 * time.Second, "share the rate, and 200 a second for 3s are 300"},
		{"latency_p99_seconds", experiment.Auto, 400, 3 * time.Second, ""},
		{"latency_p999_seconds", experiment.Switchback, 800, 6 * time.Second, "takes 5141 requests"},
		{"latency_p50_seconds", experiment.Auto, 40, 3 * time.Second, ""},
		{"rss_peak_bytes", experiment.Auto, 1, time.Second, ""},
	} {
		p := &experiment.Plan{Guards: []experiment.Guard{{Metric: tt.metric}}, Design: experiment.Design{Kind: tt.kind, Measure: tt.measure}}
		if got := tooSeldom(p, tt.rate); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s at %v: %q, want %q", tt.metric, tt.rate, got, tt.want)
		}
	}
}

func TestSameMachine(t *testing.T) {
	was := experiment.Machine{CPU: "x", Cores: 2, Kernel: "6.1"}
	if err := sameMachine(was, experiment.Machine{CPU: "x", Cores: 2, Kernel: "6.2"}); err != nil {
		t.Error(err)
	}
	if err := sameMachine(was, experiment.Machine{CPU: "x", Cores: 4}); err == nil || !strings.Contains(err.Error(), "another machine") {
		t.Error(err)
	}
}

// TestLongBlock: a block with as many cycles as are watched has a line that the
// journal takes.
func TestLongBlock(t *testing.T) {
	var a experiment.Arm
	for i := range 1 << 16 {
		at := float64(i) * 0.054931640625123
		a.Cycles = append(a.Cycles, experiment.Mark{At: at, Pause: 1.23456789e-4 + at*1e-9})
		a.Pauses = append(a.Pauses, 1.23456789e-4+at*1e-9)
	}
	a.Cycles = thin(a.Cycles)
	if n := len(a.Cycles); n != mostMarks || a.Cycles[n-1].At < 0.99*float64(1<<16)*0.054931640625123 {
		t.Errorf("%d marks, the last at %v", n, a.Cycles[n-1].At)
	}
	j, err := journal.Create(filepath.Join(t.TempDir(), "r"), experiment.Header{Plan: &experiment.Plan{}})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.Block(experiment.Block{Arms: []experiment.Arm{a, a}}); err != nil {
		t.Error(err)
	}
}

func TestSettings(t *testing.T) {
	base := experiment.Variant{Name: "base"}
	for _, tt := range []struct {
		v    experiment.Variant
		gogc int64
		mem  int64
		ok   bool
	}{
		{experiment.Variant{GOGC: "50"}, 50, math.MaxInt64, true},
		{experiment.Variant{GOGC: "off", GOMEMLIMIT: "256MiB"}, -1, 256 << 20, true},
		{experiment.Variant{GOMEMLIMIT: "1000"}, 100, 1000, true},
		{experiment.Variant{GOMEMLIMIT: "off"}, 100, math.MaxInt64, true},
		{experiment.Variant{GOMEMLIMIT: "9000000TiB"}, 0, 0, false},
		{experiment.Variant{GOGC: "50", Args: []string{"-x"}}, 0, 0, false},
		{experiment.Variant{GOGC: "50", GODEBUG: "madvdontneed=0"}, 0, 0, false},
	} {
		s, ok := settings(base, tt.v)
		if ok != tt.ok || ok && (s.GOGCPercent != tt.gogc || s.GOMEMLIMITBytes != tt.mem) {
			t.Errorf("%+v: %+v %v", tt.v, s, ok)
		}
	}
}
