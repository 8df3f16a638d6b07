// Package scavenger finds free memory that the runtime should have given back.
package scavenger

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW3007"

	infoBytes = 64 << 20
	warnBytes = 256 << 20
	warnPart  = 0.25 // of RSS
	mostly    = 0.80 // of the samples
	falling   = 0.80 // the end over the start, below which the scavenger is catching up
	near      = 0.80 // container usage that makes it matter
)

// Rule is HW3007.
var Rule = rule.Rule{
	ID:         id,
	Name:       "scavenger",
	Title:      "The scavenger is behind: free memory is not given back",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `The heap keeps much more memory from the kernel than its scavenger's goal, and most of it is free.`,
	Why: `After a peak the runtime gives memory back in the background, with 1% of its CPU (runtime/mgcscavenge.go, scavengePercent), and
		leaves densely used chunks alone for a cycle. Meanwhile the container, and its neighbours, see the peak.`,
	How: `Retained heap (spans in use plus free spans) minus the scavenger's goal, bounded by the free spans: 64 MiB or more in 80% of the
		samples is information. A warning needs 256 MiB and a quarter of RSS at the end, and either no fall of a fifth over the
		window or a container that is 80% full.`,
	Remedy: `A GOMEMLIMIT makes the allocator give back at once when it is near. After a one-time peak, a single debug.FreeOSMemory does it;
		not on a timer.`,
	FalseAlarms: `Peaks that come again in a minute: giving back would cost page faults.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldHeapInUseBytes, record.FieldHeapFreeBytes, record.FieldScavengeGOGCGoalBytes},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	over := v.Combine(func(x []float64) float64 {
		if x[2] <= 0 || x[2] >= view.NoLimit {
			return 0 // no goal: nothing to do for the scavenger
		}
		return min(max(0, x[0]+x[1]-x[2]), x[1])
	}, record.FieldHeapInUseBytes, record.FieldHeapFreeBytes, record.FieldScavengeGOGCGoalBytes)
	if len(over) < 10 {
		return nil
	}
	least, _ := view.Quantile(over, 1-mostly)
	if least < infoBytes {
		return nil
	}
	start, end := over[0].V, over[len(over)-1].V
	free, _ := v.Last(record.FieldHeapFreeBytes)
	goal, _ := v.Last(record.FieldScavengeGOGCGoalBytes)
	src := v.Source(record.FieldScavengeGOGCGoalBytes)
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "the scavenger's goal and the free spans were read directly",
		Title: fmt.Sprintf("%s of free heap are not given back to the kernel", rule.FormatBytes(end)),
		Evidence: []rule.Evidence{
			rule.Bytes("scavenger_behind_bytes", end, "computed"),
			rule.Bytes("scavenger_behind_start_bytes", start, "computed"),
			rule.Bytes("heap_free_bytes", free, v.Source(record.FieldHeapFreeBytes)),
			rule.Bytes("scavenge_goal_bytes", goal, src),
		},
		Cause: fmt.Sprintf("The heap keeps %s more than the scavenger's goal of %s. The scavenger works in the background with 1%% of the CPU.",
			rule.FormatBytes(end), rule.FormatBytes(goal)),
		Remedy: "After a one-time peak call debug.FreeOSMemory once.",
	}
	if c, ok := v.CPU(); ok {
		f.Evidence = append(f.Evidence, rule.Ratio("scavenger_cpu_ratio", c.ScavShare, v.Source(record.FieldCPUScavengeTotal)))
	}
	rss, okR := v.Last(record.FieldRSSBytes)
	limit := v.ContainerLimit()
	usage, okU := v.Last(record.FieldCgroupUsageBytes)
	full := limit > 0 && okU && usage >= near*limit
	switch {
	case end < falling*start:
		f.Cause += fmt.Sprintf(" It is catching up: %s at the start of the window.", rule.FormatBytes(start))
	default:
		f.Cause += " It did not come nearer in the window."
	}
	if end >= warnBytes && okR && end >= warnPart*rss && (end >= falling*start || full) {
		f.Severity = rule.Warning
	}
	if limit > 0 {
		if s, ok := v.SizeLimit(limit); ok {
			f.Remedy += " " + rule.SizingRemedy(s)
		}
	} else {
		f.Remedy += " If the peaks come back and the memory is needed elsewhere, set a GOMEMLIMIT a little above the usual peak."
	}
	return []rule.Finding{f}
}
