// Liveheap remembers every session and forgets none: the classic leak, a map
// that only grows. The live heap rises from one GC cycle to the next until
// something kills the process.
//
// See it:
//
//	go run ./examples/liveheap
//	heapwright diagnose PID     # HW3001 names main.openSession
//
// Fix: delete the session when it ends, and bound the map (by time or by size)
// for those that never do.
package main

import (
	"flag"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var rate = flag.Int("rate", 4, "MiB of sessions to leak each second")

// limit keeps the example from doing real harm: then it stops leaking.
const limit = 256 << 20

type session struct {
	id   uint64
	data []byte
}

var (
	sessions = map[uint64]*session{}
	answer   []byte
)

func main() {
	ctx, stop := run.Context()
	defer stop()
	run.Ready()
	var next uint64
	run.Every(ctx, 10*time.Millisecond, func() {
		for range *rate * (1 << 20) / 100 / sessionSize {
			if len(sessions)*sessionSize < limit {
				openSession(next)
				next++
			}
		}
		for range 200 { // and 80 MB of garbage a second
			answer = make([]byte, 4<<10)
		}
	})
}

const sessionSize = 2 << 10

func openSession(id uint64) {
	sessions[id] = &session{id: id, data: make([]byte, sessionSize)}
}
