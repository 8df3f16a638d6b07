//go:build unix

// Offheap maps a segment of memory for each file that it sends, and never unmaps
// one. The memory is the process's, but not Go's: no profile has it.
//
// Fix: syscall.Munmap when the file is sent.
package main

import (
	"syscall"

	"github.com/heapwright/heapwright/examples/internal/work"
)

func main() {
	work.Run(0.4, func(int) { send() })
}

func send() {
	segment, err := syscall.Mmap(-1, 0, 64<<10, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return
	}
	for i := 0; i < len(segment); i += 4096 {
		segment[i] = 1
	}
}
