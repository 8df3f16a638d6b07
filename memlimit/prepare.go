package memlimit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// prepareFor is how long a prepared limit is waited for, before GOMEMLIMIT goes up
// again.
const prepareFor = time.Minute

// Prepare makes the process ready for a smaller memory limit, and says whether it
// is: it lowers GOMEMLIMIT to what the new limit will leave, runs one collection and
// gives the free memory back (debug.FreeOSMemory: its caller waits, the program goes
// on, at some cost in CPU), and looks whether what is used fits. Nil means that it
// does, and that the limit may be lowered within a minute; after that, and after an
// error, GOMEMLIMIT goes back to what the limit of now leaves. The error says why
// not.
//
// A cancelled context is noticed between the steps.
func (l *Limit) Prepare(ctx context.Context, newLimit uint64) error {
	if err := check(newLimit, true, 0); err != nil {
		return fmt.Errorf("preparing for a memory limit of %d: %w", newLimit, err)
	}
	if err := l.prepare(ctx, newLimit); err != nil {
		l.mu.Lock()
		if l.prepared != 0 {
			l.prepared = 0
			if !l.closed {
				l.resettle()
			}
		}
		l.mu.Unlock()
		return fmt.Errorf("preparing for a memory limit of %s: %w", human(newLimit), err)
	}
	return nil
}

func (l *Limit) prepare(ctx context.Context, newLimit uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	earlier := l.found
	p, err := l.lower(newLimit)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	l.sys.freeOSMemory()
	if err := ctx.Err(); err != nil {
		return err
	}
	used, err := l.lookAgain(&earlier)
	if err != nil {
		return fmt.Errorf("looking whether it fits: %w", err)
	}
	last := lastReserve(newLimit)
	if used > newLimit-last {
		return fmt.Errorf("%s are in use after a collection, and cannot be reclaimed", human(used))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errors.New("it was closed")
	}
	var g goState
	l.sys.read(&g)
	room := left(newLimit, p.nonGo, last)
	if need := uint64(float64(g.live)*(1+livingShare)) + g.fixed; need > uint64(room) {
		return fmt.Errorf("what lives needs %s, and %s would be left", human(need), limitText(room))
	}
	l.resettle()
	if l.stood != "" {
		return errors.New(l.stood)
	}
	return nil
}

// lookAgain says what is used now.
func (l *Limit) lookAgain(earlier *found) (uint64, error) {
	l.look.Lock()
	defer l.look.Unlock()
	if l.isClosed() {
		return 0, errors.New("it was closed")
	}
	f := find(l.sys, &l.conf, earlier)
	if f.source == SourceNone {
		f.source = SourceConfig // what is to come is the process's own, as far as is known
	}
	return l.measure(&f)
}

func (l *Limit) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// lower lowers GOMEMLIMIT to what newLimit will leave. With mu.
func (l *Limit) lower(newLimit uint64) (settings, error) {
	var g goState
	l.sys.read(&g)
	in := inputs{limit: newLimit, reserve: l.conf.Reserve, live: g.live, fixed: g.fixed}
	if l.noise.looks > 0 {
		in.measured = true
		in.nonGo, in.rise, in.over = uint64(l.noise.nonGo.v), uint64(l.noise.rise.v), uint64(l.noise.over.v)
	}
	p := plan(in)
	switch _, mode, reason := l.wanted(); {
	case l.stood != "":
		return p, errors.New("the settings are somebody else's: " + l.stood)
	case mode != ModeSet && mode != ModeTooSmall && mode != ModeLeak && mode != ModeNoLimit:
		return p, errors.New("GOMEMLIMIT is not to be changed: " + reason)
	}
	l.prepared, l.preparedEnd = p.limit, time.Now().Add(prepareFor)
	l.settle(&g)
	return p, nil
}

// Resize changes a hard memory limit and GOMEMLIMIT in the order that is safe: up,
// the hard limit first; down, GOMEMLIMIT first, and the hard limit only when what is
// used fits under it. setHard sets the hard limit, as by writing memory.max. It is
// for those who own the cgroup; where somebody else resizes it, the looks follow.
func Resize(ctx context.Context, l *Limit, newLimit uint64, setHard func(uint64) error) error {
	if err := check(newLimit, true, 0); err != nil {
		return fmt.Errorf("resizing the memory limit to %d: %w", newLimit, err)
	}
	now := l.Report().LimitBytes
	if now == 0 {
		now = math.MaxUint64
	}
	if newLimit < now {
		if err := l.Prepare(ctx, newLimit); err != nil {
			return err
		}
	}
	if err := setHard(newLimit); err != nil {
		l.release()
		return fmt.Errorf("resizing the memory limit to %s: %w", human(newLimit), err)
	}
	l.refresh()
	l.release()
	return nil
}

// release ends a preparation.
func (l *Limit) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.prepared == 0 {
		return
	}
	l.prepared = 0
	if !l.closed {
		l.resettle()
	}
}
