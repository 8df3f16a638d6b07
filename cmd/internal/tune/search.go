package tune

import (
	"cmp"
	"math"
	"slices"

	"github.com/heapwright/heapwright/pacer"
)

const (
	// GOGC is sought between these, whatever the twin says. Below the first the
	// collector runs more than the program; above the second there is next to no GC
	// CPU left to save, and each byte more alive takes ten more. GOGC stays finite: with
	// GOGC=off the limit is all that ends a cycle, and each program that shares
	// the memory finds it full.
	leastGOGC, mostGOGC = 25, 1000

	// What a plan may risk: the twin's own odds within the recording's span. Of the
	// limiter it may run the odds that the twin gives what was recorded, too: a twin
	// that is unsure of the present is not surer of the rest. Where the budget
	// leaves nothing else it may run worstLimiter, and has to say so.
	mostOOM      = 0.01
	mostLimiter  = 0.05
	worstLimiter = 0.50

	// Settings whose objective differs by less count as equal: equalShare of the
	// best, or equalCPU of the process's CPU.
	equalShare = 0.02
	equalCPU   = 0.002

	gogcSteps, limitSteps = 16, 9
	rounds                = 3 // of refinement
)

// A candidate is a setting with its forecast, judged.
type candidate struct {
	s pacer.Settings
	f pacer.Forecast
	// need is the container limit that it needs, bytes.
	need float64
	// score is what the objective minimises, then: memory in ordinary times.
	score, usual float64
	flaw         flaw
}

// A flaw is why a candidate is out of the question.
type flaw int

const (
	fine     flaw = iota
	unknown       // the twin cannot tell
	tooLarge      // it may outgrow the limit
	noNet         // no GOMEMLIMIT, and not far below the limit
	tooNear       // GOMEMLIMIT is in reach of the storm
	tooHigh       // GOMEMLIMIT is so near the container's that the rest does not fit
	kills         // the kernel may kill it
	storms        // the GC CPU limiter may step in
	breaks        // it breaks a bound of the objective
)

// A search looks for the best settings of one process.
type search struct {
	twin   Twin
	goal   Objective
	mem    memory
	limit  float64 // the budget, +Inf for none
	procs  int     // GOMAXPROCS to plan with, 0 for as recorded
	cpu    float64 // of the program without the collector, cores
	storm  float64 // odds of the limiter that are accepted
	memo   map[pacer.Settings]pacer.Forecast
	counts int
}

// fixed reports whether the container's limit is given, not sought.
func (s *search) fixed() bool { return s.goal.Kind == LeastCPU }

// forecasts replays settings that were not replayed before, all at once.
func (s *search) forecasts(all []pacer.Settings) []pacer.Forecast {
	var fresh []pacer.Settings
	for _, x := range all {
		if _, ok := s.memo[x]; !ok {
			s.memo[x] = pacer.Forecast{Settings: x, GCCPUCores: pacer.Estimate{Estimate: math.NaN()}}
			fresh = append(fresh, x)
		}
	}
	if len(fresh) > 0 {
		s.counts += len(fresh)
		// The twin counts RSS against the container's limit, and page cache is part
		// of it that does not kill.
		asked := slices.Clone(fresh)
		for i := range asked {
			if asked[i].ContainerLimitBytes > 0 {
				asked[i].ContainerLimitBytes += uint64(s.mem.cache)
			}
		}
		for i, f := range s.twin.Forecasts(asked) {
			if i < len(fresh) {
				f.Settings = fresh[i]
				s.memo[fresh[i]] = f
			}
		}
	}
	out := make([]pacer.Forecast, len(all))
	for i, x := range all {
		out[i] = s.memo[x]
	}
	return out
}

// high is the pessimistic edge of a forecast.
func high(e pacer.Estimate) float64 {
	if math.IsNaN(e.Estimate) || math.IsNaN(e.High) {
		return math.NaN()
	}
	return max(e.Estimate, e.High)
}

// acceptedStorm is which odds of the limiter a plan may run.
func acceptedStorm(t Twin) float64 {
	now := within(t.Forecast(t.Current()).LimiterProbability.Estimate, 1, 0)
	return min(max(now, mostLimiter), worstLimiter)
}

func usable(v float64) bool { return v >= 0 && !math.IsInf(v, 0) }

// judge looks at candidates. Where the container's limit is sought, each is
// replayed in the container that it needs.
func (s *search) judge(all []pacer.Settings) []candidate {
	out := make([]candidate, len(all))
	for i, f := range s.forecasts(all) {
		out[i] = s.judgeOne(all[i], f)
	}
	return out
}

// charged is what the container is charged at the peak, at its pessimistic edge,
// and cannot get back.
func (s *search) charged(f pacer.Forecast) float64 {
	peak := high(f.RSSPeakBytes)
	return peak - min(s.mem.cache, peak) + s.mem.beside
}

func (s *search) judgeOne(x pacer.Settings, f pacer.Forecast) candidate {
	c := candidate{s: x, f: f, score: math.Inf(1), usual: f.RSSP90Bytes.Estimate}
	peak, gc := s.charged(f), high(f.GCCPUCores)
	if !usable(peak) || !usable(gc) {
		c.flaw = unknown
		return c
	}
	if !usable(c.usual) {
		c.usual = peak
	}
	c.need = mibUp(peak)
	limited := x.GOMEMLIMITBytes < most
	if limited {
		c.need = max(c.need, s.mem.containerFor(float64(x.GOMEMLIMITBytes)))
	} else {
		c.need = mibUp(peak / farShare)
	}
	switch s.goal.Kind {
	case LeastCPU:
		c.score = gc
	case LeastMemory, Bound:
		c.score = c.need
	case Price:
		c.score = s.goal.MemoryPrice*s.request(f)/gib + s.goal.CPUPrice*gc
	}
	switch limit := s.limit; {
	case peak > limit:
		c.flaw = tooLarge
	case !limited && c.need > limit:
		c.flaw = noNet
	case limited && float64(x.GOMEMLIMITBytes) < s.mem.floor:
		c.flaw = tooNear
	case limited && float64(x.GOMEMLIMITBytes) > s.mem.goLimit(limit):
		c.flaw = tooHigh
	default:
		c.flaw = s.danger(f)
	}
	return c
}

// danger is what a forecast alone speaks against.
func (s *search) danger(f pacer.Forecast) flaw {
	switch {
	case !(f.OOMProbability.Estimate <= mostOOM):
		return kills
	case !(f.LimiterProbability.Estimate <= s.storm):
		return storms
	case len(s.breaches(f)) > 0:
		return breaks
	}
	return fine
}

// farShare is how much of a container a process without GOMEMLIMIT may take at
// its peak: above it, a live heap that rises by a tenth can end in a kill.
const farShare = 0.8

// A breach is a bound of the objective that a forecast breaks.
type breach struct {
	quantity   string
	bound, got float64
}

func (s *search) breaches(f pacer.Forecast) []breach {
	var out []breach
	check := func(quantity string, bound float64, e pacer.Estimate) {
		if got := high(e); bound > 0 && !(got <= bound) {
			out = append(out, breach{quantity, bound, got})
		}
	}
	switch s.goal.Kind {
	case LeastMemory:
		check("gc_cpu_ratio", s.goal.MaxGCCPURatio, f.GCCPURatio)
	case Bound:
		check("pause_ratio", s.goal.MaxPauseRatio, f.PauseRatio)
		check("assist_ratio", s.goal.MaxAssistRatio, f.AssistRatio)
	}
	return out
}

// request is what a container should ask for: its peak in most runs.
func (s *search) request(f pacer.Forecast) float64 {
	v := max(f.RSSPeakBytes.Estimate, high(f.RSSP90Bytes))
	if !usable(v) {
		v = high(f.RSSPeakBytes)
	}
	return mibUp(v + s.mem.beside)
}

// settings puts a candidate together: GOGC to two digits and GOMEMLIMIT in
// whole MiB, because more is noise.
func (s *search) settings(gogc, goLimit float64) pacer.Settings {
	x := pacer.Settings{GOGCPercent: roundGOGC(gogc), GOMEMLIMITBytes: int64(mibDown(goLimit)), GOMAXPROCS: s.procs}
	x.ContainerLimitBytes = s.container(goLimit)
	return x
}

func (s *search) container(goLimit float64) uint64 {
	if s.fixed() {
		return uint64(s.limit)
	}
	return uint64(min(s.limit, s.mem.containerFor(goLimit)))
}

func roundGOGC(g float64) int64 {
	step := 5.0
	switch {
	case g >= 1000:
		step = 100
	case g >= 400:
		step = 10
	}
	return int64(min(max(math.Round(g/step)*step, leastGOGC), mostGOGC))
}

// ceiling is the largest GOMEMLIMIT worth a look.
func (s *search) ceiling() float64 {
	if !math.IsInf(s.limit, 1) {
		return s.mem.goLimit(s.limit)
	}
	// Beyond GOGC=1000 a cycle is a twentieth of what it costs at 50.
	room := 10 * max(s.mem.live+s.mem.roots, 4*mib)
	return min(most, max(2*s.mem.floor, mibUp(s.mem.runtime+s.mem.perByte*(s.mem.livePeak+room)/(1-limitHeadroom))))
}

// grid is the coarse search: GOGC by equal factors, GOMEMLIMIT denser towards
// both ends, where little changes much.
func (s *search) grid(seeds ...float64) []pacer.Settings {
	ceiling := s.ceiling()
	if ceiling < s.mem.floor {
		return nil
	}
	top := min(mostGOGC, max(2*leastGOGC, 1.3*s.mem.gogcFor(s.mem.extraAt(ceiling))))
	gogcs := slices.Clone(seeds)
	for i := range gogcSteps {
		gogcs = append(gogcs, leastGOGC*math.Pow(top/leastGOGC, float64(i)/(gogcSteps-1)))
	}
	var all []pacer.Settings
	for i := range limitSteps {
		at := (1 - math.Cos(math.Pi*float64(i)/(limitSteps-1))) / 2
		for _, g := range gogcs {
			all = append(all, s.settings(g, mibUp(s.mem.floor+at*(ceiling-s.mem.floor))))
		}
	}
	return all
}

// near is the fine search around the best so far.
func (s *search) near(best pacer.Settings, round int) []pacer.Settings {
	ceiling := s.ceiling()
	spread := math.Pow(0.5, float64(round))
	step := spread * (ceiling - s.mem.floor) / limitSteps
	var all []pacer.Settings
	for _, dg := range []float64{-0.30, -0.15, -0.07, 0, 0.07, 0.15, 0.30} {
		for _, dm := range []float64{-1, -0.5, 0, 0.5, 1} {
			m := float64(best.GOMEMLIMITBytes) + dm*step
			all = append(all, s.settings(float64(best.GOGCPercent)*(1+2*spread*dg), min(max(m, s.mem.floor), ceiling)))
		}
	}
	return all
}

// best finds the best candidate; ok is false where none will do. All that were
// looked at are returned too.
func (s *search) best(seeds ...float64) (c candidate, all []candidate, ok bool) {
	all = s.judge(s.grid(seeds...))
	c, ok = s.pick(all)
	for round := 1; ok && round <= rounds; round++ {
		all = append(all, s.judge(s.near(c.s, round))...)
		c, _ = s.pick(all)
	}
	return c, all, ok
}

// equal is how much a score may be worse and still count as equal.
func (s *search) equal(score float64) float64 {
	if s.goal.Kind == LeastCPU {
		return max(equalShare*score, equalCPU*(s.cpu+score))
	}
	return equalShare * score
}

// pick takes the best of candidates. Of those that are equal by the objective,
// where the container is given, it is one with the highest GOMEMLIMIT: a net
// should hang no nearer than it must. Then it is the one that takes least memory
// in ordinary times.
func (s *search) pick(all []candidate) (candidate, bool) {
	least := math.Inf(1)
	for _, c := range all {
		if c.flaw == fine {
			least = min(least, c.score)
		}
	}
	if math.IsInf(least, 1) {
		return candidate{}, false
	}
	worst := least + s.equal(least)
	var equals []candidate
	top := int64(0)
	for _, c := range all {
		if c.flaw == fine && c.score <= worst {
			equals = append(equals, c)
			top = max(top, c.s.GOMEMLIMITBytes)
		}
	}
	if s.fixed() {
		equals = slices.DeleteFunc(equals, func(c candidate) bool { return c.s.GOMEMLIMITBytes < top })
	}
	frugal := slices.MinFunc(equals, func(a, b candidate) int { return cmp.Compare(a.usual, b.usual) }).usual
	// Less than 1% of memory is nothing to choose by.
	equals = slices.DeleteFunc(equals, func(c candidate) bool { return c.usual > 1.01*frugal })
	return slices.MinFunc(equals, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.s.GOMEMLIMITBytes, a.s.GOMEMLIMITBytes), cmp.Compare(a.s.GOGCPercent, b.s.GOGCPercent))
	}), true
}
