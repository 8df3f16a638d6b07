// Syncmap caches pages by their address, query and all. No two requests have the
// same address, so that nothing is ever found and everything is kept.
//
// Fix: take a cache with a bound, and the path as its key.
package main

import (
	"fmt"
	"sync"

	"github.com/heapwright/heapwright/examples/internal/work"
)

var pages sync.Map

func main() {
	work.Run(20, func(n int) { get(fmt.Sprintf("/articles/%d?session=%x", n%50, n)) })
}

func get(address string) []byte {
	if page, ok := pages.Load(address); ok {
		return page.([]byte)
	}
	page := render(address)
	pages.Store(address, page)
	return page
}

func render(address string) []byte {
	page := []byte("<h1>" + address + "</h1>")
	return append(page, make([]byte, 1024-len(page))...)
}
