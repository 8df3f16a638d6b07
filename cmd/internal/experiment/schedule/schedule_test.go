package schedule

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

func plan(seed uint64, kind string, metrics ...string) *experiment.Plan {
	p := &experiment.Plan{Seed: seed, Design: experiment.Design{Kind: kind, Calibration: 12}, Variants: make([]experiment.Variant, 4)}
	for _, m := range metrics {
		p.Guards = append(p.Guards, experiment.Guard{Metric: m, Margin: 0.1})
	}
	return p
}

func order(items []Item) string {
	var b strings.Builder
	for _, it := range items {
		for i, a := range it.Arms {
			if i > 0 {
				b.WriteByte('+')
			}
			fmt.Fprintf(&b, "%d", a.Variant*10+a.Slot)
		}
		b.WriteByte(' ')
	}
	return strings.TrimSpace(b.String())
}

func TestDesigns(t *testing.T) {
	for _, tt := range []struct {
		kind    string
		metrics []string
		want    string
	}{
		{experiment.Auto, nil, "switchback"},
		{experiment.Auto, []string{"rss_peak_bytes"}, "switchback"},
		{experiment.Auto, []string{"latency_p99_seconds"}, "duet"},
		{experiment.Auto, []string{"latency_p99_seconds", "gc_pause_p90_seconds"}, "switchback duet"},
		{experiment.Both, nil, "switchback duet"},
		{experiment.Duet, []string{"rss_peak_bytes"}, "duet"},
		{experiment.Switchback, []string{"latency_p99_seconds"}, "switchback"},
	} {
		if got := strings.Join(Designs(plan(1, tt.kind, tt.metrics...)), " "); got != tt.want {
			t.Errorf("%s %v: %s, want %s", tt.kind, tt.metrics, got, tt.want)
		}
	}
}

// TestQuadsMirror: the second round of a quad is the first one backwards, arms of
// duets too, so that what drifts evenly cancels.
func TestQuadsMirror(t *testing.T) {
	for seed := range uint64(200) {
		for _, design := range []string{experiment.Switchback, experiment.Duet} {
			for _, variants := range [][]int{{1}, {1, 2, 3}, {3}} {
				items := Quad(plan(seed, experiment.Both), experiment.PhaseSwitchback, design, int(seed%7), variants)
				n := len(items) / 2
				for i := range n {
					back := slices.Clone(items[len(items)-1-i].Arms)
					slices.Reverse(back)
					if !reflect.DeepEqual(items[i].Arms, back) {
						t.Fatalf("seed %d %s %v: %s", seed, design, variants, order(items))
					}
					if items[i].Round != 2*items[i].Quad || items[n+i].Round != 2*items[i].Quad+1 {
						t.Fatalf("seed %d: rounds %d and %d in quad %d", seed, items[i].Round, items[n+i].Round, items[i].Quad)
					}
				}
				// Each round has the baseline, and every variant once.
				seen := map[int]int{}
				for _, it := range items[:n] {
					for _, a := range it.Arms {
						seen[a.Variant]++
					}
				}
				want := 1
				if design == experiment.Duet {
					want = len(variants)
				}
				if seen[0] != want {
					t.Fatalf("%s: the baseline runs %d times in a round, want %d", design, seen[0], want)
				}
				for _, v := range variants {
					if seen[v] != 1 {
						t.Fatalf("%s: variant %d runs %d times in a round", design, v, seen[v])
					}
				}
			}
		}
	}
}

// TestCoinIsFair: both orders come equally often, over quads of a plan and over plans.
func TestCoinIsFair(t *testing.T) {
	for _, design := range []string{experiment.Switchback, experiment.Duet} {
		first := 0
		const n = 4000
		for i := range n {
			p := plan(uint64(i/20), experiment.Both)
			if Quad(p, experiment.PhaseDuet, design, i%20, []int{1})[0].Arms[0].Variant == 0 {
				first++
			}
		}
		// Four standard deviations of a fair coin.
		if d := first - n/2; d*d > 16*n/4 {
			t.Errorf("%s: the baseline comes first in %d of %d quads", design, first, n)
		}
	}
}

// TestScheduleIsThePlans: the same seed gives the same order, whatever was asked
// before; another seed another one.
func TestScheduleIsThePlans(t *testing.T) {
	a, b := plan(7, experiment.Both), plan(8, experiment.Both)
	var x, y, z []Item
	for quad := range 20 {
		x = append(x, Comparison(a, quad, []int{1, 2})...)
		z = append(z, Comparison(b, quad, []int{1, 2})...)
	}
	for _, quad := range rand.New(rand.NewPCG(1, 1)).Perm(20) {
		Comparison(a, quad, []int{1, 2})
	}
	for quad := range 20 {
		y = append(y, Comparison(a, quad, []int{1, 2})...)
	}
	if !reflect.DeepEqual(x, y) {
		t.Error("the same plan gave two schedules")
	}
	if reflect.DeepEqual(x, z) {
		t.Error("two seeds gave one schedule")
	}
}

func TestCalibration(t *testing.T) {
	items := Calibration(plan(3, experiment.Both))
	if len(items) != 12*2+12 {
		t.Fatalf("%d blocks, want 12 pairs of switchbacks and 12 duets", len(items))
	}
	for _, it := range items {
		for _, a := range it.Arms {
			if a.Variant != 0 {
				t.Fatalf("variant %d in a calibration", a.Variant)
			}
		}
		if it.Design == experiment.Duet && (len(it.Arms) != 2 || it.Arms[0].Slot == it.Arms[1].Slot) {
			t.Fatalf("a duet of %v", it.Arms)
		}
	}
}

// drawn are the blocks of a plan, with the variants that run in each quad.
func drawn(p *experiment.Plan, alive ...[]int) (blocks []experiment.Block) {
	items := Calibration(p)
	for quad, variants := range alive {
		items = append(items, Comparison(p, quad, variants)...)
	}
	for n, it := range items {
		b := experiment.Block{N: n, Phase: it.Phase, Design: it.Design, Round: it.Round, Quad: it.Quad}
		for _, a := range it.Arms {
			b.Arms = append(b.Arms, experiment.Arm{Variant: a.Variant, Slot: a.Slot})
		}
		blocks = append(blocks, b)
	}
	return blocks
}

func TestCheck(t *testing.T) {
	p := plan(5, experiment.Both)
	all := []int{1, 2, 3}
	looks := []experiment.Look{{Stopped: []int{2}}}
	whole := drawn(p, all, all, []int{1, 3}, []int{1, 3})
	for n := range len(whole) + 1 {
		if err := Check(p, whole[:n], looks); err != nil {
			t.Errorf("%d blocks: %v", n, err)
		}
	}
	oom := slices.Clone(whole)
	for i := range oom {
		oom[i].Arms = slices.Clone(oom[i].Arms)
		for j := range oom[i].Arms {
			if oom[i].Arms[j].Variant == 2 {
				oom[i].Arms[j].End.How = experiment.EndedOOM
			}
		}
	}
	if err := Check(p, oom, nil); err != nil {
		t.Errorf("a variant that was killed: %v", err)
	}
	if err := Check(p, whole, nil); err == nil || !strings.Contains(err.Error(), "variant 2 is not in the last blocks") {
		t.Errorf("a variant that nobody stopped: %v", err)
	}
	if err := Check(p, drawn(p, all, []int{1, 3}, all), looks); err == nil {
		t.Error("a variant came back")
	}
	for n := range len(whole) - 1 {
		if Check(p, slices.Delete(slices.Clone(whole), n, n+1), looks) == nil {
			t.Errorf("without block %d nobody misses it", n)
		}
		swapped := slices.Clone(whole)
		swapped[n], swapped[n+1] = swapped[n+1], swapped[n]
		if Check(p, swapped, looks) == nil {
			t.Errorf("with block %d after the next nobody sees it", n)
		}
	}
	// Two rounds that were left out, and the others numbered anew.
	short := drawn(p, all, all, all)
	first := len(Calibration(p))
	quad := len(Comparison(p, 0, all))
	short = slices.Delete(short, first, first+quad)
	for i := first; i < len(short); i++ {
		short[i].Quad--
		short[i].Round -= 2
	}
	if Check(p, short, nil) == nil {
		t.Error("a quad that was left out is not missed")
	}
	other := plan(6, experiment.Both)
	if Check(other, whole, looks) == nil {
		t.Error("another seed drew the same")
	}
}

// FuzzCheck gives blocks that say anything.
func FuzzCheck(f *testing.F) {
	f.Add(uint64(1), 3)
	f.Fuzz(func(t *testing.T, seed uint64, cut int) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		p := plan(seed, experiment.Both)
		blocks := drawn(p, []int{1, 2, 3}, []int{1, 3}, []int{3})
		blocks = blocks[:len(blocks)-min(max(cut, 0), len(blocks))]
		for range rnd.IntN(4) {
			if len(blocks) > 0 {
				b := &blocks[rnd.IntN(len(blocks))]
				b.Quad, b.Round = rnd.IntN(9)-4, rnd.IntN(9)-4
				b.Arms = []experiment.Arm{{Variant: rnd.IntN(9) - 4, Slot: rnd.IntN(4) - 2}}
			}
		}
		_ = Check(p, blocks, []experiment.Look{{Stopped: []int{rnd.IntN(9) - 4}}})
	})
}
