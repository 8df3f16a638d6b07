//go:build !linux

package load

import (
	"os"
	"syscall"
)

func executable() (string, error) { return os.Executable() }

// attributes cannot have the child end with us: only Linux offers that. It ends
// when its input does.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func renice(pid, nice int) { _ = syscall.Setpriority(syscall.PRIO_PROCESS, pid, nice) }

// killGroup ends a process and all that it started and that did not leave its group.
func killGroup(pid int) { syscall.Kill(-pid, syscall.SIGKILL) }
