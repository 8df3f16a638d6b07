// Package pagecache finds memory of a container that is page cache, and nobody's leak.
package pagecache

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW3011"

	leastBytes = 64 << 20
	leastPart  = 0.25 // of the limit
)

// Rule is HW3011.
var Rule = rule.Rule{
	ID:         id,
	Name:       "pagecache",
	Title:      "Much of the container's memory is page cache",
	Severities: []rule.Severity{rule.Info},
	What:       `A good part of what counts as the container's usage are pages of files that were read or written.`,
	Why: `Usage that rises to the limit looks like a leak in a dashboard, and page cache does that in every container that reads or
		writes files. The kernel drops it when memory is wanted. That takes time in which whoever wants memory waits, and what is dropped
		has to be read again: HW4005 says when that happens.`,
	How: `Page cache by the cgroup's memory.stat, without shared memory, held at three looks in a row, a second apart: 64 MiB and 25% of
		the limit.`,
	Remedy: `Nothing, mostly: alert on the working set (usage without inactive page cache), or on what cannot be dropped, and not on
		usage. A program that writes large files which nobody reads again can tell the kernel (POSIX_FADV_DONTNEED, O_DIRECT).`,
	FalseAlarms: `None by itself: it says what the memory is.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldCgroupFileBytes, record.FieldCgroupLimitBytes},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	cache, ok := view.Sustained(v.Series(record.FieldCgroupFileBytes))
	limit := v.ContainerLimit()
	if !ok || !v.Has(record.FieldCgroupLimitBytes) || limit <= 0 || cache < leastBytes || cache < leastPart*limit {
		return nil
	}
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "the kernel counts it",
		Title: fmt.Sprintf("%s of the container's memory are page cache", rule.FormatBytes(cache)),
		Evidence: []rule.Evidence{
			rule.Bytes("cgroup_file_bytes", cache, "cgroup"),
			rule.Ratio("cgroup_file_of_limit_ratio", cache/limit, "computed"),
			rule.Bytes("cgroup_limit_bytes", limit, "cgroup"),
		},
		Cause:  fmt.Sprintf("Of the container's limit of %s, %s are pages of files. The kernel drops them when memory is wanted.", rule.FormatBytes(limit), rule.FormatBytes(cache)),
		Remedy: "Do not take the container's usage for the program's: what processes have and shared memory is what counts.",
	}
	if fixed, ok := v.FixedPeak(); ok {
		f.Evidence = append(f.Evidence, rule.Bytes("cgroup_fixed_bytes", fixed, "cgroup"))
		f.Cause += fmt.Sprintf(" What cannot be dropped is %s.", rule.FormatBytes(fixed))
	}
	return []rule.Finding{f}
}
