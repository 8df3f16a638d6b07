package judge

import (
	"math"
	"slices"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

const (
	// patience is how long a metric may be absent without what was broken being taken for
	// over.
	patience = 2 * time.Second
	// uncounted is how long a share of failed requests has to be too high where nobody
	// knows of how many: a single one is over in a second.
	uncounted = 3 * time.Second
	// near is below which share of the limit the time that is left to it is looked at: with
	// plenty of room, a burst of allocation is no danger.
	near = 0.25
)

// A follower follows one criterion from point to point.
type follower struct {
	c      *chaos.Criterion
	errors *pool // of ErrorRatio
	pace   pace  // of latencies, of which the bound is the baseline's
	usual  time.Duration

	off     bool
	since   time.Duration // when it began to be off
	last    time.Duration // the last point that had the metric
	counted bool          // off for long enough

	ref, seen float64 // of counters: what they were when counting began, and are
}

// sane are criteria without what is no number: such a bound bounds nothing.
func sane(criteria []chaos.Criterion) []chaos.Criterion {
	out := slices.Clone(criteria[:min(len(criteria), mostCriteria)])
	for i := range out {
		c := &out[i]
		for _, b := range []**float64{&c.AtMost, &c.AtLeast, &c.Tolerated} {
			if *b != nil && (math.IsNaN(**b) || math.IsInf(**b, 0)) {
				*b = nil
			}
		}
	}
	return out
}

func newFollower(c *chaos.Criterion) *follower {
	f := &follower{c: c}
	if c.Metric == chaos.ErrorRatio {
		// Half of the time that it has to be broken, so that a burst which is over at once is
		// also over here before it counts.
		f.errors = &pool{window: min(max(c.For/2, time.Second), 10*time.Second)}
	}
	return f
}

// smear is how long a single moment stays in a metric: a stall of 60 ms is the 99th
// percentile of five seconds for all of them. It has to go on for longer than that to
// last at all.
func smear(m chaos.Metric) time.Duration {
	switch m {
	case chaos.LatencyP99:
		return 5 * time.Second
	case chaos.PauseP99:
		return 10 * time.Second
	case chaos.HeadroomSeconds: // the slope of the last second
		return time.Second
	}
	return 0
}

// A sight is what a follower made of a point.
type sight struct {
	known     bool
	value     float64
	low, high float64
	off       bool          // past a bound now
	broken    bool          // for as long as it takes
	began     bool          // broken since this point
	ended     bool          // broken until this point
	since     time.Duration // when it began to be off
	dt        time.Duration // since the last point that had the metric, when off then and now
}

// excepted reports whether a criterion is not looked at while there is a fault.
func excepted(c *chaos.Criterion, f *chaos.Fault) bool {
	if f == nil {
		return false
	}
	if f.Expect != nil && f.Expect.OOMKill {
		switch c.Metric {
		case chaos.OOMKills, chaos.LimitEvents, chaos.Restarts, chaos.Ready, chaos.ErrorRatio,
			chaos.Headroom, chaos.HeadroomRatio, chaos.HeadroomSeconds:
			return true
		}
	}
	return slices.Contains(c.Except, f.Kind)
}

// skip goes past a point that is not looked at. What a counter rose by is forgiven.
func (w *follower) skip(p chaos.Point) {
	w.pace.add(p.At)
	w.off, w.counted = false, false
	if v, ok := value(p, w.c.Metric); ok {
		w.ref, w.seen = max(w.ref, v), max(w.seen, v)
	}
}

// recount makes counters count from now.
func (w *follower) recount() { w.ref = w.seen }

func (w *follower) step(p chaos.Point, is purpose, b baseline) sight {
	var s sight
	w.pace.add(p.At)
	pooled := w.errors != nil && w.errors.add(p)
	s.value, s.known = value(p, w.c.Metric)
	if w.c.Metric == chaos.HeadroomSeconds && w.off && !s.known {
		// It is absent while memory does not grow.
		s.ended = w.counted
		w.off, w.counted = false, false
		return s
	}
	if !s.known {
		return s
	}
	var ok bool
	if s.low, s.high, ok = bounds(w.c, is, b); !ok {
		s.known = false
		return s
	}
	if w.c.OfBaseline && isLatency(w.c.Metric) {
		s.high += w.pace.waited(w.usual)
	}
	if isCounter(w.c.Metric) {
		w.seen = max(w.seen, s.value)
		s.value = max(0, s.value-w.ref)
	}
	takes := w.c.For
	if takes > 0 {
		takes += smear(w.c.Metric)
	}
	switch {
	case w.errors != nil && pooled:
		failed, done := w.errors.sum()
		if done > 0 {
			s.value = failed / done
		}
		s.off = above(failed, done, s.high) || s.value < s.low
	case w.errors != nil:
		takes = max(takes, uncounted)
		s.off = s.value > s.high || s.value < s.low
	case w.c.Metric == chaos.HeadroomSeconds:
		room, has := value(p, chaos.HeadroomRatio)
		s.off = (s.value > s.high || s.value < s.low) && (!has || room < near)
	default:
		s.off = s.value > s.high || s.value < s.low
	}
	gap := p.At - w.last
	w.last = p.At
	switch {
	case !s.off:
		s.ended = w.counted
		w.off, w.counted = false, false
		return s
	case !w.off || gap > patience:
		w.off, w.counted, w.since = true, false, p.At
	default:
		s.dt = gap
	}
	s.since = w.since
	if p.At-w.since >= takes {
		s.began = !w.counted
		w.counted, s.broken = true, true
	}
	return s
}
