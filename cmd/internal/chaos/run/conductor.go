package run

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
	"github.com/heapwright/heapwright/cmd/internal/chaos/judge"
	"github.com/heapwright/heapwright/cmd/internal/experiment/load"
)

const (
	// every is the time between two points, and two words to the keeper.
	every = 100 * time.Millisecond
	// looks is the time between two diagnoses of a fault that lasts.
	looks = 3 * time.Second
	// atOnce is how long a started target is given to end when the user waits for it.
	atOnce = 3 * time.Second
	// rollback is how long it is waited for to hear that a fault is undone.
	rollback = 10 * time.Second
	// maxEvents bounds what is kept of events, of which a guard that flaps makes many.
	maxEvents = 1 << 15
	// maxCycles bounds the cycles that are kept, of a target that does nothing else.
	maxCycles = 1 << 18
)

// A conductor is one run.
type conductor struct {
	Options
	user context.Context // over when the user wants an end
	run  *chaos.Run

	target Target
	keeper Keeper
	load   Load
	watch  Watch

	epoch  time.Time
	ticks  <-chan load.Tick
	events <-chan chaos.Event
	window window
	ticker *time.Ticker

	phase      chaos.PhaseKind
	fault      int
	since      time.Duration // when the phase began
	level      float64
	hypothesis *judge.Hypothesis
	broken     []string
	cycles     []chaos.Cycle // since the last point
	// over is that the run goes no further; lost that there is no keeper any more.
	over, lost, gone bool

	// begun says how it went to begin a fault, which may take as long as a page that hangs.
	begun chan error

	looking sync.WaitGroup
	found   chan diagnosis
	said    map[int][]chaos.Finding // of each fault, while it lasted
	asked   time.Duration           // when a diagnosis was asked for last
	busy    bool                    // one is being made
}

// A diagnosis is what was said of a stretch while it lasted.
type diagnosis struct {
	fault    int
	at       time.Duration
	findings []chaos.Finding
}

// doing says what happens before the first phase.
func (c *conductor) doing(what string) { c.Progress(Progress{Doing: what, Fault: -1}) }

// conduct does it all. An error is why there was nothing to conduct.
func (c *conductor) conduct(ctx context.Context) error {
	if c.Plan.Load != nil && c.Plan.Load.Rate == 0 {
		return &RefusedError{Why: "the rate of the load is to be found", Advice: "give load.rate a number: heapwright compare finds the highest rate that a server can serve"}
	}
	c.doing("looking for what is left of earlier runs")
	swept, err := c.Lab.Sweep(ctx)
	for _, s := range swept {
		c.Note("left by a run that was killed, and put back now: " + s)
	}
	if err != nil {
		return fmt.Errorf("putting back what an earlier run left: %w", err)
	}
	if c.target, err = c.Lab.Open(ctx, c.Plan, c.doing); err != nil {
		return err
	}
	defer func() {
		c.doing("ending")
		c.run.Left = append(c.run.Left, c.close()...)
	}()
	c.run.Target = c.target.Process()
	c.run.Cgroup, c.run.Version = c.target.Cgroup()
	faults, err := c.target.Resolve(ctx)
	if err != nil {
		return err
	}
	if c.Confirm != nil {
		ok, err := c.Confirm(ctx, Preview{Plan: c.Plan, Process: c.run.Target, Cgroup: c.run.Cgroup, Faults: faults})
		if err != nil {
			return err
		}
		if !ok {
			return ErrDeclined
		}
	}
	return c.carry(ctx, faults)
}

// close stops the target within a time that a user who waits has.
func (c *conductor) close() []string {
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.user))
	defer cancel()
	hurry := context.AfterFunc(c.user, func() { time.AfterFunc(atOnce, cancel) })
	defer hurry()
	return c.target.Close(ctx)
}

// carry carries out what was resolved and agreed to.
func (c *conductor) carry(ctx context.Context, faults []*fault.Resolved) error {
	// What makes and undoes faults does not end because the user wants an end: it is
	// told to, and then it has something to do.
	steady := context.WithoutCancel(ctx)
	before := c.target.Settings(steady)
	c.epoch = time.Now()
	var err error
	// Until it has one, there is nothing that it would have to undo.
	if c.keeper, err = c.target.Keep(ctx, faults, c.epoch); err != nil {
		return err
	}
	c.events = c.keeper.Events()
	defer c.finish(before)
	// From here on the keeper wants to hear from us.
	c.ticker = time.NewTicker(every)
	defer c.ticker.Stop()
	c.found, c.said = make(chan diagnosis, 1), map[int][]chaos.Finding{}
	c.fault = -1
	if err := c.ready(ctx); err != nil {
		return err
	}
	c.hypothesis = judge.NewHypothesis(c.Plan)
	return c.phases()
}

// ready puts on the load and warms up, while the keeper hears from us.
func (c *conductor) ready(ctx context.Context) error {
	beating := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-beating:
				return
			case <-c.ticker.C:
				c.keeper.Here(nil)
			}
		}
	})
	defer wg.Wait()
	defer close(beating)
	var err error
	if c.Plan.Load != nil {
		c.doing("putting on the load")
		if c.load, err = c.target.Load(ctx); err != nil {
			return err
		}
		c.ticks = c.load.Ticks()
		c.doing("warming up")
		if err := c.target.Warm(ctx); err != nil {
			return err
		}
	}
	if c.watch, err = c.target.Watch(context.WithoutCancel(ctx), c.epoch); err != nil {
		return err
	}
	return nil
}

// phases goes through them. What ends it early is in the run.
func (c *conductor) phases() error {
	c.enter(chaos.PhaseBefore, -1)
	if !c.pump(c.lasts(c.Plan.Before)) {
		return nil
	}
	c.leave()
	if err := judge.Before(c.run); err != nil {
		return err
	}
	points, cycles := slices.Clone(c.run.Points), slices.Clone(c.run.Cycles)
	c.hypothesis.Baseline(points)
	if err := c.keeper.Before(points); err != nil {
		return err
	}
	for i := range c.Plan.Faults {
		if !c.one(i, points, cycles) {
			break
		}
	}
	if c.over || c.Plan.Recovery.Watch <= 0 {
		return nil
	}
	c.enter(chaos.PhaseAfter, -1)
	c.pump(c.lasts(c.Plan.Recovery.Watch))
	return nil
}

// one is a fault and the recovery from it. False: no other is to follow.
func (c *conductor) one(i int, points []chaos.Point, cycles []chaos.Cycle) bool {
	if c.fault >= 0 && !c.pump(c.lasts(c.Plan.Between)) {
		return false
	}
	c.enter(chaos.PhaseFault, i)
	c.asked = c.since
	// It is looked and listened meanwhile: the user may want an end before it has begun.
	begun := make(chan error, 1)
	c.begun = begun
	go func() { begun <- c.keeper.Begin(i) }()
	var undone chaos.Done
	isUndone := func(chaos.Point) bool {
		var ok bool
		undone, ok = c.keeper.Undone(i)
		return ok
	}
	whole := c.pump(isUndone)
	if c.lost || c.gone || c.user.Err() != nil {
		return false
	}
	// Also after an abort it is looked at whether the target recovers.
	if c.over = false; !whole {
		late := c.lasts(rollback)
		if !c.pump(func(p chaos.Point) bool { return isUndone(p) || late(p) }) {
			return false
		}
		if undone.Ended == 0 {
			undone = chaos.Done{Fault: i, Began: c.since, Ended: c.at()}
		}
	}
	c.enter(chaos.PhaseRecovery, i)
	recovery := judge.NewRecovery(c.Plan, points, cycles, undone)
	recovered := false
	on := c.pump(func(p chaos.Point) bool {
		done, met := recovery.Step(p, c.cycles)
		for _, e := range met {
			c.event(e)
		}
		recovered = done
		return done || p.At >= recovery.Deadline()
	})
	if !whole {
		c.over = true
		return false
	}
	if on && !recovered && i+1 < len(c.Plan.Faults) {
		c.note(i, "the target has not recovered in time: no other fault is begun")
		return false
	}
	return on
}

// lasts is met when the phase has lasted so long.
func (c *conductor) lasts(d time.Duration) func(chaos.Point) bool {
	from := c.at()
	return func(p chaos.Point) bool { return p.At-from >= d }
}

func (c *conductor) at() time.Duration { return time.Since(c.epoch) }

func (c *conductor) enter(kind chaos.PhaseKind, fault int) {
	c.leave()
	c.phase, c.fault, c.since, c.level = kind, fault, c.at(), 0
	c.run.Phases = append(c.run.Phases, chaos.Phase{Kind: kind, Fault: fault, From: c.since, To: c.since})
}

// leave ends the phase, if there is one.
func (c *conductor) leave() {
	if n := len(c.run.Phases); n > 0 && c.phase != "" {
		c.run.Phases[n-1].To = c.at()
		c.phase = ""
	}
}

// pump takes points until one is what is waited for. False: something ended the run.
func (c *conductor) pump(met func(chaos.Point) bool) bool {
	for !c.over {
		// First, as what ends with the user's will is no reason of its own.
		if c.user.Err() != nil {
			c.run.Interrupted = true
			c.abort("the user ended it")
			break
		}
		select {
		case <-c.user.Done():
		case <-c.target.Gone():
			c.gone, c.over = true, true
			c.look() // what is known of its end
			if !slices.ContainsFunc(c.run.Events, func(e chaos.Event) bool { return e.Kind == chaos.EventGone }) {
				c.event(chaos.Event{At: c.at(), Kind: chaos.EventGone, Fault: c.during(), Text: "the target ended"})
			}
			// The keeper comes to the same, but who sees it first must not decide the verdict.
			if i := c.during(); i >= 0 && (c.Plan.Faults[i].Expect == nil || !c.Plan.Faults[i].Expect.OOMKill) {
				c.abort("the target has ended")
			}
		case e, ok := <-c.events:
			if !ok {
				c.lost = true
				c.abort("the keeper ended")
				break
			}
			c.heard(e)
		case t, ok := <-c.ticks:
			if ok {
				c.window.add(t)
			} else if c.ticks = nil; c.user.Err() == nil {
				c.abort("the load ended")
			}
		case d := <-c.found:
			c.busy = false
			c.first(d)
		case err := <-c.begun:
			// One that something else has ended meanwhile could not begin.
			if c.begun = nil; err != nil && c.run.Aborted == "" {
				c.abort(fmt.Sprintf("fault %s: %v", c.Plan.Faults[c.fault].Name, err))
			}
		case <-c.ticker.C:
			if p := c.look(); !c.over && met(p) {
				return true
			}
		}
	}
	return false
}

// during is the fault that there is now, -1 when there is none.
func (c *conductor) during() int {
	if c.phase == chaos.PhaseFault {
		return c.fault
	}
	return -1
}

// abort ends the run for a reason that is not the keeper's.
func (c *conductor) abort(why string) {
	c.over = true
	if c.run.Aborted == "" {
		c.run.Aborted = why
	}
	if !c.lost {
		c.keeper.Abort(why)
	}
}

// heard takes note of what the keeper says.
func (c *conductor) heard(e chaos.Event) {
	switch {
	case e.Kind == chaos.EventAbort:
		c.over = true
		if c.run.Aborted == "" {
			c.run.Aborted = e.Text
		}
	case e.Kind == chaos.EventLevel && e.Fault == c.fault:
		c.level = e.Value
	}
	c.event(e)
}

// look takes a point, and has the keeper hear from us.
func (c *conductor) look() chaos.Point {
	at := c.at()
	p := c.watch.Read(at)
	p.At = at
	p.Values = maps.Clone(p.Values)
	if p.Values == nil {
		p.Values = map[chaos.Metric]float64{}
	}
	ours := map[chaos.Metric]float64{}
	c.window.values(time.Now(), ours)
	if v, ok := p.Values[chaos.Ready]; ok {
		ours[chaos.Ready] = v
	}
	maps.Copy(p.Values, ours)
	// What JSON cannot hold is not known.
	maps.DeleteFunc(p.Values, func(_ chaos.Metric, v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
	c.keeper.Here(ours)
	c.run.Points = append(c.run.Points, p)
	c.cycles = c.watch.Cycles()
	if n := maxCycles - len(c.run.Cycles); n > 0 {
		c.run.Cycles = append(c.run.Cycles, c.cycles[:min(n, len(c.cycles))]...)
	}
	for _, e := range c.watch.Events() {
		if e.Fault < 0 {
			e.Fault = c.during()
		}
		c.event(e)
	}
	if c.hypothesis != nil {
		for _, e := range c.hypothesis.Step(p, c.phase, c.fault) {
			c.event(e)
			if c.broken = slices.DeleteFunc(c.broken, func(s string) bool { return s == e.Text }); e.Kind == chaos.EventBroken {
				c.broken = append(c.broken, e.Text)
			}
		}
	}
	if c.phase == chaos.PhaseFault && !c.busy && at-c.asked >= looks {
		c.asked = at
		c.diagnose(c.fault, c.since, at)
	}
	c.Progress(Progress{Phase: c.phase, Fault: c.fault, For: at - c.since, Level: c.level, Point: p, Broken: c.broken})
	return p
}

func (c *conductor) event(e chaos.Event) {
	most := maxEvents
	switch e.Kind {
	case chaos.EventLevel, chaos.EventState, chaos.EventNote:
		most /= 2 // of what comes often something may be missing, of the rest nothing
	}
	if len(c.run.Events) < most {
		c.run.Events = append(c.run.Events, e)
	}
}

func (c *conductor) note(fault int, text string) {
	c.event(chaos.Event{At: c.at(), Kind: chaos.EventNote, Fault: fault, Text: text})
}

// finish undoes everything, whatever came before, and says what is left.
func (c *conductor) finish(before map[string]string) {
	c.leave()
	done, left, err := c.keeper.Done()
	for e := range c.events {
		c.heard(e)
	}
	if c.run.Faults = done; done == nil {
		c.run.Faults = []chaos.Done{}
	}
	c.run.Left = append(c.run.Left, left...)
	if err != nil {
		c.run.Left = append(c.run.Left, fmt.Sprintf("undoing: %v", err))
	}
	if c.load != nil {
		c.load.Close()
	}
	c.looking.Wait()
	select {
	case d := <-c.found:
		c.first(d)
	default:
	}
	c.run.Left = append(c.run.Left, changed(before, c.target.Settings(context.WithoutCancel(c.user)))...)
	if c.watch != nil {
		c.conclude()
		c.watch.Close()
	}
	slices.SortStableFunc(c.run.Events, func(a, b chaos.Event) int { return int(a.At - b.At) })
}

// changed is what is another than before, and was not put back. What cannot be asked
// any more, as of a target that has ended, is not known to be.
func changed(before, after map[string]string) (left []string) {
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if was, ok := before[name]; !ok {
			left = append(left, fmt.Sprintf("%s: %s", name, after[name]))
		} else if was != after[name] {
			left = append(left, fmt.Sprintf("%s is %s, and was %s", name, after[name], was))
		}
	}
	return left
}
