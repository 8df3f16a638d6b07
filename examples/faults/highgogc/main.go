// Highgogc is healthy: with GOGC=800 it lets the heap grow to nine times of what is
// live before it collects. From outside that is a slow saw of 200 MB.
package main

import (
	"runtime/debug"

	"github.com/heapwright/heapwright/examples/internal/work"
)

var page []byte

func main() {
	debug.SetGCPercent(800)
	work.Run(100, func(n int) { page = make([]byte, 8<<10+n%512) })
}
