package procmem

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// BootID names this boot: process start times count from it.
func BootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot ID: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// StartTicks is when a process started, as [Process.StartTicks] is. It needs no right
// to look into the process. The error is [ErrExited] when there is none.
func StartTicks(pid int) (uint64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	var st procStat
	if err == nil {
		st, err = parseStat(text)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) || st.state == 'Z' || st.state == 'X' {
		err = ErrExited
	}
	if err != nil {
		return 0, &Error{Op: "look at", PID: pid, Err: err}
	}
	return st.start, nil
}
