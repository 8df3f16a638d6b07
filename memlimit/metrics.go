package memlimit

import (
	"math"

	"github.com/heapwright/heapwright/metric"
)

// Metrics emits what the Report has: about a dozen gauges and four counters. It is
// a metric.Source.
func (l *Limit) Metrics(emit func(metric.Metric)) {
	r := l.Report()
	gauge := func(name, unit, help string, v float64, labels ...metric.Label) {
		emit(metric.Metric{Name: "heapwright.memlimit." + name, Unit: unit, Help: help, Value: v, Labels: labels})
	}
	count := func(name, unit, help string, v uint64) {
		emit(metric.Metric{Name: "heapwright.memlimit." + name, Unit: unit, Help: help, Kind: metric.Counter, Value: float64(v)})
	}
	gauge("mode", "", "What the memory limit is doing, as a label.", 1, metric.Label{Key: "mode", Value: string(r.Mode)}, metric.Label{Key: "source", Value: string(r.Source)})
	if r.GOMEMLIMIT < math.MaxInt64 {
		gauge("gomemlimit", "By", "GOMEMLIMIT as it is set now.", float64(r.GOMEMLIMIT))
	}
	gauge("gogc", "%", "GOGC as it is set now; -1 is off.", float64(r.GOGC))
	if r.LimitBytes > 0 {
		gauge("limit", "By", "Memory limit that was found.", float64(r.LimitBytes))
		gauge("non_go", "By", "Subtracted from the memory limit for memory that is not Go's.", float64(r.NonGoBytes))
		gauge("reserve", "By", "Left free of the memory limit beside that.", float64(r.ReserveBytes))
	}
	if r.UsedBytes > 0 {
		gauge("used", "By", "Counts against the memory limit and cannot be reclaimed.", float64(r.UsedBytes))
	}
	if r.WouldSet != 0 {
		gauge("would_set", "By", "GOMEMLIMIT that the memory limit leaves, where it is not set.", float64(r.WouldSet))
	}
	count("refreshes", "{look}", "Looks taken at the memory limit.", r.Refreshes)
	count("changes", "{change}", "Changes of GOMEMLIMIT or GOGC.", r.Changes)
	count("dropped", "{message}", "Log lines and callbacks left out, since earlier ones had not ended.", r.Dropped)
	count("failures", "{failure}", "Looks that failed, and panics caught.", r.Failures)
}
