// Oomlimit is in a container of 96 MiB, and needs more: it reads a table until it
// holds 60 MB, and the collector, which does not know of the limit, lets the heap
// grow to twice that.
//
// Fix: a limit of 160 MiB; or GOMEMLIMIT=86MiB, which the collector then works for.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

type row struct{ cells [100]uint64 }

var table [45_000]*row

func main() {
	work.Run(200, func(n int) {
		if n < len(table) {
			table[n] = read(n)
		}
	})
}

func read(n int) *row { return &row{[100]uint64{uint64(n)}} }
