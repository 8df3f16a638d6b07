package memlimit

import (
	"math"
	"time"

	"github.com/heapwright/heapwright/memlimit/control"
)

// A Mode says what a [Limit] is doing.
type Mode string

// The modes.
const (
	// ModeSet: GOMEMLIMIT is what the limit leaves.
	ModeSet Mode = "set"
	// ModeTooSmall: what lives does not fit under the limit. GOMEMLIMIT is what the
	// kernel leaves, and the collector takes up to half of the CPUs.
	ModeTooSmall Mode = "too_small"
	// ModeLeak: the live heap only grows; the controller gives it no more.
	ModeLeak Mode = "leak"
	// ModeDryRun: nothing is set, and WouldSet says what would be.
	ModeDryRun Mode = "dry_run"
	// ModeOperator: GOMEMLIMIT was set before Start, in the environment or by the
	// program, and is kept.
	ModeOperator Mode = "operator"
	// ModeNoLimit: there is no memory limit; nothing is set.
	ModeNoLimit Mode = "no_limit"
	// ModeOverride: an [Limit.Override] is in force.
	ModeOverride Mode = "override"
	// ModeStoodDown: somebody else changed the settings while we ran; they are left
	// alone until [Limit.Enable].
	ModeStoodDown Mode = "stood_down"
	// ModeOff: turned off, by [Limit.Disable] or by the environment. The settings
	// are those from before Start.
	ModeOff Mode = "off"
	// ModeClosed: after [Limit.Close].
	ModeClosed Mode = "closed"
)

// A Source says where the memory limit is from.
type Source string

// The sources, in the order in which they are asked.
const (
	SourceConfig      Source = "config"      // Config.Bytes
	SourceFile        Source = "file"        // Config.File
	SourceEnvironment Source = "environment" // HEAPWRIGHT_MEMORY_LIMIT
	SourceCgroup      Source = "cgroup"      // memory.max, or v1's memory.limit_in_bytes
	SourceCgroupHigh  Source = "cgroup_high" // memory.high, where it is lower
	SourceNone        Source = "none"        // there is no limit
)

// A Look is one place where a limit was looked for, and what came of it.
type Look struct {
	Source Source `json:"source"`
	Where  string `json:"where,omitempty"` // a file, a directory of a cgroup, a variable
	Found  string `json:"found"`           // what was there: a number, "max", "not set"
	Taken  bool   `json:"taken"`
	Why    string `json:"why,omitempty"` // why it was not taken
}

// A Report is what a [Limit] found, set, and why. Bytes, unless a name says
// otherwise.
type Report struct {
	Time   time.Time `json:"time"` // of the last look
	Mode   Mode      `json:"mode"`
	Reason string    `json:"reason"` // of the mode, or of the last change

	Source       Source `json:"source"`
	Path         string `json:"path,omitempty"`  // of the file or cgroup that has the limit
	LimitBytes   uint64 `json:"limit_bytes"`     // 0: none
	HostBytes    uint64 `json:"host_bytes"`      // the host's memory; 0: not known
	Looks        []Look `json:"looks,omitempty"` // where the limit was looked for
	UsedBytes    uint64 `json:"used_bytes"`      // what counts against the limit and cannot be reclaimed; 0: not known
	GoBytes      uint64 `json:"go_bytes"`        // what the Go runtime holds of that
	LiveBytes    uint64 `json:"live_bytes"`      // heap found alive by the last collection
	NonGoBytes   uint64 `json:"non_go_bytes"`    // subtracted for memory that is not Go's
	Measured     bool   `json:"non_go_measured"` // false: NonGoBytes is a share of the limit
	NonGoWhy     string `json:"non_go_why"`      // where NonGoBytes is from
	ReserveBytes uint64 `json:"reserve_bytes"`   // left free beside that
	ReserveWhy   string `json:"reserve_why"`     // what decided its size

	GOMEMLIMIT         int64 `json:"gomemlimit_bytes"`                     // as it is set now; math.MaxInt64 is none
	GOGC               int   `json:"gogc_percent"`                         // as it is set now; -1 is off
	WouldSet           int64 `json:"would_set_gomemlimit_bytes,omitempty"` // what the limit leaves, where it is not set; 0: it is, or is not known
	WouldSetGOGC       int   `json:"would_set_gogc_percent,omitempty"`
	PreviousGOMEMLIMIT int64 `json:"previous_gomemlimit_bytes"` // before Start
	PreviousGOGC       int   `json:"previous_gogc_percent"`

	Override *Lease    `json:"override,omitempty"`
	Control  *Decision `json:"control,omitempty"` // the controller's last; nil without a controller

	Refreshes uint64 `json:"refreshes"`       // looks taken
	Changes   uint64 `json:"changes"`         // settings changed
	Dropped   uint64 `json:"dropped"`         // log lines and callbacks left out, since earlier ones had not ended
	Failures  uint64 `json:"failures"`        // panics caught, in callbacks too, and looks that failed
	Error     string `json:"error,omitempty"` // of the last look that failed, until one succeeds
}

// A Lease is an override in force.
type Lease struct {
	Who        string    `json:"who"`
	Until      time.Time `json:"until"`
	GOGC       int       `json:"gogc_percent,omitempty"`     // 0: not overridden
	GOMEMLIMIT int64     `json:"gomemlimit_bytes,omitempty"` // 0: not overridden
}

// A Decision is a control.Action in a form that JSON has.
type Decision struct {
	Mode       control.Mode `json:"mode"`
	Reason     string       `json:"reason,omitempty"`
	GOGC       int          `json:"gogc_percent"`
	GOMEMLIMIT int64        `json:"gomemlimit_bytes"`
	// RunwayBytes is what may be allocated from one collection to the next.
	RunwayBytes int64 `json:"runway_bytes"`
	// GCCPURatio is the share of the CPUs that collections are expected to take; nil
	// where that is not known.
	GCCPURatio *float64 `json:"gc_cpu_ratio,omitempty"`
}

func decision(a control.Action) *Decision {
	d := &Decision{Mode: a.Mode, Reason: a.Reason, GOGC: a.GOGC, GOMEMLIMIT: a.GOMEMLIMIT, RunwayBytes: a.RunwayBytes}
	if !math.IsNaN(a.GCCPURatio) && !math.IsInf(a.GCCPURatio, 0) {
		d.GCCPURatio = &a.GCCPURatio
	}
	return d
}
