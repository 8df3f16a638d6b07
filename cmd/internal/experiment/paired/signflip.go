package paired

import (
	"math"
	"math/bits"
	"math/rand/v2"
)

const (
	flipExact = 16     // pairs, up to which all sign patterns are tried
	flipDraws = 20_000 // patterns that are drawn above
	flipMost  = 1024   // pairs, above which the sum is taken for normal
)

// SignFlip is the two-sided p-value of no difference by Fisher's randomisation test:
// the share of the 2^n ways to choose the signs of d whose sum is at least as far from
// 0 as that of d. Up to 16 pairs it tries all; above, it draws 20,000 from the seed and
// counts d itself as one more (Phipson and Smyth 2010), so p is never 0.
//
// It assumes only that, were there no difference, every pair could as well have come
// out with the other sign; a schedule that draws the order by lot makes it so. The
// p-value is 1 when there are no pairs, or one is not finite.
func SignFlip(d []float64, seed uint64) float64 {
	n := len(d)
	if n == 0 || !allFinite(d) {
		return 1
	}
	var largest float64
	for _, x := range d {
		largest = max(largest, math.Abs(x))
	}
	if largest == 0 {
		return 1
	}
	scaled := make([]float64, n)
	var sum, absolute, square float64
	for i, x := range d {
		scaled[i] = x / largest
		sum += scaled[i]
		absolute += math.Abs(scaled[i])
		square += scaled[i] * scaled[i]
	}
	// Patterns that tie with d must count, whatever the order of summation made of them.
	least := math.Abs(sum) - 1e-12*absolute
	if n > flipMost {
		return 2 * normalTail(math.Abs(sum)/math.Sqrt(square))
	}
	if n <= flipExact {
		return flipAll(scaled, sum, least)
	}
	rnd := rand.New(rand.NewPCG(seed, uint64(n)))
	hits := 1
	for range flipDraws {
		if math.Abs(flipSome(scaled, rnd)) >= least {
			hits++
		}
	}
	return float64(hits) / (flipDraws + 1)
}

// flipAll goes through the patterns in the order of Gray's code, one sign at a time.
// The last sign stays: turning all of them leaves the distance from 0 as it is.
func flipAll(d []float64, sum, least float64) float64 {
	patterns := 1 << (len(d) - 1)
	negative := 0
	hits := 1
	for i := 1; i < patterns; i++ {
		turn := bits.TrailingZeros(uint(i))
		negative ^= 1 << turn
		if negative>>turn&1 == 1 {
			sum -= 2 * d[turn]
		} else {
			sum += 2 * d[turn]
		}
		if math.Abs(sum) >= least {
			hits++
		}
	}
	return float64(hits) / float64(patterns)
}

func flipSome(d []float64, rnd *rand.Rand) float64 {
	var sum float64
	var coins uint64
	for i, x := range d {
		if i%64 == 0 {
			coins = rnd.Uint64()
		}
		// The coin becomes the sign bit.
		sum += math.Float64frombits(math.Float64bits(x) ^ coins<<63)
		coins >>= 1
	}
	return sum
}
