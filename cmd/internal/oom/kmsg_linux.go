package oom

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

type kmsg struct{ f *os.File }

// openKmsg opens the log, at its end unless back is wanted. It returns the kernel's
// uptime with it.
func openKmsg(path string, back bool) (source, time.Duration, error) {
	// Non-blocking, so that a read can be given up: the log is a device that can be
	// polled (fs/proc and kernel/printk/printk.c, devkmsg_poll).
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	if !back {
		if _, err := f.Seek(0, io.SeekEnd); err != nil {
			f.Close()
			return nil, 0, err
		}
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		f.Close()
		return nil, 0, os.NewSyscallError("clock_gettime", err)
	}
	return &kmsg{f}, time.Duration(ts.Nano()), nil
}

func (k *kmsg) Close() error { return k.f.Close() }

func (k *kmsg) read(ctx context.Context, buf []byte, drained func() bool) (n int, err error) {
	if err := k.f.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, os.ErrNoDeadline) {
		return 0, err
	}
	defer context.AfterFunc(ctx, func() { k.f.SetReadDeadline(time.Unix(1, 0)) })()
	raw, err := k.f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var rerr error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, rerr = unix.Read(int(fd), buf)
			if !errors.Is(rerr, unix.EINTR) {
				break
			}
		}
		if errors.Is(rerr, unix.EAGAIN) {
			if !drained() {
				return false
			}
			rerr = io.EOF
		}
		return true
	})
	switch {
	case err != nil:
		return 0, err
	case errors.Is(rerr, unix.EPIPE):
		return 0, errOverwritten
	case rerr == io.EOF:
		return 0, io.EOF
	case rerr != nil:
		return 0, os.NewSyscallError("read", rerr)
	case n == 0:
		return 0, io.ErrUnexpectedEOF
	}
	return n, nil
}
