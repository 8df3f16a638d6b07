package fault

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// A view is what of a process shows a fault inside of it.
type view struct {
	at         time.Time
	cycles     uint64
	marked     uint64 // bytes that the last cycle found alive
	heap       uint64 // and what was allocated since
	allocated  uint64 // bytes since it began
	objects    uint64 // likewise
	goroutines uint64
	stacks     uint64 // bytes
	holes      uint64 // bytes of spans in use that no object has
	forced     uint64 // collections since it began
	mapped     uint64 // that the runtime knows of
	anonymous  uint64 // resident, and of no file
}

const (
	// gaugeEvery is how far views are apart, gaugeKept how many there are.
	gaugeEvery = 200 * time.Millisecond
	gaugeKept  = 150
	// gaugeRate is over what time a rate is taken, gaugeLeast the least that says
	// anything.
	gaugeRate  = 2 * time.Second
	gaugeLeast = 250 * time.Millisecond
	// gaugeBase is how long the rate of before is looked at.
	gaugeBase = 500 * time.Millisecond
)

// A gauge sees from outside how much of a fault there is inside a process.
type gauge struct {
	kind chaos.Kind
	eye  *eye
	pid  int

	mu    sync.Mutex
	base  view
	rate  float64 // of before, for kinds that are a rate
	begun bool
	level float64
	since view // when the level was last set
	views []view
}

// openGauge looks at a process before its fault.
func openGauge(ctx context.Context, k chaos.Kind, t *Target) (*gauge, error) {
	e, err := openEye(ctx, t)
	if err != nil {
		return nil, err
	}
	g := &gauge{kind: k, eye: e, pid: t.PID}
	first, err := g.look()
	if err == nil && (k == chaos.Churn || k == chaos.Finalizers) {
		select {
		case <-time.After(gaugeBase):
		case <-ctx.Done():
		}
		g.base, err = g.look()
		if err == nil {
			g.rate = rateOf(k, first, g.base)
		}
	}
	if err != nil {
		e.close()
		return nil, refusedBy("the process cannot be read", err)
	}
	g.base = first
	return g, nil
}

func (g *gauge) look() (view, error) {
	s, err := g.eye.look()
	if err != nil {
		return view{}, err
	}
	v := view{
		at: time.Now(), cycles: s.GCCycles, marked: s.HeapMarkedBytes, heap: s.HeapLiveBytes, allocated: s.TotalAllocBytes, objects: s.AllocObjects,
		goroutines: uint64(s.Goroutines), stacks: s.StackInUseBytes, forced: s.GCForced, mapped: s.MappedReadyBytes,
	}
	v.holes = s.HeapInUseBytes - min(s.HeapInUseBytes, s.HeapObjectsBytes)
	if g.kind == chaos.OffHeap {
		text, err := readText(procPath("", g.pid, "status"))
		if err != nil {
			return view{}, err
		}
		v.anonymous, _ = kib(text, "RssAnon")
	}
	return v, nil
}

// set notes that there is another level from now on.
func (g *gauge) set(level float64) {
	g.mu.Lock()
	changed := !g.begun || level != g.level
	g.begun, g.level = true, level
	g.mu.Unlock()
	if !changed {
		return
	}
	if v, err := g.look(); err == nil {
		g.mu.Lock()
		g.since = v
		g.mu.Unlock()
	}
}

// read says how much of the fault there is.
func (g *gauge) read() (float64, string, bool) {
	now, err := g.look()
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil || !g.begun {
		return 0, "", false
	}
	window := gaugeRate
	if g.kind == chaos.ForcedGC && g.level > 0 { // a rate below one a second takes its time
		window = max(window, time.Duration(min(3/g.level, 25)*float64(time.Second)))
	}
	from, ok := g.ago(now.at, window)
	if n := len(g.views); n == 0 || now.at.Sub(g.views[n-1].at) >= gaugeEvery {
		g.views = append(g.views, now)
		g.views = g.views[max(0, len(g.views)-gaugeKept):]
	}
	return gauged(g.kind, g.base, g.since, from, now, g.rate, ok)
}

// forced is how many collections were forced since the fault began, and its level.
func (g *gauge) forced() (n uint64, level float64) {
	now, err := g.look()
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil || !g.begun {
		return 0, 0
	}
	return now.forced - min(now.forced, g.base.forced), g.level
}

// ago is the latest view that is at least so old, or the oldest.
func (g *gauge) ago(now time.Time, d time.Duration) (view, bool) {
	for i := len(g.views) - 1; i >= 0; i-- {
		if v := g.views[i]; now.Sub(v.at) >= d || i == 0 && now.Sub(v.at) >= gaugeLeast {
			return v, true
		}
	}
	return view{}, false
}

func (g *gauge) close() { g.eye.close() }

// rateOf is how fast what a kind makes was made between two views, each second.
func rateOf(k chaos.Kind, from, to view) float64 {
	of := func(a, b uint64) float64 {
		d := to.at.Sub(from.at).Seconds()
		if d <= 0 || b < a {
			return 0
		}
		return float64(b-a) / d
	}
	switch k {
	case chaos.Churn:
		return of(from.allocated, to.allocated)
	case chaos.Finalizers:
		return of(from.objects, to.objects)
	}
	return of(from.forced, to.forced)
}

// gauged is how much of a fault shows: since is when its level was last set, from the
// beginning of the time over which a rate is taken, which is there or not, and rate that
// of before.
func gauged(k chaos.Kind, base, since, from, now view, rate float64, rated bool) (float64, string, bool) {
	more := func(a, b uint64) float64 { return max(0, float64(b)-float64(a)) }
	switch k {
	case chaos.Retain, chaos.Pointers, chaos.Large:
		// A cycle that began after the level was set has found all of it; before that, what
		// was allocated since the last one counts, garbage and all.
		if now.cycles >= since.cycles+2 {
			return more(base.marked, now.marked), "live heap after a cycle, more than before", true
		}
		return more(base.marked, now.heap), "heap in use, more than was live before; no cycle has ended since", true
	case chaos.Fragments:
		return more(base.holes, now.holes), "memory of spans in use that no object has, more than before", true
	case chaos.Goroutines:
		return more(base.goroutines, now.goroutines), "goroutines in the runtime's books, more than before", true
	case chaos.Stacks:
		return more(base.stacks, now.stacks), "memory of stacks in the runtime's books, more than before", true
	case chaos.OffHeap:
		// What is resident and not of a file, without what the runtime knows of.
		before, after := float64(base.anonymous)-float64(base.mapped), float64(now.anonymous)-float64(now.mapped)
		return max(0, after-before), "resident memory that the runtime does not know of, more than before", true
	}
	if !rated {
		return 0, "", false
	}
	v := rateOf(k, from, now)
	switch k {
	case chaos.Churn:
		return max(0, v-rate), fmt.Sprintf("bytes allocated a second, less the %s of before", sizeText(rate)), true
	case chaos.Finalizers:
		return max(0, v-rate), fmt.Sprintf("objects allocated a second, less the %.0f of before", rate), true
	}
	return v, "forced collections in the runtime's books", true
}
