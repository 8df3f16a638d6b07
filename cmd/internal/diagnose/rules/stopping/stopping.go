// Package stopping finds goroutines that keep the world from stopping.
package stopping

import (
	"fmt"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW4002"

	long  = 0.010 // seconds
	few   = 5     // stops
	many  = 10
	sites = 3
)

// Rule is HW4002.
var Rule = rule.Rule{
	ID:         id,
	Name:       "stopping",
	Title:      "The world takes long to stop",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `From the request to stop the world until all goroutines have stopped, 10 ms and more go by.`,
	Why: `Those that stopped first wait for the last. The pause is as long as the longest stretch without a safepoint, whatever the
		collector does in it.`,
	How: `The runtime's histograms of stopping times (Go 1.22 and newer), for GC and for other reasons, over the window. A 99th
		percentile of 10 ms over at least 5 stops is information. A warning needs a median of 10 ms over at least 10 stops on a
		machine that was not contended, or a 90th percentile of 10 ms with asyncpreemptoff=1 in GODEBUG. Creation sites of
		goroutines that ran at the snapshots are named: one of them may be it.`,
	Remedy: `Take asyncpreemptoff=1 out of GODEBUG. Cut up single operations on very large blocks (copy, clear, big map growth). Assembly
		and cgo callbacks need safepoints of their own.`,
	FalseAlarms: `A thread that the kernel had taken off the CPU stops late too: see HW4004, and look at the machine's load.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldSTWStoppingGC},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	h, n, ok := v.Histogram(record.FieldSTWStoppingGC)
	if !ok || n < few {
		return nil
	}
	p50, p90, p99 := h.Quantile(0.5).Seconds(), h.Quantile(0.9).Seconds(), h.Quantile(0.99).Seconds()
	if p99 < long {
		return nil
	}
	src := v.Source(record.FieldSTWStoppingGC)
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "the runtime measures the time to stop",
		Title: fmt.Sprintf("The world takes up to %s to stop", rule.FormatSeconds(p99)),
		Evidence: []rule.Evidence{
			rule.Seconds("stw_stopping_p50_seconds", p50, src),
			rule.Seconds("stw_stopping_p90_seconds", p90, src),
			rule.Seconds("stw_stopping_p99_seconds", p99, src),
			rule.Count("stw_stops", n, src),
		},
		Cause: fmt.Sprintf("Of %.0f stops for GC, half took up to %s and one in a hundred %s or more: a goroutine was late at its safepoint, or its thread was not on a CPU.",
			n, rule.FormatSeconds(p50), rule.FormatSeconds(p99)),
		Remedy: "Look at what runs for long without a function call or a loop that can be preempted: operations on very large blocks, assembly, cgo. An execution trace shows who ran.",
	}
	contended, known, why := v.Contended()
	preemptOff := setting(v.Process.GoEnv["GODEBUG"], "asyncpreemptoff=1")
	switch {
	case preemptOff:
		f.Cause += " GODEBUG has asyncpreemptoff=1: a loop without calls cannot be stopped."
		f.Remedy = "Take asyncpreemptoff=1 out of GODEBUG."
		if p90 >= long {
			f.Severity = rule.Warning
		}
	case contended:
		f.Confidence, f.ConfidenceReason = rule.Medium, why+": a thread that is not on a CPU stops late too"
		f.Cause += " The machine was contended."
	case !known:
		f.Confidence, f.ConfidenceReason = rule.Medium, "the recording does not tell whether the machine was contended; a thread that is not on a CPU stops late too"
	case p50 >= long && n >= many:
		f.Severity = rule.Warning
	}
	for _, s := range running(v) {
		if len(f.Sites) < sites {
			f.Sites = append(f.Sites, s)
		}
	}
	if len(f.Sites) > 0 {
		f.Cause += " Running at the snapshots were goroutines started at: " + rule.NamedSites(f.Sites) + "."
	}
	return []rule.Finding{f}
}

// setting reports whether a GODEBUG value holds a setting; the last one of a key
// would win, which is not looked at.
func setting(godebug, want string) bool {
	for i, s := range strings.Split(godebug, ",") {
		if i > 64 {
			break
		}
		if strings.TrimSpace(s) == want {
			return true
		}
	}
	return false
}

// running are the creation sites of goroutines that ran when a snapshot was
// taken, most first seen first.
func running(v *view.View) []rule.Site {
	var out []rule.Site
	seen := make(map[record.Frame]bool)
	for i := range v.Rec.Goroutines {
		for _, g := range v.Rec.Goroutines[i].Groups {
			if g.Status == "running" && !g.System && g.CreatedBy.Func != "" && !seen[g.CreatedBy] && len(out) < sites {
				seen[g.CreatedBy] = true
				out = append(out, rule.At(g.CreatedBy, "created_by", "running"))
			}
		}
	}
	return out
}
