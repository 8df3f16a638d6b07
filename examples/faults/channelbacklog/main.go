// Channelbacklog has a channel that is so long that nobody notices that its
// consumer is slower than its producer.
//
// Fix: a channel of a few hundred; when it is full, say no, or take more consumers.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

type mail struct {
	to   string
	body []byte
}

var (
	outbox = make(chan *mail, 1<<19)
	last   *mail
)

func main() {
	ctx, stop := work.Start()
	defer stop()
	go work.Each(ctx, 10, func(int) { deliver() })
	work.Each(ctx, 35, func(n int) { enqueue(n) })
}

func enqueue(n int) {
	select {
	case outbox <- &mail{to: "somebody", body: make([]byte, 1000)}:
	default:
	}
}

func deliver() {
	select {
	case last = <-outbox:
	default:
	}
}
