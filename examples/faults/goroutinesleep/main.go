// Goroutinesleep tries again what has failed, waiting twice as long each time, for
// as often as it takes. While what it calls is down, every call ends up asleep for
// hours.
//
// Fix: an end to the attempts, and a queue of what is to be tried again.
package main

import (
	"errors"
	"time"

	"github.com/heapwright/heapwright/examples/internal/work"
)

func main() {
	work.Run(4, func(int) { go deliver(make([]byte, 3<<10)) })
}

func deliver(letter []byte) {
	for pause := 10 * time.Millisecond; send(letter) != nil; pause *= 8 {
		time.Sleep(pause)
	}
}

func send(letter []byte) error {
	letter[0]++
	return errors.New("connection refused")
}
