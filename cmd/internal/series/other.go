package series

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/record"
)

// cycles are the series that each GC cycle adds a point to, at the instant of its end.
var cycles = []struct {
	Def
	detail bool
	value  func(*record.Cycle) float64
}{
	{Def{Name: "heapwright_gc_cycle_number", Help: "The cycle's number since the start of the process."},
		false, func(c *record.Cycle) float64 { return float64(c.N) }},
	{Def{Name: "heapwright_gc_cycle_pause_seconds", Unit: "seconds", Help: "For how long the cycle stopped the world, both pauses together."},
		false, func(c *record.Cycle) float64 { return c.Pause.Seconds() }},
	{Def{Name: "heapwright_gc_cycle_sweep_termination_seconds", Unit: "seconds", Help: "The pause at the start of the cycle."},
		true, func(c *record.Cycle) float64 { return c.SweepTermination.Seconds() }},
	{Def{Name: "heapwright_gc_cycle_mark_seconds", Unit: "seconds", Help: "Duration of the concurrent mark."},
		true, func(c *record.Cycle) float64 { return c.Mark.Seconds() }},
	{Def{Name: "heapwright_gc_cycle_mark_termination_seconds", Unit: "seconds", Help: "The pause at the end of the mark."},
		true, func(c *record.Cycle) float64 { return c.MarkTermination.Seconds() }},
	{Def{Name: "heapwright_gc_cycle_heap_start_bytes", Unit: "bytes", Help: "Live heap when the cycle started."},
		true, func(c *record.Cycle) float64 { return float64(c.HeapStartBytes) }},
	{Def{Name: "heapwright_gc_cycle_heap_end_bytes", Unit: "bytes", Help: "Live heap when the mark was done."},
		true, func(c *record.Cycle) float64 { return float64(c.HeapEndBytes) }},
	{Def{Name: "heapwright_gc_cycle_heap_marked_bytes", Unit: "bytes", Help: "What the cycle found alive."},
		true, func(c *record.Cycle) float64 { return float64(c.HeapMarkedBytes) }},
	{Def{Name: "heapwright_gc_cycle_heap_goal_bytes", Unit: "bytes", Help: "The heap goal of the cycle."},
		true, func(c *record.Cycle) float64 { return float64(c.HeapGoalBytes) }},
	{Def{Name: "heapwright_gc_cycle_stack_scan_bytes", Unit: "bytes", Help: "Stack that the cycle scanned."},
		true, func(c *record.Cycle) float64 { return float64(c.StackScanBytes) }},
	{Def{Name: "heapwright_gc_cycle_globals_scan_bytes", Unit: "bytes", Help: "Global variables that the cycle scanned."},
		true, func(c *record.Cycle) float64 { return float64(c.GlobalsScanBytes) }},
	{Def{Name: "heapwright_gc_cycle_assist_cpu_seconds", Unit: "seconds", Help: "Processor time of mark assists in the cycle."},
		true, func(c *record.Cycle) float64 { return c.Assist.Seconds() }},
	{Def{Name: "heapwright_gc_cycle_dedicated_cpu_seconds", Unit: "seconds", Help: "Processor time of dedicated mark workers in the cycle."},
		true, func(c *record.Cycle) float64 { return c.Dedicated.Seconds() }},
	{Def{Name: "heapwright_gc_cycle_fractional_cpu_seconds", Unit: "seconds", Help: "Processor time of fractional mark workers in the cycle."},
		true, func(c *record.Cycle) float64 { return c.Fractional.Seconds() }},
	{Def{Name: "heapwright_gc_cycle_idle_cpu_seconds", Unit: "seconds", Help: "Processor time of mark workers on idle processors in the cycle."},
		true, func(c *record.Cycle) float64 { return c.Idle.Seconds() }},
	{Def{Name: "heapwright_gc_cycle_forced", Help: "1 when the cycle was asked for by the program (runtime.GC)."},
		true, func(c *record.Cycle) float64 { return float64(b2i(c.Forced)) }},
	{Def{Name: "heapwright_gc_cycle_procs", Help: "GOMAXPROCS of the cycle."},
		true, func(c *record.Cycle) float64 { return float64(c.Procs) }},
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func cycleDefs() []*Def {
	var all []*Def
	for i := range cycles {
		cycles[i].Tier = PerCycle
		all = append(all, &cycles[i].Def)
	}
	return all
}

// FromCycle appends the points of a GC cycle, which are all of the instant of its end.
func FromCycle(dst []Point, c *record.Cycle) []Point {
	for i := range cycles {
		if d := &cycles[i]; c.Detail || !d.detail {
			dst = append(dst, Point{Def: &d.Def, Name: d.Name, Value: d.value(c)})
		}
	}
	return dst
}

// What is neither a sample's nor a cycle's.
var (
	GCCPURatio = &Def{Name: "heapwright_gc_cpu_ratio", Unit: "ratio", Tier: Slow,
		Help: "GC's share of the process's CPU time over the last minute, or longer where cycles are rare."}
	AssistRatio = &Def{Name: "heapwright_gc_assist_ratio", Unit: "ratio", Tier: Slow,
		Help: "The share of mark assists in the process's CPU time over the same window."}
	Headroom = &Def{Name: "heapwright_headroom_bytes", Unit: "bytes", Tier: Slow,
		Help: "What is left of the memory limit beside what the process will need: its live heap (the heap goal, where no GOMEMLIMIT inside the limit holds it back), stacks, the rest of the runtime, and what is not Go's."}
	TimeToLimit = &Def{Name: "heapwright_time_to_limit_seconds", Unit: "seconds", Tier: PerDiagnosis,
		Help: "Time until memory is forecast to reach the container's limit, or where there is none the live heap GOMEMLIMIT; 30 days when that is further or not in sight."}
	Up = &Def{Name: "heapwright_up", Tier: PerDiagnosis,
		Help: "1 while the process is watched, 0 once when it has ended."}
	finding = &Def{Name: "heapwright_finding", Tier: PerDiagnosis, Labels: []string{"id", "severity"},
		Help: "1 while the diagnosis has the finding."}
	goroutines = &Def{Name: "heapwright_goroutines", Tier: PerSnapshot, Labels: []string{"reason", "state"},
		Help: "Goroutines of the program by state and wait reason."}
	info = &Def{Name: "heapwright_process_info", Tier: Static, Labels: []string{"go_version", "goarch", "module", "module_version", "pid"},
		Help: "1; what the process is, in the labels."}
	startTime = &Def{Name: "process_start_time_seconds", Unit: "seconds", Tier: Static,
		Help: "When the process started, in seconds since 1970."}
)

var otherDefs = []*Def{GCCPURatio, AssistRatio, Headroom, TimeToLimit, Up, finding, goroutines, info, startTime}

// PointOf is a point of a series without further labels.
func PointOf(d *Def, value float64) Point { return Point{Def: d, Name: d.Name, Value: value} }

// maxReasons bounds the series that a snapshot makes: the runtime of Go 1.27 knows
// 41 wait reasons, but what is read from a process may be anything.
const maxReasons = 64

// FromGoroutines appends how many goroutines are in which state, and why, the most
// frequent first.
func FromGoroutines(dst []Point, g *record.Goroutines) []Point {
	type key struct{ state, reason string }
	counts := map[key]int{}
	for i := range g.Groups {
		if gr := &g.Groups[i]; !gr.System {
			counts[key{clip(gr.Status), clip(gr.WaitReason)}] += gr.Count
		}
	}
	keys := make([]key, 0, len(counts))
	for k := range counts {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a.state, b.state), cmp.Compare(a.reason, b.reason))
	})
	for _, k := range keys[:min(len(keys), maxReasons)] {
		dst = append(dst, Point{Def: goroutines, Name: goroutines.Name,
			Labels: []Label{{"reason", k.reason}, {"state", k.state}}, Value: float64(counts[k])})
	}
	return dst
}

// FromFindings appends a point for each finding.
func FromFindings(dst []Point, findings []diagnose.Finding) []Point {
	for i := range findings {
		f := &findings[i]
		dst = append(dst, Point{Def: finding, Name: finding.Name,
			Labels: []Label{{"id", f.ID}, {"severity", f.Severity.String()}}, Value: 1})
	}
	return dst
}

// FromProcess appends what is to be said of a process that does not change.
func FromProcess(dst []Point, p *record.Process) []Point {
	dst = append(dst, Point{Def: info, Name: info.Name, Value: 1, Labels: []Label{
		{"go_version", clip(p.GoVersion)}, {"goarch", clip(p.GOARCH)},
		{"module", clip(p.Module)}, {"module_version", clip(p.ModuleVersion)}, {"pid", strconv.Itoa(p.PID)}}})
	if !p.StartTime.IsZero() {
		dst = append(dst, PointOf(startTime, float64(p.StartTime.UnixMilli())/float64(time.Second/time.Millisecond)))
	}
	return dst
}

// clip makes a label's value of what a process made up: bounded, and valid UTF-8, as
// labels must be.
func clip(s string) string {
	const most = 200
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}
