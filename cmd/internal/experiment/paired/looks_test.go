package paired

import (
	"math"
	"testing"
)

// looksError is the probability that the sum of independent normal values with mean
// 0 is above the one-sided level alpha at one look at least, by integrating over
// where the sum may be at each look (Armitage, McPherson and Rowe 1969).
func looksError(looks []int, alpha float64, twoSided bool) float64 {
	const cells = 240
	c := normalQuantile(alpha)
	low := -9.0
	if twoSided {
		low = -c
	}
	step := (c - low) / cells
	weight := func(i int) float64 { // Simpson's
		switch {
		case i == 0 || i == cells:
			return step / 3
		case i%2 == 1:
			return 4 * step / 3
		}
		return 2 * step / 3
	}
	density := make([]float64, cells+1)
	for i := range density {
		z := low + float64(i)*step
		density[i] = math.Exp(-z*z/2) / math.Sqrt(2*math.Pi)
	}
	crossed := normalTail(c)
	if twoSided {
		crossed *= 2
	}
	for k := 1; k < len(looks); k++ {
		// The standardised sum of now is a·before + b·new.
		a := math.Sqrt(float64(looks[k-1]) / float64(looks[k]))
		b := math.Sqrt(1 - a*a)
		next := make([]float64, cells+1)
		for i, f := range density {
			before := low + float64(i)*step
			crossed += weight(i) * f * normalTail((c-a*before)/b)
			if twoSided {
				crossed += weight(i) * f * normalTail((c+a*before)/b)
			}
			for j := range next {
				z := (low + float64(j)*step - a*before) / b
				next[j] += weight(i) * f * math.Exp(-z*z/2) / (b * math.Sqrt(2*math.Pi))
			}
		}
		density = next
	}
	return crossed
}

func equalLooks(n int) []int {
	looks := make([]int, n)
	for i := range looks {
		looks[i] = i + 1
	}
	return looks
}

// declared are the looks of a plan that names none.
var declared = []int{10, 16, 24, 32, 40}

// TestPocockTable holds the levels against the published critical values of the
// standardised sum, and these against an integration.
func TestPocockTable(t *testing.T) {
	// Jennison and Turnbull 2000, table 2.1: two-sided 0.05 and 0.1.
	critical05 := []float64{1.960, 2.178, 2.289, 2.361, 2.413, 2.453, 2.485, 2.512, 2.535, 2.555}
	critical10 := []float64{1.645, 1.875, 1.992, 2.067, 2.122, 2.164, 2.197, 2.225, 2.249, 2.270}
	for i := range 10 {
		alpha := LookAlpha(i + 1)
		if got := 2 * normalTail(critical05[i]); math.Abs(got-alpha) > 0.00011 {
			t.Errorf("%d looks: %.4f, the table says %.4f", i+1, alpha, got)
		}
		looks := equalLooks(i + 1)
		if got := looksError(looks, normalTail(critical05[i]), true); math.Abs(got-0.05) > 2e-4 {
			t.Errorf("%d looks: the table's value comes to %.5f on two sides, want 0.05", i+1, got)
		}
		if got := looksError(looks, normalTail(critical10[i]), false); math.Abs(got-0.05) > 3e-4 {
			t.Errorf("%d looks: the table's value comes to %.5f on one side, want 0.05", i+1, got)
		}
		if got := looksError(looks, alpha, false); got > 0.05+1e-6 {
			t.Errorf("%d equal looks come to %.4f, want 5%% at most", i+1, got)
		}
	}
}

func TestLookAlpha(t *testing.T) {
	for looks, want := range map[int]float64{-1: 0.05, 0: 0.05, 1: 0.05, 5: 0.0158, 10: 0.0106, 12: 0.05 / 12, 1000: 0.00005} {
		if got := LookAlpha(looks); got != want {
			t.Errorf("%d looks: %g, want %g", looks, got, want)
		}
	}
	for looks := 1; looks < 40; looks++ {
		if LookAlpha(looks+1) >= LookAlpha(looks) {
			t.Errorf("%d looks have a level as high as %d", looks+1, looks)
		}
	}
	// What the comment says.
	for _, tt := range []struct {
		looks  []int
		lo, hi float64
	}{
		{declared, 0.045, 0.046},
		{[]int{10, 20, 40, 80}, 0.053, 0.054},
		{[]int{10, 20, 40, 80, 160}, 0.056, 0.057},
	} {
		got := looksError(tt.looks, LookAlpha(len(tt.looks)), false)
		if got < tt.lo || got > tt.hi {
			t.Errorf("looks at %v come to %.4f, want %g to %g", tt.looks, got, tt.lo, tt.hi)
		}
	}
}
