package judge

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

const mib = 1 << 20

func ptr(v float64) *float64 { return &v }

// hypothesis and conditions are the defaults of plans, by HW-CHAOS/1.
func hypothesis() []chaos.Criterion {
	limits := []chaos.Kind{chaos.HardLimit, chaos.Reclaim}
	return []chaos.Criterion{
		{Metric: chaos.Ready, AtLeast: ptr(1), For: 2 * time.Second, Except: []chaos.Kind{chaos.Freeze}},
		{Metric: chaos.ErrorRatio, AtMost: ptr(0.001), Tolerated: ptr(0.01), For: 5 * time.Second, Except: []chaos.Kind{chaos.Freeze}},
		{Metric: chaos.LatencyP99, AtMost: ptr(1.5), Tolerated: ptr(2), OfBaseline: true, For: 5 * time.Second, Except: []chaos.Kind{chaos.Freeze}},
		{Metric: chaos.GCCPURatio, AtMost: ptr(0.25), Tolerated: ptr(0.4), For: 5 * time.Second},
		{Metric: chaos.HeadroomRatio, AtLeast: ptr(0.05), For: time.Second, Except: limits},
		{Metric: chaos.PressureFull, AtMost: ptr(0.05), Tolerated: ptr(0.1), For: 3 * time.Second, Except: limits},
		{Metric: chaos.LimitEvents, AtMost: ptr(0), Except: append(limits, chaos.PageCache)},
		{Metric: chaos.OOMKills, AtMost: ptr(0)},
		{Metric: chaos.Restarts, AtMost: ptr(0)},
		{Metric: chaos.GoroutineCount, AtMost: ptr(2), Tolerated: ptr(10), OfBaseline: true, For: 5 * time.Second, Except: []chaos.Kind{chaos.Goroutines}},
		{Metric: chaos.LimiterOn, AtMost: ptr(0), For: time.Second},
	}
}

func conditions() []chaos.Criterion {
	limits := []chaos.Kind{chaos.HardLimit, chaos.Reclaim}
	return []chaos.Criterion{
		{Metric: chaos.HeadroomRatio, AtLeast: ptr(0.03), Except: limits},
		{Metric: chaos.Headroom, AtLeast: ptr(16 * mib), Except: limits},
		{Metric: chaos.HeadroomSeconds, AtLeast: ptr(3), For: 500 * time.Millisecond, Except: limits},
		{Metric: chaos.OOMKills, AtMost: ptr(0)},
		{Metric: chaos.LimitEvents, AtMost: ptr(0), Except: limits},
		{Metric: chaos.PressureFull, AtMost: ptr(0.2), For: 3 * time.Second},
		{Metric: chaos.LimiterOn, AtMost: ptr(0), For: 2 * time.Second},
		{Metric: chaos.GCCPURatio, AtMost: ptr(0.5), For: 5 * time.Second},
		{Metric: chaos.ErrorRatio, AtMost: ptr(0.01), For: 5 * time.Second},
		{Metric: chaos.LatencyP99, AtMost: ptr(3), OfBaseline: true, For: 5 * time.Second},
		{Metric: chaos.Ready, AtLeast: ptr(1), For: 2 * time.Second, Except: []chaos.Kind{chaos.Freeze}},
		{Metric: chaos.HostFreeRatio, AtLeast: ptr(0.1)},
		{Metric: chaos.Restarts, AtMost: ptr(0)},
	}
}

// Times of a simulated run.
const (
	simBegan = 60 * time.Second
	simEnded = 100 * time.Second
	simAfter = 150 * time.Second
	simEnd   = 190 * time.Second
	simWrong = simBegan + 20*time.Second // when what is seeded begins
)

// A sim is a service with a fault of 200 MiB beside it, in four steps of ten seconds, on
// a machine that others use. Its fields change what is true: they get the time.
type sim struct {
	seed    uint64
	quiet   bool // no noise at all
	fault   chaos.Fault
	mutate  func(at time.Duration, truth map[chaos.Metric]float64)
	cycle   func(c *chaos.Cycle)
	run     func(r *chaos.Run)
	without []chaos.Metric
}

// A walk is noise that has a memory.
type walk struct {
	v, keep float64
	rnd     *rand.Rand
}

func (w *walk) next() float64 {
	w.v = w.keep*w.v + math.Sqrt(1-w.keep*w.keep)*w.rnd.NormFloat64()
	return w.v
}

func (s sim) make() *chaos.Run {
	rnd := rand.New(rand.NewPCG(s.seed, 11))
	if s.fault.Kind == "" {
		s.fault = chaos.Fault{Name: "neighbour", Kind: chaos.Sibling, Level: chaos.Level{Value: 200 * mib}, Ramp: 40 * time.Second, Steps: 4}
	}
	run := &chaos.Run{
		Schema: chaos.ResultSchema, Started: time.Unix(0, 0).UTC(),
		Plan: chaos.Plan{Schema: chaos.PlanSchema, Name: "sim", Hypothesis: hypothesis(), Abort: conditions(), Faults: []chaos.Fault{s.fault}, Before: simBegan,
			Recovery: chaos.Recovery{Watch: simEnd - simAfter}},
		Phases: []chaos.Phase{
			{Kind: chaos.PhaseBefore, Fault: -1, From: 0, To: simBegan}, {Kind: chaos.PhaseFault, Fault: 0, From: simBegan, To: simEnded},
			{Kind: chaos.PhaseRecovery, Fault: 0, From: simEnded, To: simAfter}, {Kind: chaos.PhaseAfter, Fault: -1, From: simAfter, To: simEnd},
		},
		Faults:   []chaos.Done{{Fault: 0, Began: simBegan, Ended: simEnded, Peak: 200 * mib, Measured: 200 * mib, By: "the cgroup's memory", Happened: true, Contained: true, Undo: 20 * time.Millisecond, Verified: true}},
		Findings: []chaos.Diagnosed{{Fault: -1, Findings: []chaos.Finding{{ID: "HW1005"}}}, {Fault: 0, Findings: []chaos.Finding{{ID: "HW1005"}, {ID: "HW4003"}}}},
		Left:     []string{},
	}
	noise := 1.0
	if s.quiet {
		noise = 0
	}
	load := walk{keep: 0.995, rnd: rnd}
	memory := walk{keep: 0.99, rnd: rnd}
	stall, stalled := 0.0, time.Duration(-1)
	cycleAt := time.Duration(0)
	for at := time.Duration(0); at < simEnd; at += 100 * time.Millisecond {
		at += time.Duration(noise * rnd.Float64() * 20 * float64(time.Millisecond))
		taken := 0.0
		during := at >= simBegan && at < simEnded
		if during {
			step := math.Floor((at-simBegan).Seconds()/10) + 1
			taken = step * 50 * mib
			if n := len(run.Events); n == 0 || run.Events[n-1].Value != taken {
				run.Events = append(run.Events, chaos.Event{At: at, Kind: chaos.EventLevel, Fault: 0, Value: taken})
			}
		}
		busy := math.Exp(0.3 * noise * load.next()) // others on the machine
		// Now and then the process is not run for a while; it is in the percentile of five
		// seconds for as long.
		if noise > 0 && rnd.IntN(300) == 0 {
			stall, stalled = 0.05+0.2*rnd.Float64(), at
		}
		p99 := 0.020 * busy
		if stalled >= 0 && at-stalled < 5*time.Second {
			p99 = max(p99, stall)
		}
		requests := max(1, 200+noise*20*rnd.NormFloat64())
		failed := 0.0
		if noise > 0 && rnd.IntN(100) == 0 {
			failed = 1 // of the last second
		}
		used := 100*mib + 10*mib*noise*memory.next() + 20*mib*math.Mod(at.Seconds(), 1)
		truth := map[chaos.Metric]float64{
			chaos.Ready: 1, chaos.ErrorRatio: failed / requests, chaos.Requests: requests, chaos.Throughput: requests - failed,
			chaos.LatencyP50: 0.004 * busy, chaos.LatencyP99: p99, chaos.GCCPURatio: 0.06 * busy, chaos.AssistRatio: 0.005 * busy,
			chaos.PauseP99: 0.0005 * busy, chaos.LimiterOn: 0, chaos.WorkingSet: used + taken, chaos.Limit: 512 * mib,
			chaos.OOMKills: 0, chaos.LimitEvents: 0, chaos.Restarts: 0, chaos.PressureFull: 0.01 * noise * rnd.Float64(),
			chaos.GoroutineCount: 200 + math.Round(5*noise*rnd.NormFloat64()), chaos.GuardState: 0, chaos.HostFreeRatio: 0.5,
			chaos.ThrottledRatio: 0.02 * noise * rnd.Float64(),
		}
		if s.mutate != nil {
			s.mutate(at, truth)
		}
		limit, has := truth[chaos.Limit]
		if ws, ok := truth[chaos.WorkingSet]; ok && has {
			truth[chaos.Headroom] = limit - ws
			truth[chaos.HeadroomRatio] = (limit - ws) / limit
			if math.Mod(at.Seconds(), 1) > 0.1 {
				truth[chaos.HeadroomSeconds] = (limit - ws) / (20 * mib)
			}
		}
		for _, m := range s.without {
			delete(truth, m)
		}
		run.Points = append(run.Points, chaos.Point{At: at, Values: truth})
		if at-cycleAt >= time.Second {
			cycleAt = at
			c := chaos.Cycle{At: at, Pause: 300 * time.Microsecond, LiveBytes: uint64(40 * mib * (1 + 0.02*noise*rnd.NormFloat64())), GoalBytes: 80 * mib}
			if s.cycle != nil {
				s.cycle(&c)
			}
			run.Cycles = append(run.Cycles, c)
		}
	}
	if s.run != nil {
		s.run(run)
	}
	return run
}
