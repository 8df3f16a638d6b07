package paired

import "math"

// mostPairs is the largest number of pairs that is worth naming.
const mostPairs = 10_000

// MorePairs is about how many pairs an inconclusive metric still lacks until its
// interval, with one-sided level alpha, leaves the line at delta with the given
// probability (power), if sd and effect are what they seem. All are log ratios, with
// positive meaning worse: turn the effect of a metric of which more is better.
//
//	delta = ln(1+margin)   for NON-INFERIOR, when effect is below it, and REGRESSED, above it
//	delta = 0              for IMPROVED
//
// That is n >= ((t[alpha]+t[1-power])·sd/(effect-delta))² with Student's quantiles
// of n-1 degrees of freedom, and enough pairs for the level (see [SignedRank]), less
// those there are; 1 at least, since what there is did not decide it. It is 0 when it
// cannot tell: an effect that lies on the line never leaves it, more than 10,000 pairs
// are no advice, and with no deviation at all the formula knows nothing.
func MorePairs(sd, effect, delta, alpha, power float64, have int) int {
	n := neededPairs(sd, math.Abs(effect-delta), alpha, 1-power)
	if n == 0 || have < 0 {
		return 0
	}
	return max(n-have, 1)
}

// EquivalencePairs is how many pairs it takes to find a variant that changes nothing
// EQUIVALENT with the given probability (power): the two one-sided tests at level
// alpha against ±delta, on the log scale, of pairs with standard deviation sd. The
// formula is that of [MorePairs], but each side may fail with half of 1-power. It is 0
// when it cannot tell.
func EquivalencePairs(sd, delta, alpha, power float64) int {
	return neededPairs(sd, delta, alpha, (1-power)/2)
}

// neededPairs is the smallest n whose interval leaves a line at that distance but
// with probability beta.
func neededPairs(sd, distance, alpha, beta float64) int {
	if !(sd > 0) || !(distance > 0) || !validLevel(alpha) || !validLevel(beta) {
		return 0
	}
	ratio := sd / distance
	need := func(a, b float64) float64 { return (a + b) * (a + b) * ratio * ratio }
	low := need(normalQuantile(alpha), normalQuantile(beta)) // Student's quantiles are larger
	if !(low <= mostPairs) {
		return 0
	}
	n := max(int(math.Ceil(low)), int(math.Ceil(-math.Log2(alpha))), 2)
	for n <= mostPairs && float64(n) < need(studentQuantile(n-1, alpha), studentQuantile(n-1, beta)) {
		n++
	}
	if n > mostPairs {
		return 0
	}
	return n
}

// SmallestMargin is the smallest margin, as a share, within which n pairs with
// standard deviation sd of their log ratios would find a variant that changes nothing
// the same in 9 of 10 experiments: exp(3.29·sd/sqrt(n))-1, where 3.29 is the normal
// quantiles of the test's 5% and of half the 10% on each side. A plan that asks for
// less will likely end INCONCLUSIVE. It is NaN without a deviation or pairs.
func SmallestMargin(sd float64, n int) float64 {
	if !(sd >= 0) || math.IsInf(sd, 1) || n < 1 {
		return math.NaN()
	}
	return math.Expm1(3.29 * sd / math.Sqrt(float64(n)))
}
