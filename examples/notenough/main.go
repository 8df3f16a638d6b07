// Notenough does nothing at all. There is nothing to find in it, and Heapwright
// says that, and how long to look, instead of inventing something.
//
// See it:
//
//	go run ./examples/notenough
//	heapwright diagnose PID --for 5s     # HW9001
//
// Fix: look at a program while it works.
package main

import "github.com/heapwright/heapwright/examples/internal/run"

func main() {
	ctx, stop := run.Context()
	defer stop()
	run.Ready()
	<-ctx.Done()
}
