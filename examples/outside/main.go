// Outside keeps 280 MiB in memory that it got from the kernel itself, as a C
// library or an embedded database does. The Go heap is tiny, the garbage
// collector and GOMEMLIMIT know nothing of that memory, and heap profiles do not
// show it; the container's limit counts it all the same.
//
// See it:
//
//	go run ./examples/outside
//	heapwright diagnose PID     # HW3005
//
// Fix: give that memory a bound of its own (the library's cache size), and take
// it off what GOMEMLIMIT gets of the container.
package main

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var last []byte

func main() {
	ctx, stop := run.Context()
	defer stop()
	block, err := syscall.Mmap(-1, 0, 280<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mapping memory:", err)
		os.Exit(1)
	}
	for i := 0; i < len(block); i += os.Getpagesize() {
		block[i] = 1
	}
	run.Ready()
	run.Every(ctx, 10*time.Millisecond, func() { last = make([]byte, 64<<10) })
}
