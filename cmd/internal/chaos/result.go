package chaos

import (
	"time"

	"github.com/heapwright/heapwright/record"
)

// ResultSchema is the schema field of results.
const ResultSchema = "heapwright.stress.result/1"

// A Point is what was seen at an instant. A value that could not be known is absent.
type Point struct {
	At     time.Duration      `json:"at_ns"` // since the run began
	Values map[Metric]float64 `json:"values"`
}

// A Cycle is a GC cycle of the target.
type Cycle struct {
	At        time.Duration `json:"at_ns"` // when it ended
	Pause     time.Duration `json:"pause_ns"`
	LiveBytes uint64        `json:"live_bytes"`
	GoalBytes uint64        `json:"goal_bytes"`
	Forced    bool          `json:"forced,omitempty"`
}

// EventKind is what sort of event.
type EventKind string

// The kinds of events.
const (
	EventFault    EventKind = "fault"    // one began, reached its level, or was undone: Text says which
	EventLevel    EventKind = "level"    // Value is a fault's level now
	EventState    EventKind = "state"    // From and To are states of the guard
	EventBroken   EventKind = "broken"   // a criterion, Text, was broken
	EventHolds    EventKind = "holds"    // a criterion holds again
	EventAbort    EventKind = "abort"    // Text is the condition; Value is how long the rollback took, seconds
	EventKill     EventKind = "kill"     // the kernel killed a process for memory: Text says which
	EventGone     EventKind = "gone"     // the target ended
	EventFinding  EventKind = "finding"  // the diagnosis says Text for the first time
	EventRecover  EventKind = "recover"  // a criterion of the recovery is met
	EventRestored EventKind = "restored" // a setting is as it was; Text says which
	EventNote     EventKind = "note"
)

// An Event is something that happened.
type Event struct {
	At    time.Duration `json:"at_ns"`
	Kind  EventKind     `json:"kind"`
	Fault int           `json:"fault"` // index into the plan's; -1 for none
	Text  string        `json:"text,omitempty"`
	From  string        `json:"from,omitempty"`
	To    string        `json:"to,omitempty"`
	Value float64       `json:"value,omitempty"`
}

// A PhaseKind is what a stretch of the run is for.
type PhaseKind string

// The kinds of phases.
const (
	PhaseBefore   PhaseKind = "before"
	PhaseFault    PhaseKind = "fault"
	PhaseRecovery PhaseKind = "recovery" // after a fault, until it has recovered or the time is over
	PhaseAfter    PhaseKind = "after"    // Recovery.Watch
)

// A Phase is a stretch of the run.
type Phase struct {
	Kind  PhaseKind     `json:"kind"`
	Fault int           `json:"fault"` // -1 for none
	From  time.Duration `json:"from_ns"`
	To    time.Duration `json:"to_ns"`
}

// A Run is what was done and seen: what a verdict is a function of.
type Run struct {
	Schema   string         `json:"schema"`
	Tool     string         `json:"tool"`
	Started  time.Time      `json:"started"`
	Plan     Plan           `json:"plan"`
	PlanText string         `json:"plan_text"`
	PlanHash string         `json:"plan_sha256"`
	Target   record.Process `json:"target"`
	Cgroup   string         `json:"cgroup,omitempty"` // its path, and the version of its memory controller
	Version  int            `json:"cgroup_version,omitempty"`
	Machine  Machine        `json:"machine"`

	Phases []Phase `json:"phases"`
	Points []Point `json:"points"`
	Cycles []Cycle `json:"cycles"`
	Events []Event `json:"events"`
	// Faults is what the keeper says of each of the plan's, in its order.
	Faults []Done `json:"faults"`
	// Findings are the diagnosis of each fault's stretch, as identifiers of findings
	// with their severity; of before for the index -1.
	Findings []Diagnosed `json:"findings"`

	// Refused is why nothing was done: the verdict is NOT-RUN. Aborted is why it ended
	// early, Interrupted that the user ended it.
	Refused     string `json:"refused,omitempty"`
	Aborted     string `json:"aborted,omitempty"`
	Interrupted bool   `json:"interrupted,omitempty"`
	// Left is what was still there at the end that was not there before: processes,
	// cgroups, files, settings. It has to be empty.
	Left []string `json:"left"`
}

// A Machine is where it ran.
type Machine struct {
	CPUs        int    `json:"cpus"`
	MemoryBytes uint64 `json:"memory_bytes"`
	Kernel      string `json:"kernel"`
}

// A Done is what became of a fault.
type Done struct {
	Fault int           `json:"fault"`
	Began time.Duration `json:"began_ns"`
	Ended time.Duration `json:"ended_ns"` // when it was undone
	Peak  float64       `json:"peak"`     // the highest level (the lowest, of kinds that go down), in the unit of its kind
	// Measured is how much of it could be seen from outside, in the same unit, and By
	// how; Happened says whether that is enough to say that it happened.
	Measured float64 `json:"measured"`
	By       string  `json:"by"`
	Happened bool    `json:"happened"`
	// Inside says that nothing outside the target's cgroup was touched.
	Contained bool `json:"contained"`
	// Undo is how long it took to be undone, and Verified that all of it was read back.
	Undo     time.Duration `json:"undo_ns"`
	Verified bool          `json:"verified"`
	Err      string        `json:"error,omitempty"`
	// Kills is how many processes of the cgroup the kernel killed meanwhile: the
	// target, or a process of ours, which is to be the first.
	KilledTarget bool `json:"killed_target,omitempty"`
	KilledOurs   int  `json:"killed_ours,omitempty"`
}

// A Diagnosed is what diagnose says of a stretch of the run.
type Diagnosed struct {
	Fault    int       `json:"fault"` // -1: before
	Findings []Finding `json:"findings"`
	Err      string    `json:"error,omitempty"`
	// First is how long after the fault began the first finding that names it was
	// there; 0 when that was not looked for.
	First time.Duration `json:"first_ns,omitempty"`
}

// A Finding is one of package diagnose, in short.
type Finding struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	Title    string `json:"title"`
}
