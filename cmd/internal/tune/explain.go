package tune

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/pacer"
)

// judgedAfter is how many GC cycles it takes until a plan can be judged: fewer
// have the heap still on its way.
const judgedAfter = 20

// What others would set. The shares are theirs.
const (
	ratioOfLimit = 0.90 // automemlimit, and Prometheus with it, set GOMEMLIMIT to this share
	ratioOfHeap  = 0.70 // Uber's tuner, and ByteDance's, aim GOGC at this share of the container
	// and keep GOGC between these.
	tunerLeastGOGC, tunerMostGOGC = 50, 500
)

// alternatives are what else could be set, each with why it lost.
func (s *search) alternatives(chosen, now candidate, p *Plan, limit float64) []Alternative {
	in := *s
	in.limit = limit
	room := func(x pacer.Settings) pacer.Settings {
		x.ContainerLimitBytes = uint64(limit)
		return x
	}
	tuner := within(100*(ratioOfHeap*limit-s.mem.live)/max(s.mem.live, mib), tunerMostGOGC, tunerMostGOGC)
	offLimit := max(int64(s.mem.goLimit(limit)), mib)
	if offLimit < int64(s.mem.floor) {
		offLimit = int64(s.mem.floor)
	}
	all := []Alternative{
		{Name: "as it is", Settings: now.s},
		{Name: "Go's defaults", Settings: room(pacer.Settings{GOGCPercent: 100, GOMEMLIMITBytes: pacer.NoMemoryLimit})},
		{Name: "90% of the limit", Settings: room(pacer.Settings{GOGCPercent: 100, GOMEMLIMITBytes: int64(ratioOfLimit * limit)})},
		{Name: "GOGC=off with a limit", Settings: room(pacer.Settings{GOGCPercent: -1, GOMEMLIMITBytes: offLimit})},
		{Name: "a GOGC tuner at 70%", Settings: room(pacer.Settings{GOGCPercent: int64(max(tuner, tunerLeastGOGC)), GOMEMLIMITBytes: pacer.NoMemoryLimit})},
	}
	if p.Keep {
		all = all[1:]
	}
	var settings []pacer.Settings
	distinct := all[:0]
	for _, a := range all {
		if i := slices.Index(settings, a.Settings); i >= 0 {
			distinct[i].Name += " (" + a.Name + ")"
			continue
		}
		distinct, settings = append(distinct, a), append(settings, a.Settings)
	}
	all = distinct
	out := all[:0]
	for i, c := range in.judge(settings) {
		a := all[i]
		if a.Settings == chosen.s {
			continue // it did not lose
		}
		if a.Settings == now.s {
			c.flaw = now.flaw
		}
		a.Forecast, a.Fits = c.f, c.flaw == fine
		a.Lost = in.lost(c, chosen)
		out = append(out, a)
	}
	s.counts = in.counts
	return out
}

// lost says why a candidate was not chosen.
func (s *search) lost(c, chosen candidate) string {
	peak := s.charged(c.f)
	set := float64(c.s.GOMEMLIMITBytes)
	switch c.flaw {
	case unknown:
		return "The twin has no forecast for it."
	case tooLarge:
		text := fmt.Sprintf("Its peak may reach %s, above the limit of %s", rule.FormatBytes(peak), rule.FormatBytes(s.limit))
		if odds := c.f.OOMProbability.Estimate; odds > mostOOM {
			text += fmt.Sprintf("; the kernel would kill it with odds of %s in %s", rule.FormatPercent(odds), rule.FormatSeconds(c.f.Span.Seconds()))
		}
		return text + "."
	case noNet:
		return fmt.Sprintf("Its peak may reach %s of %s and nothing holds it there: when the live heap rises, the peak rises %s as much.",
			rule.FormatPercent(peak/s.limit), rule.FormatBytes(s.limit), times(1+float64(c.s.GOGCPercent)/100))
	case tooNear:
		return fmt.Sprintf("GOMEMLIMIT=%s is in reach of the GC storm, which begins below %s.", rule.MemLimit(set), rule.MemLimit(s.mem.floor))
	case tooHigh:
		spare, from := s.mem.spare(s.limit)
		return fmt.Sprintf("GOMEMLIMIT=%s leaves %s of the container for what is not Go; %s were measured, and %s are to spare (%s).",
			rule.MemLimit(set), rule.FormatBytes(s.limit-set), rule.FormatBytes(s.mem.nonGo+s.mem.beside), rule.FormatBytes(spare), from)
	case kills:
		return fmt.Sprintf("The kernel would kill it with odds of %s in %s.", rule.FormatPercent(c.f.OOMProbability.Estimate), rule.FormatSeconds(c.f.Span.Seconds()))
	case storms:
		return fmt.Sprintf("The GC CPU limiter would step in with odds of %s in %s.", rule.FormatPercent(c.f.LimiterProbability.Estimate), rule.FormatSeconds(c.f.Span.Seconds()))
	case breaks:
		b := s.breaches(c.f)[0]
		return fmt.Sprintf("Its %s may be %s, above the bound of %s.", b.quantity, share(b.got), share(b.bound))
	}
	gc, ours := c.f.GCCPUCores.Estimate, chosen.f.GCCPUCores.Estimate
	memory := fmt.Sprintf("its memory is %s most of the time, against %s", rule.FormatBytes(c.usual), rule.FormatBytes(chosen.usual))
	if c.score <= chosen.score+s.equal(min(c.score, chosen.score)) {
		if c.s.GOGCPercent < 0 {
			return fmt.Sprintf("As good within what the twin can tell (%s of GC against %s), but the limit alone ends its cycles: %s, and each growth of the live heap is paid in GC CPU at once.", cores(gc), cores(ours), memory)
		}
		return fmt.Sprintf("As good within what the twin can tell (%s of GC against %s); %s.", cores(gc), cores(ours), memory)
	}
	switch s.goal.Kind {
	case LeastMemory, Bound:
		return fmt.Sprintf("It needs a container of %s, against %s.", rule.MemLimitUp(c.need), rule.MemLimitUp(chosen.need))
	case Price:
		return fmt.Sprintf("It costs %.3g an hour, against %.3g: %s of GC and %s.", c.score, chosen.score, cores(gc), rule.FormatBytes(s.request(c.f)))
	}
	return fmt.Sprintf("It takes %s of GC where the plan takes %s (%s more).", cores(gc), cores(ours), more(gc, ours))
}

func cores(v float64) string { return fmt.Sprintf("%.3g cores", v) }

func times(v float64) string { return fmt.Sprintf("%.2g times", v) }

func more(a, b float64) string {
	if !(b > 0) {
		return "much"
	}
	return rule.FormatPercent(a/b - 1)
}

// interval writes an estimate with its interval; a unit that is a word of its
// own is written once.
func interval(e pacer.Estimate, f func(float64) string) string {
	low, high := f(e.Low), f(e.High)
	if i, j := strings.LastIndexByte(low, ' '), strings.LastIndexByte(high, ' '); i > 0 && j > 0 && low[i:] == high[j:] && strings.HasSuffix(f(e.Estimate), low[i:]) {
		return fmt.Sprintf("%s (%s to %s)", f(e.Estimate), low[:i], high[:j])
	}
	return fmt.Sprintf("%s (%s to %s)", f(e.Estimate), low, high)
}

// share writes a ratio as percent, however small.
func share(v float64) string {
	if v < 0.001 {
		return fmt.Sprintf("%.2g%%", 100*v)
	}
	return rule.FormatPercent(v)
}

func gogc(percent int64) string {
	if percent < 0 {
		return "off"
	}
	return fmt.Sprint(percent)
}

func goLimit(bytes int64) string {
	if bytes >= most {
		return "off"
	}
	return rule.MemLimit(float64(bytes))
}

func (s *search) why(p *Plan, chosen, now candidate, limit float64) []string {
	if p.Keep {
		return []string{fmt.Sprintf("GOGC=%s and GOMEMLIMIT=%s stay: the best of %d settings that were replayed gains less than the twin can tell, or than is worth a change (%s of GC now).",
			gogc(now.s.GOGCPercent), goLimit(now.s.GOMEMLIMITBytes), s.counts, interval(now.f.GCCPUCores, cores))}
	}
	set := float64(chosen.s.GOMEMLIMITBytes)
	spare, from := s.mem.spare(limit)
	text := fmt.Sprintf("GOMEMLIMIT=%s: the container's %s minus %s resident beside Go", rule.MemLimit(set), rule.FormatBytes(limit), rule.FormatBytes(s.mem.nonGo))
	if s.mem.cache > 0 {
		text += fmt.Sprintf(" (and not the %s of files, which the kernel takes back)", rule.FormatBytes(s.mem.cache))
	}
	if s.mem.beside > 0 {
		text += fmt.Sprintf(", minus %s beside the process", rule.FormatBytes(s.mem.beside))
	}
	text += fmt.Sprintf(", minus a reserve of %s (%s)", rule.FormatBytes(spare), from)
	if lower := s.mem.goLimit(limit) - set; lower >= mib {
		text += fmt.Sprintf(", and %s less than that, because the pessimistic edge of the forecast would not fit, or because less serves the objective", rule.FormatBytes(lower))
	}
	out := []string{text + "."}

	extra := float64(chosen.s.GOGCPercent) / 100 * (s.mem.live + s.mem.roots)
	text = fmt.Sprintf("GOGC=%d: with %s alive the heap grows by %s before a cycle ends, and reaches %s at its peak.",
		chosen.s.GOGCPercent, rule.FormatBytes(s.mem.live), rule.FormatBytes(min(extra, s.mem.extraAt(set))), interval(chosen.f.HeapPeakBytes, rule.FormatBytes))
	switch {
	case extra >= s.mem.extraAt(set):
		text += " GOMEMLIMIT ends the cycles before GOGC does; GOGC stays finite so that a process whose live heap shrinks gives memory back."
	default:
		text += " GOMEMLIMIT is the net below it, for when more is alive than was seen."
	}
	out = append(out, text)
	switch s.goal.Kind {
	case LeastCPU:
		out = append(out, fmt.Sprintf("Of %d settings that were replayed, those whose GC CPU differs by less than %s or %s of the process's CPU count as equal, and the one that takes least memory in ordinary times was chosen.",
			s.counts, rule.FormatPercent(equalShare), rule.FormatPercent(equalCPU)))
	case LeastMemory:
		out = append(out, fmt.Sprintf("It is the smallest container of %d settings that were replayed in which GC takes at most %s of the CPU, by the pessimistic edge (%s).",
			s.counts, rule.FormatPercent(s.goal.MaxGCCPURatio), rule.FormatPercent(high(chosen.f.GCCPURatio))))
	case Bound:
		out = append(out, fmt.Sprintf("It is the smallest container of %d settings that were replayed in which pauses take %s of the time and assists %s of the CPU, by the pessimistic edge.",
			s.counts, share(high(chosen.f.PauseRatio)), share(high(chosen.f.AssistRatio))))
	case Price:
		out = append(out, fmt.Sprintf("At these prices its memory costs %.3g an hour and its GC CPU %.3g; one more of either costs more than it saves.",
			s.goal.MemoryPrice*s.request(chosen.f)/gib, s.goal.CPUPrice*chosen.f.GCCPUCores.Estimate))
	}
	return out
}

func (s *search) risk(p *Plan, r Request, w pacer.Workload, chosen candidate) []string {
	var out []string
	if set := float64(chosen.s.GOMEMLIMITBytes); set < most {
		grow := max(0, (set-s.mem.floor)/s.mem.perByte)
		out = append(out, fmt.Sprintf("The live heap may grow by %s, from %s, before GOMEMLIMIT is in reach of the GC storm. Beyond that the collector takes ever more CPU.",
			rule.FormatBytes(grow), rule.FormatBytes(s.mem.livePeak)))
		if set < s.mem.doubtful {
			out = append(out, s.mem.doubt())
		}
	} else {
		out = append(out, fmt.Sprintf("Nothing holds the heap when more is alive than was seen; %s would (GOMEMLIMIT).", rule.MemLimit(s.mem.goLimit(float64(p.Container.LimitBytes)))))
	}
	if host := r.Process.HostMemoryBytes; host > 0 && p.Container.LimitBytes > host {
		out = append(out, fmt.Sprintf("The limit is above the %s of the machine that was recorded: there the machine runs out first.", rule.FormatBytes(float64(host))))
	}
	if p.Expected.LimiterProbability.Estimate > mostLimiter {
		out = append(out, mayStorm(p.Expected))
	}
	if span := p.Expected.Span; span < time.Hour {
		out = append(out, fmt.Sprintf("The recording covers %s. A load that was not in it is not in the plan: record at the busiest time.", rule.FormatSeconds(span.Seconds())))
	}
	if odds := p.Expected.OOMProbability; odds.High > mostOOM {
		out = append(out, fmt.Sprintf("The twin does not rule out a kill: odds of up to %s in %s.", rule.FormatPercent(odds.High), rule.FormatSeconds(p.Expected.Span.Seconds())))
	}
	if s.mem.nonGo > 0.25*(s.mem.nonGo+s.mem.live) {
		what := "resident beside the Go runtime"
		if r.Process.Cgo {
			what += ", what C allocates among it"
		}
		out = append(out, fmt.Sprintf("%s are %s. GOMEMLIMIT does not hold that part: if it grows, the kernel kills.", rule.FormatBytes(s.mem.nonGo), what))
	}
	if limit := float64(p.Container.LimitBytes); high(p.Expected.RSSPeakBytes) > limit {
		out = append(out, fmt.Sprintf("RSS would pass the limit but for %s of files in it, program text and mapped data, which the kernel takes back. If the program uses all of them all the time, the limit is too small.", rule.FormatBytes(s.mem.cache)))
	}
	if s.mem.beside == 0 && s.mem.nonGo == 0 {
		out = append(out, "What is beside Go in the container was not measured; only the reserve stands for it.")
	}
	for _, name := range p.SetInCode {
		out = append(out, fmt.Sprintf("%s in effect is not what the process was started with: the program, or a tool, sets it while it runs. The environment would not change it for good.", name))
	}
	return out
}

// doubt says that GOMEMLIMIT may be in reach of the storm.
func (m memory) doubt() string {
	return fmt.Sprintf("The storm floor is not known well: it may be as high as %s. Watch GC CPU when GOMEMLIMIT is set, or record for longer.", rule.MemLimit(m.doubtful))
}

// mayStorm says that the limiter may step in.
func mayStorm(f pacer.Forecast) string {
	return fmt.Sprintf("The GC CPU limiter may step in: odds of %s in %s. More memory would make them less.",
		rule.FormatPercent(f.LimiterProbability.Estimate), rule.FormatSeconds(f.Span.Seconds()))
}

// falsifiers are what a plan says will not happen.
func falsifiers(f pacer.Forecast, limit float64) []Falsifier {
	var out []Falsifier
	add := func(quantity string, e pacer.Estimate, text string, show func(float64) string) {
		above := high(e)
		if !usable(above) {
			return
		}
		out = append(out, Falsifier{
			Quantity: quantity, Above: above, Cycles: judgedAfter,
			Text: fmt.Sprintf("If %s is above %s after %d GC cycles, at the load that was recorded, the plan is wrong.", text, show(above), judgedAfter),
		})
	}
	add("gc_cpu_cores", f.GCCPUCores, "GC CPU", cores)
	add("gc_cycles_per_second", f.CyclesPerSecond, "the number of GC cycles a second", func(v float64) string { return fmt.Sprintf("%.3g", v) })
	add("rss_peak_bytes", f.RSSPeakBytes, "RSS", rule.FormatBytes)
	return append(out, Falsifier{
		Quantity: "limiter_engaged", Above: 0, Cycles: 0,
		Text: "If the GC CPU limiter steps in, or the kernel kills the process in its container of " + rule.FormatBytes(limit) + ", the plan is wrong.",
	})
}

func notes(t Twin, p *Plan, r Request, s *search) []string {
	out := slices.Clone(t.Missing())
	for _, n := range p.Expected.Notes {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	if r.BesideBytes == 0 {
		out = append(out, "Kernel memory and page cache in use were not measured; the reserve stands for them.")
	}
	for _, name := range p.SetInCode {
		if name == "GOMEMLIMIT" {
			out = append(out, "A library such as automemlimit in the program, or the program itself, has to be told, or taken out, for GOMEMLIMIT to hold.")
		}
	}
	return out
}

// confidence is low where the recording lacked something, and high only for a
// long one with narrow intervals.
func confidence(t Twin, p *Plan) (rule.Confidence, string) {
	f := p.Expected
	width := (f.GCCPUCores.High - f.GCCPUCores.Low) / max(f.GCCPUCores.Estimate, 1e-9)
	switch {
	case len(t.Missing()) > 0:
		return rule.Low, strings.TrimSuffix(t.Missing()[0], ".")
	case !(width <= 1) && f.GCCPURatio.Estimate > keepCPU:
		return rule.Low, "the forecast of GC CPU is wide: " + interval(f.GCCPUCores, cores)
	case f.Span < 10*time.Minute:
		return rule.Medium, "the recording covers " + rule.FormatSeconds(f.Span.Seconds())
	case len(f.Notes) > 0:
		return rule.Medium, strings.TrimSuffix(f.Notes[0], ".")
	}
	return rule.High, fmt.Sprintf("the recording covers %s, and the intervals are narrow", rule.FormatSeconds(math.Round(f.Span.Seconds())))
}
