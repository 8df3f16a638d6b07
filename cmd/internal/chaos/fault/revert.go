package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Revert undoes a step that another process took, or this one: it is for whoever finds
// it. What is as it was already is no error. What others changed since is left alone,
// and is a [*ChangedError].
func Revert(ctx context.Context, s Step) error {
	undo, ok := reverts[s.Kind]
	if !ok {
		return &RefusedError{Why: fmt.Sprintf("%q is no kind of step that can be undone here", s.Kind), hint: "a newer heapwright may have taken it"}
	}
	if err := undo(ctx, s); err != nil {
		if changed := new(ChangedError); errors.As(err, &changed) {
			return err
		}
		return fmt.Errorf("undoing %s: %w", s, err)
	}
	return nil
}

// revertFile writes what was in a file, if what is in it is ours.
func revertFile(ctx context.Context, s Step) error {
	err := confined(s.Path)
	if err == nil {
		err = isFile(s.Path, s.Inode)
	}
	var have string
	if err == nil {
		have, err = readValue(s.Path)
	}
	switch {
	case gone(err):
		return nil // the group went with its process
	case err != nil:
		return err
	case same(have, s.Old):
		return nil
	case !same(have, s.New) && !same(have, s.Was):
		return &ChangedError{What: s.Path, Old: s.Old, Ours: s.New, Have: have}
	}
	if err := writeTo(ctx, s.Path, s.Inode, s.Old); gone(err) {
		return nil
	} else if err != nil {
		return err
	}
	return readBack(s.Path, s.Old)
}

// settings are the names of the files that faults write. Nothing else is written
// because a journal says so.
var settings = []string{
	"memory.limit_in_bytes", "memory.max", "memory.high", "cpu.cfs_quota_us", "cpu.max", "freezer.state", "cgroup.freeze",
}

// onCgroups reports whether a file is on a file system of cgroups. Tests have others.
var onCgroups = isCgroupFile

// confined is nil for a file of a cgroup that faults write.
func confined(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || !slices.Contains(settings, filepath.Base(path)) {
		return &RefusedError{Why: fmt.Sprintf("%q is no file that a fault changes", path)}
	}
	switch ok, err := onCgroups(path); {
	case err != nil:
		return err
	case !ok:
		return &RefusedError{Why: fmt.Sprintf("%q is no file of a cgroup", path)}
	}
	return nil
}

// same compares values of a file of the kernel's, which does not say all values as they
// were written.
func same(have, wrote string) bool {
	if have == wrote || have == "FREEZING" && wrote == "FROZEN" {
		return true
	}
	h, w := strings.Fields(have), strings.Fields(wrote)
	if len(h) == 2 && len(w) == 2 { // cpu.max
		return h[0] == w[0] && h[1] == w[1]
	}
	a, la, ok1 := parseBytes(have)
	b, lb, ok2 := parseBytes(wrote)
	return ok1 && ok2 && la == lb && (!la || a == b)
}

// readBack says whether a file has a value.
func readBack(path, want string) error {
	have, err := readValue(path)
	switch {
	case gone(err):
		return nil
	case err != nil:
		return err
	case !same(have, want):
		return fmt.Errorf("%s is %q after %q was written", path, have, want)
	}
	return nil
}

// revertProcess ends a process of ours.
func revertProcess(ctx context.Context, s Step) error {
	p := handle(s.PID, s.Start)
	if p == nil {
		return nil
	}
	defer p.Release()
	if text, err := readText(procPath("", s.PID, "cmdline")); err == nil && text != "" && !strings.Contains(text, "\x00"+Verb+"\x00") {
		return &RefusedError{Why: fmt.Sprintf("process %d is none of ours", s.PID)}
	}
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return until(ctx, func() bool { return !running("", s.PID, s.Start) }, fmt.Sprintf("process %d does not end", s.PID))
}

// revertStopped lets a process go on, if it stands still.
func revertStopped(ctx context.Context, s Step) error {
	p := handle(s.PID, s.Start)
	if p == nil {
		return nil
	}
	defer p.Release()
	if err := p.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return until(ctx, func() bool { return !stopped(s.PID, s.Start) }, fmt.Sprintf("process %d does not go on", s.PID))
}

// stopped reports whether the process stands still by a signal.
func stopped(pid int, start uint64) bool {
	st, err := readStat("", pid)
	return err == nil && st.start == start && st.state == 'T'
}

// revertRemove removes a file that had a name for a moment, in which nothing was yet.
func revertRemove(_ context.Context, s Step) error {
	if info, err := os.Lstat(s.Path); err == nil && !(strings.HasPrefix(filepath.Base(s.Path), namelessName) && info.Mode().IsRegular() && info.Size() == 0) {
		return &RefusedError{Why: fmt.Sprintf("%q is no file that a fault makes", s.Path)}
	}
	if err := os.Remove(s.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// until waits for something that comes soon.
func until(ctx context.Context, so func() bool, not string) error {
	const patience = 10 * time.Second
	end := time.Now().Add(patience)
	for wait := time.Millisecond; !so(); wait = min(2*wait, 20*time.Millisecond) {
		if time.Now().After(end) {
			return errors.New(not)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", not, ctx.Err())
		case <-time.After(wait):
		}
	}
	return nil
}
