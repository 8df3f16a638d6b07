// Package reclaim finds a container whose memory the kernel takes away while it is used.
package reclaim

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW4005"

	pageBytes = 4096
	// Pages that come back: few are what every container that reads files has.
	infoPages = 256
	infoRate  = 20 // a second
	warnRate  = 2000
	// Time in which some task waits for memory.
	infoStall = 0.01
	warnStall = 0.10
	leastSpan = 3 // seconds
)

// Rule is HW4005.
var Rule = rule.Rule{
	ID:         id,
	Name:       "reclaim",
	Title:      "The kernel takes memory from the container that is still used",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What: `The container is near its limit or its memory.high, and the kernel drops pages that are needed again at once: program text, mapped
		files, page cache.`,
	Why: `Each page that comes back is a wait for a disk, in the middle of whatever touched it, and allocating waits until the kernel has
		found something to take. It looks like pauses of the collector, and is none: GC settings change nothing but how much
		memory there is to want.`,
	How: `Pages that were reclaimed and read again (workingset_refault in the cgroup's memory.stat), over at least three seconds: 256 of
		them and 20 a second are information, 2000 a second a warning. Without a limit of the container they may be anybody's, and it
		is looked whether this process itself waited for a disk in as many page faults. Or time in which some task waited for memory (memory.pressure,
		cgroup v2): 1% is information, 10% a warning. What was reclaimed and is not missed does not count.`,
	Remedy: `Raise the container's limit or memory.high, or make less of its memory fixed: a lower GOMEMLIMIT leaves more room to what is
		read from files.`,
	FalseAlarms: `A job that reads more files than fit, one after the other and again.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldCgroupRefaults},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	pages, seconds, ok := v.Delta(record.FieldCgroupRefaults)
	if !ok || seconds < leastSpan {
		return nil
	}
	rate := pages / seconds
	stall, stalled := 0.0, false
	if d, s, ok := v.Delta(record.FieldPSIMemorySomeStall); ok && s >= leastSpan {
		stall, stalled = d/s, true
	}
	faults, faulted, _ := v.Delta(record.FieldMajorFaults)
	from := "the container"
	if v.ContainerLimit() == 0 {
		// The group may be that of a whole session or machine.
		from = "its cgroup, which has no limit of its own,"
		rate = min(rate, faults/max(faulted, leastSpan))
	}
	back := pages >= infoPages && rate >= infoRate
	if !back && stall < infoStall {
		return nil
	}
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "the kernel counts pages that it had to read again",
		Title: "The kernel reclaims memory that the container still uses",
		Evidence: []rule.Evidence{
			rule.PerSecond("cgroup_refaults_per_second", pages/seconds, "cgroup"),
			rule.Bytes("cgroup_refaulted_bytes", pages*pageBytes, "cgroup"),
		},
		Cause: fmt.Sprintf("In %s the kernel took %.0f pages (%s) from %s that were needed again.",
			rule.FormatSeconds(seconds), pages, rule.FormatBytes(pages*pageBytes), from),
		Remedy: "Raise the container's memory limit (or memory.high), or lower GOMEMLIMIT so that files have room.",
	}
	if !back {
		f.Title = "Tasks of the container wait for memory"
		f.Cause = "The kernel made tasks of the container wait while it looked for memory to take."
		f.ConfidenceReason = "the kernel measures the time in which tasks wait for memory"
	}
	if d, s, ok := v.Delta(record.FieldCgroupReclaimedBytes); ok && s > 0 {
		f.Evidence = append(f.Evidence, rule.ByteRate("cgroup_reclaimed_bytes_per_second", d/s, "cgroup"))
	}
	if faulted > 0 {
		f.Evidence = append(f.Evidence, rule.PerSecond("major_faults_per_second", faults/faulted, "kernel"))
		if faults > 0 {
			f.Cause += fmt.Sprintf(" This process waited for a disk in %.0f page faults.", faults)
		}
	}
	if stalled {
		f.Evidence = append(f.Evidence, rule.Ratio("memory_stall_ratio", stall, "cgroup"))
		if stall > 0 {
			f.Cause += fmt.Sprintf(" Some task waited for memory in %s of the time.", rule.FormatPercent(stall))
		}
	}
	if usage, ok := v.Max(record.FieldCgroupUsageBytes); ok {
		f.Evidence = append(f.Evidence, rule.Bytes("cgroup_usage_peak_bytes", usage, "cgroup"))
		if limit := v.ContainerLimit(); limit > 0 && usage < limit*0.9 {
			f.Cause += fmt.Sprintf(" The usage, %s at most, is below the limit of %s: look at memory.high, at the groups above, or at who lowers limits.", rule.FormatBytes(usage), rule.FormatBytes(limit))
		}
	}
	if rate >= warnRate || stall >= warnStall {
		f.Severity = rule.Warning
	}
	return []rule.Finding{f}
}
