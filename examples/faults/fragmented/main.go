// Fragmented is healthy, if wasteful: of each thousand records one is kept for a
// while, and keeps its page of the heap with it. What is live does not grow; what
// the process has grows to a bound.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

type record [512]byte

var (
	kept  [2000]*record
	flood [4000]*record
)

func main() {
	work.Run(1, func(n int) {
		for i := range flood {
			flood[i] = new(record)
		}
		for i := range 40 {
			kept[(n*40+i)%len(kept)] = flood[i*100]
		}
		clear(flood[:])
	})
}
