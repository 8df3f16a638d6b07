// Mapunbounded remembers every session and forgets none.
//
// Fix: delete a session when it ends, and those that do not end after a time.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

type session struct {
	user uint64
	data []byte
}

var sessions = map[uint64]*session{}

func main() {
	work.Run(50, func(n int) { openSession(uint64(n)) })
}

func openSession(id uint64) {
	sessions[id] = &session{user: id % 1000, data: make([]byte, 448)}
}
