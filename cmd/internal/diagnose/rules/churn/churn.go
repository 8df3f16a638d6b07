// Package churn finds programs that make garbage faster than the collector can
// take it for free.
package churn

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW2001"

	// leastRate is the allocation rate below which garbage is not the matter:
	// 50 MiB/s is what one core allocates in about a twentieth of its time.
	leastRate = 50 << 20
	// dead is the share of the allocated bytes that no longer lived at the end.
	dead = 0.95
	// fewCycles is how many cycles it takes to say that.
	fewCycles = 5

	infoShare = 0.05 // of the process's CPU in GC
	warnShare = 0.35 // see HW2003
	fewCores  = 0.1
	warnCores = 0.2
	// mainSite is the share of the bytes that one site must have for an expert to
	// begin there.
	mainSite = 0.5
	topSites = 5
)

// Rule is HW2001.
var Rule = rule.Rule{
	ID:         id,
	Name:       "churn",
	Title:      "Most of what is allocated dies at once, and costs GC CPU",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `The program allocates fast, and nearly all of it is garbage soon after.`,
	Why: `Go's collector is not generational: dead objects cost nothing to mark, but each byte allocated brings the next cycle nearer,
		and each cycle marks all that lives. Allocation itself takes CPU too: zeroing, span changes, cache misses.`,
	How: `Over the window: bytes allocated, minus the growth of the live heap, must be 95% of the bytes allocated, at 50 MiB/s or
		more, over at least 5 cycles, with the collector at 5% of the process's CPU. The runtime keeps no object's age, so this
		says that the bytes had died by the end of the window. With heap profiles in the recording, the sites are those that
		allocated most between the first and the last. A warning needs 35% of CPU in GC and one site with half of the bytes.`,
	Remedy: `At the sites named: reuse buffers (sync.Pool, append to a slice kept), size slices and maps ahead, avoid conversions between
		string and []byte, keep values off the heap. Measure before and after: a pool does not always pay. Where the code is not
		yours, raise GOGC.`,
	FalseAlarms: `A service whose job is to produce short-lived data and whose GC share is fine with you: it is information then.`,
	Since:       "0.1",
	Needs: []record.Field{record.FieldTotalAllocBytes, record.FieldHeapMarkedBytes, record.FieldGCCycles,
		record.FieldCPUGCTotal, record.FieldCPUTotal, record.FieldCPUIdle},
	Check: check,
}

func check(v *view.View) []rule.Finding {
	alloc, seconds, ok := v.Delta(record.FieldTotalAllocBytes)
	first, okF := v.First(record.FieldHeapMarkedBytes)
	last, okL := v.Last(record.FieldHeapMarkedBytes)
	cycles, _, okC := v.Delta(record.FieldGCCycles)
	cpu, okCPU := v.CPU()
	if !ok || !okF || !okL || !okC || !okCPU || cycles < fewCycles || alloc/seconds < leastRate {
		return nil
	}
	died := 1 - max(0, last-first)/alloc
	if died < dead || cpu.Share < infoShare || cpu.Demand < fewCores {
		return nil
	}
	sites, window := rule.TopSites(v, topSites)
	all, _ := v.HeapSites()
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High,
		ConfidenceReason: "bytes allocated and bytes alive are counted by the runtime; the sites come from two heap profiles",
		Title:            fmt.Sprintf("%s/s are allocated and die at once", rule.FormatBytes(alloc/seconds)),
		Evidence: append([]rule.Evidence{
			rule.ByteRate("alloc_bytes_per_second", alloc/seconds, v.Source(record.FieldTotalAllocBytes)),
			rule.Ratio("died_ratio", died, "computed"),
			rule.Bytes("heap_live_bytes", last, v.Source(record.FieldHeapMarkedBytes)),
		}, rule.GCEvidence(v)...),
		Cause: fmt.Sprintf("Of %s allocated in %s, %s were dead at the end.", rule.FormatBytes(alloc), rule.FormatSeconds(seconds), rule.FormatPercent(died)),
		Sites: sites,
	}
	if objects, _, ok := v.Delta(record.FieldAllocObjects); ok && objects > 0 {
		f.Evidence = append(f.Evidence, rule.Bytes("alloc_mean_object_bytes", alloc/objects, "computed"))
	}
	switch {
	case len(sites) == 0:
		f.Confidence, f.ConfidenceReason = rule.Medium, "there is no heap profile in the recording, so the sites are not known"
		f.Remedy = "Find the sites with `heapwright profile PID --type allocs`; reuse what they allocate, or raise GOGC."
	default:
		if !window {
			f.Confidence, f.ConfidenceReason = rule.Medium, "there is one heap profile only: its sites are those since the process started, not those of the window"
		}
		f.Cause += " Most of it comes from: " + rule.NamedSites(sites) + "."
		f.Remedy = fmt.Sprintf("Begin at %s: reuse what it allocates (a sync.Pool, a buffer that is kept, sizes given ahead), and compare before and after.", sites[0])
		if cpu.Share >= warnShare && cpu.Demand >= warnCores && all[0].AllocShare >= mainSite {
			f.Severity = rule.Warning
		}
	}
	if p, ok := v.Propose(); ok {
		f.Remedy += " Without touching the code: " + rule.ProposalRemedy(v, p)
	}
	return []rule.Finding{f}
}
