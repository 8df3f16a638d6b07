// Package gccpu finds processes that spend their CPU on garbage collection.
package gccpu

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW2003"

	// Shares of the process's CPU in GC. A busy server with a heap of 10 MiB at
	// GOGC=100 spends 10-25%: tunable, not ill. At 35% background marking (25% of
	// the Ps) no longer suffices; at 60% the process works more for the collector
	// than for its users.
	infoShare     = 0.10
	warnShare     = 0.35
	criticalShare = 0.60
	// Cores in GC: less is nobody's problem, whatever the share.
	fewCores  = 0.1
	warnCores = 0.2
	topSites  = 3
)

// Rule is HW2003.
var Rule = rule.Rule{
	ID:         id,
	Name:       "gccpu",
	Title:      "The collector takes a large share of the process's CPU",
	Severities: []rule.Severity{rule.Info, rule.Warning, rule.Critical},
	What:       `A good part of the CPU that the process uses goes into garbage collection.`,
	Why:        `It is CPU that requests do not get, and that is paid for.`,
	How: `GC time over busy time in the runtime's CPU classes, between the first and the last cycle of the window; idle marking is left
		out, because it runs where nothing else would, and so are pauses, which the runtime charges with all Ps though none works. The classes are time of Ps, not CPU time, and say several times too much on a
		contended machine; a ratio of two of them does not suffer, and cores are that ratio times what the kernel charged the
		process. 10% is information, 35% a warning, 60% critical; and the collector must want
		at least 0.1 (0.2) cores, by its own clock.`,
	Remedy:      `Raise GOGC where there is memory; allocate less at the sites named.`,
	FalseAlarms: `A start-up or a batch in the window. When GOMEMLIMIT sets the heap goal, HW1003 says it better, and this rule is silent.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldCPUGCTotal, record.FieldCPUTotal, record.FieldCPUIdle},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	cpu, ok := v.CPU()
	if !ok || cpu.Share < infoShare || cpu.Demand < fewCores || v.LimitSetsGoal() {
		return nil
	}
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "the ratio is of the runtime's own clocks, and the cores are the kernel's account",
		Title:    fmt.Sprintf("GC takes %s of the process's CPU", rule.FormatPercent(cpu.Share)),
		Evidence: rule.GCEvidence(v),
	}
	switch {
	case cpu.Share >= criticalShare && cpu.Demand >= warnCores:
		f.Severity = rule.Critical
	case cpu.Share >= warnShare && cpu.Demand >= warnCores:
		f.Severity = rule.Warning
	}
	if !cpu.CoresKnown {
		// P-time cores are too high under contention, so they do not carry alarm.
		f.Severity = min(f.Severity, rule.Warning)
		f.Confidence, f.ConfidenceReason = rule.Medium, "the kernel's account of the process's CPU is missing: cores are time of Ps, which is too high on a contended machine"
	}
	f.Cause = fmt.Sprintf("The collector used %s of the CPU that the process used (%.2g cores).", rule.FormatPercent(cpu.Share), cpu.Cores)
	if cpu.Cycles > 0 {
		f.Cause += fmt.Sprintf(" It ran %.2g cycles a second, each for %s of CPU.", cpu.Cycles/cpu.Seconds, rule.FormatSeconds(cpu.Cores*cpu.Seconds/cpu.Cycles))
	}
	if rate, ok := v.Rate(record.FieldTotalAllocBytes); ok {
		f.Evidence = append(f.Evidence, rule.ByteRate("alloc_bytes_per_second", rate, v.Source(record.FieldTotalAllocBytes)))
	}
	if live, ok := v.LivePeak(); ok {
		f.Evidence = append(f.Evidence, rule.Bytes("heap_live_peak_bytes", live, v.Source(record.FieldHeapMarkedBytes)))
	}
	if p, ok := v.Propose(); ok {
		f.Remedy = rule.ProposalRemedy(v, p)
	} else {
		f.Remedy = "Allocate less: GOGC is high already, or there is no memory for a higher one, or this recording cannot tell."
	}
	if f.Sites, _ = rule.TopSites(v, topSites); len(f.Sites) > 0 {
		f.Cause += " Most bytes are allocated at: " + rule.NamedSites(f.Sites) + "."
		f.Remedy += fmt.Sprintf(" In the code, begin at %s.", f.Sites[0])
	}
	return []rule.Finding{f}
}
