package measure

import (
	"context"
	"time"

	"github.com/heapwright/heapwright/record"
)

// What a heap that has settled looks like: HW-AB/1, 2.5.
const (
	settledCycles = 3
	settledWithin = 0.05
)

// A settling follows the heap goal from cycle to cycle.
type settling struct {
	known         bool
	began, cycles uint64 // completed when first looked, and by now
	goals         int    // that were seen, of different cycles
	before, goal  uint64 // the last two of them
}

func (h *settling) observe(s *record.Sample) {
	if !s.Has.Has(record.FieldGCCycles) || !s.Has.Has(record.FieldHeapGoalBytes) {
		return
	}
	if !h.known || s.GCCycles < h.cycles { // it cannot go back: then look anew
		*h = settling{known: true, began: s.GCCycles, cycles: s.GCCycles}
		return
	}
	if s.GCCycles > h.cycles {
		h.before, h.goal = h.goal, s.HeapGoalBytes
		h.goals++
		h.cycles = s.GCCycles
	}
}

// settled reports whether enough cycles have ended, and the last two goals are
// about the same.
func (h *settling) settled() bool {
	if h.cycles-h.began < settledCycles || h.goals < 2 {
		return false
	}
	high, low := float64(max(h.before, h.goal)), float64(min(h.before, h.goal))
	return low > 0 && high-low <= settledWithin*high
}

// Warm waits for at least least, until three GC cycles have ended meanwhile and the
// last two heap goals differ by 5% at most; or for most, when that does not come.
// It returns how long it waited, and Settled then says which it was. The process
// has its load by then: the cycles of a start, whose goals are alike because
// nothing happens yet, do not count.
func (w *Watch) Warm(ctx context.Context, least, most time.Duration) (time.Duration, error) {
	start := time.Now()
	most = max(most, least)
	w.mu.Lock()
	w.heap = settling{}
	w.mu.Unlock()
	tick := time.NewTicker(min(w.tick, 50*time.Millisecond))
	defer tick.Stop()
	for {
		w.mu.Lock()
		ended, settled := w.ended, w.heap.settled()
		w.settled = settled
		w.mu.Unlock()
		waited := time.Since(start)
		if ended != nil {
			return waited, ended
		}
		if waited >= least && settled || waited >= most {
			return waited, nil
		}
		select {
		case <-ctx.Done():
			return time.Since(start), ctx.Err()
		case <-tick.C:
		}
	}
}

// Settled reports whether the last Warm saw the heap settle. Otherwise it took as
// long as it was allowed to: a process that hardly collects, or one that grows.
func (w *Watch) Settled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.settled
}
