package leak

import (
	"cmp"
	"math"
	"slices"
)

// binomialUpper is the chance of x or more heads in n throws of a fair coin.
//
// It is the conditional test of two Poisson counts for equal means (Przyborowski
// and Wilenski, Biometrika 1940): given their sum n, the larger one is binomial.
func binomialUpper(n, x int64) float64 {
	switch {
	case x <= 0:
		return 1
	case x > n:
		return 0
	}
	const exact = 4000
	if n > exact {
		sd := math.Sqrt(float64(n)) / 2
		return normalUpper((float64(x) - 0.5 - float64(n)/2) / sd)
	}
	sum := 0.0
	for k := x; k <= n; k++ {
		sum += math.Exp(logChoose(n, k) - float64(n)*math.Ln2)
	}
	return min(sum, 1)
}

func logChoose(n, k int64) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return a - b - c
}

// normalUpper is the chance of more than z standard deviations.
func normalUpper(z float64) float64 { return 0.5 * math.Erfc(z/math.Sqrt2) }

// holm corrects p-values for that m tests were made (Holm 1979). Values beyond
// len(p) are those of tests that were left out because they could not have been
// significant whatever had come out (Tarone 1990): m counts the others.
func holm(p []float64, m int) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p[a], p[b]) })
	out := make([]float64, len(p))
	worst := 0.0
	for rank, i := range order {
		worst = max(worst, min(1, p[i]*float64(max(m-rank, 1))))
		out[i] = worst
	}
	return out
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	s := slices.Clone(x)
	slices.Sort(s)
	if n := len(s); n%2 == 0 {
		return s[n/2-1]/2 + s[n/2]/2
	}
	return s[len(s)/2]
}

func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}
