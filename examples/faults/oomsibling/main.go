// Oomsibling is in a container of 160 MiB together with another process, which takes
// more and more of it. The kernel kills one of the two.
//
// Fix: a container for each; or a limit for the other.
package main

import (
	"github.com/heapwright/heapwright/examples/internal/upstream"
	"github.com/heapwright/heapwright/examples/internal/work"
)

func main() {
	upstream.Start(upstream.Grows)
	work.Run(1, func(int) {})
}
