package tune

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/pacer"
)

func randomClaims(r *rand.Rand) (claims []claim, least, most float64) {
	for range 1 + r.IntN(8) {
		c := claim{cost: math.Exp(20 * r.Float64()), perByte: 1 + r.Float64(), least: 1e6 * (1 + 50*r.Float64())}
		c.most = c.least * (1 + 20*r.Float64()*r.Float64())
		if r.IntN(3) == 0 {
			c.most = 1e15
		}
		if r.IntN(8) == 0 {
			c.cost = 0
		}
		claims = append(claims, c)
		least += c.perByte * c.least
		if c.cost > 0 {
			most += c.perByte * c.most
		} else {
			most += c.perByte * c.least
		}
	}
	return claims, least, most
}

// TestWaterfillOptimum holds the split to what proves a convex optimum (Karush,
// Kuhn, Tucker): equal prices inside the bounds, a lower one at the floor, a
// higher one at the cap, and all of the room used.
func TestWaterfillOptimum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-6*max(math.Abs(a), math.Abs(b)) }
	for range 2000 {
		claims, least, most := randomClaims(r)
		room := least * (1 + 3*r.Float64())
		extra, price, ok := waterfill(room, claims)
		if !ok {
			t.Fatalf("%v does not hold %v", room, least)
		}
		used := 0.0
		for i, c := range claims {
			used += c.perByte * extra[i]
			marginal := c.cost / (c.perByte * extra[i] * extra[i])
			switch {
			case extra[i] < c.least*(1-1e-9) || extra[i] > c.most*(1+1e-9):
				t.Fatalf("%+v gets %v", c, extra[i])
			case c.inside(extra[i]) && !near(marginal, price):
				t.Fatalf("%+v inside its bounds pays %v, the price is %v", c, marginal, price)
			case extra[i] <= c.least*(1+1e-9) && marginal > price*(1+1e-6) && room < most:
				t.Fatalf("%+v at its floor would pay %v, the price is %v", c, marginal, price)
			case extra[i] >= c.most*(1-1e-9) && marginal < price*(1-1e-6):
				t.Fatalf("%+v at its cap pays %v, the price is %v", c, marginal, price)
			}
		}
		if want := min(room, most); !near(used, want) {
			t.Fatalf("%v of %v are used by %+v", used, want, claims)
		}
		more, _, _ := waterfill(room*1.1, claims)
		for i := range more {
			if more[i] < extra[i]*(1-1e-9) {
				t.Fatalf("with more room, %+v gets less: %v, then %v", claims[i], extra[i], more[i])
			}
		}
		last := len(claims) - 1
		claims[0], claims[last] = claims[last], claims[0]
		again, _, _ := waterfill(room, claims)
		if !near(again[0], extra[last]) || !near(again[last], extra[0]) {
			t.Fatalf("the order changes the split: %v, then %v", extra, again)
		}
	}
}

func TestWaterfill(t *testing.T) {
	free := func(cost, perByte float64) claim { return claim{cost, perByte, 1, 1e12} }
	for _, tt := range []struct {
		name   string
		room   float64
		claims []claim
		want   []float64
		price  float64
	}{
		{"alike", 200e6, []claim{free(1, 1), free(1, 1)}, []float64{100e6, 100e6}, 1e-16},
		{"four times the cost is twice the room", 300e6, []claim{free(4, 1), free(1, 1)}, []float64{200e6, 100e6}, 1e-16},
		{"memory that costs more", 300e6, []claim{free(1, 4), free(1, 1)}, []float64{50e6, 100e6}, 1e-16},
		{"floor", 110e6, []claim{{1, 1, 100e6, 1e12}, free(1, 1)}, []float64{100e6, 10e6}, 1e-14},
		{"cap", 300e6, []claim{{1, 1, 1, 50e6}, free(1, 1)}, []float64{50e6, 250e6}, 1.6e-17},
		{"nothing to gain", 300e6, []claim{{0, 1, 1e6, 1e12}, free(1, 1)}, []float64{1e6, 299e6}, 1.11855572e-17},
		{"more than all can use", 300e6, []claim{{1, 1, 1, 50e6}, {1, 1, 1, 60e6}}, []float64{50e6, 60e6}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, price, ok := waterfill(tt.room, tt.claims)
			if !ok {
				t.Fatal("does not fit")
			}
			for i := range got {
				if math.Abs(got[i]-tt.want[i]) > 1e-6*tt.want[i] {
					t.Errorf("got %v, want %v", got, tt.want)
				}
			}
			if math.Abs(price-tt.price) > 1e-6*tt.price {
				t.Errorf("price %v, want %v", price, tt.price)
			}
		})
	}
	if _, _, ok := waterfill(99, []claim{{1, 1, 100, 200}}); ok {
		t.Error("99 hold 100")
	}
}

func TestHull(t *testing.T) {
	got := hull([]point{{1, math.Inf(1)}, {2, 10}, {3, 9}, {4, 4}, {4, 3}, {5, 6}, {6, 3}, {7, math.NaN()}, {8, 2.9}})
	want := []point{{2, 10}, {4, 4}, {6, 3}, {8, 2.9}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	bytes, price, ok := descend(7.5, [][]point{got, {{1, 5}, {2, 4.3}, {3, 4.2}}})
	if !ok || fmt.Sprint(bytes) != "[5.5 2]" || price != 0.5 {
		t.Errorf("got %v at %v, %v", bytes, price, ok)
	}
	if _, _, ok := descend(2, [][]point{got, {{1, 5}}}); ok {
		t.Error("2 hold 3")
	}
}

func splitText(s *Split) string {
	var b strings.Builder
	total := func(t Total) {
		fmt.Fprintf(&b, "%-24s GC %s, RSS peak %s, fits %v %s\n", t.Name, interval(t.GCCPUCores, cores), interval(t.RSSPeak, rule.FormatBytes), t.Fits, t.Note)
	}
	fmt.Fprintf(&b, "budget %s smallest %s reserve %s (%s) keep %v refined %v last MiB saves %.3g cores\n", rule.FormatBytes(float64(s.BudgetBytes)), rule.FormatBytes(float64(s.SmallestBytes)),
		rule.FormatBytes(float64(s.ReserveBytes)), s.ReserveFrom, s.Keep, s.Refined, s.CoresPerMiB)
	for _, x := range s.Slices {
		fmt.Fprintf(&b, "%-8s %s extra %s GOGC=%s GOMEMLIMIT=%s floor %v cap %v GC %.3g -> %.3g cores\n", x.Name, rule.FormatBytes(float64(x.BudgetBytes)), rule.FormatBytes(float64(x.ExtraBytes)),
			gogc(x.Settings.GOGCPercent), goLimit(x.Settings.GOMEMLIMITBytes), x.AtFloor, x.AtCap, x.Current.GCCPUCores.Estimate, x.Expected.GCCPUCores.Estimate)
		for _, r := range x.Risk {
			fmt.Fprintln(&b, "  risk:", r)
		}
	}
	total(s.Expected)
	for _, o := range s.Others {
		total(o)
	}
	for _, n := range s.Notes {
		fmt.Fprintln(&b, "note:", n)
	}
	return b.String()
}

// three are processes that differ in what a split goes by: one holds much and
// allocates little, one holds little and allocates much.
func three() []Tenant {
	cache, api, index := server(), server(), server()
	cache.live, cache.livePeak, cache.alloc, cache.cycle = 400*mib, 420*mib, 10*mib, 0.12
	api.live, api.livePeak, api.alloc, api.cycle = 40*mib, 50*mib, 400*mib, 0.02
	index.live, index.livePeak, index.alloc, index.cycle = 120*mib, 125*mib, 60*mib, 0.08
	return []Tenant{{Name: "cache", Twin: cache}, {Name: "api", Twin: api}, {Name: "index", Twin: index}}
}

func TestShare(t *testing.T) {
	capped := three()
	capped[1].MaxBytes = 200 * mib
	weighted := three()
	weighted[2].Weight = 9
	one := three()[:1]
	for _, tt := range []struct {
		name    string
		budget  uint64
		tenants []Tenant
	}{
		{"three", 1500 * mib, three()},
		{"three_tight", 900 * mib, three()},
		{"three_roomy", 6 * gib, three()},
		{"capped", 1500 * mib, capped},
		{"weighted", 1500 * mib, weighted},
		{"alone", 700 * mib, one},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Share(tt.budget, tt.tenants)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "share_"+tt.name, splitText(s))
		})
	}
}

func TestShareRefuses(t *testing.T) {
	leaks := three()
	leak := server()
	leak.grows = mib
	leaks[1].Twin = leak
	capped := three()
	capped[0].MaxBytes = 100 * mib
	for _, tt := range []struct {
		name    string
		budget  uint64
		tenants []Tenant
	}{
		{"zero", 0, three()},
		{"too_small", 600 * mib, three()},
		{"nobody", gib, nil},
		{"leak", 2 * gib, leaks},
		{"cap_below_floor", 2 * gib, capped},
		{"no_twin", gib, []Tenant{{Name: "x"}}},
		{"weight", gib, []Tenant{{Name: "x", Twin: server(), Weight: math.NaN()}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Share(tt.budget, tt.tenants)
			if err == nil {
				t.Fatal(splitText(s))
			}
			golden(t, "share_refuse_"+tt.name, err.Error()+"\n")
		})
	}
}

// TestShareUnknown: a budget is not too small for what is not known.
func TestShareUnknown(t *testing.T) {
	blind := server()
	blind.kappa = math.NaN()
	_, err := Share(gib, []Tenant{{Name: "a", Twin: server()}, {Name: "b", Twin: blind}})
	var unfit *pacer.UnfitError
	if !errors.As(err, &unfit) || !strings.HasPrefix(err.Error(), "b: ") {
		t.Errorf("%v", err)
	}
}

// TestSplitProperties holds splits among random processes to what every split
// keeps.
func TestSplitProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	splits := 0
	for range 60 {
		var tenants []Tenant
		need := 0.0
		for i := range 2 + r.IntN(4) {
			f := random(r)
			f.live = min(f.live, 2*gib)
			f.livePeak = min(f.livePeak, 2.5*gib)
			f.now.GOGCPercent = 25
			need += f.kappa*f.livePeak + f.runtime + f.nonGo*(1+f.width)
			tenants = append(tenants, Tenant{Name: fmt.Sprint("t", i), Twin: f})
		}
		budget := uint64(need * (1 + 3*r.Float64()))
		s, err := Share(budget, tenants)
		var small *BudgetError
		if errors.As(err, &small) {
			if small.Smallest <= budget {
				t.Errorf("smallest %d in %d", small.Smallest, budget)
			}
			if _, err := Share(small.Smallest, tenants); err != nil {
				t.Errorf("the smallest budget of %d does not work: %v", small.Smallest, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		splits++
		sum := uint64(0)
		for i, x := range s.Slices {
			sum += x.BudgetBytes
			if m := x.Settings.GOMEMLIMITBytes; !s.Keep && float64(m) < tenants[i].Twin.StormFloorBytes().Estimate*(1+stormBand) {
				t.Errorf("%s gets %d, below its storm floor", x.Name, m)
			}
			if g := x.Settings.GOGCPercent; !s.Keep && (g < leastGOGC || g > mostGOGC) {
				t.Errorf("%s gets GOGC=%d", x.Name, g)
			}
		}
		if sum > budget && !s.Keep {
			t.Errorf("slices of %d in a budget of %d", sum, budget)
		}
		if !s.Expected.Fits || s.Expected.RSSPeak.High > float64(budget) {
			t.Errorf("the split does not fit: %s", splitText(s))
		}
		for _, o := range s.Others {
			if o.Fits && o.GCCPUCores.Estimate < 0.85*s.Expected.GCCPUCores.Estimate-0.01 {
				t.Errorf("%s is better:\n%s", o.Name, splitText(s))
			}
		}
		// The order of the processes is of no importance.
		last := len(tenants) - 1
		tenants[0], tenants[last] = tenants[last], tenants[0]
		again, err := Share(budget, tenants)
		if err != nil {
			t.Fatal(err)
		}
		a, b := float64(s.Slices[0].Settings.GOMEMLIMITBytes), float64(again.Slices[last].Settings.GOMEMLIMITBytes)
		if math.Abs(a-b) > 2*mib {
			t.Errorf("the order changes a GOMEMLIMIT from %v to %v", a, b)
		}
	}
	if splits < 20 {
		t.Errorf("only %d splits", splits)
	}
}

// FuzzShare gives Share twins that say anything at all.
func FuzzShare(f *testing.F) {
	f.Add(150e6, 160e6, 1.1, 150e6, 0.06, 1.0, uint64(1<<30), uint64(0), uint8(3))
	f.Add(math.NaN(), math.Inf(1), -1.0, 1e300, math.Copysign(0, -1), math.NaN(), uint64(math.MaxUint64), uint64(1), uint8(0))
	f.Add(1e-300, 1e-300, 1e300, 5e-324, 1e300, 1e300, uint64(1), uint64(math.MaxUint64), uint8(255))
	f.Fuzz(func(t *testing.T, live, peak, kappa, alloc, cycle, weight float64, budget, top uint64, n uint8) {
		var tenants []Tenant
		for i := range int(n) % 8 {
			x := fake{live: live * float64(i+1), livePeak: peak, kappa: kappa, alloc: alloc / float64(i+1), cycle: cycle, cpu: 1, procs: 4, width: 0.05, span: time.Minute,
				now: pacer.Settings{GOGCPercent: int64(n), GOMEMLIMITBytes: int64(top)}}
			tenants = append(tenants, Tenant{Name: fmt.Sprint(i), Twin: x, Weight: weight, MaxBytes: top})
		}
		s, err := Share(budget, tenants)
		if err != nil {
			return
		}
		if math.IsNaN(s.CoresPerMiB) || math.IsNaN(s.Expected.GCCPUCores.Estimate) {
			t.Errorf("%+v", s)
		}
		for _, x := range s.Slices {
			if p := x.Plan(); p.Container.RequestBytes > p.Container.LimitBytes {
				t.Errorf("container %+v", p.Container)
			}
		}
	})
}
