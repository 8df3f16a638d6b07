// Package neighbour finds memory of a container that other processes in it have.
package neighbour

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW3009"

	leastBytes = 32 << 20
	infoPart   = 0.10 // of the limit
	warnPart   = 0.25
	warnFull   = 0.80 // of the limit, in memory that cannot be dropped
)

// Rule is HW3009.
var Rule = rule.Rule{
	ID:         id,
	Name:       "neighbour",
	Title:      "Other processes take memory of the container",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `A good part of the memory that counts against the container's limit belongs to other processes in it.`,
	Why: `The limit is for all of them together. GOMEMLIMIT, and what is left by this process's own numbers, are reckoned as if it were
		alone: the kernel kills for the sum, and not always the one that grew.`,
	How: `Memory of processes by the cgroup's memory.stat, minus this process's anonymous memory, held at three looks in a row, a second
		apart. 32 MiB and 10% of the limit are information. It is a warning when it is 25% of the limit, and processes and shared memory
		together are 80% of it. Which process it is comes from cgroup.procs.`,
	Remedy: `Give the other process a container of its own, or bound it. Otherwise take what it may have off this process's GOMEMLIMIT.`,
	FalseAlarms: `A container that is made for several processes, each of which has its share. The neighbour may be in a group below
		or beside, when the limit is that of a parent: then nobody is named.`,
	Since: "0.1",
	Needs: []record.Field{record.FieldCgroupAnonBytes, record.FieldRSSAnonBytes, record.FieldCgroupLimitBytes},
	Check: check,
}

func check(v *view.View) []rule.Finding {
	others, ok := v.OthersAnon()
	limit := v.ContainerLimit()
	if !ok || !v.Has(record.FieldCgroupLimitBytes) || limit <= 0 || others < leastBytes || others < infoPart*limit {
		return nil
	}
	own, _ := v.Max(record.FieldRSSAnonBytes)
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.Medium,
		ConfidenceReason: "the kernel's accounts of the container and of the process were compared; which other process has it is not known",
		Title:            fmt.Sprintf("%s of the container's memory are other processes'", rule.FormatBytes(others)),
		Evidence: []rule.Evidence{
			rule.Bytes("cgroup_others_bytes", others, "cgroup"),
			rule.Ratio("cgroup_others_of_limit_ratio", others/limit, "computed"),
			rule.Bytes("rss_anon_peak_bytes", own, "kernel"),
			rule.Bytes("cgroup_limit_bytes", limit, "cgroup"),
		},
		Cause:  fmt.Sprintf("Of the container's limit of %s, %s are memory of other processes in it; this one has %s.", rule.FormatBytes(limit), rule.FormatBytes(others), rule.FormatBytes(own)),
		Remedy: "Find the other process (cgroup.procs), and give it a container of its own or a bound.",
	}
	if near := v.Neighbours(); len(near) > 0 {
		n := near[0]
		f.Evidence = append(f.Evidence, rule.Bytes("neighbour_rss_bytes", n.RSSBytes, "kernel"))
		f.Cause += fmt.Sprintf(" The largest is process %s, %s, with %s resident.", n.PID, rule.Quote(n.Name), rule.FormatBytes(n.RSSBytes))
		f.Confidence, f.ConfidenceReason = rule.High, "the kernel's accounts of the container and of the process were compared, and a process in it has so much"
		if n.RSSBytes < others/2 {
			f.Confidence, f.ConfidenceReason = rule.Medium, "the kernel's accounts were compared; the process that is named has only a part of it"
		}
		f.Remedy = fmt.Sprintf("Give process %s a container of its own, or bound its memory.", n.PID)
	}
	if fixed, ok := v.FixedPeak(); ok {
		f.Evidence = append(f.Evidence, rule.Ratio("cgroup_fixed_of_limit_ratio", fixed/limit, "cgroup"))
		if others >= warnPart*limit && fixed >= warnFull*limit {
			f.Severity = rule.Warning
			f.Cause += fmt.Sprintf(" Together with it %s of the limit cannot be dropped.", rule.FormatPercent(fixed/limit))
		}
	}
	if gml, set, ok := v.GOMEMLIMIT(); ok && set && gml+others > limit {
		f.Cause += fmt.Sprintf(" GOMEMLIMIT of %s does not leave it room.", rule.FormatBytes(gml))
		f.Remedy += fmt.Sprintf(" Until then GOMEMLIMIT must stay below %s.", rule.FormatBytes(max(0, limit-others)))
	}
	return []rule.Finding{f}
}
