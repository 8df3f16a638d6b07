package retention

import (
	"context"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
)

// FuzzLook gives the analysis memory that says anything: lengths, capacities,
// addresses and counts that no program has.
func FuzzLook(f *testing.F) {
	h := sessions(f, 200)
	c := h.new(h.typ(heapgraph.Type{Name: "chan int", Kind: heapgraph.KindChan}), 96, h.bytes(1<<16))
	timers := h.new(h.typ(heapgraph.Type{Name: "runtime.timerWhen", Kind: heapgraph.KindArray, Size: 16}), 4096, c)
	texts := h.new(h.typ(heapgraph.Type{Name: "string", Kind: heapgraph.KindArray, Size: 16}), 4096, h.bytes(1<<15), timers)
	h.global("main.all", c, timers, texts, h.swissMap("map[string]string", 4, 16, 9))
	g := h.graph()
	f.Add([]byte{0, 0, 0, 0, 192, 0, 0, 0, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		_, err := Analyse(context.Background(), g, Options{Look: func(addr uint64, buf []byte) int {
			for i := range buf {
				buf[i] = data[(int(addr%1021)+i)%len(data)]
			}
			return len(buf) - int(data[0])%2
		}})
		if err != nil {
			t.Fatal(err)
		}
	})
}
