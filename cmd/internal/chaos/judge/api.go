package judge

import (
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// An Abort watches the conditions that end everything.
type Abort struct{ criteria []chaos.Criterion }

// NewAbort watches criteria.
func NewAbort(criteria []chaos.Criterion) *Abort { return &Abort{criteria: criteria} }

// Baseline says what bounds that are of the baseline are of: points from before the
// first fault. Without it those are not looked at.
func (a *Abort) Baseline(points []chaos.Point) {}

// Step looks at a point, while there is the fault f; nil while there is none. It says
// the criterion that is broken, and why in words; nil when none is.
func (a *Abort) Step(p chaos.Point, f *chaos.Fault) (broken *chaos.Criterion, why string) {
	return nil, ""
}

// A Hypothesis follows the criteria of the hypothesis while a plan is carried out.
type Hypothesis struct{ plan *chaos.Plan }

// NewHypothesis follows the hypothesis of plan.
func NewHypothesis(plan *chaos.Plan) *Hypothesis { return &Hypothesis{plan: plan} }

// Baseline is as of Abort.
func (h *Hypothesis) Baseline(points []chaos.Point) {}

// Step looks at a point of a phase, and says what broke, and what holds again: events of
// EventBroken and EventHolds.
func (h *Hypothesis) Step(p chaos.Point, phase chaos.PhaseKind, fault int) []chaos.Event { return nil }

// Before is why the hypothesis does not hold before any fault; nil when it does.
func Before(run *chaos.Run) error { return nil }

// A Recovery follows whether the target is as it was, after one fault.
type Recovery struct{ plan *chaos.Plan }

// NewRecovery follows the recovery from a fault that done was said of, against points
// and cycles from before the first fault.
func NewRecovery(plan *chaos.Plan, before []chaos.Point, cycles []chaos.Cycle, done chaos.Done) *Recovery {
	return &Recovery{plan: plan}
}

// Step looks at a point after the fault, and at the cycles that were new since the last
// step. Met are the criteria that are met from now on: events of EventRecover. Done is
// that all are, those that cannot be measured left out.
func (r *Recovery) Step(p chaos.Point, cycles []chaos.Cycle) (done bool, met []chaos.Event) {
	return true, nil
}

// Deadline is until when it is worth to wait, since the run began.
func (r *Recovery) Deadline() time.Duration { return 0 }

// Results are the criteria, as they are by now.
func (r *Recovery) Results() []chaos.Recovered { return nil }

// Judge is the verdict of a run.
func Judge(run *chaos.Run) *chaos.Verdict { return &chaos.Verdict{Outcome: chaos.NotRun} }

// Expected are the findings that name a fault of this kind; none where no rule is for it.
func Expected(kind chaos.Kind) []string { return nil }
