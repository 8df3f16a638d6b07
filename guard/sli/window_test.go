package sli

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/heapwright/heapwright/record"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// point is a Point at a time in the epoch, with everything known and nothing counted.
func point(at time.Duration, change func(*Point)) *Point {
	p := &Point{HasProcessCPU: true, HasCycleCPU: true, HasGroupPinned: true, HasOwnPinned: true, HasOOMEvents: true, Cores: 4}
	p.Time = epoch.Add(at)
	for f := range record.NumFields {
		p.Has.Add(f)
	}
	p.GOMAXPROCS, p.GOMEMLIMITBytes = 4, math.MaxInt64
	if change != nil {
		change(p)
	}
	return p
}

func with(changes ...func(*Point)) func(*Point) {
	return func(p *Point) {
		for _, c := range changes {
			c(p)
		}
	}
}

func without(fields ...record.Field) func(*Point) {
	return func(p *Point) {
		for _, f := range fields {
			p.Has.Remove(f)
		}
	}
}

const absent = -1.0

func TestWindow(t *testing.T) {
	const mib = 1 << 20
	// 10 s, two of the four cores' worth held by Ps, half of that got from the kernel.
	busy := func(p *Point) {
		p.GCCycles = 5
		p.CPUTotal, p.CPUIdle = 40*time.Second, 20*time.Second
		p.CPUGCTotal, p.CPUGCAssist, p.CPUGCIdle = 8*time.Second, 2*time.Second, 4*time.Second
		p.CycleCPU = 10 * time.Second
	}
	heap := func(p *Point) {
		p.GCCycles = 5
		p.HeapMarkedBytes, p.HeapObjectsBytes, p.HeapFreeBytes, p.MappedReadyBytes = 100*mib, 150*mib, 20*mib, 200*mib
	}
	for _, tt := range []struct {
		name         string
		older, newer func(*Point)
		signal       Signal
		want         float64
	}{
		{"no pause", nil, nil, PauseP99, absent},
		{"a pause", nil, func(p *Point) { p.STWTotalGC.Add(100 * time.Microsecond) }, PauseP99, 114688e-9},
		{"pauses before the window", func(p *Point) { p.STWTotalGC.Add(time.Second) }, func(p *Point) { p.STWTotalGC.Add(time.Second); p.STWTotalGC.Add(0) }, PauseP99, 64e-9},
		{"pauses gone", func(p *Point) { p.STWTotalGC.Add(time.Second) }, func(p *Point) { p.STWTotalGC.Add(0); p.STWTotalGC.Add(1) }, PauseP99, absent},
		{"pauses that overflow", nil, func(p *Point) { p.STWTotalGC.Overflow = 1 }, PauseP99, record.TimeHistogramMax.Seconds()},
		{"pauses not known", nil, with(func(p *Point) { p.STWTotalGC.Add(1) }, without(record.FieldSTWTotalGC)), PauseP99, absent},

		{"never stopped", nil, nil, STWRatio, 0},
		{"stopped", nil, func(p *Point) { p.PauseTotal = time.Second; p.STWTotalOther.Add(0) }, STWRatio, 0.1},
		{"stopped, not exactly", without(record.FieldPauseTotal), func(p *Point) { p.STWTotalGC.Add(1 << 30) }, STWRatio, 1.125 * (1 << 30) / 1e10},
		{"stopped for more than there was", nil, func(p *Point) { p.PauseTotal = time.Minute }, STWRatio, 1},
		{"stopped backwards", func(p *Point) { p.PauseTotal = 1 }, without(record.FieldSTWTotalGC), STWRatio, absent},

		{"GC's share", nil, busy, GCCPURatio, 0.5 * 4 / 40},
		{"assists' share", nil, busy, AssistRatio, 0.5 * 2 / 40},
		{"no idle Ps", nil, with(busy, func(p *Point) { p.CPUIdle = 4 * time.Second; p.CycleCPU = 36 * time.Second }), GCCPURatio, 8.0 / 40},
		{"a quota that is used up", nil, with(busy, func(p *Point) { p.Cores = 1 }), GCCPURatio, 0.5 * 8 / 10},
		{"a quota above GOMAXPROCS", nil, with(busy, func(p *Point) { p.Cores = 9 }), GCCPURatio, 0.5 * 4 / 40},
		{"C code beside Go", nil, with(busy, func(p *Point) { p.CycleCPU = 70 * time.Second }), GCCPURatio, 8.0 / 40},
		{"cores not known", nil, with(busy, func(p *Point) { p.Cores = 0 }), GCCPURatio, absent},
		{"the kernel's account not known", nil, with(busy, func(p *Point) { p.HasCycleCPU = false }), GCCPURatio, absent},
		{"the kernel's account backwards", func(p *Point) { p.CycleCPU = time.Hour }, busy, GCCPURatio, absent},
		{"the runtime's account backwards", func(p *Point) { p.CPUGCTotal = time.Hour }, busy, GCCPURatio, absent},
		{"idle all the time", nil, with(busy, func(p *Point) { p.CPUIdle = 40 * time.Second }), GCCPURatio, absent},
		{"no cycle", nil, nil, GCCPURatio, 0},
		{"no cycle since the start", func(p *Point) { p.GCCycles = 1; p.STWTotalGC.Counts[9] = 2 }, func(p *Point) { p.GCCycles = 1; p.STWTotalGC.Counts[9] = 2 }, AssistRatio, 0},
		{"a cycle began", nil, func(p *Point) { p.STWTotalGC.Add(1) }, GCCPURatio, absent},
		{"a cycle may be running", func(p *Point) { p.STWTotalGC.Add(1) }, func(p *Point) { p.STWTotalGC.Add(1) }, GCCPURatio, absent},

		{"limiter", nil, nil, LimiterOn, 0},
		{"limiter on in a cycle of the window", func(p *Point) { p.GCCycles = 7 }, func(p *Point) { p.GCCycles = 9; p.LimiterLastCycle = 8 }, LimiterOn, 1},
		{"limiter on in the cycle that runs", func(p *Point) { p.GCCycles = 7 }, func(p *Point) { p.GCCycles = 7; p.LimiterLastCycle = 8 }, LimiterOn, 1},
		{"limiter on before", func(p *Point) { p.GCCycles = 7 }, func(p *Point) { p.GCCycles = 9; p.LimiterLastCycle = 7 }, LimiterOn, 0},

		{"latency", nil, func(p *Point) { p.SchedLatency.Add(1 << 20) }, SchedP99, 1.25 * (1 << 20) / 1e9},

		{"of GOMEMLIMIT", nil, with(heap, func(p *Point) { p.GOMEMLIMITBytes = 260 * mib }), GoMemoryRatio, 0.5},
		{"no GOMEMLIMIT", nil, heap, GoMemoryRatio, absent},
		{"GOMEMLIMIT of 0", nil, with(heap, func(p *Point) { p.GOMEMLIMITBytes = 0 }), GoMemoryRatio, absent},
		{"negative GOMEMLIMIT", nil, with(heap, func(p *Point) { p.GOMEMLIMITBytes = -1 }), GoMemoryRatio, absent},
		{"no cycle yet", nil, with(heap, func(p *Point) { p.GCCycles, p.GOMEMLIMITBytes = 0, 260*mib }), GoMemoryRatio, absent},

		{"no limit", nil, heap, MemoryRatio, absent},
		{"with non-Go memory", nil, with(heap, func(p *Point) { p.GroupLimitBytes, p.GroupPinnedBytes = 1000*mib, 300*mib }), MemoryRatio, 0.23},
		{"less is resident than is mapped", nil, with(heap, func(p *Point) { p.GroupLimitBytes, p.GroupPinnedBytes = 1000*mib, 150*mib }), MemoryRatio, 0.13},
		{"never more than is resident", nil, with(heap, func(p *Point) { p.GroupLimitBytes, p.GroupPinnedBytes = 1000*mib, 90*mib }), MemoryRatio, 0.09},
		{"over the limit", nil, with(heap, func(p *Point) { p.GroupLimitBytes, p.GroupPinnedBytes = 100*mib, 300*mib }), MemoryRatio, 2.3},
		{"resident", nil, with(heap, func(p *Point) { p.GroupLimitBytes, p.GroupPinnedBytes = 1000*mib, 300*mib }), ResidentRatio, 0.3},
		{"resident not known", nil, with(heap, func(p *Point) { p.GroupLimitBytes, p.HasGroupPinned = 1000*mib, false }), ResidentRatio, absent},
		{"needed not known", nil, with(heap, func(p *Point) { p.GroupLimitBytes, p.HasGroupPinned = 1000*mib, false }), MemoryRatio, absent},
		{"own limit", nil, with(heap, func(p *Point) { p.OwnLimitBytes, p.OwnPinnedBytes = 1000*mib, 300*mib }), MemoryRatio, 0.23},
		{"own limit, only Go known", nil, with(heap, func(p *Point) { p.OwnLimitBytes, p.HasOwnPinned = 1000*mib, false }), MemoryRatio, 0.13},
		{"the nearer of two limits", nil, with(heap, func(p *Point) {
			p.OwnLimitBytes, p.OwnPinnedBytes = 500*mib, 200*mib
			p.GroupLimitBytes, p.GroupPinnedBytes = 1000*mib, 450*mib
		}), ResidentRatio, 0.45},
		{"the nearer of two limits in need", nil, with(heap, func(p *Point) {
			p.OwnLimitBytes, p.OwnPinnedBytes = 260*mib, 200*mib
			p.GroupLimitBytes, p.GroupPinnedBytes = 1000*mib, 450*mib
		}), MemoryRatio, 0.5},

		{"goroutines", nil, func(p *Point) { p.Goroutines = 9 }, Goroutines, 9},
		{"less than none", nil, func(p *Point) { p.Goroutines = -9 }, Goroutines, absent},
		{"stall", nil, func(p *Point) { p.PSIMemorySomeStall = time.Second }, MemoryStall, 0.1},
		{"stall not known", without(record.FieldPSIMemorySomeStall), nil, MemoryStall, absent},
		{"events", func(p *Point) { p.OOMEvents = 3 }, func(p *Point) { p.OOMEvents = 5 }, OOMEvents, 2},
		{"events of another group", func(p *Point) { p.OOMEvents = 3 }, nil, OOMEvents, absent},
		{"events not known", func(p *Point) { p.HasOOMEvents = false }, nil, OOMEvents, absent},
		{"a window does not tell it", nil, heap, TimeToFull, absent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Window(point(0, tt.older), point(10*time.Second, tt.newer))
			got, ok := r.Get(tt.signal)
			if !ok {
				got = absent
			}
			if math.Abs(got-tt.want) > 1e-8 {
				t.Errorf("%s is %v, want %v", tt.signal, got, tt.want)
			}
			if r.Window != 10*time.Second || !r.Time.Equal(epoch.Add(10*time.Second)) {
				t.Errorf("window of %v to %v", r.Window, r.Time)
			}
		})
	}
}

// A window of no length, or of a clock that went backwards, says what is now and nothing else.
func TestWindowOfNoTime(t *testing.T) {
	for _, at := range []time.Duration{0, -time.Hour} {
		r := Window(point(0, nil), point(at, func(p *Point) { p.STWTotalGC.Add(1); p.Goroutines = 3; p.GCCycles = 4 }))
		var got []Signal
		for s := range r.All {
			got = append(got, s)
		}
		if !slices.Equal(got, []Signal{Goroutines}) || r.Window != 0 || r.Cycles != 0 {
			t.Errorf("%v: %v in a window of %v with %d cycles", at, got, r.Window, r.Cycles)
		}
	}
}

// What a Point without anything says is nothing.
func TestWindowOfNothing(t *testing.T) {
	var older, newer Point
	newer.Time = epoch
	r := Window(&older, &newer)
	for s, v := range r.All {
		t.Errorf("%s is %v", s, v)
	}
}

// Whatever the Points hold, no value is NaN, infinite or negative, and shares are shares.
func TestWindowProperties(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	shares := []Signal{STWRatio, GCCPURatio, AssistRatio, LimiterOn, MemoryStall}
	known := 0
	for range 3000 {
		older, newer := wild(rng), wild(rng)
		r := Window(older, newer)
		for s, v := range r.All {
			known++
			if !(v >= 0) || math.IsInf(v, 0) || (slices.Contains(shares, s) && v > 1) {
				t.Fatalf("%s is %v", s, v)
			}
		}
		if r.Window < 0 {
			t.Fatalf("window of %v", r.Window)
		}
	}
	if known < 3000 {
		t.Errorf("%d values only: nothing is tested", known)
	}
}

// wild returns a Point with anything in it.
func wild(rng *rand.Rand) *Point {
	p := &Point{}
	p.Time = epoch.Add(time.Duration(rng.Int64N(int64(time.Hour))))
	u := func() uint64 {
		switch rng.IntN(4) {
		case 0:
			return 0
		case 1:
			return rng.Uint64()
		}
		return rng.Uint64N(1 << 40)
	}
	for f := range record.NumFields {
		if rng.IntN(20) == 0 {
			continue
		}
		p.Has.Add(f)
		switch v := p.Pointer(f).(type) {
		case *uint64:
			*v = u()
		case *int64:
			*v = int64(u())
		case *time.Duration:
			*v = time.Duration(u())
		case *float64:
			*v = math.NaN()
		case *record.TimeHistogram:
			for range rng.IntN(3) {
				v.Counts[rng.IntN(len(v.Counts))] = u()
			}
			v.Overflow = uint64(rng.IntN(2)) * u()
		}
	}
	flag := func() bool { return rng.IntN(10) > 0 }
	p.ProcessCPU, p.HasProcessCPU = time.Duration(u()), flag()
	p.CycleCPU, p.HasCycleCPU = time.Duration(u()), flag()
	p.Cores = []float64{0, 1, 2.5, math.NaN(), math.Inf(1), -1}[rng.IntN(6)]
	p.GroupLimitBytes, p.GroupPinnedBytes, p.HasGroupPinned = u(), u(), flag()
	p.OwnLimitBytes, p.OwnPinnedBytes, p.HasOwnPinned = u(), u(), flag()
	p.OOMEvents, p.HasOOMEvents = u(), flag()
	return p
}

// The p99 is the upper end of the bucket that the exact one is in.
func TestPauseP99(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		older, newer := point(0, nil), point(time.Second, nil)
		for range rng.IntN(50) { // before the window
			d := time.Duration(math.Exp(rng.Float64() * 25))
			older.STWTotalGC.Add(d)
			newer.STWTotalGC.Add(d)
		}
		pauses := make([]time.Duration, 1+rng.IntN(300))
		for i := range pauses {
			pauses[i] = time.Duration(math.Exp(rng.Float64() * 25)) // up to 72 s
			newer.STWTotalGC.Add(pauses[i])
		}
		slices.Sort(pauses)
		exact := pauses[int(math.Ceil(0.99*float64(len(pauses))))-1]
		r := Window(older, newer)
		got, ok := r.Get(PauseP99)
		if d := exact.Seconds(); !ok || got <= d || got > max(d*1.2501, 64e-9) {
			t.Fatalf("p99 of %d pauses is %v, %t; exactly it is %v", len(pauses), got, ok, exact)
		}
	}
}

func TestReading(t *testing.T) {
	var r Reading
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1} {
		if r.Set("queue", v) || r.Set(PauseP99, v) {
			t.Errorf("%v is taken for a value", v)
		}
	}
	if _, ok := r.Get("queue"); ok {
		t.Error("there is a value that was never set")
	}
	r.Set(Goroutines, 3)
	r.Set("queue", 7)
	r.Set("queue", 8)
	if v, ok := r.Get("queue"); v != 8 || !ok {
		t.Errorf("queue is %v, %t", v, ok)
	}
	for i := range 2 * maxCustom {
		r.Set(Signal(rune('a'+i)), 1)
	}
	n := 0
	for range r.All {
		n++
	}
	if n != maxCustom+1 {
		t.Errorf("%d signals, want %d and one", n, maxCustom)
	}
	for s := range r.All { // ended early
		if s != Goroutines {
			t.Errorf("first is %s", s)
		}
		break
	}
	all := Signals()
	all[0] = "changed"
	if len(all) != 13 || Signals()[0] != PauseP99 {
		t.Error("the list of signals is shared or incomplete")
	}
}

func TestCustom(t *testing.T) {
	for name, tt := range map[string]struct {
		read     func() (float64, bool)
		v        float64
		ok       bool
		panicked any
	}{
		"value":    {func() (float64, bool) { return 7, true }, 7, true, nil},
		"unknown":  {func() (float64, bool) { return 7, false }, 7, false, nil},
		"NaN":      {func() (float64, bool) { return math.NaN(), true }, 0, false, nil},
		"infinite": {func() (float64, bool) { return math.Inf(1), true }, 0, false, nil},
		"negative": {func() (float64, bool) { return -1, true }, 0, false, nil},
		"panics":   {func() (float64, bool) { panic("no") }, 0, false, "no"},
		"nil":      {nil, 0, false, nil},
	} {
		c := Custom{Name: "x", Read: tt.read}
		if v, ok, p := c.Value(); v != tt.v || ok != tt.ok || p != tt.panicked {
			t.Errorf("%s: %v, %t, %v; want %v, %t, %v", name, v, ok, p, tt.v, tt.ok, tt.panicked)
		}
	}
}
