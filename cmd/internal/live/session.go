package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/profile"
	"github.com/heapwright/heapwright/cmd/internal/remote"
	"github.com/heapwright/heapwright/record"
)

// A Session is one process that may be changed, once. It is not for concurrent use.
type Session struct {
	host   Host
	pid    int
	target *remote.Target
	exe    string
	boot   string
	sample record.Sample
	books  books // as last read for the caller

	self  *SelfTunedError // the program tunes itself
	notes []string
	left  *Lease // what an earlier tool left

	hold  hold
	dog   *watchdog
	lease *Lease // of what this session applied; nil before and after
	used  bool
}

// A Receipt says what was written.
type Receipt struct {
	Time   time.Time
	PID    int
	Steps  []Step
	Theirs []string // words that somebody else has set since, and that were left alone
	Notes  []string // what to know about it, in full sentences
}

// Open takes hold of a process to look at its settings. Nothing is written.
// Errors are those of packages remote and procmem.
func (h Host) Open(ctx context.Context, pid int) (*Session, error) {
	t, err := remote.Attach(ctx, pid)
	if err != nil {
		return nil, err
	}
	s := &Session{host: h, pid: pid, target: t}
	if err := s.open(); err != nil {
		t.Close()
		return nil, err
	}
	return s, nil
}

func (s *Session) open() error {
	var err error
	if s.boot, err = procmem.BootID(); err != nil {
		return err
	}
	if s.exe, err = os.Readlink("/proc/" + strconv.Itoa(s.pid) + "/exe"); err != nil {
		s.exe = "" // for the log only
	}
	s.exe = strings.TrimSuffix(s.exe, " (deleted)")
	if s.self, s.notes, err = selfTuned(s.target); err != nil {
		return fmt.Errorf("looking for what the program does itself: %w", err)
	}
	s.left, err = s.host.readLease(s.pid, s.target.Process().StartTicks())
	switch {
	case err != nil:
		return err
	case s.left != nil && s.left.Kept:
		s.notes = append(s.notes, fmt.Sprintf("%s changed this process at %s; undo will restore what was there before that.", s.left.Owner.Tool, s.left.Owner.Since.Format(time.RFC3339)))
	}
	s.books, err = readBooks(s.target, &s.sample)
	return err
}

// Settings are GOGC (-1 is off) and GOMEMLIMIT (math.MaxInt64 is none) as they
// were last read.
func (s *Session) Settings() (gogcPercent, gomemlimitBytes int64) {
	return int64(s.books.percent), s.books.limit
}

// StormFloorBytes is the lowest memory limit that the process, as it was last
// read, could be given: its live heap and a tenth, and what is not heap.
func (s *Session) StormFloorBytes() int64 { return s.books.stormFloor() }

// Notes say what to know before changing the process, in full sentences.
func (s *Session) Notes() []string { return s.notes }

// Lease is what an earlier tool left: a change that was meant to stay, or one
// whose tool died. nil for neither.
func (s *Session) Lease() *Lease { return s.left }

// Describe reads the process again and says what Apply would write, in order.
// Errors: *[RangeError], *[StormFloorError], *[UnboundedError],
// *[SelfTunedError], *[InconsistentError], [ErrNothing], and those of package remote.
func (s *Session) Describe(c Change) ([]Step, error) {
	b, err := readBooks(s.target, &s.sample)
	if err != nil {
		return nil, err
	}
	s.books = b
	if s.self != nil {
		return nil, s.self
	}
	if err := b.check(c); err != nil {
		return nil, err
	}
	var steps []Step
	for _, p := range b.words(c) {
		w, err := s.target.Word(p.symbol)
		if err != nil {
			return nil, err
		}
		steps = append(steps, Step{p.symbol, w.Addr, w.Size, p.old, p.value})
	}
	return steps, nil
}

// Apply makes a change, which [Session.Close] takes back unless [Session.Keep]
// was called: so does the watchdog if this process dies. why is for the log.
//
// Right before writing, the process is attached to anew, and its settings must
// be what they were when they were last read for the caller. Errors: those of
// Describe, *[OwnerError], *[OwnedError], *[OrphanError], *[ChangedError],
// *[WatchdogError], [ErrApplied]. After an error what had been written is taken
// back as [Session.Revert] does; mostly nothing had.
func (s *Session) Apply(ctx context.Context, c Change, why string) (Receipt, error) {
	before := s.books
	if s.self != nil {
		return Receipt{}, s.self
	}
	return s.apply(ctx, ActionApply, why, func() ([]pair, error) {
		now, err := readBooks(s.target, &s.sample)
		if err != nil {
			return nil, err
		}
		var moved []string
		for _, w := range []string{remote.WordGCPercent, remote.WordHeapMinimum, remote.WordMemoryLimit} {
			if now.value(w) != before.value(w) {
				moved = append(moved, w)
			}
		}
		s.books = now
		if len(moved) > 0 {
			return nil, &ChangedError{moved}
		}
		return now.words(c), now.check(c)
	})
}

// apply takes the process's hold, proves the runtime anew, asks what to write,
// puts the lease on disk and the watchdog on guard, and writes.
func (s *Session) apply(ctx context.Context, action Action, why string, plan func() ([]pair, error)) (r Receipt, err error) {
	if s.used {
		return Receipt{}, ErrApplied
	}
	if err := mayChange(s.target.Process()); err != nil {
		return Receipt{}, err
	}
	if s.hold, err = takeHold(s.target.Process()); err != nil {
		if errors.Is(err, errHeld) {
			err = s.host.owned(s.pid, s.target.Process().StartTicks())
		}
		return Receipt{}, err
	}
	defer func() {
		if err != nil {
			s.letGo()
		}
	}()
	if err := s.prove(ctx); err != nil {
		return Receipt{}, err
	}
	start := s.target.Process().StartTicks()
	prior, err := s.host.readLease(s.pid, start)
	if err != nil {
		return Receipt{}, err
	}
	if prior != nil && !prior.Kept {
		return Receipt{}, &OrphanError{prior}
	}
	pairs, err := plan()
	if err != nil {
		return Receipt{}, err
	}
	owner, err := s.host.self()
	if err != nil {
		return Receipt{}, err
	}
	l := &Lease{BootID: s.boot, PID: s.pid, StartTicks: start, Stack: stackStart(s.pid), Exe: s.exe, Why: why, Owner: owner}
	if l.Words, l.Earlier, err = s.leaseWords(pairs, prior); err != nil {
		return Receipt{}, err
	}
	// A log that cannot be written to shows now, not when it is too late.
	log, err := s.host.openLog()
	if err != nil {
		return Receipt{}, err
	}
	log.Close()
	if err := s.host.write(l); err != nil {
		return Receipt{}, err
	}
	if s.dog, err = s.host.startWatchdog(ctx, s.pid, s.hold); err != nil {
		// Nothing was written, so the lease before is the truth again.
		return Receipt{}, errors.Join(&WatchdogError{err}, s.reinstate(l, prior))
	}
	s.used, s.lease = true, l
	steps, err := s.write(pairs)
	e := s.host.entry(l, action, steps, why)
	if err != nil {
		e.Outcome = "failed: " + err.Error()
	}
	err = errors.Join(err, s.host.log(&e))
	if err != nil {
		_, rerr := s.Revert(why + ": not all of it could be done")
		return Receipt{}, errors.Join(err, rerr)
	}
	s.left = nil
	l.Earlier = nil // whoever sets these values from now on is somebody else
	return Receipt{Time: e.Time, PID: s.pid, Steps: steps, Notes: s.notes}, nil
}

// Amend changes again what [Session.Apply] has changed: same hold, same watchdog, and
// what will be put back stays what was there before the first change. It is for
// changes that go in steps. c may name only settings that were applied.
//
// Errors: those of Describe and *[ChangedError], after which the process is as it
// was before the call, and the earlier change stands. After any other error what
// was changed is taken back, all of it, as after one of Apply.
func (s *Session) Amend(c Change, why string) (Receipt, error) {
	if s.lease == nil {
		return Receipt{}, ErrNotApplied
	}
	now, err := readBooks(s.target, &s.sample)
	if err != nil {
		return Receipt{}, err
	}
	s.books = now
	if err := now.check(c); err != nil {
		return Receipt{}, err
	}
	moved, err := s.changedSince()
	if err != nil {
		return Receipt{}, err
	}
	if len(moved) > 0 {
		return Receipt{}, &ChangedError{moved}
	}
	pairs := now.words(c)
	l, err := s.lease.amended(pairs)
	if err != nil {
		return Receipt{}, err
	}
	if err := s.host.write(l); err != nil {
		return Receipt{}, err
	}
	s.dog.look()
	s.lease = l
	steps, err := s.write(pairs)
	e := s.host.entry(l, ActionAmend, steps, why)
	if err != nil {
		e.Outcome = "failed: " + err.Error()
	}
	if err = errors.Join(err, s.host.log(&e)); err != nil {
		_, rerr := s.Revert(why + ": not all of it could be done")
		return Receipt{}, errors.Join(err, rerr)
	}
	l.Earlier = nil // as in apply
	return Receipt{Time: e.Time, PID: s.pid, Steps: steps, Notes: s.notes}, nil
}

// amended is the lease with other values to come. What it had set is there until
// they are written.
func (l *Lease) amended(pairs []pair) (*Lease, error) {
	next := *l
	next.Words, next.Earlier = slices.Clone(l.Words), nil
	for _, p := range pairs {
		if p.symbol == remote.WordGCPercentHeapGoal {
			continue
		}
		i := slices.IndexFunc(next.Words, func(w Step) bool { return w.Symbol == p.symbol })
		if i < 0 {
			return nil, fmt.Errorf("%w: it did not set %s", ErrNotApplied, p.symbol)
		}
		next.Earlier = append(next.Earlier, next.Words[i])
		next.Words[i].New = p.value
	}
	return &next, nil
}

// prove attaches to the process anew, so that its runtime is found and checked
// again, and refuses what is not the process of before, or lies elsewhere.
func (s *Session) prove(ctx context.Context) error {
	t, err := remote.Attach(ctx, s.pid)
	if err != nil {
		return err
	}
	old := s.target
	if t.Process().StartTicks() != old.Process().StartTicks() {
		t.Close()
		return &procmem.Error{Op: "check", PID: s.pid, Err: procmem.ErrExited}
	}
	err = old.Alive()
	for _, symbol := range []string{remote.WordGCPercent, remote.WordMemoryLimit} {
		a, aerr := old.Word(symbol)
		b, berr := t.Word(symbol)
		if err = errors.Join(err, aerr, berr); err == nil && a != b {
			err = &InconsistentError{fmt.Sprintf("%s was at %#x and is at %#x", symbol, a.Addr, b.Addr)}
		}
	}
	if err != nil {
		t.Close()
		return err
	}
	s.target = t
	return old.Close()
}

// leaseWords is what will have to be restored: what is there now or, where an
// earlier change was kept and still holds, what was there before that. Of those
// earlier is what the kept change had set.
func (s *Session) leaseWords(pairs []pair, prior *Lease) (words, earlier []Step, err error) {
	now := func(symbol string) (remote.Word, uint64, error) {
		w, err := s.target.Word(symbol)
		if err != nil {
			return w, 0, err
		}
		v, err := s.target.Value(w)
		return w, v, err
	}
	held := map[string]Step{}
	if prior != nil {
		for _, p := range prior.Words {
			_, v, err := now(p.Symbol)
			if err != nil {
				return nil, nil, err
			}
			if v == p.New {
				held[p.Symbol] = p
			}
		}
		_, percent := held[remote.WordGCPercent]
		_, minimum := held[remote.WordHeapMinimum]
		if percent != minimum { // somebody set both since, one to the same value
			delete(held, remote.WordGCPercent)
			delete(held, remote.WordHeapMinimum)
		}
	}
	for _, p := range pairs {
		if p.symbol == remote.WordGCPercentHeapGoal {
			continue
		}
		w, v, err := now(p.symbol)
		if err != nil {
			return nil, nil, err
		}
		step := Step{p.symbol, w.Addr, w.Size, v, p.value}
		if h, ok := held[p.symbol]; ok {
			step.Old = h.Old
			earlier = append(earlier, h)
			delete(held, p.symbol)
		}
		words = append(words, step)
	}
	if prior != nil {
		for _, p := range prior.Words {
			if h, ok := held[p.Symbol]; ok {
				words = append(words, h)
			}
		}
	}
	return words, earlier, nil
}

// write writes the words in order and looks whether all hold at the end.
func (s *Session) write(pairs []pair) (steps []Step, err error) {
	for _, p := range pairs {
		w, err := s.target.Word(p.symbol)
		if err != nil {
			return steps, err
		}
		if p.symbol == remote.WordGCPercentHeapGoal {
			step, err := commit(s.target, &s.sample)
			if err != nil {
				return steps, err
			}
			steps = append(steps, step)
			continue
		}
		if err := set(s.target, p.symbol, p.old, p.value); err != nil {
			return steps, err
		}
		steps = append(steps, Step{w.Symbol, w.Addr, w.Size, p.old, p.value})
	}
	changed, err := s.changedSince()
	if err == nil && len(changed) > 0 {
		err = &ChangedError{changed}
	}
	return steps, err
}

// changedSince lists the words of the change that no longer hold what was written.
func (s *Session) changedSince() ([]string, error) {
	var changed []string
	for _, w := range s.lease.Words {
		at, err := s.target.Word(w.Symbol)
		if err != nil {
			return nil, err
		}
		v, err := s.target.Value(at)
		if err != nil {
			return nil, err
		}
		if v != w.New {
			changed = append(changed, w.Symbol)
		}
	}
	return changed, s.target.Alive()
}

// Keep makes the change outlive this process: the watchdog is dismissed, and
// the lease keeps what undo needs.
func (s *Session) Keep() error {
	if s.lease == nil {
		return nil
	}
	kept := *s.lease
	kept.Kept, kept.Earlier = true, nil
	// From here on a watchdog that is left alone will find the change kept.
	if err := s.host.write(&kept); err != nil {
		return err
	}
	s.lease = nil
	s.left = &kept
	e := s.host.entry(&kept, ActionKeep, kept.Words, kept.Why)
	err := s.host.log(&e)
	s.letGo()
	return err
}

// Revert puts back what was there before the change, where it still is as it was
// written; after a change of a process that an earlier, kept one had changed, what
// was there before both.
func (s *Session) Revert(why string) (Receipt, error) {
	if s.lease == nil {
		return Receipt{}, nil
	}
	r, err := s.host.restore(s.target, s.lease, ActionRevert, why)
	if err != nil && !gone(err) {
		return r, err // the lease stays, and the watchdog will try again
	}
	s.lease = nil
	s.letGo()
	return r, err
}

// Guarded reports whether the watchdog is there, so that a change does not
// outlive this process by accident.
func (s *Session) Guarded() bool { return s.dog != nil && s.dog.alive() }

// letGo ends the watchdog and gives up the hold. A change that could not be put
// back is the watchdog's to try again, before the hold is gone.
func (s *Session) letGo() {
	if s.dog != nil && s.lease != nil {
		s.dog.abandon()
	} else if s.dog != nil {
		s.dog.dismiss()
	}
	s.dog, s.lease = nil, nil
	s.hold.release()
	s.hold = hold{}
}

// reinstate puts the lease back that was there before one that came to nothing.
func (s *Session) reinstate(l, prior *Lease) error {
	if prior != nil {
		return s.host.write(prior)
	}
	return s.host.drop(l)
}

// Close reverts a change that was not kept, and lets go of the process.
func (s *Session) Close() error {
	_, err := s.Revert("the tool ended")
	if gone(err) {
		err = nil
	}
	s.letGo()
	return errors.Join(err, s.target.Close())
}

// A Sampling is a kind of event that the runtime samples for profiles.
type Sampling string

const (
	SampleHeap  Sampling = "heap"  // rate: bytes allocated between two samples
	SampleBlock Sampling = "block" // rate: nanoseconds of waiting between two samples
	SampleMutex Sampling = "mutex" // rate: one of so many contentions
)

// samplings are the rates: the default, and the most that makes sense.
var samplings = map[Sampling]struct {
	symbol  string
	rate    int64
	largest int64
}{
	SampleHeap:  {remote.WordMemProfileRate, 512 << 10, 1 << 30}, // runtime/mprof.go
	SampleBlock: {remote.WordBlockProfileRate, 10_000, int64(time.Hour)},
	SampleMutex: {remote.WordMutexProfileRate, 10, 1 << 30},
}

// A SamplingOnError says that the program samples already. Another rate would
// make what it has sampled so far scale wrongly.
type SamplingOnError struct {
	Kind Sampling
	Rate int64 // as the runtime has it
}

func (e *SamplingOnError) Error() string {
	return fmt.Sprintf("the process samples for %s profiles already, at a rate of %d", e.Kind, e.Rate)
}

// Hint says what to do.
func (e *SamplingOnError) Hint() string {
	return "take the profile as it is, without switching anything on"
}

// EnableSampling switches on what a program, or its linker, left off. Rate 0 is
// the usual one. It is taken back like any change; what was sampled meanwhile
// stays in the process. Programs that tune their GC themselves are no obstacle.
func (s *Session) EnableSampling(ctx context.Context, kind Sampling, rate int64) (Receipt, error) {
	k, ok := samplings[kind]
	if !ok {
		return Receipt{}, fmt.Errorf("there is no sampling for %q profiles: heap, block or mutex", kind)
	}
	if rate == 0 {
		rate = k.rate
	}
	if rate < 0 || rate > k.largest {
		return Receipt{}, &RangeError{string(kind) + " sampling rate", rate, fmt.Sprintf("1 to %d", k.largest)}
	}
	why := fmt.Sprintf("sampling for a %s profile, rate %d", kind, rate)
	return s.apply(ctx, ActionSample, why, func() ([]pair, error) {
		value := uint64(rate)
		if kind == SampleBlock && rate > 1 { // in cycles, as runtime.SetBlockProfileRate does
			value = max(1, uint64(float64(rate)*float64(profile.TicksPerSecond(s.target))/1e9))
		}
		w, err := s.target.Word(k.symbol)
		if err != nil {
			return nil, err
		}
		now, err := s.target.Value(w)
		if err != nil {
			return nil, err
		}
		if int64(now) > 0 {
			return nil, &SamplingOnError{kind, int64(now)}
		}
		return []pair{{k.symbol, now, value}}, nil
	})
}
