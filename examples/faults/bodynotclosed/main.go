// Bodynotclosed asks another service whether it is well. It looks at the status,
// and does not close the body: the connection with its two goroutines and its
// buffers can neither be used again nor be let go.
//
// Fix: defer resp.Body.Close().
package main

import (
	"net/http"

	"github.com/heapwright/heapwright/examples/internal/upstream"
	"github.com/heapwright/heapwright/examples/internal/work"
)

var healthy bool

func main() {
	address := upstream.Start(upstream.Answers)
	work.Run(1, func(int) { healthy = check(address) })
}

func check(address string) bool {
	resp, err := http.Get(address)
	if err != nil {
		return false
	}
	return resp.StatusCode == http.StatusOK
}
