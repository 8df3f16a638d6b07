package experiment

import (
	"strconv"
	"strings"
	"time"
)

// PlanSchema is the schema field of the files that hold plans.
const PlanSchema = "heapwright.experiment/1"

// A Plan is an experiment, written down before it is run. The keys of its YAML
// file are the yaml names here; docs/formats/experiment.md says what each means.
type Plan struct {
	Schema   string    `yaml:"schema" json:"schema"`
	Name     string    `yaml:"name" json:"name"`
	Subject  Subject   `yaml:"subject" json:"subject"`
	Variants []Variant `yaml:"variants" json:"variants"` // the first is the baseline, which the others are compared with
	Load     Load      `yaml:"load" json:"load"`
	Goal     *Goal     `yaml:"goal,omitempty" json:"goal,omitempty"`
	Guards   []Guard   `yaml:"guards,omitempty" json:"guards,omitempty"`
	Design   Design    `yaml:"design" json:"design"`
	Budget   Budget    `yaml:"budget" json:"budget"`
	Seed     uint64    `yaml:"seed" json:"seed"`
}

// A Subject is the program under test: exactly one of Command, Package, Source
// and Git says where it comes from. In Args, Env, Files, Ready and the load,
// {port} is a free TCP port of this process ({port2} to {port8} are more), {dir} its
// own empty directory, {variant} the variant's name.
type Subject struct {
	Command []string          `yaml:"command,omitempty" json:"command,omitempty"` // an executable as it is, and its first arguments
	Package string            `yaml:"package,omitempty" json:"package,omitempty"` // a main package at a version: example.com/cmd/x@v1.2.3
	Source  string            `yaml:"source,omitempty" json:"source,omitempty"`   // the directory of a main package, relative to the plan
	Git     *Git              `yaml:"git,omitempty" json:"git,omitempty"`         // a main package in a repository; variants name revisions
	Args    []string          `yaml:"args,omitempty" json:"args,omitempty"`
	Env     map[string]string `yaml:"env,omitempty" json:"env,omitempty"`
	Files   map[string]string `yaml:"files,omitempty" json:"files,omitempty"` // written into {dir} before the start: name to content
	Ready   Ready             `yaml:"ready" json:"ready"`
	Stop    Stop              `yaml:"stop" json:"stop"`
}

// A Git names a main package of a repository.
type Git struct {
	Repository string `yaml:"repository" json:"repository"` // directory, relative to the plan
	Package    string `yaml:"package" json:"package"`       // ./cmd/server
	Revision   string `yaml:"revision,omitempty" json:"revision,omitempty"`
}

// Ready says when a started process may be loaded: a GET of HTTP that answers
// 200, or a connection to TCP. At most one is set; none is TCP to {port}.
type Ready struct {
	HTTP   string        `yaml:"http,omitempty" json:"http,omitempty"`
	TCP    string        `yaml:"tcp,omitempty" json:"tcp,omitempty"`
	Within time.Duration `yaml:"within" json:"within_ns"` // 20s
}

// Stop says how a process is ended; SIGKILL follows when it does not.
type Stop struct {
	Signal string        `yaml:"signal" json:"signal"` // SIGTERM
	Within time.Duration `yaml:"within" json:"within_ns"`
}

// A Variant is what differs. Zero fields are the subject's own.
type Variant struct {
	Name         string            `yaml:"name" json:"name"`
	GOGC         string            `yaml:"gogc,omitempty" json:"gogc,omitempty"`                       // a number, or off
	GOMEMLIMIT   string            `yaml:"gomemlimit,omitempty" json:"gomemlimit,omitempty"`           // as Go reads it: 512MiB
	GOMAXPROCS   int               `yaml:"gomaxprocs,omitempty" json:"gomaxprocs,omitempty"`           //
	GODEBUG      string            `yaml:"godebug,omitempty" json:"godebug,omitempty"`                 //
	Env          map[string]string `yaml:"env,omitempty" json:"env,omitempty"`                         // over the subject's
	Args         []string          `yaml:"args,omitempty" json:"args,omitempty"`                       // after the subject's
	Toolchain    string            `yaml:"toolchain,omitempty" json:"toolchain,omitempty"`             // go1.27.4; fetched when it is not there
	GOEXPERIMENT string            `yaml:"goexperiment,omitempty" json:"goexperiment,omitempty"`       //
	BuildFlags   []string          `yaml:"build_flags,omitempty" json:"build_flags,omitempty"`         // of go build
	Tags         []string          `yaml:"tags,omitempty" json:"tags,omitempty"`                       //
	PGO          string            `yaml:"pgo,omitempty" json:"pgo,omitempty"`                         // a CPU profile, relative to the plan
	Revision     string            `yaml:"revision,omitempty" json:"revision,omitempty"`               // of a git subject
	Version      string            `yaml:"version,omitempty" json:"version,omitempty"`                 // of a package subject
	MemoryLimit  Bytes             `yaml:"memory_limit,omitempty" json:"memory_limit_bytes,omitempty"` // of a cgroup of its own
	CPUQuota     float64           `yaml:"cpu_quota,omitempty" json:"cpu_quota_cores,omitempty"`       // cores, of a cgroup of its own
}

// Bytes is a size. In YAML it is a number, or a number with B, KiB, MiB, GiB or TiB.
type Bytes uint64

// A Ratio is a relative size. In YAML it is 0.1, or 10%.
type Ratio float64

// Percent has no more digits than a person wrote: 29%, where 100 times 0.29 is less.
func (r Ratio) Percent() string {
	s := strconv.FormatFloat(100*float64(r), 'f', 12, 64)
	return strings.TrimRight(strings.TrimRight(s, "0"), ".") + "%"
}

// MarshalYAML writes the percentage: a number above 1 is not read.
func (r Ratio) MarshalYAML() (any, error) { return r.Percent(), nil }

// A Load is what the subject serves while it is measured: exactly one of HTTP,
// GRPC and Command. Requests are sent when they are due, whether or not the
// earlier ones were answered (open loop), and latency counts from when they were due.
type Load struct {
	HTTP        *HTTPLoad     `yaml:"http,omitempty" json:"http,omitempty"`
	GRPC        *GRPCLoad     `yaml:"grpc,omitempty" json:"grpc,omitempty"`
	Command     []string      `yaml:"command,omitempty" json:"command,omitempty"`   // a generator of one's own; docs/formats/load.md
	Rate        Rate          `yaml:"rate" json:"rate"`                             // of one process
	KneeShare   Ratio         `yaml:"knee_share,omitempty" json:"knee_share_ratio"` // the rate, when it is to be found: 0.6
	Arrivals    string        `yaml:"arrivals" json:"arrivals"`                     // poisson, constant
	Connections int           `yaml:"connections" json:"connections"`
	Timeout     time.Duration `yaml:"timeout" json:"timeout_ns"`
}

// Arrivals.
const (
	Poisson  = "poisson"
	Constant = "constant"
)

// A Rate is requests a second; 0 is "knee" in YAML: a share of the highest rate
// that every variant can serve, which is looked for first.
type Rate float64

// HTTPLoad is a mix of HTTP requests.
type HTTPLoad struct {
	Protocol string        `yaml:"protocol" json:"protocol"` // http1, http2 (without TLS: prior knowledge)
	Requests []HTTPRequest `yaml:"requests" json:"requests"`
}

// An HTTPRequest is one kind of request. {seq} in URL and Body is a number that
// grows, of 12 digits.
type HTTPRequest struct {
	Method string            `yaml:"method" json:"method"` // GET
	URL    string            `yaml:"url" json:"url"`
	Header map[string]string `yaml:"header,omitempty" json:"header,omitempty"`
	Body   string            `yaml:"body,omitempty" json:"body,omitempty"`
	Weight float64           `yaml:"weight" json:"weight"` // 1
	Expect int               `yaml:"expect" json:"expect"` // status; 200
}

// GRPCLoad is one unary method. The message is JSON, for servers with
// reflection, or the bytes of the message in base64 ({seq_______} in them, of 12
// bytes, becomes the number, so that lengths hold).
type GRPCLoad struct {
	Address string `yaml:"address" json:"address"`
	Method  string `yaml:"method" json:"method"` // /package.Service/Method
	JSON    string `yaml:"json,omitempty" json:"json,omitempty"`
	Bytes   string `yaml:"bytes,omitempty" json:"bytes,omitempty"`
}

// A Goal is the metric that a variant is to improve. Without one, variants need
// only do no harm.
type Goal struct {
	Metric string `yaml:"metric" json:"metric"`
	Margin Ratio  `yaml:"margin" json:"margin_ratio"` // how far is still the same, for REGRESSED and EQUIVALENT
}

// A Guard is a metric that must not get worse by more than the margin.
type Guard struct {
	Metric string `yaml:"metric" json:"metric"`
	Margin Ratio  `yaml:"margin" json:"margin_ratio"`
}

// A Design says how blocks are arranged.
type Design struct {
	Kind        string        `yaml:"kind" json:"kind"`               // auto, switchback, duet, both
	Calibration int           `yaml:"calibration" json:"calibration"` // pairs of the baseline with itself, first; 12; 0 is none
	Looks       []int         `yaml:"looks" json:"looks"`             // pairs at which the verdict may be reached: 10, 16, 24, 32, 40
	Warmup      time.Duration `yaml:"warmup" json:"warmup_ns"`        // at least; it lasts until the heap goal is stable
	Measure     time.Duration `yaml:"measure" json:"measure_ns"`      // of one block
}

// Kinds of Design. Auto is duet for metrics of latency, switchback for all
// others, both when the plan needs both.
const (
	Auto       = "auto"
	Switchback = "switchback"
	Duet       = "duet"
	Both       = "both"
)

// A Budget ends an experiment that has not come to a verdict.
type Budget struct {
	Time time.Duration `yaml:"time" json:"time_ns"`
}

// Baseline is the variant that the others are compared with.
func (p *Plan) Baseline() Variant { return p.Variants[0] }

// Margin is how far from 1 a ratio of the metric may be and still count as the
// same; ok is false for a metric that is neither the goal nor a guard.
func (p *Plan) Margin(metric string) (m Ratio, ok bool) {
	if p.Goal != nil && p.Goal.Metric == metric {
		return p.Goal.Margin, true
	}
	for _, g := range p.Guards {
		if g.Metric == metric {
			return g.Margin, true
		}
	}
	return 0, false
}

// Role is what the plan has the metric for.
func (p *Plan) Role(metric string) Role {
	if p.Goal != nil && p.Goal.Metric == metric {
		return RoleGoal
	}
	if _, ok := p.Margin(metric); ok {
		return RoleGuard
	}
	return RoleExploratory
}

// A Role is what a plan has a metric for.
type Role string

// Roles.
const (
	RoleGoal        Role = "goal"
	RoleGuard       Role = "guard"
	RoleExploratory Role = "exploratory"
)
