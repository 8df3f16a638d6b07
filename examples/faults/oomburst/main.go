// Oomburst is in a container of 160 MiB and lives well in it, until somebody asks
// for the report of the whole year, of which it reads all rows before it writes the
// first.
//
// Fix: write each row when it is read.
package main

import (
	"time"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type row struct{ cells [64]uint64 }

var size int

func main() {
	work.Run(1, func(second int) {
		switch {
		case second == 200:
			go yearReport()
		case second%10 == 0:
			size = len(readRows(1000, 0))
		}
	})
}

func yearReport() { size = len(readRows(1_000_000, 3*time.Millisecond)) }

// readRows reads as fast as the database gives rows, in portions.
func readRows(n int, pause time.Duration) (rows []*row) {
	for i := range n {
		if i%100 == 0 {
			time.Sleep(pause)
		}
		rows = append(rows, &row{[64]uint64{uint64(i)}})
	}
	return rows
}
