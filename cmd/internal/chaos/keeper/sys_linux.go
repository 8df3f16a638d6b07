package keeper

import (
	"os"
	"strconv"
	"syscall"
)

// executable is this program, also when its file has been replaced since.
func executable() string { return "/proc/self/exe" }

// niceness is what the keeper runs at, where that is permitted: it is to look in time
// also when the target takes all CPUs.
const niceness = -10

// prefer has the kernel give a process CPU time before others, where that is permitted.
// To Linux that is of a thread, and a new one takes that of the thread that makes it.
func prefer(pid int) {
	tasks, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return
	}
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			_ = syscall.Setpriority(syscall.PRIO_PROCESS, tid, niceness)
		}
	}
}

// spare asks the kernel to kill others first when the machine is out of memory. Of what
// it starts, eaters say for themselves that they go first of all.
func spare() {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-800"), 0) // where that is permitted
}
