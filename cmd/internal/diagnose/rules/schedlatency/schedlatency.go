// Package schedlatency finds goroutines that wait long for their turn.
package schedlatency

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW4003"

	few      = 30    // waits measured; the runtime measures one in eight (runtime/runtime2.go, gTrackingPeriod)
	enough   = 300   // for a 99th percentile
	infoWait = 0.010 // seconds; the scheduler's own time slice is 10 ms (runtime/proc.go, forcePreemptNS)
	warnWait = 0.100
	// queue is the runnable goroutines for each P from which on a Go server is
	// overloaded; CockroachDB's admission control uses the same number.
	queue = 32
	// busy is the share of its Ps that the process must really use: else the
	// machine, not the program, makes goroutines wait.
	busy  = 0.70
	sites = 3
)

// Rule is HW4003.
var Rule = rule.Rule{
	ID:         id,
	Name:       "schedlatency",
	Title:      "Runnable goroutines wait long for a P",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `Goroutines that could run wait for milliseconds until they do.`,
	Why: `A request wakes several goroutines one after the other, and each pays that wait. It is latency that neither the network nor the
		collector explains.`,
	How: `The runtime's histogram of scheduler latencies over the window, at least 30 of them. A 99th percentile of 10 ms is information; 100 ms is a warning
		when there are also 32 runnable goroutines for each P on average and the process uses 70% of its Ps by the kernel's account.
		Below that, the machine is too busy, not the program.`,
	Remedy: `Fewer goroutines that compute at the same time (a semaphore of GOMAXPROCS), work split into smaller pieces, more CPU, or less
		load: shed it at the door.`,
	FalseAlarms: `Batch work that nobody waits for.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldSchedLatency},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	h, n, ok := v.Histogram(record.FieldSchedLatency)
	if !ok || n < few {
		return nil
	}
	p50, p99 := h.Quantile(0.5).Seconds(), h.Quantile(0.99).Seconds()
	if p99 < infoWait {
		return nil
	}
	src := v.Source(record.FieldSchedLatency)
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "the runtime measures the wait of one in eight goroutines that become runnable",
		Title: fmt.Sprintf("One goroutine in a hundred waits %s or more for a P", rule.FormatSeconds(p99)),
		Evidence: []rule.Evidence{
			rule.Seconds("sched_latency_p50_seconds", p50, src),
			rule.Seconds("sched_latency_p99_seconds", p99, src),
			rule.Count("sched_latency_count", n, src),
		},
		Cause:  fmt.Sprintf("Runnable goroutines wait: half up to %s, one in a hundred %s or more.", rule.FormatSeconds(p50), rule.FormatSeconds(p99)),
		Remedy: "Give the process more CPU, or look for its neighbours.",
	}
	if n < enough {
		f.Confidence, f.ConfidenceReason = rule.Medium, fmt.Sprintf("only %.0f waits were measured", n)
	}
	procs, okP := v.Median(record.FieldGOMAXPROCS)
	runnable, okR := v.Mean(record.FieldRunnable)
	cores, okC := cores(v)
	used := 0.0
	if okP && procs >= 1 && okC {
		used = min(1, cores/procs)
		f.Evidence = append(f.Evidence, rule.Ratio("gomaxprocs_used_ratio", used, "kernel"))
	}
	if okR {
		f.Evidence = append(f.Evidence, rule.Count("runnable_mean", runnable, v.Source(record.FieldRunnable)))
	}
	throttled, okT := v.ThrottledShare()
	switch contended, _, why := v.Contended(); {
	case okP && okR && okC && procs >= 1 && used >= busy && runnable >= queue*procs:
		f.Cause += fmt.Sprintf(" The process uses %s of its %.0f Ps, and %.0f goroutines wait for one on average: it has more to do than CPU.", rule.FormatPercent(used), procs, runnable)
		f.Remedy = fmt.Sprintf("Let at most %.0f goroutines compute at the same time (a semaphore), give it more CPU, or take less load.", procs)
		if p99 >= warnWait && (!okT || throttled < 0.1) {
			f.Severity = rule.Warning
		}
	case contended:
		f.Confidence, f.ConfidenceReason = rule.Medium, why
		f.Cause += " The machine was contended: the threads that should run them were not on a CPU."
	}
	for i := range v.Rec.Goroutines {
		for _, g := range v.Rec.Goroutines[i].Groups {
			if (g.Status == "runnable" || g.Status == "running") && !g.System && g.CreatedBy.Func != "" && len(f.Sites) < sites && !has(f.Sites, g.CreatedBy) {
				f.Sites = append(f.Sites, rule.At(g.CreatedBy, "created_by", fmt.Sprintf("%d %s", g.Count, g.Status)))
			}
		}
	}
	if len(f.Sites) > 0 {
		f.Cause += " Wanting to run were goroutines started at: " + rule.NamedSites(f.Sites) + "."
	}
	return []rule.Finding{f}
}

func has(sites []rule.Site, f record.Frame) bool {
	for _, s := range sites {
		if s.Func == f.Func && s.File == f.File && s.Line == f.Line {
			return true
		}
	}
	return false
}

// cores is what the kernel charged the process with, in CPU-seconds per second.
func cores(v *view.View) (float64, bool) {
	user, okU := v.Rate(record.FieldCPUProcUser)
	system, okS := v.Rate(record.FieldCPUProcSystem)
	return user + system, okU && okS
}
