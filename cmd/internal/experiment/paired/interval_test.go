package paired

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/aclements/go-moremath/stats"
)

var (
	// hamilton are the changes of Hamilton's depression scale factor IV under a
	// tranquilizer, of nine patients (Salsburg 1970; Hollander, Wolfe and Chicken
	// 2014, table 3.1).
	hamilton = []float64{-0.952, 0.147, -1.022, -0.430, -0.620, -0.590, -0.490, 0.080, -0.010}
	// darwin are the differences in height of 15 pairs of crossed and self-fertilised
	// maize, in eighths of an inch (Darwin 1876; Fisher 1935, III).
	darwin = []float64{49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48}
	// sleep are the differences in hours between two drugs (Cushny and Peebles 1905;
	// Student 1908).
	sleep = []float64{1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4}
)

func near(got, want, tolerance float64) bool {
	return got == want || math.Abs(got-want) <= tolerance
}

func TestSignedRankOfTextbooks(t *testing.T) {
	for _, tt := range []struct {
		name             string
		d                []float64
		alpha            float64
		estimate, lo, hi float64
	}{
		// Hollander, Wolfe and Chicken 2014, examples 3.3 and 3.4: 96.1%, n = 9.
		{"Hamilton", hamilton, 0.0196, -0.46, -0.786, -0.010},
		// By hand: the averages are 1, 1.5, 2, 2, 2.5, 3 and so on of 1 to 5; at 1/32
		// the bounds are the outermost.
		{"one to five", []float64{3, 1, 5, 2, 4}, 1.0 / 32, 3, 1, 5},
		{"too few for the level", []float64{3, 1, 5, 2, 4}, 0.0312, 3, math.Inf(-1), math.Inf(1)},
		{"one", []float64{7}, 0.05, 7, math.Inf(-1), math.Inf(1)},
		{"two", []float64{7, 8}, 0.05, 7.5, math.Inf(-1), math.Inf(1)},
		{"two at a low level", []float64{7, 8}, 0.25, 7.5, 7, 8},
		{"equal", []float64{2, 2, 2, 2, 2, 2, 2}, 0.05, 2, 2, 2},
		{"zeros", make([]float64, 10), 0.05, 0, 0, 0},
		{"extremes", []float64{math.MaxFloat64, math.MaxFloat64, math.MaxFloat64, -math.MaxFloat64, math.MaxFloat64, math.MaxFloat64}, 0.05, math.MaxFloat64, 0, math.MaxFloat64},
	} {
		got := SignedRank(tt.d, tt.alpha)
		if !near(got.Estimate, tt.estimate, 1e-9) || !near(got.Low, tt.lo, 1e-9) || !near(got.High, tt.hi, 1e-9) || got.N != len(tt.d) {
			t.Errorf("%s: %+v, want %g from %g to %g", tt.name, got, tt.estimate, tt.lo, tt.hi)
		}
	}
}

func TestStudentTOfTextbooks(t *testing.T) {
	for _, tt := range []struct {
		name             string
		d                []float64
		alpha            float64
		estimate, lo, hi float64
	}{
		// As the manual of R's t.test prints it.
		{"sleep", sleep, 0.025, 1.58, 0.7001142, 2.4598858},
		// Fisher 1935, section 17: mean 20.933, standard error 9.746, t = 2.148;
		// Student's 2.5% quantile with 14 degrees of freedom is 2.1448.
		{"Darwin", darwin, 0.025, 20.93333, 0.03119, 41.83547},
		{"one", []float64{3}, 0.05, 3, math.Inf(-1), math.Inf(1)},
		{"two", []float64{1, 3}, 0.05, 2, 2 - 6.313752, 2 + 6.313752},
		{"equal", []float64{0.1, 0.1, 0.1}, 0.05, 0.1, 0.1, 0.1},
	} {
		got := StudentT(tt.d, tt.alpha)
		if !near(got.Estimate, tt.estimate, 1e-5) || !near(got.Low, tt.lo, 1e-4) || !near(got.High, tt.hi, 1e-4) || got.N != len(tt.d) {
			t.Errorf("%s: %+v, want %g from %g to %g", tt.name, got, tt.estimate, tt.lo, tt.hi)
		}
	}
}

func TestIntervalsRefuse(t *testing.T) {
	fine := []float64{1, 2, 3, 4, 5, 6, 7}
	for name, f := range map[string]func([]float64, float64) Interval{"SignedRank": SignedRank, "StudentT": StudentT} {
		for _, tt := range []struct {
			why   string
			d     []float64
			alpha float64
		}{
			{"nothing", nil, 0.05},
			{"NaN", []float64{1, 2, 3, math.NaN(), 5, 6, 7}, 0.05},
			{"infinite", []float64{1, 2, 3, math.Inf(-1), 5, 6, 7}, 0.05},
			{"alpha 0", fine, 0},
			{"alpha 0.5", fine, 0.5},
			{"alpha NaN", fine, math.NaN()},
			{"alpha negative", fine, -1},
		} {
			iv := f(tt.d, tt.alpha)
			if !math.IsNaN(iv.Estimate) || !math.IsInf(iv.Low, -1) || !math.IsInf(iv.High, 1) || iv.Bounded() || !iv.Contains(0) {
				t.Errorf("%s of %s: %+v, want nothing", name, tt.why, iv)
			}
		}
		if iv := f(fine, 0.05); !iv.Bounded() || !iv.Contains(4) || iv.Contains(0) {
			t.Errorf("%s of one to seven: %+v", name, iv)
		}
	}
}

// TestSignedRankCriticalValues holds the distribution against the published table
// of the largest sums with at most these one-sided probabilities (McCornack 1965;
// Hollander, Wolfe and Chicken 2014, table A.4). -1: there is none.
func TestSignedRankCriticalValues(t *testing.T) {
	levels := []float64{0.05, 0.025, 0.01, 0.005}
	for n, want := range map[int][]int{
		4: {-1, -1, -1, -1}, 5: {0, -1, -1, -1}, 6: {2, 0, -1, -1}, 7: {3, 2, 0, -1}, 8: {5, 3, 1, 0},
		9: {8, 5, 3, 1}, 10: {10, 8, 5, 3}, 11: {13, 10, 7, 5}, 12: {17, 13, 9, 7}, 13: {21, 17, 12, 9},
		14: {25, 21, 15, 12}, 15: {30, 25, 19, 15}, 16: {35, 29, 23, 19}, 17: {41, 34, 27, 23},
		18: {47, 40, 32, 27}, 19: {53, 46, 37, 32}, 20: {60, 52, 43, 37}, 25: {100, 89, 76, 68},
		30: {151, 137, 120, 109}, 40: {286, 264, 238, 220}, 50: {466, 434, 397, 373},
	} {
		for i, alpha := range levels {
			if got := signedRankCritical(n, alpha); got != want[i] {
				t.Errorf("n=%d, %g: %d, want %d", n, alpha, got, want[i])
			}
		}
	}
}

// TestSignedRankDistribution counts the ways to choose from the ranks, one by one.
func TestSignedRankDistribution(t *testing.T) {
	for n := 0; n <= 20; n++ {
		// From one pattern to the next of Gray's code one rank comes or goes.
		counts := make([]int, n*(n+1)/2+1)
		counts[0] = 1
		chosen, sum := 0, 0
		for i := 1; i < 1<<n; i++ {
			turn := bits.TrailingZeros(uint(i))
			chosen ^= 1 << turn
			if chosen>>turn&1 == 1 {
				sum += turn + 1
			} else {
				sum -= turn + 1
			}
			counts[sum]++
		}
		below := 0
		for k, p := range signedRankCDF(n) {
			below += counts[k]
			if want := float64(below) / float64(int(1)<<n); p != want {
				t.Fatalf("n=%d: P(W <= %d) = %g, want %g", n, k, p, want)
			}
		}
	}
}

// TestSignedRankLargeIsNormal compares the two ways where one takes over from the other.
func TestSignedRankLargeIsNormal(t *testing.T) {
	const n = exactPairs
	for _, alpha := range []float64{0.05, 0.0158, 0.001} {
		exact := float64(signedRankCritical(n, alpha))
		mean, sd := signedRankMoments(n)
		normal := math.Floor(mean - 0.5 - normalQuantile(alpha)*sd)
		if math.Abs(exact-normal) > 0.02*sd {
			t.Errorf("%g: %g by the distribution, %g by the normal one", alpha, exact, normal)
		}
	}
	d := draws(1, 3000, func(r *rand.Rand) float64 { return r.NormFloat64() })
	a, b := SignedRank(d, 0.05), StudentT(d, 0.05)
	if !near(a.Estimate, b.Estimate, 0.01) || !near(a.High-a.Low, b.High-b.Low, 0.005) {
		t.Errorf("of 3000 normal values: %+v and %+v", a, b)
	}
}

func draws(seed uint64, n int, f func(*rand.Rand) float64) []float64 {
	rnd := rand.New(rand.NewPCG(seed, 1))
	d := make([]float64, n)
	for i := range d {
		d[i] = f(rnd)
	}
	return d
}

// ways counts the subsets of the numbers from 1 to n that sum to s, by whether the
// largest is among them.
func ways(n, s int) int {
	if s < 0 {
		return 0
	}
	if n == 0 {
		if s == 0 {
			return 1
		}
		return 0
	}
	if w, ok := waysMemo[[2]int{n, s}]; ok {
		return w
	}
	w := ways(n-1, s) + ways(n-1, s-n)
	waysMemo[[2]int{n, s}] = w
	return w
}

var waysMemo = map[[2]int]int{}

// slowSignedRank is the interval by its definition, with all averages written down.
func slowSignedRank(d []float64, alpha float64) Interval {
	var averages []float64
	for i := range d {
		for j := i; j < len(d); j++ {
			averages = append(averages, d[i]/2+d[j]/2)
		}
	}
	slices.Sort(averages)
	m := len(averages)
	iv := Interval{Estimate: averages[(m-1)/2]/2 + averages[m/2]/2, Low: math.Inf(-1), High: math.Inf(1), N: len(d)}
	total := 0
	for k := range m {
		if total += ways(len(d), k); float64(total)/math.Pow(2, float64(len(d))) > alpha {
			break
		}
		iv.Low, iv.High = averages[k], averages[m-1-k]
	}
	return iv
}

func TestSignedRankByDefinition(t *testing.T) {
	kinds := map[string]func(*rand.Rand) float64{
		"normal":      func(r *rand.Rand) float64 { return r.NormFloat64() },
		"tied":        func(r *rand.Rand) float64 { return float64(r.IntN(5)-2) / 8 },
		"zero or one": func(r *rand.Rand) float64 { return float64(r.IntN(2)) },
		"far apart":   func(r *rand.Rand) float64 { return math.Ldexp(r.NormFloat64(), r.IntN(1000)-500) },
	}
	for name, kind := range kinds {
		for n := 1; n <= 40; n++ {
			d := draws(uint64(n), n, kind)
			for _, alpha := range []float64{0.05, 0.0158, 0.2} {
				if got, want := SignedRank(d, alpha), slowSignedRank(d, alpha); got != want {
					t.Errorf("%s, n=%d, alpha=%g: %+v, want %+v", name, n, alpha, got, want)
				}
			}
		}
	}
}

// TestSignedRankInvertsTheTest asks the test itself about values inside and outside
// the interval: the p-value of shifted values, over all patterns of signs.
func TestSignedRankInvertsTheTest(t *testing.T) {
	for seed := range uint64(20) {
		const n = 10
		d := draws(seed, n, func(r *rand.Rand) float64 { return r.NormFloat64() })
		alpha := []float64{0.05, 0.025, 0.0158}[seed%3]
		iv := SignedRank(d, alpha)
		tail := func(shift float64) float64 {
			ranked := make([]float64, n)
			for i, x := range d {
				ranked[i] = x - shift
			}
			slices.SortFunc(ranked, func(a, b float64) int {
				if math.Abs(a) < math.Abs(b) {
					return -1
				}
				return 1
			})
			positive, negative := 0, 0
			for i, x := range ranked {
				if x > 0 {
					positive += i + 1
				} else {
					negative += i + 1
				}
			}
			least := min(positive, negative)
			hits := 0
			for pattern := range 1 << n {
				sum := 0
				for i := range n {
					sum += pattern >> i & 1 * (i + 1)
				}
				if sum <= least {
					hits++
				}
			}
			return float64(hits) / (1 << n)
		}
		const step = 1e-9
		for shift, inside := range map[float64]bool{iv.Low - step: false, iv.Low + step: true, iv.High - step: true, iv.High + step: false} {
			if p := tail(shift); p > alpha != inside {
				t.Errorf("seed %d: p is %g at %g, the interval is %+v", seed, p, shift, iv)
			}
		}
	}
}

// TestIntervalsMoveWithTheirValues turns, shifts and shuffles.
func TestIntervalsMoveWithTheirValues(t *testing.T) {
	for name, f := range map[string]func([]float64, float64) Interval{"SignedRank": SignedRank, "StudentT": StudentT} {
		d := draws(3, 21, func(r *rand.Rand) float64 { return r.NormFloat64() })
		iv := f(d, 0.05)
		turned, shifted := make([]float64, len(d)), make([]float64, len(d))
		for i, x := range d {
			turned[i], shifted[len(d)-1-i] = -x, 3*x+5
		}
		if got := f(turned, 0.05); !near(got.Estimate, -iv.Estimate, 1e-12) || !near(got.Low, -iv.High, 1e-12) || !near(got.High, -iv.Low, 1e-12) {
			t.Errorf("%s turned: %+v, was %+v", name, got, iv)
		}
		if got := f(shifted, 0.05); !near(got.Estimate, 3*iv.Estimate+5, 1e-12) || !near(got.Low, 3*iv.Low+5, 1e-12) || !near(got.High, 3*iv.High+5, 1e-12) {
			t.Errorf("%s times 3 plus 5: %+v, was %+v", name, got, iv)
		}
		if wide := f(d, 0.0158); !(wide.Low < iv.Low && iv.High < wide.High) {
			t.Errorf("%s: %+v at the lower level, %+v at the higher", name, wide, iv)
		}
	}
}

func TestSignedRankP(t *testing.T) {
	turned := make([]float64, len(hamilton))
	for i, x := range hamilton {
		turned[i] = -x
	}
	nan, inf := math.NaN(), math.Inf(1)
	for _, tt := range []struct {
		name string
		d    []float64
		line float64
		want float64
	}{
		// Hollander, Wolfe and Chicken 2014, example 3.1: 5 against 40, 0.0195.
		{"Hamilton", turned, 0, 10.0 / 512},
		{"Hamilton, the other side", hamilton, 0, 1 - 7.0/512}, // 4 or less has 7 ways
		{"five", []float64{1, 2, 3, 4, 5}, 0, 1.0 / 32},
		{"five beyond a line", []float64{1, 2, 3, 4, 5}, 0.9, 1.0 / 32},
		{"five on a line", []float64{1, 2, 3, 4, 5}, 1, 2.0 / 32},
		{"zeros", make([]float64, 5), 0, 1},
		{"above every line", []float64{1, 2, 3}, -inf, 1.0 / 8},
		{"below every line", []float64{1, 2, 3}, inf, 1},
		{"none", nil, 0, 1},
		{"NaN", []float64{1, nan}, 0, 1},
		{"infinite", []float64{1, inf}, 0, 1},
		{"no line", []float64{1, 2}, nan, 1},
	} {
		if got := SignedRankP(tt.d, tt.line); !near(got, tt.want, 1e-15) {
			t.Errorf("%s: %g, want %g", tt.name, got, tt.want)
		}
	}
}

// TestSignedRankPAgrees: the interval has left a line where the test rejects it.
func TestSignedRankPAgrees(t *testing.T) {
	for _, n := range []int{1, 5, 10, 40, exactPairs, exactPairs + 1, 400} {
		d := draws(uint64(n), n, func(r *rand.Rand) float64 { return float64(r.IntN(200)-90) / 100 })
		for _, alpha := range []float64{0.05, 0.0158, 0.001} {
			iv := SignedRank(d, alpha)
			for line := -1.0; line <= 1; line += 1.0 / 64 {
				if p := SignedRankP(d, line); (p <= alpha) != (iv.Low > line) {
					t.Errorf("n=%d, alpha=%g: p is %g at %g, the interval is %+v", n, alpha, p, line, iv)
				}
			}
			if p := SignedRankP(d, iv.Low); p <= alpha {
				t.Errorf("n=%d, alpha=%g: p is %g on the bound", n, alpha, p)
			}
		}
	}
}

func TestSignedRankDoesNotChangeItsValues(t *testing.T) {
	d := []float64{3, 1, 2, 5, 4, 6}
	SignedRank(d, 0.05)
	if !slices.Equal(d, []float64{3, 1, 2, 5, 4, 6}) {
		t.Errorf("they are %v", d)
	}
}

func TestOrdinal(t *testing.T) {
	order := []float64{-math.MaxFloat64, -1, -math.SmallestNonzeroFloat64, 0, math.SmallestNonzeroFloat64, 1, math.Nextafter(1, 2), math.MaxFloat64}
	for i, x := range order {
		if got := fromOrdinal(ordinal(x)); got != x {
			t.Errorf("%g comes back as %g", x, got)
		}
		if i > 0 && ordinal(order[i-1]) >= ordinal(x) {
			t.Errorf("%g is not before %g", order[i-1], x)
		}
	}
	if ordinal(math.Copysign(0, -1)) != 0 || ordinal(0) != 0 {
		t.Error("zeros differ")
	}
}

// TestStudentQuantile holds the quantiles against the table of every textbook.
func TestStudentQuantile(t *testing.T) {
	levels := []float64{0.05, 0.025, 0.005}
	for df, want := range map[int][]float64{
		1: {6.314, 12.706, 63.657}, 2: {2.920, 4.303, 9.925}, 3: {2.353, 3.182, 5.841}, 4: {2.132, 2.776, 4.604},
		5: {2.015, 2.571, 4.032}, 9: {1.833, 2.262, 3.250}, 10: {1.812, 2.228, 3.169}, 14: {1.761, 2.145, 2.977},
		19: {1.729, 2.093, 2.861}, 23: {1.714, 2.069, 2.807}, 30: {1.697, 2.042, 2.750}, 39: {1.685, 2.023, 2.708},
		60: {1.671, 2.000, 2.660}, 120: {1.658, 1.980, 2.617}, 1_000_000_000: {1.645, 1.960, 2.576},
	} {
		for i, alpha := range levels {
			if got := studentQuantile(df, alpha); math.Abs(got-want[i]) > 0.0006 {
				t.Errorf("df=%d, %g: %.4f, want %.3f", df, alpha, got, want[i])
			}
		}
	}
}

// TestStudentQuantileElsewhere asks another implementation for the probability, and
// the two expansions to agree where one takes over.
func TestStudentQuantileElsewhere(t *testing.T) {
	for _, df := range []int{1, 2, 3, 4, 7, 11, 39, 100, 399, 400, 401, 1000} {
		for _, alpha := range []float64{0.25, 0.05, 0.0158, 0.001} {
			x := studentQuantile(df, alpha)
			if got := 1 - (stats.TDist{V: float64(df)}).CDF(x); !near(got, alpha, 1e-8) {
				t.Errorf("df=%d: P(T > %g) = %g, want %g", df, x, got, alpha)
			}
		}
	}
	if a, b := studentQuantile(seriesFreedom, 0.0158), studentQuantile(seriesFreedom+1, 0.0158); !(b < a && a-b < 1e-4) {
		t.Errorf("%g and then %g", a, b)
	}
}

func TestNormalQuantile(t *testing.T) {
	for alpha, want := range map[float64]float64{0.5: 0, 0.05: 1.6448536, 0.025: 1.9599640, 0.0158: 2.1494342, 0.95: -1.6448536} {
		if got := normalQuantile(alpha); !near(got, want, 5e-5) || !near(normalTail(got), alpha, 1e-12) {
			t.Errorf("%g: %g, want %g", alpha, got, want)
		}
	}
}

func ExampleSignedRank() {
	// A variant's CPU per request over the baseline's, of ten pairs.
	var d []float64
	for _, ratio := range []float64{0.87, 0.91, 0.84, 0.93, 0.88, 1.31, 0.86, 0.90, 0.85, 0.89} {
		d = append(d, math.Log(ratio))
	}
	iv := SignedRank(d, 0.05)
	fmt.Printf("%+.1f%% (%+.1f..%+.1f)\n", 100*math.Expm1(iv.Estimate), 100*math.Expm1(iv.Low), 100*math.Expm1(iv.High))
	// Output: -11.5% (-13.5..-7.0)
}
