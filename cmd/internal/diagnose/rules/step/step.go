// Package step finds a live heap that has jumped to a higher level and stays there.
package step

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW3008"

	leastGrowth = 32 << 20
	leastPart   = 0.50 // of the level before

	leastAfter = 2 // cycles that have found the higher level
	leastHold  = 5 // seconds between the first and the last of them

	// few cycles cannot show two levels: then one look before and any after will do. Of
	// more there have to be sureBefore before and sureAfter after, and those after lie no
	// further apart than flat, as a part of the rise.
	few        = 8
	sureBefore = 3
	sureAfter  = 4
	flat       = 0.25

	// quick is how long a rise may take, as a part of the time that it holds, before it
	// may as well be a cache that filled.
	quick = 1.0 / 3

	// near is how far, as a part of the rise, a cycle may be off its level.
	near = 0.10

	// young is the age in seconds below which a step may be the start-up: then the
	// level before has to be one, of cycles that found the same.
	young      = 60
	youngLevel = 0.25

	// clients is how many more goroutines are more clients, and what they need.
	leastMore = 50
	morePart  = 0.50

	warnGrowth = 96 << 20
)

// Rule is HW3008.
var Rule = rule.Rule{
	ID:         id,
	Name:       "step",
	Title:      "The live heap has jumped to a higher level, and stays",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `From one moment on the collector finds much more alive than before, cycle after cycle: something was loaded or let in, and is retained.`,
	Why: `It is no leak that grows, so no trend shows it, and what is alive is paid for at every cycle and doubled by GOGC=100. The next
		such step may not fit.`,
	How: `The live heap after each cycle, the first four cycles of the process left out, and what was alive at the beginning. It is split
		into before, a rise, and after so that the least of after is most above the most of before; that much is retained for certain. It
		must be 32 MiB and 50%, found by two cycles 5 seconds apart or more, and after must last as long as the rise did. Of more than eight
		cycles three must be before and four after, and those after within a quarter of the rise. Where after is three times as long as
		the rise that is medium confidence; slower rises, and fewer cycles, are low. In the first minute of a process,
		which loads what it needs, there must be a level of three cycles before. It is a warning when the rise is 96 MiB, the confidence
		is medium, and another one like it does not fit below GOMEMLIMIT or the container's limit.`,
	Remedy: `Look at the sites named, and at what happened at that time: a reload, a large request that something still refers to, a new
		tenant, a cache that was filled. When it is meant to stay, size the limits for it.`,
	FalseAlarms: `A cache that has been filled, a model or index that was loaded, clients that came and stay (goroutines rise with them: it is
		said): retained they are, but meant to be.`,
	Since: "0.1",
	Needs: []record.Field{record.FieldHeapMarkedBytes},
	Check: check,
}

// levels are what a split of a series comes to.
type levels struct {
	before, after []trend.Point
	from          float64 // the most of before
	retained      float64 // the least of after, less that
}

// split finds where the least of what comes after is most above the most of what was
// before. The rise between may not last longer than what comes after it.
func split(pts []trend.Point) (levels, bool) {
	n := len(pts)
	if n < 1+leastAfter {
		return levels{}, false
	}
	head, tail := 1, leastAfter
	if n > few {
		head, tail = sureBefore, sureAfter
	}
	least := make([]float64, n) // of pts[i:]
	most := make([]float64, n)
	least[n-1], most[n-1] = pts[n-1].V, pts[n-1].V
	for i := n - 2; i >= 0; i-- {
		least[i], most[i] = min(least[i+1], pts[i].V), max(most[i+1], pts[i].V)
	}
	highest, best, bestA, bestB := 0.0, 0.0, -1, 0
	for a := range n - tail { // the last of before
		highest = max(highest, pts[a].V)
		if a+1 < head {
			continue
		}
		for b := a + 1; b <= n-tail; b++ { // the first of after
			hold, rise := pts[n-1].T-pts[b].T, least[b]-highest
			if hold < leastHold {
				break
			}
			if rise <= best || hold < pts[b].T-pts[a].T || n > few && most[b]-least[b] > flat*rise {
				continue
			}
			best, bestA, bestB = rise, a, b
		}
	}
	if bestA < 0 {
		return levels{}, false
	}
	// The best is made of extremes; what is next to them is of the same level.
	from, to := highestOf(pts[:bestA+1]), least[bestB]
	for bestA+1 < bestB && pts[bestA+1].V <= from+near*best {
		bestA++
	}
	for bestB-1 > bestA && pts[bestB-1].V >= to-near*best {
		bestB--
	}
	from = highestOf(pts[:bestA+1])
	return levels{before: pts[:bestA+1], after: pts[bestB:], from: from, retained: least[bestB] - from}, true
}

func highestOf(pts []trend.Point) float64 {
	x, _ := view.Quantile(pts, 1)
	return x
}

// alive is what was alive at the beginning, and what each cycle found since.
func alive(v *view.View) []trend.Point {
	pts := v.Marked()
	before := v.Series(record.FieldHeapMarkedBytes)
	if cycles, ok := v.First(record.FieldGCCycles); ok && cycles <= view.WarmupCycles {
		return pts
	}
	if len(before) > 0 && before[0].V > 0 && (len(pts) == 0 || before[0].T < pts[0].T && before[0].V != pts[0].V) {
		pts = append([]trend.Point{before[0]}, pts...)
	}
	return pts
}

// most bounds the cycles that are looked at one by one: the work is their square.
const most = 512

// condense returns at most so many points: of each run of neighbours the highest and
// the lowest, so that no level looks quieter than it was.
func condense(pts []trend.Point) []trend.Point {
	if len(pts) <= most {
		return pts
	}
	var out []trend.Point
	for i := range most / 2 {
		run := pts[i*len(pts)/(most/2) : (i+1)*len(pts)/(most/2)]
		lo, hi := 0, 0
		for k := range run {
			if run[k].V < run[lo].V {
				lo = k
			}
			if run[k].V > run[hi].V {
				hi = k
			}
		}
		out = append(out, run[min(lo, hi)])
		if lo != hi {
			out = append(out, run[max(lo, hi)])
		}
	}
	return out
}

func check(v *view.View) []rule.Finding {
	l, ok := split(condense(alive(v)))
	if !ok || l.retained < leastGrowth || l.retained < leastPart*l.from {
		return nil
	}
	at := l.after[0].T
	if age, ok := v.Age(); ok && age-v.Window()+at < young && !level(l.before) {
		return nil // it starts
	}
	// What rises all the time is HW3001's.
	if fit, ok := trend.Theil(v.Marked()); ok && fit.Rising() && fit.Steady() {
		return nil
	}
	last := l.after[len(l.after)-1].V
	hold := l.after[len(l.after)-1].T - at
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.Low,
		ConfidenceReason: fmt.Sprintf("%d cycles before and %d after are few", len(l.before), len(l.after)),
		Title:            fmt.Sprintf("The live heap has jumped by %s and stays", rule.FormatBytes(l.retained)),
		Evidence: []rule.Evidence{
			rule.Bytes("heap_live_before_bytes", l.from, "cycles"),
			rule.Bytes("heap_live_after_bytes", last, "cycles"),
			rule.Bytes("heap_retained_bytes", l.retained, "cycles"),
			rule.Seconds("step_after_seconds", at, "cycles"),
			rule.Seconds("step_held_seconds", hold, "cycles"),
			rule.Count("step_cycles_after", float64(len(l.after)), "cycles"),
		},
		Cause: fmt.Sprintf("Until %s into the recording at most %s were alive; the %d cycles from %s on found at least %s more, for %s, and in the end %s.",
			rule.FormatSeconds(l.before[len(l.before)-1].T), rule.FormatBytes(l.from), len(l.after), rule.FormatSeconds(at),
			rule.FormatBytes(l.retained), rule.FormatSeconds(hold), rule.FormatBytes(last)),
	}
	rise := at - l.before[len(l.before)-1].T
	switch {
	case len(l.before) < sureBefore || len(l.after) < sureAfter:
	case rise > quick*hold:
		f.ConfidenceReason = fmt.Sprintf("it took %s of rising: a cache that has filled looks the same", rule.FormatSeconds(rise))
	default:
		f.Confidence = rule.Medium
		f.ConfidenceReason = fmt.Sprintf("%d cycles before and %d after show two levels; whether it is meant to stay cannot be seen", len(l.before), len(l.after))
	}
	if was, is, more := goroutines(v); more {
		f.Confidence = rule.Low
		f.ConfidenceReason = "goroutines became more with it: it may be clients that came, and what they need"
		f.Cause += fmt.Sprintf(" Goroutines rose with it, from %.0f to %.0f.", was, is)
		src := v.Source(record.FieldGoroutines)
		f.Evidence = append(f.Evidence, rule.Count("goroutines_start", was, src), rule.Count("goroutines_end", is, src))
	}
	f.Sites = rule.GrowingSites(v)
	if len(f.Sites) > 0 {
		f.Cause += " What grew was allocated at: " + rule.NamedSites(f.Sites) + "."
		f.Remedy = fmt.Sprintf("Find what refers to the memory from %s, and whether it is meant to stay.", f.Sites[0])
	} else {
		f.Remedy = "Ask what happened at that time, and compare a heap profile with one from before, or one of another instance (`heapwright profile PID --type heap`)."
	}
	if limit, what, ok := bound(v); ok {
		nonHeap, _ := v.NonHeap()
		left := limit - last - nonHeap
		f.Evidence = append(f.Evidence, rule.Bytes("limit_bytes", limit, "cgroup"), rule.Bytes("limit_left_bytes", max(0, left), "computed"))
		if left < l.retained {
			f.Cause += fmt.Sprintf(" Another one like it does not fit below %s of %s.", what, rule.FormatBytes(limit))
			if l.retained >= warnGrowth && f.Confidence != rule.Low {
				f.Severity = rule.Warning
			}
		}
	}
	return []rule.Finding{f}
}

// level reports whether nine in ten cycles found about the same, which a start-up does not.
func level(pts []trend.Point) bool {
	low, _ := view.Quantile(pts, 0)
	high, _ := view.Quantile(pts, 0.9)
	return len(pts) >= sureBefore && pts[len(pts)-1].T-pts[0].T >= leastHold && high-low <= youngLevel*high
}

// goroutines are those of the beginning and of the end, and whether they became more.
func goroutines(v *view.View) (was, is float64, more bool) {
	was, ok := v.First(record.FieldGoroutines)
	is, _ = v.Last(record.FieldGoroutines)
	return was, is, ok && is-was >= leastMore && is-was >= morePart*was
}

// bound is the nearest of the limits that the live heap has to stay below.
func bound(v *view.View) (limit float64, what string, ok bool) {
	if limit = v.ContainerLimit(); limit > 0 {
		what, ok = "the container's limit", true
	}
	if gml, set, known := v.GOMEMLIMIT(); known && set && (!ok || gml < limit) {
		return gml, "GOMEMLIMIT", true
	}
	return limit, what, ok
}
