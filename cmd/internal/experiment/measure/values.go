package measure

import (
	"math"
	"slices"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/record"
)

// What has to be seen before a value is given.
const (
	// A quantile of pauses or scheduler latencies wants this many observations
	// beyond it, and the median as many on either side: p50 from 10, p90 from 50,
	// p99 from 500. With fewer it is little but the largest, which is smaller where
	// there are fewer, and a variant that collects less would seem to pause less.
	beyondQuantile = 5

	// The counters of allocation lag behind by what lies in the caches of the Ps;
	// see lag. Two standard deviations of that may be this share of the growth.
	mostLag = 0.02

	// Per-request values are growth in the window over its share of the requests of
	// the load: the window may be this much shorter or longer than the load was.
	leastCover, mostCover = 0.9, 1.25

	// A mean over time wants a reading at least so often: this share of the window.
	mostGap = 0.25

	// Without the process's own CPU clock, the kernel's steps of 10 ms have to be a
	// small part of the CPU time.
	leastTickedCPU = time.Second

	// No heap has a goal that large (47 bits of address): GOGC=off has none.
	mostHeap = 1 << 47

	// Levels are thinned to as many.
	mostLevels = 100
)

// Values makes the metrics of a process from what was seen of it, and from the
// requests that it was sent in the load's measured seconds. They are named as in
// experiment.Metrics; one that cannot be known is absent. The pauses, in seconds,
// are those of all cycles in the window, nil when some were lost.
//
//   - CPU per request is the kernel's account of the whole process.
//   - Allocation is what left the caches of the Ps, and absent where that lags
//     too far behind; see lag.
//   - GC CPU and assist are of the runtime's CPU classes, which it brings up to
//     date when a cycle ends: growth from the end of the first cycle in the window
//     to that of the last, of both the class and the total. They are wall time of
//     Ps, more than CPU time when the machine is busy.
//   - Pauses are the runtime's own, one a cycle: both times that it stops the
//     world. A quantile wants [beyondQuantile] pauses beyond it.
//   - The stopped time is the sum of those, exact, and of all other stops, which
//     are known by a histogram whose buckets are an eighth off at most. Releases
//     before Go 1.22 do not have that, and the sum is absent.
//   - The live heap is the mean over what the cycles found alive; the goal and RSS
//     are means over time; the peak is the highest reading, or the kernel's own
//     mark when that rose in the window.
//   - The scheduler latency is interpolated within a bucket of the runtime's
//     histogram. The bucket is a seventh to a quarter of the value wide, so that a
//     smaller difference means nothing. The runtime counts one in eight.
func Values(raw Raw, requests uint64, seconds float64) (values map[string]float64, pauses []float64, marks []experiment.Mark, levels []experiment.Level) {
	v := valuer{raw: &raw, span: raw.Span().Seconds(), out: map[string]float64{}}
	if !v.sane() {
		return v.out, nil, nil, nil
	}
	if cover := v.span / seconds; requests > 0 && cover >= leastCover && cover <= mostCover {
		// A window within the load has its share of the requests, one around it has all.
		in := float64(requests) * min(cover, 1)
		v.cpu(in)
		v.allocation(in)
	}
	v.collector()
	pauses = v.pauses()
	v.memory()
	v.scheduler()
	return v.out, pauses, v.marks(), v.levels()
}

type valuer struct {
	raw  *Raw
	span float64 // seconds
	out  map[string]float64
}

// sane reports whether the window is one: of some length, of one process, forward.
func (v *valuer) sane() bool {
	first, last := &v.raw.First, &v.raw.Last
	return v.span > 0 && v.span < (30*24*time.Hour).Seconds() && !first.Time.IsZero() &&
		first.Has.Has(record.FieldGCCycles) && last.Has.Has(record.FieldGCCycles) && last.GCCycles >= first.GCCycles
}

// put takes a value that is a number, and not below zero.
func (v *valuer) put(name string, x float64) {
	if x >= 0 && !math.IsInf(x, 0) {
		v.out[name] = x
	}
}

// grew is record.Delta over the window.
func (v *valuer) grew(f record.Field) (float64, bool) {
	return record.Delta(&v.raw.First, &v.raw.Last, f)
}

func (v *valuer) cpu(requests float64) {
	if v.raw.CPUKnown && v.raw.CPU > 0 {
		v.put("cpu_seconds_per_request", v.raw.CPU.Seconds()/requests)
		return
	}
	user, ok1 := v.grew(record.FieldCPUProcUser)
	system, ok2 := v.grew(record.FieldCPUProcSystem)
	if ok1 && ok2 && user+system >= leastTickedCPU.Seconds() {
		v.put("cpu_seconds_per_request", (user+system)/requests)
	}
}

func (v *valuer) allocation(requests float64) {
	bytesLag, objectsLag, ok := lag(&v.raw.First, &v.raw.Last)
	if !ok {
		return
	}
	if grew, ok := v.grew(record.FieldTotalAllocBytes); ok && grew > 0 && 2*bytesLag <= mostLag*grew {
		v.put("alloc_bytes_per_request", grew/requests)
	}
	if grew, ok := v.grew(record.FieldAllocObjects); ok && grew > 0 && 2*objectsLag <= mostLag*grew {
		v.put("alloc_objects_per_request", grew/requests)
	}
}

func (v *valuer) collector() {
	cycles := v.raw.Last.GCCycles - v.raw.First.GCCycles
	v.put("gc_cycles_per_second", float64(cycles)/v.span)

	// The classes as the first cycle in the window left them, and as the last did.
	points := v.raw.Points
	has := func(p *Point) bool {
		return p.Has.Has(record.FieldGCCycles) && p.Has.Has(record.FieldCPUGCTotal) && p.Has.Has(record.FieldCPUGCAssist) && p.Has.Has(record.FieldCPUTotal)
	}
	var from, to *Point
	for i := range points {
		if p := &points[i]; has(p) && p.GCCycles > v.raw.First.GCCycles {
			if from == nil {
				from = p
			}
			to = p
		}
	}
	if from != nil && to.GCCycles > from.GCCycles && to.CPUTotal > from.CPUTotal {
		total := (to.CPUTotal - from.CPUTotal).Seconds()
		gc, assist := (to.CPUGCTotal - from.CPUGCTotal).Seconds(), (to.CPUGCAssist - from.CPUGCAssist).Seconds()
		if gc >= 0 && assist >= 0 && assist <= gc && gc <= total {
			v.put("gc_cpu_ratio", gc/total)
			v.put("gc_assist_ratio", assist/total)
		}
	}

	inGC, ok1 := v.grew(record.FieldPauseTotal)
	other, ok2 := v.stoppedOther()
	if stopped := inGC + other; ok1 && ok2 && stopped <= v.span {
		v.put("stw_seconds_per_minute", stopped/v.span*60)
	}
}

// stoppedOther is how long the world was stopped for other reasons than GC.
func (v *valuer) stoppedOther() (seconds float64, ok bool) {
	h, ok := v.histogram(record.FieldSTWTotalOther)
	return h.Sum().Seconds(), ok
}

// histogram is what a histogram counted in the window. One that went backwards is
// no histogram.
func (v *valuer) histogram(f record.Field) (h record.TimeHistogram, ok bool) {
	first, last := &v.raw.First, &v.raw.Last
	if !first.Has.Has(f) || !last.Has.Has(f) {
		return h, false
	}
	a, b := first.Pointer(f).(*record.TimeHistogram), last.Pointer(f).(*record.TimeHistogram)
	for i := range a.Counts {
		if b.Counts[i] < a.Counts[i] {
			return h, false
		}
	}
	return b.Sub(a), b.Underflow >= a.Underflow && b.Overflow >= a.Overflow
}

// pauses are the pauses of all cycles, nil when not all are known.
func (v *valuer) pauses() []float64 {
	cycles := v.raw.Last.GCCycles - v.raw.First.GCCycles
	if v.raw.Lost > 0 || uint64(len(v.raw.Cycles)) != cycles {
		return nil
	}
	pauses := make([]float64, 0, len(v.raw.Cycles))
	long := 0
	for i := range v.raw.Cycles {
		p := v.raw.Cycles[i].Pause
		if p < 0 || p.Seconds() > v.span {
			return nil
		}
		pauses = append(pauses, p.Seconds())
		if p > time.Millisecond {
			long++
		}
	}
	v.put("gc_pauses_over_1ms_per_minute", float64(long)/v.span*60)
	sorted := slices.Sorted(slices.Values(pauses))
	for _, q := range quantiles {
		if enough(uint64(len(sorted)), q.share) {
			v.put(q.name, sorted[int(math.Ceil(q.share*float64(len(sorted))))-1])
		}
	}
	return pauses
}

var quantiles = []struct {
	name  string
	share float64
}{{"gc_pause_p50_seconds", 0.5}, {"gc_pause_p90_seconds", 0.9}, {"gc_pause_p99_seconds", 0.99}}

// enough reports whether n observations give a quantile.
func enough(n uint64, q float64) bool {
	// In thousandths, for what 0.1 is not.
	beyond := uint64(math.Round((1 - q) * 1000))
	return n/1000*beyond+n%1000*beyond/1000 >= beyondQuantile
}

func (v *valuer) memory() {
	points := v.raw.Points
	// What each cycle found alive: of several between two readings, the last.
	seen, sum, n := v.raw.First.GCCycles, 0.0, 0
	for i := range points {
		if p := &points[i]; p.Has.Has(record.FieldGCCycles) && p.Has.Has(record.FieldHeapMarkedBytes) && p.GCCycles > seen && p.HeapMarkedBytes > 0 {
			seen = p.GCCycles
			sum += float64(p.HeapMarkedBytes)
			n++
		}
	}
	if n > 0 {
		v.put("heap_live_bytes", sum/float64(n))
	}
	if goal, _, ok := v.overTime(record.FieldHeapGoalBytes, func(p *Point) uint64 { return p.HeapGoalBytes }); ok {
		v.put("heap_goal_bytes", goal)
	}
	rss, peak, ok := v.overTime(record.FieldRSSBytes, func(p *Point) uint64 { return p.RSSBytes })
	if !ok {
		return
	}
	v.put("rss_mean_bytes", rss)
	first, last := &v.raw.First, &v.raw.Last
	if first.Has.Has(record.FieldRSSPeakBytes) && last.Has.Has(record.FieldRSSPeakBytes) && last.RSSPeakBytes > first.RSSPeakBytes && last.RSSPeakBytes < mostHeap {
		peak = max(peak, float64(last.RSSPeakBytes)) // reached in the window, between two readings
	}
	v.put("rss_peak_bytes", peak)
}

// overTime is the mean over time of a size, and the highest reading. It is not
// known when readings are too far apart, or one of them is no size.
func (v *valuer) overTime(f record.Field, of func(*Point) uint64) (mean, peak float64, ok bool) {
	points := v.raw.Points
	area := 0.0
	for i := range points {
		p := &points[i]
		x := of(p)
		if !p.Has.Has(f) || x == 0 || x >= mostHeap {
			return 0, 0, false
		}
		peak = max(peak, float64(x))
		if i == 0 {
			continue
		}
		step := p.Time.Sub(points[i-1].Time).Seconds()
		if step < 0 || step > mostGap*v.span {
			return 0, 0, false
		}
		area += step * (float64(x) + float64(of(&points[i-1]))) / 2
	}
	if len(points) < 2 {
		return 0, 0, false
	}
	covered := points[len(points)-1].Time.Sub(points[0].Time).Seconds()
	if covered < leastCover*v.span {
		return 0, 0, false
	}
	return area / covered, peak, true
}

func (v *valuer) scheduler() {
	h, ok := v.histogram(record.FieldSchedLatency)
	if !ok {
		return
	}
	if n := h.Count(); n < 1<<53 && enough(n, 0.99) {
		if x, ok := interpolate(&h, 0.99); ok {
			v.put("sched_latency_p99_seconds", x)
		}
	}
}

// interpolate finds a quantile, taking what is in a bucket to be spread evenly
// over it. It is not known outside of the buckets.
func interpolate(h *record.TimeHistogram, q float64) (seconds float64, ok bool) {
	rank := q * float64(h.Count())
	seen := float64(h.Underflow)
	if rank <= seen {
		return 0, false
	}
	for i, c := range h.Counts {
		if c == 0 {
			continue
		}
		if seen+float64(c) >= rank {
			low, high := record.TimeHistogramBound(i).Seconds(), record.TimeHistogramBound(i+1).Seconds()
			return low + (high-low)*(rank-seen)/float64(c), true
		}
		seen += float64(c)
	}
	return 0, false
}

// at is when something was, in seconds from the start of the window, kept inside.
func (v *valuer) at(t time.Time) float64 {
	// What the process dates has no monotonic reading, and the wall clock may have
	// been set since.
	return min(max(t.Sub(v.raw.First.Time).Seconds(), 0), v.span)
}

func (v *valuer) marks() []experiment.Mark {
	var marks []experiment.Mark
	for i := range v.raw.Cycles {
		if c := &v.raw.Cycles[i]; c.Pause >= 0 {
			marks = append(marks, experiment.Mark{At: v.at(c.End), Pause: c.Pause.Seconds()})
		}
	}
	return marks
}

// levels are evenly spaced points, the first and the last among them. A goal that
// is none is 0.
func (v *valuer) levels() []experiment.Level {
	points := v.raw.Points
	n := min(len(points), mostLevels)
	var levels []experiment.Level
	for i := range n {
		j := i
		if n > 1 {
			j = i * (len(points) - 1) / (n - 1)
		}
		p := &points[j]
		l := experiment.Level{At: v.at(p.Time), Live: p.HeapLiveBytes, Goal: p.HeapGoalBytes, RSS: p.RSSBytes}
		if l.Goal >= mostHeap {
			l.Goal = 0
		}
		levels = append(levels, l)
	}
	return levels
}
