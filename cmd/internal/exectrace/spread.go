package exectrace

import (
	"math/bits"
	"time"
)

// A spread counts durations in buckets of an eighth of a power of two. The zero
// value is empty.
type spread struct {
	n       uint64
	sum     float64 // ns
	max     int64   // ns
	buckets *[512]uint64
}

func bucketOf(ns int64) int {
	if ns < 8 {
		return int(max(ns, 0))
	}
	e := bits.Len64(uint64(ns)) - 1 // at least 3
	return e*8 + int(uint64(ns)>>(e-3)&7) - 16
}

// middle is the value that stands for a bucket, in ns.
func middle(i int) float64 {
	if i < 8 {
		return float64(i)
	}
	e := (i + 16) / 8
	low := float64(uint64(8+(i+16)%8) << (e - 3))
	return low + float64(uint64(1)<<(e-3))/2
}

func (s *spread) add(ns int64) {
	if s.buckets == nil {
		s.buckets = new([512]uint64)
	}
	s.buckets[bucketOf(ns)]++
	s.n++
	s.sum += float64(ns)
	s.max = max(s.max, ns)
}

// quantile is in ns.
func (s *spread) quantile(q float64) float64 {
	if s.n == 0 {
		return 0
	}
	rank := min(uint64(q*float64(s.n)), s.n-1)
	var seen uint64
	for i, n := range s.buckets {
		if seen += n; seen > rank {
			return min(middle(i), float64(s.max))
		}
	}
	return float64(s.max)
}

func (s *spread) report() Spread {
	return Spread{N: s.n, Sum: s.sum / 1e9, P50: s.quantile(0.50) / 1e9, P90: s.quantile(0.90) / 1e9, P99: s.quantile(0.99) / 1e9, Max: float64(s.max) / 1e9}
}

func seconds[T int64 | float64 | time.Duration](ns T) float64 { return float64(ns) / 1e9 }
