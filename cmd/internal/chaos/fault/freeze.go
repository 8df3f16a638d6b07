package fault

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
		below, err := t.descendants()
		if err != nil {
			return nil, &RefusedError{Why: "what it has started is not known", Err: err}
		}
		if len(below) >= mostStopped {
			return nil, tooMany(t)
		}
		words := fmt.Sprintf("send SIGSTOP to process %d, and SIGCONT %s later", t.PID, span)
		switch n := len(below); n {
		case 0:
			words += ", and to what it will have started by then"
		case 1:
			words += ", and to the process that it has started"
		default:
			words += fmt.Sprintf(", and to the %d processes that it has started", n)
		}
		r.Words = []string{words}
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
	steps   []Step    // in the journal
}

func makeFreeze(ctx context.Context, _ *Resolved, t *Target, j Journal) (Effect, error) {
	e := &freezeEffect{gate: newGate(), t: t, j: j}
	var err error
	if e.guard, err = watch(ctx, j); err != nil {
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
	// The watcher lets go a second later than we are to.
	late := span + standing + time.Second
	if err = e.stop(ctx, e.newStep(), late); err == nil && !e.t.byCgroup() {
		err = e.stopBelow(ctx, late)
	}
	if err == nil {
		err = e.stand(ctx, span)
	}
	return errors.Join(err, e.thaw(context.WithoutCancel(ctx)))
}

// stop stops the group, or a process. The journal and the watcher know before.
func (e *freezeEffect) stop(ctx context.Context, step Step, late time.Duration) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := e.j.Will(step); err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	e.mu.Lock()
	e.steps = append(e.steps, step)
	e.mu.Unlock()
	if err := e.guard.arm(late, step); err != nil {
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
	if err := p.Signal(syscall.SIGSTOP); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping process %d: %w", step.PID, err)
	}
	return nil
}

// mostStopped bounds how many processes are stopped one by one.
const mostStopped = 64

func tooMany(t *Target) error {
	return &RefusedError{Why: fmt.Sprintf("process %d has started %d processes or more, and without a group that can be frozen each is stopped by itself", t.PID, mostStopped),
		hint: "start it in a cgroup with a freezer, as systemd-run --scope and containers have"}
}

// stopBelow stops what the target has started, and what that has. Who stands still starts
// nothing more, so that it comes to an end: when all that there is stands.
func (e *freezeEffect) stopBelow(ctx context.Context, late time.Duration) error {
	known := map[int]uint64{}
	for end := time.Now().Add(standing); ; {
		below, err := e.t.descendants()
		if err != nil {
			return fmt.Errorf("looking for what the target has started: %w", err)
		}
		more, running := false, !stopped(e.t.PID, e.t.Start)
		for _, p := range below {
			if start, ok := known[p.pid]; ok && start == p.start {
				running = running || p.state != 'T'
				continue
			}
			if p.state == 'T' || p.state == 't' {
				continue // something else stopped it: it is to stand when we are gone
			}
			if len(known) >= mostStopped-1 {
				return tooMany(e.t)
			}
			known[p.pid], more = p.start, true
			if err := e.stop(ctx, Step{ID: nextStep(), Kind: StepStopped, PID: p.pid, Start: p.start}, late); err != nil {
				return err
			}
		}
		switch {
		case !more && !running:
			return nil
		case time.Now().After(end):
			return errors.New("what the target has started does not come to a stand")
		case !more:
			if err := sleep(ctx, time.Millisecond); err != nil {
				return err
			}
		}
	}
}

// A descendant is a process that the target has started, or one of those has.
type descendant struct {
	pid   int
	start uint64
	state byte
}

// descendants are the processes below the target, a few more than may be stopped at most.
// One whose parent has ended is nobody's any more.
func (t *Target) descendants() ([]descendant, error) {
	entries, err := os.ReadDir(filepath.Join(t.Root, "/proc"))
	if err != nil {
		return nil, err
	}
	below := map[int][]descendant{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if s, err := readStat(t.Root, pid); err == nil && !s.dead() && !s.kernel {
			below[s.parent] = append(below[s.parent], descendant{pid, s.start, s.state})
		}
	}
	var out []descendant
	next := []int{t.PID}
	for len(next) > 0 && len(out) <= mostStopped {
		for _, d := range below[next[0]] {
			out = append(out, d)
			next = append(next, d.pid)
		}
		delete(below, next[0]) // who is moved while we read is not walked in a circle
		next = next[1:]
	}
	return out, nil
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

// thaw lets all that was stopped go on, and sees to it that it does.
func (e *freezeEffect) thaw(ctx context.Context) error {
	steps := e.under()
	var all error
	for _, step := range slices.Backward(steps) {
		all = errors.Join(all, Revert(ctx, step))
	}
	if all != nil {
		return all
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
	e.steps = nil
	e.mu.Unlock()
	all = e.guard.disarm()
	for _, step := range steps {
		all = errors.Join(all, e.j.Undone(step))
	}
	return all
}

// under are the steps that a Set has taken, and not yet taken back.
func (e *freezeEffect) under() []Step {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.steps)
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
	for _, step := range slices.Backward(e.under()) {
		_ = Revert(ctx, step) // before anything is waited for; Set does it too, and says how it went
	}
	leave, ok := e.wait(ctx, 10*time.Second)
	if !ok {
		return errors.New("undoing a fault: what stopped the process does not return")
	}
	defer leave()
	var err error
	if len(e.under()) > 0 {
		err = e.thaw(ctx)
	}
	return errors.Join(err, e.guard.end(ctx))
}

// Contained: the group is the target's own, or it is what the target has started.
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

// A watcher is a process that undoes steps when this one ends or is late. Nothing ends
// it but the end of its input.
type watcher struct {
	child *child
	step  Step // that it runs
	j     Journal
	once  sync.Once
	err   error
}

func watch(ctx context.Context, j Journal) (*watcher, error) {
	c, err := startChild(nil, apart())
	if err != nil {
		return nil, err
	}
	w := &watcher{child: c, j: j}
	if w.step, err = c.note(j); err == nil {
		if err = c.send(order{Kind: kindWatch}); err == nil {
			_, err = c.answer(ctx, 0)
		}
	}
	if err != nil {
		return nil, errors.Join(err, w.end(context.WithoutCancel(ctx)))
	}
	return w, nil
}

// arm has the watcher undo a step too, and all that it was told of since it was disarmed.
func (w *watcher) arm(d time.Duration, step Step) error {
	return w.child.send(order{Seconds: d.Seconds(), Step: &step})
}

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
func serveWatch(orders <-chan order) error {
	var steps []Step
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	undo := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), mostFrozen)
		defer cancel()
		var all error
		for _, step := range slices.Backward(steps) {
			all = errors.Join(all, Revert(ctx, step))
		}
		steps = nil
		return all
	}
	for {
		select {
		case o, ok := <-orders:
			if !ok {
				return undo()
			}
			timer.Stop()
			if o.Seconds == 0 {
				steps = nil
				continue
			}
			if o.Step != nil && len(steps) < mostStopped {
				steps = append(steps, *o.Step)
			}
			timer.Reset(min(time.Duration(min(o.Seconds, 60)*float64(time.Second)), mostFrozen+standing+time.Second))
		case <-timer.C:
			if err := undo(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}
}
