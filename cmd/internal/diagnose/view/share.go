package view

import (
	"math"

	"github.com/heapwright/heapwright/record"
)

// GCShare is the collector's share, and that of mark assists, of the time that processors
// were busy between two samples; from the start of the process when the first is zero.
// Marking on processors that had nothing else to do is left out: it cost nobody anything.
// The runtime moves these numbers at the end of a cycle, so without one in between there is
// no answer. Assists are NaN where they are not known.
//
// It is what the runtime says of itself, pauses with it, at any moment; [View.CPU] is for
// judging, and has a whole recording to go by.
func GCShare(from, to *record.Sample) (gc, assist float64, ok bool) {
	has := func(f record.Field) bool { return to.Has.Has(f) && (from.Time.IsZero() || from.Has.Has(f)) }
	if !has(record.FieldCPUGCTotal) || !has(record.FieldCPUGCIdle) || !has(record.FieldCPUIdle) || !has(record.FieldCPUTotal) {
		return 0, 0, false
	}
	idleMark := to.CPUGCIdle - from.CPUGCIdle
	total := to.CPUGCTotal - from.CPUGCTotal - idleMark
	busy := to.CPUTotal - from.CPUTotal - (to.CPUIdle - from.CPUIdle) - idleMark
	if busy <= 0 || total < 0 || total > busy {
		return 0, 0, false
	}
	assist = math.NaN()
	if a := to.CPUGCAssist - from.CPUGCAssist; has(record.FieldCPUGCAssist) && a >= 0 && a <= busy {
		assist = float64(a) / float64(busy)
	}
	return float64(total) / float64(busy), assist, true
}
