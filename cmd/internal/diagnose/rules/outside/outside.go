// Package outside finds memory that the process has and the Go runtime does not
// know of.
package outside

import (
	"fmt"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW3005"

	infoBytes = 64 << 20
	infoPart  = 0.25 // of the anonymous memory
	warnBytes = 256 << 20
	warnPart  = 0.50
	// warnGrowth is a rise in the window that no thread stack or arena explains.
	warnGrowth = 64 << 20
	leastSpan  = 10 // seconds
)

// Rule is HW3005.
var Rule = rule.Rule{
	ID:         id,
	Name:       "outside",
	Title:      "Much memory is outside of the Go runtime",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `The process has anonymous memory that the Go runtime has not mapped: C allocators behind cgo, mmap by hand, a library that brings its own.`,
	Why: `Neither GOGC nor GOMEMLIMIT knows of it, no heap profile shows it, and the container's limit counts it. A GOMEMLIMIT that
		does not leave it room ends in an OOM kill.`,
	How: `Anonymous resident memory minus what the runtime has ready; memory of files is left out. That is a lower bound: what the
		runtime never touched is not resident. 64 MiB and a quarter of the anonymous memory are information; 256 MiB and half of
		it, or a steady rise of 64 MiB within the window, are a warning. When it is no more than what the runtime has given back to
		the kernel, it may be that memory (MADV_FREE, transparent huge pages), and it is information only.`,
	Remedy: `Leave it room: GOMEMLIMIT = the container's limit minus it minus a reserve. Find it in /proc/PID/smaps; for C memory use
		the allocator's own tools (malloc_info, jemalloc's profiler).`,
	FalseAlarms: `Transparent huge pages that fill memory which the runtime has released (go.dev/issue/64332). GODEBUG=madvdontneed=0.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldRSSAnonBytes, record.FieldMappedReadyBytes},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	pts := v.Outside()
	peak, ok := view.Quantile(pts, 1)
	anon, okA := v.Max(record.FieldRSSAnonBytes)
	if !ok || !okA || anon <= 0 {
		return nil
	}
	part := min(1, peak/anon)
	fit, fitted := trend.Theil(pts)
	growth := 0.0
	if fitted && fit.Rising() && fit.Steady() && fit.Span >= leastSpan {
		growth = fit.Slope * fit.Span
	}
	if growth < warnGrowth && (peak < infoBytes || part < infoPart) {
		return nil
	}
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "the kernel's and the runtime's own accounts were compared",
		Title: fmt.Sprintf("%s are outside of the Go runtime", rule.FormatBytes(peak)),
		Evidence: []rule.Evidence{
			rule.Bytes("outside_go_peak_bytes", peak, "kernel"),
			rule.Ratio("outside_go_ratio", part, "computed"),
			rule.Bytes("rss_anon_peak_bytes", anon, "kernel"),
		},
		Cause: fmt.Sprintf("Of %s of anonymous memory, %s are not mapped by the Go runtime.", rule.FormatBytes(anon), rule.FormatBytes(peak)),
	}
	if growth >= warnGrowth {
		f.Evidence = append(f.Evidence,
			rule.ByteRate("outside_go_slope_bytes_per_second", fit.Slope, "kernel"),
			rule.ByteRate("outside_go_slope_ci_low_bytes_per_second", fit.Low, "kernel"),
			rule.ByteRate("outside_go_slope_ci_high_bytes_per_second", fit.High, "kernel"))
		f.Title = "Memory outside of the Go runtime rises steadily"
		f.Cause += fmt.Sprintf(" It rises by %s/s (95%%: %s/s to %s/s).", rule.FormatBytes(fit.Slope), rule.FormatBytes(fit.Low), rule.FormatBytes(fit.High))
	}
	if growth >= warnGrowth || (peak >= warnBytes && part >= warnPart) {
		f.Severity = rule.Warning
	}
	released, _ := v.Last(record.FieldHeapReleasedBytes)
	lazy := strings.Contains(v.Process.GoEnv["GODEBUG"], "madvdontneed=0")
	if peak <= released || (lazy && growth < warnGrowth) {
		f.Severity = rule.Info
		f.Confidence, f.ConfidenceReason = rule.Low, "the runtime has given back at least as much to the kernel, which may not have taken it (MADV_FREE, transparent huge pages)"
		f.Evidence = append(f.Evidence, rule.Bytes("heap_released_bytes", released, v.Source(record.FieldHeapReleasedBytes)))
	}
	if v.Process.Cgo {
		f.Cause += " The program is built with cgo: C code is the first suspect."
	} else {
		f.Cause += " The program is built without cgo: look for mmap."
	}
	f.Remedy = "Find the mappings in /proc/PID/smaps (the large anonymous ones outside of the Go arenas), and bound what makes them."
	if limit := v.ContainerLimit(); limit > 0 {
		if s, ok := v.SizeLimit(limit); ok {
			f.Remedy += " Meanwhile: " + rule.SizingRemedy(s)
		}
	}
	return []rule.Finding{f}
}
