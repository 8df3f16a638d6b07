package remote

import (
	"os"
	"sync"
	"syscall"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// A fileKey names the content of an executable for as long as nobody writes to it.
type fileKey struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

// maxCached bounds the executables whose globals are remembered.
const maxCached = 256

// located remembers where an executable's globals lie, relative to the load
// bias, so that many processes of one program are located once.
var located struct {
	sync.Mutex
	m map[fileKey]*program
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

// locateCached is locate, with the outcome of the election kept by file. The
// module data is read anew for each process, and so is everything that is checked.
func locateCached(exe *os.File, img *image, goVersion string, mem procmem.Memory, bias uint64) (*program, error) {
	key, ok := keyOf(exe)
	if !ok {
		return locate(img, goVersion, mem, bias, nil)
	}
	located.Lock()
	known := located.m[key]
	located.Unlock()
	p, err := locate(img, goVersion, mem, bias, known)
	if err != nil || known != nil {
		return p, err
	}
	located.Lock()
	defer located.Unlock()
	if located.m == nil || len(located.m) >= maxCached {
		located.m = map[fileKey]*program{}
	}
	located.m[key] = p
	return p, nil
}
