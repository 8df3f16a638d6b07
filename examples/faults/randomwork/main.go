// Randomwork is healthy: it has 40 requests at a time, each of which holds between
// 16 KiB and 4 MiB for as long as it takes. What is live goes up and down by a half,
// without any order.
package main

import (
	"math"
	"math/rand/v2"

	"github.com/heapwright/heapwright/examples/internal/work"
)

var (
	inFlight [40][]byte
	rnd      = rand.New(rand.NewPCG(9, 10))
)

func main() {
	work.Run(1, func(int) {
		inFlight[rnd.IntN(len(inFlight))] = receive(16 << 10 * math.Pow(256, rnd.Float64()))
	})
}

func receive(size float64) []byte { return make([]byte, int(size)) }
