// Package run is what the example programs share: they end by themselves, stop
// on SIGTERM, say when they are ready, and do their work at a fixed pace.
package run

import (
	"context"
	"flag"
	"fmt"
	// As in most services: without it the linker sees that nobody reads heap
	// profiles and switches the sampling of allocations off.
	_ "net/http/pprof"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Context parses the flags and returns a context that ends on an interrupt, on
// SIGTERM, or after the time that -for says.
func Context() (context.Context, context.CancelFunc) {
	limit := flag.Duration("for", 5*time.Minute, "end after this time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, *limit)
	return ctx, func() { cancel(); stop() }
}

// Ready says that the program now does what it is an example of.
func Ready() {
	fmt.Printf("ready; look at it with: heapwright diagnose %d\n", os.Getpid())
}

// Every calls f once per interval until ctx ends. Ticks that f was too slow for
// are skipped.
func Every(ctx context.Context, interval time.Duration, f func()) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			f()
		case <-ctx.Done():
			return
		}
	}
}
