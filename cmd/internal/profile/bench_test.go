package profile_test

import (
	"fmt"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/profile"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
)

// BenchmarkGoroutines takes whole profiles, symbols included, of a program at rest.
func BenchmarkGoroutines(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			tg := start(b, targettest.Local, fmt.Sprint("parked=", n))
			w, err := profile.NewWalker(tg)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				gs, err := w.Goroutines(profile.Options{})
				if err != nil {
					b.Fatal(err)
				}
				if gs.Total < n || gs.NoStack != 0 || len(gs.Record().Groups) < 10 {
					b.Fatalf("%d goroutines, %d without stack", gs.Total, gs.NoStack)
				}
			}
		})
	}
}
