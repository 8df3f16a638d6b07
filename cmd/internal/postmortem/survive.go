package postmortem

import (
	"errors"
	"fmt"
	"math"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/cmd/internal/tune"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// fitsBelow is how far the least that a process needs has to stay below its limit for
// settings to keep it alive: Go's own headroom below GOMEMLIMIT is 3%.
const fitsBelow = 0.95

// survive says with which settings the process would have lived.
func (x *examination) survive() {
	s := &x.r.Survival
	s.Answer, s.How = UnknownFate, "nothing"
	if x.last == nil {
		s.Text = "What it was set to is not known."
		return
	}
	s.Now = settingsOf(x.last.s)
	memory := x.r.Verdict.Memory
	switch {
	case x.e.Kill == nil:
		s.Text = "\"heapwright tune\" fits settings to a process that lives."
		return
	case x.limit == 0:
		s.Text = "No limit is known to fit settings to."
		return
	case x.r.Composition.Of != "cgroup" || x.has[HeapLive]+x.has[HeapGarbage] == 0:
		s.Text = "What of the usage was Go's is not known, so that no settings can be fitted."
		return
	}
	least := x.least()
	switch memory {
	case NotEnough:
		s.Text = "One look is too little to fit settings to."
		return
	case SiblingMemory, PageCache, Shared, KernelMemory, Outside:
		s.Answer, s.How = NotGo, "arithmetic"
		s.Text = fmt.Sprintf("GOGC and GOMEMLIMIT do not bound %s.", words[memory])
		if g := x.garbage() + max(0, x.has[Fragmentation]); g > 0.05*x.limit {
			s.Text += fmt.Sprintf(" The Go heap could have given back %s at most, which puts it off.", rule.FormatBytes(g))
		}
		return
	}
	if !known(x.survival) && x.garbage() > 0.3*x.total {
		s.How, s.GOMEMLIMITBytes = "arithmetic", bytesOf(x.goLimit())
		s.Text = fmt.Sprintf("With GOMEMLIMIT=%s the collector would have run before the limit was met. Whether it would have found enough to free is not known: none ran after most of the heap was allocated.", rule.MemLimit(x.goLimit()))
		return
	}
	if least >= fitsBelow*x.limit {
		x.noSetting(least)
		return
	}
	x.asked(least)
}

// settingsOf are what a sample says of settings.
func settingsOf(s *record.Sample) (out Settings) {
	if s.Has.Has(record.FieldGOGCPercent) {
		v := s.GOGCPercent
		out.GOGCPercent = &v
	}
	if s.Has.Has(record.FieldGOMEMLIMITBytes) {
		if v := s.GOMEMLIMITBytes; v >= maxBytes || v < 0 {
			out.NoLimit = true
		} else {
			out.GOMEMLIMITBytes = &v
		}
	}
	return out
}

// beside is what is charged beside the process, and cannot be dropped.
func (x *examination) beside() float64 {
	return max(0, x.has[SiblingMemory]) + max(0, x.has[KernelMemory]) + max(0, x.has[Shared])
}

// least is what the process needed at the last look at the least, with a collector that
// leaves nothing: what is alive, the spans that it lies in, and all that is not heap.
// What the process took after the last look counts, as far as the kernel tells.
func (x *examination) least() float64 {
	v := max(0, x.has[HeapLive]) + max(0, x.has[Stacks]) + max(0, x.has[RuntimeMemory]) + max(0, x.has[Outside]) + x.beside()
	if over := x.has[NotResident]; over < 0 {
		v += max(over, -x.has[RuntimeMemory]) // the runtime's books are what is mapped in advance
	}
	if known(x.unseenMy) && known(x.survival) && x.r.Verdict.Memory == HeapLive {
		v += max(0, x.unseenMy) * x.survival
	}
	return v
}

// liveSlope is how fast what no collection gives back grows, in bytes a second; false
// when it does not.
func (x *examination) liveSlope() (float64, bool) {
	memory := x.r.Verdict.Memory
	if x.base == nil || memory != HeapLive && memory != Stacks {
		return 0, false
	}
	field := record.FieldHeapMarkedBytes
	if memory == Stacks {
		field = record.FieldStackInUseBytes
	}
	var pts []trend.Point
	for i := range x.ms {
		if m := &x.ms[i]; !m.s.Time.Before(x.base.s.Time) {
			if v, ok := m.value(field); ok {
				pts = append(pts, trend.Point{T: m.s.Time.Sub(x.base.s.Time).Seconds(), V: v})
			}
		}
	}
	if f, ok := trend.Theil(pts); ok && f.Low > 0 {
		return f.Slope, true
	}
	if s := x.r.Composition; s.WasTime != nil {
		if d := s.Time.Sub(*s.WasTime).Seconds(); d > 0 && x.grew[memory] > 0.1*x.has[memory] {
			return x.grew[memory] / d, true
		}
	}
	return 0, false
}

func (x *examination) noSetting(least float64) {
	s := &x.r.Survival
	s.Answer, s.How = NoSetting, "arithmetic"
	s.Text = fmt.Sprintf("No setting would have helped: what is alive, and what is not the heap's, came to %s of the limit of %s.", rule.FormatBytes(least), rule.FormatBytes(x.limit))
	if slope, ok := x.liveSlope(); ok && slope > 0 {
		s.Text += fmt.Sprintf(" Nor is a larger limit an answer to what grows: each further %s lasts %s.", rule.FormatBytes(x.limit), rule.FormatSeconds(x.limit/slope))
		return
	}
	// A collector with half of its usual room, and a tenth to spare.
	need := (least + x.has[HeapLive]*view.ComfortGOGC/100) / 0.9
	s.NeededLimitBytes = bytesOf(need)
	s.Text += fmt.Sprintf(" It would have needed a limit of about %s.", rule.MemLimitUp(need))
}

// asked puts the question to the twin, and where there is none to arithmetic.
func (x *examination) asked(least float64) {
	s := &x.r.Survival
	twin, err := pacer.Fit(x.rec)
	var plan *tune.Plan
	if err == nil {
		plan, err = tune.Make(twin, tune.Request{
			MemoryLimitBytes: uint64(x.limit), BesideBytes: uint64(x.beside()), FileBytes: tune.FileBytes(x.rec), Process: x.rec.Process,
		})
	}
	var leak *tune.LeakError
	var budget *tune.BudgetError
	slope, grows := x.liveSlope()
	switch {
	case errors.As(err, &budget):
		s.Answer, s.How = NoSetting, "twin"
		s.Text = fmt.Sprintf("By the twin of the process no setting keeps it within %s: %s.", rule.FormatBytes(x.limit), budget.Reason)
		if s.NeededLimitBytes = bytesOf(float64(budget.Smallest)); s.NeededLimitBytes != nil {
			s.Text += fmt.Sprintf(" The smallest limit in which it lives is %s.", rule.MemLimitUp(float64(budget.Smallest)))
		}
		return
	case errors.As(err, &leak), grows:
		x.longer(least, slope, leak)
		return
	case err == nil && !plan.Keep:
		x.planned(plan)
		return
	case err == nil:
		s.How = "twin"
		s.Text = "By the twin of the process its settings were as good as any: what killed it, it did not do in the time that was recorded before."
		return
	}
	x.reckoned()
}

// goLimit is the GOMEMLIMIT that fits the limit, by what was measured beside Go.
func (x *examination) goLimit() float64 {
	outside := max(0, x.has[Outside]) + x.beside()
	low := outside
	if known(x.was) {
		low = max(0, outside-max(0, x.grew[Outside])-max(0, x.grew[SiblingMemory])-max(0, x.grew[KernelMemory]))
	}
	return math.Floor(view.SizeFor(x.limit, outside, outside-low)/(1<<20)) * (1 << 20)
}

// longer says how long a process that grows would have lived with a GOMEMLIMIT.
func (x *examination) longer(least, slope float64, leak *tune.LeakError) {
	s := &x.r.Survival
	s.Answer, s.How = LivesLonger, "arithmetic"
	if leak != nil {
		s.How = "twin"
		slope = max(slope, leak.BytesPerSecond)
	}
	limit := x.goLimit()
	room := fitsBelow*x.limit - least
	if !(slope > 0) || !(room > 0) {
		s.Answer, s.How, s.Text = UnknownFate, "nothing", "How fast what is alive grows is not known well enough to say how long other settings would have lasted."
		return
	}
	what := "what is alive"
	if x.r.Verdict.Memory == Stacks {
		what = "the room for stacks"
	}
	seconds := room / slope
	s.LongerSeconds = &seconds
	s.GOMEMLIMITBytes = bytesOf(limit)
	already := s.Now.GOMEMLIMITBytes != nil && float64(*s.Now.GOMEMLIMITBytes) <= 1.02*limit
	if already {
		s.Answer, s.GOMEMLIMITBytes, s.LongerSeconds = NoSetting, nil, nil
		s.Text = fmt.Sprintf("GOMEMLIMIT was right, at %s: %s grows by %s/s, and no setting fits what grows.", rule.MemLimit(float64(*s.Now.GOMEMLIMITBytes)), what, rule.FormatBytes(slope))
		return
	}
	s.Text = fmt.Sprintf("GOMEMLIMIT=%s would have put it off by about %s, no more: %s grows by %s/s, and no setting fits what grows.",
		rule.MemLimit(limit), rule.FormatSeconds(seconds), what, rule.FormatBytes(slope))
}

// planned takes over what the twin chose.
func (x *examination) planned(p *tune.Plan) {
	s := &x.r.Survival
	s.Answer, s.How = Lives, "twin"
	gogc := p.Settings.GOGCPercent
	s.GOGCPercent = &gogc
	limit := "off"
	if v := p.Settings.GOMEMLIMITBytes; v < maxBytes {
		s.GOMEMLIMITBytes = &v
		limit = rule.MemLimit(float64(v))
	}
	percent := "off"
	if gogc >= 0 {
		percent = fmt.Sprint(gogc)
	}
	s.PeakBytes = bytesOf(p.Expected.RSSPeakBytes.High)
	s.Text = fmt.Sprintf("With GOGC=%s GOMEMLIMIT=%s it would have lived, by its twin", percent, limit)
	switch {
	case s.PeakBytes == nil:
	case float64(*s.PeakBytes) > x.limit: // it counts pages of files, which the kernel drops
		s.Text += fmt.Sprintf(": resident at most %s with its pages of files, which the kernel takes back where it has to", rule.FormatBytes(float64(*s.PeakBytes)))
	default:
		s.Text += fmt.Sprintf(": resident at most %s of %s", rule.FormatBytes(float64(*s.PeakBytes)), rule.FormatBytes(x.limit))
	}
	if r := p.Expected.GCCPURatio.Estimate; r >= 0 && r <= 1 {
		s.GCCPURatio = &r
		s.Text += fmt.Sprintf(", with %s of its CPU in the collector", rule.FormatPercent(r))
	}
	s.Text += "."
}

// reckoned is the answer where the recording is too little for a twin.
func (x *examination) reckoned() {
	s := &x.r.Survival
	s.How = "arithmetic"
	limit := x.goLimit()
	need := max(0, x.has[HeapLive])*(1+view.ComfortGOGC/100.0) + max(0, x.has[Stacks]) + max(0, x.has[RuntimeMemory])
	set := s.Now.GOMEMLIMITBytes != nil && float64(*s.Now.GOMEMLIMITBytes) <= 1.02*limit
	switch {
	case set:
		s.Answer = UnknownFate
		s.Text = fmt.Sprintf("GOMEMLIMIT was set to %s, which fits the limit, and the collector did not keep to it: the program allocated faster than it marks.", rule.MemLimit(float64(*s.Now.GOMEMLIMITBytes)))
	case need <= limit:
		s.Answer, s.GOMEMLIMITBytes = Lives, bytesOf(limit)
		s.Text = fmt.Sprintf("With GOMEMLIMIT=%s it would have lived, by arithmetic: %s were alive at the last look, and the collector would have had room. The recording is too short for a twin.",
			rule.MemLimit(limit), rule.FormatBytes(x.has[HeapLive]))
	default:
		s.Answer = NoSetting
		want := (need + max(0, x.has[Outside]) + x.beside()) / 0.9
		s.NeededLimitBytes = bytesOf(want)
		s.Text = fmt.Sprintf("With GOMEMLIMIT=%s the collector would have run all the time: %s were alive. A limit of %s would have done.", rule.MemLimit(limit), rule.FormatBytes(x.has[HeapLive]), rule.MemLimitUp(want))
	}
}
