// Blocked has forty goroutines that have been waiting for minutes to send on a
// channel whose reader is gone. Nothing crashes, the CPU is idle, and the work
// those goroutines were given is never finished.
//
// See it (after the goroutines have been blocked for a minute):
//
//	go run ./examples/blocked
//	heapwright diagnose PID     # HW3003 names main.report
//
// Fix: make every send a select with ctx.Done(), and cancel the context when the
// reader goes away.
package main

import (
	"runtime"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var last []byte

func main() {
	ctx, stop := run.Context()
	defer stop()
	results := make(chan int)
	for n := range 40 {
		go report(results, n)
	}
	// A reader that leaves at the first error.
	<-results

	// The runtime notes since when a goroutine waits only at a collection. A
	// service has one soon enough by itself.
	time.Sleep(time.Second)
	runtime.GC()
	run.Ready()
	run.Every(ctx, 10*time.Millisecond, func() { last = make([]byte, 64<<10) })
}

func report(results chan<- int, n int) {
	results <- n
}
