// Burstyqueue is healthy: every few minutes an import puts 3,000 jobs into the
// queue, with a goroutine each that waits its turn, and they are worked off.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

type job struct{ input []byte }

var (
	turn = make(chan struct{})
	done int
)

func main() {
	work.Run(50, func(n int) {
		if n%9000 == 1500 {
			for range 3000 {
				go wait(&job{make([]byte, 2<<10)})
			}
		}
		select {
		case turn <- struct{}{}:
		default:
		}
	})
}

func wait(j *job) {
	<-turn
	done += len(j.input)
}
