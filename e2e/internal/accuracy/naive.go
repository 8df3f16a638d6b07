package accuracy

import (
	"fmt"
	"math"

	"github.com/heapwright/heapwright/record"
)

// Naive is the forecast that one makes with the formula of the garbage collector's
// guide and nothing else: the heap grows to the goal, and a cycle comes each time
// that the room between what lives and the goal has been allocated. A twin has to
// be better than that.
type Naive struct {
	AllocBytesPerSecond float64
	LiveBytes           float64
	RootBytes           float64
	BesideHeapBytes     float64 // of the runtime's memory
	CycleCPUSeconds     float64
}

// NewNaive reads what the formula needs off a recording; gcCPUCores is the CPU that
// the collector used in it.
func NewNaive(rec *record.Recording, gcCPUCores float64) (Naive, error) {
	first, last := rec.Ends(record.FieldTotalAllocBytes)
	if first == nil || first == last {
		return Naive{}, fmt.Errorf("reading %s: fewer than two samples", rec.Process.Name)
	}
	alloc, ok1 := record.Rate(first, last, record.FieldTotalAllocBytes)
	cycles, ok2 := record.Rate(first, last, record.FieldGCCycles)
	if !ok1 || !ok2 || cycles == 0 {
		return Naive{}, fmt.Errorf("reading %s: it shows no allocation, or no cycle", rec.Process.Name)
	}
	var live, roots, beside []float64
	for i := range rec.Samples {
		s := &rec.Samples[i]
		live = append(live, float64(s.HeapMarkedBytes))
		roots = append(roots, float64(s.StackScanBytes+s.GlobalsScanBytes))
		beside = append(beside, float64(s.MappedReadyBytes)-float64(s.HeapInUseBytes)-float64(s.HeapFreeBytes))
	}
	return Naive{
		AllocBytesPerSecond: alloc, LiveBytes: Quantile(live, 0.5), RootBytes: Quantile(roots, 0.5),
		BesideHeapBytes: Quantile(beside, 0.5), CycleCPUSeconds: gcCPUCores / cycles,
	}, nil
}

// GoalBytes is the heap goal under a setting; a negative GOGC is off.
func (n Naive) GoalBytes(gogc, limit int64) float64 {
	goal := math.Inf(1)
	if gogc >= 0 {
		goal = max(n.LiveBytes+(n.LiveBytes+n.RootBytes)*float64(gogc)/100, 4<<20*float64(gogc)/100)
	}
	if limit < math.MaxInt64 {
		goal = min(goal, float64(limit)-n.BesideHeapBytes)
	}
	return goal
}

// CyclesPerSecond is NaN where the goal leaves no room above what lives: there the
// formula knows nothing.
func (n Naive) CyclesPerSecond(goal float64) float64 {
	if goal <= n.LiveBytes {
		return math.NaN()
	}
	return n.AllocBytesPerSecond / (goal - n.LiveBytes)
}
