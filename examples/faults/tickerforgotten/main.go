// Tickerforgotten has a goroutine for each subscriber that sends it a heartbeat
// every 30 seconds, also when the subscriber has long gone: nothing stops it.
//
// Fix: a context that ends with the subscription, in a select beside the ticker,
// and defer t.Stop().
package main

import (
	"time"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type subscriber struct {
	gone   bool
	missed int
	queue  []byte
}

func main() {
	work.Run(4, func(int) {
		s := subscribe()
		s.gone = true
	})
}

func subscribe() *subscriber {
	s := &subscriber{queue: make([]byte, 3<<10)}
	go s.heartbeat()
	return s
}

func (s *subscriber) heartbeat() {
	t := time.NewTicker(30 * time.Second)
	for range t.C {
		if s.gone {
			s.missed++
			continue
		}
		s.queue = s.queue[:0]
	}
}
