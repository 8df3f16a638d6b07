package judge

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// A healthy service on a busy machine is not accused, whatever the noise, and no
// condition ends it.
func TestHealthy(t *testing.T) {
	for seed := range uint64(25) {
		run := sim{seed: seed}.make()
		v := Judge(run)
		if v.Outcome != chaos.Pass {
			t.Errorf("seed %d: %s: %s", seed, v.Outcome, v.Reason)
		}
		a := NewAbort(run.Plan.Abort)
		a.Baseline(before(run))
		for _, p := range run.Points {
			var f *chaos.Fault
			if p.At >= simBegan && p.At < simAfter {
				f = &run.Plan.Faults[0]
			}
			if c, why := a.Step(p, f); c != nil && p.At >= simBegan {
				t.Errorf("seed %d: aborted at %s: %s", seed, p.At, why)
				break
			}
		}
	}
}

func TestQuiet(t *testing.T) {
	v := Judge(sim{quiet: true}.make())
	if v.Outcome != chaos.Pass {
		t.Fatal(v.Outcome, v.Reason)
	}
	f := v.Faults[0]
	if f.Recovered == nil || *f.Recovered > 5*time.Second || !f.Survived || f.Wrong != "" || f.Deviated != nil || f.Detected != nil {
		t.Errorf("fault: %+v", f)
	}
	if v.Score == nil || *v.Score != (chaos.Score{Faults: 1, Unnamed: 1}) {
		t.Errorf("score %+v", v.Score)
	}
	if want := []string{"HW4003"}; !reflect.DeepEqual(f.Others, want) {
		t.Errorf("others %v, want %v", f.Others, want)
	}
	for _, r := range f.Recovery {
		if !r.Known || r.Took == nil {
			t.Errorf("recovery: %+v", r)
		}
	}
	for _, c := range v.Criteria {
		if !c.Held && !c.Unknown {
			t.Errorf("criterion: %+v", c)
		}
	}
}

// A busy machine makes the 99th percentile almost twice what it was in the only few seconds
// that were looked at before the fault: that is no accusation, and of what was looked at
// for long it is one.
func TestShortBefore(t *testing.T) {
	s := sim{quiet: true, mutate: func(at time.Duration, truth map[chaos.Metric]float64) {
		if at >= simEnded {
			truth[chaos.LatencyP99] *= 1.9
		}
	}}
	if v := Judge(s.make()); v.Outcome != chaos.Deviated || !strings.Contains(v.Reason, "99th percentile of the latency: 38 ms") {
		t.Errorf("a minute before: %s: %s", v.Outcome, v.Reason)
	}
	s.run = func(r *chaos.Run) { r.Phases[0].From = simBegan - 5*time.Second }
	if v := Judge(s.make()); v.Outcome != chaos.Pass {
		t.Errorf("five seconds before: %s: %s", v.Outcome, v.Reason)
	}
}

// Where little was so quick that a factor of it is nothing, what a busy machine adds is
// none of the target's: less of it is allowed without a fault than with one, and more
// before everything is ended.
func TestSlackOfLatency(t *testing.T) {
	quick := sim{quiet: true, mutate: func(at time.Duration, truth map[chaos.Metric]float64) { truth[chaos.LatencyP99] = 0.001 }}
	base := newBaseline(before(quick.make()))
	c := &chaos.Criterion{Metric: chaos.LatencyP99, AtMost: ptr(1.5), Tolerated: ptr(2), OfBaseline: true}
	for is, want := range map[purpose]float64{toHold: 0.011, toTolerate: 0.051, toEnd: 0.101} {
		if _, high, ok := bounds(c, is, base); !ok || math.Abs(high-want) > 0.0005 {
			t.Errorf("purpose %d: at most %v, want %v", is, high, want)
		}
	}
	for _, tt := range []struct {
		latency float64
		when    func(time.Duration) bool
		want    chaos.Outcome
	}{
		{0.045, func(at time.Duration) bool { return at >= simWrong && at < simEnded }, chaos.Pass},
		{0.08, func(at time.Duration) bool { return at >= simWrong && at < simEnded }, chaos.Deviated},
		{0.02, func(at time.Duration) bool { return at >= simEnded }, chaos.Deviated},
	} {
		s := quick
		s.mutate = func(at time.Duration, truth map[chaos.Metric]float64) {
			if truth[chaos.LatencyP99] = 0.001; tt.when(at) {
				truth[chaos.LatencyP99] = tt.latency
			}
		}
		if v := Judge(s.make()); v.Outcome != tt.want {
			t.Errorf("%v s: %s: %s, want %s", tt.latency, v.Outcome, v.Reason, tt.want)
		}
	}
}

// A latency on a machine whose CPUs are taken is held against the target, and it is said
// that we were late ourselves.
func TestBusy(t *testing.T) {
	run := func(late time.Duration) *chaos.Run {
		return sim{quiet: true, mutate: func(at time.Duration, truth map[chaos.Metric]float64) {
			if at >= simWrong && at < simEnded {
				truth[chaos.LatencyP99] = 0.8
			}
		}, run: func(r *chaos.Run) {
			for i := range r.Points {
				if p := &r.Points[i]; p.At >= simWrong && i%10 == 0 {
					p.At += late
				}
			}
		}}.make()
	}
	const words = "CPUs of this machine were taken then"
	for late, want := range map[time.Duration]bool{time.Millisecond: false, 60 * time.Millisecond: true} {
		v := Judge(run(late))
		if v.Outcome != chaos.Deviated || strings.Contains(v.Reason, words) != want {
			t.Errorf("%v late: %s: %s", late, v.Outcome, v.Reason)
		}
		r := run(late)
		r.Aborted = name(chaos.LatencyP99) + ": 800 ms, at most 60 ms"
		r.Events = append(r.Events, chaos.Event{At: simWrong + 12*time.Second, Kind: chaos.EventAbort, Text: r.Aborted})
		if v := Judge(r); v.Outcome != chaos.Aborted || strings.Contains(v.Reason, words) != want {
			t.Errorf("%v late: %s: %s", late, v.Outcome, v.Reason)
		}
	}
}

// Each of what can go wrong is found, with what it is and when.
func TestSeeded(t *testing.T) {
	during := func(at time.Duration) bool { return at >= simWrong && at < simEnded }
	set := func(when func(time.Duration) bool, m chaos.Metric, v float64) func(time.Duration, map[chaos.Metric]float64) {
		return func(at time.Duration, truth map[chaos.Metric]float64) {
			if when(at) {
				truth[m] = v
			}
		}
	}
	after := func(at time.Duration) bool { return at >= simEnded }
	for _, tc := range []struct {
		name    string
		sim     sim
		outcome chaos.Outcome
		reason  string
		since   time.Duration // since the fault began; 0: no criterion of the fault
	}{
		{"not ready", sim{mutate: set(during, chaos.Ready, 0)}, chaos.Deviated, "the readiness URL does not answer 200", 20 * time.Second},
		{"errors", sim{mutate: set(during, chaos.ErrorRatio, 0.03)}, chaos.Deviated, name(chaos.ErrorRatio), 20 * time.Second},
		{"few errors of few requests", sim{mutate: func(at time.Duration, truth map[chaos.Metric]float64) {
			truth[chaos.Requests], truth[chaos.ErrorRatio] = 20, 0
			if during(at) {
				truth[chaos.ErrorRatio] = 0.1
			}
		}}, chaos.Deviated, name(chaos.ErrorRatio), 20 * time.Second},
		{"errors that nobody counts", sim{mutate: set(during, chaos.ErrorRatio, 0.05), without: []chaos.Metric{chaos.Requests, chaos.Throughput}}, chaos.Deviated, name(chaos.ErrorRatio), 20 * time.Second},
		{"latency", sim{mutate: set(during, chaos.LatencyP99, 0.8)}, chaos.Deviated, name(chaos.LatencyP99) + ": 800 ms", 20 * time.Second},
		{"collector", sim{mutate: set(during, chaos.GCCPURatio, 0.45)}, chaos.Deviated, name(chaos.GCCPURatio) + ": 45", 20 * time.Second},
		{"headroom", sim{mutate: set(during, chaos.WorkingSet, 500*mib)}, chaos.Deviated, name(chaos.HeadroomRatio) + ": 2", 20 * time.Second},
		{"pressure", sim{mutate: set(during, chaos.PressureFull, 0.3)}, chaos.Deviated, name(chaos.PressureFull) + ": 30%", 20 * time.Second},
		{"at the limit", sim{mutate: func(at time.Duration, truth map[chaos.Metric]float64) {
			if at >= simWrong {
				truth[chaos.LimitEvents] = 3
			}
		}}, chaos.Deviated, "the cgroup was at its limit 3 times", 20 * time.Second},
		{"OOM kill", sim{mutate: func(at time.Duration, truth map[chaos.Metric]float64) {
			if at >= simWrong {
				truth[chaos.OOMKills] = 1
			}
		}}, chaos.Deviated, "the kernel killed for memory", 20 * time.Second},
		{"goroutines", sim{mutate: set(during, chaos.GoroutineCount, 9000)}, chaos.Deviated, name(chaos.GoroutineCount) + ": 9000", 20 * time.Second},
		{"limiter", sim{mutate: set(during, chaos.LimiterOn, 1)}, chaos.Deviated, "the GC CPU limiter is engaged", 20 * time.Second},
		{"gone", sim{run: func(r *chaos.Run) {
			r.Events = append(r.Events, chaos.Event{At: simWrong + 5*time.Second, Kind: chaos.EventGone, Text: "killed"})
		}}, chaos.Deviated, "the target ended", 0},
		{"not undone", sim{run: func(r *chaos.Run) { r.Faults[0].Verified = false }}, chaos.Deviated, "its settings were not all read back", 0},
		{"left behind", sim{run: func(r *chaos.Run) { r.Left = []string{"process 77"} }}, chaos.Deviated, "process 77", 0},
		{"beyond its cgroup", sim{run: func(r *chaos.Run) { r.Faults[0].Contained = false }}, chaos.Deviated, "beyond the target's cgroup", 0},
		{"live heap stays", sim{cycle: func(c *chaos.Cycle) {
			if after(c.At) {
				c.LiveBytes += 10 * mib
			}
		}}, chaos.Deviated, "its live heap: 5", 0},
		{"goroutines stay", sim{mutate: set(after, chaos.GoroutineCount, 260)}, chaos.Deviated, "its goroutines, without those of new connections: 260", 0},
		{"latency stays", sim{mutate: set(after, chaos.LatencyP99, 0.4)}, chaos.Deviated, "99th percentile of the latency", 0},
		{"errors stay", sim{mutate: set(after, chaos.ErrorRatio, 0.008)}, chaos.Deviated, "share of failed requests", 0},
		{"collector busy after it, as is tolerated during it", sim{mutate: set(after, chaos.GCCPURatio, 0.35)}, chaos.Deviated, "after the fault neighbour, " + name(chaos.GCCPURatio) + ": 35% after 60 s, at most 25%", 0},
		{"room comes and goes after it", sim{mutate: func(at time.Duration, truth map[chaos.Metric]float64) {
			if after(at) && int(at.Seconds())%2 == 0 {
				truth[chaos.WorkingSet] = 320 * mib
			}
		}, run: func(r *chaos.Run) {
			r.Plan.Hypothesis = append(r.Plan.Hypothesis, chaos.Criterion{Metric: chaos.HeadroomRatio, AtLeast: ptr(0.5), Tolerated: ptr(0.1), For: 3 * time.Second})
		}}, chaos.Deviated, name(chaos.HeadroomRatio) + " was not at least 50% for 10 s on end within 60 s (", 0},
		{"never ready again", sim{mutate: set(after, chaos.Ready, 0)}, chaos.Deviated, "readiness URL", 40 * time.Second},
		{"guard stays degraded", sim{mutate: set(func(at time.Duration) bool { return at >= simWrong }, chaos.GuardState, 2)}, chaos.Deviated, "its guard was not healthy again", 0},
		{"leak after the fault", sim{cycle: func(c *chaos.Cycle) {
			if c.At >= simAfter {
				c.LiveBytes += uint64((c.At - simAfter).Seconds() * mib)
			}
		}}, chaos.Deviated, "its live heap grows by", 0},
		{"goroutine leak after the fault", sim{mutate: func(at time.Duration, truth map[chaos.Metric]float64) {
			if at >= simAfter {
				truth[chaos.GoroutineCount] += math.Round(3 * (at - simAfter).Seconds())
			}
		}}, chaos.Deviated, "its goroutines grow by", 0},
		{"before", sim{mutate: set(func(at time.Duration) bool { return at < simBegan }, chaos.GCCPURatio, 0.35)}, chaos.NotRun, "does not hold before any fault: " + name(chaos.GCCPURatio) + ": 35%", 0},
		{"refused", sim{run: func(r *chaos.Run) { *r = chaos.Run{Refused: "process 1 is not ours"} }}, chaos.NotRun, "Nothing was done: process 1 is not ours.", 0},
		{"aborted", sim{mutate: set(during, chaos.LatencyP99, 0.8), run: func(r *chaos.Run) {
			r.Aborted = "headroom: 2%"
			r.Events = append(r.Events, chaos.Event{At: simWrong + 10*time.Second, Kind: chaos.EventAbort, Fault: 0, Text: "headroom: 2%"})
		}}, chaos.Aborted, "Headroom: 2%.", 20 * time.Second},
		{"interrupted", sim{run: func(r *chaos.Run) { r.Interrupted, r.Aborted = true, "the user ended it" }}, chaos.Aborted, "The user ended it.", 0},
		{"did not happen", sim{run: func(r *chaos.Run) { r.Faults[0].Happened, r.Faults[0].Measured = false, 0 }}, chaos.NotRun, "the fault neighbour did not happen (it could not be seen from outside)", 0},
		{"hardly happened", sim{run: func(r *chaos.Run) { r.Faults[0].Happened, r.Faults[0].Measured = false, 20*mib }}, chaos.NotRun, "did not happen (20.0 MiB was seen from outside, and its level was 200.0 MiB)", 0},
		{"did not happen, and deviated", sim{mutate: set(during, chaos.LatencyP99, 0.8), run: func(r *chaos.Run) { r.Faults[0].Happened = false }}, chaos.Deviated, "99th percentile", 20 * time.Second},
		{"expected kill does not come", sim{fault: chaos.Fault{Name: "kill", Kind: chaos.HardLimit, Expect: &chaos.Expectation{OOMKill: true}}}, chaos.Deviated, "the OOM kill that the plan expects did not come", 0},
		{"expected kill comes", sim{fault: chaos.Fault{Name: "kill", Kind: chaos.HardLimit, Expect: &chaos.Expectation{OOMKill: true}}, run: func(r *chaos.Run) {
			r.Faults[0].KilledTarget = true
			r.Events = append(r.Events, chaos.Event{At: simWrong + 10*time.Second, Kind: chaos.EventGone})
			r.Phases, r.Points = r.Phases[:2], r.Points[:900]
		}}, chaos.Pass, "the target was killed once, as the plan expects", 0},
		{"guard does not degrade", sim{fault: chaos.Fault{Name: "g", Kind: chaos.Sibling, Expect: &chaos.Expectation{Degrade: true}}}, chaos.Deviated, "the guard stayed healthy", 0},
		{"guard not seen", sim{fault: chaos.Fault{Name: "g", Kind: chaos.Sibling, Expect: &chaos.Expectation{Degrade: true}}, without: []chaos.Metric{chaos.GuardState}}, chaos.NotRun, "could not be seen", 0},
		{"guard degrades", sim{fault: chaos.Fault{Name: "g", Kind: chaos.Sibling, Expect: &chaos.Expectation{Degrade: true}}, mutate: set(during, chaos.GuardState, 2)}, chaos.Pass, "held", 0},
		{"nothing of it seen", sim{mutate: func(at time.Duration, truth map[chaos.Metric]float64) {
			if at >= simBegan {
				clear(truth)
			}
		}}, chaos.NotRun, "nothing of the hypothesis could be looked at", 0},
		{"errors not seen during it", sim{mutate: func(at time.Duration, truth map[chaos.Metric]float64) {
			if at >= simBegan+5*time.Second && at < simEnded {
				delete(truth, chaos.ErrorRatio) // who answers nothing fails nothing
			}
		}}, chaos.NotRun, "it could not be seen during neighbour: " + name(chaos.ErrorRatio), 0},
		{"errors never seen", sim{without: []chaos.Metric{chaos.ErrorRatio}}, chaos.NotRun, "it could never be seen: " + name(chaos.ErrorRatio), 0},
		{"pressure never seen", sim{without: []chaos.Metric{chaos.PressureFull}}, chaos.Pass, "held", 0},
		{"nothing of the recovery seen", sim{mutate: func(at time.Duration, truth map[chaos.Metric]float64) {
			if at >= simEnded {
				clear(truth)
			}
		}, cycle: func(c *chaos.Cycle) { c.LiveBytes = 0 }}, chaos.NotRun, "nothing could be seen of whether the target recovered from neighbour", 0},
		{"live heap of too few cycles", sim{run: func(r *chaos.Run) {
			r.Cycles = slices.DeleteFunc(r.Cycles, func(c chaos.Cycle) bool { return c.At >= simEnded+5*time.Second })
			for i := range r.Cycles {
				if r.Cycles[i].At >= simEnded && r.Cycles[i].At < simEnded+3*time.Second {
					r.Cycles[i].LiveBytes += 20 * mib
				}
			}
		}}, chaos.Pass, "of its live heap too little was seen", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, quiet := range []bool{true, false} {
				tc.sim.quiet, tc.sim.seed = quiet, 5
				run := tc.sim.make()
				v := Judge(run)
				if v.Outcome != tc.outcome || !strings.Contains(v.Reason, tc.reason) {
					t.Errorf("quiet %t: %s: %s\nwant %s: %s", quiet, v.Outcome, v.Reason, tc.outcome, tc.reason)
				}
				if tc.since == 0 {
					continue
				}
				if at := v.Faults[0].Deviated; at == nil || (*at-tc.since).Abs() > 4*time.Second {
					t.Errorf("quiet %t: deviated after %v, want %v", quiet, at, tc.since)
				}
			}
		})
	}
}

// The conditions end a run for the same reasons, and when their time is over.
func TestAbort(t *testing.T) {
	for _, tc := range []struct {
		name   string
		metric chaos.Metric
		value  float64
		after  time.Duration // since it began to be so; -1: never
		with   map[chaos.Metric]float64
		fault  *chaos.Fault
	}{
		{"headroom", chaos.WorkingSet, 505 * mib, 0, nil, nil},
		{"headroom, of a limit that is lowered", chaos.WorkingSet, 505 * mib, -1, map[chaos.Metric]float64{chaos.Headroom: 7 * mib}, &chaos.Fault{Kind: chaos.HardLimit}},
		{"a kill", chaos.OOMKills, 1, 0, nil, nil},
		{"an expected kill", chaos.OOMKills, 1, -1, nil, &chaos.Fault{Kind: chaos.HardLimit, Expect: &chaos.Expectation{OOMKill: true}}},
		{"pressure", chaos.PressureFull, 0.3, 3 * time.Second, nil, nil},
		{"collector", chaos.GCCPURatio, 0.6, 5 * time.Second, nil, nil},
		{"probe lost", chaos.Ready, 0, 2 * time.Second, nil, nil},
		{"frozen", chaos.Ready, 0, -1, nil, &chaos.Fault{Kind: chaos.Freeze}},
		{"host", chaos.HostFreeRatio, 0.05, 0, nil, nil},
		{"latency", chaos.LatencyP99, 1, 10 * time.Second, nil, nil},
		{"not a number", chaos.GCCPURatio, math.NaN(), -1, nil, nil},
		{"errors", chaos.ErrorRatio, 0.05, 5 * time.Second, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const from = simBegan + 10*time.Second
			run := sim{quiet: true, mutate: func(at time.Duration, truth map[chaos.Metric]float64) {
				if at >= from && at < from+15*time.Second {
					truth[tc.metric] = tc.value
				}
			}}.make()
			a := NewAbort(run.Plan.Abort)
			a.Baseline(before(run))
			got := time.Duration(-1)
			for _, p := range run.Points {
				if p.At >= simEnded {
					break
				}
				f := &chaos.Fault{Kind: chaos.Sibling}
				if tc.fault != nil {
					f = tc.fault
				}
				if c, why := a.Step(p, f); c != nil {
					got = p.At - from
					if why == "" {
						t.Error("no reason")
					}
					break
				}
			}
			if (got < 0) != (tc.after < 0) || got-tc.after > time.Second || got < tc.after {
				t.Errorf("after %s, want %s", got, tc.after)
			}
		})
	}
}

// A step of memory stays in the slope of the last second for as long: one that is over at
// once, as of a fault that catches up with its ramp on a busy machine, ends nothing.
func TestAbortBurst(t *testing.T) {
	c := chaos.Criterion{Metric: chaos.HeadroomSeconds, AtLeast: ptr(3), For: 500 * time.Millisecond}
	for last, want := range map[time.Duration]bool{time.Second: false, 1800 * time.Millisecond: true} {
		a := NewAbort([]chaos.Criterion{c})
		broken := false
		for at := time.Duration(0); at < 5*time.Second; at += 100 * time.Millisecond {
			p := chaos.Point{At: at, Values: map[chaos.Metric]float64{chaos.HeadroomRatio: 0.2, chaos.HeadroomSeconds: 30}}
			if at >= time.Second && at < time.Second+last {
				p.Values[chaos.HeadroomSeconds] = 1.8
			}
			is, _ := a.Step(p, &chaos.Fault{Kind: chaos.Sibling})
			broken = broken || is != nil
		}
		if broken != want {
			t.Errorf("for %v: broken %v", last, broken)
		}
	}
}

// What a counter counted before, or while it was excepted, is forgiven.
func TestAbortCounters(t *testing.T) {
	a := NewAbort([]chaos.Criterion{{Metric: chaos.LimitEvents, AtMost: ptr(0), Except: []chaos.Kind{chaos.HardLimit}}})
	point := func(at time.Duration, v float64) chaos.Point {
		return chaos.Point{At: at * time.Second, Values: map[chaos.Metric]float64{chaos.LimitEvents: v}}
	}
	a.Baseline([]chaos.Point{point(0, 4)})
	for i, tc := range []struct {
		v    float64
		kind chaos.Kind
		want bool
	}{{4, "", false}, {9, chaos.HardLimit, false}, {9, "", false}, {10, chaos.Sibling, true}} {
		var f *chaos.Fault
		if tc.kind != "" {
			f = &chaos.Fault{Kind: tc.kind}
		}
		if c, why := a.Step(point(time.Duration(i+1), tc.v), f); (c != nil) != tc.want {
			t.Errorf("step %d: %v %s, want %t", i, c, why, tc.want)
		}
	}
}

// What is told live is what the verdict says.
func TestLive(t *testing.T) {
	run := sim{seed: 3, mutate: func(at time.Duration, truth map[chaos.Metric]float64) {
		if at >= simWrong && at < simWrong+15*time.Second {
			truth[chaos.GCCPURatio] = 0.45
		}
	}}.make()
	h := NewHypothesis(&run.Plan)
	h.Baseline(before(run))
	var broken, holds []chaos.Event
	for _, p := range run.Points {
		phase, fault := chaos.PhaseBefore, -1
		switch {
		case p.At >= simAfter:
			phase = chaos.PhaseAfter
		case p.At >= simEnded:
			phase, fault = chaos.PhaseRecovery, 0
		case p.At >= simBegan:
			phase, fault = chaos.PhaseFault, 0
		}
		for _, e := range h.Step(p, phase, fault) {
			if e.Kind == chaos.EventBroken {
				broken = append(broken, e)
			} else {
				holds = append(holds, e)
			}
		}
	}
	if len(broken) != 1 || (broken[0].At-simWrong-5*time.Second).Abs() > time.Second || len(holds) != 1 || (holds[0].At-simWrong-15*time.Second).Abs() > time.Second {
		t.Errorf("broken %+v, holds %+v", broken, holds)
	}
	r := NewRecovery(&run.Plan, before(run), run.Cycles[:55], chaos.Done{Fault: 0, Ended: simEnded})
	next := 0
	for next < len(run.Cycles) && run.Cycles[next].At <= simEnded {
		next++
	}
	for _, p := range run.Points {
		if p.At < simEnded {
			continue
		}
		from := next
		for next < len(run.Cycles) && run.Cycles[next].At <= p.At {
			next++
		}
		if done, _ := r.Step(p, run.Cycles[from:next]); done {
			if p.At > r.Deadline()+time.Minute || p.At > simEnded+40*time.Second {
				t.Errorf("recovered at %s", p.At)
			}
			return
		}
	}
	t.Errorf("not recovered: %+v", r.Results())
}

// The same run comes to the same verdict, also after it was a file.
func TestRoundTrip(t *testing.T) {
	run := sim{seed: 9}.make()
	first, err := json.Marshal(Judge(run))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(run)
	if err != nil {
		t.Fatal(err)
	}
	var again chaos.Run
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	second, err := json.Marshal(Judge(&again))
	if err != nil {
		t.Fatal(err)
	}
	if string(first) != string(second) {
		t.Errorf("verdicts differ:\n%s\n%s", first, second)
	}
	var v chaos.Verdict
	if err := json.Unmarshal(first, &v); err != nil {
		t.Fatal(err)
	}
	if third, _ := json.Marshal(&v); string(third) != string(first) {
		t.Errorf("the verdict is not what it was written as")
	}
	again2, _ := json.Marshal(Judge(run))
	if string(again2) != string(first) {
		t.Error("judged twice, two verdicts")
	}
}

// A machine whose CPUs are taken by others after the baseline makes the latency what
// every turn is late by: that is not held against the target, and more than that is.
func TestControl(t *testing.T) {
	for _, tt := range []struct {
		latency float64
		late    time.Duration
		want    chaos.Outcome
	}{
		{0.060, 25 * time.Millisecond, chaos.Pass},
		{0.060, 0, chaos.Deviated},
		{0.200, 25 * time.Millisecond, chaos.Deviated},
		{0.800, time.Second, chaos.Deviated}, // who stands still is no excuse for seconds on end
	} {
		run := sim{quiet: true, mutate: func(at time.Duration, truth map[chaos.Metric]float64) {
			if truth[chaos.LatencyP99] = 0.004; at >= simEnded {
				truth[chaos.LatencyP99] = tt.latency
			}
		}, run: func(r *chaos.Run) {
			for i := range r.Points {
				if p := &r.Points[i]; p.At >= simEnded && i%20 == 0 {
					p.At += min(tt.late, 99*time.Millisecond)
				}
			}
		}}.make()
		if v := Judge(run); v.Outcome != tt.want {
			t.Errorf("%v s, %v late: %s: %s, want %s", tt.latency, tt.late, v.Outcome, v.Reason, tt.want)
		}
	}
	q := &pace{}
	for _, at := range []time.Duration{0, 100, 200, 350, 450, 2450} {
		q.add(at * time.Millisecond)
	}
	if got := q.waited(0); got != turns*mostLate.Seconds() {
		t.Errorf("after a second stood still %v", got)
	}
	if got := q.waited(mostLate); got != 0 {
		t.Errorf("what is usual is %v", got)
	}
	for at := range 100 {
		q.add(2450*time.Millisecond + time.Duration(at)*turn)
	}
	if got := q.waited(0); got != 0 || len(q.late) > 0 {
		t.Errorf("ten seconds later %v of %d", got, len(q.late))
	}
}
