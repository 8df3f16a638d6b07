// Callbacks has every connection listen to changes of the configuration, and none
// stop to listen when it ends.
//
// Fix: have onChange return what removes the callback, and call that in close.
package main

import (
	"sync"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type config struct {
	mu        sync.Mutex
	callbacks []func(timeout int)
}

type connection struct {
	timeout int
	buffer  []byte
}

var settings config

func main() {
	work.Run(6, func(int) { serve(&connection{buffer: make([]byte, 4<<10)}) })
}

func serve(c *connection) {
	settings.onChange(func(timeout int) { c.timeout = timeout })
	c.buffer[0] = 1 // a short conversation; then the connection is closed
}

func (c *config) onChange(f func(int)) {
	c.mu.Lock()
	c.callbacks = append(c.callbacks, f)
	c.mu.Unlock()
}
