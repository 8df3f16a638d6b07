package cli

import (
	"math"
	"time"

	"github.com/heapwright/heapwright/pacer"
)

// A fakeTwin is a server whose forecasts follow from a few numbers: what it
// costs is inverse to the room between live heap and goal.
type fakeTwin struct {
	now     pacer.Settings
	live    float64
	alloc   float64 // bytes per second
	missing []string
	blind   bool // it knows nothing of RSS
}

func newFakeTwin() *fakeTwin {
	return &fakeTwin{now: pacer.Settings{GOGCPercent: 100, GOMEMLIMITBytes: pacer.NoMemoryLimit, ContainerLimitBytes: 512 * mib, GOMAXPROCS: 2},
		live: 100 * mib, alloc: 300 * mib}
}

func spread(v, ratio float64) pacer.Estimate {
	return pacer.Estimate{Estimate: v, Low: v * (1 - ratio), High: v * (1 + ratio)}
}

const fakeNonGo = 24 * mib

func (t *fakeTwin) Current() pacer.Settings { return t.now }

func (t *fakeTwin) Forecast(s pacer.Settings) pacer.Forecast {
	goal := math.Inf(1)
	if s.GOGCPercent >= 0 {
		goal = t.live * (1 + float64(s.GOGCPercent)/100)
	}
	if s.GOMEMLIMITBytes != pacer.NoMemoryLimit {
		goal = min(goal, 0.97*float64(s.GOMEMLIMITBytes)-8*mib)
	}
	if math.IsInf(goal, 1) {
		goal = 40 * t.live
	}
	storm := goal < 1.05*t.live
	goal = max(goal, 1.02*t.live)
	cycles := t.alloc / (goal - t.live)
	cores := 0.04 * cycles
	ratio := cores / (cores + 1)
	rss := goal*1.08 + 8*mib + fakeNonGo
	oom := pacer.Estimate{}
	if l := float64(s.ContainerLimitBytes); l > 0 {
		z := (rss - l) / (0.02 * rss)
		oom = spread(min(max(0.5+0.25*z, 0), 1), 0.1)
		oom.High = min(oom.High, 1)
	}
	f := pacer.Forecast{
		Settings: s, Span: 30 * time.Second, CyclesPerSecond: spread(cycles, 0.04), GCCPUCores: spread(cores, 0.1), GCCPURatio: spread(ratio, 0.1),
		AssistRatio: spread(0.05*ratio, 0.5), PauseRatio: spread(0.0001*cycles, 0.3),
		HeapP50Bytes: spread((t.live+goal)/2, 0.03), HeapP90Bytes: spread(0.1*t.live+0.9*goal, 0.03), HeapPeakBytes: spread(goal, 0.02),
		RSSP50Bytes: spread(0.9*rss, 0.03), RSSP90Bytes: spread(0.97*rss, 0.03), RSSPeakBytes: spread(rss, 0.03), OOMProbability: oom,
	}
	if storm {
		f.LimiterProbability = pacer.Estimate{Estimate: 0.97, Low: 0.9, High: 1}
	}
	if t.blind {
		unknown := pacer.Estimate{Estimate: math.NaN(), Low: math.NaN(), High: math.NaN()}
		f.RSSP50Bytes, f.RSSP90Bytes, f.RSSPeakBytes, f.OOMProbability = unknown, unknown, unknown, unknown
	}
	if s.GOMAXPROCS != t.now.GOMAXPROCS {
		f.Notes = append(f.Notes, "Another GOMAXPROCS changes what the program itself does, which the recording does not show.")
	}
	return f
}

func (t *fakeTwin) Forecasts(s []pacer.Settings) []pacer.Forecast {
	out := make([]pacer.Forecast, len(s))
	for i := range s {
		out[i] = t.Forecast(s[i])
	}
	return out
}

func (t *fakeTwin) Workload() pacer.Workload {
	return pacer.Workload{AllocBytesPerSecond: spread(t.alloc, 0.02), CycleCPUSeconds: spread(0.04, 0.1), CPUCores: spread(1, 0.03),
		LiveBytes: spread(t.live, 0.02), LivePeakBytes: spread(1.02*t.live, 0.02), RootBytes: spread(2*mib, 0.1), ResidentPerHeapByte: spread(1.08, 0.02),
		RuntimeBytes: spread(8*mib, 0.05), NonGoBytes: spread(fakeNonGo, 0.1)}
}

func (t *fakeTwin) Parameters() []pacer.Parameter {
	return []pacer.Parameter{
		{Name: "alloc_bytes_per_second", Value: spread(t.alloc, 0.02), From: "total allocation, 300 samples"},
		{Name: "cycle_cpu_seconds", Value: spread(0.04, 0.1), From: "CPU of the process over 90 GC cycles"},
		{Name: "live_bytes", Value: spread(t.live, 0.02), From: "heap marked"},
		{Name: "resident_per_heap_byte", Value: spread(1.08, 0.02), From: "RSS against heap"},
	}
}

func (t *fakeTwin) Missing() []string { return t.missing }

func (t *fakeTwin) StormFloorBytes() pacer.Estimate { return spread(1.25*t.live, 0.04) }
