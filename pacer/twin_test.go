package pacer

import (
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/heapwright/heapwright/record"
)

// A program is a process whose recording is computed, not taken: it allocates at a
// steady rate, keeps as much alive at all times, and runs on two CPUs.
type program struct {
	alloc   float64 // bytes per second
	live    float64 // bytes, at the beginning
	growth  float64 // of it, bytes per second
	cost    float64 // CPU-seconds of a cycle
	mark    float64 // seconds of a cycle
	beside  float64 // bytes of the runtime beside the heap
	outside float64 // bytes that are not the runtime's
	busy    float64 // CPU cores of the program itself
}

var usual = program{alloc: 80e6, live: 100e6, cost: 0.06, mark: 0.04, beside: 10e6, outside: 15e6, busy: 0.3}

// record runs the program for so long, and takes a sample every 100 ms. Its pacer is
// the simplest: a cycle ends at the goal, and starts as much before as it needs.
func (p program) record(s Settings, seconds float64) *record.Recording {
	const step = 0.1
	epoch := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	at := func(t float64) time.Time { return epoch.Add(time.Duration(t * 1e9)) }
	rec := &record.Recording{Process: record.Process{PID: 4242, Name: "computed", GoVersion: "go1.26.8", HostCPUs: 2}}
	var allocated, gc, rss float64
	marked, began, n := p.live, 0.0, uint64(1)
	goalOf := func(marked float64) float64 {
		goal := math.Inf(1)
		if s.GOGCPercent >= 0 {
			goal = max(marked*(1+float64(s.GOGCPercent)/100), 4<<20*float64(s.GOGCPercent)/100)
		}
		if s.GOMEMLIMITBytes < NoMemoryLimit {
			goal = min(goal, max((float64(s.GOMEMLIMITBytes)-p.beside)*0.97, marked))
		}
		return goal
	}
	next := 0.0
	for next <= seconds {
		goal := goalOf(marked)
		end := began + max((goal-marked)/p.alloc, p.mark)
		for ; next <= seconds && next < end; next += step {
			heap := marked + p.alloc*(next-began)
			rss = max(rss, heap+p.beside+p.outside)
			sample := record.Sample{Time: at(next), Source: record.SourceRemote}
			sample.HeapLiveBytes, sample.HeapMarkedBytes, sample.HeapGoalBytes, sample.HeapTriggerBytes = uint64(heap), uint64(marked), uint64(goal), uint64(goal-p.alloc*p.mark)
			sample.HeapInUseBytes, sample.MappedReadyBytes = uint64(heap), uint64(rss-p.outside)
			sample.HeapFreeBytes = uint64(rss - p.outside - p.beside - heap)
			sample.TotalAllocBytes = 1e9 + uint64(p.alloc*next)
			sample.TotalFreeBytes = sample.TotalAllocBytes - uint64(heap)
			sample.RuntimeOtherBytes, sample.StackInUseBytes = uint64(p.beside-1e6), 1e6
			sample.GOGCPercent, sample.GOMEMLIMITBytes, sample.GOMAXPROCS = s.GOGCPercent, s.GOMEMLIMITBytes, 2
			sample.GCCycles = n - 1
			sample.CPUGCTotal, sample.CPUGCIdle = ns(gc), ns(gc/2)
			sample.CPUTotal, sample.CPUIdle = ns(2*began), ns(max(2*began-p.busy*began-gc, 0))
			sample.CPUUser = ns(p.busy * began)
			sample.CPUProcUser = ns(p.busy*next + gc)
			sample.RSSBytes = uint64(rss)
			for f := range record.NumFields {
				sample.Has.Add(f)
			}
			for _, f := range []record.Field{record.FieldCgroupLimitBytes, record.FieldStackScanBytes} {
				sample.Has.Remove(f)
			}
			rec.Samples = append(rec.Samples, sample)
		}
		if end > seconds {
			break
		}
		grown := p.alloc * p.mark
		heap := marked + p.alloc*(end-began)
		allocated += heap - marked
		live := p.live + p.growth*end
		gc += p.cost
		rec.Cycles = append(rec.Cycles, record.Cycle{
			N: n, End: at(end), Detail: true, Pause: 100 * time.Microsecond, Mark: ns(p.mark), HeapStartBytes: uint64(heap - grown), HeapEndBytes: uint64(heap),
			HeapMarkedBytes: uint64(live + grown), HeapGoalBytes: uint64(goal), Fractional: ns(p.cost / 2), Idle: ns(p.cost / 2), Procs: 2,
		})
		marked, began = live+grown, end
		n++
	}
	return rec
}

func ns(s float64) time.Duration { return time.Duration(s * 1e9) }

func TestForecastsOfAComputedProgram(t *testing.T) {
	twin, err := Fit(usual.record(Settings{GOGCPercent: 100, GOMEMLIMITBytes: NoMemoryLimit}, 60))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Settings{
		{GOGCPercent: 25, GOMEMLIMITBytes: NoMemoryLimit},
		{GOGCPercent: 50, GOMEMLIMITBytes: NoMemoryLimit},
		{GOGCPercent: 100, GOMEMLIMITBytes: NoMemoryLimit},
		{GOGCPercent: 200, GOMEMLIMITBytes: NoMemoryLimit},
		{GOGCPercent: 400, GOMEMLIMITBytes: NoMemoryLimit},
		{GOGCPercent: -1, GOMEMLIMITBytes: 150e6},
		{GOGCPercent: -1, GOMEMLIMITBytes: 250e6},
		{GOGCPercent: 100, GOMEMLIMITBytes: 160e6},
	} {
		o, err := Measure(usual.record(s, 60))
		if err != nil {
			t.Fatal(err)
		}
		f := twin.Forecast(s)
		// The computed pacer has no runway: the model starts its cycles a little early.
		near := func(name string, e Estimate, want, tolerance float64) {
			if math.Abs(e.Estimate/want-1) > tolerance || e.Low > e.Estimate || e.High < e.Estimate {
				t.Errorf("GOGC=%d GOMEMLIMIT=%d: %s is %v, want %v ±%v%%", s.GOGCPercent, s.GOMEMLIMITBytes, name, e, want, 100*tolerance)
			}
		}
		near("cycles per second", f.CyclesPerSecond, o.CyclesPerSecond, 0.20)
		near("GC CPU", f.GCCPUCores, o.GCCPUCores, 0.20)
		near("CPU", f.CPUCores, o.CPUCores, 0.15)
		near("heap peak", f.HeapPeakBytes, o.HeapPeakBytes, 0.07)
		near("heap, median", f.HeapP50Bytes, o.HeapP50Bytes, 0.07)
		near("RSS peak", f.RSSPeakBytes, o.RSSPeakBytes, 0.07)
	}
}

func TestParameters(t *testing.T) {
	twin, err := Fit(usual.record(Settings{GOGCPercent: 100, GOMEMLIMITBytes: NoMemoryLimit}, 60))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		"alloc_bytes_per_second": usual.alloc, "gc_cycle_cpu_seconds": usual.cost, "live_bytes": usual.live, "mark_seconds": usual.mark,
		"mark_alloc_bytes": usual.alloc * usual.mark, "runtime_bytes": usual.beside, "non_go_bytes": usual.outside, "span_slack_ratio": 1,
	}
	seen := 0
	for _, p := range twin.Parameters() {
		w, ok := want[p.Name]
		if !ok {
			continue
		}
		seen++
		if math.Abs(p.Value.Estimate/w-1) > 0.02 {
			t.Errorf("%s = %v, want %v", p.Name, p.Value, w)
		}
	}
	if seen != len(want) {
		t.Errorf("%d of %d parameters are there", seen, len(want))
	}
	if w := twin.Workload(); w.Grows {
		t.Errorf("a steady heap grows: %v", w.LiveGrowthBytesPerSecond)
	}
	if m := twin.Missing(); len(m) != 1 { // stack_scan_bytes is left out
		t.Errorf("missing: %q", m)
	}
}

// TestForcedCyclesStay: what the program asks for is collected under any settings.
func TestForcedCyclesStay(t *testing.T) {
	rec := usual.record(Settings{GOGCPercent: 100, GOMEMLIMITBytes: NoMemoryLimit}, 60)
	for i := range rec.Samples { // two a second
		rec.Samples[i].GCForced = uint64(i / 5)
	}
	twin, err := Fit(rec)
	if err != nil {
		t.Fatal(err)
	}
	f := twin.Forecast(Settings{GOGCPercent: 1000, GOMEMLIMITBytes: NoMemoryLimit})
	if f.CyclesPerSecond.Estimate < 1.8 || f.CyclesPerSecond.Estimate > 2.1 {
		t.Errorf("%v cycles a second, of which the program asks for two", f.CyclesPerSecond)
	}
	if most := usual.live + usual.alloc*(0.5+2*usual.mark); f.HeapPeakBytes.Estimate > 1.1*most {
		t.Errorf("the heap reaches %.4g, and %.4g are allocated between forced cycles", f.HeapPeakBytes.Estimate, most)
	}
}

func TestGrowthIsSeen(t *testing.T) {
	leak := usual
	leak.growth = 1e6
	twin, err := Fit(leak.record(Settings{GOGCPercent: 50, GOMEMLIMITBytes: NoMemoryLimit}, 60))
	if err != nil {
		t.Fatal(err)
	}
	w := twin.Workload()
	if !w.Grows || math.Abs(w.LiveGrowthBytesPerSecond.Estimate/leak.growth-1) > 0.1 {
		t.Errorf("grows %v by %v a second, want %v", w.Grows, w.LiveGrowthBytesPerSecond, leak.growth)
	}
}

func TestStormFloor(t *testing.T) {
	twin, err := Fit(usual.record(Settings{GOGCPercent: 100, GOMEMLIMITBytes: NoMemoryLimit}, 60))
	if err != nil {
		t.Fatal(err)
	}
	// A quarter of two CPUs at 0.06 s a cycle is 8.3 cycles a second: 9.6 MB each,
	// of which 3.2 MB are allocated while marking and stay.
	want := (usual.live+9.6e6+3.2e6)/0.97 + usual.beside
	if f := twin.StormFloorBytes(); math.Abs(f.Estimate/want-1) > 0.05 || f.Low > f.Estimate || f.High < f.Estimate {
		t.Errorf("floor is %v, want %.4g", f, want)
	}
}

// TestStormFloorOfCheapCycles: however little a cycle costs, a limit below what lives
// is in the storm.
func TestStormFloorOfCheapCycles(t *testing.T) {
	cheap := usual
	cheap.cost, cheap.mark = 0.0001, 0.001
	twin, err := Fit(cheap.record(Settings{GOGCPercent: 100, GOMEMLIMITBytes: NoMemoryLimit}, 60))
	if err != nil {
		t.Fatal(err)
	}
	if f := twin.StormFloorBytes(); f.Estimate < cheap.live+cheap.beside {
		t.Errorf("floor is %v, below the %.4g that live and what is beside", f, cheap.live)
	}
}

// TestForecastsAreInOrder: more memory never costs more collection.
func TestForecastsAreInOrder(t *testing.T) {
	twin, err := Fit(usual.record(Settings{GOGCPercent: 100, GOMEMLIMITBytes: NoMemoryLimit}, 60))
	if err != nil {
		t.Fatal(err)
	}
	var byPercent, byLimit []Settings
	for g := int64(10); g <= 1000; g = g*3/2 + 1 {
		byPercent = append(byPercent, Settings{GOGCPercent: g, GOMEMLIMITBytes: NoMemoryLimit, ContainerLimitBytes: 300e6})
	}
	for m := int64(100e6); m < 1e9; m = m * 5 / 4 {
		byLimit = append(byLimit, Settings{GOGCPercent: -1, GOMEMLIMITBytes: m, ContainerLimitBytes: 300e6})
	}
	for _, settings := range [][]Settings{byPercent, byLimit} {
		f := twin.Forecasts(settings)
		for i := range f {
			if !reflect.DeepEqual(f[i], twin.Forecast(settings[i])) {
				t.Fatalf("%+v: two forecasts differ", settings[i])
			}
			checkForecast(t, f[i])
			if i == 0 {
				continue
			}
			a, b := f[i-1], f[i]
			if b.CyclesPerSecond.Estimate > 1.02*a.CyclesPerSecond.Estimate || b.HeapPeakBytes.Estimate < 0.98*a.HeapPeakBytes.Estimate || b.OOMProbability.Estimate < a.OOMProbability.Estimate-0.01 {
				t.Errorf("%+v: %v cycles/s, peak %v, OOM %v; with less memory %v, %v, %v", b.Settings, b.CyclesPerSecond.Estimate, b.HeapPeakBytes.Estimate, b.OOMProbability.Estimate,
					a.CyclesPerSecond.Estimate, a.HeapPeakBytes.Estimate, a.OOMProbability.Estimate)
			}
		}
	}
}

func checkForecast(t *testing.T, f Forecast) {
	t.Helper()
	v := reflect.ValueOf(f)
	for i := range v.NumField() {
		e, ok := v.Field(i).Interface().(Estimate)
		if !ok || math.IsNaN(e.Estimate) {
			continue
		}
		name := v.Type().Field(i).Name
		if !(e.Low <= e.Estimate*(1+1e-9)+1e-12) || !(e.High >= e.Estimate*(1-1e-9)-1e-12) || e.Low < 0 || math.IsInf(e.Estimate, 0) {
			t.Errorf("%+v: %s is %v", f.Settings, name, e)
		}
		if e.Estimate > 1 && (reflect.TypeFor[Forecast]().Field(i).Name == "GCCPURatio" || name == "OOMProbability" || name == "LimiterProbability" || name == "AssistRatio") {
			t.Errorf("%+v: %s is %v", f.Settings, name, e)
		}
	}
}

func TestUnder(t *testing.T) {
	twin, err := Fit(usual.record(Settings{GOGCPercent: 100, GOMEMLIMITBytes: NoMemoryLimit}, 60))
	if err != nil {
		t.Fatal(err)
	}
	other, err := twin.Under("go1.22.12")
	if err != nil {
		t.Fatal(err)
	}
	if len(other.Missing()) != len(twin.Missing())+1 {
		t.Errorf("nothing is said of the other release: %q", other.Missing())
	}
	if _, err := twin.Under("go1.99"); !errors.As(err, new(*UnsupportedError)) {
		t.Errorf("go1.99: %v", err)
	}
}

// TestBadRecordings: an error that says what to do, or a forecast of finite numbers.
func TestBadRecordings(t *testing.T) {
	now := Settings{GOGCPercent: 100, GOMEMLIMITBytes: NoMemoryLimit}
	var short *ShortError
	var unfit *UnfitError
	var unsupported *UnsupportedError
	tests := []struct {
		name   string
		change func(*record.Recording)
		want   any // nil for a twin
	}{
		{"whole", func(*record.Recording) {}, nil},
		{"nothing", func(r *record.Recording) { r.Samples, r.Cycles = nil, nil }, &short},
		{"one sample", func(r *record.Recording) { r.Samples = r.Samples[:1] }, &short},
		{"one second", func(r *record.Recording) { r.Samples, r.Cycles = r.Samples[:10], nil }, &short},
		{"of another pacer", func(r *record.Recording) { r.Process.GoVersion = "go1.19.1" }, &unsupported},
		{"of no version", func(r *record.Recording) { r.Process.GoVersion = "" }, &unsupported},
		{"idle", func(r *record.Recording) {
			r.Cycles = nil
			for i := range r.Samples {
				r.Samples[i].TotalAllocBytes, r.Samples[i].GCCycles = 5, 7
			}
		}, &short},
		{"without cycles", func(r *record.Recording) { r.Cycles = nil }, nil},
		{"cycles without detail", func(r *record.Recording) {
			for i := range r.Cycles {
				c := r.Cycles[i]
				r.Cycles[i] = record.Cycle{N: c.N, End: c.End, Pause: c.Pause}
			}
		}, nil},
		{"cycles alone", func(r *record.Recording) {
			for i := range r.Samples {
				s := &r.Samples[i]
				*s = record.Sample{Time: s.Time, Source: record.SourceGCTrace}
			}
		}, nil},
		{"samples of nothing", func(r *record.Recording) {
			for i := range r.Samples {
				r.Samples[i] = record.Sample{Time: r.Samples[i].Time}
			}
			r.Cycles = nil
		}, &unfit},
		{"a gap of an hour", func(r *record.Recording) {
			shift(r, len(r.Samples)/2, time.Hour)
		}, nil},
		{"a clock set back", func(r *record.Recording) {
			shift(r, len(r.Samples)/2, -10*time.Second)
		}, nil},
		{"counters that fall", func(r *record.Recording) { // a restart that nobody noticed
			for i := len(r.Samples) / 2; i < len(r.Samples); i++ {
				s := &r.Samples[i]
				s.TotalAllocBytes, s.GCCycles, s.CPUGCTotal, s.CPUProcUser = s.TotalAllocBytes/3, s.GCCycles/3, s.CPUGCTotal/3, s.CPUProcUser/3
			}
		}, nil},
		{"garbage", func(r *record.Recording) {
			for i := range r.Samples {
				s := &r.Samples[i]
				s.HeapLiveBytes, s.HeapMarkedBytes, s.HeapGoalBytes, s.RSSBytes = math.MaxUint64-uint64(i), math.MaxUint64, 1, math.MaxUint64
				s.TotalAllocBytes, s.MappedReadyBytes, s.GOMAXPROCS = uint64(i)<<56, math.MaxUint64, math.MinInt64
			}
			for i := range r.Cycles {
				r.Cycles[i].HeapEndBytes, r.Cycles[i].Mark = math.MaxUint64, math.MaxInt64
			}
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := usual.record(now, 30)
			tt.change(rec)
			twin, err := Fit(rec)
			if tt.want != nil {
				if !errors.As(err, tt.want) {
					t.Fatalf("error is %v, want a %T", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []Settings{now, {GOGCPercent: -1, GOMEMLIMITBytes: 1}, {GOGCPercent: 0, GOMEMLIMITBytes: 0}, {GOGCPercent: math.MaxInt64, GOMEMLIMITBytes: NoMemoryLimit, GOMAXPROCS: math.MaxInt32}, {GOGCPercent: -1, GOMEMLIMITBytes: NoMemoryLimit}} {
				checkForecast(t, twin.Forecast(s))
			}
			twin.StormFloorBytes()
			twin.Parameters()
		})
	}
	t.Run("a gap is not time", func(t *testing.T) {
		rec := usual.record(now, 60)
		want, err := Measure(rec)
		if err != nil {
			t.Fatal(err)
		}
		shift(rec, 300, time.Hour)
		got, err := Measure(rec)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(got.CyclesPerSecond/want.CyclesPerSecond-1) > 0.05 || math.Abs(got.Span.Seconds()/want.Span.Seconds()-1) > 0.05 {
			t.Errorf("%v cycles/s over %v with a gap, %v over %v without", got.CyclesPerSecond, got.Span, want.CyclesPerSecond, want.Span)
		}
	})
}

// shift moves all from a sample on.
func shift(r *record.Recording, from int, by time.Duration) {
	since := r.Samples[from].Time
	for i := from; i < len(r.Samples); i++ {
		r.Samples[i].Time = r.Samples[i].Time.Add(by)
	}
	for i := range r.Cycles {
		if !r.Cycles[i].End.Before(since) {
			r.Cycles[i].End = r.Cycles[i].End.Add(by)
		}
	}
}

func FuzzFit(f *testing.F) {
	f.Add(int64(100), int64(NoMemoryLimit), uint8(3), uint64(1<<30), uint64(1))
	f.Add(int64(-1), int64(0), uint8(200), uint64(0), uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, gogc, limit int64, which uint8, a, b uint64) {
		rec := usual.record(Settings{GOGCPercent: 100, GOMEMLIMITBytes: NoMemoryLimit}, 15)
		// One field of some samples is something else, and one of some cycles.
		field := record.Field(int(which) % int(record.NumFields))
		for i := range rec.Samples {
			if i%3 == int(which)%3 {
				s := &rec.Samples[i]
				s.Has.Remove(field)
				s.HeapLiveBytes, s.HeapMarkedBytes, s.TotalAllocBytes, s.MappedReadyBytes, s.HeapInUseBytes = s.HeapLiveBytes^a, s.HeapMarkedBytes^b, s.TotalAllocBytes+a, s.MappedReadyBytes^b, s.HeapInUseBytes^a
				s.GOMAXPROCS, s.CPUGCTotal, s.CPUTotal = int64(a), time.Duration(b), s.CPUTotal+time.Duration(a)
			}
		}
		for i := range rec.Cycles {
			if i%2 == int(which)%2 {
				c := &rec.Cycles[i]
				c.HeapMarkedBytes, c.HeapEndBytes, c.Mark, c.Assist, c.Idle, c.N = c.HeapMarkedBytes^a, c.HeapEndBytes^b, time.Duration(a), time.Duration(b), time.Duration(a^b), c.N+a
			}
		}
		if _, err := Measure(rec); err != nil && !typed(err) {
			t.Errorf("Measure: %v", err)
		}
		twin, err := Fit(rec)
		if err != nil {
			if !typed(err) {
				t.Errorf("Fit: %v", err)
			}
			return
		}
		checkForecast(t, twin.Forecast(Settings{GOGCPercent: gogc, GOMEMLIMITBytes: limit, ContainerLimitBytes: b, GOMAXPROCS: int(a % 1000)}))
	})
}

func typed(err error) bool {
	return errors.As(err, new(*ShortError)) || errors.As(err, new(*UnfitError)) || errors.As(err, new(*UnsupportedError))
}

// BenchmarkGrid is 400 settings over a recording of an hour.
func BenchmarkGrid(b *testing.B) {
	rec := usual.record(Settings{GOGCPercent: 100, GOMEMLIMITBytes: NoMemoryLimit}, 3600)
	twin, err := Fit(rec)
	if err != nil {
		b.Fatal(err)
	}
	var grid []Settings
	for i := range 20 {
		for j := range 20 {
			grid = append(grid, Settings{GOGCPercent: int64(25 * (i + 1)), GOMEMLIMITBytes: int64(130e6 + 20e6*float64(j)), ContainerLimitBytes: 600e6})
		}
	}
	for b.Loop() {
		twin.Forecasts(grid)
	}
	b.ReportMetric(float64(len(grid))*float64(b.N)/b.Elapsed().Seconds(), "settings/s")
}

// BenchmarkManyCycles is one forecast from a recording of a million cycles.
func BenchmarkManyCycles(b *testing.B) {
	rec := usual.record(Settings{GOGCPercent: 100, GOMEMLIMITBytes: NoMemoryLimit}, 60)
	const n = 1_000_000
	first, usualCycle := rec.Samples[0].Time, rec.Cycles[len(rec.Cycles)/2]
	step := rec.Samples[len(rec.Samples)-1].Time.Sub(first) / n
	rec.Cycles = make([]record.Cycle, n)
	for i := range rec.Cycles {
		rec.Cycles[i] = usualCycle
		rec.Cycles[i].N, rec.Cycles[i].End = uint64(i+1), first.Add(time.Duration(i)*step)
	}
	twin, err := Fit(rec)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		twin.Forecast(twin.Current())
	}
}

func BenchmarkFitHour(b *testing.B) {
	rec := usual.record(Settings{GOGCPercent: 100, GOMEMLIMITBytes: NoMemoryLimit}, 3600)
	b.ReportMetric(float64(len(rec.Samples)), "samples")
	for b.Loop() {
		if _, err := Fit(rec); err != nil {
			b.Fatal(err)
		}
	}
}
