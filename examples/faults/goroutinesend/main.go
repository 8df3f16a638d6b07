// Goroutinesend asks a backend with a time-out. The one who asks leaves when the
// time is over; the one who answers waits for ever to hand over the answer.
//
// Fix: make(chan []byte, 1).
package main

import (
	"context"
	"time"

	"github.com/heapwright/heapwright/examples/internal/work"
)

func main() {
	ctx, stop := work.Start()
	defer stop()
	work.Each(ctx, 4, func(int) { go search(ctx) })
}

func search(ctx context.Context) []byte {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
	defer cancel()
	answer := make(chan []byte)
	go askBackend(answer)
	select {
	case a := <-answer:
		return a
	case <-ctx.Done():
		return nil
	}
}

// askBackend is slower than anybody waits.
func askBackend(answer chan<- []byte) {
	result := make([]byte, 4<<10)
	time.Sleep(50 * time.Millisecond)
	answer <- result
}
