package load

import (
	"math"
	"slices"
	"testing"
	"time"
)

// kolmogorov is the distance of samples from the exponential distribution of mean 1.
func kolmogorov(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	d := 0.0
	for i, v := range x {
		f := 1 - math.Exp(-v)
		d = max(d, f-float64(i)/float64(len(x)), float64(i+1)/float64(len(x))-f)
	}
	return d
}

// gaps are n gaps of one target, relative to what they are to be in the mean.
func gaps(s *schedule, target, n int, rate float64) []float64 {
	var out []float64
	last := time.Duration(0)
	for len(out) < n {
		due, to := s.next()
		if to != target {
			continue
		}
		out = append(out, (due-last).Seconds()*rate)
		last = due
	}
	return out
}

func moments(x []float64) (mean, variance float64) {
	for _, v := range x {
		mean += v
	}
	mean /= float64(len(x))
	for _, v := range x {
		variance += (v - mean) * (v - mean)
	}
	return mean, variance / float64(len(x)-1)
}

func TestPoissonArrivals(t *testing.T) {
	const n, rate = 20_000, 1234.5
	for _, targets := range []int{1, 2} {
		for target := range targets {
			for seed := range uint64(5) {
				x := gaps(newSchedule(rate, targets, false, seed), target, n, rate)
				mean, variance := moments(x)
				// Four standard errors: of the mean 1/sqrt(n), of the variance sqrt(8/n).
				if math.Abs(mean-1) > 4/math.Sqrt(n) || math.Abs(variance-1) > 4*math.Sqrt(8.0/n) {
					t.Errorf("target %d of %d, seed %d: mean %.4f, variance %.4f; want 1 and 1", target, targets, seed, mean, variance)
				}
				if d, most := kolmogorov(x), 1.95/math.Sqrt(n); d > most { // p = 0.001
					t.Errorf("target %d of %d, seed %d: Kolmogorov-Smirnov distance %.4f, want at most %.4f", target, targets, seed, d, most)
				}
			}
		}
	}
}

// TestDuetStreams holds the two streams of a duet against what independent ones of
// the same rate would be.
func TestDuetStreams(t *testing.T) {
	const n, rate, bin = 100_000, 1000.0, 10 * time.Millisecond
	s := newSchedule(rate, 2, false, 7)
	var counts [2]float64
	bins := map[time.Duration]*[2]float64{}
	last, same := time.Duration(-1), 0
	for range n {
		due, target := s.next()
		if due == last {
			same++
		}
		last = due
		counts[target]++
		b := bins[due/bin]
		if b == nil {
			b = &[2]float64{}
			bins[due/bin] = b
		}
		b[target]++
	}
	if d := math.Abs(counts[0] - counts[1]); d > 4*math.Sqrt(n) {
		t.Errorf("%.0f requests to one target, %.0f to the other", counts[0], counts[1])
	}
	if same > n/1000 {
		t.Errorf("%d requests were due at the same nanosecond as another", same)
	}
	var a, b []float64
	for i := range last / bin {
		c := bins[i]
		if c == nil {
			c = &[2]float64{}
		}
		a, b = append(a, c[0]), append(b, c[1])
	}
	ma, va := moments(a)
	mb, vb := moments(b)
	cov := 0.0
	for i := range a {
		cov += (a[i] - ma) * (b[i] - mb)
	}
	if r := cov / float64(len(a)-1) / math.Sqrt(va*vb); math.Abs(r) > 4/math.Sqrt(float64(len(a))) {
		t.Errorf("what is due to the two targets in %v is correlated by %.3f", bin, r)
	}
	// The count of a Poisson stream has its mean for a variance; 4 standard errors.
	for _, m := range [][2]float64{{ma, va}, {mb, vb}} {
		if ratio := m[1] / m[0]; math.Abs(ratio-1) > 4*math.Sqrt(2/float64(len(a))) {
			t.Errorf("variance over mean of the counts is %.3f, want 1", ratio)
		}
	}
}

func TestConstantArrivals(t *testing.T) {
	s := newSchedule(1000, 1, true, 1)
	for i := range 1000 {
		if due, target := s.next(); due != time.Duration(i+1)*time.Millisecond || target != 0 {
			t.Fatalf("request %d is due at %v to target %d", i, due, target)
		}
	}
	// In a duet each pair of slots has one request for each, in either order.
	s = newSchedule(1000, 2, true, 1)
	first := [2]int{}
	for i := range 1000 {
		a, one := s.next()
		b, other := s.next()
		if one == other || b-a != 500*time.Microsecond {
			t.Fatalf("pair %d: target %d at %v, target %d at %v", i, one, a, other, b)
		}
		first[one]++
	}
	if first[0] < 437 || first[1] < 437 { // 4 standard errors
		t.Errorf("first in pairs: %v", first)
	}
}

func TestScheduleFollowsFromSeed(t *testing.T) {
	a, b, c := newSchedule(50, 2, false, 1), newSchedule(50, 2, false, 1), newSchedule(50, 2, false, 2)
	differ := false
	for range 100 {
		da, ta := a.next()
		db, tb := b.next()
		dc, _ := c.next()
		if da != db || ta != tb {
			t.Fatalf("the same seed gives %v to %d and %v to %d", da, ta, db, tb)
		}
		differ = differ || da != dc
	}
	if !differ {
		t.Error("another seed gives the same")
	}
}

func TestMixedIsUniform(t *testing.T) {
	const n = 20_000
	var cells [10]int
	for i := range uint64(n) {
		x := mixed(3, i)
		if x < 0 || x >= 1 {
			t.Fatalf("mixed(3, %d) = %v", i, x)
		}
		cells[int(10*x)]++
	}
	for i, c := range cells {
		if math.Abs(float64(c)-n/10) > 4*math.Sqrt(n*0.09) {
			t.Errorf("%d of %d in cell %d", c, n, i)
		}
	}
}
