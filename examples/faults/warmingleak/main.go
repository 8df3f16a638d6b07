// Warmingleak reads its catalogue in the first minutes, and is then warm; but what
// customers looked at is kept with their names, and that goes on for ever.
//
// Fix: keep the last few for each customer, and forget customers who left.
package main

import (
	"fmt"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type product struct{ text []byte }

var (
	catalogue [6000]*product
	looked    = map[string][]*view{}
)

type view struct {
	product int
	place   [200]byte
}

func main() {
	work.Run(60, func(n int) {
		if n < len(catalogue) {
			loadProduct(n)
		}
		if n%2 == 0 {
			remember(fmt.Sprintf("customer-%08d", n), n%len(catalogue))
		}
	})
}

func loadProduct(n int) { catalogue[n] = &product{make([]byte, 2<<10)} }

func remember(customer string, product int) {
	for place := range 3 {
		looked[customer] = append(looked[customer], &view{product: product + place})
	}
}
