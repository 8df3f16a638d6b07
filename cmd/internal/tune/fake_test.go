package tune

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/heapwright/heapwright/pacer"
)

// A fake is a twin of a process that is an equation: cycles = a/E, each costs
// the same, and nothing else happens.
type fake struct {
	live, livePeak, roots float64
	runtime, nonGo, kappa float64
	alloc, cycle, cpu     float64
	procs                 float64
	width                 float64 // of the intervals, on each side
	now                   pacer.Settings
	grows                 float64 // bytes/s
	missing               []string
	span                  time.Duration
	asked                 *int // how many forecasts
}

// server is a service of 150 MiB that allocates 150 MiB/s.
func server() fake {
	return fake{
		live: 150 * mib, livePeak: 160 * mib, roots: 2 * mib, runtime: 12 * mib, nonGo: 20 * mib, kappa: 1.1,
		alloc: 150 * mib, cycle: 0.06, cpu: 1.2, procs: 4, width: 0.05, span: time.Hour,
		now: pacer.Settings{GOGCPercent: 100, GOMEMLIMITBytes: pacer.NoMemoryLimit, GOMAXPROCS: 4},
	}
}

func (f fake) Current() pacer.Settings { return f.now }
func (f fake) Missing() []string       { return f.missing }

func (f fake) about(v, factor float64) pacer.Estimate {
	w := f.width * factor
	return pacer.Estimate{Estimate: v, Low: v * max(0, 1-w), High: v * (1 + w)}
}

func (f fake) Workload() pacer.Workload {
	return pacer.Workload{
		AllocBytesPerSecond: f.about(f.alloc, 1), CycleCPUSeconds: f.about(f.cycle, 1), CPUCores: f.about(f.cpu, 1),
		LiveBytes: f.about(f.live, 1), LivePeakBytes: f.about(f.livePeak, 0), RootBytes: f.about(f.roots, 1),
		ResidentPerHeapByte: f.about(f.kappa, 1), RuntimeBytes: f.about(f.runtime, 0), NonGoBytes: f.about(f.nonGo, 1),
		LiveGrowthBytesPerSecond: f.about(f.grows, 1), Grows: f.grows > 0,
	}
}

func (f fake) StormFloorBytes() pacer.Estimate {
	room := 3 * f.cycle * f.alloc / max(f.cpu, 1e-3)
	return f.about(f.runtime+f.kappa*(f.livePeak+room)/0.97, 1)
}

func (f fake) goal(live float64, s pacer.Settings) float64 {
	goal := math.Inf(1)
	if g := float64(s.GOGCPercent); g >= 0 {
		goal = max(live+(live+f.roots)*g/100, 4*mib*g/100)
	}
	if s.GOMEMLIMITBytes < most {
		goal = min(goal, (float64(s.GOMEMLIMITBytes)-f.runtime)*0.97/f.kappa)
	}
	// The limiter lets the heap grow rather than give more CPU.
	least := live + f.cycle*f.alloc/(0.5*f.procs)
	return min(max(goal, least), 1e13)
}

func (f fake) Forecast(s pacer.Settings) pacer.Forecast {
	if f.asked != nil {
		*f.asked++
	}
	room := f.goal(f.live, s) - f.live
	gc := f.cycle * f.alloc / room
	near := 1 + 0.2*f.live/room // the twin is least right near the storm
	peak := f.goal(f.livePeak, s)
	rss := f.kappa*peak + f.runtime + f.nonGo
	usual := f.kappa*f.goal(f.live, s) + f.runtime + f.nonGo
	out := pacer.Forecast{
		Settings: s, Span: f.span,
		CyclesPerSecond: f.about(f.alloc/room, near), GCCPUCores: f.about(gc, near), GCCPURatio: f.about(gc/(gc+f.cpu), near),
		AssistRatio: f.about(0.2*gc/(gc+f.cpu), near), PauseRatio: f.about(2e-4*f.alloc/room, near),
		HeapP50Bytes: f.about((f.live+f.goal(f.live, s))/2, 1), HeapP90Bytes: f.about(f.goal(f.live, s), 1), HeapPeakBytes: f.about(peak, 1),
		RSSP50Bytes: f.about(usual, 0.5), RSSP90Bytes: f.about(usual, 0.5), RSSPeakBytes: f.about(rss, 1),
	}
	odds := 0.0
	if c := float64(s.ContainerLimitBytes); c > 0 && rss > 0.98*c {
		odds = min(1, (rss/c-0.98)/0.04)
	}
	out.OOMProbability = pacer.Estimate{Estimate: odds, Low: odds / 2, High: min(1, 2*odds)}
	if gc >= 0.499*f.procs {
		out.LimiterProbability = pacer.Estimate{Estimate: 1, Low: 1, High: 1}
	}
	return out
}

func (f fake) Forecasts(all []pacer.Settings) []pacer.Forecast {
	out := make([]pacer.Forecast, len(all))
	for i, s := range all {
		out[i] = f.Forecast(s)
	}
	return out
}

// random is some process, between a tiny one and one of many GiB.
func random(r *rand.Rand) fake {
	pow := func(low, high float64) float64 { return low * math.Pow(high/low, r.Float64()) }
	f := fake{
		live: pow(1*mib, 20*gib), roots: pow(64<<10, 100*mib), runtime: pow(2*mib, 60*mib), nonGo: pow(1*mib, 500*mib), kappa: 1 + 0.3*r.Float64(),
		alloc: pow(100<<10, 2*gib), cpu: pow(0.05, 16), procs: float64(1 + r.IntN(16)), width: 0.01 + 0.1*r.Float64(), span: time.Hour,
	}
	f.livePeak = f.live * (1 + 0.3*r.Float64())
	f.cycle = 0.001 + f.live/(2*gib)*pow(0.3, 3)
	f.now = pacer.Settings{GOGCPercent: int64(pow(20, 500)), GOMEMLIMITBytes: pacer.NoMemoryLimit, GOMAXPROCS: int(f.procs)}
	return f
}
