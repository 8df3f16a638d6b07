package load

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// queue is a subject that can do so much, and whose tail grows as that of a queue
// does.
func queue(capacity float64) func(context.Context, float64) (experiment.KneeTry, error) {
	return func(_ context.Context, rate float64) (experiment.KneeTry, error) {
		t := experiment.KneeTry{Rate: rate, Achieved: rate, P99: 1e-3 / max(0.02, 1-rate/capacity), Held: true}
		if rate > capacity {
			t.Achieved, t.P99, t.Held, t.Why = capacity, 1, false, "too much"
		}
		return t, nil
	}
}

func TestKnee(t *testing.T) {
	for _, capacity := range []float64{7, 99, 100, 101, 1234, 54_321, 150_000} {
		rate, tries, err := Knee(t.Context(), queue(capacity), KneeOptions{})
		if err != nil {
			t.Errorf("capacity %v: %v", capacity, err)
		}
		// The tail is ten times that of an idle subject at nine tenths.
		if rate > 0.93*capacity || rate < 0.8*capacity {
			t.Errorf("capacity %v: knee at %.4g after %d tries", capacity, rate, len(tries))
		}
		if len(tries) > kneeTries {
			t.Errorf("%d tries", len(tries))
		}
		highest := 0.0
		for _, try := range tries {
			if try.Held != (try.Why == "") {
				t.Errorf("capacity %v: %+v", capacity, try)
			}
			if try.Held {
				highest = max(highest, try.Rate)
			}
		}
		if highest != rate {
			t.Errorf("capacity %v: knee at %v, and %v held", capacity, rate, highest)
		}
	}
}

func TestKneeAtMost(t *testing.T) {
	rate, tries, err := Knee(t.Context(), queue(1e9), KneeOptions{Start: 300, Max: 1000})
	if rate != 1000 || err != nil || len(tries) != 4 {
		t.Errorf("%v, %v after %+v", rate, err, tries)
	}
}

func TestKneeOfNothing(t *testing.T) {
	_, tries, err := Knee(t.Context(), queue(0.5), KneeOptions{})
	if err == nil || err.Error() != "no rate holds, not even 1 requests a second: too much" || len(tries) > 10 {
		t.Errorf("%v after %+v", err, tries)
	}
	_, tries, err = Knee(t.Context(), queue(0.5), KneeOptions{Start: 1e6, Tries: 3})
	if err == nil || !strings.HasPrefix(err.Error(), "no rate held in 3 tries") || len(tries) != 3 {
		t.Errorf("%v after %+v", err, tries)
	}
}

// TestKneeWithHiccups has a machine that spoils one try in five.
func TestKneeWithHiccups(t *testing.T) {
	const n = 1000
	near := 0
	for seed := range uint64(n) {
		random := rand.New(rand.NewPCG(seed, 0))
		try := queue(1000)
		rate, _, err := Knee(t.Context(), func(ctx context.Context, rate float64) (experiment.KneeTry, error) {
			if random.Float64() < 0.2 {
				return experiment.KneeTry{Why: "hiccup"}, nil
			}
			return try(ctx, rate)
		}, KneeOptions{})
		if err != nil || rate > 930 {
			t.Fatalf("seed %d: %v, %v", seed, rate, err)
		}
		if rate > 600 {
			near++
		}
	}
	if near < 0.85*n {
		t.Errorf("found in %d of %d", near, n)
	}
}

func TestKneeBlamesGenerator(t *testing.T) {
	_, tries, err := Knee(t.Context(), func(_ context.Context, rate float64) (experiment.KneeTry, error) {
		try := experiment.KneeTry{Achieved: rate, P99: 1e-3, Held: true}
		if rate > 500 {
			try.P99, try.Slip = 20e-3, 15e-3
		}
		return try, nil
	}, KneeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, try := range tries {
		if want := "latency p99 is 20 ms, and was 1 ms at a lower rate; the generator itself sent late (p99 15 ms of 20 ms)"; try.Rate > 500 && !strings.HasPrefix(try.Why, want) {
			t.Errorf("%+v", try)
		}
	}
}

func TestKneeErrors(t *testing.T) {
	broken := errors.New("broken")
	calls := 0
	rate, tries, err := Knee(t.Context(), func(_ context.Context, rate float64) (experiment.KneeTry, error) {
		if calls++; calls == 3 {
			return experiment.KneeTry{}, broken
		}
		return experiment.KneeTry{Held: true}, nil
	}, KneeOptions{})
	if !errors.Is(err, broken) || len(tries) != 2 || rate != kneeStart {
		t.Errorf("%v, %v after %+v", rate, err, tries)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Knee(ctx, queue(100), KneeOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	// Hostile options and numbers end too.
	for _, opt := range []KneeOptions{{Start: math.NaN(), Max: math.Inf(1), Tolerance: math.NaN()}, {Start: math.Inf(1), Tries: 1 << 30}} {
		if _, tries, _ := Knee(t.Context(), queue(5e5), opt); len(tries) == 0 || len(tries) > 50 {
			t.Errorf("%+v: %d tries", opt, len(tries))
		}
	}
}
