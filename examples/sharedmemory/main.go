// Sharedmemory leaves a file of 60 MiB in /dev/shm, as a program does that passes data
// to others by shared memory, or that takes a tmpfs for a disk. It looks like page
// cache in a dashboard, but the kernel cannot drop it.
//
// See it:
//
//	systemd-run --user --scope -p MemoryMax=256M go run ./examples/sharedmemory
//	heapwright diagnose PID     # HW3010
//
// Fix: remove what is left behind, and give the tmpfs a size.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var last []byte

func main() {
	ctx, stop := run.Context()
	defer stop()
	f, err := os.CreateTemp("/dev/shm", "sharedmemory-")
	if err == nil {
		os.Remove(f.Name()) // it is there for as long as it is open, and no longer
		_, err = f.Write(make([]byte, 60<<20))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "writing to /dev/shm:", err)
		os.Exit(1)
	}
	defer f.Close()
	run.Ready()
	run.Every(ctx, 10*time.Millisecond, func() { last = make([]byte, 64<<10) })
}
