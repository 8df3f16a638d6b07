// Gomaxprocs runs with GOMAXPROCS=8 where the container may use half a core. The
// runtime then runs eight threads, and eight GC workers, into a quota that is
// used up in a fraction of every period; for the rest of it the whole process,
// including whoever holds a lock, stands still.
//
// See it (as root, where cpu is a v1 cgroup; `docker run --cpus 0.5` does the same):
//
//	go build -o gomaxprocs ./examples/gomaxprocs
//	mkdir /sys/fs/cgroup/cpu/gomaxprocs
//	echo 50000 > /sys/fs/cgroup/cpu/gomaxprocs/cpu.cfs_quota_us
//	(echo 0 > /sys/fs/cgroup/cpu/gomaxprocs/cgroup.procs; GOMAXPROCS=8 exec ./gomaxprocs) &
//	heapwright diagnose $!     # HW1007
//
// Fix: do not set GOMAXPROCS; since Go 1.25 the runtime takes the quota into
// account. With an older Go set it to the quota, rounded up.
package main

import (
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var last [8][]byte

func main() {
	ctx, stop := run.Context()
	defer stop()
	run.Ready()
	for w := range last {
		go run.Every(ctx, 10*time.Millisecond, func() {
			for range 10 {
				last[w] = make([]byte, 10<<10)
			}
		})
	}
	<-ctx.Done()
}
