package pacer

import (
	"math"
	"time"
)

// A Limiter is the GC CPU limiter: a leaky bucket that marking fills and the
// program's own time drains, nanosecond for nanosecond of each P. While it is full,
// the collector is limited: goroutines neither assist nor return memory to stay
// below the memory limit, and the heap grows past its goal; the 25% of background
// marking goes on. Assists and background marking together so come to at most half
// of the time that Ps are not idle, and a second of GOMAXPROCS in excess of that.
//
// It is the same in Go 1.20 to 1.27 (runtime/mgclimit.go). Fields are in
// nanoseconds; a Fill beyond Capacity is not a state of the runtime.
type Limiter struct {
	Fill     uint64 // bucket.fill
	Capacity uint64 // bucket.capacity
	Overflow uint64 // what did not fit, in all: overflow
	Enabled  bool   // the bucket is full: enabled
}

// capacityPerProc is a second (runtime/mgclimit.go, capacityPerProc).
const capacityPerProc = uint64(time.Second)

// NewLimiter is the limiter of a process with that many Ps, empty: a CPU-second for
// each (runtime/mgclimit.go, resetCapacity).
func NewLimiter(gomaxprocs int) Limiter { return Limiter{}.Resize(gomaxprocs) }

// Resize is the limiter after a change of GOMAXPROCS (runtime/mgclimit.go,
// resetCapacity). Call Run for the time until then before it.
func (l Limiter) Resize(gomaxprocs int) Limiter {
	l.Capacity = uint64(max(gomaxprocs, 0)) * capacityPerProc
	if l.Fill > l.Capacity {
		l.Fill, l.Enabled = l.Capacity, true
	} else if l.Fill < l.Capacity {
		l.Enabled = false
	}
	return l
}

// Run is the limiter after some time in which goroutines ran. assist is the time of
// all Ps that went into mark assists, and into returning memory to stay below the
// limit; idle what they idled or marked because they were idle. While marking is on,
// background workers count with a quarter of the time of all Ps, whatever they take;
// idle time does not count at all (runtime/mgclimit.go, updateLocked). The runtime
// does this when marking starts and ends, and while it is on every 10 ms or with
// each 5 µs of assists.
func (l Limiter) Run(elapsed, assist, idle time.Duration, marking bool) Limiter {
	if elapsed < 0 {
		return l
	}
	total := int64(elapsed) * l.procs()
	gc := int64(assist)
	if marking {
		gc += toInt64(float64(total) * backgroundUtilization)
	}
	return l.accumulate(total-int64(idle)-gc, gc)
}

// Pause is the limiter after a pause for the collector: all of the time of all Ps
// is the collector's (runtime/mgclimit.go, finishGCTransition).
func (l Limiter) Pause(elapsed time.Duration) Limiter {
	if elapsed < 0 {
		return l
	}
	return l.accumulate(0, int64(elapsed)*l.procs())
}

func (l Limiter) procs() int64 { return int64(l.Capacity / capacityPerProc) }

// accumulate is as in runtime/mgclimit.go.
func (l Limiter) accumulate(mutator, gc int64) Limiter {
	headroom := l.Capacity - l.Fill
	enabled := headroom == 0 // not l.Enabled: Resize may fill the bucket and not enable
	change := gc - mutator
	if change > 0 && headroom <= uint64(change) {
		l.Overflow += uint64(change) - headroom
		l.Fill = l.Capacity
		l.Enabled = l.Enabled || !enabled
		return l
	}
	if change < 0 && l.Fill <= uint64(-change) {
		l.Fill = 0
	} else {
		l.Fill -= uint64(-change)
	}
	if change != 0 && enabled {
		l.Enabled = false
	}
	return l
}

// FillRatio is how full the bucket is, 0 to 1.
func (l Limiter) FillRatio() float64 {
	if l.Capacity == 0 {
		return 0
	}
	return math.Min(float64(l.Fill)/float64(l.Capacity), 1)
}
