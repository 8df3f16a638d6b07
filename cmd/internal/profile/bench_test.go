package profile_test

import (
	"fmt"
	"io"
	"syscall"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/profile"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
)

// cpuTime measures the processor time of a benchmark, which other load on the
// machine does not inflate. Call the result at the end.
func cpuTime(b *testing.B) func() {
	cpu := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	start := cpu()
	return func() { b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-ns/op") }
}

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
			done := cpuTime(b)
			for b.Loop() {
				gs, err := w.Goroutines(profile.Options{})
				if err != nil {
					b.Fatal(err)
				}
				if gs.Total < n || gs.NoStack != 0 || len(gs.Record().Groups) < 10 {
					b.Fatalf("%d goroutines, %d without stack", gs.Total, gs.NoStack)
				}
			}
			done()
		})
	}
}

// BenchmarkHeap takes whole heap profiles, symbols and pprof encoding apart.
func BenchmarkHeap(b *testing.B) {
	tg := start(b, targettest.Local, "GODEBUG=memprofilerate=1", "allocate")
	tg.Ask(b, "gc")
	tg.Ask(b, "gc")
	var p *profile.Profile
	b.Run("walk", func(b *testing.B) {
		b.ReportAllocs()
		done := cpuTime(b)
		for b.Loop() {
			var err error
			if p, err = profile.TakeHeap(tg); err != nil || p.Truncated != "" {
				b.Fatal(err, p.Truncated)
			}
		}
		done()
		b.ReportMetric(float64(len(p.Records)), "records")
	})
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := p.WritePprof(io.Discard, profile.WriteOptions{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
