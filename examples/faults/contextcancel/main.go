// Contextcancel gives each job a context of its own below the server's, so that a
// job can be cancelled. A job that ends by itself is not: the server's context, which
// never ends, keeps the contexts of all jobs there ever were, and what is in them.
//
// Fix: defer j.cancel() in run.
package main

import (
	"context"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type job struct {
	ctx    context.Context
	cancel context.CancelFunc
	done   bool
}

type requestKey struct{}

func main() {
	server, stop := context.WithCancel(context.Background())
	defer stop()
	work.Run(18, func(int) { newJob(server, make([]byte, 1<<10)).run() })
}

func newJob(server context.Context, request []byte) *job {
	ctx, cancel := context.WithCancel(context.WithValue(server, requestKey{}, request))
	return &job{ctx: ctx, cancel: cancel}
}

func (j *job) run() { j.done = len(j.ctx.Value(requestKey{}).([]byte)) > 0 }
