package load

import (
	"fmt"
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

// What a subject that keeps up with its load does: it answers so much of what is
// due while it is due, and fails no more than that.
const (
	heldShare  = 0.97
	heldErrors = 0.001
	// heldEdge is how many answers may be missing because the window ended.
	heldEdge = 5
)

// Held says whether the subject kept up with what was due; why says what it did not.
func (r Report) Held() (ok bool, why string) {
	due, bad, answered := float64(r.Requests), float64(r.Errors), float64(r.Answered)
	switch {
	case r.Requests == 0:
		return false, "nothing was due: the window was too short for the rate"
	case bad > heldErrors*due:
		why = fmt.Sprintf("%.3g%% of the requests failed", 100*bad/due)
		if r.Audit.FirstError != "" {
			why += ", the first: " + r.Audit.FirstError
		}
	case answered+heldEdge < heldShare*due:
		why = fmt.Sprintf("%.4g answers a second to %.4g requests", r.Throughput(), r.Audit.Offered)
	default:
		return true, ""
	}
	return false, why + late(r.Audit.SlipP99, quantileSeconds(r.Latency, 99))
}

// late says that the generator is to blame for at least half of the tail, where it is.
func late(slip, p99 float64) string {
	if slip < minLate || slip < p99/2 {
		return ""
	}
	return fmt.Sprintf("; the generator itself sent late (p99 %.3g ms of %.3g ms): it was the bottleneck, or the machine, and not the subject", 1e3*slip, 1e3*p99)
}

// minLate is how late a generator may send at its 99th percentile without being
// blamed, in seconds.
const minLate = 1e-3

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
