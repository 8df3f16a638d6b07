// Package control decides which GOGC and GOMEMLIMIT a process should have next,
// from what its collector did until now. It is a pure function of samples: it
// reads nothing, sets nothing and has no clock. Package memlimit takes the
// samples and carries out the decisions.
//
// The heap's runway E, what may be allocated between the end of one collection
// and the goal of the next, is what a setting comes to: collections cost C·a/E
// CPUs, where C is the CPU time of one and a the rate of allocation, and the heap
// peaks at live + E. The controller chooses E in bytes, for an Objective, and
// converts it by the live heap of each cycle into GOGC. The plant has no memory of
// its own, since E of the next cycle follows from GOGC at once, so that smoothing
// of the inputs and a dead band are all it needs not to oscillate.
//
// What it never does: it sets no GOMEMLIMIT above the ceiling that it is given; it
// raises nothing for a heap that only grows (a leak would eat any memory it is
// given); and it never lets GOMEMLIMIT press the runway below a floor, where the
// collector would run all the time (the GC storm), as long as there is memory under
// the ceiling. Past that it says so, in Mode: then only less work helps, not
// another setting.
package control

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// An Objective is what the settings are for. The zero Objective is the least GC
// CPU that the budget allows. With a bound it is the least memory that keeps it;
// with several bounds, that keeps them all.
type Objective struct {
	// GCCPURatio is how much of the CPUs that the process has the collector may
	// take, 0 to 1.
	GCCPURatio float64 `json:"gc_cpu_ratio,omitempty"`
	// AssistRatio is how much of the CPUs that the process has may go to mark
	// assists, 0 to 1: the time that the collector takes from goroutines that
	// allocate.
	AssistRatio float64 `json:"assist_ratio,omitempty"`
	// PauseP99 is the 99th percentile of stop-the-world pauses. A pause hardly
	// depends on the settings; how many there are does, so that more runway is
	// given as long as the percentile is above the bound, and it is no promise.
	PauseP99 time.Duration `json:"pause_p99_ns,omitempty"`
}

// A Config bounds the controller. Zero fields mean their defaults.
type Config struct {
	Objective Objective
	MinGOGC   int // percent; 25. Also the floor below which there is a GC storm
	MaxGOGC   int // percent; 1000
	// WarmUp is how long, and WarmUpCycles how many collections, are watched
	// before the first change of GOGC: 30 s and 5.
	WarmUp       time.Duration
	WarmUpCycles uint64
}

// ConfigError says what of a Config cannot be.
type ConfigError struct{ What string }

func (e *ConfigError) Error() string { return "memory controller: " + e.What }

// A Sample is the state of the process at an instant. Bytes, unless a name says
// otherwise. The cumulative fields count from the start of the process.
type Sample struct {
	At     time.Duration // monotonic, from any start
	Cycles uint64        // collections completed

	LiveBytes    uint64 // found alive by the last collection (/gc/heap/live:bytes)
	AllocBytes   uint64 // cumulative (/gc/heap/allocs:bytes)
	StackBytes   uint64 // scanned stack (/gc/scan/stack:bytes)
	GlobalsBytes uint64 // scanned globals (/gc/scan/globals:bytes)
	NonHeapBytes uint64 // what of the runtime's memory is not heap objects: total - released - objects

	// BudgetBytes is what Go may have in quiet times: the container's limit less
	// the memory that is not Go's and a reserve. CeilingBytes is what it may have
	// as a last resort, at least the budget.
	BudgetBytes, CeilingBytes int64

	GCCPU     time.Duration // cumulative CPU time of collections, corrected to the kernel's account
	AssistCPU time.Duration // cumulative, of those the assists
	Procs     float64       // CPUs that the process has
	PauseP99  time.Duration // of the last minute or so; 0 when there was none

	LimiterCycle uint64 // cycle in which the GC CPU limiter was last on (/gc/limiter/last-enabled:gc-cycle)

	GOGC       int   // as it is set now; -1 is off
	GOMEMLIMIT int64 // as it is set now; math.MaxInt64 is none
}

// A Mode says what the controller is doing.
type Mode string

const (
	WarmingUp Mode = "warming_up" // watches; GOGC stays
	Steady    Mode = "steady"     // holds the objective
	Pressed   Mode = "pressed"    // the budget is too small for the runway's floor: it uses what is under the ceiling
	Exhausted Mode = "exhausted"  // nor is there enough under the ceiling: settings do not help any more
	Leaking   Mode = "leaking"    // the live heap only grows: nothing is raised for it
)

// An Action is what to set, and why. GOGC and GOMEMLIMIT are always valid; Set
// says that one of them differs from what the sample had.
type Action struct {
	GOGC       int // percent
	GOMEMLIMIT int64
	Set        bool
	Mode       Mode
	Reason     string // "" when nothing changes

	// RunwayBytes is what GOGC and GOMEMLIMIT come to, and GCCPURatio the share of
	// the CPUs that collections are expected to take then, NaN where it is not
	// known yet.
	RunwayBytes int64
	GCCPURatio  float64
}

const (
	// deadBand is by what factor GOGC has to be wrong before it is touched: that
	// much it varies by itself, with the live heap.
	deadBand = 1.13
	// stepUp bounds one raise of GOGC, per collection. What lowers it is not bounded.
	stepUp = 1.25
	// headroom is what the runtime keeps of its limit (runtime/mgcpacer.go,
	// memoryLimitHeapGoalHeadroomPercent = 3).
	headroom = 0.97
	// limitBand is by how much the limit has to change to be raised. It is lowered at once.
	limitBand = 0.01
	// stormRatio of the CPUs in collections, for stormAfter, is a storm, whatever
	// the settings are.
	stormRatio = 0.25
	stormAfter = 10 * time.Second
	// calmAfter is how long a storm's measures stay after its last sign.
	calmAfter = 30 * time.Second

	rateTime = 30 * time.Second // of the smoothing of rates

	// The live heap leaks when it has grown steadily for leakTime, by leakGrowth,
	// in nearly all of its parts.
	leakTime   = 5 * time.Minute
	leakGrowth = 1.15
	leakParts  = 10

	// GOGC is changed when that many collections in a row asked for it: GOMEMLIMIT is
	// what bounds memory at once, so that GOGC has the time to be sure.
	persistDown, persistUp = 6, 20

	// The live heap is taken for what it was at most in so many collections, where
	// memory is at stake.
	peaks = 32
)

// A Controller remembers what it needs of earlier samples: a few hundred bytes.
// It is not safe for concurrent use.
type Controller struct {
	conf Config

	first, last Sample
	started     bool

	alloc  ewma // bytes per second
	cost   ewma // seconds of CPU per collection
	costs  [3]float64
	share  ewma // of the CPUs in collections
	assist ewma
	live   ewma // bytes
	lives  [peaks]float64
	seen   int
	askUp  int // how many collections in a row asked for a higher GOGC
	askLow int
	asked  uint64 // the collection that last did

	runway    float64 // the bounds' own, found by trying: assists and pauses
	tried     time.Duration
	stormFrom time.Duration // a storm's first sign; -1 is none
	calmAt    time.Duration // when its measures may end; -1 is none
	leak      leak
}

// New returns a controller, or a ConfigError.
func New(c Config) (*Controller, error) {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.MinGOGC, 25)
	set(&c.MaxGOGC, max(1000, c.MinGOGC))
	if c.WarmUp == 0 {
		c.WarmUp = 30 * time.Second
	}
	if c.WarmUpCycles == 0 {
		c.WarmUpCycles = 5
	}
	o := c.Objective
	share := func(v float64) bool { return v >= 0 && v <= 1 } // false for NaN
	switch {
	case c.MinGOGC < 5 || c.MaxGOGC > 100_000 || c.MinGOGC > c.MaxGOGC:
		return nil, &ConfigError{fmt.Sprintf("GOGC may be between 5 and 100000, the least no more than the most; it is to be between %d and %d", c.MinGOGC, c.MaxGOGC)}
	case !share(o.GCCPURatio) || !share(o.AssistRatio):
		return nil, &ConfigError{fmt.Sprintf("a bound is a share of the CPUs, 0 to 1; they are %v and %v", o.GCCPURatio, o.AssistRatio)}
	case o.PauseP99 < 0 || c.WarmUp < 0:
		return nil, &ConfigError{"a time is negative"}
	}
	return &Controller{conf: c, stormFrom: -1, calmAt: -1}, nil
}

// Step takes a sample and says what to set. Samples may come more often than
// collections; those in between bring a changed budget to effect. A sample that
// cannot follow the last one, as one whose counters went backwards, changes
// nothing but a GOMEMLIMIT above the ceiling.
func (c *Controller) Step(s Sample) Action {
	s.BudgetBytes = max(s.BudgetBytes, 1)
	s.CeilingBytes = max(s.CeilingBytes, s.BudgetBytes)
	if !(s.Procs > 0) || math.IsInf(s.Procs, 0) {
		s.Procs = 1
	}
	switch {
	case !c.started:
		c.started, c.first, c.last = true, s, s
		c.leak.restart(s.At)
	case s.At < c.last.At || s.Cycles < c.last.Cycles || s.AllocBytes < c.last.AllocBytes || s.GCCPU < c.last.GCCPU || s.AssistCPU < c.last.AssistCPU:
		c.started, c.first, c.last = true, s, s
		c.leak.restart(s.At)
		c.stormFrom, c.calmAt = -1, -1
	case s.Cycles > c.last.Cycles && s.At > c.last.At:
		c.learn(s)
		c.last = s
	}
	return c.decide(s)
}

// learn takes in what happened between the last collection and this one.
func (c *Controller) learn(s Sample) {
	dt := max(s.At-c.last.At, 1) // an overflow is no time
	n := float64(s.Cycles - c.last.Cycles)
	weight := 1 - math.Exp(-dt.Seconds()/rateTime.Seconds())
	c.alloc.add(float64(s.AllocBytes-c.last.AllocBytes)/dt.Seconds(), weight)
	gc := (s.GCCPU - c.last.GCCPU).Seconds()
	c.share.add(gc/dt.Seconds()/s.Procs, weight)
	c.assist.add((s.AssistCPU-c.last.AssistCPU).Seconds()/dt.Seconds()/s.Procs, weight)
	// The median of three takes out what one collection had to wait for.
	copy(c.costs[:], c.costs[1:])
	c.costs[2] = gc / n
	if c.costs[0] > 0 {
		m := c.costs
		slices.Sort(m[:])
		c.cost.add(m[1], 0.1)
	}
	c.live.add(float64(s.LiveBytes), 0.2)
	c.lives[c.seen%peaks] = float64(s.LiveBytes)
	c.seen++
	c.leak.add(s.At, float64(s.LiveBytes))

	storm := s.LimiterCycle > c.last.LimiterCycle || gc/dt.Seconds()/s.Procs > stormRatio
	switch {
	case !storm:
		c.stormFrom = -1
	case c.stormFrom < 0:
		c.stormFrom = c.last.At
	}
	if s.LimiterCycle > c.last.LimiterCycle || c.stormFrom >= 0 && s.At-c.stormFrom >= stormAfter {
		c.calmAt = s.At + calmAfter
	}
}

// stormy reports whether measures against a storm are due: for a while after one
// was seen, and as long as it would come back with no more than the budget.
func (c *Controller) stormy(s Sample) bool {
	if c.calmAt < 0 {
		return false
	}
	if s.At >= c.calmAt {
		e := s.within(s.BudgetBytes, c.most(&s))
		if c.cost.n == 0 || e > 0 && c.cost.v*c.alloc.v/e/s.Procs < 0.7*stormRatio {
			c.calmAt = -1
		}
	}
	return c.calmAt >= 0
}

// base is what GOGC is a percentage of.
func (s *Sample) base(live float64) float64 {
	return max(1, live+float64(s.StackBytes)+float64(s.GlobalsBytes))
}

// within is the runway that a memory limit leaves.
func (s *Sample) within(limit int64, live float64) float64 {
	return headroom*(float64(limit)-float64(s.NonHeapBytes)) - live
}

// limitFor is the memory limit that leaves a runway.
func (s *Sample) limitFor(runway, live float64) float64 {
	return float64(s.NonHeapBytes) + (live+runway)/headroom
}

// usual and most are the live heap, smoothed, and at its peak of late.
func (c *Controller) usual(s *Sample) float64 {
	if c.live.n == 0 {
		return float64(s.LiveBytes)
	}
	return c.live.v
}

func (c *Controller) most(s *Sample) float64 {
	return max(float64(s.LiveBytes), slices.Max(c.lives[:]))
}

func (c *Controller) decide(s Sample) Action {
	base, most := s.base(c.usual(&s)), c.most(&s)
	floor := base * float64(c.conf.MinGOGC) / 100
	roof := min(base*float64(c.conf.MaxGOGC)/100, max(floor, s.within(s.BudgetBytes, most)))
	a := Action{Mode: Steady, GOGC: s.GOGC, GOMEMLIMIT: s.GOMEMLIMIT, GCCPURatio: math.NaN()}

	// The limit first: it is the budget, or what keeps the runway's floor.
	limit := s.BudgetBytes
	leaking := c.leak.found
	need, stormy := s.limitFor(floor, most), c.stormy(s)
	if need > float64(limit) {
		a.Mode = Pressed
		if need > float64(s.CeilingBytes) {
			a.Mode = Exhausted
		}
	}
	if a.Mode != Steady || stormy {
		if stormy { // whatever it comes from, more room is what helps
			need = float64(s.CeilingBytes)
			roof = min(base*float64(c.conf.MaxGOGC)/100, max(floor, s.within(s.CeilingBytes, most)))
		}
		if need >= float64(s.CeilingBytes) { // which a float may not hold exactly
			limit = s.CeilingBytes
		} else {
			limit = max(limit, int64(need))
		}
	}
	warm := s.At-c.first.At >= c.conf.WarmUp && s.Cycles-c.first.Cycles >= c.conf.WarmUpCycles && c.cost.n > 0
	switch {
	case a.Mode != Steady:
	case leaking:
		a.Mode = Leaking
	case !warm:
		a.Mode = WarmingUp
	}
	a.GOMEMLIMIT = c.limit(s, limit)

	// Then the runway.
	now := float64(s.GOGC)
	if s.GOGC < 0 || s.GOGC > c.conf.MaxGOGC {
		now = float64(c.conf.MaxGOGC)
	}
	want := now
	switch a.Mode {
	case Pressed, Exhausted:
		// Short of memory, the least garbage that is no storm.
		want = float64(c.conf.MinGOGC)
	case Leaking:
		want = min(now, 100*roof/base)
	case WarmingUp:
	default:
		want = 100 * min(max(c.wanted(s, roof), floor), roof) / base
	}
	want = min(max(want, float64(c.conf.MinGOGC)), float64(c.conf.MaxGOGC))
	a.GOGC = int(now)
	switch {
	case a.Mode == WarmingUp:
		a.GOGC = s.GOGC // whatever it is
	case c.persists(s, want, now, a.Mode):
		if want > now {
			want = min(want, max(now*stepUp, now+1))
		}
		a.GOGC = int(math.Round(want))
		c.askUp, c.askLow = 0, 0
	}
	c.explain(&a, s)
	return a
}

// persists reports whether GOGC is to change now.
func (c *Controller) persists(s Sample, want, now float64, m Mode) bool {
	if s.Cycles == c.asked {
		return false
	}
	c.asked = s.Cycles
	switch {
	case want > now*deadBand:
		c.askUp, c.askLow = c.askUp+1, 0
	case want < now/deadBand:
		c.askUp, c.askLow = 0, c.askLow+1
	default:
		c.askUp, c.askLow = 0, 0
	}
	return c.askUp >= persistUp || c.askLow >= persistDown || c.askLow > 0 && m == Exhausted
}

// wanted is the runway that the objective asks for, in bytes.
func (c *Controller) wanted(s Sample, roof float64) float64 {
	o := c.conf.Objective
	if o == (Objective{}) {
		return roof
	}
	e := 0.0
	if o.GCCPURatio > 0 {
		e = c.cost.v * c.alloc.v / (o.GCCPURatio * s.Procs)
	}
	if o.AssistRatio > 0 || o.PauseP99 > 0 {
		e = max(e, c.try(s, roof))
	}
	return e
}

// try finds the runway for bounds of which no formula is known: up while one is
// not kept, down while all are kept with a factor of two to spare. What lies
// between stays, and a step is far smaller than that band, so that it rests.
func (c *Controller) try(s Sample, roof float64) float64 {
	const wait = 10 * time.Second
	o := c.conf.Objective
	if c.runway == 0 {
		c.runway, c.tried = s.base(c.usual(&s)), s.At // GOGC=100
	}
	if s.At-c.tried < wait {
		return c.runway
	}
	c.tried = s.At
	over := o.AssistRatio > 0 && c.assist.v > o.AssistRatio || o.PauseP99 > 0 && s.PauseP99 > o.PauseP99
	under := (o.AssistRatio == 0 || c.assist.v < o.AssistRatio/2) && (o.PauseP99 == 0 || s.PauseP99 < o.PauseP99/2)
	switch {
	case over:
		c.runway *= 1.25
	case under:
		c.runway *= 0.92
	}
	c.runway = min(max(c.runway, s.base(c.usual(&s))*float64(c.conf.MinGOGC)/100), roof)
	return c.runway
}

// limit lowers at once, and raises by no less than its band.
func (c *Controller) limit(s Sample, want int64) int64 {
	switch {
	case s.GOMEMLIMIT > s.CeilingBytes, want < s.GOMEMLIMIT, s.GOMEMLIMIT <= 0:
		return want
	case float64(want-s.GOMEMLIMIT) > limitBand*float64(want):
		return want
	}
	return s.GOMEMLIMIT
}

// explain fills in what the settings come to.
func (c *Controller) explain(a *Action, s Sample) {
	a.Set = a.GOGC != s.GOGC || a.GOMEMLIMIT != s.GOMEMLIMIT
	e := s.within(a.GOMEMLIMIT, float64(s.LiveBytes))
	if a.GOGC >= 0 {
		e = min(e, s.base(float64(s.LiveBytes))*float64(a.GOGC)/100)
	}
	a.RunwayBytes = int64(max(0, e))
	if c.cost.n > 0 && e > 0 {
		a.GCCPURatio = c.cost.v * c.alloc.v / e / s.Procs
	}
	if !a.Set {
		return
	}
	switch a.Mode {
	case Pressed:
		a.Reason = "the budget leaves the collector less than its floor: memory that was kept in reserve is used, and garbage is kept least"
	case Exhausted:
		a.Reason = "what lives fills what there is under the ceiling: no setting helps, only less work or more memory"
	case Leaking:
		a.Reason = "the live heap only grows: it is not given more"
	case WarmingUp:
		a.Reason = "the memory limit follows the budget"
	default:
		switch {
		case a.GOGC > s.GOGC && s.GOGC >= 0:
			a.Reason = "more memory is to be had, or the bound is not kept"
		case a.GOGC != s.GOGC:
			a.Reason = "the budget or the bound asks for less"
		default:
			a.Reason = "the memory limit follows the budget"
		}
	}
}

// An ewma is a mean that forgets.
type ewma struct {
	v float64
	n int
}

func (e *ewma) add(v, weight float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return
	}
	if e.n == 0 {
		weight = 1
	}
	e.v += weight * (v - e.v)
	e.n++
}
