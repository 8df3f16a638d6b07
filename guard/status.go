package guard

import (
	"slices"
	"time"

	"github.com/heapwright/heapwright/guard/evidence"
	"github.com/heapwright/heapwright/guard/shed"
)

// An Event is something that the guard did or noticed.
type Event struct {
	Time   time.Time `json:"time"`
	Kind   string    `json:"event"`
	Name   string    `json:"name,omitempty"` // the objective's, the rung's, the bundle's path
	From   string    `json:"from,omitempty"`
	To     string    `json:"to,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// The kinds of events.
const (
	EventState          = "state"           // From and To are states
	EventStep           = "step"            // From and To are rungs, "ground" is none
	EventObjective      = "objective"       // Name is kept or violated
	EventLimit          = "limit"           // From and To are "open" and "limited": the bytes in flight are bounded
	EventEvidence       = "evidence"        // Name is the bundle's directory; without it Reason is why there is none
	EventCallbackFailed = "callback_failed" // Name is the rung, or "evidence"
	EventCollect        = "collect"         // a collection was asked for, to know what lives
	EventBroken         = "broken"          // the guard is off
)

// A Status is what the guard is doing. Ratios are 0 to 1 unless a signal says
// otherwise.
type Status struct {
	State  State     `json:"state"`
	Since  time.Time `json:"since"`
	Ready  bool      `json:"ready"`
	DryRun bool      `json:"dry_run,omitempty"`
	Broken string    `json:"broken,omitempty"` // why it is off, which it should never be
	Rung   int       `json:"rung"`             // 0 is the ground
	Ladder []Rung    `json:"ladder"`
	Trips  uint64    `json:"trips"`
	Steps  uint64    `json:"steps"`

	// LimitedBy is the sign of overload for which the bytes in flight are bounded; ""
	// when they are not. The bound is Shed.Capacity.
	LimitedBy string `json:"limited_by,omitempty"`

	MemoryRatio *float64          `json:"memory_ratio"` // what the ladder goes by; null when it is not known
	Signals     []Signal          `json:"signals"`      // of the last second
	Objectives  []ObjectiveStatus `json:"objectives"`
	Shed        shed.Stats        `json:"shed"`
	Events      []Event           `json:"events"` // the last 100, oldest first
	Evidence    []evidence.Bundle `json:"evidence,omitempty"`

	CallbackFailures uint64 `json:"callback_failures"`
	EventsLost       uint64 `json:"events_lost"`
}

// A Rung is a degradation of the ladder, as it stands.
type Rung struct {
	Name     string       `json:"name"`
	On       bool         `json:"on"`
	Above    float64      `json:"above,omitempty"`
	Below    float64      `json:"below,omitempty"`
	Admit    *shed.Shares `json:"admit,omitempty"`
	NotReady bool         `json:"not_ready,omitempty"`
}

// A Signal is the value of an sli.Signal.
type Signal struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// An ObjectiveStatus is how an Objective stands.
type ObjectiveStatus struct {
	Objective
	Value      *float64 `json:"value"` // of the last evaluation; null when it was absent
	Violations float64  `json:"violations_ratio"`
	Tripped    bool     `json:"tripped"`
}

// clone keeps who is given a Status from changing the guard.
func clone(s *shed.Shares) *shed.Shares {
	if s == nil {
		return nil
	}
	c := *s
	return &c
}

// Status says what the guard is doing.
func (g *Guard) Status() Status {
	stats := g.gate.Stats()
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Status{
		State:            g.machine.state,
		Since:            g.start.Add(g.machine.since),
		Ready:            g.ready.Load(),
		DryRun:           g.conf.DryRun,
		Broken:           g.broken,
		Rung:             g.machine.rung,
		Ladder:           []Rung{},
		Trips:            g.counts.trips,
		Steps:            g.counts.steps,
		Signals:          []Signal{},
		Objectives:       []ObjectiveStatus{},
		Shed:             stats,
		Events:           append([]Event{}, g.history...),
		Evidence:         slices.Clone(g.bundles),
		CallbackFailures: g.counts.callbackFailures,
		EventsLost:       g.counts.eventsLost,
	}
	if g.limiter.limited() {
		s.LimitedBy = g.limiter.why
	}
	if ratio, ok := memory(&g.reading, g.contained); ok {
		s.MemoryRatio = &ratio
	}
	for name, v := range g.reading.All {
		s.Signals = append(s.Signals, Signal{string(name), v})
	}
	for i, r := range g.rungs {
		s.Ladder = append(s.Ladder, Rung{Name: r.Name, On: i < g.machine.rung, Above: r.Above, Below: r.Below, Admit: clone(r.Admit), NotReady: r.NotReady})
	}
	for _, t := range g.trackers {
		o := ObjectiveStatus{Objective: t.Objective, Violations: t.ratio(t.Window), Tripped: t.tripped}
		if v := t.value; t.known {
			o.Value = &v
		}
		s.Objectives = append(s.Objectives, o)
	}
	return s
}
