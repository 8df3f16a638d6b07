package cli

import (
	"context"
	"io"

	"github.com/heapwright/heapwright/cmd/internal/live"
	"github.com/heapwright/heapwright/cmd/internal/process"
)

// A Changer changes running processes of this machine, and takes it back.
type Changer interface {
	// Open takes hold of a process, and writes nothing yet.
	Open(ctx context.Context, pid int) (Change, error)
	// OpenVia is Open for a program that changes its settings itself when its debug
	// page is asked to.
	OpenVia(ctx context.Context, pid int, page string) (Change, error)
	// Undo puts back what an earlier heapwright changed.
	Undo(ctx context.Context, pid int) (live.Receipt, error)
	// UndoVia is Undo of what was changed through a debug page.
	UndoVia(ctx context.Context, pid int, page string) (live.Receipt, error)
	// Leases are the changes that are in effect, or were left behind.
	Leases() ([]live.Lease, error)
	// History is what was done, the oldest first, and how many lines of it
	// could not be read.
	History() ([]live.Entry, int, error)
	// Guard is the watchdog of another heapwright's change.
	Guard(ctx context.Context, pid int, in io.Reader, out io.Writer) error
}

// A Change is one process that may be changed, once. Close takes the change back
// unless it was kept.
type Change interface {
	Describe(live.Change) ([]live.Step, error)
	Apply(ctx context.Context, c live.Change, why string) (live.Receipt, error)
	EnableSampling(ctx context.Context, kind live.Sampling, rate int64) (live.Receipt, error)
	Watch(ctx context.Context, e live.Expectation, tick func(live.Status)) (live.Outcome, error)
	Notes() []string
	Keep() error
	Revert(why string) (live.Receipt, error)
	Close() error
}

// localChanges returns the Changer of this machine.
func localChanges(getenv func(string) string) (Changer, error) {
	h, err := live.NewHost(getenv)
	if err != nil {
		return nil, err
	}
	return localChanger{h}, nil
}

type localChanger struct{ live.Host }

func (c localChanger) Open(ctx context.Context, pid int) (Change, error) {
	s, err := c.Host.Open(ctx, pid)
	if err != nil {
		return nil, process.Ended(err)
	}
	return localChange{s}, nil
}

func (c localChanger) OpenVia(ctx context.Context, pid int, page string) (Change, error) {
	v, err := c.Host.OpenVia(ctx, pid, page)
	if err != nil {
		return nil, process.Ended(err)
	}
	return v, nil
}

func (c localChanger) Guard(ctx context.Context, pid int, in io.Reader, out io.Writer) error {
	return c.RunWatchdog(ctx, pid, in, out)
}

type localChange struct{ *live.Session }

func (c localChange) Watch(ctx context.Context, e live.Expectation, tick func(live.Status)) (live.Outcome, error) {
	return live.Watch(ctx, c.Session, e, tick)
}
