package view

import (
	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
	"github.com/heapwright/heapwright/record"
)

// noCgroupLimit is above any real limit: cgroup v1 writes "none" as the largest
// multiple of the page size below 2^63.
const noCgroupLimit = 1 << 60

// ContainerLimit is the newest memory limit of the container, 0 for none. A
// limit above the host's memory is none.
func (v *View) ContainerLimit() float64 {
	limit, ok := v.Last(record.FieldCgroupLimitBytes)
	if !ok {
		limit = float64(v.Process.MemoryLimitBytes)
	}
	if limit >= noCgroupLimit {
		return 0
	}
	if host := float64(v.Process.HostMemoryBytes); host > 0 && limit >= host {
		return 0
	}
	return limit
}

// Outside is the anonymous memory that the runtime has not mapped, over time:
// C allocators, mmap, thread stacks, the data segment. It is a lower bound,
// because what the runtime has ready but never touched is not resident. Memory
// of files is left out: the kernel takes it back.
func (v *View) Outside() []trend.Point {
	return v.Combine(func(x []float64) float64 { return max(0, x[0]-x[1]) },
		record.FieldRSSAnonBytes, record.FieldMappedReadyBytes)
}

// OutsidePeak is the largest of Outside, or of RSS minus what the runtime has
// ready where anonymous memory is not known: that counts program text too, so it
// is too high rather than too low.
func (v *View) OutsidePeak() (float64, bool) {
	pts := v.Outside()
	if len(pts) == 0 {
		pts = v.Combine(func(x []float64) float64 { return max(0, x[0]-x[1]) },
			record.FieldRSSBytes, record.FieldMappedReadyBytes)
	}
	return Quantile(pts, 1)
}

// NonHeap is what the runtime has ready that is not heap: stacks, spans, caches,
// GC metadata. GOMEMLIMIT covers it. It is the largest in the window.
func (v *View) NonHeap() (float64, bool) {
	pts := v.Combine(func(x []float64) float64 { return max(0, x[0]-x[1]-x[2]) },
		record.FieldMappedReadyBytes, record.FieldHeapInUseBytes, record.FieldHeapFreeBytes)
	return Quantile(pts, 1)
}

// A Sizing is a GOMEMLIMIT for a container, and what it is made of. All are
// bytes.
type Sizing struct {
	GOMEMLIMIT float64 // Limit - Outside - Reserve
	Limit      float64 // of the container
	Outside    float64 // measured peak of what the runtime does not manage
	Reserve    float64
	Live       float64 // peak of what a GC cycle found alive
	NonHeap    float64 // Go memory that is not heap
	Need       float64 // the least GOMEMLIMIT that leaves the pacer an effective GOGC of ComfortGOGC
	Fits       bool    // Need <= GOMEMLIMIT
}

// The reserve is for what the measurement has not seen: kernel memory charged
// to the container, growth of the non-Go part, the runtime's overshoot of a soft
// limit. It is the largest of 2% of the limit, 32 MiB, and twice the spread of
// the non-Go part in the window; but at most a tenth of the limit, so that small
// containers stay usable. The Go GC guide advises to leave 5-10%.
const (
	reserveShare   = 0.02
	reserveBytes   = 32 << 20
	reserveSpreads = 2
	reserveMost    = 0.10
)

// ComfortGOGC is the effective GOGC below which a memory limit costs much: GC
// work per allocated byte is proportional to 1/GOGC, so at 50 it is twice that
// at 100. headroom is the runtime's own (runtime/mgcpacer.go,
// memoryLimitHeapGoalHeadroomPercent = 3).
const (
	ComfortGOGC = 50
	headroom    = 0.03
)

// SizeLimit computes the GOMEMLIMIT that fits a container limit in bytes. It
// reports false when the memory inside or outside of the heap is not known.
func (v *View) SizeLimit(limit float64) (Sizing, bool) {
	outside, ok := v.OutsidePeak()
	if !ok || !(limit > 0) {
		return Sizing{}, false
	}
	s := Sizing{Limit: limit, Outside: outside}
	low, _ := Quantile(v.Outside(), 0)
	spread := 0.0
	if low > 0 {
		spread = outside - low
	}
	s.GOMEMLIMIT = SizeFor(limit, outside, spread)
	s.Reserve = reserve(limit, spread)
	s.Need, s.Live, s.NonHeap, ok = v.LeastLimit()
	s.Fits = ok && s.Need <= s.GOMEMLIMIT
	return s, ok
}

func reserve(limit, spread float64) float64 {
	return min(max(reserveShare*limit, reserveBytes, reserveSpreads*spread), reserveMost*limit)
}

// SizeFor is the GOMEMLIMIT for a container limit, with the memory outside of Go
// and its spread, all in bytes.
func SizeFor(limit, outside, spread float64) float64 {
	return max(0, limit-outside-reserve(limit, spread))
}

// LeastLimit is the least GOMEMLIMIT at which the pacer still has an effective
// GOGC of ComfortGOGC for the largest live heap seen:
// nonHeap + (live + (live+stacks+globals)*GOGC/100) / (1-headroom).
func (v *View) LeastLimit() (need, live, nonHeap float64, ok bool) {
	live, okL := v.LivePeak()
	nonHeap, okN := v.NonHeap()
	if !okL || !okN {
		return 0, 0, 0, false
	}
	stacks, _ := v.Max(record.FieldStackScanBytes)
	globals, _ := v.Max(record.FieldGlobalsScanBytes)
	room := (live + stacks + globals) * ComfortGOGC / 100
	return nonHeap + (live+room)/(1-headroom), live, nonHeap, true
}

// LivePeak is the most that a GC cycle in the window found alive.
func (v *View) LivePeak() (float64, bool) {
	live, ok := v.Max(record.FieldHeapMarkedBytes)
	if m, okM := Quantile(v.Marked(), 1); okM {
		live, ok = max(live, m), true
	}
	return live, ok
}

// EffectiveGOGC is the room the pacer really had, in the terms of GOGC:
// 100 * (goal - live) / (live + stacks + globals), the median over the window.
// It is lower than GOGC when the memory limit sets the goal.
func (v *View) EffectiveGOGC() (float64, bool) {
	pts := v.Combine(func(x []float64) float64 {
		roots := x[1] + x[2] + x[3]
		if roots <= 0 {
			return -1
		}
		return 100 * max(0, x[0]-x[1]) / roots
	}, record.FieldHeapGoalBytes, record.FieldHeapMarkedBytes, record.FieldStackScanBytes, record.FieldGlobalsScanBytes)
	x, ok := Quantile(pts, 0.5)
	return x, ok && x >= 0
}

// SpanOverhead is how many bytes of spans the heap takes for each byte that the
// pacer counts, the median over the window, between 1 and 2; 1 when unknown.
func (v *View) SpanOverhead() float64 {
	pts := v.Combine(func(x []float64) float64 {
		if x[1] <= 0 {
			return 1
		}
		return min(max(x[0]/x[1], 1), 2)
	}, record.FieldHeapInUseBytes, record.FieldHeapLiveBytes)
	if x, ok := Quantile(pts, 0.5); ok {
		return x
	}
	return 1
}

// ContainerFor is the container limit that a GOMEMLIMIT needs, with the outside
// memory and the reserve of s.
func (s Sizing) ContainerFor(gomemlimit float64) float64 {
	return max((gomemlimit+s.Outside)/(1-reserveShare), gomemlimit+s.Outside+s.Reserve)
}
