package goproc

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cgroup"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// A host is what processes of this host have in common.
type host struct {
	boot      time.Time
	memory    uint64
	cpus      int
	users     map[int]string
	cgroups   *cgroup.Host
	cgroupErr error
}

// bootTime is taken once: a second look would differ by what the wall clock was
// corrected by, and the same process would seem to have two start times.
var bootTime = sync.OnceValue(func() time.Time {
	up := procmem.Boottime()
	if up == 0 {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(up))
})

func newHost() *host {
	h := &host{boot: bootTime()}
	// What cannot be read stays unknown: it is about the host, not the process.
	if text, err := readFile("/proc/meminfo", 64<<10); err == nil {
		h.memory = parseMemTotal(text)
	}
	if text, err := readFile("/sys/devices/system/cpu/online", 64<<10); err == nil {
		h.cpus = parseCPUList(string(text))
	}
	if text, err := readFile("/etc/passwd", 4<<20); err == nil {
		h.users = parsePasswd(string(text))
	}
	h.cgroups, h.cgroupErr = cgroup.NewHost("")
	return h
}

var errTooLong = errors.New("longer than expected")

// readFile reads a file of at most limit bytes.
func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, &os.PathError{Op: "read", Path: name, Err: errTooLong}
	}
	return b, nil
}
