package pacer

import (
	"math"
	"math/rand/v2"
)

// A draw is one way in which what was fitted may differ from the truth: factors
// around 1.
type draw struct {
	alloc    float64 // of the allocation rate
	live     float64 // of the live heap
	cost     float64 // of the CPU of a cycle
	grown    float64 // of what is allocated while a cycle marks
	beside   float64 // of the memory beside the heap
	resident float64 // of what is resident of it all
	fill     float64 // not a factor: more of the way to the steady state of free slots
}

var exactly = draw{1, 1, 1, 1, 1, 1, 0}

// numDraws is how many ways are tried. It is few because each costs a replay,
// and enough for a standard deviation.
const numDraws = 12

// draws spreads the factors evenly over their distributions, each independent of
// the others: a Latin hypercube, the same every time.
func draws(sd draw) []draw {
	rng := rand.New(rand.NewPCG(1, 2))
	normal := func() []float64 {
		z := make([]float64, numDraws)
		for i, at := range rng.Perm(numDraws) {
			z[i] = math.Sqrt2 * math.Erfinv(2*(float64(at)+0.5)/numDraws-1)
		}
		return z
	}
	alloc, live, cost, grown, beside, resident, fill := normal(), normal(), normal(), normal(), normal(), normal(), normal()
	out := make([]draw, numDraws)
	for i := range out {
		out[i] = sd.at(alloc[i], live[i], cost[i], grown[i], beside[i], resident[i], fill[i])
	}
	return out
}

// at is the draw so many standard deviations away.
func (sd draw) at(alloc, live, cost, grown, beside, resident, fill float64) draw {
	return draw{
		math.Exp(alloc * sd.alloc), math.Exp(live * sd.live), math.Exp(cost * sd.cost), math.Exp(grown * sd.grown),
		math.Exp(beside * sd.beside), math.Exp(resident * sd.resident), fill * sd.fill,
	}
}

// z90 is the half width of an interval that holds nine tenths of a normal
// distribution, in standard deviations.
const z90 = 1.645

// An inexact collects how a quantity came out in the draws.
type inexact struct {
	mid float64
	v   []float64
}

// interval gives a quantity that cannot be negative its interval: on a log scale,
// as errors multiply, or on a linear one where it may be nothing. own is the
// model's own error, as a share, which no draw shows.
func (x inexact) interval(own float64) Estimate {
	if math.IsNaN(x.mid) {
		return Estimate{x.mid, x.mid, x.mid}
	}
	var logs, squares float64
	logarithmic := x.mid > 0
	for _, v := range x.v {
		logarithmic = logarithmic && v > 0
	}
	for _, v := range x.v {
		d := v - x.mid
		if logarithmic {
			d = math.Log(v / x.mid)
		}
		logs, squares = logs+d, squares+d*d
	}
	// About the middle, not about their mean: a draw that goes astray widens.
	sd := math.Sqrt(squares / float64(max(len(x.v), 1)))
	if logarithmic {
		w := math.Exp(min(z90*math.Hypot(sd, own), 7))
		return Estimate{x.mid, x.mid / w, x.mid * w}
	}
	w := z90 * math.Hypot(sd, own*x.mid)
	return Estimate{x.mid, max(x.mid-w, 0), x.mid + w}
}

// chance is how often something happened in n of the draws, with a Wilson interval.
func chance(happened, n int) Estimate {
	if n == 0 {
		return Estimate{}
	}
	p, z, m := float64(happened)/float64(n), z90, float64(n)
	mid := (p + z*z/(2*m)) / (1 + z*z/m)
	w := z / (1 + z*z/m) * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return Estimate{p, max(mid-w, 0), min(mid+w, 1)}
}

// normalCDF is the chance that a standard normal variable is below z.
func normalCDF(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }
