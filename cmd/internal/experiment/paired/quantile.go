package paired

import "math"

// normalQuantile is z with P(Z > z) = alpha for a standard normal Z.
func normalQuantile(alpha float64) float64 { return math.Sqrt2 * math.Erfcinv(2*alpha) }

// normalTail is P(Z > z).
func normalTail(z float64) float64 { return math.Erfc(z/math.Sqrt2) / 2 }

// seriesFreedom is up to how many degrees of freedom Student's distribution is
// summed; above, the expansion around the normal one is exact to 1e-9.
const seriesFreedom = 400

// studentQuantile is t with P(T > t) = alpha for Student's distribution with df
// degrees of freedom, alpha below 0.5.
func studentQuantile(df int, alpha float64) float64 {
	z := normalQuantile(alpha)
	if df > seriesFreedom { // Abramowitz and Stegun 1964, 26.7.5
		d := float64(df)
		z2 := z * z
		return z * (1 +
			(z2+1)/(4*d) +
			((5*z2+16)*z2+3)/(96*d*d) +
			(((3*z2+19)*z2+17)*z2-15)/(384*d*d*d))
	}
	// The tail falls in t, and so in the angle whose tangent is t/sqrt(df).
	low, high := 0.0, math.Pi/2
	for range 100 {
		mid := (low + high) / 2
		if studentTail(df, mid) > alpha {
			low = mid
		} else {
			high = mid
		}
	}
	return math.Sqrt(float64(df)) * math.Tan(low)
}

// studentTail is P(T > sqrt(df) tan(angle)), a finite sum for whole degrees of
// freedom (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4).
func studentTail(df int, angle float64) float64 {
	sin, cos := math.Sincos(angle)
	term, sum := 1.0, 0.0
	if df%2 == 0 {
		for i := 1; i < df; i += 2 { // 1 + 1/2 cos² + 1·3/(2·4) cos⁴ …
			sum += term
			term *= cos * cos * float64(i) / float64(i+1)
		}
		return (1 - sin*sum) / 2
	}
	term = cos
	for i := 2; i < df; i += 2 { // cos + 2/3 cos³ + 2·4/(3·5) cos⁵ …
		sum += term
		term *= cos * cos * float64(i) / float64(i+1)
	}
	return 0.5 - (angle+sin*sum)/math.Pi
}
