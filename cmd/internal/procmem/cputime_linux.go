package procmem

import (
	"time"

	"golang.org/x/sys/unix"
)

// CPUTime is the CPU time that the process has used since it started, user and
// system, of all its threads, those that have ended included. It is in
// nanoseconds, where /proc/PID/stat counts steps of 10 ms.
func (p *Process) CPUTime() (time.Duration, error) {
	// The clock of a process is named by its number (kernel: make_process_cpuclock
	// in include/linux/posix-timers.h); CPUCLOCK_SCHED is 2.
	const sched = 2
	clock := int32(^uint32(p.pid)<<3 | sched)
	var ts unix.Timespec
	err := unix.ClockGettime(clock, &ts)
	// By number again: it was this process's if that is still there.
	if alive := p.alive("read the CPU clock of"); alive != nil {
		return 0, alive
	}
	if err != nil {
		return 0, p.fail("read the CPU clock of", err)
	}
	return time.Duration(ts.Nano()), nil
}
