// Contextvalues puts the trace of each message into its context, which is also the
// context of the next message: the chain of contexts grows by one with each.
//
// Fix: a new variable in the loop, of := context.WithValue(ctx, ...).
package main

import (
	"context"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type traceKey struct{}

type trace struct {
	id   int
	tags [48]uint64
}

var last int

func main() {
	ctx := context.Background()
	work.Run(50, func(n int) {
		ctx = withTrace(ctx, n)
		handle(ctx)
	})
}

func withTrace(ctx context.Context, id int) context.Context {
	return context.WithValue(ctx, traceKey{}, &trace{id: id})
}

func handle(ctx context.Context) { last = ctx.Value(traceKey{}).(*trace).id }
