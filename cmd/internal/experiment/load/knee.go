package load

import (
	"context"
	"fmt"
	"math"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// KneeOptions bound the search for a knee. Zero fields have the defaults below.
type KneeOptions struct {
	Start     float64 // the rate to begin with, requests a second
	Max       float64 // the highest rate to try
	Tolerance float64 // how far apart, relatively, the highest rate that held and the lowest that did not may be in the end
	Tries     int     // at most
}

// Defaults of KneeOptions.
const (
	kneeStart     = 100
	kneeMax       = 200_000
	kneeTolerance = 0.07
	kneeTries     = 32
	// kneeLowest is the lowest rate that is worth a search.
	kneeLowest = 1
)

// A tail that is so many times that of a lower rate, and longer than kneeTail, is
// that of a queue which grows.
const (
	kneeFactor = 10
	kneeTail   = 5e-3 // seconds
)

// Try is what a rate came to. Whether it held is also a matter of the other rates,
// which Knee decides.
func Try(rate float64, r Report) experiment.KneeTry {
	t := experiment.KneeTry{Rate: rate, Achieved: r.Throughput(), P99: quantileSeconds(r.Latency, 99), Slip: r.Audit.SlipP99}
	t.Held, t.Why = r.Held()
	return t
}

// Knee searches the highest rate that holds: try says what a rate comes to, as Try
// does. A rate holds when 97 % of what is due is answered while it is due, less than
// 0.1 % fails, and the 99th percentile of the latency is not more than 5 ms, or than
// ten times the lowest at a lower rate. A slow generator is no reason by itself, as
// latency counts from when requests were due; where it explains most of the tail,
// Why says so.
//
// The rates double from the first, or go down to one that holds; a quarter of that is
// tried for its tail. What lies between the highest that held and the lowest that did
// not is then halved, geometrically. One that did not hold is tried
// twice: a machine has hiccups. When even Max holds, that is what is returned.
func Knee(ctx context.Context, try func(ctx context.Context, rate float64) (experiment.KneeTry, error), opt KneeOptions) (float64, []experiment.KneeTry, error) {
	opt = opt.withDefaults()
	s := search{try: try, left: opt.Tries}
	low, high := 0.0, 0.0 // held, did not
	rate := opt.Start
	for {
		held, err := s.holds(ctx, rate)
		if err != nil {
			return low, s.tries, err
		}
		switch {
		case held && low == 0 && rate/4 >= kneeLowest:
			if low, high, err = s.base(ctx, rate, high); err != nil {
				return low, s.tries, err
			}
		case held:
			low = rate
		default:
			high = rate
		}
		switch {
		case low >= opt.Max:
			return low, s.tries, nil
		case high == 0:
			rate = min(2*rate, opt.Max)
		case low == 0 && high <= kneeLowest:
			return 0, s.tries, fmt.Errorf("no rate holds, not even %.3g requests a second: %s", high, s.tries[len(s.tries)-1].Why)
		case low == 0:
			rate = max(rate/4, kneeLowest)
		case high <= low*(1+opt.Tolerance):
			return low, s.tries, nil
		default:
			rate = math.Sqrt(low * high)
		}
		if s.left <= 0 {
			if low == 0 {
				return 0, s.tries, fmt.Errorf("no rate held in %d tries, the last %.3g requests a second: %s", len(s.tries), high, s.tries[len(s.tries)-1].Why)
			}
			return low, s.tries, nil
		}
	}
}

func (o KneeOptions) withDefaults() KneeOptions {
	if !(o.Start > 0) {
		o.Start = kneeStart
	}
	if !(o.Max > 0) {
		o.Max = kneeMax
	}
	o.Max = min(o.Max, MaxRate)
	o.Start = min(o.Start, o.Max)
	if !(o.Tolerance > 0) {
		o.Tolerance = kneeTolerance
	}
	if o.Tries <= 0 {
		o.Tries = kneeTries
	}
	return o
}

// A search is what was tried so far.
type search struct {
	try   func(context.Context, float64) (experiment.KneeTry, error)
	tries []experiment.KneeTry
	left  int
}

// holds tries a rate, and once more if it does not hold.
func (s *search) holds(ctx context.Context, rate float64) (bool, error) {
	for range 2 {
		if s.left <= 0 {
			break
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		s.left--
		t, err := s.try(ctx, rate)
		if err != nil {
			return false, err
		}
		t.Rate = rate
		s.judge(&t)
		s.tries = append(s.tries, t)
		if t.Held {
			return true, nil
		}
	}
	return false, nil
}

// base tries a quarter of the first rate that held, and holds its tail against that:
// a rate just below the knee has a long tail too. It returns the highest rate that
// held, and the lowest that did not.
func (s *search) base(ctx context.Context, rate, high float64) (float64, float64, error) {
	held, err := s.holds(ctx, rate/4)
	if err != nil || !held {
		return rate, high, err
	}
	for i := range s.tries {
		if t := &s.tries[i]; t.Rate == rate && t.Held {
			if s.judge(t); !t.Held {
				return rate / 4, rate, nil
			}
		}
	}
	return rate, high, nil
}

// judge holds the tail of a try against those of lower rates.
func (s *search) judge(t *experiment.KneeTry) {
	if !t.Held {
		return
	}
	base := math.Inf(1)
	for _, o := range s.tries {
		if o.Held && o.Rate < t.Rate {
			base = min(base, o.P99)
		}
	}
	if limit := max(kneeFactor*base, kneeTail); t.P99 > limit {
		t.Held = false
		t.Why = fmt.Sprintf("latency p99 is %.3g ms, and was %.3g ms at a lower rate", 1e3*t.P99, 1e3*base) + late(t.Slip, t.P99)
	}
}
