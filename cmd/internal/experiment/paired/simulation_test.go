package paired

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// simulations is how many experiments are drawn for a share of them.
func simulations() int {
	if raceEnabled {
		return 500
	}
	return 10_000
}

// slack is four standard errors of a share that so many draws estimate. Seeds are
// fixed, so what passes keeps passing; another seed would stay within this too.
func slack(share float64) float64 {
	return 4 * math.Sqrt(share*(1-share)/float64(simulations()))
}

// typicalSD is the standard deviation of a log ratio on a noisy machine.
const typicalSD = 0.2

// A machine draws the log ratios of n pairs in which nothing differs; an effect is a
// number that is added.
type machine struct {
	name  string
	pairs func(r *rand.Rand, n int) []float64
}

func independent(draw func(*rand.Rand) float64) func(*rand.Rand, int) []float64 {
	return func(r *rand.Rand, n int) []float64 {
		d := make([]float64, n)
		for i := range d {
			d[i] = draw(r)
		}
		return d
	}
}

var machines = []machine{
	{"normal", independent(func(r *rand.Rand) float64 { return typicalSD * r.NormFloat64() })},
	// Of Student's distribution with two degrees of freedom, which has no variance.
	{"heavy tails", independent(func(r *rand.Rand) float64 {
		return typicalSD * r.NormFloat64() / math.Sqrt(r.ExpFloat64())
	})},
	// One value in twelve is four times as far off: a neighbour's batch job.
	{"outliers", independent(func(r *rand.Rand) float64 {
		x := typicalSD * r.NormFloat64()
		if r.Float64() < 0.08 {
			x *= 4
		}
		return x
	})},
	{"rounded", independent(func(r *rand.Rand) float64 { return math.Round(10*typicalSD*r.NormFloat64()) / 10 })},
	// The machine's speed wanders, or sinks all the time; pairs are neighbours.
	{"drift", func(r *rand.Rand, n int) []float64 { return switchback(r, wander(r, 2*n)) }},
	{"ramp", func(r *rand.Rand, n int) []float64 {
		speed := make([]float64, 2*n)
		for i := range speed {
			speed[i] = 0.02*float64(i) + 0.05*r.NormFloat64()
		}
		return switchback(r, speed)
	}},
}

// wander is the log speed of a machine at n blocks, one after the other: nine tenths
// of a mood stay from block to block (AR(1)), and each block has noise of its own.
func wander(r *rand.Rand, n int) []float64 {
	const phi = 0.9
	speed := make([]float64, n)
	x := typicalSD * r.NormFloat64()
	for i := range speed {
		speed[i] = x + typicalSD/2*r.NormFloat64()
		x = phi*x + typicalSD*math.Sqrt(1-phi*phi)*r.NormFloat64()
	}
	return speed
}

// switchback pairs neighbours, variant over baseline, in quads ABBA or BAAB of which
// half are the one and half the other, in an order drawn by lot.
func switchback(r *rand.Rand, speed []float64) []float64 {
	n := len(speed) / 2
	quads := (n + 1) / 2
	order := r.Perm(quads)
	d := make([]float64, n)
	for i := range d {
		d[i] = speed[2*i+1] - speed[2*i]
		if (order[i/2]%2 == 0) != (i%2 == 0) {
			d[i] = -d[i]
		}
	}
	return d
}

// looksOf is the intervals of an experiment at the declared looks.
func looksOf(d []float64, alpha float64) []Interval {
	ivs := make([]Interval, len(declared))
	for i, n := range declared {
		ivs[i] = SignedRank(d[:n], alpha)
	}
	return ivs
}

func shifted(iv Interval, by float64) Interval {
	return Interval{iv.Estimate + by, iv.Low + by, iv.High + by, iv.N}
}

// TestSimulatedExperiments draws experiments with the declared looks, in which the
// truth is known, and counts: how often the interval of a single look misses the
// truth on either side, and how often an experiment would at any of its looks say
// something false, with the truth on the very line that the statement is about, where
// that is likeliest. No rule for stopping can do worse than saying it at any look.
func TestSimulatedExperiments(t *testing.T) {
	const margin = 0.15
	delta := math.Log1p(margin)
	claims := []struct {
		name  string
		truth float64 // the least favourable one
		false func(experiment.Finding) bool
	}{
		{"IMPROVED", 0, is(experiment.Improved)},
		{"REGRESSED", delta, is(experiment.Regressed)},
		{"EQUIVALENT, worse", delta, is(experiment.Equivalent)},
		{"EQUIVALENT, better", -delta, is(experiment.Equivalent)},
		{"NON-INFERIOR or better", delta, is(experiment.NonInferior, experiment.Equivalent, experiment.Improved)},
	}
	for i, m := range machines {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(4, uint64(i)))
			alpha := LookAlpha(len(declared))
			missedLow, missedHigh := make([]int, len(declared)), make([]int, len(declared))
			wrong := make([]int, len(claims))
			improved := 0
			for range simulations() {
				ivs := looksOf(m.pairs(rnd, declared[len(declared)-1]), alpha)
				for k, iv := range ivs {
					count(&missedLow[k], iv.Low > 0)
					count(&missedHigh[k], iv.High < 0)
				}
				for c, claim := range claims {
					for _, iv := range ivs {
						if claim.false(Finding(shifted(iv, claim.truth), margin, experiment.Lower)) {
							wrong[c]++
							break
						}
					}
				}
				for _, iv := range ivs { // what is more is better: 15% more is found
					if Finding(shifted(iv, delta), margin, experiment.Higher) == experiment.Improved {
						improved++
						break
					}
				}
			}
			n := float64(simulations())
			for k, looks := range declared {
				for _, missed := range []int{missedLow[k], missedHigh[k]} {
					if share := float64(missed) / n; share > alpha+slack(alpha) {
						t.Errorf("at %d pairs %.2f%% of the bounds are on the wrong side of the truth, want %.2f%% at most", looks, 100*share, 100*alpha)
					}
				}
			}
			for c, claim := range claims {
				share := float64(wrong[c]) / n
				t.Logf("false %s: %d of %d (%.1f%%)", claim.name, wrong[c], simulations(), 100*share)
				if share > 0.05+slack(0.05) {
					t.Errorf("%.2f%% of experiments are falsely %s, want 5%% at most", 100*share, claim.name)
				}
			}
			t.Logf("an improvement by 15%% is found in %.1f%%", 100*float64(improved)/n)
			if share := float64(improved) / n; share < 0.8 {
				t.Errorf("an improvement by 15%% is found in %.1f%%, want 80%%", 100*share)
			}
		})
	}
}

func is(findings ...experiment.Finding) func(experiment.Finding) bool {
	return func(f experiment.Finding) bool {
		for _, x := range findings {
			if f == x {
				return true
			}
		}
		return false
	}
}

// TestSimulatedPeeking shows what the lower level at each look is for: with the 5% of
// a single look at all of them, whoever looks until it says EQUIVALENT is wrong twice
// as often as they think.
func TestSimulatedPeeking(t *testing.T) {
	t.Parallel()
	const margin = 0.15
	rnd := rand.New(rand.NewPCG(5, 1))
	alphas := []float64{0.05, LookAlpha(len(declared))}
	wrong := make([]int, len(alphas))
	for range simulations() {
		d := machines[0].pairs(rnd, declared[len(declared)-1])
		for i, alpha := range alphas {
			for _, iv := range looksOf(d, alpha) {
				if Finding(shifted(iv, math.Log1p(margin)), margin, experiment.Lower) == experiment.Equivalent {
					wrong[i]++
					break
				}
			}
		}
	}
	peeking, declaring := float64(wrong[0])/float64(simulations()), float64(wrong[1])/float64(simulations())
	t.Logf("falsely EQUIVALENT: %.1f%% with 0.05 at each look, %.1f%% with %g", 100*peeking, 100*declaring, alphas[1])
	if peeking < 0.08 || declaring > 0.05 {
		t.Errorf("falsely EQUIVALENT: %.1f%% with 0.05 at each look, %.1f%% with %g", 100*peeking, 100*declaring, alphas[1])
	}
}

// TestSimulatedPeers gives the same machines, which drift while nothing differs, to
// what is usual (all of A, then all of B, and Mann and Whitney's test at 5%, or a
// threshold of 15%) and to pairs in a random order, judged at 5% on two sides. The
// statistics of this package are no better than the others without its design.
func TestSimulatedPeers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		n                                  int // blocks of A, and of B
		mannWhitney, threshold, sequential float64
	}{
		{10, 0.41, 0.41, 0.40},
		{20, 0.52, 0.41, 0.51},
	} {
		rnd := rand.New(rand.NewPCG(6, uint64(tt.n)))
		var mannWhitney, threshold, sequential, ours int
		for range simulations() {
			speed := wander(rnd, 2*tt.n)
			a, b := make([]float64, tt.n), make([]float64, tt.n)
			aThenB := make([]float64, tt.n)
			for i := range a {
				a[i], b[i] = math.Exp(speed[i]), math.Exp(speed[tt.n+i])
				aThenB[i] = math.Log(b[i] / a[i])
			}
			count(&mannWhitney, MannWhitney(a, b) < 0.05)
			count(&threshold, FixedThreshold(a, b, 0.15))
			count(&sequential, !SignedRank(aThenB, 0.025).Contains(0))
			count(&ours, !SignedRank(switchback(rnd, speed), 0.025).Contains(0))
		}
		for _, c := range []struct {
			name  string
			count int
			want  float64
		}{
			{"Mann-Whitney", mannWhitney, tt.mannWhitney},
			{"a threshold of 15%", threshold, tt.threshold},
			{"signed ranks of A and then B", sequential, tt.sequential},
			{"signed ranks of a switchback", ours, 0.05},
		} {
			share := float64(c.count) / float64(simulations())
			t.Logf("%d blocks each, %s: %d false alarms of %d (%.1f%%)", tt.n, c.name, c.count, simulations(), 100*share)
			if math.Abs(share-c.want) > slack(c.want) {
				t.Errorf("%d blocks each, %s: %.1f%% false alarms, want about %.0f%%", tt.n, c.name, 100*share, 100*c.want)
			}
		}
	}
}

func count(n *int, yes bool) {
	if yes {
		*n++
	}
}

// TestSimulatedCoverage counts how often the interval of a single look at 5% misses
// on each side, for the two estimators, and how wide they are.
func TestSimulatedCoverage(t *testing.T) {
	t.Parallel()
	const alpha, n = 0.05, 12
	for i, m := range machines {
		rnd := rand.New(rand.NewPCG(7, uint64(i)))
		var low, high, student int
		var width, studentWidth float64
		for range simulations() {
			d := m.pairs(rnd, n)
			iv, st := SignedRank(d, alpha), StudentT(d, alpha)
			count(&low, iv.Low > 0)
			count(&high, iv.High < 0)
			count(&student, !st.Contains(0))
			width += iv.High - iv.Low
			studentWidth += st.High - st.Low
		}
		share := func(count int) float64 { return float64(count) / float64(simulations()) }
		t.Logf("%s: %.1f%% and %.1f%% miss, %.2f as wide as Student's, of which %.1f%% miss",
			m.name, 100*share(low), 100*share(high), width/studentWidth, 100*share(student))
		if max(share(low), share(high)) > alpha+slack(alpha) {
			t.Errorf("%s: %.2f%% and %.2f%% of intervals miss, want %g%% at most each", m.name, 100*share(low), 100*share(high), 100*alpha)
		}
		if ratio := width / studentWidth; ratio > 1.1 {
			t.Errorf("%s: intervals are %.2f times as wide as Student's, want 1.1 at most", m.name, ratio)
		}
	}
}

// TestSimulatedPower holds the promise of the number of pairs: with that many, the
// decision comes with the probability that was asked for.
func TestSimulatedPower(t *testing.T) {
	t.Parallel()
	const power = 0.9
	for i, tt := range []struct {
		name                     string
		sd, effect, delta, alpha float64
		want                     experiment.Finding
	}{
		{"an improvement by 10%", 0.2, math.Log(0.9), 0, 0.05, experiment.Improved},
		{"an improvement by 20%, at the level of five looks", 0.3, math.Log(0.8), 0, 0.0158, experiment.Improved},
		{"harm of twice the margin", 0.15, 0.2, 0.1, 0.0158, experiment.Regressed},
	} {
		n := MorePairs(tt.sd, tt.effect, tt.delta, tt.alpha, power, 0)
		rnd := rand.New(rand.NewPCG(8, uint64(i)))
		found := 0
		for range simulations() / 2 {
			d := independent(func(r *rand.Rand) float64 { return tt.effect + tt.sd*r.NormFloat64() })(rnd, n)
			count(&found, Finding(SignedRank(d, tt.alpha), math.Expm1(tt.delta), experiment.Lower) == tt.want)
		}
		share := 2 * float64(found) / float64(simulations())
		t.Logf("%s: %d pairs find it in %.1f%%", tt.name, n, 100*share)
		if share < power-0.04-slack(power)/2 || share > power+0.02+slack(power) {
			t.Errorf("%s: %d pairs find it in %.1f%%, want about %.0f%%", tt.name, n, 100*share, 100*power)
		}
	}
	// And of sameness.
	n := EquivalencePairs(0.2, math.Log(1.15), 0.05, power)
	rnd := rand.New(rand.NewPCG(9, 1))
	found := 0
	for range simulations() / 2 {
		count(&found, Finding(SignedRank(machines[0].pairs(rnd, n), 0.05), 0.15, experiment.Neither) == experiment.Equivalent)
	}
	if share := 2 * float64(found) / float64(simulations()); math.Abs(share-power) > 0.04+slack(power)/2 {
		t.Errorf("no change: %d pairs find it in %.1f%%, want about %.0f%%", n, 100*share, 100*power)
	}
}

// TestSimulatedPauses counts how often the interval of pooled quantiles misses, where
// a block's pauses share its mood and the variant collects half as often.
func TestSimulatedPauses(t *testing.T) {
	t.Parallel()
	const alpha, pairs = 0.05, 12
	experiments := simulations() / 20
	for _, tt := range []struct {
		q      float64
		pauses int
	}{{0.5, 12}, {0.9, 18}} {
		rnd := rand.New(rand.NewPCG(10, 1))
		var low, high int
		for range experiments {
			var base, variant [][]float64
			for range pairs {
				mood := 0.5 * rnd.NormFloat64()
				block := func(pauses int) []float64 {
					own := mood + 0.2*rnd.NormFloat64()
					out := make([]float64, pauses)
					for i := range out {
						out[i] = 1e-4 * math.Exp(own+0.6*rnd.NormFloat64())
					}
					return out
				}
				base, variant = append(base, block(tt.pauses)), append(variant, block(tt.pauses/2))
			}
			iv := PooledQuantile(base, variant, tt.q, alpha, rnd.Uint64())
			if !iv.Bounded() {
				t.Fatalf("quantile %g: %+v", tt.q, iv)
			}
			count(&low, iv.Low > 0)
			count(&high, iv.High < 0)
		}
		l, h := float64(low)/float64(experiments), float64(high)/float64(experiments)
		t.Logf("quantile %g: %.1f%% and %.1f%% miss", tt.q, 100*l, 100*h)
		if limit := alpha + 4*math.Sqrt(alpha*(1-alpha)/float64(experiments)); max(l, h) > limit {
			t.Errorf("quantile %g: %.1f%% and %.1f%% miss, want %g%% at most each", tt.q, 100*l, 100*h, 100*alpha)
		}
	}
}
