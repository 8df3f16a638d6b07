// Package liveheap finds a live heap that rises and does not stop.
package liveheap

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW3001"

	leastSpan   = 10 // seconds
	leastGrowth = 4 << 20
	leastPart   = 0.20 // of what was alive at first

	// A rise over half a minute is what many healthy services do: caches fill,
	// keys are written (etcd keeps 10,000 and more log entries), clients come. It
	// is a warning when it is large in itself and more than doubles what lives, or
	// has gone on for long, or ends at a limit soon.
	largeGrowth   = 96 << 20
	largePart     = 1.00
	longSpan      = 600 // seconds
	limitedGrowth = 16 << 20
	soon          = 3600 // seconds
	verySoon      = 600

	// young is the age at the start of the window below which a rise may be the
	// start-up, in seconds.
	young = 60
)

// Rule is HW3001.
var Rule = rule.Rule{
	ID:         id,
	Name:       "liveheap",
	Title:      "The live heap rises from cycle to cycle",
	Severities: []rule.Severity{rule.Info, rule.Warning, rule.Critical},
	What:       `What each GC cycle finds alive grows, cycle after cycle, without slowing down.`,
	Why: `It is what a leak in Go looks like: something still refers to the memory, a map, a slice, a goroutine. The collector cannot
		help, works more with every cycle, and in the end the process is killed.`,
	How: `The live heap after each cycle over at least 8 cycles and 10 seconds, the first four cycles of the process left out. The
		slope is Theil and Sen's, its 95% interval allows for autocorrelation, and must lie above zero. The growth must be 20% and
		4 MiB, and steady: at least five of seven equal stretches of time rise, none makes more than 45% of the growth, and the
		second half has at least 40% of it, which a warm-up or a cache that fills up does not. A warning needs 96 MiB and 100% within
		the window, or a window of 10 minutes, or a limit (the container's, GOMEMLIMIT) that is reached within an hour at 16 MiB of
		growth or more; it is critical within 10 minutes. The host's memory is told as evidence only.`,
	Remedy: `Look at the sites named: what they allocated still lives. Ask what refers to it, and when that should let go: maps without
		deletion, caches without a bound, goroutines that never end, tickers that nobody stops, subslices of large buffers.`,
	FalseAlarms: `A cache that fills at a constant rate, or data that users really store, look the same until they are full: record longer.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldHeapMarkedBytes},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	fit, ok := trend.Theil(v.Marked())
	if !ok || !fit.Rising() || !fit.Steady() || fit.Span < leastSpan {
		return nil
	}
	growth := fit.Slope * fit.Span
	if fit.Start <= 0 || growth < leastGrowth || growth < leastPart*fit.Start {
		return nil
	}
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High,
		ConfidenceReason: fmt.Sprintf("%d points over %s, steady", fit.N, rule.FormatSeconds(fit.Span)),
		Title:            "The live heap rises steadily",
		Evidence: []rule.Evidence{
			rule.ByteRate("heap_live_slope_bytes_per_second", fit.Slope, "cycles"),
			rule.ByteRate("heap_live_slope_ci_low_bytes_per_second", fit.Low, "cycles"),
			rule.ByteRate("heap_live_slope_ci_high_bytes_per_second", fit.High, "cycles"),
			rule.Bytes("heap_live_start_bytes", fit.Start, "cycles"),
			rule.Bytes("heap_live_end_bytes", fit.End, "cycles"),
			rule.Seconds("trend_span_seconds", fit.Span, "cycles"),
			rule.Count("trend_points", float64(fit.N), "cycles"),
		},
		Cause: fmt.Sprintf("What the collector finds alive grows by %s/s (95%%: %s/s to %s/s), from %s to %s in %s, and does not slow down.",
			rule.FormatBytes(fit.Slope), rule.FormatBytes(fit.Low), rule.FormatBytes(fit.High),
			rule.FormatBytes(fit.Start), rule.FormatBytes(fit.End), rule.FormatSeconds(fit.Span)),
	}
	if (growth >= largeGrowth && growth >= largePart*fit.Start) || fit.Span >= longSpan {
		f.Severity = rule.Warning
	}
	left, what, hard, known := exhausted(v, fit)
	if known {
		f.Evidence = append(f.Evidence, rule.Seconds("memory_exhausted_in_seconds", left, "computed"))
		f.Cause += fmt.Sprintf(" At this rate %s is reached in %s.", what, rule.FormatSeconds(left))
		if hard && growth >= limitedGrowth && left < soon {
			f.Severity = rule.Warning
			if left < verySoon {
				f.Severity = rule.Critical
			}
		}
	}
	if f.Severity > rule.Info {
		f.Title = "The live heap rises steadily: memory is retained"
	}
	if fit.Span < longSpan {
		f.Confidence = rule.Medium
		f.ConfidenceReason += "; but in so short a time a cache that fills looks the same"
	}
	if age, ok := v.Age(); ok && age-v.Window() < young {
		f.Confidence = rule.Low
		f.ConfidenceReason = fmt.Sprintf("the process was %s old when the recording began: this may be its start", rule.FormatSeconds(max(0, age-v.Window())))
	}
	f.Sites = rule.GrowingSites(v)
	if len(f.Sites) > 0 {
		f.Cause += " What grows was allocated at: " + rule.NamedSites(f.Sites) + "."
		f.Remedy = fmt.Sprintf("Find what refers to the memory from %s, and bound it or let go of it.", f.Sites[0])
	} else {
		f.Remedy = "Take two heap profiles, some minutes apart (`heapwright profile PID --type heap`), and compare them with `go tool pprof -diff_base`: what grows is named there."
	}
	if fit.Span < longSpan {
		f.Remedy += " To be sure, record for 10 minutes."
	}
	return []rule.Finding{f}
}

// exhausted is the time until the peak of the heap meets the nearest limit, in
// seconds. The peak rises by the live heap's slope times 1+GOGC/100. hard is
// false when the limit is the host's memory, which the process shares.
func exhausted(v *view.View, fit trend.Fit) (seconds float64, what string, hard, ok bool) {
	slope := fit.Slope
	if gogc, ok := v.GOGC(); ok && gogc > 0 && !v.LimitSetsGoal() {
		slope *= 1 + gogc/100
	}
	if rss, okR := v.Max(record.FieldRSSBytes); okR {
		limit, name := v.ContainerLimit(), "the container's limit"
		if hard = limit > 0; !hard {
			limit, name = float64(v.Process.HostMemoryBytes), "the host's memory"
		}
		if limit > 0 {
			seconds, what, ok = max(0, limit-rss)/slope, name+" of "+rule.FormatBytes(limit), true
		}
	}
	// Only the live heap counts against GOMEMLIMIT: the rest gives way to it.
	if gml, set, okL := v.GOMEMLIMIT(); okL && set {
		nonHeap, _ := v.NonHeap()
		if s := max(0, gml-fit.End-nonHeap) / fit.Slope; !ok || s < seconds {
			seconds, what, hard, ok = s, "GOMEMLIMIT of "+rule.FormatBytes(gml), true, true
		}
	}
	return seconds, what, hard, ok
}
