// Pagecache writes a file of 120 MiB and goes on. The container's usage is high and
// stays high, and a dashboard shows a leak: it is page cache, which the kernel drops
// when memory is wanted.
//
// See it:
//
//	systemd-run --user --scope -p MemoryMax=256M go run ./examples/pagecache
//	heapwright diagnose PID     # HW3011
//
// Fix: none is needed. Alert on the working set, and not on usage.
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
	f, err := os.CreateTemp("", "pagecache-")
	if err == nil {
		os.Remove(f.Name()) // it is there for as long as it is open, and no longer
		block := make([]byte, 1<<20)
		for range 120 {
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
	run.Every(ctx, 10*time.Millisecond, func() { last = make([]byte, 64<<10) })
}
