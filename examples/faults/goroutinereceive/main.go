// Goroutinereceive starts a worker for each upload that takes its parts from a
// channel. When an upload is broken off nobody closes the channel, and the worker
// waits for the next part.
//
// Fix: defer close(parts) in upload.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

func main() {
	work.Run(4, func(n int) { upload(n%2 == 0) })
}

func upload(brokenOff bool) {
	parts := make(chan []byte, 4)
	go store(parts)
	for range 4 {
		parts <- make([]byte, 1<<10)
	}
	if !brokenOff {
		close(parts)
	}
}

func store(parts <-chan []byte) (size int) {
	file := make([]byte, 0, 8<<10)
	for part := range parts {
		file = append(file, part...)
	}
	return len(file)
}
