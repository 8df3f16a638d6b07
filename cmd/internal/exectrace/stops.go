package exectrace

import (
	"golang.org/x/exp/trace"
)

// A stop is the one that is under way. The range in the trace is from the request
// to the restart (runtime/proc.go, stopTheWorldWithSema and startTheWorldWithSema,
// Go 1.22 to 1.27); all Ps stand still when the last that ran has been given up.
type stop struct {
	reason  string
	gc      bool
	begin   trace.Time
	by      *goroutine
	from    trace.Stack
	pending int
	// When the last and the last but one of the Ps stood still, and the last.
	last, before trace.Time
	late         *proc
	lateStack    trace.Stack
}

type stopKind struct {
	gc              bool
	whole, stopping spread
	from            *where // of the longest
}

// late is what is not the usual time to stop, in ns: infoStopping.
const late = 1e9 * infoStopping

type culprit struct {
	at       *where
	kind     string
	n, late  int
	sum, max int64
}

// stopRange takes the begin or end of a stop of the world.
func (c *collector) stopRange(e *trace.Event, reason string, begin bool) {
	by := c.gs[e.Goroutine()]
	if begin {
		if c.stop != nil || e.Kind() == trace.EventRangeActive {
			return
		}
		s := &stop{reason: reason, gc: reason == stopSweepTerm || reason == stopMarkTerm, begin: c.now, by: by, from: e.Stack(), last: c.now, before: c.now}
		own := c.ps[e.Proc()]
		for _, p := range c.ps {
			p.pending = p.running && p != own
			if p.pending {
				p.asked, p.sample = p.g, trace.NoStack
				s.pending++
			}
		}
		c.stop = s
		if by != nil && s.gc {
			c.change(by, func() { by.stopping = true })
		}
		return
	}
	s := c.stop
	if s == nil || s.reason != reason {
		return
	}
	c.stop = nil
	if g := s.by; g != nil && g.stopping {
		c.change(g, func() { g.stopping = false })
	}
	k := c.stopKinds[reason]
	if k == nil {
		if len(c.stopKinds) >= 64 { // the runtime has some twenty reasons
			return
		}
		k = &stopKind{gc: s.gc}
		c.stopKinds[reason] = k
	}
	whole := int64(c.now - s.begin)
	if whole > k.whole.max {
		k.from = c.where(s.from)
	}
	k.whole.add(whole)
	one := Stop{At: seconds(int64(s.begin - c.begin)), Reason: reason, Seconds: seconds(whole), Stopping: -1}
	if s.pending == 0 {
		k.stopping.add(int64(s.last - s.begin))
		one.Stopping = seconds(int64(s.last - s.begin))
		if s.late != nil {
			one.Culprit = c.lateness(s)
		}
	} else {
		c.unseenStops++
	}
	for _, p := range c.ps {
		p.pending, p.asked = false, nil
	}
	c.worstStops = keep(c.worstStops, keptStops, one, func(s *Stop) float64 { return s.Seconds })
}

// stopped notes that a P stands still.
func (c *collector) stopped(p *proc) {
	s := c.stop
	if s == nil || !p.pending {
		return
	}
	p.pending = false
	s.pending--
	s.before, s.last, s.late, s.lateStack = s.last, c.now, p, trace.NoStack
	if p.last == p.asked {
		s.lateStack = p.lastStack
	}
	if p.sample != trace.NoStack {
		s.lateStack = p.sample
	}
}

// sampled notes where a goroutine was that a stop waits for. Samples are in a trace
// if a CPU profile was taken at the same time; they tell more than where it stopped
// in the end.
func (c *collector) sampled(e *trace.Event) {
	if c.stop == nil {
		return
	}
	if g := c.gs[e.Goroutine()]; g != nil && g.proc != nil && g.proc.pending && g.proc.asked == g {
		g.proc.sample = e.Stack()
	}
}

// lateness says who was the last to stop, and counts it.
func (c *collector) lateness(s *stop) *Last {
	alone := int64(s.last - s.before)
	l := &Last{Kind: schedulerKind, Alone: seconds(alone)}
	if g := s.late.asked; g != nil {
		l.Goroutine, l.Kind = int64(g.id), unknownKind
		if g.kind != nil {
			l.Kind = g.kind.name
		}
	}
	w := c.where(s.lateStack)
	key := "\x00" + l.Kind
	if w != nil {
		l.Stack = w.frames
		f := w.user()
		key = f.Func
	}
	cu := c.culprits[key]
	if cu == nil {
		if len(c.culprits) >= maxCulprits {
			return l
		}
		cu = &culprit{}
		c.culprits[key] = cu
	}
	cu.n++
	if float64(alone) >= late {
		cu.late++
	}
	cu.sum += alone
	if alone >= cu.max {
		cu.max, cu.at, cu.kind = alone, w, l.Kind
	}
	return l
}

// A cycleStart is where the sums were when marking began.
type cycleStart struct {
	at    trace.Time
	total sums
	whole bool // its begin is in the trace
}

// mark takes the begin or end of a mark phase.
func (c *collector) mark(begin, active bool) {
	if c.marking == begin {
		return
	}
	c.marking = begin
	if begin {
		at := c.now
		if active {
			at = c.begin
		}
		c.cycle = &cycleStart{at: at, total: c.total, whole: !active}
		return
	}
	s := c.cycle
	c.cycle = nil
	c.cycleN++
	if !s.whole {
		return
	}
	a, b := &s.total, &c.total
	dur := int64(c.now - s.at)
	c.cycleSpread.add(dur)
	one := Cycle{
		At: seconds(int64(s.at - c.begin)), Mark: seconds(dur),
		Dedicated:  seconds(b.worker[dedicated] - a.worker[dedicated]),
		Fractional: seconds(b.worker[fractional] - a.worker[fractional]),
		Idle:       seconds(b.worker[idle] - a.worker[idle]),
		Assist:     seconds(b.assist - a.assist),
		Taken:      seconds(b.taken + b.takenIdle - a.taken - a.takenIdle),
	}
	if p := one.Mark * float64(c.gomaxprocs); p > 0 {
		marked := one.Dedicated + one.Fractional + one.Idle + one.Assist
		one.CPU = min(marked/p, 1)
		c.markCPU += marked
		c.markP += p
	}
	c.cycles = keep(c.cycles, keptCycles, one, func(c *Cycle) float64 { return c.Mark })
}
