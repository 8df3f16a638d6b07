package tune

import (
	"fmt"
	"math"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/pacer"
)

const (
	// Settings in effect are kept when the best found gains less: noise of the
	// objective where the intervals overlap, or GC CPU that nobody misses.
	keepShare = 0.10
	keepCPU   = 0.002 // of the process's CPU
	// A memory that is sought has to shrink by this much to be worth a change.
	keepMemory = 0.05
	// keepSlack is how far above the plan's own GOMEMLIMIT one in effect may be.
	keepSlack = 0.02
)

// Make chooses settings for the process that a twin is of. Errors: *LeakError,
// *BudgetError, *NoBudgetError, *BoundError, *RequestError, *pacer.UnfitError.
func Make(t Twin, r Request) (*Plan, error) {
	if err := r.Objective.check(); err != nil {
		return nil, err
	}
	s := newSearch(t, r)
	if err := s.refuse(t.Workload()); err != nil {
		return nil, err
	}
	if s.fixed() && math.IsInf(s.limit, 1) {
		return nil, &NoBudgetError{}
	}
	s.storm = acceptedStorm(t)
	current := t.Current()
	best, all, ok := s.best(s.seeds(current)...)
	if !ok {
		s.storm = worstLimiter
		best, all, ok = s.best(s.seeds(current)...)
	}
	if !ok {
		return nil, s.tooSmall(all)
	}
	p := &Plan{Objective: r.Objective, SetInCode: setInCode(r.Process, current)}
	limit := s.limit
	if !s.fixed() {
		limit = min(limit, best.need)
		best.s.ContainerLimitBytes = uint64(limit)
		best.f = s.forecasts([]pacer.Settings{best.s})[0]
	}
	now := s.inEffect(current, limit)
	p.Keep = s.keeps(now, best, limit)
	chosen := best
	if p.Keep {
		chosen = now
		p.Settings = current
		p.Settings.GOMAXPROCS = 0
	} else {
		p.Settings = best.s
	}
	p.Settings.ContainerLimitBytes = uint64(limit)
	p.Current, p.Expected = now.f, chosen.f
	p.Container = Container{
		RequestBytes: uint64(min(s.request(chosen.f), limit)),
		LimitBytes:   uint64(limit),
		CPUQuota:     quota(r),
	}
	p.Reserve = s.mem.reserve(limit)
	_, p.GOMAXPROCS = procs(r, current.GOMAXPROCS)
	p.Alternatives = s.alternatives(chosen, now, p, limit)
	p.Why = s.why(p, chosen, now, limit)
	p.Risk = s.risk(p, r, t.Workload(), chosen)
	p.Falsifiers = falsifiers(p.Expected, limit)
	p.Notes = notes(t, p, r, s)
	p.Confidence, p.ConfidenceReason = confidence(t, p)
	p.Forecasts = s.counts
	return p, nil
}

// check refuses an objective that nothing can meet or that asks for nothing.
func (o Objective) check() error {
	bad := func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) || v < 0 }
	if bad(o.MaxGCCPURatio) || bad(o.MaxPauseRatio) || bad(o.MaxAssistRatio) || bad(o.MemoryPrice) || bad(o.CPUPrice) {
		return &RequestError{"bounds and prices must be numbers that are not negative"}
	}
	switch o.Kind {
	case LeastCPU:
	case LeastMemory:
		if !(o.MaxGCCPURatio > 0 && o.MaxGCCPURatio <= 1) {
			return &RequestError{"least memory needs a bound of GC's share of the CPU, above 0 and at most 1, such as 0.05"}
		}
	case Bound:
		if o.MaxPauseRatio > 1 || o.MaxAssistRatio > 1 || o.MaxPauseRatio+o.MaxAssistRatio == 0 {
			return &RequestError{"a bound needs a share of pauses or of assists, above 0 and at most 1"}
		}
	case Price:
		if o.MemoryPrice == 0 || o.CPUPrice == 0 {
			return &RequestError{"prices of memory and of CPU must both be above 0: with one of them free there is nothing to weigh"}
		}
	default:
		return &RequestError{fmt.Sprintf("there is no objective %d", int(o.Kind))}
	}
	return nil
}

func newSearch(t Twin, r Request) *search {
	s := &search{
		twin: t, goal: r.Objective, mem: measure(t, r.BesideBytes, r.FileBytes), limit: math.Inf(1),
		cpu:  within(t.Workload().CPUCores.Estimate, 1e6, 0),
		memo: map[pacer.Settings]pacer.Forecast{},
	}
	current := t.Current()
	limit := r.MemoryLimitBytes
	if limit == 0 {
		limit = current.ContainerLimitBytes
		// The host's memory is no limit of a container, and cgroup v1 writes none
		// as a number beyond any.
		if host := r.Process.HostMemoryBytes; host > 0 && limit >= host {
			limit = 0
		}
	}
	if limit > 0 && limit < most {
		s.limit = float64(limit)
	}
	s.procs, _ = procs(r, current.GOMAXPROCS)
	return s
}

// refuse says which processes no settings fit.
func (s *search) refuse(w pacer.Workload) error {
	if w.Grows {
		e := &LeakError{BytesPerSecond: within(w.LiveGrowthBytesPerSecond.Estimate, most, 0)}
		if !math.IsInf(s.limit, 1) {
			e.BudgetBytes = uint64(s.limit)
			room := s.limit - s.mem.nonGo - s.mem.beside - s.mem.runtime - s.mem.perByte*s.mem.livePeak
			if seconds := max(0, room) / (s.mem.perByte * e.BytesPerSecond); seconds < 1e9 {
				e.FillsIn = time.Duration(seconds * float64(time.Second))
			}
		}
		return e
	}
	if !(w.LiveBytes.Estimate > 0) || math.IsInf(w.LiveBytes.Estimate, 0) || math.IsNaN(w.AllocBytesPerSecond.Estimate) {
		return &pacer.UnfitError{Reason: "its source does not tell the live heap and the allocation rate"}
	}
	return nil
}

// seeds are values of GOGC that the grid must not miss: the default, the one in
// effect, and where prices are given the one at which a GiB of room costs what
// it saves, E* = sqrt(P_cpu C a / (P_mem κ)).
func (s *search) seeds(current pacer.Settings) []float64 {
	out := []float64{100}
	if current.GOGCPercent > 0 {
		out = append(out, float64(current.GOGCPercent))
	}
	if s.goal.Kind == Price {
		w := s.twin.Workload()
		c, a := within(w.CycleCPUSeconds.Estimate, 1e6, 0), within(w.AllocBytesPerSecond.Estimate, most, 0)
		out = append(out, s.mem.gogcFor(math.Sqrt(s.goal.CPUPrice*c*a/(s.goal.MemoryPrice/gib*s.mem.perByte))))
	}
	return out
}

// tooSmall says why no candidate will do.
func (s *search) tooSmall(all []candidate) error {
	var bound []breach
	forecast := false
	for _, c := range all {
		forecast = forecast || c.flaw != unknown
		if c.flaw != breaks {
			continue
		}
		for i, b := range s.breaches(c.f) {
			if math.IsNaN(b.got) {
				return &pacer.UnfitError{Reason: "its source does not tell " + b.quantity}
			}
			switch {
			case i == len(bound):
				bound = append(bound, b)
			case b.quantity == bound[i].quantity && b.got < bound[i].got:
				bound[i] = b
			}
		}
	}
	switch {
	case len(bound) > 0:
		return &BoundError{Quantity: bound[0].quantity, Bound: bound[0].bound, Best: bound[0].got}
	case len(all) > 0 && !forecast:
		return &pacer.UnfitError{Reason: "the forecasts lack GC CPU or RSS: the recording's source does not tell them"}
	}
	e := &BudgetError{Budget: uint64(min(s.limit, most)), Smallest: uint64(s.smallest())}
	least := s.mem.livePeak + s.mem.runtime + s.mem.nonGo + s.mem.beside
	spare, _ := s.mem.spare(s.limit)
	switch {
	case least > s.limit:
		e.Reason = fmt.Sprintf("the live heap takes up to %s and what is beside it %s",
			rule.FormatBytes(s.mem.livePeak), rule.FormatBytes(least-s.mem.livePeak))
	case len(all) == 0 && math.IsInf(s.limit, 1):
		e.Reason = "below " + rule.MemLimit(s.mem.floor) + " the GC storm is in reach"
	case len(all) == 0:
		e.Reason = fmt.Sprintf("%s beside Go and a reserve of %s leave a GOMEMLIMIT of %s, and below %s the GC storm is in reach",
			rule.FormatBytes(s.mem.nonGo+s.mem.beside), rule.FormatBytes(spare), rule.MemLimit(s.mem.goLimit(s.limit)), rule.MemLimit(s.mem.floor))
	default:
		e.Reason = "at every setting the peak may pass it, or the collector may run all the time"
	}
	return e
}

// smallest is the least budget for which the grid has a setting that will do:
// the one that the storm floor needs, or a little more where forecasts say so, but
// more than the budget, which did not work. 0 where none is found.
func (s *search) smallest() float64 {
	const tries, growth = 24, 1.04
	in := *s
	in.storm = worstLimiter
	in.limit = s.mem.containerFor(s.mem.floor)
	if in.limit <= s.limit && s.limit < most {
		in.limit = mibUp(s.limit + mib)
	}
	found := 0.0
	for range tries {
		all := in.judge(in.grid(in.seeds(in.twin.Current())...))
		if _, ok := in.pick(all); ok {
			found = in.limit
			break
		}
		next := math.Inf(1)
		for _, c := range all {
			if c.flaw == tooLarge {
				next = min(next, c.need)
			}
		}
		if math.IsInf(next, 1) {
			next = 0
		}
		in.limit = mibUp(max(next, in.limit*growth))
	}
	s.counts = in.counts
	return found
}

// inEffect judges the settings that the process has, in a container of limit.
func (s *search) inEffect(current pacer.Settings, limit float64) candidate {
	x := current
	x.ContainerLimitBytes = uint64(limit)
	x.GOMAXPROCS = 0 // as it was recorded, whatever the plan advises
	in := *s
	in.limit = limit
	c := in.judge([]pacer.Settings{x})[0]
	s.counts = in.counts
	if c.flaw == tooHigh && float64(x.GOMEMLIMITBytes) <= (1+keepSlack)*s.mem.goLimit(limit) {
		c.flaw = in.danger(c.f)
	}
	return c
}

// keeps reports whether the best is not worth a change.
func (s *search) keeps(now, best candidate, limit float64) bool {
	if now.flaw != fine || s.procs != 0 {
		return false
	}
	switch s.goal.Kind {
	case LeastMemory, Bound:
		return now.need-best.need <= keepMemory*now.need
	case Price:
		return now.score-best.score <= keepMemory*now.score
	}
	a, b := now.f.GCCPUCores, best.f.GCCPUCores
	gain := now.score - best.score
	overlap := a.Low <= high(b)
	return overlap && gain <= keepShare*now.score || gain <= keepCPU*(s.cpu+now.score)
}
