package remote

import (
	"os"
	"syscall"
)

// A fileKey names the content of an executable for as long as nobody writes to it.
type fileKey struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

func keyOf(exe *os.File) (fileKey, bool) {
	st, err := exe.Stat()
	if err != nil {
		return fileKey{}, false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return fileKey{}, false
	}
	return fileKey{sys.Dev, sys.Ino, sys.Size, sys.Mtim, sys.Ctim}, true
}
