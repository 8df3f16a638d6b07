package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

func TestTicks(t *testing.T) {
	for _, tc := range []struct {
		s    scale
		u    experiment.Unit
		want string
	}{
		{scale{lo: 0, hi: 10}, experiment.Seconds, "0s 2s 4s 6s 8s 10s"},
		{scale{lo: 0, hi: 215 * mib}, experiment.ByteSize, "0B 50MiB 100MiB 150MiB 200MiB"},
		{scale{lo: 100 * mib, hi: 900 * mib, log: true}, experiment.ByteSize, "128MiB 256MiB 512MiB"},
		{scale{lo: 300e-6, hi: 30e-3, log: true}, experiment.Seconds, "500µs 1ms 2ms 5ms 10ms 20ms"},
		{scale{lo: 1e-9, hi: 1e9, log: true}, experiment.Seconds, "1ns 10µs 100ms 1000s 10000000s"},
		{scale{lo: 5, hi: 5}, experiment.Count, ""},
		{scale{lo: math.NaN(), hi: 1}, experiment.Count, ""},
		{scale{lo: 0, hi: math.Inf(1)}, experiment.Count, ""},
		{scale{lo: 1e300, hi: math.Nextafter(1e300, 2e300)}, experiment.Count, ""},
	} {
		var got []string
		for _, v := range tc.s.ticks(6, tc.u) {
			got = append(got, tick(v, tc.u))
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%+v: %s, want %s", tc.s, s, tc.want)
		}
	}
}

func TestDiffTicks(t *testing.T) {
	for _, tc := range []struct {
		lo, hi float64
		want   string
	}{
		{-0.2, 0.2, "-15% -10% -5% 0% +5% +10% +15% +20%"},
		{-math.Log(4), math.Log(4), "-50% 0% +50% +100% +150% +200% +250% +300%"},
		{-0.02, 0.03, "-1% 0% +1% +2% +3%"},
		{-50, 50, "0%"},
		{math.NaN(), 1, ""},
		{math.Inf(-1), math.Inf(1), "0%"},
	} {
		var got []string
		for _, l := range diffTicks(tc.lo, tc.hi, 8) {
			got = append(got, diffText(l))
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%v to %v: %s, want %s", tc.lo, tc.hi, s, tc.want)
		}
	}
}

func TestForest(t *testing.T) {
	f := newForest([][2]float64{{0.8, 1.1}, {0, math.NaN()}}, []float64{0.05, math.Inf(1)})
	if f.limit < math.Log(1/0.8) || f.limit > 1.2*math.Log(1/0.8) {
		t.Errorf("the scale ends at %v", math.Exp(f.limit))
	}
	if x := f.x(1); x != 0.5 {
		t.Errorf("no difference stands at %v", x)
	}
	row := string(f.row(0.9, 0.5, 1.1, 0.05, "good", "says <b>"))
	for _, want := range []string{`class="zone"`, `class="mark good"`, `says &lt;b&gt;`, "<circle"} {
		if !strings.Contains(row, want) {
			t.Errorf("no %s in %s", want, row)
		}
	}
	for _, bad := range []string{string(f.row(math.NaN(), math.NaN(), math.NaN(), math.NaN(), "open", "")), string(f.row(0, 0, 0, 0, "open", ""))} {
		if strings.Contains(bad, "<circle") || strings.Contains(bad, `class="ci`) || strings.Contains(bad, "NaN") {
			t.Errorf("something is drawn of nothing: %s", bad)
		}
	}
}

// TestPairs has blocks in which all that can be out of place is.
func TestPairs(t *testing.T) {
	arm := func(variant, slot int, v float64) experiment.Arm {
		return experiment.Arm{Variant: variant, Slot: slot, Values: map[string]float64{"m": v}}
	}
	block := func(phase experiment.Phase, design string, round int, invalid string, arms ...experiment.Arm) experiment.Block {
		return experiment.Block{Phase: phase, Design: design, Round: round, Invalid: invalid, Arms: arms}
	}
	sw, duet, cal := experiment.PhaseSwitchback, experiment.PhaseDuet, experiment.PhaseCalibration
	r := &experiment.Result{Blocks: []experiment.Block{
		block(cal, "switchback", 0, "", arm(0, 1, 3)),
		block(cal, "switchback", 0, "", arm(0, 0, 2)),
		block(cal, "duet", 0, "", arm(0, 0, 5), arm(0, 1, 6)),
		block(sw, "switchback", 0, "", arm(2, 1, 30)),
		block(sw, "switchback", 0, "", arm(0, 0, 10)),
		block(sw, "switchback", 0, "", arm(1, 1, 20)),
		block(sw, "switchback", 1, "", arm(1, 1, 21)),
		block(sw, "switchback", 1, "steal", arm(0, 0, 11)),
		block(sw, "switchback", 2, "", arm(0, 0, 0)),
		block(sw, "switchback", 2, "", arm(1, 1, 22)),
		block(sw, "switchback", 3, "", arm(0, 0, 13)),
		block(sw, "switchback", 3, "", arm(1, 1, 23)),
		block(sw, "switchback", 3, "", arm(1, 1, 99)), // one too many
		block(duet, "duet", 0, "", arm(1, 1, 40), arm(0, 0, 50)),
		block(duet, "duet", 0, "", arm(0, 0, 51), arm(2, 1, 41)),
		block(duet, "duet", 1, "", arm(1, 1, 42)),
		block(duet, "duet", 1, "", arm(0, 0, 52)),
		block(duet, "duet", 2, "steal", arm(1, 1, 40), arm(0, 0, 50)),
	}}
	for _, tc := range []struct {
		variant int
		design  string
		want    string
	}{
		{1, "switchback", "[10:20 13:23]"}, {2, "switchback", "[10:30]"}, {1, "duet", "[50:40]"}, {2, "duet", "[51:41]"},
		{calibration, "switchback", "[2:3]"}, {calibration, "duet", "[5:6]"}, {0, "switchback", "[]"}, {7, "duet", "[]"}, {1, "else", "[]"},
	} {
		got := []string{}
		for _, p := range pairsOf(r, tc.variant, tc.design, "m") {
			got = append(got, fmt.Sprintf("%g:%g", p.base, p.value))
		}
		if fmt.Sprint(got) != tc.want {
			t.Errorf("variant %d in a %s: %v, want %s", tc.variant, tc.design, got, tc.want)
		}
	}
	if got := pairsOf(r, 1, "duet", "absent"); len(got) != 0 {
		t.Errorf("pairs of what was not measured: %v", got)
	}
}

func TestEfficient(t *testing.T) {
	at := func(v int, x, y float64, stopped bool) point {
		return point{variant: v, x: [3]float64{x}, y: [3]float64{y}, stopped: stopped}
	}
	var got []int
	for _, p := range efficient([]point{at(0, 2, 2, false), at(1, 1, 3, false), at(2, 3, 2, false), at(3, 0.5, 0.5, true), at(4, 4, 1, false), at(5, 2, 1.9, false)}) {
		got = append(got, p.variant)
	}
	if want := []int{1, 5, 4}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestTypical(t *testing.T) {
	s := samples()["two"]
	m, ok := typical(s.r, 1, "cpu_seconds_per_request")
	if !ok || m.base.arm.Variant != 0 || m.value.arm.Variant != 1 || s.r.Blocks[m.base.block].Round != s.r.Blocks[m.value.block].Round {
		t.Errorf("%+v, %v", m, ok)
	}
	if _, ok := typical(&experiment.Result{}, 1, "x"); ok {
		t.Error("a typical block of none")
	}
}
