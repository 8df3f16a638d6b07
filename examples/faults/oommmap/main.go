//go:build unix

// Oommmap is in a container of 128 MiB, and maps memory for each image that it
// scales, which it does not unmap.
//
// Fix: syscall.Munmap when the image is done.
package main

import (
	"syscall"

	"github.com/heapwright/heapwright/examples/internal/work"
)

func main() {
	work.Run(0.7, func(int) { scale() })
}

func scale() {
	image, err := syscall.Mmap(-1, 0, 256<<10, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return
	}
	for i := 0; i < len(image); i += 4096 {
		image[i] = 1
	}
}
