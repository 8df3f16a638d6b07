package paired

import (
	"cmp"
	"math"
	"slices"
)

// Holm adjusts p-values for the number of them: who rejects where the adjusted value
// is at most 5% rejects any true hypothesis at all with at most 5%, however they
// depend on each other (Holm 1979). The order is that of p. What is not a probability
// counts as 1.
func Holm(p []float64) []float64 {
	return adjust(p, func(adjusted []float64) {
		largest := 0.0
		for rank, x := range adjusted {
			largest = max(largest, min(1, x*float64(len(adjusted)-rank)))
			adjusted[rank] = largest
		}
	})
}

// BH adjusts p-values for the share of false ones among those that are taken for
// true: who takes all with an adjusted value of at most 10% takes, on average, at most
// 10% false ones, if they are independent or rise together (Benjamini and Hochberg
// 1995). The order is that of p. What is not a probability counts as 1.
func BH(p []float64) []float64 {
	return adjust(p, func(adjusted []float64) {
		smallest := 1.0
		for rank := len(adjusted) - 1; rank >= 0; rank-- {
			smallest = min(smallest, adjusted[rank]*float64(len(adjusted))/float64(rank+1))
			adjusted[rank] = smallest
		}
	})
}

// adjust has sorted p-values changed in place, and puts them back where they were.
func adjust(p []float64, change func(sorted []float64)) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	value := func(i int) float64 {
		if !(p[i] >= 0 && p[i] <= 1) {
			return 1
		}
		return p[i]
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(value(i), value(j)) })
	sorted := make([]float64, len(p))
	for rank, i := range order {
		sorted[rank] = math.Abs(value(i)) // a negative zero is zero
	}
	change(sorted)
	out := make([]float64, len(p))
	for rank, i := range order {
		out[i] = sorted[rank]
	}
	return out
}
