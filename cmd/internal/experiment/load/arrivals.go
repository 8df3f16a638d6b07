package load

import (
	"math/rand/v2"
	"time"
)

// Streams of random numbers that are drawn from one seed and are independent of
// each other.
const (
	streamGaps = iota + 1
	streamCoin
	streamMix
)

// A schedule draws when requests are due, and to which target each goes. It does
// not depend on what happens to them.
type schedule struct {
	gaps, coin *rand.Rand
	constant   bool
	targets    int
	gap        float64 // mean, in nanoseconds, of the arrivals of all targets
	at         float64 // nanoseconds
	second     int     // of the two slots that a coin was thrown for: its target, plus 1
}

func newSchedule(rate float64, targets int, constant bool, seed uint64) *schedule {
	return &schedule{
		gaps:     rand.New(rand.NewPCG(seed, streamGaps)),
		coin:     rand.New(rand.NewPCG(seed, streamCoin)),
		constant: constant,
		targets:  targets,
		gap:      1e9 / (rate * float64(targets)),
	}
}

// next is the next arrival. Poisson arrivals of two targets are one Poisson stream,
// thinned by a fair coin: two independent Poisson streams. Constant arrivals take
// turns by pairs, and the coin says who is first in each.
func (s *schedule) next() (due time.Duration, target int) {
	if s.constant {
		s.at += s.gap
	} else {
		s.at += s.gaps.ExpFloat64() * s.gap
	}
	due = time.Duration(s.at)
	if s.targets == 1 {
		return due, 0
	}
	if !s.constant {
		return due, s.coin.IntN(2)
	}
	if s.second > 0 {
		target, s.second = s.second-1, 0
		return due, target
	}
	target = s.coin.IntN(2)
	s.second = 2 - target
	return due, target
}

// mixed is a number in [0, 1) for a request of a target: the requests of both
// targets of a duet are the same, in the same order (splitmix64).
func mixed(seed, n uint64) float64 {
	z := seed*0x9e3779b97f4a7c15 + (n+streamMix)*0xbf58476d1ce4e5b9
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	return float64(z>>11) / (1 << 53)
}
