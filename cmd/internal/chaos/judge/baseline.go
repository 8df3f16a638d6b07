package judge

import (
	"math"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// A baseline is how metrics were before the first fault.
type baseline map[chaos.Metric]level

// A level is what a metric was around. Bounds go by the quantiles: the mean of a busy
// machine is what every other second exceeds.
type level struct {
	low, middle, high float64 // 5%, 50% and 95%
	n                 int
}

const (
	// leastPoints is how many points a level needs.
	leastPoints = 5
	// looks is how many times as long as a moment stays in a percentile it has to be looked
	// at, for its spread to be known. What is seen in less time is one value, ten times a
	// second, and the next one may well be unsure times as high on a busy machine.
	looks, unsure = 4, 2
)

func newBaseline(points []chaos.Point) baseline {
	all := map[chaos.Metric][]float64{}
	var failed, done float64
	counted := 0
	for _, p := range points {
		for m := range p.Values {
			if v, ok := value(p, m); ok {
				all[m] = append(all[m], v)
			}
		}
		if k, n, ok := counts(p); ok {
			// Ten points a second each have the last second's.
			failed, done, counted = failed+k/10, done+n/10, counted+1
		}
	}
	b := baseline{}
	for m, v := range all {
		if len(v) < leastPoints {
			continue
		}
		slices.Sort(v)
		l := level{low: quantile(v, 0.05), middle: quantile(v, 0.5), high: quantile(v, 0.95), n: len(v)}
		if length(points) < looks*smear(m).Seconds()-1 {
			l.high *= unsure
		}
		b[m] = l
	}
	if l, ok := b[chaos.ErrorRatio]; ok && counted >= leastPoints {
		// How often nothing failed says less of a share than how many there were.
		_, l.high = wilson(failed, done)
		b[chaos.ErrorRatio] = l
	}
	return b
}

// quantile is of sorted values, of which there is at least one.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (sorted[i+1]-sorted[i])*(at-float64(i))
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Clone(v)
	slices.Sort(s)
	return quantile(s, 0.5)
}

// A purpose is what a bound is for.
type purpose int

const (
	toHold     purpose = iota // what has to hold while there is no fault
	toTolerate                // what may be while there is one, and until the target recovers
	toEnd                     // what ends everything
)

// waits are what a latency may always be higher by: on two cores with twenty that want
// them a thread waits 30 ms for its turn, and a request for the turns of client and
// server. That is what the machine does; nobody ends a run for what nobody feels.
var waits = map[purpose]float64{toHold: 0.010, toTolerate: 0.050, toEnd: 0.100}

// slack is what a value may always be off by: a factor of next to nothing is nothing.
func slack(m chaos.Metric, is purpose) float64 {
	switch m {
	case chaos.LatencyP50, chaos.LatencyP99:
		return waits[is]
	case chaos.PauseP99, chaos.PauseMax:
		return 0.005
	case chaos.GoroutineCount, chaos.ConnectionsOpen:
		return 10
	case chaos.GCCPURatio, chaos.AssistRatio, chaos.ThrottledRatio, chaos.PressureFull, chaos.PressureSome:
		return 0.01
	}
	return 0
}

// bounds are what a criterion allows, infinite where it does not say. It reports false
// where it is of a baseline that there is not.
func bounds(c *chaos.Criterion, is purpose, b baseline) (low, high float64, ok bool) {
	low, high = math.Inf(-1), math.Inf(1)
	if c.AtLeast != nil {
		low = *c.AtLeast
	}
	if c.AtMost != nil {
		high = *c.AtMost
	}
	if is == toTolerate && c.Tolerated != nil {
		if c.AtMost != nil {
			high = *c.Tolerated
		} else {
			low = *c.Tolerated
		}
	}
	if math.IsNaN(low) || math.IsNaN(high) {
		return 0, 0, false
	}
	if !c.OfBaseline {
		return low, high, true
	}
	l, known := b[c.Metric]
	if !known {
		return 0, 0, false
	}
	if !math.IsInf(high, 0) {
		high = max(high*l.high, l.high+slack(c.Metric, is))
	}
	if !math.IsInf(low, 0) {
		low = min(low*l.low, l.low-slack(c.Metric, is))
	}
	return low, high, !math.IsNaN(low) && !math.IsNaN(high)
}
