// Package sharedmemory finds memory of a container that is tmpfs or shared memory.
package sharedmemory

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW3010"

	leastBytes = 32 << 20
	infoPart   = 0.10 // of the limit
	warnPart   = 0.25
	warnFull   = 0.80 // of the limit, in memory that cannot be dropped
)

// Rule is HW3010.
var Rule = rule.Rule{
	ID:         id,
	Name:       "sharedmemory",
	Title:      "Shared memory and tmpfs take memory of the container",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `A good part of the memory that counts against the container's limit is shared memory: files in tmpfs such as /dev/shm, memfd, SysV segments.`,
	Why: `It looks like page cache, but the kernel cannot drop it: nothing stands behind it but swap. It stays until the file is removed,
		also when the process that made it has ended, and no heap profile shows it.`,
	How: `Shared memory by the cgroup's memory.stat, minus what this process maps, held at three looks in a row, a second apart. 32 MiB and
		10% of the limit are information. It is a warning when it is 25% of the limit, and processes and shared memory together are 80%
		of it.`,
	Remedy: `Look into /dev/shm and every other tmpfs of the container (df -t tmpfs), and remove what is left there or give it a size. Take
		what has to stay off GOMEMLIMIT.`,
	FalseAlarms: `A database's shared buffers, or a cache in tmpfs, that are meant to be there. Files in tmpfs that this process itself wrote
		and does not map are told, too.`,
	Since: "0.1",
	Needs: []record.Field{record.FieldCgroupShmemBytes, record.FieldRSSShmemBytes, record.FieldCgroupLimitBytes},
	Check: check,
}

func check(v *view.View) []rule.Finding {
	shared, ok := v.OthersShmem()
	limit := v.ContainerLimit()
	if !ok || !v.Has(record.FieldCgroupLimitBytes) || limit <= 0 || shared < leastBytes || shared < infoPart*limit {
		return nil
	}
	own, _ := v.Max(record.FieldRSSShmemBytes)
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "the kernel counts it",
		Title: fmt.Sprintf("%s of the container's memory are shared memory or tmpfs", rule.FormatBytes(shared)),
		Evidence: []rule.Evidence{
			rule.Bytes("cgroup_shared_bytes", shared, "cgroup"),
			rule.Ratio("cgroup_shared_of_limit_ratio", shared/limit, "computed"),
			rule.Bytes("rss_shmem_peak_bytes", own, "kernel"),
			rule.Bytes("cgroup_limit_bytes", limit, "cgroup"),
		},
		Cause: fmt.Sprintf("Of the container's limit of %s, %s are shared memory or files in tmpfs, which the kernel cannot drop; this process maps %s of such.",
			rule.FormatBytes(limit), rule.FormatBytes(shared), rule.FormatBytes(own)),
		Remedy: "Look into /dev/shm and the other tmpfs of the container, and remove what is left there or give it a size.",
	}
	if fixed, ok := v.FixedPeak(); ok {
		f.Evidence = append(f.Evidence, rule.Ratio("cgroup_fixed_of_limit_ratio", fixed/limit, "cgroup"))
		if shared >= warnPart*limit && fixed >= warnFull*limit {
			f.Severity = rule.Warning
			f.Cause += fmt.Sprintf(" With the memory of processes %s of the limit cannot be dropped.", rule.FormatPercent(fixed/limit))
		}
	}
	return []rule.Finding{f}
}
