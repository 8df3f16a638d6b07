package gain

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/stat"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

func TestBudget(t *testing.T) {
	w := pacer.Workload{
		LiveBytes: pacer.Estimate{Estimate: 50 * mib}, NonGoBytes: pacer.Estimate{Estimate: 7.5 * mib}, RootBytes: pacer.Estimate{Estimate: 1},
		RuntimeBytes: pacer.Estimate{Estimate: 2}, ResidentPerHeapByte: pacer.Estimate{Estimate: 1.1},
	}
	s := SizesOf(w)
	if s != (Sizes{50 * mib, 1, 2, 7.5 * mib, 1.1}) {
		t.Errorf("sizes are %+v", s)
	}
	for factor, want := range map[float64]uint64{2: 108 * mib, 1.5: 83 * mib} {
		if got := s.Budget(factor); got != want {
			t.Errorf("a budget of %g live heaps is %d, want %d", factor, got, want)
		}
	}
}

func TestRivals(t *testing.T) {
	for _, tt := range []struct {
		live   float64
		budget uint64
		tuned  int64
	}{
		{50 * mib, 100 * mib, 50}, // 40 is below the bound
		{50 * mib, 150 * mib, 110},
		{10 * mib, 100 * mib, 500}, // 600 is above it
		{0, 100 * mib, 500},
	} {
		got := Rivals(Sizes{LiveBytes: tt.live}, tt.budget)
		limit := int64(0.9 * float64(tt.budget))
		for i, want := range []struct {
			gogc, limit int64
		}{{100, math.MaxInt64}, {100, limit}, {-1, limit}, {tt.tuned, math.MaxInt64}} {
			if got[i].GOGCPercent != want.gogc || got[i].GOMEMLIMITBytes != want.limit || got[i].Name == "" {
				t.Errorf("%v of %v: %+v, want GOGC=%d and %d", tt.live, tt.budget, got[i], want.gogc, want.limit)
			}
		}
	}
}

func TestSplit(t *testing.T) {
	sizes := []Sizes{{LiveBytes: 60 * mib, PerHeapByte: 1, NonGoBytes: 5 * mib}, {LiveBytes: 20 * mib, RootBytes: 20 * mib, RuntimeBytes: 10 * mib, PerHeapByte: 1.2, NonGoBytes: 5 * mib}}
	const budget, reserve = 220 * mib, 10 * mib // of which 200 MiB are for Go
	for _, tt := range []struct {
		name   string
		shares Shares
		want   [2][2]int64 // GOGC, GOMEMLIMIT in MiB
	}{
		// (100*0.97-60)/60 and ((100-10)*0.97/1.2-20)/40
		{"equally", Equally, [2][2]int64{{62, 100}, {132, 100}}},
		// (150*0.97-60)/60 and ((50-10)*0.97/1.2-20)/40
		{"by live", ByLive, [2][2]int64{{143, 150}, {31, 50}}},
	} {
		for i, s := range Split(budget, reserve, sizes, tt.shares) {
			if got := [2]int64{s.GOGCPercent, s.GOMEMLIMITBytes / mib}; got != tt.want[i] || s.GOMEMLIMITBytes%mib != 0 {
				t.Errorf("%s: program %d gets %v, want %v", tt.name, i, got, tt.want[i])
			}
		}
	}
	// A part that is smaller than what lives is what it is.
	for _, s := range Split(30*mib, 10*mib, sizes, Equally) {
		if s.GOGCPercent != leastSplit || s.GOMEMLIMITBytes != 5*mib {
			t.Errorf("of too small a budget: %+v", s)
		}
	}
	for _, s := range Split(mib, 10*mib, sizes, ByLive) {
		if s.GOMEMLIMITBytes != mib {
			t.Errorf("of no budget: %+v", s)
		}
	}
}

func TestOrder(t *testing.T) {
	seen := map[string]bool{}
	for block := range 20 {
		seed := fmt.Sprint("nats", block)
		a := Order(5, seed)
		if b := Order(5, seed); !slices.Equal(a, b) {
			t.Errorf("%s: %v and %v", seed, a, b)
		}
		seen[fmt.Sprint(a)] = true
		slices.Sort(a)
		if !slices.Equal(a, []int{0, 1, 2, 3, 4}) {
			t.Errorf("%s is no order: %v", seed, a)
		}
	}
	if len(seen) < 15 {
		t.Errorf("20 blocks have %d orders", len(seen))
	}
}

// recording has one RSS a second, from a moment on; 0 is a sample without.
func recording(from int, rss ...uint64) *record.Recording {
	r := &record.Recording{}
	for i, v := range rss {
		s := record.Sample{Time: time.Unix(int64(from+i), 0)}
		if v > 0 {
			s.RSSBytes = v
			s.Has.Add(record.FieldRSSBytes)
		}
		r.Samples = append(r.Samples, s)
	}
	return r
}

func TestHeldBy(t *testing.T) {
	for _, tt := range []struct {
		name string
		recs []*record.Recording
		want Held
	}{
		{"one", []*record.Recording{recording(0, 10, 30, 20)}, Held{30, 20}},
		{"one with a sample that lacks it", []*record.Recording{recording(0, 10, 0, 20)}, Held{20, 10}},
		// Together from 1 to 3: 30+5, 20+5; the peak of the sum is not the sum of the peaks.
		{"two", []*record.Recording{recording(0, 10, 30, 20, 20), recording(1, 5, 5, 12, 90)}, Held{35, 30}},
		{"apart", []*record.Recording{recording(0, 10, 30), recording(5, 5, 5)}, Held{}},
		{"none", []*record.Recording{recording(0, 0, 0)}, Held{}},
		{"one is empty", []*record.Recording{recording(0, 1, 2), {}}, Held{}},
		{"nothing", nil, Held{}},
	} {
		if got := HeldBy(record.FieldRSSBytes, tt.recs...); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func seriesOf(name string, gc ...float64) Series {
	s := Series{Name: name}
	for i, v := range gc {
		s.Values = append(s.Values, Value{Block: i, GCCores: v, Cores: 10 * v, RSSPeak: 100 * v, RSSMean: 50 * v, Limiter: v > 1})
	}
	return s
}

func TestSeries(t *testing.T) {
	killed, failed := seriesOf("killed", 0.1, 0.1), seriesOf("failed", 0.1)
	killed.Killed, failed.Failed = 1, 1
	idle := seriesOf("idle", 0.1, 0.1)
	idle.Values[1].LeftOut = 0.05
	all := []Series{seriesOf("none"), killed, idle, seriesOf("slow", 0.5, 0.5), seriesOf("quick", 0.2, 1.2), seriesOf("quicker", 0.6, 0.3), failed}
	if best, ok := Best(all); !ok || best.Name != "quicker" {
		t.Errorf("the best is %s", best.Name)
	}
	if _, ok := Best(all[:3]); ok {
		t.Error("there is a best of those that died or were idle")
	}
	if n := all[4].Limited(); n != 1 {
		t.Errorf("limited in %d runs, want 1", n)
	}
	if m := all[4].Mean(Cores); m != 7 {
		t.Errorf("the mean is %g, want 7", m)
	}
	if m := all[4].Mean(PerWork); !(math.Abs(m-1.0/9) < 1e-9) {
		t.Errorf("GC CPU is %g of the program's own, want 1/9", m)
	}
	if m := all[0].Mean(Cores); !math.IsNaN(m) {
		t.Errorf("the mean of nothing is %g", m)
	}
}

func TestRatio(t *testing.T) {
	partly := seriesOf("partly", 0.4, 0.4, 0.4)
	partly.Values = partly.Values[1:2]
	for _, tt := range []struct {
		name     string
		a, b     Series
		n        int
		estimate float64
		interval bool
	}{
		{"all blocks", seriesOf("a", 0.2, 0.4, 0.8), seriesOf("b", 0.4, 0.8, 1.6), 3, 0.5, true},
		{"one block in common", partly, seriesOf("b", 9, 0.8, 9), 1, 0.5, false},
		{"none in common", partly, seriesOf("b", 9), 0, math.NaN(), false},
		{"a zero", seriesOf("a", 0, 1), seriesOf("b", 1, 1), 0, math.NaN(), false},
	} {
		for _, of := range []func(Value) float64{GCCores, Cores, RSSPeak, RSSMean} {
			r := Ratio(tt.a, tt.b, of)
			if r.N != tt.n || !(math.Abs(r.Estimate-tt.estimate) < 1e-9) && !math.IsNaN(tt.estimate) || math.IsNaN(r.Estimate) != math.IsNaN(tt.estimate) || math.IsNaN(r.Low) == tt.interval {
				t.Errorf("%s: %+v", tt.name, r)
			}
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		gc, memory float64
		want       string
	}{
		{0.7, 1, "goal reached: less GC CPU"},
		{0.5, 1.2, "a trade: GC CPU -50%, memory +20%"},
		{1.02, 0.8, "goal reached: less memory"},
		{0.8, 1.04, "better, goal missed"},
		{1.03, 0.9, "better, goal missed"},
		{0.97, 1.03, "the same, goal missed"},
		{1.5, 0.75, "a trade: GC CPU +50%, memory -25%"},
		{1.2, 1, "worse"},
		{1, 1.2, "worse"},
		{math.NaN(), 1, "not known"},
		{1, math.NaN(), "not known"},
	} {
		if got := Verdict(stat.Ratio{Estimate: tt.gc}, stat.Ratio{Estimate: tt.memory}); got != tt.want {
			t.Errorf("%g of the GC CPU and %g of the memory are %q, want %q", tt.gc, tt.memory, got, tt.want)
		}
	}
	for gc, want := range map[float64]string{0.75: "reached", 0.9: "better", 1.04: "same", 1.1: "worse"} {
		if got := SplitVerdict(stat.Ratio{Estimate: gc}); !strings.Contains(got, want) {
			t.Errorf("a split with %g of the GC CPU is %q, want %q", gc, got, want)
		}
	}
	if got := SplitVerdict(stat.Ratio{Estimate: math.NaN()}); got != "not known" {
		t.Errorf("a split of which nothing is known is %q", got)
	}
}
