// Sliceunbounded keeps what it did, for a page that shows the last hundred entries.
//
// Fix: keep a hundred, in a ring.
package main

import (
	"fmt"
	"time"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type entry struct {
	at   time.Time
	what string
	body []byte
}

type journal struct{ entries []*entry }

var audit journal

func main() {
	work.Run(40, func(n int) { audit.add(fmt.Sprint("user ", n, " logged in")) })
}

func (j *journal) add(what string) {
	j.entries = append(j.entries, &entry{at: time.Now(), what: what, body: make([]byte, 500)})
}
