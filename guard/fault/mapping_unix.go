//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package fault

import "syscall"

const canMap = true

// mapMemory maps memory that nobody else has, and no file.
func mapMemory(n int) ([]byte, error) {
	return syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
}

func unmapMemory(b []byte) error { return syscall.Munmap(b) }
