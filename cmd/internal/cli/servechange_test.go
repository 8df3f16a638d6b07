package cli

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/live"
	"github.com/heapwright/heapwright/cmd/internal/web/api"
)

// A heldChanger has one process, which remembers whether it is changed.
type heldChanger struct {
	fakeChanger
	applying chan struct{} // what Apply waits for; nil for nothing

	mu      sync.Mutex
	changed bool
	closed  int
}

func (h *heldChanger) Open(context.Context, int) (Change, error) {
	return &heldChange{fakeChange{&h.fakeChanger}, h}, nil
}

type heldChange struct {
	fakeChange
	h *heldChanger
}

func (c *heldChange) Describe(live.Change) ([]live.Step, error) { return fakeSteps, nil }

func (c *heldChange) Apply(context.Context, live.Change, string) (live.Receipt, error) {
	if c.h.applying != nil {
		<-c.h.applying
	}
	c.h.set(true)
	return live.Receipt{Time: time.Now(), Steps: fakeSteps}, nil
}

func (c *heldChange) Watch(ctx context.Context, e live.Expectation, _ func(live.Status)) (live.Outcome, error) {
	select {
	case <-time.After(e.For):
		return live.Outcome{Verdict: live.Verdict{Decision: live.GoOn}}, nil
	case <-ctx.Done():
		c.h.set(false)
		return live.Outcome{Verdict: live.Verdict{Decision: live.TakeBack}, Reverted: back()}, nil
	}
}

func (c *heldChange) Revert(string) (live.Receipt, error) {
	c.h.set(false)
	return back(), nil
}

func (c *heldChange) Close() error {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	c.h.closed++
	return nil
}

func (h *heldChanger) set(changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changed = changed
}

func (h *heldChanger) is() (changed bool, closed int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed, h.closed
}

func operators(ctx context.Context, h *heldChanger) *operatorChanges {
	o := &operatorChanges{changer: h, same: func(int, time.Time) error { return nil }, leases: map[int]*operatorLease{}}
	o.ctx, o.end = context.WithCancel(ctx)
	return o
}

var (
	began   = time.Unix(1_700_000_000, 0)
	someAsk = api.Change{Process: "svc", PID: 7, Started: began, Lease: 10 * time.Minute, Reason: "to try it", Who: "somebody"}
)

// TestLeaseEnds: a change is taken back when its lease is over, and another may be made then.
func TestLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heldChanger{}
		o := operators(t.Context(), h)
		out, err := o.Change(t.Context(), someAsk)
		if changed, _ := h.is(); err != nil || out.Outcome != "changed" || !changed {
			t.Fatalf("%+v, %v", out, err)
		}
		if _, err := o.Change(t.Context(), someAsk); err == nil || !strings.Contains(err.Error(), "under a change already") {
			t.Errorf("a second change of it: %v", err)
		}
		time.Sleep(someAsk.Lease)
		synctest.Wait()
		if changed, closed := h.is(); changed || closed != 1 {
			t.Errorf("after the lease: changed %t, closed %d times", changed, closed)
		}
		if _, err := o.Change(t.Context(), someAsk); err != nil {
			t.Errorf("another change: %v", err)
		}
		o.close()
		if changed, closed := h.is(); changed || closed != 2 {
			t.Errorf("after the end: changed %t, closed %d times", changed, closed)
		}
		if _, err := o.Change(t.Context(), someAsk); !errors.Is(err, errEnding) {
			t.Errorf("a change after the end: %v", err)
		}
	})
}

// TestAnotherProcess: a change that was meant for one process is not made in the one that
// has its PID now, and an undo neither.
func TestAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heldChanger{}
		o := operators(t.Context(), h)
		defer o.close()
		o.same = func(pid int, started time.Time) error {
			if pid != 7 || !started.Equal(began) {
				t.Errorf("asked for %d, %v", pid, started)
			}
			return errors.New("it has ended")
		}
		for _, dry := range []bool{false, true} {
			ask := someAsk
			ask.DryRun = dry
			if _, err := o.Change(t.Context(), ask); err == nil || hintOf(err) == "" {
				t.Errorf("dry run %t: %v", dry, err)
			}
		}
		if changed, closed := h.is(); changed || closed != 2 {
			t.Errorf("changed %t, closed %d times", changed, closed)
		}
		o.same = func(int, time.Time) error { return nil }
		if _, err := o.Change(t.Context(), someAsk); err != nil {
			t.Fatal(err)
		}
		out, err := o.Undo(t.Context(), "svc", 7, began.Add(time.Hour), "somebody", "")
		if changed, _ := h.is(); err != nil || out.Outcome != "nothing_to_undo" || !changed {
			t.Errorf("an undo of another life: %+v, %v", out, err)
		}
		out, err = o.Undo(t.Context(), "svc", 7, began, "somebody", "")
		if changed, _ := h.is(); err != nil || out.Outcome != "undone" || changed {
			t.Errorf("%+v, %v", out, err)
		}
	})
}

// TestUndoWhileChanging: one change that takes long holds up no other, and may be taken
// back while it is made.
func TestUndoWhileChanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heldChanger{applying: make(chan struct{})}
		o := operators(t.Context(), h)
		defer o.close()
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := o.Change(t.Context(), someAsk); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		other := someAsk
		other.PID, other.DryRun = 8, true
		if _, err := o.Change(t.Context(), other); err != nil {
			t.Error(err)
		}
		all.Go(func() {
			if out, err := o.Undo(t.Context(), "svc", 7, began, "somebody", ""); err != nil || out.Outcome != "undone" {
				t.Errorf("%+v, %v", out, err)
			}
		})
		synctest.Wait()
		close(h.applying)
		all.Wait()
		if changed, _ := h.is(); changed {
			t.Error("it is changed")
		}
	})
}
