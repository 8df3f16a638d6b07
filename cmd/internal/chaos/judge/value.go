package judge

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/horizon"
)

// value is a metric of a point, where it has it and it is a number.
func value(p chaos.Point, m chaos.Metric) (float64, bool) {
	v, ok := p.Values[m]
	return v, ok && !math.IsNaN(v) && !math.IsInf(v, 0)
}

// isCounter reports whether a metric only rises: what counts is by how much.
func isCounter(m chaos.Metric) bool {
	return m == chaos.OOMKills || m == chaos.LimitEvents || m == chaos.Restarts
}

// words is a value of a metric with its unit.
func words(m chaos.Metric, v float64) string {
	i, _ := m.Info()
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "unknown"
	case i.Unit == chaos.Bytes:
		return rule.FormatBytes(v)
	case i.Unit == chaos.Seconds:
		return rule.FormatSeconds(v)
	case isShare(m):
		return rule.FormatPercent(v)
	case i.Unit == chaos.Cores:
		return strconv.FormatFloat(v, 'g', 3, 64) + " cores"
	case m == chaos.Throughput || m == chaos.Requests || m == chaos.CyclesPerSecond:
		return strconv.FormatFloat(v, 'g', 3, 64) + "/s"
	case math.Abs(v) < 1e15:
		return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// amount is a level of a kind of faults.
func amount(k chaos.Kind, v float64) string {
	i, _ := k.Info()
	switch i.Unit {
	case chaos.Bytes:
		return rule.FormatBytes(v)
	case chaos.BytesPerSecond:
		return rule.FormatBytes(v) + "/s"
	case chaos.Seconds:
		return rule.FormatSeconds(v)
	case chaos.Ratio:
		return rule.FormatPercent(v)
	case chaos.CountPerSecond:
		return strconv.FormatFloat(v, 'g', 4, 64) + "/s"
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

func isShare(m chaos.Metric) bool {
	switch m {
	case chaos.ErrorRatio, chaos.GCCPURatio, chaos.AssistRatio, chaos.HeadroomRatio, chaos.PressureSome,
		chaos.PressureFull, chaos.ThrottledRatio, chaos.HostFreeRatio:
		return true
	}
	return false
}

// name is a metric as sentences have it.
func name(m chaos.Metric) string {
	if i, ok := m.Info(); ok {
		return i.What
	}
	return string(m)
}

// span is a duration for sentences.
func span(d time.Duration) string { return rule.FormatSeconds(d.Seconds()) }

// broke says that a criterion is broken: what it is, for how long, and the bound.
func broke(c *chaos.Criterion, v, low, high float64, lasted time.Duration) string {
	side, bound := "at most", high
	if v < low {
		side, bound = "at least", low
	}
	var what string
	switch c.Metric {
	case chaos.Ready:
		what = "the readiness URL does not answer 200"
	case chaos.LimiterOn:
		what = "the GC CPU limiter is engaged"
	case chaos.OOMKills:
		what = "the kernel killed for memory: " + words(c.Metric, v)
	case chaos.LimitEvents:
		what = fmt.Sprintf("the cgroup was at its limit %s times", words(c.Metric, v))
	case chaos.Restarts:
		what = "the process ended"
	default:
		what = fmt.Sprintf("%s: %s, %s %s", name(c.Metric), words(c.Metric, v), side, words(c.Metric, bound))
	}
	if c.OfBaseline {
		what += ", by what it was before"
	}
	if lasted > 0 && !isCounter(c.Metric) {
		what += ", for " + span(lasted)
	}
	return what
}

// A pool is the requests of the last while, and how many of them failed. Points carry
// the last second's: each stands for the time since the point before it.
type pool struct {
	window  time.Duration
	buckets []bucket
	last    time.Duration
	begun   bool
}

type bucket struct {
	at           time.Duration
	failed, done float64
}

// bucketSize bounds how many buckets a window has.
const bucketSize = 100 * time.Millisecond

// counts is how many requests ended in the second before p, and how many failed. Where
// nobody counted them, right answers tell how many there were, unless all were wrong.
func counts(p chaos.Point) (failed, done float64, ok bool) {
	ratio, ok := value(p, chaos.ErrorRatio)
	if !ok || ratio < 0 || ratio > 1 {
		return 0, 0, false
	}
	done, ok = value(p, chaos.Requests)
	if !ok {
		right, has := value(p, chaos.Throughput)
		if !has || ratio == 1 {
			return 0, 0, false
		}
		done = right / (1 - ratio)
	}
	if !(done >= 0 && done < 1e12) {
		return 0, 0, false
	}
	return ratio * done, done, true
}

// add takes a point in, and reports whether it had counts.
func (q *pool) add(p chaos.Point) bool {
	failed, done, ok := counts(p)
	if !ok {
		return false
	}
	dt := 0.1
	if q.begun {
		dt = min(max((p.At-q.last).Seconds(), 0), 1)
	}
	q.begun, q.last = true, p.At
	if n := len(q.buckets); n > 0 && p.At-q.buckets[n-1].at < bucketSize {
		q.buckets[n-1].failed += failed * dt
		q.buckets[n-1].done += done * dt
	} else {
		q.buckets = append(q.buckets, bucket{at: p.At, failed: failed * dt, done: done * dt})
	}
	drop := 0
	for drop < len(q.buckets) && q.buckets[drop].at < p.At-q.window {
		drop++
	}
	q.buckets = append(q.buckets[:0], q.buckets[drop:]...)
	return true
}

func (q *pool) sum() (failed, done float64) {
	for _, b := range q.buckets {
		failed += b.failed
		done += b.done
	}
	return failed, done
}

// leastFailed is how many requests have to fail before their share means something: one
// of twenty is not yet 5%.
const leastFailed = 3

// above reports whether a share of failed requests is above a bound beyond chance: by
// the lower end of Wilson's interval.
func above(failed, done, bound float64) bool {
	if failed < leastFailed-0.5 || done <= 0 {
		return false
	}
	low, _ := wilson(failed, done)
	return low > bound
}

func wilson(failed, done float64) (low, high float64) {
	n := int(math.Round(min(done, 1e12)))
	k := min(int(math.Round(min(failed, 1e12))), n)
	return horizon.Wilson(max(k, 0), max(n, 0))
}
