// Settingchanged sets its own GOMEMLIMIT anew every two seconds, once to 200 and once
// to 100 MiB, as an admin page, a tuner or an operator may do: whoever measured before
// and after has measured two settings.
//
// See it:
//
//	go run ./examples/settingchanged
//	heapwright diagnose PID     # HW1010
//
// Fix: set it in one place, and say so when it changes.
package main

import (
	"runtime/debug"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var last []byte

func main() {
	ctx, stop := run.Context()
	defer stop()
	run.Ready()
	n := 0
	run.Every(ctx, 10*time.Millisecond, func() {
		if n++; n%200 == 0 {
			debug.SetMemoryLimit(int64(100+100*(n/200%2)) << 20)
		}
		last = make([]byte, 64<<10)
	})
}
