package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// reclaimEvery is how long after v1 has reclaimed it is looked at again.
const reclaimEvery = time.Second

// fewPages is page cache that is there again as soon as the program runs on, and
// so is a fifth of what there was.
const fewPages = 1 << 20

// reclaimRoom is what is left between a limit, or memory.high, and what cannot be
// reclaimed.
const reclaimRoom = 16 << 20

// resolveReclaim: the level is the usage that the kernel is to reclaim down to.
func resolveReclaim(_ context.Context, f chaos.Fault, t *Target, _ chaos.Caps, room Room) (*Resolved, error) {
	file := "memory.high"
	if t.Memory.Version == 1 {
		file = "memory.limit_in_bytes"
	}
	m, err := t.squeezable(file, room)
	if err != nil {
		return nil, err
	}
	level, err := absolute(f.Level, float64(m.usage), "usage")
	if err != nil {
		return nil, err
	}
	from := float64(m.usage)
	if !f.From.IsZero() {
		if from, err = absolute(f.From, float64(m.usage), "usage"); err != nil {
			return nil, err
		}
	}
	if pages(level) == 0 {
		return nil, &RefusedError{Why: "the level is what the kernel is to reclaim down to, and it cannot be nothing"}
	}
	r := &Resolved{Fault: f, From: from, Level: level}
	uses := fmt.Sprintf("it uses %s now, of which %s cannot be reclaimed", sizeText(float64(m.usage)), sizeText(float64(m.fixed)))
	if t.Memory.Version == 2 {
		r.Words = []string{
			fmt.Sprintf("write %d to %s: above %s the kernel slows it down and reclaims (%s)", pages(level), filepath.Join(t.Memory.Path, file), sizeText(level), uses),
			fmt.Sprintf("never less than what cannot be reclaimed and %s: it would do nothing but wait. Below that, write to memory.reclaim instead, which changes no setting", sizeText(reclaimRoom)),
			"at the end memory.high is written back",
		}
		return r, nil
	}
	r.Words = []string{
		fmt.Sprintf("each second in which it uses more than %s, write %d to %s, and at once back what it has now (%s)", sizeText(level), pages(level), filepath.Join(t.Memory.Path, file), uses),
		fmt.Sprintf("where less than %s would be left, write to memory.force_empty instead: it drops all of its page cache, and changes no limit", sizeText(reclaimRoom)),
	}
	return r, nil
}

// A reclaimEffect has the kernel reclaim memory of the group.
//
// With v2 memory.high does it, for as long as it is lowered. Linux v1 has nothing that
// lasts: memory.soft_limit_in_bytes counts only when the machine is short of memory, and
// does nothing else (Linux 6.18: a soft limit far below the usage reclaimed no page in a
// second). What works there is a limit below the usage: the write reclaims, and page
// cache is gone in milliseconds; the limit is written back at once, since whoever wants
// memory while it is that low may be killed. So it is not made so low when little can be
// reclaimed. memory.force_empty reclaims all that can be, and changes no limit.
type reclaimEffect struct {
	*gate
	dir  Dir
	file *setting

	mu    sync.Mutex
	level uint64 // to reclaim down to, 0 for not yet
	wake  chan struct{}
	done  chan struct{}
	begin map[string]uint64 // memory.stat
	low   uint64            // v1: the lowest usage since
	most  uint64            // v1: the most that was reclaimed at a time
	all   bool              // v1: then no page cache was left
}

func makeReclaim(_ context.Context, _ *Resolved, t *Target, j Journal) (Effect, error) {
	name := "memory.high"
	if t.Memory.Version == 1 {
		name = "memory.limit_in_bytes"
	}
	s, err := openSetting(filepath.Join(t.Memory.Path, name), j)
	if err != nil {
		return nil, err
	}
	e := &reclaimEffect{gate: newGate(), dir: t.Memory, file: s, wake: make(chan struct{}, 1), done: make(chan struct{})}
	e.begin = e.stat()
	if t.Memory.Version == 1 {
		go e.again()
	} else {
		close(e.done)
	}
	return e, nil
}

func (e *reclaimEffect) stat() map[string]uint64 {
	text, err := readText(filepath.Join(e.dir.Path, "memory.stat"))
	if err != nil {
		return nil
	}
	return parseKeys(text)
}

func (e *reclaimEffect) Set(ctx context.Context, level float64) error {
	ctx, leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	e.mu.Lock()
	e.level = pages(level)
	e.mu.Unlock()
	if e.dir.Version == 2 {
		err = e.high(ctx, pages(level))
	} else {
		err = e.pulse(ctx, pages(level))
	}
	if err != nil {
		return fmt.Errorf("having the kernel reclaim: %w", err)
	}
	return nil
}

// high has the kernel keep to a level, with v2. Above memory.high a process is made to
// wait for what the kernel reclaims; where there is nothing to reclaim it would hardly run
// any more. What is below is asked for once.
func (e *reclaimEffect) high(ctx context.Context, level uint64) error {
	m, err := e.dir.look()
	if err != nil {
		return err
	}
	if err := e.file.put(ctx, strconv.FormatUint(max(level, pages(float64(m.fixed+reclaimRoom))), 10)); err != nil {
		return err
	}
	if m.usage <= level || level >= m.fixed+reclaimRoom {
		return nil
	}
	// A kernel before 5.19 cannot be asked. EAGAIN is less than all of it.
	err = write(ctx, filepath.Join(e.dir.Path, "memory.reclaim"), strconv.FormatUint(m.usage-level, 10))
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// again does it again while what was reclaimed comes back.
func (e *reclaimEffect) again() {
	defer close(e.done)
	t := time.NewTicker(reclaimEvery)
	defer t.Stop()
	for {
		select {
		case <-e.over:
			return
		case <-t.C:
		}
		ctx, leave, err := e.enter(context.Background())
		if err != nil {
			return
		}
		e.mu.Lock()
		level := e.level
		e.mu.Unlock()
		if level > 0 {
			_ = e.pulse(ctx, level) // the next Set says what is wrong, or Undo
		}
		leave()
	}
}

// pulse reclaims once, with v1. The limit is back when it returns, but for a context
// that ended, after which Undo comes.
func (e *reclaimEffect) pulse(ctx context.Context, level uint64) error {
	m, err := e.dir.look()
	if err != nil {
		return err
	}
	before := e.cache(e.stat())
	if m.usage > level {
		if level < m.fixed+reclaimRoom {
			err = write(ctx, filepath.Join(e.dir.Path, "memory.force_empty"), "0")
		} else {
			err = e.lowerAndBack(ctx, level)
		}
	}
	if usage, _, err := readBytes(filepath.Join(e.dir.Path, "memory.usage_in_bytes")); err == nil {
		cache := e.cache(e.stat())
		e.mu.Lock()
		if e.low == 0 || usage < e.low {
			e.low = usage
		}
		if usage < m.usage {
			e.most = max(e.most, m.usage-usage)
			e.all = e.all || cache <= max(fewPages, before/5)
		}
		e.mu.Unlock()
	}
	if errors.Is(err, syscall.EBUSY) {
		return nil // more is in use than a moment ago; all that could be was reclaimed
	}
	return err
}

func (e *reclaimEffect) lowerAndBack(ctx context.Context, level uint64) error {
	// Not put: what is journaled and read back between would be time at the low limit.
	step, err := e.file.note(strconv.FormatUint(level, 10))
	if err != nil {
		return err
	}
	err = e.file.write(ctx, step.New)
	if back := e.file.undo(context.WithoutCancel(ctx)); back != nil {
		return errors.Join(err, back)
	}
	return err
}

// cache is how much page cache there is to reclaim.
func (e *reclaimEffect) cache(s map[string]uint64) uint64 {
	if e.dir.Version == 2 {
		return s["active_file"] + s["inactive_file"]
	}
	return s["total_active_file"] + s["total_inactive_file"]
}

// Measure says what the group uses; with v1, where it comes back until the next second,
// what it used at the least. A level below what cannot be reclaimed counts as reached
// when the kernel has reclaimed, and next to nothing is left that it could.
func (e *reclaimEffect) Measure() (float64, string, bool) {
	e.mu.Lock()
	level, usage, most, all := e.level, e.low, e.most, e.all
	e.mu.Unlock()
	by, unit := "memory.usage_in_bytes at its least", sizeText(float64(most))+" at a time"
	if e.dir.Version == 2 {
		var err error
		if usage, _, err = readBytes(filepath.Join(e.dir.Path, "memory.current")); err != nil {
			return 0, "", false
		}
		now := e.stat()
		most = now["pgsteal"] - min(now["pgsteal"], e.begin["pgsteal"])
		all = e.cache(now) <= max(fewPages, e.cache(e.begin)/5)
		by, unit = fmt.Sprintf("memory.current; %d pages reclaimed by memory.stat", most), "by memory.stat"
	}
	if usage == 0 {
		return 0, "", false
	}
	if usage > level && all && most > 0 {
		return float64(level), fmt.Sprintf("the page cache was reclaimed, %s; what is left, %s, cannot be", unit, sizeText(float64(usage))), true
	}
	return float64(usage), by, true
}

func (e *reclaimEffect) Undo(ctx context.Context) error {
	err := undoAll(ctx, e.gate, e.file)
	select {
	case <-e.done:
	case <-ctx.Done():
		return errors.Join(err, ctx.Err())
	}
	return err
}

// Contained: only a group that is the target's own is ever changed.
func (e *reclaimEffect) Contained() bool { return e.dir.Own }
