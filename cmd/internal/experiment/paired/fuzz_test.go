package paired

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// FuzzGarbage gives anything to everything. Nothing panics or goes on for ever, the
// same values give the same results, and results make sense in themselves.
func FuzzGarbage(f *testing.F) {
	put := func(values ...float64) (b []byte) {
		for _, x := range values {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
		}
		return b
	}
	f.Add(put(darwin...), 0.05, 0.15, uint64(1), byte(3), int8(-1))
	f.Add(put(hamilton...), 0.0158, 0.0, uint64(2), byte(1), int8(1))
	f.Add(put(math.NaN(), math.Inf(1), math.Copysign(0, -1), math.MaxFloat64), 0.49999, 1e-300, uint64(3), byte(2), int8(0))
	f.Add(put(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1), 1e-300, math.Inf(1), uint64(4), byte(7), int8(5))
	f.Add(put(0, 0, 0, 5e-324, 15e-324, 1e-310), 0.2, -1.0, uint64(5), byte(0), int8(-1))
	f.Fuzz(func(t *testing.T, raw []byte, level, margin float64, seed uint64, cut byte, direction int8) {
		d := make([]float64, 0, 64)
		for ; len(raw) >= 8 && len(d) < 64; raw = raw[8:] {
			d = append(d, math.Float64frombits(binary.LittleEndian.Uint64(raw)))
		}
		at := min(int(cut), len(d))
		a, b := d[:at], d[at:]

		// What is halved below the smallest normal number loses a bit.
		const dust = 0x1p-1070
		var pools [2][][]float64
		for i, x := range d {
			if i%(int(cut)+1) == 0 {
				pools[0], pools[1] = append(pools[0], nil), append(pools[1], nil)
			}
			last := len(pools[0]) - 1
			pools[i&1][last] = append(pools[i&1][last], math.Abs(x))
		}
		for name, interval := range map[string]func() Interval{
			"signed ranks": func() Interval { return SignedRank(d, level) },
			"Student":      func() Interval { return StudentT(d, level) },
			"pooled":       func() Interval { return PooledQuantile(pools[0], pools[1], margin, level, seed) },
		} {
			iv := interval()
			switch {
			case math.IsNaN(iv.Low) || math.IsNaN(iv.High):
				t.Fatalf("%s: %+v", name, iv)
			case math.IsNaN(iv.Estimate):
				if !math.IsInf(iv.Low, -1) || !math.IsInf(iv.High, 1) {
					t.Fatalf("%s: bounds without an estimate: %+v", name, iv)
				}
			case !(iv.Low <= iv.Estimate+dust && iv.Estimate <= iv.High+dust):
				t.Fatalf("%s: the estimate is outside: %+v", name, iv)
			}
			if again := interval(); again != iv && !math.IsNaN(iv.Estimate) {
				t.Fatalf("%s: %+v and then %+v", name, iv, again)
			}
			switch finding := Finding(iv, margin, experiment.Direction(direction)); finding {
			case experiment.Inconclusive:
			case experiment.Improved, experiment.NonInferior, experiment.Equivalent, experiment.Regressed, experiment.Changed:
				if math.IsInf(iv.Low, -1) && math.IsInf(iv.High, 1) {
					t.Fatalf("%s: %+v shows %s", name, iv, finding)
				}
			default:
				t.Fatalf("%s: %+v shows %q", name, iv, finding)
			}
			MorePairs(iv.High, iv.Estimate, margin, level, 0.9, at)
		}
		for name, p := range map[string]float64{"sign flips": SignFlip(d, seed), "signed ranks": SignedRankP(d, margin), "Mann-Whitney": MannWhitney(a, b)} {
			if !(p >= 0 && p <= 1) {
				t.Fatalf("%s: p is %g", name, p)
			}
		}
		holm, bh := Holm(d), BH(d)
		for i := range d {
			if !(holm[i] >= bh[i] && holm[i] <= 1 && bh[i] >= 0) || d[i] > 0 && d[i] <= 1 && bh[i] < d[i] {
				t.Fatalf("%g is adjusted to %g and %g", d[i], holm[i], bh[i])
			}
		}
		sd := SD(d)
		if sd < 0 {
			t.Fatalf("the deviation is %g", sd)
		}
		if r := Autocorrelation(d); !(math.Abs(r) <= 1+1e-9) {
			t.Fatalf("the autocorrelation is %g", r)
		}
		for _, n := range []int{MorePairs(sd, Median(d), margin, level, 0.8, at), EquivalencePairs(sd, margin, level, 0.9)} {
			if n < 0 || n > mostPairs {
				t.Fatalf("%d pairs", n)
			}
		}
		if m := SmallestMargin(sd, at); m < 0 {
			t.Fatalf("the smallest margin is %g", m)
		}
		FixedThreshold(a, b, margin)
		if alpha := LookAlpha(int(direction)); !(alpha > 0 && alpha <= 0.05) {
			t.Fatalf("the level is %g", alpha)
		}
	})
}
