// Limitabove has a GOMEMLIMIT that is larger than its container's memory limit,
// as happens when somebody halves the container and forgets the environment
// variable. The Go runtime believes it may use 512 MiB; the kernel kills it at
// 256 MiB.
//
// See it (as root, where memory is a v1 cgroup; `docker run -m 256m` does the same):
//
//	go build -o limitabove ./examples/limitabove
//	mkdir /sys/fs/cgroup/memory/limitabove
//	echo 256M > /sys/fs/cgroup/memory/limitabove/memory.limit_in_bytes
//	(echo 0 > /sys/fs/cgroup/memory/limitabove/cgroup.procs; GOMEMLIMIT=512MiB exec ./limitabove) &
//	heapwright diagnose $!     # HW1002
//
// Fix: derive one from the other. GOMEMLIMIT=230MiB fits a container of 256 MiB.
package main

import (
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

// cache is the service's live heap, in entries of 1 KiB.
var cache [20 << 10][]byte

func main() {
	ctx, stop := run.Context()
	defer stop()
	for i := range cache {
		cache[i] = make([]byte, 1<<10)
	}
	run.Ready()
	n := 0
	run.Every(ctx, 10*time.Millisecond, func() {
		for range 200 { // 20 MB a second
			cache[n%len(cache)] = make([]byte, 1<<10)
			n++
		}
	})
}
