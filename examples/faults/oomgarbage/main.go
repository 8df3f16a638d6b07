// Oomgarbage is in a container of 128 MiB, and somebody has switched the collector
// off, "for latency": what dies is not taken away.
//
// Fix: GOMEMLIMIT=115MiB beside GOGC=off; or GOGC=100.
package main

import (
	"runtime/debug"

	"github.com/heapwright/heapwright/examples/internal/work"
)

var page []byte

func main() {
	debug.SetGCPercent(-1)
	work.Run(30, func(int) { page = render() })
}

func render() []byte {
	page := make([]byte, 24<<10)
	for i := range page {
		page[i] = 'x'
	}
	return page
}
