// Godebug is a service that somebody runs with a misspelt GODEBUG key. The
// runtime ignores keys that it does not know without a word, so the setting has
// no effect, and nobody finds out.
//
// See it:
//
//	GODEBUG=gctrce=1 go run ./examples/godebug
//	heapwright diagnose PID     # HW1008
//
// Fix: the key is gctrace.
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
