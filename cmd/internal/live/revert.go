package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/poke"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/remote"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// unsettled is how often a reading is tried anew while cycles follow each other.
const unsettled = 100

// readBooks reads the settings of a process and what the heap goal is made of.
func readBooks(t *remote.Target, s *record.Sample) (books, error) {
	model, err := pacer.ModelOf(t.GoVersion())
	if err != nil {
		return books{}, err
	}
	for range unsettled {
		if err = t.Sample(s); !errors.Is(err, remote.ErrUnsettled) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return books{}, err
	}
	g := t.PercentGoal()
	return books{
		model: model, percent: int32(s.GOGCPercent), limit: s.GOMEMLIMITBytes,
		minimum: g.HeapMinimumBytes, goal: g.GoalBytes,
		heap:    pacer.Heap{Marked: g.MarkedBytes, StackScan: g.StackScanBytes, Globals: g.GlobalsScanBytes},
		nonHeap: g.NonHeapBytes,
	}, nil
}

// set writes one word of a process.
func set(t *remote.Target, symbol string, old, value uint64) error {
	w, err := t.Word(symbol)
	if err != nil {
		return err
	}
	err = poke.Set(t.Process(), poke.Word{Addr: w.Addr, Size: w.Size}, old, value)
	var changed *poke.ChangedError
	var readBack *poke.ReadBackError
	switch {
	case errors.As(err, &changed), errors.As(err, &readBack):
		return &ChangedError{[]string{symbol}}
	case err != nil:
		return fmt.Errorf("writing %s: %w", symbol, err)
	}
	return nil
}

// commit writes the heap goal that follows from the GOGC that is set, as
// runtime.gcControllerCommit does. The runtime does the same at the end of each
// cycle: if one ends in between, its goal is looked at anew.
func commit(t *remote.Target, s *record.Sample) (Step, error) {
	var err error
	for range unsettled {
		var b books
		if b, err = readBooks(t, s); err != nil {
			return Step{}, err
		}
		w, werr := t.Word(remote.WordGCPercentHeapGoal)
		if werr != nil {
			return Step{}, werr
		}
		goal := b.model.PercentGoal(b.heap, int64(b.percent))
		step := Step{w.Symbol, w.Addr, w.Size, b.goal, goal}
		if b.goal == goal {
			return step, nil
		}
		var changed *ChangedError
		if err = set(t, w.Symbol, b.goal, goal); !errors.As(err, &changed) {
			return step, err
		}
	}
	return Step{}, err
}

// putBack restores what a lease says was there before, word by word: what holds
// what the lease's owner wrote. What holds something else is theirs: somebody
// set it since, and it stays.
func putBack(t *remote.Target, l *Lease) (done []Step, theirs []string, err error) {
	var s record.Sample
	b, err := readBooks(t, &s)
	if err != nil {
		return nil, nil, err
	}
	old := map[string]Step{}
	for _, w := range l.Words {
		old[w.Symbol] = w
	}
	// A tool that dies before it writes leaves what an earlier change had set.
	earlier := map[string]Step{}
	for _, w := range l.Earlier {
		earlier[w.Symbol] = w
	}
	theirsNow := func(w Step, now uint64) bool {
		e, ok := earlier[w.Symbol]
		return now != w.Old && now != w.New && !(ok && now == e.New)
	}
	restore := func(symbol string) error {
		w := old[symbol]
		at, err := t.Word(symbol)
		if err != nil {
			return err
		}
		now, err := t.Value(at)
		switch {
		case err != nil:
			return err
		case now == w.Old:
			return nil
		case theirsNow(w, now):
			theirs = append(theirs, symbol)
			return nil
		}
		if err := set(t, symbol, now, w.Old); err != nil {
			return err
		}
		done = append(done, Step{symbol, at.Addr, at.Size, now, w.Old})
		return nil
	}
	gogc := func() error {
		p, ok := old[remote.WordGCPercent]
		m := old[remote.WordHeapMinimum]
		switch {
		case !ok:
			return nil
		case m.Old != b.model.HeapMinimum(int64(int32(p.Old))):
			return &InconsistentError{fmt.Sprintf("the lease's least heap of %d bytes is not that of GOGC=%d", m.Old, int32(p.Old))}
		case theirsNow(p, b.value(p.Symbol)), theirsNow(m, b.minimum):
			theirs = append(theirs, remote.WordGCPercent) // whoever sets the one sets the other
			return nil
		}
		first, second := remote.WordHeapMinimum, remote.WordGCPercent
		if int32(p.Old) < 0 { // as in books.words
			first, second = second, first
		}
		if err := restore(first); err != nil {
			return err
		}
		if err := restore(second); err != nil {
			return err
		}
		// Also where both were back already: a tool may have died before this.
		step, err := commit(t, &s)
		if err == nil && step.Old != step.New {
			done = append(done, step)
		}
		return err
	}
	one := func(symbol string) error {
		if _, ok := old[symbol]; !ok {
			return nil
		}
		return restore(symbol)
	}
	limit := func() error {
		w, ok := old[remote.WordMemoryLimit]
		if !ok || w.Old != pacer.NoMemoryLimit {
			return one(remote.WordMemoryLimit)
		}
		// Who has set GOGC=off since relies on the limit that is there: without it
		// nothing would start a collection.
		at, err := t.Word(remote.WordGCPercent)
		if err != nil {
			return err
		}
		switch now, err := t.Value(at); {
		case err != nil:
			return err
		case int32(now) < 0:
			theirs = append(theirs, remote.WordMemoryLimit)
			return nil
		}
		return one(remote.WordMemoryLimit)
	}
	order := []func() error{gogc, limit}
	if p, ok := old[remote.WordGCPercent]; ok && int32(p.Old) < 0 {
		order[0], order[1] = order[1], order[0] // a heap without GOGC must have its limit first
	}
	for _, symbol := range []string{remote.WordMemProfileRate, remote.WordBlockProfileRate, remote.WordMutexProfileRate} {
		order = append(order, func() error { return one(symbol) })
	}
	var errs []error
	for _, f := range order {
		err := f()
		var changed *ChangedError
		if errors.As(err, &changed) {
			theirs = append(theirs, changed.Symbols...)
			err = nil
		}
		errs = append(errs, err)
	}
	return done, theirs, errors.Join(errs...)
}

// gone reports whether there is nothing left to restore.
func gone(err error) bool {
	return errors.Is(err, procmem.ErrExited) || errors.Is(err, procmem.ErrReplaced)
}

// restore puts back what a lease says, logs it, and ends the lease. A lease
// whose values could not all be put back stays, for another try.
func (h Host) restore(t *remote.Target, l *Lease, action Action, why string) (Receipt, error) {
	done, theirs, err := putBack(t, l)
	e := h.entry(l, action, done, why)
	switch {
	case gone(err):
		e.Outcome = err.Error()
	case err != nil:
		e.Outcome = "failed: " + err.Error()
	case len(theirs) > 0:
		e.Outcome = (&ChangedError{theirs}).Error() + "; that stays"
	}
	r := Receipt{Time: e.Time, PID: l.PID, Steps: done, Theirs: theirs}
	logErr := h.log(&e)
	if err != nil && !gone(err) {
		return r, errors.Join(err, logErr)
	}
	return r, errors.Join(err, h.drop(l), logErr)
}

func (h Host) entry(l *Lease, action Action, words []Step, why string) Entry {
	return Entry{
		Time: time.Now().UTC(), Action: action, Tool: h.Tool, UID: os.Geteuid(), User: h.User,
		PID: l.PID, Start: l.StartTicks, BootID: l.BootID, Exe: l.Exe, Words: words, Why: why, Outcome: "ok",
	}
}

func (h Host) log(e *Entry) error {
	f, err := h.openLog()
	if err != nil {
		return err
	}
	err = e.write(f)
	if cerr := f.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("writing the log: %w", cerr)
	}
	return err
}

// Undo puts back what was changed in a process by a tool that has ended, whether
// it meant the change to stay or died. What was set by others since stays as it
// is, and is in the receipt. Errors: *[NoLeaseError], *[OwnedError],
// *[OwnerError], and those of packages remote and procmem.
func (h Host) Undo(ctx context.Context, pid int) (Receipt, error) {
	p, err := procmem.Open(pid)
	if err != nil {
		return Receipt{}, err
	}
	defer p.Close()
	l, err := h.readLease(pid, p.StartTicks())
	if err != nil {
		return Receipt{}, err
	}
	if l == nil {
		return Receipt{}, &NoLeaseError{pid}
	}
	t, err := remote.Attach(ctx, pid)
	if err != nil {
		return Receipt{}, err
	}
	defer t.Close()
	if err := mayChange(t.Process()); err != nil {
		return Receipt{}, err
	}
	hold, err := takeHold(t.Process())
	if errors.Is(err, errHeld) {
		return Receipt{}, h.owned(pid, p.StartTicks())
	}
	if err != nil {
		return Receipt{}, err
	}
	defer hold.release()
	// Only now is it certain that nobody else is at it.
	if l, err = h.readLease(pid, t.Process().StartTicks()); err != nil {
		return Receipt{}, err
	}
	if l == nil {
		return Receipt{}, &NoLeaseError{pid}
	}
	return h.restore(t, l, ActionUndo, "undo")
}
