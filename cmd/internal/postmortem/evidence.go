// Package postmortem says why a process was killed for want of memory: what the kernel
// did, in which cgroup and at which limit, which memory it was, what of it had grown,
// where the program allocated that, and with which settings it would have lived.
//
// What is known of a kill is [Evidence]. A post-mortem file is a recording that ends in
// the kill: what the kernel and the cgroup said travels in it as events, so that
// `heapwright diagnose FILE` opens it too. [Examine] is a pure function of the evidence,
// and runs each time that a file is shown: a file holds what was seen, never a verdict.
//
// The package does not watch processes, does not read the kernel's log, and takes no
// profiles: others do, and fill the Evidence.
package postmortem

import (
	"time"

	"github.com/heapwright/heapwright/record"
)

// Evidence is all that is known of one death, or of one life that came near it.
type Evidence struct {
	// Recording is what was seen of the process: samples, cycles, profiles and
	// goroutines. Its events need not hold what the fields below say.
	Recording *record.Recording
	Kill      *Kill     // nil when the process was not killed, as far as is known
	Groups    []Group   // looks at its cgroup, in order of time; the last one counts most
	Captures  []Capture // when profiles were taken, and why
	Notices   []Notice  // what warned of it
}

// A Source is how a kill is known.
type Source string

// The sources of a kill, the surest first.
const (
	FromKernelLog   Source = "kernel_log"        // the kernel's record names the process
	FromContainer   Source = "container_runtime" // the runtime's state says OOMKilled
	FromCounter     Source = "cgroup_counter"    // the group's count of OOM kills rose
	FromGroupEvent  Source = "cgroup_event"      // the group notified of being out of memory
	FromExitStatus  Source = "exit_status"       // the process ended by SIGKILL: 137
	FromDisappeared Source = "disappeared"       // it was gone while near its limit
)

// A Kill is what is known of one OOM kill. What is zero is not known, unless its comment
// says otherwise.
type Kill struct {
	Time   time.Time // of the kill, by the wall clock
	PID    int       // as seen from where Heapwright runs
	Name   string    // the kernel's 15 bytes of it
	UID    int       // -1 when not known
	Known  []Source  // how it is known; the first is the surest
	Member bool      // killed because a whole cgroup was (memory.oom.group), not chosen itself

	Constraint string // CONSTRAINT_MEMCG, CONSTRAINT_NONE, ...: whose memory ran out
	OOMGroup   string // cgroup whose limit was met (oom_memcg)
	TaskGroup  string // cgroup of the process (task_memcg)
	InvokedBy  string // process whose allocation met the limit
	GFP        string // what it asked for: gfp_mask
	Order      int    // and how much: 2^Order pages

	// Of the process, in bytes, as the kernel counted them at the kill.
	TotalVMBytes, AnonRSSBytes, FileRSSBytes, ShmemRSSBytes, PageTableBytes uint64
	OOMScoreAdj                                                             int

	// Of the group, as the kernel's record has them.
	UsageBytes, LimitBytes, FailCount uint64
	// Parts are the group's statistics in the kernel's record (memory.stat), in bytes.
	Parts map[Part]uint64
	Tasks []Task   // who might have been killed: the record's table
	Text  []string // lines of the kernel's log, as they were
}

// A Task is a process that the kernel considered, in bytes.
type Task struct {
	PID            int    `json:"pid"`
	Name           string `json:"name"`
	RSSBytes       uint64 `json:"rss_bytes"`
	AnonBytes      uint64 `json:"anon_bytes"`
	FileBytes      uint64 `json:"file_bytes"`
	ShmemBytes     uint64 `json:"shmem_bytes"`
	PageTableBytes uint64 `json:"page_table_bytes"`
	SwapBytes      uint64 `json:"swap_bytes"`
	TotalVMBytes   uint64 `json:"total_vm_bytes"`
	OOMScoreAdj    int    `json:"oom_score_adj"`
}

// A Part names memory that is charged to a cgroup.
type Part string

// The parts, as in cgroup v2's memory.stat; what v1 calls otherwise is translated.
const (
	PartAnon       Part = "anon"        // memory of processes that no file stands behind (v1: rss)
	PartFile       Part = "file"        // page cache, shmem in it (v1: cache)
	PartShmem      Part = "shmem"       // tmpfs and shared memory, a part of file
	PartKernel     Part = "kernel"      // all of the kernel's own (v1: kmem)
	PartSlab       Part = "slab"        // of kernel
	PartPageTables Part = "pagetables"  // of kernel
	PartStacks     Part = "kernelstack" // of kernel
	PartSock       Part = "sock"        // buffers of sockets
	PartSwap       Part = "swap"        // not charged to the limit
	PartDirty      Part = "dirty"       // of file: not dropped before it is written
)

// A Group is one look at the cgroup whose limit matters.
type Group struct {
	Time       time.Time
	Path       string // below the mount
	Version    int    // 1 or 2
	UsageBytes uint64
	LimitBytes uint64 // smallest along the path, 0 for none
	LimitPath  string // group that has it, where it is not Path
	PeakBytes  uint64
	OOMKills   uint64          // the group's count; see record.Sample.CgroupOOMKills
	Parts      map[Part]uint64 // absent is unknown
	Siblings   []Sibling       // other processes in the group, largest first
	// SiblingsLeftOut is how many more there were than were looked at.
	SiblingsLeftOut int
}

// A Sibling is another process in the same cgroup.
type Sibling struct {
	PID       int    `json:"pid"`
	Name      string `json:"name"`
	RSSBytes  uint64 `json:"rss_bytes"`
	AnonBytes uint64 `json:"anon_bytes"`
}

// A Capture is one taking of profiles.
type Capture struct {
	Time   time.Time     // when it began
	Why    string        // quiet, slope, threshold, pressure, ...: the trigger's words
	Took   time.Duration // from the first byte read to the last
	Kinds  []string      // heap, goroutines, ...: what is in it
	Failed string        // why what is missing is, "" when nothing is
	Bytes  uint64        // the group's usage then, or the resident set where there is no group
}

// ProfileSince is the kind of a profile of what was sampled since the heap profile of the
// same time was published, alive or not: the runtime publishes what a collection but one
// ago knew (runtime/mprof.go). Who does not know the kind leaves it alone.
const ProfileSince record.ProfileKind = "heap_since"

// WhyQuiet is why a capture was taken at a moment when nothing was wrong: what came
// after is held against it.
const WhyQuiet = "quiet"

// A Notice is something that warned: a threshold that notified, pressure that rose.
type Notice struct {
	Time time.Time
	Kind string // threshold, pressure, psi, high, slope, ...
	Text string
}
