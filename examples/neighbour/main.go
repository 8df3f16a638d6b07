// Neighbour runs beside another process in the same container, as a service does with
// a sidecar, an exporter or a shell that somebody left: the other one holds 80 MiB, and
// the container's limit counts them together with what this program has.
//
// See it:
//
//	systemd-run --user --scope -p MemoryMax=256M go run ./examples/neighbour
//	heapwright diagnose PID     # HW3009 names the other process
//
// Fix: give the other process a container of its own, or a bound; else take what it
// may have off GOMEMLIMIT.
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var last []byte

func main() {
	if len(os.Args) > 1 && os.Args[1] == "sidecar" {
		sidecar()
		return
	}
	ctx, stop := run.Context()
	defer stop()
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "finding this program:", err)
		os.Exit(1)
	}
	other := exec.Command(self, "sidecar")
	life, err := other.StdinPipe()
	if err == nil {
		err = other.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting a sidecar:", err)
		os.Exit(1)
	}
	run.Ready()
	run.Every(ctx, 10*time.Millisecond, func() { last = make([]byte, 64<<10) })
	life.Close()
	other.Wait()
}

// sidecar holds memory for as long as the program lives that started it.
func sidecar() {
	held := make([]byte, 80<<20)
	for i := 0; i < len(held); i += os.Getpagesize() {
		held[i] = 1
	}
	io.Copy(io.Discard, os.Stdin)
	last = held
}
