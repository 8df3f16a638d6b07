package pacer

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/heapwright/heapwright/record"
)

// A course is what a program did while it was recorded, without what its
// collector did: how much it allocated, how much of that lived, what else it
// held. It is what a replay runs again under other settings.
type course struct {
	seconds float64   // of program time, gaps left out
	step    float64   // seconds of a segment
	segs    []segment // equally long, in the order of time
	forced  []float64 // seconds at which the program asked for a cycle, ascending
	marks   []mark    // the cycles that were seen, in the order of time
	procs   float64   // GOMAXPROCS
	cores   float64   // CPUs that it can have at once

	// Constants of the process.
	cycleBytes float64 // heapLive that a cycle adds beside what was allocated: spans cached but not yet used
	spanSlack  float64 // bytes of heapLive per byte allocated: the unusable ends of spans
	fileBacked float64 // resident pages of files: the program's own text, mostly
	tail       float64 // of each byte that heapLive grows by, the part that no object can use: the ends of spans
	fill       spanFill
	other      float64 // the runtime's memory beside heap and stacks
	stacks     float64 // bytes of goroutine stacks
	outside    float64 // RSS less what the runtime has ready: negative where it has not touched all of it
	heapPeak   float64 // the most that heapLive was
	fixedCost  float64 // CPU-seconds of a cycle, whatever there is to mark
	byteCost   float64 // CPU-seconds for each byte of live heap and roots
	costDoubt  float64 // of these, as a share
	cpu        float64 // CPU cores of the program, without the collector and what follows from it
	busy       float64 // Ps that the program keeps, as the runtime's CPU limiter counts them: more than cpu where they wait for CPUs
	follow     float64 // CPU-seconds that follow from a cycle and that nobody books as the collector's
	cpuKnown   bool
	rssKnown   bool
	detailed   bool // the marks are of cycles seen in detail
}

// A segment is a stretch of program time.
type segment struct {
	alloc float64 // bytes per second, as heapLive counts them
	live  float64 // bytes that a cycle starting here would find alive
	roots float64 // bytes of stacks and globals to scan
}

// A mark is what marking took in one cycle that was seen.
type mark struct {
	at     float64 // seconds of program time at its end
	wall   float64 // seconds of concurrent mark
	grown  float64 // bytes of heapLive allocated meanwhile
	late   float64 // bytes of heapLive between the trigger and the start
	live   float64 // bytes marked without what was allocated meanwhile
	cpu    float64 // CPU-seconds of all workers, assists and pauses
	assist float64 // of that by assists
	room   float64 // bytes of heap between the start and the goal
	pause  float64 // seconds that the world stood still
	util   float64 // share of the Ps taken by background workers and assists, as the pacer counts
	idle   float64 // share of the Ps taken by idle workers
}

// assistShare is the share of a cycle's CPU that assists took.
func (m *mark) assistShare() float64 {
	if !(m.cpu > 0) {
		return 0
	}
	return m.assist / m.cpu
}

// maxSegments bounds the work of a replay: an hour in segments of 15 seconds.
const maxSegments = 240

// charted finds the course of a recording.
func (l *ledger) course() (*course, []string, error) {
	var missing []string
	miss := func(format string, a ...any) { missing = append(missing, fmt.Sprintf(format, a...)) }

	if len(l.samples) < 2 || l.span <= 0 {
		return nil, nil, &ShortError{Reason: "fewer than two samples", Record: usualSpan}
	}
	c := &course{seconds: l.span.Seconds(), procs: 1}
	if p, ok := l.last(record.FieldGOMAXPROCS); ok && p >= 1 {
		c.procs = math.Min(p, 1<<16)
	} else if l.rec.Process.HostCPUs > 0 {
		c.procs = float64(l.rec.Process.HostCPUs)
		miss("GOMAXPROCS is not in the recording: it is taken for the host's %d CPUs.", l.rec.Process.HostCPUs)
	}
	c.cores = c.procs
	if q := l.rec.Process.CPUQuotaCores; q > 0 {
		c.cores = min(c.cores, q)
	}
	if n := l.rec.Process.HostCPUs; n > 0 {
		c.cores = min(c.cores, float64(n))
	}
	k, known := l.cpuScale()
	if !known {
		miss("The CPU that the kernel charged cannot be compared with the runtime's: GC CPU is as the runtime counts it, which is too much where the process waits for CPUs.")
	}

	clock := l.clock()
	if err := c.findMarks(l, clock, k, miss); err != nil {
		return nil, nil, err
	}
	if err := c.findSegments(l, clock, miss); err != nil {
		return nil, nil, err
	}
	c.forced = l.forced(clock)
	c.findCost(l, k)
	c.findConstants(l, miss)
	c.findCPU(l, k, miss)
	return c, missing, nil
}

// A clock turns instants into seconds of program time: the gaps are left out.
type clock struct {
	at  []time.Time
	sec []float64
}

func (l *ledger) clock() clock {
	c := clock{make([]time.Time, len(l.samples)), make([]float64, len(l.samples))}
	for i, s := range l.samples {
		c.at[i] = s.Time
		if i > 0 {
			d := s.Time.Sub(l.samples[i-1].Time)
			if d > l.gap {
				d = 0
			}
			c.sec[i] = c.sec[i-1] + d.Seconds()
		}
	}
	return c
}

// seconds of an instant; ok is false outside of the recording and in a gap.
func (c clock) seconds(t time.Time) (sec float64, ok bool) {
	i, exact := slices.BinarySearchFunc(c.at, t, time.Time.Compare)
	switch {
	case exact:
		return c.sec[i], true
	case i == 0 || i == len(c.at) || c.sec[i] == c.sec[i-1]:
		return 0, false
	}
	return min(c.sec[i-1]+t.Sub(c.at[i-1]).Seconds(), c.sec[i]), true
}

// findMarks gathers what the cycles took.
func (c *course) findMarks(l *ledger, clock clock, k float64, miss func(string, ...any)) error {
	cycles, counted := l.growth(record.FieldGCCycles)
	triggers := l.triggers()
	for _, y := range l.cycles {
		at, ok := clock.seconds(y.End)
		if !ok {
			continue
		}
		procs := c.procs
		if y.Procs > 0 {
			procs = float64(y.Procs)
		}
		m := mark{
			at: at, wall: y.Mark.Seconds(), grown: float64(y.HeapEndBytes - y.HeapStartBytes), pause: y.Pause.Seconds(),
			live: max(float64(y.HeapMarkedBytes)-float64(y.HeapEndBytes-y.HeapStartBytes), 0),
			cpu:  k * ((y.Assist + y.Dedicated + y.Fractional + y.Idle).Seconds() + y.Pause.Seconds()*procs), assist: k * y.Assist.Seconds(),
			util: backgroundUtilization,
		}
		if y.HeapGoalBytes > y.HeapStartBytes {
			m.room = float64(y.HeapGoalBytes - y.HeapStartBytes)
		}
		if m.wall > 0 {
			m.util = min(m.util+y.Assist.Seconds()/(m.wall*procs), 0.95)
			m.idle = min(y.Idle.Seconds()/(m.wall*procs), 1)
		}
		if t, ok := triggers[y.N]; ok && !y.Forced && float64(y.HeapStartBytes) > t {
			m.late = float64(y.HeapStartBytes) - t
		}
		c.marks = append(c.marks, m)
	}
	c.detailed = len(c.marks) >= 2
	if c.detailed {
		return nil
	}
	// Without the cycles themselves, their sums tell the mean cycle.
	if !counted {
		return &UnfitError{"its source counts no GC cycles"}
	}
	if cycles < 2 {
		return l.tooFew(int(cycles))
	}
	miss("What single GC cycles did is not in the recording: how far allocation runs during a cycle is taken from Go's usual behaviour.")
	mean := mark{util: backgroundUtilization}
	if gc, ok := l.growth(record.FieldCPUGCTotal); ok {
		mean.cpu = k * gc / cycles
		if a, ok := l.growth(record.FieldCPUGCAssist); ok {
			mean.assist = k * a / cycles
		}
	} else {
		miss("GC CPU is not in the recording: it cannot be foreseen.")
		mean.cpu = math.NaN()
	}
	if p, ok := l.growth(record.FieldPauseTotal); ok {
		mean.pause = p / cycles
	}
	// Two idle Ps mark at about half a CPU-second per second each; it moves only
	// how early a cycle starts.
	if mean.cpu > 0 {
		mean.wall = mean.cpu / max(1, c.procs/2)
	}
	c.marks = nil
	marked := 0.0
	for i, s := range l.samples {
		v, ok := s.Value(record.FieldHeapMarkedBytes)
		if !ok || v == marked || v <= 0 {
			continue
		}
		marked = v
		m := mean
		m.at, m.live = clock.sec[i], v
		c.marks = append(c.marks, m)
	}
	if len(c.marks) == 0 {
		return &UnfitError{"its source gives neither GC cycles nor the live heap"}
	}
	return nil
}

// tooFew says how long to record for enough cycles.
func (l *ledger) tooFew(cycles int) error {
	e := &ShortError{Reason: fmt.Sprintf("%d GC cycles in %v, %d are needed", cycles, l.span.Round(time.Second), enoughCycles), Record: 0}
	if cycles > 0 {
		e.Record = max((l.span * enoughCycles / time.Duration(cycles)).Round(10*time.Second), usualSpan)
	} else {
		// The runtime forces a cycle every two minutes, if nothing else does.
		e.Record = 4 * ForcedPeriod
	}
	return e
}

// triggers returns the trigger of each cycle that a sample saw before it began.
func (l *ledger) triggers() map[uint64]float64 {
	t := map[uint64]float64{}
	for _, s := range l.samples {
		if s.Has.Has(record.FieldGCCycles) && s.Has.Has(record.FieldHeapTriggerBytes) && s.Has.Has(record.FieldGCPhase) && s.GCPhase == 0 {
			t[s.GCCycles+1] = float64(s.HeapTriggerBytes)
		}
	}
	return t
}

// forced is when the program asked for a cycle, with runtime.GC: it would again,
// whatever the settings.
func (l *ledger) forced(clock clock) []float64 {
	var at []float64
	counted := false
	for i := 1; i < len(l.samples); i++ {
		a, b := l.samples[i-1], l.samples[i]
		if !a.Has.Has(record.FieldGCForced) || !b.Has.Has(record.FieldGCForced) {
			continue
		}
		counted = true
		if b.GCForced > a.GCForced && clock.sec[i] > clock.sec[i-1] {
			at = append(at, clock.sec[i])
		}
	}
	if counted {
		return at
	}
	for _, y := range l.cycles {
		if t, ok := clock.seconds(y.End); ok && y.Forced && (len(at) == 0 || t > at[len(at)-1]) {
			at = append(at, t)
		}
	}
	return at
}

// findSegments cuts program time into equal parts and says what happened in each.
func (c *course) findSegments(l *ledger, clock clock, miss func(string, ...any)) error {
	// A segment is no shorter than a few samples, and than a few cycles.
	n := min(max(int(c.seconds/max(0.25, 4*l.step.Seconds())), 1), maxSegments)
	c.step = c.seconds / float64(n)
	c.segs = make([]segment, n)

	bytes, seconds := make([]float64, n), make([]float64, n)
	add := func(from, to, grown float64) {
		for from < to {
			i := min(int(from/c.step), n-1)
			end := min(to, float64(i+1)*c.step)
			if i == n-1 || end <= from {
				end = to
			}
			bytes[i] += grown * (end - from) / (to - from)
			grown -= grown * (end - from) / (to - from)
			seconds[i] += end - from
			from = end
		}
	}
	// Counters move in steps; between two samples that have them, evenly.
	last, any := -1, false
	for i, s := range l.samples {
		if !s.Has.Has(record.FieldTotalAllocBytes) {
			continue
		}
		if last >= 0 && clock.sec[i] > clock.sec[last] {
			if d, ok := record.Delta(l.samples[last], s, record.FieldTotalAllocBytes); ok {
				add(clock.sec[last], clock.sec[i], d)
				any = true
			}
		}
		last = i
	}
	c.spanSlack = 1
	if any {
		c.findSlack(l)
		c.findCycleBytes(l)
	} else {
		// Allocation shows between the cycles: from what one left to where the next ended.
		for i := 1; i < len(l.cycles); i++ {
			a, b := l.cycles[i-1], l.cycles[i]
			from, ok1 := clock.seconds(a.End)
			to, ok2 := clock.seconds(b.End)
			if b.N == a.N+1 && ok1 && ok2 && to > from && b.HeapEndBytes >= a.HeapMarkedBytes {
				add(from, to, float64(b.HeapEndBytes-a.HeapMarkedBytes))
				any = true
			}
		}
		if !any {
			return &UnfitError{"its source does not say how much is allocated"}
		}
	}
	var total, watched float64
	for i := range n {
		total, watched = total+bytes[i], watched+seconds[i]
	}
	if !(total > 0) {
		return &ShortError{Reason: "the process allocates nothing: it is idle", Record: 0}
	}
	for i := range n {
		if c.segs[i].alloc = total / watched; seconds[i] > 0 {
			c.segs[i].alloc = bytes[i] / seconds[i]
		}
		c.segs[i].alloc *= c.spanSlack
	}

	// The live heap is known where a cycle was; between, it goes straight.
	var at, live []float64
	for _, m := range c.marks {
		at, live = append(at, m.at), append(live, m.live)
	}
	var rootAt, roots []float64
	for i, s := range l.samples {
		stack, ok1 := s.Value(record.FieldStackScanBytes)
		globals, ok2 := s.Value(record.FieldGlobalsScanBytes)
		if ok1 && ok2 {
			rootAt, roots = append(rootAt, clock.sec[i]), append(roots, stack+globals)
		}
	}
	if len(roots) == 0 {
		if stack, ok := l.last(record.FieldStackInUseBytes); ok {
			rootAt, roots = []float64{0}, []float64{stack}
		} else {
			rootAt, roots = []float64{0}, []float64{0}
		}
		miss("How much of stacks and globals is scanned is not in the recording: goals are a little too low where goroutines are many.")
	}
	for i := range c.segs {
		mid := (float64(i) + 0.5) * c.step
		c.segs[i].live, c.segs[i].roots = between(at, live, mid), between(rootAt, roots, mid)
	}
	return nil
}

// findSlack finds how heapLive grows with what is allocated: by whole spans.
func (c *course) findSlack(l *ledger) {
	var ratios []float64
	for i := 1; i < len(l.samples); i++ {
		// Within one cycle, both counted by the runtime at the same instants.
		a, b := l.samples[i-1], l.samples[i]
		if a.Has.Has(record.FieldHeapLiveBytes) && b.Has.Has(record.FieldHeapLiveBytes) && a.Has.Has(record.FieldGCCycles) && b.Has.Has(record.FieldGCCycles) &&
			a.GCCycles == b.GCCycles && b.HeapLiveBytes > a.HeapLiveBytes {
			if d, ok := record.Delta(a, b, record.FieldTotalAllocBytes); ok && d > 1<<20 {
				ratios = append(ratios, float64(b.HeapLiveBytes-a.HeapLiveBytes)/d)
			}
		}
	}
	if len(ratios) >= 8 {
		c.spanSlack = min(max(median(ratios), 0.8), 1.5)
	}
}

// findCycleBytes finds what a cycle adds to heapLive beside what is allocated. Each
// cycle takes the cached spans from the Ps (runtime/mcache.go, prepareForSweep), and
// whoever caches one anew counts all its free slots at once (refill).
func (c *course) findCycleBytes(l *ledger) {
	var at, total []float64
	var from time.Time
	for _, s := range l.samples {
		if s.Has.Has(record.FieldTotalAllocBytes) {
			if len(at) == 0 {
				from = s.Time
			}
			at, total = append(at, s.Time.Sub(from).Seconds()), append(total, float64(s.TotalAllocBytes))
		}
	}
	var extra, cycles float64
	for i := 1; i < len(l.cycles); i++ {
		a, b := l.cycles[i-1], l.cycles[i]
		began, ended := a.End.Sub(from).Seconds(), b.End.Sub(from).Seconds()
		if b.N != a.N+1 || began < at[0] || ended > at[len(at)-1] || b.HeapEndBytes < a.HeapMarkedBytes {
			continue
		}
		extra += float64(b.HeapEndBytes-a.HeapMarkedBytes) - c.spanSlack*(between(at, total, ended)-between(at, total, began))
		cycles++
	}
	if cycles >= enoughCycles {
		c.cycleBytes = max(extra/cycles, 0)
	}
}

// between interpolates a series; before its first and after its last point it is flat.
func between(at, v []float64, t float64) float64 {
	i, _ := slices.BinarySearch(at, t)
	switch {
	case i == 0:
		return v[0]
	case i == len(at):
		return v[len(v)-1]
	case at[i] == at[i-1]:
		return v[i]
	}
	f := (t - at[i-1]) / (at[i] - at[i-1])
	return v[i-1] + f*(v[i]-v[i-1])
}

// findConstants finds what the process holds beside its heap.
func (c *course) findConstants(l *ledger, miss func(string, ...any)) {
	c.findSpans(l, miss)
	var outside []float64
	for _, s := range l.samples {
		if s.Has.Has(record.FieldMappedReadyBytes) && s.Has.Has(record.FieldRSSBytes) {
			outside = append(outside, float64(s.RSSBytes)-float64(s.MappedReadyBytes))
		}
		if s.Has.Has(record.FieldHeapLiveBytes) {
			c.heapPeak = max(c.heapPeak, float64(s.HeapLiveBytes))
		}
	}
	for _, m := range c.marks {
		c.heapPeak = max(c.heapPeak, m.live+m.grown)
	}
	c.stacks, _ = l.last(record.FieldStackInUseBytes)
	c.other, _ = l.last(record.FieldRuntimeOtherBytes)
	if c.rssKnown = len(outside) > 0; c.rssKnown {
		c.outside = median(outside)
		c.fileBacked, _ = l.last(record.FieldRSSFileBytes)
	} else {
		miss("What the process holds beside the Go runtime's memory is not in the recording: RSS cannot be foreseen.")
	}
}

// cost is what a cycle takes that has so much to mark, in CPU-seconds.
func (c *course) cost(marked float64) float64 { return c.fixedCost + c.byteCost*marked }

// findCost finds what a cycle takes.
func (c *course) findCost(l *ledger, k float64) {
	var n, sum, work, works, products float64
	for _, m := range c.marks {
		if w := m.live + c.at(m.at).roots; m.cpu >= 0 {
			n, sum, work, works, products = n+1, sum+m.cpu, work+w, works+w*w, products+w*m.cpu
		}
	}
	if n == 0 {
		c.byteCost, c.fixedCost = math.NaN(), math.NaN()
		return
	}
	mean, meanWork := sum/n, work/n
	// The sums know also of the cycles that were not seen in detail.
	if gc, ok := l.growth(record.FieldCPUGCTotal); ok {
		if cycles, ok := l.growth(record.FieldGCCycles); ok && cycles >= enoughCycles {
			mean = k * gc / cycles
		}
	}
	// Only where there was more to mark in some cycles than in others can it be told
	// what grows with it; else all of it is taken to.
	variance := works/n - meanWork*meanWork
	c.byteCost = mean / max(meanWork, 1)
	if n >= 8 && variance > 0.01*meanWork*meanWork {
		c.byteCost = min(max((products/n-sum/n*meanWork)/variance, 0), c.byteCost)
	}
	c.fixedCost = mean - c.byteCost*meanWork
	// Where the process waits for CPUs, the runtime counts waiting as marking, and
	// not evenly: the more of it there is, the less is known.
	var squares float64
	for _, m := range c.marks {
		squares += (m.cpu - sum/n) * (m.cpu - sum/n)
	}
	if mean > 0 {
		c.costDoubt = math.Hypot(min(math.Sqrt(squares/n/max(n/4, 1))/mean, 0.5), 0.5*(1-k))
	}
}

// What a cycle makes the program spend beside what is booked as the collector's:
// waking and stopping threads, sweeping, refilled caches. CPU-seconds of each cycle,
// and for each byte of live heap and roots. Measured from outside on eight programs
// under Go 1.27, at 1 to 540 cycles a second: 0.4 to 3 ms a cycle in all. One
// recording cannot tell it from the program's own.
const (
	followCost     = 0.5e-3
	followCostByte = 0.04e-9
)

// findCPU finds what the program itself uses.
func (c *course) findCPU(l *ledger, k float64, miss func(string, ...any)) {
	user, ok1 := l.growth(record.FieldCPUProcUser)
	system, ok2 := l.growth(record.FieldCPUProcSystem)
	gc, ok3 := l.growth(record.FieldCPUGCTotal)
	if ok1 && ok2 && ok3 {
		c.cpu, c.cpuKnown = max((user+system-k*gc)/c.seconds, 0), true
	} else if u, ok := l.growth(record.FieldCPUUser); ok {
		c.cpu, c.cpuKnown = k*u/c.seconds, true
	} else {
		miss("The process's CPU is not in the recording: shares of it cannot be foreseen.")
		return
	}
	live := 0.0
	for _, s := range c.segs {
		live += (s.live + s.roots) / float64(len(c.segs))
	}
	c.busy = c.cpu / max(k, 0.1)
	if u, ok := l.growth(record.FieldCPUUser); ok {
		c.busy = max(u/c.seconds, c.cpu)
	}
	c.follow = followCost + followCostByte*live
	if cycles, ok := l.growth(record.FieldGCCycles); ok {
		c.cpu = max(c.cpu-c.follow*cycles/c.seconds, c.cpu/2)
	}
}
