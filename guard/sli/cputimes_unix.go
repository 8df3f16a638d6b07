//go:build unix

package sli

import (
	"syscall"
	"time"
)

// cpuTimes reads the CPU time of the process by the kernel's account.
type cpuTimes struct{ usage syscall.Rusage }

func (c *cpuTimes) read() (user, system time.Duration, ok bool) {
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &c.usage); err != nil {
		return 0, 0, false
	}
	return time.Duration(c.usage.Utime.Nano()), time.Duration(c.usage.Stime.Nano()), true
}
