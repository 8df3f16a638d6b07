package keeper

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
	"github.com/heapwright/heapwright/cmd/internal/chaos/ramp"
)

// enough is the share of a level that has to be seen from outside for the fault to have
// happened.
const enough = 0.8

// A course is one fault from its beginning to its end.
type course struct {
	s      *server
	index  int
	what   *fault.Resolved
	info   chaos.KindInfo
	ctx    context.Context
	cancel context.CancelFunc
	steps  *noted

	made   chan struct{} // closed when it was made, or could not be
	effect fault.Effect  // valid after that; nil when it could not be made
	late   atomic.Bool   // it was not made in time to be undone

	once   sync.Once
	undone chan struct{}
	kills  int64 // before it began

	mu   sync.Mutex
	done chaos.Done // whole when undone is closed
	seen bool       // that something could be measured
	set  bool       // that there was a level
	led  bool       // that a closed loop reached its goal

	failed atomic.Pointer[string] // the last that went wrong
}

func newCourse(s *server, i int, what *fault.Resolved) *course {
	info, _ := what.Kind.Info() // package fault refuses what it does not know
	ctx, cancel := context.WithCancel(context.Background())
	return &course{
		s: s, index: i, what: what, info: info, ctx: ctx, cancel: cancel, steps: &noted{of: s}, made: make(chan struct{}),
		undone: make(chan struct{}), kills: s.kills.Load(), done: chaos.Done{Fault: i, Began: s.at()},
	}
}

// account is what became of it so far.
func (c *course) account() chaos.Done {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

func (c *course) isUndone() bool {
	select {
	case <-c.undone:
		return true
	default:
		return false
	}
}

// run makes the fault, leads its level, and undoes it when it is over.
func (c *course) run() {
	if err := c.begin(); err != nil {
		c.undo()
		c.s.fail(c.index, err)
		return
	}
	c.s.event(chaos.Event{At: c.s.at(), Kind: chaos.EventFault, Fault: c.index, Text: Began})
	c.s.out.say(reply{Is: isBegan, Fault: c.index})
	c.follow()
	c.undo()
}

// begin makes the effect, at no level.
func (c *course) begin() error {
	defer close(c.made)
	// Nothing is done that cannot be logged.
	if err := c.s.log.write(Entry{Action: ActionBegin, Fault: c.what.Name, Kind: c.what.Kind, Level: c.what.Level, Outcome: "ok"}); err != nil {
		return err
	}
	t := *c.s.target
	t.Proxies = c.s.proxies
	effect, err := fault.Make(c.ctx, c.what, &t, c.steps)
	if err != nil {
		return err
	}
	c.effect = effect
	c.mu.Lock()
	c.done.Began = c.s.at()
	c.mu.Unlock()
	if c.late.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), undoWithin)
		defer cancel()
		return errors.Join(errors.New("it was over before it began"), effect.Undo(ctx))
	}
	return c.ctx.Err()
}

// follow leads the level along the ramp.
func (c *course) follow() {
	r := ramp.New(c.what.Fault, c.what.From, c.what.Level)
	began := time.Now()
	t := time.NewTicker(tick)
	defer t.Stop()
	last, reached := c.what.From, false
	for n := 0; c.ctx.Err() == nil; n++ {
		var p chaos.Point
		if seen := c.s.point.Load(); seen != nil {
			p = *seen
		}
		level, stage := r.Step(time.Since(began), p)
		if stage == ramp.Over {
			break
		}
		if level != last || n == 0 && level != 0 {
			last = level
			c.setLevel(level)
		}
		if !reached && stage == ramp.Holding {
			reached = true
			c.s.event(chaos.Event{At: c.s.at(), Kind: chaos.EventFault, Fault: c.index, Text: Reached, Value: level})
		}
		if n%2 == 1 {
			c.measure()
		}
		if m, ok := c.effect.(fault.Mortal); ok && m.KilledOurs() > 0 {
			c.s.note(c.index, "the kernel killed our process: the fault ends")
			break
		}
		if f, ok := c.effect.(fault.Finite); ok && f.Over() {
			break
		}
		select {
		case <-c.ctx.Done():
		case <-t.C:
		}
	}
	if c.ctx.Err() == nil {
		c.measure()
	}
	if why := r.Missed(); why != "" {
		c.s.note(c.index, why)
	} else if reached && c.what.Until != nil {
		c.mu.Lock()
		c.led = true
		c.mu.Unlock()
	}
}

// setLevel may take long: the kernel reclaims meanwhile. When the fault is undone it
// returns.
func (c *course) setLevel(level float64) {
	err := c.effect.Set(c.ctx, level)
	if err != nil {
		if c.ctx.Err() == nil {
			c.complain(err)
		}
		return
	}
	c.mu.Lock()
	if peak := &c.done.Peak; !c.set || c.info.Down && level < *peak || !c.info.Down && level > *peak {
		*peak = level
	}
	c.set = true
	c.mu.Unlock()
	c.s.event(chaos.Event{At: c.s.at(), Kind: chaos.EventLevel, Fault: c.index, Value: level})
}

// complain says once in a row that something went wrong.
func (c *course) complain(err error) {
	text := clip(err.Error())
	if was := c.failed.Swap(&text); was == nil || *was != text {
		c.s.note(c.index, text)
	}
}

// measure looks how much of it can be seen from outside.
func (c *course) measure() {
	level, by, ok := c.effect.Measure()
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.seen || c.info.Down && level < c.done.Measured || !c.info.Down && level > c.done.Measured {
		c.done.Measured, c.done.By = level, by
	}
	c.seen = true
}

// undo takes it back, whoever asks first; all wait until it is.
func (c *course) undo() { c.once.Do(c.takeBack) }

// killed reports whether the kernel has killed the target for memory since the fault
// began. Who ended the fault may have seen the target's end before the watcher did, which
// then has a few ticks to look.
func (c *course) killed() bool {
	for n := 0; ; n++ {
		if c.s.gone.Load() && c.s.kills.Load() > c.kills {
			return true
		}
		if n == killLooks || c.s.target.Alive() == nil {
			return false
		}
		time.Sleep(tick)
	}
}

// killLooks is how many ticks the watcher is waited for.
const killLooks = 3

func (c *course) takeBack() {
	began := time.Now()
	c.cancel()
	effect, err := c.undoEffect()
	// What the effect did not undo itself, or what it has left when it could not be made.
	var left []string
	if open := c.steps.open(); len(open) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), undoWithin)
		_, left = revertSteps(ctx, open)
		cancel()
		c.steps.settle(open, len(left) == 0)
		if len(left) == 0 && err != nil {
			c.complain(err)
			err = nil
		}
	}
	ended, took := c.s.at(), time.Since(began)
	killed := c.killed()
	c.mu.Lock()
	d := &c.done
	d.Ended, d.Undo = ended, took
	d.Verified = err == nil && len(left) == 0
	d.Happened = c.happened()
	d.Contained = true
	if e, ok := effect.(fault.Contained); ok {
		d.Contained = e.Contained()
	}
	if m, ok := effect.(fault.Mortal); ok {
		d.KilledOurs = m.KilledOurs()
	}
	// What only cuts has no level.
	if e, ok := effect.(fault.Cutter); ok && d.Peak == 0 && e.Cuts() > 0 {
		d.Happened, d.By = true, fmt.Sprintf("%d connections were cut", e.Cuts())
	}
	d.KilledTarget = killed
	switch {
	case err != nil:
		d.Err = clip(err.Error())
	case c.failed.Load() != nil:
		d.Err = *c.failed.Load()
	}
	outcome := "undone"
	if !d.Verified {
		outcome = clip(fmt.Sprintf("not undone: %s %v", d.Err, left))
	}
	done := *d
	c.mu.Unlock()
	close(c.undone)
	if effect != nil {
		c.s.out.say(reply{Is: isUndone, Fault: c.index, Done: []chaos.Done{done}})
		c.s.event(chaos.Event{At: done.Ended, Kind: chaos.EventFault, Fault: c.index, Text: Undone, Value: done.Undo.Seconds()})
	}
	c.s.log.put(Entry{Action: ActionEnd, Fault: c.what.Name, Kind: c.what.Kind, Level: done.Peak, Outcome: outcome})
}

// undoEffect has the effect undo itself, and waits no longer than for its bound. The
// effect is nil when there is none.
func (c *course) undoEffect() (fault.Effect, error) {
	ctx, cancel := context.WithTimeout(context.Background(), undoWithin)
	defer cancel()
	select {
	case <-c.made:
	case <-ctx.Done():
		c.late.Store(true)
		return nil, errors.New("it was still being made")
	}
	if c.effect == nil {
		return nil, nil
	}
	result := make(chan error, 1)
	go func() { result <- c.effect.Undo(ctx) }()
	select {
	case err := <-result:
		return c.effect, err
	case <-ctx.Done():
	}
	// A little later it may come back by itself, since its time is over.
	select {
	case err := <-result:
		return c.effect, err
	case <-time.After(tick):
		return c.effect, fmt.Errorf("it was not undone in %v", undoWithin)
	}
}

// happened reports whether enough of it was seen; the lock is held.
func (c *course) happened() bool {
	d := &c.done
	switch {
	case !c.seen || !c.set:
		return false
	case c.led && c.info.Down:
		return d.Measured < c.what.From
	case c.led: // what the level was led to on the way is no measure of it
		return d.Measured > 0
	case c.info.Down && c.what.From > d.Peak:
		return c.what.From-d.Measured >= enough*(c.what.From-d.Peak)
	case c.info.Down: // there was no bound
		return d.Measured > 0 && enough*d.Measured <= d.Peak
	}
	return d.Peak > 0 && d.Measured >= enough*d.Peak
}
