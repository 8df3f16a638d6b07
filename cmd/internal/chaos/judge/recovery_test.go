package judge

import (
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// What the live heap was comes from cycles, or from points where there are too few; who
// has hardly any is not waited for, and what is not known is told so.
func TestLiveHeapOfFewCycles(t *testing.T) {
	const second = time.Second
	point := func(at time.Duration, heap float64) chaos.Point {
		return chaos.Point{At: at, Values: map[chaos.Metric]float64{chaos.LiveHeap: heap * mib}}
	}
	var before []chaos.Point
	for at := time.Duration(0); at < 10*second; at += 100 * time.Millisecond {
		before = append(before, point(at, 40))
	}
	cycle := func(at time.Duration, heap float64) chaos.Cycle {
		return chaos.Cycle{At: at, LiveBytes: uint64(heap * mib)}
	}
	many := []chaos.Cycle{cycle(second, 40), cycle(2*second, 41), cycle(3*second, 39), cycle(4*second, 40)}
	for _, tc := range []struct {
		name   string
		before []chaos.Cycle
		points []chaos.Point
		cycles []chaos.Cycle // each a second after the other
		heap   []float64     // of the points, a second each
		after  time.Duration // -1: not met
		known  bool
		done   time.Duration // -1: waited to the end
	}{
		{"as it was", many, before, []chaos.Cycle{cycle(21*second, 50), cycle(22*second, 41), cycle(23*second, 40), cycle(24*second, 41)}, nil, 2 * second, true, 24 * second},
		{"above", many, before, []chaos.Cycle{cycle(21*second, 50), cycle(22*second, 50), cycle(23*second, 50), cycle(24*second, 50)}, nil, -1, true, -1},
		{"nearly back", many, before, []chaos.Cycle{cycle(21*second, 40), cycle(22*second, 50), cycle(23*second, 40), cycle(24*second, 40)}, nil, -1, false, 80 * second},
		{"nearly back, and back", many, before, []chaos.Cycle{cycle(21*second, 50), cycle(43*second, 40), cycle(44*second, 40), cycle(53*second, 40)}, nil, 23 * second, true, 53 * second},
		{"back too late", many, before, []chaos.Cycle{cycle(21*second, 50), cycle(22*second, 50), cycle(51*second, 40), cycle(52*second, 40)}, nil, -1, true, -1},
		{"back and forth", many, before, []chaos.Cycle{cycle(21*second, 40), cycle(22*second, 50), cycle(23*second, 40), cycle(24*second, 50), cycle(25*second, 40), cycle(26*second, 40)}, nil, -1, true, -1},
		{"too few after", many, before, []chaos.Cycle{cycle(21*second, 40)}, nil, -1, false, 80 * second},
		{"what they found is not known", many, before, []chaos.Cycle{cycle(21*second, 0), cycle(22*second, 0), cycle(23*second, 0)}, nil, -1, false, 50 * second},
		{"seen by points", many[:2], before, nil, []float64{40, 43, 42, 41, 40}, second, true, 20 * second},
		{"two cycles before, and others after", many[:2], before, []chaos.Cycle{cycle(21*second, 48), cycle(38*second, 46)}, nil, -1, false, 20 * second},
		{"no cycles before", nil, before, nil, []float64{40, 40, 40}, -1, false, 20 * second},
		{"nothing before", nil, nil, []chaos.Cycle{cycle(21*second, 40), cycle(22*second, 40), cycle(23*second, 40)}, nil, -1, false, 20 * second},
	} {
		plan := &chaos.Plan{Recovery: chaos.Recovery{Within: 30 * second}}
		r := NewRecovery(plan, tc.points, tc.before, chaos.Done{Ended: 20 * second, Verified: true})
		done := time.Duration(-1)
		for i := range 65 {
			at := (20 + time.Duration(i)) * second
			p := chaos.Point{At: at}
			if i < len(tc.heap) {
				p = point(at, tc.heap[i])
			}
			var cycles []chaos.Cycle
			for _, c := range tc.cycles {
				if c.At > at-second && c.At <= at {
					cycles = append(cycles, c)
				}
			}
			if ok, _ := r.Step(p, cycles); ok && done < 0 {
				done = at
			}
		}
		got := r.Results()
		took := time.Duration(-1)
		known := false
		for _, x := range got {
			if x.What == liveHeap {
				known = x.Known
				if x.Took != nil {
					took = *x.Took
				}
			}
		}
		if took != tc.after || known != tc.known || done != tc.done {
			t.Errorf("%s: took %s, known %t, done at %s; want %s %t %s", tc.name, took, known, done, tc.after, tc.known, tc.done)
		}
	}
}

// TestKeptAlive has clients that opened more connections while the target was slow: the
// goroutines that serve them are no leak, and those that outlive them are one.
func TestKeptAlive(t *testing.T) {
	plan := &chaos.Plan{Recovery: chaos.Recovery{Within: 10 * time.Second, Stable: time.Second}}
	point := func(at time.Duration, goroutines, connections float64) chaos.Point {
		return chaos.Point{At: at, Values: map[chaos.Metric]float64{chaos.GoroutineCount: goroutines, chaos.ConnectionsOpen: connections}}
	}
	var before []chaos.Point
	for at := time.Duration(0); at < 5*time.Second; at += 100 * time.Millisecond {
		before = append(before, point(at, 20, 8))
	}
	for connections, back := range map[float64]bool{8: false, 20: false, 40: true, 64: true, 500: true} {
		r := NewRecovery(plan, before, nil, chaos.Done{Ended: 10 * time.Second})
		for at := 10 * time.Second; at < 20*time.Second; at += 100 * time.Millisecond {
			r.Step(point(at, 76, connections), nil)
		}
		for _, g := range r.Results() {
			if g.What == goroutines && (g.Took != nil) != back {
				t.Errorf("76 goroutines and %v connections: %+v", connections, g)
			}
		}
	}
	// Of connections that nobody can count any more it is not known.
	r := NewRecovery(plan, before, nil, chaos.Done{Ended: 10 * time.Second})
	for at := 10 * time.Second; at < 20*time.Second; at += 100 * time.Millisecond {
		p := point(at, 28, 0)
		delete(p.Values, chaos.ConnectionsOpen)
		r.Step(p, nil)
	}
	for _, g := range r.Results() {
		if g.What == goroutines && (g.Took != nil || g.Known) {
			t.Errorf("connections not counted: %+v", g)
		}
	}
}

// TestDeadGoroutines floods a target with goroutines: what the runtime never frees of
// them is no accusation, and more than that is one.
func TestDeadGoroutines(t *testing.T) {
	var before []chaos.Point
	var cycles []chaos.Cycle
	for at := time.Duration(0); at < 10*time.Second; at += 100 * time.Millisecond {
		before = append(before, chaos.Point{At: at, Values: map[chaos.Metric]float64{chaos.LiveHeap: 26 << 20}})
		if at%time.Second == 0 {
			cycles = append(cycles, chaos.Cycle{At: at, LiveBytes: 26 << 20})
		}
	}
	plan := &chaos.Plan{
		Recovery: chaos.Recovery{Within: 10 * time.Second, Stable: time.Second},
		Faults:   []chaos.Fault{{Kind: chaos.Goroutines, Level: chaos.Level{Value: 20000}}, {Kind: chaos.Churn}},
	}
	for _, c := range []struct {
		fault int
		live  uint64
		back  bool
	}{{0, 35 << 20, true}, {0, 48 << 20, false}, {1, 35 << 20, true}} {
		r := NewRecovery(plan, before, cycles, chaos.Done{Fault: c.fault, Peak: 20000, Ended: 20 * time.Second})
		for at := 20 * time.Second; at < 30*time.Second; at += 500 * time.Millisecond {
			r.Step(chaos.Point{At: at, Values: map[chaos.Metric]float64{chaos.LiveHeap: float64(c.live)}}, []chaos.Cycle{{At: at, LiveBytes: c.live}})
		}
		for _, g := range r.Results() {
			if g.What == liveHeap && (g.Took != nil) != c.back {
				t.Errorf("fault %d, live heap %d MiB: %+v", c.fault, c.live>>20, g)
			}
		}
	}
}
