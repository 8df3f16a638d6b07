package chaos

// A Metric is a value that a point has, or lacks.
type Metric string

// The metrics. Ratios are 0 to 1.
const (
	Ready           Metric = "ready"                 // 1 or 0: the last answer of the readiness URL
	ErrorRatio      Metric = "error_ratio"           // of the requests that ended in the last second
	LatencyP50      Metric = "latency_p50_seconds"   // of the last second, from when they were due; what is still under way counts with its age
	LatencyP99      Metric = "latency_p99_seconds"   // of the last five seconds
	Throughput      Metric = "throughput_per_second" // expected answers
	Requests        Metric = "requests_per_second"   // that ended, expected or not: what ErrorRatio is a share of
	GCCPURatio      Metric = "gc_cpu_ratio"          // the collector's share of the CPU time that the process can have, of the last five seconds, idle workers not counted: what package guard/sli has under this name, and not the share of what it used
	AssistRatio     Metric = "assist_ratio"          // mark assists' share of the same
	PauseP99        Metric = "pause_p99_seconds"     // of the cycles of the last ten seconds
	PauseMax        Metric = "pause_max_seconds"     // of the last second
	CyclesPerSecond Metric = "gc_cycles_per_second"  //
	LimiterOn       Metric = "gc_limiter_on"         // 1 while the GC CPU limiter is engaged
	LiveHeap        Metric = "live_heap_bytes"       // what the last cycle found alive
	HeapGoal        Metric = "heap_goal_bytes"       //
	GoTotal         Metric = "go_memory_bytes"       // what GOMEMLIMIT is held against
	MemoryLimitGo   Metric = "gomemlimit_bytes"      //
	RSS             Metric = "rss_bytes"             //
	Usage           Metric = "memory_bytes"          // charged to the cgroup
	WorkingSet      Metric = "working_set_bytes"     // without the page cache that can be dropped first
	Limit           Metric = "memory_limit_bytes"    // of the cgroup, the smallest along the path
	Headroom        Metric = "headroom_bytes"        // limit less working set
	HeadroomRatio   Metric = "headroom_ratio"        // of the limit
	HeadroomSeconds Metric = "headroom_seconds"      // headroom over the slope of the working set in the last second; absent while it does not grow
	OOMKills        Metric = "oom_kills"             // since the plan began
	LimitEvents     Metric = "limit_events"          // how often the cgroup was at its limit, since the plan began (memory.events max; v1 failcnt)
	PressureSome    Metric = "memory_some_ratio"     // PSI, of the last 10 s
	PressureFull    Metric = "memory_full_ratio"     //
	ThrottledRatio  Metric = "throttled_ratio"       // of the quota's periods of the last second
	CPUUsed         Metric = "cpu_cores"             //
	GoroutineCount  Metric = "goroutines"            //
	GuardState      Metric = "guard_state"           // 0 healthy, 1 recovering, 2 degraded
	GuardRung       Metric = "guard_rung"            //
	Restarts        Metric = "restarts"              // since the plan began: 1 when the process is gone
	HostFreeRatio   Metric = "host_free_ratio"       // MemAvailable of MemTotal
	ConnectionsOpen Metric = "connections"           // established TCP connections of the target, where they can be counted
)

// A MetricInfo is what is to be known of a metric.
type MetricInfo struct {
	Metric Metric
	Unit   Unit // "" for a ratio, a state or a plain number
	// Load: it comes from the load; Guard: from the debug page; Probe: from the readiness URL.
	// Those cannot be seen by the keeper by itself, and are told to it.
	Load, Guard, Probe bool
	What               string
}

var metrics = []MetricInfo{
	{Metric: Ready, Probe: true, What: "its readiness URL answers 200"},
	{Metric: ErrorRatio, Load: true, What: "share of requests that failed"},
	{Metric: LatencyP50, Unit: Seconds, Load: true, What: "median latency, from when requests were due"},
	{Metric: LatencyP99, Unit: Seconds, Load: true, What: "99th percentile of the latency"},
	{Metric: Throughput, Load: true, What: "answers a second"},
	{Metric: Requests, Load: true, What: "requests that ended, a second"},
	{Metric: GCCPURatio, What: "the collector's share of the CPU time that the process can have"},
	{Metric: AssistRatio, What: "mark assists' share of the same"},
	{Metric: PauseP99, Unit: Seconds, What: "99th percentile of the pauses"},
	{Metric: PauseMax, Unit: Seconds, What: "longest pause of the last second"},
	{Metric: CyclesPerSecond, What: "GC cycles a second"},
	{Metric: LimiterOn, What: "the GC CPU limiter is engaged"},
	{Metric: LiveHeap, Unit: Bytes, What: "live heap"},
	{Metric: HeapGoal, Unit: Bytes, What: "heap goal"},
	{Metric: GoTotal, Unit: Bytes, What: "memory that GOMEMLIMIT is held against"},
	{Metric: MemoryLimitGo, Unit: Bytes, What: "GOMEMLIMIT"},
	{Metric: RSS, Unit: Bytes, What: "resident memory"},
	{Metric: Usage, Unit: Bytes, What: "memory charged to the cgroup"},
	{Metric: WorkingSet, Unit: Bytes, What: "working set of the cgroup"},
	{Metric: Limit, Unit: Bytes, What: "memory limit of the cgroup"},
	{Metric: Headroom, Unit: Bytes, What: "limit less working set"},
	{Metric: HeadroomRatio, What: "headroom as a share of the limit"},
	{Metric: HeadroomSeconds, Unit: Seconds, What: "time until the limit, as memory grows now"},
	{Metric: OOMKills, What: "OOM kills in the cgroup"},
	{Metric: LimitEvents, What: "times that the cgroup was at its limit"},
	{Metric: PressureSome, What: "share of time that some task waited for memory"},
	{Metric: PressureFull, What: "share of time that all tasks waited for memory"},
	{Metric: ThrottledRatio, What: "share of the quota's periods that were throttled"},
	{Metric: CPUUsed, Unit: Cores, What: "CPU used"},
	{Metric: GoroutineCount, What: "goroutines"},
	{Metric: GuardState, Guard: true, What: "state of the guard: 0 healthy, 1 recovering, 2 degraded"},
	{Metric: GuardRung, Guard: true, What: "rung of the guard's ladder"},
	{Metric: Restarts, What: "times that the process ended"},
	{Metric: HostFreeRatio, What: "share of the machine's memory that is available"},
	{Metric: ConnectionsOpen, What: "established TCP connections of the target"},
}

// Metrics are all metrics.
func Metrics() []MetricInfo { return append([]MetricInfo(nil), metrics...) }

// Info says what is to be known of a metric; false for one that is not known.
func (m Metric) Info() (MetricInfo, bool) {
	for _, i := range metrics {
		if i.Metric == m {
			return i, true
		}
	}
	return MetricInfo{}, false
}
