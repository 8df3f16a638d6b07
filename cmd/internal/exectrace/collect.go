package exectrace

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/exp/trace"
)

// Names of ranges, of labels and of reasons to block, as the reader and the runtime
// have them (internal/trace/event.go and runtime/traceruntime.go, Go 1.22 to 1.27).
const (
	rangeMark   = "GC concurrent mark phase"
	rangeSweep  = "GC incremental sweep"
	rangeAssist = "GC mark assist"
	rangeStop   = "stop-the-world ("

	stopSweepTerm = "GC sweep termination"
	stopMarkTerm  = "GC mark termination"

	metricProcs = "/sched/gomaxprocs:threads"
	metricHeap  = "/memory/classes/heap/objects:bytes"
	metricGoal  = "/gc/heap/goal:bytes"
)

// blockedByGC are the reasons for which a goroutine waits for the collector: credit
// for its assist, the end of marking for a weak pointer, and "preempted", which is a
// goroutine that is held while its stack is scanned. One that waits "until GC ends"
// has called runtime.GC, and gets what it asked for.
var blockedByGC = map[string]bool{
	"GC mark assist wait for work": true,
	"GC weak to strong wait":       true,
	"preempted":                    true,
}

// A mode is how a mark worker works.
type mode int8

const (
	notWorking mode = iota
	dedicated
	fractional
	idle
	modes
)

// workerModes are the labels of mark workers (runtime/trace.go,
// gcMarkWorkerModeStrings).
var workerModes = map[string]mode{"GC (dedicated)": dedicated, "GC (fractional)": fractional, "GC (idle)": idle}

const (
	maxProcs      = 1 << 12 // more than any machine has CPUs: all are looked at when the world stops
	maxTasks      = 1 << 20
	maxKinds      = 2048
	maxTaskTypes  = 512
	maxPlaces     = 64 // of a kind
	maxCulprits   = 4096
	maxNesting    = 64 // of tasks and regions in a goroutine
	keptStops     = 20
	keptCycles    = 20
	keptRoutines  = 20
	keptTasks     = 5
	keptCulprits  = 20
	keptKinds     = 50
	keptPlaces    = 5
	otherKinds    = "others"
	unknownKind   = "unknown"
	schedulerKind = "scheduler"
)

// A proc is a P.
type proc struct {
	running bool
	g       *goroutine // that runs or is in a system call on it
	// The goroutine that left it last, and where.
	last      *goroutine
	lastStack trace.Stack
	pending   bool // a stop of the world waits for it
	asked     *goroutine
	sample    trace.Stack // where a CPU profile saw that one meanwhile
}

// A goroutine is one that lives.
type goroutine struct {
	id      trace.GoID
	state   trace.GoState
	since   trace.Time // until when it is accounted for
	kind    *kind
	proc    *proc
	system  bool // one of the runtime's own
	mode    mode // while it runs
	gcBlock bool // waits for the collector

	assist    bool
	assistAt  trace.Time
	place     *place
	stopping  bool // it has stopped the world for GC
	sweeping  bool
	sweepAt   trace.Time
	ready     trace.Time // since when it is runnable
	readyMark bool       // marking was on then

	// The sums of the collector at since.
	stopped int64
	held    float64

	running, runnable, syscall int64
	cost                       cost

	tasks   []*task // begun by it, the innermost last
	regions []*task // nil for a region of no task
	task    *task   // that it works for
}

// A cost is a Cost in ns.
type cost struct{ assist, blocked, sweep, stopped, delayed int64 }

func (c *cost) add(d cost) {
	c.assist += d.assist
	c.blocked += d.blocked
	c.sweep += d.sweep
	c.stopped += d.stopped
	c.delayed += d.delayed
}

func (c cost) total() int64 { return c.assist + c.blocked + c.sweep + c.stopped + c.delayed }

func (c cost) report() Cost {
	return Cost{Assist: seconds(c.assist), Blocked: seconds(c.blocked), Sweep: seconds(c.sweep), Stopped: seconds(c.stopped), Delayed: seconds(c.delayed)}
}

// A kind are goroutines that were started with the same function.
type kind struct {
	name, createdBy            string
	n                          int
	running, runnable, syscall int64
	cost                       cost
	assists, delay             spread
	places                     map[string]*place
}

// A place is where assists began.
type place struct {
	at  *where
	n   int
	sum int64
}

// sums are integrals over time: of P-ns, or goroutine-ns.
type sums struct {
	marking     int64
	stopped     int64 // ns in which the world was stopping or stopped for GC
	stoppedP    int64
	user        int64
	system      int64
	assist      int64
	sweep       int64
	worker      [modes]int64
	held        float64 // see Cost.Delayed
	taken       int64
	takenIdle   int64
	waitMarking int64 // runnable goroutines
	waitOther   int64
}

// A collector takes the events of a trace in their order.
type collector struct {
	started    bool
	begin, now trace.Time
	events     int64

	gs        map[trace.GoID]*goroutine
	ps        map[trace.ProcID]*proc
	kinds     map[string]*kind
	overflow  *kind
	maxG      int
	tasks     map[trace.TaskID]*task
	taskTypes map[string]*taskType
	stacks    map[trace.Stack]*where
	wheres    *interner

	gomaxprocs int
	// How many there are now.
	workers  [modes]int
	systems  int // other goroutines of the runtime that run
	users    int // all others that run
	assists  int // of them in an assist
	sweeps   int
	runnable int
	procs    int // that run
	marking  bool
	stop     *stop

	total sums

	assistSpread, sweepSpread       spread
	swept, reclaimed                uint64
	delay, delayMarking, delayOther spread
	assistBlocked                   int64
	stopKinds                       map[string]*stopKind
	worstStops                      []Stop
	culprits                        map[string]*culprit
	unseenStops                     int
	cycle                           *cycleStart
	cycleN                          int
	cycleSpread                     spread
	cycles                          []Cycle
	markCPU, markP                  float64
	heapMax, heap, goal             uint64
	routines                        []Goroutine
	timeline                        timeline
}

func newCollector(maxGoroutines int) *collector {
	return &collector{
		gs: map[trace.GoID]*goroutine{}, ps: map[trace.ProcID]*proc{}, kinds: map[string]*kind{},
		tasks: map[trace.TaskID]*task{}, taskTypes: map[string]*taskType{}, stacks: map[trace.Stack]*where{},
		wheres: newInterner(), stopKinds: map[string]*stopKind{}, culprits: map[string]*culprit{}, maxG: maxGoroutines,
	}
}

// take takes the next event. An error is one that ends the reading: the trace has
// more of something than is kept.
func (c *collector) take(e *trace.Event) error {
	c.events++
	t := e.Time()
	if e.Kind() == trace.EventSync {
		// Stacks belong to a generation.
		clear(c.stacks)
		if !c.started {
			c.started, c.begin, c.now = true, t, t
		}
		c.advance(t)
		return nil
	}
	if !c.started {
		c.started, c.begin, c.now = true, t, t
	}
	c.advance(t)
	switch e.Kind() {
	case trace.EventStateTransition:
		s := e.StateTransition()
		switch s.Resource.Kind {
		case trace.ResourceGoroutine:
			return c.goroutine(e, &s)
		case trace.ResourceProc:
			return c.proc(e, &s)
		}
	case trace.EventRangeBegin, trace.EventRangeActive, trace.EventRangeEnd:
		c.ranged(e)
	case trace.EventLabel:
		l := e.Label()
		if m := workerModes[l.Label]; m != notWorking {
			c.label(l.Resource.Goroutine(), m)
		}
	case trace.EventMetric:
		c.metric(e.Metric())
	case trace.EventStackSample:
		c.sampled(e)
	case trace.EventTaskBegin:
		return c.taskBegin(e)
	case trace.EventTaskEnd:
		c.taskEnd(e.Task().ID)
	case trace.EventRegionBegin:
		c.regionBegin(e.Goroutine(), e.Region().Task)
	case trace.EventRegionEnd:
		c.regionEnd(e.Goroutine())
	}
	return nil
}

// advance brings the sums to a time.
func (c *collector) advance(t trace.Time) {
	if t <= c.now {
		return
	}
	dt := int64(t - c.now)
	s := &c.total
	taking := c.workers[dedicated] + c.workers[fractional]
	stopped := c.stop != nil && c.stop.gc
	if c.marking {
		s.marking += dt
		s.waitMarking += dt * int64(c.runnable)
	} else {
		s.waitOther += dt * int64(c.runnable)
	}
	if stopped {
		s.stopped += dt
		// The Ps that stand still, and the one that has the world stopped.
		s.stoppedP += dt * int64(max(c.gomaxprocs-c.procs+1, 0))
	} else if n := c.runnable; n > 0 {
		taken := min(taking, n)
		takenIdle := min(c.workers[idle], n-taken)
		s.taken += dt * int64(taken)
		s.takenIdle += dt * int64(takenIdle)
		s.held += float64(dt) * float64(taken+takenIdle) / float64(n)
	}
	for m := dedicated; m < modes; m++ {
		s.worker[m] += dt * int64(c.workers[m])
	}
	s.user += dt * int64(c.users)
	s.system += dt * int64(c.systems)
	s.assist += dt * int64(c.assists)
	s.sweep += dt * int64(c.sweeps)
	step := Step{Worker: seconds(dt * int64(taking+c.workers[idle])), Assist: seconds(dt * int64(c.assists)), Runnable: seconds(dt * int64(c.runnable)), Heap: c.heap}
	if c.marking {
		step.Marking = seconds(dt)
	}
	if stopped {
		step.Stopped = seconds(dt)
	}
	c.timeline.add(int64(c.now-c.begin), dt, step)
	c.now = t
}

// count adds a goroutine to what there is now, or takes it away.
func (c *collector) count(g *goroutine, by int) {
	switch {
	case g.state == trace.GoRunnable && !g.system:
		c.runnable += by
	case g.state != trace.GoRunning || g.stopping: // the P of the stopper is in stoppedP
	case g.mode != notWorking:
		c.workers[g.mode] += by
	case g.system:
		c.systems += by
	default:
		c.users += by
		switch {
		case g.sweeping:
			c.sweeps += by
		case g.assist:
			c.assists += by
		}
	}
}

// settle accounts for the time since g was last looked at.
func (c *collector) settle(g *goroutine) {
	dt := int64(c.now - g.since)
	stopped, held := c.total.stopped-g.stopped, c.total.held-g.held
	g.since, g.stopped, g.held = c.now, c.total.stopped, c.total.held
	if dt <= 0 {
		return
	}
	var d cost
	switch g.state {
	case trace.GoRunning:
		g.running += dt
		switch {
		case g.stopping:
			d.stopped = dt
		case g.sweeping:
			d.sweep = dt
		case g.assist:
			d.assist = dt
		}
	case trace.GoRunnable:
		g.runnable += dt
		d.stopped = min(stopped, dt)
		d.delayed = min(int64(held), dt-d.stopped)
		if g.assist {
			d.blocked = dt - d.stopped - d.delayed
		}
	case trace.GoWaiting:
		if g.gcBlock || g.assist {
			d.blocked = dt
		}
	case trace.GoSyscall:
		g.syscall += dt
	}
	if g.system {
		return
	}
	if g.assist {
		c.assistBlocked += d.blocked
	}
	g.cost.add(d)
	if g.task != nil {
		g.task.cost.add(d)
	}
}

// change settles g, and counts it as what f makes of it.
func (c *collector) change(g *goroutine, f func()) {
	c.settle(g)
	c.count(g, -1)
	f()
	c.count(g, 1)
}

var errGoroutines = errors.New("more goroutines live at a time than are followed")

// of returns the goroutine, which comes to be known if it was not. It is in the
// state that the event says it was in since the trace began; what GC cost it before
// now is not charged.
func (c *collector) of(id trace.GoID, state trace.GoState) (*goroutine, error) {
	if g := c.gs[id]; g != nil {
		return g, nil
	}
	if len(c.gs) >= c.maxG {
		return nil, fmt.Errorf("%w: %d", errGoroutines, c.maxG)
	}
	g := &goroutine{id: id, state: state, since: c.begin, ready: c.begin, stopped: c.total.stopped, held: c.total.held}
	c.gs[id] = g
	c.count(g, 1)
	return g, nil
}

// goroutine takes the transition of a goroutine.
func (c *collector) goroutine(e *trace.Event, s *trace.StateTransition) error {
	id := s.Resource.Goroutine()
	from, to := s.Goroutine()
	switch from {
	case trace.GoUndetermined:
		from = to
	case trace.GoNotExist:
		g, err := c.of(id, trace.GoNotExist)
		if err != nil {
			return err
		}
		g.since = c.now
		c.created(g, e, s)
	}
	g, err := c.of(id, from)
	if err != nil {
		return err
	}
	if g.kind == nil {
		c.learn(g, s.Stack)
	}
	if from == to {
		if to.Executing() && g.proc == nil {
			c.place(g, e.Proc())
		}
		return nil
	}
	p := g.proc
	c.change(g, func() {
		g.state = to
		g.gcBlock = false
		switch to {
		case trace.GoRunnable:
			g.ready, g.readyMark = c.now, c.marking
		case trace.GoWaiting:
			g.gcBlock = blockedByGC[s.Reason]
		}
		if to != trace.GoRunning {
			g.mode = notWorking
		}
	})
	switch {
	case to == trace.GoRunning && from == trace.GoRunnable:
		c.waited(g)
		c.place(g, e.Proc())
	case to.Executing():
		if p == nil || e.Proc() != trace.NoProc && c.ps[e.Proc()] != p {
			c.place(g, e.Proc())
		}
	default:
		if p != nil {
			if p.g == g {
				p.g, p.last, p.lastStack = nil, g, s.Stack
			}
			g.proc = nil
		}
	}
	if to == trace.GoNotExist {
		c.ended(g)
	}
	return nil
}

// place puts a goroutine onto a P.
func (c *collector) place(g *goroutine, id trace.ProcID) {
	if p := c.ps[id]; p != nil {
		p.g, g.proc = g, p
	}
}

// waited counts the time from runnable to running.
func (c *collector) waited(g *goroutine) {
	if g.system {
		return
	}
	d := int64(c.now - g.ready)
	c.delay.add(d)
	if g.readyMark {
		c.delayMarking.add(d)
	} else {
		c.delayOther.add(d)
	}
	if g.kind != nil {
		g.kind.delay.add(d)
	}
}

// created says what a new goroutine is.
func (c *collector) created(g *goroutine, e *trace.Event, s *trace.StateTransition) {
	c.learn(g, s.Stack)
	if g.kind != nil && g.kind.createdBy == "" {
		if w := c.where(e.Stack()); w != nil {
			g.kind.createdBy = w.user().Func
		}
	}
}

// learn takes what a goroutine was started with from the root of one of its stacks.
func (c *collector) learn(g *goroutine, s trace.Stack) {
	w := c.where(s)
	if w == nil || w.root == "" {
		return
	}
	c.change(g, func() { g.kind, g.system = c.kindOf(w.root), system(w.root) })
}

func (c *collector) kindOf(name string) *kind {
	if k := c.kinds[name]; k != nil {
		return k
	}
	if len(c.kinds) >= maxKinds {
		if c.overflow == nil {
			c.overflow = &kind{name: otherKinds, places: map[string]*place{}}
		}
		return c.overflow
	}
	k := &kind{name: name, places: map[string]*place{}}
	c.kinds[name] = k
	return k
}

// ended folds a goroutine into its kind.
func (c *collector) ended(g *goroutine) {
	c.settle(g)
	c.count(g, -1)
	delete(c.gs, g.id)
	if g.proc != nil && g.proc.g == g {
		g.proc.g = nil
	}
	c.work(g, nil)
	c.fold(g)
}

func (c *collector) fold(g *goroutine) {
	k := g.kind
	if k == nil {
		k = c.kindOf(unknownKind)
	}
	k.n++
	k.running += g.running
	k.runnable += g.runnable
	k.syscall += g.syscall
	k.cost.add(g.cost)
	if g.system || g.cost.total() == 0 {
		return
	}
	c.routines = keep(c.routines, keptRoutines, Goroutine{
		ID: int64(g.id), Kind: k.name, Running: seconds(g.running), Runnable: seconds(g.runnable), Cost: g.cost.report(),
	}, func(g *Goroutine) float64 { return g.Cost.Total() })
}

// proc takes the transition of a P.
func (c *collector) proc(e *trace.Event, s *trace.StateTransition) error {
	id := s.Resource.Proc()
	_, to := s.Proc()
	p := c.ps[id]
	if p == nil {
		if len(c.ps) >= maxProcs {
			return fmt.Errorf("more than %d Ps", maxProcs)
		}
		p = &proc{}
		c.ps[id] = p
	}
	running := to == trace.ProcRunning
	if running == p.running {
		return nil
	}
	p.running = running
	if running {
		c.procs++
		return nil
	}
	c.procs--
	if g := p.g; g != nil { // its P was taken while it is in a system call
		p.last, p.lastStack, p.g, g.proc = g, trace.NoStack, nil, nil
	}
	c.stopped(p)
	return nil
}

// label says that a goroutine is a mark worker that has begun to work.
func (c *collector) label(id trace.GoID, m mode) {
	g := c.gs[id]
	if g == nil {
		return
	}
	c.change(g, func() { g.system, g.mode = true, m })
}

func (c *collector) metric(m trace.Metric) {
	if m.Value.Kind() != trace.ValueUint64 {
		return
	}
	v := m.Value.Uint64()
	switch m.Name {
	case metricProcs:
		c.gomaxprocs = int(min(v, maxProcs))
	case metricHeap:
		c.heap = v
		c.heapMax = max(c.heapMax, v)
	case metricGoal:
		c.goal = v
	}
}

// ranged takes the begin or the end of a range.
func (c *collector) ranged(e *trace.Event) {
	r := e.Range()
	begin := e.Kind() != trace.EventRangeEnd
	switch r.Name {
	case rangeMark:
		c.mark(begin, e.Kind() == trace.EventRangeActive)
	case rangeAssist:
		if g := c.gs[r.Scope.Goroutine()]; g != nil && g.assist != begin {
			c.assisted(g, e, begin)
		}
	case rangeSweep:
		c.sweep(e, begin)
	default:
		if reason, ok := strings.CutPrefix(r.Name, rangeStop); ok {
			c.stopRange(e, strings.TrimSuffix(reason, ")"), begin)
		}
	}
}

// assisted takes the begin or end of an assist.
func (c *collector) assisted(g *goroutine, e *trace.Event, begin bool) {
	c.change(g, func() { g.assist = begin })
	if begin {
		g.assistAt, g.place = c.now, nil
		if e.Kind() == trace.EventRangeActive {
			return
		}
		w := c.where(e.Stack())
		if w == nil {
			return
		}
		if g.kind == nil && w.root != "" {
			g.kind = c.kindOf(w.root)
		}
		if g.kind != nil {
			g.place = g.kind.place(w)
		}
		return
	}
	d := int64(c.now - g.assistAt)
	c.assistSpread.add(d)
	if g.kind != nil {
		g.kind.assists.add(d)
	}
	if g.place != nil {
		g.place.n++
		g.place.sum += d
	}
}

func (k *kind) place(w *where) *place {
	if p := k.places[w.key]; p != nil {
		return p
	}
	if len(k.places) >= maxPlaces {
		return nil
	}
	p := &place{at: w}
	k.places[w.key] = p
	return p
}

// sweep takes the begin or end of sweeping before an allocation.
func (c *collector) sweep(e *trace.Event, begin bool) {
	g := c.gs[e.Goroutine()]
	if g == nil || g.sweeping == begin || g.system || e.Kind() == trace.EventRangeActive {
		return
	}
	c.change(g, func() { g.sweeping = begin })
	if begin {
		g.sweepAt = c.now
		return
	}
	c.sweepSpread.add(int64(c.now - g.sweepAt))
	for _, a := range e.RangeAttributes() {
		if a.Value.Kind() != trace.ValueUint64 {
			continue
		}
		switch a.Name {
		case "bytes swept":
			c.swept += a.Value.Uint64()
		case "bytes reclaimed":
			c.reclaimed += a.Value.Uint64()
		}
	}
}
