package pacer

import (
	"math"
	"time"
)

// Settings are what can be set from outside a program and moves its collector.
type Settings struct {
	GOGCPercent     int64 // negative is off
	GOMEMLIMITBytes int64 // math.MaxInt64 is none
	// ContainerLimitBytes is the memory at which the kernel kills, 0 for none.
	ContainerLimitBytes uint64
	GOMAXPROCS          int // 0 is what was recorded
}

// NoMemoryLimit is GOMEMLIMIT when it is not set.
const NoMemoryLimit = math.MaxInt64

// An Estimate is a value with the interval in which it lies nine times out of
// ten, as far as the twin knows.
type Estimate struct{ Estimate, Low, High float64 }

// A Forecast is what would have come of a recording under other settings. Rates
// are over the time that was replayed.
type Forecast struct {
	Settings Settings
	Span     time.Duration // of the recording that was replayed

	CyclesPerSecond Estimate
	// GCCPUCores is the CPU that the collector uses, in CPU-seconds per second:
	// all marking, by assists and idle workers too, and the pauses. It is CPU
	// time as the kernel counts it, not the P-time of /cpu/classes.
	GCCPUCores Estimate
	// CPUCores is all CPU that the process uses, in CPU-seconds per second. It also
	// has what follows from collections but is not counted as theirs, such as sweeping.
	CPUCores Estimate
	// GCCPURatio is GCCPUCores of all CPU that the process uses.
	GCCPURatio Estimate
	// AssistRatio is the CPU that goroutines spend marking before they may
	// allocate, of all CPU that the process uses.
	AssistRatio Estimate
	// PauseRatio is the share of time in which the world is stopped.
	PauseRatio Estimate

	// The heap is gcController.heapLive: it peaks at the end of each cycle.
	HeapP50Bytes, HeapP90Bytes, HeapPeakBytes Estimate // over time
	RSSP50Bytes, RSSP90Bytes, RSSPeakBytes    Estimate // over time

	// OOMProbability is the chance that the process passes ContainerLimitBytes
	// within Span; 0 to 1.
	OOMProbability Estimate
	// LimiterProbability is the chance that the GC CPU limiter steps in within
	// Span: the collector then takes half of the CPU, and the heap goal no longer holds.
	LimiterProbability Estimate

	// Notes say why to trust this forecast less than others, in full sentences.
	Notes []string
}

// An Outcome is what a recording shows of the same quantities. A quantity that
// the recording's source does not give is NaN.
type Outcome struct {
	Settings        Settings // at the end
	Span            time.Duration
	Cycles          uint64  // that ended
	CyclesPerSecond float64 // also of the cycles in part at the beginning and the end
	GCCPUCores      float64
	CPUCores        float64
	GCCPURatio      float64
	AssistRatio     float64
	PauseRatio      float64
	HeapP50Bytes    float64
	HeapP90Bytes    float64
	HeapPeakBytes   float64
	RSSP50Bytes     float64
	RSSP90Bytes     float64
	RSSPeakBytes    float64
	OOMKilled       bool
	LimiterEngaged  bool
}

// A Parameter is something that [Fit] found out about a process.
type Parameter struct {
	Name  string // snake_case with its unit, such as alloc_bytes_per_second
	Value Estimate
	From  string // what it was measured from, in a few words
}

// A Workload is what the recording says of the program, whatever its settings.
type Workload struct {
	AllocBytesPerSecond Estimate // mean over the recording
	// CycleCPUSeconds is what one GC cycle costs, in CPU-seconds.
	CycleCPUSeconds Estimate
	CPUCores        Estimate // all CPU of the process, without the collector's
	LiveBytes       Estimate // what survives a cycle: median over time
	LivePeakBytes   Estimate // what survives a cycle: the most
	RootBytes       Estimate // stacks and globals that are scanned
	// ResidentPerHeapByte is how many bytes become resident for each byte of heap.
	ResidentPerHeapByte Estimate
	RuntimeBytes        Estimate // the runtime's memory beside the heap, stacks included
	NonGoBytes          Estimate // resident memory that the Go runtime did not map
	// LiveGrowthBytesPerSecond is the trend of the live heap.
	LiveGrowthBytesPerSecond Estimate
	// Grows says that the live heap grows steadily, beyond doubt: a leak, or a
	// recording that is too short to show the end of a warm-up.
	Grows bool
}
