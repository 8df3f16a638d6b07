// Limitunset runs in a container with a memory limit and never tells the Go
// runtime. The cache holds about 100 MiB, so with GOGC=100 the garbage
// collector lets the heap grow to 200 MiB before it collects. In a container of
// 256 MiB a slightly larger cache is an OOM kill, although half of the memory
// at that moment is garbage.
//
// See it (as root, where memory is a v1 cgroup; `docker run -m 256m` does the same):
//
//	go build -o limitunset ./examples/limitunset
//	mkdir /sys/fs/cgroup/memory/limitunset
//	echo 256M > /sys/fs/cgroup/memory/limitunset/memory.limit_in_bytes
//	(echo 0 > /sys/fs/cgroup/memory/limitunset/cgroup.procs; exec ./limitunset) &
//	heapwright diagnose $!     # HW1001
//
// Fix: set GOMEMLIMIT to about 90% of the container's limit, here
// GOMEMLIMIT=230MiB. The collector then works harder only when memory is short.
package main

import (
	"flag"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var live = flag.Int("live", 100, "size of the cache, MiB")

// cache is the service's live heap, in entries of 1 KiB.
var cache [][]byte

func main() {
	ctx, stop := run.Context()
	defer stop()
	for range *live << 10 {
		cache = append(cache, make([]byte, 1<<10))
	}
	run.Ready()
	n := 0
	run.Every(ctx, 10*time.Millisecond, func() {
		for range 400 { // 40 MB of requests a second, each replacing an entry
			cache[n%len(cache)] = serve(n)
			n++
		}
	})
}

func serve(n int) []byte {
	answer := make([]byte, 1<<10)
	answer[0] = byte(n)
	return answer
}
