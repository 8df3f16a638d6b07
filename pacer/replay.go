package pacer

import (
	"math"
	"sort"
	"time"
)

// A tally is what came of a replay.
type tally struct {
	counts
	seconds           float64 // of wall time
	heapPeak, rssPeak float64 // bytes
	heap, rss         *levels // over time; nil when nobody asks
	limited           bool    // the CPU limiter stepped in
	backlog           float64 // seconds by which the program was late at the end
}

// counts are what adds up over cycles.
type counts struct {
	cycles        float64
	byLimit       float64 // cycles whose goal the memory limit set
	cornered      float64 // of those, that had to begin at once: the limit is below what lives
	gcCPU, assist float64 // CPU-seconds
	stopped       float64 // seconds
}

// extrapolate lets what came since before go on f times as long.
func (c *counts) extrapolate(before counts, f float64) {
	c.cycles += (c.cycles - before.cycles) * f
	c.byLimit += (c.byLimit - before.byLimit) * f
	c.cornered += (c.cornered - before.cornered) * f
	c.gcCPU += (c.gcCPU - before.gcCPU) * f
	c.assist += (c.assist - before.assist) * f
	c.stopped += (c.stopped - before.stopped) * f
}

// levels is how long a quantity was at which level: a histogram with bins of 1.5%.
type levels [levelBins]float64

const (
	levelBins  = 2048
	levelRatio = 1.015
	levelFloor = 64 << 10
)

var logLevelRatio = math.Log(levelRatio)

func levelBin(v float64) int {
	if !(v > levelFloor) {
		return 0
	}
	return min(int(math.Log(v/levelFloor)/logLevelRatio), levelBins-1)
}

// add says that the quantity went evenly from a to b in some seconds.
func (l *levels) add(a, b, seconds float64) {
	if l == nil || !(seconds > 0) {
		return
	}
	if a > b {
		a, b = b, a
	}
	i, j := levelBin(a), levelBin(b)
	if i == j {
		l[i] += seconds
		return
	}
	at := a
	edge := levelFloor * math.Pow(levelRatio, float64(i+1))
	for ; i < j; i++ {
		l[i] += seconds * (edge - at) / (b - a)
		at, edge = edge, edge*levelRatio
	}
	l[j] += seconds * (b - at) / (b - a)
}

func (l *levels) quantile(q float64) float64 {
	var total float64
	for _, w := range l {
		total += w
	}
	if !(total > 0) {
		return math.NaN()
	}
	want := q * total
	edge := float64(levelFloor)
	for _, w := range l {
		if w > 0 && want <= w {
			return edge * (1 + (levelRatio-1)*want/w)
		}
		want -= w
		edge *= levelRatio
	}
	return edge
}

// A replay runs a course under settings.
type replay struct {
	m      Model
	c      *course
	s      Settings
	d      draw
	procs  float64 // GOMAXPROCS
	cores  float64 // CPUs that the process can have at once
	full   bool    // also keep levels over time
	budget int     // how many cycles to go through one by one

	tally

	pos     float64 // seconds of program time
	wall    float64 // seconds of wall time
	marked  float64 // bytes that the last cycle marked
	last    float64 // wall time of the last cycle's end
	cons    ConsMark
	limiter Limiter
	next    int     // counts cycles
	near    int     // of c.marks: the one to come
	asked   int     // of c.forced: the one to come
	ready   float64 // bytes that the runtime has ready
}

func (r *replay) run() tally {
	c := r.c
	r.procs = c.procs
	if r.s.GOMAXPROCS > 0 {
		r.procs = float64(r.s.GOMAXPROCS)
	}
	r.cores = min(r.procs, c.cores)
	if r.full {
		r.heap, r.rss = new(levels), new(levels)
	}
	r.limiter = NewLimiter(int(r.procs))
	// The pacer remembers four cycles: those before the recording were like its first.
	for i := range min(len(c.marks), 4) {
		r.cons = r.m.NextConsMark(r.cons, r.cycleEnd(c.marks[i].grown*r.d.grown, c.marks[i].wall, c.marks[i].util, c.marks[i].idle, c.marks[i].live))
	}
	first := c.marks[0]
	r.marked = first.live*r.d.live + first.grown*r.d.grown

	// A segment with more cycles than there is patience for goes on as it began.
	patience := max(r.budget/len(c.segs), 3)
	for seg := range c.segs {
		end := float64(seg+1) * c.step
		if seg == len(c.segs)-1 {
			end = c.seconds
		}
		from, before := r.pos, r.tally.counts
		wall := r.wall
		for n := 0; r.pos < end && n < patience; n++ {
			r.cycle()
		}
		if r.pos < end && r.pos > from {
			f := (end - r.pos) / (r.pos - from)
			r.counts.extrapolate(before, f)
			more := (r.wall - wall) * f
			r.wall, r.last, r.pos = r.wall+more, r.last+more, end
		} else if r.pos < end {
			break // not even a byte was allocated between cycles
		}
	}
	if r.byLimit > r.cycles/2 {
		// A process that starts knows nothing of its pace, and goes to the limit once;
		// what it then has, it keeps, up to where the scavenger aims.
		most := scavengedLimit * float64(r.s.GOMEMLIMITBytes)
		if rss := (most + c.outside) * r.d.resident; rss > r.rssPeak {
			r.rssPeak = rss
			if r.full {
				r.rss = new(levels)
				r.rss.add(rss, rss, 1)
			}
		}
	}
	r.seconds = r.wall
	r.backlog = max(r.wall-c.seconds, 0)
	return r.tally
}

// cycle runs from the end of one cycle to the end of the next, or of the recording.
func (r *replay) cycle() {
	trigger, goal, byLimit := r.pace()
	like := r.resembled()

	// The program runs: until the trigger, until it asks for a cycle itself, or until
	// the runtime has waited for two minutes.
	start := max(trigger+like.late*r.d.grown, r.marked)
	cached := min(r.c.cycleBytes, start-r.marked)
	patience := math.Inf(1)
	if r.s.GOGCPercent >= 0 {
		patience = ForcedPeriod.Seconds() - (r.wall - r.last)
	}
	for r.asked < len(r.c.forced) && r.c.forced[r.asked] <= r.pos {
		r.asked++
	}
	if r.asked < len(r.c.forced) {
		patience = min(patience, r.c.forced[r.asked]-r.pos)
	}
	grown, seconds := r.allocate(start-r.marked-cached, patience)
	r.wall += seconds
	r.limiter = r.limiter.Run(duration(seconds), 0, duration(seconds*max(r.procs-r.c.busy*r.d.alloc, 0)), false)
	heap := r.marked + cached + grown
	r.seen(r.marked, heap, seconds)
	if r.pos >= r.c.seconds {
		// The recording ends within a cycle: it counts in part.
		if way := start - r.marked - cached; way > 0 {
			part, cost := grown/way, r.c.cost(r.live()+r.roots())*r.d.cost
			r.cycles, r.gcCPU, r.assist, r.stopped = r.cycles+part, r.gcCPU+part*cost, r.assist+part*cost*like.assistShare(), r.stopped+part*like.pause
		}
		return
	}
	cornered := goal <= r.marked
	r.mark(like, heap, goal)
	if byLimit {
		r.byLimit++
		if cornered {
			r.cornered++
		}
	}
}

// pace is where the next cycle starts and where it is to end, in bytes of heapLive,
// and whether that is by the memory limit.
func (r *replay) pace() (trigger, goal float64, byLimit bool) {
	c := r.c
	h := Heap{Marked: bytes(r.marked), HeapScan: bytes(r.live()), StackScan: bytes(r.roots())}
	p := r.m.Commit(h, r.s.GOGCPercent, r.cons.Estimate, h.Marked, false)
	beside := r.beside(r.marked)
	mem := Memory{Limit: r.s.GOMEMLIMITBytes, MappedReady: bytes(beside + r.marked), HeapAlloc: h.Marked}
	from, to := r.m.Trigger(p, mem)
	if r.s.GOMEMLIMITBytes != NoMemoryLimit {
		// What spans hold beside objects counts against the limit, too. How much that
		// is follows from how far the heap grows, which follows from the limit.
		for range 2 {
			grown := max(float64(min(to, 1<<60))-r.marked, 0)
			free := c.fill.at(grown, r.d.fill)*r.d.beside + c.tail*grown + c.cycleBytes
			mem.MappedReady = bytes(beside + free + r.marked)
			from, to = r.m.Trigger(p, mem)
		}
	}
	return float64(from), float64(to), to < p.PercentGoal
}

// mark runs the marking of a cycle that is like one that was seen, from the heap
// where it starts to about the goal.
func (r *replay) mark(like *mark, heap, goal float64) {
	c := r.c
	live, roots := r.live(), r.roots()
	size := 1.0
	if like.live > 0 {
		size = min(max((live+roots)/(like.live+roots), 0.05), 20)
	}
	// What there is to mark is marked, by whomever: assists take from the background.
	cpu := c.cost(live+roots) * r.d.cost
	assist := cpu * like.assistShare()
	wall := like.wall * size * r.d.cost * c.procs / r.procs
	grown := like.grown * size * r.d.grown * c.at(r.pos).alloc / max(c.at(like.at).alloc, 1)
	room := max(goal-heap, minRunway)
	if like.room > 0 && like.grown > 0 {
		// Goroutines that allocate in bursts assist though on the whole there is room:
		// the more so, the less room there is.
		assist = min(assist*(grown/room)/(like.grown/like.room), mostAssist*cpu)
	}
	util, idle := like.util, like.idle
	if grown > room && !r.limiter.Enabled && wall > 0 {
		// Allocation would pass the goal before marking is done: goroutines mark for
		// what they allocate, and the program runs the slower for it.
		program := c.cpu * r.d.alloc * wall * (room / grown) // CPU-seconds until the goal
		took := max((cpu+program)/r.cores, 0.2*wall)
		assist = min(max(assist, cpu*(1-room/grown)/2, cpu*(1-took/wall)), mostAssist*cpu)
		// Past the goal, assists are paced to end a tenth above it (runtime/mgcpacer.go,
		// revise): on the way there, some of what was wanted is allocated.
		past := pastGoal * min(grown-room, 0.1*goal)
		if like.room > 0 {
			// Where marking is held up, by a busy machine for example, the heap was seen
			// to go further.
			past = max(past, min(like.grown-like.room, grown-room))
		}
		wall, grown = took, room+past
		util = min(backgroundUtilization+assist/(wall*r.procs), 0.95)
		idle = max(min(idle, 1-util), 0)
	}
	r.limiter = r.limiter.Run(duration(wall), duration(assist), duration(wall*max(r.procs*(1-util)-c.busy*r.d.alloc, 0)), true)
	r.limited = r.limited || r.limiter.Enabled
	r.allocate(grown, math.Inf(1))
	r.seen(heap, heap+grown, wall)
	r.wall += wall + like.pause
	r.last = r.wall

	r.cycles, r.gcCPU, r.assist, r.stopped = r.cycles+1, r.gcCPU+cpu, r.assist+assist, r.stopped+like.pause
	r.cons = r.m.NextConsMark(r.cons, r.cycleEnd(grown, wall, util, idle, live+roots))
	r.marked = live + grown
}

// allocate lets the program allocate so many bytes of heapLive, or run so many
// seconds, whichever is first.
func (r *replay) allocate(bytes, seconds float64) (grown, spent float64) {
	c := r.c
	for bytes > 0 && r.pos < c.seconds && spent < seconds {
		i := min(int(r.pos/c.step), len(c.segs)-1)
		end := float64(i+1) * c.step
		if i == len(c.segs)-1 || end <= r.pos {
			end = c.seconds
		}
		rate := max(c.segs[i].alloc*r.d.alloc, 1)
		dt := min(end-r.pos, bytes/rate, seconds-spent)
		if dt == end-r.pos {
			r.pos = end // exactly, so that the next segment is next
		} else {
			r.pos += dt
		}
		grown, spent = grown+rate*dt, spent+dt
		if bytes -= rate * dt; bytes < 1 {
			bytes = 0
		}
	}
	return grown, spent
}

// seen keeps how large heap and process were for some seconds.
func (r *replay) seen(low, high, seconds float64) {
	c := r.c
	r.heap.add(low, high, seconds)
	r.heapPeak = max(r.heapPeak, high)
	// Memory that was once needed stays: the scavenger returns what is a tenth above
	// the heap goal, and slowly.
	r.ready = max(r.ready, high+r.beside(high)+c.fill.at(high-r.marked, r.d.fill))
	rss := (r.ready + c.outside) * r.d.resident
	r.rss.add(rss, rss, seconds)
	r.rssPeak = max(r.rssPeak, rss)
}

// mostAssist is the share of marking that assists do when they do most of it: the
// rest is done by the background workers that are always on.
const mostAssist = 0.7

// pastGoal is the share of the way to a tenth above the goal that the heap goes
// when there is not room enough: measured.
const pastGoal = 0.5

// scavengedLimit is the share of a memory limit that the scavenger leaves
// (runtime/mgcscavenge.go, reduceExtraPercent).
const scavengedLimit = 0.95

// bookShare is what the runtime's own books grow by with each byte of heap:
// span structures and heap bitmaps (measured on Go 1.22 to 1.27: 0.02 to 0.03).
const bookShare = 0.025

// beside is the runtime's memory beside a heap that is, or was, that large.
func (r *replay) beside(heap float64) float64 {
	grown := max(heap, r.heapPeak) - r.c.heapPeak
	return max(r.c.besideHeap()*r.d.beside+bookShare*grown, 0)
}

// resembled picks the recorded cycle that the next one is like: of those that
// were near in time, one after the other.
func (r *replay) resembled() *mark {
	r.next++
	n := len(r.c.marks)
	// The cycle nearest in time, and its neighbours in turn.
	lo := r.nearest()
	around := min(8, n)
	from := min(max(lo-around/2, 0), n-around)
	return &r.c.marks[from+r.next%around]
}

// roots are the stacks and globals that a cycle that starts now would scan.
func (r *replay) roots() float64 { return r.c.at(r.pos).roots }

// live is what a cycle that starts now would find alive: what the one nearest in
// time did. Between two there may have been more or less; a mean of them would hide
// how much it varies.
func (r *replay) live() float64 {
	i := r.nearest()
	if m := r.c.marks; i > 0 && r.pos-m[i-1].at < m[i].at-r.pos {
		i--
	}
	return r.c.marks[i].live * r.d.live
}

// nearest is the first recorded cycle that ended no earlier than now, or the last.
func (r *replay) nearest() int {
	m := r.c.marks
	if m[r.near].at < r.pos && r.near < len(m)-1 {
		// Time only goes on. A replay does not stop at every one of millions of cycles.
		rest := m[r.near : len(m)-1]
		r.near += sort.Search(len(rest), func(i int) bool { return rest[i].at >= r.pos })
	}
	return r.near
}

func (r *replay) cycleEnd(grown, wall, util, idle, work float64) CycleEnd {
	return CycleEnd{
		Triggered: 1 << 40, Live: 1<<40 + bytes(grown), ScanWork: int64(bytes(max(work, 1))), Elapsed: duration(wall),
		AssistTime: duration((util - backgroundUtilization) * wall * r.procs), IdleTime: duration(idle * wall * r.procs), GOMAXPROCS: max(int(r.procs), 1),
	}
}

// at is the segment at an instant of program time.
func (c *course) at(pos float64) *segment {
	return &c.segs[min(max(int(pos/c.step), 0), len(c.segs)-1)]
}

func bytes(v float64) uint64 {
	if !(v > 0) {
		return 0
	}
	return uint64(min(v, 1<<60))
}

func duration(seconds float64) time.Duration {
	if !(seconds > 0) {
		return 0
	}
	return time.Duration(min(seconds, 1e9) * 1e9)
}
