//go:build go1.25

package shed

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

func TestBudget(t *testing.T) {
	for _, tt := range []struct {
		name   string
		budget Budget
		shares Shares
		most   [NumClasses]float64 // of each class's requests are shed
		total  float64
	}{
		{"none", Budget{}, Shares{}, [NumClasses]float64{Normal: 1, Low: 1, High: 1}, 0.75},
		{"no limit", Budget{MaxRatio: 1, ByClass: [NumClasses]float64{2, -1, 1, 0}}, Shares{}, [NumClasses]float64{Normal: 1, Low: 1, High: 1}, 0.75},
		{"all", Budget{MaxRatio: 0.5}, Shares{}, [NumClasses]float64{Normal: 1, Low: 1, High: 1}, 0.5},
		{"class", Budget{ByClass: [NumClasses]float64{High: 0.2}}, Shares{}, [NumClasses]float64{Normal: 1, Low: 1, High: 0.2}, 0.55},
		{"both", Budget{MaxRatio: 0.3, ByClass: [NumClasses]float64{High: 0.1}}, Shares{}, [NumClasses]float64{Normal: 1, Low: 1, High: 0.1}, 0.3},
		{"not reached", Budget{MaxRatio: 0.9}, Shares{Normal: 1, High: 1}, [NumClasses]float64{Low: 1}, 0.25},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewGate(Options{Budget: tt.budget})
				rnd := rand.New(rand.NewPCG(1, 4))
				run := func(requests int) {
					for range requests {
						ticket, _ := g.Admit(Class(rnd.IntN(NumClasses)), 1)
						ticket.Done()
						time.Sleep(10 * time.Millisecond)
					}
				}
				// Two healthy minutes give no right to shed everything after them.
				run(12_000)
				g.SetShares(tt.shares)
				g.Window()
				for range 10 {
					run(3000) // half a window
					w := g.Window()
					offered := func(c Class) float64 { return float64(w.Admitted[c] + w.Shed()[c]) }
					var all float64
					for _, c := range Classes {
						all += offered(c)
						if got := float64(w.Shed()[c]); got > tt.most[c]*offered(c)*1.05+float64(len(g.stripes)) {
							t.Errorf("%v of %v %v requests shed", got, offered(c), c)
						}
					}
					got := float64(w.Shed().Total())
					// Half a window of the test is not one of the budget.
					if got > tt.total*all*1.1 || got < tt.total*all*0.85 {
						t.Errorf("%v of %v requests shed, want %v of them", got, all, tt.total)
					}
					spared := w.Spared.Total()
					switch {
					case !tt.budget.limited() && spared > 0,
						tt.budget.limited() && tt.total < 0.7 && tt.name != "not reached" && spared == 0,
						// The first after a change of marks, in each stripe.
						tt.name == "not reached" && spared > uint64(3*len(g.stripes)):
						t.Errorf("%d requests spared", spared)
					}
				}
				settled(t, g)
			})
		})
	}
}

// TestBudgetNever holds a budget against every request in turn: at no time since the
// shedding began has more been shed than it allows.
func TestBudgetNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ratio = 0.7
		g := NewGate(Options{Budget: Budget{MaxRatio: ratio, Window: 10 * time.Second}})
		g.SetShares(Shares{})
		rnd := rand.New(rand.NewPCG(2, 4))
		shed := 0
		for offered := 1; offered < 50_000; offered++ {
			ticket, ok := g.Admit(Low, 1)
			ticket.Done()
			if !ok {
				shed++
			}
			if float64(shed) > ratio*float64(offered)+1e-6 {
				t.Fatalf("%d of %d requests shed", shed, offered)
			}
			time.Sleep(time.Duration(rnd.IntN(30)) * time.Millisecond)
		}
		if float64(shed) < 0.6*50_000 {
			t.Errorf("%d of 50000 requests shed", shed)
		}
	})
}

func TestBudgetAndCapacity(t *testing.T) {
	for _, over := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := NewGate(Options{Capacity: 100, Budget: Budget{MaxRatio: 0.5, OverCapacity: over}})
			held, _ := g.Admit(Critical, 100)
			var tickets []Ticket
			for range 1000 {
				if ticket, ok := g.Admit(Normal, 10); ok {
					tickets = append(tickets, ticket)
				}
			}
			s := g.Stats()
			if !over && (len(tickets) != 0 || s.ShedByCapacity[Normal] != 1000 || s.Spared[Normal] != 0) {
				t.Errorf("%d admitted above the capacity: %+v", len(tickets), s)
			}
			if over && (len(tickets) < 500 || len(tickets) > 520 || s.Spared[Normal] != uint64(len(tickets))) {
				t.Errorf("%d of 1000 admitted above the capacity, want half: %+v", len(tickets), s)
			}
			for _, ticket := range tickets {
				ticket.Done()
			}
			held.Done()
			settled(t, g)
		})
	}
}

func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(Options{Capacity: 1 << 20})
		if w := g.Window(); w != (Window{}) || w.MeanInFlight() != 0 {
			t.Errorf("at the start: %+v", w)
		}
		// 100 requests a second, of which each takes 200 ms: 20 are in flight.
		for range 1000 {
			ticket, ok := g.Admit(Normal, 1000)
			if !ok {
				t.Fatal("refused")
			}
			time.AfterFunc(200*time.Millisecond, ticket.Done)
			time.Sleep(10 * time.Millisecond)
		}
		w := g.Window()
		if w.Elapsed != 10*time.Second || w.Admitted != (Counts{Normal: 1000}) || w.Shed().Total() != 0 {
			t.Errorf("%+v", w)
		}
		if w.ServiceTime != 200*time.Millisecond || w.Timed < 50 || w.Timed > uint64(1000/timeEvery+len(g.stripes)) {
			t.Errorf("%v in service, %d timed", w.ServiceTime, w.Timed)
		}
		if got := w.MeanInFlight(); got < 19 || got > 20 {
			t.Errorf("%v in flight on the average", got)
		}
		if w.PeakInFlight < 19 || w.PeakInFlight > 21 || w.PeakInFlightBytes != w.PeakInFlight*1000 {
			t.Errorf("at most %d with %d bytes in flight", w.PeakInFlight, w.PeakInFlightBytes)
		}

		// Then nothing comes, and the rest ends.
		time.Sleep(time.Second)
		w = g.Window()
		if w.Admitted.Total() != 0 || w.Completed.Total() != uint64(w.PeakInFlight) || w.InFlight != 0 || w.InFlightBytes != 0 {
			t.Errorf("%+v", w)
		}
		if w = g.Window(); w != (Window{}) {
			t.Errorf("nothing happened: %+v", w)
		}
		g.SetShares(Shares{})
		g.Admit(Low, 1)
		g.SetCapacity(1)
		held, _ := g.Admit(Critical, 10)
		g.SetShares(All())
		g.Admit(High, 1)
		w = g.Window()
		if w.ShedByShare != (Counts{Low: 1}) || w.ShedByCapacity != (Counts{High: 1}) || w.Shed() != (Counts{Low: 1, High: 1}) {
			t.Errorf("%+v", w)
		}
		held.Done()
		settled(t, g)
	})
}
