package honesty

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestRateOf holds intervals against those of R's binom.test.
func TestRateOf(t *testing.T) {
	for _, tt := range []struct {
		count, of int
		low, high float64
	}{
		{0, 40, 0, 0.08809},
		{2, 40, 0.00611, 0.16920},
		{20, 20, 0.83157, 1},
		{18, 20, 0.68302, 0.98765},
		{1, 1, 0.025, 1},
		{0, 0, 0, 1},
		{7, 1000, 0.002819, 0.014369},
	} {
		r := RateOf(tt.count, tt.of)
		if math.Abs(r.Low-tt.low) > 1e-4 || math.Abs(r.High-tt.high) > 1e-4 {
			t.Errorf("%d of %d: %.5f to %.5f, want %.5f to %.5f", tt.count, tt.of, r.Low, r.High, tt.low, tt.high)
		}
	}
	if got, want := RateOf(2, 40).String(), "2/40 = 5% (1% to 17%)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := RateOf(0, 0).String(); got != "-" {
		t.Errorf("of nothing: %q", got)
	}
}

// TestRateCovers draws rates and sees how often the interval has the truth.
func TestRateCovers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	const truth, draws, n = 0.07, 2000, 40
	covered := 0
	for range draws {
		count := 0
		for range n {
			if rnd.Float64() < truth {
				count++
			}
		}
		if r := RateOf(count, n); r.Low <= truth && truth <= r.High {
			covered++
		}
	}
	if covered < draws*95/100 {
		t.Errorf("%d of %d intervals have the truth, want 95%% or more", covered, draws)
	}
}

func TestLabels(t *testing.T) {
	blocks := []Block{{0, 1}, {1, 2}, {1, 3}, {0, 4}, {1, 5}}
	a, b := Halves(blocks)
	if !slices.Equal(a, []float64{1, 2}) || !slices.Equal(b, []float64{3, 4}) {
		t.Errorf("halves %v, %v", a, b)
	}
	a, b = Arms(blocks)
	if !slices.Equal(a, []float64{1, 4}) || !slices.Equal(b, []float64{2, 3, 5}) {
		t.Errorf("arms %v, %v", a, b)
	}
}

func TestPeers(t *testing.T) {
	low, high := []float64{1, 2, 3, 4, 5}, []float64{6, 7, 8, 9, 10}
	for _, tt := range []struct {
		name                 string
		a, b                 []float64
		benchstat, threshold bool
	}{
		{"apart", low, high, true, true},
		{"apart the other way", high, low, true, true},
		{"the same", low, low, false, false},
		{"too few", low[:3], high[:3], false, true},
		{"constant", []float64{2, 2, 2, 2}, []float64{2, 2, 2, 2}, false, false},
		{"14%", []float64{100, 100, 100, 100, 100}, []float64{114, 114, 114, 114, 114}, true, false},
		{"empty", nil, low, false, false},
		{"not a number", []float64{math.NaN(), 1, 1, 1, 1}, high, false, false},
	} {
		if got := Benchstat(tt.a, tt.b); got != tt.benchstat {
			t.Errorf("%s: benchstat reports %v", tt.name, got)
		}
		if got := Threshold(tt.a, tt.b, 0.15); got != tt.threshold {
			t.Errorf("%s: threshold reports %v", tt.name, got)
		}
	}
	if !Worse(low, high) || Worse(high, low) || Worse(low, low) {
		t.Error("worse is the wrong way round")
	}
}
