package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// Bounds of what is decoded: a histogram is some kilobytes, and one of hostile
// geometry may take much memory while it is looked at.
const (
	maxHistogramText = 1 << 20
	maxHistograms    = 4000
	maxSpoilt        = 8
	maxDigits        = 3
	maxLatency       = int64(3600e6) // µs
	maxCurves        = 8
)

// A spread is the latency of a variant, of all its blocks together.
type spread struct {
	variant int
	hist    *hdrhistogram.Histogram
}

// spreads are the latencies of the variants: of duets, where both processes met
// the same moods of the machine, or else of switchbacks.
func (o *outcome) spreads() (list []spread, design string) {
	for _, design = range []string{experiment.Duet, experiment.Switchback} {
		if list = o.spreadsOf(design); len(list) > 0 {
			return list, design
		}
	}
	return nil, ""
}

func (o *outcome) spreadsOf(design string) []spread {
	sums := map[int]*hdrhistogram.Histogram{}
	decoded, spoilt := 0, 0
	for n := range o.Blocks {
		b := &o.Blocks[n]
		if b.Invalid != "" || b.Design != design || b.Phase == experiment.PhaseCalibration {
			continue
		}
		for i := range b.Arms {
			a := &b.Arms[i]
			if a.Latency == "" || len(a.Latency) > maxHistogramText || a.Variant < 0 || a.Variant >= maxCurves {
				continue
			}
			if decoded++; decoded > maxHistograms || spoilt > maxSpoilt {
				break
			}
			h, err := hdrhistogram.Decode([]byte(a.Latency))
			if err != nil || h.SignificantFigures() > maxDigits || h.HighestTrackableValue() > 100*maxLatency {
				spoilt++
				continue
			}
			if sums[a.Variant] == nil {
				sums[a.Variant] = hdrhistogram.New(1, maxLatency, maxDigits)
			}
			sums[a.Variant].Merge(h)
		}
	}
	var out []spread
	for v, h := range sums {
		if h.TotalCount() > 0 {
			out = append(out, spread{v, h})
		}
	}
	slices.SortFunc(out, func(a, b spread) int { return a.variant - b.variant })
	return out
}

// tail is the place of a quantile on a scale whose ticks are 0, 90, 99, 99.9%.
func tail(q float64) float64 { return -math.Log10(1 - q) }

// latency draws the latency of the variants by percentile, with the tail drawn out.
func (o *outcome) latency() (figure, bool) {
	list, design := o.spreads()
	if len(list) == 0 {
		return figure{}, false
	}
	// As far into the tail as ten requests of the one with the fewest lie beyond.
	fewest := list[0].hist.TotalCount()
	for _, s := range list {
		fewest = min(fewest, s.hist.TotalCount())
	}
	end := min(max(math.Log10(float64(fewest)/10), 1), 5)
	seconds := func(s spread, x float64) float64 {
		return float64(s.hist.ValueAtPercentile(100*(1-math.Pow(10, -x)))) / 1e6
	}
	lo, hi := math.Inf(1), 0.0
	for _, s := range list {
		lo, hi = min(lo, max(seconds(s, tail(0.1)), 1e-6)), max(hi, seconds(s, end))
	}
	if !(hi > lo) {
		lo, hi = lo/2, lo*2
	}
	const height = 280
	c := newChart(scale{lo: lo * 0.9, hi: hi * 1.1, log: true}, height, 10, height-26, "latency by percentile, of "+o.list(list))
	ticks := c.y.ticks(7, experiment.Seconds)
	c.yticks(ticks, func(v float64) string { return tick(v, experiment.Seconds) })
	c.percentiles(end)
	var lines string
	f := figure{Title: "Latency by percentile", Caption: "All blocks of the " + design + " together; from when a request was due, so that waiting counts. The lines show what requests met, not how sure it is: that is what the intervals of the metrics are for."}
	for _, s := range list {
		var t trace
		const steps = 240
		for i := range steps + 1 {
			x := end * float64(i) / steps
			t.to(x/end, c.py(max(seconds(s, x), c.y.lo)))
		}
		lines += path(curveClass(s.variant), t.String())
		text := o.variant(s.variant)
		for _, q := range []float64{0.5, 0.99, 0.999} {
			if tail(q) <= end {
				text += fmt.Sprintf(", %s %s", map[float64]string{0.5: "p50", 0.99: "p99", 0.999: "p99.9"}[q], value(seconds(s, tail(q)), experiment.Seconds))
			}
		}
		f.Keys = append(f.Keys, key{curveClass(s.variant), text})
	}
	c.paths(lines)
	f.Body = c.html() + o.shift(list, seconds, end, c.gutter)
	return f, true
}

// shift draws how far each variant's latency lies from the baseline's, percentile
// by percentile: what lines that run close together hide.
func (o *outcome) shift(list []spread, seconds func(spread, float64) float64, end, gutter float64) template.HTML {
	if len(list) < 2 || list[0].variant != 0 {
		return ""
	}
	const steps, height = 120, 150
	base := list[0]
	lo, hi := -0.05, 0.05
	shifts := map[int][]float64{}
	for _, s := range list[1:] {
		for i := range steps + 1 {
			x := end * float64(i) / steps
			l := math.Log(max(seconds(s, x), 1e-6)) - math.Log(max(seconds(base, x), 1e-6))
			if x < tail(0.25) { // there a microsecond is much
				l = math.NaN()
			} else {
				lo, hi = min(lo, max(l, -mostLimit)), max(hi, min(l, mostLimit))
			}
			shifts[s.variant] = append(shifts[s.variant], l)
		}
	}
	c := newChart(scale{lo: 1.08 * lo, hi: 1.08 * hi}, height, 6, height-26, "difference from "+o.variant(0)+" by percentile")
	c.yticks(diffTicks(c.y.lo, c.y.hi, 5), diffText)
	c.gutter = max(c.gutter, gutter) // below each other, the same percentile
	c.percentiles(end)
	c.add(`<line class="zero" x1="0" x2="100%%" y1="%s" y2="%s"/>`, px(c.py(0)), px(c.py(0)))
	var lines string
	for _, s := range list[1:] {
		var t trace
		for i, l := range shifts[s.variant] {
			if !math.IsNaN(l) {
				t.to(float64(i)/steps, c.py(l))
			}
		}
		lines += path(curveClass(s.variant), t.String())
	}
	c.paths(lines)
	return template.HTML(`<h4>Difference from `+esc(o.variant(0))+`</h4>`) + c.html()
}

// percentiles draws the axis across, and lines up from it.
func (c *chart) percentiles(end float64) {
	for _, q := range []struct {
		q    float64
		name string
	}{{0, "0"}, {0.5, "p50"}, {0.9, "p90"}, {0.99, "p99"}, {0.999, "p99.9"}, {0.9999, "p99.99"}, {0.99999, "p99.999"}} {
		if x := tail(q.q); x <= end+1e-9 {
			c.add(`<line class="grid" x1="%s" x2="%s" y1="%s" y2="%s"/>`, at(x/end), at(x/end), px(c.top), px(c.bottom))
			c.xtick(x/end, q.name)
		}
	}
	c.ground()
}

func (o *outcome) list(s []spread) string {
	text := ""
	for i, x := range s {
		if i > 0 {
			text += ", "
		}
		text += o.variant(x.variant)
	}
	return text
}

// curveClass is the colour and the dashes of a variant's lines.
func curveClass(variant int) string {
	if variant < 0 || variant >= maxCurves {
		return "curve v1"
	}
	return fmt.Sprintf("curve v%d", variant)
}
