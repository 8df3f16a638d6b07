package cli

import (
	"context"
	"io"
	"net/url"

	"github.com/heapwright/heapwright/cmd/internal/scrape"
	"github.com/heapwright/heapwright/record"
)

// An endpoint is a Go program that is read over HTTP. It has no GC cycles, only
// their count.
type endpoint struct {
	ctx     context.Context
	client  *scrape.Client
	process record.Process
	err     error // of reading metrics
	noPprof bool  // it serves no profiles: asked once, not again
}

// endpointHz is how often an endpoint is asked for its metrics: to print them
// costs the program more than to be read costs a process.
const endpointHz = 1

// openEndpoint asks the program once, to learn what it is. One without metrics
// may still have profiles.
func openEndpoint(ctx context.Context, rawURL string) (Target, error) {
	c, err := scrape.New(rawURL, scrape.Limits{})
	if err != nil {
		return nil, err
	}
	// A request that was begun is finished when the recording is over: the client
	// bounds how long it may take.
	e := &endpoint{ctx: context.WithoutCancel(ctx), client: c}
	if _, e.process, e.err = c.Sample(ctx); e.err == nil {
		return e, nil
	}
	if u, err := url.Parse(rawURL); err == nil {
		e.process.Name = u.Host
	}
	return e, nil
}

func (e *endpoint) Process() record.Process { return e.process }

func (e *endpoint) Ready() error { return e.err }

func (e *endpoint) Hz() float64 { return endpointHz }

func (e *endpoint) Close() error {
	e.client.Close()
	return nil
}

func (e *endpoint) Sample(s *record.Sample) error {
	got, _, err := e.client.Sample(e.ctx)
	if err != nil {
		return err
	}
	*s = *got
	return nil
}

// Cycles returns none: an endpoint tells how many there were, not each.
func (e *endpoint) Cycles(dst []record.Cycle) ([]record.Cycle, uint64, error) { return dst, 0, nil }

func (e *endpoint) Goroutines() (*record.Goroutines, error) {
	if e.noPprof {
		return nil, nil
	}
	g, err := e.client.Goroutines(e.ctx)
	e.noPprof = err != nil
	return g, err
}

func (e *endpoint) Profile(kind record.ProfileKind) (*record.Profile, error) {
	if e.noPprof || kind != record.ProfileHeap {
		return nil, nil
	}
	p, err := e.client.Profile(e.ctx, kind)
	e.noPprof = err != nil
	return p, err
}

func (e *endpoint) WriteProfile(ctx context.Context, kind string, w io.Writer) error {
	return e.client.WriteProfile(ctx, kind, w)
}
