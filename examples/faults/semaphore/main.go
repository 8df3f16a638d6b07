// Semaphore lets 16 requests in at once. Those that find nothing do not give their
// place back; when all places are lost everybody waits to be let in.
//
// Fix: defer func() { <-places }() behind places <- struct{}{}.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

var places = make(chan struct{}, 16)

func main() {
	work.Run(4, func(n int) { go lookUp(n, make([]byte, 3<<10)) })
}

func lookUp(n int, query []byte) []byte {
	places <- struct{}{}
	if n%2 == 0 {
		return nil
	}
	query[0] = byte(n)
	<-places
	return query
}
