package run

import (
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/experiment/load"
)

// Over how long the values of the load are.
const (
	shortWindow = time.Second
	longWindow  = 5 * time.Second
)

// A window is what the load said of the last seconds.
type window struct {
	ticks   []heard // the oldest first
	pending []count // of the newest
}

type heard struct {
	at               time.Time
	answered, errors uint64
	latency          []count
}

// A count is how many requests took so long.
type count struct{ micros, n int64 }

func (w *window) add(t load.Tick) {
	w.ticks = append(w.ticks, heard{t.At, t.Answered, t.Errors, counts(t.Latency)})
	w.pending = counts(t.Pending)
	old := 0
	for old < len(w.ticks) && t.At.Sub(w.ticks[old].at) >= longWindow {
		old++
	}
	w.ticks = slices.Delete(w.ticks, 0, old)
}

// values are the metrics of the load now. What nothing is known of is absent: the
// share of failures when no request has ended, and everything when the load has been
// silent for as long as its short window.
func (w *window) values(now time.Time, into map[chaos.Metric]float64) {
	if len(w.ticks) == 0 || now.Sub(w.ticks[len(w.ticks)-1].at) >= shortWindow {
		return
	}
	var answered, failed uint64
	var short, long []count
	for _, t := range w.ticks {
		long = append(long, t.latency...)
		if now.Sub(t.at) < shortWindow {
			answered += t.answered
			failed += t.errors
			short = append(short, t.latency...)
		}
	}
	into[chaos.Throughput] = float64(answered) / shortWindow.Seconds()
	if n := answered + failed; n > 0 {
		into[chaos.ErrorRatio] = float64(failed) / float64(n)
		into[chaos.Requests] = float64(n) / shortWindow.Seconds()
	}
	// What has not been answered takes at least as long as it has taken.
	if v, ok := quantile(append(short, w.pending...), 0.5); ok {
		into[chaos.LatencyP50] = v
	}
	if v, ok := quantile(append(long, w.pending...), 0.99); ok {
		into[chaos.LatencyP99] = v
	}
}

// counts are the buckets of a histogram that have something.
func counts(h *hdrhistogram.Histogram) []count {
	if h == nil || h.TotalCount() == 0 {
		return nil
	}
	var out []count
	for _, b := range h.Distribution() {
		if b.Count > 0 {
			out = append(out, count{b.To, b.Count})
		}
	}
	return out
}

// quantile is in seconds. It sorts what it is given.
func quantile(of []count, q float64) (float64, bool) {
	var total int64
	for _, c := range of {
		total += c.n
	}
	if total == 0 {
		return 0, false
	}
	slices.SortFunc(of, func(a, b count) int { return int(a.micros - b.micros) })
	rank := int64(q*float64(total)) + 1
	for _, c := range of {
		if rank -= c.n; rank <= 0 {
			return float64(c.micros) / 1e6, true
		}
	}
	return float64(of[len(of)-1].micros) / 1e6, true
}
