// Goroutineselect has a goroutine for each chat that waits for messages and for
// changes, but not for the end of the chat.
//
// Fix: case <-ctx.Done(): return, with the context of the chat.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

type chat struct {
	messages chan string
	changes  chan int
	history  []byte
}

func main() {
	work.Run(4, func(int) {
		c := join()
		c.messages <- "hello"
	})
}

func join() *chat {
	c := &chat{messages: make(chan string), changes: make(chan int), history: make([]byte, 0, 4<<10)}
	go c.relay()
	return c
}

func (c *chat) relay() {
	for {
		select {
		case m := <-c.messages:
			c.history = append(c.history, m...)
		case n := <-c.changes:
			c.history = c.history[:n]
		}
	}
}
