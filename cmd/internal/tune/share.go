package tune

import (
	"fmt"
	"math"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// A Tenant is one of several processes that share a budget.
type Tenant struct {
	Name   string
	Twin   Twin
	Weight float64 // what a core of its GC CPU counts for; 0 is 1
	// MaxBytes caps what it may get, the memory beside Go included; 0 is no cap.
	MaxBytes  uint64
	FileBytes uint64 // as in a Request
	Process   record.Process
}

// A Total is what a way to split would come to. Errors of twins are taken as
// independent, and peaks as coincident.
type Total struct {
	Name       string // "equal limits", "the same GOGC for all", ...
	GCCPUCores pacer.Estimate
	RSSPeak    pacer.Estimate // bytes
	Settings   []pacer.Settings
	Forecasts  []pacer.Forecast
	Fits       bool
	Note       string // what is wrong with it, "" for nothing
}

// A Slice is what one tenant gets.
type Slice struct {
	Name        string
	BudgetBytes uint64 // its part of the budget: all of the process, and its part of the reserve
	ExtraBytes  uint64 // of it, the room between the live heap and the heap goal
	AtFloor     bool   // it would get less, but for the storm
	AtCap       bool   // it would get more, but for MaxBytes
	Settings    pacer.Settings
	Current     pacer.Forecast
	Expected    pacer.Forecast
	Risk        []string
	SetInCode   []string // as in a Plan
}

// A Split is a budget shared among processes.
type Split struct {
	BudgetBytes  uint64
	ReserveBytes uint64 // for what was not measured, kept once for all
	ReserveFrom  string
	Slices       []Slice
	// CoresPerMiB is the price of the last MiB: how much GC CPU, weighted, one
	// more would save.
	CoresPerMiB float64
	// SmallestBytes is the smallest budget that works.
	SmallestBytes uint64
	// Keep says that what is in effect is as good, and fits.
	Keep     bool
	Refined  bool // a search on the twins found a better split than the square-root rule
	Expected Total
	Others   []Total // as it is now, equal limits, the same GOGC for all
	Notes    []string
}

const (
	// mostTenants bounds a split.
	mostTenants = 256
	// curveSteps is how many GOMEMLIMITs each twin is asked about.
	curveSteps = 24
	// refineGain is how much less GC CPU, by the pessimistic edge, a split that
	// was found on the twins must take to be preferred to the rule's. Near a
	// storm twins are wrong, and a search finds where they are.
	refineGain = 0.03
)

// A sharing is one attempt to split a budget.
type sharing struct {
	tenants []Tenant
	mem     []memory
	claims  []claim
	all     memory // of all tenants together
	counts  int
}

// Share splits a budget among processes so that they use the least GC CPU
// together: by the square-root rule, and better where their twins know better.
// Errors: *LeakError and *pacer.UnfitError, wrapped with the tenant's name,
// *BudgetError, *RequestError.
func Share(budget uint64, tenants []Tenant) (*Split, error) {
	s, err := newSharing(tenants)
	if err != nil {
		return nil, err
	}
	smallest := s.smallest(0)
	total := min(float64(budget), most)
	if total < smallest {
		return nil, s.tooSmall(budget, smallest)
	}
	best, price, ok := s.byRule(total)
	if !ok {
		// The twins are not of one mind with less: look above.
		return nil, s.tooSmall(budget, s.smallest(total))
	}
	out := &Split{BudgetBytes: budget, SmallestBytes: uint64(smallest)}
	if found, at, ok := s.onTwins(total); ok && s.weighted(found) < (1-refineGain)*s.weighted(best) {
		best, price, out.Refined = found, at, true
	}
	best.Name = "the plan"
	out.CoresPerMiB = price * mib
	out.Others = s.others(total)
	now := out.Others[0]
	if now.Fits && s.weighted(now)-s.weighted(best) <= max(keepShare*s.weighted(now), keepCPU*s.cpu()) && now.GCCPUCores.Low <= best.GCCPUCores.High {
		out.Keep, best = true, now
	}
	out.Expected = best
	spare, from := s.all.spare(total)
	out.ReserveBytes, out.ReserveFrom = uint64(spare), from
	for i := range tenants {
		out.Slices = append(out.Slices, s.slice(i, best, now, spare))
	}
	out.Notes = s.notes(out)
	return out, nil
}

func newSharing(tenants []Tenant) (*sharing, error) {
	if len(tenants) == 0 || len(tenants) > mostTenants {
		return nil, &RequestError{fmt.Sprintf("a budget can be shared by 1 to %d processes, not %d", mostTenants, len(tenants))}
	}
	s := &sharing{tenants: tenants}
	for _, t := range tenants {
		if t.Twin == nil || !(t.Weight >= 0) || math.IsInf(t.Weight, 0) {
			return nil, &RequestError{fmt.Sprintf("%s needs a twin, and a weight that is not negative", t.Name)}
		}
		one := &search{twin: t.Twin, limit: math.Inf(1), mem: measure(t.Twin, 0, t.FileBytes)}
		w := t.Twin.Workload()
		if err := one.refuse(w); err != nil {
			return nil, fmt.Errorf("%s: %w", t.Name, err)
		}
		s.counts++
		if f := t.Twin.Forecast(t.Twin.Current()); !usable(high(f.GCCPUCores)) || !usable(high(f.RSSPeakBytes)) {
			return nil, fmt.Errorf("%s: %w", t.Name, &pacer.UnfitError{Reason: "the forecasts lack GC CPU or RSS: the recording's source does not tell them"})
		}
		m := one.mem
		top := float64(most)
		if t.MaxBytes > 0 {
			top = min(top, mibDown(float64(t.MaxBytes)-m.nonGo))
		}
		if top < m.floor {
			return nil, &RequestError{fmt.Sprintf("%s may have %s, and works from %s on", t.Name, rule.FormatBytes(float64(t.MaxBytes)), rule.FormatBytes(m.floor+m.nonGo))}
		}
		weight := t.Weight
		if weight == 0 {
			weight = 1
		}
		c := claim{
			cost:    weight * within(w.CycleCPUSeconds.Estimate, 1e6, 0) * within(w.AllocBytesPerSecond.Estimate, most, 0),
			perByte: m.perByte / (1 - limitHeadroom),
			least:   max(1, m.extraAt(m.floor)),
		}
		c.most = max(c.least, min(m.extraAt(top), float64(mostGOGC)/100*max(m.live+m.roots, mib)))
		s.mem, s.claims = append(s.mem, m), append(s.claims, c)
		s.all.nonGo += m.nonGo
		s.all.cache += m.cache
		s.all.varies += m.varies
		s.all.burst += m.burst
		s.all.floor += m.floor
	}
	return s, nil
}

// limitFor is the GOMEMLIMIT at which extra bytes fit above the live heap: whole
// MiB, and never below the floor, which holds the largest live heap.
func (m memory) limitFor(extra float64) float64 {
	return max(m.floor, mibDown(m.base()+m.perByte*extra/(1-limitHeadroom)))
}

// base is what GOMEMLIMIT has to hold beside extra heap.
func (m memory) base() float64 { return m.runtime + m.perByte*m.live/(1-limitHeadroom) }

// room is what a budget leaves for extra heaps.
func (s *sharing) room(budget float64) float64 {
	room := s.all.goLimit(budget)
	for _, m := range s.mem {
		room -= m.base()
	}
	return room
}

// settings are those of each tenant for its GOMEMLIMIT.
func (s *sharing) settings(limits []float64) []pacer.Settings {
	out := make([]pacer.Settings, len(limits))
	for i, m := range s.mem {
		out[i] = pacer.Settings{
			GOGCPercent:     roundGOGC(m.gogcFor(m.extraAt(limits[i]))),
			GOMEMLIMITBytes: int64(mibDown(limits[i])),
		}
	}
	return out
}

// total forecasts settings of all tenants.
func (s *sharing) total(name string, settings []pacer.Settings, budget float64) Total {
	t := Total{Name: name, Settings: settings, Fits: true}
	var gcLow, gcHigh, rssLow, rssHigh float64
	square := func(v float64) float64 { return v * v }
	note := func(format string, args ...any) {
		t.Fits = false
		if t.Note == "" {
			t.Note = fmt.Sprintf(format, args...)
		}
	}
	for i, x := range settings {
		f := s.tenants[i].Twin.Forecast(x)
		s.counts++
		t.Forecasts = append(t.Forecasts, f)
		gc, rss := f.GCCPUCores, f.RSSPeakBytes
		t.GCCPUCores.Estimate += gc.Estimate
		t.RSSPeak.Estimate += rss.Estimate
		gcLow, gcHigh = gcLow+square(gc.Estimate-gc.Low), gcHigh+square(high(gc)-gc.Estimate)
		rssLow, rssHigh = rssLow+square(rss.Estimate-rss.Low), rssHigh+square(high(rss)-rss.Estimate)
		switch name := s.tenants[i].Name; {
		case !usable(high(gc)) || !usable(high(rss)):
			note("The twin of %s has no forecast for it.", name)
		case x.GOMEMLIMITBytes < most && float64(x.GOMEMLIMITBytes) < s.mem[i].floor:
			note("%s would get GOMEMLIMIT=%s, in reach of its GC storm, which begins below %s.", name, goLimit(x.GOMEMLIMITBytes), rule.MemLimit(s.mem[i].floor))
		case !(f.LimiterProbability.Estimate <= worstLimiter):
			note("The GC CPU limiter would step in for %s with odds of %s.", name, rule.FormatPercent(f.LimiterProbability.Estimate))
		}
	}
	t.GCCPUCores.Low, t.GCCPUCores.High = max(0, t.GCCPUCores.Estimate-math.Sqrt(gcLow)), t.GCCPUCores.Estimate+math.Sqrt(gcHigh)
	t.RSSPeak.Low, t.RSSPeak.High = max(0, t.RSSPeak.Estimate-math.Sqrt(rssLow)), t.RSSPeak.Estimate+math.Sqrt(rssHigh)
	if peak := s.charged(t); !(peak <= budget) {
		note("Together the peaks may reach %s, above the budget of %s.", rule.FormatBytes(peak), rule.FormatBytes(budget))
	}
	return t
}

// charged is what the budget is charged at the peaks and cannot get back.
func (s *sharing) charged(t Total) float64 {
	return t.RSSPeak.High - min(s.all.cache, t.RSSPeak.High)
}

// weighted is the GC CPU of a total at its pessimistic edges, by weight.
func (s *sharing) weighted(t Total) float64 {
	sum := 0.0
	for i, f := range t.Forecasts {
		w := s.tenants[i].Weight
		if w == 0 {
			w = 1
		}
		sum += w * high(f.GCCPUCores)
	}
	return sum
}

func (s *sharing) cpu() float64 {
	sum := 0.0
	for _, t := range s.tenants {
		sum += within(t.Twin.Workload().CPUCores.Estimate, 1e6, 0)
	}
	return sum
}

// byRule splits by the square-root rule. Where the forecasts say that the peaks
// would not fit, it splits less.
func (s *sharing) byRule(budget float64) (Total, float64, bool) {
	return s.fitting(budget, func(less float64) ([]float64, float64, bool) {
		extra, price, ok := waterfill(s.room(budget)-less, s.claims)
		if !ok {
			return nil, 0, false
		}
		limits := make([]float64, len(extra))
		for i, m := range s.mem {
			limits[i] = m.limitFor(extra[i])
		}
		return limits, price, true
	})
}

// fitting calls split with ever less room until the forecasts fit the budget.
func (s *sharing) fitting(budget float64, split func(less float64) (limits []float64, price float64, ok bool)) (Total, float64, bool) {
	const tries = 8
	less := 0.0
	for range tries {
		limits, price, ok := split(less)
		if !ok {
			return Total{}, 0, false
		}
		t := s.total("", s.settings(limits), budget)
		if t.Fits {
			return t, price, true
		}
		if !(s.charged(t) > budget) {
			return Total{}, 0, false
		}
		less += max(s.charged(t)-budget, 0.002*budget)
	}
	return Total{}, 0, false
}

// onTwins splits along the curves of GC CPU over GOMEMLIMIT that the twins
// forecast, at their pessimistic edges.
func (s *sharing) onTwins(budget float64) (Total, float64, bool) {
	spare := s.all.goLimit(budget) - s.all.floor
	if !(spare > mib) {
		return Total{}, 0, false
	}
	hulls := make([][]point, len(s.mem))
	for i, m := range s.mem {
		top := min(m.floor+spare, m.limitFor(s.claims[i].most))
		var limits []float64
		var settings []pacer.Settings
		for k := range curveSteps {
			// By equal factors of the room above the floor: near it the curve is steep.
			at := (math.Pow(100, float64(k)/(curveSteps-1)) - 1) / 99
			limit := mibDown(m.floor + at*(top-m.floor))
			limits = append(limits, limit)
			settings = append(settings, pacer.Settings{GOGCPercent: roundGOGC(m.gogcFor(m.extraAt(limit))), GOMEMLIMITBytes: int64(limit)})
		}
		weight := s.tenants[i].Weight
		if weight == 0 {
			weight = 1
		}
		s.counts += len(settings)
		var points []point
		for k, f := range s.tenants[i].Twin.Forecasts(settings) {
			if k >= len(limits) || !usable(high(f.GCCPUCores)) || !(f.LimiterProbability.Estimate <= worstLimiter) {
				continue
			}
			points = append(points, point{limits[k], weight * high(f.GCCPUCores)})
		}
		hulls[i] = hull(points)
	}
	return s.fitting(budget, func(less float64) ([]float64, float64, bool) {
		return descend(s.all.goLimit(budget)-less, hulls)
	})
}

// smallest is the least budget above from for which the square-root rule fits, 0
// where none is found.
func (s *sharing) smallest(from float64) float64 {
	const tries, growth = 40, 1.03
	budget := max(s.all.containerFor(s.all.floor), mibUp(from*growth))
	for range tries {
		if _, _, ok := s.byRule(budget); ok {
			return budget
		}
		budget = mibUp(min(most, budget*growth))
	}
	return 0
}

func (s *sharing) tooSmall(budget uint64, smallest float64) error {
	live, outside := 0.0, 0.0
	for _, m := range s.mem {
		live += m.livePeak
		outside += m.runtime + m.nonGo
	}
	return &BudgetError{
		Budget: budget, Smallest: uint64(smallest),
		Reason: fmt.Sprintf("the live heaps take up to %s and what is beside them %s, and each collector needs room", rule.FormatBytes(live), rule.FormatBytes(outside)),
	}
}

// others are the splits that people make: none, equal limits, and the same GOGC
// for all, which gives extra heap in proportion to what is alive.
func (s *sharing) others(budget float64) []Total {
	var now []pacer.Settings
	for _, t := range s.tenants {
		x := t.Twin.Current()
		x.ContainerLimitBytes, x.GOMAXPROCS = 0, 0
		now = append(now, x)
	}
	n := float64(len(s.mem))
	equal := make([]float64, len(s.mem))
	alike := make([]float64, len(s.mem))
	perPercent := 0.0
	for i, m := range s.mem {
		perPercent += s.claims[i].perByte * max(m.live+m.roots, mib)
	}
	share := max(0, s.room(budget)) / perPercent
	for i, m := range s.mem {
		equal[i] = max(mib, mibDown(s.all.goLimit(budget)/n))
		alike[i] = m.base() + s.claims[i].perByte*share*max(m.live+m.roots, mib)
	}
	return []Total{
		s.total("as it is", now, budget),
		s.total("equal limits", s.settings(equal), budget),
		s.total("the same GOGC for all", s.settings(alike), budget),
	}
}

func (s *sharing) slice(i int, t, now Total, spare float64) Slice {
	m, x := s.mem[i], t.Settings[i]
	out := Slice{Name: s.tenants[i].Name, Settings: x, Current: now.Forecasts[i], Expected: t.Forecasts[i],
		SetInCode: setInCode(s.tenants[i].Process, s.tenants[i].Twin.Current())}
	set := float64(x.GOMEMLIMITBytes)
	if set >= most {
		out.BudgetBytes = uint64(mibUp(high(t.Forecasts[i].RSSPeakBytes)))
		out.Risk = append(out.Risk, "Nothing holds its heap when more is alive than was seen: it has no GOMEMLIMIT.")
		return out
	}
	all := 0.0
	for _, x := range t.Settings {
		if x.GOMEMLIMITBytes < most {
			all += float64(x.GOMEMLIMITBytes)
		}
	}
	out.BudgetBytes = uint64(mibDown(set + m.nonGo + spare*set/max(all, 1)))
	out.Settings.ContainerLimitBytes = out.BudgetBytes
	out.ExtraBytes = uint64(max(0, m.extraAt(set)))
	out.AtFloor = set <= m.floor
	out.AtCap = float64(out.ExtraBytes) >= s.claims[i].most*0.999 && s.claims[i].cost > 0
	out.Risk = append(out.Risk, fmt.Sprintf("Its live heap may grow by %s, from %s, before GOMEMLIMIT is in reach of the GC storm.",
		rule.FormatBytes(max(0, (set-m.floor)/m.perByte)), rule.FormatBytes(m.livePeak)))
	if set < m.doubtful {
		out.Risk = append(out.Risk, m.doubt())
	}
	if t.Forecasts[i].LimiterProbability.Estimate > mostLimiter {
		out.Risk = append(out.Risk, mayStorm(t.Forecasts[i]))
	}
	for _, name := range out.SetInCode {
		out.Risk = append(out.Risk, name+" in effect is not what it was started with: the program, or a tool, sets it while it runs.")
	}
	return out
}

func (s *sharing) notes(out *Split) []string {
	var notes []string
	if out.Keep {
		notes = append(notes, "The settings in effect are as good as the twins can tell, and fit.")
	} else if out.Refined {
		notes = append(notes, "The twins know a better split than the square-root rule: GC CPU does not go by one over the extra heap for all of them.")
	}
	for _, t := range s.tenants {
		for _, m := range t.Twin.Missing() {
			notes = append(notes, t.Name+": "+m)
		}
	}
	return notes
}

// Plan is a slice as a plan for its process alone, to be applied.
func (s Slice) Plan() *Plan {
	p := &Plan{
		Settings: s.Settings, Current: s.Current, Expected: s.Expected, Risk: s.Risk, SetInCode: s.SetInCode,
		Container:  Container{LimitBytes: s.BudgetBytes},
		Falsifiers: falsifiers(s.Expected, float64(s.BudgetBytes)),
	}
	p.Keep = s.Settings.GOGCPercent == s.Current.Settings.GOGCPercent && s.Settings.GOMEMLIMITBytes == s.Current.Settings.GOMEMLIMITBytes
	request := max(s.Expected.RSSPeakBytes.Estimate, high(s.Expected.RSSP90Bytes))
	if !usable(request) {
		request = float64(s.BudgetBytes)
	}
	p.Container.RequestBytes = min(uint64(mibUp(min(request, most))), s.BudgetBytes)
	return p
}
