package judge

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// What the criteria of the recovery are called.
const (
	liveHeap         = "live_heap"
	workingSet       = "working_set"
	goroutines       = "goroutines"
	latency          = "latency"
	failures         = "errors"
	ready            = "ready"
	guarded          = "guard"
	settings         = "settings"
	growth           = "growth"
	growthGoroutines = "growth_goroutines"
)

const (
	// cyclesBack is how many cycles in a row have to find no more alive than before.
	cyclesBack = 3
	// cyclesToSay is after how many cycles it is certain that a live heap which was back for
	// the last ones alone does not stay so. After fewer it is not known.
	cyclesToSay = 2 * cyclesBack
	// cyclesBefore is how many of the last cycles before say what was alive.
	cyclesBefore = 9
	// missing is how long a metric may be absent before it is not waited for.
	missing = 5 * time.Second
	// astray is which share of the points may be out of bounds while something is taken to
	// be back: what is noise before is noise after.
	astray = 0.1
	// heapSlack and memorySlack are what a small heap may always be off by.
	heapSlack, memorySlack = 1 << 20, 16 << 20
	// unsteady, and unsteadySlack of a small one, are what a live heap may be above before
	// where few cycles say what it was: those of a heap of a few MiB are as different.
	unsteady, unsteadySlack = 0.25, 4 << 20
)

// A Recovery follows whether the target is as it was, after one fault. What it was is
// measured before the first one.
type Recovery struct {
	rules  chaos.Recovery
	done   chaos.Done
	list   []*regain
	begun  bool
	last   time.Duration
	cycles []chaos.Cycle // the last ones after the fault, in a row within bounds
	ended  int           // cycles since the fault
	told   bool          // of one of them, with what it found
	live   float64       // the live heap of the last point
	few    bool          // cycles before the fault: it is not waited for others
}

// A regain is one criterion of the recovery.
type regain struct {
	chaos.Recovered
	low, high float64
	within    time.Duration // since the fault was undone
	stable    time.Duration // how long it has to be so
	read      func(chaos.Point) (float64, bool)

	window []glance // of the last stable
	off    int      // of them out of bounds
	seen   bool
	absent bool // for so long that it is not waited for
}

type glance struct {
	at time.Duration
	ok bool
}

// defaults are those of HW-CHAOS/1, for plans that were not read from a file.
func defaults(r chaos.Recovery) chaos.Recovery {
	if r.Within <= 0 {
		r.Within = time.Minute
	}
	if r.Stable <= 0 {
		r.Stable = 10 * time.Second
	}
	if r.Memory <= 0 {
		r.Memory = 5 * time.Minute
	}
	for _, d := range []struct {
		to *float64
		v  float64
	}{
		{(*float64)(&r.LiveHeap), 0.05}, {(*float64)(&r.WorkingSet), 0.10}, {(*float64)(&r.Goroutines), 0.02}, {(*float64)(&r.Latency), 0.5},
	} {
		if !(*d.to > 0) || math.IsInf(*d.to, 0) {
			*d.to = d.v
		}
	}
	return r
}

// NewRecovery follows the recovery from a fault that done is said of, against points and
// cycles from before the first fault. Of done, Fault and Ended are looked at, and
// Verified where it is known already.
func NewRecovery(plan *chaos.Plan, before []chaos.Point, cycles []chaos.Cycle, done chaos.Done) *Recovery {
	r := &Recovery{rules: defaults(plan.Recovery), done: done}
	base := newBaseline(before)
	metric := func(m chaos.Metric) func(chaos.Point) (float64, bool) {
		return func(p chaos.Point) (float64, bool) { return value(p, m) }
	}
	add := func(what string, low, middle, high float64, within, stable time.Duration, read func(chaos.Point) (float64, bool)) {
		g := &regain{Recovered: chaos.Recovered{What: what, Before: finite(middle), Bound: finite(high)}, low: low, high: high, within: within, stable: stable, read: read}
		if math.IsInf(high, 0) {
			g.Bound = finite(low)
		}
		r.list = append(r.list, g)
	}
	within, stable := r.rules.Within, min(r.rules.Stable, r.rules.Within)
	none := math.Inf(-1)

	heap, more, least := lastLive(cycles), float64(r.rules.LiveHeap), float64(heapSlack)
	// Who has hardly any cycles is not waited for.
	r.few = len(heap) < cyclesBack || float64(len(cycles))*within.Seconds() < cyclesBack*length(before)
	if l, ok := base[chaos.LiveHeap]; ok && len(heap) < cyclesBack {
		// A cycle from before anybody looked counts for as long as it was the last one.
		heap, more, least = append(heap, l.middle, l.high), max(more, unsteady), unsteadySlack
	}
	if len(heap) > 0 {
		middle := median(heap)
		// A heap that was larger before, now and then, may be so again.
		high := max(middle*(1+more), middle+least, slices.Max(heap)) + deadGoroutines(plan, done)
		add(liveHeap, none, middle, high, within, 0, nil)
		r.list[0].absent = r.few
	}
	memory := chaos.WorkingSet
	if _, ok := base[memory]; !ok {
		memory = chaos.RSS
	}
	if l, ok := base[memory]; ok {
		high := max(l.middle*(1+float64(r.rules.WorkingSet)), l.middle+memorySlack, l.high)
		add(workingSet, none, l.middle, high, r.rules.Memory, min(stable, time.Second), metric(memory))
	}
	if l, ok := base[chaos.GoroutineCount]; ok {
		off := max(l.middle*float64(r.rules.Goroutines), 10)
		add(goroutines, l.low-off, l.middle, l.high+off, within, stable, unexplained(base))
	}
	if l, ok := base[chaos.LatencyP99]; ok {
		high := max(l.middle*(1+float64(r.rules.Latency)), l.high+slack(chaos.LatencyP99, toHold))
		add(latency, none, l.middle, high, within, stable, unhurried(before))
	}
	if l, ok := base[chaos.ErrorRatio]; ok {
		high := l.high
		for _, c := range plan.Hypothesis {
			if c.Metric == chaos.ErrorRatio && c.AtMost != nil && !c.OfBaseline {
				high = max(high, *c.AtMost)
			}
		}
		add(failures, none, l.middle, high, within, stable, pooledErrors(high))
	}
	if l, ok := base[chaos.Ready]; ok && l.middle >= 0.5 {
		add(ready, 1, 1, math.Inf(1), within, stable, metric(chaos.Ready))
	}
	if l, ok := base[chaos.GuardState]; ok && l.middle < 0.5 {
		add(guarded, none, 0, 0, within, min(stable, time.Second), metric(chaos.GuardState))
	}
	for _, c := range looser(plan, done.Fault) {
		if l, ok := base[c.Metric]; ok {
			if low, high, ok := bounds(&c, toHold, base); ok {
				// It may be now and then what it was now and then.
				add(string(c.Metric), min(low, l.low), l.middle, max(high, l.high), within, stable, metric(c.Metric))
			}
		}
	}
	add(settings, none, 0, 0, within, 0, nil)
	if g := r.list[len(r.list)-1]; done.Verified {
		g.Known, g.Took = true, new(max(done.Undo, 0))
	} else {
		g.absent = true // the keeper says it at the end
	}
	return r
}

// looser are the criteria of the hypothesis that tolerate more while there is a fault, and
// are about a metric that is no criterion of every recovery: what was tolerated is over
// with the fault.
func looser(plan *chaos.Plan, fault int) []chaos.Criterion {
	var f *chaos.Fault
	if fault >= 0 && fault < len(plan.Faults) {
		f = &plan.Faults[fault]
	}
	var out []chaos.Criterion
	for _, c := range sane(plan.Hypothesis) {
		known := func(o chaos.Criterion) bool { return o.Metric == c.Metric }
		switch c.Metric {
		case chaos.LiveHeap, chaos.WorkingSet, chaos.GoroutineCount, chaos.LatencyP99, chaos.ErrorRatio, chaos.Ready, chaos.GuardState, chaos.HeadroomSeconds:
			continue
		}
		if c.Tolerated != nil && !isCounter(c.Metric) && !excepted(&c, f) && !slices.ContainsFunc(out, known) {
			out = append(out, c)
		}
	}
	return out
}

// perConnection is how many goroutines a connection may have: one where it is served, two
// where it is a client's (net/http's reads and writes), as in a proxy.
const perConnection = 2

// unexplained are the goroutines without those of connections that there were not before:
// clients open more of them while a server is slow, and keep them. One that stays when
// its connection is gone counts. Where connections were not counted before, goroutines
// are taken as they are.
func unexplained(base baseline) func(chaos.Point) (float64, bool) {
	usual := base[chaos.GoroutineCount].middle
	c, counted := base[chaos.ConnectionsOpen]
	return func(p chaos.Point) (float64, bool) {
		n, ok := value(p, chaos.GoroutineCount)
		if !counted {
			return n, ok
		}
		open, known := value(p, chaos.ConnectionsOpen)
		if n > usual {
			n = max(usual, n-perConnection*max(0, open-c.high))
		} else {
			n = min(usual, n+perConnection*max(0, c.low-open))
		}
		return n, ok && known
	}
}

// goroutineBytes is what a goroutine leaves in the live heap when it has ended: its g,
// with its place in allgs, which are used again and never freed (runtime/runtime2.go and
// proc.go of Go 1.26: a g is of the size class of 448 bytes).
const goroutineBytes = 512

// deadGoroutines is what the goroutines of a fault, and of those before it, leave alive in
// any Go program: that of the fault which had most.
func deadGoroutines(plan *chaos.Plan, done chaos.Done) float64 {
	most := 0.0
	for i, f := range plan.Faults {
		peak := f.Level.Value
		switch {
		case i > done.Fault:
			continue
		case i == done.Fault:
			peak = done.Peak
		case f.Level.Share:
			continue
		}
		switch f.Kind {
		case chaos.Connections:
			peak *= 2 // a goroutine that reads, and one that serves
		case chaos.Stacks:
			peak /= max(float64(f.Size), leastStack)
		case chaos.Goroutines:
		default:
			continue
		}
		most = max(most, finite(peak))
	}
	return most * goroutineBytes
}

// leastStack is the least that a goroutine of chaos.Stacks has: package guard/fault.
const leastStack = 16 << 10

// length is how many seconds points span, one at least.
func length(points []chaos.Point) float64 {
	if len(points) == 0 {
		return 1
	}
	return max((points[len(points)-1].At - points[0].At).Seconds(), 1)
}

// lastLive is what the last cycles found alive.
func lastLive(cycles []chaos.Cycle) []float64 {
	out := make([]float64, 0, cyclesBefore)
	for _, c := range slices.Backward(cycles) {
		// 0 is one that ended between two looks: what it found is not known.
		if c.LiveBytes > 0 && len(out) < cyclesBefore {
			out = append(out, float64(c.LiveBytes))
		}
	}
	return out
}

// pooledErrors is a share of failed requests that counts only where it is above bound
// beyond chance.
func pooledErrors(bound float64) func(chaos.Point) (float64, bool) {
	q := &pool{window: 2 * time.Second}
	return func(p chaos.Point) (float64, bool) {
		v, ok := value(p, chaos.ErrorRatio)
		if !ok || !q.add(p) {
			return v, ok
		}
		failed, done := q.sum()
		if !above(failed, done, bound) {
			return min(v, bound), true
		}
		return failed / done, true
	}
}

// Step looks at a point after the fault, and at the cycles that were new since the last
// step. Met are the criteria that are met from now on: events of EventRecover. Done is
// that all are, those that cannot be measured left out.
func (r *Recovery) Step(p chaos.Point, cycles []chaos.Cycle) (done bool, met []chaos.Event) {
	if p.At < r.done.Ended || r.begun && p.At < r.last {
		return false, nil
	}
	r.begun, r.last = true, p.At
	for _, g := range r.list {
		was := g.Took != nil
		switch {
		case was:
		case g.What == liveHeap:
			r.heap(g, r.seenCycles(p, cycles))
			// Who had no cycle, or too few in which it was back, is not accused, and not waited
			// for any more.
			g.absent = g.absent || !g.Known && (r.ended == 0 || r.nearlyBack(g)) && p.At >= r.deadline(g)
		case g.read != nil:
			g.step(p, r.done.Ended)
		}
		if g.Took != nil && !was {
			met = append(met, chaos.Event{At: p.At, Kind: chaos.EventRecover, Fault: r.done.Fault, Text: g.What, Value: g.Took.Seconds()})
		}
	}
	for _, g := range r.list {
		if g.Took == nil && !g.absent {
			return false, met
		}
	}
	return true, met
}

// seenCycles are the cycles of a step. Where none is told of with what it found, another
// live heap than before is one.
func (r *Recovery) seenCycles(p chaos.Point, cycles []chaos.Cycle) []chaos.Cycle {
	r.told = r.told || slices.ContainsFunc(cycles, func(c chaos.Cycle) bool { return c.LiveBytes > 0 && c.At > r.done.Ended })
	v, ok := value(p, chaos.LiveHeap)
	was := r.live
	if ok {
		r.live = v
	}
	if r.told || !ok || was == 0 || v == was || !(v > 0 && v < 1<<62) {
		return cycles
	}
	return []chaos.Cycle{{At: p.At, LiveBytes: uint64(v)}}
}

func (r *Recovery) heap(g *regain, cycles []chaos.Cycle) {
	for _, c := range cycles {
		if c.At <= r.done.Ended || c.LiveBytes == 0 || g.Took != nil {
			continue
		}
		r.ended++
		g.After = float64(c.LiveBytes)
		if g.After > g.high {
			r.cycles = r.cycles[:0]
		} else {
			r.cycles = append(r.cycles, c)
		}
		if len(r.cycles) >= cyclesBack {
			if took := r.cycles[0].At - r.done.Ended; took <= g.within {
				g.Took = &took
			}
			r.cycles = r.cycles[len(r.cycles)-cyclesBack+1:]
		}
		g.Known = g.Took != nil || r.ended >= cyclesToSay || r.ended >= cyclesBack && !r.nearlyBack(g)
	}
}

// nearlyBack reports whether the last cycles found the live heap back in time, and only
// were too few.
func (r *Recovery) nearlyBack(g *regain) bool {
	return len(r.cycles) > 0 && r.cycles[0].At-r.done.Ended <= g.within
}

// deadline is until when it is worth to wait for a criterion. A live heap that is nearly
// back has as long again for the cycles that are missing.
func (r *Recovery) deadline(g *regain) time.Duration {
	if g.What == liveHeap && r.nearlyBack(g) {
		return r.done.Ended + 2*g.within
	}
	return r.done.Ended + g.within + g.stable
}

func (g *regain) step(p chaos.Point, ended time.Duration) {
	v, ok := g.read(p)
	if !ok {
		g.absent = !g.seen && p.At-ended >= missing
		return
	}
	g.seen, g.Known, g.absent = true, true, false
	g.After = v
	ok = v >= g.low && v <= g.high
	g.window = append(g.window, glance{at: p.At, ok: ok})
	if !ok {
		g.off++
	}
	// The stretch begins with a point in bounds, and is no longer than it has to be.
	for len(g.window) > 0 && (!g.window[0].ok || len(g.window) > 1 && p.At-g.window[1].at >= g.stable) {
		if !g.window[0].ok {
			g.off--
		}
		g.window = g.window[1:]
	}
	if !ok || p.At-g.window[0].at < g.stable || float64(g.off) > astray*float64(len(g.window)) {
		return
	}
	if took := max(0, g.window[0].at-ended); took <= g.within {
		g.Took = &took
	}
}

// Deadline is until when it is worth to wait for what is not met yet, since the run
// began: what cannot be measured is not waited for.
func (r *Recovery) Deadline() time.Duration {
	last := r.done.Ended
	for _, g := range r.list {
		if g.Took == nil && !g.absent {
			last = max(last, r.deadline(g))
		}
	}
	return last
}

// Results are the criteria, as they are by now.
func (r *Recovery) Results() []chaos.Recovered {
	out := make([]chaos.Recovered, 0, len(r.list))
	for _, g := range r.list {
		out = append(out, g.Recovered)
	}
	return out
}

// why says what of a criterion of the recovery is not as it was.
func why(r chaos.Recovered, g *regain) string {
	within := g.within
	switch r.What {
	case settings:
		return "its settings were not all read back as they were"
	case ready:
		return "it was not ready again within " + span(within)
	case guarded:
		return "its guard was not healthy again within " + span(within)
	case growth:
		return fmt.Sprintf("its live heap grows by %s/s since, and did not before", words(chaos.LiveHeap, r.After))
	case growthGoroutines:
		return fmt.Sprintf("its goroutines grow by %s/s since, and did not before", strconv.FormatFloat(r.After, 'g', 3, 64))
	}
	c, ok := measured[r.What]
	what := "its " + c.name
	if !ok {
		c.metric, what = chaos.Metric(r.What), name(chaos.Metric(r.What))
	}
	v, bound, was := words(c.metric, r.After), words(c.metric, r.Bound), words(c.metric, r.Before)
	switch {
	case r.After < g.low:
		return fmt.Sprintf("%s: %s after %s, at least %s (%s before)", what, v, span(within), words(c.metric, g.low), was)
	case r.After > g.high:
		return fmt.Sprintf("%s: %s after %s, at most %s (%s before)", what, v, span(within), bound, was)
	case r.What == liveHeap:
		return fmt.Sprintf("%s was not at most %s for %d cycles in a row within %s (%s at last, %s before)", what, bound, cyclesBack, span(within), v, was)
	}
	side := "at most"
	if math.IsInf(g.high, 0) {
		side = "at least"
	}
	return fmt.Sprintf("%s was not %s %s for %s on end within %s (%s at last, %s before)", what, side, bound, span(g.stable), span(within), v, was)
}

// measured are the criteria of the recovery that are values of a metric, as sentences
// have them.
var measured = map[string]struct {
	metric chaos.Metric
	name   string
}{
	liveHeap:   {chaos.LiveHeap, "live heap"},
	workingSet: {chaos.WorkingSet, "working set"},
	goroutines: {chaos.GoroutineCount, "goroutines, without those of new connections"},
	latency:    {chaos.LatencyP99, "99th percentile of the latency"},
	failures:   {chaos.ErrorRatio, "share of failed requests"},
}
