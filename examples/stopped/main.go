// Stopped is stopped by another process every few seconds, and let go on, as happens
// with docker pause, checkpoints, node agents that freeze, debuggers and Ctrl-Z. From
// inside it looks like a pause of 1.5 seconds.
//
// See it:
//
//	go run ./examples/stopped
//	heapwright diagnose PID     # HW4006
//
// Fix: find out who does it.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var last []byte

func main() {
	if len(os.Args) > 1 && os.Args[1] == "stopper" {
		stopper(os.Getppid())
		return
	}
	ctx, stop := run.Context()
	defer stop()
	self, err := os.Executable()
	if err == nil {
		err = exec.Command(self, "stopper").Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting what stops it:", err)
		os.Exit(1)
	}
	run.Ready()
	run.Every(ctx, 10*time.Millisecond, func() { last = make([]byte, 64<<10) })
}

// stopper stops its parent now and then, until it has none.
func stopper(parent int) {
	for os.Getppid() == parent && parent > 1 {
		syscall.Kill(parent, syscall.SIGSTOP)
		time.Sleep(1500 * time.Millisecond)
		if os.Getppid() == parent {
			syscall.Kill(parent, syscall.SIGCONT)
		}
		time.Sleep(3 * time.Second)
	}
}
