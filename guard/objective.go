package guard

import (
	"fmt"
	"math"
	"time"

	"github.com/heapwright/heapwright/guard/sli"
)

// An Objective is a bound that a signal has to keep, most of the time. Zero fields
// mean their defaults.
type Objective struct {
	Name   string     `json:"name"`
	Signal sli.Signal `json:"signal"`
	// Max is the most that is good, in the signal's unit. A value above violates
	// the objective; a signal that is absent does not. It has no default: 0 is violated
	// by anything.
	Max float64 `json:"max"`

	// Every Interval (10 s) the signal is evaluated, over that time. The objective
	// trips when Ratio (0.2) of the evaluations that fit into Window (300 s) were
	// violations, whether or not the window has filled yet: six of thirty by default.
	// Window is at most 4096 Intervals.
	Interval time.Duration `json:"interval_ns"`
	Window   time.Duration `json:"window_ns"`
	Ratio    float64       `json:"ratio"`

	// Burns, where there are any, are what trips the objective in place of Ratio:
	// any one of them does.
	Burns []Burn `json:"burns,omitempty"`

	// Cooldown (60 s) is how long it has to be kept, after it has tripped, to be
	// good again.
	Cooldown time.Duration `json:"cooldown_ns"`
}

// A Burn is a rate at which the budget of violations is used up: in the manner of
// multi-window burn-rate alerts, it trips when more than Ratio of the evaluations
// in Long and also of those in Short were violations. The short window ends it soon
// after the trouble has ended; the long one keeps a blip from tripping it.
type Burn struct {
	Long  time.Duration `json:"long_ns"`
	Short time.Duration `json:"short_ns"`
	Ratio float64       `json:"ratio"`
}

// DefaultObjectives are those of a Config that names none: the 99th percentile of
// stop-the-world pauses below 15 ms, and the collector below 40% of the CPUs. Both
// are far above what a healthy Go service has, also on a busy machine.
func DefaultObjectives() []Objective {
	return []Objective{
		{Name: "gc_pause", Signal: sli.PauseP99, Max: 0.015},
		{Name: "gc_cpu", Signal: sli.GCCPURatio, Max: 0.40, Interval: 5 * time.Second, Window: time.Minute, Ratio: 0.4, Cooldown: 30 * time.Second},
	}
}

const maxEvaluations = 4096

func (o Objective) withDefaults() (Objective, error) {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.Interval, 10*time.Second)
	def(&o.Window, 300*time.Second)
	def(&o.Cooldown, 60*time.Second)
	if o.Ratio == 0 {
		o.Ratio = 0.2
	}
	if o.Name == "" {
		o.Name = string(o.Signal)
	}
	bad := func(format string, args ...any) (Objective, error) {
		return o, &ConfigError{fmt.Sprintf("objective %q: "+format, append([]any{o.Name}, args...)...)}
	}
	switch {
	case o.Signal == "":
		return bad("it has no signal")
	case math.IsNaN(o.Max) || math.IsInf(o.Max, 0):
		return bad("its bound is %v", o.Max)
	case o.Interval < 100*time.Millisecond:
		return bad("it is evaluated every %v; 100ms is the least", o.Interval)
	case o.Window < o.Interval || o.Window/o.Interval > maxEvaluations:
		return bad("its window of %v has to be between one and %d intervals of %v", o.Window, maxEvaluations, o.Interval)
	case !(o.Ratio > 0 && o.Ratio < 1):
		return bad("a ratio of violations is between 0 and 1; it is %v", o.Ratio)
	case o.Cooldown < 0:
		return bad("its cooldown is negative")
	}
	for _, b := range o.Burns {
		if !(b.Ratio > 0 && b.Ratio < 1) || b.Short < o.Interval || b.Long < b.Short || b.Long > o.Window {
			return bad("a burn rate needs interval <= short <= long <= window and a ratio between 0 and 1; it has %v, %v and %v", b.Short, b.Long, b.Ratio)
		}
	}
	return o, nil
}

// A tracker is what an objective has come to. It is pure: time comes with the
// evaluations.
type tracker struct {
	Objective
	bad     []bool // of the evaluations in the window, a ring
	next    int
	value   float64 // of the last evaluation, NaN if it was absent
	known   bool
	tripped bool
	lastBad time.Duration // when it was last violated
	due     time.Duration // of the next evaluation
}

func newTracker(o Objective, now time.Duration) *tracker {
	return &tracker{Objective: o, bad: make([]bool, int(o.Window/o.Interval)), value: math.NaN(), due: now + o.Interval}
}

// evaluate takes the value of the interval that ended now, and reports whether the
// objective has tripped or become good by it.
func (t *tracker) evaluate(now time.Duration, value float64, ok bool) (changed bool) {
	t.due = now + t.Interval
	t.value, t.known = value, ok
	violated := ok && value > t.Max
	t.bad[t.next] = violated
	t.next = (t.next + 1) % len(t.bad)
	if violated {
		t.lastBad = now
	}
	switch {
	case !t.tripped && violated && t.burning():
		t.tripped = true
		return true
	case t.tripped && now-t.lastBad >= t.Cooldown:
		t.tripped = false
		clear(t.bad) // what it tripped for is past, and not to trip it again
		return true
	}
	return false
}

// ratio is the share of the evaluations that fit into the newest part of the
// window which were violations.
func (t *tracker) ratio(part time.Duration) float64 {
	n := min(max(1, int(part/t.Interval)), len(t.bad))
	bad := 0
	for i := range n {
		if t.bad[(t.next-1-i+2*len(t.bad))%len(t.bad)] {
			bad++
		}
	}
	return float64(bad) / float64(n)
}

func (t *tracker) burning() bool {
	if len(t.Burns) == 0 {
		return t.ratio(t.Window) >= t.Ratio
	}
	for _, b := range t.Burns {
		if t.ratio(b.Long) > b.Ratio && t.ratio(b.Short) > b.Ratio {
			return true
		}
	}
	return false
}
