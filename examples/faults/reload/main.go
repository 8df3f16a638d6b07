// Reload is healthy: it reads its rules anew every 90 seconds, a few at a time, and
// has both the old and the new ones until the new ones are complete.
package main

import "github.com/heapwright/heapwright/examples/internal/work"

type rule struct {
	id   int
	text []byte
}

const rules = 6000

var current, coming []*rule

func main() {
	work.Run(100, func(n int) {
		if n%9000 < rules {
			coming = append(coming, parse(n))
		}
		if len(coming) == rules {
			current, coming = coming, nil
		}
	})
}

func parse(n int) *rule { return &rule{n, make([]byte, 1536)} }
