package gain

import (
	"fmt"
	"math"
	"slices"

	"github.com/heapwright/heapwright/e2e/internal/stat"
)

// A Value is what was measured in one run.
type Value struct {
	Block    int     // runs of the same block are one after the other
	GCCores  float64 // CPU-seconds per second
	Cores    float64
	RSSPeak  float64 // bytes
	AnonPeak float64 // bytes, without pages of files
	RSSMean  float64 // bytes, over time
	LeftOut  float64 // work that was due and not done, as a share
	Limiter  bool    // the GC CPU limiter stepped in
}

// A Series is the runs of one variant.
type Series struct {
	Name   string
	Values []Value // of the runs that lived
	Killed int     // for want of memory
	Failed int     // for another reason
}

// Lived reports whether all runs did.
func (s Series) Lived() bool { return len(s.Values) > 0 && s.Killed == 0 && s.Failed == 0 }

// Mean is the mean of a quantity, NaN without runs.
func (s Series) Mean(of func(Value) float64) float64 {
	total := 0.0
	for _, v := range s.Values {
		total += of(v)
	}
	return total / float64(len(s.Values))
}

// Limited is in how many runs the GC CPU limiter stepped in.
func (s Series) Limited() int {
	n := 0
	for _, v := range s.Values {
		if v.Limiter {
			n++
		}
	}
	return n
}

// The quantities of a Value.
func GCCores(v Value) float64  { return v.GCCores }
func Cores(v Value) float64    { return v.Cores }
func RSSPeak(v Value) float64  { return v.RSSPeak }
func AnonPeak(v Value) float64 { return v.AnonPeak }

// PerWork is the GC CPU for each CPU-second of the program's own: where the machine
// is slower for a while, both are more.
func PerWork(v Value) float64 { return v.GCCores / (v.Cores - v.GCCores) }
func LeftOut(v Value) float64 { return v.LeftOut }
func RSSMean(v Value) float64 { return v.RSSMean }

// mostLeftOut is how much work a variant may leave out and still count: GC CPU is
// to be had for less when less is done.
const mostLeftOut = 0.02

// Worked reports whether all runs lived and did their work.
func (s Series) Worked() bool { return s.Lived() && s.Mean(LeftOut) <= mostLeftOut }

// Best is the series with the least GC CPU of those that worked.
func Best(all []Series) (Series, bool) {
	all = slices.DeleteFunc(slices.Clone(all), func(s Series) bool { return !s.Worked() })
	if len(all) == 0 {
		return Series{}, false
	}
	return slices.MinFunc(all, func(a, b Series) int {
		if a.Mean(GCCores) < b.Mean(GCCores) {
			return -1
		}
		return 1
	}), true
}

// Ratio compares a quantity of two series, by the blocks that both have. With one
// block there is no interval. It is NaN where there is none, or a value is 0.
func Ratio(a, b Series, of func(Value) float64) stat.Ratio {
	nan := stat.Ratio{Estimate: math.NaN(), Low: math.NaN(), High: math.NaN()}
	var x, y []float64
	for _, v := range a.Values {
		for _, w := range b.Values {
			if v.Block == w.Block {
				x, y = append(x, of(v)), append(y, of(w))
			}
		}
	}
	if len(x) == 1 && x[0] > 0 && y[0] > 0 {
		nan.N, nan.Estimate = 1, x[0]/y[0]
		return nan
	}
	r, err := stat.PairedRatio(x, y)
	if err != nil {
		return nan
	}
	return r
}

// The goal of a plan for one program: this much of the best rival's GC CPU at the
// same memory, or this much of its memory at the same GC CPU. What differs by less
// than same is the same.
const (
	goalGC     = 0.7
	goalMemory = 0.8
	same       = 0.05
)

// Verdict says in a few words what a plan came to against the best of its rivals.
func Verdict(gc, memory stat.Ratio) string {
	g, m := gc.Estimate, memory.Estimate
	switch {
	case math.IsNaN(g) || math.IsNaN(m):
		return "not known"
	case g <= goalGC && m <= 1+same:
		return "goal reached: less GC CPU"
	case m <= goalMemory && g <= 1+same:
		return "goal reached: less memory"
	case g < 1-same && m <= 1+same || m < 1-same && g <= 1+same:
		return "better, goal missed"
	case g <= 1+same && m <= 1+same:
		return "the same, goal missed"
	case g < 1-same || m < 1-same:
		return fmt.Sprintf("a trade: GC CPU %+.0f%%, memory %+.0f%%", 100*(g-1), 100*(m-1))
	}
	return "worse"
}

// goalSplit is the goal of a split: this much of the best other split's GC CPU.
const goalSplit = 0.75

// SplitVerdict says in a few words what a split came to against the best other one.
func SplitVerdict(gc stat.Ratio) string {
	switch g := gc.Estimate; {
	case math.IsNaN(g):
		return "not known"
	case g <= goalSplit:
		return "goal reached"
	case g < 1-same:
		return "better, goal missed"
	case g <= 1+same:
		return "the same, goal missed"
	}
	return "worse"
}
