package cli

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// A twin is what commands ask of a pacer.Twin.
type twin interface {
	Current() pacer.Settings
	Forecast(pacer.Settings) pacer.Forecast
	Forecasts([]pacer.Settings) []pacer.Forecast
	Workload() pacer.Workload
	Parameters() []pacer.Parameter
	Missing() []string
	StormFloorBytes() pacer.Estimate
}

// fitTwin makes the twin of a recording. Who named it is what the user gave, for
// the advice on what to record instead.
func fitTwin(rec *record.Recording, opt observeOptions, named string) (*pacer.Twin, error) {
	t, err := pacer.Fit(rec)
	if err != nil {
		return nil, unfit(err, rec, opt, named)
	}
	return t, nil
}

// unfit says what to do about a recording that no twin was made of. One that is
// too short is no failure: it tells nothing yet.
func unfit(err error, rec *record.Recording, opt observeOptions, named string) error {
	var short *pacer.ShortError
	var odd *pacer.UnfitError
	var unknown *pacer.UnsupportedError
	switch {
	case errors.As(err, &short) && short.Record > 0:
		longer := short.Record.Round(time.Second)
		if watched(rec, named) {
			return &exitError{ExitInconclusive, hinted(err, "heapwright %s %s --for %v watches it long enough", opt.command, named, longer)}
		}
		return &exitError{ExitInconclusive, hinted(err, "heapwright record PID --for %v -o FILE makes a recording that is long enough", longer)}
	case errors.As(err, &short):
		return &exitError{ExitInconclusive, hinted(err, "record it while it does the work that the settings are for")}
	case errors.As(err, &odd):
		return hinted(err, "heapwright record PID reads all that a twin needs from the memory of a process")
	case errors.As(err, &unknown):
		return hinted(err, "heapwright version says which Go releases are known")
	}
	return err
}

// watched reports whether a recording was just made of a process that has a name to
// call it by.
func watched(rec *record.Recording, named string) bool {
	return rec.Process.PID != 0 && (named == fmt.Sprint(rec.Process.PID) || named == rec.Process.Name)
}

// A fate is what is wrong with settings.
type fate string

const (
	survives fate = ""
	killed   fate = "oom"   // the kernel is likely to kill the process
	storms   fate = "storm" // the collector does not keep up
)

// What counts as likely. One chance in twenty is not a risk to run a service at.
const (
	likelyKilled = 0.05
	likelyStorm  = 0.5
)

// fateOf says whether a process lives with settings. The floor is
// the least GOMEMLIMIT with which the collector keeps up.
func fateOf(f *pacer.Forecast, floor pacer.Estimate) fate {
	switch {
	case f.OOMProbability.Estimate >= likelyKilled:
		return killed
	case f.LimiterProbability.Estimate >= likelyStorm, float64(f.Settings.GOMEMLIMITBytes) < floor.Estimate:
		return storms
	}
	return survives
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
		if !may(f.Settings) || fateOf(f, floor) != survives || !isKnown(f.GCCPURatio) || !(peak <= room) {
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
	if !isKnown(f.RSSPeakBytes) {
		return f.HeapPeakBytes.Estimate
	}
	peak := f.RSSPeakBytes.Estimate
	if isKnown(w.NonGoBytes) {
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
