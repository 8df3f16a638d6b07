// Onetimeload is healthy: five minutes after its start it reads a table of 30 MB,
// within seconds, and has it from then on.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

type row struct {
	key   uint64
	cells [30]uint64
}

var table []*row

func main() {
	work.Run(1, func(second int) {
		if second >= 300 && second < 315 {
			readPart(second)
		}
	})
}

func readPart(second int) {
	for i := range 8000 {
		table = append(table, &row{key: uint64(second*8000 + i)})
	}
}
