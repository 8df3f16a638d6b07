package load

import (
	"syscall"
	"time"
)

// nap sleeps for a short time, to some ten microseconds: the runtime's timers wake
// an idle program by epoll_wait, whose clock has milliseconds.
func nap(d time.Duration) {
	const prSetTimerslack = 29
	// By default the kernel may wake a thread 50 µs late, to wake several at once. It
	// is of the thread, and which that is changes; it cannot fail.
	syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerslack, 1, 0)
	ts := syscall.NsecToTimespec(int64(d))
	// A signal may end it early: the caller looks at the clock.
	_ = syscall.Nanosleep(&ts, nil)
}
