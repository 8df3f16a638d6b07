package judge

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/schedule"
)

// A world makes blocks: what an experiment would measure if variants had the
// effects that it says.
type world struct {
	plan   *experiment.Plan
	effect []map[string]float64 // by variant: log ratio to the baseline
	sigma  map[string]float64
	drift  float64 // log change of everything, a block
	rnd    *rand.Rand
	end    []string // by variant, how its processes end; "" is EndedAsked
	errors []float64
	fail   []int          // block numbers that are invalid
	lacks  map[int]string // metrics that blocks lack
	bare   bool           // only the metrics of the plan
}

func newPlan(variants int) *experiment.Plan {
	p := &experiment.Plan{
		Schema: experiment.PlanSchema, Name: "t", Seed: 1,
		Goal:   &experiment.Goal{Metric: "rss_peak_bytes", Margin: 0.05},
		Guards: []experiment.Guard{{Metric: "latency_p99_seconds", Margin: 0.25}, {Metric: "cpu_seconds_per_request", Margin: 0.10}},
		Design: experiment.Design{Kind: experiment.Auto, Calibration: 12, Looks: []int{10, 16, 24, 32, 40}},
	}
	for i := range variants {
		p.Variants = append(p.Variants, experiment.Variant{Name: fmt.Sprintf("v%d", i)})
	}
	return p
}

func newWorld(variants int, seed uint64) *world {
	return &world{
		plan:   newPlan(variants),
		effect: make([]map[string]float64, variants),
		sigma:  map[string]float64{"latency_p99_seconds": 0.15, "cpu_seconds_per_request": 0.06, "rss_peak_bytes": 0.03},
		rnd:    rand.New(rand.NewPCG(seed, 77)),
		end:    make([]string, variants),
		errors: make([]float64, variants),
	}
}

var typical = map[string]float64{"latency_p99_seconds": 5e-3, "latency_p50_seconds": 5e-4, "cpu_seconds_per_request": 80e-6, "rss_peak_bytes": 60 << 20,
	"throughput_per_second": 1000, "heap_goal_bytes": 40 << 20, "error_ratio": 0}

func (w *world) block(n int, it schedule.Item) experiment.Block {
	b := experiment.Block{N: n, Phase: it.Phase, Design: it.Design, Round: it.Round, Quad: it.Quad, Seconds: 6, Host: experiment.Host{Cores: 2, ExternalCPU: 0.05}}
	for _, a := range it.Arms {
		arm := experiment.Arm{Variant: a.Variant, Slot: a.Slot, Values: map[string]float64{}, Requests: 6000, End: experiment.End{How: experiment.EndedAsked}}
		for _, m := range experiment.Metrics() {
			v, ok := typical[m.Name]
			if !ok || w.bare && w.plan.Role(m.Name) == experiment.RoleExploratory {
				continue
			}
			if m.Name == "error_ratio" {
				v = w.errors[a.Variant]
			}
			s, ok := w.sigma[m.Name]
			if !ok {
				s = 0.05
			}
			if w.lacks[n] == m.Name {
				continue
			}
			arm.Values[m.Name] = v * math.Exp(s*w.rnd.NormFloat64()+w.effect[a.Variant][m.Name]+w.drift*float64(n))
		}
		for range 40 {
			if w.bare {
				break
			}
			arm.Pauses = append(arm.Pauses, 1e-4*math.Exp(0.5*w.rnd.NormFloat64()+w.effect[a.Variant]["gc_pause_p90_seconds"]))
		}
		arm.Errors = uint64(float64(arm.Requests) * w.errors[a.Variant])
		if w.end[a.Variant] != "" {
			arm.End.How = w.end[a.Variant]
		}
		b.Arms = append(b.Arms, arm)
	}
	for _, f := range w.fail {
		if f == n {
			b.Invalid = "the hypervisor took 30% of the CPU"
		}
	}
	return b
}

// run makes the blocks of a calibration and of so many quads.
func (w *world) run(quads int) (experiment.Header, []experiment.Block) {
	var blocks []experiment.Block
	for _, it := range schedule.Calibration(w.plan) {
		blocks = append(blocks, w.block(len(blocks), it))
	}
	for quad := range quads {
		for _, it := range schedule.Comparison(w.plan, quad, compared(w.plan)) {
			blocks = append(blocks, w.block(len(blocks), it))
		}
	}
	return experiment.Header{Plan: w.plan}, blocks
}

func find(t *testing.T, v *experiment.Verdict, variant int, metric string) experiment.MetricVerdict {
	t.Helper()
	mv, ok := v.Comparisons[variant-1].Metric(metric)
	if !ok {
		t.Fatalf("no verdict on %s of variant %d", metric, variant)
	}
	return mv
}

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name    string
		world   func(*world)
		quads   int
		outcome experiment.Outcome
		want    map[string]experiment.Finding
		reason  string
	}{
		{"a gain", func(w *world) {
			w.effect[1] = map[string]float64{"rss_peak_bytes": math.Log(0.8)}
		}, 20, experiment.Pass, map[string]experiment.Finding{"rss_peak_bytes": experiment.Improved}, "peak RSS improved: -19.9%"},
		{"nothing", func(*world) {}, 20, experiment.Fail, map[string]experiment.Finding{"rss_peak_bytes": experiment.Equivalent}, "peak RSS did not improve"},
		{"a gain that costs", func(w *world) {
			w.effect[1] = map[string]float64{"rss_peak_bytes": math.Log(0.8), "cpu_seconds_per_request": math.Log(1.4)}
		}, 20, experiment.Fail, map[string]experiment.Finding{"rss_peak_bytes": experiment.Improved, "cpu_seconds_per_request": experiment.Regressed}, "CPU per request regressed: +37.2%"},
		{"too few pairs", func(w *world) {
			w.effect[1] = map[string]float64{"rss_peak_bytes": math.Log(0.5)}
		}, 2, experiment.Undecided, map[string]experiment.Finding{"rss_peak_bytes": experiment.Inconclusive}, "of too few pairs for an interval; the first look is at 10 pairs"},
		{"too much noise", func(w *world) {
			w.sigma["latency_p99_seconds"] = 1
			w.effect[1] = map[string]float64{"rss_peak_bytes": math.Log(0.8)}
		}, 20, experiment.Undecided, map[string]experiment.Finding{"latency_p99_seconds": experiment.Inconclusive}, "latency p99 is not decided"},
		{"killed for memory", func(w *world) { w.end[1] = experiment.EndedOOM }, 1, experiment.Fail, nil, "killed for memory in"},
		{"crashes", func(w *world) { w.end[1] = experiment.EndedCrashed }, 1, experiment.Fail, nil, "ended by itself in"},
		{"both die", func(w *world) { w.end[0], w.end[1] = experiment.EndedOOM, experiment.EndedOOM }, 5, experiment.Undecided, nil, "the baseline itself ended"},
		{"does not serve", func(w *world) { w.errors[1] = 0.9 }, 1, experiment.Fail, nil, "requests failed; of the baseline's"},
		{"drift", func(w *world) {
			w.drift = 0.01 // +1% a block, through everything: thrice as slow at the end
			w.effect[1] = map[string]float64{"rss_peak_bytes": math.Log(0.8)}
		}, 20, experiment.Pass, map[string]experiment.Finding{"rss_peak_bytes": experiment.Improved}, ""},
		{"errors", func(w *world) {
			w.plan.Guards = append(w.plan.Guards, experiment.Guard{Metric: "error_ratio", Margin: 0.001})
			w.errors[1] = 0.02
		}, 20, experiment.Fail, map[string]experiment.Finding{"error_ratio": experiment.Regressed}, "errors regressed: +2.0 points"},
		{"a gain of not answering", func(w *world) {
			w.effect[1] = map[string]float64{"rss_peak_bytes": math.Log(0.8)}
			w.errors[1] = 0.03
		}, 20, experiment.Undecided, map[string]experiment.Finding{"rss_peak_bytes": experiment.Improved}, "3.0% of its requests failed, and 0.0% of the baseline's"},
		{"no errors on either side", func(w *world) {
			w.plan.Guards = append(w.plan.Guards, experiment.Guard{Metric: "error_ratio", Margin: 0.001})
			w.effect[1] = map[string]float64{"rss_peak_bytes": math.Log(0.8)}
		}, 20, experiment.Pass, map[string]experiment.Finding{"error_ratio": experiment.Equivalent}, ""},
		{"pauses", func(w *world) {
			w.plan.Guards = []experiment.Guard{{Metric: "gc_pause_p90_seconds", Margin: 0.3}}
			w.effect[1] = map[string]float64{"gc_pause_p90_seconds": math.Log(2)}
		}, 20, experiment.Fail, map[string]experiment.Finding{"gc_pause_p90_seconds": experiment.Regressed}, "GC pause p90 regressed"},
		{"too few pauses", func(w *world) {
			w.plan.Goal = nil
			w.plan.Guards = []experiment.Guard{{Metric: "gc_pause_p99_seconds", Margin: 0.3}}
		}, 5, experiment.Undecided, map[string]experiment.Finding{"gc_pause_p99_seconds": experiment.Unusable}, "400 pauses, want 1000"},
		{"not measured", func(w *world) {
			w.plan.Goal = nil
			w.plan.Guards = []experiment.Guard{{Metric: "gc_assist_ratio", Margin: 0.3}}
		}, 5, experiment.Undecided, nil, "mark assist, of wall time of Ps is not decided: absent in 10 of 10 pairs"},
		{"no plan to pass", func(w *world) { w.plan.Goal, w.plan.Guards = nil, nil }, 20, experiment.Undecided, nil, "nothing to pass"},
		{"a reading is missing", func(w *world) {
			w.effect[1] = map[string]float64{"rss_peak_bytes": math.Log(0.8)}
			w.lacks = map[int]string{40: "rss_peak_bytes"}
		}, 20, experiment.Pass, map[string]experiment.Finding{"rss_peak_bytes": experiment.Improved}, ""},
		{"many readings are missing", func(w *world) {
			w.effect[1] = map[string]float64{"rss_peak_bytes": math.Log(0.8)}
			w.lacks = map[int]string{}
			for n := 36; n < 100; n++ {
				w.lacks[n] = "rss_peak_bytes"
			}
		}, 20, experiment.Undecided, map[string]experiment.Finding{"rss_peak_bytes": experiment.Unusable}, "absent in"},
		{"dropped blocks", func(w *world) {
			w.fail = []int{40, 41, 50}
			w.effect[1] = map[string]float64{"rss_peak_bytes": math.Log(0.8)}
		}, 20, experiment.Pass, map[string]experiment.Finding{"rss_peak_bytes": experiment.Improved}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(2, 5)
			tt.world(w)
			h, blocks := w.run(tt.quads)
			v := Judge(h, blocks)
			if v.Outcome != tt.outcome {
				t.Errorf("outcome %s %q, want %s", v.Outcome, v.Reasons, tt.outcome)
			}
			for name, want := range tt.want {
				if mv := find(t, v, 1, name); mv.Verdict != want {
					t.Errorf("%s: %s %+v, want %s", name, mv.Verdict, mv, want)
				}
			}
			if got := strings.Join(v.Reasons, "; "); !strings.Contains(got, tt.reason) {
				t.Errorf("reasons %q, want %q", got, tt.reason)
			}
			if len(v.Dropped) != len(w.fail) {
				t.Errorf("dropped %q, want %d", v.Dropped, len(w.fail))
			}
			if again := Judge(h, blocks); !reflect.DeepEqual(v, again) {
				t.Error("the same blocks gave two verdicts")
			}
		})
	}
}

// TestLooks: findings are made at the declared number of pairs, not between.
func TestLooks(t *testing.T) {
	w := newWorld(2, 3)
	w.effect[1] = map[string]float64{"rss_peak_bytes": math.Log(0.8)}
	h, blocks := w.run(7) // 14 pairs: past the look at 10, short of the one at 16
	if mv := find(t, Judge(h, blocks), 1, "rss_peak_bytes"); mv.N != 10 || mv.Level < 0.968 || mv.Level > 0.969 {
		t.Errorf("judged on %d pairs at %.4f, want 10 at 0.9684", mv.N, mv.Level)
	}
}

// TestCalibration refuses what cannot be held before it is measured, and what a
// broken experiment would show.
func TestCalibration(t *testing.T) {
	w := newWorld(2, 9)
	h, blocks := w.run(0)
	cal := Calibrate(w.plan, blocks)
	if why := Refusal(w.plan, cal); why != "" {
		t.Errorf("a sound calibration is refused: %s", why)
	}
	w.plan.Guards[0].Margin = 0.01
	if why := Refusal(w.plan, Calibrate(w.plan, blocks)); !strings.Contains(why, "cannot be held here") {
		t.Errorf("a margin of 1%% at a spread of 15%%: %q", why)
	}
	w.plan.Guards[0].Margin = 0.25
	for i := range blocks {
		for j := range blocks[i].Arms {
			if blocks[i].Arms[j].Slot == 1 {
				blocks[i].Arms[j].Values["rss_peak_bytes"] *= 1.2
			}
		}
	}
	if why := Refusal(w.plan, Calibrate(w.plan, blocks)); !strings.Contains(why, "differs from itself by +2") {
		t.Errorf("a slot that is worse by a fifth: %q", why)
	}
	if v := Judge(h, blocks); v.Outcome != experiment.Undecided {
		t.Errorf("nothing compared: %s", v.Outcome)
	}
	for i := range blocks {
		delete(blocks[i].Arms[0].Values, "cpu_seconds_per_request")
	}
	if why := Refusal(w.plan, Calibrate(w.plan, blocks)); !strings.Contains(why, "cannot be judged here: absent in") {
		t.Errorf("a guard that no block has: %q", why)
	}
}

func TestSweep(t *testing.T) {
	w := newWorld(4, 11)
	w.plan.Design.Kind = experiment.Both
	w.effect[1] = map[string]float64{"rss_peak_bytes": math.Log(0.7), "cpu_seconds_per_request": math.Log(1.05)}
	w.effect[2] = map[string]float64{"rss_peak_bytes": math.Log(1.3), "cpu_seconds_per_request": math.Log(1.3), "latency_p99_seconds": math.Log(1.5), "throughput_per_second": math.Log(0.8)}
	w.effect[3] = map[string]float64{"rss_peak_bytes": math.Log(1.5), "cpu_seconds_per_request": math.Log(0.7), "latency_p99_seconds": math.Log(0.8)}
	h, blocks := w.run(8)
	v := Judge(h, blocks)
	stopped := Hopeless(h, blocks, v)
	if stopped[2] == "" || stopped[1] != "" {
		t.Errorf("stopped %v, want variant 2 and not variant 1", stopped)
	}
	if got := fmt.Sprint(v.Front); strings.Contains(got, "2") || !strings.Contains(got, "1") || !strings.Contains(got, "3") {
		t.Errorf("front %v, want 1 and 3 and not 2", v.Front)
	}
}

// TestSweepGoal: what is worse in memory, CPU, latency and throughput is not given
// up where it is better in what the plan is for.
func TestSweepGoal(t *testing.T) {
	w := newWorld(3, 11)
	w.plan.Design.Kind = experiment.Both
	w.plan.Goal, w.plan.Guards = &experiment.Goal{Metric: "latency_p50_seconds", Margin: 0.05}, []experiment.Guard{{Metric: "rss_peak_bytes", Margin: 1}}
	w.effect[1] = map[string]float64{"rss_peak_bytes": 0.3, "cpu_seconds_per_request": 0.1, "latency_p99_seconds": 0.5, "throughput_per_second": -0.2, "latency_p50_seconds": -0.5}
	w.effect[2] = map[string]float64{"rss_peak_bytes": 0.3, "cpu_seconds_per_request": 0.1, "latency_p99_seconds": 0.5, "throughput_per_second": -0.2, "latency_p50_seconds": 0.5}
	h, blocks := w.run(8)
	v := Judge(h, blocks)
	if stopped := Hopeless(h, blocks, v); stopped[1] != "" || stopped[2] == "" {
		t.Errorf("stopped %v, want variant 2 alone", stopped)
	}
	if v.Comparisons[1].Eliminated != "" {
		t.Errorf("a variant that has every round was stopped: %s", v.Comparisons[1].Eliminated)
	}
	// One that lacks the last quad is said to be stopped, and why.
	for i := range blocks {
		if b := &blocks[i]; b.Quad == 7 && b.Phase != experiment.PhaseCalibration {
			b.Arms = slices.DeleteFunc(b.Arms, func(a experiment.Arm) bool { return a.Variant == 2 })
		}
	}
	if v := Judge(h, blocks); !strings.Contains(v.Comparisons[1].Eliminated, "regressed") || v.Comparisons[0].Eliminated != "" {
		t.Errorf("stopped: %q and %q", v.Comparisons[0].Eliminated, v.Comparisons[1].Eliminated)
	}
}

// TestLateTails: tails that are the generator's are not claimed of the subject.
func TestLateTails(t *testing.T) {
	w := newWorld(2, 17)
	w.plan.Design.Kind = experiment.Switchback
	h, blocks := w.run(10)
	if mv := find(t, Judge(h, blocks), 1, "latency_p99_seconds"); mv.Verdict == experiment.Unusable {
		t.Errorf("a generator in time: %+v", mv)
	}
	for i := range blocks {
		blocks[i].Arms[0].Audit.SlipP99 = 3e-3
	}
	if mv := find(t, Judge(h, blocks), 1, "latency_p99_seconds"); mv.Verdict != experiment.Unusable || !strings.Contains(mv.Why, "generator was late") {
		t.Errorf("3 ms late, of a p99 of 5 ms: %+v", mv)
	}
}

// TestInterference: designs that contradict each other leave a metric open.
func TestInterference(t *testing.T) {
	w := newWorld(2, 13)
	h, blocks := w.run(10)
	for i := range blocks {
		for j := range blocks[i].Arms {
			if a := &blocks[i].Arms[j]; a.Variant == 1 {
				f := 1.5
				if blocks[i].Design == experiment.Duet {
					f = 0.7
				}
				a.Values["cpu_seconds_per_request"] *= f
			}
		}
	}
	if mv := find(t, Judge(h, blocks), 1, "cpu_seconds_per_request"); mv.Verdict != experiment.Inconclusive || !strings.Contains(mv.Why, "contradict") {
		t.Errorf("%+v", mv)
	}
}

func TestSame(t *testing.T) {
	w := newWorld(2, 1)
	h, blocks := w.run(1)
	h.Builds = []experiment.Build{{Variant: 0, SHA256: "x"}, {Variant: 1, SHA256: "x"}}
	if v := Judge(h, blocks); !v.Comparisons[0].Same || !strings.Contains(strings.Join(v.Warnings, " "), "compares it with itself") {
		t.Errorf("identical inputs are not seen: %+v %q", v.Comparisons[0].Same, v.Warnings)
	}
	w.plan.Variants[1].GOGC = "200"
	if Judge(h, blocks).Comparisons[0].Same {
		t.Error("another GOGC is taken for the same")
	}
	if SameSettings(experiment.Variant{Env: map[string]string{"A": "b C:d"}}, experiment.Variant{Env: map[string]string{"A": "b", "C": "d"}}) {
		t.Error("environments that print alike are taken for the same")
	}
}

// TestFalseAlarms: over experiments whose variant is the baseline, whatever the
// machine does meanwhile, no more than 5% find a gain or a loss in a metric of the
// plan. The random numbers are always the same.
func TestFalseAlarms(t *testing.T) {
	if testing.Short() {
		t.Skip("short: simulates some hundred experiments")
	}
	const trials = 100
	for _, drift := range []float64{0, 0.02} {
		wrong := map[string]int{}
		for i := range trials {
			w := newWorld(2, uint64(100+i))
			w.plan.Seed = uint64(i)
			w.plan.Design.Calibration = 0
			w.plan.Goal.Margin, w.plan.Guards[0].Margin, w.plan.Guards[1].Margin = 0.02, 0.02, 0.02
			w.drift, w.bare = drift, true
			h, blocks := w.run(20)
			// As the runner looks: at each declared number of pairs, until decided.
			per := len(schedule.Comparison(w.plan, 0, []int{1})) / 2
			for _, look := range w.plan.Design.Looks {
				v := Judge(h, blocks[:look*per])
				if v.Outcome == experiment.Undecided && look < 40 {
					continue
				}
				found := map[string]bool{}
				for _, mv := range v.Comparisons[0].Metrics {
					if mv.Verdict == experiment.Improved || mv.Verdict == experiment.Regressed {
						found[string(mv.Role)+" "+string(mv.Verdict)] = true
					}
				}
				for what := range found {
					wrong[what]++
				}
				break
			}
		}
		for what, n := range wrong {
			// 5% of 100, and three standard deviations of a binomial.
			if n > 5+7 {
				t.Errorf("drift %g: %s in %d of %d experiments with no difference", drift, what, n, trials)
			}
		}
		t.Logf("drift %g: false findings of %d: %v", drift, trials, wrong)
	}
}

// TestHarmOfMany: of six metrics that are all exactly at their margin, where each by
// itself is called worse in one experiment of forty, no more than one experiment of
// forty calls any worse. One that is far beyond is called so beside them.
func TestHarmOfMany(t *testing.T) {
	const trials = 200
	wrong, found := 0, 0
	for i := range trials {
		w := newWorld(2, uint64(1000+i))
		w.bare = true
		w.plan.Design.Kind, w.plan.Design.Calibration, w.plan.Design.Looks = experiment.Switchback, 0, []int{12}
		w.plan.Goal, w.plan.Guards = nil, nil
		w.effect[1] = map[string]float64{}
		for _, name := range []string{"rss_peak_bytes", "latency_p50_seconds", "latency_p99_seconds", "cpu_seconds_per_request", "throughput_per_second"} {
			w.plan.Guards = append(w.plan.Guards, experiment.Guard{Metric: name, Margin: 0.1})
			w.effect[1][name] = math.Log(1.1)
		}
		w.effect[1]["throughput_per_second"] *= -1
		w.plan.Guards = append(w.plan.Guards, experiment.Guard{Metric: "gc_cycles_per_second", Margin: 0.1})
		h, blocks := w.run(6)
		for _, far := range []float64{1.1, 1.4} {
			for n := range blocks {
				for j := range blocks[n].Arms {
					a := &blocks[n].Arms[j]
					a.Values["gc_cycles_per_second"] = 2 * math.Exp(0.05*w.rnd.NormFloat64())
					if a.Variant == 1 {
						a.Values["gc_cycles_per_second"] *= far
					}
				}
			}
			v := Judge(h, blocks)
			any := slices.ContainsFunc(v.Comparisons[0].Metrics, func(mv experiment.MetricVerdict) bool { return mv.Verdict == experiment.Regressed })
			switch {
			case far == 1.1 && any:
				wrong++
			case far == 1.4 && find(t, v, 1, "gc_cycles_per_second").Verdict == experiment.Regressed:
				found++
			}
		}
	}
	// 2.5% of 200, and three standard deviations of a binomial.
	if wrong > 5+7 || found < trials*9/10 {
		t.Errorf("of %d experiments %d found harm that is not there, and %d that which is", trials, wrong, found)
	}
	t.Logf("of %d: %d false, %d true", trials, wrong, found)
}

// TestHarmOfPauses: the pooled quantiles have no p, and are held beside others too.
func TestHarmOfPauses(t *testing.T) {
	w := newWorld(2, 5)
	w.plan.Guards = append(w.plan.Guards, experiment.Guard{Metric: "gc_pause_p90_seconds", Margin: 0.3}, experiment.Guard{Metric: "gc_pause_p50_seconds", Margin: 0.3})
	w.effect[1] = map[string]float64{"gc_pause_p90_seconds": math.Log(2)}
	h, blocks := w.run(20)
	for _, name := range []string{"gc_pause_p50_seconds", "gc_pause_p90_seconds"} {
		if mv := find(t, Judge(h, blocks), 1, name); mv.Verdict != experiment.Regressed {
			t.Errorf("%+v", mv)
		}
	}
}

// FuzzJudge gives the judge blocks that say anything at all.
func FuzzJudge(f *testing.F) {
	f.Add(uint64(1), uint8(2), 1.0, 0.0)
	f.Add(uint64(2), uint8(5), math.NaN(), math.Inf(1))
	f.Fuzz(func(t *testing.T, seed uint64, variants uint8, x, y float64) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(int(variants%6)+1, seed)
		h, blocks := w.run(rnd.IntN(6))
		for i := range blocks {
			b := &blocks[i]
			switch rnd.IntN(8) {
			case 0:
				b.Arms = nil
			case 1:
				b.Round, b.Quad = rnd.IntN(100)-50, int(seed)
			case 2:
				for j := range b.Arms {
					b.Arms[j].Values = map[string]float64{"rss_peak_bytes": x, "latency_p99_seconds": y, "nonsense": x}
					b.Arms[j].Pauses = []float64{x, y, -1}
				}
			case 3:
				for j := range b.Arms {
					b.Arms[j].Variant, b.Arms[j].Slot = rnd.IntN(9)-3, rnd.IntN(9)-3
				}
			case 4:
				b.Phase, b.Design = experiment.PhaseDuet, experiment.Switchback
			}
		}
		switch rnd.IntN(4) {
		case 0:
			w.plan.Design.Looks = nil
		case 1:
			w.plan.Guards = append(w.plan.Guards, experiment.Guard{Metric: "no such", Margin: experiment.Ratio(x)})
		case 2:
			w.plan.Goal.Margin = experiment.Ratio(y)
		}
		v := Judge(h, blocks)
		Hopeless(h, blocks, v)
		Refusal(w.plan, v.Calibration)
		for i, b := range blocks {
			Invalid(b)
			_ = Fit(h, blocks[:i+1])
		}
	})
}
