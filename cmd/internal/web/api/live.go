package api

import (
	"github.com/heapwright/heapwright/cmd/internal/agent"
	"github.com/heapwright/heapwright/record"
)

// A LiveSample is event "sample" of the live stream: a process now, and the GC cycles
// that ended since the event before.
type LiveSample struct {
	ID            string     `json:"id"`
	Time          Time       `json:"time"`
	Up            bool       `json:"up"`
	HeapLiveBytes *uint64    `json:"heap_live_bytes"`
	HeapGoalBytes *uint64    `json:"heap_goal_bytes"`
	RSSBytes      *uint64    `json:"rss_bytes"`
	LimitBytes    *float64   `json:"limit_bytes"`
	Goroutines    *int64     `json:"goroutines"`
	GCCPURatio    *float64   `json:"gc_cpu_ratio"`
	Cycles        []CycleRow `json:"cycles"`
}

// NewLiveSample makes one of what the agent tells.
func NewLiveSample(p *agent.Process, cycles []record.Cycle) LiveSample {
	row := rowOf(p, p.Seen)
	s := LiveSample{ID: p.ID, Time: Time{p.Seen}, Up: p.Up, HeapLiveBytes: row.HeapLiveBytes, HeapGoalBytes: row.HeapGoalBytes,
		RSSBytes: row.RSSBytes, LimitBytes: row.LimitBytes, Goroutines: row.Goroutines, GCCPURatio: row.GCCPURatio, Cycles: []CycleRow{}}
	for i := range cycles {
		s.Cycles = append(s.Cycles, cycleRow(&cycles[i]))
	}
	return s
}

func cycleRow(c *record.Cycle) CycleRow {
	pause := c.Pause.Seconds()
	r := CycleRow{N: c.N, End: Time{c.End}, PauseSeconds: &pause}
	if !c.Detail {
		return r
	}
	f := func(v float64) *float64 { return &v }
	r.SweepTerminationSeconds, r.MarkSeconds, r.MarkTerminationSeconds = f(c.SweepTermination.Seconds()), f(c.Mark.Seconds()), f(c.MarkTermination.Seconds())
	r.AssistCPUSeconds, r.DedicatedCPUSeconds = f(c.Assist.Seconds()), f(c.Dedicated.Seconds())
	r.FractionalCPUSeconds, r.IdleCPUSeconds = f(c.Fractional.Seconds()), f(c.Idle.Seconds())
	r.HeapStartBytes, r.HeapEndBytes = f(float64(c.HeapStartBytes)), f(float64(c.HeapEndBytes))
	r.HeapMarkedBytes, r.HeapGoalBytes = f(float64(c.HeapMarkedBytes)), f(float64(c.HeapGoalBytes))
	r.StackScanBytes, r.GlobalsScanBytes = f(float64(c.StackScanBytes)), f(float64(c.GlobalsScanBytes))
	r.Forced, r.Procs = c.Forced, f(float64(c.Procs))
	return r
}
