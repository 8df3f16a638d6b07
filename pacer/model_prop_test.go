package pacer

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// reader takes values from fuzzed bytes; what is beyond their end is zero.
type reader []byte

func (r *reader) u64() uint64 {
	var b [8]byte
	*r = (*r)[copy(b[:], *r):]
	return binary.LittleEndian.Uint64(b[:])
}

func (r *reader) i64() int64   { return int64(r.u64()) }
func (r *reader) f64() float64 { return math.Float64frombits(r.u64()) }

func (r *reader) heap() Heap {
	return Heap{Marked: r.u64(), HeapScan: r.u64(), StackScan: r.u64(), Globals: r.u64()}
}

func (r *reader) memory() Memory {
	return Memory{Limit: r.i64(), MappedReady: r.u64(), HeapFree: r.u64(), HeapAlloc: r.u64()}
}

// FuzzModel calls everything with anything: nothing panics, and what must hold of
// any input holds.
func FuzzModel(f *testing.F) {
	word := func(vs ...uint64) (b []byte) {
		for _, v := range vs {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
		return b
	}
	f.Add(word())
	f.Add(word(100<<20, 80<<20, 1<<20, 1<<20, 1<<30, 300<<20, 10<<20, 120<<20, 100, math.Float64bits(.5)))
	f.Add(word(math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64))
	f.Add(word(1<<63, 1<<63, 1<<63, 1<<63, 1<<63, 1<<63, 1<<63, 1<<63, 1<<63, 1<<63))
	all := models(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := reader(b)
		heap, mem, gogc, consMark := r.heap(), r.memory(), r.i64(), r.f64()
		live, triggered, procs := r.u64(), r.u64(), int(r.i64())
		end := CycleEnd{Triggered: triggered, Live: live, ScanWork: r.i64(), Elapsed: time.Duration(r.i64()),
			AssistTime: time.Duration(r.i64()), IdleTime: time.Duration(r.i64()), GOMAXPROCS: procs}
		mark := Mark{Goal: r.u64(), Triggered: triggered, Live: live, HeapScan: r.u64(), MaxStack: r.u64(), Done: r.i64(), Last: heap}
		scavenge := Scavenge{Limit: mem.Limit, HeapGoal: r.u64(), LastHeapGoal: r.u64(), LastHeapInUse: r.u64(),
			HeapRetained: r.u64(), MappedReady: mem.MappedReady, PageSize: r.u64()}
		alloc := Alloc{Released: r.u64(), Growth: r.u64()}
		for _, m := range all {
			p := m.Commit(heap, gogc, consMark, live, live%2 == 0)
			for _, p.Triggered = range []uint64{NoGoal, triggered} {
				trigger, goal := m.Trigger(p, mem)
				if goal != m.Goal(p, mem) {
					t.Errorf("%v: two goals of %+v, %+v", m, p, mem)
				}
				if trigger > goal { // the runtime throws
					t.Errorf("%v: trigger %d beyond the goal %d: %+v, %+v", m, trigger, goal, p, mem)
				}
				if trigger < min(heap.Marked, goal) {
					t.Errorf("%v: trigger %d below the marked heap: %+v, %+v", m, trigger, p, mem)
				}
			}
			if g := m.LimitGoal(mem, heap.Marked); g < heap.Marked {
				t.Errorf("%v: goal %d by the limit below the marked heap: %+v", m, g, mem)
			}
			for _, w := range []Workers{m.Workers(procs, false), m.Workers(procs, true)} {
				if procs > 0 && procs < 1<<20 && (w.Dedicated < 0 || w.IdleMax < 0 || w.Dedicated+int64(w.IdleMax) > int64(procs)+1 ||
					!(w.FractionalUtilization >= 0 && w.FractionalUtilization <= 1)) {
					t.Errorf("%v: %d Ps: %+v", m, procs, w)
				}
			}
			if a := m.Assist(mark, gogc); !(a.WorkPerByte > 0) || !(a.BytesPerWork > 0) {
				t.Errorf("%v: %+v of %+v", m, a, mark)
			}
			end.UtilizationPercent()
			m.NextConsMark(m.NextConsMark(ConsMark{Estimate: consMark}, end), end)
			m.ScavengeOnAlloc(alloc, scavenge, m.ScavengeGoals(scavenge))
		}
	})
}

// FuzzLimiter: whatever happens, the bucket holds between nothing and its capacity.
func FuzzLimiter(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 200, 10, 1, 200, 0, 2, 1, 1, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		l := NewLimiter(2)
		for r := reader(b); len(r) > 0; {
			switch v := r.u64(); v % 4 {
			case 0:
				l = l.Resize(int(v>>2) % 4096)
			case 1:
				l = l.Pause(time.Duration(r.i64()))
			default:
				l = l.Run(time.Duration(v>>20), time.Duration(r.i64()), time.Duration(r.i64()), v%4 == 2)
			}
			if l.Fill > l.Capacity {
				t.Fatalf("overfull: %+v", l)
			}
			if l.Enabled && l.Fill < l.Capacity {
				t.Fatalf("limits though it is not full: %+v", l)
			}
			if f := l.FillRatio(); !(f >= 0 && f <= 1) {
				t.Fatalf("ratio %v of %+v", f, l)
			}
		}
	})
}

func FuzzModelOf(f *testing.F) {
	for _, s := range []string{"go1.26.8", "go1.25.9 X:greenteagc", "go1.26.8-X:heapminimum512kib", "go1.26-devel_0", "go1.", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ModelOf(s)
		if (err != nil) != (m == Model{}) {
			t.Errorf("ModelOf(%q) = %v, %v", s, m, err)
		}
		if err != nil {
			return
		}
		if again, err := ModelOf(m.String()); err != nil || again != m {
			t.Errorf("ModelOf(%q) = %v, whose name is %v, %v", s, m, again, err)
		}
	})
}

// TestModelProperties holds what must be true of processes that can exist: sizes
// below 256 TiB, whose goals do not wrap around.
func TestModelProperties(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	size := func() uint64 { return rnd.Uint64N(1 << rnd.UintN(48)) }
	for range 20000 {
		h := Heap{Marked: size(), HeapScan: size(), StackScan: size() >> 4, Globals: size() >> 8}
		mem := Memory{HeapFree: size(), HeapAlloc: h.Marked + size()}
		mem.MappedReady = mem.HeapFree + mem.HeapAlloc + size()
		mem.Limit = int64(size())
		gogc, consMark := int64(rnd.IntN(1000)), rnd.ExpFloat64()
		higherGOGC, higherLimit := gogc+int64(rnd.IntN(1000)), mem
		higherLimit.Limit += int64(size())
		for _, m := range models(t) {
			p := m.Commit(h, gogc, consMark, h.Marked, rnd.IntN(2) == 0)
			trigger, goal := m.Trigger(p, mem)
			if trigger < h.Marked || trigger > goal {
				t.Fatalf("%v: trigger %d of %+v, %+v is not between the marked heap and the goal %d", m, trigger, p, mem, goal)
			}
			if g := m.Goal(p, higherLimit); g < goal {
				t.Fatalf("%v: a higher limit %d lowers the goal of %+v, %+v from %d to %d", m, higherLimit.Limit, p, mem, goal, g)
			}
			q := m.Commit(h, higherGOGC, consMark, h.Marked, p.MinTrigger == 0)
			if g := m.Goal(q, mem); g < goal && goal != p.MinTrigger {
				t.Fatalf("%v: a higher GOGC lowers the goal of %+v from %d to %d", m, h, goal, g)
			}
			// Of a heap much larger than the minimum, the cycle starts after at least
			// 45/64 of what may be allocated.
			if room := goal - h.Marked; room > 64<<20 && trigger-h.Marked < room/64*45 {
				t.Fatalf("%v: trigger %d of %+v, %+v before 0.7 of the way", m, trigger, p, mem)
			}
		}
	}
	for procs := 1; procs <= 4096; procs++ {
		w := mustModel(t, "go1.26.8").Workers(procs, false)
		took := float64(w.Dedicated) + w.FractionalUtilization*float64(procs)
		want := 0.25 * float64(procs)
		if e := math.Abs(took/want - 1); e > 0.3 || w.FractionalUtilization > 0 && e > 1e-12 || w.FractionalUtilization < 0 {
			t.Fatalf("%d Ps: %+v mark with %v Ps, not %v", procs, w, took, want)
		}
		if int64(w.IdleMax)+w.Dedicated != int64(procs) {
			t.Fatalf("%d Ps: %+v", procs, w)
		}
	}
}

// BenchmarkCycle is all that the model computes for a cycle of a replay.
func BenchmarkCycle(b *testing.B) {
	m := mustModel(b, "go1.26.8")
	h := Heap{Marked: 100 << 20, HeapScan: 60 << 20, StackScan: 1 << 20, Globals: 1 << 20}
	mem := Memory{Limit: 1 << 30, MappedReady: 250 << 20, HeapFree: 20 << 20, HeapAlloc: 200 << 20}
	var c ConsMark
	l := NewLimiter(4)
	b.ReportAllocs()
	for b.Loop() {
		p := m.Commit(h, 100, c.Estimate, h.Marked, false)
		trigger, _ := m.Trigger(p, mem)
		p.Triggered = trigger
		w := m.Workers(4, false)
		a := m.Assist(Mark{Goal: m.Goal(p, mem), Triggered: trigger, Live: trigger, HeapScan: h.HeapScan, MaxStack: 2 << 20, Last: h}, 100)
		end := CycleEnd{Triggered: trigger, Live: trigger + 8<<20, ScanWork: int64(h.ScanWork()), Elapsed: 20 * time.Millisecond,
			AssistTime: time.Duration(a.WorkPerByte), IdleTime: time.Duration(w.IdleMax) * time.Millisecond, GOMAXPROCS: 4}
		c = m.NextConsMark(c, end)
		l = l.Run(time.Second, 0, 0, false).Pause(time.Microsecond).Run(end.Elapsed, end.AssistTime, end.IdleTime, true)
	}
}

func BenchmarkTrigger(b *testing.B) {
	m := mustModel(b, "go1.26.8")
	p := m.Commit(Heap{Marked: 100 << 20, HeapScan: 60 << 20}, 100, 0.2, 100<<20, false)
	mem := Memory{Limit: 1 << 30, MappedReady: 250 << 20, HeapFree: 20 << 20, HeapAlloc: 200 << 20}
	b.ReportAllocs()
	for b.Loop() {
		p.Triggered, _ = m.Trigger(p, mem)
	}
}
