package sli

import (
	"syscall"
	"time"
)

// cpuTimes reads the CPU time of the process by the kernel's account.
type cpuTimes struct{ created, exited, kernel, user syscall.Filetime }

func (c *cpuTimes) read() (user, system time.Duration, ok bool) {
	self, err := syscall.GetCurrentProcess() // a constant: there is nothing to close
	if err != nil {
		return 0, 0, false
	}
	if err := syscall.GetProcessTimes(self, &c.created, &c.exited, &c.kernel, &c.user); err != nil {
		return 0, 0, false
	}
	return ticks(c.user), ticks(c.kernel), true
}

// ticks are of 100 ns. (Filetime.Nanoseconds counts from 1970.)
func ticks(f syscall.Filetime) time.Duration {
	return time.Duration(int64(f.HighDateTime)<<32|int64(f.LowDateTime)) * 100
}
