package sense

import (
	"math"
	"testing"
	"testing/quick"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/record"
)

const mebi = 1 << 20

// feed gives a window a look each tenth of a second, and returns the last point.
func feed(w *window, n int, from time.Duration, at func(i int) look) map[chaos.Metric]float64 {
	var v map[chaos.Metric]float64
	for i := range n {
		l := at(i)
		l.at = from + time.Duration(i)*100*time.Millisecond
		v = w.add(l)
	}
	return v
}

func check(t *testing.T, v map[chaos.Metric]float64, m chaos.Metric, want float64) {
	t.Helper()
	got, ok := v[m]
	if math.IsNaN(want) {
		if ok {
			t.Errorf("%s is %v, and cannot be known", m, got)
		}
		return
	}
	if !ok || math.Abs(got-want) > 1e-6*max(math.Abs(want), 1) {
		t.Errorf("%s is %v (%v), want %v", m, got, ok, want)
	}
}

var absent = math.NaN()

func TestCounters(t *testing.T) {
	count := func(v ...float64) func(i int) look {
		return func(i int) look {
			g := &groupLook{}
			if x := v[min(i, len(v)-1)]; !math.IsNaN(x) {
				g.kills = known(x)
				g.atLimit = map[string]uint64{"/a": uint64(x)}
			}
			return look{group: g}
		}
	}
	tests := []struct {
		name        string
		at          func(int) look
		kills, full float64
	}{
		{"nothing happened", count(7, 7, 7), 0, 0},
		{"since the first reading", count(7, 8, 10), 3, 3},
		{"it begins anew", count(7, 9, 1, 2), 3, 3},
		{"it is absent for a while", count(7, absent, 9), 2, 2},
		{"it comes late", count(absent, 5, 6), 1, 1},
		{"it is never known", count(absent), absent, absent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := feed(&window{}, 6, 0, tt.at)
			check(t, v, chaos.OOMKills, tt.kills)
			check(t, v, chaos.LimitEvents, tt.full)
		})
	}
	t.Run("another group has the limit", func(t *testing.T) {
		w := &window{}
		w.add(look{group: &groupLook{atLimit: map[string]uint64{"/a": 5}}})
		w.add(look{at: 1, group: &groupLook{atLimit: map[string]uint64{"/a": 6, "/b": 900}}})
		v := w.add(look{at: 2, group: &groupLook{atLimit: map[string]uint64{"/b": 901}}})
		check(t, v, chaos.LimitEvents, 2)
	})
}

func TestRates(t *testing.T) {
	steady := func(i int) look {
		f := float64(i)
		return look{
			stat:  statLook{cpu: known(f * 0.05)},
			group: &groupLook{periods: known(f), throttled: known(f / 4), some: known(f * 0.01), full: known(f * 0.002)},
		}
	}
	v := feed(&window{}, 120, 0, steady)
	check(t, v, chaos.CPUUsed, 0.5)
	check(t, v, chaos.ThrottledRatio, 0.25)
	check(t, v, chaos.PressureSome, 0.1)
	check(t, v, chaos.PressureFull, 0.02)

	t.Run("too short", func(t *testing.T) {
		v := feed(&window{}, 4, 0, steady)
		check(t, v, chaos.CPUUsed, absent)
		check(t, v, chaos.PressureSome, absent)
	})
	t.Run("after a gap", func(t *testing.T) {
		w := &window{}
		feed(w, 20, 0, steady)
		v := feed(w, 1, 30*time.Second, func(int) look { return steady(300) })
		check(t, v, chaos.CPUUsed, absent)
		check(t, v, chaos.ThrottledRatio, absent)
	})
	t.Run("back", func(t *testing.T) {
		w := &window{}
		feed(w, 20, 0, steady)
		v := feed(w, 1, 2*time.Second, func(int) look { return steady(1) })
		check(t, v, chaos.CPUUsed, absent)
	})
	t.Run("time goes back", func(t *testing.T) {
		w := &window{}
		feed(w, 20, 0, steady)
		v := feed(w, 1, time.Second, func(int) look { return steady(21) })
		check(t, v, chaos.CPUUsed, absent)
	})
	t.Run("nothing to throttle", func(t *testing.T) {
		v := feed(&window{}, 20, 0, func(int) look { return look{group: &groupLook{periods: known(5), throttled: known(5)}} })
		check(t, v, chaos.ThrottledRatio, 0)
	})
	t.Run("a group that does not answer", func(t *testing.T) {
		v := feed(&window{}, 20, 0, func(i int) look {
			if i == 19 {
				return look{}
			}
			return steady(i)
		})
		check(t, v, chaos.ThrottledRatio, absent)
		check(t, v, chaos.Usage, absent)
	})
}

func TestHeadroom(t *testing.T) {
	grow := func(slope float64, limit number) func(i int) look {
		return func(i int) look {
			ws := 50*mebi + slope*float64(i)/10
			return look{group: &groupLook{usage: known(60 * mebi), limit: limit, workingSet: known(ws)}}
		}
	}
	tests := []struct {
		name                   string
		at                     func(int) look
		headroom, ratio, until float64
	}{
		{"growing", grow(10*mebi, known(100*mebi)), 30 * mebi, 0.3, 3},
		{"still", grow(0, known(100*mebi)), 50 * mebi, 0.5, absent},
		{"falling", grow(-mebi, known(100*mebi)), 52 * mebi, 0.52, absent},
		{"no limit", grow(10*mebi, number{}), absent, absent, absent},
		{"beyond the limit", grow(10*mebi, known(60*mebi)), 0, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := feed(&window{}, 21, 0, tt.at)
			check(t, v, chaos.Headroom, tt.headroom)
			check(t, v, chaos.HeadroomRatio, tt.ratio)
			check(t, v, chaos.HeadroomSeconds, tt.until)
		})
	}
	t.Run("too few", func(t *testing.T) {
		check(t, feed(&window{}, 2, 0, grow(mebi, known(100*mebi))), chaos.HeadroomSeconds, absent)
	})
}

// cycled is what the runtime says after n cycles.
func cycled(n uint64, cycles ...record.Cycle) *booksLook {
	b := &booksLook{cpu: known(float64(n)), cycles: cycles}
	b.sample.Time = time.Unix(1000, 0)
	b.sample.GCCycles, b.sample.HeapMarkedBytes, b.sample.GOMEMLIMITBytes = n, 5*mebi, math.MaxInt64
	for _, f := range []record.Field{record.FieldGCCycles, record.FieldHeapMarkedBytes, record.FieldGOMEMLIMITBytes} {
		b.sample.Has.Add(f)
	}
	return b
}

func TestCycles(t *testing.T) {
	end := func(ago time.Duration) time.Time { return time.Unix(1000, 0).Add(-ago) }
	w := &window{}
	v := w.add(look{at: 20 * time.Second, books: cycled(3,
		record.Cycle{N: 1, End: end(11 * time.Second), Pause: time.Second},
		record.Cycle{N: 2, End: end(2 * time.Second), Pause: 20 * time.Millisecond},
		record.Cycle{N: 3, End: end(10 * time.Millisecond), Pause: time.Millisecond, Forced: true})})
	check(t, v, chaos.PauseP99, 0.02)
	check(t, v, chaos.PauseMax, 0.001)
	check(t, v, chaos.LiveHeap, 5*mebi)
	check(t, v, chaos.MemoryLimitGo, absent)
	got := w.takeCycles()
	if len(got) != 3 || got[0].At != 9*time.Second || got[0].LiveBytes != 0 || got[2].LiveBytes != 5*mebi || !got[2].Forced || got[2].At != 19990*time.Millisecond {
		t.Errorf("cycles are %+v", got)
	}
	if len(w.takeCycles()) > 0 {
		t.Error("they are taken twice")
	}
	v = w.add(look{at: 40 * time.Second, books: cycled(3)})
	check(t, v, chaos.PauseP99, 0)
	check(t, v, chaos.PauseMax, 0)
	// A clock of the target's that is ahead, or one that began anew.
	w.add(look{at: 41 * time.Second, books: cycled(5, record.Cycle{N: 4, End: end(-time.Hour)}, record.Cycle{N: 5, End: end(time.Hour), Pause: -1})})
	for _, c := range w.takeCycles() {
		if c.At < 0 || c.At > 41*time.Second || c.Pause < 0 {
			t.Errorf("a cycle is %+v", c)
		}
	}
}

func TestLimiter(t *testing.T) {
	w := &window{}
	on := func(now bool, last uint64) *booksLook {
		b := cycled(9)
		b.sample.LimiterEnabled, b.sample.LimiterLastCycle = now, last
		b.sample.Has.Add(record.FieldLimiterEnabled)
		b.sample.Has.Add(record.FieldLimiterLastCycle)
		return b
	}
	for i, tt := range []struct {
		now  bool
		last uint64
		want float64
	}{{false, 4, 0}, {false, 4, 0}, {true, 9, 1}, {false, 9, 0}, {false, 10, 1}, {false, 10, 0}} {
		check(t, w.add(look{at: time.Duration(i+1) * time.Second, books: on(tt.now, tt.last)}), chaos.LimiterOn, tt.want)
	}
}

func TestGone(t *testing.T) {
	w := &window{}
	check(t, w.add(look{at: 1, stat: statLook{rss: known(1)}}), chaos.Restarts, 0)
	v := w.add(look{at: 2, stat: statLook{gone: true, rss: known(1)}, books: cycled(1)})
	check(t, v, chaos.Restarts, 1)
	check(t, v, chaos.RSS, absent)
	check(t, v, chaos.LiveHeap, absent)
	if !w.justGone {
		t.Error("nobody is told that it has ended")
	}
	check(t, w.add(look{at: 3}), chaos.Restarts, 1) // it does not come back
	if w.justGone {
		t.Error("it ends twice")
	}
}

// TestNoNonsense: whatever is read, a point has numbers only, ratios are ratios, and what
// is kept is bounded.
func TestNoNonsense(t *testing.T) {
	w := &window{}
	at := time.Duration(0)
	f := func(step uint16, usage, limit, ws, some, cpu float64, total, free float64, gone bool, cycles uint8) bool {
		at += time.Duration(step) * time.Microsecond * 100
		l := look{
			at: at, stat: statLook{gone: gone && step%97 == 0, cpu: known(cpu), rss: known(usage)}, host: hostLook{known(total), known(free)},
			group: &groupLook{usage: known(usage), limit: known(limit), workingSet: number{ws, true}, some: known(some), full: number{math.NaN(), true}, periods: known(cpu), throttled: known(some)},
			books: cycled(uint64(cycles)), probed: probed{chaos.Ready: math.Inf(1)},
		}
		for m, v := range w.add(l) {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				t.Errorf("%s is %v", m, v)
				return false
			}
			if (m == chaos.PressureSome || m == chaos.ThrottledRatio) && (v < 0 || v > 1) {
				t.Errorf("%s is %v", m, v)
				return false
			}
		}
		return len(w.looks) <= maxLooks
	}
	if err := quick.Check(f, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
}
