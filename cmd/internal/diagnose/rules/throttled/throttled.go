// Package throttled finds latency that looks like the collector's and is the CPU
// quota's.
package throttled

import (
	"fmt"
	"math"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW4004"

	fewPeriods = 20 // 2 s of the usual 100 ms periods
	infoShare  = 0.02
	warnShare  = 0.10
	// gcShare is the collector's part of the CPU below which it is not what uses
	// up the quota.
	gcShare = 0.25
)

// Rule is HW4004.
var Rule = rule.Rule{
	ID:         id,
	Name:       "throttled",
	Title:      "Not the GC: look at CPU throttling",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `The kernel stops the whole container when its CPU quota for a period is used up, until the next period.`,
	Why: `Everything waits for up to 100 ms, in the middle of requests, of lock holders, of GC cycles. Pauses, mark times and the runtime's
		own GC CPU figures grow by it, so the collector is blamed. Tuning the collector does not help.`,
	How: `The cgroup's throttled periods over all periods in the window: 2% is information, 10% a warning. When the collector takes less
		than 25% of the process's CPU, the finding says that it is not the collector.`,
	Remedy: `Raise the CPU limit, or remove it and keep the request; else lower GOMAXPROCS to the quota so that bursts are shorter. When the
		collector takes much of the quota, tune it too.`,
	FalseAlarms: `A batch job that is meant to run at its quota.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldCgroupPeriods, record.FieldCgroupThrottledPeriods},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	share, ok := v.ThrottledShare()
	periods, _, okP := v.Delta(record.FieldCgroupPeriods)
	if !ok || !okP || periods < fewPeriods || share < infoShare {
		return nil
	}
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "the kernel counts throttled periods",
		Title: "The container's CPU is throttled",
		Evidence: []rule.Evidence{
			rule.Ratio("throttled_periods_ratio", share, "cgroup"),
			rule.Count("throttled_periods", math.Round(share*periods), "cgroup"),
		},
		Cause: fmt.Sprintf("The kernel stopped the container in %s of its CPU periods: the quota was used up.", rule.FormatPercent(share)),
	}
	if share >= warnShare {
		f.Severity = rule.Warning
	}
	if d, s, ok := v.Delta(record.FieldCgroupThrottled); ok {
		f.Evidence = append(f.Evidence, rule.Ratio("throttled_time_ratio", d/s, "cgroup"))
	}
	quota := v.Process.CPUQuotaCores
	if quota > 0 && quota < 1e6 {
		f.Evidence = append(f.Evidence, rule.Cores("cpu_quota_cores", quota, "cgroup"))
	} else {
		quota = 0
	}
	if p := v.Pauses(); len(p) > 0 {
		f.Evidence = append(f.Evidence, rule.Seconds("gc_pause_max_seconds", p[len(p)-1], "cycles"))
	}
	raise := "Raise the CPU limit, or remove it and keep the CPU request."
	if quota > 0 {
		raise = fmt.Sprintf("Raise the CPU limit above %.3g, or remove it and keep the CPU request.", quota)
	}
	f.Remedy = raise
	if procs, ok := v.Last(record.FieldGOMAXPROCS); ok && quota > 0 && procs > max(2, math.Ceil(quota)) {
		f.Remedy += fmt.Sprintf(" Until then set GOMAXPROCS=%.0f: it is %.0f.", max(2, math.Ceil(quota)), procs)
	}
	cpu, known := v.CPU()
	switch {
	case !known:
		f.Confidence, f.ConfidenceReason = rule.Medium, "the kernel counts throttled periods; what the collector takes is not known from this recording"
	case cpu.Share < gcShare:
		f.Title = "Not the GC: the container's CPU is throttled"
		f.Evidence = append(f.Evidence, rule.GCEvidence(v)...)
		f.Cause += fmt.Sprintf(" The collector takes %s of the process's CPU: latency that looks like GC pauses is the quota's.", rule.FormatPercent(cpu.Share))
	default:
		f.Title = "The container's CPU is throttled, and GC takes a good part of the quota"
		f.Evidence = append(f.Evidence, rule.GCEvidence(v)...)
		f.Cause += fmt.Sprintf(" The collector takes %s of the process's CPU.", rule.FormatPercent(cpu.Share))
		if p, ok := v.Propose(); ok {
			f.Remedy += " And: " + rule.ProposalRemedy(v, p)
		}
	}
	return []rule.Finding{f}
}
