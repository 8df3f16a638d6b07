// Interning keeps one copy of each label's value, so that those that come again and
// again are there once. Some values, such as the request's ID, never come again.
//
// Fix: package unique, which forgets what nobody uses; or no interning of IDs.
package main

import (
	"fmt"

	"github.com/heapwright/heapwright/examples/internal/work"
)

var interned = map[string]string{}

var last [4]string

func main() {
	work.Run(60, func(n int) {
		last[0] = intern("GET")
		last[1] = intern("/orders")
		last[2] = intern(fmt.Sprintf("zone-%d", n%8))
		last[3] = intern(fmt.Sprintf("request-%0240d", n))
	})
}

func intern(s string) string {
	if known, ok := interned[s]; ok {
		return known
	}
	interned[s] = s
	return s
}
