package measure

import (
	"time"

	"github.com/heapwright/heapwright/record"
)

// Raw is what was seen of one process in a measured window.
type Raw struct {
	First, Last record.Sample // exactly at its edges
	// CPU is what the process used between the edges, by the kernel's clock of it,
	// when CPUKnown.
	CPU      time.Duration
	CPUKnown bool
	Points   []Point        // in the order of time, from First to Last
	Cycles   []record.Cycle // that ended in it
	Lost     uint64         // cycles that ended in it unseen
	Failed   int            // readings that could not be taken

	cpuFirst time.Duration
}

// A Point is what is followed through a window: some fields of a sample.
type Point struct {
	Time time.Time
	Has  record.FieldSet // as the sample's

	GCCycles        uint64
	HeapLiveBytes   uint64
	HeapMarkedBytes uint64
	HeapGoalBytes   uint64
	RSSBytes        uint64
	CPUGCAssist     time.Duration
	CPUGCTotal      time.Duration
	CPUTotal        time.Duration
}

func pointOf(s *record.Sample) Point {
	return Point{
		Time: s.Time, Has: s.Has,
		GCCycles: s.GCCycles, HeapLiveBytes: s.HeapLiveBytes, HeapMarkedBytes: s.HeapMarkedBytes, HeapGoalBytes: s.HeapGoalBytes,
		RSSBytes: s.RSSBytes, CPUGCAssist: s.CPUGCAssist, CPUGCTotal: s.CPUGCTotal, CPUTotal: s.CPUTotal,
	}
}

// Span is how long the window was.
func (r *Raw) Span() time.Duration { return r.Last.Time.Sub(r.First.Time) }
