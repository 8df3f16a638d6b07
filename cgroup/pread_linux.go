package cgroup

import (
	"os"
	"syscall"
)

// A keptFile is a kernel file that is read many times. Its descriptor is taken
// once: os.File.ReadAt asks twice for what one system call gives.
type keptFile struct {
	*os.File
	fd int
}

func keep(f *os.File) *keptFile { return &keptFile{f, int(f.Fd())} }

// readStart reads what fits into buf, from the beginning. The kernel gives the
// text of such a file in one piece.
func (f *keptFile) readStart(buf []byte) (int, error) {
	for {
		n, err := syscall.Pread(f.fd, buf, 0)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}
