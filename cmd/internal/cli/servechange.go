package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/live"
	"github.com/heapwright/heapwright/cmd/internal/web/api"
	"github.com/heapwright/heapwright/record"
)

// An operatorChanges makes the changes that operators ask the agent for. Each is
// for the time of a lease: it is watched as those of tune --apply live --watch, and taken
// back when the lease is over, when it does not do what it should, when somebody asks, and
// when the agent ends.
type operatorChanges struct {
	changer Changer
	// same says whether a PID still is the process that an operator means.
	same    func(pid int, started time.Time) error
	ctx     context.Context // the agent's
	end     context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	ended  bool
	leases map[int]*operatorLease // by PID; one whose change is being made too
}

// An operatorLease is a change that is in effect, or about to be.
type operatorLease struct {
	ctx     context.Context // done when it is to end
	end     context.CancelFunc
	started time.Time     // of the process
	done    chan struct{} // closed when it has been taken back, or nothing came of it
	back    live.Receipt  // valid after that
	err     error
}

// errEnding is what is said to who asks for a change when the agent has begun to end.
var errEnding = errors.New("the agent is ending, and changes nothing any more")

// sameStart is how far two reckonings of when a process started may lie apart.
const sameStart = 5 * time.Second

// samePID is an error when a PID has been given to another process than the one that the
// agent watched. It is asked after that PID was taken hold of, which settles whose it was.
func samePID(pid int, started time.Time) error {
	stat, err := goproc.OpenStat(pid, record.Process{PID: pid, StartTime: started})
	if err != nil {
		return err
	}
	return stat.Close()
}

// take notes that a process is being changed, before it is.
func (o *operatorChanges) take(c *api.Change) (*operatorLease, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.ended:
		return nil, errEnding
	case o.leases[c.PID] != nil:
		return nil, hinted(fmt.Errorf("process %d is under a change already", c.PID), "undo that first, or wait until it ends")
	}
	l := &operatorLease{started: c.Started, done: make(chan struct{})}
	l.ctx, l.end = context.WithCancel(o.ctx)
	o.leases[c.PID] = l
	o.running.Add(1)
	return l, nil
}

// give is take's other half, when nothing of the change is left.
func (o *operatorChanges) give(pid int, l *operatorLease) {
	l.end()
	o.mu.Lock()
	delete(o.leases, pid)
	o.mu.Unlock()
	close(l.done)
	o.running.Done()
}

// close has all changes taken back, waits for that, and lets no more begin.
func (o *operatorChanges) close() {
	o.mu.Lock()
	o.ended = true
	o.mu.Unlock()
	o.end()
	o.running.Wait()
}

// Change implements api.Changer.
func (o *operatorChanges) Change(ctx context.Context, c api.Change) (out api.Outcome, err error) {
	var l *operatorLease
	if !c.DryRun {
		if l, err = o.take(&c); err != nil {
			return api.Outcome{}, err
		}
		defer func() {
			if l != nil { // nothing holds it
				o.give(c.PID, l)
			}
		}()
	}
	session, err := o.changer.Open(ctx, c.PID)
	if err != nil {
		return api.Outcome{}, fmt.Errorf("opening process %d: %w", c.PID, err)
	}
	if err := o.same(c.PID, c.Started); err != nil {
		return api.Outcome{}, errors.Join(hinted(fmt.Errorf("process %d is no longer the one that is known as %s: %w", c.PID, c.Process, err), "try again in a moment"), session.Close())
	}
	want := live.Change{GOGCPercent: c.GOGCPercent, GOMEMLIMITBytes: c.GOMEMLIMITBytes, StormFloorBytes: c.StormFloorBytes}
	steps, err := session.Describe(want)
	out = api.Outcome{PID: c.PID, Steps: written(steps), Notes: session.Notes()}
	if err != nil || c.DryRun {
		err = errors.Join(err, session.Close())
	}
	switch {
	case errors.Is(err, live.ErrNothing):
		out.Outcome, out.Text = "nothing_to_change", "the process has these settings already"
		return out, nil
	case err != nil:
		return api.Outcome{}, err
	case c.DryRun:
		out.Outcome, out.Text = "dry_run", fmt.Sprintf("%s would be written into process %d, for %s", plural(len(steps), "word"), c.PID, c.Lease)
		return out, nil
	}
	receipt, err := session.Apply(ctx, want, fmt.Sprintf("asked for by %s: %s", c.Who, c.Reason))
	if err != nil {
		return api.Outcome{}, errors.Join(err, session.Close())
	}
	held := l
	l = nil
	go o.hold(c.PID, c.Lease, session, held)
	out.Outcome, out.Steps, out.Notes = "changed", written(receipt.Steps), append(out.Notes, receipt.Notes...)
	out.Until = api.Time{Time: receipt.Time.Add(c.Lease)}
	out.Text = fmt.Sprintf("%s written into process %d, until %s", plural(len(receipt.Steps), "word"), c.PID, out.Until.UTC().Format(time.TimeOnly+" MST"))
	return out, nil
}

// hold watches a change until its lease ends, and sees to it that it is taken back.
func (o *operatorChanges) hold(pid int, lease time.Duration, session Change, l *operatorLease) {
	defer o.give(pid, l)
	out, err := session.Watch(l.ctx, live.Expectation{For: lease}, nil)
	l.back = out.Reverted
	if out.Verdict.Decision == live.GoOn && err == nil {
		l.back, err = session.Revert("the lease is over")
	}
	l.err = errors.Join(err, session.Close())
}

// Undo implements api.Changer.
func (o *operatorChanges) Undo(ctx context.Context, process string, pid int, started time.Time, who, reason string) (api.Outcome, error) {
	o.mu.Lock()
	l := o.leases[pid]
	o.mu.Unlock()
	if l == nil || l.started.Sub(started).Abs() > sameStart {
		return api.Outcome{Outcome: "nothing_to_undo", Text: "this agent has not changed the process", PID: pid, Steps: []api.Written{}, Notes: []string{}}, nil
	}
	l.end()
	select {
	case <-l.done:
	case <-ctx.Done():
		return api.Outcome{}, fmt.Errorf("undoing the change of %s: %w", process, context.Cause(ctx))
	}
	if l.err != nil && !errors.Is(l.err, context.Canceled) {
		return api.Outcome{}, fmt.Errorf("undoing the change of %s: %w", process, l.err)
	}
	return api.Outcome{Outcome: "undone", Text: fmt.Sprintf("%s put back in process %d", plural(len(l.back.Steps), "word"), pid), PID: pid,
		Steps: written(l.back.Steps), Notes: append([]string{}, l.back.Notes...)}, nil
}

func written(steps []live.Step) []api.Written {
	out := make([]api.Written, len(steps))
	for i, s := range steps {
		old, value := s.Values()
		out[i] = api.Written{Symbol: s.Symbol, Address: s.Addr, Size: s.Size, Old: old, New: value}
	}
	return out
}
