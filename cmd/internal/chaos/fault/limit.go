package fault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// resolveLimit: on v1 the kernel refuses a limit below what it cannot reclaim, and
// nothing happens; with v2 it takes any, and kills until what is left fits. So there a
// level below the working set needs the user's word.
func resolveLimit(_ context.Context, f chaos.Fault, t *Target, _ chaos.Caps, room Room) (*Resolved, error) {
	limitFile, _ := t.Memory.files()
	m, err := t.squeezable(limitFile, room)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(t.Memory.Path, limitFile)
	have, now := float64(m.usage), "none"
	if m.ownLimited {
		have, now = float64(m.own), sizeText(float64(m.own))
	}
	whole := 0.0
	if m.limited {
		whole = float64(m.limit)
	}
	level, err := absolute(f.Level, whole, "limit")
	if err != nil {
		return nil, err
	}
	from := have
	if !f.From.IsZero() {
		if from, err = absolute(f.From, whole, "limit"); err != nil {
			return nil, err
		}
	}
	switch {
	case level < float64(os.Getpagesize()):
		return nil, &RefusedError{Why: "a limit of nothing leaves nothing to run"}
	case m.limited && (level >= whole || from > whole):
		return nil, &RefusedError{Why: fmt.Sprintf("%s is no less than its limit, %s", sizeText(max(level, from)), sizeText(whole)), hint: "give a level below that"}
	case t.Memory.hangs() && !f.AllowKill:
		return nil, hanging(t)
	case t.Memory.Version == 2 && level < float64(m.working) && !f.AllowKill:
		return nil, &RefusedError{Why: fmt.Sprintf("%s is below the %s that it uses: with cgroup v2 the kernel may kill it at once", sizeText(level), sizeText(float64(m.working))),
			hint: "raise the level, or say allow_kill: true"}
	}
	words := []string{fmt.Sprintf("write %d to %s, in steps: at most %s of memory (now %s, of which %s are in use)", pages(level), path, sizeText(level), now, sizeText(float64(m.working)))}
	if t.Memory.Version == 1 {
		words = append(words, "the kernel refuses a limit below what it cannot reclaim; the level stops there")
	} else {
		words = append(words, "have the kernel reclaim down to each step before; where that is not enough the level stops there"+map[bool]string{true: ", but for allow_kill: it is written, and the kernel may kill"}[f.AllowKill])
	}
	words = append(words, "when it wants more than the limit, the kernel may kill it; at the end the limit is written back")
	return &Resolved{Fault: f, From: from, Level: level, Words: words}, nil
}

// A limitEffect has the limit of the group lowered.
//
// On v1 (measured on Linux 6.18) the write itself reclaims, 25 MiB of page cache in a
// millisecond, and fails with EBUSY when what is left does not fit: the limit stays, no
// process is harmed, but the page cache is gone all the same. From then on a process that
// wants more than the limit has the kernel reclaim, and kill when that is not enough.
type limitEffect struct {
	*gate
	dir  Dir
	kill bool
	file *setting
	busy float64 // the kernel refused this; 0 for nothing
}

func makeLimit(_ context.Context, r *Resolved, t *Target, j Journal) (Effect, error) {
	name, _ := t.Memory.files()
	s, err := openSetting(filepath.Join(t.Memory.Path, name), j)
	if err != nil {
		return nil, err
	}
	return &limitEffect{gate: newGate(), dir: t.Memory, kill: r.AllowKill, file: s}, nil
}

// Set goes down in steps of a twentieth, so that what the kernel has to reclaim for one
// is little, and stops at the first that it refuses: *BusyLimitError.
func (e *limitEffect) Set(ctx context.Context, level float64) error {
	ctx, leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	want := pages(level)
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		m, err := e.dir.look()
		if err != nil {
			return err
		}
		have := m.own
		if !m.ownLimited {
			have = max(m.usage, want)
		}
		next := max(want, pages(float64(have)*0.95))
		if have <= want {
			next = want // up again
		}
		if e.busy > 0 && float64(next) <= e.busy && m.fixed > next {
			return &BusyLimitError{WantBytes: want, InUseBytes: m.usage, LimitBytes: have} // as it was a moment ago
		}
		if err := e.lower(ctx, next, m); err != nil {
			if errors.Is(err, syscall.EBUSY) {
				e.busy = float64(next)
				m, _ = e.dir.look()
				return &BusyLimitError{WantBytes: want, InUseBytes: m.usage, LimitBytes: have}
			}
			return fmt.Errorf("lowering the memory limit: %w", err)
		}
		e.busy = 0
		if next == want {
			return nil
		}
	}
}

// lower writes one step. With v2, which would kill, the kernel is asked to reclaim
// before; what is still above then is refused, as v1 refuses it.
func (e *limitEffect) lower(ctx context.Context, to uint64, m memory) error {
	if e.dir.Version == 2 && m.usage > to && !e.kill {
		// A kernel before 5.19 cannot be asked. EAGAIN is less than all of it.
		if err := write(ctx, filepath.Join(e.dir.Path, "memory.reclaim"), strconv.FormatUint(m.usage-to, 10)); ctx.Err() != nil {
			return context.Cause(ctx)
		} else if err != nil && !errors.Is(err, syscall.EAGAIN) && !os.IsNotExist(err) {
			return err
		}
		if usage, _, err := readBytes(filepath.Join(e.dir.Path, "memory.current")); err != nil {
			return err
		} else if usage > to {
			return syscall.EBUSY
		}
	}
	return e.file.put(ctx, strconv.FormatUint(to, 10))
}

func (e *limitEffect) Measure() (float64, string, bool) {
	m, err := e.dir.look()
	if err != nil || !m.limited {
		return 0, "", false
	}
	by := "memory.max read back"
	if e.dir.Version == 1 {
		by = "hierarchical_memory_limit of memory.stat"
	}
	return float64(m.limit), by, true
}

func (e *limitEffect) Undo(ctx context.Context) error { return undoAll(ctx, e.gate, e.file) }

// Contained: only a group that is the target's own is ever changed.
func (e *limitEffect) Contained() bool { return e.dir.Own }
