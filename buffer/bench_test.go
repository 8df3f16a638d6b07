package buffer_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/heapwright/heapwright/buffer"
)

// BenchmarkGet takes and gives back one buffer, of which a byte is written. It is the
// bare cost, not a reason for anything: BenchmarkServe is.
func BenchmarkGet(b *testing.B) {
	for _, size := range []int{256, 1 << 10, 4 << 10, 32 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("make/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					buf := make([]byte, size)
					use(buf)
				}
			})
		})
		b.Run(fmt.Sprintf("sync.Pool/%d", size), func(b *testing.B) {
			pool := sync.Pool{New: func() any { buf := make([]byte, size); return &buf }}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					buf := pool.Get().(*[]byte)
					use(*buf)
					pool.Put(buf)
				}
			})
		})
		b.Run(fmt.Sprintf("buffer.Pool/%d", size), func(b *testing.B) {
			pool := buffer.NewPool(buffer.Options{})
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					l := pool.Get(size)
					use(l.Bytes())
					l.Release()
				}
			})
		})
	}
}

// use keeps a buffer from the stack.
//
//go:noinline
func use(b []byte) { b[0]++ }
