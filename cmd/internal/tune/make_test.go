package tune

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares text with testdata/NAME.golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s", path, got)
	}
}

func text(p *Plan) string {
	var b strings.Builder
	forecast := func(name string, f pacer.Forecast) {
		fmt.Fprintf(&b, "%s: GC %s, RSS peak %s, %.3g cycles/s\n", name, interval(f.GCCPUCores, cores), interval(f.RSSPeakBytes, rule.FormatBytes), f.CyclesPerSecond.Estimate)
	}
	list := func(name string, lines []string) {
		for _, l := range lines {
			fmt.Fprintf(&b, "%s: %s\n", name, l)
		}
	}
	fmt.Fprintf(&b, "keep %v GOGC=%s GOMEMLIMIT=%s GOMAXPROCS=%d\n", p.Keep, gogc(p.Settings.GOGCPercent), goLimit(p.Settings.GOMEMLIMITBytes), p.Settings.GOMAXPROCS)
	fmt.Fprintf(&b, "container request %s limit %s quota %g\n", rule.FormatBytes(float64(p.Container.RequestBytes)), rule.FormatBytes(float64(p.Container.LimitBytes)), p.Container.CPUQuota)
	forecast("now", p.Current)
	forecast("expected", p.Expected)
	list("why", p.Why)
	list("procs", []string{p.GOMAXPROCS})
	list("risk", p.Risk)
	for _, f := range p.Falsifiers {
		list("wrong", []string{f.Text})
	}
	for _, a := range p.Alternatives {
		list("not", []string{fmt.Sprintf("%s (GOGC=%s GOMEMLIMIT=%s, fits %v): %s", a.Name, gogc(a.Settings.GOGCPercent), goLimit(a.Settings.GOMEMLIMITBytes), a.Fits, a.Lost)})
	}
	list("note", p.Notes)
	fmt.Fprintf(&b, "confidence %s: %s\n", p.Confidence, p.ConfidenceReason)
	return b.String()
}

func TestMake(t *testing.T) {
	small := server()
	small.live, small.livePeak, small.roots, small.cycle = 3*mib, 3.5*mib, 1*mib, 0.002
	limited := server()
	limited.now.GOMEMLIMITBytes = 460 * mib
	limited.now.ContainerLimitBytes = 512 * mib
	good := server()
	good.now = pacer.Settings{GOGCPercent: 150, GOMEMLIMITBytes: 462 * mib, ContainerLimitBytes: 512 * mib, GOMAXPROCS: 4}
	near := server()
	near.now.GOMEMLIMITBytes = 232 * mib
	idle := server()
	idle.alloc, idle.cpu = 0.1*mib, 0.02
	outside := server()
	outside.nonGo = 200 * mib
	lacking := server()
	lacking.missing = []string{"The recording has no RSS: memory beside Go is a guess."}
	for _, tt := range []struct {
		name string
		twin fake
		req  Request
	}{
		{"least_cpu", server(), Request{MemoryLimitBytes: 512 * mib}},
		{"least_cpu_tight", server(), Request{MemoryLimitBytes: 330 * mib}},
		{"least_cpu_roomy", server(), Request{MemoryLimitBytes: 8 * gib}},
		{"recorded_limit", limited, Request{}},
		{"already_good", good, Request{}},
		{"near_the_storm", near, Request{MemoryLimitBytes: 512 * mib}},
		{"idle", idle, Request{MemoryLimitBytes: 1 * gib}},
		{"small_heap", small, Request{MemoryLimitBytes: 256 * mib}},
		{"much_outside", outside, Request{MemoryLimitBytes: 600 * mib, BesideBytes: 10 * mib, Process: record.Process{Cgo: true}}},
		{"files", outside, Request{MemoryLimitBytes: 420 * mib, FileBytes: 160 * mib}},
		{"lacking", lacking, Request{MemoryLimitBytes: 512 * mib}},
		{"least_memory", server(), Request{Objective: Objective{Kind: LeastMemory, MaxGCCPURatio: 0.05}}},
		{"least_memory_in_budget", server(), Request{MemoryLimitBytes: 512 * mib, Objective: Objective{Kind: LeastMemory, MaxGCCPURatio: 0.05}}},
		{"bound_of_assists", server(), Request{Objective: Objective{Kind: Bound, MaxAssistRatio: 0.005}}},
		{"bound_of_pauses", server(), Request{Objective: Objective{Kind: Bound, MaxPauseRatio: 0.0001}}},
		{"price", server(), Request{Objective: Objective{Kind: Price, MemoryPrice: 0.004, CPUPrice: 0.03}}},
		{"price_in_budget", server(), Request{MemoryLimitBytes: 600 * mib, Objective: Objective{Kind: Price, MemoryPrice: 0.0004, CPUPrice: 0.03}}},
		{"quota", server(), Request{MemoryLimitBytes: 512 * mib, CPUQuotaCores: 1.5, Process: record.Process{GoVersion: "go1.24.3", Exe: "/srv", GoEnv: map[string]string{"GOGC": "200"}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Make(tt.twin, tt.req)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, tt.name, text(p))
		})
	}
}

func TestMakeRefuses(t *testing.T) {
	leak := server()
	leak.grows = 2 * mib
	contained := server()
	contained.now.ContainerLimitBytes = 96 * mib
	blind := server()
	blind.cycle = math.NaN()
	for _, tt := range []struct {
		name string
		twin fake
		req  Request
		want string
	}{
		{"leak", leak, Request{MemoryLimitBytes: 512 * mib}, "the live heap grows by 2.0 MiB/s and fills 512.0 MiB in 2.3 min: no setting fits what grows"},
		{"leak_without_budget", leak, Request{}, "the live heap grows by 2.0 MiB/s: no setting fits what grows"},
		{"no_budget", server(), Request{}, "the process has no memory limit to plan for"},
		{"host_is_no_budget", server(), Request{MemoryLimitBytes: 0, Process: record.Process{HostMemoryBytes: 1}}, "the process has no memory limit to plan for"},
		{"too_small", server(), Request{MemoryLimitBytes: 200 * mib}, ""},
		{"below_live", contained, Request{}, ""},
		{"no_gc_cpu", blind, Request{MemoryLimitBytes: 512 * mib}, "no twin fits the recording: the forecasts lack GC CPU or RSS: the recording's source does not tell them"},
		{"bound_out_of_reach", server(), Request{MemoryLimitBytes: 512 * mib, Objective: Objective{Kind: LeastMemory, MaxGCCPURatio: 0.001}}, ""},
		{"no_bound", server(), Request{Objective: Objective{Kind: Bound}}, "the request makes no sense: a bound needs a share of pauses or of assists, above 0 and at most 1"},
		{"free_memory", server(), Request{Objective: Objective{Kind: Price, CPUPrice: 1}}, "the request makes no sense: prices of memory and of CPU must both be above 0: with one of them free there is nothing to weigh"},
		{"nan", server(), Request{Objective: Objective{Kind: LeastMemory, MaxGCCPURatio: math.NaN()}}, "the request makes no sense: bounds and prices must be numbers that are not negative"},
		{"unknown_objective", server(), Request{Objective: Objective{Kind: 99}}, "the request makes no sense: there is no objective 99"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Make(tt.twin, tt.req)
			if err == nil {
				t.Fatalf("a plan: %s", text(p))
			}
			if tt.want == "" {
				golden(t, "refuse_"+tt.name, err.Error()+"\n")
			} else if err.Error() != tt.want {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
		})
	}
}

// TestSmallestWorks holds a refusal to what it promises: the budget that it
// names is one that a plan can be made for.
func TestSmallestWorks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	refused := 0
	for range 120 {
		f := random(r)
		budget := uint64((f.live + f.runtime + f.nonGo) * (0.2 + 1.2*r.Float64()))
		_, err := Make(f, Request{MemoryLimitBytes: budget})
		var small *BudgetError
		if err == nil {
			continue
		}
		if !errors.As(err, &small) {
			t.Fatalf("%+v in %d: %v", f, budget, err)
		}
		refused++
		if small.Smallest <= budget {
			t.Errorf("%+v in %d: smallest is %d", f, budget, small.Smallest)
		}
		if _, err := Make(f, Request{MemoryLimitBytes: small.Smallest}); err != nil {
			t.Errorf("%+v: the smallest budget of %d does not work: %v", f, small.Smallest, err)
		}
	}
	if refused < 20 {
		t.Errorf("only %d budgets were refused", refused)
	}
}

// A stormy twin sees the GC CPU limiter at any setting.
type stormy struct{ fake }

func (s stormy) Forecast(x pacer.Settings) pacer.Forecast {
	f := s.fake.Forecast(x)
	f.LimiterProbability = pacer.Estimate{Estimate: 1, Low: 1, High: 1}
	return f
}

func (s stormy) Forecasts(all []pacer.Settings) []pacer.Forecast {
	out := make([]pacer.Forecast, len(all))
	for i, x := range all {
		out[i] = s.Forecast(x)
	}
	return out
}

// TestNoBudgetWorks: where none is found, none is named.
func TestNoBudgetWorks(t *testing.T) {
	for _, budget := range []uint64{100 * mib, 512 * mib, 8 * gib} {
		_, one := Make(stormy{server()}, Request{MemoryLimitBytes: budget})
		_, many := Share(budget, []Tenant{{Name: "a", Twin: stormy{server()}}, {Name: "b", Twin: server()}})
		for _, err := range []error{one, many} {
			var small *BudgetError
			if !errors.As(err, &small) || small.Smallest != 0 || strings.Contains(err.Error()+small.Hint(), "0 B") || !strings.Contains(err.Error(), "does not work") {
				t.Errorf("%d: %v", budget, err)
			}
		}
	}
}

// TestNoBudgetAsked: a bound without a budget names none that was not given.
func TestNoBudgetAsked(t *testing.T) {
	bound := Request{Objective: Objective{Kind: LeastMemory, MaxGCCPURatio: 0.05}}
	if _, err := Make(stormy{server()}, bound); err == nil || !strings.HasPrefix(err.Error(), "no budget that was tried works: ") {
		t.Errorf("%v", err)
	}
	huge := server()
	huge.livePeak = most
	if _, err := Make(huge, bound); err == nil || strings.Contains(err.Error(), "Inf") {
		t.Errorf("%v", err)
	}
}

// TestPlanProperties holds plans for random processes to what every plan keeps.
func TestPlanProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	kept := 0
	for range 200 {
		f := random(r)
		budget := uint64(f.kappa*f.livePeak*(1.2+4*r.Float64()) + f.runtime + f.nonGo*1.2)
		beside := uint64(r.Float64() * 0.05 * float64(budget))
		if r.IntN(3) == 0 {
			f.now.GOMEMLIMITBytes = int64(float64(budget) * (0.5 + 0.5*r.Float64()))
		}
		file := r.Float64() * f.nonGo * float64(r.IntN(2))
		cache := 0.75 * file
		p, err := Make(f, Request{MemoryLimitBytes: budget, BesideBytes: beside, FileBytes: uint64(file)})
		var small *BudgetError
		if errors.As(err, &small) {
			continue
		}
		if err != nil {
			t.Fatalf("%+v in %d: %v", f, budget, err)
		}
		if got := p.Expected.RSSPeakBytes.High - cache + float64(beside); got > float64(budget)+1 {
			t.Errorf("%+v: pessimistic peak of %v in a budget of %d", f, got, budget)
		}
		if p.Container.LimitBytes != budget || p.Container.RequestBytes > budget || p.Container.RequestBytes == 0 {
			t.Errorf("container %+v in a budget of %d", p.Container, budget)
		}
		if p.Keep {
			kept++
			want := f.now
			want.GOMAXPROCS, want.ContainerLimitBytes = 0, budget
			if p.Settings != want || p.Expected.Settings != p.Current.Settings {
				t.Errorf("keeping %+v changes it to %+v", f.now, p.Settings)
			}
			continue
		}
		if g := p.Settings.GOGCPercent; g < leastGOGC || g > mostGOGC {
			t.Errorf("GOGC=%d", g)
		}
		m := p.Settings.GOMEMLIMITBytes
		if m%mib != 0 || float64(m) < f.StormFloorBytes().Estimate*(1+stormBand) || m <= 0 || float64(m) > float64(budget)-f.nonGo+cache-float64(beside)+1 {
			t.Errorf("%+v: GOMEMLIMIT=%d in %d", f, m, budget)
		}
		if p.Expected.Settings != p.Settings {
			t.Errorf("expected is for %+v, settings are %+v", p.Expected.Settings, p.Settings)
		}
		for _, a := range p.Alternatives {
			if a.Lost == "" {
				t.Errorf("%s lost without a reason", a.Name)
			}
			if best := p.Expected.GCCPUCores.High; a.Fits && a.Settings.GOGCPercent > 0 && a.Settings.GOGCPercent <= mostGOGC &&
				a.Forecast.GCCPUCores.High < best*(1-0.05)-equalCPU*(f.cpu+best) {
				t.Errorf("%+v in %d: %s fits and takes %v, the plan (%+v) takes %v", f, budget, a.Name, a.Forecast.GCCPUCores.High, p.Settings, best)
			}
		}
		for _, line := range slices.Concat(p.Why, p.Risk, p.Notes) {
			if strings.Contains(line, "NaN") || strings.Contains(line, "Inf") || strings.Contains(line, "%!") {
				t.Errorf("%q", line)
			}
		}
	}
	if kept < 5 {
		t.Errorf("only %d plans keep what is", kept)
	}
}

func TestFileBytes(t *testing.T) {
	rec := &record.Recording{Samples: make([]record.Sample, 3)}
	if got := FileBytes(rec); got != 0 {
		t.Errorf("unknown is %d", got)
	}
	rec.Samples[1].RSSFileBytes = 5 * mib
	rec.Samples[1].Has.Add(record.FieldRSSFileBytes)
	if got := FileBytes(rec); got != 5*mib {
		t.Errorf("got %d", got)
	}
}

// TestMoreMemoryCostsNoMore holds plans for growing budgets against each other.
func TestMoreMemoryCostsNoMore(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 40 {
		f := random(r)
		f.now.GOGCPercent = 20 // never worth keeping
		last := math.Inf(1)
		for _, times := range []float64{1.5, 2, 3, 5, 10} {
			p, err := Make(f, Request{MemoryLimitBytes: uint64(f.kappa*f.livePeak*times + f.runtime + f.nonGo + 32*mib)})
			if err != nil {
				continue
			}
			got := p.Expected.GCCPUCores.High
			// Equal within what counts as equal.
			if got > last*(1+2*equalShare)+2*equalCPU*(f.cpu+got) {
				t.Errorf("%+v: GC takes %v cores at %v times the live heap, %v with less", f, got, times, last)
			}
			last = min(last, got)
		}
	}
}

// FuzzMake gives Make twins that say anything at all.
// TestKeepMeetsTheBound: a GOMEMLIMIT a little above the plan's own is forgiven, and
// nothing else with it.
func TestKeepMeetsTheBound(t *testing.T) {
	req := Request{Objective: Objective{Kind: LeastMemory, MaxGCCPURatio: 0.05}}
	best, err := Make(server(), req)
	if err != nil {
		t.Fatal(err)
	}
	now := server()
	now.now.GOMEMLIMITBytes = best.Settings.GOMEMLIMITBytes + 2*mib
	for gogc := int64(25); gogc <= 400; gogc += 25 {
		now.now.GOGCPercent = gogc
		p, err := Make(now, req)
		if err != nil {
			t.Fatal(err)
		}
		if got := high(p.Expected.GCCPURatio); !(got <= 0.05) {
			t.Errorf("in effect GOGC=%d GOMEMLIMIT=%s: the plan (keep %v) has GC CPU up to %.3f", gogc, goLimit(now.now.GOMEMLIMITBytes), p.Keep, got)
		}
	}
}

func FuzzMake(f *testing.F) {
	f.Add(150e6, 160e6, 2e6, 12e6, 20e6, 1.1, 150e6, 0.06, 1.2, 0.05, uint64(512*mib), uint64(0), 0, 0.05)
	f.Add(0.0, math.NaN(), -1.0, math.Inf(1), 0.0, 0.0, math.Inf(-1), 0.0, 0.0, -3.0, uint64(1), uint64(math.MaxUint64), 3, math.MaxFloat64)
	f.Add(1e18, 1e300, 2e6, 12e6, 20e6, 1.1, 150e6, 0.06, 1.2, 0.05, uint64(math.MaxUint64), uint64(5), 1, 1e-9)
	f.Fuzz(func(t *testing.T, live, livePeak, roots, runtime, nonGo, kappa, alloc, cycle, cpu, width float64, budget, beside uint64, kind int, bound float64) {
		x := fake{live: live, livePeak: livePeak, roots: roots, runtime: runtime, nonGo: nonGo, kappa: kappa, alloc: alloc, cycle: cycle, cpu: cpu,
			width: width, procs: 4, span: time.Minute, now: pacer.Settings{GOGCPercent: int64(beside), GOMEMLIMITBytes: int64(budget), ContainerLimitBytes: beside}}
		asked := 0
		x.asked = &asked
		p, err := Make(x, Request{MemoryLimitBytes: budget, BesideBytes: beside, Objective: Objective{
			Kind: Kind(kind), MaxGCCPURatio: bound, MaxPauseRatio: bound, MemoryPrice: bound, CPUPrice: bound}})
		if asked > 10000 {
			t.Errorf("%d forecasts", asked)
		}
		if err != nil {
			return
		}
		if !p.Keep && (p.Settings.GOGCPercent < leastGOGC || p.Settings.GOMEMLIMITBytes < mib) {
			t.Errorf("plan %+v", p.Settings)
		}
		if p.Container.LimitBytes > most || p.Container.RequestBytes > p.Container.LimitBytes {
			t.Errorf("container %+v", p.Container)
		}
	})
}

func BenchmarkMake(b *testing.B) {
	asked := 0
	f := server()
	f.asked = &asked
	for b.Loop() {
		if _, err := Make(f, Request{MemoryLimitBytes: 512 * mib}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(asked)/float64(b.N), "forecasts/op")
}
