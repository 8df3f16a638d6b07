package peers

import (
	"context"
	"math"
	"math/rand/v2"
	"time"
)

// Noise is an uneven load with which nothing is wrong: a slow wave, spikes of five
// times the rate for five seconds, and a dependency that is three times as slow for
// five seconds, each about once in a minute and a half, at times drawn by lot.
type Noise struct {
	Seed       uint64
	Rate       float64
	Dependency time.Duration
}

const (
	noiseSlot   = 5 * time.Second
	noiseOften  = 1.0 / 18 // of the slots
	noiseSpike  = 5
	noiseSlower = 3
	noiseWave   = 10 * time.Minute
	noiseSwing  = 0.4 // of the rate, up and down
)

// slot says what is drawn for the slot of a time: numbers in [0, 1).
func (n Noise) slot(at time.Duration) (spike, slow float64) {
	rnd := rand.New(rand.NewPCG(n.Seed, uint64(at/noiseSlot)))
	return rnd.Float64(), rnd.Float64()
}

// At is the rate at a time.
func (n Noise) At(at time.Duration) float64 {
	r := n.Rate * (1 + noiseSwing*math.Sin(2*math.Pi*at.Seconds()/noiseWave.Seconds()))
	if spike, _ := n.slot(at); spike < noiseOften {
		r *= noiseSpike
	}
	return r
}

// Disturb sets the dependency of a service from slot to slot.
func (n Noise) Disturb(ctx context.Context, s *Service, begin time.Time, length time.Duration) {
	now := n.Dependency
	for at := time.Duration(0); at < length; at += noiseSlot {
		sleepUntil(ctx, begin.Add(at))
		if ctx.Err() != nil {
			return
		}
		d := n.Dependency
		if _, slow := n.slot(at); slow < noiseOften {
			d *= noiseSlower
		}
		if d != now {
			s.Tell("dependency", func() string { return "dependency?latency=" + d.String() })
			now = d
		}
	}
}
