package top

import (
	"math"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/notenough"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

// What is kept of a process.
const (
	maxPoints = 300  // five minutes
	maxCycles = 1024 // for the rules
	rateOver  = 5 * time.Second
	gcOver    = 20 * time.Second // a cycle may take that long to come
)

// A track is what is remembered of a process: samples for the rules, and points for
// the charts. It reads nothing.
type track struct {
	row    Row
	rec    record.Recording
	points []Point
	keep   int // samples for the rules
}

// add takes a sample and the cycles since the one before.
func (t *track) add(s *record.Sample, cycles []record.Cycle) {
	r, rec := &t.row, &t.rec
	kept := *s
	rec.Process = r.Process
	if n := len(rec.Samples) - t.keep + 1; n > 0 {
		rec.Samples = append(rec.Samples[:0], rec.Samples[n:]...)
	}
	rec.Samples = append(rec.Samples, kept)
	rec.Cycles = append(rec.Cycles, cycles...)
	if n := len(rec.Cycles) - maxCycles; n > 0 {
		rec.Cycles = append(rec.Cycles[:0], rec.Cycles[n:]...)
	}

	r.Latest, r.Seen, r.Error, r.Hint = &kept, s.Time, "", ""
	r.Live, _ = orNaN(s, record.FieldHeapLiveBytes)
	r.Goal, _ = orNaN(s, record.FieldHeapGoalBytes)
	r.RSS, _ = orNaN(s, record.FieldRSSBytes)
	r.Goroutines, _ = orNaN(s, record.FieldGoroutines)
	r.Used, r.Limit, r.Kind = limitOf(&r.Process, s)
	from := t.back(rateOver)
	r.AllocRate = rate(from, s, record.FieldTotalAllocBytes)
	r.CPU = rate(from, s, record.FieldCPUProcUser) + rate(from, s, record.FieldCPUProcSystem)
	r.CycleRate = rate(t.back(gcOver), s, record.FieldGCCycles)
	r.GCCPU = t.gcCPU(s)
	pause := math.NaN()
	r.LastPause, r.MaxPause = math.NaN(), math.NaN()
	for i := range rec.Cycles {
		p := rec.Cycles[i].Pause.Seconds()
		r.LastPause = p
		if !(p <= r.MaxPause) {
			r.MaxPause = p
		}
	}
	for i := range cycles {
		if p := cycles[i].Pause.Seconds(); !(p <= pause) {
			pause = p
		}
	}

	limit := r.Limit
	if r.Kind == Machine {
		limit = math.NaN() // it would flatten every chart
	}
	goal := r.Goal
	if goal >= 1<<48 {
		goal = math.NaN() // GOGC=off: there is none
	}
	// Rows share what is before the end of the slice: nothing there is written again.
	if len(t.points) >= 2*maxPoints {
		t.points = append(make([]Point, 0, 2*maxPoints), t.points[len(t.points)-maxPoints:]...)
	}
	t.points = append(t.points, Point{
		T: s.Time, Live: r.Live, Goal: goal, RSS: r.RSS, Limit: limit, GCCPU: r.GCCPU,
		AllocRate: r.AllocRate, Goroutines: r.Goroutines, CPU: r.CPU, CycleRate: r.CycleRate, Pause: pause,
	})
	n := min(len(t.points), maxPoints)
	r.Points = t.points[len(t.points)-n : len(t.points) : len(t.points)]
	r.Trouble = trouble(r)
}

// back is the newest kept sample that is at least so old, or the oldest.
func (t *track) back(d time.Duration) *record.Sample {
	all := t.rec.Samples
	now := all[len(all)-1].Time
	for i := len(all) - 2; i >= 0; i-- {
		if now.Sub(all[i].Time) >= d {
			return &all[i]
		}
	}
	return &all[0]
}

// rate is how fast a counter rose between two samples.
func rate(from, to *record.Sample, f record.Field) float64 {
	a, ok1 := from.Value(f)
	b, ok2 := to.Value(f)
	seconds := to.Time.Sub(from.Time).Seconds()
	if !ok1 || !ok2 || seconds <= 0 || b < a {
		return math.NaN()
	}
	return (b - a) / seconds
}

// gcCPU is the collector's share of what the processors did lately; since the start of
// the process when there is one sample only.
func (t *track) gcCPU(s *record.Sample) float64 {
	if len(t.rec.Samples) == 1 {
		return gcCPU(&record.Sample{}, s)
	}
	from := t.back(gcOver)
	switch ratio := gcCPU(from, s); {
	case !math.IsNaN(ratio):
		return ratio
	case from.GCCycles == s.GCCycles && s.Time.Sub(from.Time) >= gcOver:
		return 0 // nothing was collected in all that time
	}
	return t.row.GCCPU
}

// gcCPU is [view.GCShare]; NaN where there is no answer.
func gcCPU(from, to *record.Sample) float64 {
	if gc, _, ok := view.GCShare(from, to); ok {
		return gc
	}
	return math.NaN()
}

// diagnose runs the rules over what is kept.
func (t *track) diagnose() {
	if len(t.rec.Samples) == 0 {
		return
	}
	t.rec.Goroutines = nil
	if g := t.row.Groups; g != nil {
		t.rec.Goroutines = []record.Goroutines{*g}
	}
	var found []diagnose.Finding
	for _, f := range diagnose.Run(&t.rec, diagnose.Options{}) {
		// That there is not enough to go by is no news of a minute.
		if f.ID != notenough.Rule.ID {
			found = append(found, f)
		}
	}
	t.row.Findings = found
	t.row.Trouble = trouble(&t.row)
}
