// Package incomplete says when a part of a recording is missing.
package incomplete

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const id = "HW9002"

// Rule is HW9002.
var Rule = rule.Rule{
	ID:         id,
	Name:       "incomplete",
	Title:      "A part of the recording is missing",
	Severities: []rule.Severity{rule.Info},
	What:       `Samples could not be taken for a while, the clock that dates them was set, GC cycles were lost, or the end of the file is missing.`,
	Why:        `Pauses in a gap were not seen; maxima may be higher than they look. Rates are wrong over a step of the clock.`,
	How: `Gap and lost-cycle events of the recording, and the reader's word that it was cut short. The runtime keeps the last 256 pauses:
		more cycles than that between two samples are lost.`,
	Remedy:      `Sample more often (--hz), and let the recorder end by itself or by an interrupt.`,
	FalseAlarms: `None: it is what happened.`,
	Since:       "0.1",
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	lost, _ := v.Event(record.EventLostCycles)
	gaps, gap := v.Event(record.EventGap)
	cut := v.Rec.Truncated != ""
	if lost == 0 && gaps == 0 && !cut {
		return nil
	}
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "the recorder wrote it down",
		Title: "A part of the recording is missing",
		Evidence: []rule.Evidence{
			rule.Count("lost_cycle_events", float64(lost), "recording"),
			rule.Count("gap_events", float64(gaps), "recording"),
		},
	}
	say := func(cause, remedy string) {
		if f.Cause != "" {
			f.Cause += " "
			f.Remedy += " "
		}
		f.Cause += cause
		f.Remedy += remedy
	}
	if lost > 0 {
		say("More than 256 GC cycles ended between two samples: their pauses are lost.", "Sample more often (--hz).")
	}
	if gaps > 0 {
		cause := fmt.Sprintf("Samples could not be taken, or the clock was set, %d times", gaps)
		if gap.Text != "" {
			cause += ", the last time because: " + rule.Quote(gap.Text)
		}
		say(cause+".", "Give the recorder CPU and permission to read the process for the whole time, and a clock that is not set meanwhile.")
	}
	if cut {
		say("The end is missing: "+rule.Quote(v.Rec.Truncated)+".", "Let the recorder end by itself, or interrupt it once.")
	}
	return []rule.Finding{f}
}
