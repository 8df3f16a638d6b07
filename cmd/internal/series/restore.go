package series

import (
	"math"
	"time"

	"github.com/heapwright/heapwright/record"
)

// Restore sets what values of one instant, by the names of their series, say of a
// sample: what FromSample did, backwards. Where two fields were added, the first gets the
// sum and the second nothing, unless the second has a series of its own. Histograms are
// not restored: too much of them was left out. Values that cannot be are left alone.
func Restore(s *record.Sample, values map[string]float64) {
	for i := range sampled {
		d := &sampled[i]
		v, ok := values[d.Name]
		if !ok || math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		f := d.from.fields
		if len(f) == 2 {
			if second, own := values[ownName[f[1]]]; own {
				v -= second
			} else {
				set(s, f[1], 0)
			}
		}
		set(s, f[0], v)
	}
}

// ownName is the series that has a field alone.
var ownName = func() map[record.Field]string {
	m := map[record.Field]string{}
	for i := range sampled {
		if f := sampled[i].from.fields; len(f) == 1 {
			m[f[0]] = sampled[i].Name
		}
	}
	return m
}()

func set(s *record.Sample, f record.Field, v float64) {
	switch p := s.Pointer(f).(type) {
	case *uint64:
		*p = uint64(min(max(v, 0), 1<<63))
	case *int64:
		switch {
		case f == record.FieldGOGCPercent && v >= 1<<63:
			*p = -1 // off
		case v >= 1<<63:
			*p = math.MaxInt64
		default:
			*p = int64(max(v, -1<<63))
		}
	case *float64:
		*p = v
	case *time.Duration:
		*p = time.Duration(min(max(v, 0), 9e9) * float64(time.Second))
	case *bool:
		*p = v != 0
	default:
		return
	}
	s.Has.Add(f)
}

// RestoreCycle is what values of one instant, by the names of their series, say of the
// GC cycle that ended then; false when they do not say which it is.
func RestoreCycle(end time.Time, values map[string]float64) (record.Cycle, bool) {
	v := func(name string) float64 {
		x := values[cyclePrefix+name]
		if math.IsNaN(x) || x < 0 {
			return 0
		}
		return min(x, 1<<62)
	}
	duration := func(name string) time.Duration { return time.Duration(min(v(name), 9e9) * float64(time.Second)) }
	c := record.Cycle{N: uint64(v("number")), End: end, Pause: duration("pause_seconds")}
	if c.N == 0 {
		return c, false
	}
	if _, c.Detail = values[cyclePrefix+"mark_seconds"]; !c.Detail {
		return c, true
	}
	c.Forced, c.Procs = v("forced") != 0, int(min(v("procs"), 1<<20))
	c.SweepTermination, c.Mark, c.MarkTermination = duration("sweep_termination_seconds"), duration("mark_seconds"), duration("mark_termination_seconds")
	c.HeapStartBytes, c.HeapEndBytes, c.HeapMarkedBytes = uint64(v("heap_start_bytes")), uint64(v("heap_end_bytes")), uint64(v("heap_marked_bytes"))
	c.HeapGoalBytes, c.StackScanBytes, c.GlobalsScanBytes = uint64(v("heap_goal_bytes")), uint64(v("stack_scan_bytes")), uint64(v("globals_scan_bytes"))
	c.Assist, c.Dedicated = duration("assist_cpu_seconds"), duration("dedicated_cpu_seconds")
	c.Fractional, c.Idle = duration("fractional_cpu_seconds"), duration("idle_cpu_seconds")
	return c, true
}

const cyclePrefix = "heapwright_gc_cycle_"
