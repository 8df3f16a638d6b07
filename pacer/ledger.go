package pacer

import (
	"math"
	"slices"
	"time"

	"github.com/heapwright/heapwright/record"
)

// A ledger is a recording as this package reads it: samples in the order of
// time, with what cannot be so left out.
type ledger struct {
	rec     *record.Recording
	samples []*record.Sample
	cycles  []record.Cycle // those with Detail, in the order of N
	// step is the usual distance of two samples. Longer than gap is time that
	// nobody watched: it is not part of span.
	step, gap time.Duration
	span      time.Duration
}

func open(rec *record.Recording) *ledger {
	l := &ledger{rec: rec}
	for i := range rec.Samples {
		s := &rec.Samples[i]
		// A clock that was set back gives two samples for one instant; the first stays.
		if n := len(l.samples); n == 0 || s.Time.After(l.samples[n-1].Time) {
			l.samples = append(l.samples, s)
		}
	}
	var steps []time.Duration
	for i := 1; i < len(l.samples); i++ {
		steps = append(steps, l.samples[i].Time.Sub(l.samples[i-1].Time))
	}
	if len(steps) > 0 {
		slices.Sort(steps)
		l.step = steps[len(steps)/2]
		l.gap = max(20*l.step, 5*time.Second)
		for _, d := range steps {
			if d <= l.gap {
				l.span += d
			}
		}
	}
	for _, c := range rec.Cycles {
		if n := len(l.cycles); c.Detail && sane(c) && (n == 0 || c.N > l.cycles[n-1].N) {
			l.cycles = append(l.cycles, c)
		}
	}
	return l
}

// sane reports whether a cycle's numbers can be true together.
func sane(c record.Cycle) bool {
	const most = 1 << 50
	return c.HeapStartBytes > 0 && c.HeapEndBytes >= c.HeapStartBytes && c.HeapEndBytes < most && c.HeapMarkedBytes < most &&
		c.Mark >= 0 && c.Mark < time.Hour && c.Pause >= 0 && c.Pause < time.Hour &&
		c.Assist >= 0 && c.Dedicated >= 0 && c.Fractional >= 0 && c.Idle >= 0
}

// growth adds up how much a cumulative field grew, without the gaps. ok is
// false where no two neighbouring samples have the field.
func (l *ledger) growth(f record.Field) (sum float64, ok bool) {
	for i := 1; i < len(l.samples); i++ {
		if l.samples[i].Time.Sub(l.samples[i-1].Time) > l.gap {
			continue
		}
		if d, has := record.Delta(l.samples[i-1], l.samples[i], f); has {
			sum, ok = sum+d, true
		}
	}
	return sum, ok
}

// values returns what a field was over time, one value per sample that has it.
func (l *ledger) values(f record.Field) []float64 {
	var v []float64
	for _, s := range l.samples {
		if x, ok := s.Value(f); ok {
			v = append(v, x)
		}
	}
	return v
}

// last returns the newest value of a field.
func (l *ledger) last(f record.Field) (float64, bool) {
	for i := len(l.samples) - 1; i >= 0; i-- {
		if v, ok := l.samples[i].Value(f); ok {
			return v, true
		}
	}
	return 0, false
}

// processCPU is the CPU that the kernel charged the process, in seconds.
func processCPU(s *record.Sample) (float64, bool) {
	return (s.CPUProcUser + s.CPUProcSystem).Seconds(), s.Has.Has(record.FieldCPUProcUser) && s.Has.Has(record.FieldCPUProcSystem)
}

// cpuScale is what a second of P-time is in CPU-seconds. The runtime's CPU
// classes are the wall time of Ps: where Ps wait for a CPU they say more than
// was used (runtime/mstats.go, cpuStats.accumulate), by as much for the
// collector as for the program. known is false where it cannot be told.
func (l *ledger) cpuScale() (k float64, known bool) {
	// The classes move when a cycle ends; so must the window.
	var from, to *record.Sample
	for i := 1; i < len(l.samples); i++ {
		a, b := l.samples[i-1], l.samples[i]
		if b.Has.Has(record.FieldGCCycles) && a.Has.Has(record.FieldGCCycles) && b.GCCycles > a.GCCycles {
			if from == nil {
				from = b
			}
			to = b
		}
	}
	if from == nil || from == to {
		return 1, false
	}
	before, ok1 := processCPU(from)
	after, ok2 := processCPU(to)
	total, ok3 := record.Delta(from, to, record.FieldCPUTotal)
	idle, ok4 := record.Delta(from, to, record.FieldCPUIdle)
	// The kernel counts in ticks of 10 ms: less than 20 of them say little.
	if !ok1 || !ok2 || !ok3 || !ok4 || after-before < 0.2 || total-idle <= 0 {
		return 1, false
	}
	// More CPU than P-time is CPU of threads without a P: it is not the collector's.
	return min((after-before)/(total-idle), 1), true
}

// quantile of values; NaN of none. It sorts in place.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	slices.Sort(v)
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 >= len(v) {
		return v[len(v)-1]
	}
	return v[i] + (at-float64(i))*(v[i+1]-v[i])
}

func median(v []float64) float64 { return quantile(v, 0.5) }

const (
	usualSpan    = 30 * time.Second // to record, where nothing says how long
	enoughCycles = 4                // to fit a twin to
)
