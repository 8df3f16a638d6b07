// Requesttimers is healthy: each of its many requests has a timer for its time-out,
// a context and a goroutine, and all of them end when the request does.
package main

import (
	"context"
	"time"

	"github.com/heapwright/heapwright/examples/internal/work"
)

func main() {
	ctx, stop := work.Start()
	defer stop()
	work.Each(ctx, 40, func(n int) { go handle(ctx, time.Duration(n*7919%1000)*time.Millisecond) })
}

func handle(ctx context.Context, takes time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	expire := time.AfterFunc(30*time.Second, cancel)
	defer expire.Stop()
	body := make([]byte, 8<<10)
	select {
	case <-time.After(takes):
		body[0]++
	case <-ctx.Done():
	}
}
