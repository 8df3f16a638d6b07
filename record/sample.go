package record

import "time"

// A Source names where samples come from. What a source cannot give is absent
// from Sample.Has; it is never reported as zero.
type Source string

const (
	SourceRemote     Source = "remote"     // the process's memory, read from outside
	SourceRTMetrics  Source = "rtmetrics"  // runtime/metrics, read inside the process
	SourcePrometheus Source = "prometheus" // a /metrics endpoint of a Go program
	SourceGCTrace    Source = "gctrace"    // GODEBUG=gctrace=1,gcpacertrace=1,scavtrace=1 output
)

// A Sample is the state of a Go process at one instant. Only the fields whose
// bit is set in Has are meaningful.
//
// All byte counts are bytes, all durations are cumulative since process start
// unless the comment says otherwise. The runtime variable a field comes from is
// named in parentheses.
type Sample struct {
	Time   time.Time // wall clock of the observer
	Source Source
	Has    FieldSet

	// Heap, as the pacer sees it.
	HeapLiveBytes     uint64 // live after the last mark plus allocated since (gcController.heapLive)
	HeapMarkedBytes   uint64 // live after the last mark; /gc/heap/live:bytes (gcController.heapMarked)
	HeapGoalBytes     uint64 // heap goal of the running or next cycle; /gc/heap/goal:bytes (heapGoalInternal)
	HeapTriggerBytes  uint64 // heapLive at which the next cycle starts (gcController.trigger)
	HeapInUseBytes    uint64 // in-use spans (gcController.heapInUse)
	HeapFreeBytes     uint64 // free spans still backed by memory (gcController.heapFree)
	HeapReleasedBytes uint64 // free spans returned to the OS (gcController.heapReleased)
	HeapObjectsBytes  uint64 // objects not yet swept away; /memory/classes/heap/objects:bytes
	TotalAllocBytes   uint64 // cumulative; /gc/heap/allocs:bytes
	TotalFreeBytes    uint64 // cumulative; /gc/heap/frees:bytes
	AllocObjects      uint64 // cumulative, as MemStats.Mallocs: /gc/heap/allocs:objects and /gc/heap/tiny/allocs:objects together
	FreeObjects       uint64 // cumulative, as MemStats.Frees: /gc/heap/frees:objects and the tiny allocations, which count as freed at once
	MappedReadyBytes  uint64 // all memory the runtime has in Ready state (gcController.mappedReady)
	StackInUseBytes   uint64 // goroutine stacks; /memory/classes/heap/stacks:bytes
	StackScanBytes    uint64 // stack the last cycle scanned; /gc/scan/stack:bytes
	GlobalsScanBytes  uint64 // /gc/scan/globals:bytes
	RuntimeOtherBytes uint64 // spans, caches, OS stacks, profiling buckets, GC metadata (all mstats *_sys but the heap's)

	// Settings.
	GOGCPercent     int64 // -1 is off (gcController.gcPercent)
	GOMEMLIMITBytes int64 // math.MaxInt64 is none (gcController.memoryLimit)

	// GC cycles and pauses. Every pause is a Cycle; these are the sums.
	GCCycles   uint64        // completed (memstats.numgc)
	GCForced   uint64        // of those, asked for by runtime.GC (memstats.numforcedgc)
	GCPhase    int64         // instantaneous: 0 off, 1 mark, 2 mark termination (gcphase)
	PauseTotal time.Duration // stop-the-world time of GC (memstats.pause_total_ns)
	LastGC     time.Time     // end of the last cycle, by the target's clock

	// CPU classes of runtime/metrics: /cpu/classes/*. They are P-time, not CPU
	// time: under contention they are higher than what the kernel charged, and
	// they are updated once a cycle.
	CPUGCAssist           time.Duration
	CPUGCDedicated        time.Duration // includes fractional workers
	CPUGCIdle             time.Duration
	CPUGCPause            time.Duration
	CPUGCTotal            time.Duration
	CPUScavengeAssist     time.Duration
	CPUScavengeBackground time.Duration
	CPUScavengeTotal      time.Duration
	CPUIdle               time.Duration
	CPUUser               time.Duration
	CPUTotal              time.Duration

	// GC CPU limiter (gcCPULimiter).
	LimiterEnabled   bool    // instantaneous
	LimiterLastCycle uint64  // cycle in which it was last on, 0 never; /gc/limiter/last-enabled:gc-cycle
	LimiterFillRatio float64 // instantaneous: fill of the limiter's bucket, 0..1; at 1 the limiter turns on

	// Scavenger goals; 0 means that none is set (runtime.scavenge).
	ScavengeGOGCGoalBytes     uint64
	ScavengeMemlimitGoalBytes uint64

	// Scheduler.
	GOMAXPROCS       int64
	Threads          int64 // Ms that exist (sched.mnext - sched.nmfreed)
	IdlePs           int64
	Goroutines       int64         // user goroutines, as runtime.NumGoroutine
	Runnable         int64         // goroutines in all run queues
	SchedLatency     TimeHistogram // /sched/latencies:seconds
	STWStoppingGC    TimeHistogram // /sched/pauses/stopping/gc:seconds (Go 1.22+)
	STWStoppingOther TimeHistogram // /sched/pauses/stopping/other:seconds (Go 1.22+)
	STWTotalGC       TimeHistogram // /sched/pauses/total/gc:seconds (Go 1.22+; before: /gc/pauses:seconds)
	STWTotalOther    TimeHistogram // /sched/pauses/total/other:seconds (Go 1.22+)

	// Allocation by size class; cumulative. Index 0 is large objects (> 32 KiB).
	SizeClassAllocs [NumSizeClasses]uint64 // objects; index 0 counts large objects
	SizeClassFrees  [NumSizeClasses]uint64
	LargeAllocBytes uint64
	LargeFreeBytes  uint64
	TinyAllocs      uint64 // objects of the tiny allocator, not in SizeClassAllocs

	// The operating system's view (/proc/PID).
	RSSBytes      uint64
	RSSPeakBytes  uint64
	RSSAnonBytes  uint64
	RSSFileBytes  uint64
	SwapBytes     uint64
	CPUProcUser   time.Duration // kernel's account of the whole process
	CPUProcSystem time.Duration

	// The effective cgroup.
	CgroupUsageBytes       uint64
	CgroupLimitBytes       uint64 // smallest along the path; absent when there is none
	CgroupThrottled        time.Duration
	CgroupPeriods          uint64
	CgroupThrottledPeriods uint64
	CgroupOOMKills         uint64
	PSIMemorySomeStall     time.Duration // cumulative "some" stall
	PSICPUSomeStall        time.Duration

	// More of the operating system's view. What a cgroup's memory is made of is that of
	// the group that has the limit, and is read once a second at the most.
	RSSShmemBytes        uint64        // of RSSFileBytes, memory that is shared without a file
	MajorFaults          uint64        // page faults of the process that waited for a disk
	Stopped              bool          // instantaneous: all of it stands still, stopped by a signal or frozen
	CgroupAnonBytes      uint64        // memory of processes
	CgroupFileBytes      uint64        // page cache, without CgroupShmemBytes
	CgroupShmemBytes     uint64        // tmpfs, and memory that is shared without a file
	CgroupRefaults       uint64        // pages that the kernel reclaimed and that were needed again
	CgroupReclaimedBytes uint64        // what the kernel reclaimed; cgroup v2
	CgroupCPUQuota       time.Duration // CPU time a second, not cumulative; absent when there is no quota
}

// NumSizeClasses is runtime._NumSizeClasses (runtime/sizeclasses.go), the same
// in Go 1.20 to 1.27.
const NumSizeClasses = 68
