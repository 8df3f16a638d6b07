//go:build !linux

package cgroup

import (
	"io"
	"os"
)

// A keptFile is a file that is read many times.
type keptFile struct{ *os.File }

func keep(f *os.File) *keptFile { return &keptFile{f} }

// readStart reads what fits into buf, from the beginning.
func (f *keptFile) readStart(buf []byte) (int, error) {
	n, err := f.ReadAt(buf, 0)
	if err == io.EOF {
		err = nil
	}
	return n, err
}
