package sense

import (
	"math"
	"slices"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/guard/sli"
	"github.com/heapwright/heapwright/record"
)

// A number is one that may not be known.
type number struct {
	v  float64
	ok bool
}

func known(v float64) number {
	return number{v, !math.IsNaN(v) && !math.IsInf(v, 0)}
}

// A look is what one reading has found. What did not come is nil, or not known.
type look struct {
	at     time.Duration
	stat   statLook
	host   hostLook
	group  *groupLook
	books  *booksLook
	probed probed
}

// A statLook is /proc/PID/stat.
type statLook struct {
	gone bool
	cpu  number // seconds, in steps of 10 ms
	rss  number // bytes
}

// A hostLook is /proc/meminfo.
type hostLook struct {
	total, available number // bytes
}

// A groupLook is what the kernel says of the cgroup.
type groupLook struct {
	usage, limit, workingSet number // bytes
	quota                    number // cores; not known is none
	kills                    number
	atLimit                  map[string]uint64 // by directory
	periods, throttled       number
	some, full               number // seconds
}

// The lengths of windows.
const (
	second     = time.Second
	gcWindow   = 5 * time.Second
	longWindow = 10 * time.Second
	// keep is how long readings are kept, and maxLooks how many.
	keep     = 2*longWindow + second
	maxLooks = 4096
)

// A window makes points of looks. It is a pure accumulator: the same looks make the
// same points.
type window struct {
	looks   []entry
	kills   counter
	limit   map[string]*counter
	cycles  []chaos.Cycle // to be taken
	pauses  []chaos.Cycle // of the last ten seconds
	limiter uint64        // the last cycle in which the limiter was on, as last read

	gone, justGone bool
}

// An entry is what is kept of a look.
type entry struct {
	at                 time.Duration
	cpu, fineCPU       number
	gcCycles           number
	periods, throttled number
	some, full         number
	workingSet, room   number
	point              *sli.Point
}

// A counter adds up the growth of a number that may be absent, or begin anew.
type counter struct {
	last  number
	total float64
}

func (c *counter) see(n number) {
	if !n.ok {
		return
	}
	if c.last.ok && n.v > c.last.v {
		c.total += n.v - c.last.v
	}
	c.last = n
}

// add takes a look, and returns the values of its point.
func (w *window) add(l look) map[chaos.Metric]float64 {
	v := map[chaos.Metric]float64{}
	put := func(m chaos.Metric, n number) {
		if n.ok && !math.IsNaN(n.v) && !math.IsInf(n.v, 0) {
			v[m] = n.v
		}
	}
	w.justGone = l.stat.gone && !w.gone
	w.gone = w.gone || l.stat.gone
	put(chaos.Restarts, flag(w.gone))
	if h := l.host; h.total.ok && h.available.ok && h.total.v > 0 {
		put(chaos.HostFreeRatio, known(min(h.available.v/h.total.v, 1)))
	}
	for m, value := range l.probed {
		put(m, known(value))
	}
	e := entry{at: l.at}
	if !w.gone {
		put(chaos.RSS, l.stat.rss)
		e.cpu = l.stat.cpu
	}
	if l.group != nil {
		w.group(l.group, &e, put)
	} else if w.kills.last.ok {
		put(chaos.OOMKills, known(w.kills.total))
	}
	if l.books != nil && !w.gone {
		w.books(l, &e, put)
	}
	w.remember(e)
	w.rates(put)
	return v
}

func flag(on bool) number {
	if on {
		return number{1, true}
	}
	return number{0, true}
}

func (w *window) group(g *groupLook, e *entry, put func(chaos.Metric, number)) {
	put(chaos.Usage, g.usage)
	put(chaos.WorkingSet, g.workingSet)
	put(chaos.Limit, g.limit)
	if g.limit.ok && g.workingSet.ok && g.limit.v > 0 {
		room := max(g.limit.v-g.workingSet.v, 0)
		put(chaos.Headroom, known(room))
		put(chaos.HeadroomRatio, known(room/g.limit.v))
		e.workingSet, e.room = g.workingSet, known(room)
	}
	w.kills.see(g.kills)
	if w.kills.last.ok {
		put(chaos.OOMKills, known(w.kills.total))
	}
	if g.atLimit != nil {
		if w.limit == nil {
			w.limit = map[string]*counter{}
		}
		total := 0.0
		for dir, n := range g.atLimit {
			if w.limit[dir] == nil {
				w.limit[dir] = &counter{}
			}
			w.limit[dir].see(known(float64(n)))
		}
		for _, c := range w.limit {
			total += c.total
		}
		put(chaos.LimitEvents, known(total))
	}
	e.periods, e.throttled, e.some, e.full = g.periods, g.throttled, g.some, g.full
}

func (w *window) books(l look, e *entry, put func(chaos.Metric, number)) {
	b := l.books
	s := &b.sample
	field := func(m chaos.Metric, f record.Field) {
		if v, ok := s.Value(f); ok {
			put(m, known(v))
		}
	}
	field(chaos.LiveHeap, record.FieldHeapMarkedBytes)
	field(chaos.HeapGoal, record.FieldHeapGoalBytes)
	field(chaos.GoTotal, record.FieldMappedReadyBytes)
	field(chaos.GoroutineCount, record.FieldGoroutines)
	if s.Has.Has(record.FieldGOMEMLIMITBytes) && s.GOMEMLIMITBytes < math.MaxInt64 {
		field(chaos.MemoryLimitGo, record.FieldGOMEMLIMITBytes)
	}
	if s.Has.Has(record.FieldRSSBytes) {
		field(chaos.RSS, record.FieldRSSBytes)
	}
	if s.Has.Has(record.FieldLimiterEnabled) {
		on := s.LimiterEnabled
		if s.Has.Has(record.FieldLimiterLastCycle) {
			// It may have been on and off again between two readings.
			on = on || len(w.looks) > 0 && s.LimiterLastCycle > w.limiter
			w.limiter = s.LimiterLastCycle
		}
		put(chaos.LimiterOn, flag(on))
	}
	e.fineCPU = b.cpu
	if s.Has.Has(record.FieldGCCycles) {
		e.gcCycles = known(float64(s.GCCycles))
	}
	w.ended(l)
	from := l.at - longWindow
	w.pauses = slices.DeleteFunc(w.pauses, func(c chaos.Cycle) bool { return c.At < from })
	var long []time.Duration
	var longest time.Duration
	for _, c := range w.pauses {
		long = append(long, c.Pause)
		if c.At >= l.at-second {
			longest = max(longest, c.Pause)
		}
	}
	slices.Sort(long)
	p99 := 0.0
	if n := len(long); n > 0 {
		p99 = long[int(math.Ceil(0.99*float64(n)))-1].Seconds()
	}
	put(chaos.PauseP99, known(p99))
	put(chaos.PauseMax, known(longest.Seconds()))
	e.point = w.point(l)
	if older := w.base(l.at, gcWindow, func(e *entry) bool { return e.point != nil }); older != nil {
		r := sli.Window(older.point, e.point)
		if v, ok := r.Get(sli.GCCPURatio); ok {
			put(chaos.GCCPURatio, known(v))
		}
		if v, ok := r.Get(sli.AssistRatio); ok {
			put(chaos.AssistRatio, known(v))
		}
	}
}

// ended takes the cycles of a look: their times are the target's clock's, which is ours.
func (w *window) ended(l look) {
	s := &l.books.sample
	for i, c := range l.books.cycles {
		ago := s.Time.Sub(c.End)
		out := chaos.Cycle{At: min(max(l.at-ago, 0), l.at), Pause: max(c.Pause, 0), Forced: c.Forced}
		if c.Detail {
			out.LiveBytes, out.GoalBytes = c.HeapMarkedBytes, c.HeapGoalBytes
		}
		if i == len(l.books.cycles)-1 && out.LiveBytes == 0 && s.Has.Has(record.FieldHeapMarkedBytes) && c.N == s.GCCycles {
			out.LiveBytes = s.HeapMarkedBytes
		}
		w.cycles = append(w.cycles, out)
		w.pauses = append(w.pauses, out)
	}
	for _, c := range []*[]chaos.Cycle{&w.cycles, &w.pauses} {
		if over := len(*c) - maxCycles; over > 0 {
			*c = (*c)[:copy(*c, (*c)[over:])]
		}
	}
}

func (w *window) takeCycles() []chaos.Cycle {
	c := w.cycles
	w.cycles = nil
	return c
}

// point is a look as package sli has them. What the process had used of the CPU when
// the last cycle ended is what it had used at the first reading since.
func (w *window) point(l look) *sli.Point {
	b := l.books
	p := &sli.Point{Sample: b.sample, ProcessCPU: time.Duration(b.cpu.v * 1e9), HasProcessCPU: b.cpu.ok}
	if b.sample.Has.Has(record.FieldGOMAXPROCS) {
		p.Cores = float64(b.sample.GOMAXPROCS)
	}
	if g := l.group; g != nil && g.quota.ok && g.quota.v > 0 && p.Cores > 0 {
		p.Cores = min(p.Cores, g.quota.v)
	}
	for i := len(w.looks) - 1; i >= 0; i-- {
		last := w.looks[i].point
		if last == nil {
			continue
		}
		switch {
		case last.GCCycles == b.sample.GCCycles:
			p.CycleCPU, p.HasCycleCPU = last.CycleCPU, last.HasCycleCPU
		case b.cpu.ok && last.HasProcessCPU:
			// It ended in between; the middle is off by half of that at the most.
			p.CycleCPU, p.HasCycleCPU = last.ProcessCPU+(p.ProcessCPU-last.ProcessCPU)/2, true
		}
		break
	}
	return p
}

// remember keeps an entry, and forgets what is too old. One whose time does not go on
// begins anew: nothing can be said of what lies between.
func (w *window) remember(e entry) {
	if n := len(w.looks); n > 0 && e.at <= w.looks[n-1].at {
		w.looks = w.looks[:0]
	}
	w.looks = append(w.looks, e)
	first := 0
	for first < len(w.looks)-1 && (w.looks[first].at < e.at-keep || len(w.looks)-first > maxLooks) {
		first++
	}
	w.looks = w.looks[:copy(w.looks, w.looks[first:])]
}

// base is the entry that a window of a length ending at now begins with: the latest that
// is that old, while there is none as yet the oldest that is at least half of that. One
// that is twice as old is of before a gap.
func (w *window) base(now time.Duration, length time.Duration, has func(*entry) bool) *entry {
	var oldest *entry
	for i := len(w.looks) - 1; i >= 0; i-- {
		e := &w.looks[i]
		age := now - e.at
		if age > 2*length {
			break
		}
		if age <= 0 || !has(e) {
			continue
		}
		oldest = e
		if age >= length {
			return e
		}
	}
	if oldest != nil && now-oldest.at >= length/2 {
		return oldest
	}
	return nil
}

// grown is by how much a counter has grown over a window, and in how many seconds.
func (w *window) grown(length time.Duration, of func(*entry) number) (growth, took float64, ok bool) {
	last := &w.looks[len(w.looks)-1]
	to := of(last)
	from := w.base(last.at, length, func(e *entry) bool { return of(e).ok })
	if from == nil || !to.ok || to.v < of(from).v {
		return 0, 0, false
	}
	return to.v - of(from).v, (last.at - from.at).Seconds(), true
}

// rates sets what is a growth over time.
func (w *window) rates(put func(chaos.Metric, number)) {
	rate := func(m chaos.Metric, length time.Duration, atMost float64, of func(*entry) number) bool {
		g, took, ok := w.grown(length, of)
		if ok && took > 0 {
			put(m, known(min(g/took, atMost)))
		}
		return ok
	}
	none := math.MaxFloat64
	if !rate(chaos.CPUUsed, second, none, func(e *entry) number { return e.fineCPU }) {
		rate(chaos.CPUUsed, second, none, func(e *entry) number { return e.cpu })
	}
	rate(chaos.CyclesPerSecond, gcWindow, none, func(e *entry) number { return e.gcCycles })
	rate(chaos.PressureSome, longWindow, 1, func(e *entry) number { return e.some })
	rate(chaos.PressureFull, longWindow, 1, func(e *entry) number { return e.full })
	throttled, _, ok1 := w.grown(second, func(e *entry) number { return e.throttled })
	periods, _, ok2 := w.grown(second, func(e *entry) number { return e.periods })
	switch {
	case !ok1 || !ok2:
	case periods > 0:
		put(chaos.ThrottledRatio, known(min(throttled/periods, 1)))
	default:
		put(chaos.ThrottledRatio, known(0)) // there was nothing to throttle
	}
	w.untilLimit(put)
}

// untilLimit is how long the headroom lasts, by the line through the working sets of
// the last second.
func (w *window) untilLimit(put func(chaos.Metric, number)) {
	last := &w.looks[len(w.looks)-1]
	if !last.workingSet.ok {
		return
	}
	var n, st, sw, stt, stw float64
	var first time.Duration
	for i := len(w.looks) - 1; i >= 0 && last.at-w.looks[i].at <= second; i-- {
		e := &w.looks[i]
		if !e.workingSet.ok {
			continue
		}
		t, v := (e.at - last.at).Seconds(), e.workingSet.v-last.workingSet.v
		n, st, sw, stt, stw = n+1, st+t, sw+v, stt+t*t, stw+t*v
		first = e.at
	}
	const fewest = 3
	if n < fewest || last.at-first < second/2 {
		return
	}
	slope := (n*stw - st*sw) / (n*stt - st*st)
	if room := last.room; slope > 0 && room.ok {
		put(chaos.HeadroomSeconds, known(room.v/slope))
	}
}
