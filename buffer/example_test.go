package buffer_test

import (
	"fmt"
	"io"
	"strings"

	"github.com/heapwright/heapwright/buffer"
)

// A body of known length is read into a lease, and a response whose length is not known
// is written to another.
func Example() {
	pool := buffer.NewPool(buffer.Options{RetainBytes: 4 << 20})

	body := strings.NewReader("gopher")
	in := pool.Get(body.Len())
	defer in.Release()
	if _, err := io.ReadFull(body, in.Bytes()); err != nil {
		fmt.Println(err)
		return
	}

	out := pool.Get(0)
	defer out.Release()
	fmt.Fprintf(&out, "hello %s", in.Bytes())
	fmt.Println(string(out.Bytes()))
	// Output: hello gopher
}

// Under memory pressure a pool keeps less. A guard's degradation is a good place to
// say so.
func ExamplePool_SetPressure() {
	pool := buffer.NewPool(buffer.Options{RetainBytes: 8 << 20})
	var leases []buffer.Lease
	for range 100 {
		leases = append(leases, pool.Get(64<<10))
	}
	for i := range leases {
		leases[i].Release()
	}
	for _, level := range []float64{0, 0.75, 1} {
		pool.SetPressure(level)
		fmt.Println(pool.Stats().RetainedBytes <= int64((1-level)*(8<<20)))
	}
	// Output:
	// true
	// true
	// true
}
