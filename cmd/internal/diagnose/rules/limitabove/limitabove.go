// Package limitabove finds a GOMEMLIMIT that the container cannot hold.
package limitabove

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const id = "HW1002"

// Rule is HW1002.
var Rule = rule.Rule{
	ID:         id,
	Name:       "limitabove",
	Title:      "GOMEMLIMIT is more than the container can hold",
	Severities: []rule.Severity{rule.Warning, rule.Critical},
	What: `GOMEMLIMIT is at or above the container's memory limit, or it is below, but what the process has outside of the Go
		runtime does not fit into the difference.`,
	Why: `GOMEMLIMIT bounds the memory that the runtime manages, and is soft. The kernel counts everything: C memory, mmap,
		thread stacks, kernel memory. It kills the process before the runtime has begun to hold back.`,
	How: `GOMEMLIMIT plus the peak of the anonymous memory outside of the runtime is compared with the smallest memory limit
		on the cgroup's path. It is critical when GOGC is off, because then the heap grows up to GOMEMLIMIT for certain.`,
	Remedy:      `Set GOMEMLIMIT to the container's limit minus the measured memory outside of the runtime minus a reserve.`,
	FalseAlarms: `The limit of the container was lowered on purpose for a moment. GOMEMLIMIT was set high to switch it off: then unset it.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldGOMEMLIMITBytes},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	limit := v.ContainerLimit()
	gml, set, ok := v.GOMEMLIMIT()
	if limit <= 0 || !ok || !set {
		return nil
	}
	outside, known := v.OutsidePeak()
	if gml < limit && (!known || gml+outside <= limit) {
		return nil
	}
	f := rule.Finding{
		ID: id, Severity: rule.Warning, Confidence: rule.High,
		ConfidenceReason: "both limits were read",
		Evidence: []rule.Evidence{
			rule.Bytes("gomemlimit_bytes", gml, v.Source(record.FieldGOMEMLIMITBytes)),
			rule.Bytes("container_limit_bytes", limit, "cgroup"),
		},
	}
	if known {
		f.Evidence = append(f.Evidence, rule.Bytes("outside_go_peak_bytes", outside, "kernel"))
	}
	if gml >= limit {
		f.Title = "GOMEMLIMIT is not below the container's memory limit"
		f.Cause = fmt.Sprintf("GOMEMLIMIT is %s and the container's limit is %s: the kernel kills the process before the runtime holds back.",
			rule.FormatBytes(gml), rule.FormatBytes(limit))
	} else {
		f.Title = "GOMEMLIMIT leaves no room for the memory outside of Go"
		f.Cause = fmt.Sprintf("GOMEMLIMIT is %s, the process has %s outside of the Go runtime, and the container's limit is %s: together they are %s too much.",
			rule.FormatBytes(gml), rule.FormatBytes(outside), rule.FormatBytes(limit), rule.FormatBytes(gml+outside-limit))
	}
	if gogc, ok := v.GOGC(); ok && gogc < 0 {
		f.Severity = rule.Critical
		f.Cause += " GOGC is off, so the heap will grow up to GOMEMLIMIT."
		f.Evidence = append(f.Evidence, rule.Percent("gogc_percent", gogc, v.Source(record.FieldGOGCPercent)))
	}
	if s, ok := v.SizeLimit(limit); ok {
		f.Remedy = rule.SizingRemedy(s)
	} else {
		f.Remedy = fmt.Sprintf("Set GOMEMLIMIT below %s by what the process has outside of the Go runtime and a reserve of 32 MiB; this recording cannot tell how much that is, a recording from process memory can.", rule.MemLimit(limit))
	}
	return []rule.Finding{f}
}
