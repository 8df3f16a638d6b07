package chaos

import (
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// PlanSchema is the schema field of the files that hold plans.
const PlanSchema = "heapwright.stress/1"

// A Plan is what is to happen to a target, and what has to hold meanwhile. The keys of
// its YAML file are the yaml names here; docs/formats/stress.md says what each means.
type Plan struct {
	Schema     string           `yaml:"schema" json:"schema"`
	Name       string           `yaml:"name" json:"name"`
	Target     Target           `yaml:"target" json:"target"`
	Load       *experiment.Load `yaml:"load,omitempty" json:"load,omitempty"` // nil: what it is asked anyway
	Hypothesis []Criterion      `yaml:"hypothesis" json:"hypothesis"`
	Faults     []Fault          `yaml:"faults" json:"faults"` // one after the other, in this order
	Abort      []Criterion      `yaml:"abort" json:"abort"`   // bounds that end everything when they are broken
	Recovery   Recovery         `yaml:"recovery" json:"recovery"`
	Caps       Caps             `yaml:"caps" json:"caps"`
	Before     time.Duration    `yaml:"before" json:"before_ns"`   // how long the hypothesis is looked at before the first fault
	Between    time.Duration    `yaml:"between" json:"between_ns"` // at least, between two faults; recovery comes first
	Seed       uint64           `yaml:"seed" json:"seed"`
	// Idle are faults that are left out of this run. The target is given the addresses of
	// their proxies all the same.
	Idle []Fault `yaml:"-" json:"idle,omitempty"`
}

// Opens are the faults that open a proxy, also those that are left out.
func (p *Plan) Opens() []Fault {
	var out []Fault
	for _, f := range append(p.Faults[:len(p.Faults):len(p.Faults)], p.Idle...) {
		if info, _ := f.Kind.Info(); info.Proxy && f.Proxy == "" {
			out = append(out, f)
		}
	}
	return out
}

// A Target is the process: exactly one of Start, PID, Name and Container, but that a Name
// may choose among the processes of a Container. In texts of a
// target that is started, {port} to {port8} and {dir} are its own, as in experiments,
// and {proxy.NAME} is the address of the proxy of the fault NAME.
type Target struct {
	Start       *experiment.Subject `yaml:"start,omitempty" json:"start,omitempty"`
	PID         int                 `yaml:"pid,omitempty" json:"pid,omitempty"`
	Name        string              `yaml:"name,omitempty" json:"name,omitempty"`                       // of an executable or module; there must be one
	Container   string              `yaml:"container,omitempty" json:"container,omitempty"`             // its name, its ID, or how that begins
	MemoryLimit experiment.Bytes    `yaml:"memory_limit,omitempty" json:"memory_limit_bytes,omitempty"` // of the cgroup of one that is started
	CPUQuota    float64             `yaml:"cpu_quota,omitempty" json:"cpu_quota_cores,omitempty"`
	GOGC        string              `yaml:"gogc,omitempty" json:"gogc,omitempty"`
	GOMEMLIMIT  string              `yaml:"gomemlimit,omitempty" json:"gomemlimit,omitempty"`
	Ready       string              `yaml:"ready,omitempty" json:"ready,omitempty"` // a URL that answers 200 while it is ready
	Debug       string              `yaml:"debug,omitempty" json:"debug,omitempty"` // the URL of its debugz page: guard's state, fault hooks
}

// A Fault is something that happens to the target for a while.
type Fault struct {
	Name string `yaml:"name" json:"name"` // unique; its kind where it has none
	Kind Kind   `yaml:"kind" json:"kind"`
	// Level is where the ramp ends, in the unit of the kind.
	Level Level `yaml:"level" json:"level"`
	// From is where it begins; nothing by default.
	From Level `yaml:"from,omitempty" json:"from,omitzero"`
	// Ramp is how long it takes from From to Level, in so many Steps; 0 steps is a slope.
	Ramp  time.Duration `yaml:"ramp" json:"ramp_ns"`
	Steps int           `yaml:"steps,omitempty" json:"steps,omitempty"`
	Hold  time.Duration `yaml:"hold" json:"hold_ns"`
	// Until makes the ramp a closed loop: the level is led, never beyond Level, so that
	// the metric comes to the value and stays there.
	Until *Goal `yaml:"until,omitempty" json:"until,omitempty"`

	// What some kinds need beside; see Kinds.
	Size        experiment.Bytes `yaml:"size,omitempty" json:"size_bytes,omitempty"`         // of one object or stack
	Every       time.Duration    `yaml:"every,omitempty" json:"every_ns,omitempty"`          // between two forced collections, or two cuts
	Count       int              `yaml:"count,omitempty" json:"count,omitempty"`             // of forced collections: it is over after so many
	Proxy       string           `yaml:"proxy,omitempty" json:"proxy,omitempty"`             // proxy: that of the fault of this name is used; "" opens one
	Direction   string           `yaml:"direction,omitempty" json:"direction,omitempty"`     // hole: one of Both, To and From
	End         string           `yaml:"end,omitempty" json:"end,omitempty"`                 // hole: Keep or Reset
	Listen      string           `yaml:"listen,omitempty" json:"listen,omitempty"`           // proxy: where it listens; 127.0.0.1:0 by default
	Upstream    string           `yaml:"upstream,omitempty" json:"upstream,omitempty"`       // proxy: the dependency's address
	Cut         experiment.Ratio `yaml:"cut,omitempty" json:"cut_ratio,omitempty"`           // proxy: share of the connections that are cut
	Address     string           `yaml:"address,omitempty" json:"address,omitempty"`         // connections: what is connected to
	Send        string           `yaml:"send,omitempty" json:"send,omitempty"`               // connections: what each sends first
	Expect      *Expectation     `yaml:"expect,omitempty" json:"expect,omitempty"`           // what is to happen, where that is not survival
	Diagnosis   []string         `yaml:"diagnosis,omitempty" json:"diagnosis,omitempty"`     // findings that name it; those of its kind by default
	AllowKill   bool             `yaml:"allow_kill,omitempty" json:"allow_kill,omitempty"`   // it may be that the kernel kills the target
	DirtyFiles  bool             `yaml:"dirty,omitempty" json:"dirty,omitempty"`             // pagecache: written, not only read
	Concurrency int              `yaml:"concurrency,omitempty" json:"concurrency,omitempty"` // of what is made at once; a small number by default
}

// What passes no hole, as seen from the target, and what becomes of the connections in
// it when it ends.
const (
	Both = "both"
	To   = "to"   // what the target sends to the dependency
	From = "from" // what the dependency answers

	Keep  = "keep"  // what waited passes
	Reset = "reset" // they are reset
)

// An Expectation is what a fault is to do, where the hypothesis is that it does: an
// OOM kill can be what is expected.
type Expectation struct {
	OOMKill bool `yaml:"oom_kill,omitempty" json:"oom_kill,omitempty"`
	Degrade bool `yaml:"degrade,omitempty" json:"degrade,omitempty"` // the guard has to leave healthy
}

// A Level is how much of a fault there is: an amount in the unit of its kind, or a
// share of what the kind's shares are of. In YAML it is 128MiB, 400MiB/s, 5000, 250ms,
// 0.5 cores or 50%, as the kind has it.
type Level struct {
	Value float64 `json:"value"`
	Share bool    `json:"share,omitempty"`
}

// IsZero reports whether it is nothing.
func (l Level) IsZero() bool { return l == Level{} }

// A Goal is where a closed loop leads a metric.
type Goal struct {
	Metric  Metric  `yaml:"metric" json:"metric"`
	Reaches float64 `yaml:"reaches" json:"reaches"` // in the metric's unit
	// Slope is the most that the level may change in a second, in the unit of the kind;
	// 0 is Level over Ramp.
	Slope float64 `yaml:"slope,omitempty" json:"slope_per_second,omitempty"`
}

// A Criterion is a bound on a metric. Of the hypothesis, AtMost and AtLeast are what
// holds before and after, Tolerated what holds while there is a fault: the normal bound
// where it is nil.
type Criterion struct {
	Metric    Metric   `yaml:"metric" json:"metric"`
	AtMost    *float64 `yaml:"at_most,omitempty" json:"at_most,omitempty"`
	AtLeast   *float64 `yaml:"at_least,omitempty" json:"at_least,omitempty"`
	Tolerated *float64 `yaml:"tolerated,omitempty" json:"tolerated,omitempty"`
	// OfBaseline makes the bounds factors of what the metric was before the first fault.
	OfBaseline bool `yaml:"of_baseline,omitempty" json:"of_baseline,omitempty"`
	// For is how long it has to be broken without a break to count; 0 is at once.
	For time.Duration `yaml:"for,omitempty" json:"for_ns,omitempty"`
	// Except are kinds of faults during which it is not looked at.
	Except []Kind `yaml:"except,omitempty" json:"except,omitempty"`
}

// A Recovery says when the target is as it was. Zero fields are the defaults of package
// planfile.
type Recovery struct {
	Within     time.Duration    `yaml:"within" json:"within_ns"`              // 60s: for everything but the working set
	Stable     time.Duration    `yaml:"stable" json:"stable_ns"`              // 10s: how long it has to be so
	LiveHeap   experiment.Ratio `yaml:"live_heap" json:"live_heap_ratio"`     // 5% above what it was, for three cycles
	WorkingSet experiment.Ratio `yaml:"working_set" json:"working_set_ratio"` // 10% above
	Memory     time.Duration    `yaml:"memory" json:"memory_ns"`              // 5m: for the working set, which the scavenger gives back slowly
	Goroutines experiment.Ratio `yaml:"goroutines" json:"goroutines_ratio"`   // 2% above, or 10
	Latency    experiment.Ratio `yaml:"latency" json:"latency_ratio"`         // 50% above
	Watch      time.Duration    `yaml:"watch" json:"watch_ns"`                // 0: how long after it is looked for growth that was not there before
}

// Caps bound what a plan may take of the machine.
type Caps struct {
	Memory   experiment.Bytes `yaml:"memory,omitempty" json:"memory_bytes,omitempty"` // that faults may take at once; a quarter of what is free by default
	HostFree experiment.Ratio `yaml:"host_free" json:"host_free_ratio"`               // 10%: of the machine's memory, which stays free
}
