package api

import (
	"github.com/heapwright/heapwright/cmd/internal/alert"
	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/history"
	"github.com/heapwright/heapwright/cmd/internal/horizon"
	"github.com/heapwright/heapwright/cmd/internal/vault"
	"github.com/heapwright/heapwright/record"
)

// The schemas of the documents. Within one, keys may be added; a key never changes
// its meaning. See docs/api.md.
const (
	schemaSession     = "heapwright.session/1"
	schemaProcesses   = "heapwright.processes/1"
	schemaProcess     = "heapwright.process/1"
	schemaSeries      = "heapwright.series/1"
	schemaCycles      = "heapwright.cycles/1"
	schemaFindings    = "heapwright.findings/1"
	schemaEvents      = "heapwright.events/1"
	schemaExplain     = "heapwright.explanation/1"
	schemaSnapshots   = "heapwright.snapshots/1"
	schemaSnapshot    = "heapwright.snapshot/1"
	schemaProfile     = "heapwright.flame/1"
	schemaGoroutines  = "heapwright.goroutines/1"
	schemaForecast    = "heapwright.forecast/1"
	schemaFront       = "heapwright.front/1"
	schemaPlan        = "heapwright.plan/1"
	schemaExperiments = "heapwright.experiments/1"
	schemaOOMs        = "heapwright.postmortems/1"
	schemaAlerts      = "heapwright.alerts/1"
	schemaStatus      = "heapwright.status/1"
	schemaChange      = "heapwright.change/1"
	schemaError       = "heapwright.error/1"
)

// A SessionDocument says who asks, and whom.
type SessionDocument struct {
	Schema         string        `json:"schema"`
	Role           string        `json:"role"` // none, reader, operator
	ChangesEnabled bool          `json:"changes_enabled"`
	CSRF           CSRF          `json:"csrf"`
	Version        string        `json:"version"`
	Host           string        `json:"host"`
	Store          StoreIdentity `json:"store"`
	Now            Time          `json:"now"`
}

// A CSRF is the header that requests other than GET have to carry.
type CSRF struct {
	Header string `json:"header"`
	Token  string `json:"token"`
}

// A StoreIdentity says where history comes from.
type StoreIdentity struct {
	Kind string  `json:"kind"` // embedded, remote
	URL  *string `json:"url"`  // of a remote one
}

// A ProcessesDocument lists what is watched, the most troubled first.
type ProcessesDocument struct {
	Schema    string       `json:"schema"`
	Now       Time         `json:"now"`
	Processes []ProcessRow `json:"processes"`
	Unseen    []Unseen     `json:"unseen"`
}

// A ProcessRow is a process in one row. A quantity that is not known is null.
type ProcessRow struct {
	ID            string  `json:"id"`
	Name          string  `json:"name"`
	PID           int     `json:"pid"`
	Up            bool    `json:"up"`
	FirstSeen     Time    `json:"first_seen"`
	LastSeen      Time    `json:"last_seen"`
	Ended         Time    `json:"ended"`
	Lives         int     `json:"lives"` // processes that this history joins
	GoVersion     *string `json:"go_version"`
	Module        *string `json:"module"`
	ModuleVersion *string `json:"module_version"`
	User          *string `json:"user"`
	ContainerID   *string `json:"container_id"`
	Unit          *string `json:"unit"` // systemd's, from the cgroup
	Stripped      bool    `json:"stripped"`

	UptimeSeconds         *float64 `json:"uptime_seconds"`
	SampleIntervalSeconds *float64 `json:"sample_interval_seconds"`
	RSSBytes              *uint64  `json:"rss_bytes"`
	HeapLiveBytes         *uint64  `json:"heap_live_bytes"`
	HeapMarkedBytes       *uint64  `json:"heap_marked_bytes"`
	HeapGoalBytes         *uint64  `json:"heap_goal_bytes"`
	LimitBytes            *float64 `json:"limit_bytes"`
	LimitKind             *string  `json:"limit_kind"` // container, gomemlimit, host
	HeadroomBytes         *float64 `json:"headroom_bytes"`
	HeadroomRatio         *float64 `json:"headroom_ratio"`
	GCCPURatio            *float64 `json:"gc_cpu_ratio"`
	AssistRatio           *float64 `json:"assist_ratio"`
	CyclesPerSecond       *float64 `json:"gc_cycles_per_second"`
	AllocBytesPerSecond   *float64 `json:"alloc_bytes_per_second"`
	CPUCores              *float64 `json:"cpu_cores"`
	Goroutines            *int64   `json:"goroutines"`
	GoroutineGrowthRatio  *float64 `json:"goroutine_growth_ratio"`
	TimeToLimitSeconds    *float64 `json:"time_to_limit_seconds"` // 2592000: further, or not in sight
	Outlook               *Outlook `json:"outlook"`
	GOGCPercent           *int64   `json:"gogc_percent"`     // -1: off
	GOMEMLIMITBytes       *int64   `json:"gomemlimit_bytes"` // 9223372036854775807: none
	GOMAXPROCS            *int64   `json:"gomaxprocs"`

	Trouble  float64            `json:"trouble"` // what the list is sorted by, falling
	Worst    *diagnose.Severity `json:"worst"`
	Findings []Brief            `json:"findings"`
	Spark    *Spark             `json:"spark"`
	Error    *string            `json:"error"`
	Hint     *string            `json:"hint"`
}

// An Outlook is what was said last of when memory will reach its limit.
type Outlook struct {
	State     horizon.State `json:"state"`
	Reason    string        `json:"reason"`
	At        Time          `json:"at"` // the instant at which it was said
	Need      *float64      `json:"need_bytes"`
	Killed    Time          `json:"killed"`
	KilledLow Time          `json:"killed_low"`
	// KilledHigh is null where it may never come, too.
	KilledHigh Time `json:"killed_high"`
	NotBefore  Time `json:"not_before"`
	GCHurts    Time `json:"gc_hurts"`
}

// A Brief is a finding in one line.
type Brief struct {
	ID       string            `json:"id"`
	Severity diagnose.Severity `json:"severity"`
	Title    string            `json:"title"`
}

// A Spark is the last minutes of a process in small, oldest first.
type Spark struct {
	End           Time    `json:"end"` // of the last step
	StepSeconds   float64 `json:"step_seconds"`
	RSSBytes      Coarse  `json:"rss_bytes"`
	HeapLiveBytes Coarse  `json:"heap_live_bytes"`
	GCCPURatio    Coarse  `json:"gc_cpu_ratio"`
}

// An Unseen is a process that may be Go and cannot be looked into.
type Unseen struct {
	PID    int     `json:"pid"`
	Name   string  `json:"name"`
	Reason string  `json:"reason"`
	Hint   *string `json:"hint"`
}

// A ProcessDocument is all that is known of one process now.
type ProcessDocument struct {
	Schema string `json:"schema"`
	Now    Time   `json:"now"`
	ProcessRow
	// Findings takes the place of the row's.
	Findings []diagnose.Finding `json:"findings"`
	Identity record.Process     `json:"identity"`
	Settings Settings           `json:"settings"`
	Sample   *record.Sample     `json:"sample"` // the latest
}

// Settings are those in effect, and those that the process was started with.
type Settings struct {
	GOGCPercent         *int64            `json:"gogc_percent"`
	GOMEMLIMITBytes     *int64            `json:"gomemlimit_bytes"`
	GOMAXPROCS          *int64            `json:"gomaxprocs"`
	ContainerLimitBytes *uint64           `json:"container_limit_bytes"`
	CPUQuotaCores       *float64          `json:"cpu_quota_cores"`
	Environment         map[string]string `json:"environment"` // the runtime's own variables
}

// A SeriesDocument is a set of time series over the same steps.
type SeriesDocument struct {
	Schema      string    `json:"schema"`
	Process     string    `json:"process"`
	Set         string    `json:"set"`
	From        Time      `json:"from"`
	To          Time      `json:"to"`
	StepSeconds float64   `json:"step_seconds"`
	Time        []float64 `json:"time"` // Unix seconds, the ends of the steps
	Series      []Line    `json:"series"`
	Heat        *Heat     `json:"heat"` // of the set sched
	Warnings    []string  `json:"warnings"`
}

// A Line is one time series. Min and Max are those within each step, null where
// the series has none of its own.
type Line struct {
	Name   string `json:"name"`
	Label  string `json:"label"` // for people
	Unit   string `json:"unit"`  // bytes, bytes_per_second, ratio, cores, count, per_second, seconds
	Values Values `json:"values"`
	Min    Values `json:"min"`
	Max    Values `json:"max"`
}

// A Heat is a histogram for each step: Counts[i] are those of the step that ends
// at Time[i], one for each bucket; Bounds are the upper bounds of the buckets, and
// the last bucket, one more than bounds, has none.
type Heat struct {
	Bounds []float64 `json:"bounds_seconds"`
	Counts []Values  `json:"counts"`
}

// A CyclesDocument is GC cycles in the order in which they ended.
type CyclesDocument struct {
	Schema  string `json:"schema"`
	Process string `json:"process"`
	From    Time   `json:"from"`
	To      Time   `json:"to"`
	Total   int    `json:"total"`   // within the time
	Thinned bool   `json:"thinned"` // some are left out, those with the longest pauses are not
	// LookedFrom is after From where there are so many cycles that only the latest were looked at.
	LookedFrom Time       `json:"looked_from"`
	Cycles     []CycleRow `json:"cycles"`
}

// A CycleRow is one GC cycle. What the source did not give is null.
type CycleRow struct {
	N                       uint64   `json:"n"`
	End                     Time     `json:"end"`
	PauseSeconds            *float64 `json:"pause_seconds"`
	SweepTerminationSeconds *float64 `json:"sweep_termination_seconds"`
	MarkSeconds             *float64 `json:"mark_seconds"`
	MarkTerminationSeconds  *float64 `json:"mark_termination_seconds"`
	AssistCPUSeconds        *float64 `json:"assist_cpu_seconds"`
	DedicatedCPUSeconds     *float64 `json:"dedicated_cpu_seconds"`
	FractionalCPUSeconds    *float64 `json:"fractional_cpu_seconds"`
	IdleCPUSeconds          *float64 `json:"idle_cpu_seconds"`
	HeapStartBytes          *float64 `json:"heap_start_bytes"`
	HeapEndBytes            *float64 `json:"heap_end_bytes"`
	HeapMarkedBytes         *float64 `json:"heap_marked_bytes"`
	HeapGoalBytes           *float64 `json:"heap_goal_bytes"`
	StackScanBytes          *float64 `json:"stack_scan_bytes"`
	GlobalsScanBytes        *float64 `json:"globals_scan_bytes"`
	Forced                  bool     `json:"forced"`
	Procs                   *float64 `json:"procs"`
}

// A FindingsDocument is findings with when they were there.
type FindingsDocument struct {
	Schema   string    `json:"schema"`
	Episodes []Episode `json:"episodes"` // the latest first
}

// An Episode is a finding from when it was first to when it was last there.
type Episode struct {
	Process  string            `json:"process"`
	ID       string            `json:"id"`
	Severity diagnose.Severity `json:"severity"` // the worst
	Began    Time              `json:"began"`
	Seen     Time              `json:"seen"`
	Ended    Time              `json:"ended"`   // null: it is still there
	Finding  diagnose.Finding  `json:"finding"` // as it was at its worst
	Changes  []SeverityChange  `json:"changes"` // of its severity
	Returns  int               `json:"returns"` // how often it was gone for a few minutes
}

// A SeverityChange is when a finding became more or less severe.
type SeverityChange struct {
	Time     Time              `json:"time"`
	Severity diagnose.Severity `json:"severity"`
}

// An EventsDocument is what happened, in the order of time.
type EventsDocument struct {
	Schema string  `json:"schema"`
	Events []Event `json:"events"`
}

// An Event is something that happened to a process.
type Event struct {
	Process string            `json:"process"`
	Time    Time              `json:"time"`
	Event   record.EventKind  `json:"event"`
	Text    string            `json:"text"`
	Data    map[string]string `json:"data"`
}

// An ExplainDocument is the manual page of a finding.
type ExplainDocument struct {
	Schema string `json:"schema"`
	ID     string `json:"id"`
	Title  string `json:"title"`
	Text   string `json:"text"`
}

// A SnapshotsDocument lists snapshots of goroutines and profiles, oldest first.
type SnapshotsDocument struct {
	Schema    string        `json:"schema"`
	Process   string        `json:"process"`
	Snapshots []SnapshotRow `json:"snapshots"`
}

// A SnapshotRow is one snapshot.
type SnapshotRow struct {
	Key            string   `json:"key"` // sorts by time
	Time           Time     `json:"time"`
	Reason         string   `json:"reason"` // periodic, asked, or what it was taken for
	Bytes          int64    `json:"bytes"`  // on disk
	Goroutines     int      `json:"goroutines"`
	HeapInUseBytes float64  `json:"heap_in_use_bytes"`
	Kinds          []string `json:"kinds"` // goroutines, heap, block, mutex
}

// A SnapshotDocument is the snapshot that was just taken.
type SnapshotDocument struct {
	Schema  string `json:"schema"`
	Process string `json:"process"`
	SnapshotRow
}

// A FlameDocument is a profile as a tree, outermost functions first.
type FlameDocument struct {
	Schema    string  `json:"schema"`
	Process   string  `json:"process"`
	Type      string  `json:"type"`
	Unit      string  `json:"unit"` // bytes, objects, goroutines, seconds
	At        Time    `json:"at"`
	Base      Time    `json:"base"` // null: no moment to compare with
	Total     float64 `json:"total"`
	BaseTotal float64 `json:"base_total"`
	// Truncated says that places are left out of the tree, LeftOut how many; what they
	// hold is in the values of those above them.
	Truncated bool `json:"truncated"`
	LeftOut   int  `json:"left_out"`
	// PeriodBytes is how many allocated bytes one sample stands for, null where the
	// profile is not sampled so.
	PeriodBytes *int64   `json:"period_bytes"`
	Notes       []string `json:"notes"`
	Root        *Node    `json:"root"`
}

// A Node is a function as it was called on one way.
type Node struct {
	Name     string  `json:"name"`
	File     string  `json:"file,omitempty"`
	Line     int     `json:"line,omitempty"`
	Value    float64 `json:"value"` // with all that it calls
	Base     float64 `json:"base"`  // the same at the moment to compare with
	Self     float64 `json:"self"`  // without
	Children []*Node `json:"children,omitempty"`
}

// A GoroutinesDocument is goroutines in groups, the largest first.
type GoroutinesDocument struct {
	Schema    string           `json:"schema"`
	Process   string           `json:"process"`
	At        Time             `json:"at"`
	Base      Time             `json:"base"`
	Total     int              `json:"total"`
	BaseTotal *int             `json:"base_total"` // null: no moment to compare with
	Missing   int              `json:"missing"`    // goroutines that are in no group: there were too many
	LeftOut   int              `json:"left_out"`   // groups that are not listed
	Groups    []GoroutineGroup `json:"groups"`
}

// A GoroutineGroup is goroutines that share state, wait reason, creation site and
// stack.
type GoroutineGroup struct {
	Count          int               `json:"count"`
	Base           int               `json:"base"`
	Growth         int               `json:"growth"` // Count less Base
	Status         string            `json:"status"`
	WaitReason     *string           `json:"wait_reason"`
	WaitMaxSeconds *float64          `json:"wait_max_seconds"`
	CreatedBy      *record.Frame     `json:"created_by"` // null: the main goroutine
	Stack          []record.Frame    `json:"stack"`      // leaf first
	Labels         map[string]string `json:"labels"`
	System         bool              `json:"system"` // the runtime's own
}

// An ExperimentsDocument lists results of experiments, the latest first.
type ExperimentsDocument struct {
	Schema      string          `json:"schema"`
	Experiments []ExperimentRow `json:"experiments"`
}

// An ExperimentRow is the result of one experiment.
type ExperimentRow struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Verdict  *string  `json:"verdict"` // PASS, FAIL, INCONCLUSIVE
	Time     Time     `json:"time"`    // it ended, or began
	Running  bool     `json:"running"` // it has no end: it runs, or was cut off
	Variants []string `json:"variants"`
	Blocks   int      `json:"blocks"`
	Pairs    *int     `json:"pairs"`
	Goal     *string  `json:"goal"` // the metric that it is about
	// GoalRatio is what became of it, of the first variant to the baseline.
	GoalRatio *float64 `json:"goal_ratio"`
	File      string   `json:"file"`
	Bytes     int64    `json:"bytes"`
	Error     *string  `json:"error"` // why it cannot be read
}

// An OOMsDocument lists post-mortems, the latest first.
type OOMsDocument struct {
	Schema      string   `json:"schema"`
	Enabled     bool     `json:"enabled"` // the black box runs
	Watched     int      `json:"watched"` // processes
	Captures    uint64   `json:"captures_total"`
	Problem     *string  `json:"problem"` // why less is known than could be: of the kernel's log
	Postmortems []OOMRow `json:"postmortems"`
	LeftOut     int      `json:"left_out"` // older ones that are not listed
}

// An OOMRow is the post-mortem of one kill.
type OOMRow struct {
	ID         string  `json:"id"`
	Time       Time    `json:"time"`
	Name       string  `json:"name"`
	PID        int     `json:"pid"`
	Bytes      int64   `json:"bytes"`  // of the file
	Memory     *string `json:"memory"` // the verdict; null when it was not yet read
	Title      *string `json:"title"`
	Confidence *string `json:"confidence"`
	Site       *string `json:"site"`
	LimitBytes *int64  `json:"limit_bytes"`
	Error      *string `json:"error"` // why it cannot be read
}

// An AlertsDocument is what is wrong now, and by which rules.
type AlertsDocument struct {
	Schema string        `json:"schema"`
	Active []alert.Alert `json:"active"` // the most severe first
	Rules  []AlertRule   `json:"rules"`
}

// An AlertRule says when there is an alert, and when no longer.
type AlertRule struct {
	Name            string             `json:"name"`
	Severity        diagnose.Severity  `json:"severity"`
	Process         string             `json:"process"` // pattern of ids
	Signal          alert.Signal       `json:"signal"`
	Above           *float64           `json:"above"`
	Below           *float64           `json:"below"`
	ForSeconds      float64            `json:"for_seconds"`
	ClearAbove      *float64           `json:"clear_above"`
	ClearBelow      *float64           `json:"clear_below"`
	ClearForSeconds float64            `json:"clear_for_seconds"`
	With            []alert.Condition  `json:"with"`
	Level           *diagnose.Severity `json:"level"`
	Remedy          *string            `json:"remedy"`
}

// A StatusDocument is how the agent itself is. What it does not have is null.
type StatusDocument struct {
	Schema  string         `json:"schema"`
	Now     Time           `json:"now"`
	Version string         `json:"version"`
	Agent   AgentStatus    `json:"agent"`
	Store   *StoreStatus   `json:"store"` // the embedded one
	Vault   *VaultStatus   `json:"vault"`
	History *history.Stats `json:"history"`
	Forward []ForwardState `json:"forward"`
	Alerts  []TellState    `json:"alerts"`

	Discovery Found `json:"discovery"`
}

// An AgentStatus is what the agent does, and what that costs.
type AgentStatus struct {
	Started          Time     `json:"started"`
	UptimeSeconds    float64  `json:"uptime_seconds"`
	CPUCores         *float64 `json:"cpu_cores"` // over the last minute, as it sees itself
	RSSBytes         *uint64  `json:"rss_bytes"`
	HeapLiveBytes    *uint64  `json:"heap_live_bytes"`
	HeapGoalBytes    *uint64  `json:"heap_goal_bytes"`
	Goroutines       *int64   `json:"goroutines"`
	GOGCPercent      *int64   `json:"gogc_percent"`
	GOMEMLIMITBytes  *int64   `json:"gomemlimit_bytes"`
	ID               *string  `json:"id"` // under which it watches itself
	SamplesPerSecond float64  `json:"samples_per_second"`
	Samples          uint64   `json:"samples"`
	Points           uint64   `json:"points"` // that were stored
	DroppedPoints    uint64   `json:"dropped_points"`
	LostCycles       uint64   `json:"lost_cycles"` // GC cycles that ended unseen
	LateRounds       uint64   `json:"late_rounds"` // for which some process was not read in time
	LastProblem      *string  `json:"last_problem"`
	ProblemAt        Time     `json:"problem_at"`
}

// A Found is what discovery came to.
type Found struct {
	At       Time `json:"at"` // it last looked; null: not yet
	Watched  int  `json:"watched"`
	Unread   int  `json:"unread"`   // watched, and cannot be read now
	Unseen   int  `json:"unseen"`   // may be Go, and cannot be looked into
	Filtered int  `json:"filtered"` // left out by patterns, or for being young
	TooMany  int  `json:"too_many"` // left out, for there are more than are watched
}

// A StoreStatus is how the embedded store is.
type StoreStatus struct {
	Series      int          `json:"series"`
	Blocks      int          `json:"blocks"`
	Bytes       int64        `json:"bytes"`
	BlocksBytes int64        `json:"blocks_bytes"`
	WALBytes    int64        `json:"wal_bytes"`
	HeadBytes   int64        `json:"head_bytes"`
	FreeBytes   *int64       `json:"free_bytes"` // of its file system
	Appended    int64        `json:"appended"`
	Dropped     StoreDropped `json:"dropped"`
	Repairs     int64        `json:"repairs"`
	Oldest      Time         `json:"oldest"`
	Newest      Time         `json:"newest"`
}

// A StoreDropped is how many samples were not stored.
type StoreDropped struct {
	Duplicate int64 `json:"duplicate"`
	TooOld    int64 `json:"too_old"`
	Failed    int64 `json:"failed"`
}

// A VaultStatus is how many snapshots there are.
type VaultStatus struct {
	vault.Stats
	Oldest Time `json:"oldest"`
	Newest Time `json:"newest"`
}

// A ForwardState is how far what is stored was sent to somewhere else.
type ForwardState struct {
	Name          string  `json:"name"`
	Kind          string  `json:"kind"` // remote_write, otlp, pyroscope
	URL           string  `json:"url"`
	SentTotal     int64   `json:"sent_total"`
	FailedTotal   int64   `json:"failed_total"` // requests
	DroppedTotal  int64   `json:"dropped_total"`
	BytesTotal    int64   `json:"bytes_total"`
	RequestsTotal int64   `json:"requests_total"`
	BehindSeconds float64 `json:"behind_seconds"`
	Until         Time    `json:"until"` // everything before was taken
	LastError     *string `json:"last_error"`
	ErrorAt       Time    `json:"error_at"`
	Since         Time    `json:"since"` // it fails; null: it does not
}

// A TellState is how telling somebody of alerts goes.
type TellState struct {
	Name         string  `json:"name"`
	Kind         string  `json:"kind"` // stdout, webhook, alertmanager
	SentTotal    uint64  `json:"sent_total"`
	FailedTotal  uint64  `json:"failed_total"`  // tries
	DroppedTotal uint64  `json:"dropped_total"` // alerts that nobody will be told of
	Queued       int     `json:"queued"`
	LastError    *string `json:"last_error"` // of the last try; null: it went well
	Since        Time    `json:"since"`      // it goes as it does; null: nobody was told yet
}

// A ChangeDocument is what was written into a process, or would be.
type ChangeDocument struct {
	Schema  string `json:"schema"`
	Process string `json:"process"`
	Outcome
}

// An ErrorDocument is what a request that failed is answered with.
type ErrorDocument struct {
	Schema string  `json:"schema"`
	Error  string  `json:"error"`
	Hint   *string `json:"hint"`
}
