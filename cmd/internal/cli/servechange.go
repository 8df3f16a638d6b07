package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/live"
	"github.com/heapwright/heapwright/cmd/internal/web/api"
)

// An operatorChanges makes the changes that operators ask the agent for. Each is
// for the time of a lease: it is watched as those of tune --apply live --watch, and taken
// back when the lease is over, when it does not do what it should, when somebody asks, and
// when the agent ends.
type operatorChanges struct {
	changer Changer
	ctx     context.Context // the agent's
	running sync.WaitGroup

	mu     sync.Mutex
	leases map[int]*operatorLease // by PID
}

// An operatorLease is a change that is in effect.
type operatorLease struct {
	end  context.CancelFunc
	done chan struct{} // closed when it has been taken back
	back live.Receipt  // valid after that
	err  error
}

// Change implements api.Changer.
func (o *operatorChanges) Change(ctx context.Context, c api.Change) (api.Outcome, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.leases[c.PID] != nil && !c.DryRun {
		return api.Outcome{}, hinted(fmt.Errorf("process %d is under a change already", c.PID), "undo that first, or wait until it ends")
	}
	session, err := o.changer.Open(ctx, c.PID)
	if err != nil {
		return api.Outcome{}, fmt.Errorf("opening process %d: %w", c.PID, err)
	}
	want := live.Change{GOGCPercent: c.GOGCPercent, GOMEMLIMITBytes: c.GOMEMLIMITBytes, StormFloorBytes: c.StormFloorBytes}
	steps, err := session.Describe(want)
	out := api.Outcome{PID: c.PID, Steps: written(steps), Notes: session.Notes()}
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
	watched, end := context.WithCancel(o.ctx)
	l := &operatorLease{end: end, done: make(chan struct{})}
	o.leases[c.PID] = l
	o.running.Go(func() { o.hold(watched, c.PID, c.Lease, session, l) })
	out.Outcome, out.Steps, out.Notes = "changed", written(receipt.Steps), append(out.Notes, receipt.Notes...)
	out.Until = api.Time{Time: receipt.Time.Add(c.Lease)}
	out.Text = fmt.Sprintf("%s written into process %d, until %s", plural(len(receipt.Steps), "word"), c.PID, out.Until.UTC().Format(time.TimeOnly+" MST"))
	return out, nil
}

// hold watches a change until its lease ends, and sees to it that it is taken back.
func (o *operatorChanges) hold(ctx context.Context, pid int, lease time.Duration, session Change, l *operatorLease) {
	defer l.end()
	out, err := session.Watch(ctx, live.Expectation{For: lease}, nil)
	l.back = out.Reverted
	if out.Verdict.Decision == live.GoOn && err == nil {
		l.back, err = session.Revert("the lease is over")
	}
	l.err = errors.Join(err, session.Close())
	o.mu.Lock()
	delete(o.leases, pid)
	o.mu.Unlock()
	close(l.done)
}

// Undo implements api.Changer.
func (o *operatorChanges) Undo(ctx context.Context, process string, pid int, who, reason string) (api.Outcome, error) {
	o.mu.Lock()
	l := o.leases[pid]
	o.mu.Unlock()
	if l == nil {
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
