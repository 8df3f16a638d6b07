// Poolhoard renders its answers in buffers from a pool, a thousand at a time. Now
// and then an answer is large, and so is its buffer from then on. The pool never
// lets go what is in use all the time, and so ends with large buffers only.
//
// Fix: do not put back a buffer that has become larger than 64 KiB.
package main

import (
	"bytes"
	"sync"

	"github.com/heapwright/heapwright/examples/internal/work"
)

var (
	buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}
	answer  = make([]byte, 128<<10)
)

func main() {
	work.Run(4, func(n int) { renderBatch(n%20 == 0, n*31%1000) })
}

func renderBatch(withLarge bool, large int) {
	var batch [1000]*bytes.Buffer
	for i := range batch {
		batch[i] = buffers.Get().(*bytes.Buffer)
		size := 300
		if withLarge && i == large {
			size = len(answer)
		}
		render(batch[i], size)
	}
	for _, b := range batch {
		b.Reset()
		buffers.Put(b)
	}
}

func render(b *bytes.Buffer, size int) { b.Write(answer[:size]) }
