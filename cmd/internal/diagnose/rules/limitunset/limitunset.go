// Package limitunset finds a container memory limit that the Go runtime does not
// know of.
package limitunset

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW1001"

	// tight and over are shares of the container's limit that the projected peak
	// takes. The Go GC guide wants 5-10% left over; below a fifth a rise of the
	// live heap by a tenth, which GOGC=100 doubles, is all that is missing.
	tight = 0.80
	over  = 1.00
)

// Rule is HW1001.
var Rule = rule.Rule{
	ID:         id,
	Name:       "limitunset",
	Title:      "The container has a memory limit and GOMEMLIMIT is not set",
	Severities: []rule.Severity{rule.Info, rule.Warning, rule.Critical},
	What: `The process runs under a memory limit of its container, and the Go runtime has none. The runtime does not read the
		container's memory limit in any release up to Go 1.27; it sizes the heap by GOGC alone.`,
	Why: `With GOGC=100 the heap grows to twice what is alive. When the live heap rises, the peak rises twice as much, and the
		kernel kills the process although half of the heap is garbage. With GOMEMLIMIT the runtime collects before that.`,
	How: `The projected peak is the largest heap goal of the window, times what the heap's spans take for each byte of heap,
		plus the runtime's other memory, plus what the process has outside of the runtime. It is a warning from 80% of the
		container's limit and critical from 100%; below it is information.`,
	Remedy: `Set GOMEMLIMIT to the container's limit minus the measured memory outside of the Go runtime minus a reserve: the
		largest of 2% of the limit, 32 MiB, and twice the spread of the outside memory, but at most 10% of the limit.
		Leave GOGC as it is.`,
	FalseAlarms: `A container shared by several processes: the limit has to be split. A service that the limit is far away from
		(that is why it is information only).`,
	Since: "0.1",
	Needs: []record.Field{record.FieldGOMEMLIMITBytes, record.FieldMappedReadyBytes, record.FieldHeapGoalBytes, record.FieldHeapMarkedBytes},
	Check: check,
}

func check(v *view.View) []rule.Finding {
	limit := v.ContainerLimit()
	_, set, ok := v.GOMEMLIMIT()
	if limit <= 0 || !ok || set {
		return nil
	}
	if gogc, ok := v.GOGC(); ok && gogc < 0 {
		return nil // HW1004 has it
	}
	goal, okG := v.Max(record.FieldHeapGoalBytes)
	s, okS := v.SizeLimit(limit)
	if !okG || !okS {
		return nil
	}
	spread := v.SpanOverhead()
	projected := goal*spread + s.NonHeap + s.Outside
	share := projected / limit
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.Medium,
		ConfidenceReason: fmt.Sprintf("the peak is that of a window of %s; at other times the live heap may be larger", rule.FormatSeconds(v.Window())),
		Title:            "Memory limit of the container, but no GOMEMLIMIT",
		Evidence: []rule.Evidence{
			rule.Bytes("container_limit_bytes", limit, "cgroup"),
			rule.Bytes("heap_live_peak_bytes", s.Live, v.Source(record.FieldHeapMarkedBytes)),
			rule.Bytes("heap_goal_peak_bytes", goal, v.Source(record.FieldHeapGoalBytes)),
			rule.Bytes("go_non_heap_bytes", s.NonHeap, v.Source(record.FieldMappedReadyBytes)),
			rule.Bytes("outside_go_peak_bytes", s.Outside, "kernel"),
			rule.Bytes("projected_peak_bytes", projected, "computed"),
			rule.Ratio("projected_peak_of_limit_ratio", share, "computed"),
		},
		Cause: fmt.Sprintf("The runtime sizes the heap by GOGC and does not know of the container's %s. Its heap goal is %s with %s alive; with the rest of the process that makes a peak of %s, %s of the limit.",
			rule.FormatBytes(limit), rule.FormatBytes(goal), rule.FormatBytes(s.Live), rule.FormatBytes(projected), rule.FormatPercent(share)),
	}
	switch {
	case share >= over:
		f.Severity = rule.Critical
		f.Title = "The heap will outgrow the container: no GOMEMLIMIT, and the peak is above the limit"
	case share >= tight:
		f.Severity = rule.Warning
		f.Title = "No GOMEMLIMIT, and the peak comes near the container's limit"
	}
	f.Remedy = rule.SizingRemedy(s)
	return []rule.Finding{f}
}
