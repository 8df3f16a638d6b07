package remote

import (
	"os"
	"sync"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// maxCached bounds the executables whose globals are remembered.
const maxCached = 256

// located remembers where an executable's globals lie, relative to the load
// bias, so that many processes of one program are located once.
var located struct {
	sync.Mutex
	m map[fileKey]*program
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
