package blackbox

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/postmortem"
)

// A run is one simulated life: what memory it uses when, and what the trigger did.
type run struct {
	captures []capturedAt // those that ended before the limit was met
	looks    int
	died     time.Duration // 0: it lived
}

type capturedAt struct {
	at    time.Duration // when it began
	share float64       // of the limit used
	why   string
}

func (r *run) near() (n int) {
	for _, c := range r.captures {
		if c.why != postmortem.WhyQuiet {
			n++
		}
	}
	return n
}

// simulate follows a life from begin on, with captures that take so long, during which
// nobody looks, and looks that are late by up to late.
func simulate(rng *rand.Rand, limit float64, used func(time.Duration) float64, begin, end, took, late time.Duration, quiet time.Duration) run {
	t := Trigger{Quiet: quiet}
	var r run
	dead := func(from, to time.Duration) bool {
		for at := from; at <= to; at += time.Millisecond {
			if used(at) >= limit {
				r.died = at
				return true
			}
		}
		return false
	}
	for at := begin; at < end; {
		u := used(at)
		if u >= limit {
			r.died = at
			return r
		}
		v := t.Look(Look{At: at, Used: uint64(max(0, u)), Limit: uint64(limit)})
		r.looks++
		next := at + v.Next + time.Duration(rng.Float64()*float64(late))
		if v.Capture {
			next = max(next, at+took)
			if end-begin < 5*time.Minute && dead(at, at+took) {
				return r
			}
			t.Captured(v, took)
			r.captures = append(r.captures, capturedAt{at, u / limit, v.Why})
		}
		if end-begin < 5*time.Minute && dead(at, next) {
			return r
		}
		at = next
	}
	return r
}

// TestTriggerCatches: whatever way it grows, if it takes a second or more from empty to
// the limit at its fastest, there is a capture near the end.
func TestTriggerCatches(t *testing.T) {
	shapes := map[string]func(x float64) float64{ // of the way, 0 to 1, at time x in lives
		"linear":      func(x float64) float64 { return x },
		"exponential": func(x float64) float64 { return (math.Exp(2.5*x) - 1) / (math.Exp(2.5) - 1) },
		"quadratic":   func(x float64) float64 { return x * x },
		"slowing":     func(x float64) float64 { return 1.02 * (1 - math.Exp(-4*x)) },
		"steps":       func(x float64) float64 { return math.Floor(x*12) / 11.9 },
		"big steps":   func(x float64) float64 { return math.Floor(x*5) / 4.9 },
		"sawtooth":    func(x float64) float64 { return x + 0.06*(math.Mod(x*20, 1)-0.5) },
		"rest, then go": func(x float64) float64 {
			if x < 0.4 {
				return 0.3
			}
			return 0.3 + (x-0.4)/0.6*0.71
		},
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			var worst float64 = 1
			for range 20 {
				limit := float64(uint64(32<<20) << rng.IntN(6))
				// The fastest part of the curve is at most a life of one second.
				steepest := 0.0
				for x := 0.0; x < 1.2; x += 0.01 {
					if name != "steps" && name != "big steps" {
						steepest = max(steepest, (shape(x+0.01)-shape(x))/0.01)
					}
				}
				if steepest == 0 {
					steepest = 1.05
				}
				life := time.Duration(steepest * float64(time.Second) * math.Exp(rng.Float64()*4))
				if name == "sawtooth" {
					life *= 2
				}
				used := func(at time.Duration) float64 { return limit * shape(at.Seconds()/life.Seconds()) }
				begin := time.Duration(rng.Float64() * 0.1 * float64(life))
				took := time.Duration((5 + 35*rng.Float64()) * float64(time.Millisecond))
				r := simulate(rng, limit, used, begin, 2*life, took, 3*time.Millisecond, 5*time.Minute)
				if r.died == 0 {
					t.Fatalf("the life of %v with a limit of %v did not end", life, limit)
				}
				if len(r.captures) == 0 {
					t.Errorf("no capture in a life of %v with a limit of %.0f MiB, captures of %v", life, limit/(1<<20), took)
					continue
				}
				last := r.captures[len(r.captures)-1]
				worst = min(worst, last.share)
				if r.near() == 0 || last.share < 0.5 && used(r.died-took-20*time.Millisecond) > 0.6*limit {
					t.Errorf("life of %v, limit %.0f MiB, captures of %v: the last at %.2f of it: %v", life, limit/(1<<20), took, last.share, r.captures)
				}
				if n := r.near(); n > 16 {
					t.Errorf("%d captures in a life of %v: %v", n, life, r.captures)
				}
			}
			t.Logf("the last capture was at %.2f of the limit or later", worst)
		})
	}
}

// TestTriggerLetsLive: who lives near its limit for a day is captured rarely.
func TestTriggerLetsLive(t *testing.T) {
	const limit = 512 << 20
	for _, tt := range []struct {
		name string
		used func(at time.Duration, rng *rand.Rand) float64
		most int
	}{
		{"97%, flat", func(time.Duration, *rand.Rand) float64 { return 0.97 }, 3},
		{"97%, noise of 1%", func(_ time.Duration, r *rand.Rand) float64 { return 0.97 + 0.01*r.NormFloat64()/3 }, 60},
		{"saw from 60% to 96% each 20 s", func(at time.Duration, _ *rand.Rand) float64 { return 0.6 + 0.36*math.Mod(at.Seconds()/20, 1) }, 60},
		{"saw from 60% to 96% each 2 s", func(at time.Duration, _ *rand.Rand) float64 { return 0.6 + 0.36*math.Mod(at.Seconds()/2, 1) }, 60},
		{"saw from 30% to 70% each 5 s", func(at time.Duration, _ *rand.Rand) float64 { return 0.3 + 0.4*math.Mod(at.Seconds()/5, 1) }, 60},
		{"daily", func(at time.Duration, _ *rand.Rand) float64 { return 0.6 + 0.35*math.Sin(at.Hours()/24*2*math.Pi) }, 20},
		{"half full, noise of 3%", func(_ time.Duration, r *rand.Rand) float64 { return 0.5 + 0.03*r.NormFloat64() }, 60},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(3, 4))
			span := 10 * time.Minute
			if tt.name == "daily" {
				span = 24 * time.Hour
			}
			r := simulate(rng, limit, func(at time.Duration) float64 { return limit * min(0.999, tt.used(at, rng)) }, 0, span, 20*time.Millisecond, 0, 0)
			most := tt.most
			if tt.name != "daily" {
				most = min(purse+6, tt.most)
			}
			if n := r.near(); n > most {
				t.Errorf("%d captures in %v, want %d at most", n, span, most)
			}
			t.Logf("%d captures and %.1f looks a second in %v", r.near(), float64(r.looks)/span.Seconds(), span)
		})
	}
}

// TestTriggerAfterLiving: it sees the end also of who lived near it for long.
func TestTriggerAfterLiving(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	const limit = 256 << 20
	for _, lived := range []float64{0.3, 0.6, 0.8} {
		for _, life := range []time.Duration{time.Second, 5 * time.Second, time.Minute} {
			for range 4 {
				calm := time.Minute + time.Duration(rng.IntN(int(10*time.Second)))
				used := func(at time.Duration) float64 {
					if at < calm {
						return limit * lived
					}
					return limit * (lived + (at-calm).Seconds()/life.Seconds())
				}
				r := simulate(rng, limit, used, 0, 3*time.Minute, 30*time.Millisecond, 0, 5*time.Minute)
				n := 0
				for _, c := range r.captures {
					if c.at > calm && c.why != postmortem.WhyQuiet {
						n++
					}
				}
				if r.died == 0 || n == 0 {
					t.Errorf("lived at %.2f, then %v to fill: %d captures on the way, died at %v", lived, life, n, r.died)
				}
			}
		}
	}
}

// TestTriggerQuiet: a capture to hold others against, soon and then now and then.
func TestTriggerQuiet(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, limit := range []float64{0, 1 << 30} {
		r := simulate(rng, max(limit, math.Inf(1)), func(time.Duration) float64 { return 100 << 20 }, 0, 30*time.Minute, 20*time.Millisecond, 0, 5*time.Minute)
		if n := len(r.captures); n < 5 || n > 7 || r.near() != 0 {
			t.Errorf("%d captures, %d of them near", n, r.near())
		}
	}
}

// TestTriggerLimitRaised: a limit that was raised meanwhile is another place.
func TestTriggerLimitRaised(t *testing.T) {
	var tr Trigger
	at := time.Duration(0)
	look := func(used, limit uint64) Verdict {
		at += 50 * time.Millisecond
		v := tr.Look(Look{At: at, Used: used, Limit: limit})
		if v.Capture {
			tr.Captured(v, 10*time.Millisecond)
		}
		return v
	}
	for range 40 {
		look(96<<20, 100<<20)
	}
	if v := look(96<<20, 1000<<20); v.Capture || v.Next < 100*time.Millisecond || v.Room != 904<<20 {
		t.Errorf("after the limit was raised: %+v", v)
	}
	if v := look(990<<20, 1000<<20); !v.Capture {
		t.Errorf("near the new limit: %+v", v)
	}
}

// FuzzTrigger feeds anything that is in the order of time.
func FuzzTrigger(f *testing.F) {
	f.Add([]byte{1, 2, 3, 250, 250, 250, 9, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		tr := Trigger{Quiet: time.Minute}
		var at time.Duration
		for len(data) >= 4 {
			at += time.Duration(data[0]) * time.Duration(data[1]) * 100 * time.Microsecond
			l := Look{At: at, Used: uint64(data[2]) << (data[3] % 40), Limit: uint64(data[3]) << (data[2] % 40), Demand: uint64(data[0]) << 20, Stalled: at / 3}
			v := tr.Look(l)
			if v.Next < fastestLook || v.Next > slowestLook || v.Left < 0 || math.IsNaN(v.Rate) || v.Rate < 0 || v.Capture && v.Why == "" {
				t.Fatalf("%+v of %+v", v, l)
			}
			if v.Capture && data[1]%2 == 0 {
				tr.Captured(v, time.Duration(data[0])*time.Millisecond)
			}
			data = data[4:]
		}
	})
}
