// Oomstacks is in a container of 128 MiB. Its dependency has stopped to answer, and
// each request walks down a deep tree and waits at its end.
//
// Fix: a time-out for the dependency, and a bound for the requests at a time.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

var answers = make(chan int)

func main() {
	work.Run(15, func(n int) { go walk(12, n) })
}

func walk(depth, n int) int {
	var path [700]byte
	if depth == 0 {
		return <-answers
	}
	path[depth] = byte(n)
	return walk(depth-1, n) + int(path[depth])
}
