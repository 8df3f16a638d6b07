// Package rtmetrics takes Heapwright's samples from inside a process, through
// runtime/metrics and runtime/debug.
//
// Nothing it does stops the world: it never calls runtime.ReadMemStats.
// debug.ReadGCStats, which it does call, copies the runtime's history under the
// heap lock and no more (runtime/mstats.go, readGCStats_m).
//
// What runtime/metrics does not tell is missing from a sample's Has: the live
// heap between cycles, the trigger, the GC phase, the state of the limiter and
// of the scavenger, idle Ps, threads and run queues before Go 1.26, and
// everything that is the operating system's to say. Threads do not count those
// that C code made and Go only borrowed.
package rtmetrics

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/heapwright/heapwright/record"
)

// fields lists the metrics that are a field as they stand.
var fields = []struct {
	metric string
	field  record.Field
}{
	{"/gc/heap/live:bytes", record.FieldHeapMarkedBytes},
	{"/gc/heap/goal:bytes", record.FieldHeapGoalBytes},
	{"/gc/heap/allocs:bytes", record.FieldTotalAllocBytes},
	{"/gc/heap/frees:bytes", record.FieldTotalFreeBytes},
	{"/gc/heap/allocs-by-size:bytes", record.FieldSizeClassAllocs},
	{"/gc/heap/frees-by-size:bytes", record.FieldSizeClassFrees},
	{"/gc/heap/tiny/allocs:objects", record.FieldTinyAllocs},
	{"/gc/scan/stack:bytes", record.FieldStackScanBytes},
	{"/gc/scan/globals:bytes", record.FieldGlobalsScanBytes},
	{"/gc/gogc:percent", record.FieldGOGCPercent},
	{"/gc/gomemlimit:bytes", record.FieldGOMEMLIMITBytes},
	{"/gc/cycles/total:gc-cycles", record.FieldGCCycles},
	{"/gc/cycles/forced:gc-cycles", record.FieldGCForced},
	{"/gc/limiter/last-enabled:gc-cycle", record.FieldLimiterLastCycle},
	{"/memory/classes/heap/objects:bytes", record.FieldHeapObjectsBytes},
	{"/memory/classes/heap/free:bytes", record.FieldHeapFreeBytes},
	{"/memory/classes/heap/released:bytes", record.FieldHeapReleasedBytes},
	{"/memory/classes/heap/stacks:bytes", record.FieldStackInUseBytes},
	{"/cpu/classes/gc/mark/assist:cpu-seconds", record.FieldCPUGCAssist},
	{"/cpu/classes/gc/mark/dedicated:cpu-seconds", record.FieldCPUGCDedicated},
	{"/cpu/classes/gc/mark/idle:cpu-seconds", record.FieldCPUGCIdle},
	{"/cpu/classes/gc/pause:cpu-seconds", record.FieldCPUGCPause},
	{"/cpu/classes/gc/total:cpu-seconds", record.FieldCPUGCTotal},
	{"/cpu/classes/scavenge/assist:cpu-seconds", record.FieldCPUScavengeAssist},
	{"/cpu/classes/scavenge/background:cpu-seconds", record.FieldCPUScavengeBackground},
	{"/cpu/classes/scavenge/total:cpu-seconds", record.FieldCPUScavengeTotal},
	{"/cpu/classes/idle:cpu-seconds", record.FieldCPUIdle},
	{"/cpu/classes/user:cpu-seconds", record.FieldCPUUser},
	{"/cpu/classes/total:cpu-seconds", record.FieldCPUTotal},
	{"/sched/gomaxprocs:threads", record.FieldGOMAXPROCS},
	{"/sched/threads/total:threads", record.FieldThreads},
	{"/sched/goroutines/runnable:goroutines", record.FieldRunnable},
	{"/sched/latencies:seconds", record.FieldSchedLatency},
	{"/sched/pauses/stopping/gc:seconds", record.FieldSTWStoppingGC},
	{"/sched/pauses/stopping/other:seconds", record.FieldSTWStoppingOther},
	{"/sched/pauses/total/gc:seconds", record.FieldSTWTotalGC},
	{"/sched/pauses/total/other:seconds", record.FieldSTWTotalOther},
}

// The metrics that are a part of a field.
const (
	unused = iota // of the spans in use
	total         // all memory that the runtime has mapped
	allocs        // objects, tiny ones not among them
	frees
	numParts
)

var parts = [numParts]string{
	unused: "/memory/classes/heap/unused:bytes",
	total:  "/memory/classes/total:bytes",
	allocs: "/gc/heap/allocs:objects",
	frees:  "/gc/heap/frees:objects",
}

// A Reader takes samples of the process that it runs in. It is not safe for
// concurrent use; Readers are independent of each other.
type Reader struct {
	samples []metrics.Sample // the parts, then the fields
	fields  []record.Field   // of samples[numParts:]
	parts   bool             // all of them are there
	gc      debug.GCStats
	cycles  uint64 // the last that Cycles returned
}

// NewReader returns a Reader. What this version of Go does not measure, or not
// in the form that is expected, it leaves out.
func NewReader() *Reader {
	r := &Reader{parts: true}
	for _, name := range parts {
		r.samples = append(r.samples, metrics.Sample{Name: name})
	}
	for _, f := range fields {
		r.samples = append(r.samples, metrics.Sample{Name: f.metric})
		r.fields = append(r.fields, f.field)
	}
	metrics.Read(r.samples)
	for _, s := range r.samples[:numParts] {
		r.parts = r.parts && s.Value.Kind() == metrics.KindUint64
	}
	n := 0
	for i, f := range r.fields {
		if s := r.samples[numParts+i]; usable(s.Value, f) {
			r.samples[numParts+n], r.fields[n] = s, f
			n++
		}
	}
	r.samples, r.fields = r.samples[:numParts+n], r.fields[:n]
	return r
}

// usable reports whether v has the form that load expects for the field f.
func usable(v metrics.Value, f record.Field) bool {
	switch new(record.Sample).Pointer(f).(type) {
	case *uint64, *int64:
		return v.Kind() == metrics.KindUint64
	case *time.Duration:
		return v.Kind() == metrics.KindFloat64
	case *record.TimeHistogram:
		// One bucket below those of the runtime, and one above.
		if v.Kind() != metrics.KindFloat64Histogram || len(v.Float64Histogram().Counts) != record.TimeHistogramBuckets+2 {
			return false
		}
		for i, bound := range v.Float64Histogram().Buckets[1 : record.TimeHistogramBuckets+2] {
			if bound != float64(record.TimeHistogramBound(i))/1e9 {
				return false
			}
		}
		return true
	case *[record.NumSizeClasses]uint64:
		return v.Kind() == metrics.KindFloat64Histogram && len(v.Float64Histogram().Counts) == record.NumSizeClasses
	}
	return false
}

// Read overwrites s with the present state of the process: the time, the
// source, and the fields that the runtime tells, which Has names. It does not
// allocate.
func (r *Reader) Read(s *record.Sample) {
	*s = record.Sample{Time: time.Now(), Source: record.SourceRTMetrics}
	metrics.Read(r.samples)
	for i, f := range r.fields {
		load(s.Pointer(f), r.samples[numParts+i].Value)
		s.Has.Add(f)
	}
	r.derive(s)

	// Not /sched/goroutines:goroutines, which since Go 1.26 counts the runtime's
	// own goroutines too (runtime/metrics.go, schedStatsAggregate.compute).
	s.Goroutines = int64(runtime.NumGoroutine())
	s.Has.Add(record.FieldGoroutines)

	debug.ReadGCStats(&r.gc)
	s.PauseTotal = r.gc.PauseTotal
	s.Has.Add(record.FieldPauseTotal)
	if r.gc.NumGC > 0 {
		s.LastGC = r.gc.LastGC
		s.Has.Add(record.FieldLastGC)
	}
}

// load stores a value in the field that p points to.
func load(p any, v metrics.Value) {
	switch p := p.(type) {
	case *uint64:
		*p = v.Uint64()
	case *int64:
		*p = int64(v.Uint64()) // GOGC=off is -1, shown as an unsigned number
	case *time.Duration:
		*p = time.Duration(math.Round(v.Float64() * 1e9))
	case *record.TimeHistogram:
		counts := v.Float64Histogram().Counts
		p.Underflow = counts[0]
		copy(p.Counts[:], counts[1:])
		p.Overflow = counts[record.TimeHistogramBuckets+1]
	case *[record.NumSizeClasses]uint64:
		// The buckets are the size classes from 1, then large objects, which
		// are class 0.
		counts := v.Float64Histogram().Counts
		copy(p[1:], counts)
		p[0] = counts[record.NumSizeClasses-1]
	}
}

// derive fills the fields that are made of several metrics, as the runtime
// makes them.
func (r *Reader) derive(s *record.Sample) {
	if r.parts {
		part := func(i int) uint64 { return r.samples[i].Value.Uint64() }
		heap := s.HeapObjectsBytes + part(unused)
		set(s, record.FieldHeapInUseBytes, heap, record.FieldHeapObjectsBytes)
		set(s, record.FieldMappedReadyBytes, part(total)-s.HeapReleasedBytes, record.FieldHeapReleasedBytes)
		set(s, record.FieldRuntimeOtherBytes, part(total)-heap-s.HeapFreeBytes-s.HeapReleasedBytes-s.StackInUseBytes,
			record.FieldHeapInUseBytes, record.FieldHeapFreeBytes, record.FieldHeapReleasedBytes, record.FieldStackInUseBytes)
		set(s, record.FieldAllocObjects, part(allocs)+s.TinyAllocs, record.FieldTinyAllocs)
		set(s, record.FieldFreeObjects, part(frees)+s.TinyAllocs, record.FieldTinyAllocs)
	}
	// What small objects don't account for is large ones: the runtime computes
	// the sum so (runtime/metrics.go, heapStatsAggregate.compute).
	for i, f := range r.fields {
		switch f {
		case record.FieldSizeClassAllocs:
			set(s, record.FieldLargeAllocBytes, s.TotalAllocBytes-smallBytes(r.samples[numParts+i].Value), record.FieldTotalAllocBytes)
		case record.FieldSizeClassFrees:
			set(s, record.FieldLargeFreeBytes, s.TotalFreeBytes-smallBytes(r.samples[numParts+i].Value), record.FieldTotalFreeBytes)
		}
	}
}

// set sets the field f, if the sample has the fields that the value is made of.
func set(s *record.Sample, f record.Field, v uint64, of ...record.Field) {
	for _, o := range of {
		if !s.Has.Has(o) {
			return
		}
	}
	*s.Pointer(f).(*uint64) = v
	s.Has.Add(f)
}

// smallBytes returns how many bytes the small objects in a histogram by size
// have. The upper bound of a bucket is the size of its class and one more.
func smallBytes(v metrics.Value) uint64 {
	h := v.Float64Histogram()
	var sum uint64
	for i, n := range h.Counts[:len(h.Counts)-1] {
		sum += n * uint64(h.Buckets[i+1]-1)
	}
	return sum
}

// Cycles appends to dst the GC cycles that ended since the last call, or since
// the process started at the first, oldest first. They come from the runtime's
// own history, with exact pauses and without detail. The history holds 256
// cycles: lost is how many of those that ended are no longer in it.
func (r *Reader) Cycles(dst []record.Cycle) (cycles []record.Cycle, lost uint64) {
	debug.ReadGCStats(&r.gc)
	last, kept := uint64(r.gc.NumGC), uint64(len(r.gc.Pause))
	first := max(r.cycles+1, last+1-kept)
	lost = first - (r.cycles + 1)
	for n := first; n <= last; n++ {
		i := last - n // the latest is first in the history
		dst = append(dst, record.Cycle{N: n, End: r.gc.PauseEnd[i], Pause: r.gc.Pause[i]})
	}
	r.cycles = last
	return dst, lost
}
