// Package assist finds goroutines that do the collector's work in the middle of
// their own.
package assist

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW2002"

	// Shares of the process's busy time in mark assists. Background marking has
	// 25% of the Ps (runtime/mgcpacer.go, gcBackgroundUtilization); a pacer that
	// keeps up needs hardly any assist. 5% shows in the latency of requests that
	// allocate; at 15%, in a process that spends 25% on GC, most of the marking is
	// done by requests.
	infoAssist = 0.05
	warnAssist = 0.15
	warnShare  = 0.25
	fewCores   = 0.1
	warnCores  = 0.2
	topSites   = 5
)

// Rule is HW2002.
var Rule = rule.Rule{
	ID:         id,
	Name:       "assist",
	Title:      "Mark assists take CPU from requests",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `Goroutines that allocate while a cycle is running have to mark in proportion, before their allocation returns.`,
	Why: `Assists are the collector's brake on allocation. They hit the goroutines that serve requests, at the moment that they
		allocate, and show as latency that no pause explains.`,
	How: `The runtime's assist time over its busy time (all CPU classes minus idle and idle marking) in the window: 5% is information.
		A warning needs 15%, and GC at 25% of the process's CPU and 0.2 cores.`,
	Remedy: `Give the cycle more runway: raise GOGC, or GOMEMLIMIT when that sets the goal. Allocate less at the sites named, in
		particular objects with pointers: marking is what is paid for.`,
	FalseAlarms: `A few Ps on a contended machine: background workers that the kernel keeps off the CPU leave the work to assists.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldCPUGCAssist, record.FieldCPUGCTotal, record.FieldCPUTotal, record.FieldCPUIdle},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	cpu, ok := v.CPU()
	if !ok || !v.Has(record.FieldCPUGCAssist) || cpu.AssistShare < infoAssist || cpu.Demand < fewCores {
		return nil
	}
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "the runtime measures assist time",
		Title:    "Mark assists slow down requests",
		Evidence: rule.GCEvidence(v),
		Cause: fmt.Sprintf("Allocation outruns background marking: %s of the process's busy time are goroutines that mark before they may allocate, %s of all GC work.",
			rule.FormatPercent(cpu.AssistShare), rule.FormatPercent(min(1, cpu.AssistShare/max(cpu.Share, 1e-9)))),
	}
	if cpu.AssistShare >= warnAssist && cpu.Share >= warnShare && cpu.Demand >= warnCores {
		f.Severity = rule.Warning
		f.Title = "Assist storm: allocation outruns the collector"
	}
	if yes, _, why := v.Contended(); yes {
		f.Confidence, f.ConfidenceReason = rule.Medium, why+": background workers that do not get the CPU leave marking to assists"
	}
	if rate, ok := v.Rate(record.FieldTotalAllocBytes); ok {
		f.Evidence = append(f.Evidence, rule.ByteRate("alloc_bytes_per_second", rate, v.Source(record.FieldTotalAllocBytes)))
	}
	var window bool
	if f.Sites, window = rule.TopSites(v, topSites); len(f.Sites) > 0 {
		since := "in the window"
		if !window {
			since = "since the process started"
		}
		f.Cause += fmt.Sprintf(" Most bytes allocated %s: %s.", since, rule.NamedSites(f.Sites))
	}
	switch p, ok := v.Propose(); {
	case v.LimitSetsGoal():
		f.Remedy = "Raise GOMEMLIMIT: it, not GOGC, sets the heap goal here. HW1003 computes how far."
	case ok:
		f.Remedy = rule.ProposalRemedy(v, p)
	default:
		f.Remedy = "Allocate less, above all objects with pointers; there is no memory for a higher GOGC, or this recording cannot tell."
	}
	if len(f.Sites) > 0 {
		f.Remedy += fmt.Sprintf(" In the code, begin at %s.", f.Sites[0])
	}
	return []rule.Finding{f}
}
