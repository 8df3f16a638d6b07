// Ttlsessions is healthy: a session is dropped six minutes after it was opened. For
// six minutes they become more; from then on as many go as come.
package main

import (
	"time"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type session struct {
	id     int
	opened time.Time
	data   []byte
}

var (
	sessions = map[int]*session{}
	oldest   int
)

func main() {
	work.Run(25, func(n int) {
		openSession(n)
		for time.Since(sessions[oldest].opened) > work.Scaled(6*time.Minute) {
			delete(sessions, oldest)
			oldest++
		}
	})
}

func openSession(id int) {
	sessions[id] = &session{id: id, opened: time.Now(), data: make([]byte, 1<<10)}
}
