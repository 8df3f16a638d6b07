package judge

import (
	"fmt"
	"math"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// A Hypothesis follows the criteria of the hypothesis, phase by phase.
//
// Before the first fault, and after everything, the normal bounds hold; while there is a
// fault, and while the target recovers from it, those that are tolerated. What is off when
// a fault ends and goes on after it is off without a break.
type Hypothesis struct {
	plan  *chaos.Plan
	base  baseline
	list  []*follower
	last  time.Duration
	begun bool

	phase chaos.PhaseKind
	fault int
	now   []tally // of the phase, one for each criterion
	past  []tally
}

// A tally is how a criterion fared in a phase.
type tally struct {
	chaos.CriterionResult
	looked bool          // not excepted
	first  time.Duration // when the first stretch that counts began; -1: none
	streak time.Duration // how long it has been off in this phase
	text   string        // what was broken, at its worst

	failed, done     float64       // requests of the phase
	failedAt, lastAt time.Duration // the first and the last point with failed ones
	failing          int           // points with failed ones
	previous         time.Duration
	hasPrevious      bool
	over             float64 // how far the worst value was past its bound
}

// NewHypothesis follows the hypothesis of plan.
func NewHypothesis(plan *chaos.Plan) *Hypothesis {
	h := &Hypothesis{plan: plan}
	criteria := sane(plan.Hypothesis)
	for i := range criteria {
		h.list = append(h.list, newFollower(&criteria[i]))
	}
	return h
}

// Baseline is as of Abort. Counters count on.
func (h *Hypothesis) Baseline(points []chaos.Point) {
	h.base = newBaseline(points)
	for _, w := range h.list {
		w.usual = lateness(points)
	}
}

// Step looks at a point of a phase, and says what broke, and what holds again: events of
// EventBroken and EventHolds. A point from before the last one is not looked at.
func (h *Hypothesis) Step(p chaos.Point, phase chaos.PhaseKind, fault int) []chaos.Event {
	if h.begun && p.At < h.last {
		return nil
	}
	if !h.begun || phase != h.phase || fault != h.fault {
		h.enter(phase, fault)
	}
	h.begun, h.last = true, p.At

	var events []chaos.Event
	during, is := h.during(phase, fault), toHold
	if during != nil {
		is = toTolerate
	}
	for i, w := range h.list {
		t := &h.now[i]
		if excepted(w.c, during) {
			w.skip(p)
			continue
		}
		if phase == chaos.PhaseBefore && w.c.OfBaseline {
			continue // it is what is measured here
		}
		t.looked = true
		s := w.step(p, is, h.base)
		t.take(p, w.c, s)
		switch {
		case s.began:
			events = append(events, chaos.Event{At: p.At, Kind: chaos.EventBroken, Fault: fault, Value: s.value,
				Text: broke(w.c, s.value, s.low, s.high, p.At-s.since)})
		case s.ended:
			events = append(events, chaos.Event{At: p.At, Kind: chaos.EventHolds, Fault: fault, Value: finite(s.value), Text: name(w.c.Metric)})
		}
	}
	return events
}

// during is the fault that there is in a phase, or was until then; nil for none.
func (h *Hypothesis) during(phase chaos.PhaseKind, fault int) *chaos.Fault {
	if phase != chaos.PhaseFault && phase != chaos.PhaseRecovery || fault < 0 || fault >= len(h.plan.Faults) {
		return nil
	}
	return &h.plan.Faults[fault]
}

func (h *Hypothesis) enter(phase chaos.PhaseKind, fault int) {
	goesOn := h.begun && phase == chaos.PhaseRecovery && h.phase == chaos.PhaseFault && fault == h.fault
	h.close()
	h.phase, h.fault = phase, fault
	h.now = make([]tally, len(h.list))
	for i, w := range h.list {
		h.now[i] = tally{first: -1, CriterionResult: chaos.CriterionResult{Criterion: *w.c, Phase: phase, Fault: fault}}
		// What was counted as broken while there was the fault is only broken after it when
		// it stays so as long again.
		if !goesOn || w.counted {
			w.off, w.counted = false, false
			if w.errors != nil {
				w.errors = newFollower(w.c).errors
			}
		}
		w.recount()
	}
}

// close ends the phase that is looked at.
func (h *Hypothesis) close() {
	for i := range h.now {
		if t := h.now[i]; t.looked && len(h.past) < mostResults {
			t.close(h.list[i].c)
			h.past = append(h.past, t)
		}
	}
	h.now = nil
}

// tallies ends the phase, and gives all.
func (h *Hypothesis) tallies() []tally {
	h.close()
	return h.past
}

func (t *tally) take(p chaos.Point, c *chaos.Criterion, s sight) {
	if failed, done, ok := counts(p); ok && c.Metric == chaos.ErrorRatio {
		if t.hasPrevious {
			dt := min(max((p.At-t.previous).Seconds(), 0), 1)
			t.failed += failed * dt
			t.done += done * dt
		}
		if failed > 0 {
			if t.failing == 0 {
				t.failedAt = p.At
			}
			t.failing, t.lastAt = t.failing+1, p.At
		}
		t.previous, t.hasPrevious = p.At, true
	}
	if !s.known {
		return
	}
	bound := s.high
	over := s.value - s.high // how far past the bound; less than nothing inside
	if math.IsInf(s.high, 0) || s.low-s.value > over {
		bound, over = s.low, s.low-s.value
	}
	if t.Points == 0 || over > t.over {
		t.Bound, t.Worst, t.WorstAt, t.over = finite(bound), s.value, p.At, over
	}
	t.Points++
	if !s.off {
		t.streak = 0
		return
	}
	t.streak += s.dt
	if !s.broken {
		return
	}
	if s.began || t.first < 0 {
		t.Broken += t.streak
	} else {
		t.Broken += s.dt
	}
	if t.first < 0 {
		t.first = s.since
	}
	t.text = broke(c, t.Worst, s.low, s.high, t.Broken)
}

// close says whether it held. Failed requests that are too few for any window are looked
// at over all of the phase, where they did not come at once.
func (t *tally) close(c *chaos.Criterion) {
	t.Unknown = t.Points == 0
	if c.Metric == chaos.ErrorRatio && t.first < 0 && t.Points > 0 && c.AtMost != nil &&
		t.lastAt-t.failedAt >= max(c.For, uncounted) && t.failing >= 3*leastFailed && above(t.failed, t.done, t.Bound) {
		t.first, t.Broken = t.failedAt, t.lastAt-t.failedAt
		t.text = fmt.Sprintf("%s: %s of %.0f requests, at most %s", name(c.Metric), words(c.Metric, t.failed/t.done), t.done, words(c.Metric, t.Bound))
	}
	t.Held = !t.Unknown && t.first < 0
}

// A BeforeError says why the hypothesis does not hold before any fault.
type BeforeError struct {
	Criterion chaos.Criterion
	Why       string
}

func (e *BeforeError) Error() string {
	return "the hypothesis does not hold before any fault: " + e.Why
}

// Hint is what to do.
func (e *BeforeError) Hint() string {
	return "wait until the target is well, or change the criterion to what is normal for it"
}

// Before is why the hypothesis does not hold before any fault, a *BeforeError; nil when
// it does. Bounds of the baseline are not looked at: it is measured there.
func Before(run *chaos.Run) error {
	points := before(run)
	if len(points) == 0 {
		return &BeforeError{Why: "nothing was seen of the target"}
	}
	h := NewHypothesis(&run.Plan)
	h.Baseline(points)
	for _, p := range points {
		h.Step(p, chaos.PhaseBefore, -1)
	}
	for _, t := range h.tallies() {
		if !t.Held && !t.Unknown {
			return &BeforeError{Criterion: t.Criterion, Why: t.text}
		}
	}
	return nil
}
