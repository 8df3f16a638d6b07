package profile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/layout"
	"github.com/heapwright/heapwright/cmd/internal/pclntab"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/profile"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
)

// A fake is a runtime over any memory.
type fake struct {
	*targettest.Target
	mem     procmem.Memory
	table   *pclntab.Table
	globals map[string]uint64
}

func (f *fake) Memory() procmem.Memory { return f.mem }
func (f *fake) Layout() *layout.Layout { return f.Target.Layout() }

func (f *fake) Table() *pclntab.Table {
	if f.table != nil {
		return f.table
	}
	return f.Target.Table()
}

func (f *fake) Global(s string) (uint64, bool) {
	if a, ok := f.globals[s]; ok {
		return a, a != 0
	}
	return f.Target.Global(s)
}

// A patched memory is a process's, with some words changed.
type patched struct {
	procmem.Memory
	words map[uint64]uint64
}

func (p *patched) Read(addr uint64, buf []byte) error {
	if err := p.Memory.Read(addr, buf); err != nil {
		return err
	}
	p.patch(addr, buf)
	return nil
}

func (p *patched) patch(addr uint64, buf []byte) {
	for at, v := range p.words {
		var w [8]byte
		binary.LittleEndian.PutUint64(w[:], v)
		for i, b := range w {
			if off := at + uint64(i) - addr; off < uint64(len(buf)) {
				buf[off] = b
			}
		}
	}
}

func (p *patched) ReadBatch(reqs []procmem.Request) (int, error) {
	n, err := p.Memory.ReadBatch(reqs)
	for _, r := range reqs[:n] {
		p.patch(r.Addr, r.Buf)
	}
	return n, err
}

func word(t testing.TB, mem procmem.Memory, addr uint64) uint64 {
	t.Helper()
	var b [8]byte
	if err := mem.Read(addr, b[:]); err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.Uint64(b[:])
}

func field(t testing.TB, tg *targettest.Target, name string) uint64 {
	t.Helper()
	f, ok := tg.Layout().Field(name)
	if !ok {
		t.Fatalf("no field %s", name)
	}
	return uint64(f.Off)
}

func global(t testing.TB, tg *targettest.Target, name string) uint64 {
	t.Helper()
	a, ok := tg.Global(name)
	if !ok {
		t.Fatalf("no symbol %s", name)
	}
	return a
}

// TestHostileGoroutines lies about one thing at a time.
func TestHostileGoroutines(t *testing.T) {
	tg := start(t, targettest.Local)
	mem := tg.Memory()
	honest := take(t, tg)
	all := honest.Total + honest.System
	length := global(t, tg, "runtime.allglen")
	list := word(t, mem, global(t, tg, "runtime.allgptr"))
	n := word(t, mem, length)
	gAt := func(i uint64) uint64 { return word(t, mem, list+8*i) }
	// A parked goroutine, with a stack.
	victim, goid := uint64(0), uint64(0)
	for _, g := range honest.Groups {
		if g.WaitReason == "chan receive" && goid == 0 {
			goid = g.GoID
		}
	}
	for i := range n {
		if g := gAt(i); word(t, mem, g+field(t, tg, "g.goid")) == goid && goid != 0 {
			victim = g
		}
	}
	if victim == 0 {
		t.Fatal("no goroutine waits for a channel")
	}
	f := func(name string) uint64 { return victim + field(t, tg, name) }
	sp := word(t, mem, f("g.sched.sp"))
	for _, tt := range []struct {
		name  string
		words map[uint64]uint64
		check func(t *testing.T, gs *profile.Goroutines, err error)
	}{
		{"list beyond memory", map[uint64]uint64{length: 1 << 60}, func(t *testing.T, gs *profile.Goroutines, err error) {
			if err != nil || gs.Truncated == 0 {
				t.Errorf("error %v, %+v, want goroutines to be missing", err, gs)
			}
		}},
		{"list nowhere", map[uint64]uint64{global(t, tg, "runtime.allgptr"): 0x10}, func(t *testing.T, gs *profile.Goroutines, err error) {
			if err == nil {
				t.Error("no error")
			}
		}},
		{"empty list", map[uint64]uint64{length: 0}, func(t *testing.T, gs *profile.Goroutines, err error) {
			if err != nil || gs.Total != 0 {
				t.Errorf("error %v, %d goroutines", err, gs.Total)
			}
		}},
		{"g at the end of memory", map[uint64]uint64{list: ^uint64(0) - 100}, func(t *testing.T, gs *profile.Goroutines, err error) {
			if err != nil || gs.Truncated != 1 || gs.Total+gs.System != all-1 {
				t.Errorf("error %v, %d truncated, %d goroutines, want 1 of %d to be missing", err, gs.Truncated, gs.Total+gs.System, all)
			}
		}},
		{"one g twice", map[uint64]uint64{list: victim}, func(t *testing.T, gs *profile.Goroutines, err error) {
			if err != nil || gs.Total+gs.System != all {
				t.Errorf("error %v, %d goroutines, want %d", err, gs.Total+gs.System, all)
			}
		}},
		{"unknown status", map[uint64]uint64{f("g.atomicstatus"): 77}, func(t *testing.T, gs *profile.Goroutines, err error) {
			if err != nil || gs.Truncated != 1 {
				t.Errorf("error %v, %d truncated, want 1", err, gs.Truncated)
			}
		}},
		{"stack pointer outside", map[uint64]uint64{f("g.sched.sp"): 0x1000}, noStack},
		{"stack pointer odd", map[uint64]uint64{f("g.sched.sp"): sp + 1}, noStack},
		{"stack of exabytes", map[uint64]uint64{f("g.stack.hi"): 1 << 62}, noStack},
		{"stack upside down", map[uint64]uint64{f("g.stack.hi"): 8}, noStack},
		{"program counter nowhere", map[uint64]uint64{f("g.sched.pc"): 0x1234}, noStack},
		{"stack unmapped", map[uint64]uint64{f("g.stack.lo"): 0x1000, f("g.stack.hi"): 0x9000, f("g.sched.sp"): 0x2000}, noStack},
		{"stack that returns to itself", map[uint64]uint64{sp + 8*0: word(t, mem, f("g.sched.pc"))}, func(t *testing.T, gs *profile.Goroutines, err error) {
			if err != nil {
				t.Error(err)
			}
			for _, g := range gs.Groups {
				if len(g.PCs) > 128 {
					t.Errorf("a stack of %d frames", len(g.PCs))
				}
			}
		}},
		{"labels nowhere", map[uint64]uint64{f("g.labels"): 0x1000}, func(t *testing.T, gs *profile.Goroutines, err error) {
			if err != nil || gs.LabelsOmitted != 1 {
				t.Errorf("error %v, labels of %d omitted, want 1", err, gs.LabelsOmitted)
			}
		}},
		{"labels without end", map[uint64]uint64{f("g.labels"): list}, func(t *testing.T, gs *profile.Goroutines, err error) {
			if err != nil || gs.LabelsOmitted != 1 {
				t.Errorf("error %v, labels of %d omitted, want 1", err, gs.LabelsOmitted)
			}
		}},
		{"wait since the future", map[uint64]uint64{f("g.waitsince"): 1 << 62}, func(t *testing.T, gs *profile.Goroutines, err error) {
			for _, g := range gs.Groups {
				if g.WaitMax < 0 {
					t.Errorf("a wait of %v", g.WaitMax)
				}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			gs, err := profile.TakeGoroutines(&fake{Target: tg, mem: &patched{mem, tt.words}}, profile.Options{})
			tt.check(t, gs, err)
			if err == nil {
				gs.Record()
				if err := gs.WritePprof(new(bytes.Buffer), profile.WriteOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	t.Run("few wanted", func(t *testing.T) {
		gs, err := profile.TakeGoroutines(tg, profile.Options{MaxGoroutines: 5})
		if err != nil || gs.Truncated != int(n)-5 || gs.Total+gs.System > 5 {
			t.Errorf("error %v, %d truncated of %d", err, gs.Truncated, n)
		}
	})
	t.Run("no stacks", func(t *testing.T) {
		gs, err := profile.TakeGoroutines(tg, profile.Options{NoStacks: true})
		if err != nil || gs.Total != honest.Total || gs.NoStack != 0 {
			t.Errorf("error %v, %d goroutines, %d without stack", err, gs.Total, gs.NoStack)
		}
		for _, g := range gs.Groups {
			if len(g.PCs) != 0 {
				t.Error("a stack")
			}
		}
	})
}

func noStack(t *testing.T, gs *profile.Goroutines, err error) {
	t.Helper()
	if err != nil || gs.NoStack != 1 {
		t.Errorf("error %v, %d without stack, want 1", err, gs.NoStack)
	}
}

func TestHostileBuckets(t *testing.T) {
	tg := start(t, targettest.Local, "GODEBUG=memprofilerate=1", "allocate")
	tg.Ask(t, "gc")
	mem := tg.Memory()
	head := global(t, tg, "runtime.mbuckets")
	first := word(t, mem, head)
	next := field(t, tg, "bucket.allnext")
	second := word(t, mem, first+next)
	third := word(t, mem, second+next)
	for _, tt := range []struct {
		name  string
		words map[uint64]uint64
		want  string
	}{
		{"circle", map[uint64]uint64{third + next: first}, "circle"},
		{"self", map[uint64]uint64{first + next: first}, "circle"},
		{"nowhere", map[uint64]uint64{second + next: 0x10}, "not readable"},
		{"end of memory", map[uint64]uint64{head: ^uint64(0) - 20}, "not readable"},
		{"type", map[uint64]uint64{second + field(t, tg, "bucket.typ"): 9}, "not one"},
		{"frames", map[uint64]uint64{second + field(t, tg, "bucket.nstk"): 1 << 40}, "not one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := profile.TakeHeap(&fake{Target: tg, mem: &patched{mem, tt.words}})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(p.Truncated, tt.want) {
				t.Errorf("truncated %q, want %q", p.Truncated, tt.want)
			}
			p.Record()
			if err := p.WritePprof(new(bytes.Buffer), profile.WriteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	tg := start(t, targettest.Local)
	hide := func(names ...string) *fake {
		f := &fake{Target: tg, mem: tg.Memory(), globals: map[string]uint64{}}
		for _, n := range names {
			f.globals[n] = 0
		}
		return f
	}
	var missing *profile.MissingError
	if _, err := profile.TakeHeap(hide("runtime.mbuckets")); !errors.As(err, &missing) || missing.What != "runtime.mbuckets" {
		t.Errorf("heap: %v", err)
	}
	if _, err := profile.TakeMutex(hide("runtime.xbuckets")); !errors.As(err, &missing) {
		t.Errorf("mutex: %v", err)
	}
	if _, err := profile.TakeGoroutines(hide("runtime.allglen", "runtime.allgs"), profile.Options{}); !errors.As(err, &missing) {
		t.Errorf("goroutines: %v", err)
	}
	// The slice stands in for the two words, and the release's own table for the
	// target's names of wait reasons.
	gs, err := profile.TakeGoroutines(hide("runtime.allglen", "runtime.allgptr", "runtime.waitReasonStrings", "runtime.fingStatus"), profile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := take(t, tg)
	if gs.Total != want.Total {
		t.Errorf("%d goroutines, want %d", gs.Total, want.Total)
	}
	for i := range want.Groups {
		if gs.Groups[i].WaitReason != want.Groups[i].WaitReason {
			t.Errorf("wait reason %q, want %q", gs.Groups[i].WaitReason, want.Groups[i].WaitReason)
		}
	}
}

func TestExited(t *testing.T) {
	tg := start(t, targettest.Local, "rates", "contend")
	w, err := profile.NewWalker(tg)
	if err != nil {
		t.Fatal(err)
	}
	tg.Kill()
	if _, err := w.Goroutines(profile.Options{}); !errors.Is(err, procmem.ErrExited) {
		t.Errorf("goroutines: %v", err)
	}
	if _, err := profile.TakeHeap(tg); !errors.Is(err, procmem.ErrExited) {
		t.Errorf("heap: %v", err)
	}
	if _, err := profile.TakeBlock(tg); !errors.Is(err, procmem.ErrExited) {
		t.Errorf("block: %v", err)
	}
}

// noise answers every reading with bytes that a seed and the address determine,
// or with an error: a process whose memory is random, and no two times the same.
type noise struct {
	mu   sync.Mutex
	rnd  *rand.Rand
	real procmem.Memory // read, and then damaged, part of the time
	ptrs []uint64       // put in place of words now and then
	n    int
}

var errNoise = errors.New("not there")

func (m *noise) Read(addr uint64, buf []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n++; m.n > 5000 || m.rnd.IntN(20) == 0 {
		return errNoise
	}
	if m.real != nil && m.rnd.IntN(8) != 0 {
		if err := m.real.Read(addr, buf); err == nil {
			for range m.rnd.IntN(4) {
				if len(buf) >= 8 {
					at := m.rnd.IntN(len(buf)/8) * 8
					binary.LittleEndian.PutUint64(buf[at:], m.word())
				}
			}
			return nil
		}
	}
	for i := 0; i < len(buf); i += 8 {
		var w [8]byte
		binary.LittleEndian.PutUint64(w[:], m.word())
		copy(buf[i:], w[:])
	}
	return nil
}

func (m *noise) word() uint64 {
	switch m.rnd.IntN(4) {
	case 0:
		return m.rnd.Uint64()
	case 1:
		return m.rnd.Uint64N(300)
	}
	return m.ptrs[m.rnd.IntN(len(m.ptrs))] + m.rnd.Uint64N(3)*8
}

func (m *noise) ReadBatch(reqs []procmem.Request) (int, error) {
	for i, r := range reqs {
		if err := m.Read(r.Addr, r.Buf); err != nil {
			return i, err
		}
	}
	return len(reqs), nil
}

func FuzzWalks(f *testing.F) {
	tg := start(f, targettest.Local, "GODEBUG=memprofilerate=1", "allocate", "rates", "contend")
	lo, hi := tg.Table().PCRange()
	list := word(f, tg.Memory(), global(f, tg, "runtime.allgptr"))
	ptrs := []uint64{list, word(f, tg.Memory(), list), word(f, tg.Memory(), list+8), global(f, tg, "runtime.mbuckets"),
		word(f, tg.Memory(), global(f, tg, "runtime.mbuckets")), lo, hi, lo + 5000, lo + 100000, 1, 2, 3, 4}
	for i := range uint64(40) {
		f.Add(i, i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, seed uint64, real bool) {
		mem := &noise{rnd: rand.New(rand.NewPCG(seed, 7)), ptrs: ptrs}
		if real {
			mem.real = tg.Memory()
		}
		rt := &fake{Target: tg, mem: mem}
		if gs, err := profile.TakeGoroutines(rt, profile.Options{}); err == nil {
			sum := 0
			for i := range gs.Groups {
				g := &gs.Groups[i]
				sum += g.Count
				if len(g.PCs) > 128 || g.WaitMax < 0 || g.Status == "" {
					t.Fatalf("group %+v", g)
				}
			}
			if sum != gs.Total+gs.System {
				t.Fatalf("%d in groups, %d in total", sum, gs.Total+gs.System)
			}
			gs.Record()
			if err := gs.WritePprof(new(bytes.Buffer), profile.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, take := range []func(profile.Runtime) (*profile.Profile, error){profile.TakeHeap, profile.TakeBlock, profile.TakeMutex} {
			mem.n = 0
			p, err := take(rt)
			if err != nil {
				continue
			}
			p.Record()
			if err := p.WritePprof(new(bytes.Buffer), profile.WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
