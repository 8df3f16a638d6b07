package leak

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/heapwright/heapwright/record"
)

// A simulated heap: sites whose objects arrive by Poisson and live for a time, of
// which the profiler samples one per period bytes; profiles after each GC cycle.
type simulated struct {
	rng     *rand.Rand
	seconds float64
	cycles  float64 // seconds between GC cycles
	sites   []simSite
}

type simSite struct {
	name  string
	size  float64
	rate  func(t float64) float64 // bytes allocated per second
	life  func(r *rand.Rand) float64
	bound int // objects, 0 for none: more push the oldest out
	// clears empties the site at that interval in seconds, 0 for never.
	clears float64
	base   int // sampled objects that live from the start
}

const simPeriod = 512 << 10

func forever(*rand.Rand) float64 { return math.Inf(1) }

func lives(mean float64) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return r.ExpFloat64() * mean }
}

func steadily(rate float64) func(float64) float64 { return func(float64) float64 { return rate } }

// observe runs a simulation in steps of GC cycles. Only sampled objects are
// followed: they are a Poisson stream of their own.
func (s simulated) observe() Observation {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rec := &record.Recording{Process: record.Process{PID: 1, Name: "simulated", StartTime: start.Add(-time.Hour)}}
	o := Observation{Process: rec.Process, Recording: rec}
	type object struct{ dies float64 }
	live := make([][]object, len(s.sites))
	allocs := make([]int64, len(s.sites))
	const warm = 200.0 // seconds before the first reading, so that it begins in balance
	for i, x := range s.sites {
		for range x.base {
			live[i] = append(live[i], object{math.Inf(1)})
		}
		allocs[i] = int64(x.base)
	}
	n := uint64(100)
	for t := -warm; t <= s.seconds; t += s.cycles {
		var marked float64
		p := &record.Profile{Time: start.Add(time.Duration((t + 0.01) * 1e9)), Kind: record.ProfileHeap, PeriodBytes: simPeriod}
		for i, x := range s.sites {
			chance := -math.Expm1(-x.size / simPeriod)
			leak := math.IsInf(x.life(s.rng), 1)
			if t >= 0 || !leak {
				born := poisson(s.rng, x.rate(t)*s.cycles/x.size*chance)
				allocs[i] += int64(born)
				for range born {
					live[i] = append(live[i], object{t + x.life(s.rng)})
				}
			}
			if x.clears > 0 && math.Mod(t+warm, x.clears) < s.cycles {
				live[i] = live[i][:0]
			}
			live[i] = slices.DeleteFunc(live[i], func(ob object) bool { return ob.dies <= t })
			if x.bound > 0 && len(live[i]) > x.bound {
				live[i] = live[i][len(live[i])-x.bound:]
			}
			k := float64(len(live[i]))
			marked += k * x.size / chance
			p.Sites = append(p.Sites, record.ProfileSite{
				Stack:         []record.Frame{{Func: "main." + x.name, File: "/src/main.go", Line: 10 + i}, {Func: "main.main", File: "/src/main.go", Line: 5}},
				AllocBytes:    float64(allocs[i]) * x.size / chance,
				AllocObjects:  float64(allocs[i]) / chance,
				InUseBytes:    k * x.size / chance,
				InUseObjects:  k / chance,
				SampledAllocs: allocs[i], SampledInUse: int64(k),
			})
		}
		if t < 0 {
			continue
		}
		n++
		rec.Cycles = append(rec.Cycles, record.Cycle{N: n, End: start.Add(time.Duration(t * 1e9)), Detail: true, HeapMarkedBytes: uint64(marked)})
		o.Heap = append(o.Heap, p)
		o.Recording.Samples = append(o.Recording.Samples, record.Sample{Time: start.Add(time.Duration(t * 1e9))})
	}
	return o
}

func poisson(r *rand.Rand, mean float64) int {
	if mean > 200 {
		return max(0, int(math.Round(mean+math.Sqrt(mean)*r.NormFloat64())))
	}
	n, p := 0, math.Exp(-mean)
	for u := r.Float64(); u > p; n++ {
		u -= p
		p *= mean / float64(n+1)
		if n > 2000 {
			break
		}
	}
	return n
}

// ordinary is what a healthy service holds: sites of many sizes and lives.
func ordinary(n int) []simSite {
	var out []simSite
	for i := range n {
		out = append(out, simSite{
			name: fmt.Sprintf("ordinary%d", i), size: []float64{64, 400, 4096, 65536}[i%4],
			rate: steadily(float64(1+i%5) * 4e5), life: lives([]float64{0.5, 5, 20, 60}[i/4%4]), base: (i % 7) * 6,
		})
	}
	return out
}

const mb = 1e6

// TestFalseAlarms counts verdicts of a leak about heaps that do not leak. Each kind
// is run often enough that the bound would be missed by a rate of 5%.
func TestFalseAlarms(t *testing.T) {
	const runs = 60
	for _, c := range []struct {
		name  string
		sites func() []simSite
	}{
		{"constant load", func() []simSite { return nil }},
		{"warm-up", func() []simSite {
			return []simSite{{name: "warm", size: 2048, rate: func(t float64) float64 { return 3 * mb * math.Exp(-max(t, 0)/60) }, life: forever}}
		}},
		{"a cache with a bound", func() []simSite {
			return []simSite{{name: "cache", size: 2048, rate: steadily(1 * mb), life: forever, bound: 200}}
		}},
		{"sawtooth", func() []simSite {
			return []simSite{{name: "batch", size: 512, rate: steadily(1 * mb), life: lives(1e6), clears: 70}}
		}},
		{"day and night", func() []simSite {
			return []simSite{{name: "load", size: 512, rate: func(t float64) float64 { return 4 * mb * (1 + 0.8*math.Sin(t/40)) }, life: lives(5)}}
		}},
		{"rising load", func() []simSite {
			return []simSite{{name: "load", size: 512, rate: func(t float64) float64 { return 2 * mb * (1 + max(t, 0)/150) }, life: lives(15)}}
		}},
		{"one step", func() []simSite {
			return []simSite{{name: "reload", size: 4096, rate: func(t float64) float64 {
				if t > 120 && t < 130 {
					return 5 * mb
				}
				return 0
			}, life: forever}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			alarms, quiet := 0, 0
			for seed := range uint64(runs) {
				s := simulated{rng: rand.New(rand.NewPCG(seed, 1)), seconds: 300, cycles: 3, sites: append(ordinary(30), c.sites()...)}
				v := Judge(s.observe(), Options{})
				switch v.Verdict {
				case Leak:
					alarms++
					t.Logf("seed %d: %s %v %+v", seed, v.Reason, v.Findings[0].Growth, v.Findings[0].Evidence)
				case NoLeak:
					quiet++
				}
			}
			// With a chance of 1% an alarm, 4 or more in 60 come once in 400 times.
			if alarms > 3 {
				t.Errorf("%d alarms in %d runs", alarms, runs)
			}
			if quiet < runs*8/10 {
				t.Errorf("only %d of %d runs came to the verdict that there is no leak", quiet, runs)
			}
		})
	}
}

// TestPower counts how many leaks are found, by how many samples they leave.
func TestPower(t *testing.T) {
	const runs = 40
	for _, c := range []struct {
		samples float64 // expected, of the leak, in the window
		least   float64
	}{{20, 0.3}, {40, 0.85}, {150, 0.95}} {
		t.Run(fmt.Sprint(c.samples), func(t *testing.T) {
			t.Parallel()
			found, wrong := 0, 0
			for seed := range uint64(runs) {
				const seconds = 300
				s := simulated{rng: rand.New(rand.NewPCG(seed, 2)), seconds: seconds, cycles: 3,
					sites: append(ordinary(30), simSite{name: "leak", size: 2048, rate: steadily(c.samples * simPeriod / seconds), life: forever, base: 20})}
				v := Judge(s.observe(), Options{})
				if v.Verdict == Leak && v.Findings[0].Site.Func == "main.leak" {
					found++
				} else if v.Verdict == Leak {
					wrong++
				}
			}
			t.Logf("%.0f samples: found %d of %d, wrong site %d", c.samples, found, runs, wrong)
			if float64(found) < c.least*runs || wrong > 2 {
				t.Errorf("found %d of %d, and %d at the wrong site", found, runs, wrong)
			}
		})
	}
}
