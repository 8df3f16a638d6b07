// Timeafterloop waits for messages, with a time-out of an hour that is made anew
// for each of them. Up to Go 1.22, and later with asynctimerchan=1 or a go.mod that
// says less than 1.23, each of these timers lives for its hour.
//
// Fix: one timer before the loop, and t.Reset in it.
package main

import (
	"time"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type message struct{ id int }

var handled int

func main() {
	messages := make(chan message)
	go consume(messages)
	work.Run(100, func(n int) { messages <- message{n} })
}

func consume(messages <-chan message) {
	for {
		select {
		case m := <-messages:
			handled = m.id
		case <-time.After(time.Hour):
			return
		}
	}
}
