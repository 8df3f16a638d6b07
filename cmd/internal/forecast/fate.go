package forecast

import (
	"math"

	"github.com/heapwright/heapwright/pacer"
)

// A Twin is what is asked of a pacer.Twin.
type Twin interface {
	Current() pacer.Settings
	Forecast(pacer.Settings) pacer.Forecast
	Forecasts([]pacer.Settings) []pacer.Forecast
	Workload() pacer.Workload
	Parameters() []pacer.Parameter
	Missing() []string
	StormFloorBytes() pacer.Estimate
}

// A Fate is what is wrong with settings.
type Fate string

// What becomes of a process.
const (
	Survives Fate = ""
	Killed   Fate = "oom"   // the kernel is likely to kill the process
	Storms   Fate = "storm" // the collector does not keep up
)

// What counts as likely. One chance in twenty is not a risk to run a service at.
const (
	likelyKilled = 0.05
	likelyStorm  = 0.5
)

// FateOf says whether a process lives with settings. The floor is
// the least GOMEMLIMIT with which the collector keeps up.
func FateOf(f *pacer.Forecast, floor pacer.Estimate) Fate {
	switch {
	case f.OOMProbability.Estimate >= likelyKilled:
		return Killed
	case f.LimiterProbability.Estimate >= likelyStorm, float64(f.Settings.GOMEMLIMITBytes) < floor.Estimate:
		return Storms
	}
	return Survives
}

// pickBest returns the index of the forecast with the least GC CPU among those
// that live in the memory there is: the container's limit, or without one what
// the process needs now, and that may be chosen. It is -1 when none does.
func pickBest(fs []pacer.Forecast, now *pacer.Forecast, floor pacer.Estimate, may func(pacer.Settings) bool) int {
	best := -1
	for i := range fs {
		f := &fs[i]
		// What the kernel kills for is held to the worst that is likely.
		peak, room := f.RSSPeakBytes.High, float64(f.Settings.ContainerLimitBytes)
		if room == 0 {
			peak, room = f.RSSPeakBytes.Estimate, now.RSSPeakBytes.Estimate
		}
		if !may(f.Settings) || FateOf(f, floor) != Survives || !Known(f.GCCPURatio) || !(peak <= room) {
			continue
		}
		if best < 0 || cheaper(f, &fs[best]) {
			best = i
		}
	}
	return best
}

// cheaper reports whether a takes less GC CPU than b, or as much with less memory.
func cheaper(a, b *pacer.Forecast) bool {
	if x, y := a.GCCPURatio.Estimate, b.GCCPURatio.Estimate; x != y {
		return x < y
	}
	return a.RSSPeakBytes.Estimate < b.RSSPeakBytes.Estimate
}

// goPeak is the highest memory of a forecast that GOMEMLIMIT counts.
func goPeak(f *pacer.Forecast, w pacer.Workload) float64 {
	if !Known(f.RSSPeakBytes) {
		return f.HeapPeakBytes.Estimate
	}
	peak := f.RSSPeakBytes.Estimate
	if Known(w.NonGoBytes) {
		peak -= w.NonGoBytes.Estimate
	}
	return max(peak, f.HeapPeakBytes.Estimate)
}

// roundLimit makes a GOMEMLIMIT that somebody could have chosen: two digits and
// a half, in MiB.
func roundLimit(bytes float64) int64 {
	const mebi = 1 << 20
	m := bytes / mebi
	step := max(math.Pow(10, math.Floor(math.Log10(max(m, 1)))-1)/2, 1)
	return int64(max(math.Round(m/step)*step, 4)) * mebi
}
