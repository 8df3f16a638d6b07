// Goroutines leaks one goroutine for every request that times out: the worker
// sends its result on an unbuffered channel, and the handler, who gave up, never
// receives it. The goroutine, its stack and all it refers to stay for ever.
//
// See it:
//
//	go run ./examples/goroutines
//	heapwright diagnose PID     # HW3002 names main.handle
//
// Fix: make the channel buffered, make(chan string, 1), so that the worker can
// always deliver; better, pass the context on and stop the work.
package main

import (
	"context"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var page []byte

func main() {
	ctx, stop := run.Context()
	defer stop()
	run.Ready()
	// 40 requests a second; 12,000 goroutines in the five minutes it runs.
	run.Every(ctx, 25*time.Millisecond, func() { handle(ctx) })
}

func handle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	page = make([]byte, 128<<10)
	result := make(chan string)
	go query(result)
	select {
	case <-result:
	case <-ctx.Done():
	}
}

// query is slower than the handler's patience.
func query(result chan<- string) {
	time.Sleep(20 * time.Millisecond)
	result <- string(make([]byte, 1<<10))
}
