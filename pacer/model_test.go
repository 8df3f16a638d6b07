package pacer

import (
	"errors"
	"math"
	"testing"
	"time"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

func mustModel(t testing.TB, goVersion string) Model {
	t.Helper()
	m, err := ModelOf(goVersion)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// models are all that there are.
func models(t testing.TB) []Model {
	var ms []Model
	for _, v := range []string{"go1.20", "go1.21.0", "go1.22.12", "go1.23.12", "go1.24.13", "go1.25.14", "go1.26.8", "go1.27.4",
		"go1.20.14 X:heapminimum512kib", "go1.27.4-X:heapminimum512kib"} {
		ms = append(ms, mustModel(t, v))
	}
	return ms
}

func TestModelOf(t *testing.T) {
	for _, c := range []struct{ version, want string }{
		{"go1.20", "go1.20"},
		{"go1.20.14", "go1.20"},
		{"go1.21.0", "go1.21"},
		{"go1.26.8", "go1.26"},
		{"go1.26.8-X:nogreenteagc", "go1.26"},
		{"go1.25.9 X:nodwarf5,greenteagc", "go1.25"},
		{"go1.26.8-X:nogreenteagc,heapminimum512kib", "go1.26 X:heapminimum512kib"},
		{"go1.22.12 X:heapminimum512kib", "go1.22 X:heapminimum512kib"},
		{"go1.22.12 X:heapminimum512kib (vendor)", "go1.22 X:heapminimum512kib"},
		{"go1.22.12 X:noheapminimum512kib", "go1.22"},
		{"go1.24.4 (Red Hat 1.24.4-1.el9)", "go1.24"},
		{"go1.24.4-1", "go1.24"},
		{"go1.27.4", "go1.27"},
		{"go1.27.99", "go1.27"},
		{"go1.19.13", ""},
		{"go1.28", ""},
		{"go1.28.0", ""},
		{"go1.284.0", ""},
		{"go1.276", ""},
		{"go2.0", ""},
		{"go1.26rc1", ""},
		{"go1.26-devel_0123456789", ""},
		{"go1.26-devel_0123456789 Tue Jan 1 00:00:00 2030", ""},
		{"devel go1.26-0123456789", ""},
		{"go1.26.", ""},
		{"go1.26.x", ""},
		{"go1.26.-1", ""},
		{"go1.-26", ""},
		{"go1.", ""},
		{"1.26.8", ""},
		{"", ""},
	} {
		m, err := ModelOf(c.version)
		if c.want == "" {
			var u *UnsupportedError
			if !errors.As(err, &u) || u.GoVersion != c.version {
				t.Errorf("ModelOf(%q) = %v, %v, want an UnsupportedError of it", c.version, m, err)
			}
			continue
		}
		if err != nil || m.String() != c.want {
			t.Errorf("ModelOf(%q) = %v, %v, want %v", c.version, m, err, c.want)
		}
	}
}

func TestPercentGoal(t *testing.T) {
	m, small := mustModel(t, "go1.26.8"), mustModel(t, "go1.26.8-X:heapminimum512kib")
	heap := Heap{Marked: 100 * mib, HeapScan: 80 * mib, StackScan: 3 * mib, Globals: mib}
	for _, c := range []struct {
		name string
		m    Model
		heap Heap
		gogc int64
		want uint64
	}{
		{"new process", m, Heap{}, 100, 4 * mib},
		{"new process, small heap", small, Heap{}, 100, 512 * kib},
		{"GOGC raises the minimum", m, Heap{}, 400, 16 * mib},
		{"GOGC lowers it", m, Heap{}, 50, 2 * mib},
		{"roots count", m, heap, 100, 204 * mib},
		{"roots count in part", m, heap, 50, 152 * mib},
		{"divided last", m, Heap{Marked: 4*mib + 1}, 33, 4*mib + 1 + (4*mib+1)*33/100},
		{"GOGC 0", m, heap, 0, 100 * mib},
		{"GOGC 0, empty", m, Heap{}, 0, 0},
		{"off", m, heap, -1, NoGoal},
		{"any negative is off", m, heap, math.MinInt64, NoGoal},
		{"off in a new process", m, Heap{}, -1, NoGoal},
		{"GOGC is an int32", m, Heap{}, math.MaxInt64, 4 * mib * math.MaxInt32 / 100},
		{"huge stacks", m, Heap{Marked: mib, StackScan: 64 * gib}, 100, 2*mib + 64*gib},
		{"wraps around", m, Heap{Marked: 1 << 62}, 1600, 1 << 62}, // 2^62*1600 is 0 modulo 2^64
	} {
		if got := c.m.PercentGoal(c.heap, c.gogc); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestLimitGoal(t *testing.T) {
	const marked = 50 * mib
	m20, m := mustModel(t, "go1.20.14"), mustModel(t, "go1.21.0")
	// 30 MiB are not heap, 10 MiB are free.
	mem := func(limit int64) Memory {
		return Memory{Limit: limit, MappedReady: 100 * mib, HeapFree: 10 * mib, HeapAlloc: 60 * mib}
	}
	for _, c := range []struct {
		name           string
		mem            Memory
		want20, want21 uint64
	}{
		{"3%", mem(1030 * mib), 999 * mib, 1000*mib - 1000*mib/100*3},
		{"3% are less than 1 MiB", mem(100*mib + 30*mib), 99 * mib, 100*mib - 100*mib/100*3},
		{"small", Memory{Limit: 20 * mib, MappedReady: 2 * mib}, marked, marked},
		{"overage counts twice", mem(95 * mib), 95*mib - 35*mib - mib, 60*mib - 60*mib/100*3},
		{"at the live heap", mem(90 * mib), marked, marked},
		{"below the live heap", mem(70 * mib), marked, marked},
		{"1", mem(1), marked, marked},
		{"0", mem(0), marked, marked},
		{"negative is huge", mem(-1), math.MaxUint64 - 31*mib, math.MaxUint64 - 30*mib - (math.MaxUint64-30*mib)/100*3},
		{"none", mem(NoMemoryLimit), NoMemoryLimit - 31*mib, NoMemoryLimit - 30*mib - (NoMemoryLimit-30*mib)/100*3},
		{"counters that do not add up", Memory{Limit: gib, MappedReady: mib, HeapFree: 2 * mib, HeapAlloc: 2 * mib}, gib - mib, gib - gib/100*3},
	} {
		if got := m20.LimitGoal(c.mem, marked); got != c.want20 {
			t.Errorf("1.20: %s: %d, want %d", c.name, got, c.want20)
		}
		if got := m.LimitGoal(c.mem, marked); got != c.want21 {
			t.Errorf("1.21: %s: %d, want %d", c.name, got, c.want21)
		}
	}
	if got := m.LimitGoal(Memory{Limit: 1500 * kib}, 0); got != mib {
		t.Errorf("less than two headrooms above nothing: %d, want the headroom", got)
	}
	if got := m.LimitGoal(Memory{Limit: 20 * mib, MappedReady: 2 * mib}, 0); got != 17*mib {
		t.Errorf("small limit: %d, want 1 MiB of headroom", got)
	}
}

func TestTrigger(t *testing.T) {
	m, small := mustModel(t, "go1.26.8"), mustModel(t, "go1.26.8-X:heapminimum512kib")
	none := Memory{Limit: NoMemoryLimit}
	for _, c := range []struct {
		name          string
		m             Model
		p             Pacing
		mem           Memory
		trigger, goal uint64
	}{
		{"new process", m, Pacing{PercentGoal: 4 * mib, Triggered: NoGoal}, none, 4 * mib / 64 * 61, 4 * mib},
		{"4 MiB below a large goal", m, Pacing{Marked: 100 * mib, PercentGoal: 200 * mib, Triggered: NoGoal}, none, 196 * mib, 200 * mib},
		{"512 KiB below it", small, Pacing{Marked: 100 * mib, PercentGoal: 200 * mib, Triggered: NoGoal}, none, 200*mib - 512*kib, 200 * mib},
		{"by the runway", m, Pacing{Marked: 100 * mib, PercentGoal: 200 * mib, Runway: 20 * mib, Triggered: NoGoal}, none, 180 * mib, 200 * mib},
		{"not before 0.7", m, Pacing{Marked: 100 * mib, PercentGoal: 200 * mib, Runway: 90 * mib, Triggered: NoGoal}, none, 100*mib + 100*mib/64*45, 200 * mib},
		{"runway beyond the goal", m, Pacing{Marked: 100 * mib, PercentGoal: 200 * mib, Runway: math.MaxUint64, Triggered: NoGoal}, none, 100*mib + 100*mib/64*45, 200 * mib},
		{"room to sweep moves both", m, Pacing{Marked: 4 * mib, PercentGoal: 4 * mib, MinTrigger: 5 * mib, Triggered: NoGoal}, none, 5 * mib, 5 * mib},
		{"room to sweep moves the trigger", m, Pacing{Marked: 4 * mib, PercentGoal: 6 * mib, MinTrigger: 5 * mib, Runway: 2 * mib, Triggered: NoGoal}, none, 4*mib + 2*mib/64*45, 6 * mib},
		{"no goal below the start", m, Pacing{Marked: 4 * mib, PercentGoal: 6 * mib, Triggered: 6 * mib}, none, 4*mib + (2*mib+64*kib)/64*61, 6*mib + 64*kib},
		{"GOGC 0", m, Pacing{Marked: 9 * mib, PercentGoal: 9 * mib, Triggered: NoGoal}, none, 9 * mib, 9 * mib},
		{"limit below live", m, Pacing{Marked: 9 * mib, PercentGoal: 18 * mib, MinTrigger: 10 * mib, Triggered: NoGoal}, Memory{Limit: 1}, 9 * mib, 9 * mib},
		{"no room to sweep at the limit", m, Pacing{Marked: 9 * mib, PercentGoal: 18 * mib, MinTrigger: 12 * mib, Triggered: NoGoal}, Memory{Limit: 11 * mib}, 9*mib + 1*mib/64*61, 10 * mib},
	} {
		trigger, goal := c.m.Trigger(c.p, c.mem)
		if trigger != c.trigger || goal != c.goal {
			t.Errorf("%s: %d, %d, want %d, %d", c.name, trigger, goal, c.trigger, c.goal)
		}
		if g := c.m.Goal(c.p, c.mem); g != goal {
			t.Errorf("%s: Goal is %d, not %d", c.name, g, goal)
		}
	}
}

func TestCommit(t *testing.T) {
	m := mustModel(t, "go1.26.8")
	h := Heap{Marked: 100 * mib, HeapScan: 50 * mib, StackScan: mib, Globals: mib}
	want := Pacing{Marked: 100 * mib, PercentGoal: 202 * mib, MinTrigger: 101 * mib, Runway: 78 * mib, Triggered: NoGoal}
	if got := m.Commit(h, 100, 0.5, 100*mib, false); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	want.MinTrigger = 0
	if got := m.Commit(h, 100, 0.5, 100*mib, true); got != want {
		t.Errorf("swept: %+v, want %+v", got, want)
	}
	for _, c := range []struct {
		consMark float64
		want     uint64
	}{
		{0, 0},
		{math.Inf(1), 1 << 63},
		{math.NaN(), 1 << 63},
		{-1, -(3 * 52 * mib) & math.MaxUint64},
	} {
		if got := m.Commit(h, 100, c.consMark, 0, true).Runway; got != c.want {
			t.Errorf("runway at %v: %d, want %d", c.consMark, got, c.want)
		}
	}
}

func TestWorkers(t *testing.T) {
	for _, m := range models(t) {
		for _, c := range []struct {
			procs           int
			dedicated       int64
			fractional      float64
			idle, idleTimed int32
		}{
			{1, 0, 0.25, 1, 1},
			{2, 0, 0.25, 2, 1}, // one of two would be 100% too many
			{3, 0, 0.25, 3, 1}, // 0.75 rounds to 1, 33% too many
			{4, 1, 0, 3, 0},
			{5, 1, 0, 4, 0},
			{6, 1, 0.5 / 6, 5, 0}, // 1.5 rounds to 2, 33% too many
			{7, 2, 0, 5, 0},
			{8, 2, 0, 6, 0},
			{10, 3, 0, 7, 0}, // 2.5 rounds to 3, 20% too many
			{64, 16, 0, 48, 0},
			{0, 0, 0, 0, 1},
		} {
			if got, want := m.Workers(c.procs, false), (Workers{c.dedicated, c.fractional, c.idle}); got != want {
				t.Errorf("%v: %d Ps: %+v, want %+v", m, c.procs, got, want)
			}
			if got, want := m.Workers(c.procs, true), (Workers{c.dedicated, c.fractional, c.idleTimed}); got != want {
				t.Errorf("%v: %d Ps, periodic: %+v, want %+v", m, c.procs, got, want)
			}
		}
	}
}

func TestAssist(t *testing.T) {
	m := mustModel(t, "go1.26.8")
	base := Mark{Goal: 200 * mib, Triggered: 190 * mib, Live: 192 * mib, HeapScan: 100 * mib, MaxStack: 4 * mib,
		Last: Heap{Marked: 100 * mib, HeapScan: 60 * mib, StackScan: 3 * mib, Globals: mib}}
	change := func(f func(*Mark)) Mark { k := base; f(&k); return k }
	for _, c := range []struct {
		name       string
		mark       Mark
		gogc       int64
		work, heap float64
	}{
		{"as expected", base, 100, 64 * mib, 8 * mib},
		{"half done", change(func(k *Mark) { k.Done = 32 * mib }), 100, 32 * mib, 8 * mib},
		{"nearly done", change(func(k *Mark) { k.Done = 64*mib - 1 }), 100, 1000, 8 * mib},
		// All of it is 100+4+1 MiB of 64 expected; the goal is extended by as much.
		{"more than expected", change(func(k *Mark) { k.Done = 65 * mib }), 100, 40 * mib, float64(int64(10.0*mib/(64*mib)*105*mib)) - 2*mib},
		{"not beyond GOGC once more", change(func(k *Mark) { k.Done = 65 * mib; k.HeapScan = 64 * gib }), 10, 64*gib - 60*mib, float64(int64((1+10.0/100)*200*mib)) - 192*mib},
		{"past the goal", change(func(k *Mark) { k.Live = 201 * mib }), 100, 105 * mib, float64(toInt64(200*mib*1.1)) - 201*mib},
		{"past all goals", change(func(k *Mark) { k.Live = gib }), 100, 105 * mib, 1},
		{"GOGC off may extend by 1000", change(func(k *Mark) { k.Done = 65 * mib; k.HeapScan = 64 * gib }), -1, 64*gib - 60*mib,
			float64(toInt64(10.0*mib/(64*mib)*(64*gib+5*mib))) - 2*mib},
	} {
		got := m.Assist(c.mark, c.gogc)
		if want := (Assist{c.work / c.heap, c.heap / c.work}); got != want {
			t.Errorf("%s: %v, want %v", c.name, got, want)
		}
	}
}

func TestNextConsMark(t *testing.T) {
	m20, m := mustModel(t, "go1.20.14"), mustModel(t, "go1.21.0")
	// 25% in the background, 8 MiB allocated for 16 MiB scanned: 8*.25/(16*.75).
	end := CycleEnd{Triggered: 8 * mib, Live: 16 * mib, ScanWork: 16 * mib, Elapsed: 10 * time.Millisecond, GOMAXPROCS: 4}
	const one = 8 * 0.25 / (16 * 0.75)
	if got := m.NextConsMark(ConsMark{}, end); got != (ConsMark{one, [4]float64{3: one}}) {
		t.Errorf("first: %v", got)
	}
	if got := m20.NextConsMark(ConsMark{}, end); got != (ConsMark{one / 2, [4]float64{3: one}}) {
		t.Errorf("1.20, first: %v", got)
	}
	if got := m.NextConsMark(ConsMark{Estimate: 7, Last: [4]float64{.1, .5, .2, .3}}, end); got != (ConsMark{.5, [4]float64{.5, .2, .3, one}}) {
		t.Errorf("largest: %v", got)
	}
	if got := m20.NextConsMark(ConsMark{Estimate: 7, Last: [4]float64{3: .3}}, end); got != (ConsMark{(.3 + one) / 2, [4]float64{3: one}}) {
		t.Errorf("1.20, mean: %v", got)
	}
	end.AssistTime, end.IdleTime = 4*time.Millisecond, 8*time.Millisecond // of 40: 10% and 20%
	u, idle := 0.25+0.1, 0.2
	busy := float64(8*mib) * (u + idle) / (float64(16*mib) * (1 - u))
	if got := m.NextConsMark(ConsMark{}, end); got.Estimate != busy {
		t.Errorf("with assists and idle workers: %v, want %v", got.Estimate, busy)
	}
	if got := end.UtilizationPercent(); got != 35 {
		t.Errorf("utilization: %d%%", got)
	}
	end.Live = end.Triggered
	if c := (ConsMark{Estimate: 3, Last: [4]float64{1, 2, 3, 4}}); m.NextConsMark(c, end) != c {
		t.Error("learned from a cycle without allocation")
	}
}

func TestLimiter(t *testing.T) {
	const ms = time.Millisecond
	l := NewLimiter(2)
	if l != (Limiter{Capacity: 2e9}) {
		t.Fatalf("new: %+v", l)
	}
	step := func(name string, got Limiter, fill uint64, enabled bool) {
		t.Helper()
		if l = got; l.Fill != fill || l.Enabled != enabled {
			t.Fatalf("%s: %+v, want %d, %v", name, l, fill, enabled)
		}
	}
	step("the program alone", l.Run(100*ms, 0, 0, false), 0, false)
	step("the program while 25% mark", l.Run(100*ms, 0, 0, true), 0, false)
	step("a pause", l.Pause(10*ms), 20e6, false)
	// 200 ms of P time: 50 background, 100 assists, 50 program.
	step("assists", l.Run(100*ms, 100*ms, 0, true), 120e6, false)
	// 50 background, 50 assists, 100 idle: no program at all.
	step("idle", l.Run(100*ms, 50*ms, 100*ms, true), 220e6, false)
	step("half", l.Run(100*ms, 50*ms, 0, true), 220e6, false)
	step("drains", l.Run(60*ms, 0, 0, false), 100e6, false)
	step("time went backwards", l.Run(-ms, 0, 0, false), 100e6, false)
	step("pause went backwards", l.Pause(-ms), 100e6, false)
	step("full", l.Pause(950*ms), 2e9, true)
	step("overflows", l.Pause(50*ms), 2e9, true)
	if l.Overflow != 100e6 || l.FillRatio() != 1 {
		t.Fatalf("overflow %d, ratio %v", l.Overflow, l.FillRatio())
	}
	step("stays at half", l.Run(100*ms, 50*ms, 0, true), 2e9, true)
	step("no longer full", l.Run(ms, 0, 0, false), 2e9-2e6, false)
	step("fewer Ps", l.Resize(1), 1e9, true)
	step("more Ps", l.Resize(4), 1e9, false)
	if l.FillRatio() != 0.25 {
		t.Fatalf("ratio %v", l.FillRatio())
	}
	step("exactly as many as fit", l.Resize(1), 1e9, false) // full, and not enabled: as in the runtime
	if NewLimiter(-1) != (Limiter{}) || NewLimiter(0).FillRatio() != 0 {
		t.Fatal("limiter without Ps")
	}
}

func TestScavenge(t *testing.T) {
	m21, m := mustModel(t, "go1.21.13"), mustModel(t, "go1.22.0")
	s := Scavenge{Limit: 100 * mib, HeapGoal: 80 * mib, LastHeapGoal: 40 * mib, LastHeapInUse: 30 * mib,
		HeapRetained: 96 * mib, MappedReady: 96 * mib, PageSize: 4096}
	page := func(b uint64) uint64 { return (b + 4095) &^ 4095 }
	goals := func(heap, mapped uint64) ScavengeGoals { return ScavengeGoals{heap, mapped} }
	for _, c := range []struct {
		name string
		m    Model
		s    func(*Scavenge)
		want ScavengeGoals
	}{
		{"both", m, func(*Scavenge) {}, goals(page(66*mib), 95*mib)},
		{"1.21 compares with 95 times the limit", m21, func(*Scavenge) {}, goals(page(66*mib), NoGoal)},
		{"before the first cycle", m, func(s *Scavenge) { s.LastHeapGoal = 0 }, goals(NoGoal, 95*mib)},
		{"little to return", m, func(s *Scavenge) { s.HeapRetained = 66*mib + 4095 }, goals(NoGoal, 95*mib)},
		{"a page to return", m, func(s *Scavenge) { s.HeapRetained = 66*mib + 4096 }, goals(66*mib, 95*mib)},
		{"at 95%", m, func(s *Scavenge) { s.MappedReady = 95 * mib }, goals(page(66*mib), NoGoal)},
		{"no limit", m, func(s *Scavenge) { s.Limit = NoMemoryLimit }, goals(page(66*mib), NoGoal)},
		{"1.21, no limit", m21, func(s *Scavenge) { s.Limit = NoMemoryLimit }, goals(page(66*mib), NoGoal)},
	} {
		s := s
		c.s(&s)
		if got := c.m.ScavengeGoals(s); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	for _, c := range []struct {
		name string
		a    Alloc
		g    ScavengeGoals
		want uint64
	}{
		{"all beyond the limit", Alloc{Released: 10 * mib}, goals(NoGoal, NoGoal), 6 * mib},
		{"below the limit", Alloc{Released: 4 * mib}, goals(NoGoal, NoGoal), 0},
		{"not while limited", Alloc{Released: 10 * mib, Limiting: true}, goals(NoGoal, NoGoal), 0},
		{"growth beyond the goal", Alloc{Growth: 4 * mib}, goals(98*mib, NoGoal), 2 * mib},
		{"no more than growth", Alloc{Growth: 4 * mib}, goals(66*mib, NoGoal), 4 * mib},
		{"the larger", Alloc{Released: 10 * mib, Growth: 4 * mib}, goals(66*mib, NoGoal), 6 * mib},
		{"no growth", Alloc{}, goals(66*mib, NoGoal), 0},
	} {
		if got := m.ScavengeOnAlloc(c.a, s, c.g); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
