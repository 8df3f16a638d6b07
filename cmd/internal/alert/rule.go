package alert

import (
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
)

// A Signal is what a rule looks at.
type Signal string

// The signals.
const (
	HeadroomRatio        Signal = "headroom_ratio"         // of the memory limit, left beside what the process needs
	HeadroomBytes        Signal = "headroom_bytes"         // the same in bytes
	GCCPURatio           Signal = "gc_cpu_ratio"           // GC's share of the process's CPU time
	AssistRatio          Signal = "assist_ratio"           // mark assists' share of it
	CyclesPerSecond      Signal = "gc_cycles_per_second"   // GC cycles
	AllocBytesPerSecond  Signal = "alloc_bytes_per_second" // allocated on the heap
	CPUCores             Signal = "cpu_cores"              // CPU-seconds per second
	RSSBytes             Signal = "rss_bytes"              // resident memory
	Goroutines           Signal = "goroutines"             // of the program
	GoroutineGrowthRatio Signal = "goroutine_growth_ratio" // goroutines now over those some minutes ago, less one
	AgeSeconds           Signal = "age_seconds"            // since the process started
	OOMKills             Signal = "oom_kills"              // counted by the kernel; a rule fires when it rises
	TimeToLimitSeconds   Signal = "time_to_limit_seconds"  // until memory is forecast to reach its limit
	Finding              Signal = "finding"                // the diagnosis has a finding of at least a level
	ProcessGone          Signal = "process_gone"           // the process ended and did not come back
)

// units are those of the signals that have a value.
var units = map[Signal]func(name string, v float64, source string) diagnose.Evidence{
	HeadroomRatio: rule.Ratio, HeadroomBytes: rule.Bytes, GCCPURatio: rule.Ratio, AssistRatio: rule.Ratio,
	CyclesPerSecond: rule.PerSecond, AllocBytesPerSecond: rule.ByteRate, CPUCores: rule.Cores, RSSBytes: rule.Bytes,
	Goroutines: rule.Count, GoroutineGrowthRatio: rule.Ratio, OOMKills: rule.Count, TimeToLimitSeconds: rule.Seconds, AgeSeconds: rule.Seconds,
}

// A Rule says when there is an alert, and when no longer. Between the threshold at which
// it fires and the one at which it clears nothing changes, so that a value that swings
// around either does not make an alert each time.
type Rule struct {
	Name     string            `yaml:"name" json:"name"`
	Severity diagnose.Severity `yaml:"severity" json:"severity"` // of a finding's alert: the finding's own
	Process  string            `yaml:"process" json:"process"`   // pattern of IDs, with * and ?; "" for all
	Signal   Signal            `yaml:"signal" json:"signal"`

	// One of them: the alert fires when the value was above, or below, all the time for so long.
	Above *float64      `yaml:"above" json:"above,omitempty"`
	Below *float64      `yaml:"below" json:"below,omitempty"`
	For   time.Duration `yaml:"for" json:"for_ns"`
	// And clears when it was below, or above, this all the time for so long. Without a
	// threshold it is a tenth away from the one above.
	ClearAbove *float64      `yaml:"clear_above" json:"clear_above,omitempty"`
	ClearBelow *float64      `yaml:"clear_below" json:"clear_below,omitempty"`
	ClearFor   time.Duration `yaml:"clear_for" json:"clear_for_ns"`

	With  []Condition        `yaml:"with" json:"with,omitempty"`   // that have to hold too for it to fire
	Level *diagnose.Severity `yaml:"level" json:"level,omitempty"` // of findings: the lowest; warning

	Remedy   string `yaml:"remedy" json:"remedy,omitempty"`     // what to do, for who gets the alert
	Disabled bool   `yaml:"disabled" json:"disabled,omitempty"` // to turn off one of the defaults
}

// A Condition is one more thing that a rule goes by.
type Condition struct {
	Signal Signal   `yaml:"signal" json:"signal"`
	Above  *float64 `yaml:"above" json:"above,omitempty"`
	Below  *float64 `yaml:"below" json:"below,omitempty"`
}

// Times of rules that give none.
const (
	defaultFor      = time.Minute
	defaultClearFor = 5 * time.Minute
)

// Defaults are the rules of who configures none.
//
// The distance to the limit alone is a bad signal: under GOMEMLIMIT a process takes what
// it may by design. So headroom is what is left beside what the process needs, and where
// that is little but not nothing, what tells a full heap from a busy one is how much of
// the CPU goes into collecting it.
func Defaults() []Rule {
	at := func(v float64) *float64 { return &v }
	warning := diagnose.Warning
	return []Rule{
		{
			Name: "headroom-low", Severity: diagnose.Warning, Signal: HeadroomRatio,
			Below: at(0.10), For: time.Minute, ClearAbove: at(0.15), ClearFor: 5 * time.Minute,
			Remedy: "See what the heap holds (the profile at this moment, against one of an hour ago); raise the limit, or set GOMEMLIMIT as `heapwright tune` says.",
		},
		{
			Name: "headroom-critical", Severity: diagnose.Critical, Signal: HeadroomRatio,
			Below: at(0.05), For: 30 * time.Second, ClearAbove: at(0.08), ClearFor: 5 * time.Minute,
			Remedy: "The kernel may kill the process any moment. Raise the limit now if you can; then see what the heap holds.",
		},
		{
			Name: "limit-soon", Severity: diagnose.Warning, Signal: TimeToLimitSeconds,
			Below: at(3600), For: time.Minute, ClearAbove: at(7200), ClearFor: 10 * time.Minute,
			// A first rise may be a cache that fills: nobody can tell, and it is what nearly all
			// false alarms are (docs/FORECAST.md).
			With:   []Condition{{Signal: AgeSeconds, Above: at(600)}},
			Remedy: "Memory rises steadily towards its limit. See what grows (`heapwright leaks PID`, or the profile at this moment against one of an hour ago), and raise the limit or restart in time; `heapwright forecast PID` shows the course.",
		},
		{
			Name: "gc-cpu-high", Severity: diagnose.Warning, Signal: GCCPURatio,
			Above: at(0.25), For: 2 * time.Minute, ClearBelow: at(0.20), ClearFor: 5 * time.Minute,
			Remedy: "Give the heap more room (GOGC, GOMEMLIMIT, the container's limit; `heapwright tune` says how much), or allocate less: the profile says where.",
		},
		{
			Name: "gc-storm", Severity: diagnose.Critical, Signal: GCCPURatio,
			Above: at(0.40), For: time.Minute, ClearBelow: at(0.30), ClearFor: 5 * time.Minute,
			With:   []Condition{{Signal: HeadroomRatio, Below: at(0.20)}},
			Remedy: "The live heap has come near GOMEMLIMIT, and the collector runs all the time to stay below it. Raise GOMEMLIMIT and the container's limit, or make less live.",
		},
		{
			Name: "goroutine-growth", Severity: diagnose.Warning, Signal: GoroutineGrowthRatio,
			Above: at(1), For: 5 * time.Minute, ClearBelow: at(0.2), ClearFor: 10 * time.Minute,
			With:   []Condition{{Signal: Goroutines, Above: at(1000)}},
			Remedy: "See which go statement's goroutines became more, and what they wait for: the goroutine groups at this moment, against those before.",
		},
		{
			Name: "oom-kill", Severity: diagnose.Critical, Signal: OOMKills,
			Above: at(0), ClearFor: 10 * time.Minute,
			Remedy: "The kernel killed a process of this container for want of memory. Set GOMEMLIMIT below the limit, or raise the limit: `heapwright tune` says how far.",
		},
		{
			Name: "finding", Signal: Finding, Severity: diagnose.Warning, Level: &warning,
			For: time.Minute, ClearFor: 10 * time.Minute,
		},
	}
}

// complete returns the rule with what it leaves out.
func (r Rule) complete() Rule {
	if r.Process == "" {
		r.Process = "*"
	}
	if r.Signal != OOMKills && r.For == 0 {
		r.For = defaultFor
	}
	if r.ClearFor == 0 {
		r.ClearFor = defaultClearFor
	}
	if r.Signal == Finding && r.Level == nil {
		level := diagnose.Warning
		r.Level = &level
	}
	if r.Signal == OOMKills && r.Above == nil {
		zero := 0.0
		r.Above = &zero
	}
	if r.Signal == OOMKills {
		return r
	}
	if r.Above != nil && r.ClearBelow == nil {
		v := *r.Above - math.Abs(*r.Above)/10
		r.ClearBelow = &v
	}
	if r.Below != nil && r.ClearAbove == nil {
		v := *r.Below + math.Abs(*r.Below)/10
		r.ClearAbove = &v
	}
	return r
}

// Check says what is wrong with a rule, all of it.
func (r Rule) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if r.Name == "" || len(r.Name) > 100 || strings.ContainsFunc(r.Name, func(c rune) bool { return c < 0x21 || c > 0x7e }) {
		bad("name: %.40q is not a word of 1 to 100 letters, digits and dashes", r.Name)
	}
	if r.Disabled {
		return errors.Join(errs...)
	}
	if r.Severity < diagnose.Info || r.Severity > diagnose.Critical {
		bad("severity: not one of info, warning, critical")
	}
	if _, err := path.Match(r.Process, "x"); err != nil {
		bad("process: %q is not a pattern; * is any text, ? any character", r.Process)
	}
	if r.For < 0 || r.ClearFor < 0 || r.For > maxDuration || r.ClearFor > maxDuration {
		bad("for, clear_for: not from 0 to a week")
	}
	_, hasValue := units[r.Signal]
	switch {
	case r.Signal == Finding || r.Signal == ProcessGone:
		if r.Above != nil || r.Below != nil || r.ClearAbove != nil || r.ClearBelow != nil || len(r.With) > 0 {
			bad("signal %s has no value: it takes no thresholds", r.Signal)
		}
	case !hasValue:
		bad("signal: %.40q is none of %s", r.Signal, strings.Join(signalNames(), ", "))
	case r.Signal == OOMKills && r.Below != nil:
		bad("below: oom_kills only rises")
	case r.Signal == OOMKills:
	case (r.Above == nil) == (r.Below == nil):
		bad("one of above and below has to be set")
	case r.Above != nil && (r.ClearAbove != nil || r.ClearBelow != nil && *r.ClearBelow > *r.Above):
		bad("an alert above %g clears below something that is not more: clear_below", *r.Above)
	case r.Below != nil && (r.ClearBelow != nil || r.ClearAbove != nil && *r.ClearAbove < *r.Below):
		bad("an alert below %g clears above something that is not less: clear_above", *r.Below)
	}
	for _, v := range []*float64{r.Above, r.Below, r.ClearAbove, r.ClearBelow} {
		if v != nil && (math.IsNaN(*v) || math.IsInf(*v, 0)) {
			bad("a threshold is not a number")
		}
	}
	if r.Level != nil && r.Signal != Finding {
		bad("level: only for the signal finding")
	}
	if len(r.With) > 8 {
		bad("with: more than 8 conditions")
	}
	for _, c := range r.With {
		if _, ok := units[c.Signal]; !ok || c.Signal == OOMKills {
			bad("with: signal %.40q has no value that goes up and down", c.Signal)
		}
		if (c.Above == nil) == (c.Below == nil) {
			bad("with: one of above and below has to be set")
		}
	}
	if len(r.Remedy) > 2000 {
		bad("remedy: longer than 2000 bytes")
	}
	return errors.Join(errs...)
}

const maxDuration = 7 * 24 * time.Hour

func signalNames() []string {
	names := []string{string(Finding), string(ProcessGone)}
	for s := range units {
		names = append(names, string(s))
	}
	slices.Sort(names)
	return names
}

// threshold is the value at which the rule fires; 0 when it goes by no value.
func (r *Rule) threshold() float64 {
	switch {
	case r.Above != nil:
		return *r.Above
	case r.Below != nil:
		return *r.Below
	}
	return 0
}

func (r *Rule) matches(process string) bool {
	ok, err := path.Match(r.Process, process)
	return ok && err == nil
}

// holds reports whether the condition is known to hold.
func (c *Condition) holds(values map[Signal]float64) bool {
	v, ok := values[c.Signal]
	return ok && (c.Above != nil && v > *c.Above || c.Below != nil && v < *c.Below)
}
