package agent

import (
	"slices"
	"time"

	"github.com/heapwright/heapwright/record"
)

// A window keeps the near past of a process in little memory: whole samples are 8 KiB
// each, most of it histograms and size classes, of which the rules compare the first
// and the last. So most samples are kept without, and a few with.
type window struct {
	process    record.Process
	span       time.Duration
	lean       []lean           // rising in time
	whole      []*record.Sample // rising in time, never changed
	cycles     []record.Cycle
	events     []record.Event
	goroutines []*record.Goroutines
	profiles   []*record.Profile
}

// What a window keeps at most.
const (
	leanSpacing  = 4 * time.Second // between lean samples older than leanRecent
	leanRecent   = 30 * time.Second
	wholeSpacing = 2 * time.Minute
	maxCycles    = 400
	maxEvents    = 50
)

// A lean is a sample without its histograms and size classes.
type lean struct {
	time   time.Time
	has    record.FieldSet
	values [len(scalars)]int64
	lastGC time.Time
	fill   float64
}

// scalars are the fields that a lean holds as whole numbers.
var scalars = [...]record.Field{
	record.FieldHeapLiveBytes, record.FieldHeapMarkedBytes, record.FieldHeapGoalBytes, record.FieldHeapTriggerBytes,
	record.FieldHeapInUseBytes, record.FieldHeapFreeBytes, record.FieldHeapReleasedBytes, record.FieldHeapObjectsBytes,
	record.FieldTotalAllocBytes, record.FieldTotalFreeBytes, record.FieldAllocObjects, record.FieldFreeObjects,
	record.FieldMappedReadyBytes, record.FieldStackInUseBytes, record.FieldStackScanBytes, record.FieldGlobalsScanBytes,
	record.FieldRuntimeOtherBytes, record.FieldGOGCPercent, record.FieldGOMEMLIMITBytes, record.FieldGCCycles,
	record.FieldGCForced, record.FieldGCPhase, record.FieldPauseTotal, record.FieldCPUGCAssist, record.FieldCPUGCDedicated,
	record.FieldCPUGCIdle, record.FieldCPUGCPause, record.FieldCPUGCTotal, record.FieldCPUScavengeAssist,
	record.FieldCPUScavengeBackground, record.FieldCPUScavengeTotal, record.FieldCPUIdle, record.FieldCPUUser,
	record.FieldCPUTotal, record.FieldLimiterEnabled, record.FieldLimiterLastCycle, record.FieldScavengeGOGCGoalBytes,
	record.FieldScavengeMemlimitGoalBytes, record.FieldGOMAXPROCS, record.FieldThreads, record.FieldIdlePs,
	record.FieldGoroutines, record.FieldRunnable, record.FieldLargeAllocBytes, record.FieldLargeFreeBytes,
	record.FieldTinyAllocs, record.FieldRSSBytes, record.FieldRSSPeakBytes, record.FieldRSSAnonBytes,
	record.FieldRSSFileBytes, record.FieldSwapBytes, record.FieldCPUProcUser, record.FieldCPUProcSystem,
	record.FieldCgroupUsageBytes, record.FieldCgroupLimitBytes, record.FieldCgroupThrottled, record.FieldCgroupPeriods,
	record.FieldCgroupThrottledPeriods, record.FieldCgroupOOMKills, record.FieldPSIMemorySomeStall, record.FieldPSICPUSomeStall,
	record.FieldRSSShmemBytes, record.FieldMajorFaults, record.FieldStopped, record.FieldCgroupAnonBytes, record.FieldCgroupFileBytes,
	record.FieldCgroupShmemBytes, record.FieldCgroupRefaults, record.FieldCgroupReclaimedBytes, record.FieldCgroupCPUQuota,
}

// wide are the fields that a lean leaves out.
var wide = [...]record.Field{
	record.FieldSchedLatency, record.FieldSTWStoppingGC, record.FieldSTWStoppingOther, record.FieldSTWTotalGC,
	record.FieldSTWTotalOther, record.FieldSizeClassAllocs, record.FieldSizeClassFrees,
}

func newLean(s *record.Sample) lean {
	l := lean{time: s.Time, has: s.Has, lastGC: s.LastGC, fill: s.LimiterFillRatio}
	for i, f := range scalars {
		switch p := s.Pointer(f).(type) {
		case *uint64:
			l.values[i] = int64(*p)
		case *int64:
			l.values[i] = *p
		case *time.Duration:
			l.values[i] = int64(*p)
		case *bool:
			if *p {
				l.values[i] = 1
			}
		}
	}
	for _, f := range wide {
		l.has.Remove(f)
	}
	return l
}

func (l *lean) sample(s *record.Sample) {
	*s = record.Sample{Time: l.time, Source: record.SourceRemote, Has: l.has, LastGC: l.lastGC, LimiterFillRatio: l.fill}
	for i, f := range scalars {
		switch p := s.Pointer(f).(type) {
		case *uint64:
			*p = uint64(l.values[i])
		case *int64:
			*p = l.values[i]
		case *time.Duration:
			*p = time.Duration(l.values[i])
		case *bool:
			*p = l.values[i] != 0
		}
	}
}

// add takes a sample, which it copies. A clock that was set back drops what lies ahead of it.
func (w *window) add(s *record.Sample, whole bool) {
	for len(w.lean) > 0 && !w.lean[len(w.lean)-1].time.Before(s.Time) {
		w.lean = w.lean[:len(w.lean)-1]
	}
	for len(w.whole) > 0 && !w.whole[len(w.whole)-1].Time.Before(s.Time) {
		w.whole = w.whole[:len(w.whole)-1]
	}
	oldest := s.Time.Add(-w.span)
	for len(w.lean) > 0 && w.lean[0].time.Before(oldest) {
		w.lean = w.lean[1:]
	}
	w.lean = append(w.lean, newLean(s))
	// One that has become old goes when it is close to the one before it.
	if i := len(w.lean) - 1 - int(leanRecent/time.Second); i > 0 && w.lean[i].time.Sub(w.lean[i-1].time) < leanSpacing {
		w.lean = slices.Delete(w.lean, i, i+1)
	}
	if !whole {
		return
	}
	// The newest whole one is kept, and others wholeSpacing apart.
	if n := len(w.whole); n >= 2 && w.whole[n-1].Time.Sub(w.whole[n-2].Time) < wholeSpacing {
		w.whole = w.whole[:n-1]
	}
	for len(w.whole) > 0 && w.whole[0].Time.Before(oldest) {
		w.whole = w.whole[1:]
	}
	kept := *s
	w.whole = append(slices.Clip(w.whole), &kept)
}

// before is the newest lean sample that is at least so old, nil where there is none.
func (w *window) before(now time.Time, age time.Duration) *lean {
	i, _ := slices.BinarySearchFunc(w.lean, now.Add(-age), func(l lean, at time.Time) int {
		if l.time.After(at) {
			return 1
		}
		return -1
	})
	if i == 0 {
		return nil
	}
	return &w.lean[i-1]
}

func (w *window) addCycles(cs []record.Cycle) {
	w.cycles = append(w.cycles, cs...)
	if over := len(w.cycles) - maxCycles; over > 0 {
		w.cycles = slices.Delete(w.cycles, 0, over)
	}
}

func (w *window) addEvent(e record.Event) {
	w.events = append(w.events, e)
	if over := len(w.events) - maxEvents; over > 0 {
		w.events = slices.Delete(w.events, 0, over)
	}
}

// addSnapshot keeps the snapshot that is oldest inside the window, and the newest.
func (w *window) addSnapshot(at time.Time, g *record.Goroutines, ps []*record.Profile) {
	oldest := at.Add(-w.span)
	if g != nil {
		w.goroutines = ends(append(w.goroutines, g), func(g *record.Goroutines) bool { return g.Time.Before(oldest) })
	}
	w.profiles = append(w.profiles, ps...)
	for _, kind := range []record.ProfileKind{record.ProfileHeap, record.ProfileBlock, record.ProfileMutex} {
		var of []*record.Profile
		for _, p := range w.profiles {
			if p.Kind == kind {
				of = append(of, p)
			}
		}
		keep := ends(slices.Clone(of), func(p *record.Profile) bool { return p.Time.Before(oldest) })
		w.profiles = slices.DeleteFunc(w.profiles, func(p *record.Profile) bool { return p.Kind == kind && !slices.Contains(keep, p) })
	}
}

// ends keeps of what rises in time the last that is not old, and the first such: or the
// last of the old ones, as long as nothing else is as far back.
func ends[T comparable](s []T, old func(T) bool) []T {
	for len(s) > 2 && old(s[1]) {
		s = s[1:]
	}
	if len(s) > 2 {
		s = []T{s[0], s[len(s)-1]}
	}
	return s
}

// recording is what the window holds, as the rules and the twin read it. Its samples lie
// in the given ones where there is room: they are 8 KiB each.
func (w *window) recording(samples []record.Sample) *record.Recording {
	r := &record.Recording{Process: w.process, Cycles: slices.Clone(w.cycles), Events: slices.Clone(w.events)}
	r.Samples = slices.Grow(samples[:0], len(w.lean))[:len(w.lean)]
	next := 0
	for i := range w.lean {
		for next < len(w.whole) && w.whole[next].Time.Before(w.lean[i].time) {
			next++
		}
		if next < len(w.whole) && w.whole[next].Time.Equal(w.lean[i].time) {
			r.Samples[i] = *w.whole[next]
		} else {
			w.lean[i].sample(&r.Samples[i])
		}
	}
	for _, g := range w.goroutines {
		r.Goroutines = append(r.Goroutines, *g)
	}
	for _, p := range w.profiles {
		r.Profiles = append(r.Profiles, *p)
	}
	slices.SortStableFunc(r.Profiles, func(a, b record.Profile) int { return a.Time.Compare(b.Time) })
	return r
}
