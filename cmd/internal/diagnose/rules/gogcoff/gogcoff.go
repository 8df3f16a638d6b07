// Package gogcoff finds a collector that is switched off with nothing to bound
// the heap.
package gogcoff

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW1004"

	// soon is the time to the end of memory, in seconds, from which on the
	// service is about to die rather than badly set: an hour is less than the
	// time between two deployments.
	soon = 3600
)

// Rule is HW1004.
var Rule = rule.Rule{
	ID:         id,
	Name:       "gogcoff",
	Title:      "GOGC is off and there is no memory limit",
	Severities: []rule.Severity{rule.Warning, rule.Critical},
	What:       `GOGC=off (or debug.SetGCPercent(-1)) without GOMEMLIMIT: no garbage is collected, ever, not even by the runtime's two-minute timer.`,
	Why:        `Every byte that is allocated stays until the process ends or the kernel ends it.`,
	How: `Both settings are read from the runtime. The time left is the container's memory limit, or the host's memory, minus what
		is resident, by the rate of allocation; below an hour the finding is critical.`,
	Remedy:      `Set GOGC=100 and a GOMEMLIMIT that fits the container. GOGC=off is for use together with GOMEMLIMIT only.`,
	FalseAlarms: `A command that ends by itself before it has used the memory, such as a compiler. Services do not.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldGOGCPercent, record.FieldGOMEMLIMITBytes},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	gogc, ok := v.GOGC()
	_, set, okL := v.GOMEMLIMIT()
	if !ok || !okL || set || gogc >= 0 {
		return nil
	}
	f := rule.Finding{
		ID: id, Severity: rule.Warning, Confidence: rule.High, ConfidenceReason: "both settings were read directly",
		Title:    "GOGC is off and there is no GOMEMLIMIT: garbage is never collected",
		Evidence: []rule.Evidence{rule.Percent("gogc_percent", gogc, v.Source(record.FieldGOGCPercent))},
		Cause:    "The collector is switched off and no memory limit would switch it on.",
		Remedy:   "Set GOGC=100.",
	}
	limit, what := v.ContainerLimit(), "the container's limit"
	if limit == 0 {
		limit, what = float64(v.Process.HostMemoryBytes), "the host's memory"
	}
	rss, okR := v.Last(record.FieldRSSBytes)
	rate, okA := v.Rate(record.FieldTotalAllocBytes)
	if limit > 0 && okR && okA && rate > 0 && rss < limit {
		left := (limit - rss) / rate
		f.Evidence = append(f.Evidence,
			rule.ByteRate("alloc_bytes_per_second", rate, v.Source(record.FieldTotalAllocBytes)),
			rule.Bytes("rss_bytes", rss, "kernel"),
			rule.Seconds("memory_exhausted_in_seconds", left, "computed"))
		f.Cause += fmt.Sprintf(" At %s/s it reaches %s of %s in %s.", rule.FormatBytes(rate), what, rule.FormatBytes(limit), rule.FormatSeconds(left))
		if left < soon {
			f.Severity = rule.Critical
		}
	}
	if container := v.ContainerLimit(); container > 0 {
		// Without a cycle nobody knows what is alive, so the size of the limit
		// rests on the container and the outside memory alone.
		if outside, ok := v.OutsidePeak(); ok {
			if s := view.SizeFor(container, outside, 0); s > 0 {
				f.Remedy = fmt.Sprintf("Set GOGC=100 and GOMEMLIMIT=%s (%s of the container minus %s outside of Go minus a reserve).",
					rule.MemLimit(s), rule.FormatBytes(container), rule.FormatBytes(outside))
			}
		}
	}
	return []rule.Finding{f}
}
