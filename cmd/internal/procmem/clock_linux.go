package procmem

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Nanotime returns CLOCK_MONOTONIC in nanoseconds, 0 when it cannot be read. It
// is what runtime.nanotime returns in every Go process of this machine that is
// not in a time namespace of its own.
func Nanotime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}

// SharesNanotime reports whether [Nanotime] is the process's too: it is not in
// another time namespace, as one that was restored from a checkpoint may be
// (time_namespaces(7)). What cannot be found out is not shared.
func (p *Process) SharesNanotime() bool {
	own, err := os.Stat("/proc/self/ns/time")
	if errors.Is(err, fs.ErrNotExist) {
		return true // a kernel before 5.6 has one clock for all
	}
	if err != nil {
		return false
	}
	f, err := p.OpenProc("ns/time")
	if err != nil {
		return false
	}
	defer f.Close()
	its, err := f.Stat()
	return err == nil && os.SameFile(own, its)
}

// Boottime returns CLOCK_BOOTTIME, the time since boot that processes' start
// times count in, in nanoseconds; 0 when it cannot be read. /proc/uptime has the
// container's instead where lxcfs is mounted over it.
func Boottime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}
