package api

import (
	"time"

	"github.com/heapwright/heapwright/cmd/internal/agent"
	"github.com/heapwright/heapwright/record"
)

// Fleet is the document of all processes as the live stream has it: without the
// titles of findings and the small pictures, which are most of it and change slowly.
func Fleet(a Agent, now time.Time) ProcessesDocument {
	doc := fleet(a, now)
	for i := range doc.Processes {
		row := &doc.Processes[i]
		row.Spark = nil
		for j := range row.Findings {
			row.Findings[j].Title = ""
		}
	}
	return doc
}

// A LiveSample is one sample of a process as the live stream has it, with the GC cycles
// that ended since the one before.
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

// NewLiveSample is the newest sample of a process.
func NewLiveSample(p *agent.Process, cycles []record.Cycle) LiveSample {
	out := LiveSample{ID: p.ID, Time: Time{p.Seen}, Up: p.Up, LimitBytes: finiteAt(p.LimitBytes), GCCPURatio: finiteAt(p.GCCPURatio), Cycles: []CycleRow{}}
	if s := p.Latest; s != nil {
		out.HeapLiveBytes = known(s, record.FieldHeapLiveBytes, s.HeapLiveBytes)
		out.HeapGoalBytes = known(s, record.FieldHeapGoalBytes, s.HeapGoalBytes)
		out.RSSBytes = known(s, record.FieldRSSBytes, s.RSSBytes)
		out.Goroutines = known(s, record.FieldGoroutines, s.Goroutines)
	}
	for i := range cycles {
		out.Cycles = append(out.Cycles, cycleRow(&cycles[i]))
	}
	return out
}

// cycleRow is a cycle as the store would give it back.
func cycleRow(c *record.Cycle) CycleRow {
	row := CycleRow{N: c.N, End: Time{c.End}, PauseSeconds: seconds(c.Pause)}
	if !c.Detail {
		return row
	}
	bytes := func(n uint64) *float64 { return finite(float64(n)) }
	row.SweepTerminationSeconds, row.MarkSeconds, row.MarkTerminationSeconds = seconds(c.SweepTermination), seconds(c.Mark), seconds(c.MarkTermination)
	row.AssistCPUSeconds, row.DedicatedCPUSeconds = seconds(c.Assist), seconds(c.Dedicated)
	row.FractionalCPUSeconds, row.IdleCPUSeconds = seconds(c.Fractional), seconds(c.Idle)
	row.HeapStartBytes, row.HeapEndBytes, row.HeapMarkedBytes = bytes(c.HeapStartBytes), bytes(c.HeapEndBytes), bytes(c.HeapMarkedBytes)
	row.HeapGoalBytes, row.StackScanBytes, row.GlobalsScanBytes = bytes(c.HeapGoalBytes), bytes(c.StackScanBytes), bytes(c.GlobalsScanBytes)
	row.Forced, row.Procs = c.Forced, finite(float64(c.Procs))
	return row
}

func seconds(d time.Duration) *float64 { return finite(d.Seconds()) }
