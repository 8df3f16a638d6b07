package sli

import (
	"math"
	"time"

	"github.com/heapwright/heapwright/record"
)

// Window says what happened between two Points of one Source. It is a pure function, and
// none of its values is NaN, infinite or negative, whatever the Points hold: a counter
// that went backwards, or a window of no length, makes its signals absent.
//
// GCCPURatio and AssistRatio: the runtime's CPU classes are the time that Ps were held,
// not CPU time, and on a busy or throttled machine they are many times too high. They
// are corrected by what the kernel says the process used, k = ΔCPU time / Δ(total - idle),
// at most 1. The classes move only when a cycle ends, so the signals are those of the
// cycles that ended in the window, over the time from the end of the last cycle before
// it. What idle Ps marked was no loss to the program, and is left out where Ps had nothing
// to do for a fifth of the time, and the process used less than four fifths of the CPU that
// it could have. In a window without
// any part of a cycle both are 0; when none ended, but one may have been running, they
// are absent. C code that uses much CPU beside Go makes k too high, never above 1.
func Window(older, newer *Point) Reading {
	w := window{older: older, newer: newer}
	w.Time = newer.Time
	if d := newer.Time.Sub(older.Time); d > 0 {
		w.Window = d
	}
	w.instants()
	if w.Window > 0 {
		if c, ok := w.grown(record.FieldGCCycles); ok {
			w.Cycles = uint64(c)
		}
		w.pauses()
		w.cpu()
		w.events()
	}
	return w.Reading
}

type window struct {
	Reading
	older, newer *Point
}

// both reports whether both ends have the field.
func (w *window) both(f record.Field) bool {
	return w.older.Has.Has(f) && w.newer.Has.Has(f)
}

func (w *window) grown(f record.Field) (float64, bool) {
	return record.Delta(&w.older.Sample, &w.newer.Sample, f)
}

// since is the growth of a duration, in seconds.
func since(older, newer time.Duration) (float64, bool) {
	return (newer - older).Seconds(), older >= 0 && newer >= older
}

// pauses sets what histograms say, and the time that the world was stopped.
func (w *window) pauses() {
	gc, gcOK := histogram(&w.older.STWTotalGC, &w.newer.STWTotalGC)
	if gcOK = gcOK && w.both(record.FieldSTWTotalGC); gcOK {
		w.setP99(PauseP99, &gc)
	}
	if sched, ok := histogram(&w.older.SchedLatency, &w.newer.SchedLatency); ok && w.both(record.FieldSchedLatency) {
		w.setP99(SchedP99, &sched)
	}
	other, ok := histogram(&w.older.STWTotalOther, &w.newer.STWTotalOther)
	if !ok || !w.both(record.FieldSTWTotalOther) {
		return
	}
	stopped, ok := w.grown(record.FieldPauseTotal) // exact
	if !ok && gcOK {
		stopped, ok = gc.Sum().Seconds(), true
	}
	if ok {
		w.Set(STWRatio, min((stopped+other.Sum().Seconds())/w.Window.Seconds(), 1))
	}
}

// histogram returns what was counted between two readings. It is not ok when a bucket
// went backwards.
func histogram(older, newer *record.TimeHistogram) (record.TimeHistogram, bool) {
	for i := range newer.Counts {
		if newer.Counts[i] < older.Counts[i] {
			return record.TimeHistogram{}, false
		}
	}
	if newer.Underflow < older.Underflow || newer.Overflow < older.Overflow {
		return record.TimeHistogram{}, false
	}
	return newer.Sub(older), true
}

func (w *window) setP99(s Signal, h *record.TimeHistogram) {
	if h.Count() > 0 {
		w.Set(s, min(h.Quantile(0.99), record.TimeHistogramMax).Seconds())
	}
}

// Where Ps were idle for more than this share of the time, and the process used no more than
// the rest of the CPU that it could have, marking by idle Ps took nothing from the program.
const spareShare = 0.2

// cpu sets GC's shares.
func (w *window) cpu() {
	total, ok1 := w.grown(record.FieldCPUTotal)
	gc, ok2 := w.grown(record.FieldCPUGCTotal)
	assist, ok3 := w.grown(record.FieldCPUGCAssist)
	if !ok1 || !ok2 || !ok3 {
		return
	}
	if total == 0 {
		if w.noCycle() {
			w.Set(GCCPURatio, 0)
			w.Set(AssistRatio, 0)
		}
		return
	}
	idle, ok1 := w.grown(record.FieldCPUIdle)
	idleMark, ok2 := w.grown(record.FieldCPUGCIdle)
	if !ok1 || !ok2 || !w.older.HasCycleCPU || !w.newer.HasCycleCPU {
		return
	}
	used, ok := since(w.older.CycleCPU, w.newer.CycleCPU)
	held := total - idle
	procs := float64(w.newer.GOMAXPROCS)
	if !ok || held <= 0 || procs < 1 || !(w.newer.Cores > 0) || !w.newer.Has.Has(record.FieldGOMAXPROCS) {
		return
	}
	k := min(used/held, 1)
	available := total * min(w.newer.Cores/procs, 1)
	if idle > spareShare*total && used < (1-spareShare)*available {
		gc -= min(gc, idleMark)
	}
	w.Set(GCCPURatio, min(k*gc/available, 1))
	w.Set(AssistRatio, min(k*assist/available, 1))
}

// noCycle reports that certainly no cycle ran in any part of the window. Each cycle stops
// the world when it begins and when it ends, sometimes once more in between: if there
// are just two stops for each cycle that ended, none is under way.
func (w *window) noCycle() bool {
	if !w.both(record.FieldSTWTotalGC) || !w.both(record.FieldGCCycles) || w.older.GCCycles != w.newer.GCCycles {
		return false
	}
	stops := w.newer.STWTotalGC.Count()
	return stops == w.older.STWTotalGC.Count() && stops == 2*w.newer.GCCycles
}

// events sets what counters say.
func (w *window) events() {
	if w.both(record.FieldLimiterLastCycle) && w.both(record.FieldGCCycles) {
		// The runtime notes the number of the cycle that was to end next when the
		// limiter came on (runtime/mgclimit.go, lastEnabledCycle).
		on := 0.0
		if w.newer.LimiterLastCycle > w.older.GCCycles {
			on = 1
		}
		w.Set(LimiterOn, on)
	}
	if stall, ok := w.grown(record.FieldPSIMemorySomeStall); ok {
		w.Set(MemoryStall, min(stall/w.Window.Seconds(), 1))
	}
	if w.older.HasOOMEvents && w.newer.HasOOMEvents && w.newer.OOMEvents >= w.older.OOMEvents {
		w.Set(OOMEvents, float64(w.newer.OOMEvents-w.older.OOMEvents))
	}
}

// instants sets what the newer Point alone says.
func (w *window) instants() {
	p := w.newer
	if p.Has.Has(record.FieldGoroutines) {
		w.Set(Goroutines, float64(p.Goroutines))
	}
	if needed, ok := goNeeds(p); ok && p.Has.Has(record.FieldGOMEMLIMITBytes) && p.GOMEMLIMITBytes > 0 && p.GOMEMLIMITBytes < math.MaxInt64 {
		w.Set(GoMemoryRatio, needed/float64(p.GOMEMLIMITBytes))
	}
	var needed, resident ratio
	for _, m := range memories(p) {
		if m.limit == 0 {
			continue
		}
		if m.hasPinned {
			resident.max(float64(m.pinned) / float64(m.limit))
		}
		if v, ok := m.needed(p); ok {
			needed.max(v / float64(m.limit))
		}
	}
	needed.set(w, MemoryRatio)
	resident.set(w, ResidentRatio)
}

// A ratio is the larger of those that are known.
type ratio struct {
	v  float64
	ok bool
}

func (r *ratio) max(v float64) { r.v, r.ok = max(r.v, v), true }

func (r *ratio) set(w *window, s Signal) {
	if r.ok {
		w.Set(s, r.v)
	}
}

// memory is a limit, and what is charged to it that can't be dropped.
type memory struct {
	limit, pinned uint64
	hasPinned     bool
	goOnly        bool // without pinned, count Go's memory alone
}

func memories(p *Point) [2]memory {
	return [2]memory{
		{p.GroupLimitBytes, p.GroupPinnedBytes, p.HasGroupPinned, false},
		{p.OwnLimitBytes, p.OwnPinnedBytes, p.HasOwnPinned, true},
	}
}

// needed is what would remain charged after a collection, in bytes.
func (m *memory) needed(p *Point) (float64, bool) {
	needed, ok := goNeeds(p)
	if !ok || (!m.hasPinned && !m.goOnly) {
		return 0, false
	}
	if !m.hasPinned {
		return needed, true
	}
	// What is charged and is not Go's. What the runtime has mapped and not yet touched
	// is not charged, but is among what is Go's: so this may be too little by that, and
	// what Go needs too much.
	if m.pinned > p.MappedReadyBytes {
		needed += float64(m.pinned - p.MappedReadyBytes)
	}
	return min(needed, float64(m.pinned)), true
}

// goNeeds is what of Go's memory a collection could not free, in bytes: the objects that
// the last cycle found alive, and what the runtime itself counts beside objects against
// GOMEMLIMIT (runtime/mgcpacer.go, memoryLimitHeapGoal): stacks, metadata, and what spans
// lose to fragmentation. Unknown before the first cycle.
func goNeeds(p *Point) (float64, bool) {
	for _, f := range [...]record.Field{record.FieldGCCycles, record.FieldHeapMarkedBytes, record.FieldMappedReadyBytes,
		record.FieldHeapFreeBytes, record.FieldHeapObjectsBytes} {
		if !p.Has.Has(f) {
			return 0, false
		}
	}
	if p.GCCycles == 0 {
		return 0, false
	}
	beside := float64(p.MappedReadyBytes) - float64(p.HeapFreeBytes) - float64(p.HeapObjectsBytes)
	return float64(p.HeapMarkedBytes) + max(beside, 0), true
}
