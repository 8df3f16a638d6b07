// Package limitnearlive finds a GOMEMLIMIT so near the live heap that the
// collector runs all the time.
package limitnearlive

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW1003"

	// nearGOGC and stormGOGC are effective GOGCs: 100*(goal-live)/(live+roots).
	// GC work per allocated byte goes with its inverse: at 25 it is four times
	// that of GOGC=100. Measured with 157 MB live: CPU x1.1 at an effective GOGC
	// of about 60, x2 at 40, x5 at 15.
	nearGOGC  = 50
	stormGOGC = 25

	// Shares of the process's CPU in GC. 10% is worth knowing; at 25% with a
	// limit-driven goal an expert raises the limit; at 50% the runtime's own
	// limiter works (runtime/mgclimit.go), and the heap grows past the limit.
	infoShare     = 0.10
	warnShare     = 0.25
	criticalShare = 0.50

	// fewCores is GC CPU that nobody misses, in cores.
	fewCores = 0.1
)

// Rule is HW1003.
var Rule = rule.Rule{
	ID:         id,
	Name:       "limitnearlive",
	Title:      "GOMEMLIMIT is too near the live heap",
	Severities: []rule.Severity{rule.Info, rule.Warning, rule.Critical},
	What: `The memory limit of the runtime, not GOGC, sets the heap goal, and it lies so little above what is alive that the next
		cycle begins soon after the last has ended.`,
	Why: `GC work per allocated byte grows with 1/(goal - live). Near the live heap a few MiB of more live data turn into several
		times the CPU: the GC storm. At half of all CPU the runtime's limiter stops the collector from taking more,
		and the heap grows past the limit after all.`,
	How: `The effective GOGC, 100*(goal - live)/(live + stacks + globals), is taken as the median of the window. It must be below
		50 (information) or 25 (warning), the goal below 80% of what GOGC alone would make it, and the collector's share of
		the process's CPU at least 10% (25%). It is critical at 50%, or when the GC CPU limiter came on in the window.`,
	Remedy: `Raise GOMEMLIMIT to the computed value, at which the pacer has an effective GOGC of 50 for the largest live heap that
		was seen, and the container with it if need be; or make less live.`,
	FalseAlarms: `A batch job that is meant to run at its limit for a short while.`,
	Since:       "0.1",
	Needs: []record.Field{record.FieldGOMEMLIMITBytes, record.FieldHeapGoalBytes, record.FieldHeapMarkedBytes,
		record.FieldStackScanBytes, record.FieldGlobalsScanBytes, record.FieldGOGCPercent},
	Check: check,
}

func check(v *view.View) []rule.Finding {
	gml, set, ok := v.GOMEMLIMIT()
	eff, okE := v.EffectiveGOGC()
	gogc, okG := v.GOGC()
	if !ok || !set || !okE || !okG || eff >= nearGOGC || !v.LimitSetsGoal() {
		return nil
	}
	limiter := v.LimiterOn()
	cpu, known := v.CPU()
	share := 0.0
	if known && cpu.Demand >= fewCores {
		share = cpu.Share
	}
	f := rule.Finding{ID: id, Title: "GOMEMLIMIT is too near the live heap"}
	switch {
	case limiter || share >= criticalShare:
		f.Severity = rule.Critical
		f.Title = "GC storm: GOMEMLIMIT leaves the collector no room above the live heap"
	case share >= warnShare && eff < stormGOGC:
		f.Severity = rule.Warning
	case share >= infoShare:
		f.Severity = rule.Info
	default:
		return nil
	}
	f.Confidence, f.ConfidenceReason = rule.High, "the heap goal, the live heap and the limit were read directly"
	live, _ := v.LivePeak()
	goal, _ := v.Median(record.FieldHeapGoalBytes)
	f.Evidence = []rule.Evidence{
		rule.Bytes("gomemlimit_bytes", gml, v.Source(record.FieldGOMEMLIMITBytes)),
		rule.Bytes("heap_live_peak_bytes", live, v.Source(record.FieldHeapMarkedBytes)),
		rule.Bytes("heap_goal_median_bytes", goal, v.Source(record.FieldHeapGoalBytes)),
		rule.Percent("gogc_percent", gogc, v.Source(record.FieldGOGCPercent)),
		rule.Percent("effective_gogc_percent", eff, "computed"),
	}
	f.Evidence = append(f.Evidence, rule.GCEvidence(v)...)
	limiterText := ""
	if limiter {
		f.Evidence = append(f.Evidence, rule.Count("gc_cpu_limiter_on_count", 1, v.Source(record.FieldLimiterLastCycle)))
		limiterText = " The runtime's GC CPU limiter came on: it gives up on the limit to keep the program running."
	}
	f.Cause = fmt.Sprintf("The limit of %s puts the heap goal at %s with up to %s alive: an effective GOGC of %.0f.%s",
		rule.FormatBytes(gml), rule.FormatBytes(goal), rule.FormatBytes(live), eff, limiterText)
	f.Remedy = remedy(v)
	return []rule.Finding{f}
}

func remedy(v *view.View) string {
	need, live, nonHeap, ok := v.LeastLimit()
	if !ok {
		return "Raise GOMEMLIMIT, or make less live. How far cannot be told from this recording: it lacks the runtime's memory outside of the heap."
	}
	text := fmt.Sprintf("Set GOMEMLIMIT=%s: %s alive, half as much room above it, %s of Go memory that is not heap, and the runtime's own 3%%.",
		rule.MemLimitUp(need), rule.FormatBytes(live), rule.FormatBytes(nonHeap))
	if limit := v.ContainerLimit(); limit > 0 {
		if s, ok := v.SizeLimit(limit); ok && need > s.GOMEMLIMIT {
			text += fmt.Sprintf(" The container's limit of %s is too small for that: it needs %s.", rule.FormatBytes(limit), rule.MemLimitUp(s.ContainerFor(need)))
		}
	}
	return text
}
