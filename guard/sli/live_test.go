package sli

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

var sink [][]byte

// churn makes garbage for as long as more reports true.
func churn(more func() bool) {
	for i := 0; more(); i++ {
		sink = append(sink[:i%2000], make([]byte, 1+i*17%4000))
	}
}

func newTestSource(t testing.TB, o Options) *Source {
	t.Helper()
	s, err := NewSource(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Pauses and cycles of a real process against what debug.ReadGCStats says of each.
func TestTruthPauses(t *testing.T) {
	s := newTestSource(t, Options{})
	var older, newer Point
	var before, after debug.GCStats
	runtime.GC()
	debug.ReadGCStats(&before)
	s.Read(&older)
	n := 0
	churn(func() bool {
		if n++; n%1000 == 0 {
			s.Read(&newer) // as the guard does: it finds the CPU time of cycles
		}
		return n%1000 != 0 || newer.GCCycles < older.GCCycles+20
	})
	debug.SetGCPercent(debug.SetGCPercent(-1)) // waits for a running cycle's end
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	s.Read(&newer)
	debug.ReadGCStats(&after)
	r := Window(&older, &newer)

	cycles := uint64(after.NumGC - before.NumGC)
	if r.Cycles != cycles {
		t.Skipf("a cycle ended between the readings: %d and %d", r.Cycles, cycles)
	}
	pauses := after.PauseTotal - before.PauseTotal
	stw, ok := r.Get(STWRatio)
	if want := pauses.Seconds() / r.Window.Seconds(); !ok || stw < want*0.999 {
		t.Errorf("stopped for %v of the window, %t; GC's pauses alone are %v of it", stw, ok, want)
	}
	// A cycle's pause is the sum of its two stops, so no single one is longer than the longest
	// cycle's, and of the longest cycle's one is half of that at least.
	var longest time.Duration
	for _, p := range after.Pause[:min(cycles, uint64(len(after.Pause)))] {
		longest = max(longest, p)
	}
	p99, ok := r.Get(PauseP99)
	if low, high := longest.Seconds()/2, longest.Seconds()*1.26; !ok || p99 < low && cycles < 50 || p99 > high { // of 50 cycles' 100 stops p99 is not the longest
		t.Errorf("p99 of the pauses is %v, %t; the longest cycle's pauses are %v", p99, ok, longest)
	}
	// Where others take the CPU the limiter may come on: it goes by the time that has passed.
	limited := []metrics.Sample{{Name: "/gc/limiter/last-enabled:gc-cycle"}}
	metrics.Read(limited)
	limiter, ok := r.Get(LimiterOn)
	if on := limited[0].Value.Uint64() > older.GCCycles; !ok || (limiter == 1) != on {
		t.Errorf("limiter %v, %t; the runtime says %t", limiter, ok, on)
	}
	if n, ok := r.Get(Goroutines); !ok || n < 1 || n > float64(runtime.NumGoroutine()+10) {
		t.Errorf("%v goroutines, %t", n, ok)
	}
}

// GC's CPU share of a real process: not above the process's CPU share, and not zero when all it
// does is to make garbage.
func TestTruthCPU(t *testing.T) {
	if runtime.GOOS == "js" || runtime.GOOS == "wasip1" {
		t.Skip("the system does not say how much CPU a process used")
	}
	s := newTestSource(t, Options{})
	var older, newer Point
	read := func(p *Point, cycles uint64) {
		n := 0
		churn(func() bool {
			if n++; n%1000 == 0 {
				s.Read(p)
			}
			return n%1000 != 0 || p.GCCycles < cycles || !p.HasCycleCPU
		})
	}
	runtime.GC()
	read(&older, 0)
	read(&newer, older.GCCycles+50)
	r := Window(&older, &newer)
	gc, ok1 := r.Get(GCCPURatio)
	assist, ok2 := r.Get(AssistRatio)
	if !ok1 || !ok2 || !(gc > 0) || assist > gc {
		t.Fatalf("GC's share %v, %t; assists' %v, %t", gc, ok1, assist, ok2)
	}
	// By the kernel, over the same cycles: P-time available is the time between them.
	wall := (newer.CPUTotal - older.CPUTotal).Seconds() / float64(newer.GOMAXPROCS)
	used := (newer.CycleCPU - older.CycleCPU).Seconds() / (wall * newer.Cores)
	if gc > used*1.001 {
		t.Errorf("GC's share %v is more than the process's %v", gc, used)
	}
	raw := (newer.CPUGCTotal - older.CPUGCTotal).Seconds() / (newer.CPUTotal - older.CPUTotal).Seconds()
	t.Logf("GC's share %.3f (uncorrected %.3f), assists' %.3f, the process's %.3f", gc, raw, assist, used)
}

// The memory that is needed, of a real process with a known live heap.
func TestTruthMemory(t *testing.T) {
	const live, garbage = 64 << 20, 64 << 20
	limit := uint64(1 << 30)
	s := newTestSource(t, Options{Limit: func() uint64 { return limit }})
	held := make([]byte, live)
	for i := 0; i < len(held); i += 4096 {
		held[i] = 1
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	runtime.GC()
	waste := make([]byte, garbage)
	for i := 0; i < len(waste); i += 4096 {
		waste[i] = 1
	}
	var p Point
	s.Read(&p)
	runtime.KeepAlive(waste)
	r := Window(&p, &p)
	needed, ok := r.Get(MemoryRatio)
	resident, ok2 := r.Get(ResidentRatio)
	if !ok || needed*float64(limit) < live {
		t.Errorf("%v of the limit is needed, %t; %d bytes are alive", needed, ok, live)
	}
	// The race detector's memory is in both.
	if runtime.GOOS == "linux" && (!ok2 || (resident-needed)*float64(limit) < garbage*0.9) {
		t.Errorf("%v of the limit is resident, %t, and %v is needed; %d bytes are garbage", resident, ok2, needed, garbage)
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(256 << 20))
	s.Read(&p)
	r = Window(&p, &p)
	if v, ok := r.Get(GoMemoryRatio); !ok || v < 0.25 || v > 0.5 {
		t.Errorf("%v of GOMEMLIMIT is needed, %t; 64 of 256 MiB are alive", v, ok)
	}
	runtime.KeepAlive(held)
}

func TestReadDoesNotAllocate(t *testing.T) {
	s := newTestSource(t, Options{Limit: func() uint64 { return 1 << 30 }})
	ring := NewRing(16, time.Hour)
	for range 20 {
		ring.Read(s)
	}
	if n := testing.AllocsPerRun(100, func() { ring.Read(s) }); n != 0 {
		t.Errorf("Read allocates %v times", n)
	}
	if n := testing.AllocsPerRun(10, func() { ring.Window(time.Second) }); n != 0 {
		t.Errorf("Window allocates %v times", n)
	}
}

func BenchmarkRead(b *testing.B) {
	s := newTestSource(b, Options{})
	ring := NewRing(256, time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		ring.Read(s)
	}
}

func BenchmarkWindow(b *testing.B) {
	s := newTestSource(b, Options{})
	ring := NewRing(256, time.Hour)
	for range 512 {
		ring.Read(s)
	}
	b.ReportAllocs()
	for b.Loop() {
		ring.Window(time.Microsecond)
	}
}
