package chaos

import "time"

// An Outcome is what came of a plan.
type Outcome string

// The outcomes.
const (
	Pass     Outcome = "PASS"     // the hypothesis held, and it recovered
	Deviated Outcome = "DEVIATED" // it did not, or it did not
	Aborted  Outcome = "ABORTED"  // a condition ended it, or the user did
	NotRun   Outcome = "NOT-RUN"  // nothing was done
)

// A Verdict is what a run comes to.
type Verdict struct {
	Outcome Outcome `json:"outcome"`
	Reason  string  `json:"reason"` // a sentence

	Criteria []CriterionResult `json:"criteria"`
	Faults   []FaultResult     `json:"faults"`
	// Margin is there when a fault took memory away step by step.
	Margin *Margin `json:"margin,omitempty"`
	Score  *Score  `json:"score,omitempty"`
}

// A CriterionResult is how one of the hypothesis fared in one kind of phase.
type CriterionResult struct {
	Criterion Criterion     `json:"criterion"`
	Phase     PhaseKind     `json:"phase"`
	Fault     int           `json:"fault"` // -1 for none
	Bound     float64       `json:"bound"` // that held then
	Worst     float64       `json:"worst"`
	WorstAt   time.Duration `json:"worst_at_ns"`
	Broken    time.Duration `json:"broken_ns"` // how long in all
	Points    int           `json:"points"`    // that had the metric; 0: it could not be looked at
	Held      bool          `json:"held"`
	Unknown   bool          `json:"unknown,omitempty"` // there were no points: neither held nor broken
}

// A FaultResult is how the target took a fault. Times count from when the fault began
// but for Recovered, which counts from when it was undone; a nil time is one that never
// came.
type FaultResult struct {
	Fault     int            `json:"fault"`
	Name      string         `json:"name"`
	Kind      Kind           `json:"kind"`
	Happened  bool           `json:"happened"`
	Survived  bool           `json:"survived"`
	Detected  *time.Duration `json:"detected_ns"`  // until the guard, or our diagnosis, saw it
	Degraded  *time.Duration `json:"degraded_ns"`  // until the guard left healthy
	Deviated  *time.Duration `json:"deviated_ns"`  // until a criterion was broken
	Aborted   *time.Duration `json:"aborted_ns"`   // until a condition ended it
	Recovered *time.Duration `json:"recovered_ns"` // until all criteria of the recovery were met
	Recovery  []Recovered    `json:"recovery"`
	Named     []string       `json:"named"`           // findings that name the fault
	Expected  []string       `json:"expected"`        // any of which would
	Others    []string       `json:"others"`          // findings that came with it and name something else
	Wrong     string         `json:"wrong,omitempty"` // why it deviates, "" when it does not
}

// A Recovered is one criterion of the recovery.
type Recovered struct {
	What   string         `json:"what"` // live_heap, working_set, goroutines, latency, errors, ready, guard, settings, growth (of the live heap), growth_goroutines, or a metric of which more is tolerated during faults
	Before float64        `json:"before"`
	After  float64        `json:"after"`
	Bound  float64        `json:"bound"`
	Took   *time.Duration `json:"took_ns"` // nil: not in time
	Known  bool           `json:"known"`   // false: it could not be measured, and is no reason to deviate
}

// A Margin is how much memory can be taken away before what fails.
type Margin struct {
	Fault  int           `json:"fault"`
	Points []MarginPoint `json:"points"` // by falling room
	// Layers are what failed, the first first.
	Layers []Layer `json:"layers"`
	// SafeLimitBytes is the smallest limit at which nothing had failed and the collector
	// took no more than SafeGCCPURatio; 0 when there was none.
	SafeLimitBytes float64 `json:"safe_limit_bytes"`
	SafeGCCPURatio float64 `json:"safe_gc_cpu_ratio"` // 0.1
	// KneeLimitBytes is where the collector's share begins to rise steeply; 0: not seen.
	KneeLimitBytes float64 `json:"knee_limit_bytes"`
	// TakenBytes is the most that was taken before the first layer failed.
	TakenBytes float64 `json:"taken_bytes"`
}

// A MarginPoint is what a level came to, while it was held.
type MarginPoint struct {
	RoomBytes   float64  `json:"room_bytes"`  // what was left to the target: its limit less what others took
	TakenBytes  float64  `json:"taken_bytes"` //
	GCCPURatio  float64  `json:"gc_cpu_ratio"`
	AssistRatio float64  `json:"assist_ratio"`
	P99Seconds  float64  `json:"latency_p99_seconds"`
	PauseP99    float64  `json:"pause_p99_seconds"`
	ErrorRatio  float64  `json:"error_ratio"`
	Failed      []string `json:"failed,omitempty"` // layers, by name
	// Has are the metrics that were known.
	Has []Metric `json:"has"`
}

// A Layer is a line of defence, and where it failed.
type Layer struct {
	Name      string        `json:"name"` // gc_cpu_10, assist, gc_cpu_25, guard, throttle, pressure, latency, errors, gc_cpu_50, limit, oom
	At        time.Duration `json:"at_ns"`
	RoomBytes float64       `json:"room_bytes"`
	Text      string        `json:"text"`
}

// A Score is how well our own rules named what was injected.
type Score struct {
	Faults  int `json:"faults"`  // that happened and that rules exist for
	Named   int `json:"named"`   //
	Unnamed int `json:"unnamed"` //
	NoRule  int `json:"no_rule"` // that no rule is for
	// False is how many findings were there before the first fault and named one.
	False int `json:"false"`
}
