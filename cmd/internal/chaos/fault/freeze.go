package fault

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/human"
)

// mostFrozen bounds how long a process stands still at a time.
const mostFrozen = 30 * time.Second

// standing bounds how long it takes until a process stands still that was told to: each
// of its threads has to come by, on a machine that may be busy.
const standing = 2 * time.Second

// byCgroup reports whether the whole group can be frozen.
func (t *Target) byCgroup() bool {
	return t.Freezer.Path != "" && t.Freezer.Own && t.Freezer.Writable
}

func resolveFreeze(_ context.Context, f chaos.Fault, t *Target, _ chaos.Caps, _ Room) (*Resolved, error) {
	level, err := absolute(f.Level, 0, "time")
	if err != nil {
		return nil, err
	}
	from, err := absolute(f.From, 0, "time")
	if err != nil {
		return nil, err
	}
	if most := mostFrozen.Seconds(); level > most || from > most || level == 0 {
		return nil, &RefusedError{Why: fmt.Sprintf("%g s is not how long a process can be frozen", max(level, from)), hint: fmt.Sprintf("give a level of up to %g s", most)}
	}
	s, err := readStat(t.Root, t.PID)
	if err != nil {
		return nil, &RefusedError{Why: "it is not known how it is", Err: err}
	}
	if s.state == 'T' || s.state == 't' {
		return nil, &RefusedError{Why: fmt.Sprintf("process %d stands still already: something else stopped it, as a debugger does", t.PID), hint: "let it go on first"}
	}
	r := &Resolved{Fault: f, From: from, Level: level}
	span := human.Span(time.Duration(level * float64(time.Second)))
	if t.byCgroup() {
		file, frozen, thawed := t.Freezer.freezes()
		path := filepath.Join(t.Freezer.Path, file)
		if have, err := readValue(path); err != nil || have != thawed {
			return nil, &RefusedError{Why: fmt.Sprintf("%s is %q already", path, clean(have)), Err: err}
		}
		r.Words = []string{fmt.Sprintf("write %q to %s, and %q %s later: all of its cgroup stands still for as long", frozen, path, thawed, span)}
	} else {
		r.Words = []string{fmt.Sprintf("send SIGSTOP to process %d, and SIGCONT %s later: what it has started goes on meanwhile", t.PID, span)}
	}
	r.Words = append(r.Words, "a process of ours lets it go on when this one cannot")
	return r, nil
}

// freezes is what is written where.
func (d Dir) freezes() (file, frozen, thawed string) {
	if d.Version == 1 {
		return "freezer.state", "FROZEN", "THAWED"
	}
	return "cgroup.freeze", "1", "0"
}

// A freezeEffect has the target stand still. A level is how long it does, and each new
// longest level is once; between two it may run for as long as it stood.
type freezeEffect struct {
	*gate
	t     *Target
	j     Journal
	guard *watcher

	mu      sync.Mutex
	since   time.Time // it is seen to stand still; zero when it does not
	longest time.Duration
	rested  time.Time // when it may be stopped again
	step    *Step     // in the journal
}

func makeFreeze(ctx context.Context, _ *Resolved, t *Target, j Journal) (Effect, error) {
	e := &freezeEffect{gate: newGate(), t: t, j: j}
	step := e.newStep()
	var err error
	if e.guard, err = watch(ctx, step, j); err != nil {
		return nil, fmt.Errorf("starting the process that lets it go on: %w", err)
	}
	return e, nil
}

func (e *freezeEffect) newStep() Step {
	if e.t.byCgroup() {
		file, frozen, thawed := e.t.Freezer.freezes()
		path := filepath.Join(e.t.Freezer.Path, file)
		inode, _ := inodeOf(path) // what is not there is said when it is written
		return Step{ID: nextStep(), Kind: StepFile, Path: path, Old: thawed, Was: thawed, New: frozen, Inode: inode}
	}
	return Step{ID: nextStep(), Kind: StepStopped, PID: e.t.PID, Start: e.t.Start}
}

// still reports whether the target stands still, as the kernel has it.
func (e *freezeEffect) still() bool {
	if !e.t.byCgroup() {
		return stopped(e.t.PID, e.t.Start)
	}
	if e.t.Freezer.Version == 1 {
		state, err := readValue(filepath.Join(e.t.Freezer.Path, "freezer.state"))
		return err == nil && state == "FROZEN"
	}
	text, err := readText(filepath.Join(e.t.Freezer.Path, "cgroup.events"))
	return err == nil && parseKeys(text)["frozen"] == 1
}

// Set stops the target for so many seconds, and returns when it goes on.
func (e *freezeEffect) Set(ctx context.Context, level float64) error {
	ctx, leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if math.IsNaN(level) {
		return &RefusedError{Why: "that is no level"}
	}
	span := min(time.Duration(min(level, mostFrozen.Seconds())*float64(time.Second)), mostFrozen)
	e.mu.Lock()
	longest, rest := e.longest, time.Until(e.rested)
	e.mu.Unlock()
	if span <= longest {
		return nil
	}
	if err := sleep(ctx, rest); err != nil {
		return err
	}
	if err := e.t.Alive(); err != nil {
		return err
	}
	step := e.newStep()
	if err := e.j.Will(step); err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	e.mu.Lock()
	e.step = &step
	e.mu.Unlock()
	// The watcher is told before: it lets go a second later than we are to.
	err = e.guard.arm(span + standing + time.Second)
	if err == nil {
		if err = e.stop(ctx, step); err == nil {
			err = e.stand(ctx, span)
		}
	}
	return errors.Join(err, e.thaw(context.WithoutCancel(ctx), step))
}

func (e *freezeEffect) stop(ctx context.Context, step Step) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if step.Kind == StepFile {
		if err := writeTo(ctx, step.Path, step.Inode, step.New); err != nil {
			return fmt.Errorf("freezing the cgroup: %w", err)
		}
		return nil
	}
	p := handle(step.PID, step.Start)
	if p == nil {
		return e.t.Alive()
	}
	defer p.Release()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stopping the process: %w", err)
	}
	return nil
}

// stand waits for as long as it is to stand still, from when it does.
func (e *freezeEffect) stand(ctx context.Context, span time.Duration) error {
	begin := time.Now()
	for !e.still() {
		if time.Since(begin) > standing {
			return errors.New("it does not come to a stand")
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	e.mu.Lock()
	e.since = time.Now()
	e.mu.Unlock()
	return sleep(ctx, span)
}

// thaw lets the target go on, and sees to it that it does.
func (e *freezeEffect) thaw(ctx context.Context, step Step) error {
	if err := Revert(ctx, step); err != nil {
		return err
	}
	if err := until(ctx, func() bool { return !e.still() }, "the target does not go on"); err != nil {
		return err
	}
	e.mu.Lock()
	if !e.since.IsZero() {
		stood := time.Since(e.since)
		e.longest = max(e.longest, stood)
		e.rested = time.Now().Add(stood)
		e.since = time.Time{}
	}
	e.step = nil
	e.mu.Unlock()
	return errors.Join(e.guard.disarm(), e.j.Undone(step))
}

// under is the step that a Set has taken, and not yet taken back.
func (e *freezeEffect) under() *Step {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.step
}

// Measure says for how long it was seen to stand still, at the longest.
func (e *freezeEffect) Measure() (float64, string, bool) {
	by := "state T in /proc/PID/stat"
	if e.t.byCgroup() {
		by = "freezer.state"
		if e.t.Freezer.Version == 2 {
			by = "frozen in cgroup.events"
		}
	}
	still := e.still()
	e.mu.Lock()
	defer e.mu.Unlock()
	d := e.longest
	if !e.since.IsZero() && still {
		d = max(d, time.Since(e.since))
	}
	return d.Seconds(), by, d > 0
}

func (e *freezeEffect) Undo(ctx context.Context) error {
	e.close()
	if step := e.under(); step != nil {
		_ = Revert(ctx, *step) // before anything is waited for; Set does it too, and says how it went
	}
	leave, ok := e.wait(ctx, 10*time.Second)
	if !ok {
		return errors.New("undoing a fault: what stopped the process does not return")
	}
	defer leave()
	var err error
	if step := e.under(); step != nil {
		err = e.thaw(ctx, *step)
	}
	return errors.Join(err, e.guard.end(ctx))
}

// Contained: the group is the target's own, or it is the process alone.
func (e *freezeEffect) Contained() bool { return true }

// sleep waits, unless the context ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// A watcher is a process that undoes a step when this one ends or is late. Nothing ends
// it but the end of its input.
type watcher struct {
	child *child
	step  Step // that it runs
	j     Journal
	once  sync.Once
	err   error
}

func watch(ctx context.Context, step Step, j Journal) (*watcher, error) {
	c, err := startChild(nil, apart())
	if err != nil {
		return nil, err
	}
	w := &watcher{child: c, j: j}
	if w.step, err = c.note(j); err == nil {
		if err = c.send(order{Kind: kindWatch, Step: &step}); err == nil {
			_, err = c.answer(ctx, 0)
		}
	}
	if err != nil {
		return nil, errors.Join(err, w.end(context.WithoutCancel(ctx)))
	}
	return w, nil
}

func (w *watcher) arm(d time.Duration) error { return w.child.send(order{Seconds: d.Seconds()}) }

// disarm is not told that the watcher has ended: there is nothing left for it to do.
func (w *watcher) disarm() error {
	if err := w.child.send(order{}); err != nil && !errors.Is(err, errChildGone) {
		return err
	}
	return nil
}

func (w *watcher) end(ctx context.Context) error {
	w.once.Do(func() {
		w.child.in.Close()
		select {
		case <-w.child.done:
		case <-time.After(2 * time.Second):
			w.child.kill()
		case <-ctx.Done():
			w.child.kill()
		}
		<-w.child.done
		if w.step.ID != 0 {
			w.err = w.j.Undone(w.step)
		}
	})
	return w.err
}

// serveWatch is what the watcher does.
func serveWatch(orders <-chan order, step Step) error {
	armed := false
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	undo := func() error {
		if !armed {
			return nil
		}
		armed = false
		ctx, cancel := context.WithTimeout(context.Background(), mostFrozen)
		defer cancel()
		return Revert(ctx, step)
	}
	for {
		select {
		case o, ok := <-orders:
			if !ok {
				return undo()
			}
			timer.Stop()
			if armed = o.Seconds > 0; armed {
				timer.Reset(min(time.Duration(min(o.Seconds, 60)*float64(time.Second)), mostFrozen+standing+time.Second))
			}
		case <-timer.C:
			if err := undo(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}
}
