package fault

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestPacer walks pacers through times that stand still, and sees that what is not
// late is done, that nothing is done twice, and that a stop is not made up for.
func TestPacer(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		rate := []float64{0.2, 3, 1000, 5e7}[seed%4]
		unit := []float64{1, rate / 200, 64 << 10}[seed/4%3]
		p, now := pacer{}, time.Unix(0, 0)
		var done, stood float64
		begin := now
		for range 2000 {
			wait := p.until(now, rate, unit)
			if wait < 0 {
				t.Fatalf("seed %d: waits %v", seed, wait)
			}
			if wait == 0 {
				done += p.due
				if most := max(rate*slack.Seconds(), unit) * 1.0001; p.due > most {
					t.Fatalf("seed %d: %g are due at once, at most %g may be", seed, p.due, most)
				}
				p.due = 0
			}
			late := time.Duration(0)
			if r.IntN(50) == 0 {
				late = time.Duration(r.Int64N(int64(time.Hour)))
				stood += late.Seconds()
			}
			now = now.Add(wait + time.Duration(r.Int64N(int64(time.Millisecond))) + late)
		}
		d := now.Sub(begin).Seconds()
		if done > (d+slack.Seconds())*rate+unit {
			t.Errorf("seed %d: %g done in %g s at %g a second", seed, done, d, rate)
		}
		if want := (d - stood) * rate * 0.95; done < want-unit {
			t.Errorf("seed %d: %g done, %g were due", seed, done, want)
		}
	}
	p := pacer{}
	if p.until(time.Unix(1, 0), 0, 1) != never || p.until(time.Unix(1, 0), 1e-300, 1) != never {
		t.Error("a rate of nothing is waited for")
	}
}

func TestMeter(t *testing.T) {
	m, now := meter{}, time.Unix(0, 0)
	m.add(now, 10, 0)
	for range 30 {
		now = now.Add(100 * time.Millisecond)
		m.add(now, 10, 1)
	}
	if rate, total := m.reached(); rate < 9 || rate > 11 || total != 30 {
		t.Errorf("rate %g, total %d", rate, total)
	}
	m.add(now, 20, 0) // another level is measured anew
	now = now.Add(100 * time.Millisecond)
	m.add(now, 20, 2)
	if rate, _ := m.reached(); rate < 19 || rate > 21 {
		t.Errorf("rate %g", rate)
	}
	m.add(now, 0, 0)
	m.add(now.Add(2*time.Second), 0, 0)
	if rate, total := m.reached(); rate != 0 || total != 32 {
		t.Errorf("rate %g, total %d at no level", rate, total)
	}
}

// TestWeb counts what is found from the one object of a web that is kept: by marking,
// with the runtime, in TestKeeps; by hand here.
func TestWeb(t *testing.T) {
	p := &pointers{size: 16} // two pointers each
	n := 0
	at := p.web()
	for prev := ptr(nil); at != prev; n++ {
		prev, at = at, *at
	}
	if want := webBytes / 16; n != want {
		t.Errorf("%d objects in a row, want %d", n, want)
	}
}

func TestPile(t *testing.T) {
	var p pile[int]
	for n := range 3000 {
		p.push(n)
	}
	for n := 2999; n >= 0; n-- {
		if got := p.pop(); got != n || p.n != n {
			t.Fatalf("%d of %d, want %d", got, p.n, n)
		}
	}
	if len(p.blocks) != 0 {
		t.Errorf("%d blocks are left", len(p.blocks))
	}
}
