// Package forcedgc finds a program that collects garbage by hand.
package forcedgc

import (
	"fmt"
	"math"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW1006"

	// few forced cycles are a test, a heap profile taken with gc=1, a start-up.
	few = 5
	// most is the share of forced cycles from which they, and not the heap, set
	// the pace of the collector.
	most = 0.5
	// regular is the coefficient of variation of the intervals below which they
	// come from a timer.
	regular = 0.25

	// Over the whole life of the process: at least so many, and such a share.
	lifeFew   = 10
	lifeShare = 0.2
)

// Rule is HW1006.
var Rule = rule.Rule{
	ID:         id,
	Name:       "forcedgc",
	Title:      "Garbage collections are forced by the program",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `The program calls runtime.GC or debug.FreeOSMemory, often on a timer.`,
	Why: `Each call marks the whole live heap with the caller blocked, whether there is garbage or not, and FreeOSMemory gives memory
		back that the next allocations page in again. The pacer would have collected when it paid.`,
	How: `The runtime counts user-forced cycles apart (memstats.numforcedgc); its own two-minute cycle is not among them. Five or
		more in the window are reported; a warning needs them to be half of all cycles and to come at regular intervals
		(a coefficient of variation under 0.25). Over the process's life, 10 or more that make a fifth of all cycles are information.
		The caller is named when a goroutine snapshot met it inside runtime.GC.`,
	Remedy:      `Remove the call. To bound memory set GOMEMLIMIT; to give memory back sooner, that does it too.`,
	FalseAlarms: `Somebody takes heap profiles with gc=1, or the program benchmarks itself.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldGCForced, record.FieldGCCycles},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	forced, seconds, okF := v.Delta(record.FieldGCForced)
	cycles, _, okC := v.Delta(record.FieldGCCycles)
	if !okF || !okC || cycles < forced {
		return nil
	}
	src := v.Source(record.FieldGCForced)
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "the runtime counts forced cycles",
		Remedy: "Remove the calls of runtime.GC and debug.FreeOSMemory. If they are there to bound memory, set GOMEMLIMIT instead.",
	}
	switch total, _ := v.Last(record.FieldGCForced); {
	case forced >= few:
		f.Title = "The program forces garbage collections"
		f.Evidence = []rule.Evidence{
			rule.Count("gc_forced_cycles", forced, src),
			rule.Count("gc_cycles", cycles, src),
			rule.Ratio("gc_forced_ratio", forced/cycles, "computed"),
		}
		f.Cause = fmt.Sprintf("%.0f of %.0f cycles in %s were asked for by runtime.GC or debug.FreeOSMemory.", forced, cycles, rule.FormatSeconds(seconds))
		if every, cv, ok := interval(v); ok && cv <= regular {
			f.Evidence = append(f.Evidence, rule.Seconds("gc_forced_interval_seconds", every, "computed"))
			f.Title = "The program forces garbage collections on a timer"
			f.Cause += fmt.Sprintf(" They come every %s: a timer.", rule.FormatSeconds(every))
			if forced/cycles >= most {
				f.Severity = rule.Warning
			}
		}
	default:
		all, ok := v.Last(record.FieldGCCycles)
		if !ok || all < total || total < lifeFew || total/all < lifeShare {
			return nil
		}
		f.Title = "The program has forced garbage collections"
		f.Confidence, f.ConfidenceReason = rule.Medium, "they were counted since the process started, not seen in the window"
		f.Evidence = []rule.Evidence{
			rule.Count("gc_forced_cycles_since_start", total, src),
			rule.Count("gc_cycles_since_start", all, src),
		}
		f.Cause = fmt.Sprintf("Of the %.0f cycles since the process started, %.0f were asked for by runtime.GC or debug.FreeOSMemory.", all, total)
		if age, ok := v.Age(); ok {
			f.Cause += fmt.Sprintf(" That is one every %s.", rule.FormatSeconds(age/total))
		}
	}
	if caller, ok := caller(v); ok {
		f.Sites = []rule.Site{rule.At(caller, "calls", "met inside a forced collection")}
		f.Cause += fmt.Sprintf(" The call is in %s.", rule.FrameString(caller))
	}
	return []rule.Finding{f}
}

// interval is the mean time between forced cycles, and its coefficient of
// variation: by the cycles' own records, else by the samples.
func interval(v *view.View) (mean, cv float64, ok bool) {
	var at []float64
	for _, c := range v.Cycles() {
		if c.Detail && c.Forced {
			at = append(at, float64(c.End.UnixNano())/1e9)
		}
	}
	if len(at) < few {
		at = at[:0]
		pts := v.Series(record.FieldGCForced)
		for i := 1; i < len(pts); i++ {
			if pts[i].V > pts[i-1].V {
				at = append(at, pts[i].T)
			}
		}
	}
	if len(at) < few {
		return 0, 0, false
	}
	n := float64(len(at) - 1)
	mean = (at[len(at)-1] - at[0]) / n
	if !(mean > 0) {
		return 0, 0, false
	}
	var ss float64
	for i := 1; i < len(at); i++ {
		d := at[i] - at[i-1] - mean
		ss += d * d
	}
	return mean, math.Sqrt(ss/n) / mean, true
}

// caller is the function that a goroutine snapshot met inside runtime.GC.
func caller(v *view.View) (record.Frame, bool) {
	for i := range v.Rec.Goroutines {
		for _, g := range v.Rec.Goroutines[i].Groups {
			for j, f := range g.Stack {
				if g.System || (f.Func != "runtime.GC" && f.Func != "runtime/debug.FreeOSMemory") {
					continue
				}
				rest := g.Stack[j+1:]
				for len(rest) > 0 && strings.HasPrefix(rest[0].Func, "runtime") {
					rest = rest[1:]
				}
				if len(rest) > 0 {
					return rest[0], true
				}
			}
		}
	}
	return record.Frame{}, false
}
