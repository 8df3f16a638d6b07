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
	residentHigh          = 0.97
	gcHigh, gcLow         = 0.35, 0.20
	schedHigh, schedLow   = 0.100, 0.050
)

// A limiter finds how many bytes of requests may be in flight: none that count
// while all is well; from the first sign of trouble on what was in flight then,
// less as long as trouble stays, more as soon as there is room and somebody wants it.
// The signs are what overload is made of, whatever its cause: what lives comes near
// the limit, the collector takes the CPUs, or goroutines wait long for a CPU. It is
// pure: time comes with the loads.
//
// The decrease is by a share and the increase by a smaller share, so that it settles
// below the bounds; between them it rests.
type limiter struct {
	capacity float64 // bytes; +Inf is no limit
	lowered  time.Duration
	raised   time.Duration
	unused   time.Duration // since when the capacity has not been needed
	sched    int           // steps in a row that waits for a CPU were too long
	why      string
}

func newLimiter() limiter { return limiter{capacity: math.Inf(1)} }

func (l *limiter) limited() bool { return !math.IsInf(l.capacity, 1) }

// step returns the capacity from now on.
func (l *limiter) step(now time.Duration, in load) float64 {
	if in.schedP99 > schedHigh {
		l.sched++
	} else {
		l.sched = 0
	}
	trouble, why := 0.0, "" // 0 none to 1
	sign := func(name string, severity float64) {
		if severity > trouble {
			trouble, why = min(severity, 1), name
		}
	}
	if in.fresh {
		sign("memory", (in.memory-memoryHigh)/0.15)
	}
	sign("resident", (in.resident-residentHigh)/0.03)
	if in.memory > 0.5 {
		sign("gc_cpu", (in.gcCPU-gcHigh)/gcHigh)
	}
	if l.sched >= 5 {
		sign("sched_latency", math.Log2(in.schedP99/schedHigh)/3)
	}

	perRequest := 1.0
	if in.requests >= 1 {
		perRequest = max(1, in.inFlight/in.requests)
	}
	floor := 2 * max(1, in.procs) * perRequest
	// What was let in takes its time to leave: deciding again before that would
	// answer one trouble many times.
	service := 0.0
	if in.throughput > 0 {
		service = min(2, in.requests/in.throughput)
	}
	wait := max(200*time.Millisecond, time.Duration(service*float64(time.Second)))

	switch {
	case trouble > 0:
		if l.limited() && now-l.lowered < wait && !(trouble > 0.6 && now-l.lowered >= 200*time.Millisecond) {
			break
		}
		// A capacity that is not reached holds nothing back.
		l.capacity = max(floor, min(l.capacity, in.inFlight)*(1-0.05-0.30*trouble))
		l.lowered, l.raised, l.unused, l.why = now, now, now, why
	case !l.limited():
	case !(in.memory > memoryLow) && !(in.gcCPU > gcLow) && !(in.schedP99 > schedLow):
		if in.inFlight < l.capacity/3 {
			if now-l.unused >= 5*time.Second {
				l.capacity, l.why = math.Inf(1), ""
			}
			break
		}
		l.unused = now
		if now-l.raised >= 200*time.Millisecond && in.inFlight > 0.7*l.capacity {
			l.capacity = l.capacity*1.06 + perRequest
			l.raised = now
		}
	default:
		l.unused = now
	}
	return l.capacity
}
