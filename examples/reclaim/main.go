// Reclaim reads a file that is larger than its container, over and over: what the
// kernel drops to make room is what is read next. So does every service whose limit
// leaves no room for the files that it works on.
//
// See it:
//
//	systemd-run --user --scope -p MemoryMax=64M go run ./examples/reclaim
//	heapwright diagnose PID     # HW4005
//
// Fix: raise the limit, lower GOMEMLIMIT so that files have room, or read less.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

const size = 96 << 20

func main() {
	ctx, stop := run.Context()
	defer stop()
	f, err := os.CreateTemp("", "reclaim-")
	block := make([]byte, 1<<20)
	if err == nil {
		os.Remove(f.Name()) // it is there for as long as it is open, and no longer
		for range size / len(block) {
			if _, err = f.Write(block); err != nil {
				break
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "writing a file:", err)
		os.Exit(1)
	}
	defer f.Close()
	run.Ready()
	at := int64(0)
	run.Every(ctx, 20*time.Millisecond, func() {
		if _, err := f.ReadAt(block, at); err != nil {
			fmt.Fprintln(os.Stderr, "reading a file:", err)
		}
		at = (at + int64(len(block))) % size
	})
}
