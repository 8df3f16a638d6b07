package load

import (
	"os"
	"strconv"
	"syscall"
)

// executable is this program, also when its file has been replaced since.
func executable() (string, error) { return "/proc/self/exe", nil }

func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // Ctrl-C is for us: we end it when we are done with it
	}
}

// renice gives all threads of a process a niceness, where that is permitted. To
// Linux it is of a thread, and a new one takes that of the thread that makes it.
func renice(pid, nice int) {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	done := map[string]bool{}
	for again := true; again; {
		again = false
		tasks, err := os.ReadDir(dir)
		if err != nil {
			return
		}
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || done[t.Name()] {
				continue
			}
			switch syscall.Setpriority(syscall.PRIO_PROCESS, tid, nice) {
			case syscall.EPERM, syscall.EACCES:
				return
			}
			done[t.Name()], again = true, true
		}
	}
}

// killGroup ends a process and all that it started and that did not leave its group.
func killGroup(pid int) { syscall.Kill(-pid, syscall.SIGKILL) }
