package pacer

import (
	"math"
	"slices"
)

// besideHeap is the runtime's memory beside the heap that heapLive counts.
func (c *course) besideHeap() float64 { return c.other + c.stacks }

// workload sums a course up.
func (c *course) workload() Workload {
	var alloc, live, roots []float64
	for _, s := range c.segs {
		alloc, live, roots = append(alloc, s.alloc/c.spanSlack), append(live, s.live), append(roots, s.roots)
	}
	var marked []float64
	cost := 0.0
	for _, m := range c.marks {
		marked = append(marked, m.live)
		cost += c.cost(m.live+c.at(m.at).roots) / float64(len(c.marks))
	}
	w := Workload{
		AllocBytesPerSecond: meanOf(alloc), CycleCPUSeconds: Estimate{cost, cost * math.Exp(-z90*c.costDoubt), cost * math.Exp(z90*c.costDoubt)}, CPUCores: Estimate{c.cpu, c.cpu, c.cpu},
		LiveBytes: Estimate{quantile(live, 0.5), quantile(live, 0.05), quantile(live, 0.95)}, RootBytes: meanOf(roots),
		RuntimeBytes: Estimate{c.other + c.stacks, c.other + c.stacks, c.other + c.stacks}, NonGoBytes: unknown,
	}
	if !c.cpuKnown {
		w.CPUCores = unknown
	}
	peak := slices.Max(marked)
	w.LivePeakBytes = Estimate{peak, peak, peak * (1 + 1/float64(len(marked)+1))}
	k := 1 + c.fill.end/max(2*peak, 1)
	w.ResidentPerHeapByte = Estimate{k, k, k * c.spanSlack}
	if c.rssKnown {
		n := max(c.outside, c.fileBacked, 0)
		w.NonGoBytes = Estimate{n, n, n}
	}
	w.LiveGrowthBytesPerSecond, w.Grows = c.growth()
	return w
}

// meanOf is a mean with its interval. Neighbouring values are alike: they count
// as a quarter of their number.
func meanOf(v []float64) Estimate {
	var sum, squares float64
	for _, x := range v {
		sum += x
	}
	n := float64(len(v))
	mean := sum / n
	for _, x := range v {
		squares += (x - mean) * (x - mean)
	}
	if n < 2 {
		return Estimate{mean, mean, mean}
	}
	w := z90 * math.Sqrt(squares/(n-1)/max(n/4, 1))
	return Estimate{mean, max(mean-w, 0), mean + w}
}

// growth is the trend of the live heap: Theil and Sen's slope, over the medians of
// eight stretches. It grows beyond doubt when nearly all of them are in order, when
// the growth matters, and when the second half grows no slower than a third of the first.
func (c *course) growth() (slope Estimate, grows bool) {
	const stretches = 8
	if len(c.marks) < 2*stretches {
		return Estimate{0, math.Inf(-1), math.Inf(1)}, false
	}
	at, v := make([]float64, stretches), make([]float64, stretches)
	for i := range stretches {
		part := c.marks[i*len(c.marks)/stretches : (i+1)*len(c.marks)/stretches]
		var live []float64
		for _, m := range part {
			live = append(live, m.live)
		}
		at[i], v[i] = (part[0].at+part[len(part)-1].at)/2, median(live)
	}
	var slopes []float64
	ordered := 0
	for i := range v {
		for j := i + 1; j < len(v); j++ {
			if at[j] > at[i] {
				slopes = append(slopes, (v[j]-v[i])/(at[j]-at[i]))
			}
			if v[j] > v[i] {
				ordered++
			}
		}
	}
	if len(slopes) == 0 {
		return Estimate{0, math.Inf(-1), math.Inf(1)}, false
	}
	slope = Estimate{quantile(slopes, 0.5), quantile(slopes, 0.05), quantile(slopes, 0.95)}
	first, second := v[stretches/2-1]-v[0], v[stretches-1]-v[stretches/2]
	whole := v[stretches-1] - v[0]
	// 26 of 28 pairs in order happens by chance once in ten thousand times.
	return slope, ordered >= 26 && whole > 0.1*v[0] && whole > 2<<20 && second > first/3
}

// doubt is how sure the fit is: standard deviations, as shares.
func (c *course) doubt() draw {
	relative := func(e Estimate) float64 {
		if !(e.Estimate > 0) || math.IsInf(e.High, 0) {
			return 0
		}
		return (e.High - e.Low) / (2 * z90 * e.Estimate)
	}
	w := c.workload()
	d := draw{
		alloc: math.Hypot(0.015, min(relative(w.AllocBytesPerSecond), 0.5)),
		live:  0.01,
		cost:  math.Hypot(0.05, c.costDoubt),
		grown: 0.3, beside: 0.05, resident: 0.015, fill: fillDoubt,
	}
	if !c.detailed {
		d.live, d.cost = 0.03, math.Hypot(d.cost, 0.1)
	}
	return d
}

// An ownError is the model's own error in what it forecasts: standard deviations, as
// shares. It is what remained between forecast and measurement when the draws were
// taken off (docs/ACCURACY.md).
type ownError struct{ cycles, cpu, pause, assist, heap, rss float64 }

func (c *course) ownError(mid *tally) ownError {
	e := ownError{cycles: 0.03, cpu: 0.10, pause: 0.45, assist: 0.50, heap: 0.025, rss: 0.03}
	wider := func(sd *float64, by float64) { *sd = math.Hypot(*sd, by) }
	// A count is a whole number: over a short time, that alone moves the rate.
	few := 0.5 / max(mid.cycles, 1)
	wider(&e.cycles, few)
	wider(&e.cpu, few)
	// What counts against a memory limit is less certain than what lives.
	limited := mid.byLimit / max(mid.cycles, 1)
	wider(&e.cycles, 0.06*limited)
	wider(&e.cpu, 0.06*limited)
	wider(&e.heap, 0.035*limited)
	// Next to a storm, everything is one over something small.
	if share := mid.gcCPU / mid.seconds / c.cores; share > stormRatio/2 {
		strain := min((share-stormRatio/2)/(stormRatio/2), 1)
		wider(&e.cycles, 0.35*strain)
		wider(&e.cpu, 0.4*strain)
		wider(&e.heap, 0.07*strain)
		wider(&e.rss, 0.05*strain)
	}
	// In a small heap it matters when a thread happens to run: how far the heap goes
	// meanwhile does not get less with it.
	const grains = 1 << 20
	wider(&e.heap, grains/max(mid.heapPeak, grains))
	wider(&e.rss, grains/max(mid.rssPeak, grains))
	return e
}

// Parameters are what was fitted, for people to look at.
func (t *Twin) Parameters() []Parameter {
	c, w := t.course, t.workload
	one := func(v float64) Estimate { return Estimate{v, v, v} }
	return []Parameter{
		{"alloc_bytes_per_second", w.AllocBytesPerSecond, "the growth of what was allocated in all"},
		{"gc_cycle_cpu_seconds", w.CycleCPUSeconds, "what workers, assists and pauses took in each cycle, in the kernel's CPU-seconds"},
		{"cpu_cores", w.CPUCores, "the CPU that the kernel charged, less the collector's"},
		{"live_bytes", w.LiveBytes, "what each cycle marked, less what was allocated meanwhile"},
		{"live_peak_bytes", w.LivePeakBytes, "the most of it"},
		{"live_growth_bytes_per_second", w.LiveGrowthBytesPerSecond, "the trend of it"},
		{"root_bytes", w.RootBytes, "stacks and globals that were scanned"},
		{"mark_seconds", meanOf(c.each(func(m *mark) float64 { return m.wall })), "the wall time of each cycle's marking"},
		{"mark_alloc_bytes", meanOf(c.each(func(m *mark) float64 { return m.grown })), "how far the heap grew during it"},
		{"span_slack_ratio", one(c.spanSlack), "how much faster the heap grows than what is allocated"},
		{"free_slot_bytes", one(c.fill.end), "free slots in spans in use, when the heap is about to be collected"},
		{"runtime_bytes", w.RuntimeBytes, "stacks and the runtime's own memory"},
		{"non_go_bytes", w.NonGoBytes, "resident memory less what the runtime has ready"},
	}
}

func (c *course) each(of func(*mark) float64) []float64 {
	v := make([]float64, len(c.marks))
	for i := range c.marks {
		v[i] = of(&c.marks[i])
	}
	return v
}
