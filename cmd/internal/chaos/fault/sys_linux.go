package fault

import (
	"os"
	"syscall"
)

func threadID() int { return syscall.Gettid() }

// nudge sends a thread of ours the signal by which Go's runtime preempts.
func nudge(tid int) error { return syscall.Tgkill(os.Getpid(), tid, syscall.SIGURG) }

// writable is nil when a file may be written.
func writable(path string) error {
	const write = 2 // W_OK
	return syscall.Access(path, write)
}

func ownerOf(path string) (int, bool) {
	var st syscall.Stat_t
	if syscall.Stat(path, &st) != nil {
		return 0, false
	}
	return int(st.Uid), true
}
