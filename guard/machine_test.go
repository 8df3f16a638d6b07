package guard

import (
	"math/rand/v2"
	"testing"
	"time"
)

func newMachine(marks ...mark) *machine {
	return &machine{marks: marks, reach: 2, dwells: defaultDwells}
}

// run steps a machine every 100 ms with what demands says, and returns what changed.
func run(m *machine, from, to time.Duration, demands func(time.Duration) demand) (all []change) {
	for now := from; now < to; now += 100 * time.Millisecond {
		if c, ok := m.step(now, demands(now)); ok {
			all = append(all, c)
		}
	}
	return all
}

var fourMarks = []mark{{0.78, 0.70}, {0.86, 0.78}, {0.91, 0.83}, {0.95, 0.87}}

func TestMachineTripsAndRecovers(t *testing.T) {
	m := newMachine(fourMarks...)
	at := func(v float64) func(time.Duration) demand {
		return func(time.Duration) demand { return demand{memory: v, memoryOK: true} }
	}
	if c := run(m, 0, time.Minute, at(0.6)); len(c) != 0 {
		t.Fatalf("it trips at 60%%: %v", c)
	}
	// Memory fills: up, one rung at a time, to that of 92%.
	c := run(m, time.Minute, time.Minute+2*time.Second, at(0.92))
	if m.state != Degraded || m.rung != 3 || len(c) != 3 || c[0].from != Healthy || c[0].toRung != 1 {
		t.Fatalf("at 92%% it is %v on rung %d: %v", m.state, m.rung, c)
	}
	// Within the band it stays.
	if c := run(m, 62*time.Second, 100*time.Second, at(0.84)); len(c) != 0 {
		t.Fatalf("in the band: %v", c)
	}
	// Below the band of the upper rungs, but not of all.
	run(m, 100*time.Second, 130*time.Second, at(0.72))
	if m.state != Degraded || m.rung != 1 {
		t.Fatalf("at 72%% it is %v on rung %d", m.state, m.rung)
	}
	c = run(m, 130*time.Second, 140*time.Second, at(0.5))
	if m.state != Recovering || m.rung != 0 {
		t.Fatalf("after 10 s at 50%% it is %v on rung %d: %v", m.state, m.rung, c)
	}
	// In trouble again before it has healed.
	if c := run(m, 140*time.Second, 141*time.Second, at(0.8)); m.state != Degraded || m.rung != 1 {
		t.Fatalf("it relapses to %v on rung %d: %v", m.state, m.rung, c)
	}
	run(m, 141*time.Second, 200*time.Second, at(0.5))
	if m.state != Healthy || m.rung != 0 {
		t.Fatalf("a minute later it is %v on rung %d", m.state, m.rung)
	}
}

func TestMachineObjectives(t *testing.T) {
	m := newMachine(fourMarks...)
	bad := func(time.Duration) demand { return demand{memory: 0.3, memoryOK: true, objectives: true} }
	good := func(time.Duration) demand { return demand{memory: 0.3, memoryOK: true} }
	run(m, 0, time.Second, bad)
	if m.rung != 1 || m.state != Degraded {
		t.Fatalf("%v on rung %d", m.state, m.rung)
	}
	run(m, time.Second, 5*time.Minute, bad)
	if m.rung != m.reach {
		t.Fatalf("on rung %d, its reach is %d", m.rung, m.reach)
	}
	run(m, 5*time.Minute, 6*time.Minute, good)
	if m.rung != 0 || m.state != Healthy {
		t.Fatalf("%v on rung %d", m.state, m.rung)
	}
}

func TestMachineLimited(t *testing.T) {
	m := newMachine(fourMarks...)
	run(m, 0, 10*time.Second, func(time.Duration) demand { return demand{limited: true} })
	if m.state != Degraded || m.rung != 0 {
		t.Fatalf("%v on rung %d", m.state, m.rung)
	}
	run(m, 10*time.Second, 30*time.Second, func(time.Duration) demand { return demand{} })
	if m.state != Healthy {
		t.Fatalf("%v", m.state)
	}
}

// TestMachineProperties drives machines with random demands: one rung at a time, no
// rung left before its dwell, only transitions that there are, and no state left
// before its own.
func TestMachineProperties(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := newMachine(fourMarks...)
		m.reach = r.IntN(5)
		memory := r.Float64()
		var now, stepped, since time.Duration
		for range 20_000 {
			now += time.Duration(1+r.IntN(300)) * time.Millisecond
			if r.IntN(20) == 0 {
				memory = r.Float64() * 1.1
			}
			c, ok := m.step(now, demand{memory: memory, memoryOK: r.IntN(50) > 0, objectives: r.IntN(30) == 0, limited: r.IntN(30) == 0})
			if ok != (c.from != c.to || c.fromRung != c.toRung) {
				t.Fatal("it does not say what changed")
			}
			if d := c.toRung - c.fromRung; d != 0 {
				if d > 1 || d < -1 || c.toRung < 0 || c.toRung > len(fourMarks) {
					t.Fatalf("from rung %d to %d", c.fromRung, c.toRung)
				}
				if d < 0 && now-stepped < defaultDwells.descend || d > 0 && c.fromRung > 0 && now-stepped < defaultDwells.climbMemory {
					t.Fatalf("from rung %d to %d after %v", c.fromRung, c.toRung, now-stepped)
				}
				stepped = now
			}
			if c.from != c.to {
				switch {
				case c.to == Degraded:
				case c.from == Degraded && c.to == Recovering && now-since >= defaultDwells.calm:
				case c.from == Recovering && c.to == Healthy && c.toRung == 0 && now-since >= defaultDwells.heal:
				default:
					t.Fatalf("from %v to %v on rung %d after %v", c.from, c.to, c.toRung, now-since)
				}
				since = now
			}
			if m.state == Healthy && m.rung != 0 {
				t.Fatalf("healthy on rung %d", m.rung)
			}
		}
	}
}

func TestObjectiveTrips(t *testing.T) {
	o, err := Objective{Signal: "x", Max: 1}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	tr := newTracker(o, 0)
	now := time.Duration(0)
	evaluate := func(v float64) bool {
		now += o.Interval
		return tr.evaluate(now, v, true)
	}
	// Five violations of thirty are not a fifth of the window.
	for i := range 100 {
		v := 0.0
		if i%6 == 0 {
			v = 2
		}
		if evaluate(v) {
			t.Fatalf("it tripped at evaluation %d, ratio %v", i, tr.ratio(o.Window))
		}
	}
	for i := 1; !tr.tripped; i++ {
		evaluate(2)
		if i > 6 {
			t.Fatal("six violations in a row do not trip it")
		}
	}
	// Its cooldown is a minute of none.
	for i := range 5 {
		if evaluate(0) {
			t.Fatalf("good after %d", i+1)
		}
	}
	evaluate(2)
	for range 5 {
		evaluate(0)
	}
	if !tr.tripped || !evaluate(0) || tr.tripped {
		t.Fatal("it is not good after a minute without a violation")
	}
	// What is absent is no violation.
	for range 40 {
		now += o.Interval
		if tr.evaluate(now, 99, false) {
			t.Fatal("an absent value tripped it")
		}
	}
}

func TestObjectiveBurns(t *testing.T) {
	o, err := Objective{Signal: "x", Max: 1, Interval: time.Second, Window: 10 * time.Minute,
		Burns: []Burn{{Long: time.Minute, Short: 5 * time.Second, Ratio: 0.5}, {Long: 10 * time.Minute, Short: 30 * time.Second, Ratio: 0.1}}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	trips := func(value func(i int) float64) int {
		tr := newTracker(o, 0)
		for i := range 1200 {
			if tr.evaluate(time.Duration(i)*time.Second, value(i), true); tr.tripped {
				return i
			}
		}
		return -1
	}
	if at := trips(func(i int) float64 { return 2 }); at != 30 {
		t.Errorf("a full burn trips after %d s, 31 violations of 60 are more than a half", at)
	}
	if at := trips(func(i int) float64 { return float64(2 * (1 - min(1, i%5))) }); at < 200 || at > 400 {
		t.Errorf("a fifth, which is above a tenth of ten minutes, trips after %d s", at)
	}
	if at := trips(func(i int) float64 { return float64(2 * (1 - min(1, i%20))) }); at >= 0 {
		t.Errorf("a twentieth trips after %d s", at)
	}
}
