package agent

import (
	"time"

	"github.com/heapwright/heapwright/record"
)

// A Pace says how often a process is read.
type Pace struct {
	Interval time.Duration // while nothing much happens
	Fastest  time.Duration // while something moves
	Slowest  time.Duration // of an idle process
	Adaptive bool          // false: always Interval
}

// A mood is what decides how often a process is read: what it did lately.
type mood struct {
	idleSince time.Time // zero while it does something
	movedAt   time.Time // when something last moved
}

// What counts as moving and as idle. A process is idle when it has used less than 1% of a
// core and run no GC cycle for idleAfter; something moves when there is little headroom, or
// live heap and resident memory change by more than a fiftieth of the limit in a second.
const (
	idleAfter    = 30 * time.Second
	calmAfter    = 10 * time.Second
	idleCores    = 0.01
	tightRatio   = 0.15
	moveRatio    = 0.02
	cyclesToRead = 100 // of the 256 that the runtime remembers
)

// next is the time to the next reading after two.
func (p Pace) next(m *mood, was, is *record.Sample, headroom *float64, limit float64) time.Duration {
	if !p.Adaptive {
		return p.Interval
	}
	seconds := is.Time.Sub(was.Time).Seconds()
	if seconds <= 0 {
		return p.Interval
	}
	used := (is.CPUProcUser + is.CPUProcSystem - was.CPUProcUser - was.CPUProcSystem).Seconds() / seconds
	cycles := float64(is.GCCycles-was.GCCycles) / seconds
	if used > idleCores || is.GCCycles != was.GCCycles {
		m.idleSince = time.Time{}
	} else if m.idleSince.IsZero() {
		m.idleSince = was.Time
	}
	moved := max(apart(is.HeapMarkedBytes, was.HeapMarkedBytes), apart(is.RSSBytes, was.RSSBytes)) / seconds
	if limit > 0 && moved > moveRatio*limit || headroom != nil && *headroom < tightRatio && m.idleSince.IsZero() {
		m.movedAt = is.Time
	}
	d := p.Interval
	switch {
	case !m.movedAt.IsZero() && is.Time.Sub(m.movedAt) < calmAfter:
		d = p.Fastest
	case !m.idleSince.IsZero() && is.Time.Sub(m.idleSince) >= idleAfter:
		d = p.Slowest
	}
	if cycles > 0 {
		// None of them is to be lost, whatever the rest says.
		d = min(d, max(p.Fastest, time.Duration(cyclesToRead/cycles*float64(time.Second))))
	}
	return d
}

func apart(a, b uint64) float64 {
	if a > b {
		return float64(a - b)
	}
	return float64(b - a)
}
