package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/live"
)

// A fakeChanger remembers what was done to it.
type fakeChanger struct {
	unread   error        // of the leases
	outcome  live.Outcome // of Watch
	describe error
	apply    error
	sampling error
	undo     map[int]error
	leases   []live.Lease
	entries  []live.Entry
	skipped  int
	did      []string
}

func (f *fakeChanger) note(format string, args ...any) {
	f.did = append(f.did, fmt.Sprintf(format, args...))
}

var fakeSteps = []live.Step{
	{Symbol: "runtime.gcController.heapMinimum", Addr: 0x590430, Size: 8, Old: 4 << 20, New: 8 << 20},
	{Symbol: "runtime.gcController.gcPercent", Addr: 0x590420, Size: 4, Old: 100, New: 200},
	{Symbol: "runtime.gcController.memoryLimit", Addr: 0x590428, Size: 8, Old: math.MaxInt64, New: 460 << 20},
}

func back() live.Receipt {
	var r live.Receipt
	for i := len(fakeSteps) - 1; i >= 0; i-- {
		s := fakeSteps[i]
		s.Old, s.New = s.New, s.Old
		r.Steps = append(r.Steps, s)
	}
	return r
}

func (f *fakeChanger) Open(_ context.Context, pid int) (Change, error) {
	f.note("open %d", pid)
	return &fakeChange{f}, nil
}

func (f *fakeChanger) OpenVia(_ context.Context, pid int, page string) (Change, error) {
	f.note("open %d via %s", pid, page)
	return &fakeChange{f}, nil
}

func (f *fakeChanger) UndoVia(_ context.Context, pid int, page string) (live.Receipt, error) {
	f.note("undo %d via %s", pid, page)
	return back(), nil
}

func (f *fakeChanger) Undo(_ context.Context, pid int) (live.Receipt, error) {
	f.note("undo %d", pid)
	if err := f.undo[pid]; err != nil {
		return live.Receipt{}, err
	}
	return back(), nil
}

func (f *fakeChanger) Leases() ([]live.Lease, error) { return f.leases, f.unread }

func (f *fakeChanger) History() ([]live.Entry, int, error) { return f.entries, f.skipped, nil }

func (f *fakeChanger) Guard(_ context.Context, pid int, in io.Reader, out io.Writer) error {
	f.note("guard %d", pid)
	return nil
}

type fakeChange struct{ f *fakeChanger }

func (c *fakeChange) Describe(ch live.Change) ([]live.Step, error) {
	if ch.GOGCPercent == nil || ch.GOMEMLIMITBytes == nil || ch.StormFloorBytes <= 0 {
		return nil, errors.New("an incomplete change")
	}
	return fakeSteps, c.f.describe
}

func (c *fakeChange) Apply(_ context.Context, _ live.Change, why string) (live.Receipt, error) {
	c.f.note("apply: %s", why)
	return live.Receipt{Steps: fakeSteps}, c.f.apply
}

func (c *fakeChange) EnableSampling(_ context.Context, kind live.Sampling, rate int64) (live.Receipt, error) {
	c.f.note("sample %s", kind)
	return live.Receipt{}, c.f.sampling
}

func (c *fakeChange) Watch(_ context.Context, e live.Expectation, tick func(live.Status)) (live.Outcome, error) {
	if e.For < time.Second || e.GCCPURatio <= 0 || e.RSSPeakBytes <= 0 {
		return live.Outcome{}, errors.New("an incomplete expectation")
	}
	tick(live.Status{Elapsed: e.For / 2, Effective: true, GCCPURatio: 0.05, RSSPeakBytes: 300 * mib})
	c.f.note("watch")
	return c.f.outcome, nil
}

func (c *fakeChange) Notes() []string { return []string{"The program has a finalizer on its cache."} }
func (c *fakeChange) Keep() error     { c.f.note("keep"); return nil }
func (c *fakeChange) Close() error    { c.f.note("close"); return nil }

func (c *fakeChange) Revert(why string) (live.Receipt, error) {
	c.f.note("revert: %s", why)
	return back(), nil
}
