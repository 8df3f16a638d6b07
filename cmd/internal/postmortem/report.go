package postmortem

import (
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/record"
)

// Schema is the version of the document that a Report is as JSON.
const Schema = "heapwright.oom/1"

// Memory names a kind of memory: a verdict, or a row of a Composition.
type Memory string

// What may have grown.
const (
	HeapLive      Memory = "heap-live"     // objects that the program still holds
	HeapGarbage   Memory = "heap-garbage"  // objects that await a collection
	Stacks        Memory = "stacks"        // goroutine stacks
	Fragmentation Memory = "fragmentation" // spans of the heap without objects, and free slots in others
	Outside       Memory = "outside"       // the process's, but not Go's: C, mmap, thread stacks
	PageCache     Memory = "page-cache"    // pages of files
	Shared        Memory = "shared-memory" // tmpfs and shared memory
	KernelMemory  Memory = "kernel"        // page tables, slab, socket buffers
	SiblingMemory Memory = "sibling"       // another process in the cgroup
)

// Verdicts that are no kind of memory.
const (
	LimitTooSmall Memory = "limit-too-small" // nothing grew: what the program needs did not fit
	NotEnough     Memory = "not-enough-evidence"
)

// Rows of a Composition that are no verdict.
const (
	RuntimeMemory Memory = "runtime"       // spans, caches, GC metadata
	NotResident   Memory = "not-resident"  // what Go has mapped and never touched, or is in swap: negative
	Unaccounted   Memory = "unaccounted"   // what of the usage is none of the above
	GoHeap        Memory = "go-heap"       // where a look cannot tell the parts of the heap
	WholeProcess  Memory = "process"       // where a look cannot tell the parts of the process
	AfterLastLook Memory = "after-last"    // what came between the last look and the kill
	OtherCharges  Memory = "other-charges" // where a look cannot tell what is charged beside the process
)

// A Report is what the evidence means. It is made of the evidence alone.
type Report struct {
	Schema  string         `json:"schema"`
	Process record.Process `json:"process"`
	Killed  bool           `json:"killed"`
	Verdict Verdict        `json:"verdict"`
	// Chain is how it came to it, in order: the kernel's record, the cgroup and its
	// limit, the memory, the site.
	Chain        []Link        `json:"chain"`
	Kill         *KillFacts    `json:"kill"` // null when nobody was killed
	Group        *GroupFacts   `json:"cgroup"`
	Composition  *Composition  `json:"composition"` // null when there was no look
	Growth       *Growth       `json:"growth"`      // null when there is nothing to hold the end against
	Course       Course        `json:"course"`
	Captures     []Shot        `json:"captures"`
	Survival     Survival      `json:"survival"`
	Alternatives []Alternative `json:"alternatives"`
	Unknown      []string      `json:"unknown"` // what the evidence lacks, in full sentences
}

// A Verdict is the answer.
type Verdict struct {
	Memory           Memory          `json:"memory"`
	Title            string          `json:"title"`
	Cause            string          `json:"cause"`
	Remedy           string          `json:"remedy"`
	Confidence       rule.Confidence `json:"confidence"`
	ConfidenceReason string          `json:"confidence_reason"`
	// Site is where what grew is made: an allocation, or a go statement.
	Site *rule.Site `json:"site"`
	// Samples is how many looks with memory in them the verdict rests on.
	Samples int `json:"samples"`
}

// A Link is one step from the kernel's record to the cause.
type Link struct {
	Step string `json:"step"` // kernel, cgroup, memory, growth, settings
	Text string `json:"text"`
}

// KillFacts are what is known of the kill. A quantity that is not known is null.
type KillFacts struct {
	Time       time.Time `json:"time"`
	PID        int       `json:"pid"`
	Name       string    `json:"name"`
	Known      []Source  `json:"known_from"`
	Member     bool      `json:"whole_group"`
	OtherPID   bool      `json:"other_process"` // the kernel killed another process than the one recorded
	Constraint string    `json:"constraint,omitempty"`
	OOMGroup   string    `json:"oom_cgroup,omitempty"`
	TaskGroup  string    `json:"task_cgroup,omitempty"`
	InvokedBy  string    `json:"invoked_by,omitempty"`
	GFP        string    `json:"gfp_mask,omitempty"`
	Order      int       `json:"order"`
	AnonRSS    *int64    `json:"anon_rss_bytes"`
	FileRSS    *int64    `json:"file_rss_bytes"`
	ShmemRSS   *int64    `json:"shmem_rss_bytes"`
	PageTables *int64    `json:"page_table_bytes"`
	ScoreAdj   int       `json:"oom_score_adj"`
	Usage      *int64    `json:"usage_bytes"`
	Limit      *int64    `json:"limit_bytes"`
	FailCount  uint64    `json:"fail_count"`
	Tasks      []Task    `json:"tasks"`
	Text       []string  `json:"text"`
}

// GroupFacts are what is known of the cgroup at the end.
type GroupFacts struct {
	Path            string    `json:"path"`
	LimitPath       string    `json:"limit_path,omitempty"`
	Version         int       `json:"version"`
	LimitBytes      *int64    `json:"limit_bytes"` // null: none
	UsageBytes      *int64    `json:"usage_bytes"`
	Siblings        []Sibling `json:"siblings"`
	SiblingsLeftOut int       `json:"siblings_left_out"`
}

// A Composition is what the usage at the last look was made of. The rows add up to it.
type Composition struct {
	Time         time.Time  `json:"time"`
	BeforeKill   *float64   `json:"before_kill_seconds"`
	Of           string     `json:"of"` // cgroup, or process where nothing is known of a cgroup
	TotalBytes   int64      `json:"total_bytes"`
	LimitBytes   *int64     `json:"limit_bytes"`
	WasTime      *time.Time `json:"was_time"` // the quiet moment
	WasBytes     *int64     `json:"was_bytes"`
	UnseenBytes  *int64     `json:"unseen_bytes"`         // what came after the last look, as far as the kernel's record tells
	UnseenOwn    *int64     `json:"unseen_process_bytes"` // of that, what the process took itself
	SurvivalRate *float64   `json:"survival_ratio"`       // of what is allocated, how much a collection finds alive
	Rows         []Row      `json:"rows"`
}

// A Row is one kind of memory.
type Row struct {
	Memory Memory `json:"memory"`
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	Was    *int64 `json:"was_bytes"` // at the quiet moment
	// How it is known: measured, estimated, or rest.
	How string `json:"how"`
}

// Grew is by how much the row grew, 0 when that is not known.
func (r *Row) Grew() int64 {
	if r.Was == nil {
		return 0
	}
	return r.Bytes - *r.Was
}

// Growth is what grew in the program between the quiet moment and the last capture.
type Growth struct {
	From       time.Time        `json:"from"`
	To         time.Time        `json:"to"`
	Seconds    float64          `json:"seconds"`
	Profiled   bool             `json:"profiled"` // there were two heap profiles
	InUseBytes float64          `json:"in_use_growth_bytes"`
	Sites      []SiteGrowth     `json:"sites"`
	SitesLeft  int              `json:"sites_left_out"`
	Goroutines []GoroutineSite  `json:"goroutines"`
	Total      *GoroutineTotals `json:"goroutine_totals"`
}

// GoroutineTotals are how many goroutines there were.
type GoroutineTotals struct {
	Was int `json:"was"`
	Now int `json:"now"`
}

// A SiteGrowth is what one place of the program did between two heap profiles.
type SiteGrowth struct {
	Site  record.Frame   `json:"site"` // the innermost frame of the program's own
	Leaf  record.Frame   `json:"leaf"` // the frame that allocated
	Stack []record.Frame `json:"stack,omitempty"`
	// GrowthBytes is by how much what it holds grew, with the interval in which that
	// lies nine times out of ten: profiles are samples.
	GrowthBytes float64 `json:"growth_bytes"`
	Low         float64 `json:"growth_low_bytes"`
	High        float64 `json:"growth_high_bytes"`
	Share       float64 `json:"share_ratio"` // of the growth of all sites that grew
	InUseBytes  float64 `json:"in_use_bytes"`
	GrowthCount float64 `json:"growth_objects"`
	AllocBytes  float64 `json:"alloc_bytes"` // allocated in the time
	AllocShare  float64 `json:"alloc_share_ratio"`
	Samples     int64   `json:"samples"`      // that the growth rests on
	RecentBytes float64 `json:"recent_bytes"` // allocated since the profile was published, alive or not
	Significant bool    `json:"significant"`  // the interval is above zero
}

// A GoroutineSite is the goroutines that one go statement started.
type GoroutineSite struct {
	CreatedBy  record.Frame `json:"created_by"`
	Was        int          `json:"was"`
	Now        int          `json:"now"`
	WaitReason string       `json:"wait_reason,omitempty"` // of most of them
	At         record.Frame `json:"at"`                    // where most of them are
}

// Course is how memory went over time.
type Course struct {
	Points []Moment `json:"points"`
	// Shape says it in a word: steady, sudden, flat, unknown.
	Shape          string   `json:"shape"`
	BytesPerSecond *float64 `json:"bytes_per_second"` // of the usage, from the quiet moment to the last look
	Low            *float64 `json:"bytes_per_second_low"`
	High           *float64 `json:"bytes_per_second_high"`
	Text           string   `json:"text"`
}

// A Moment is one point of the course. What is not known is null.
type Moment struct {
	Time  time.Time `json:"time"`
	Usage *int64    `json:"usage_bytes"`
	RSS   *int64    `json:"rss_bytes"`
	Live  *int64    `json:"heap_live_bytes"`
	Goal  *int64    `json:"heap_goal_bytes"`
	Limit *int64    `json:"limit_bytes"`
	GoMem *int64    `json:"go_mapped_bytes"`
}

// A Shot is one capture, seen from the kill.
type Shot struct {
	Time       time.Time `json:"time"`
	Why        string    `json:"why"`
	Took       float64   `json:"took_seconds"`
	BeforeKill *float64  `json:"before_kill_seconds"`
	Kinds      []string  `json:"kinds"`
	Failed     string    `json:"failed,omitempty"`
	UsageBytes *int64    `json:"usage_bytes"`
	Role       string    `json:"role,omitempty"` // quiet, last: what it is used for
}

// Survival says whether other settings would have kept the process alive.
type Survival struct {
	// Answer is one of: lives, lives-longer, no-setting, not-go, unknown.
	Answer string `json:"answer"`
	Text   string `json:"text"`
	// How says what it rests on: twin, arithmetic, or nothing.
	How             string   `json:"how"`
	GOGCPercent     *int64   `json:"gogc_percent"`
	GOMEMLIMITBytes *int64   `json:"gomemlimit_bytes"`
	PeakBytes       *int64   `json:"forecast_peak_bytes"` // resident, the bad edge of the forecast
	GCCPURatio      *float64 `json:"forecast_gc_cpu_ratio"`
	// NeededLimitBytes is the limit at which it would have lived as it was set, or
	// with GOMEMLIMIT to match; null where no limit is enough, or that is not known.
	NeededLimitBytes *int64   `json:"needed_limit_bytes"`
	LongerSeconds    *float64 `json:"longer_seconds"` // lives-longer: for about so long
	Now              Settings `json:"now"`            // what it was set to
}

// The answers of Survival.
const (
	Lives       = "lives"
	LivesLonger = "lives-longer"
	NoSetting   = "no-setting"
	NotGo       = "not-go"
	UnknownFate = "unknown"
)

// Settings are what the process was set to; null is not known, a GOMEMLIMIT of none is
// null with NoLimit.
type Settings struct {
	GOGCPercent     *int64 `json:"gogc_percent"` // -1 is off
	GOMEMLIMITBytes *int64 `json:"gomemlimit_bytes"`
	NoLimit         bool   `json:"gomemlimit_none"`
}

// An Alternative is a verdict that was considered.
type Alternative struct {
	Memory Memory `json:"memory"`
	Why    string `json:"why_not"`
	Grew   bool   `json:"grew"` // there was something to consider
}
