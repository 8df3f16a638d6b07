package subject

import "syscall"

// attributes are of a process that belongs to us: killed when the thread that
// started it ends, and in a group of its own, so that Ctrl-C is for us.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// apart are of a process that outlives us.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// into adds that the process starts in a cgroup of version 2.
func into(a *syscall.SysProcAttr, dir int) { a.UseCgroupFD, a.CgroupFD = true, dir }

func gettid() int { return syscall.Gettid() }
