package api

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"

	"github.com/heapwright/heapwright/cmd/internal/series"
	"github.com/heapwright/heapwright/record"
)

type plainCycles struct {
	Total   int
	Thinned bool
	Looked  time.Time `json:"looked_from"`
	Cycles  []struct {
		N      uint64
		End    time.Time
		Pause  *float64 `json:"pause_seconds"`
		Mark   *float64 `json:"mark_seconds"`
		Assist *float64 `json:"assist_cpu_seconds"`
		Goal   *float64 `json:"heap_goal_bytes"`
		Procs  *float64
		Forced bool
	}
}

// collections are so many GC cycles, each by the interval after the one before.
func collections(n int, every time.Duration, detail bool) *record.Recording {
	rng := rand.New(rand.NewPCG(1, 2))
	rec := &record.Recording{Samples: []record.Sample{{Time: epoch}}}
	for i := range n {
		c := record.Cycle{N: uint64(i + 1), End: epoch.Add(time.Duration(i+1) * every), Pause: time.Duration(50+rng.IntN(100000)) * time.Microsecond}
		if detail && i%10 != 3 {
			c.Detail, c.Mark, c.Assist, c.HeapGoalBytes, c.Procs, c.Forced = true, 20*time.Millisecond, 3*time.Millisecond, 64*mib, 4, i%100 == 7
		}
		rec.Cycles = append(rec.Cycles, c)
	}
	return rec
}

func cyclesOf(from, to time.Time, limit int) string {
	return fmt.Sprintf("cycles?process=web&from=%s&to=%s&limit=%d", from.Format(time.RFC3339), to.Format(time.RFC3339), limit)
}

func TestCycles(t *testing.T) {
	w := newWorld(t)
	rec := collections(1000, time.Second, true)
	w.record("web", rec)
	var d plainCycles
	w.get(cyclesOf(epoch, epoch.Add(time.Hour), 2000), &d)
	if d.Total != 1000 || d.Thinned || len(d.Cycles) != 1000 {
		t.Fatalf("%d of %d, thinned %v", len(d.Cycles), d.Total, d.Thinned)
	}
	for i, c := range d.Cycles {
		want := rec.Cycles[i]
		if c.N != want.N || !c.End.Equal(want.End) || c.Pause == nil || *c.Pause < 0.999*want.Pause.Seconds() || *c.Pause > 1.001*want.Pause.Seconds() {
			t.Fatalf("cycle %d is %+v", want.N, c)
		}
		if !want.Detail && (c.Mark != nil || c.Goal != nil || c.Procs != nil) {
			t.Fatalf("cycle %d was not seen in detail, and has it: %+v", want.N, c)
		}
		if want.Detail && (c.Mark == nil || c.Assist == nil || *c.Goal != 64*mib || *c.Procs != 4 || c.Forced != want.Forced) {
			t.Fatalf("cycle %d is %+v, want %+v", want.N, c, want)
		}
	}
	// Both ends belong to what is asked for, but for what is before it.
	w.get(cyclesOf(epoch.Add(100*time.Second), epoch.Add(199*time.Second), 2000), &d)
	if n := len(d.Cycles); n < 99 || n > 100 || d.Cycles[n-1].N != 199 {
		t.Errorf("%d cycles in 100 s, the last %d", n, d.Cycles[n-1].N)
	}
	// Another process's are not among them.
	if w.get("cycles?process=other&from="+epoch.Format(time.RFC3339), &d); d.Total != 0 || len(d.Cycles) != 0 {
		t.Errorf("another process has %d cycles", d.Total)
	}
}

func TestCyclesThinned(t *testing.T) {
	w := newWorld(t)
	rec := collections(25_000, 120*time.Millisecond, true)
	w.record("web", rec)
	var d plainCycles
	w.get(cyclesOf(epoch, epoch.Add(time.Hour), 500), &d)
	if d.Total < 24_999 || !d.Thinned || len(d.Cycles) != 500 {
		t.Fatalf("%d of %d, thinned %v", len(d.Cycles), d.Total, d.Thinned)
	}
	var pauses []time.Duration
	for _, c := range rec.Cycles {
		pauses = append(pauses, c.Pause)
	}
	slices.Sort(pauses)
	least := pauses[len(pauses)-240].Seconds()
	longest, last, gap := 0, time.Time{}, time.Duration(0)
	for _, c := range d.Cycles {
		if *c.Pause >= 0.9999*least {
			longest++
		}
		if !c.End.After(last) {
			t.Fatalf("%v comes after %v", c.End, last)
		}
		if !last.IsZero() {
			gap = max(gap, c.End.Sub(last))
		}
		last = c.End
		if c.N == 0 {
			t.Fatal("a cycle has no number")
		}
	}
	if longest < 230 || gap > time.Minute {
		t.Errorf("%d of the longest 240 pauses are there; nothing for %v", longest, gap)
	}
}

func TestThin(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{0, 1, 2, 3, 10, 99, 1000} {
		var points []promql.FPoint
		for i := range n {
			points = append(points, promql.FPoint{T: int64(i), F: float64(rng.IntN(20))})
		}
		for _, limit := range []int{1, 2, 3, 10, 98, 1000} {
			out := thin(points, limit)
			if len(out) != min(n, limit) || !slices.IsSortedFunc(out, func(a, b promql.FPoint) int { return int(a.T - b.T) }) {
				t.Fatalf("%d of %d: %d, sorted wrong or of the wrong size", limit, n, len(out))
			}
			if n > 0 {
				high := slices.MaxFunc(points, func(a, b promql.FPoint) int { return int(a.F - b.F) })
				if !slices.ContainsFunc(out, func(p promql.FPoint) bool { return p.F == high.F }) {
					t.Fatalf("%d of %d: the highest is not there", limit, n)
				}
			}
		}
	}
}

// Every series of a cycle has its place in a row.
func TestCycleFields(t *testing.T) {
	for _, p := range series.FromCycle(nil, &record.Cycle{Detail: true}) {
		if cycleFields[p.Name[len(cyclePrefix):]] == nil {
			t.Errorf("%s has no place", p.Name)
		}
	}
	// And every series that is drawn is one that is stored.
	for set, lines := range lineSets {
		for _, l := range lines {
			if _, ok := series.Lookup(l.metric); !ok {
				t.Errorf("%s: nothing is stored as %s", set, l.metric)
			}
		}
	}
}
