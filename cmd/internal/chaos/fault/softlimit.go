package fault

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/human"
	"github.com/heapwright/heapwright/cmd/internal/live"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/remote"
	"github.com/heapwright/heapwright/record"
)

// The soft limit is GOMEMLIMIT of the running process, lowered as tune --apply live sets
// it: all rails of package live are in force, its watchdog puts the limit back when this
// process dies, and each change is in its log. A program that tunes itself is asked to
// do it, through its debug page, on a lease.
const (
	// StepSoftLimit: GOMEMLIMIT of the process PID was changed; Data has the debug page
	// in "via" if it was through that.
	StepSoftLimit = "limit.soft"

	// softWhy begins the reason that is in the lease and in the log.
	softWhy = "stress: the fault "

	// softSteps is into how many steps the way of a ramp is divided at most: each is a
	// line in the log.
	softSteps = 64

	// softLease is the lease through a debug page, softRenew how often it is renewed.
	softLease, softRenew = 15 * time.Second, 5 * time.Second
	// A debug page takes so many changes at once, and then one each so often (package
	// debugz); its clock is not ours. One is kept for a renewal, one for the end.
	viaBurst    = 10
	viaEach     = 2 * time.Second
	viaReserved = 2
)

// A FloorError says that the soft limit cannot come down to where it should: below the
// storm floor the process would do little but collect garbage. The limit stays where it
// was.
type FloorError struct {
	WantBytes, FloorBytes, LimitBytes int64
	Err                               error
}

func (e *FloorError) Error() string {
	// Without the floor, which moves: who asks again and again is told the same.
	return fmt.Sprintf("the soft limit stays at %s: a lower one would be below the storm floor, what lives and a tenth, and what is not heap", limitText(e.LimitBytes))
}

func (e *FloorError) Unwrap() error { return e.Err }

// Hint is what a user can do about it.
func (e *FloorError) Hint() string {
	return fmt.Sprintf("what lives in the process has grown since it began; set a level of at least %d MiB", (e.FloorBytes+1<<20-1)>>20)
}

// A setter is a process whose settings may be changed: a live.Session or a live.Via.
type setter interface {
	Describe(live.Change) ([]live.Step, error)
	Apply(context.Context, live.Change, string) (live.Receipt, error)
	Revert(string) (live.Receipt, error)
	Close() error
}

// openSoft opens the process for a change of its limit: by its debug page if the
// program tunes itself, nil where that is not so.
func openSoft(ctx context.Context, t *Target) (*live.Session, *live.Via, error) {
	h, err := live.NewHost(os.Getenv)
	if err != nil {
		return nil, nil, &RefusedError{Why: "there is no place for the lease of the change", Err: err}
	}
	s, err := h.Open(ctx, t.PID)
	if err != nil {
		return nil, nil, refusedBy("the process cannot be read", err)
	}
	var self *live.SelfTunedError
	// A change that is none: what is asked is whether there may be one.
	if _, err = s.Describe(live.Change{}); !errors.As(err, &self) {
		switch l := s.Lease(); {
		case err != nil && !errors.Is(err, live.ErrNothing):
			err = refusedBy("its settings cannot be changed", err)
		case l != nil && l.Kept:
			// Ours would take the place of that lease, and would put back what was before both.
			err = &RefusedError{Why: fmt.Sprintf("%s has changed the settings of this process, to stay", l.Owner.Tool), hint: fmt.Sprintf("set them in its configuration, or take them back: heapwright undo %d", t.PID)}
		case l != nil:
			err = refusedBy("its settings cannot be changed", &live.OrphanError{Lease: l})
		default:
			return s, nil, nil
		}
		s.Close()
		return nil, nil, err
	}
	s.Close()
	switch {
	case !self.Ours:
		return nil, nil, refusedBy("its settings cannot be changed", self)
	case t.Debug == "":
		return nil, nil, &RefusedError{Why: self.Error(), hint: "give target.debug, the address of its debug page: it is asked to do it, if it serves package debugz with AllowChange"}
	}
	v, err := h.OpenVia(ctx, t.PID, t.Debug)
	if err != nil {
		return nil, nil, refusedBy("the program cannot be asked to change its limit", err)
	}
	v.Brief(softLease)
	return nil, v, nil
}

// refusedBy makes an error of what lies below a refusal, with its advice.
func refusedBy(why string, err error) error {
	e := &RefusedError{Why: why, Err: err}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		e.hint = hinted.Hint()
	}
	return e
}

// A softView is what of a process the soft limit is about.
type softView struct {
	limit  int64 // math.MaxInt64 is none
	mapped int64 // what it is held against
}

// softRange says from where to where the limit goes.
func softRange(f chaos.Fault, now softView, cgroup uint64) (from, level int64, err error) {
	unlimited := now.limit == math.MaxInt64
	whole := now.limit
	if unlimited {
		whole = int64(min(cgroup, math.MaxInt64))
	}
	bytes := func(l chaos.Level) (int64, error) {
		v, err := absolute(l, float64(whole), "soft limit, or of the limit of its cgroup")
		if err == nil && !(v >= 1 && v < 1<<62) {
			err = &RefusedError{Why: fmt.Sprintf("a soft limit of %g bytes", v), hint: "give a level in bytes, such as 256MiB, or a share of the limit, such as 60%"}
		}
		return int64(v), err
	}
	if level, err = bytes(f.Level); err != nil {
		return 0, 0, err
	}
	if level >= now.limit {
		return 0, 0, &RefusedError{Why: fmt.Sprintf("the soft limit is %s: %s is no squeeze", limitText(now.limit), sizeText(float64(level))), hint: "give a level below it"}
	}
	switch {
	case !f.From.IsZero():
		if from, err = bytes(f.From); err != nil {
			return 0, 0, err
		}
		if from < level || from > now.limit {
			return 0, 0, &RefusedError{Why: fmt.Sprintf("from %s to %s is not down from where the limit is", sizeText(float64(from)), sizeText(float64(level))), hint: "from lies between the limit and the level"}
		}
	case unlimited:
		// A limit above what there is does nothing: the ramp begins where it begins to tell.
		from = max(now.mapped, level)
	default:
		from = now.limit
	}
	return from, level, nil
}

func resolveSoft(ctx context.Context, f chaos.Fault, t *Target, _ chaos.Caps, _ Room) (*Resolved, error) {
	s, v, err := openSoft(ctx, t)
	if err != nil {
		return nil, err
	}
	var set setter = s
	notes := []string{"a watchdog, a process of its own, puts the old limit back if heapwright dies"}
	if v != nil {
		set = v
		notes = v.Notes()
	}
	defer set.Close()
	if s != nil {
		notes = append(notes, s.Notes()...)
	}
	e, err := openEye(ctx, t)
	if err != nil {
		return nil, err
	}
	defer e.close()
	now, err := e.look()
	if err != nil {
		return nil, refusedBy("the process cannot be read", err)
	}
	from, level, err := softRange(f, softView{now.GOMEMLIMITBytes, int64(min(now.MappedReadyBytes, math.MaxInt64))}, cgroupLimit(t))
	if err != nil {
		return nil, err
	}
	steps, err := set.Describe(live.Change{GOMEMLIMITBytes: &level})
	if err != nil {
		return nil, refusedBy("the soft limit cannot come down to "+sizeText(float64(level)), err)
	}
	r := &Resolved{Fault: f, From: float64(from), Level: float64(level)}
	r.Words = append(r.Words, fmt.Sprintf("GOMEMLIMIT of process %d is lowered from %s to %s while it runs", t.PID, limitText(now.GOMEMLIMITBytes), limitText(level)))
	for _, s := range steps {
		r.Words = append(r.Words, "written: "+s.String())
	}
	r.Words = append(r.Words, notes...)
	return r, nil
}

// cgroupLimit is the smallest memory limit that is seen along the path of the target's
// group; 0 for none.
func cgroupLimit(t *Target) uint64 {
	if t.Memory.Path == "" {
		return 0
	}
	m, err := t.Memory.look()
	if err != nil || !m.limited {
		return 0
	}
	return m.limit
}

// An eye reads the runtime's books of a process.
type eye struct {
	mu     sync.Mutex
	target *remote.Target
	sample record.Sample
}

func openEye(ctx context.Context, t *Target) (*eye, error) {
	r, err := remote.Attach(ctx, t.PID)
	if err != nil {
		return nil, refusedBy("the process cannot be read", err)
	}
	if r.Process().StartTicks() != t.Start {
		r.Close()
		return nil, &RefusedError{Why: fmt.Sprintf("process %d has ended, and another has its number", t.PID)}
	}
	return &eye{target: r}, nil
}

// look takes a sample; while a cycle is being entered in the books it tries again.
func (e *eye) look() (record.Sample, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var err error
	for range 100 {
		if err = e.target.Sample(&e.sample); !errors.Is(err, remote.ErrUnsettled) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return e.sample, err
}

func (e *eye) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.target.Close()
}

// A soft is the effect of a lowered limit.
type soft struct {
	why     string
	setter  setter
	session *live.Session // one of the two
	via     *live.Via
	eye     *eye
	journal Journal
	step    Step

	old, level, least int64 // what it was, where the ramp ends, the smallest step
	base              record.Sample

	ctx   context.Context // ends with Undo, and with what it was made in
	stop  context.CancelFunc
	renew sync.WaitGroup
	spend bucket

	mu      sync.Mutex // one change at a time
	applied bool
	now     int64 // what we have set
	over    bool
	undone  error
}

func makeSoft(ctx context.Context, r *Resolved, t *Target, j Journal) (Effect, error) {
	e, err := openEye(ctx, t)
	if err != nil {
		return nil, err
	}
	now, err := e.look()
	if err != nil {
		e.close()
		return nil, refusedBy("the process cannot be read", err)
	}
	s := &soft{
		why: softWhy + faultName(r.Fault), eye: e, journal: j, base: now,
		old: now.GOMEMLIMITBytes, now: now.GOMEMLIMITBytes, level: int64(r.Level),
		least: int64(math.Abs(r.From-r.Level)) / softSteps,
		spend: bucket{size: viaBurst, each: viaEach + viaEach/8},
	}
	if s.session, s.via, err = openSoft(ctx, t); err != nil {
		e.close()
		return nil, err
	}
	data := map[string]string{}
	if s.setter = s.session; s.via != nil {
		s.setter = s.via
		data["via"] = t.Debug
	}
	s.step = Step{ID: nextStep(), Kind: StepSoftLimit, PID: t.PID, Start: t.Start, Old: strconv.FormatInt(s.old, 10), New: strconv.FormatInt(s.level, 10), Data: data}
	s.ctx, s.stop = context.WithCancel(ctx)
	return s, nil
}

// Set sets the limit, never above what it was. Levels that are nearer to the one there
// is than a step of the ramp are let be, but for the last. A debug page takes a level
// each two seconds: for that it waits. Errors: *[FloorError], and those of package live.
func (s *soft) Set(ctx context.Context, level float64) error {
	if !(level >= 1 && level < 1<<63) {
		return fmt.Errorf("setting the soft limit: %g bytes", level)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(s.ctx, stop)()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return errUndone
	}
	want := min(int64(level), s.old)
	if d := want - s.now; d == 0 || s.applied && max(d, -d) < s.least && want != s.level && want != s.old {
		return nil
	}
	if s.via != nil {
		if err := s.spend.wait(ctx, viaReserved); err != nil {
			return err
		}
	}
	change := live.Change{GOMEMLIMITBytes: &want}
	var err error
	switch {
	case !s.applied:
		err = s.apply(ctx, change)
	case s.via != nil:
		_, err = s.via.Amend(ctx, change, s.why)
	default:
		_, err = s.session.Amend(change, s.why)
	}
	var floor *live.StormFloorError
	switch {
	case errors.As(err, &floor):
		return &FloorError{want, floor.FloorBytes, s.now, err}
	case err != nil && !errors.Is(err, live.ErrNothing):
		return fmt.Errorf("setting the soft limit: %w", err)
	}
	s.now = want
	return nil
}

// apply makes the first change, of which there is a step in the journal before.
func (s *soft) apply(ctx context.Context, c live.Change) error {
	if _, err := s.setter.Describe(c); err != nil {
		return err
	}
	if err := s.journal.Will(s.step); err != nil {
		return err
	}
	if _, err := s.setter.Apply(ctx, c, s.why); err != nil {
		return errors.Join(err, s.journal.Undone(s.step))
	}
	s.applied = true
	if s.via != nil {
		s.renew.Go(s.keepRenewing)
	}
	return nil
}

// keepRenewing renews the lease through a debug page until the effect is undone.
func (s *soft) keepRenewing() {
	t := time.NewTicker(softRenew)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-t.C:
		}
		s.mu.Lock()
		// One that fails is tried again: there is time for two before the lease is over.
		if ok, _ := s.spend.take(viaReserved-1, time.Now()); ok && !s.over {
			_ = s.via.Renew(s.ctx)
		}
		s.mu.Unlock()
	}
}

// Measure is the limit as it is read from the memory of the process.
func (s *soft) Measure() (float64, string, bool) {
	now, err := s.eye.look()
	if err != nil {
		return 0, "", false
	}
	by := "GOMEMLIMIT, read from the memory of the process"
	if r, ok := gcShare(s.base, now); ok {
		by += fmt.Sprintf("; meanwhile the collector took %s of its CPU", human.Percent(r))
	}
	return float64(now.GOMEMLIMITBytes), by, true
}

// gcShare is the collector's share of the CPU time between two samples, idle workers
// not counted.
func gcShare(from, to record.Sample) (float64, bool) {
	busy := (to.CPUTotal - to.CPUIdle) - (from.CPUTotal - from.CPUIdle)
	gc := (to.CPUGCTotal - to.CPUGCIdle) - (from.CPUGCTotal - from.CPUGCIdle)
	if busy <= 0 || gc < 0 {
		return 0, false
	}
	return min(float64(gc)/float64(busy), 1), true
}

// Undo has the old limit put back, and reads it.
func (s *soft) Undo(ctx context.Context) error {
	s.stop() // a Set that waits ends now, and a renewal
	s.renew.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return s.undone
	}
	err := s.takeBack(ctx)
	if changed := new(ChangedError); err == nil || errors.As(err, &changed) {
		s.over, s.undone = true, err
		s.eye.close()
	}
	return err
}

// takeBack takes back what was changed. What others have set since stays.
func (s *soft) takeBack(ctx context.Context) error {
	if !s.applied {
		return s.setter.Close()
	}
	r, err := s.setter.Revert("the fault is undone")
	for ; err != nil && s.via != nil && !left(err); r, err = s.setter.Revert("the fault is undone") {
		select { // it takes no more changes for now, or does not answer
		case <-ctx.Done():
			return fmt.Errorf("putting the soft limit back: %w; it ends by itself within %v", err, softLease)
		case <-time.After(viaEach / 4):
		}
	}
	if err != nil && !left(err) {
		return fmt.Errorf("putting the soft limit back: %w", err)
	}
	theirs := err == nil && len(r.Theirs) > 0
	var have int64
	if err == nil { // and it is still there
		now, err := s.eye.look()
		if err != nil && !left(err) {
			return fmt.Errorf("reading the soft limit back: %w", err)
		}
		have = now.GOMEMLIMITBytes
		// A program that tunes itself may have come to another limit meanwhile.
		if err == nil && have != s.old && !theirs && (s.via == nil || have == s.now) {
			return fmt.Errorf("putting the soft limit back: it is %s, and was %s", limitText(have), limitText(s.old))
		}
	}
	if err := errors.Join(s.journal.Undone(s.step), s.setter.Close()); err != nil {
		return fmt.Errorf("putting the soft limit back: %w", err)
	}
	if theirs {
		return &ChangedError{What: "GOMEMLIMIT", Old: limitText(s.old), Ours: limitText(s.now), Have: limitText(have)}
	}
	return nil
}

// left reports whether there is no process any more to put anything back in.
func left(err error) bool {
	return errors.Is(err, procmem.ErrExited) || errors.Is(err, procmem.ErrReplaced)
}

// revertSoft puts the limit back for a process that died with its watchdog. Mostly the
// watchdog has done so.
func revertSoft(ctx context.Context, s Step) error {
	if !running("", s.PID, s.Start) {
		return nil
	}
	h, err := live.NewHost(os.Getenv)
	if err != nil {
		return err
	}
	var r live.Receipt
	if via := s.Data["via"]; via != "" {
		if _, err = h.UndoVia(ctx, s.PID, via); err != nil && !left(err) {
			return fmt.Errorf("%w; its lease of %v ends by itself", err, softLease)
		}
		return nil
	}
	for {
		// What is on record for another reason is not ours to undo.
		var ours bool
		if ours, err = onRecord(h, s); err != nil || !ours {
			return err
		}
		var held *live.OwnedError
		if r, err = h.Undo(ctx, s.PID); !errors.As(err, &held) {
			break
		}
		select { // the watchdog is at it
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
	var none *live.NoLeaseError
	switch {
	case err == nil && len(r.Theirs) > 0:
		return &ChangedError{What: strings.Join(r.Theirs, " and "), Old: s.Old, Ours: s.New, Have: "another value"}
	case errors.As(err, &none), left(err):
		return nil
	}
	return err
}

// onRecord reports whether a change by a fault is on record for the process of a step.
func onRecord(h live.Host, s Step) (bool, error) {
	all, err := h.Leases()
	for _, l := range all {
		if l.PID == s.PID && l.StartTicks == s.Start && !l.Kept && strings.HasPrefix(l.Why, softWhy) {
			return true, nil
		}
	}
	return false, err
}

// A bucket holds as many changes as may be made now.
type bucket struct {
	size float64
	each time.Duration // one more comes in

	mu     sync.Mutex
	spent  float64
	filled time.Time
}

// take takes one, unless no more than so many are left: next is when there will be more.
func (b *bucket) take(reserve float64, now time.Time) (ok bool, next time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.filled.IsZero() {
		b.spent = max(0, b.spent-now.Sub(b.filled).Seconds()/b.each.Seconds())
	}
	b.filled = now
	if over := b.spent + 1 + reserve - b.size; over > 0 {
		return false, time.Duration(over * float64(b.each))
	}
	b.spent++
	return true, 0
}

// wait takes one as soon as more than so many are left.
func (b *bucket) wait(ctx context.Context, reserve float64) error {
	for {
		ok, next := b.take(reserve, time.Now())
		if ok {
			return nil
		}
		t := time.NewTimer(next)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}
