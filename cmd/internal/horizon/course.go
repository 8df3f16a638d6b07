package horizon

import (
	"time"

	"github.com/heapwright/heapwright/record"
)

// A Point is an amount of memory at an instant.
type Point struct {
	Time  time.Time
	Bytes float64
}

// A Cycle is what is used of a GC cycle.
type Cycle struct {
	End   time.Time
	Pause time.Duration
	Live  float64 // bytes found alive
}

// A Course is what is known of the memory of one life of a process, each slice in the
// order of time. What is not known is zero.
type Course struct {
	Cycles []Cycle
	// Used is memory that the kernel cannot take back: anonymous resident memory.
	Used []Point

	Limit     float64 // bytes at which the kernel kills; 0: none is known
	SoftLimit float64 // GOMEMLIMIT; 0: none
	GOGC      float64 // percent; negative is off
	Roots     float64 // bytes of stacks and globals that cycles scan, which GOGC counts too
	NonHeap   float64 // bytes of the runtime that count against GOMEMLIMIT and are no objects
	GCShare   float64 // of the process's CPU time, lately; 0: not known
}

// Read makes a course of a recording.
func Read(r *record.Recording) *Course { return &Course{} }

// Options are what a forecast can be told.
type Options struct {
	Limit float64 // instead of the course's; 0: the course's
}

// Forecast says at an instant what the course up to then lets expect. What the course
// has of later is not looked at.
func Forecast(c *Course, now time.Time, opt Options) *Outlook {
	return &Outlook{State: None, At: now}
}
