package tune

import (
	"fmt"
	"math"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

const (
	mib = 1 << 20
	gib = 1 << 30

	// most is more memory than a process can have, in bytes. What is above is
	// taken for this, so that no sum overflows.
	most = 1 << 50

	// limitHeadroom is what the runtime keeps below its limit
	// (runtime/mgcpacer.go, memoryLimitHeapGoalHeadroomPercent).
	limitHeadroom = 0.03
)

// The spare memory is for what was not measured: kernel memory of the container,
// page cache in use, a burst of allocations while the collector waits for a CPU.
// It is the largest of 2% of the limit, 32 MiB and half a second of allocations,
// but no more than 5% of the limit, the lower edge of what the Go GC guide
// advises; and as much again as the memory beside Go was seen to vary.
const (
	spareShare = 0.02
	spareBytes = 32 * mib
	spareBurst = 0.5 // seconds
	spareMost  = 0.05
)

// stormBand is how far above the storm floor GOMEMLIMIT stays, at least: no
// floor is known better than to 5%. Where its interval is wider, it is half way to
// the upper end, beyond which a plan has to say that it may be too near.
const stormBand = 0.05

// A memory is what has to fit into a container beside the room that the
// collector gets, in bytes.
type memory struct {
	live, livePeak float64
	roots          float64
	perByte        float64 // resident bytes per heap byte
	runtime        float64
	nonGo          float64
	cache          float64 // pages of files that the kernel can take back: in RSS, and not in nonGo
	varies         float64 // how much nonGo was seen to vary
	beside         float64
	burst          float64 // allocated in spareBurst
	floor          float64 // least GOMEMLIMIT, whole MiB
	doubtful       float64 // below it the storm is not ruled out
}

// within makes a number that a twin gave usable: between 0 and high, and
// otherwise if it is none.
func within(v, high, otherwise float64) float64 {
	if math.IsNaN(v) {
		return otherwise
	}
	return min(max(v, 0), high)
}

// fileInUse is the part of a process's resident file pages that it is taken to
// use all the time, such as the code that runs. The rest, mostly program text and
// mapped data that was touched once, is page cache: it counts in RSS, and the
// kernel drops it before it kills.
const fileInUse = 0.25

// FileBytes is how much of a process's resident memory was pages of files, at
// the end of a recording; 0 where it does not tell.
func FileBytes(rec *record.Recording) uint64 {
	for i := len(rec.Samples) - 1; i >= 0; i-- {
		if s := &rec.Samples[i]; s.Has.Has(record.FieldRSSFileBytes) {
			return s.RSSFileBytes
		}
	}
	return 0
}

// measure takes from a twin what has to fit.
func measure(t Twin, beside, file uint64) memory {
	w := t.Workload()
	bytes := func(v float64) float64 { return within(v, most, 0) }
	// The edges of an interval that is missing are the estimate.
	edge := func(e pacer.Estimate) float64 { return max(bytes(e.Estimate), bytes(e.High)) }
	m := memory{
		live:     bytes(w.LiveBytes.Estimate),
		livePeak: max(edge(w.LivePeakBytes), bytes(w.LiveBytes.Estimate)),
		roots:    bytes(w.RootBytes.Estimate),
		perByte:  max(1, within(w.ResidentPerHeapByte.Estimate, 4, 1)),
		runtime:  edge(w.RuntimeBytes),
		nonGo:    edge(w.NonGoBytes),
		beside:   bytes(float64(beside)),
		burst:    spareBurst * within(edge(w.AllocBytesPerSecond), most, 0),
	}
	m.varies = m.nonGo - bytes(w.NonGoBytes.Estimate)
	m.cache = (1 - fileInUse) * min(bytes(float64(file)), m.nonGo)
	m.nonGo -= m.cache
	floor := t.StormFloorBytes()
	m.doubtful = edge(floor)
	m.floor = max((bytes(floor.Estimate)+m.doubtful)/2, (1+stormBand)*bytes(floor.Estimate))
	// Whatever a twin says, the runtime does nothing but collect when no more
	// than a tenth of the live heap is free.
	m.floor = max(m.floor, m.runtime+m.livePeak*(1+spareMost*2)/(1-limitHeadroom))
	m.floor = max(mib, mibUp(m.floor))
	return m
}

func mibUp(v float64) float64   { return math.Ceil(v/mib) * mib }
func mibDown(v float64) float64 { return math.Floor(v/mib) * mib }

// spare is the reserve for what was not measured, and what it follows.
func (m memory) spare(limit float64) (bytes float64, from string) {
	bytes, from = spareShare*limit, "2% of the limit"
	if v := min(spareBytes, spareMost*limit); v > bytes {
		bytes, from = v, "32 MiB"
		if v < spareBytes {
			from = "32 MiB, but at most 5% of the limit"
		}
	}
	if v := min(m.burst, spareMost*limit); v > bytes {
		bytes, from = v, "half a second of allocations"
		if v < m.burst {
			from = "half a second of allocations, but at most 5% of the limit"
		}
	}
	if m.varies > 0 {
		bytes += m.varies
		from += fmt.Sprintf(", and %s by which the memory beside Go varies", rule.FormatBytes(m.varies))
	}
	return bytes, from
}

// goLimit is the GOMEMLIMIT that fits a container's limit: whole MiB.
func (m memory) goLimit(limit float64) float64 {
	spare, _ := m.spare(limit)
	return max(0, mibDown(limit-m.nonGo-m.beside-spare))
}

// containerFor is the least container limit, in whole MiB, that a GOMEMLIMIT
// fits into.
func (m memory) containerFor(goLimit float64) float64 {
	low, high := mibUp(goLimit+m.nonGo+m.beside), mibUp(2*(goLimit+m.nonGo+m.beside+m.varies)+mib)
	for range 64 {
		if high-low <= mib {
			break
		}
		if mid := mibDown((low + high) / 2); m.goLimit(mid) >= goLimit {
			high = mid
		} else {
			low = mid
		}
	}
	if m.goLimit(low) >= goLimit {
		return low
	}
	return high
}

// gogcFor is the GOGC at which the heap grows by extra bytes above the live heap.
func (m memory) gogcFor(extra float64) float64 {
	base := m.live + m.roots
	if !(extra > 0) {
		return leastGOGC
	}
	if base < mib {
		base = mib
	}
	return 100 * extra / base
}

// extraAt is the room above the median live heap at a GOMEMLIMIT.
func (m memory) extraAt(goLimit float64) float64 {
	return max(0, (goLimit-m.runtime)*(1-limitHeadroom)/m.perByte-m.live)
}

// reserve says how a GOMEMLIMIT follows from a limit.
func (m memory) reserve(limit float64) Reserve {
	spare, from := m.spare(limit)
	return Reserve{
		LimitBytes: uint64(limit), NonGoBytes: uint64(m.nonGo), BesideBytes: uint64(m.beside), CacheBytes: uint64(m.cache),
		SpareBytes: uint64(spare), SpareFrom: from,
	}
}
