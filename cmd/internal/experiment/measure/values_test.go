package measure

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/record"
)

var began = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func ms(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }

// window is ten seconds of a process that collects ten times, read 20 times a second.
func window() Raw {
	const gap = 50 * time.Millisecond
	var raw Raw
	for i := range 201 {
		s := sampleAt(i, time.Duration(i)*gap)
		raw.Points = append(raw.Points, pointOf(&s))
		if i == 0 {
			raw.First = s
		}
		raw.Last = s
	}
	for n := range uint64(10) {
		raw.Cycles = append(raw.Cycles, record.Cycle{N: 101 + n, End: began.Add(ms(float64(n)*1000 + 500)), Pause: ms(0.1 * float64(n+1))})
	}
	raw.CPU, raw.CPUKnown = 5*time.Second, true
	return raw
}

func sampleAt(i int, at time.Duration) record.Sample {
	s := record.Sample{Time: began.Add(at), Source: record.SourceRemote}
	for f := range record.NumFields {
		s.Has.Add(f)
	}
	cycles := uint64((at + 500*time.Millisecond) / time.Second) // at .5, 1.5, ...
	s.GCCycles = 100 + cycles
	s.GOMAXPROCS = 2
	s.HeapMarkedBytes = 10_000_000 + cycles*1_000_000
	s.HeapLiveBytes = s.HeapMarkedBytes + uint64(i)
	s.HeapGoalBytes = 2 * s.HeapMarkedBytes
	s.RSSBytes = 50_000_000
	if i >= 100 {
		s.RSSBytes = 60_000_000
	}
	s.RSSPeakBytes = 70_000_000
	s.CPUTotal = time.Duration(cycles) * 2 * time.Second
	s.CPUGCTotal = time.Duration(cycles) * 100 * time.Millisecond
	s.CPUGCAssist = time.Duration(cycles) * 10 * time.Millisecond
	s.PauseTotal = time.Hour + time.Duration(cycles)*ms(0.55)
	s.CPUProcUser = time.Duration(i) * 20 * time.Millisecond
	s.CPUProcSystem = time.Duration(i) * 5 * time.Millisecond
	s.SizeClassAllocs[5] = uint64(i) * 100_000 // of 48 bytes
	s.TotalAllocBytes = s.SizeClassAllocs[5] * 48
	s.AllocObjects = s.SizeClassAllocs[5]
	for range i {
		for range 5 {
			s.SchedLatency.Add(700) // in [640, 768)
		}
	}
	return s
}

func TestValues(t *testing.T) {
	full := map[string]float64{
		"cpu_seconds_per_request":       0.005,
		"alloc_bytes_per_request":       960_000,
		"alloc_objects_per_request":     20_000,
		"gc_cycles_per_second":          1,
		"gc_cpu_ratio":                  0.05,
		"gc_assist_ratio":               0.005,
		"gc_pause_p50_seconds":          0.0005,
		"stw_seconds_per_minute":        0.033,
		"gc_pauses_over_1ms_per_minute": 0,
		"heap_live_bytes":               15_500_000,
		"heap_goal_bytes":               30_050_000, // it rises somewhere between two readings: half way
		"rss_mean_bytes":                55_025_000,
		"rss_peak_bytes":                60_000_000,
		"sched_latency_p99_seconds":     640e-9 + 0.99*128e-9,
	}
	const gone = -1
	for _, c := range []struct {
		name   string
		change func(*Raw)
		want   map[string]float64 // what differs from full; gone is absent
	}{
		{"whole", func(*Raw) {}, nil},
		{"a longer pause", func(r *Raw) { r.Cycles[3].Pause = 2 * time.Millisecond },
			map[string]float64{"gc_pauses_over_1ms_per_minute": 6, "gc_pause_p50_seconds": 0.0006}},
		{"exactly a millisecond is not over it", func(r *Raw) { r.Cycles[9].Pause = time.Millisecond }, nil},
		{"nine pauses", func(r *Raw) {
			r.Cycles = r.Cycles[:9]
			r.Last.GCCycles--
			r.Last.PauseTotal -= ms(0.55)
			for i := range r.Points {
				r.Points[i].GCCycles = min(r.Points[i].GCCycles, 109)
			}
		}, map[string]float64{"gc_pause_p50_seconds": gone, "gc_cycles_per_second": 0.9, "stw_seconds_per_minute": 0.0297,
			"heap_live_bytes": 15_000_000, "gc_cpu_ratio": 0.9 / 18, "gc_assist_ratio": 0.09 / 18}},
		{"cycles were lost", func(r *Raw) { r.Lost, r.Cycles = 1, r.Cycles[1:] },
			map[string]float64{"gc_pause_p50_seconds": gone, "gc_pauses_over_1ms_per_minute": gone}},
		{"cycles are missing", func(r *Raw) { r.Cycles = r.Cycles[1:] },
			map[string]float64{"gc_pause_p50_seconds": gone, "gc_pauses_over_1ms_per_minute": gone}},
		{"a pause that is none", func(r *Raw) { r.Cycles[0].Pause = -1 },
			map[string]float64{"gc_pause_p50_seconds": gone, "gc_pauses_over_1ms_per_minute": gone}},
		{"no cycle", func(r *Raw) {
			r.Cycles = nil
			r.Last.GCCycles, r.Last.PauseTotal = r.First.GCCycles, r.First.PauseTotal
			for i := range r.Points {
				r.Points[i].GCCycles = r.First.GCCycles
			}
		}, map[string]float64{"gc_cycles_per_second": 0, "stw_seconds_per_minute": 0, "gc_pause_p50_seconds": gone,
			"heap_live_bytes": gone, "gc_cpu_ratio": gone, "gc_assist_ratio": gone}},
		{"one cycle", func(r *Raw) {
			r.Cycles = r.Cycles[:1]
			r.Last.GCCycles, r.Last.PauseTotal = 101, r.First.PauseTotal+ms(0.55)
			for i := range r.Points {
				r.Points[i].GCCycles = min(r.Points[i].GCCycles, 101)
			}
		}, map[string]float64{"gc_cycles_per_second": 0.1, "stw_seconds_per_minute": 0.0033, "gc_pause_p50_seconds": gone,
			"heap_live_bytes": 11_000_000, "gc_cpu_ratio": gone, "gc_assist_ratio": gone}},
		{"other stops", func(r *Raw) {
			r.First.STWTotalOther.Add(time.Hour)
			r.Last.STWTotalOther.Add(time.Hour)
			for range 10 {
				r.Last.STWTotalOther.Add(1 << 20) // of [2^20, 1.25*2^20) ns
			}
		}, map[string]float64{"stw_seconds_per_minute": 0.033 + 10*6*1.125*(1<<20)/1e9}},
		{"Go 1.21 knows no other stops", func(r *Raw) { r.Last.Has.Remove(record.FieldSTWTotalOther) },
			map[string]float64{"stw_seconds_per_minute": gone}},
		{"more stopped than there was time", func(r *Raw) { r.Last.STWTotalOther.Add(time.Hour) },
			map[string]float64{"stw_seconds_per_minute": gone}},
		{"GOGC=off", func(r *Raw) {
			for i := range r.Points {
				r.Points[i].HeapGoalBytes = math.MaxUint64
			}
		}, map[string]float64{"heap_goal_bytes": gone}},
		{"the kernel's mark rose", func(r *Raw) { r.Last.RSSPeakBytes = 80_000_000 },
			map[string]float64{"rss_peak_bytes": 80_000_000}},
		{"RSS is not known at one point", func(r *Raw) { r.Points[7].Has.Remove(record.FieldRSSBytes) },
			map[string]float64{"rss_mean_bytes": gone, "rss_peak_bytes": gone}},
		{"nobody looked for half of the time", func(r *Raw) { r.Points = append(r.Points[:50:50], r.Points[150:]...) },
			map[string]float64{"rss_mean_bytes": gone, "rss_peak_bytes": gone, "heap_goal_bytes": gone, "heap_live_bytes": (11.0 + 12 + 18 + 19 + 20) / 5 * 1e6}},
		{"points of another time", func(r *Raw) { r.Points = r.Points[:100] },
			map[string]float64{"rss_mean_bytes": gone, "rss_peak_bytes": gone, "heap_goal_bytes": gone, "heap_live_bytes": 13_000_000}},
		{"CPU by the kernel's steps", func(r *Raw) { r.CPUKnown = false }, nil},
		{"CPU in too few of them", func(r *Raw) {
			r.CPUKnown = false
			r.Last.CPUProcUser = 900 * time.Millisecond
			r.Last.CPUProcSystem = 90 * time.Millisecond
		}, map[string]float64{"cpu_seconds_per_request": gone}},
		{"no CPU clock and no steps", func(r *Raw) { r.CPUKnown = false; r.First.Has.Remove(record.FieldCPUProcUser) },
			map[string]float64{"cpu_seconds_per_request": gone}},
		{"too little was allocated to say", func(r *Raw) { r.Last.TotalAllocBytes = 500_000 },
			map[string]float64{"alloc_bytes_per_request": gone}},
		{"too few objects", func(r *Raw) { r.Last.AllocObjects = 5000 },
			map[string]float64{"alloc_objects_per_request": gone}},
		{"nothing was counted", func(r *Raw) { r.Last.TotalAllocBytes, r.Last.AllocObjects, r.Last.SizeClassAllocs[5] = 0, 0, 0 },
			map[string]float64{"alloc_bytes_per_request": gone, "alloc_objects_per_request": gone}},
		{"counters went back", func(r *Raw) {
			r.First.TotalAllocBytes, r.First.AllocObjects, r.First.PauseTotal = math.MaxUint64, math.MaxUint64, math.MaxInt64
			r.First.SchedLatency.Counts[5] = math.MaxUint64
		}, map[string]float64{"alloc_bytes_per_request": gone, "alloc_objects_per_request": gone, "stw_seconds_per_minute": gone, "sched_latency_p99_seconds": gone}},
		{"size classes went back", func(r *Raw) { r.First.SizeClassAllocs[9] = 1 },
			map[string]float64{"alloc_bytes_per_request": gone, "alloc_objects_per_request": gone}},
		{"GC CPU above the total", func(r *Raw) {
			for i := range r.Points {
				r.Points[i].CPUGCTotal *= 100
			}
		}, map[string]float64{"gc_cpu_ratio": gone, "gc_assist_ratio": gone}},
		{"too few scheduler latencies", func(r *Raw) {
			r.Last.SchedLatency = record.TimeHistogram{}
			for range 499 {
				r.Last.SchedLatency.Add(700)
			}
		}, map[string]float64{"sched_latency_p99_seconds": gone}},
		{"scheduler latencies off the scale", func(r *Raw) { r.Last.SchedLatency.Overflow = 100 },
			map[string]float64{"sched_latency_p99_seconds": gone}},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := window()
			c.change(&raw)
			got, _, _, _ := Values(raw, 1000, 10)
			for name, want := range full {
				if changed, ok := c.want[name]; ok {
					want = changed
				}
				x, ok := got[name]
				switch {
				case want == gone && ok:
					t.Errorf("%s is %v, want it absent", name, x)
				case want != gone && !ok:
					t.Errorf("%s is absent, want %v", name, want)
				case want != gone && math.Abs(x-want) > 1e-9*math.Abs(want):
					t.Errorf("%s is %v, want %v", name, x, want)
				}
				delete(got, name)
			}
			if len(got) > 0 {
				t.Errorf("there is more: %v", got)
			}
		})
	}
}

// TestValuesOfNoWindow: what is no window has no values.
func TestValuesOfNoWindow(t *testing.T) {
	for name, change := range map[string]func(*Raw){
		"zero":            func(r *Raw) { *r = Raw{} },
		"no length":       func(r *Raw) { r.Last.Time = r.First.Time },
		"backwards":       func(r *Raw) { r.First.Time, r.Last.Time = r.Last.Time, r.First.Time },
		"zero start":      func(r *Raw) { r.First.Time = time.Time{} },
		"cycles go back":  func(r *Raw) { r.First.GCCycles = math.MaxUint64 },
		"another program": func(r *Raw) { r.Last.GCCycles = 3 },
		"no last":         func(r *Raw) { r.Last = record.Sample{} },
	} {
		t.Run(name, func(t *testing.T) {
			raw := window()
			change(&raw)
			if values, pauses, marks, levels := Values(raw, 1000, 10); len(values)+len(pauses)+len(marks)+len(levels) > 0 {
				t.Errorf("got %v, %v, %v, %v", values, pauses, marks, levels)
			}
		})
	}
}

// TestPerRequest: growth is divided by requests only if both are of the same time.
func TestPerRequest(t *testing.T) {
	for _, c := range []struct {
		name     string
		requests uint64
		seconds  float64
		known    bool
	}{
		{"same", 1000, 10, true},
		{"a tail of late answers", 1000, 8.5, true},
		{"the load is a little longer", 1100, 11, true},
		{"hardly any load in it", 1000, 5, false},
		{"the load began before", 1000, 12, false},
		{"no requests", 0, 10, false},
		{"no seconds", 1000, 0, false},
		{"seconds that are no number", 1000, math.NaN(), false},
	} {
		got, _, _, _ := Values(window(), c.requests, c.seconds)
		for _, name := range []string{"cpu_seconds_per_request", "alloc_bytes_per_request", "alloc_objects_per_request"} {
			x, ok := got[name]
			if ok != c.known {
				t.Errorf("%s: %s is known: %v, want %v", c.name, name, ok, c.known)
			}
			// A thousand requests are in the ten seconds of the window, in each.
			if want, _, _, _ := Values(window(), 1000, 10); ok && math.Abs(x/want[name]-1) > 1e-9 {
				t.Errorf("%s: %s is %v, want %v", c.name, name, x, want[name])
			}
		}
		if _, ok := got["gc_cycles_per_second"]; !ok {
			t.Errorf("%s: what is no matter of requests is absent", c.name)
		}
	}
}

// TestPauseQuantiles: each wants five pauses beyond it, and is then the pause of
// that rank.
func TestPauseQuantiles(t *testing.T) {
	for _, c := range []struct {
		cycles        int
		p50, p90, p99 float64 // ms, 0 for absent
	}{
		{9, 0, 0, 0}, {10, 5, 0, 0}, {49, 25, 0, 0}, {50, 25, 45, 0}, {499, 250, 450, 0}, {500, 250, 450, 495},
	} {
		raw := window()
		raw.Cycles = nil
		for i := range c.cycles {
			raw.Cycles = append(raw.Cycles, record.Cycle{N: uint64(101 + i), End: began.Add(time.Second), Pause: time.Duration(c.cycles-i) * time.Millisecond})
		}
		raw.Last.GCCycles = raw.First.GCCycles + uint64(c.cycles)
		got, pauses, marks, _ := Values(raw, 1000, 10)
		for name, want := range map[string]float64{"gc_pause_p50_seconds": c.p50, "gc_pause_p90_seconds": c.p90, "gc_pause_p99_seconds": c.p99} {
			if x, ok := got[name]; ok != (want != 0) || math.Abs(x*1e3-want) > 1e-9 {
				t.Errorf("%d cycles: %s is %v s (there: %v), want %v ms", c.cycles, name, x, ok, want)
			}
		}
		if len(pauses) != c.cycles || len(marks) != c.cycles || !slices.IsSortedFunc(pauses, func(a, b float64) int { return int(math.Copysign(1, b-a)) }) {
			t.Errorf("%d cycles: %d pauses in the order of cycles, %d marks", c.cycles, len(pauses), len(marks))
		}
	}
}

func TestMarksAndLevels(t *testing.T) {
	raw := window()
	raw.Cycles[0].End = began.Add(-time.Hour)      // the wall clock was set
	raw.Cycles[9].End = began.Add(1e6 * time.Hour) //
	raw.Points[200].HeapGoalBytes = math.MaxUint64
	_, pauses, marks, levels := Values(raw, 1000, 10)
	if len(marks) != 10 || marks[0].At != 0 || marks[1] != (experiment.Mark{At: 1.5, Pause: pauses[1]}) || marks[9].At != 10 {
		t.Errorf("marks %v", marks)
	}
	if len(levels) != mostLevels {
		t.Fatalf("%d levels", len(levels))
	}
	if levels[0] != (experiment.Level{At: 0, Live: 10_000_000, Goal: 20_000_000, RSS: 50_000_000}) {
		t.Errorf("first level %v", levels[0])
	}
	if levels[99] != (experiment.Level{At: 10, Live: 20_000_200, Goal: 0, RSS: 60_000_000}) {
		t.Errorf("last level %v", levels[99])
	}
	for i := 1; i < len(levels); i++ {
		if step := levels[i].At - levels[i-1].At; step < 0.05 || step > 0.15+1e-9 {
			t.Errorf("level %d is %v s after the one before", i, step)
		}
	}
}

// TestLag holds the reckoned error of the counters against one that is drawn: each
// cache has counted all but the part of a span that it is in.
func TestLag(t *testing.T) {
	var first, last record.Sample
	for _, f := range []record.Field{record.FieldSizeClassAllocs, record.FieldTinyAllocs, record.FieldGOMAXPROCS} {
		first.Has.Add(f)
		last.Has.Add(f)
	}
	first.GOMAXPROCS, last.GOMAXPROCS = 4, 4
	last.SizeClassAllocs[tinyClass], last.TinyAllocs = 1000, 3000
	last.SizeClassAllocs[33] = 10 // 2 pages
	bytes, objects, ok := lag(&first, &last)
	// 8 caches each; 512 blocks of 4 objects (itself and three tiny ones), 12 objects.
	wantBytes := math.Sqrt(8.0 / 6 * (8192*8192 + 8192*8192*float64(classPages[33])*float64(classPages[33])))
	wantObjects := math.Sqrt(8.0 / 6 * (2048*2048 + math.Pow(8192*float64(classPages[33])/float64(classSize[33]), 2)))
	if !ok || math.Abs(bytes-wantBytes) > 1e-6*wantBytes || math.Abs(objects-wantObjects) > 1e-6*wantObjects {
		t.Errorf("lag %v bytes, %v objects, %v; want %v, %v", bytes, objects, ok, wantBytes, wantObjects)
	}
	last.Has.Remove(record.FieldGOMAXPROCS)
	if _, _, ok := lag(&first, &last); ok {
		t.Error("a lag of nobody knows how many caches")
	}
}

// FuzzValues: whatever a process says of itself, a value is a number of at least
// 0, of a metric that there is, and what is kept is bounded.
func FuzzValues(f *testing.F) {
	f.Add([]byte{}, uint64(1000), 10.0)
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 255, 255, 255, 255, 255, 255, 255, 127}, uint64(1), 1e-300)
	whole := window()
	f.Fuzz(func(t *testing.T, data []byte, requests uint64, seconds float64) {
		raw := whole
		raw.Points, raw.Cycles = slices.Clone(whole.Points), slices.Clone(whole.Cycles)
		// Every nine bytes overwrite a number somewhere.
		for len(data) >= 9 {
			at, x := int(data[0]), binary.LittleEndian.Uint64(data[1:])
			data = data[9:]
			s := &raw.First
			if at >= 128 {
				s = &raw.Last
			}
			if x%5 == 0 {
				s.Has.Remove(record.Field(at % int(record.NumFields)))
			}
			switch p := s.Pointer(record.Field(at % int(record.NumFields))).(type) {
			case *uint64:
				*p = x
			case *int64:
				*p = int64(x)
			case *time.Duration:
				*p = time.Duration(x)
			case *record.TimeHistogram:
				p.Counts[x%record.TimeHistogramBuckets] = x
				p.Underflow, p.Overflow = x>>3, x<<3
			case *[record.NumSizeClasses]uint64:
				p[x%record.NumSizeClasses] = x
			case *time.Time:
				s.Time = time.Unix(0, int64(x))
			case *bool:
				raw.CPUKnown, raw.CPU = x%2 == 0, time.Duration(x)
			}
			q := &raw.Points[at%len(raw.Points)]
			switch x % 8 {
			case 0:
				q.Time = time.Unix(0, int64(x))
			case 1:
				q.GCCycles = x
			case 2:
				q.HeapMarkedBytes, q.HeapGoalBytes = x, ^x
			case 3:
				q.RSSBytes = x
			case 4:
				q.CPUGCTotal, q.CPUGCAssist = time.Duration(x), time.Duration(^x)
			case 5:
				q.CPUTotal = time.Duration(x)
			case 6:
				raw.Cycles[at%10].Pause, raw.Cycles[at%10].End = time.Duration(x), time.Unix(0, int64(x))
			case 7:
				raw.Points = raw.Points[:1+x%uint64(len(raw.Points))]
			}
		}
		values, pauses, marks, levels := Values(raw, requests, seconds)
		for name, x := range values {
			if _, ok := experiment.MetricByName(name); !ok || !(x >= 0) || math.IsInf(x, 0) {
				t.Errorf("%s is %v", name, x)
			}
		}
		for _, p := range pauses {
			if p < 0 || p > raw.Span().Seconds() {
				t.Errorf("a pause of %v s in %v", p, raw.Span())
			}
		}
		for _, m := range marks {
			if m.At < 0 || m.At > raw.Span().Seconds() || m.Pause < 0 {
				t.Errorf("mark %v", m)
			}
		}
		if len(levels) > mostLevels {
			t.Errorf("%d levels", len(levels))
		}
	})
}
