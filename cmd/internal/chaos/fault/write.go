package fault

import (
	"context"
	"errors"
	"io/fs"
	"runtime"
	"syscall"
	"time"
)

// write writes a value to a file that is there. The kernel may reclaim memory before it
// takes a value, for as long as that lasts: when the context ends the write is
// interrupted, and the value may or may not have been taken.
func write(ctx context.Context, path, value string) error { return writeTo(ctx, path, 0, value) }

// errReplaced: a group was removed, and there is another of its name.
var errReplaced = errors.New("its cgroup was removed, and another has its name")

// stuckAfter is how long it is waited for a system call that was interrupted: one that
// the kernel does not let go of is left behind.
const stuckAfter = 2 * time.Second

// writeTo is write, to the file with that inode alone, where it is not 0.
func writeTo(ctx context.Context, path string, inode uint64, value string) error {
	// Package os would begin a system call again after each signal.
	const flags = syscall.O_WRONLY | syscall.O_TRUNC | syscall.O_CLOEXEC | syscall.O_NOFOLLOW
	fd, err := syscall.Open(path, flags, 0)
	for err == syscall.EINTR {
		fd, err = syscall.Open(path, flags, 0)
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	if inode != 0 {
		var st syscall.Stat_t
		if err = syscall.Fstat(fd, &st); err == nil && st.Ino != inode {
			err = errReplaced
		}
		if err != nil {
			syscall.Close(fd)
			return &fs.PathError{Op: "write", Path: path, Err: err}
		}
	}
	thread, done := make(chan int, 1), make(chan error, 1)
	go func() {
		defer syscall.Close(fd)
		// The thread is ours alone, so that the signal finds this write.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- threadID()
		done <- writeOnce(ctx, fd, value)
	}()
	tid := <-thread
	select {
	case err = <-done:
	case <-ctx.Done():
		err = interrupted(tid, done)
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

func writeOnce(ctx context.Context, fd int, value string) error {
	for {
		_, err := syscall.Write(fd, []byte(value))
		if err != syscall.EINTR {
			return err
		}
		if ctx.Err() != nil { // and not one of the signals of Go's runtime
			return ctx.Err()
		}
	}
}

// interrupted has a thread come back from its system call, and returns how that ended.
// The signal means nothing to a Go program; it is sent again since it may come just
// before the call.
func interrupted(tid int, done <-chan error) error {
	end := time.Now().Add(stuckAfter)
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		_ = nudge(tid)
		select {
		case err := <-done:
			return err
		case <-time.After(wait):
		}
		if time.Now().After(end) {
			return errors.New("the kernel does not let go of it")
		}
	}
}
