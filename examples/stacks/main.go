// Stacks has thousands of goroutines that wait deep inside a recursion. A stack
// grows by doubling and is never shrunk while more than a quarter of it is in
// use: 8,500 goroutines of 32 KiB are 266 MiB that no heap profile shows.
//
// See it:
//
//	go run ./examples/stacks
//	heapwright diagnose PID     # HW3004 names main.accept
//
// Fix: walk with an explicit work list instead of recursion, do not keep large
// arrays in local variables, and bound how many goroutines are inside at once.
package main

import (
	"sync"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var last []byte

func main() {
	ctx, stop := run.Context()
	defer stop()
	var inside sync.WaitGroup
	for range 8500 {
		inside.Add(1)
		accept(func() {
			inside.Done()
			<-ctx.Done()
		})
	}
	inside.Wait()
	run.Ready()
	run.Every(ctx, 10*time.Millisecond, func() {
		for range 100 {
			last = make([]byte, 8<<10)
		}
	})
}

// accept starts a goroutine that goes deep and waits there.
func accept(wait func()) {
	go descend(20, wait)
}

// descend uses more than a kilobyte of stack on each level.
func descend(level int, bottom func()) byte {
	var scratch [1 << 10]byte
	if level == 0 {
		bottom()
		return 0
	}
	scratch[level] = byte(level)
	return descend(level-1, bottom) + scratch[level]
}
