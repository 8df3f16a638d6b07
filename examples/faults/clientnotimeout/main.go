// Clientnotimeout reports each order to another service in a goroutine, with a
// client that has no time-out. One day the other service takes connections and
// does not answer: every report then waits for ever, with its order.
//
// Fix: http.Client{Timeout: 10 * time.Second}, or a context with one.
package main

import (
	"bytes"
	"net/http"

	"github.com/heapwright/heapwright/examples/internal/upstream"
	"github.com/heapwright/heapwright/examples/internal/work"
)

var client = http.Client{}

func main() {
	address := upstream.Start(upstream.Silent)
	work.Run(0.8, func(int) { go report(address, make([]byte, 4<<10)) })
}

func report(address string, order []byte) {
	resp, err := client.Post(address, "application/json", bytes.NewReader(order))
	if err == nil {
		resp.Body.Close()
	}
}
