// Package fragmentation finds spans that are kept by a few objects.
package fragmentation

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW3006"

	part      = 0.50 // of the in-use spans
	infoBytes = 64 << 20
	warnBytes = 256 << 20
)

// Rule is HW3006.
var Rule = rule.Rule{
	ID:         id,
	Name:       "fragmentation",
	Title:      "The heap is fragmented: spans in use hold few objects",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `At least half of the memory in the heap's spans has no object in it, at all times of the window.`,
	Why: `Go does not move objects. One object keeps its whole span (8 KiB and more), which serves its size class only and cannot be
		given back. After a peak, survivors spread over many spans hold the memory of the peak.`,
	How: `In-use spans minus the bytes of objects in them, at the least in the window, so that what is free just after a sweep does not
		count: half of the in-use bytes and 64 MiB are information, 256 MiB a warning.`,
	Remedy: `Keep what lives long apart from what lives short: allocate long-lived objects in large slices of values, or build them anew
		(copy the survivors) after a peak; a restart after a one-time load does it too.`,
	FalseAlarms: `Just after a peak: the next allocations of the same sizes fill the holes.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldHeapInUseBytes, record.FieldHeapObjectsBytes},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	unused, okU := view.Quantile(v.Combine(func(x []float64) float64 { return max(0, x[0]-x[1]) },
		record.FieldHeapInUseBytes, record.FieldHeapObjectsBytes), 0)
	share, okS := view.Quantile(v.Combine(func(x []float64) float64 {
		if x[0] <= 0 {
			return 0
		}
		return max(0, 1-x[1]/x[0])
	}, record.FieldHeapInUseBytes, record.FieldHeapObjectsBytes), 0)
	if !okU || !okS || v.Samples() < 2 || unused < infoBytes || share < part {
		return nil
	}
	inUse, _ := v.Last(record.FieldHeapInUseBytes)
	objects, _ := v.Last(record.FieldHeapObjectsBytes)
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "the runtime counts spans and objects; the least of the window is taken",
		Title: fmt.Sprintf("%s of the heap are holes between objects", rule.FormatBytes(unused)),
		Evidence: []rule.Evidence{
			rule.Bytes("heap_unused_least_bytes", unused, "computed"),
			rule.Ratio("heap_unused_least_ratio", share, "computed"),
			rule.Bytes("heap_in_use_bytes", inUse, v.Source(record.FieldHeapInUseBytes)),
			rule.Bytes("heap_objects_bytes", objects, v.Source(record.FieldHeapObjectsBytes)),
		},
		Cause: fmt.Sprintf("Spans of %s hold objects of %s: few survivors keep many spans.", rule.FormatBytes(inUse), rule.FormatBytes(objects)),
		Remedy: "Allocate what lives long in large slices of values, apart from what lives short, or copy the survivors after the peak so that they share spans. " +
			"`heapwright profile PID --type heap` names who allocated them.",
	}
	if unused >= warnBytes {
		f.Severity = rule.Warning
	}
	if n, ok := v.CycleCount(); !ok || n < 1 {
		f.Confidence, f.ConfidenceReason = rule.Medium, "no GC cycle ended in the window: some of the holes may be filled soon"
	}
	return []rule.Finding{f}
}
