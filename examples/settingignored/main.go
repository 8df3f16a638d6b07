// Settingignored is a service that somebody runs with a GOGC that is not a number.
// The runtime does not complain, it uses 100.
//
// See it:
//
//	GOGC=200% go run ./examples/settingignored
//	heapwright diagnose PID     # HW1009
//
// Fix: GOGC=200, without the percent sign.
package main

import (
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var last []byte

func main() {
	ctx, stop := run.Context()
	defer stop()
	run.Ready()
	run.Every(ctx, 10*time.Millisecond, func() { last = make([]byte, 64<<10) })
}
