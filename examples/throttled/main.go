// Throttled wants two cores where its container may use three tenths of one. The
// kernel lets it run for 30 ms of every 100 ms and stops all of its threads for
// the rest. Requests then take tens of milliseconds longer, at random, which
// looks like garbage collection pauses, and is not.
//
// See it (as root, where cpu is a v1 cgroup; `docker run --cpus 0.3` does the same):
//
//	go build -o throttled ./examples/throttled
//	mkdir /sys/fs/cgroup/cpu/throttled
//	echo 30000 > /sys/fs/cgroup/cpu/throttled/cpu.cfs_quota_us
//	(echo 0 > /sys/fs/cgroup/cpu/throttled/cgroup.procs; exec ./throttled) &
//	heapwright diagnose $!     # HW4004
//
// Fix: more CPU for the container, or less work. Tuning the collector changes
// nothing.
package main

import (
	"context"
	"sync"

	"github.com/heapwright/heapwright/examples/internal/run"
)

func main() {
	ctx, stop := run.Context()
	defer stop()
	run.Ready()
	var wg sync.WaitGroup
	for range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			serve(ctx)
		}()
	}
	wg.Wait()
}

// serve computes, and allocates a little.
func serve(ctx context.Context) (sum uint64) {
	var last []byte
	for ctx.Err() == nil {
		for i := range uint64(1 << 20) {
			sum = sum*31 + i
		}
		last = make([]byte, 64<<10)
		last[0] = byte(sum)
	}
	return sum + uint64(last[0])
}
