package record

import (
	"math"
	"math/bits"
	"time"
)

// Geometry of the runtime's timeHistogram (runtime/histogram.go, the same in
// Go 1.20 to 1.27): powers of two from 2^8 ns, each cut into four linear parts,
// and four parts below them.
const (
	histMinBits = 9
	histSubBits = 2
	histSub     = 1 << histSubBits

	// TimeHistogramBuckets is the number of buckets: (48-9+1) * 4.
	TimeHistogramBuckets = 160

	// TimeHistogramMax is the first duration too long for the buckets: it and
	// anything longer is counted as overflow. About 39 hours.
	TimeHistogramMax = time.Duration(1) << 47
)

// A TimeHistogram is the runtime's own log-linear histogram of durations, with
// cumulative counts. Subtract two to get a window.
type TimeHistogram struct {
	Counts    [TimeHistogramBuckets]uint64
	Underflow uint64 // negative durations
	Overflow  uint64
}

// TimeHistogramBound returns the inclusive lower bound of bucket i, which is
// the exclusive upper bound of bucket i-1; i is 0 to TimeHistogramBuckets, and
// the last is TimeHistogramMax.
func TimeHistogramBound(i int) time.Duration {
	if i < histSub {
		return time.Duration(i) << (histMinBits - 1 - histSubBits)
	}
	power, sub := i/histSub, i%histSub
	return time.Duration(histSub+sub) << (histMinBits - 2 - histSubBits + power)
}

// Add counts one duration, as the runtime does.
func (h *TimeHistogram) Add(d time.Duration) {
	switch {
	case d < 0:
		h.Underflow++
	case d >= TimeHistogramMax:
		h.Overflow++
	default:
		h.Counts[timeHistogramBucket(d)]++
	}
}

// timeHistogramBucket returns the bucket of d, which is in [0, TimeHistogramMax).
func timeHistogramBucket(d time.Duration) int {
	n := max(bits.Len64(uint64(d)), histMinBits-1)
	sub := int(uint64(d)>>(max(n, histMinBits)-1-histSubBits)) % histSub
	return (n-histMinBits+1)*histSub + sub
}

// Sub returns what was counted since an earlier reading of the same histogram.
// A count that went backwards, which is a torn reading or another process,
// counts as nothing.
func (h *TimeHistogram) Sub(earlier *TimeHistogram) TimeHistogram {
	since := func(later, earlier uint64) uint64 {
		if later < earlier {
			return 0
		}
		return later - earlier
	}
	var d TimeHistogram
	for i := range h.Counts {
		d.Counts[i] = since(h.Counts[i], earlier.Counts[i])
	}
	d.Underflow = since(h.Underflow, earlier.Underflow)
	d.Overflow = since(h.Overflow, earlier.Overflow)
	return d
}

// Count returns how many durations were counted, those out of range included.
func (h *TimeHistogram) Count() uint64 {
	n := saturatingAdd(h.Underflow, h.Overflow)
	for _, c := range h.Counts {
		n = saturatingAdd(n, c)
	}
	return n
}

// CountAbove returns how many durations were certainly d or longer: those in
// the buckets that begin at d or later. Durations in the bucket that d splits
// are not in it.
func (h *TimeHistogram) CountAbove(d time.Duration) uint64 {
	n := h.Overflow
	for i := TimeHistogramBuckets - 1; i >= 0 && TimeHistogramBound(i) >= d; i-- {
		n = saturatingAdd(n, h.Counts[i])
	}
	return n
}

// Quantile returns a duration that the share q (0 to 1) of the counted ones did
// not exceed: the upper end of the bucket where the quantile lies, at most a
// quarter above the truth from 256 ns up. It is 0 when nothing was counted,
// and math.MaxInt64 when the quantile lies in the overflow.
func (h *TimeHistogram) Quantile(q float64) time.Duration {
	n := h.Count()
	if n == 0 || math.IsNaN(q) {
		return 0
	}
	// The rank of the quantile, counting from 1.
	rank := uint64(math.MaxUint64)
	if r := math.Ceil(min(max(q, 0), 1) * float64(n)); r < math.MaxUint64 {
		rank = min(max(uint64(r), 1), n)
	}
	seen := h.Underflow
	if seen >= rank {
		return 0
	}
	for i, c := range h.Counts {
		if seen = saturatingAdd(seen, c); seen >= rank {
			return TimeHistogramBound(i + 1)
		}
	}
	return math.MaxInt64
}

// Sum estimates the sum of the counted durations: each is taken to be in the
// middle of its bucket, which is off by at most an eighth from 256 ns up.
// Overflow counts with TimeHistogramMax, underflow with nothing.
func (h *TimeHistogram) Sum() time.Duration {
	sum := float64(h.Overflow) * float64(TimeHistogramMax)
	for i, c := range h.Counts {
		if c != 0 {
			sum += float64(c) * float64(TimeHistogramBound(i)+TimeHistogramBound(i+1)) / 2
		}
	}
	if sum >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(sum)
}

func saturatingAdd(a, b uint64) uint64 {
	if s := a + b; s >= a {
		return s
	}
	return math.MaxUint64
}
