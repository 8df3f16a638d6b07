package guard

import (
	"math"
	"time"
)

// A load is what the limiter sees of the time since its last step.
type load struct {
	memory     float64 // ratio of the limit; NaN if unknown
	fresh      bool    // a collection has ended since the last step, so that memory is news
	resident   float64 // what cannot be dropped, as a ratio of the limit; NaN if unknown
	gcCPU      float64 // ratio; NaN if unknown
	schedP99   float64 // seconds; NaN if unknown
	inFlight   float64 // most bytes in flight
	throughput float64 // requests completed per second
	requests   float64 // most requests in flight
	procs      float64
}

// The bounds between which the limiter lets more in, and above which less.
const (
	memoryHigh, memoryLow = 0.80, 0.74
	memoryAim             = 0.78
	memoryFull            = 0.90 // where the line has evidently not helped
	residentHigh          = 0.97
	gcHigh, gcLow         = 0.35, 0.20
	schedHigh, schedLow   = 0.200, 0.100 // a CPU quota alone makes waits of most of its period, a tenth of a second
	schedFor              = 3 * time.Second
	usualTime             = time.Minute
)

// A limiter finds how many bytes of requests may be in flight: none that count
// while all is well; from the first sign of trouble on what was in flight then,
// less as long as trouble stays, more as soon as there is room and somebody wants it.
// The signs are what overload is made of, whatever its cause: what lives comes near
// the limit, the collector takes the CPUs, or goroutines wait long for a CPU. It is
// pure: time comes with the loads.
//
// Memory is news only when a collection ends, and what was let in takes its time to
// leave. So the limiter learns, from one collection to the next, how much memory comes
// with what is in flight, and bounds that to what the learnt line says leaves memory
// at memoryAim. Where there is no such line, and for all other signs, the decrease is
// by a share and the increase by a smaller share, so that it settles below the bounds;
// between them it rests.
type limiter struct {
	capacity  float64 // bytes; +Inf is no limit
	lowered   time.Duration
	raised    time.Duration
	unused    time.Duration // since when the capacity has not been needed
	schedFrom time.Duration // since when waits for a CPU have been too long
	why       string
	memory    line
	usual     float64       // bytes in flight, while nothing was held back
	last      time.Duration // the last step
}

// A line is a straight line through points, of which older ones weigh less and less.
type line struct {
	n              float64
	x, y, sxx, sxy float64
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
}

// at returns the x for a y. There is none before the points are spread enough to tell
// the slope, nor when y falls with x.
func (l *line) at(y float64) (x float64, ok bool) {
	slope := l.sxy / l.sxx
	if l.n < 3 || !(l.sxx > 0.01*l.x*l.x) || !(slope > 0) {
		return 0, false
	}
	return l.x + (y-l.y)/slope, true
}

func newLimiter() limiter { return limiter{capacity: math.Inf(1)} }

func (l *limiter) limited() bool { return !math.IsInf(l.capacity, 1) }

// step returns the capacity from now on.
func (l *limiter) step(now time.Duration, in load) float64 {
	// A machine that is busy with others makes goroutines wait now and then; only
	// requests that queue for the CPU do so without an end, and are many.
	procs := max(1, in.procs)
	if !(in.schedP99 > schedHigh) || in.requests < 4*procs {
		l.schedFrom = now
	}
	trouble, why := 0.0, "" // 0 none to 1
	sign := func(name string, severity float64) {
		if severity > trouble {
			trouble, why = min(severity, 1), name
		}
	}
	if in.fresh {
		l.memory.add(in.inFlight, in.memory)
		sign("memory", (in.memory-memoryHigh)/0.15)
	}
	sign("resident", (in.resident-residentHigh)/0.03)
	if in.memory > 0.5 {
		sign("gc_cpu", (in.gcCPU-gcHigh)/gcHigh)
	}
	if now-l.schedFrom >= schedFor {
		sign("sched_latency", math.Log2(in.schedP99/schedHigh)/3)
	}

	perRequest := 1.0
	if in.requests >= 1 {
		perRequest = max(1, in.inFlight/in.requests)
	}
	floor := 2 * procs * perRequest
	// Waits for the CPU are no reason to let in less than was in flight when all was
	// well; memory is.
	if !l.limited() {
		l.usual += (1 - math.Exp(-float64(now-l.last)/float64(usualTime))) * (in.inFlight - l.usual)
	}
	l.last = now
	if why == "sched_latency" {
		floor = max(floor, 2*l.usual)
	}
	// What was let in takes its time to leave: deciding again before that would
	// answer one trouble many times.
	service := 0.0
	if in.throughput > 0 {
		service = min(2, in.requests/in.throughput)
	}
	wait := max(200*time.Millisecond, time.Duration(service*float64(time.Second)))

	aim, known := l.memory.at(memoryAim)
	aim = max(aim, floor)
	// With a line there is room up to the aim, and no need to feel for it.
	room, raise := memoryLow, 1.06
	if known {
		room = memoryAim
	}
	if known && l.capacity < 0.8*aim || in.memory < 0.6 {
		raise = 1.25
	}
	switch {
	case trouble > 0 && l.limited() && in.inFlight > l.capacity:
		// Nobody is let in as it is: what is in flight has to leave first.
		l.raised, l.unused = now, now
	case trouble > 0 && why == "memory" && known && (in.memory < memoryFull || in.inFlight > aim):
		// Never by more than a half at once, on the word of a line.
		l.capacity = max(min(l.capacity, aim), min(l.capacity, in.inFlight)/2, floor)
		l.lowered, l.raised, l.unused, l.why = now, now, now, why
	case trouble > 0:
		if l.limited() && now-l.lowered < wait && !(trouble > 0.6 && now-l.lowered >= 200*time.Millisecond) {
			break
		}
		// A capacity that is not reached holds nothing back.
		l.capacity = max(floor, min(l.capacity, in.inFlight)*(1-0.05-0.30*trouble))
		l.lowered, l.raised, l.unused, l.why = now, now, now, why
	case !l.limited():
	case !(in.memory > room) && !(in.gcCPU > gcLow) && !(in.schedP99 > schedLow):
		if in.inFlight < l.capacity/3 {
			if now-l.unused >= 5*time.Second {
				l.capacity, l.why = math.Inf(1), ""
			}
			break
		}
		l.unused = now
		if now-l.raised >= 200*time.Millisecond && in.inFlight > 0.7*l.capacity {
			l.capacity = l.capacity*raise + perRequest
			if known {
				l.capacity = max(min(l.capacity, aim), floor)
			}
			l.raised = now
		}
	default:
		l.unused = now
	}
	return l.capacity
}
