package judge

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/diagnose"
)

// curved is a service whose collector takes more the less room there is.
func curved(share ...float64) func(time.Duration, map[chaos.Metric]float64) {
	return func(at time.Duration, truth map[chaos.Metric]float64) {
		truth[chaos.GCCPURatio] = 0.02
		if at >= simBegan && at < simEnded {
			truth[chaos.GCCPURatio] = share[min(int((at-simBegan)/(10*time.Second)), len(share)-1)]
		}
	}
}

func layerNames(m *chaos.Margin) (out []string) {
	for _, l := range m.Layers {
		out = append(out, fmt.Sprintf("%s at %.0fs with %.0f MiB", l.Name, l.At.Seconds(), l.RoomBytes/mib))
	}
	return out
}

func TestMargin(t *testing.T) {
	steps := curved(0.03, 0.05, 0.2, 0.45)
	// levels of a run in steps of ten seconds.
	levels := func(of ...float64) func(*chaos.Run) {
		return func(r *chaos.Run) {
			r.Events = nil
			for i, v := range of {
				r.Events = append(r.Events, chaos.Event{At: simBegan + time.Duration(i)*10*time.Second, Kind: chaos.EventLevel, Value: v * mib})
			}
		}
	}
	for _, tc := range []struct {
		name              string
		sim               sim
		layers            []string
		safe, knee, taken float64 // MiB
		points            int
	}{
		{"a neighbour", sim{mutate: steps}, []string{"gc_cpu_10 at 80s with 362 MiB", "gc_cpu_25 at 90s with 312 MiB"}, 412, 412, 100, 5},
		{"a limit that falls", sim{fault: chaos.Fault{Kind: chaos.HardLimit}, mutate: steps, run: levels(400, 300, 200, 150)},
			[]string{"gc_cpu_10 at 80s with 200 MiB", "gc_cpu_25 at 90s with 150 MiB"}, 300, 300, 212, 5},
		{"a soft limit that falls", sim{fault: chaos.Fault{Kind: chaos.SoftLimit}, mutate: func(at time.Duration, truth map[chaos.Metric]float64) {
			steps(at, truth)
			truth[chaos.MemoryLimitGo] = 450 * mib
		}, run: levels(400, 300, 200, 150)}, []string{"gc_cpu_10 at 80s with 200 MiB", "gc_cpu_25 at 90s with 150 MiB"}, 300, 300, 150, 5},
		{"nothing fails", sim{}, []string{}, 312, 0, 200, 5},
		{"the collector is busy anyway", sim{mutate: func(_ time.Duration, truth map[chaos.Metric]float64) { truth[chaos.GCCPURatio] = 0.15 }}, []string{}, 0, 0, 200, 5},
		{"all layers", sim{mutate: func(at time.Duration, truth map[chaos.Metric]float64) {
			steps(at, truth)
			second := int((at - simBegan) / time.Second)
			if at < simBegan {
				second = -1
			}
			for m, x := range map[chaos.Metric]struct {
				from int
				v    float64
			}{chaos.AssistRatio: {11, 0.08}, chaos.ThrottledRatio: {12, 0.5}, chaos.PressureFull: {13, 0.06}, chaos.GuardState: {14, 2},
				chaos.LatencyP99: {15, 0.3}, chaos.ErrorRatio: {16, 0.02}, chaos.LimitEvents: {36, 2}, chaos.OOMKills: {37, 1}} {
				if second >= x.from {
					truth[m] = x.v
				}
			}
		}}, []string{"assist at 71s with 412 MiB", "throttle at 72s with 412 MiB", "pressure at 73s with 412 MiB", "guard at 74s with 412 MiB",
			"latency at 75s with 412 MiB", "errors at 77s with 412 MiB", "gc_cpu_10 at 80s with 362 MiB", "gc_cpu_25 at 90s with 312 MiB",
			"limit at 96s with 312 MiB", "oom at 97s with 312 MiB"}, 462, 412, 50, 5},
	} {
		tc.sim.quiet = true
		if tc.sim.fault.Kind != "" {
			tc.sim.fault.Name, tc.sim.fault.Ramp, tc.sim.fault.Steps = "f", 40*time.Second, 4
		}
		m := Judge(tc.sim.make()).Margin
		if m == nil {
			t.Errorf("%s: none", tc.name)
			continue
		}
		if got := layerNames(m); !slices.Equal(got, tc.layers) {
			t.Errorf("%s: layers %q\nwant %q", tc.name, got, tc.layers)
		}
		if m.SafeLimitBytes != tc.safe*mib || m.KneeLimitBytes != tc.knee*mib || m.TakenBytes != tc.taken*mib || len(m.Points) != tc.points {
			t.Errorf("%s: safe %.0f MiB, knee %.0f MiB, taken %.0f MiB, %d points; want %v %v %v %d", tc.name, m.SafeLimitBytes/mib, m.KneeLimitBytes/mib,
				m.TakenBytes/mib, len(m.Points), tc.safe, tc.knee, tc.taken, tc.points)
		}
		for i := 1; i < len(m.Points); i++ {
			if m.Points[i].RoomBytes >= m.Points[i-1].RoomBytes {
				t.Errorf("%s: room does not fall: %+v", tc.name, m.Points)
			}
		}
	}
}

// A slope is cut into stretches; where no limit is known, or nothing happened, there is
// no margin.
// A soft limit that left less room than a neighbour is not what a limit may be.
func TestMarginOfTwo(t *testing.T) {
	run := sim{quiet: true, run: func(r *chaos.Run) {
		r.Plan.Faults = append([]chaos.Fault{{Name: "soft", Kind: chaos.SoftLimit}}, r.Plan.Faults...)
		for i := range r.Events {
			r.Events[i].Fault = 1
		}
		second := r.Faults[0]
		second.Fault = 1
		first := chaos.Done{Began: 50 * time.Second, Ended: simBegan, Peak: 60 * mib, Happened: true, Contained: true, Verified: true}
		r.Faults = []chaos.Done{first, second}
	}}.make()
	if m := Judge(run).Margin; m == nil || m.Fault != 1 {
		t.Errorf("margin %+v, want that of the neighbour", m)
	}
	run.Faults[1].Happened = false
	if m := Judge(run).Margin; m == nil || m.Fault != 0 {
		t.Errorf("margin %+v, want that of the soft limit, where there is no other", m)
	}
}

func TestMarginOfASlope(t *testing.T) {
	s := sim{quiet: true, mutate: func(at time.Duration, truth map[chaos.Metric]float64) {
		truth[chaos.GCCPURatio] = 0.02
		if at >= simBegan && at < simEnded {
			truth[chaos.GCCPURatio] = 0.02 / (1.04 - (at-simBegan).Seconds()/40)
		}
	}, run: func(r *chaos.Run) {
		r.Events = nil
		for i := range 400 {
			r.Events = append(r.Events, chaos.Event{At: simBegan + time.Duration(i)*100*time.Millisecond, Kind: chaos.EventLevel, Value: float64(i+1) * mib})
		}
	}}
	m := Judge(s.make()).Margin
	if m == nil || len(m.Points) < 10 || len(m.Points) > mostLevels {
		t.Fatalf("%+v", m)
	}
	// 10% is reached at 0.84 of 400 MiB: 336 MiB; the truth is 512-336 = 176 MiB.
	if math.Abs(m.SafeLimitBytes/mib-176) > 40 || m.SafeLimitBytes < 176*mib {
		t.Errorf("safe %.0f MiB", m.SafeLimitBytes/mib)
	}
	if m.KneeLimitBytes <= 112*mib || m.KneeLimitBytes > 260*mib {
		t.Errorf("knee %.0f MiB", m.KneeLimitBytes/mib)
	}
	for name, s := range map[string]sim{
		"no limit":        {quiet: true, without: []chaos.Metric{chaos.Limit, chaos.Headroom, chaos.HeadroomRatio}},
		"takes none":      {quiet: true, fault: chaos.Fault{Kind: chaos.CPUQuota}},
		"did not happen":  {quiet: true, run: func(r *chaos.Run) { r.Faults[0].Happened = false }},
		"nothing is seen": {quiet: true, run: func(r *chaos.Run) { r.Points = nil }},
	} {
		if m := Judge(s.make()).Margin; m != nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

// Every finding that is expected is one that the diagnosis has.
func TestExpected(t *testing.T) {
	var ids []string
	for _, r := range diagnose.Rules() {
		ids = append(ids, r.ID)
	}
	for kind, want := range expected {
		if _, ok := kind.Info(); !ok || len(want) == 0 {
			t.Errorf("%s: not a kind, or nothing", kind)
		}
		for _, id := range want {
			if !slices.Contains(ids, id) {
				t.Errorf("%s: %s is no finding", kind, id)
			}
		}
	}
}

func TestScore(t *testing.T) {
	findings := func(ids ...string) (out []chaos.Finding) {
		for _, id := range ids {
			out = append(out, chaos.Finding{ID: id})
		}
		return out
	}
	for _, tc := range []struct {
		name          string
		fault         chaos.Fault
		before, there []string
		events        []chaos.Event
		first         time.Duration
		named         []string
		detected      time.Duration // -1: never
		want          chaos.Score
	}{
		{"named", chaos.Fault{Kind: chaos.CPUQuota}, nil, []string{"HW2003", "HW4004"}, nil, 9 * time.Second, []string{"HW4004"}, 9 * time.Second, chaos.Score{Faults: 1, Named: 1}},
		{"named by an event", chaos.Fault{Kind: chaos.CPUQuota}, nil, []string{"HW4004"}, []chaos.Event{
			{At: simBegan + 2*time.Second, Kind: chaos.EventFinding, Text: "HW2003 x", To: "HW2003"},
			{At: simBegan + 4*time.Second, Kind: chaos.EventFinding, Text: "HW4004 x"}}, 9 * time.Second, []string{"HW4004"}, 4 * time.Second, chaos.Score{Faults: 1, Named: 1}},
		{"unnamed", chaos.Fault{Kind: chaos.SoftLimit}, nil, []string{"HW2003"}, nil, 0, []string{}, -1, chaos.Score{Faults: 1, Unnamed: 1}},
		{"there before", chaos.Fault{Kind: chaos.Churn}, []string{"HW2001"}, []string{"HW2001"}, nil, 3 * time.Second, []string{}, -1, chaos.Score{Faults: 1, Unnamed: 1, False: 1}},
		{"no rule", chaos.Fault{Kind: chaos.Finalizers}, nil, []string{"HW4001"}, nil, 0, []string{}, -1, chaos.Score{NoRule: 1}},
		{"the plan's own", chaos.Fault{Kind: chaos.Freeze, Diagnosis: []string{"HW4001"}}, nil, []string{"HW4001"}, nil, time.Second, []string{"HW4001"}, time.Second, chaos.Score{Faults: 1, Named: 1}},
	} {
		tc.fault.Name = "f"
		v := Judge(sim{quiet: true, fault: tc.fault, run: func(r *chaos.Run) {
			r.Findings = []chaos.Diagnosed{{Fault: -1, Findings: findings(tc.before...)}, {Fault: 0, Findings: findings(tc.there...), First: tc.first}}
			r.Events = append(r.Events, tc.events...)
		}}.make())
		f := v.Faults[0]
		if !slices.Equal(f.Named, tc.named) || v.Score == nil || *v.Score != tc.want {
			t.Errorf("%s: named %v, score %+v", tc.name, f.Named, v.Score)
		}
		if (f.Detected == nil) != (tc.detected < 0) || f.Detected != nil && *f.Detected != tc.detected {
			t.Errorf("%s: detected %v, want %s", tc.name, f.Detected, tc.detected)
		}
	}
	if v := Judge(sim{quiet: true, run: func(r *chaos.Run) { r.Findings = nil }}.make()); v.Score != nil {
		t.Errorf("scored without a diagnosis: %+v", v.Score)
	}
}
