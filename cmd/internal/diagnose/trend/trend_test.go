package trend

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func line(n int, start, slope float64, noise func(i int) float64) []Point {
	pts := make([]Point, n)
	for i := range pts {
		t := float64(i)
		pts[i] = Point{t, start + slope*t + noise(i)}
	}
	return pts
}

func none(int) float64 { return 0 }

// ar1 is noise of which each value keeps a part rho of the one before.
func ar1(rng *rand.Rand, rho, sigma float64) func(int) float64 {
	x := rng.NormFloat64() * sigma
	return func(int) float64 {
		x = rho*x + math.Sqrt(1-rho*rho)*sigma*rng.NormFloat64()
		return x
	}
}

func TestTheil(t *testing.T) {
	exact, ok := Theil(line(40, 100, 2.5, none))
	if !ok || exact.Slope != 2.5 || exact.Low != 2.5 || exact.High != 2.5 || exact.Start != 100 || exact.End != 100+2.5*39 {
		t.Errorf("an exact line: %+v, %v", exact, ok)
	}

	// A quarter of the values thrown far off must not move the slope.
	wild, ok := Theil(line(60, 0, 1, func(i int) float64 {
		if i%4 == 2 {
			return 1e6
		}
		return 0
	}))
	if !ok || math.Abs(wild.Slope-1) > 0.01 {
		t.Errorf("slope with outliers: %+v, %v", wild, ok)
	}

	// The example of Sen's interval in Gilbert, Statistical Methods for
	// Environmental Pollution Monitoring (1987), example 16.4 has ties and
	// multiple observations; this one is computed by hand: n = 8, no ties,
	// 28 slopes, Var S = 8*7*21/18 = 65.33, C = 1.96*8.083 = 15.84.
	pts := []Point{{0, 1}, {1, 3}, {2, 2}, {3, 5}, {4, 4}, {5, 8}, {6, 6}, {7, 9}}
	var slopes []float64
	for i := range pts {
		for j := i + 1; j < len(pts); j++ {
			slopes = append(slopes, (pts[j].V-pts[i].V)/(pts[j].T-pts[i].T))
		}
	}
	slices.Sort(slopes)
	f, ok := Theil(pts)
	if !ok || f.Slope != medianSorted(slopes) || f.Low != slopes[6] || f.High != slopes[22] {
		t.Errorf("by hand: %+v, want slope %v in [%v, %v]", f, medianSorted(slopes), slopes[6], slopes[22])
	}

	for name, pts := range map[string][]Point{
		"none":        nil,
		"too few":     line(MinPoints-1, 0, 1, none),
		"no time":     make([]Point, 30),
		"no numbers":  line(30, 0, 1, func(int) float64 { return math.NaN() }),
		"back":        {{9, 1}, {8, 2}, {7, 3}, {6, 4}, {5, 5}, {4, 6}, {3, 7}, {2, 8}, {1, 9}},
		"overflowing": line(30, 0, 1, func(i int) float64 { return math.MaxFloat64 * float64(i-15) / 15 }),
	} {
		if f, ok := Theil(pts); ok {
			t.Errorf("%s: got %+v, want nothing", name, f)
		}
	}
}

// TestCoverage checks the promise of the interval by simulation: with no trend at
// all the interval must contain 0 nearly as often as it says, for independent
// noise and for noise with a memory, where an uncorrected one fails badly.
func TestCoverage(t *testing.T) {
	const runs = 250
	for _, c := range []struct {
		name string
		rho  float64
		n    int
		want float64 // at least this share
	}{
		{"independent", 0, 30, 0.93},
		{"independent, many", 0, 300, 0.92},
		{"autocorrelated", 0.5, 40, 0.88},
		{"strongly autocorrelated", 0.8, 100, 0.84},
	} {
		rng := rand.New(rand.NewPCG(7, uint64(c.n)))
		covered, rising := 0, 0
		for range runs {
			f, ok := Theil(line(c.n, 50, 0, ar1(rng, c.rho, 3)))
			if !ok {
				t.Fatal("no fit")
			}
			if f.Low <= 0 && f.High >= 0 {
				covered++
			}
			if f.Rising() && f.Steady() {
				rising++
			}
		}
		if share := float64(covered) / runs; share < c.want {
			t.Errorf("%s: the interval covers the truth in %.1f%% of runs, want %.0f%%", c.name, 100*share, 100*c.want)
		}
		if share := float64(rising) / runs; share > 0.02 {
			t.Errorf("%s: noise passes for steady growth in %.1f%% of runs", c.name, 100*share)
		}
	}
}

// TestPower checks that a trend that matters is found.
func TestPower(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const runs = 200
	found := 0
	for range runs {
		// Growth of 10 over the window, noise of 0.7.
		f, ok := Theil(line(40, 20, 10.0/39, ar1(rng, 0.4, 0.7)))
		if ok && f.Rising() && f.Steady() {
			found++
		}
	}
	if found < runs*9/10 {
		t.Errorf("found %d of %d", found, runs)
	}
}

func TestShape(t *testing.T) {
	const n = 80
	for name, c := range map[string]struct {
		v    func(x float64) float64 // x from 0 to 1
		want bool
	}{
		"line":                   {func(x float64) float64 { return 10 + 5*x }, true},
		"quadratic":              {func(x float64) float64 { return 10 + 5*x*x }, true},
		"saw on a line":          {func(x float64) float64 { return 10 + 50*x + 2*math.Mod(x*37, 1) }, true},
		"flat":                   {func(float64) float64 { return 10 }, false},
		"falling":                {func(x float64) float64 { return 10 - x }, false},
		"one step":               {func(x float64) float64 { return math.Floor(2 * x) }, false},
		"two steps":              {func(x float64) float64 { return math.Floor(3 * x) }, false},
		"saturating within half": {func(x float64) float64 { return 1 - math.Exp(-x*2) }, false},
		"cache that is full":     {func(x float64) float64 { return math.Min(x, 0.6) }, false},
		"late jump":              {func(x float64) float64 { return math.Floor(x + 0.2) }, false},
	} {
		pts := make([]Point, n)
		for i := range pts {
			x := float64(i) / (n - 1)
			pts[i] = Point{x * 60, c.v(x)}
		}
		f, ok := Theil(pts)
		if !ok {
			t.Fatalf("%s: no fit", name)
		}
		if got := f.Rising() && f.Steady(); got != c.want {
			t.Errorf("%s: steady growth %v, want %v: %+v", name, got, c.want, f)
		}
	}
}

func FuzzTheil(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}, 1.5)
	f.Add([]byte{0, 255, 0, 255, 0, 255, 0, 255, 0, 255}, -1e300)
	f.Fuzz(func(t *testing.T, b []byte, scale float64) {
		if len(b) > 2000 {
			t.Skip()
		}
		pts := make([]Point, len(b))
		at := 0.0
		for i, x := range b {
			at += float64(x%7) * scale
			pts[i] = Point{at, float64(int8(x)) * scale}
		}
		fit, ok := Theil(pts)
		if !ok {
			return
		}
		for _, x := range []float64{fit.Slope, fit.Low, fit.High, fit.Start, fit.End, fit.Growth, fit.LargestStep, fit.SecondHalf, fit.LastThird} {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				t.Fatalf("not finite: %+v", fit)
			}
		}
		if fit.Low > fit.Slope || fit.Slope > fit.High {
			t.Fatalf("slope outside of its interval: %+v", fit)
		}
	})
}
