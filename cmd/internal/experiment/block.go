package experiment

import "time"

// A Phase is a part of an experiment.
type Phase string

// Phases, in their order.
const (
	PhaseCalibration Phase = "calibration" // the baseline against itself (A/A), with the designs of the plan
	PhaseSwitchback  Phase = "switchback"
	PhaseDuet        Phase = "duet"
)

// A Block is a stretch of load on fresh processes: one in a switchback, two at
// once in a duet.
type Block struct {
	N       int       `json:"n"` // in the order of time, from 0
	Phase   Phase     `json:"phase"`
	Design  string    `json:"design"` // Switchback or Duet
	Round   int       `json:"round"`  // of the phase and design: the blocks whose values are compared
	Quad    int       `json:"quad"`   // two rounds that mirror each other
	Start   time.Time `json:"start"`
	Seconds float64   `json:"seconds"` // measured
	Arms    []Arm     `json:"arms"`
	Host    Host      `json:"host"`
	Invalid string    `json:"invalid,omitempty"` // why it does not count, by covariates alone, never by an outcome
	Retried string    `json:"retried,omitempty"` // why a first try at it came to nothing; this is the second
}

// An Arm is one process of a block.
type Arm struct {
	Variant int                `json:"variant"` // index into the plan's
	Slot    int                `json:"slot"`    // 0 or 1: which of two equals it was; for a calibration, what tells A from A
	Values  map[string]float64 `json:"values"`
	// Latency is the distribution in HdrHistogram's V2 encoding, compressed and in
	// base64; values are microseconds.
	Latency       string    `json:"latency,omitempty"`
	Pauses        []float64 `json:"pauses_seconds,omitempty"` // every GC pause in the measured time
	Cycles        []Mark    `json:"cycles,omitempty"`         // every GC cycle, for time lines
	Heap          []Level   `json:"heap,omitempty"`           // some 100 at most, for time lines
	Requests      uint64    `json:"requests"`
	Errors        uint64    `json:"errors"`
	WarmupSeconds float64   `json:"warmup_seconds"`
	Unsettled     bool      `json:"unsettled,omitempty"` // the heap goal still moved when the measured time began
	Audit         Audit     `json:"generator"`
	End           End       `json:"end"`
}

// A Mark is a GC cycle on a block's time line.
type Mark struct {
	At    float64 `json:"at_seconds"` // its end, from the start of the measured time
	Pause float64 `json:"pause_seconds"`
}

// A Level is the memory at an instant.
type Level struct {
	At   float64 `json:"at_seconds"`
	Live uint64  `json:"heap_live_bytes"`
	Goal uint64  `json:"heap_goal_bytes"`
	RSS  uint64  `json:"rss_bytes"`
}

// An End says how a process of a block ended.
type End struct {
	How  string `json:"how"` // one of the Ended constants
	Text string `json:"text,omitempty"`
}

// How processes end. Only EndedAsked is as it should be; EndedOOM is a result.
const (
	EndedAsked   = "asked"   // when it was told to
	EndedKilled  = "killed"  // by us: it did not end when it was told to
	EndedCrashed = "crashed" // by itself, while it was loaded
	EndedOOM     = "oom"     // by the kernel, for memory
)

// An Audit is what the load generator says about itself.
type Audit struct {
	Offered    float64 `json:"offered_per_second"`
	SlipP50    float64 `json:"slip_p50_seconds"` // how late requests were sent
	SlipP99    float64 `json:"slip_p99_seconds"`
	SlipMax    float64 `json:"slip_max_seconds"`
	GCCycles   uint64  `json:"gc_cycles"`
	CPUSeconds float64 `json:"cpu_seconds"`
	FirstError string  `json:"first_error,omitempty"`
}

// Host is the machine during a block: what may explain an outcome, and is not one.
type Host struct {
	Cores       int     `json:"cores"`
	ExternalCPU float64 `json:"external_cpu_ratio"` // CPU that was neither the subject's nor the generator's, of all cores
	Steal       float64 `json:"steal_ratio"`
	Pressure    float64 `json:"cpu_pressure_ratio"` // share of the time in which some task waited for a CPU
	MemPressure float64 `json:"memory_pressure_ratio"`
	Throttled   float64 `json:"throttled_seconds"` // of the subjects' cgroups
	SlipP99     float64 `json:"slip_p99_seconds"`  // of the generator
}
