// Package exectrace reads execution traces of Go programs (runtime/trace, Go 1.22
// to 1.27) and says what the garbage collector did to the program's goroutines:
// how long they assisted, stood still, or waited for a processor that marking
// held, who kept the world from stopping, and what of that fell on each of the
// program's tasks.
//
// It reads a stream once, generation by generation, and keeps sums: its memory
// depends on the largest generation and on how many goroutines live at a time,
// not on the length of the trace. It fetches nothing and changes nothing.
package exectrace

import (
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/record"
)

// Schema is the schema of a Report as JSON.
const Schema = "heapwright.trace/1"

// A Report says what GC did to the goroutines of one trace. All times are in
// seconds; a sum over goroutines or processors may be longer than the trace.
type Report struct {
	Schema string `json:"schema"`
	Trace  Trace  `json:"trace"`

	// Impact is what GC cost the program's goroutines.
	Impact Impact `json:"impact"`
	// Processors says what the Ps did.
	Processors Processors `json:"processors"`
	Cycles     Cycles     `json:"cycles"`
	Assist     Assist     `json:"assist"`
	Sweep      Sweep      `json:"sweep"`
	Stops      []StopKind `json:"stops"` // by reason, the longest sum first
	// WorstStops are the stops in which the world took longest to stand still or
	// stood longest, the longest first.
	WorstStops []Stop `json:"worst_stops"`
	// Culprits are the functions for which a stop had to wait, by the time that
	// they alone took; those of less than a few microseconds are not among them.
	Culprits []Culprit `json:"culprits"`
	Delay    Delay     `json:"delay"`
	Steal    Steal     `json:"steal"`

	// Kinds are goroutines by the function that they were started with, those that
	// GC cost most first; Others is what is beyond the longest of lists.
	Kinds []Kind `json:"kinds"`
	// Goroutines are the single goroutines that GC cost most.
	Goroutines []Goroutine `json:"goroutines"`
	// Tasks are the program's own units of work (runtime/trace.NewTask), by type.
	Tasks []TaskType `json:"tasks"`

	Timeline Timeline       `json:"timeline"`
	Findings []rule.Finding `json:"findings"`
	// Verdict is the answer in a sentence.
	Verdict string `json:"verdict"`
}

// Impact is what GC cost all goroutines of the program, those of the runtime not
// counted.
type Impact struct {
	Cost Cost `json:"cost"`
	// Wanted are the goroutine-seconds in which they ran, could have run, or waited
	// for the collector; Share is the cost's part of it.
	Wanted float64 `json:"wanted_seconds"`
	Share  float64 `json:"ratio"`
}

// Trace says what was read.
type Trace struct {
	// Format is the Go release that the format is named for: 22, 23, 25 or 26.
	// Later releases write the format of the last that changed it.
	Format      int     `json:"format"`
	Seconds     float64 `json:"seconds"`
	Bytes       int64   `json:"bytes"`
	Events      int64   `json:"events"`
	Generations int     `json:"generations"`
	// LargestGeneration is the size in bytes of the longest piece of the trace that
	// has to be in memory at once.
	LargestGeneration int64 `json:"largest_generation_bytes"`
	// Cut says why reading ended before the end of the trace; "" when it did not.
	Cut string `json:"cut,omitempty"`
	// Notes say what is not in the numbers.
	Notes []string `json:"notes"`
}

// A Spread is a distribution of durations in seconds. Quantiles are right within
// 7%.
type Spread struct {
	N   uint64  `json:"n"`
	Sum float64 `json:"sum_seconds"`
	P50 float64 `json:"p50_seconds"`
	P90 float64 `json:"p90_seconds"`
	P99 float64 `json:"p99_seconds"`
	Max float64 `json:"max_seconds"`
}

// Processors are P-seconds: what the Ps did, added up. Assist, Sweep and Stopped
// are parts of User.
type Processors struct {
	GOMAXPROCS int     `json:"gomaxprocs"`        // the last seen; 0 when the trace does not tell
	Available  float64 `json:"available_seconds"` // GOMAXPROCS over the time
	User       float64 `json:"user_seconds"`      // running goroutines other than mark workers
	System     float64 `json:"system_seconds"`    // the runtime's own other than mark workers: the background sweeper, for one
	Dedicated  float64 `json:"mark_dedicated_seconds"`
	Fractional float64 `json:"mark_fractional_seconds"`
	Idle       float64 `json:"mark_idle_seconds"` // marking that nobody else wanted the P for, when it began
	Assist     float64 `json:"assist_seconds"`
	Sweep      float64 `json:"sweep_seconds"`
	// Stopped are P-seconds in which the world stood still for GC.
	Stopped float64 `json:"stopped_seconds"`
}

// GC is what of the P-seconds went to the collector.
func (p Processors) GC() float64 {
	return p.Dedicated + p.Fractional + p.Idle + p.Assist + p.Sweep + p.Stopped
}

// Cycles are the mark phases.
type Cycles struct {
	N       int     `json:"n"`               // that ended in the trace
	Marking float64 `json:"marking_seconds"` // seconds in which marking was on
	Mark    Spread  `json:"mark"`            // of whole mark phases
	CPU     float64 `json:"cpu_ratio"`       // share of all Ps that marked, assists too, while marking was on
	On      float64 `json:"on_ratio"`        // share of the time of the trace in which marking was on
	Longest []Cycle `json:"longest"`
	Heap    HeapMax `json:"heap"`
}

// HeapMax is what the trace tells of the heap, in bytes.
type HeapMax struct {
	Objects uint64 `json:"objects_max_bytes"`
	Goal    uint64 `json:"goal_last_bytes"`
}

// A Cycle is one mark phase. At is in seconds since the start of the trace.
type Cycle struct {
	At         float64 `json:"at_seconds"`
	Mark       float64 `json:"mark_seconds"`
	Dedicated  float64 `json:"mark_dedicated_seconds"`
	Fractional float64 `json:"mark_fractional_seconds"`
	Idle       float64 `json:"mark_idle_seconds"`
	Assist     float64 `json:"assist_seconds"`
	CPU        float64 `json:"cpu_ratio"` // share of all Ps
	// Taken are P-seconds in which a mark worker held a P while a goroutine waited.
	Taken float64 `json:"taken_seconds"`
}

// Assist is marking that goroutines had to do before they got memory.
type Assist struct {
	Running float64 `json:"running_seconds"` // P-seconds of marking; comparable with /cpu/classes/gc/mark/assist:cpu-seconds
	Blocked float64 `json:"blocked_seconds"` // goroutine-seconds of waiting for others to mark
	Spread  Spread  `json:"spread"`          // wall time of each assist
}

// Sweep is sweeping that goroutines did before they got memory.
type Sweep struct {
	Running   float64 `json:"running_seconds"` // P-seconds
	Spread    Spread  `json:"spread"`
	Swept     uint64  `json:"swept_bytes"`
	Reclaimed uint64  `json:"reclaimed_bytes"`
}

// A StopKind are the stops of the world for one reason.
type StopKind struct {
	Reason string `json:"reason"` // the runtime's word: GC mark termination
	GC     bool   `json:"gc"`
	Spread Spread `json:"spread"` // from the request to the restart
	// Stopping is until all Ps stood still; of those stops for which the trace shows
	// it.
	Stopping Spread `json:"stopping"`
	// From is where the longest was asked for, leaf first.
	From []record.Frame `json:"from,omitempty"`
}

// A Stop is one stop of the world.
type Stop struct {
	At       float64 `json:"at_seconds"`
	Reason   string  `json:"reason"`
	Seconds  float64 `json:"seconds"`
	Stopping float64 `json:"stopping_seconds"` // -1 when the trace does not show it
	// Culprit is who was the last to stop; nil when nobody ran.
	Culprit *Last `json:"culprit,omitempty"`
}

// Last is the goroutine that was the last to stop.
type Last struct {
	Goroutine int64          `json:"goroutine"`     // 0: the scheduler, without a goroutine
	Kind      string         `json:"kind"`          // the function that it was started with
	Alone     float64        `json:"alone_seconds"` // how much later than the last but one
	Stack     []record.Frame `json:"stack"`         // where it stopped, leaf first
}

// A Culprit is a function for which stops had to wait.
type Culprit struct {
	Func  string         `json:"func"`
	File  string         `json:"file,omitempty"`
	Line  int            `json:"line,omitempty"`
	N     int            `json:"n"`
	Late  int            `json:"late"`        // of them, by 1 ms or more
	Sum   float64        `json:"sum_seconds"` // seconds that it alone took
	Max   float64        `json:"max_seconds"`
	Kind  string         `json:"kind"`  // of the goroutine
	Stack []record.Frame `json:"stack"` // of the longest
}

// Delay is how long goroutines waited for a P once they could run.
type Delay struct {
	All     Spread `json:"all"`
	Marking Spread `json:"marking"` // of those that began to wait while marking was on
	Other   Spread `json:"other"`
}

// Steal says how mark workers and goroutines competed for Ps.
type Steal struct {
	// Taken are P-seconds in which a dedicated or fractional worker held a P while a
	// goroutine waited for one; Idle the same of idle workers.
	Taken float64 `json:"taken_seconds"`
	Idle  float64 `json:"idle_seconds"`
	// RunnableMarking is the average number of goroutines that waited for a P, while marking
	// was on and while it was not.
	RunnableMarking float64 `json:"runnable_marking_goroutines"`
	RunnableOther   float64 `json:"runnable_other_goroutines"`
}

// A Cost is what GC cost goroutines, in goroutine-seconds. The parts do not
// overlap.
type Cost struct {
	Assist  float64 `json:"assist_seconds"`  // marking, running
	Blocked float64 `json:"blocked_seconds"` // waiting in an assist, or while its stack is scanned
	Sweep   float64 `json:"sweep_seconds"`   // sweeping before an allocation
	Stopped float64 `json:"stopped_seconds"` // could have run, or ran GC's own code, while the world was stopped for GC
	// Delayed is waiting for a P that mark workers held: of n goroutines that wait
	// while k workers run, each is charged the share k/n of the time, at most all.
	Delayed float64 `json:"delayed_seconds"`
}

// Total is the sum.
func (c Cost) Total() float64 { return c.Assist + c.Blocked + c.Sweep + c.Stopped + c.Delayed }

// A Kind are the goroutines that were started with one function.
type Kind struct {
	Func       string  `json:"func"`
	CreatedBy  string  `json:"created_by,omitempty"` // of the last seen
	N          int     `json:"n"`
	Running    float64 `json:"running_seconds"`  // goroutine-seconds on a P
	Runnable   float64 `json:"runnable_seconds"` // waiting for one
	Syscall    float64 `json:"syscall_seconds"`
	Cost       Cost    `json:"cost"`
	Assists    Spread  `json:"assists"`
	Delay      Spread  `json:"delay"` // runnable to running
	AssistedAt []Place `json:"assisted_at"`
}

// A Place is where assists began.
type Place struct {
	Stack  []record.Frame `json:"stack"` // leaf first, without the allocator's own
	N      int            `json:"n"`
	Assist float64        `json:"assist_seconds"` // wall seconds
}

// A Goroutine is one goroutine.
type Goroutine struct {
	ID       int64   `json:"id"`
	Kind     string  `json:"kind"`
	Running  float64 `json:"running_seconds"`
	Runnable float64 `json:"runnable_seconds"`
	Cost     Cost    `json:"cost"`
}

// A TaskType are the tasks of one type.
type TaskType struct {
	Type string `json:"type"`
	N    int    `json:"n"`    // that ended
	Open int    `json:"open"` // at the end of the trace
	// Wall is how long they took, GC what it cost each: the sum over the goroutines
	// that worked for it.
	Wall Spread `json:"wall"`
	GC   Spread `json:"gc"`
	Cost Cost   `json:"cost"`
	// Share is GC's part of the time of those tasks that took longest, the last
	// hundredth, and of all.
	Share      float64 `json:"ratio"`
	ShareWorst float64 `json:"worst_ratio"`
	Worst      []Task  `json:"worst"` // those that GC cost most
}

// A Task is one task.
type Task struct {
	ID   uint64  `json:"id"`
	At   float64 `json:"at_seconds"`
	Wall float64 `json:"wall_seconds"`
	Cost Cost    `json:"cost"`
}

// A Timeline is the course of the trace in equal steps.
type Timeline struct {
	Step  float64 `json:"step_seconds"` // seconds
	Steps []Step  `json:"steps"`
}

// A Step is one part of a timeline. All but the heap are seconds within the step,
// added up over goroutines or Ps where several can.
type Step struct {
	Marking  float64 `json:"marking_seconds"`
	Stopped  float64 `json:"stopped_seconds"`
	Worker   float64 `json:"worker_seconds"`
	Assist   float64 `json:"assist_seconds"`
	Runnable float64 `json:"runnable_seconds"`
	Heap     uint64  `json:"heap_bytes"` // the largest seen
}
