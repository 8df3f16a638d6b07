package guard

import (
	"math"
	"time"
)

// A load is what the limiter sees of the time since its last step.
type load struct {
	memory     float64 // ratio of the limit; NaN if unknown
	goMemory   float64 // ratio of GOMEMLIMIT; NaN if there is none
	fresh      bool    // a collection has ended since the last step, so that memory is news
	resident   float64 // what cannot be dropped, as a ratio of the limit; NaN if unknown
	gcCPU      float64 // ratio; NaN if unknown
	schedP99   float64 // seconds, of the last quarter of a second or so; NaN if unknown
	inFlight   float64 // most bytes in flight
	requests   float64 // most requests in flight
	refused    float64 // requests that the capacity had no room for
	throughput float64 // requests completed per second
	procs      float64
	room       float64 // bytes of memory until it is at burstFull; NaN if unknown
	perRequest float64 // bytes that a request allocates; NaN if unknown
}

// The bounds above which the limiter lets less in, and below which more.
const (
	memoryHigh, memoryLow = 0.85, 0.79
	memoryAim             = 0.82
	memoryFull            = 0.92 // where a line has evidently not helped
	residentHigh          = 0.97
	gcHigh, gcLow         = 0.30, 0.18
	// What the collector took is known when a collection has ended, which may take a
	// second when it takes much.
	gcTime = time.Second
	// A CPU quota alone makes waits of most of its period, a tenth of a second.
	schedHigh, schedLow = 0.200, 0.100
	schedAim            = 0.150

	// A machine that is busy with others makes goroutines wait now and then. Only
	// requests that queue for the CPU do so without an end, and are many: for so long,
	// when they are somewhat more than usual, and when they are eight times as many.
	schedFor     = 1500 * time.Millisecond
	schedForMany = 500 * time.Millisecond
	// What is usual has to be known before.
	schedFirst = 3 * time.Second

	// A burst that could fill memory before anybody has looked is bounded ahead: by what
	// memory has room for if nothing could be freed of what requests allocate. It has to
	// be more than burstLeast requests, and than burstTimes the most that was in flight.
	burstFull  = 0.90
	burstLeast = 32
	burstTimes = 8

	usualTime  = time.Minute     // of the mean of what is in flight while nothing is held back
	recentTime = time.Second     // in which the most that was in flight is forgotten
	usualFirst = 5 * time.Second // before which nothing is usual
	peakTime   = 2 * time.Second
	stepTime   = 200 * time.Millisecond // between two raises
	openTime   = 3 * time.Second        // that nobody was refused, before the bound goes
	// What is normal for a process may lie between the bounds. So when nothing was wrong
	// for probeAfter, a little more is let in each probeTime, to see.
	probeAfter = 5 * time.Second
	probeTime  = time.Second
)

// A limiter finds how many bytes of requests may be in flight: none that count
// while all is well; from the first sign of trouble on what was in flight then,
// less as long as trouble stays, more as soon as there is room and somebody wants it.
// Only a burst that could fill memory before the next look is bounded ahead.
// The signs are what overload is made of, whatever its cause: what lives comes near
// the limit, the collector takes the CPUs, or goroutines wait long for a CPU. It is
// pure: time comes with the loads.
//
// Memory is news only when a collection ends, and what was let in takes its time to
// leave. So the limiter learns, from one collection to the next, how much memory comes
// with what is in flight, and bounds that to what leaves memory at memoryAim. Where
// there is no such line, and for all other signs, the decrease is by a share and the
// increase by a smaller share, so that it settles below the bounds.
type limiter struct {
	capacity float64 // bytes; +Inf is no limit
	why      string  // the sign for which it limits

	perRequest float64 // bytes that one counts for
	usual      float64 // bytes in flight while nothing was held back
	recent     float64 // most bytes in flight of late
	memory     line
	peaks      peaks
	burst      float64 // bytes that may be in flight while it does not limit

	watched   time.Duration // for how long usual was learnt
	last      time.Duration // the last step
	lowered   time.Duration
	raised    time.Duration
	wanted    time.Duration // when there was last no room for somebody
	schedFrom time.Duration // since when waits for a CPU have been too long
}

// peaks are the most that was in flight, of late but not of the last moments: those
// are what it is compared with.
type peaks struct {
	most, before, now float64
	since             time.Duration
}

func (p *peaks) add(now, dt time.Duration, v float64) {
	p.most *= math.Exp(-float64(dt) / float64(usualTime))
	if now-p.since >= peakTime {
		p.most = max(p.most, p.before)
		p.before, p.now, p.since = p.now, 0, now
	}
	p.now = max(p.now, v)
}

// A line is the slope through points, of which older ones weigh less and less, and the
// place of the last.
type line struct {
	n              float64
	x, y, sxx, sxy float64
	lastX, lastY   float64
}

func (l *line) add(x, y float64) {
	if math.IsNaN(x) || math.IsInf(x, 0) || math.IsNaN(y) || math.IsInf(y, 0) {
		return
	}
	l.n++
	w := max(1/l.n, 0.1)
	dx, dy := x-l.x, y-l.y
	l.x += w * dx
	l.y += w * dy
	l.sxx = (1 - w) * (l.sxx + w*dx*dx)
	l.sxy = (1 - w) * (l.sxy + w*dx*dy)
	// What is alive beside the requests may change; what one holds does hardly.
	l.lastX += (x - l.lastX) / min(l.n, 2)
	l.lastY += (y - l.lastY) / min(l.n, 2)
}

// at returns the x for a y. There is none before the points are spread enough to tell
// the slope, nor when y falls with x.
func (l *line) at(y float64) (x float64, ok bool) {
	slope := l.sxy / l.sxx
	if l.n < 3 || !(l.sxx > 0.01*l.x*l.x) || !(slope > 0) {
		return 0, false
	}
	x = l.lastX + (y-l.lastY)/slope
	return x, !math.IsInf(x, 0) && !math.IsNaN(x)
}

// newLimiter knows of requests what package shed takes one for by default.
func newLimiter() limiter { return limiter{capacity: math.Inf(1), perRequest: 16 << 10} }

func (l *limiter) limited() bool { return !math.IsInf(l.capacity, 1) }

// step returns the capacity from now on, +Inf for no bound. base is the one that there
// is without it, in bytes; a bound that is not below that is none.
func (l *limiter) step(now time.Duration, base float64, in load) float64 {
	l.observe(now, in)
	trouble, why := l.trouble(now, in)
	procs := max(1, in.procs)
	floor := 2 * procs * l.perRequest
	if why != "memory" && why != "resident" {
		// Only memory is a reason to let in less than was in flight when all was well,
		// and a few, since requests come in clusters.
		floor = max(floor, 4*l.usual, 8*l.perRequest)
	}
	aim, known := l.memory.at(memoryAim)
	aim = max(aim, floor)

	// A capacity that is not reached holds nothing back.
	held := min(l.capacity, max(in.inFlight, floor))
	lower := func(to float64) {
		l.capacity = max(floor, to)
		l.lowered, l.raised, l.wanted, l.why = now, now, now, why
	}
	switch {
	case trouble > 0 && l.limited() && in.inFlight > l.capacity:
		// Nobody is let in as it is: what is in flight has to leave first.
		l.raised, l.wanted = now, now
	case trouble > 0 && why == "memory" && known && (in.memory < memoryFull || in.inFlight > aim):
		// Never by more than a half at once, on the word of a line.
		lower(max(min(l.capacity, aim), held/2))
	case trouble > 0:
		// What was let in takes its time to leave: deciding again before that would
		// answer one trouble many times.
		wait := stepTime
		if in.throughput > 0 && trouble < 0.6 {
			wait = max(wait, time.Duration(min(2, in.requests/in.throughput)*float64(time.Second)))
		}
		if why == "gc_cpu" {
			wait = gcTime
		}
		switch {
		case l.limited() && now-l.lowered < wait:
		case why == "sched_latency": // the wait is as long as the queue
			lower(held * max(0.25, min(0.95, schedAim/in.schedP99)))
		case why == "gc_cpu":
			lower(held * max(0.8, gcHigh/in.gcCPU))
		default:
			lower(held * (0.95 - 0.30*trouble))
		}
	case !l.limited() && in.refused > 0 && l.burst < base:
		lower(l.burst)
		l.why = "burst"
	case l.limited():
		l.rise(now, in, floor, aim, known)
		if l.capacity >= base {
			l.capacity, l.why = math.Inf(1), ""
		}
	}
	if !l.limited() {
		return l.burst
	}
	return l.capacity
}

// observe takes in what says nothing of trouble.
func (l *limiter) observe(now time.Duration, in load) {
	dt := max(0, now-l.last)
	l.last = now
	if in.requests >= 1 {
		l.perRequest = max(1, l.perRequest+0.2*(in.inFlight/in.requests-l.perRequest))
	}
	l.recent = max(in.inFlight, l.recent*math.Exp(-float64(dt)/float64(recentTime)))
	if !l.limited() {
		// The mean of all, until there is more than usualTime of it.
		l.watched += dt
		if l.watched > 0 {
			l.usual += min(1, float64(dt)/float64(min(l.watched, usualTime))) * (in.inFlight - l.usual)
		}
	}
	if in.fresh {
		l.memory.add(in.inFlight, in.memory)
	}
	l.peaks.add(now, dt, in.inFlight)
	l.burst = math.Inf(1)
	if n := max(0, in.room) / in.perRequest; !math.IsNaN(n) && now >= usualFirst {
		l.burst = max(burstLeast*l.perRequest, burstTimes*l.peaks.most, n*l.perRequest)
	}
	if in.refused > 0 {
		l.wanted = now
	}
	if !(in.schedP99 > schedHigh) || in.requests < 4*max(1, in.procs) {
		l.schedFrom = now
	}
}

// trouble is the worst sign of overload, more than 0 and at most 1, and its name.
func (l *limiter) trouble(now time.Duration, in load) (worst float64, why string) {
	sign := func(name string, severity float64) {
		if severity > worst {
			worst, why = min(severity, 1), name
		}
	}
	if in.fresh {
		sign("memory", (in.memory-memoryHigh)/0.12)
	}
	sign("resident", (in.resident-residentHigh)/0.03)
	// What the collector takes costs requests only when they queue.
	queue := in.inFlight > max(4*l.usual, 8*l.perRequest) || in.schedP99 > schedAim
	if queue && (in.memory > 0.5 || in.goMemory > 0.5) {
		sign("gc_cpu", (in.gcCPU-gcHigh)/gcHigh)
	}
	enough := schedFor
	if in.inFlight > 8*max(l.usual, l.perRequest) {
		enough = schedForMany
	}
	if now-l.schedFrom >= enough && now >= schedFirst {
		sign("sched_latency", math.Log2(in.schedP99/schedHigh)/3)
	}
	return worst, why
}

// rise raises the capacity when there is room and somebody wants it, and lifts it when
// nobody has for a while.
func (l *limiter) rise(now time.Duration, in load, floor, aim float64, known bool) {
	if now-l.wanted >= openTime && l.recent < 0.7*l.capacity {
		l.capacity, l.why = math.Inf(1), ""
		return
	}
	room, by := memoryLow, 1.06
	if known { // there is room up to the aim, and no need to feel for it
		room = memoryAim
	}
	if known && l.capacity < 0.8*aim || in.memory < 0.65 {
		by = 1.3
	}
	every, bound := stepTime, math.Inf(1)
	if known {
		bound = aim
	}
	// Neither a line nor what is good for most knows it all.
	if in.memory > room || in.gcCPU > gcLow || in.schedP99 > schedLow || l.capacity >= bound {
		by, every, bound = 1.15, probeTime, math.Inf(1)
		if now-l.lowered < probeAfter {
			return
		}
	}
	if now-l.raised >= every && (in.refused > 0 || l.recent > 0.7*l.capacity) {
		l.capacity = max(min(l.capacity*by+l.perRequest, bound), floor)
		l.raised = now
	}
}
