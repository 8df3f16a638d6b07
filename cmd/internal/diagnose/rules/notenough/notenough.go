// Package notenough says when a recording cannot carry a diagnosis, and how long
// to record.
package notenough

import (
	"fmt"
	"math"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW9001"

	leastWindow = 10 // seconds
	leastCycles = 2  // the CPU classes move at the end of a cycle only
	wantCycles  = 10 // trends need 8
	// forcePeriod is the runtime's own timer: a cycle at least every two minutes
	// (runtime/proc.go, forcegcperiod).
	forcePeriod = 120
	// What is proposed lies between half a minute and half an hour.
	leastFor = 30
	mostFor  = 1800
)

// Rule is HW9001.
var Rule = rule.Rule{
	ID:         id,
	Name:       "notenough",
	Title:      "There is not enough data for a diagnosis",
	Severities: []rule.Severity{rule.Info},
	What:       `The recording is too short, or too few GC cycles ended in it, or its source does not give what most rules need.`,
	Why:        `No finding does not mean that nothing is wrong when nothing could be seen.`,
	How: `Less than 10 seconds between the first and the last sample, or fewer than two GC cycles (unless the collector is off), or no live
		heap and no CPU classes in any sample. The time that is proposed is that of ten cycles, from the heap's growth towards
		its trigger, at most two minutes a cycle.`,
	Remedy:      `Record again for the time that is given, under the load that you care about.`,
	FalseAlarms: `An idle process: there is nothing to see, and that may be all that you want to know.`,
	Since:       "0.1",
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	window := v.Window()
	cycles, known := v.CycleCount()
	gogc, okG := v.GOGC()
	off := okG && gogc < 0
	poor := !v.Has(record.FieldHeapMarkedBytes) && !v.Has(record.FieldCPUGCTotal)
	var why string
	switch {
	case v.Samples() < 2:
		why = "There are not two samples."
	case window < leastWindow:
		why = fmt.Sprintf("It is %s long; less than %s is chance.", rule.FormatSeconds(window), rule.FormatSeconds(leastWindow))
	case poor:
		why = "Its source gives neither the live heap nor GC CPU time."
	case !off && known && cycles < leastCycles:
		why = fmt.Sprintf("%.0f GC cycles ended in %s: trends, GC CPU and pauses need some.", cycles, rule.FormatSeconds(window))
	default:
		return nil
	}
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "it is counted",
		Title: "Not enough data for a diagnosis",
		Evidence: []rule.Evidence{
			rule.Seconds("window_seconds", window, "recording"),
			rule.Count("samples", float64(v.Samples()), "recording"),
		},
		Cause: "The recording cannot carry every rule. " + why,
	}
	if known {
		f.Evidence = append(f.Evidence, rule.Count("gc_cycles", cycles, "recording"))
	}
	switch every, ok := interval(v, cycles); {
	case poor && v.Samples() >= 2 && window >= leastWindow:
		f.Remedy = "Record from the process's memory (`heapwright record PID`), or have the endpoint export all of runtime/metrics."
	case ok:
		need := math.Ceil(min(max(wantCycles*every, leastFor), mostFor))
		f.Evidence = append(f.Evidence, rule.Seconds("gc_interval_expected_seconds", every, "computed"))
		f.Remedy = fmt.Sprintf("Record for %s (--for %s), under the load that you care about: a cycle is due about every %s.",
			rule.FormatSeconds(need), time.Duration(need)*time.Second, rule.FormatSeconds(every))
	default:
		f.Remedy = fmt.Sprintf("Record for %ds or longer (--for %ds), under the load that you care about.", leastFor, leastFor)
	}
	return []rule.Finding{f}
}

// interval is the expected time between cycles, in seconds.
func interval(v *view.View, cycles float64) (float64, bool) {
	if window := v.Window(); cycles >= leastCycles && window > 0 {
		return min(window/cycles, forcePeriod), true
	}
	rate, okR := v.Rate(record.FieldTotalAllocBytes)
	live, okL := v.Last(record.FieldHeapMarkedBytes)
	goal, okG := v.Last(record.FieldHeapGoalBytes)
	if !okR || !okL || !okG || goal <= live {
		return 0, false
	}
	if rate <= 0 {
		return forcePeriod, true
	}
	return min((goal-live)/rate, forcePeriod), true
}
