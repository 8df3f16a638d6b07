package exectrace

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// keep puts one into the n that weigh most, the heaviest first.
func keep[T any](all []T, n int, one T, weight func(*T) float64) []T {
	w := weight(&one)
	i, _ := slices.BinarySearchFunc(all, w, func(a T, w float64) int { return -cmp.Compare(weight(&a), w) })
	if i == n {
		return all
	}
	return slices.Insert(all[:min(len(all), n-1)], i, one)
}

// report closes the books.
func (c *collector) report() *Report {
	for _, g := range c.gs {
		c.settle(g)
		c.fold(g)
	}
	t := &c.total
	whole := int64(c.now - c.begin)
	r := &Report{
		Schema: Schema,
		Trace:  Trace{Seconds: seconds(whole), Events: c.events, Notes: []string{}},
		Processors: Processors{
			GOMAXPROCS: c.gomaxprocs, Available: seconds(whole) * float64(c.gomaxprocs),
			User: seconds(t.user), System: seconds(t.system), Assist: seconds(t.assist), Sweep: seconds(t.sweep), Stopped: seconds(t.stoppedP),
			Dedicated: seconds(t.worker[dedicated]), Fractional: seconds(t.worker[fractional]), Idle: seconds(t.worker[idle]),
		},
		Cycles: Cycles{
			N: c.cycleN, Marking: seconds(t.marking), Mark: c.cycleSpread.report(), Longest: list(c.cycles),
			Heap: HeapMax{Objects: c.heapMax, Goal: c.goal},
		},
		Assist:     Assist{Running: seconds(t.assist), Blocked: seconds(c.assistBlocked), Spread: c.assistSpread.report()},
		Sweep:      Sweep{Running: seconds(t.sweep), Spread: c.sweepSpread.report(), Swept: c.swept, Reclaimed: c.reclaimed},
		Stops:      []StopKind{},
		WorstStops: list(c.worstStops),
		Culprits:   []Culprit{},
		Delay:      Delay{All: c.delay.report(), Marking: c.delayMarking.report(), Other: c.delayOther.report()},
		Steal:      Steal{Taken: seconds(t.taken), Idle: seconds(t.takenIdle)},
		Kinds:      []Kind{}, Goroutines: list(c.routines), Tasks: []TaskType{},
		Timeline: Timeline{Step: seconds(c.timeline.width), Steps: list(c.timeline.steps)},
	}
	if whole > 0 {
		r.Cycles.On = float64(t.marking) / float64(whole)
	}
	if c.markP > 0 {
		r.Cycles.CPU = min(c.markCPU/c.markP, 1)
	}
	if t.marking > 0 {
		r.Steal.RunnableMarking = float64(t.waitMarking) / float64(t.marking)
	}
	if other := whole - t.marking; other > 0 {
		r.Steal.RunnableOther = float64(t.waitOther) / float64(other)
	}
	for reason, k := range c.stopKinds {
		one := StopKind{Reason: reason, GC: k.gc, Spread: k.whole.report(), Stopping: k.stopping.report()}
		if k.from != nil {
			one.From = k.from.frames
		}
		r.Stops = append(r.Stops, one)
	}
	slices.SortFunc(r.Stops, func(a, b StopKind) int {
		return cmp.Or(cmp.Compare(b.Spread.Sum, a.Spread.Sum), cmp.Compare(a.Reason, b.Reason))
	})
	for _, key := range slices.Sorted(maps.Keys(c.culprits)) {
		cu := c.culprits[key]
		one := Culprit{Func: cu.kind, N: cu.n, Late: cu.late, Sum: seconds(cu.sum), Max: seconds(cu.max), Kind: cu.kind, Stack: nil}
		if cu.at != nil {
			f := cu.at.user()
			one.Func, one.File, one.Line, one.Stack = f.Func, f.File, f.Line, cu.at.frames
		}
		r.Culprits = keep(r.Culprits, keptCulprits, one, func(c *Culprit) float64 { return c.Sum })
	}
	all := slices.Collect(maps.Values(c.kinds))
	if c.overflow != nil {
		all = append(all, c.overflow)
		r.Trace.Notes = append(r.Trace.Notes, fmt.Sprintf("goroutines were started with more than %d functions: the rest is one kind, %q", maxKinds, otherKinds))
	}
	var total cost
	var wanted int64
	for _, k := range all {
		if system(k.name) {
			k.cost = cost{} // from before it was known
		}
		if k.n > 0 {
			r.Kinds = append(r.Kinds, k.report())
		}
		if !system(k.name) {
			total.add(k.cost)
			wanted += k.running + k.runnable + k.cost.blocked
		}
	}
	r.Impact = Impact{Cost: total.report(), Wanted: seconds(wanted)}
	if wanted > 0 {
		r.Impact.Share = min(r.Impact.Cost.Total()/r.Impact.Wanted, 1)
	}
	slices.SortFunc(r.Kinds, func(a, b Kind) int {
		return cmp.Or(cmp.Compare(b.Cost.Total(), a.Cost.Total()), cmp.Compare(b.Running, a.Running), cmp.Compare(a.Func, b.Func))
	})
	r.Kinds = r.Kinds[:min(len(r.Kinds), keptKinds)]
	for _, k := range c.taskTypes {
		share, worst := k.shares()
		r.Tasks = append(r.Tasks, TaskType{Type: k.name, N: k.n, Open: k.open, Wall: k.wall.report(), GC: k.gc.report(), Cost: k.cost.report(), Share: share, ShareWorst: worst, Worst: list(k.worst)})
	}
	slices.SortFunc(r.Tasks, func(a, b TaskType) int {
		return cmp.Or(cmp.Compare(b.Cost.Total(), a.Cost.Total()), cmp.Compare(b.N, a.N), cmp.Compare(a.Type, b.Type))
	})
	if c.unseenStops > 0 {
		r.Trace.Notes = append(r.Trace.Notes, fmt.Sprintf("of %d stops of the world the trace does not show when the last P stood still", c.unseenStops))
	}
	if c.gomaxprocs == 0 {
		r.Trace.Notes = append(r.Trace.Notes, "the trace does not tell GOMAXPROCS: shares of it are not known")
	}
	if c.marking {
		r.Trace.Notes = append(r.Trace.Notes, "the trace ends within a mark phase, which is not among the cycles")
	}
	return r
}

// list is never nil, which JSON would write as null.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func (k *kind) report() Kind {
	out := Kind{
		Func: k.name, CreatedBy: k.createdBy, N: k.n, Running: seconds(k.running), Runnable: seconds(k.runnable), Syscall: seconds(k.syscall),
		Cost: k.cost.report(), Assists: k.assists.report(), Delay: k.delay.report(), AssistedAt: []Place{},
	}
	for _, key := range slices.Sorted(maps.Keys(k.places)) {
		if p := k.places[key]; p.n > 0 {
			out.AssistedAt = keep(out.AssistedAt, keptPlaces, Place{Stack: p.at.frames, N: p.n, Assist: seconds(p.sum)}, func(p *Place) float64 { return p.Assist })
		}
	}
	return out
}
