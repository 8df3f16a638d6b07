package series

import (
	"math"
	"strconv"
	"time"

	"github.com/heapwright/heapwright/record"
)

// sampled are the series that are read off a sample, in the order of their points.
var sampled = []struct {
	Def
	from reading
}{
	{Def{Name: "heapwright_heap_live_bytes", Unit: "bytes", Tier: Fast,
		Help: "Heap that the last GC cycle found alive and what was allocated since (gcController.heapLive)."},
		field(record.FieldHeapLiveBytes)},
	{Def{Name: "go_memstats_next_gc_bytes", Unit: "bytes", Tier: Fast, OTel: "go.memory.gc.goal", OTelUnit: "By",
		Help: "Heap size at which the running or next GC cycle is to be done, the heap goal (/gc/heap/goal:bytes)."},
		field(record.FieldHeapGoalBytes)},
	{Def{Name: "process_resident_memory_bytes", Unit: "bytes", Tier: Fast, OTel: "process.memory.usage", OTelUnit: "By",
		Help: "Resident memory (/proc/PID/statm)."},
		field(record.FieldRSSBytes)},
	{Def{Name: "heapwright_memory_usage_bytes", Unit: "bytes", Tier: Slow,
		Help: "Memory charged to the container whose limit is smallest, page cache included (memory.current, memory.usage_in_bytes)."},
		field(record.FieldCgroupUsageBytes)},
	{Def{Name: "go_memstats_alloc_bytes_total", Unit: "bytes", Kind: Counter, Tier: Fast, OTel: "go.memory.allocated", OTelUnit: "By",
		Help: "Bytes allocated on the heap since the start (/gc/heap/allocs:bytes)."},
		field(record.FieldTotalAllocBytes)},
	{Def{Name: "go_gc_cycles_total_gc_cycles_total", Kind: Counter, Tier: Fast, OTel: "go.memory.gc.cycles", OTelUnit: "{gc_cycle}",
		Help: "GC cycles that were completed (/gc/cycles/total:gc-cycles)."},
		field(record.FieldGCCycles)},
	{Def{Name: "go_goroutines", Tier: Fast, OTel: "go.goroutine.count", OTelUnit: "{goroutine}",
		Help: "Goroutines of the program (runtime.NumGoroutine)."},
		field(record.FieldGoroutines)},
	{Def{Name: "process_cpu_seconds_total", Unit: "seconds", Kind: Counter, Tier: Fast, OTel: "process.cpu.time", OTelUnit: "s",
		Help: "CPU time of the process, user and system (/proc/PID/stat)."},
		sum(record.FieldCPUProcUser, record.FieldCPUProcSystem)},
	{Def{Name: "heapwright_gc_pause_seconds_total", Unit: "seconds", Kind: Counter, Tier: Fast,
		Help: "Time for which GC stopped the world, both pauses of every cycle (memstats.pause_total_ns)."},
		field(record.FieldPauseTotal)},

	{Def{Name: "go_gc_heap_live_bytes", Unit: "bytes", Tier: Slow,
		Help: "Heap that the last GC cycle found alive (/gc/heap/live:bytes)."},
		field(record.FieldHeapMarkedBytes)},
	{Def{Name: "heapwright_heap_trigger_bytes", Unit: "bytes", Tier: Slow,
		Help: "Heap size at which the next GC cycle starts (gcController.trigger)."},
		field(record.FieldHeapTriggerBytes)},
	{Def{Name: "go_memstats_heap_alloc_bytes", Unit: "bytes", Tier: Slow,
		Help: "Heap in objects, those that are dead and not swept yet included (/memory/classes/heap/objects:bytes)."},
		field(record.FieldHeapObjectsBytes)},
	{Def{Name: "go_memstats_heap_inuse_bytes", Unit: "bytes", Tier: Slow,
		Help: "Heap in spans that hold objects (gcController.heapInUse)."},
		field(record.FieldHeapInUseBytes)},
	{Def{Name: "go_memstats_heap_idle_bytes", Unit: "bytes", Tier: Slow,
		Help: "Heap in spans without objects, those returned to the system included (gcController.heapFree + heapReleased)."},
		sum(record.FieldHeapFreeBytes, record.FieldHeapReleasedBytes)},
	{Def{Name: "go_memstats_heap_released_bytes", Unit: "bytes", Tier: Slow,
		Help: "Heap that was returned to the system (gcController.heapReleased)."},
		field(record.FieldHeapReleasedBytes)},
	{Def{Name: "go_memstats_stack_inuse_bytes", Unit: "bytes", Tier: Slow, OTel: "go.memory.used", OTelUnit: "By", OTelLabels: []Label{{"go.memory.type", "stack"}},
		Help: "Memory in goroutine stacks (/memory/classes/heap/stacks:bytes)."},
		field(record.FieldStackInUseBytes)},
	{Def{Name: "heapwright_runtime_ready_bytes", Unit: "bytes", Tier: Slow,
		Help: "All memory that the Go runtime holds backed: what GOMEMLIMIT bounds (gcController.mappedReady)."},
		field(record.FieldMappedReadyBytes)},
	{Def{Name: "heapwright_runtime_other_bytes", Unit: "bytes", Tier: Slow,
		Help: "Memory of the Go runtime that is neither heap nor stack of a goroutine (memstats *_sys)."},
		field(record.FieldRuntimeOtherBytes)},
	{Def{Name: "go_memstats_mallocs_total", Kind: Counter, Tier: Slow, OTel: "go.memory.allocations", OTelUnit: "{allocation}",
		Help: "Objects allocated on the heap since the start (MemStats.Mallocs)."},
		field(record.FieldAllocObjects)},
	{Def{Name: "go_memstats_frees_total", Kind: Counter, Tier: Slow,
		Help: "Objects freed since the start (MemStats.Frees)."},
		field(record.FieldFreeObjects)},
	{Def{Name: "go_threads", Tier: Slow,
		Help: "Threads that the runtime made and that are there (sched.mnext - sched.nmfreed)."},
		field(record.FieldThreads)},
	{Def{Name: "heapwright_runnable_goroutines", Tier: Slow,
		Help: "Goroutines that wait in run queues for a processor (sched.runq and those of the Ps)."},
		field(record.FieldRunnable)},
	{Def{Name: "go_cpu_classes_gc_total_cpu_seconds_total", Unit: "seconds", Kind: Counter, Tier: Slow,
		Help: "Processor time in GC, by the runtime's clock; moves once a cycle (/cpu/classes/gc/total:cpu-seconds)."},
		field(record.FieldCPUGCTotal)},
	{Def{Name: "go_cpu_classes_gc_mark_assist_cpu_seconds_total", Unit: "seconds", Kind: Counter, Tier: Slow,
		Help: "Of that, in mark assists: allocating goroutines that had to help (/cpu/classes/gc/mark/assist:cpu-seconds)."},
		field(record.FieldCPUGCAssist)},
	{Def{Name: "go_cpu_classes_gc_mark_dedicated_cpu_seconds_total", Unit: "seconds", Kind: Counter, Tier: Slow,
		Help: "Of that, in mark workers (/cpu/classes/gc/mark/dedicated:cpu-seconds)."},
		field(record.FieldCPUGCDedicated)},
	{Def{Name: "go_cpu_classes_gc_mark_idle_cpu_seconds_total", Unit: "seconds", Kind: Counter, Tier: Slow,
		Help: "Of that, in mark workers on processors that had nothing else to do (/cpu/classes/gc/mark/idle:cpu-seconds)."},
		field(record.FieldCPUGCIdle)},
	{Def{Name: "go_cpu_classes_gc_pause_cpu_seconds_total", Unit: "seconds", Kind: Counter, Tier: Slow,
		Help: "Of that, processors stopped for GC (/cpu/classes/gc/pause:cpu-seconds)."},
		field(record.FieldCPUGCPause)},
	{Def{Name: "go_cpu_classes_scavenge_total_cpu_seconds_total", Unit: "seconds", Kind: Counter, Tier: Slow,
		Help: "Processor time spent returning memory to the system (/cpu/classes/scavenge/total:cpu-seconds)."},
		field(record.FieldCPUScavengeTotal)},
	{Def{Name: "go_cpu_classes_user_cpu_seconds_total", Unit: "seconds", Kind: Counter, Tier: Slow,
		Help: "Processor time in the program (/cpu/classes/user:cpu-seconds)."},
		field(record.FieldCPUUser)},
	{Def{Name: "go_cpu_classes_idle_cpu_seconds_total", Unit: "seconds", Kind: Counter, Tier: Slow,
		Help: "Processor time with nothing to do (/cpu/classes/idle:cpu-seconds)."},
		field(record.FieldCPUIdle)},
	{Def{Name: "go_cpu_classes_total_cpu_seconds_total", Unit: "seconds", Kind: Counter, Tier: Slow,
		Help: "Processor time in all classes (/cpu/classes/total:cpu-seconds)."},
		field(record.FieldCPUTotal)},
	{Def{Name: "heapwright_gc_limiter_fill_ratio", Unit: "ratio", Tier: Slow,
		Help: "Fill of the GC CPU limiter's bucket; at 1 it gives up the memory limit (gcCPULimiter)."},
		field(record.FieldLimiterFillRatio)},
	{Def{Name: "go_gc_limiter_last_enabled_gc_cycle", Tier: Slow,
		Help: "GC cycle in which the CPU limiter was last on, 0 for never (/gc/limiter/last-enabled:gc-cycle)."},
		field(record.FieldLimiterLastCycle)},
	{Def{Name: "heapwright_resident_anon_bytes", Unit: "bytes", Tier: Slow,
		Help: "Resident memory that is no file's (/proc/PID/statm)."},
		field(record.FieldRSSAnonBytes)},
	{Def{Name: "heapwright_swap_bytes", Unit: "bytes", Tier: Slow,
		Help: "Memory in swap (/proc/PID/status)."},
		field(record.FieldSwapBytes)},
	{Def{Name: "heapwright_cpu_throttled_seconds_total", Unit: "seconds", Kind: Counter, Tier: Slow,
		Help: "Time for which the container's CPU quota held it up (cpu.stat)."},
		field(record.FieldCgroupThrottled)},
	{Def{Name: "heapwright_oom_kills_total", Kind: Counter, Tier: Slow,
		Help: "Processes of the container that the kernel's OOM killer took (memory.events, memory.oom_control)."},
		field(record.FieldCgroupOOMKills)},
	{Def{Name: "heapwright_memory_stall_seconds_total", Unit: "seconds", Kind: Counter, Tier: Slow,
		Help: "Time in which some task of the container waited for memory (memory.pressure)."},
		field(record.FieldPSIMemorySomeStall)},
	{Def{Name: "heapwright_cpu_stall_seconds_total", Unit: "seconds", Kind: Counter, Tier: Slow,
		Help: "Time in which some task of the container waited for a CPU (cpu.pressure)."},
		field(record.FieldPSICPUSomeStall)},

	{Def{Name: "go_gc_gogc_percent", Unit: "percent", Tier: Static, OTel: "go.config.gogc", OTelUnit: "%",
		Help: "GOGC in force; off is 1.8e19, as runtime/metrics has it (/gc/gogc:percent)."},
		gogc},
	{Def{Name: "go_gc_gomemlimit_bytes", Unit: "bytes", Tier: Static, OTel: "go.memory.limit", OTelUnit: "By",
		Help: "GOMEMLIMIT in force; 9.2e18 is none (/gc/gomemlimit:bytes)."},
		field(record.FieldGOMEMLIMITBytes)},
	{Def{Name: "go_sched_gomaxprocs_threads", Tier: Static, OTel: "go.processor.limit", OTelUnit: "{thread}",
		Help: "GOMAXPROCS in force (/sched/gomaxprocs:threads)."},
		field(record.FieldGOMAXPROCS)},
	{Def{Name: "heapwright_memory_limit_bytes", Unit: "bytes", Tier: Static,
		Help: "Memory limit of the container, the smallest along the cgroup's path (memory.max, memory.limit_in_bytes)."},
		field(record.FieldCgroupLimitBytes)},
}

// latency is the histogram of a sample.
var latency = &Def{Name: latencyName, Unit: "seconds", Kind: Histogram, Tier: Slow, Labels: []string{"le"},
	OTel: "go.schedule.duration", OTelUnit: "s",
	Help: "How long goroutines waited in run queues before they ran (/sched/latencies:seconds). The sum is estimated from the buckets."}

func sampleDefs() []*Def {
	var all []*Def
	for i := range sampled {
		all = append(all, &sampled[i].Def)
	}
	return append(all, latency)
}

// A reading is where a series' value is in a sample.
type reading struct {
	fields []record.Field // one, or two that are added
	of     func(*record.Sample) (float64, bool)
}

func field(f record.Field) reading {
	return reading{[]record.Field{f}, func(s *record.Sample) (float64, bool) { return s.Value(f) }}
}

func sum(a, b record.Field) reading {
	return reading{[]record.Field{a, b}, func(s *record.Sample) (float64, bool) {
		x, ok := s.Value(a)
		y, also := s.Value(b)
		return x + y, ok && also
	}}
}

// gogc is GOGC as runtime/metrics writes it: off is the largest uint64.
var gogc = reading{[]record.Field{record.FieldGOGCPercent}, func(s *record.Sample) (float64, bool) {
	v, ok := s.Value(record.FieldGOGCPercent)
	if v < 0 {
		v = math.MaxUint64
	}
	return v, ok
}}

// FromSample appends the points of one tier of a sample: those whose fields it has.
func FromSample(dst []Point, s *record.Sample, t Tier) []Point {
	for i := range sampled {
		d := &sampled[i]
		if d.Tier != t {
			continue
		}
		if v, ok := d.from.of(s); ok {
			dst = append(dst, Point{Def: &d.Def, Name: d.Name, Value: v})
		}
	}
	if t == latency.Tier && s.Has.Has(record.FieldSchedLatency) {
		dst = fromLatency(dst, &s.SchedLatency)
	}
	return dst
}

// bounds are the upper bounds of the buckets that are kept: each second power of
// two of the runtime's, from 1 us to 4.4 s. The runtime has four buckets in each power of
// two, 160 in all, which is more than anyone looks at and 8 times as much to store.
var bounds = func() []bound {
	var bs []bound
	for i := range record.TimeHistogramBuckets {
		upper := record.TimeHistogramBound(i + 1)
		if n := upper.Nanoseconds(); n&(n-1) == 0 && n >= 1<<10 && n <= 1<<32 && (n>>10)&0x5555555 != 0 {
			bs = append(bs, bound{through: i, labels: []Label{{"le", le(upper)}}})
		}
	}
	return append(bs, bound{through: record.TimeHistogramBuckets - 1, labels: []Label{{"le", "+Inf"}}})
}()

type bound struct {
	through int // the last of the runtime's buckets that is inside
	labels  []Label
}

func le(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'g', -1, 64) }

func fromLatency(dst []Point, h *record.TimeHistogram) []Point {
	n, next := h.Underflow, 0
	for i, b := range bounds {
		for ; next <= b.through; next++ {
			n += h.Counts[next]
		}
		if i == len(bounds)-1 {
			n += h.Overflow
		}
		dst = append(dst, Point{Def: latency, Name: latencyBucket, Labels: b.labels, Value: float64(n)})
	}
	return append(dst,
		Point{Def: latency, Name: latencyCount, Value: float64(n)},
		Point{Def: latency, Name: latencySum, Value: h.Sum().Seconds()})
}

const (
	latencyName   = "go_sched_latencies_seconds"
	latencyBucket = latencyName + "_bucket"
	latencyCount  = latencyName + "_count"
	latencySum    = latencyName + "_sum"
)
