// Service is a service in miniature, and not an ill one: it holds data, and
// answers requests that allocate, replace a part of it and burn some CPU. It is
// what the guides in docs/guides size.
//
// Try it:
//
//	go run ./examples/service
//	heapwright tune PID --memory-limit 512MiB
//
// With other flags it is another service: -live 300 -rate 100 is a cache that
// is read more than it is written, -live 20 -rate 4000 an API that holds little
// and allocates much.
package main

import (
	"crypto/sha256"
	"flag"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var (
	live = flag.Int("live", 100, "data that it holds, MiB")
	rate = flag.Int("rate", 2000, "requests a second, each of about 50 KiB")
)

// An item is 512 bytes in three objects, as decoded records are.
type item struct {
	key   string
	value []byte
	made  time.Time
}

const (
	itemBytes  = 512
	perRequest = 100 // items that a request makes; one of them stays
)

func main() {
	ctx, stop := run.Context()
	defer stop()
	data := make([]*item, *live<<20/itemBytes)
	for i := range data {
		data[i] = newItem(i)
	}
	run.Ready()
	last, owed, n := time.Now(), 0.0, 0
	run.Every(ctx, 10*time.Millisecond, func() {
		// By the clock and not by ticks: where the collector makes the program
		// late, the requests wait, and do not stay away.
		now := time.Now()
		owed = min(owed+float64(*rate)*now.Sub(last).Seconds(), float64(*rate))
		last = now
		for ; owed >= 1; owed-- {
			data[n%len(data)] = request(n)
			n += 7919 // a prime: the items that are replaced lie apart
		}
	})
}

// request makes what a request makes, and returns what stays of it.
func request(n int) *item {
	var it *item
	for i := range perRequest {
		it = newItem(n + i)
		sum := sha256.Sum256(it.value)
		copy(it.value, sum[:])
	}
	return it
}

func newItem(n int) *item {
	return &item{
		key:   string(append(make([]byte, 0, 16), byte(n), byte(n>>8), byte(n>>16))),
		value: make([]byte, itemBytes-64),
		made:  time.Now(),
	}
}
