package fault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// A KilledError says that the kernel killed our process, which is the first that it
// takes when a cgroup has no memory left.
type KilledError struct {
	PID       int
	HeldBytes uint64 // when it last said so
	Status    string // how it ended
}

func (e *KilledError) Error() string {
	return fmt.Sprintf("our process %d, which held %d bytes of the cgroup, was ended: %s; it was made the first that the kernel kills when memory is short", e.PID, e.HeldBytes, e.Status)
}

// Hint is what a user can do about it.
func (e *KilledError) Hint() string {
	return "lower the level, or lead it by until: to a headroom that is kept"
}

func resolveEater(_ context.Context, f chaos.Fault, t *Target, caps chaos.Caps, room Room) (*Resolved, error) {
	m, err := t.squeezable("cgroup.procs", room)
	if err != nil {
		return nil, err
	}
	level, err := absolute(f.Level, float64(m.room), "headroom")
	if err != nil {
		return nil, err
	}
	from, err := absolute(f.From, float64(m.room), "headroom")
	if err != nil {
		return nil, err
	}
	most := max(level, from)
	if pages(most) == 0 {
		return nil, &RefusedError{Why: "the level is nothing"}
	}
	if err := fits(most, m, caps, room); err != nil {
		return nil, err
	}
	cache := f.Kind == chaos.PageCache
	if !cache && !f.AllowKill {
		if dir := t.Memory.killsAll(); dir != "" {
			return nil, &RefusedError{Why: fmt.Sprintf("memory.oom.group is 1 in %s: when memory is short the kernel kills the target together with what takes it", dir),
				hint: "say allow_kill: true, or have the kubelet run with singleProcessOOMKill"}
		}
		if t.Memory.hangs() {
			return nil, hanging(t)
		}
		if m.limited && most > float64(m.room) {
			return nil, &RefusedError{Why: fmt.Sprintf("it would take %s, and until the limit there are %s: the kernel would kill", sizeText(most), sizeText(float64(m.room))),
				hint: "lower the level, or say allow_kill: true; the kernel takes our process first"}
		}
	}
	what := map[chaos.Kind]string{
		chaos.Sibling:   "private memory",
		chaos.Shared:    "shared memory",
		chaos.PageCache: "page cache of a file without a name",
	}[f.Kind]
	r := &Resolved{Fault: f, From: from, Level: level}
	r.Words = append(r.Words, fmt.Sprintf("start a process of ours, write its PID to %s, and have it hold %s of %s", filepath.Join(t.Memory.Path, "cgroup.procs"), sizeText(most), what))
	if m.limited {
		r.Words = append(r.Words, fmt.Sprintf("until the limit there are %s now", sizeText(float64(m.room))))
	}
	if cache {
		dir, err := diskFor(most, f.DirtyFiles)
		if err != nil {
			return nil, err
		}
		if f.DirtyFiles {
			r.Words = append(r.Words, fmt.Sprintf("the file is in %s, is written, and takes as much of the disk", dir))
		} else {
			r.Words = append(r.Words, fmt.Sprintf("the file is in %s, has nothing in it but its length, and takes no space of the disk", dir))
		}
	}
	r.Words = append(r.Words, "the process is the first that the kernel kills (oom_score_adj 1000); it ends when this one does, and all goes with it")
	return r, nil
}

// An eater is an Effect that takes memory by a process of ours in the group.
type eater struct {
	*gate
	kind  chaos.Kind
	dir   Dir
	child *child
	step  Step // that it runs
	j     Journal

	mu     sync.Mutex
	seq    int
	base   uint64 // what it had of the measured sort before it took any
	undone bool
}

func makeEater(ctx context.Context, r *Resolved, t *Target, j Journal) (Effect, error) {
	var file *os.File
	most := max(r.From, r.Level)
	if r.Kind == chaos.PageCache {
		dir, err := diskFor(most, r.DirtyFiles)
		if err != nil {
			return nil, err
		}
		if file, err = nameless(dir, j); err != nil {
			return nil, fmt.Errorf("making a file to cache: %w", err)
		}
		defer file.Close()
	}
	c, err := startChild(file, attributes())
	if err != nil {
		return nil, fmt.Errorf("starting the process that takes memory: %w", err)
	}
	e := &eater{gate: newGate(), kind: r.Kind, dir: t.Memory, child: c, j: j}
	e.step, err = c.note(j)
	if err == nil {
		err = c.send(order{Kind: string(r.Kind), Procs: filepath.Join(t.Memory.Path, "cgroup.procs"), Most: pages(most), Dirty: r.DirtyFiles})
	}
	if err == nil {
		wait, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err = c.answer(wait, 0)
		cancel()
	}
	if err == nil && t.Root == "" && !e.inside() {
		err = fmt.Errorf("process %d is not in %s after it was told to go there", c.cmd.Process.Pid, e.dir.Path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the process that takes memory: %w", err), e.Undo(context.WithoutCancel(ctx)))
	}
	e.base, _, _ = e.seen()
	return e, nil
}

func (e *eater) inside() bool {
	text, err := readText(filepath.Join(e.dir.Path, "cgroup.procs"))
	if err != nil {
		return false
	}
	return slices.Contains(strings.Fields(text), strconv.Itoa(e.child.cmd.Process.Pid))
}

// Set has the process hold so much. When the context ends before, it stays at what it
// holds then. A process that the kernel has killed is not started again.
func (e *eater) Set(ctx context.Context, level float64) error {
	ctx, leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	e.mu.Lock()
	e.seq++
	seq := e.seq
	e.mu.Unlock()
	if err = e.child.send(order{Seq: seq, Bytes: pages(level)}); err == nil {
		_, err = e.child.answer(ctx, seq)
	}
	if err == nil {
		return nil
	}
	if context.Cause(ctx) != nil {
		e.mu.Lock()
		e.seq++
		seq = e.seq
		e.mu.Unlock()
		_ = e.child.send(order{Seq: seq, Hold: true})
		return context.Cause(ctx)
	}
	if errors.Is(err, errChildGone) {
		<-e.child.done
		e.child.mu.Lock()
		held := e.child.last.Bytes
		e.child.mu.Unlock()
		return &KilledError{PID: e.child.cmd.Process.Pid, HeldBytes: held, Status: fmt.Sprint(e.child.status)}
	}
	return fmt.Errorf("taking memory: %w", err)
}

// seen is what of its sort of memory can be seen.
func (e *eater) seen() (bytes uint64, by string, ok bool) {
	if e.kind == chaos.PageCache {
		key := "total_cache"
		if e.dir.Version == 2 {
			key = "file"
		}
		text, err := readText(filepath.Join(e.dir.Path, "memory.stat"))
		if err != nil {
			return 0, "", false
		}
		n, ok := parseKeys(text)[key]
		return n, "memory.stat, " + key + " since before", ok
	}
	pid := e.child.cmd.Process.Pid
	if !running("", pid, e.child.start) {
		return 0, "", false
	}
	text, err := readText(procPath("", pid, "status"))
	if err != nil {
		return 0, "", false
	}
	key := "RssAnon"
	if e.kind == chaos.Shared {
		key = "RssShmem"
	}
	n, ok := kib(text, key)
	return n, fmt.Sprintf("%s of process %d in the cgroup", key, pid), ok
}

// Measure says what the kernel counts for the process; of page cache what the group has
// more of than before.
func (e *eater) Measure() (float64, string, bool) {
	n, by, ok := e.seen()
	if !ok {
		return 0, "", false
	}
	return float64(n - min(n, e.base)), by, true
}

// Undo ends the process: what it holds goes with it, faster than it could give it back.
func (e *eater) Undo(ctx context.Context) error {
	e.close()
	select {
	case <-e.child.done:
	default:
		e.child.kill()
		select {
		case <-e.child.done:
		case <-ctx.Done():
			return fmt.Errorf("undoing a fault: our process %d does not end: %w", e.child.cmd.Process.Pid, ctx.Err())
		}
	}
	leave, ok := e.wait(ctx, time.Second)
	if ok {
		leave()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.undone || e.step.ID == 0 {
		return nil
	}
	if running("", e.child.cmd.Process.Pid, e.child.start) {
		return fmt.Errorf("undoing a fault: our process %d is still there", e.child.cmd.Process.Pid)
	}
	if err := e.j.Undone(e.step); err != nil {
		return err
	}
	e.undone = true
	return nil
}

// KilledOurs is 1 when the kernel, or someone else, has ended our process.
func (e *eater) KilledOurs() int {
	select {
	case <-e.child.done:
		if !e.child.ended.Load() {
			return 1
		}
	default:
	}
	return 0
}

// Contained reports whether the process is in the group that it was put in, or is no
// more.
func (e *eater) Contained() bool {
	return e.dir.Own && (e.inside() || !running("", e.child.cmd.Process.Pid, e.child.start))
}

// diskFor finds a directory on a file system that caches pages, with the space that is
// needed.
func diskFor(bytes float64, dirty bool) (string, error) {
	const spare = 1 << 30 // that others may need
	var why []error
	for _, dir := range []string{"/var/tmp", os.TempDir(), "."} {
		free, real, err := disk(dir)
		switch {
		case err != nil:
			why = append(why, fmt.Errorf("%s: %w", dir, err))
		case !real:
			why = append(why, fmt.Errorf("%s is in memory itself", dir))
		case writable(dir) != nil:
			why = append(why, fmt.Errorf("%s may not be written", dir))
		case dirty && float64(free) < bytes+spare:
			why = append(why, fmt.Errorf("%s has %s left, of which %s stay free", dir, sizeText(float64(free)), sizeText(spare)))
		default:
			return dir, nil
		}
	}
	return "", &RefusedError{Why: "there is no place for a file whose pages could be cached", Err: errors.Join(why...), hint: "set TMPDIR to a directory on a disk"}
}

// namelessName begins the names of such files where they have one for a moment.
const namelessName = "heapwright-stress-"

// nameless makes a file that has no name, and goes with who has it open.
func nameless(dir string, j Journal) (*os.File, error) {
	if f, err := unnamed(dir); err == nil {
		return f, nil
	}
	// The file system cannot do it: it has a name for a moment.
	path := filepath.Join(dir, fmt.Sprintf(namelessName+"%d-%d", os.Getpid(), time.Now().UnixNano()))
	step := Step{ID: nextStep(), Kind: StepRemove, Path: path}
	if err := j.Will(step); err != nil {
		return nil, fmt.Errorf("writing the journal: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		if err = os.Remove(path); err != nil {
			f.Close()
		}
	}
	if err == nil || errors.Is(err, os.ErrExist) {
		err = errors.Join(err, j.Undone(step))
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}
