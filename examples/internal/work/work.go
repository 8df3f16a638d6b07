// Package work is what the programs of examples/faults do besides what they are
// examples of: the ordinary life of a service. It holds data of which parts are
// replaced all the time, answers requests that leave garbage, and has goroutines
// that come and go. None of it grows.
package work

import (
	"context"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"runtime/metrics"
	"time"

	"github.com/heapwright/heapwright/examples/internal/run"
)

var (
	speed  = flag.Float64("speed", 1, "how many times as fast as usual things happen")
	live   = flag.Int("live", 24, "data that it holds, MiB")
	growth = flag.String("growth", "", "a file to write once a second into what it uses of memory, by its own account")
)

// Run calls request so many times a second, with numbers from 0 on, beside the
// ordinary life. It returns when the program is to end.
func Run(perSecond float64, request func(n int)) {
	ctx, stop := Start()
	defer stop()
	Each(ctx, perSecond, request)
}

// Start parses the flags and starts the ordinary life, which ends with the context.
func Start() (context.Context, context.CancelFunc) {
	ctx, stop := run.Context()
	if *growth != "" {
		go account(ctx, *growth)
	}
	go ordinary(ctx)
	return ctx, stop
}

// Each calls f so many times a second at the usual speed, until ctx ends. It goes
// by the clock: what the program was too late for is made up for.
func Each(ctx context.Context, perSecond float64, f func(n int)) {
	start, n := time.Now(), 0
	run.Every(ctx, 5*time.Millisecond, func() {
		for due := int(time.Since(start).Seconds() * perSecond * *speed); n < due; n++ {
			f(n)
		}
	})
}

// Scaled is how long something takes that takes d at the usual speed. It is for
// after Start.
func Scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) / *speed)
}

// An item is one of the records that the service holds.
type item struct {
	key  string
	data []byte
	next *item
}

var page []byte

// ordinary replaces 1.5 MB of the data a second, makes 10 MB of garbage, and starts
// 20 goroutines that wait for a moment. None of that depends on the speed.
func ordinary(ctx context.Context) {
	rnd := rand.New(rand.NewPCG(1, 2))
	data := make([]*item, *live<<20/1600)
	for i := range data {
		data[i] = newItem(rnd)
	}
	run.Every(ctx, 10*time.Millisecond, func() {
		for range 10 {
			data[rnd.IntN(len(data))] = newItem(rnd)
		}
		for range 25 {
			page = make([]byte, 1024+rnd.IntN(6<<10))
		}
		if rnd.IntN(5) == 0 {
			wait := time.Duration(rnd.IntN(400)) * time.Millisecond
			go func() {
				select {
				case <-time.After(wait):
				case <-ctx.Done():
				}
			}()
		}
	})
}

func newItem(rnd *rand.Rand) *item {
	head := &item{key: string(make([]byte, 24)), data: make([]byte, 256+rnd.IntN(1500))}
	head.next = &item{key: head.key, data: make([]byte, 256)}
	return head
}

// A Point is what the program says of its memory.
type Point struct {
	Seconds    float64 `json:"seconds"` // since the start
	Live       uint64  `json:"live_bytes"`
	Goroutines uint64  `json:"goroutines"`
	Stacks     uint64  `json:"stack_bytes"`
	Total      uint64  `json:"total_bytes"` // what the runtime has from the system
}

// account writes a Point a second, a line each, from runtime/metrics.
func account(ctx context.Context, path string) {
	f, err := os.Create(path)
	if err != nil {
		return
	}
	defer f.Close()
	enc, start := json.NewEncoder(f), time.Now()
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/sched/goroutines:goroutines"},
		{Name: "/memory/classes/heap/stacks:bytes"}, {Name: "/memory/classes/total:bytes"},
	}
	run.Every(ctx, time.Second, func() {
		metrics.Read(samples)
		// A full disk is the reader's to notice.
		_ = enc.Encode(Point{time.Since(start).Seconds(), samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64(), samples[3].Value.Uint64()})
	})
}
