// Substring keeps the user of each open shift, a few letters, as a part of the
// document that it was found in. Each of them keeps its whole document.
//
// Fix: users[shift] = strings.Clone(name).
package main

import (
	"fmt"
	"strings"

	"github.com/heapwright/heapwright/examples/internal/work"
)

// There are this many shifts, and never more.
var users = make([]string, 200_000)

func main() {
	work.Run(3, func(n int) { open(n%len(users), readDocument(n)) })
}

func open(shift int, document string) {
	_, rest, _ := strings.Cut(document, `"user":"`)
	name, _, _ := strings.Cut(rest, `"`)
	users[shift] = name
}

func readDocument(n int) string {
	var b strings.Builder
	b.Grow(8 << 10)
	fmt.Fprintf(&b, `{"user":"user%d","items":[`, n)
	for b.Len() < 8<<10-16 {
		b.WriteString(`"an item",`)
	}
	return b.String()
}
