// Package gomaxprocs compares GOMAXPROCS with the CPU quota of the container.
package gomaxprocs

import (
	"fmt"
	"math"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW1007"

	// least is the lowest GOMAXPROCS that the runtime itself chooses for a quota
	// (runtime/cgroup_linux.go, adjustCgroupGOMAXPROCS, Go 1.25+): with one P the
	// collector and the program take turns.
	least = 2
	// far is how many times too high GOMAXPROCS must be for a warning.
	far = 2
	// throttled is the share of periods in which the kernel stopped the process.
	throttled = 0.10
	// awareMinor is the first Go release that reads the CPU quota.
	awareMinor = 25
)

// Rule is HW1007.
var Rule = rule.Rule{
	ID:         id,
	Name:       "gomaxprocs",
	Title:      "GOMAXPROCS does not fit the CPU quota",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `GOMAXPROCS is above the container's CPU quota, or well below it.`,
	Why: `With more Ps than the quota the process uses its share of a period in a burst, collector workers included, and is then
		stopped by the kernel for the rest of it: pauses of tens of milliseconds that no GC log shows. With fewer, CPU that is
		paid for stays unused.`,
	How: `The smallest CPU quota on the cgroup's path, rounded up and at least 2 as the runtime does it, is compared with GOMAXPROCS.
		Twice as much is a warning; more is one when the process was throttled in 10% of the periods; else it is information.
		At least one whole core too few is information, unless the host has no more.`,
	Remedy:      `Unset GOMAXPROCS with Go 1.25 or newer, else set it to the quota.`,
	FalseAlarms: `A quota that is changed while the process runs: Go 1.25 and newer follow it within a second, older ones never do.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldGOMAXPROCS},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	quota := v.Process.CPUQuotaCores
	procs, ok := v.Last(record.FieldGOMAXPROCS)
	if !ok || procs < 1 || !(quota > 0 && quota < 1e6) {
		return nil
	}
	fit := max(least, math.Ceil(quota))
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "both numbers were read directly",
		Evidence: []rule.Evidence{
			rule.Count("gomaxprocs", procs, v.Source(record.FieldGOMAXPROCS)),
			rule.Cores("cpu_quota_cores", quota, "cgroup"),
		},
	}
	share, known := v.ThrottledShare()
	if known {
		f.Evidence = append(f.Evidence, rule.Ratio("throttled_periods_ratio", share, "cgroup"))
	}
	switch {
	case procs > fit:
		f.Title = fmt.Sprintf("GOMAXPROCS=%.0f is above the CPU quota of %.3g", procs, quota)
		if procs >= far*fit || (known && share >= throttled) {
			f.Severity = rule.Warning
		}
		f.Cause = fmt.Sprintf("The process may run on %.0f CPUs at once, but has %.3g cores of CPU time. %s", procs, quota, why(v))
		f.Remedy = remedy(v, fit)
	case procs <= quota-1 && (v.Process.HostCPUs == 0 || procs < float64(v.Process.HostCPUs)):
		f.Title = fmt.Sprintf("GOMAXPROCS=%.0f leaves part of the CPU quota of %.3g unused", procs, quota)
		f.Cause = fmt.Sprintf("The process never runs on more than %.0f CPUs at once, and its quota is %.3g cores. %s", procs, quota, why(v))
		f.Remedy = fmt.Sprintf("Unset GOMAXPROCS, in the environment and in the program, or set GOMAXPROCS=%.0f.", fit)
	default:
		return nil
	}
	return []rule.Finding{f}
}

func why(v *view.View) string {
	minor, known := v.GoMinor()
	switch {
	case v.Process.GoEnv["GOMAXPROCS"] != "":
		return "The environment variable GOMAXPROCS sets it."
	case !known:
		return "Go before 1.25 takes the number of CPUs of the host."
	case minor < awareMinor:
		return fmt.Sprintf("Go 1.%d takes the number of CPUs of the host; the quota is read from Go 1.25 on.", minor)
	}
	return "The program sets it, or was built with a go directive below 1.25 (GODEBUG containermaxprocs=0), or the quota is set on a parent cgroup that the runtime does not see."
}

func remedy(v *view.View, fit float64) string {
	if minor, known := v.GoMinor(); known && minor >= awareMinor {
		return fmt.Sprintf("Unset GOMAXPROCS and let the runtime follow the quota, or set GOMAXPROCS=%.0f.", fit)
	}
	return fmt.Sprintf("Set GOMAXPROCS=%.0f, or build with Go 1.25 or newer.", fit)
}
