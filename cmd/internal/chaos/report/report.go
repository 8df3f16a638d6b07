// Package report shows what came of a plan of stress: in a terminal, as JSON, and as
// one HTML page that needs nothing else.
//
// It judges nothing: every number of a verdict is the verdict's own. From the run it
// takes what it draws, the points, the cycles and the events, on one axis of time. A
// result file is hostile: names are cleaned or escaped, an index that leads nowhere has
// a name that says so, what is not a number is left out, and what is drawn is bounded.
package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// Bounds of what is shown.
const (
	maxText = 600 // characters of a piece of text
	maxName = 48
	maxSpan = 30 * 24 * time.Hour // longer than any plan runs
)

// An outcome is what is reported: a run and the verdict on it, neither of them nil.
type outcome struct {
	*chaos.Run
	verdict *chaos.Verdict
	end     time.Duration // of the run, which begins at 0
	points  []chaos.Point // by time, without those that cannot be
	cycles  []chaos.Cycle // the same
	events  []chaos.Event // the same
	drawn   []bar
	axis    axis
}

// of gathers what is reported. A run may lack anything.
func of(r *chaos.Run, v *chaos.Verdict) *outcome {
	o := &outcome{Run: r, verdict: v}
	if o.Run == nil {
		o.Run = &chaos.Run{}
	}
	if o.verdict == nil {
		o.verdict = &chaos.Verdict{Outcome: chaos.NotRun, Reason: "no verdict was reached"}
	}
	o.points = byTime(o.Points, func(p chaos.Point) time.Duration { return p.At })
	o.cycles = byTime(o.Cycles, func(c chaos.Cycle) time.Duration { return c.At })
	o.events = byTime(o.Events, func(e chaos.Event) time.Duration { return e.At })
	see := func(d time.Duration) {
		if sane(d) {
			o.end = max(o.end, d)
		}
	}
	for _, p := range o.Phases {
		see(p.To)
	}
	for _, d := range o.Run.Faults {
		see(d.Ended)
	}
	if n := len(o.points); n > 0 {
		see(o.points[n-1].At)
	}
	if n := len(o.events); n > 0 {
		see(o.events[n-1].At)
	}
	o.axis = o.span()
	o.draw()
	return o
}

// sane reports whether an instant can be one of a run.
func sane(d time.Duration) bool { return d >= 0 && d <= maxSpan }

// byTime leaves out what happened at no time that can be, and sorts the rest.
func byTime[T any](list []T, at func(T) time.Duration) []T {
	out := make([]T, 0, len(list))
	for _, e := range list {
		if sane(at(e)) {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b T) int { return cmp.Compare(at(a), at(b)) })
	return out
}

// word is the outcome; what is none of them is that nothing was done.
func word(o chaos.Outcome) chaos.Outcome {
	switch o {
	case chaos.Pass, chaos.Deviated, chaos.Aborted:
		return o
	}
	return chaos.NotRun
}

// clean makes hostile text safe to print, and no longer than anybody reads.
func clean(s string) string { return strings.TrimSpace(term.Cut(term.Clean(s), maxText)) }

// name is the plan's.
func (o *outcome) name() string { return cmp.Or(term.Cut(clean(o.Plan.Name), maxName), "stress") }

// fault is the name of a fault, also of one that the plan does not have.
func (o *outcome) fault(i int) string {
	if i >= 0 && i < len(o.Plan.Faults) {
		f := o.Plan.Faults[i]
		if name := term.Cut(cmp.Or(clean(f.Name), clean(string(f.Kind))), maxName); name != "" {
			return name
		}
	}
	return fmt.Sprintf("fault %d", i)
}

// kind is a fault's; what is not known of it is zero.
func (o *outcome) kind(i int) chaos.KindInfo {
	if i < 0 || i >= len(o.Plan.Faults) {
		return chaos.KindInfo{}
	}
	k, _ := o.Plan.Faults[i].Kind.Info()
	k.Kind = o.Plan.Faults[i].Kind
	return k
}

// done is what became of a fault; false when nobody says.
func (o *outcome) done(i int) (chaos.Done, bool) {
	for _, d := range o.Run.Faults {
		if d.Fault == i {
			return d, true
		}
	}
	return chaos.Done{}, false
}

// result is how the target took a fault; false when nobody says.
func (o *outcome) result(i int) (chaos.FaultResult, bool) {
	for _, f := range o.verdict.Faults {
		if f.Fault == i {
			return f, true
		}
	}
	return chaos.FaultResult{}, false
}

// recoveryUnit is what the values of a criterion of the recovery are in.
func recoveryUnit(what string) chaos.Unit {
	switch what {
	case "live_heap", "working_set":
		return chaos.Bytes
	case "goroutines":
		return chaos.Count
	case "growth":
		return chaos.BytesPerSecond
	case "growth_goroutines":
		return chaos.CountPerSecond
	case "latency":
		return chaos.Seconds
	}
	// A metric that the hypothesis tolerates more of while there is a fault.
	info, _ := chaos.Metric(what).Info()
	return info.Unit
}

// Headline says in one line what came of a plan, as a terminal or a title has it.
func Headline(r *chaos.Run, v *chaos.Verdict) string {
	o := of(r, v)
	return o.name() + ": " + string(word(o.verdict.Outcome)) + prefix(", ", o.reason())
}

// reason is why the outcome is what it is, a sentence without its stop.
func (o *outcome) reason() string { return strings.TrimSuffix(clean(o.verdict.Reason), ".") }

// prefix is text with something before it, and nothing for none.
func prefix(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

// finite reports whether a value is a number that can be shown.
func finite(v float64) bool { return math.Abs(v) < 1e200 } // NaN is not
