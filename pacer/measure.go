package pacer

import (
	"math"

	"github.com/heapwright/heapwright/record"
)

// Measure says what a recording shows of what a Forecast predicts. Errors:
// *ShortError, *UnfitError.
func Measure(rec *record.Recording) (Outcome, error) {
	l := open(rec)
	if len(l.samples) < 2 || l.span <= 0 {
		return Outcome{}, &ShortError{Reason: "fewer than two samples", Record: usualSpan}
	}
	seconds := l.span.Seconds()
	o := Outcome{Settings: l.settings(), Span: l.span}
	cycles, ok := l.growth(record.FieldGCCycles)
	if !ok {
		return Outcome{}, &UnfitError{"its source does not count GC cycles"}
	}
	o.Cycles = uint64(cycles)
	// The recording begins and ends within a cycle, of which each a part is in it.
	whole := cycles
	if part := l.cycleParts(); cycles > 0 && cycles+part > 0 {
		whole += part
	}
	o.CyclesPerSecond = whole / seconds
	// The runtime books what a cycle took when it ends.
	booked := 1.0
	if cycles > 0 {
		booked = whole / cycles
	}

	k, _ := l.cpuScale()
	cpu := math.NaN()
	if user, ok := l.growth(record.FieldCPUProcUser); ok {
		system, _ := l.growth(record.FieldCPUProcSystem)
		cpu = (user + system) / seconds
	}
	o.GCCPUCores, o.AssistRatio, o.PauseRatio = math.NaN(), math.NaN(), math.NaN()
	if gc, ok := l.growth(record.FieldCPUGCTotal); ok {
		o.GCCPUCores = k * gc / seconds * booked
	}
	if assist, ok := l.growth(record.FieldCPUGCAssist); ok {
		o.AssistRatio = k * assist / seconds * booked / cpu
	}
	if pause, ok := l.growth(record.FieldPauseTotal); ok {
		o.PauseRatio = pause / seconds
	}
	o.CPUCores, o.GCCPURatio = cpu, math.Min(o.GCCPUCores/cpu, 1)

	heap := l.values(record.FieldHeapLiveBytes)
	o.HeapP50Bytes, o.HeapP90Bytes, o.HeapPeakBytes = quantile(heap, 0.5), quantile(heap, 0.9), quantile(heap, 1)
	// The heap peaks between two samples; the cycles know where.
	for _, c := range l.cycles {
		if n := len(l.samples); !c.End.Before(l.samples[0].Time) && !c.End.After(l.samples[n-1].Time) && !math.IsNaN(o.HeapPeakBytes) {
			o.HeapPeakBytes = max(o.HeapPeakBytes, float64(c.HeapEndBytes))
		}
	}
	rss := l.values(record.FieldRSSBytes)
	o.RSSP50Bytes, o.RSSP90Bytes, o.RSSPeakBytes = quantile(rss, 0.5), quantile(rss, 0.9), quantile(rss, 1)

	if before, ok := l.first(record.FieldLimiterLastCycle); ok {
		after, _ := l.last(record.FieldLimiterLastCycle)
		o.LimiterEngaged = after > before
	}
	for _, e := range rec.Events {
		o.OOMKilled = o.OOMKilled || e.Kind == record.EventOOMKill
	}
	return o, nil
}

// cycleParts is how much of a cycle is in the recording beside those that ended in
// it: what of one was done at its end, less what had been done at its beginning.
func (l *ledger) cycleParts() float64 {
	done := func(s *record.Sample) float64 {
		if !s.Has.Has(record.FieldHeapLiveBytes) || !s.Has.Has(record.FieldHeapMarkedBytes) || !s.Has.Has(record.FieldHeapGoalBytes) {
			return 0
		}
		live, marked, goal := float64(s.HeapLiveBytes), float64(s.HeapMarkedBytes), float64(s.HeapGoalBytes)
		if !(goal > marked) {
			return 0
		}
		return min(max((live-marked)/(goal-marked), 0), 1)
	}
	return done(l.samples[len(l.samples)-1]) - done(l.samples[0])
}

// settings are those of the newest sample.
func (l *ledger) settings() Settings {
	s := Settings{GOGCPercent: 100, GOMEMLIMITBytes: NoMemoryLimit, ContainerLimitBytes: l.rec.Process.MemoryLimitBytes}
	for _, sample := range l.samples {
		if sample.Has.Has(record.FieldGOGCPercent) {
			s.GOGCPercent = sample.GOGCPercent
		}
		if sample.Has.Has(record.FieldGOMEMLIMITBytes) {
			s.GOMEMLIMITBytes = sample.GOMEMLIMITBytes
		}
		if sample.Has.Has(record.FieldGOMAXPROCS) {
			s.GOMAXPROCS = int(sample.GOMAXPROCS)
		}
		if sample.Has.Has(record.FieldCgroupLimitBytes) {
			s.ContainerLimitBytes = sample.CgroupLimitBytes
		}
	}
	return s
}

// first returns the oldest value of a field.
func (l *ledger) first(f record.Field) (float64, bool) {
	for _, s := range l.samples {
		if v, ok := s.Value(f); ok {
			return v, true
		}
	}
	return 0, false
}
