// Deferloop takes messages in a loop and has each one released at the end, that is
// of the function, which for a consumer never comes.
//
// Fix: a function for one message, with the defer in it.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

type message struct {
	body     []byte
	released bool
}

func (m *message) release() { m.released = true }

var size int

func main() {
	messages := make(chan *message)
	go consume(messages)
	work.Run(40, func(int) { messages <- receive() })
}

func receive() *message { return &message{body: make([]byte, 400)} }

func consume(messages <-chan *message) {
	for {
		m, ok := <-messages
		if !ok {
			return
		}
		defer m.release()
		size += len(m.body)
	}
}
