// Package view prepares a recording for the rules: windows, rates, deltas,
// trends, GC CPU shares, pauses, histograms of the window, site and goroutine
// growth. It takes anything that a recording may hold, garbage too: every
// number it gives is finite, or it says that there is none. It decides nothing.
package view

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
	"github.com/heapwright/heapwright/record"
)

// A View is a recording, prepared. It is not safe for concurrent use.
type View struct {
	Rec     *record.Recording
	Process *record.Process

	samples []*record.Sample // strictly rising in time
	cycles  []record.Cycle   // rising in N, no duplicates
	memo    map[record.Field][]trend.Point
	cpu     *CPU
	cpuDone bool
}

// New prepares a recording. The recording must not change afterwards.
func New(rec *record.Recording) *View {
	if rec == nil {
		rec = &record.Recording{}
	}
	v := &View{Rec: rec, Process: &rec.Process, memo: make(map[record.Field][]trend.Point)}
	for i := range rec.Samples {
		s := &rec.Samples[i]
		if n := len(v.samples); n > 0 && !s.Time.After(v.samples[n-1].Time) {
			continue
		}
		v.samples = append(v.samples, s)
	}
	v.cycles = slices.Clone(rec.Cycles)
	slices.SortStableFunc(v.cycles, func(a, b record.Cycle) int {
		switch {
		case a.N < b.N:
			return -1
		case a.N > b.N:
			return 1
		}
		return 0
	})
	v.cycles = slices.CompactFunc(v.cycles, func(a, b record.Cycle) bool { return a.N == b.N })
	return v
}

// number returns a field of one number, as [record.Sample.Value] does, unless it
// is not finite.
func number(s *record.Sample, f record.Field) (float64, bool) {
	x, ok := s.Value(f)
	return x, ok && !math.IsNaN(x) && !math.IsInf(x, 0)
}

// Samples is how many usable samples there are.
func (v *View) Samples() int { return len(v.samples) }

// Window is the time from the first sample to the last, in seconds.
func (v *View) Window() float64 {
	if len(v.samples) < 2 {
		return 0
	}
	return v.seconds(v.samples[len(v.samples)-1].Time)
}

// seconds is a time as seconds from the first sample.
func (v *View) seconds(t time.Time) float64 {
	if len(v.samples) == 0 {
		return 0
	}
	return t.Sub(v.samples[0].Time).Seconds()
}

// Has reports whether any sample has the field.
func (v *View) Has(f record.Field) bool {
	for _, s := range v.samples {
		if s.Has.Has(f) {
			return true
		}
	}
	return false
}

// Series is a scalar field over time, in seconds from the first sample. The
// caller must not change it.
func (v *View) Series(f record.Field) []trend.Point {
	if pts, ok := v.memo[f]; ok {
		return pts
	}
	var pts []trend.Point
	for _, s := range v.samples {
		if x, ok := number(s, f); ok {
			pts = append(pts, trend.Point{T: v.seconds(s.Time), V: x})
		}
	}
	v.memo[f] = pts
	return pts
}

// Combine is a function of several fields over the samples that have them all.
func (v *View) Combine(fn func(x []float64) float64, fields ...record.Field) []trend.Point {
	var pts []trend.Point
	x := make([]float64, len(fields))
next:
	for _, s := range v.samples {
		for i, f := range fields {
			var ok bool
			if x[i], ok = number(s, f); !ok {
				continue next
			}
		}
		if y := fn(x); !math.IsNaN(y) && !math.IsInf(y, 0) {
			pts = append(pts, trend.Point{T: v.seconds(s.Time), V: y})
		}
	}
	return pts
}

// First, Last, Max, Min and Median are of a field over the window.
func (v *View) First(f record.Field) (float64, bool) { return first(v.Series(f)) }

// Last is the newest value of a field.
func (v *View) Last(f record.Field) (float64, bool) { return last(v.Series(f)) }

// Max is the largest value of a field.
func (v *View) Max(f record.Field) (float64, bool) { return Quantile(v.Series(f), 1) }

// Min is the smallest value of a field.
func (v *View) Min(f record.Field) (float64, bool) { return Quantile(v.Series(f), 0) }

// Median is the median of a field.
func (v *View) Median(f record.Field) (float64, bool) { return Quantile(v.Series(f), 0.5) }

func first(pts []trend.Point) (float64, bool) {
	if len(pts) == 0 {
		return 0, false
	}
	return pts[0].V, true
}

func last(pts []trend.Point) (float64, bool) {
	if len(pts) == 0 {
		return 0, false
	}
	return pts[len(pts)-1].V, true
}

// Quantile is the q-quantile of the values, by nearest rank.
func Quantile(pts []trend.Point, q float64) (float64, bool) {
	if len(pts) == 0 {
		return 0, false
	}
	x := make([]float64, len(pts))
	for i, p := range pts {
		x[i] = p.V
	}
	slices.Sort(x)
	return quantileSorted(x, q), true
}

func quantileSorted(x []float64, q float64) float64 {
	i := int(math.Ceil(q*float64(len(x)))) - 1
	return x[max(0, min(i, len(x)-1))]
}

// Delta is the growth of a cumulative field over the window, and the seconds
// between the samples it was read from. It reports false when there are not two
// such samples, or the field went down: then it is not the same counter.
func (v *View) Delta(f record.Field) (delta, seconds float64, ok bool) {
	pts := v.Series(f)
	if len(pts) < 2 {
		return 0, 0, false
	}
	a, b := pts[0], pts[len(pts)-1]
	if b.V < a.V || !(b.T > a.T) {
		return 0, 0, false
	}
	return b.V - a.V, b.T - a.T, true
}

// Rate is Delta per second.
func (v *View) Rate(f record.Field) (float64, bool) {
	d, s, ok := v.Delta(f)
	if !ok {
		return 0, false
	}
	return d / s, true
}

// Source says where a field was read, for Evidence.
func (v *View) Source(f record.Field) string {
	switch {
	case f >= record.FieldRSSBytes && f <= record.FieldCPUProcSystem, f >= record.FieldRSSShmemBytes && f <= record.FieldStopped:
		return "kernel"
	case f >= record.FieldCgroupUsageBytes && f <= record.FieldPSICPUSomeStall, f >= record.FieldCgroupAnonBytes && f <= record.FieldCgroupCPUQuota:
		return "cgroup"
	}
	for _, s := range v.samples {
		if s.Has.Has(f) && s.Source != "" {
			return string(s.Source)
		}
	}
	return "recording"
}

// Age is how long the process had lived at the end of the window, in seconds;
// false when its start is not known.
func (v *View) Age() (float64, bool) {
	if len(v.samples) == 0 || v.Process.StartTime.IsZero() {
		return 0, false
	}
	age := v.samples[len(v.samples)-1].Time.Sub(v.Process.StartTime).Seconds()
	return age, age >= 0
}

// Event reports how many events of a kind there are, and the newest.
func (v *View) Event(kind record.EventKind) (n int, newest record.Event) {
	for _, e := range v.Rec.Events {
		if e.Kind == kind {
			n++
			newest = e
		}
	}
	return n, newest
}

// GoMinor is the minor version of Go that the process was built with: 26 of
// go1.26.8. It reports false for development versions.
func (v *View) GoMinor() (int, bool) {
	rest, ok := strings.CutPrefix(v.Process.GoVersion, "go1.")
	if !ok {
		return 0, false
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(rest[:end])
	return n, err == nil
}

// ThrottledShare is the share of the cgroup's CPU periods in the window in which
// the process was stopped.
func (v *View) ThrottledShare() (float64, bool) {
	periods, _, okP := v.Delta(record.FieldCgroupPeriods)
	n, _, okN := v.Delta(record.FieldCgroupThrottledPeriods)
	if !okP || !okN || periods <= 0 {
		return 0, false
	}
	return min(n/periods, 1), true
}

// Mean is the mean of a field over the samples.
func (v *View) Mean(f record.Field) (float64, bool) {
	pts := v.Series(f)
	if len(pts) == 0 {
		return 0, false
	}
	sum := 0.0
	for _, p := range pts {
		sum += p.V / float64(len(pts))
	}
	return sum, !math.IsInf(sum, 0)
}
