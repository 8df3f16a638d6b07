package report

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/record"
)

const (
	mib    = 1 << 20
	tenth  = 100 * time.Millisecond
	second = time.Second
)

func ptr[T any](v T) *T { return &v }

// synth is a run of a guarded service through churn, retained memory, a sibling and a
// limit that is lowered until a condition ends it. It is a simulation: the collector
// paces itself as Go's does, the guard degrades at 85% of its limit, latency rises
// with the collector's share.
func synth() (*chaos.Run, *chaos.Verdict) {
	rng := rand.New(rand.NewPCG(8, 1))
	limit := 256.0 * mib
	f := func(name string, kind chaos.Kind, level float64, ramp, hold time.Duration, steps int) chaos.Fault {
		return chaos.Fault{Name: name, Kind: kind, Level: chaos.Level{Value: level}, Ramp: ramp, Hold: hold, Steps: steps}
	}
	r := &chaos.Run{
		Schema: chaos.ResultSchema, Tool: "heapwright 0.8.0", Started: time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC),
		Plan: chaos.Plan{Schema: chaos.PlanSchema, Name: "guarded-service", Seed: 7,
			Target: chaos.Target{PID: 4123, Ready: "http://127.0.0.1:8080/ready", Debug: "http://127.0.0.1:8080/debug"},
			Hypothesis: []chaos.Criterion{
				{Metric: chaos.Ready, AtLeast: ptr(1.0)},
				{Metric: chaos.ErrorRatio, AtMost: ptr(0.001), Tolerated: ptr(0.01)},
				{Metric: chaos.LatencyP99, AtMost: ptr(0.010), Tolerated: ptr(0.050), For: 2 * second},
				{Metric: chaos.GCCPURatio, AtMost: ptr(0.10), Tolerated: ptr(0.40)},
				{Metric: chaos.Headroom, AtLeast: ptr(64.0 * mib), Tolerated: ptr(24.0 * mib), Except: []chaos.Kind{chaos.HardLimit}},
				{Metric: chaos.OOMKills, AtMost: ptr(0.0)},
				{Metric: chaos.PressureFull, AtMost: ptr(0.05)},
			},
			Faults: []chaos.Fault{
				f("churn", chaos.Churn, 400*mib, 5*second, 10*second, 0),
				f("retain", chaos.Retain, 90*mib, 10*second, 10*second, 0),
				f("sibling", chaos.Sibling, 80*mib, 6*second, 8*second, 4),
				f("squeeze", chaos.HardLimit, 72*mib, 30*second, 5*second, 10),
			},
			Abort: []chaos.Criterion{{Metric: chaos.Headroom, AtLeast: ptr(16.0 * mib)}, {Metric: chaos.GCCPURatio, AtMost: ptr(0.5), For: 5 * second}},
			Recovery: chaos.Recovery{Within: 60 * second, Stable: 5 * second, LiveHeap: 0.05, WorkingSet: experiment.Ratio(0.1), Memory: 5 * time.Minute,
				Goroutines: 0.02, Latency: 0.5},
			Before: 12 * second, Between: 5 * second,
		},
		PlanText: "schema: heapwright.stress/1\nname: guarded-service\ntarget:\n  pid: 4123\n", PlanHash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		Target: record.Process{PID: 4123, Name: "guarded", Exe: "/srv/guarded", GoVersion: "go1.26.1", MemoryLimitBytes: 256 * mib},
		Cgroup: "/sys/fs/cgroup/memory/guarded", Version: 1, Machine: chaos.Machine{CPUs: 2, MemoryBytes: 8 << 30, Kernel: "6.18.0"},
		Left: []string{},
	}
	var at time.Duration
	heap, live, goal := 60.0*mib, 42.0*mib, 84.0*mib
	soft := 200.0 * mib
	retained, churn, sibling, limitNow := 0.0, 0.0, 0.0, limit
	state, wanted, since, goroutines := 0.0, 0.0, time.Duration(0), 148.0
	gcCPU, pauses := 0.03, 0.0
	p99s, sets := []float64{}, []float64{}
	event := func(k chaos.EventKind, fault int, text string, value float64) {
		r.Events = append(r.Events, chaos.Event{At: at, Kind: k, Fault: fault, Text: text, Value: value})
	}
	step := func() {
		at += tenth
		alloc := (70*mib + churn) / 10
		if state == 2 {
			alloc *= 0.75
		}
		work := 0.0
		for rest := alloc; rest > 0; {
			if heap+rest < goal {
				heap += rest
				break
			}
			rest -= max(goal-heap, mib)
			live = 42*mib + retained + 2*mib*rng.Float64()
			heap = live
			goal = max(min(2*live, soft-24*mib), live*1.06)
			pauses = (0.2 + 1.2*rng.ExpFloat64()*rng.Float64()) / 1000
			if churn > 0 {
				pauses *= 2
			}
			r.Cycles = append(r.Cycles, chaos.Cycle{At: at - time.Duration(rng.Int64N(int64(tenth))), Pause: time.Duration(pauses * 1e9), LiveBytes: uint64(live), GoalBytes: uint64(goal)})
			work += live / (500 * mib)
			if work > 0.8 {
				heap, rest = goal, 0
			}
		}
		gcCPU += (min(work/0.5, 0.62) - gcCPU) * 0.12
		ws := heap*0.92 + 26*mib + sibling + 3*mib*rng.Float64()
		ws = min(ws, limitNow*0.995)
		head := limitNow - ws
		if sets = append(sets, ws); len(sets) > 25 {
			sets = sets[1:]
		}
		most := 0.0
		for _, v := range sets {
			most = max(most, v)
		}
		switch {
		case most > 0.68*limitNow:
			wanted = 2
		case most < 0.66*limitNow && state == 2:
			wanted = 1
		case state == 1 && at-since > 4*second:
			wanted = 0
		}
		if wanted != state && at-since > second {
			r.Events = append(r.Events, chaos.Event{At: at, Kind: chaos.EventState, Fault: -1, From: stateName(state), To: stateName(wanted)})
			state, since = wanted, at
		}
		p99 := 0.004 * (1 + 14*gcCPU*gcCPU*4) * (0.9 + 0.2*rng.Float64())
		if head < 24*mib {
			p99 *= 1 + (24*mib-head)/(3*mib)
		}
		p99s = append(p99s, p99)
		if len(p99s) > 50 {
			p99s = p99s[1:]
		}
		worst := 0.0
		for _, v := range p99s {
			worst = max(worst, v)
		}
		errors := 0.0
		if head < 20*mib {
			errors = 0.02 * (20*mib - head) / (20 * mib)
		}
		r.Points = append(r.Points, chaos.Point{At: at, Values: map[chaos.Metric]float64{
			chaos.Ready: 1, chaos.ErrorRatio: errors, chaos.LatencyP50: 0.0012 * (0.95 + 0.1*rng.Float64()), chaos.LatencyP99: worst, chaos.Throughput: 400,
			chaos.GCCPURatio: gcCPU, chaos.AssistRatio: gcCPU * gcCPU * 0.4, chaos.PauseMax: pauses, chaos.LiveHeap: live, chaos.HeapGoal: goal,
			chaos.MemoryLimitGo: soft, chaos.WorkingSet: ws, chaos.Limit: limitNow, chaos.Headroom: head, chaos.HeadroomRatio: head / limitNow,
			chaos.GuardState: state, chaos.GoroutineCount: goroutines + math.Floor(6*rng.Float64()), chaos.OOMKills: 0, chaos.Restarts: 0,
			chaos.PressureSome: min(max(0, (40*mib-head)/(200*mib)), 1), chaos.PressureFull: min(max(0, (24*mib-head)/(400*mib)), 1), chaos.ThrottledRatio: min(gcCPU*gcCPU, 0.4),
		}})
	}
	phase := func(kind chaos.PhaseKind, fault int, from time.Duration) {
		r.Phases = append(r.Phases, chaos.Phase{Kind: kind, Fault: fault, From: from, To: at})
	}
	for at < 12*second {
		step()
	}
	phase(chaos.PhaseBefore, -1, 0)
	for i, fault := range r.Plan.Faults {
		began := at
		event(chaos.EventFault, i, "began", 0)
		var level, peak float64
		if fault.Kind == chaos.HardLimit {
			peak = limit
		}
		for at-began < fault.Ramp+fault.Hold && r.Aborted == "" {
			share := min(float64(at-began)/float64(fault.Ramp), 1)
			if fault.Steps > 0 {
				share = min((math.Floor(share*float64(fault.Steps))+1)/float64(fault.Steps), 1)
			}
			was := level
			switch fault.Kind {
			case chaos.Churn:
				level = share * fault.Level.Value
				churn = level
			case chaos.Retain:
				level = share * fault.Level.Value
				retained, goroutines = level, 148+share*30
			case chaos.Sibling:
				level = share * fault.Level.Value
				sibling = level
			case chaos.HardLimit:
				level = limit - share*(limit-fault.Level.Value)
				limitNow = level
				soft = min(200*mib, 0.8*level)
			}
			if level != was {
				event(chaos.EventLevel, i, "", level)
			}
			if fault.Kind == chaos.HardLimit {
				peak = min(peak, level)
			} else {
				peak = max(peak, level)
			}
			step()
			last := r.Points[len(r.Points)-1].Values
			if fault.Kind == chaos.HardLimit && last[chaos.LatencyP99] > 0.05 && r.Events[len(r.Events)-1].Kind != chaos.EventBroken && share > 0.5 {
				event(chaos.EventBroken, i, "latency_p99_seconds 61ms, at most 50ms is tolerated", 0.061)
			}
			if last[chaos.Headroom] < 16*mib {
				r.Aborted = fmt.Sprintf("headroom_bytes %s, at least 16MiB is demanded", bytes(last[chaos.Headroom]))
				event(chaos.EventAbort, i, r.Aborted, 0.084)
			}
		}
		churn, retained, sibling, limitNow, goroutines, soft = 0, 0, 0, limit, 148, 200*mib
		r.Faults = append(r.Faults, chaos.Done{Fault: i, Began: began, Ended: at, Peak: peak, Measured: peak * 0.985, By: map[chaos.Kind]string{
			chaos.Churn: "allocated bytes of the runtime", chaos.Retain: "live heap", chaos.Sibling: "RSS of the eater", chaos.HardLimit: "memory.limit_in_bytes"}[fault.Kind],
			Happened: true, Contained: true, Undo: 31 * time.Millisecond, Verified: true})
		event(chaos.EventFault, i, "undone", 0)
		phase(chaos.PhaseFault, i, began)
		from := at
		for at-from < 9*second {
			step()
			if at-from == 6*second {
				event(chaos.EventRecover, i, "latency", 0)
			}
		}
		phase(chaos.PhaseRecovery, i, from)
		if i == 0 {
			r.Events = append(r.Events, chaos.Event{At: began + 4*second, Kind: chaos.EventFinding, Fault: 0, Text: "HW1003 the collector runs too often"})
		}
	}
	r.Findings = []chaos.Diagnosed{
		{Fault: -1, Findings: []chaos.Finding{}},
		{Fault: 0, Findings: []chaos.Finding{{ID: "HW1003", Severity: "warning", Title: "The collector runs 9 times a second"}, {ID: "HW1012", Severity: "info", Title: "GOGC is 100"}}, First: 4 * second},
		{Fault: 1, Findings: []chaos.Finding{{ID: "HW2001", Severity: "warning", Title: "The live heap grew by 90MiB"}}, First: 9 * second},
		{Fault: 2, Findings: []chaos.Finding{}},
		{Fault: 3, Findings: []chaos.Finding{{ID: "HW3004", Severity: "critical", Title: "GOMEMLIMIT is above the limit of the cgroup"}}, First: 12 * second},
	}
	return r, verdictOf(r)
}

// verdictOf is a verdict as the judge gives them, made by hand.
func verdictOf(r *chaos.Run) *chaos.Verdict {
	v := &chaos.Verdict{Outcome: chaos.Pass, Reason: "the hypothesis held, and the target recovered from every fault"}
	if r.Aborted != "" {
		v.Outcome, v.Reason = chaos.Aborted, "during squeeze: "+r.Aborted
	}
	value := func(c chaos.Criterion, kind chaos.PhaseKind, fault int, p chaos.Phase) {
		res := chaos.CriterionResult{Criterion: c, Phase: kind, Fault: fault, Held: true}
		bound := c.AtMost
		low := false
		if bound == nil {
			bound, low = c.AtLeast, true
		}
		if kind == chaos.PhaseFault && c.Tolerated != nil {
			bound = c.Tolerated
		}
		res.Bound = *bound
		for _, q := range r.Points {
			x, ok := q.Values[c.Metric]
			if q.At <= p.From || q.At > p.To || !ok {
				continue
			}
			if res.Points++; res.Points == 1 || (low && x < res.Worst) || (!low && x > res.Worst) {
				res.Worst, res.WorstAt = x, q.At
			}
			if low && x < res.Bound || !low && x > res.Bound {
				res.Broken += tenth
			}
		}
		res.Held = res.Broken <= c.For
		res.Unknown = res.Points == 0
		for _, k := range c.Except {
			if fault >= 0 && kind == chaos.PhaseFault && r.Plan.Faults[fault].Kind == k {
				return
			}
		}
		v.Criteria = append(v.Criteria, res)
	}
	for _, p := range r.Phases {
		kind := p.Kind
		for _, c := range r.Plan.Hypothesis {
			if kind == chaos.PhaseRecovery && p.Fault != len(r.Plan.Faults)-1 {
				continue
			}
			value(c, kind, p.Fault, p)
		}
	}
	for i, f := range r.Plan.Faults {
		took := func(s float64) *time.Duration { return ptr(time.Duration(s * 1e9)) }
		res := chaos.FaultResult{Fault: i, Name: f.Name, Kind: f.Kind, Happened: true, Survived: true, Detected: took(3.5 + float64(i)), Recovered: took(6.3),
			Recovery: []chaos.Recovered{
				{What: "live_heap", Before: 42 * mib, After: 42.8 * mib, Bound: 44.1 * mib, Took: took(1.9), Known: true},
				{What: "working_set", Before: 96 * mib, After: 99 * mib, Bound: 105.6 * mib, Took: took(4.2), Known: true},
				{What: "latency", Before: 0.0041, After: 0.0043, Bound: 0.0062, Took: took(6.3), Known: true},
				{What: "growth", Known: false},
			}}
		switch i {
		case 0:
			res.Named, res.Expected, res.Others = []string{"HW1003"}, []string{"HW1003", "HW1007"}, []string{"HW1012"}
		case 1:
			res.Degraded, res.Named, res.Expected = took(7.4), []string{"HW2001"}, []string{"HW2001"}
		case 2:
			res.Degraded, res.Expected, res.Detected = took(3.2), []string{"HW3010"}, took(3.2)
			res.Recovery[1].Took, res.Recovery[1].After = took(41), 103*mib
			res.Recovered = took(41)
		case 3:
			res.Aborted, res.Named, res.Expected, res.Deviated = took(17.1), []string{"HW3004"}, []string{"HW3004", "HW3001"}, took(15.6)
			res.Recovery[2].Took, res.Recovery[2].After = nil, 0.0071
			res.Recovered = nil
			res.Wrong = "latency did not come back within 60s"
		}
		v.Faults = append(v.Faults, res)
	}
	m := &chaos.Margin{Fault: 3, SafeLimitBytes: 176 * mib, SafeGCCPURatio: 0.1, KneeLimitBytes: 160 * mib, TakenBytes: 80 * mib}
	for i := range 9 {
		room := float64(256-16*i) * mib
		gc := 0.03 + 0.5*math.Exp((float64(i)-9)/1.6)
		p := chaos.MarginPoint{RoomBytes: room, TakenBytes: 256*mib - room, GCCPURatio: gc, AssistRatio: gc * gc * 0.5, P99Seconds: 0.004 * math.Exp(float64(max(i-3, 0))/1.8), PauseP99: 0.0006 * (1 + float64(i)/4),
			Has: []chaos.Metric{chaos.GCCPURatio, chaos.AssistRatio, chaos.LatencyP99, chaos.PauseP99}}
		if i >= 6 {
			p.Failed = append(p.Failed, "guard")
		}
		if i >= 8 {
			p.Failed = append(p.Failed, "latency")
		}
		m.Points = append(m.Points, p)
	}
	if n := len(r.Phases); n > 2 {
		from := r.Phases[n-2].From
		m.Layers = []chaos.Layer{
			{Name: "guard", At: from + 12*second, RoomBytes: 160 * mib, Text: "the guard left healthy"},
			{Name: "assist", At: from + 14*second, RoomBytes: 144 * mib, Text: "mark assists took 8.1% of the CPU time"},
			{Name: "latency", At: from + 16*second, RoomBytes: 128 * mib, Text: "latency p99 was 61ms, 50ms are tolerated"},
		}
	}
	v.Margin = m
	v.Score = &chaos.Score{Faults: 4, Named: 3, Unnamed: 1}
	return v
}
