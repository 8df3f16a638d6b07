package leak

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	defaultAlpha = 0.01
	// leastBytes and leastGoroutines are growth that nobody needs to hear of.
	leastBytes      = 512 << 10
	leastGoroutines = 10
	// leastSpan is the shortest window that anything is concluded from.
	leastSpan = 10 * time.Second
	// Of memory without sites (the live heap alone, stacks, memory outside of Go).
	leastOther = 4 << 20
	leastPart  = 0.05 // of what there was at first
	// young is the age of the process at the start of the window below which growth
	// may be the start-up.
	young = 60 // seconds
	// disagree is the part of the sites' growth that the live heap must show.
	disagree = 0.3
	// leastLive and leastLivePart are growth of the live heap that is a leak even where
	// no site is significant; suspectPart is what of it a site must have then.
	leastLive     = 1 << 20
	leastLivePart = 0.02
	suspectPart   = 0.15

	maxNotLeaks = 8
	maxFindings = 32
)

// A judge is a verdict in the making.
type judge struct {
	o     Observation
	alpha float64
	code  code
	view  *view.View
	out   *Verdict

	sites      []*site
	growing    []grown // significant, the p-value corrected
	groups     []*group
	goroutines []grownGroup
	live       trend.Fit
	hasLive    bool
	unclear    []string // what grows, and cannot be told from a warm-up
	candidates int
}

// A grown is a site whose growth is significant.
type grown struct {
	*site
	assessment
	p float64
	// guess says that the growth is known from the live heap, and that this is where
	// it most likely is.
	guess bool
}

// Judge says whether an observation shows a leak.
//
// Each allocation site, and each group of goroutines, is tested for growth by
// chance (see assess) at Alpha, divided by the number of looks; Holm's method
// corrects for how many were tested. What is significant must also be steady:
// neither slowing down, nor a step, nor a sawtooth, nor more load.
func Judge(o Observation, opt Options) *Verdict {
	if o.Recording == nil {
		o.Recording = &record.Recording{Process: o.Process}
	}
	alpha := opt.Alpha
	if !(alpha > 0) {
		alpha = defaultAlpha
	}
	j := &judge{
		o: o, alpha: alpha / float64(max(opt.Looks, 1)), code: code{o.Process}, view: view.New(o.Recording),
		out: &Verdict{
			Schema: Schema, Process: o.Process, Findings: []Finding{}, NotLeaks: []NotLeak{}, Hoards: []Hoard{}, Needed: []string{}, Notes: []string{},
			GCCycles: len(o.Recording.Cycles), GoroutineSnapshots: len(o.Goroutines),
		},
	}
	j.out.WindowSeconds = j.window().Seconds()
	j.live, j.hasLive = trend.Theil(j.view.Marked())
	if j.hasLive {
		j.out.LiveHeap = &Growth{
			PerHour: 3600 * j.live.Slope, Low: 3600 * j.live.Low, High: 3600 * j.live.High,
			Start: j.live.Start, End: j.live.End, Unit: "bytes", Series: pictureOf(j.view.Marked()),
		}
	}
	enoughHeap := j.judgeHeap()
	j.judgeGoroutines()
	j.explain()
	j.judgeOther()
	j.hoards()
	j.conclude(enoughHeap)
	return j.out
}

// window is the time between the first reading and the last.
func (j *judge) window() time.Duration {
	var first, last time.Time
	see := func(t time.Time) {
		if t.IsZero() {
			return
		}
		if first.IsZero() || t.Before(first) {
			first = t
		}
		if t.After(last) {
			last = t
		}
	}
	for _, p := range j.o.Heap {
		if p != nil {
			see(p.Time)
		}
	}
	for _, g := range j.o.Goroutines {
		if g != nil {
			see(g.Time)
		}
	}
	if n := len(j.o.Recording.Samples); n > 0 {
		see(j.o.Recording.Samples[0].Time)
		see(j.o.Recording.Samples[n-1].Time)
	}
	return last.Sub(first)
}

// judgeHeap finds the allocation sites that grow, and reports whether there was
// enough to look at.
func (j *judge) judgeHeap() bool {
	kept, at := snapshotTimes(j.o.Heap, j.o.Recording.Cycles)
	j.out.Snapshots = len(kept)
	if len(kept) < minSnapshots || at[len(at)-1].Sub(at[0]) < leastSpan {
		return false
	}
	j.sites = sites(kept, at, &j.code)
	var tested []grown
	var ps []float64
	for _, s := range j.sites {
		a := assess(&s.curve, s.exact, s.refills, j.alpha)
		// Only what could be significant at all is a test (Tarone 1990).
		if possible := math.Exp2(-float64(a.events)); possible > j.alpha && a.p() > j.alpha {
			continue
		}
		tested = append(tested, grown{site: s, assessment: a})
		ps = append(ps, a.p())
	}
	j.out.SitesTested = len(tested)
	var noise []grown
	for i, p := range holm(ps, len(ps)) {
		g := tested[i]
		g.p = p
		switch {
		case g.growth < leastBytes:
		case p > j.alpha:
			noise = append(noise, g)
		default:
			j.growing = append(j.growing, g)
		}
	}
	bySize := func(x, y grown) int { return cmp.Compare(y.growth, x.growth) }
	slices.SortStableFunc(j.growing, bySize)
	slices.SortStableFunc(noise, bySize)
	for _, g := range noise[:min(len(noise), 3)] {
		if kind, text := courseText(g.course); text != "" && g.pChance <= j.alpha {
			j.notLeak(kind, &g, text)
			continue
		}
		j.notLeak(Noise, &g, fmt.Sprintf("%s more: within what sampling and chance do (p = %s)", rule.FormatBytes(g.growth), formatP(g.p)))
	}
	return true
}

func (j *judge) notLeak(kind NotLeakKind, g *grown, text string) {
	if len(j.out.NotLeaks) >= maxNotLeaks {
		return
	}
	j.out.NotLeaks = append(j.out.NotLeaks, NotLeak{Kind: kind, What: Heap, Site: g.frame, Growth: g.perHour(), Text: text})
}

func (g *grown) perHour() Growth {
	return Growth{
		PerHour: 3600 * g.rate, Low: 3600 * g.low, High: 3600 * g.high, Start: g.start, End: g.end,
		Unit: "bytes", Series: g.picture(),
	}
}

// courseText says of growth that is no leak what it is.
func courseText(c course) (NotLeakKind, string) {
	switch c {
	case slowing:
		return Warmup, "grows ever more slowly: as a warm-up does, or a cache that fills"
	case stopped:
		return Bounded, "grew, and has not grown since: it has a bound"
	case step:
		return OneStep, "grew once"
	case saw:
		return Sawtooth, "comes and goes"
	}
	return Noise, ""
}

// sort puts what grows where it belongs, and returns what is steady.
func (j *judge) sort() []grown {
	var leaks []grown
	for i := range j.growing {
		g := &j.growing[i]
		if g.course == steady && g.load {
			j.notLeak(Load, g, "more is alive because more is allocated per second; each of it lives as long as before")
			continue
		}
		switch g.course {
		case unclear:
			// A site with few samples may be a line as well as a curve. The live heap knows.
			if g.center <= mostCenter && !g.load && j.liveLeaks() && g.growth >= suspectPart*j.live.Slope*j.live.Span {
				leaks = append(leaks, *g)
				continue
			}
			j.unclear = append(j.unclear, fmt.Sprintf("%s (+%s)", rule.FrameString(g.frame), rule.FormatBytes(g.growth)))
		case steady:
			leaks = append(leaks, *g)
		case slowing, stopped, step, saw:
			kind, text := courseText(g.course)
			j.notLeak(kind, g, text)
		}
	}
	if len(leaks) == 0 && j.liveLeaks() {
		leaks = j.suspects()
	}
	if len(leaks) == 0 || !j.hasLive {
		return leaks
	}
	low := 0.0
	for i := range leaks {
		low += max(0, leaks[i].low)
	}
	// The live heap is known at each cycle without sampling. Where the sites are what
	// makes it grow, and it has stopped, so have they.
	if kind, ended := j.liveEnded(); ended {
		var rest []grown
		for i := range leaks {
			g := &leaks[i]
			if g.growth < 0.5*j.live.Slope*j.live.Span || kind == slowing && j.goesOn(g) {
				rest = append(rest, *g)
				continue
			}
			k, text := courseText(kind)
			j.notLeak(k, g, "the live heap, which it is most of, "+text)
		}
		leaks = rest
	}
	// The sum must agree: what grows at some sites while others shrink as much is
	// memory that moves.
	if j.live.Span >= 0.7*j.out.WindowSeconds && j.live.High < disagree*low {
		j.out.Notes = append(j.out.Notes, fmt.Sprintf("The sites that grow add up to %s/h at least, the live heap grows by %s/h at most: other sites shrink meanwhile.",
			rule.FormatBytes(3600*low), rule.FormatBytes(3600*max(0, j.live.High))))
		for i := range leaks {
			j.notLeak(Bounded, &leaks[i], "grows while the live heap does not: others make room for it")
		}
		return nil
	}
	return leaks
}

// liveLeaks reports whether the live heap grows steadily, by itself.
func (j *judge) liveLeaks() bool {
	growth := j.live.Slope * j.live.Span
	return j.hasLive && j.live.Rising() && j.live.Steady() && j.live.PValue <= j.alpha && j.live.Span >= leastSpan.Seconds() &&
		growth >= leastLive && growth >= leastLivePart*max(j.live.Start, 0)
}

// goesOn reports whether the live heap, which grew faster at first, went on in the
// second half of the window as fast as a site grows: a leak under a warm-up.
func (j *judge) goesOn(g *grown) bool {
	pts := j.view.Marked()
	middle := (pts[0].T + pts[len(pts)-1].T) / 2
	i, _ := slices.BinarySearchFunc(pts, middle, func(p trend.Point, t float64) int { return cmp.Compare(p.T, t) })
	fit, ok := trend.Theil(pts[i:])
	return ok && fit.Rising() && fit.Steady() && g.growth <= 1.25*fit.Slope*j.live.Span
}

// suspects are the functions that the growth of the live heap is most likely at,
// where no site has samples enough to be significant by itself: what grows is
// certain then, and where is the best guess. Sites of one function count together.
func (j *judge) suspects() []grown {
	growth := j.live.Slope * j.live.Span
	known := 0.0
	for i := range j.growing {
		known += j.growing[i].growth
	}
	if known >= 0.5*growth {
		return nil // it is known what it is, and that this is no leak
	}
	index := map[string]*site{}
	var sums []*site
	for _, s := range j.sites {
		sum := index[s.frame.Func]
		if sum == nil {
			sum = &site{frame: s.frame, stack: s.stack, key: s.key, curve: newCurve(len(s.v)), stackBytes: s.v[len(s.v)-1]}
			copy(sum.t, s.t)
			index[s.frame.Func] = sum
			sums = append(sums, sum)
		} else if last := s.v[len(s.v)-1]; last > sum.stackBytes {
			sum.frame, sum.stack, sum.stackBytes = s.frame, s.stack, last
		}
		for k := range s.v {
			sum.v[k] += s.v[k]
			sum.n[k] += s.n[k]
			sum.allocs[k] += s.allocs[k]
		}
	}
	var out []grown
	for _, s := range append(sums, j.sites...) {
		a := assess(&s.curve, s.exact, s.refills, 0.2)
		if a.course == stopped || a.course == saw || a.load || a.growth < suspectPart*growth || a.pChance > 0.05 || a.net < 3 {
			continue
		}
		out = append(out, grown{site: s, assessment: a, p: j.live.PValue, guess: true})
	}
	slices.SortStableFunc(out, func(x, y grown) int {
		return cmp.Or(cmp.Compare(x.pChance, y.pChance), cmp.Compare(y.growth, x.growth))
	})
	// A function, and the same as one of its sites.
	for i := 0; i < len(out); i++ {
		out = slices.DeleteFunc(out, func(g grown) bool { return g.site != out[i].site && g.frame.Func == out[i].frame.Func })
	}
	if len(out) == 0 {
		j.unclear = append(j.unclear, fmt.Sprintf("the live heap (+%s), at sites that too few samples tell apart", rule.FormatBytes(growth)))
	}
	return out[:min(len(out), 2)]
}

// liveEnded reports whether the growth of the live heap slows down, or has ended.
func (j *judge) liveEnded() (course, bool) {
	pts := j.view.Marked()
	if !j.hasLive || len(pts) < 2*minSnapshots || j.live.Slope <= 0 || j.live.Span < 0.7*j.out.WindowSeconds {
		return flat, false
	}
	c := newCurve(len(pts))
	diffs := make([]float64, 0, len(pts))
	for i, p := range pts {
		c.t[i], c.v[i] = p.T, p.V
		if i > 0 {
			diffs = append(diffs, math.Abs(p.V-pts[i-1].V-j.live.Slope*(p.T-pts[i-1].T)))
		}
	}
	n := len(pts)
	q := max(1, n/10)
	start, end := median(c.v[:q]), median(c.v[n-q:])
	if end <= start {
		return flat, false
	}
	// The noise of one cycle, from neighbours: 1.4826 makes a standard deviation of a
	// median of absolute values, and a difference has twice the variance.
	noise := 1.4826 / math.Sqrt2 * median(diffs)
	span := c.t[n-1] - c.t[0]
	for _, part := range []float64{0.25, 0.125} {
		if !paused(&c, 0.02*(end-start)+noise) {
			break // as often before: slices that are made larger at about the same time
		}
		i, _ := slices.BinarySearchFunc(c.t, c.t[n-1]-part*span, cmp.Compare[float64])
		if n-i < 4 || i < 4 {
			continue
		}
		lo, hi := median(c.v[max(0, i-2):i+2]), median(c.v[n-3:])
		want := part * (end - start)
		if got := hi - lo; got < 0.35*want && want-got > 4*noise {
			return stopped, true
		}
	}
	i0, i1 := (q-1)/2, n-1-(q-1)/2
	if center(&c, i0, i1, start, end) < leastCenter && noise < 0.05*(end-start) {
		return slowing, true
	}
	return flat, false
}

// explain makes findings of what grows steadily: heap and goroutines together,
// since the one often holds the other.
func (j *judge) explain() {
	leaks := j.sort()
	stuck := j.sortGoroutines()
	j.candidates = len(leaks) + len(stuck)
	findings := j.goroutineFindings(stuck, leaks)
	findings = append(findings, j.provenFindings(findings)...)
	findings = append(findings, j.heapFindings(leaks, findings)...)
	for i := range findings {
		j.finish(&findings[i])
	}
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(weight(&b), weight(&a)))
	})
	j.out.Findings = append(j.out.Findings, findings[:min(len(findings), maxFindings)]...)
}

// weight is the growth of a finding in bytes per hour; of goroutines as if each
// held 8 KiB, which with a stack of 2 KiB at least is not much.
func weight(f *Finding) float64 {
	if f.Growth.Unit == "count" {
		return 8 << 10 * f.Growth.PerHour
	}
	return f.Growth.PerHour
}

// heapFindings are the sites that leak, those of one function and cause together.
func (j *judge) heapFindings(leaks []grown, before []Finding) []Finding {
	var out []Finding
	index := map[string]int{}
	parts := map[int][]grown{}
	for i := range leaks {
		g := &leaks[i]
		key := g.frame.Func
		k, ok := index[key]
		if !ok {
			k = len(out)
			index[key] = k
			out = append(out, Finding{Kind: Heap, Severity: rule.Warning, Site: g.frame, Stack: g.stack, Growth: g.perHour(), PValue: g.p})
			parts[k] = append(parts[k], *g)
			continue
		}
		f := &out[k]
		add := g.perHour()
		for s := range min(len(f.Growth.Series), len(add.Series)) {
			f.Growth.Series[s] += add.Series[s]
		}
		// The intervals of parts that are independent add up in squares.
		low, high := math.Hypot(f.Growth.PerHour-f.Growth.Low, add.PerHour-add.Low), math.Hypot(f.Growth.High-f.Growth.PerHour, add.High-add.PerHour)
		f.Growth.PerHour += add.PerHour
		f.Growth.Low, f.Growth.High = f.Growth.PerHour-low, f.Growth.PerHour+high
		f.Growth.Start += add.Start
		f.Growth.End += add.End
		f.PValue = min(f.PValue, g.p)
		parts[k] = append(parts[k], *g)
	}
	total := 0.0
	for i := range out {
		total += out[i].Growth.PerHour
	}
	for k := range out {
		f := &out[k]
		var net, events int64
		kept, weighted := 0.0, 0.0
		for i := range parts[k] {
			g := &parts[k][i]
			net, events = net+g.net, events+g.events
			if g.kept >= 0 {
				kept += g.kept * g.growth
				weighted += g.growth
			}
		}
		f.Evidence = append(f.Evidence,
			rule.Bytes("in_use_start_bytes", f.Growth.Start, "heap profile"),
			rule.Bytes("in_use_end_bytes", f.Growth.End, "heap profile"),
			rule.Count("sampled_objects_more_count", float64(net), "heap profile"))
		if weighted > 0 {
			f.Evidence = append(f.Evidence, rule.Ratio("kept_of_allocated_ratio", min(1, kept/weighted), "heap profile"))
		}
		if total > 0 && len(out) > 1 {
			f.Evidence = append(f.Evidence, rule.Ratio("share_of_growth_ratio", f.Growth.PerHour/total, "heap profile"))
		}
		f.Title = fmt.Sprintf("What %s allocates stays", shortName(f.Site.Func))
		j.classifyHeap(f, parts[k], before)
		f.Confidence, f.ConfidenceReason = j.confidence(f.PValue, fmt.Sprintf("%d sampled objects more in %d snapshots, steady", net, j.out.Snapshots))
		if parts[k][0].guess {
			f.Confidence = rule.Low
			f.ConfidenceReason = fmt.Sprintf("the live heap grows, p = %s; that it is here rests on %d sampled objects", formatP(f.PValue), net)
		}
	}
	return out
}

// confidence is how far a finding carries.
func (j *judge) confidence(p float64, what string) (rule.Confidence, string) {
	reason := fmt.Sprintf("%s, p = %s", what, formatP(p))
	if age, ok := j.view.Age(); ok && age-j.out.WindowSeconds < young && j.out.WindowSeconds < 300 {
		return rule.Medium, reason + fmt.Sprintf("; but the process was %s old when it began: a start-up that takes long looks the same", rule.FormatSeconds(max(0, age-j.out.WindowSeconds)))
	}
	if j.out.WindowSeconds < 120 {
		return rule.Medium, reason + "; but in so short a time a cache that fills looks the same"
	}
	return rule.High, reason
}

// finish adds what every finding has.
func (j *judge) finish(f *Finding) {
	if c, ok := Find(string(f.Cause)); ok && f.Remedy == "" {
		f.Remedy = c.short()
	}
	if f.Signs == nil {
		f.Signs = []string{}
	}
	f.PValue = min(1, f.PValue)
	if f.Growth.Unit == "bytes" {
		f.LastsSeconds = j.lasts(f.Growth.PerHour / 3600)
		if f.LastsSeconds > 0 && f.LastsSeconds < 600 {
			f.Severity = rule.Critical
		}
	}
	f.Evidence = slices.DeleteFunc(f.Evidence, func(e rule.Evidence) bool { return !e.Finite() })
}

// lasts is the time until the container's limit is reached when the live heap
// grows so fast; 0 where there is no limit.
func (j *judge) lasts(rate float64) float64 {
	limit := j.view.ContainerLimit()
	rss, ok := j.view.Last(record.FieldRSSBytes)
	if limit <= 0 || !ok || !(rate > 0) {
		return 0
	}
	if gogc, ok := j.view.GOGC(); ok && gogc > 0 && !j.view.LimitSetsGoal() {
		rate *= 1 + gogc/100
	}
	return max(1, (limit-rss)/rate)
}

// judgeOther looks at what has no sites: the live heap where there are no
// profiles, goroutine stacks, and memory that is not Go's.
func (j *judge) judgeOther() {
	if j.out.Snapshots < minSnapshots && j.grows(j.live, j.hasLive) && !j.has(Goroutine) {
		f := j.plain(Heap, UnknownCause, "The live heap rises steadily", j.live, pictureOf(j.view.Marked()))
		if j.o.NoHeapProfile != "" {
			f.Signs = append(f.Signs, "Where it is allocated is not known: "+j.o.NoHeapProfile+".")
		}
		j.finish(&f)
		j.out.Findings = append(j.out.Findings, f)
	}
	if pts := j.series(record.FieldStackInUseBytes); !j.has(Goroutine) {
		if fit, ok := trend.Theil(pts); j.grows(fit, ok) {
			f := j.plain(Stack, DeepStacks, "Goroutine stacks take more and more", fit, pictureOf(pts))
			f.Signs = append(f.Signs, "Stacks grow, and the number of goroutines does not: some go deeper and deeper.")
			f.Site, f.Stack = j.deepest()
			j.finish(&f)
			j.out.Findings = append(j.out.Findings, f)
		}
	}
	if pts := j.outside(); len(pts) > 0 {
		if fit, ok := trend.Theil(pts); j.grows(fit, ok) {
			f := j.plain(Outside, OffHeap, "Memory that is not Go's grows", fit, pictureOf(pts))
			f.Signs = append(f.Signs, "Resident memory grows beyond what the Go runtime has mapped: cgo, mmap, or a library.")
			j.finish(&f)
			j.out.Findings = append(j.out.Findings, f)
		}
	}
}

func (j *judge) has(k Kind) bool {
	return slices.ContainsFunc(j.out.Findings, func(f Finding) bool { return f.Kind == k })
}

// grows reports whether a series without sampling noise of its own leaks.
func (j *judge) grows(fit trend.Fit, ok bool) bool {
	growth := fit.Slope * fit.Span
	return ok && fit.Rising() && fit.Steady() && fit.PValue <= j.alpha && fit.Span >= leastSpan.Seconds() &&
		growth >= leastOther && growth >= leastPart*max(fit.Start, 0)
}

// plain is a finding without a site.
func (j *judge) plain(kind Kind, cause CauseID, title string, fit trend.Fit, series []float64) Finding {
	f := Finding{
		Kind: kind, Cause: cause, Severity: rule.Warning, Title: title, PValue: fit.PValue,
		Growth: Growth{PerHour: 3600 * fit.Slope, Low: 3600 * fit.Low, High: 3600 * fit.High, Start: fit.Start, End: fit.End, Unit: "bytes", Series: series},
		Evidence: []rule.Evidence{
			rule.Bytes("start_bytes", fit.Start, "samples"), rule.Bytes("end_bytes", fit.End, "samples"), rule.Count("trend_points", float64(fit.N), "samples"),
		},
	}
	f.Confidence, f.ConfidenceReason = j.confidence(fit.PValue, fmt.Sprintf("%d points, steady", fit.N))
	return f
}

func (j *judge) series(f record.Field) []trend.Point { return j.view.Series(f) }

// outside is resident anonymous memory less what the Go runtime has mapped and
// not given back.
func (j *judge) outside() []trend.Point {
	var pts []trend.Point
	for i := range j.o.Recording.Samples {
		s := &j.o.Recording.Samples[i]
		if !s.Has.Has(record.FieldRSSAnonBytes) || !s.Has.Has(record.FieldMappedReadyBytes) {
			continue
		}
		// What the heap maps need not be resident; above zero it is not Go's.
		pts = append(pts, trend.Point{
			T: s.Time.Sub(j.o.Recording.Samples[0].Time).Seconds(),
			V: max(0, float64(s.RSSAnonBytes)-float64(s.MappedReadyBytes)),
		})
	}
	return pts
}

// deepest is the goroutine with the longest stack in the last snapshot.
func (j *judge) deepest() (record.Frame, []record.Frame) {
	var stack []record.Frame
	if n := len(j.o.Goroutines); n > 0 && j.o.Goroutines[n-1] != nil {
		for i := range j.o.Goroutines[n-1].Groups {
			if s := j.o.Goroutines[n-1].Groups[i].Stack; len(s) > len(stack) {
				stack = s
			}
		}
	}
	if len(stack) == 0 {
		return record.Frame{}, nil
	}
	return j.code.site(stack), stack[:min(len(stack), maxStack)]
}

// conclude comes to the verdict.
func (j *judge) conclude(enoughHeap bool) {
	v := j.out
	v.Findings = v.Findings[:min(len(v.Findings), maxFindings)]
	worst := 0
	for i := range v.Findings {
		if v.Findings[i].Severity >= rule.Warning {
			worst++
		}
	}
	switch {
	case worst > 0:
		v.Verdict = Leak
		f := &v.Findings[0]
		v.Reason = f.Title + "."
		if len(v.Findings) > 1 {
			v.Reason = fmt.Sprintf("%s, and %d more.", f.Title, len(v.Findings)-1)
		}
		return
	case len(j.unclear) > 0:
		v.Verdict = Inconclusive
		v.Reason = "Something grows, and it cannot be told yet whether it will stop."
		v.Needed = append(v.Needed, fmt.Sprintf("%s: a warm-up looks the same so far; watch %s longer.", strings.Join(j.unclear[:min(len(j.unclear), 3)], ", "), span(max(2*v.Window(), time.Minute))))
	case v.Window() < leastSpan:
		v.Verdict = Inconclusive
		v.Reason = "The time was too short."
		v.Needed = append(v.Needed, "Watch for 1 minute at least, better 10.")
	case !enoughHeap && !j.hasLive:
		v.Verdict = Inconclusive
		v.Reason = fmt.Sprintf("There were %s in %s: too few to see a trend.", plural(v.GCCycles, "GC cycle"), span(v.Window()))
		j.needCycles()
	case !enoughHeap && v.Snapshots > 0:
		v.Verdict = Inconclusive
		v.Reason = fmt.Sprintf("The heap profile changed %s in %s: too few times to see which site grows.", plural(max(v.Snapshots-1, 0), "time"), span(v.Window()))
		j.needCycles()
	default:
		v.Verdict = NoLeak
		v.Reason = "Nothing grows that does not stop."
		if len(v.NotLeaks) == 0 {
			v.Reason = "Nothing grows."
		}
	}
	if text := j.suspect(); v.Verdict == Inconclusive && text != "" {
		v.Notes = append(v.Notes, text)
	}
	if d := j.detectable(); d > 0 && enoughHeap {
		v.Notes = append(v.Notes, fmt.Sprintf("A leak at one site of %s/h or more would have been seen.", rule.FormatBytes(d)))
	}
	if j.o.NoHeapProfile != "" {
		v.Notes = append(v.Notes, "There are no heap profiles ("+j.o.NoHeapProfile+"): the verdict rests on the live heap and the goroutines.")
	}
}

// suspect names the function whose allocations grew most between the first heap
// profile and the last, where that is most of what grew, and who holds them. Two
// readings show no trend: it is where to look, and no finding.
func (j *judge) suspect() string {
	kept, at := snapshotTimes(j.o.Heap, j.o.Recording.Cycles)
	if len(kept) < 2 {
		return ""
	}
	type sum struct {
		bytes         float64
		more, samples int64 // at the last, and at both
	}
	funcs, total := map[string]sum{}, 0.0
	for _, s := range sites(kept, at, &j.code) {
		last := len(s.v) - 1
		f := funcs[s.frame.Func]
		f.bytes += s.v[last] - s.v[0]
		f.more += s.n[last] - s.n[0]
		f.samples += s.n[last] + s.n[0]
		funcs[s.frame.Func] = f
	}
	best := ""
	for name, f := range funcs {
		total += max(0, f.bytes)
		if f.bytes > funcs[best].bytes || f.bytes == funcs[best].bytes && name < best {
			best = name
		}
	}
	f := funcs[best]
	// Three standard deviations of what chance does to two counts that are alike.
	if best == "" || f.bytes < leastLive || f.bytes < suspectPart*total || f.more < 8 || f.more*f.more < 9*f.samples {
		return ""
	}
	for name, other := range funcs {
		if name != best && 2*other.bytes > f.bytes {
			return "" // none stands out
		}
	}
	text := fmt.Sprintf("To look at first, without being found to leak: what %s allocates, +%s of +%s between the first heap profile and the last",
		shortName(best), rule.FormatBytes(f.bytes), rule.FormatBytes(total))
	if r := j.o.Retention; r != nil {
		for i := range r.Sites {
			if s := &r.Sites[i]; j.code.site(s.Stack).Func == best && len(s.Holders) > 0 && s.Holders[0].Share >= 0.5 {
				h := &s.Holders[0]
				return text + "; held by " + strings.Join(append([]string{rootName(h.Root)}, pathOf(h.Path)...), " > ") + "."
			}
		}
	}
	return text + "."
}

// needCycles says how long it takes until there are cycles enough.
func (j *judge) needCycles() {
	n, w := j.out.GCCycles, j.out.Window()
	if n < 1 {
		j.out.Needed = append(j.out.Needed, "The process collected no garbage meanwhile. It does so every 2 minutes at the latest: watch for 20 minutes, or while it has work to do.")
		return
	}
	each := w / time.Duration(n)
	j.out.Needed = append(j.out.Needed, fmt.Sprintf("It takes %d snapshots, one after each GC cycle, and the process collects every %s: watch for %s.", 2*minSnapshots, span(each), span(2*minSnapshots*each)))
}

// detectable is the growth per hour that one site needs for the test to find it
// with a chance of 90%, from nothing: as many samples as make 2^-n less than alpha,
// corrected, and 1.3 times their root more.
func (j *judge) detectable() float64 {
	period, w := 0.0, j.out.WindowSeconds
	for _, p := range j.o.Heap {
		if p != nil {
			period = float64(p.PeriodBytes)
		}
	}
	if period <= 0 || w <= 0 {
		return 0
	}
	n := math.Log2(float64(max(j.out.SitesTested, 1)) / j.alpha)
	return (n + 1.3*math.Sqrt(n)) * period * 3600 / w
}

func pictureOf(pts []trend.Point) []float64 {
	c := curve{}
	for _, p := range pts {
		c.v = append(c.v, p.V)
	}
	return c.picture()
}

func formatP(p float64) string {
	switch {
	case p < 1e-6:
		return "<0.000001"
	case p < 0.001:
		return fmt.Sprintf("%.6f", p)
	}
	return fmt.Sprintf("%.3f", p)
}

// shortName is a function without the directories of its package.
func shortName(fn string) string {
	if fn == "" {
		return "an unknown function"
	}
	path := packagePath(fn)
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return fn[i+1:]
	}
	return fn
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// span writes a duration for people.
func span(d time.Duration) string { return rule.FormatSeconds(d.Round(time.Second).Seconds()) }
