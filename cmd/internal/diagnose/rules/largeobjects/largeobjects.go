// Package largeobjects finds programs that allocate and drop objects of 32 KiB and
// more all the time.
package largeobjects

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW2004"

	// large is the size from which an object has a span of its own: above
	// maxSmallSize-mallocHeaderSize (runtime/malloc.go, Go 1.22 and newer; 8 bytes
	// more before). A buffer of exactly 32 KiB, such as io.Copy's, is large.
	large = 32<<10 - 7

	infoPart = 0.50 // of all allocated bytes
	infoRate = 50 << 20
	// A warning needs nearly all bytes, a rate at which zeroing alone takes a
	// noticeable part of a core (memory bandwidth is some 10 GiB/s), and cycles
	// that follow each other within 100 ms.
	warnPart   = 0.80
	warnRate   = 512 << 20
	warnCycles = 10
	// died is the share that must have been freed: else it is growth, not churn.
	died      = 0.5
	siteShare = 0.05 // of allocated bytes, to be named
	topSites  = 3
)

// Rule is HW2004.
var Rule = rule.Rule{
	ID:         id,
	Name:       "largeobjects",
	Title:      "Large objects are allocated and dropped all the time",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `Most allocated bytes are in objects of 32 KiB and more that do not live long.`,
	Why: `A large object bypasses the caches: each takes the heap lock, a span of its own, and zeroing of every byte. A few of them
		bring on the next cycle, and the heap's peak jumps by whole objects.`,
	How: `The runtime counts large objects apart (the size class 0 of its statistics). They must be half of all allocated bytes, at
		50 MiB/s or more, half of them freed within the window. A warning needs 80%, 512 MiB/s, and 10 cycles a second.`,
	Remedy: `Reuse the buffers at the sites named: a sync.Pool of a fixed size, a buffer per worker, io.CopyBuffer; or stream in chunks
		instead of reading all, each of fewer than 32 KiB: from 32,761 bytes on an object is large.`,
	FalseAlarms: `Work that needs large buffers now and then, at a GC share that is fine with you.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldLargeAllocBytes, record.FieldLargeFreeBytes, record.FieldTotalAllocBytes},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	big, seconds, okB := v.Delta(record.FieldLargeAllocBytes)
	freed, _, okF := v.Delta(record.FieldLargeFreeBytes)
	all, _, okA := v.Delta(record.FieldTotalAllocBytes)
	if !okB || !okF || !okA || all <= 0 || big > all {
		return nil
	}
	part, rate := big/all, big/seconds
	if part < infoPart || rate < infoRate || freed < died*big {
		return nil
	}
	src := v.Source(record.FieldLargeAllocBytes)
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "the runtime counts large objects",
		Title: fmt.Sprintf("%s/s of large objects are allocated and dropped", rule.FormatBytes(rate)),
		Evidence: append([]rule.Evidence{
			rule.ByteRate("large_alloc_bytes_per_second", rate, src),
			rule.Ratio("large_alloc_ratio", part, src),
		}, rule.GCEvidence(v)...),
		Cause: fmt.Sprintf("%s of the allocated bytes are objects of 32 KiB and more, and most of them are freed again in the window.", rule.FormatPercent(part)),
	}
	cycles, known := v.CycleCount()
	if part >= warnPart && rate >= warnRate && known && v.Window() > 0 && cycles/v.Window() >= warnCycles {
		f.Severity = rule.Warning
	}
	if n, ok := v.LargeObjects(); ok && n > 0 {
		f.Evidence = append(f.Evidence, rule.Bytes("large_object_mean_bytes", big/n, "computed"))
		f.Cause += fmt.Sprintf(" Their mean size is %s.", rule.FormatBytes(big/n))
	}
	sites, _ := v.HeapSites()
	for _, s := range view.TopBy(sites, len(sites), func(s view.SiteDelta) float64 { return s.AllocBytes }) {
		if s.AllocObjects > 0 && s.AllocBytes/s.AllocObjects >= large && s.AllocShare >= siteShare && len(f.Sites) < topSites {
			f.Sites = append(f.Sites, rule.At(s.Site, "allocates",
				fmt.Sprintf("%s of allocated bytes, %s each", rule.FormatPercent(s.AllocShare), rule.FormatBytes(s.AllocBytes/s.AllocObjects))))
		}
	}
	if len(f.Sites) > 0 {
		f.Cause += " They come from: " + rule.NamedSites(f.Sites) + "."
		f.Remedy = fmt.Sprintf("Reuse the buffers of %s (sync.Pool, or one per worker), or work in chunks of fewer than 32 KiB.", f.Sites[0])
	} else {
		f.Confidence, f.ConfidenceReason = rule.Medium, "there is no heap profile with large objects in the recording, so the sites are not known"
		f.Remedy = "Find the sites with `heapwright profile PID --type allocs` and reuse their buffers, or work in chunks of fewer than 32 KiB."
	}
	return []rule.Finding{f}
}
