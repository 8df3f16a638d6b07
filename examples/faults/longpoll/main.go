// Longpoll is healthy: up to 1,500 clients wait for news, a goroutine each. They
// come, wait for two to four minutes, and go; it takes a while until as many go as
// come.
package main

import (
	"time"

	"github.com/heapwright/heapwright/examples/internal/work"
)

var news = make(chan string)

func main() {
	work.Run(8, func(n int) { go poll(work.Scaled(2*time.Minute + time.Duration(n*7919%120)*time.Second)) })
}

func poll(patience time.Duration) string {
	line := make([]byte, 2<<10)
	over := time.NewTimer(patience)
	defer over.Stop()
	select {
	case text := <-news:
		return string(append(line, text...))
	case <-over.C:
		return ""
	}
}
