// Warmup is healthy: it compiles its 3,000 templates when they are first asked for,
// the popular ones at once, the last after minutes.
package main

import (
	"math"
	"math/rand/v2"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type template struct{ code []byte }

var (
	templates [3000]*template
	rnd       = rand.New(rand.NewPCG(5, 6))
)

func main() {
	work.Run(20, func(int) {
		// The first is asked for ten times as often as the last.
		get(int(math.Pow(float64(len(templates)), rnd.Float64())+rnd.Float64()*float64(len(templates))) % len(templates))
	})
}

func get(n int) *template {
	if templates[n] == nil {
		templates[n] = compile(n)
	}
	return templates[n]
}

func compile(n int) *template { return &template{make([]byte, 4<<10+n%7*512)} }
