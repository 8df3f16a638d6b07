package agent

import (
	"math"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/cmd/internal/horizon"
	"github.com/heapwright/heapwright/record"
)

// figures are what two samples of a process say of the time between, and what the later
// one says of its memory. What is not known is nil.
type figures struct {
	gcCPU, assist, cycles, alloc, cpu *float64
	limit, headroom, headroomRatio    *float64
	limitKind                         string
	goroutineGrowth                   *float64
	timeToLimit                       *float64 // seconds
	outlook                           *horizon.Outlook
}

func known(v float64, ok bool) *float64 {
	if !ok || math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// forecast sets when memory will reach the limit, from what the window holds. Without a
// container's limit that is when GOMEMLIMIT begins to hurt.
func (f *figures) forecast(rec *record.Recording) {
	f.timeToLimit, f.outlook = nil, nil
	if len(rec.Samples) == 0 || f.limitKind == "host" || f.limitKind == "" {
		return
	}
	o := horizon.Forecast(horizon.Read(rec, time.Time{}), rec.Samples[len(rec.Samples)-1].Time, horizon.Options{})
	if o.Points == 0 {
		return // too little is known yet
	}
	f.outlook = o
	left := o.Left(horizon.Furthest)
	if f.limitKind == "gomemlimit" {
		if left = horizon.Furthest; o.Hurts != nil {
			left = min(left, max(0, o.Hurts.Time.Sub(o.At)))
		}
	}
	f.timeToLimit = known(left.Seconds(), true)
}

// rates sets what the time between two samples says.
func (f *figures) rates(from, to *record.Sample) {
	f.gcCPU, f.assist = gcShares(from, to)
	f.cycles = known(record.Rate(from, to, record.FieldGCCycles))
	f.alloc = known(record.Rate(from, to, record.FieldTotalAllocBytes))
	user, ok := record.Rate(from, to, record.FieldCPUProcUser)
	system, also := record.Rate(from, to, record.FieldCPUProcSystem)
	f.cpu = known(user+system, ok && also)
}

// growth sets how many goroutines more there are than some minutes before, when there is a
// sample that old. A few more of a few are nothing: growth is of fewGoroutines at least.
func (f *figures) growth(before, now *record.Sample) {
	f.goroutineGrowth = nil
	if before == nil {
		return
	}
	was, ok := before.Value(record.FieldGoroutines)
	is, also := now.Value(record.FieldGoroutines)
	f.goroutineGrowth = known(is/max(was, fewGoroutines)-1, ok && also && is >= fewGoroutines)
}

const fewGoroutines = 100

// growthOver is how far back growth looks, or nearly as far as the window goes: so far
// that a leak of a steady pace doubles what was there, and not to the minute in which a
// program starts.
const growthOver = 9 * time.Minute

// gcShares is [view.GCShare]. The runtime moves its numbers at the end of a cycle: when
// none ended the shares are 0, for then nothing was collected.
func gcShares(from, to *record.Sample) (gc, assist *float64) {
	if !to.Time.After(from.Time) {
		return nil, nil // of one sample nothing is known yet
	}
	if g, a, ok := view.GCShare(from, to); ok {
		return known(g, true), known(a, true)
	}
	moved := to.CPUTotal != from.CPUTotal || to.GCCycles != from.GCCycles
	if moved || !from.Has.Has(record.FieldCPUTotal) || !to.Has.Has(record.FieldCPUTotal) || !to.Has.Has(record.FieldGCCycles) {
		return nil, nil
	}
	return new(float64), new(float64)
}

// memory sets what a whole sample says of limit and headroom.
//
// What a process will need is what its heap grows to before the next cycle has done its
// work, stacks and the rest of the runtime, and what is not Go's. The heap grows to the
// goal, where no GOMEMLIMIT inside the limit makes the runtime collect earlier; where one
// does, to what is alive.
func (f *figures) memory(s *record.Sample, host float64) {
	f.limit, f.limitKind, f.headroom, f.headroomRatio = nil, "", nil, nil
	soft, hasSoft := s.Value(record.FieldGOMEMLIMITBytes)
	hasSoft = hasSoft && soft < math.MaxInt64/2
	limit, ok := s.Value(record.FieldCgroupLimitBytes)
	switch {
	case ok && limit > 0 && (host == 0 || limit < host):
		f.limitKind = "container"
	case hasSoft && (host == 0 || soft < host):
		f.limitKind, limit = "gomemlimit", soft
	case host > 0:
		f.limitKind, limit = "host", host
	default:
		return
	}
	f.limit = &limit
	marked, ok1 := s.Value(record.FieldHeapMarkedBytes)
	goal, ok2 := s.Value(record.FieldHeapGoalBytes)
	stacks, ok3 := s.Value(record.FieldStackInUseBytes)
	other, ok4 := s.Value(record.FieldRuntimeOtherBytes)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return
	}
	heap := marked
	if !hasSoft || soft > limit {
		heap = max(goal, marked)
	}
	var foreign float64
	anon, ok := s.Value(record.FieldRSSAnonBytes)
	if ready, also := s.Value(record.FieldMappedReadyBytes); ok && also {
		foreign = max(0, anon-ready)
	}
	// With GOGC=off the goal is beyond all limits, and so is what is needed.
	left := max(limit-heap-stacks-other-foreign, -limit)
	f.headroom, f.headroomRatio = known(left, true), known(left/limit, true)
}
