// Package stopped finds a process that stood still because somebody stopped it.
package stopped

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW4006"

	leastLooks   = 2    // in a row: a debugger's look is shorter
	leastSeconds = 0.15 // between the first and the last of them
	warnSeconds  = 1
)

// Rule is HW4006.
var Rule = rule.Rule{
	ID:         id,
	Name:       "stopped",
	Title:      "Not the GC: the process was stopped",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `For a time all threads of the process stood still: it was stopped by a signal or a debugger, or its cgroup was frozen.`,
	Why: `Nothing is served meanwhile, timers fire late, leases and health checks run out, and afterwards everything that waited comes at
		once. From inside it cannot be told from a very long pause.`,
	How: `The kernel's state of the process (T or t), or of its cgroup (frozen), at two looks in a row or more, 150 ms apart or more: a
		second is a warning. What is told is the time between the first and the last of those looks, which is less than it was.`,
	Remedy: `Find out who did it: docker pause or checkpoint, a freezing node agent, kill -STOP, an attached debugger, a terminal's
		job control (Ctrl-Z).`,
	FalseAlarms: `None: the kernel says so. A snapshot of the whole virtual machine does not show: then nobody was there to look.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldStopped},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	pts := v.Series(record.FieldStopped)
	var longest, within, total, began float64
	times, still := 0, false
	for i := 0; i < len(pts); {
		if pts[i].V == 0 {
			i++
			continue
		}
		j := i
		for j+1 < len(pts) && pts[j+1].V != 0 {
			j++
		}
		if span := pts[j].T - pts[i].T; j-i+1 >= leastLooks && span >= leastSeconds {
			times++
			total += span
			still = j == len(pts)-1
			if span > longest {
				// From the last look at which it ran to the first at which it ran again.
				longest, began = span, pts[i].T
				within = pts[min(j+1, len(pts)-1)].T - pts[max(i-1, 0)].T
			}
		}
		i = j + 1
	}
	if times == 0 {
		return nil
	}
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "it is the kernel's word on the process",
		Title: fmt.Sprintf("Not the GC: the process was stopped for %s", rule.FormatSeconds(longest)),
		Evidence: []rule.Evidence{
			rule.Seconds("stopped_longest_seconds", longest, "kernel"),
			rule.Seconds("stopped_longest_at_most_seconds", within, "kernel"),
			rule.Seconds("stopped_total_seconds", total, "kernel"),
			rule.Count("stopped_times", float64(times), "kernel"),
		},
		Cause: fmt.Sprintf("From %s into the recording the process stood still for at least %s and at most %s.",
			rule.FormatSeconds(began), rule.FormatSeconds(longest), rule.FormatSeconds(within)),
		Remedy: "Find out who stopped it: docker pause, a checkpoint, kill -STOP, an attached debugger, Ctrl-Z.",
	}
	if times > 1 {
		f.Cause += fmt.Sprintf(" It was stopped %d times, for %s together.", times, rule.FormatSeconds(total))
	}
	if p := v.Pauses(); len(p) > 0 {
		f.Evidence = append(f.Evidence, rule.Seconds("gc_pause_max_seconds", p[len(p)-1], "cycles"))
	}
	if longest >= warnSeconds || still {
		f.Severity = rule.Warning
	}
	if still {
		f.Title = "Not the GC: the process is stopped"
		f.Cause += " At the end of the recording it still stood."
		f.Remedy = "Let it go on: `kill -CONT`, `docker unpause`, or THAWED in freezer.state. " + f.Remedy
	}
	return []rule.Finding{f}
}
