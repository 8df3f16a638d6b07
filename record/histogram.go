package record

// TimeHistogramBuckets is the number of buckets of the runtime's timeHistogram:
// (48-9+1) * 4 sub-buckets (runtime/histogram.go, the same in Go 1.20 to 1.27).
const TimeHistogramBuckets = 160

// A TimeHistogram is the runtime's own log-linear histogram of durations, with
// cumulative counts. Subtract two to get a window.
type TimeHistogram struct {
	Counts    [TimeHistogramBuckets]uint64
	Underflow uint64 // negative durations
	Overflow  uint64
}
