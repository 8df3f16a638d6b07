package report

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

const mib = 1 << 20

// A made is an experiment that was never run: what a server with 60 MiB of live
// heap might have shown.
type made struct {
	rnd    *rand.Rand
	effect []map[string]float64 // by variant: true ratio of a metric, 1 where absent
	result *experiment.Result
}

// levels of the baseline, and the spread of the log ratios, by metric.
var synthetic = map[string]struct{ value, sd float64 }{
	"throughput_per_second": {1500, 0.004}, "error_ratio": {0, 0}, "latency_p50_seconds": {1.1e-3, 0.09}, "latency_p90_seconds": {3.1e-3, 0.14},
	"latency_p99_seconds": {9.4e-3, 0.22}, "latency_p999_seconds": {21e-3, 0.4}, "sched_latency_p99_seconds": {1.9e-3, 0.3}, "cpu_seconds_per_request": {412e-6, 0.05},
	"alloc_bytes_per_request": {24.6 * 1024, 0.0004}, "alloc_objects_per_request": {131, 0.0004}, "gc_cycles_per_second": {1.9, 0.05}, "gc_cpu_ratio": {0.061, 0.2},
	"gc_assist_ratio": {0.004, 0.5}, "gc_pause_p50_seconds": {41e-6, 0.2}, "gc_pause_p90_seconds": {88e-6, 0.35}, "gc_pause_p99_seconds": {310e-6, 0.6},
	"stw_seconds_per_minute": {7.2e-3, 0.2}, "gc_pauses_over_1ms_per_minute": {0.4, 0.9}, "heap_live_bytes": {60 * mib, 0.02}, "heap_goal_bytes": {120 * mib, 0.02},
	"rss_mean_bytes": {151 * mib, 0.02}, "rss_peak_bytes": {166 * mib, 0.025}, "start_seconds": {0.21, 0.06}, "binary_bytes": {18.3 * mib, 0},
}

var startTime = time.Date(2026, 9, 1, 8, 30, 0, 0, time.UTC)

// make draws the blocks of an experiment: a calibration, then pairs of every
// variant with the baseline, in both designs.
func makeResult(seed uint64, plan *experiment.Plan, pairs int, effect []map[string]float64) *experiment.Result {
	m := &made{rnd: rand.New(rand.NewPCG(seed, 1)), effect: effect, result: &experiment.Result{}}
	r := m.result
	r.Header = experiment.Header{
		Schema: experiment.ResultSchema, Tool: "heapwright 0.5.0", Started: startTime, PlanText: "schema: heapwright.experiment/1\n", Plan: plan,
		PlanHash: "5f2b8f0f8c5e7d6a9a3b1c2d4e5f60718293a4b5c6d7e8f9a0b1c2d3e4f50617", Rate: 1500,
		Knee:    &experiment.Knee{Rate: 2500, Tries: []experiment.KneeTry{{Rate: 2500, Achieved: 2499, P99: 0.02, Held: true}, {Rate: 2700, Achieved: 2511, P99: 0.9, Why: "2511 of 2700 a second were answered"}}},
		Machine: experiment.Machine{Kernel: "Linux 6.8.0", CPU: "AMD EPYC 7763", Cores: 2, Memory: 8 << 30, Cgroup: "v2"},
	}
	for i, v := range plan.Variants {
		r.Header.Builds = append(r.Header.Builds, experiment.Build{Variant: i, SHA256: fmt.Sprintf("%064x", 7*i+0xabcdef), GoVersion: "go1.26.8", Module: "example.com/checkout", Settings: v.GOEXPERIMENT, Bytes: 19 << 20})
	}
	for round := range plan.Design.Calibration {
		m.block(experiment.PhaseCalibration, experiment.Switchback, round, [2]int{0, 0})
		m.block(experiment.PhaseCalibration, experiment.Switchback, round, [2]int{0, 1})
		m.block(experiment.PhaseCalibration, experiment.Duet, round, [2]int{0, 0}, [2]int{0, 1})
	}
	for round := range pairs {
		m.block(experiment.PhaseSwitchback, experiment.Switchback, round, [2]int{0, 0})
		for v := 1; v < len(plan.Variants); v++ {
			m.block(experiment.PhaseSwitchback, experiment.Switchback, round, [2]int{v, 1})
			m.block(experiment.PhaseDuet, experiment.Duet, round, [2]int{0, 0}, [2]int{v, 1})
		}
	}
	return r
}

func (m *made) block(phase experiment.Phase, design string, round int, arms ...[2]int) {
	r := m.result
	b := experiment.Block{N: len(r.Blocks), Phase: phase, Design: design, Round: round, Quad: round / 2, Seconds: 10, Start: startTime.Add(time.Duration(len(r.Blocks)) * 14 * time.Second),
		Host: experiment.Host{Cores: 2, ExternalCPU: 0.12 + 0.1*m.rnd.Float64(), Steal: 0.004, Pressure: 0.2, SlipP99: 0.0004}}
	if phase != experiment.PhaseCalibration && round == 5 {
		b.Invalid = "steal 0.21 is over 0.1"
	}
	mood := 0.1 * m.rnd.NormFloat64() // of the machine, which the arms of a duet share
	for _, a := range arms {
		b.Arms = append(b.Arms, m.arm(a[0], a[1], mood, b.Seconds))
	}
	r.Blocks = append(r.Blocks, b)
}

func (m *made) times(variant int, name string) float64 {
	if variant < len(m.effect) && m.effect[variant][name] > 0 {
		return m.effect[variant][name]
	}
	return 1
}

func (m *made) arm(variant, slot int, mood, seconds float64) experiment.Arm {
	a := experiment.Arm{Variant: variant, Slot: slot, Values: map[string]float64{}, WarmupSeconds: 2.5, Requests: 15000, End: experiment.End{How: experiment.EndedAsked},
		Audit: experiment.Audit{Offered: 1500, SlipP50: 40e-6, SlipP99: 400e-6, SlipMax: 2e-3, GCCycles: 1, CPUSeconds: 1.8}}
	for _, metric := range experiment.Metrics() {
		s := synthetic[metric.Name]
		v := s.value * m.times(variant, metric.Name) * math.Exp(s.sd/math.Sqrt2*m.rnd.NormFloat64())
		if metric.Family == experiment.Latency && metric.Unit == experiment.Seconds {
			v *= math.Exp(mood)
		}
		a.Values[metric.Name] = v
	}
	m.course(&a, seconds)
	a.Latency = m.histogram(a.Values["latency_p50_seconds"], a.Values["latency_p99_seconds"])
	return a
}

// requestsDrawn are those of a histogram: few, for there are many histograms.
const requestsDrawn = 400

// histogram has these quantiles, and a longer tail than a log-normal.
func (m *made) histogram(p50, p99 float64) string {
	h := hdrhistogram.New(1, int64(60e6), 3)
	sd := math.Log(p99/p50) / 2.326
	for range requestsDrawn {
		v := p50 * math.Exp(sd*m.rnd.NormFloat64())
		if m.rnd.IntN(400) == 0 {
			v *= 1 + 3*m.rnd.Float64()
		}
		if err := h.RecordValue(int64(v*1e6) + 1); err != nil {
			panic(err)
		}
	}
	text, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// course is the time line of an arm: the heap grows to its goal, is collected, and
// falls to what is live.
func (m *made) course(a *experiment.Arm, seconds float64) {
	live, goal, rss := a.Values["heap_live_bytes"], a.Values["heap_goal_bytes"], a.Values["rss_mean_bytes"]
	period := 1 / a.Values["gc_cycles_per_second"]
	for t := period * m.rnd.Float64(); t < seconds && len(a.Cycles) < 400; t += period * (0.9 + 0.2*m.rnd.Float64()) {
		pause := a.Values["gc_pause_p50_seconds"] * math.Exp(0.6*m.rnd.NormFloat64())
		a.Cycles = append(a.Cycles, experiment.Mark{At: t, Pause: pause})
		a.Pauses = append(a.Pauses, pause)
	}
	next := 0
	last := 0.0
	for i := range 100 {
		t := seconds * float64(i) / 100
		for next < len(a.Cycles) && a.Cycles[next].At <= t {
			last = a.Cycles[next].At
			next++
		}
		end := last + period
		if next < len(a.Cycles) {
			end = a.Cycles[next].At
		}
		at := live + (0.97*goal-live)*min((t-last)/max(end-last, 1e-3), 1)
		a.Heap = append(a.Heap, experiment.Level{At: t, Live: uint64(at), Goal: uint64(goal), RSS: uint64(rss * (1 + 0.02*math.Sin(t)))})
	}
}

// judged is a verdict as a judge might give it: it knows the pairs, and the mean of
// their logarithms. The real one is not for this package to know.
func judged(r *experiment.Result) *experiment.Verdict {
	plan := r.Header.Plan
	v := &experiment.Verdict{Outcome: experiment.Fail, Grade: "B", Pairs: 1 << 30, Dropped: []string{"block 51: steal 0.21 is over 0.1", "block 52: steal 0.21 is over 0.1"}}
	stats := func(d []float64) (mean, sd, half float64) {
		for _, x := range d {
			mean += x / float64(len(d))
		}
		for _, x := range d {
			sd += (x - mean) * (x - mean)
		}
		sd = math.Sqrt(sd / max(float64(len(d)-1), 1))
		return mean, sd, 2.3 * sd / math.Sqrt(float64(len(d)))
	}
	median := func(x []float64) float64 {
		x = slices.Sorted(slices.Values(x))
		if len(x) == 0 {
			return math.NaN()
		}
		return x[len(x)/2]
	}
	for i := 1; i < len(plan.Variants); i++ {
		c := experiment.Comparison{Variant: i, Outcome: experiment.Pass}
		for _, metric := range experiment.Metrics() {
			design := experiment.Switchback
			if metric.Family == experiment.Latency {
				design = experiment.Duet
			}
			var d, base, value []float64
			for _, p := range pairsOf(r, i, design, metric.Name) {
				base, value = append(base, p.base), append(value, p.value)
				d = append(d, p.d)
			}
			margin, _ := plan.Margin(metric.Name)
			mean, sd, half := stats(d)
			mv := experiment.MetricVerdict{Name: metric.Name, Role: plan.Role(metric.Name), Design: design, Baseline: median(base), Value: median(value), N: len(d), Level: 0.9684,
				Ratio: math.Exp(mean), Low: math.Exp(mean - half), High: math.Exp(mean + half), Margin: float64(margin), Sigma: sd, P: math.Exp(-math.Abs(mean) / max(half, 1e-9) * 3)}
			bad, good := mean+half, mean-half
			if metric.Better == experiment.Higher {
				bad, good = -good, -bad
			}
			delta := math.Log1p(float64(margin))
			switch {
			case len(d) == 0 || sd == 0 && metric.Name != "error_ratio" && metric.Name != "binary_bytes":
				mv.Verdict, mv.Why, mv.Ratio, mv.Low, mv.High = experiment.Unusable, "it was 0 in every block", 0, 0, 0
			case metric.Better == experiment.Neither:
				mv.Verdict = experiment.Changed
			case bad < 0:
				mv.Verdict = experiment.Improved
			case good > delta:
				mv.Verdict = experiment.Regressed
			case margin > 0 && bad < delta && good > -delta:
				mv.Verdict = experiment.Equivalent
			case margin > 0 && bad < delta:
				mv.Verdict = experiment.NonInferior
			default:
				mv.Verdict = experiment.Inconclusive
				if margin > 0 {
					mv.MorePairs = int(10 * sd * sd / (delta * delta) * 8)
				}
			}
			if f, ok := r.Header.Forecasts[i][metric.Name]; ok {
				mv.Forecast = &f
			}
			if mv.Role != experiment.RoleExploratory && mv.Verdict == experiment.Regressed {
				c.Outcome = experiment.Fail
				c.Reasons = append(c.Reasons, fmt.Sprintf("%s regressed by %s", metric.Title, digitsFor(mv.Ratio, mv.Low, mv.High).diff(mv.Ratio)))
			} else if mv.Role != experiment.RoleExploratory && mv.Verdict == experiment.Inconclusive && c.Outcome == experiment.Pass {
				c.Outcome = experiment.Undecided
				c.Reasons = append(c.Reasons, fmt.Sprintf("%s is undecided", metric.Title))
			}
			if len(d) > 0 {
				v.Pairs = min(v.Pairs, len(d))
			}
			c.Metrics = append(c.Metrics, mv)
		}
		if c.Outcome == experiment.Pass {
			v.Outcome = experiment.Pass
			c.Reasons = []string{"the goal improved and every guard holds"}
		}
		if c.Outcome == experiment.Undecided && v.Outcome == experiment.Fail {
			v.Outcome = experiment.Undecided
		}
		v.Comparisons = append(v.Comparisons, c)
	}
	for _, metric := range experiment.Metrics() {
		if metric.Family == experiment.Once || metric.Name == "error_ratio" {
			continue
		}
		design := experiment.Switchback
		if metric.Family == experiment.Latency {
			design = experiment.Duet
		}
		var d []float64
		for _, p := range pairsOf(r, calibration, design, metric.Name) {
			d = append(d, p.d)
		}
		if len(d) == 0 {
			continue
		}
		mean, sd, half := stats(d)
		v.Calibration = append(v.Calibration, experiment.Calibration{Name: metric.Name, Design: design, N: len(d), Sigma: sd, Bias: math.Exp(mean), Low: math.Exp(mean - half), High: math.Exp(mean + half),
			ACF1: 0.04, Smallest: math.Exp(3.29*sd/math.Sqrt(40)) - 1})
	}
	if v.Pairs == 1<<30 {
		v.Pairs = 0
	}
	for _, c := range v.Comparisons {
		if c.Outcome != v.Outcome {
			continue
		}
		for _, reason := range c.Reasons {
			v.Reasons = append(v.Reasons, plan.Variants[c.Variant].Name+": "+reason)
		}
	}
	return v
}
