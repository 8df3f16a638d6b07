// Slowtokens keeps the tokens that were revoked, and forgets to drop them when they
// have expired anyway: a fifth of a megabyte a minute, beside a hundred times as
// much that comes and goes.
//
// Fix: delete a token when its time is over.
package main

import (
	"fmt"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type token struct {
	user   string
	claims [4]string
}

var (
	revoked = map[string]*token{}
	last    []byte
)

func main() {
	work.Run(12, func(n int) {
		last = make([]byte, 16<<10)
		revoke(fmt.Sprintf("token-%032d", n))
	})
}

func revoke(id string) {
	t := &token{user: fmt.Sprintf("user-%s", id[20:])}
	for i := range t.claims {
		t.claims[i] = fmt.Sprintf("%s:claim:%d", id, i)
	}
	revoked[id] = t
}
