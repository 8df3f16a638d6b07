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
