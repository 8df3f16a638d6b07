// Package tune chooses settings for Go processes with their twins: GOGC,
// GOMEMLIMIT, GOMAXPROCS and what a container should ask for.
//
// [Make] searches the settings of one process, [Share] splits one budget among
// several. Both are pure: they read no process, file or clock, and change
// nothing. A [Plan] says its numbers, the forecast that justifies them, what
// would show it to be wrong, and why other settings lost.
//
// The search goes by the pessimistic edge of each forecast and keeps away from
// the GC storm, because a twin is least right there: a search that believed it
// to the last MiB predicted 2.87 CPU-seconds of GC where 4.37 were measured.
package tune

import (
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// A Twin forecasts one process: *pacer.Twin.
type Twin interface {
	Current() pacer.Settings
	Forecast(pacer.Settings) pacer.Forecast
	Forecasts([]pacer.Settings) []pacer.Forecast
	Workload() pacer.Workload
	StormFloorBytes() pacer.Estimate
	Missing() []string
}

// A Kind is what an Objective wants.
type Kind int

// The kinds. The first is the default.
const (
	LeastCPU    Kind = iota // least GC CPU within the memory budget
	LeastMemory             // least memory at which GC takes no more than MaxGCCPURatio
	Bound                   // least memory at which pauses and assists keep to their bounds
	Price                   // least cost of memory and GC CPU together
)

// An Objective is what settings are judged by.
type Objective struct {
	Kind           Kind
	MaxGCCPURatio  float64 // LeastMemory: GC's share of the process's CPU
	MaxPauseRatio  float64 // Bound: share of time in which the world is stopped; 0 is no bound
	MaxAssistRatio float64 // Bound: share of the process's CPU in assists; 0 is no bound
	MemoryPrice    float64 // Price: per GiB and hour
	CPUPrice       float64 // Price: per core and hour, in the same currency
}

// A Request says what a plan is wanted for.
type Request struct {
	// MemoryLimitBytes is the container's memory limit that the plan has to live
	// in; 0 is the one that the process was recorded in. LeastCPU needs one.
	MemoryLimitBytes uint64
	Objective        Objective
	// CPUQuotaCores is the CPU quota to plan for; 0 is that of Process.
	CPUQuotaCores float64
	// BesideBytes is what is charged to the container beside the process and
	// cannot be reclaimed: kernel memory, page cache in use, other processes. 0
	// where it was not measured.
	BesideBytes uint64
	// FileBytes is how much of the process's resident memory is pages of files, as
	// FileBytes of its recording tells; 0 where that is not known.
	FileBytes uint64
	// Process says what was recorded: the Go release, the environment that it
	// was started with, quota and host.
	Process record.Process
}

// A Container is what a container should ask for.
type Container struct {
	RequestBytes uint64 // what it uses in ordinary times
	LimitBytes   uint64 // what it may use
	CPUQuota     float64
}

// A Reserve says how GOMEMLIMIT follows from the container's limit: the limit
// minus all of these.
type Reserve struct {
	LimitBytes  uint64
	NonGoBytes  uint64 // resident memory that the Go runtime did not map, as measured, without CacheBytes
	CacheBytes  uint64 // pages of files that the kernel takes back when it has to; not subtracted
	BesideBytes uint64 // charged to the container beside the process
	SpareBytes  uint64 // for what was not measured
	SpareFrom   string // what SpareBytes follows, in a few words
}

// A Falsifier is an observation that would show a plan to be wrong.
type Falsifier struct {
	Quantity string  // as in a Forecast, with its unit: gc_cpu_cores, rss_peak_bytes, gc_cycles_per_second, ...
	Above    float64 // wrong when the quantity is above this
	Cycles   int     // to be judged after so many GC cycles under the plan
	Text     string  // a full sentence
}

// An Alternative is a setting that was not chosen.
type Alternative struct {
	Name     string // "Go's default", "90% of the limit", ...
	Settings pacer.Settings
	Forecast pacer.Forecast
	Fits     bool   // it keeps to the budget and clear of the storm
	Lost     string // why it was not chosen, measured by the objective
}

// A Plan is a set of settings with the forecasts that justify it.
type Plan struct {
	// Keep says that the settings in effect are as good as the twin can tell:
	// Settings are those in effect, and nothing is to be changed.
	Keep bool
	// Settings hold GOGC and GOMEMLIMIT; GOMAXPROCS is 0 where it should be left
	// alone; ContainerLimitBytes is Container.LimitBytes.
	Settings   pacer.Settings
	GOMAXPROCS string // the advice about it, full sentences
	Container  Container
	Reserve    Reserve
	Objective  Objective

	Current  pacer.Forecast // as it is set now, in the same container
	Expected pacer.Forecast // under the plan

	Why          []string // why these numbers
	Risk         []string
	Falsifiers   []Falsifier
	Alternatives []Alternative
	Notes        []string // what the recording lacked, and what it makes less sure
	// SetInCode names the settings that the program made itself, GOGC and
	// GOMEMLIMIT: its environment does not change them.
	SetInCode        []string
	Confidence       rule.Confidence
	ConfidenceReason string
	Forecasts        int // how many were compared
}
