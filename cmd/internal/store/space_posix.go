//go:build linux || darwin

package store

import (
	"errors"
	"io/fs"
	"syscall"
)

// freeSpace is what the user that runs this may still write to a directory's file
// system, in bytes.
func freeSpace(dir string) (int64, bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true // their types differ between systems
}

// isFull reports whether an error says that there is no room.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// onDisk is what a file takes. The library maps chunk files that are longer than what
// was written to them.
func onDisk(info fs.FileInfo) int64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return min(int64(s.Blocks)*512, info.Size())
	}
	return info.Size()
}
