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
	o.Cycles, o.CyclesPerSecond = uint64(cycles), cycles/seconds

	k, _ := l.cpuScale()
	cpu := math.NaN()
	if user, ok := l.growth(record.FieldCPUProcUser); ok {
		system, _ := l.growth(record.FieldCPUProcSystem)
		cpu = (user + system) / seconds
	}
	o.GCCPUCores, o.AssistRatio, o.PauseRatio = math.NaN(), math.NaN(), math.NaN()
	if gc, ok := l.growth(record.FieldCPUGCTotal); ok {
		o.GCCPUCores = k * gc / seconds
	}
	if assist, ok := l.growth(record.FieldCPUGCAssist); ok {
		o.AssistRatio = k * assist / seconds / cpu
	}
	if pause, ok := l.growth(record.FieldPauseTotal); ok {
		o.PauseRatio = pause / seconds
	}
	o.GCCPURatio = o.GCCPUCores / cpu

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
