// Package pauses finds stop-the-world pauses that stand out.
package pauses

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
)

const (
	id = "HW4001"

	// long is a pause, in seconds, that users notice. Go's pauses are well below
	// a millisecond at any heap size: 10 ms have another cause.
	long = 0.010
	// outlier is the factor over the median.
	outlier   = 10
	fewPauses = 20
	// Many: the 90th percentile is long, and rests on so many pauses.
	manyPauses = 10
)

// Rule is HW4001.
var Rule = rule.Rule{
	ID:         id,
	Name:       "pauses",
	Title:      "GC pauses stand out",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `Some or most stop-the-world pauses of the collector last 10 ms or more.`,
	Why: `The pauses of Go's collector are short whatever the size of the heap. A long one waits for something: a goroutine that does
		not reach a safepoint, or a kernel that does not run the threads.`,
	How: `Every pause is read, from the runtime's ring of 256. A maximum of 10 ms that is ten times the median is information, given 20
		pauses. It is a warning when one in ten lasts 10 ms, given ten pauses, unless the machine was contended: then the kernel
		took the threads off the CPU, and it stays information.`,
	Remedy: `See HW4002 for what delays the stop: a non-preemptible stretch. On a contended machine give the process CPU. Never call
		runtime.ReadMemStats or take goroutine dumps often: they stop the world too.`,
	FalseAlarms: `Machines that are overloaded without the recording showing it: pressure in another virtual machine.`,
	Since:       "0.1",
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	pauses := v.Pauses()
	n := len(pauses)
	if n < manyPauses {
		return nil
	}
	p50, p90, p99, most := view.QuantileOf(pauses, 0.5), view.QuantileOf(pauses, 0.9), view.QuantileOf(pauses, 0.99), pauses[n-1]
	many := p90 >= long
	if !many && (n < fewPauses || most < long || most < outlier*p50) {
		return nil
	}
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "every pause was read from the runtime",
		Title: fmt.Sprintf("A GC pause of %s among pauses of %s", rule.FormatSeconds(most), rule.FormatSeconds(p50)),
		Evidence: []rule.Evidence{
			rule.Seconds("gc_pause_p50_seconds", p50, "cycles"),
			rule.Seconds("gc_pause_p90_seconds", p90, "cycles"),
			rule.Seconds("gc_pause_p99_seconds", p99, "cycles"),
			rule.Seconds("gc_pause_max_seconds", most, "cycles"),
			rule.Count("gc_pauses", float64(n), "cycles"),
		},
		Cause: fmt.Sprintf("Of %d pauses half are below %s, one in ten is at least %s, and the longest is %s.", n,
			rule.FormatSeconds(p50), rule.FormatSeconds(p90), rule.FormatSeconds(most)),
	}
	if many {
		f.Title = fmt.Sprintf("One GC pause in ten lasts %s or more", rule.FormatSeconds(p90))
	}
	contended, known, why := v.Contended()
	switch {
	case contended:
		f.Confidence, f.ConfidenceReason = rule.Medium, why+": the pauses may be the machine's doing"
		f.Cause += " The machine was contended: a thread that the kernel does not run makes a pause long."
		f.Remedy = "Give the process CPU: a higher quota, fewer neighbours; then record again."
	case many && known:
		f.Severity = rule.Warning
		fallthrough
	default:
		if !known {
			f.Confidence, f.ConfidenceReason = rule.Medium, "the recording does not tell whether the machine was contended"
		}
		f.Remedy = "Find what delays the stop (HW4002): a loop without calls under asyncpreemptoff=1, one copy or clearing of a very large block. An execution trace around a long pause names the goroutine that ran."
	}
	return []rule.Finding{f}
}
