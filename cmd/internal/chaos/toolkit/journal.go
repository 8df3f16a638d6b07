package toolkit

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// libVersion is the release of chaostoolkit-lib whose journals these are like.
const libVersion = "1.45.0"

// A journal is what the Toolkit writes of a run.
type journal struct {
	Version    string       `json:"chaoslib-version"`
	Platform   string       `json:"platform"`
	Node       string       `json:"node"`
	Experiment *experiment  `json:"experiment"`
	Start      string       `json:"start"`
	Status     string       `json:"status"` // completed, failed, aborted, interrupted
	Deviated   bool         `json:"deviated"`
	States     steadyStates `json:"steady_states"`
	Run        []ran        `json:"run"`
	Rollbacks  []ran        `json:"rollbacks"`
	End        string       `json:"end"`
	Duration   float64      `json:"duration"` // seconds
}

type steadyStates struct {
	Before *steadyState  `json:"before"`
	After  *steadyState  `json:"after"`
	During []steadyState `json:"during"`
}

type steadyState struct {
	Met    *bool `json:"steady_state_met"`
	Probes []ran `json:"probes"`
}

// A ran is an activity that was run.
type ran struct {
	Activity  activity `json:"activity"`
	Output    any      `json:"output"`
	Start     string   `json:"start"`
	End       string   `json:"end"`
	Duration  float64  `json:"duration"`
	Status    string   `json:"status"` // succeeded, failed
	Exception []string `json:"exception,omitempty"`
	Met       *bool    `json:"tolerance_met,omitempty"`
}

// Journal writes what came of a run as the Toolkit does.
func Journal(run *chaos.Run, v *chaos.Verdict, o Options) ([]byte, error) {
	e := export(&run.Plan, o)
	j := journal{Version: libVersion, Platform: run.Machine.Kernel, Experiment: e, Start: stamp(run.Started),
		Status: status(run, v), Deviated: v.Outcome == chaos.Deviated,
		States: steadyStates{During: []steadyState{}}, Run: []ran{}, Rollbacks: []ran{}}
	end := ended(run)
	j.End, j.Duration = stamp(run.Started.Add(end)), seconds(end)
	if s, ok := state(run, v, chaos.PhaseBefore); ok {
		j.States.Before = &s
	}
	if s, ok := state(run, v, chaos.PhaseFault); ok {
		j.States.During = append(j.States.During, s)
	}
	// The Toolkit looks again when all is over. A plan looks after each fault.
	if s, ok := state(run, v, chaos.PhaseRecovery, chaos.PhaseAfter); ok {
		j.States.After = &s
	}
	for i, d := range run.Faults {
		if d.Fault < 0 || d.Fault >= len(e.Method) {
			continue
		}
		j.Run = append(j.Run, fault(run, v, &run.Faults[i], e.Method[d.Fault]))
		j.Rollbacks = append(j.Rollbacks, rollback(run, &run.Faults[i]))
	}
	text, err := json.MarshalIndent(&j, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the journal: %w", err)
	}
	return append(text, '\n'), nil
}

// status is the Toolkit's word for an outcome. It has none for a deviation: such a run
// is completed, and has deviated beside.
func status(run *chaos.Run, v *chaos.Verdict) string {
	switch {
	case run.Interrupted:
		return "interrupted"
	case v.Outcome == chaos.Pass, v.Outcome == chaos.Deviated:
		return "completed"
	case v.Outcome == chaos.Aborted:
		return "aborted"
	}
	// The hypothesis did not hold before, or the plan was refused.
	return "failed"
}

// stamp is a time as Python writes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000+00:00") }

// ended is when a run ended, since it began.
func ended(run *chaos.Run) time.Duration {
	var end time.Duration
	for _, p := range run.Phases {
		end = max(end, p.To)
	}
	if n := len(run.Points); n > 0 {
		end = max(end, run.Points[n-1].At)
	}
	return end
}

// state is how the criteria fared in the phases of some kinds; false where there was none.
func state(run *chaos.Run, v *chaos.Verdict, kinds ...chaos.PhaseKind) (steadyState, bool) {
	var from, to time.Duration
	found := false
	for _, p := range run.Phases {
		if !slices.Contains(kinds, p.Kind) {
			continue
		}
		if !found {
			from = p.From
		}
		from, to, found = min(from, p.From), max(to, p.To), true
	}
	if !found {
		return steadyState{}, false
	}
	met := true
	s := steadyState{Probes: []ran{}}
	for i := range v.Criteria {
		c := &v.Criteria[i]
		// Of what could not be read nothing is known. A probe that failed would say that
		// the steady state was not met.
		if !slices.Contains(kinds, c.Phase) || c.Unknown || c.Points == 0 {
			continue
		}
		held := c.Held
		met = met && held
		s.Probes = append(s.Probes, ran{Activity: probe(c), Output: c.Worst, Start: stamp(run.Started.Add(from)), End: stamp(run.Started.Add(to)),
			Duration: seconds(to - from), Status: "succeeded", Met: &held})
	}
	s.Met = &met
	return s, true
}

// probe is a criterion as if the Toolkit had measured it: a range, as far as it has one.
func probe(c *chaos.CriterionResult) activity {
	const open = 1e18 // ranges of the Toolkit have both ends
	low, high := -open, open
	if c.Criterion.AtLeast != nil {
		low = c.Bound
	} else {
		high = c.Bound
	}
	return activity{Type: "probe", Name: string(c.Criterion.Metric), Tolerance: map[string]any{"type": "range", "range": []float64{low, high}},
		Provider: provider{Type: "process", Path: "heapwright"}}
}

// fault is a fault as an action that was run.
func fault(run *chaos.Run, v *chaos.Verdict, d *chaos.Done, a activity) ran {
	r := ran{Activity: a, Start: stamp(run.Started.Add(d.Began)), End: stamp(run.Started.Add(d.Ended)), Duration: seconds(d.Ended - d.Began), Status: "succeeded",
		Output: map[string]any{"peak": d.Peak, "measured": d.Measured, "by": d.By, "happened": d.Happened}}
	if d.Err != "" {
		r.Status, r.Exception = "failed", []string{d.Err}
	}
	for _, f := range v.Faults {
		if f.Fault == d.Fault && f.Wrong != "" && d.Err == "" {
			r.Status, r.Exception = "failed", []string{f.Wrong}
		}
	}
	return r
}

// rollback is the undoing of a fault as an action that was run.
func rollback(run *chaos.Run, d *chaos.Done) ran {
	r := ran{Activity: activity{Type: "action", Name: "undo " + run.Plan.Faults[d.Fault].Name, Provider: provider{Type: "process", Path: "heapwright"}},
		Start: stamp(run.Started.Add(d.Ended - d.Undo)), End: stamp(run.Started.Add(d.Ended)), Duration: seconds(d.Undo), Status: "succeeded"}
	if !d.Verified {
		r.Status, r.Exception = "failed", []string{"not all of it was read back as it had been"}
	}
	return r
}
