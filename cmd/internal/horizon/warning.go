package horizon

import (
	"math"
	"slices"
	"time"
)

// The features of an inflection are taken over the last sliding cycles.
const (
	sliding = 16
	// memoryOf is how many cycles the band of what is usual remembers: a value's weight is
	// halved each that many.
	memoryOf = 64
	// Beyond outer standard deviations from the usual a feature has left its band; within
	// inner it has come back.
	outer, inner = 3.0, 1.5
	// noLess is the growth of the live heap per cycle below which nothing is said.
	noLess = 0.001
)

// A band is the mean and the deviation of what a feature was, the old forgotten.
type band struct {
	mean, variance float64
	n              int
}

func (b *band) add(v float64) {
	b.n++
	weight := max(1-math.Exp2(-1.0/memoryOf), 1/float64(b.n))
	d := v - b.mean
	b.mean += weight * d
	b.variance = (1 - weight) * (b.variance + weight*d*d)
}

// beyond is how many deviations above the mean a value lies.
func (b *band) beyond(v, least float64) float64 {
	return (v - b.mean) / max(math.Sqrt(b.variance), least)
}

// inflection looks through the cycles for the instant from which on both the 95th
// percentile of pauses and the growth of the live heap have been out of their bands. It
// is one sign among others: pauses of Go's collector do not go with the heap, and rise
// when the CPU is short, as it is near GOMEMLIMIT.
func inflection(cycles []Cycle, now time.Time) *Warning {
	var pauses, growth []float64 // of the last sliding cycles
	var pauseBand, growthBand band
	var lagged [][2]float64 // features that are not in the bands yet
	var w *Warning
	before := math.NaN()
	for i := range cycles {
		c := &cycles[i]
		if c.End.After(now) {
			break
		}
		if c.Pause <= 0 || !(c.Live > 0) || !usable(c.Live) {
			before = math.NaN()
			continue
		}
		was := before
		before = c.Live
		if math.IsNaN(was) {
			continue
		}
		pauses, growth = slide(pauses, c.Pause.Seconds()), slide(growth, c.Live/was-1)
		if len(pauses) < sliding {
			continue
		}
		p, g := quantile(slices.Clone(pauses), 0.95), mean(growth)
		if growthBand.n >= sliding {
			zp, zg := pauseBand.beyond(p, pauseBand.mean/20), growthBand.beyond(g, noLess/outer)
			switch {
			case w == nil && zp > outer && zg > outer && g > noLess:
				w = &Warning{Since: c.End, PauseBefore: pauseBand.mean, GrowthWas: growthBand.mean}
			case w != nil && (zg < inner || g <= 0):
				w = nil
			}
		}
		if w != nil {
			w.PauseP95, w.Growth = p, g
			continue // what is out of the band does not become usual
		}
		lagged = append(lagged, [2]float64{p, g})
		if len(lagged) > sliding {
			pauseBand.add(lagged[0][0])
			growthBand.add(lagged[0][1])
			lagged = lagged[1:]
		}
	}
	return w
}

func slide(x []float64, v float64) []float64 {
	if len(x) == sliding {
		copy(x, x[1:])
		x = x[:sliding-1]
	}
	return append(x, v)
}

func mean(x []float64) float64 {
	var s float64
	for _, v := range x {
		s += v
	}
	return s / float64(len(x))
}
