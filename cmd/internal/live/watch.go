package live

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/remote"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// A Status is what [Watch] tells while it watches.
type Status struct {
	Elapsed      time.Duration
	Observation  Observation
	Effective    bool    // the runtime's own arithmetic has shown the change
	GCCPURatio   float64 // since the change; NaN when not known yet
	RSSPeakBytes uint64
}

// An Outcome is how watching ended.
type Outcome struct {
	// Verdict is GoOn when the time was over and nothing spoke against the change:
	// then it is the caller's to keep or to take back.
	Verdict  Verdict
	Status   Status
	Reverted Receipt // what was put back, after TakeBack and StandAside
	Notes    []string
}

const (
	watchEvery = 500 * time.Millisecond
	// blind is how many looks in a row may fail.
	blind = 40
)

// A subject is what is watched: a Session, or a test's.
type subject interface {
	observe() (Observation, error)
	guarded() bool
	takeBack(why string) (Receipt, error)
}

// Watch looks at a process after a change until e.For is over or [Judge] decides
// otherwise, and then acts on it. If the context ends first, the old values are
// put back. The session stays open. tick may be nil.
func Watch(ctx context.Context, s *Session, e Expectation, tick func(Status)) (Outcome, error) {
	if s.lease == nil {
		return Outcome{}, errors.New("watching: nothing was changed")
	}
	w := &watched{Session: s}
	stat, err := goproc.OpenStat(s.pid, record.Process{PID: s.pid})
	switch {
	case gone(err): // watch will see that, and clear up
	case err != nil:
		return Outcome{}, fmt.Errorf("watching: %w", err)
	default:
		defer stat.Close()
		w.stat = stat
	}
	return watch(ctx, w, e, tick)
}

func watch(ctx context.Context, w subject, e Expectation, tick func(Status)) (Outcome, error) {
	var out Outcome
	var state State
	begin := time.Now()
	guarded, failed := true, 0
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		o, err := w.observe()
		if err != nil {
			if failed++; failed == blind {
				out.Verdict = Verdict{TakeBack, fmt.Sprintf("the process can no longer be read: %v", err)}
			}
		} else {
			failed = 0
			state, out.Verdict = Judge(state, o, e)
			out.Status = Status{time.Since(begin), o, state.Effective(), state.GCCPURatio(), state.RSSPeakBytes()}
			if tick != nil {
				tick(out.Status)
			}
		}
		if guarded && !w.guarded() {
			guarded = false
			out.Notes = append(out.Notes, "The watchdog has ended: if heapwright is killed now, heapwright undo is needed.")
		}
		over := e.For > 0 && time.Since(begin) >= e.For
		if out.Verdict.Decision == GoOn && !over {
			select {
			case <-ctx.Done():
				out.Verdict = Verdict{TakeBack, "it was interrupted"}
			case <-t.C:
				continue
			}
		}
		break
	}
	if out.Verdict.Decision == GoOn && !state.Effective() {
		out.Notes = append(out.Notes, "No GC cycle has ended since the change, so its effect was not seen yet.")
	}
	if got, want := out.Status.GCCPURatio, e.GCCPURatio; out.Verdict.Decision == GoOn && got < 0.7*want && want-got > 0.01 {
		out.Notes = append(out.Notes, fmt.Sprintf("The collector takes %.1f%% of the CPU where %.1f%% were expected: there is less load than there was, or the forecast is wrong in other things too.", 100*got, 100*want))
	}
	var err error
	switch out.Verdict.Decision {
	case TakeBack, StandAside, End:
		out.Reverted, err = w.takeBack(out.Verdict.Why)
		if gone(err) {
			out.Verdict.Decision, err = End, nil
		}
	}
	return out, err
}

// watched is a Session that is watched.
type watched struct {
	*Session
	stat *goproc.Stat // nil when the process has ended already
}

func (w *watched) guarded() bool                        { return w.Guarded() }
func (w *watched) takeBack(why string) (Receipt, error) { return w.Revert(why) }

func (w *watched) observe() (Observation, error) {
	b, o, err := observe(w.target, &w.sample, w.stat)
	if err == nil && !o.Gone {
		o.Theirs, err = w.changedSince()
		o.Gone = gone(err)
	}
	if o.Gone {
		return Observation{Time: o.Time, Gone: true}, nil
	}
	if err != nil {
		return o, err
	}
	w.books = b
	return o, nil
}

// observe looks at a process: all but whose its settings are. stat is nil when the
// process has ended already.
func observe(t *remote.Target, s *record.Sample, stat *goproc.Stat) (books, Observation, error) {
	o := Observation{Time: time.Now()}
	b, err := readBooks(t, s)
	if err == nil && stat != nil {
		err = stat.Fill(s)
	}
	if gone(err) || stat == nil {
		o.Gone = true
		return b, o, nil
	}
	if err != nil {
		return b, o, err
	}
	o.Cycles, o.LimiterLastCycle = s.GCCycles, s.LimiterLastCycle
	o.GCTotal, o.GCIdle, o.Busy = s.CPUGCTotal, s.CPUGCIdle, s.CPUTotal-s.CPUIdle
	o.ProcessCPU, o.RSSBytes = s.CPUProcUser+s.CPUProcSystem, s.RSSBytes
	// What the runtime committed at the end of the last cycle is what the
	// settings make of it, and under a limit that cycle aimed no higher.
	o.Effective = b.goal == b.model.PercentGoal(b.heap, int64(b.percent)) &&
		(b.limit == pacer.NoMemoryLimit || t.PercentGoal().LastGoalBytes <= max(uint64(b.limit), b.heap.Marked+b.heap.Marked/10))
	return b, o, nil
}
