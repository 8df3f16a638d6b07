package load

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// A Report is what came of the load on one target in the measured window.
type Report struct {
	// Requests is how many were due in the window, whatever came of them.
	Requests uint64
	// Errors is how many of those were not answered as expected: another status, a
	// broken connection, no answer in time, or not sent at all, for want of a free
	// connection.
	Errors uint64
	// Answered is how many answers arrived within the window that were as expected,
	// also to what had been due before: over Seconds, it is the throughput. Above the
	// knee it is less than what is due, even where in the end everything is answered.
	Answered uint64
	// Waited is how many of those that were due found no connection free. A subject
	// that is slower than the load makes them wait; so do too few connections.
	Waited  uint64
	Seconds float64
	// Latency is in microseconds, from when the request was due. It has those that
	// were answered as expected, and those that were given up on, which took at least
	// that long; it does not have those that failed fast.
	Latency *hdrhistogram.Histogram
	// Audit is of the generator. In a duet, GCCycles and CPUSeconds are of the one
	// process that loads both targets, in both reports.
	Audit experiment.Audit
}

// Throughput is expected answers a second.
func (r Report) Throughput() float64 {
	if r.Seconds <= 0 {
		return 0
	}
	return float64(r.Answered) / r.Seconds
}

// Histograms hold microseconds to 60 s, with three digits.
const (
	histogramMax    = int64(MaxTimeout / time.Microsecond)
	histogramDigits = 3
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, histogramMax, histogramDigits)
}

func recordDuration(h *hdrhistogram.Histogram, d time.Duration) {
	// It fails only for what lies outside, which nothing here does.
	_ = h.RecordValue(min(max(d.Microseconds(), 0), histogramMax))
}

// quantileSeconds is 0 of an empty histogram.
func quantileSeconds(h *hdrhistogram.Histogram, percent float64) float64 {
	return float64(h.ValueAtPercentile(percent)) / 1e6
}
