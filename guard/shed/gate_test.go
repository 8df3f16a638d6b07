package shed

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// settled fails the test unless nothing is in flight.
func settled(t *testing.T, g *Gate) {
	t.Helper()
	s := g.Stats()
	if s.InFlight != 0 || s.InFlightBytes != 0 {
		t.Errorf("in flight at the end: %d requests, %d bytes", s.InFlight, s.InFlightBytes)
	}
	if s.Admitted != s.Completed {
		t.Errorf("admitted %v, completed %v", s.Admitted, s.Completed)
	}
}

func TestFills(t *testing.T) {
	for _, tt := range []struct {
		held int64 // of 1000
		cost int64
		want map[Class]bool
	}{
		{0, 100, map[Class]bool{Low: true, Normal: true, High: true, Critical: true}},
		{400, 100, map[Class]bool{Low: true, Normal: true, High: true, Critical: true}},
		{401, 100, map[Class]bool{Low: false, Normal: true, High: true, Critical: true}},
		{800, 100, map[Class]bool{Low: false, Normal: true, High: true, Critical: true}},
		{801, 100, map[Class]bool{Low: false, Normal: false, High: true, Critical: true}},
		{900, 100, map[Class]bool{Low: false, Normal: false, High: true, Critical: true}},
		{901, 100, map[Class]bool{Low: false, Normal: false, High: false, Critical: true}},
		{5000, 1, map[Class]bool{Low: false, Normal: false, High: false, Critical: true}},
		// Alone, whatever it costs.
		{0, 5000, map[Class]bool{Low: true, Normal: true, High: true, Critical: true}},
	} {
		for class, want := range tt.want {
			g := NewGate(Options{Capacity: 1000})
			var held Ticket
			if tt.held > 0 {
				held, _ = g.Admit(Critical, tt.held)
			}
			ticket, ok := g.Admit(class, tt.cost)
			if ok != want {
				t.Errorf("%v of %d with %d of 1000 held: admitted is %t", class, tt.cost, tt.held, ok)
			}
			s := g.Stats()
			wantBytes, wantShed := tt.held, uint64(1)
			if ok {
				wantBytes, wantShed = tt.held+tt.cost, 0
			}
			if s.InFlightBytes != wantBytes || s.ShedByCapacity[class] != wantShed || s.Shed().Total() != wantShed {
				t.Errorf("%v of %d with %d of 1000 held: %+v", class, tt.cost, tt.held, s)
			}
			ticket.Done()
			held.Done()
			settled(t, g)
		}
	}
}

// Who has no limit writes 0, or -1.
func TestNoCapacity(t *testing.T) {
	for _, capacity := range []int64{0, -1, math.MinInt64, NoBound} {
		g := NewGate(Options{Capacity: capacity})
		one, _ := g.Admit(Low, 1<<30)
		two, ok := g.Admit(Low, 1<<30)
		if !ok || g.Capacity() != NoBound {
			t.Errorf("capacity %d: a second request is admitted: %t, the bound is %d", capacity, ok, g.Capacity())
		}
		one.Done()
		two.Done()
		settled(t, g)
	}
}

func TestCostsOutOfRange(t *testing.T) {
	for _, tt := range []struct{ cost, want int64 }{
		{0, 1}, {-1, 1}, {math.MinInt64, 1}, {1, 1},
		{maxCost, maxCost}, {maxCost + 1, maxCost}, {math.MaxInt64, maxCost},
	} {
		for _, capacity := range []int64{0, 1, 1 << 40, math.MaxInt64 - 1} {
			g := NewGate(Options{Capacity: capacity})
			ticket, ok := g.Admit(Normal, tt.cost)
			if got := g.Stats().InFlightBytes; !ok || got != tt.want {
				t.Errorf("cost %d with capacity %d: admitted is %t, %d bytes", tt.cost, capacity, ok, got)
			}
			ticket.Done()
			settled(t, g)
		}
	}
	// Many of the largest do not overflow, in either way of counting.
	for _, capacity := range []int64{0, 1 << 40} {
		g := NewGate(Options{Capacity: capacity})
		var tickets []Ticket
		for range 10_000 {
			ticket, ok := g.Admit(Critical, math.MaxInt64)
			if !ok {
				t.Fatal("a critical request is refused")
			}
			tickets = append(tickets, ticket)
		}
		if got := g.Stats().InFlightBytes; got != 10_000*maxCost {
			t.Errorf("%d bytes in flight", got)
		}
		for _, ticket := range tickets {
			ticket.Done()
		}
		settled(t, g)
	}
}

func TestUnknownClassIsNormal(t *testing.T) {
	g := NewGate(Options{})
	g.SetShares(Shares{High: 1, Low: 1})
	if _, ok := g.Admit(NumClasses, 1); ok {
		t.Error("admitted while the share of Normal is 0")
	}
	if g.Stats().ShedByShare[Normal] != 1 {
		t.Errorf("%+v", g.Stats())
	}
	Ticket{}.Done() // of the refusal: nothing happens
	settled(t, g)
}

func TestShares(t *testing.T) {
	const n = 20_000
	for _, tt := range []struct{ share, want float64 }{
		{0, 0}, {-3, 0}, {math.Inf(-1), 0}, {0.25, 0.25}, {0.9, 0.9}, {1, 1}, {7, 1}, {math.NaN(), 1}, {math.Inf(1), 1},
	} {
		g := NewGate(Options{})
		g.SetShares(Shares{tt.share, tt.share, tt.share, tt.share})
		if got := g.Shares(); math.Abs(got[Low]-tt.want) > 1e-9 || got[Critical] != 1 {
			t.Errorf("share %v is kept as %v", tt.share, got)
		}
		for _, class := range Classes {
			admitted := 0
			for range n {
				ticket, ok := g.Admit(class, 1)
				if ok {
					admitted++
				}
				ticket.Done()
			}
			want := tt.want
			if class == Critical {
				want = 1
			}
			// Six standard deviations; none at the ends.
			if off := math.Abs(float64(admitted) - want*n); off > 6*math.Sqrt(n*want*(1-want)) {
				t.Errorf("share %v: %d of %d %v requests admitted", tt.share, admitted, n, class)
			}
		}
		settled(t, g)
	}
}

func TestOpenGateAdmitsAll(t *testing.T) {
	g := NewGate(Options{Capacity: 1, Budget: Budget{MaxRatio: 0.5}})
	g.SetShares(Shares{})
	g.Admit(Low, 1)
	g.SetShares(All())
	g.SetCapacity(NoBound)
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 5000 {
				if _, ok := g.Admit(Classes[i%NumClasses], rand.Int64()); !ok {
					t.Error("refused")
					return
				}
			}
		}()
	}
	wg.Wait()
}

// TestAgainstModel holds the decisions against those of a plain account, which they
// equal to the byte where there is one goroutine: what stripes take in advance
// refuses nobody.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		checkModel(t, func() uint64 { return rnd.Uint64() }, 1500)
	}
}

func FuzzAgainstModel(f *testing.F) {
	f.Add([]byte("\x00\x10\x20\x03\xff\x07\x01\x09"))
	f.Fuzz(func(t *testing.T, data []byte) {
		i := 0
		checkModel(t, func() uint64 {
			var x uint64
			for range 3 {
				x <<= 8
				if i < len(data) {
					x |= uint64(data[i])
				}
				i++
			}
			return x
		}, len(data)/3)
	})
}

func checkModel(t *testing.T, next func() uint64, steps int) {
	t.Helper()
	g := NewGate(Options{})
	capacity, held := int64(NoBound), int64(0)
	type open struct {
		ticket Ticket
		cost   int64
	}
	var tickets []open
	for range steps {
		x := next()
		switch op := x % 16; {
		case op == 0:
			capacity = []int64{NoBound, 0, 1, 100, 1 << 16, 1 << 20, 1 << 40, NoBound - 1}[x>>8%8]
			g.SetCapacity(capacity)
			capacity = max(capacity, 1)
		case op < 8 && len(tickets) > 0:
			i := int(x >> 8 % uint64(len(tickets)))
			tickets[i].ticket.Done()
			held -= tickets[i].cost
			tickets[i] = tickets[len(tickets)-1]
			tickets = tickets[:len(tickets)-1]
		default:
			class := Classes[x>>4%NumClasses]
			cost := int64(1) << (x >> 8 % 20)
			want := class == Critical || capacity == NoBound || held == 0
			if !want {
				limit := capacity/100*fills[class] + capacity%100*fills[class]/100
				want = held <= limit-cost
			}
			ticket, ok := g.Admit(class, cost)
			if ok != want {
				t.Fatalf("%v of %d with %d of %d held: admitted is %t", class, cost, held, capacity, ok)
			}
			if ok {
				held += cost
				tickets = append(tickets, open{ticket, cost})
			}
		}
		if requests, bytes := g.inFlight(); bytes != held || requests != int64(len(tickets)) {
			t.Fatalf("%d requests with %d bytes in flight, want %d with %d", requests, bytes, len(tickets), held)
		}
	}
	for _, o := range tickets {
		o.ticket.Done()
	}
	settled(t, g)
}

// TestBound lets many goroutines in and out and holds what they have against the
// capacity, which is exact but for Critical.
func TestBound(t *testing.T) {
	const capacity = 1 << 20
	g := NewGate(Options{Capacity: capacity})
	var held, over, admitted atomic.Int64
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewPCG(uint64(worker), 2))
			type open struct {
				ticket Ticket
				cost   int64
			}
			var tickets []open
			end := func(i int) {
				held.Add(-tickets[i].cost) // before: held is never more than what the gate counts
				tickets[i].ticket.Done()
				tickets[i] = tickets[len(tickets)-1]
				tickets = tickets[:len(tickets)-1]
			}
			for range 5_000 {
				if len(tickets) > 0 && rnd.IntN(5) < 2 {
					end(rnd.IntN(len(tickets)))
					continue
				}
				// None costs more than the capacity of Low.
				cost := rnd.Int64N(1 << (10 + rnd.IntN(10)))
				if ticket, ok := g.Admit([]Class{Low, Normal, High}[rnd.IntN(3)], cost); ok {
					admitted.Add(1)
					tickets = append(tickets, open{ticket, max(cost, 1)})
					if held.Add(max(cost, 1)) > capacity {
						over.Add(1)
					}
				}
				if rnd.IntN(100) == 0 { // now and then nearly empty, so that stripes take in advance
					for len(tickets) > 0 {
						end(0)
					}
				}
			}
			for len(tickets) > 0 {
				end(0)
			}
		}()
	}
	stop, looked := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(looked)
		for {
			if s := g.Stats(); s.InFlightBytes > capacity || s.PeakInFlightBytes > capacity || s.InFlight < 0 {
				t.Errorf("in flight: %d requests, %d bytes, peak %d, of %d", s.InFlight, s.InFlightBytes, s.PeakInFlightBytes, capacity)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	wg.Wait()
	close(stop)
	<-looked
	if over.Load() > 0 {
		t.Errorf("%d times above the capacity", over.Load())
	}
	if shed := g.Stats().ShedByCapacity.Total(); shed == 0 || admitted.Load() == 0 {
		t.Errorf("%d admitted, %d shed: the test tests nothing", admitted.Load(), shed)
	}
	settled(t, g)
}

// TestChanges sets everything while requests come and go: nothing is lost, and
// Critical is never refused.
func TestChanges(t *testing.T) {
	g := NewGate(Options{Budget: Budget{MaxRatio: 0.9}})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewPCG(uint64(worker), 3))
			var tickets []Ticket
			for range 4_000 {
				class := Classes[rnd.IntN(NumClasses)]
				ticket, ok := g.Admit(class, rnd.Int64N(1<<18))
				if ok {
					tickets = append(tickets, ticket)
				} else if class == Critical {
					t.Error("a critical request is refused")
				}
				for len(tickets) > rnd.IntN(20) {
					tickets[0].Done()
					tickets = tickets[1:]
				}
			}
			for _, ticket := range tickets {
				ticket.Done()
			}
		}()
	}
	stop, changed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(changed)
		rnd := rand.New(rand.NewPCG(9, 3))
		for {
			select {
			case <-stop:
				return
			default:
			}
			g.SetCapacity([]int64{NoBound, 0, 1 << 16, 1 << 22, 1 << 30}[rnd.IntN(5)])
			g.SetShares(Shares{rnd.Float64(), rnd.Float64(), rnd.Float64(), 0})
			g.Window()
		}
	}()
	wg.Wait()
	close(stop)
	<-changed
	settled(t, g)
}

func TestAdmitDoesNotAllocate(t *testing.T) {
	for _, capacity := range []int64{0, 1 << 20, 1} {
		g := NewGate(Options{Capacity: capacity, Budget: Budget{MaxRatio: 0.99}})
		held, _ := g.Admit(Normal, 1)
		for _, share := range []float64{1, 0.5, 0} {
			g.SetShares(Shares{share, share, share, share})
			if n := testing.AllocsPerRun(1000, func() {
				ticket, _ := g.Admit(Normal, 1000)
				ticket.Done()
			}); n > TicketAllocs {
				t.Errorf("capacity %d, share %v: %v allocations, want at most %v", capacity, share, n, TicketAllocs)
			}
		}
		held.Done()
		settled(t, g)
	}
}
