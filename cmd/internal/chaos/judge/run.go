package judge

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// What is looked at of a run that was read from a file, which may say anything.
const (
	mostCriteria = 256
	mostPhases   = 1024
	mostResults  = 16384
	mostFaults   = 256
)

// sorted are points by time; those that are before the beginning are left out.
func sorted(points []chaos.Point) []chaos.Point {
	out := make([]chaos.Point, 0, len(points))
	for _, p := range points {
		if p.At >= 0 {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b chaos.Point) int { return cmp.Compare(a.At, b.At) })
	return out
}

func sortedCycles(cycles []chaos.Cycle) []chaos.Cycle {
	out := make([]chaos.Cycle, 0, len(cycles))
	for _, c := range cycles {
		if c.At >= 0 {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b chaos.Cycle) int { return cmp.Compare(a.At, b.At) })
	return out
}

// phases are the phases of a run, by time, that last. One without an end lasts until the
// next, or for ever.
func phases(run *chaos.Run) []chaos.Phase {
	out := make([]chaos.Phase, 0, min(len(run.Phases), mostPhases))
	for _, p := range run.Phases {
		if p.From >= 0 && len(out) < mostPhases {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b chaos.Phase) int { return cmp.Compare(a.From, b.From) })
	for i := range out {
		next := time.Duration(math.MaxInt64)
		if i+1 < len(out) {
			next = out[i+1].From
		}
		if out[i].To <= out[i].From {
			out[i].To = next
		}
		out[i].To = min(out[i].To, next)
	}
	return slices.DeleteFunc(out, func(p chaos.Phase) bool { return p.To <= p.From })
}

// firstFault is when the first fault began; the end of time when none did.
func firstFault(run *chaos.Run) time.Duration {
	first := time.Duration(math.MaxInt64)
	for _, p := range run.Phases {
		if p.Kind == chaos.PhaseFault {
			first = min(first, max(p.From, 0))
		}
	}
	for _, d := range run.Faults {
		if began(d) {
			first = min(first, d.Began)
		}
	}
	return first
}

// began reports whether a fault was begun.
func began(d chaos.Done) bool { return d.Began > 0 || d.Ended > 0 }

// before are the points from before the first fault: of the phase that is for it, where
// there is one.
func before(run *chaos.Run) []chaos.Point {
	end, from := firstFault(run), time.Duration(0)
	for _, p := range run.Phases {
		if p.Kind == chaos.PhaseBefore {
			from = max(p.From, 0)
			if p.To > p.From {
				end = min(end, p.To)
			}
			break
		}
	}
	return slices.DeleteFunc(sorted(run.Points), func(p chaos.Point) bool { return p.At < from || p.At >= end })
}

func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}
