package fault

import (
	"context"
	"io/fs"
	"runtime"
	"syscall"
	"time"
)

// write writes a value to a file that is there. The kernel may reclaim memory before it
// takes a value, for as long as that lasts: when the context ends the write is
// interrupted, and the value may or may not have been taken.
func write(ctx context.Context, path, value string) error {
	// Package os would begin a system call again after each signal.
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_TRUNC|syscall.O_CLOEXEC, 0)
	for err == syscall.EINTR {
		fd, err = syscall.Open(path, syscall.O_WRONLY|syscall.O_TRUNC|syscall.O_CLOEXEC, 0)
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
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
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		_ = nudge(tid)
		select {
		case err := <-done:
			return err
		case <-time.After(wait):
		}
	}
}
