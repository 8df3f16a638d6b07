package record

import "time"

// A Process is what identifies an observed Go process, and what does not
// change while it lives. It never holds arguments or environment beyond the Go
// runtime's own settings: those may be secrets.
type Process struct {
	PID           int               `json:"pid"`
	StartTime     time.Time         `json:"start_time"`
	Name          string            `json:"name"` // base name of the executable
	Exe           string            `json:"exe,omitempty"`
	MainPackage   string            `json:"main_package,omitempty"`
	Module        string            `json:"module,omitempty"`
	ModuleVersion string            `json:"module_version,omitempty"`
	GoVersion     string            `json:"go_version,omitempty"`
	GOEXPERIMENT  string            `json:"goexperiment,omitempty"`
	GOOS          string            `json:"goos,omitempty"`
	GOARCH        string            `json:"goarch,omitempty"`
	BuildSettings map[string]string `json:"build_settings,omitempty"`
	BuildID       string            `json:"build_id,omitempty"`
	Stripped      bool              `json:"stripped"`
	PIE           bool              `json:"pie"`
	Static        bool              `json:"static"` // no program interpreter; PIE && Static is static-PIE
	Cgo           bool              `json:"cgo"`
	Race          bool              `json:"race"`
	UID           int               `json:"uid"`
	User          string            `json:"user,omitempty"`
	CgroupPath    string            `json:"cgroup_path,omitempty"`
	ContainerID   string            `json:"container_id,omitempty"`
	PodUID        string            `json:"pod_uid,omitempty"`
	// GoEnv holds GOGC, GOMEMLIMIT, GOMAXPROCS, GODEBUG and GOTRACEBACK as the
	// process was started with, those that were set.
	GoEnv map[string]string `json:"go_env,omitempty"`
	// MemoryLimitBytes is the smallest cgroup limit along the path, 0 for none.
	MemoryLimitBytes uint64 `json:"memory_limit_bytes,omitempty"`
	// CPUQuotaCores is the smallest cgroup CPU quota along the path, 0 for none.
	CPUQuotaCores   float64 `json:"cpu_quota_cores,omitempty"`
	HostMemoryBytes uint64  `json:"host_memory_bytes,omitempty"`
	HostCPUs        int     `json:"host_cpus,omitempty"`
	// DefaultGODEBUG of the build and so on are in BuildSettings.
}

// A Cycle is one completed GC cycle. N, End and Pause come from the runtime's
// 256-entry rings and are never lost while the target is read at least once per
// 256 cycles; the fields after Detail are there only when Detail is true: the
// observer read the target between this cycle and the next.
type Cycle struct {
	N      uint64        `json:"n"` // 1 is the first cycle of the process
	End    time.Time     `json:"end"`
	Pause  time.Duration `json:"pause_ns"` // stop-the-world time of both pauses
	Detail bool          `json:"detail,omitempty"`

	Forced           bool          `json:"forced,omitempty"`
	SweepTermination time.Duration `json:"sweep_termination_ns,omitempty"` // first pause, wall
	Mark             time.Duration `json:"mark_ns,omitempty"`              // concurrent mark, wall
	MarkTermination  time.Duration `json:"mark_termination_ns,omitempty"`  // second pause, wall
	HeapStartBytes   uint64        `json:"heap_start_bytes,omitempty"`     // heapLive at start (work.heap0)
	HeapEndBytes     uint64        `json:"heap_end_bytes,omitempty"`       // heapLive at mark termination (work.heap1)
	HeapMarkedBytes  uint64        `json:"heap_marked_bytes,omitempty"`    // (work.heap2)
	HeapGoalBytes    uint64        `json:"heap_goal_bytes,omitempty"`      // (gcController.lastHeapGoal)
	StackScanBytes   uint64        `json:"stack_scan_bytes,omitempty"`
	GlobalsScanBytes uint64        `json:"globals_scan_bytes,omitempty"`
	// CPU spent on this cycle, P-time.
	Assist     time.Duration `json:"assist_ns,omitempty"`
	Dedicated  time.Duration `json:"dedicated_ns,omitempty"`
	Fractional time.Duration `json:"fractional_ns,omitempty"`
	Idle       time.Duration `json:"idle_ns,omitempty"`
	Procs      int           `json:"procs,omitempty"` // GOMAXPROCS of the cycle
}

// An EventKind says what happened.
type EventKind string

const (
	EventStarted        EventKind = "started"         // observation began
	EventExited         EventKind = "exited"          // the process ended; Text says how when known
	EventSettingChanged EventKind = "setting_changed" // GOGC, GOMEMLIMIT, GOMAXPROCS or the container's limit or CPU quota moved
	EventOOMKill        EventKind = "oom_kill"
	EventNeighbour      EventKind = "neighbour"   // another process of the cgroup has much memory; Data is its pid, name and rss_bytes
	EventLostCycles     EventKind = "lost_cycles" // more than 256 cycles between two readings
	EventGap            EventKind = "gap"         // samples could not be taken, or the clock was set; Text is the reason
)

// An Event is something that happened at an instant.
type Event struct {
	Time time.Time         `json:"time"`
	Kind EventKind         `json:"event"`
	Text string            `json:"text,omitempty"`
	Data map[string]string `json:"data,omitempty"`
}

// A Frame is one function of a stack, inlined functions expanded, leaf first.
type Frame struct {
	Func string `json:"func"`
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

// A GoroutineGroup counts goroutines that share state, wait reason, creation
// site and stack.
type GoroutineGroup struct {
	Count      int               `json:"count"`
	Status     string            `json:"status"`                // runtime's words: runnable, running, syscall, waiting, ...
	WaitReason string            `json:"wait_reason,omitempty"` // "chan receive", "select", ...
	WaitMax    time.Duration     `json:"wait_max_ns,omitempty"` // longest wait; the runtime knows it only to the last GC
	CreatedBy  Frame             `json:"created_by"`            // the go statement; zero for the main goroutine
	Stack      []Frame           `json:"stack,omitempty"`       // leaf first; absent for running goroutines
	Labels     map[string]string `json:"labels,omitempty"`
	System     bool              `json:"system,omitempty"` // the runtime's own
}

// Goroutines is a snapshot of all goroutines, grouped.
type Goroutines struct {
	Time      time.Time        `json:"time"`
	Total     int              `json:"total"` // user goroutines
	Groups    []GoroutineGroup `json:"groups"`
	Truncated int              `json:"truncated,omitempty"` // goroutines left out, were there too many
}

// A ProfileKind names what a Profile's values are.
type ProfileKind string

const (
	ProfileHeap  ProfileKind = "heap"
	ProfileBlock ProfileKind = "block"
	ProfileMutex ProfileKind = "mutex"
)

// A Profile is the runtime's own sampled profile at an instant, symbolised.
// Values are cumulative since process start (heap: alloc and free), unsampled:
// they estimate the truth as pprof shows it.
type Profile struct {
	Time        time.Time     `json:"time"`
	Kind        ProfileKind   `json:"profile"`
	PeriodBytes int64         `json:"period_bytes,omitempty"` // runtime.MemProfileRate; 0: profiling is off
	Sites       []ProfileSite `json:"sites"`
}

// A ProfileSite is one distinct stack of a Profile.
type ProfileSite struct {
	Stack        []Frame `json:"stack"`
	AllocBytes   float64 `json:"alloc_bytes,omitempty"`
	AllocObjects float64 `json:"alloc_objects,omitempty"`
	InUseBytes   float64 `json:"in_use_bytes,omitempty"`
	InUseObjects float64 `json:"in_use_objects,omitempty"`
	// SampledAllocs is how many samples AllocBytes rests on.
	SampledAllocs int64         `json:"sampled_allocs,omitempty"`
	SampledInUse  int64         `json:"sampled_in_use,omitempty"`
	Contentions   float64       `json:"contentions,omitempty"` // block, mutex
	Delay         time.Duration `json:"delay_ns,omitempty"`
}

// A Recording is one life of one process: its identity, and what was seen of
// it, each slice in the order of time.
type Recording struct {
	Process    Process
	Samples    []Sample
	Cycles     []Cycle
	Events     []Event
	Goroutines []Goroutines
	Profiles   []Profile
	// Truncated says why the end of the recording is missing, "" when it is whole.
	Truncated string
	// Thinned is n when only every n-th sample is here, because there were more
	// than the reader keeps (see [Limits]), and 0 when all are.
	Thinned int
}
