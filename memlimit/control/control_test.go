package control

import (
	"errors"
	"flag"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/heapwright/heapwright/pacer"
)

var cycles = flag.Int("cycles", 200_000, "collections that each property of the controller is tried with")

const (
	mib = 1 << 20
	gib = 1 << 30
)

// A plant is a process under the runtime's own pacer, cycle by cycle: package
// pacer's model says where the next collection begins, from the settings and from
// what lives. Marking costs CPU by what lives, and what is allocated meanwhile is
// found alive too.
type plant struct {
	model pacer.Model
	procs float64
	alloc float64                            // bytes per second
	live  func(at time.Duration) float64     // bytes
	cost  float64                            // seconds of CPU per byte that lives
	other uint64                             // Go's memory beside the heap
	noise *rand.Rand                         // nil is none
	room  func(time.Duration) (b, c int64)   // budget and ceiling
	seen  func(before Sample, action Action) // may be nil
	c     *Controller
	s     Sample
	peak  float64 // of memory, over the last cycle
}

func newPlant(t testing.TB, conf Config) *plant {
	t.Helper()
	m, err := pacer.ModelOf("go1.26.8")
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(conf)
	if err != nil {
		t.Fatal(err)
	}
	return &plant{
		model: m, procs: 4, alloc: 100 * mib, cost: 0.05 / (100 * mib), other: 20 * mib, c: c,
		live: func(time.Duration) float64 { return 100 * mib },
		room: func(time.Duration) (int64, int64) { return 400 * mib, 450 * mib },
		s:    Sample{Procs: 4, GOGC: 100, GOMEMLIMIT: math.MaxInt64},
	}
}

// cycle goes on to the end of the next collection, and does what the controller says.
func (p *plant) cycle() Action {
	s := &p.s
	wobble := func(v, by float64) float64 {
		if p.noise == nil {
			return v
		}
		return v * (1 + by*p.noise.NormFloat64())
	}
	live := max(mib, wobble(p.live(s.At), 0.02))
	alloc := max(1, wobble(p.alloc, 0.1))
	h := pacer.Heap{Marked: s.LiveBytes, HeapScan: s.LiveBytes, StackScan: s.StackBytes, Globals: s.GlobalsBytes}
	mem := pacer.Memory{Limit: s.GOMEMLIMIT, MappedReady: s.NonHeapBytes + s.LiveBytes, HeapAlloc: s.LiveBytes}
	pacing := p.model.Commit(h, int64(s.GOGC), 0, s.LiveBytes, true)
	goal := float64(p.model.Goal(pacing, mem))
	runway := max(goal-float64(s.LiveBytes), 64<<10)
	cpu := max(1e-5, wobble(p.cost*live, 0.1))
	// The runtime's limiter leaves the program half of the CPUs.
	dt := max(runway/alloc, cpu/(0.5*p.procs))
	mark := cpu / (0.25 * p.procs)
	before := s.LiveBytes
	s.At += time.Duration(dt * 1e9)
	s.Cycles++
	if dt > runway/alloc*1.0001 {
		s.LimiterCycle = s.Cycles
	}
	s.AllocBytes += uint64(alloc * dt)
	s.GCCPU += time.Duration(cpu * 1e9)
	s.LiveBytes = uint64(live + alloc*min(mark, dt)*0.3)
	s.StackBytes, s.GlobalsBytes, s.NonHeapBytes = mib, mib, p.other
	p.peak = max(float64(before)+alloc*dt, float64(s.LiveBytes)) + float64(p.other)
	s.BudgetBytes, s.CeilingBytes = p.room(s.At)
	a := p.c.Step(*s)
	if p.seen != nil {
		p.seen(*s, a)
	}
	s.GOGC, s.GOMEMLIMIT = a.GOGC, a.GOMEMLIMIT
	return a
}

// keeps fails if an action is one that never may be.
func keeps(t testing.TB, conf Config) func(Sample, Action) {
	least, most := 25, 1000
	if conf.MinGOGC > 0 {
		least = conf.MinGOGC
	}
	if conf.MaxGOGC > 0 {
		most = conf.MaxGOGC
	}
	return func(s Sample, a Action) {
		t.Helper()
		if ceiling := max(s.CeilingBytes, s.BudgetBytes, 1); a.GOMEMLIMIT > ceiling {
			t.Fatalf("GOMEMLIMIT %d is above the ceiling of %d: %+v after %+v", a.GOMEMLIMIT, ceiling, a, s)
		}
		if a.GOGC != s.GOGC && (a.GOGC < least || a.GOGC > most) {
			t.Fatalf("GOGC %d is not between %d and %d: %+v after %+v", a.GOGC, least, most, a, s)
		}
		if a.Set != (a.GOGC != s.GOGC || a.GOMEMLIMIT != s.GOMEMLIMIT) || a.Set != (a.Reason != "") {
			t.Fatalf("it does not say what it does: %+v after %+v", a, s)
		}
		if s.GOGC > 0 && a.GOGC > s.GOGC && float64(a.GOGC) > float64(s.GOGC)*stepUp+1 {
			t.Fatalf("GOGC went from %d to %d in one step", s.GOGC, a.GOGC)
		}
	}
}

// TestAnything drives it through loads, limits and faults drawn at random.
func TestAnything(t *testing.T) {
	const each = 2000
	for seed := range uint64(*cycles / each) {
		r := rand.New(rand.NewPCG(seed, 1))
		conf := Config{WarmUp: time.Second}
		switch r.IntN(4) {
		case 0:
			conf.Objective.GCCPURatio = 0.01 + 0.2*r.Float64()
		case 1:
			conf.Objective.AssistRatio = 0.05 * r.Float64()
		case 2:
			conf.Objective.PauseP99 = time.Duration(r.IntN(1e6))
		}
		p := newPlant(t, conf)
		p.noise = r
		p.alloc = math.Exp(r.Float64()*14) * 1024
		base, period := float64(2*mib+r.IntN(gib)), time.Duration(1+r.IntN(600))*time.Second
		p.live = func(at time.Duration) float64 {
			return base * (1 + 0.5*math.Sin(float64(at)/float64(period))) * (1 + 0.2*float64(int(at/period)%3))
		}
		limit := int64(base * (0.5 + 3*r.Float64()))
		p.room = func(at time.Duration) (int64, int64) {
			l := limit
			if int(at/period)%2 == 1 {
				l = limit / 2 // resized
			}
			return l * 9 / 10, l
		}
		p.seen = keeps(t, conf)
		for range each {
			if r.IntN(500) == 0 { // what cannot follow
				p.s.GCCPU, p.s.AllocBytes = p.s.GCCPU/2, p.s.AllocBytes/2
			}
			p.cycle()
		}
	}
}

// TestRests has it under constant loads, without noise and with it: after it has
// settled it changes GOGC hardly ever, and never to and fro.
func TestRests(t *testing.T) {
	const settle, watch = 400, 2000
	n := max(10, *cycles/(settle+watch))
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 2))
		conf := Config{}
		if r.IntN(2) == 0 {
			conf.Objective.GCCPURatio = 0.02 + 0.1*r.Float64()
		}
		p := newPlant(t, conf)
		noisy := r.IntN(2) == 0
		if noisy {
			p.noise = r
		}
		live := float64(8*mib + r.IntN(gib))
		p.live = func(time.Duration) float64 { return live }
		p.alloc = (4 + 400*r.Float64()) * mib
		budget := int64(live*(0.9+4*r.Float64())) + 20*mib
		p.room = func(time.Duration) (int64, int64) { return budget, budget * 11 / 10 }
		p.seen = keeps(t, conf)
		for range settle {
			p.cycle()
		}
		for p.s.At < 2*time.Minute { // warm, and every rate learnt
			p.cycle()
		}
		changes, turns, last := 0, 0, 0
		for range watch {
			was := p.s.GOGC
			a := p.cycle()
			if d := a.GOGC - was; d != 0 {
				changes++
				if last*d < 0 {
					turns++
				}
				last = d
			}
		}
		most := 0
		if noisy {
			most = watch / 200
		}
		if changes > most || turns > most/2 {
			t.Errorf("seed %d (noise %v): %d changes of GOGC in %d collections, %d to and fro: live %.0f MiB, alloc %.0f MiB/s, budget %d MiB, %+v",
				seed, noisy, changes, watch, turns, live/mib, p.alloc/mib, budget/mib, conf.Objective)
		}
	}
}

// TestMonotone: with a larger budget the limit is no lower and the runway no
// shorter, all else being equal.
func TestMonotone(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 3))
		live, alloc := float64(8*mib+r.IntN(gib)), (4+200*r.Float64())*mib
		var lastLimit, lastRunway int64
		for k := range 8 {
			budget := int64(live*(1.2+0.5*float64(k))) + 20*mib
			p := newPlant(t, Config{})
			p.live = func(time.Duration) float64 { return live }
			p.alloc = alloc
			p.room = func(time.Duration) (int64, int64) { return budget, budget + budget/10 }
			var a Action
			for p.s.At < 2*time.Minute || p.s.Cycles < 200 {
				a = p.cycle()
			}
			if a.GOMEMLIMIT < lastLimit || float64(a.RunwayBytes) < 0.9*float64(lastRunway) {
				t.Errorf("seed %d: a budget of %d MiB gives %+v, a smaller one gave %d and a runway of %d", seed, budget/mib, a, lastLimit, lastRunway)
			}
			lastLimit, lastRunway = a.GOMEMLIMIT, a.RunwayBytes
		}
	}
}

// TestStormFloor lets the live heap grow into the budget and past it: the runway
// stays at the floor as long as there is memory under the ceiling, and then it says
// that no setting helps.
func TestStormFloor(t *testing.T) {
	p := newPlant(t, Config{})
	p.live = func(at time.Duration) float64 { return 100*mib + 40*mib*at.Minutes() }
	p.seen = keeps(t, Config{})
	seen := map[Mode]bool{}
	for p.s.At < 9*time.Minute {
		a := p.cycle()
		seen[a.Mode] = true
		s := p.s
		room := headroom*float64(s.CeilingBytes-int64(s.NonHeapBytes)) - float64(s.LiveBytes)
		floor := 0.25 * s.base(float64(s.LiveBytes))
		if s.At > time.Minute && room > floor && float64(a.RunwayBytes) < 0.88*floor {
			t.Fatalf("at %v a runway of %d MiB, the floor is %.0f: %+v", s.At, a.RunwayBytes/mib, floor/mib, a)
		}
	}
	for _, m := range []Mode{WarmingUp, Pressed, Exhausted} {
		if !seen[m] {
			t.Errorf("it was never %s: %v", m, seen)
		}
	}
}

// TestHolds: what a bound asks for is kept, with no more memory than it takes.
func TestHolds(t *testing.T) {
	for _, bound := range []float64{0.02, 0.05, 0.10} {
		p := newPlant(t, Config{Objective: Objective{GCCPURatio: bound}})
		p.alloc = 400 * mib
		p.room = func(time.Duration) (int64, int64) { return 2 * gib, 2 * gib }
		for p.s.At < 5*time.Minute {
			p.cycle()
		}
		from := p.s
		for range 200 {
			p.cycle()
		}
		got := (p.s.GCCPU - from.GCCPU).Seconds() / (p.s.At - from.At).Seconds() / p.procs
		if got < bound/1.2 || got > bound*1.2 {
			t.Errorf("the bound is %v of the CPUs in collections, it came to %.4f with GOGC=%d", bound, got, p.s.GOGC)
		}
	}
}

func TestLeastCPU(t *testing.T) {
	p := newPlant(t, Config{})
	for p.s.At < 3*time.Minute {
		p.cycle()
	}
	// Nearly all of the budget is in use, and none above it.
	if p.peak > 400*mib || p.peak < 340*mib {
		t.Errorf("the peak is %.0f MiB of a budget of 400, GOGC=%d", p.peak/mib, p.s.GOGC)
	}
}

func TestLeak(t *testing.T) {
	leaking := func(live func(time.Duration) float64, long time.Duration) (found bool, raised int) {
		p := newPlant(t, Config{})
		p.noise = rand.New(rand.NewPCG(4, 4))
		p.live = live
		p.room = func(time.Duration) (int64, int64) { return 4 * gib, 5 * gib }
		p.seen = keeps(t, Config{})
		for p.s.At < long {
			was := p.s
			a := p.cycle()
			if a.Mode == Leaking {
				found = true
				if a.GOGC > was.GOGC || a.GOMEMLIMIT > was.GOMEMLIMIT {
					raised++
				}
			}
		}
		return found, raised
	}
	if found, raised := leaking(func(at time.Duration) float64 { return 100*mib + 5*mib*at.Minutes() }, 20*time.Minute); !found || raised > 0 {
		t.Errorf("a leak of 5 MiB a minute: found %v, given more %d times", found, raised)
	}
	for name, live := range map[string]func(time.Duration) float64{
		"constant": func(time.Duration) float64 { return 100 * mib },
		"warm up":  func(at time.Duration) float64 { return 200*mib - 150*mib*math.Exp(-at.Minutes()) },
		"daily":    func(at time.Duration) float64 { return 100*mib + 60*mib*math.Sin(at.Minutes()*2*math.Pi/4) },
		"step": func(at time.Duration) float64 {
			if at > 10*time.Minute {
				return 300 * mib
			}
			return 100 * mib
		},
	} {
		if found, _ := leaking(live, 40*time.Minute); found {
			t.Errorf("%s: taken for a leak", name)
		}
	}
}

// TestStormInSmallHeap: a small heap that is collected all the time has memory to
// grow into, and is given it.
func TestStormInSmallHeap(t *testing.T) {
	p := newPlant(t, Config{})
	p.live = func(time.Duration) float64 { return 4 * mib }
	p.alloc, p.cost = 2000*mib, 0.01/(4*mib)
	p.seen = keeps(t, Config{})
	for p.s.At < 2*time.Minute {
		if a := p.cycle(); a.Mode == Pressed || a.Mode == Exhausted || p.s.GOGC < 100 {
			t.Fatalf("at %v: %+v", p.s.At, a)
		}
	}
	if p.s.GOGC < 800 {
		t.Errorf("GOGC=%d, there are 400 MiB for 4", p.s.GOGC)
	}
}

// TestBudgetFalls: a smaller budget is in effect with the next sample, whether or
// not a collection ended.
func TestBudgetFalls(t *testing.T) {
	p := newPlant(t, Config{})
	for p.s.At < time.Minute {
		p.cycle()
	}
	s := p.s
	s.At += time.Millisecond
	s.BudgetBytes, s.CeilingBytes = 200*mib, 210*mib
	if a := p.c.Step(s); a.GOMEMLIMIT > 210*mib || !a.Set {
		t.Errorf("%+v", a)
	}
}

// TestHostile gives it samples that no process has.
func TestHostile(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	pick := func() uint64 {
		return []uint64{0, 1, 4096, mib, gib, 1 << 40, math.MaxInt64, math.MaxUint64, r.Uint64()}[r.IntN(9)]
	}
	c, err := New(Config{WarmUp: 1, WarmUpCycles: 1})
	if err != nil {
		t.Fatal(err)
	}
	check := keeps(t, Config{})
	for range 100_000 {
		s := Sample{
			At: time.Duration(pick()), Cycles: pick(), LiveBytes: pick(), AllocBytes: pick(), StackBytes: pick(), GlobalsBytes: pick(), NonHeapBytes: pick(),
			BudgetBytes: int64(pick()), CeilingBytes: int64(pick()), GCCPU: time.Duration(pick()), AssistCPU: time.Duration(pick()),
			Procs:    []float64{0, -1, 2, math.NaN(), math.Inf(1)}[r.IntN(5)],
			PauseP99: time.Duration(pick()), LimiterCycle: pick(), GOGC: []int{-1, 0, 25, 100, 1000, 1 << 30}[r.IntN(6)], GOMEMLIMIT: int64(pick()),
		}
		a := c.Step(s)
		if a.GOMEMLIMIT < 1 {
			t.Fatalf("GOMEMLIMIT %d after %+v", a.GOMEMLIMIT, s)
		}
		check(s, a)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{
		{MinGOGC: 1}, {MaxGOGC: 10}, {MinGOGC: 200, MaxGOGC: 100}, {Objective: Objective{GCCPURatio: -1}},
		{Objective: Objective{GCCPURatio: math.NaN()}}, {Objective: Objective{AssistRatio: 2}}, {Objective: Objective{PauseP99: -1}}, {WarmUp: -1},
	} {
		e := new(ConfigError)
		if _, err := New(c); !errors.As(err, &e) {
			t.Errorf("%+v: error %v", c, err)
		}
	}
}

func BenchmarkStep(b *testing.B) {
	p := newPlant(b, Config{})
	for b.Loop() {
		p.cycle()
	}
}
