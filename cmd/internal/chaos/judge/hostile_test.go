package judge

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// hostile is a run that says anything.
func hostile(rnd *rand.Rand) *chaos.Run {
	value := func() float64 {
		switch rnd.IntN(9) {
		case 0:
			return math.NaN()
		case 1:
			return math.Inf(1 - 2*rnd.IntN(2))
		case 2:
			return -rnd.ExpFloat64() * 1e9
		case 3:
			return math.MaxFloat64 * (rnd.Float64()*2 - 1)
		case 4:
			return 0
		case 5:
			return rnd.Float64()
		}
		return rnd.ExpFloat64() * 1e8
	}
	when := func() time.Duration {
		switch rnd.IntN(8) {
		case 0:
			return time.Duration(math.MinInt64)
		case 1:
			return time.Duration(math.MaxInt64 - rnd.Int64N(3))
		case 2:
			return -time.Duration(rnd.Int64N(1e12))
		case 3:
			return 0
		}
		return time.Duration(rnd.Int64N(300e9))
	}
	fault := func() int { return rnd.IntN(6) - 2 }
	maybe := func() *float64 {
		if rnd.IntN(2) == 0 {
			return nil
		}
		return ptr(value())
	}
	metrics, kinds := chaos.Metrics(), chaos.Kinds()
	metric := func() chaos.Metric {
		if rnd.IntN(20) == 0 {
			return "of nothing"
		}
		return metrics[rnd.IntN(len(metrics))].Metric
	}
	criteria := func() (out []chaos.Criterion) {
		for range rnd.IntN(8) {
			c := chaos.Criterion{Metric: metric(), AtMost: maybe(), AtLeast: maybe(), Tolerated: maybe(), OfBaseline: rnd.IntN(2) == 0, For: time.Duration(rnd.Int64N(10e9))}
			if rnd.IntN(5) == 0 {
				c.For = when()
			}
			if rnd.IntN(3) == 0 {
				c.Except = []chaos.Kind{kinds[rnd.IntN(len(kinds))].Kind}
			}
			out = append(out, c)
		}
		return out
	}
	run := &chaos.Run{Plan: chaos.Plan{Hypothesis: criteria(), Abort: criteria()}}
	if rnd.IntN(3) == 0 {
		run.Plan.Hypothesis, run.Plan.Abort = hypothesis(), conditions()
	}
	if rnd.IntN(3) == 0 {
		run.Plan.Recovery = chaos.Recovery{Within: when(), Stable: when(), Memory: when(), Watch: when()}
	}
	phases := []chaos.PhaseKind{chaos.PhaseBefore, chaos.PhaseFault, chaos.PhaseRecovery, chaos.PhaseAfter, "other"}
	for range rnd.IntN(4) {
		f := chaos.Fault{Name: "\x1b[31m\xff", Kind: kinds[rnd.IntN(len(kinds))].Kind}
		if rnd.IntN(3) == 0 {
			f.Expect = &chaos.Expectation{OOMKill: rnd.IntN(2) == 0, Degrade: rnd.IntN(2) == 0}
		}
		run.Plan.Faults = append(run.Plan.Faults, f)
	}
	for range rnd.IntN(8) {
		run.Phases = append(run.Phases, chaos.Phase{Kind: phases[rnd.IntN(len(phases))], Fault: fault(), From: when(), To: when()})
	}
	for range rnd.IntN(4) {
		run.Faults = append(run.Faults, chaos.Done{Fault: fault(), Began: when(), Ended: when(), Peak: value(), Happened: rnd.IntN(4) > 0, Contained: rnd.IntN(4) > 0,
			Verified: rnd.IntN(4) > 0, Undo: when(), KilledTarget: rnd.IntN(4) == 0, KilledOurs: rnd.IntN(5) - 2})
	}
	at := time.Duration(0)
	ordered := rnd.IntN(2) == 0
	for range rnd.IntN(300) {
		p := chaos.Point{At: when(), Values: map[chaos.Metric]float64{}}
		if at += time.Duration(rnd.Int64N(1e9)); ordered {
			p.At = at
		}
		for range rnd.IntN(20) {
			p.Values[metric()] = value()
		}
		if rnd.IntN(10) == 0 {
			p.Values = nil
		}
		run.Points = append(run.Points, p)
		if rnd.IntN(3) == 0 {
			run.Cycles = append(run.Cycles, chaos.Cycle{At: p.At, Pause: when(), LiveBytes: rnd.Uint64(), GoalBytes: rnd.Uint64()})
		}
	}
	events := []chaos.EventKind{chaos.EventFault, chaos.EventLevel, chaos.EventLevel, chaos.EventState, chaos.EventAbort, chaos.EventKill, chaos.EventGone, chaos.EventFinding, "other"}
	states := []string{"", "healthy", "degraded", "recovering", "HW1003"}
	for range rnd.IntN(100) {
		run.Events = append(run.Events, chaos.Event{At: when(), Kind: events[rnd.IntN(len(events))], Fault: fault(), Value: value(),
			Text: "HW3001 x", From: states[rnd.IntN(len(states))], To: states[rnd.IntN(len(states))]})
	}
	for range rnd.IntN(4) {
		d := chaos.Diagnosed{Fault: fault(), First: when()}
		for range rnd.IntN(4) {
			d.Findings = append(d.Findings, chaos.Finding{ID: []string{"HW3001", "HW1003", "HW2001", ""}[rnd.IntN(4)]})
		}
		run.Findings = append(run.Findings, d)
	}
	switch rnd.IntN(8) {
	case 0:
		run.Refused = "no\n"
	case 1:
		run.Aborted = "\xff"
	case 2:
		run.Interrupted = true
	}
	return run
}

// Whatever a file says, there is a verdict, it can be written, and it has a reason.
func FuzzJudge(f *testing.F) {
	for seed := range uint64(100) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		run := hostile(rand.New(rand.NewPCG(seed, 3)))
		v := Judge(run)
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if v.Reason == "" || v.Criteria == nil || len(v.Faults) > len(run.Plan.Faults) || len(text) > 1<<20 {
			t.Fatalf("%d bytes: %+v", len(text), v)
		}
		switch v.Outcome {
		case chaos.Pass, chaos.Deviated, chaos.Aborted, chaos.NotRun:
		default:
			t.Fatalf("outcome %q", v.Outcome)
		}
		for _, x := range v.Faults {
			for _, d := range []*time.Duration{x.Detected, x.Degraded, x.Deviated, x.Aborted, x.Recovered} {
				if d != nil && *d < 0 {
					t.Fatalf("%+v", x)
				}
			}
		}
		a := NewAbort(run.Plan.Abort)
		a.Baseline(run.Points)
		h := NewHypothesis(&run.Plan)
		h.Baseline(run.Points)
		r := NewRecovery(&run.Plan, run.Points, run.Cycles, chaos.Done{Fault: -1, Ended: 1})
		for i, p := range run.Points {
			a.Step(p, nil)
			h.Step(p, chaos.PhaseFault, i%5-1)
			r.Step(p, run.Cycles)
		}
	})
}

// A run that was only begun, in every way that it may be, has a verdict.
func TestPartOfARun(t *testing.T) {
	for cut := range 5 {
		run := sim{quiet: true, run: func(r *chaos.Run) {
			r.Phases = r.Phases[:min(cut, len(r.Phases))]
			r.Points = r.Points[:len(r.Points)*cut/4]
			if cut < 2 {
				r.Faults = nil
			}
		}}.make()
		if v := Judge(run); v.Reason == "" || cut < 4 && v.Outcome == chaos.Pass {
			t.Errorf("cut at %d: %s: %s", cut, v.Outcome, v.Reason)
		}
	}
	if v := Judge(&chaos.Run{}); v.Outcome != chaos.NotRun {
		t.Errorf("an empty run: %+v", v)
	}
}
