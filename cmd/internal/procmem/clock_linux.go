package procmem

import "golang.org/x/sys/unix"

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
