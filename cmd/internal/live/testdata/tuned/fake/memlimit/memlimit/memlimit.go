// Package memlimit stands in for the real one of this path.
package memlimit

import (
	"runtime/debug"
	"time"
)

// Set sets the limit now, and again at each refresh if that is not 0.
//
//go:noinline
func Set(refresh time.Duration) {
	debug.SetMemoryLimit(1 << 40)
	if refresh > 0 {
		go loop(refresh)
	}
}

//go:noinline
func loop(refresh time.Duration) {
	for range time.Tick(refresh) {
		debug.SetMemoryLimit(1 << 40)
	}
}
