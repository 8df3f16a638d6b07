// Oomleak is in a container of 128 MiB, and keeps what it computed for every query
// there ever was.
//
// Fix: a cache with a bound.
package main

import (
	"fmt"

	"github.com/heapwright/heapwright/examples/internal/work"
)

var results = map[string][]byte{}

func main() {
	work.Run(40, func(n int) { compute(fmt.Sprint("query ", n)) })
}

func compute(query string) []byte {
	result, ok := results[query]
	if !ok {
		result = make([]byte, 4<<10)
		results[query] = result
	}
	return result
}
