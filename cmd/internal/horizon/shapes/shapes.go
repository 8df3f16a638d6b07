// Package shapes makes recordings of processes that never were: memory that takes a
// known course, under the arithmetic of Go's collector, until a limit ends it or it does
// not. They are what forecasts are tried on, beside real programs; they prove nothing
// about these.
package shapes

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/heapwright/heapwright/record"
)

// A Trial is a recording, and what became of the process.
type Trial struct {
	Shape     string
	Recording *record.Recording
	Killed    time.Time // zero: it was not
}

// A process is a course of memory: functions of the seconds since its start.
type process struct {
	live    func(t float64) float64 // bytes that are reachable
	outside func(t float64) float64 // bytes that are not Go's; nil is 8 MiB
	alloc   func(t float64) float64 // bytes a second; nil is 8 MiB/s
	noise   float64                 // of the live heap that a cycle finds, relative
	gogc    float64
	soft    float64 // GOMEMLIMIT; 0 is none
	limit   float64
	lasts   float64 // seconds
	every   float64 // seconds between samples
}

const mib = 1 << 20

// A shape draws a process.
type shape struct {
	name string
	make func(r *rand.Rand) process
}

func uniform(r *rand.Rand, lo, hi float64) float64 { return lo + (hi-lo)*r.Float64() }

// between draws evenly on a logarithmic scale.
func between(r *rand.Rand, lo, hi float64) float64 { return lo * math.Pow(hi/lo, r.Float64()) }

// leaking is a process with a base and a limit, which grows by g(t/T) of what is left
// of the limit in the time T, and is killed some time after 0.9 T where g(1) is 1.
func leaking(r *rand.Rand, g func(x float64) float64) process {
	base, limit, lasts := between(r, 10, 400)*mib, between(r, 2.5, 8), between(r, 60, 40000)
	p := process{noise: uniform(r, 0, 0.04), gogc: 100, lasts: 1.5 * lasts, every: max(1, lasts/1500)}
	p.limit = base * limit * 2
	room := (p.limit-8*mib)/2 - base
	p.live = func(t float64) float64 { return base + room*g(t/lasts) }
	rate := p.limit / 2 / between(r, 0.5, 8) / max(1, lasts/600)
	p.alloc = func(float64) float64 { return rate }
	switch r.IntN(3) {
	case 0: // GOMEMLIMIT inside the limit
		p.soft = p.limit * uniform(r, 0.8, 0.95)
		room = p.soft*1.02 - base
	case 1:
		p.gogc = 50
		room = (p.limit-8*mib)/1.5 - base
	}
	return p
}

// healthy is a process whose live heap goes between a base and a top that leave it below
// its limit: h is from 0 to 1.
func healthy(r *rand.Rand, h func(x float64) float64) process {
	base, lasts := between(r, 10, 400)*mib, between(r, 60, 40000)
	top := base * uniform(r, 1.2, 3)
	p := process{noise: uniform(r, 0, 0.04), gogc: 100, lasts: lasts, every: max(1, lasts/1500)}
	p.live = func(t float64) float64 { return base + (top-base)*h(t/lasts) }
	p.limit = (2*top*1.05 + 16*mib) * uniform(r, 1.05, 1.6)
	rate := top / between(r, 0.5, 8) / max(1, lasts/600)
	p.alloc = func(float64) float64 { return rate }
	if r.IntN(3) == 0 {
		p.soft = p.limit * 0.9
	}
	return p
}

// rising is a course that grows at a rate that wanders, as load does.
func rising(r *rand.Rand, spread float64) func(x float64) float64 {
	const n = 200
	var at [n + 1]float64
	rate := 0.0
	for i := range n {
		rate = 0.9*rate + spread*math.Sqrt(1-0.81)*r.NormFloat64()
		at[i+1] = at[i] + math.Exp(rate)/n
	}
	return func(x float64) float64 {
		x = max(x, 0) * n
		if x >= n {
			return at[n] + (x-n)/n
		}
		i := int(x)
		return at[i] + (x-float64(i))*(at[i+1]-at[i])
	}
}

// diurnal is a process over some days with a daily rhythm, growing or not.
func diurnal(r *rand.Rand, days float64, grows bool) process {
	base := between(r, 50, 400) * mib
	p := process{noise: 0.02, gogc: 100, lasts: days * 86400, every: 120}
	swing, phase := base*uniform(r, 0.3, 1.2), r.Float64()
	slope := 0.0
	p.limit = (base+swing)*2*uniform(r, 1.1, 1.5) + 16*mib
	if grows {
		slope = ((p.limit-8*mib)/2 - base - swing) / (days * 86400) * uniform(r, 1.1, 2)
	}
	p.live = func(t float64) float64 {
		return base + slope*t + swing*(1-math.Cos(2*math.Pi*(t/86400+phase)))/2
	}
	rate := base / 200
	p.alloc = func(t float64) float64 { return rate * (1.2 - math.Cos(2*math.Pi*(t/86400+phase))) }
	return p
}

var shapes = []shape{
	{"leak, linear", func(r *rand.Rand) process { return leaking(r, func(x float64) float64 { return x }) }},
	{"leak, rate wanders", func(r *rand.Rand) process { return leaking(r, rising(r, 0.6)) }},
	{"leak, ever faster", func(r *rand.Rand) process {
		return leaking(r, func(x float64) float64 { return 0.3*x + 0.7*x*x })
	}},
	{"leak, by steps", func(r *rand.Rand) process {
		n := math.Floor(uniform(r, 15, 60))
		return leaking(r, func(x float64) float64 { return math.Floor(x*n) / n })
	}},
	{"leak, begins late", func(r *rand.Rand) process {
		from := uniform(r, 0.2, 0.6)
		return leaking(r, func(x float64) float64 { return max(0, x-from) / (1 - from) })
	}},
	{"leak, after a warm-up", func(r *rand.Rand) process {
		tau := uniform(r, 0.02, 0.1)
		return leaking(r, func(x float64) float64 { return 0.2*(1-math.Exp(-x/tau)) + 0.8*x })
	}},
	{"leak, under bursts", func(r *rand.Rand) process {
		every, size := uniform(r, 0.05, 0.3), uniform(r, 0.02, 0.1)
		return leaking(r, func(x float64) float64 {
			if math.Mod(x, every) < every/5 {
				return x + size
			}
			return x
		})
	}},
	{"leak, outside the heap", func(r *rand.Rand) process {
		p := leaking(r, func(float64) float64 { return 0 })
		lasts, room := p.lasts/1.5, p.limit-2.2*p.live(0)
		if p.soft > 0 {
			room = p.limit - p.soft*0.5
		}
		p.outside = func(t float64) float64 { return 8*mib + room*t/lasts }
		return p
	}},
	{"leak, daily rhythm", func(r *rand.Rand) process { return diurnal(r, 8, true) }},

	{"healthy, level", func(r *rand.Rand) process { return healthy(r, func(float64) float64 { return 0 }) }},
	{"healthy, warm-up that saturates", func(r *rand.Rand) process {
		tau := uniform(r, 0.05, 0.4)
		return healthy(r, func(x float64) float64 { return 1 - math.Exp(-x/tau) })
	}},
	{"healthy, cache that fills and is full", func(r *rand.Rand) process {
		full := uniform(r, 0.1, 0.7)
		return healthy(r, func(x float64) float64 { return min(1, x/full) })
	}},
	{"healthy, sawtooth", func(r *rand.Rand) process {
		every := uniform(r, 0.05, 0.3)
		return healthy(r, func(x float64) float64 { return math.Mod(x, every) / every })
	}},
	{"healthy, bursts of load", func(r *rand.Rand) process {
		every, of := uniform(r, 0.1, 0.4), uniform(r, 0.1, 0.6)
		return healthy(r, func(x float64) float64 {
			if math.Mod(x, every) < of*every {
				return 1
			}
			return 0
		})
	}},
	{"healthy, one step", func(r *rand.Rand) process {
		at := uniform(r, 0.2, 0.8)
		return healthy(r, func(x float64) float64 {
			if x > at {
				return 1
			}
			return 0
		})
	}},
	{"healthy, wanders", func(r *rand.Rand) process {
		var at [401]float64
		for i := 1; i < len(at); i++ {
			at[i] = 0.97*at[i-1] + 0.06*r.NormFloat64()
		}
		return healthy(r, func(x float64) float64 {
			return min(1, max(0, 0.5+at[int(min(max(x, 0), 1)*400)]))
		})
	}},
	{"healthy, daily rhythm", func(r *rand.Rand) process { return diurnal(r, 6, false) }},
}

// Names are the shapes, in a fixed order.
func Names() []string {
	names := make([]string, len(shapes))
	for i := range shapes {
		names[i] = shapes[i].name
	}
	return names
}

// Make makes the trial of a number of a shape: the same for the same number.
func Make(name string, number uint64) (Trial, bool) {
	for i := range shapes {
		if shapes[i].name == name {
			r := rand.New(rand.NewPCG(number, uint64(i)))
			t := run(shapes[i].make(r), r)
			t.Shape = name
			return t, true
		}
	}
	return Trial{}, false
}

var epoch = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// run lets a process run.
func run(p process, r *rand.Rand) Trial {
	if p.outside == nil {
		p.outside = func(float64) float64 { return 8 * mib }
	}
	at := func(t float64) time.Time { return epoch.Add(time.Duration(t * float64(time.Second))) }
	rec := &record.Recording{Process: record.Process{PID: 1, Name: "simulated", StartTime: epoch, GoVersion: "go1.26.8", GOOS: "linux", GOARCH: "amd64",
		MemoryLimitBytes: uint64(p.limit), HostMemoryBytes: 64 << 30}}
	const nonHeap = 4 * mib
	goal := func(live float64) float64 {
		g := max(live*(1+p.gogc/100), 4*mib*p.gogc/100)
		if p.soft > 0 {
			g = min(g, max((p.soft-nonHeap)*0.97, live*1.01))
		}
		return max(g, live)
	}
	marked := p.live(0)
	heap, top, n := marked, marked, uint64(0)
	var gcCPU, cpu float64
	trial := Trial{Recording: rec}
	for t := 0.0; t < p.lasts; t += p.every {
		reachable := p.live(t)
		for left := p.every; left > 0; { // as many cycles as end in this time
			rate := max(p.alloc(t), 1)
			need := max(goal(marked)-heap, 0) / rate
			if need > left {
				heap += rate * left
				break
			}
			took := max(need, p.every/20) // no more than 20 of them
			left -= took
			top = max(top, goal(marked))
			marked = max(0, reachable*(1+p.noise*r.NormFloat64()))
			heap = marked
			n++
			pause := 100e-6 * math.Exp(0.3*r.NormFloat64())
			rec.Cycles = append(rec.Cycles, record.Cycle{N: n, End: at(t + p.every - max(left, 0)), Pause: time.Duration(pause * 1e9), Detail: true,
				HeapMarkedBytes: uint64(marked), HeapGoalBytes: uint64(goal(marked)), HeapEndBytes: uint64(top)})
			gcCPU += marked / (1 << 30)
		}
		cpu += 0.3 * p.every
		heap = max(heap, reachable)
		top = max(heap, top-(top-goal(marked))*0.01*p.every)
		anon := (top+nonHeap)*(1+0.003*r.NormFloat64()) + p.outside(t)
		if anon >= p.limit {
			trial.Killed = at(t + p.every)
			break
		}
		s := record.Sample{Time: at(t + p.every), Source: record.SourceRemote, HeapMarkedBytes: uint64(marked), HeapLiveBytes: uint64(heap),
			HeapGoalBytes: uint64(goal(marked)), GOGCPercent: int64(p.gogc), GOMEMLIMITBytes: math.MaxInt64, GCCycles: n,
			MappedReadyBytes: uint64(top + nonHeap), HeapFreeBytes: uint64(top - heap), HeapObjectsBytes: uint64(heap), RSSAnonBytes: uint64(anon), RSSBytes: uint64(anon + 10*mib),
			CgroupLimitBytes: uint64(p.limit), CPUGCTotal: dur(gcCPU), CPUGCDedicated: dur(gcCPU), CPUUser: dur(cpu), CPUTotal: dur(gcCPU + 2*cpu),
			CPUProcUser: dur(gcCPU + cpu)}
		if p.soft > 0 {
			s.GOMEMLIMITBytes = int64(p.soft)
		}
		for _, f := range []record.Field{record.FieldHeapMarkedBytes, record.FieldHeapLiveBytes, record.FieldHeapGoalBytes, record.FieldGOGCPercent,
			record.FieldGOMEMLIMITBytes, record.FieldGCCycles, record.FieldMappedReadyBytes, record.FieldHeapFreeBytes, record.FieldHeapObjectsBytes,
			record.FieldRSSAnonBytes, record.FieldRSSBytes, record.FieldCgroupLimitBytes, record.FieldCPUGCTotal, record.FieldCPUGCDedicated, record.FieldCPUUser, record.FieldCPUTotal,
			record.FieldCPUProcUser} {
			s.Has.Add(f)
		}
		rec.Samples = append(rec.Samples, s)
	}
	return trial
}

func dur(seconds float64) time.Duration { return time.Duration(seconds * 1e9) }
