package rtmetrics

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/heapwright/heapwright/record"
)

var sink [][]byte

// garbage makes small, tiny and large objects, and some stay alive.
func garbage() {
	for i := range 2000 {
		sink = append(sink[:i%100], make([]byte, 1+i*17%40000))
	}
}

// The names in the table are those of this version of Go; a new version that
// drops one shows here.
func TestMetricsExist(t *testing.T) {
	kinds := map[string]metrics.ValueKind{}
	for _, d := range metrics.All() {
		kinds[d.Name] = d.Kind
	}
	new126 := map[record.Field]bool{record.FieldThreads: true, record.FieldRunnable: true}
	r := NewReader()
	has := map[record.Field]bool{}
	for _, f := range r.fields {
		has[f] = true
	}
	for _, f := range fields {
		if _, ok := kinds[f.metric]; !has[f.field] && (ok || !new126[f.field]) {
			t.Errorf("%s is not read, metric %s", f.field, f.metric)
		}
	}
	if !r.parts {
		t.Errorf("one of %v is not there", parts)
	}
}

// A sample against runtime.ReadMemStats and debug.ReadGCStats. In a process at
// rest they agree exactly but for what the readings themselves allocate.
func TestReadAgreesWithMemStats(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(123))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1 << 40))
	garbage()
	runtime.GC()

	r := NewReader()
	var s record.Sample
	var m runtime.MemStats
	var gc debug.GCStats
	debug.SetGCPercent(-1) // no cycle in between
	debug.ReadGCStats(&gc)
	runtime.ReadMemStats(&m)
	debug.SetGCPercent(123)
	r.Read(&s)
	if s.GCCycles != uint64(m.NumGC) {
		t.Skip("a GC cycle came in between")
	}

	exact := func(f record.Field, want uint64) {
		t.Helper()
		if got, ok := s.Value(f); !ok || got != float64(want) {
			t.Errorf("%s is %v (%v), want exactly %d", f, got, ok, want)
		}
	}
	near := func(f record.Field, want, within uint64) {
		t.Helper()
		got, ok := s.Value(f)
		if !ok || math.Abs(got-float64(want)) > float64(within) {
			t.Errorf("%s is %v (%v), want %d give or take %d", f, got, ok, want, within)
		}
	}
	const little = 256 << 10 // the test's own goings-on between the readings
	exact(record.FieldGCForced, uint64(m.NumForcedGC))
	exact(record.FieldGOGCPercent, 123)
	exact(record.FieldGOMEMLIMITBytes, 1<<40)
	exact(record.FieldGOMAXPROCS, uint64(runtime.GOMAXPROCS(0)))
	exact(record.FieldGoroutines, uint64(runtime.NumGoroutine()))
	if s.PauseTotal != gc.PauseTotal || uint64(s.PauseTotal) != m.PauseTotalNs || !s.LastGC.Equal(gc.LastGC) {
		t.Errorf("pauses %v, last GC %v; debug.ReadGCStats says %v, %v", s.PauseTotal, s.LastGC, gc.PauseTotal, gc.LastGC)
	}
	near(record.FieldHeapInUseBytes, m.HeapInuse, little)
	near(record.FieldHeapFreeBytes, m.HeapIdle-m.HeapReleased, little)
	near(record.FieldHeapReleasedBytes, m.HeapReleased, little)
	near(record.FieldHeapObjectsBytes, m.HeapAlloc, little)
	near(record.FieldTotalAllocBytes, m.TotalAlloc, little)
	near(record.FieldTotalFreeBytes, m.TotalAlloc-m.HeapAlloc, little)
	near(record.FieldAllocObjects, m.Mallocs, 2000)
	near(record.FieldFreeObjects, m.Frees, 2000)
	near(record.FieldStackInUseBytes, m.StackInuse, little)
	near(record.FieldMappedReadyBytes, m.Sys-m.HeapReleased, little)
	near(record.FieldRuntimeOtherBytes, m.MSpanSys+m.MCacheSys+m.BuckHashSys+m.GCSys+m.OtherSys+(m.StackSys-m.StackInuse), little)
	for i, class := range m.BySize {
		if i > 0 && (s.SizeClassAllocs[i] < class.Mallocs || s.SizeClassAllocs[i] > class.Mallocs+500) {
			t.Errorf("size class %d (%d bytes): %d allocated, MemStats says %d", i, class.Size, s.SizeClassAllocs[i], class.Mallocs)
		}
	}
	if s.SizeClassAllocs[0] < 50 || s.LargeAllocBytes < s.SizeClassAllocs[0]*32<<10 || s.LargeAllocBytes > s.TotalAllocBytes {
		t.Errorf("%d large objects of %d bytes together, of %d", s.SizeClassAllocs[0], s.LargeAllocBytes, s.TotalAllocBytes)
	}
	if s.LargeFreeBytes > s.LargeAllocBytes || s.SizeClassFrees[0] > s.SizeClassAllocs[0] {
		t.Error("more large objects were freed than allocated")
	}
	if n := s.STWTotalGC.Count(); n < 2*s.GCCycles {
		t.Errorf("%d pauses in %d cycles", n, s.GCCycles)
	}
	if sum := s.STWTotalGC.Sum(); sum < s.PauseTotal*3/4 {
		t.Errorf("the pauses in the histogram are %v together, the runtime says %v", sum, s.PauseTotal)
	}
	if s.SchedLatency.Count() == 0 || s.CPUTotal <= 0 || s.CPUGCTotal <= 0 {
		t.Error("no scheduling latencies or no CPU time")
	}
	if s.Source != record.SourceRTMetrics || time.Since(s.Time) > time.Minute {
		t.Errorf("source %q, time %v", s.Source, s.Time)
	}
}

func TestReadGOGCOff(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var s record.Sample
	NewReader().Read(&s)
	if s.GOGCPercent != -1 {
		t.Errorf("GOGC=off reads as %d", s.GOGCPercent)
	}
}

// What the source cannot give is told, so that nobody takes it for zero.
func TestMissing(t *testing.T) {
	var s record.Sample
	NewReader().Read(&s)
	for _, f := range []record.Field{record.FieldHeapLiveBytes, record.FieldGCPhase, record.FieldRSSBytes, record.FieldCgroupLimitBytes} {
		if s.Has.Has(f) {
			t.Errorf("%s can't be known in here", f)
		}
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	r := NewReader()
	var s record.Sample
	r.Read(&s)
	if n := testing.AllocsPerRun(100, func() { r.Read(&s) }); n != 0 {
		t.Errorf("Read allocates %v times", n)
	}
}

func TestCycles(t *testing.T) {
	r := NewReader()
	all, _ := r.Cycles(nil)
	for range 3 {
		runtime.GC()
	}
	all, lost := r.Cycles(all)
	if lost != 0 || len(all) < 3 {
		t.Fatalf("%d cycles, %d lost", len(all), lost)
	}
	for i := 1; i < len(all); i++ {
		if all[i].N != all[i-1].N+1 || all[i].End.Before(all[i-1].End) || all[i].Pause <= 0 || all[i].Detail {
			t.Fatalf("after %+v comes %+v", all[i-1], all[i])
		}
	}
	var gc debug.GCStats
	debug.ReadGCStats(&gc)
	if last := all[len(all)-1]; uint64(gc.NumGC) == last.N && (last.Pause != gc.Pause[0] || !last.End.Equal(gc.PauseEnd[0])) {
		t.Errorf("the last cycle is %+v, debug.ReadGCStats says %v, %v", last, gc.Pause[0], gc.PauseEnd[0])
	}

	for range 300 {
		runtime.GC()
	}
	before := all[len(all)-1].N
	all, lost = r.Cycles(all[:0])
	if len(all) != 256 || lost < 300-256 || all[0].N != before+lost+1 {
		t.Errorf("after 300 cycles there are %d, %d lost, from %d, and the last was %d", len(all), lost, all[0].N, before)
	}
}

func BenchmarkRead(b *testing.B) {
	r := NewReader()
	var s record.Sample
	b.ReportAllocs()
	for b.Loop() {
		r.Read(&s)
	}
}

func BenchmarkCycles(b *testing.B) {
	r := NewReader()
	cycles, _ := r.Cycles(nil)
	b.ReportAllocs()
	for b.Loop() {
		cycles, _ = r.Cycles(cycles[:0])
	}
}
