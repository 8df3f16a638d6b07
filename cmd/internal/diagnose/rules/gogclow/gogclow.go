// Package gogclow finds CPU that is spent on saving memory that nobody needs.
package gogclow

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW1005"

	// lowGOGC is a GOGC that somebody chose; 100, the default, is tunable at most.
	lowGOGC     = 50
	defaultGOGC = 100

	// Shares of the process's CPU in GC. A busy server with a small heap at
	// GOGC=100 spends 10-25%, and that is normal.
	infoShare = 0.10
	warnShare = 0.15
	fewCores  = 0.1 // below this nobody misses the CPU
)

// Rule is HW1005.
var Rule = rule.Rule{
	ID:         id,
	Name:       "gogclow",
	Title:      "GOGC is low while memory is free",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `The collector takes a good share of the process's CPU to keep a heap small that could be larger.`,
	Why: `GC work per allocated byte goes with 1/(heap goal - live heap): twice the room is half of the GC CPU. With a live heap of a
		few MiB, GOGC=100 means a cycle every few MiB.`,
	How: `GOGC, not the memory limit, sets the goal; the collector takes at least 10% of the process's CPU (15% for a warning, and
		then GOGC must be 50 or less) and at least 0.1 cores; and there is memory: the proposal fits into 70% of the container's
		limit, or 5% of the host's memory where there is no container. The proposal aims at 5%, by the rule that GC CPU goes
		with 1/GOGC, and is at most 800.`,
	Remedy:      `Raise GOGC as computed, and set a GOMEMLIMIT that bounds it.`,
	FalseAlarms: `Many processes on one host, each of which could have the memory that is free, but not all of them. A live heap that is much larger at other times.`,
	Since:       "0.1",
	Needs: []record.Field{record.FieldGOGCPercent, record.FieldHeapMarkedBytes, record.FieldHeapGoalBytes,
		record.FieldStackScanBytes, record.FieldGlobalsScanBytes, record.FieldMappedReadyBytes,
		record.FieldCPUGCTotal, record.FieldCPUTotal, record.FieldCPUIdle},
	Check: check,
}

func check(v *view.View) []rule.Finding {
	gogc, ok := v.GOGC()
	cpu, okC := v.CPU()
	p, okP := v.Propose()
	if !ok || !okC || !okP || gogc > defaultGOGC || cpu.Share < infoShare || cpu.Demand < fewCores {
		return nil
	}
	live, _ := v.LivePeak()
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.Medium,
		ConfidenceReason: "the gain is computed from GC CPU ~ 1/GOGC, not measured",
		Title:            "GC could cost less: there is memory for a higher GOGC",
	}
	if gogc <= lowGOGC && cpu.Share >= warnShare {
		f.Severity = rule.Warning
		f.Title = fmt.Sprintf("GOGC=%.0f burns CPU to save memory that is free", gogc)
	}
	if v.ContainerLimit() == 0 {
		f.Confidence, f.ConfidenceReason = rule.Low, "there is no container limit: how much memory is the process's to use is a guess; and the gain is computed, not measured"
	}
	f.Evidence = append([]rule.Evidence{
		rule.Percent("gogc_percent", gogc, v.Source(record.FieldGOGCPercent)),
		rule.Bytes("heap_live_peak_bytes", live, v.Source(record.FieldHeapMarkedBytes)),
		rule.Bytes("memory_budget_bytes", p.Budget, "computed"),
	}, rule.GCEvidence(v)...)
	f.Cause = fmt.Sprintf("With %s alive and GOGC=%.0f a cycle begins after every %s or so; the collector takes %s of the process's CPU.",
		rule.FormatBytes(live), gogc, rule.FormatBytes(live*gogc/100), rule.FormatPercent(cpu.Share))
	f.Remedy = rule.ProposalRemedy(v, p)
	return []rule.Finding{f}
}
