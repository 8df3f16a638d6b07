// Package sli measures what a service's guard goes by: signals of the Go runtime
// (pauses, the collector's share of the CPU, scheduler latency), of the kernel
// (memory that can not be given up, stalls), and of the service itself.
//
// A [Source] takes a [Point], the state of the process at one instant, without
// stopping the world and without allocating. [Window] compares two Points and is a
// pure function: a histogram's window is the difference of its buckets, a share is the
// growth of one counter over that of another. A signal that cannot be known is absent
// from the [Reading], never zero.
//
// The package has no goroutine, no timer and no opinion on what is too much.
package sli

import (
	"math"
	"slices"
	"time"
)

// A Signal names one number of a Reading. Ratios are 0 to 1, or more where the
// comment says so; durations are seconds.
type Signal string

// The signals of a Source. Custom ones have any other name.
const (
	// PauseP99 is the 99th percentile of the stop-the-world pauses of GC that ended
	// in the window, a cycle has two (/sched/pauses/total/gc). It is the upper end of
	// the runtime's bucket, so at most a quarter above the truth, never below it.
	// Absent when there was no pause.
	PauseP99 Signal = "gc_pause_p99_seconds"
	// STWRatio is the share of the window in which the world was stopped, for GC or
	// anything else.
	STWRatio Signal = "stw_ratio"
	// GCCPURatio is the share that GC took of the CPU time that the process can have,
	// over the cycles that ended in the window; see [Window].
	GCCPURatio Signal = "gc_cpu_ratio"
	// AssistRatio is, of the same, what goroutines had to do of GC's work because they
	// allocated.
	AssistRatio Signal = "gc_assist_ratio"
	// LimiterOn is 1 when the runtime limited GC to half of the CPU in a cycle of
	// the window, so that the heap outgrew its limit; else 0.
	LimiterOn Signal = "gc_limiter_on"
	// SchedP99 is the 99th percentile of the time goroutines were ready to run
	// before they ran (/sched/latencies), as exact as PauseP99. The runtime measures
	// one goroutine in eight.
	SchedP99 Signal = "sched_latency_p99_seconds"
	// GoMemoryRatio is what of GOMEMLIMIT a collection could not free: the heap that
	// the last cycle found alive, and Go's memory beside the heap. Absent without
	// GOMEMLIMIT. May be above 1.
	GoMemoryRatio Signal = "gomemlimit_used_ratio"
	// MemoryRatio is the same with the memory that is not Go's, of the container's limit
	// (memory.high counted) or of Options.Limit: what would remain in use if the heap's
	// garbage and the page cache were gone. May be above 1. With a cgroup it counts
	// whatever is in the group, siblings too, as the kernel does before it kills. Where the
	// system does not say what of the process is resident, which is anywhere but on
	// Linux, Options.Limit is held against Go's memory alone.
	MemoryRatio Signal = "memory_limit_used_ratio"
	// ResidentRatio is what the kernel could not drop now, of the same limit: with
	// the heap's garbage, without the page cache.
	ResidentRatio Signal = "memory_resident_ratio"
	// Goroutines is their number at the end of the window.
	Goroutines Signal = "goroutines"
	// MemoryStall is the share of the window in which a task of our cgroup waited
	// for memory (PSI "some"). Absent where the kernel keeps it for the whole host
	// only.
	MemoryStall Signal = "psi_memory_some_ratio"
	// OOMEvents is how often in the window the cgroup could not be given memory
	// or a process of it was killed. What the kernel reclaims at the limit does not
	// count: with a full page cache that goes on all the time.
	OOMEvents Signal = "memory_limit_events"
	// TimeToFull is how long until MemoryRatio is 1 if the live heap goes on to grow
	// as it did in the window, by a line that a few outliers do not move (Theil-Sen).
	// Absent when it is not sure to grow. Only [Ring.Window] can say it.
	TimeToFull Signal = "memory_exhaustion_seconds"
)

// signals has the index of each in Reading.values.
var signals = [...]Signal{PauseP99, STWRatio, GCCPURatio, AssistRatio, LimiterOn, SchedP99, GoMemoryRatio,
	MemoryRatio, ResidentRatio, Goroutines, MemoryStall, OOMEvents, TimeToFull}

// Signals returns the signals that a Source can give, in the order of All.
func Signals() []Signal { return slices.Clone(signals[:]) }

// maxCustom bounds how many signals of the service's own a Reading holds.
const maxCustom = 64

// A Reading is what a window said.
type Reading struct {
	Time   time.Time     // the end of the window
	Window time.Duration // its true length, on the monotonic clock
	Cycles uint64        // GC cycles that ended in it

	values [len(signals)]float64
	has    uint32 // a bit for each of values
	custom []customValue
}

type customValue struct {
	name  Signal
	value float64
}

// Get returns a signal. ok is false when it is not known.
func (r *Reading) Get(s Signal) (v float64, ok bool) {
	for i, name := range signals {
		if name == s {
			return r.values[i], r.has&(1<<i) != 0
		}
	}
	for _, c := range r.custom {
		if c.name == s {
			return c.value, true
		}
	}
	return 0, false
}

// Set puts a signal into the reading, and reports whether it did: NaN, infinity
// and negative numbers are no values, and a reading holds at most 64 signals beside
// those of this package.
func (r *Reading) Set(s Signal, v float64) bool {
	if !(v >= 0) || math.IsInf(v, 1) {
		return false
	}
	for i, name := range signals {
		if name == s {
			r.values[i] = v
			r.has |= 1 << i
			return true
		}
	}
	for i := range r.custom {
		if r.custom[i].name == s {
			r.custom[i].value = v
			return true
		}
	}
	if len(r.custom) >= maxCustom {
		return false
	}
	r.custom = append(r.custom, customValue{s, v})
	return true
}

// All yields the signals that are known: those of this package first, then the
// service's own in the order they were set.
//
//	for signal, v := range reading.All {
func (r *Reading) All(yield func(Signal, float64) bool) {
	for i, name := range signals {
		if r.has&(1<<i) != 0 && !yield(name, r.values[i]) {
			return
		}
	}
	for _, c := range r.custom {
		if !yield(c.name, c.value) {
			return
		}
	}
}

// A Custom is a signal of the service's own. Read is called by the guard; ok is false
// when the value is not known now.
type Custom struct {
	Name Signal
	Read func() (v float64, ok bool)
}

// Value calls Read. panicked is what it panicked with, nil if it did not. A NaN, an
// infinity or a negative number is not known.
func (c *Custom) Value() (v float64, ok bool, panicked any) {
	defer func() {
		if panicked = recover(); panicked != nil {
			v, ok = 0, false
		}
	}()
	if c.Read == nil {
		return 0, false, nil
	}
	v, ok = c.Read()
	if !(v >= 0) || math.IsInf(v, 1) {
		return 0, false, nil
	}
	return v, ok, nil
}
