package store

import (
	"math"

	"github.com/heapwright/heapwright/cmd/internal/series"
)

// A shape is what may be done to the samples of a series so that they take less room.
// The database stores a value as the bits in which it differs from the one before, and a
// time as the change of the interval: a time in seconds that is no sum of powers of two
// costs 8 bytes, of which all but 2 are noise, and a sample that comes 3 ms late costs
// 2 bytes. Only series that package series knows are shaped; others stay as they are.
type shape struct {
	// quantum is what values are rounded to: a power of two, so that the bits below are
	// zero. It is far below what the value was measured with. 0: they stay.
	quantum float64
	// paced series come at an interval. Times that are off by 1% of it at most, and no
	// more than 10 ms, are moved onto it, as Prometheus does with those of its scrapes.
	paced bool
}

const (
	// quantumDuration is that of durations, such as of one GC pause: 60 ns.
	quantumDuration = 1.0 / (1 << 24)
	// quantumCPU is that of sums of time, from which rates are made: 0.12 ms. The kernel
	// counts CPU time in steps of 10 ms, and the runtime its classes once a GC cycle.
	quantumCPU = 1.0 / (1 << 13)
	// quantumBytes is that of amounts of memory, in bytes. A Go heap has 4 MiB before it
	// is collected for the first time. Limits are exact.
	quantumBytes = 256
	// quantumRatio is that of shares: 0.0015%.
	quantumRatio = 1.0 / (1 << 16)

	maxShift = 10 // ms
)

func shapeOf(name string) shape {
	d, ok := series.Lookup(name)
	if !ok {
		return shape{}
	}
	var s shape
	switch {
	case d.Unit == "seconds" && d.Kind == series.Counter && d.Name != "heapwright_gc_pause_seconds_total",
		d.Unit == "seconds" && d.Kind == series.Histogram:
		s.quantum = quantumCPU
	case d.Unit == "seconds" && d.Tier != series.Static: // when a process started is exact
		s.quantum = quantumDuration
	case d.Unit == "bytes" && d.Tier != series.Static:
		s.quantum = quantumBytes
	case d.Unit == "ratio":
		s.quantum = quantumRatio
	}
	switch d.Tier {
	case series.Fast, series.Slow, series.Static:
		s.paced = true
	}
	return s
}

// value rounds to the nearest multiple of the quantum. What is no number stays, bit by
// bit: one of them marks the end of a series.
func (s shape) value(v float64) float64 {
	if s.quantum == 0 || !(math.Abs(v) < 1<<52*s.quantum) { // above, it has no such bits
		return v
	}
	return math.Round(v/s.quantum) * s.quantum
}

// time moves t, in ms, onto the pace of the two samples before, if it is near.
func (s shape) time(t, last, interval int64) int64 {
	if !s.paced || interval <= 0 {
		return t
	}
	due := last + interval
	if d := t - due; d >= -maxShift && d <= maxShift && max(d, -d)*100 <= interval {
		return due
	}
	return t
}
