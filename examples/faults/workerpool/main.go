// Workerpool is healthy: it starts a worker when there is work and none is idle, up
// to 600. Their goroutines wait for the next piece of work, for ever.
package main

import (
	"time"

	"github.com/heapwright/heapwright/examples/internal/work"
)

var (
	jobs    = make(chan int)
	workers = make(chan struct{}, 600)
)

func main() {
	work.Run(60, func(n int) {
		select {
		case jobs <- n:
			return
		default:
		}
		if n%40 != 0 { // it starts few at once
			return
		}
		select {
		case workers <- struct{}{}:
			go worker()
		default:
		}
	})
}

func worker() {
	scratch := make([]byte, 8<<10)
	for n := range jobs {
		scratch[n%len(scratch)]++
		time.Sleep(work.Scaled(9 * time.Second))
	}
}
