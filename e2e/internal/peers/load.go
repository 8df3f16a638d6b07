package peers

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// An Outcome is what a client got.
type Outcome uint8

// The outcomes.
const (
	Answered Outcome = iota // 200, sooner or later
	Refused                 // 429 or 503: shed
	TimedOut                // no answer before the client gave up
	Failed                  // a broken or refused connection, or another status
)

// What clients want: an answer within the deadline is good. They wait for twice as
// long, and then close the connection.
const (
	Deadline = time.Second
	GiveUp   = 2 * Deadline
)

// A Request is what came of one. Times count from the load's begin; latencies from
// when the request was due, whether or not it could be sent then.
type Request struct {
	Due, Latency time.Duration
	Outcome      Outcome
}

// Good says whether a client got what it wanted.
func (r Request) Good() bool { return r.Outcome == Answered && r.Latency <= Deadline }

// A Load sends requests to a service's socket, when they are due, whether or not
// those before were answered: arrivals are a Poisson process.
type Load struct {
	begin  time.Time
	client *http.Client
	rnd    *rand.Rand

	mu   sync.Mutex
	done []Request
}

// NewLoad has a load on a Unix socket, whose times count from begin.
func NewLoad(socket string, begin time.Time, seed uint64) *Load {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 256,
		DisableCompression:  true,
	}
	return &Load{begin: begin, client: &http.Client{Transport: transport}, rnd: rand.New(rand.NewPCG(seed, 1))}
}

// sizes are how large requests are, as a factor; their mean is 1.
var sizes = []string{"0.5", "0.5", "1", "1", "2"}

// Run sends until the time is over, at a rate that may change with time, and
// returns when all requests have ended. A rate of 0 is asked for again soon.
func (l *Load) Run(ctx context.Context, length time.Duration, rate func(time.Duration) float64) []Request {
	var underway sync.WaitGroup
	for due := time.Duration(0); ctx.Err() == nil; {
		r := rate(due)
		if r <= 0 {
			due += 10 * time.Millisecond
		} else {
			due += time.Duration(l.rnd.ExpFloat64() / r * float64(time.Second))
		}
		if due >= length {
			break
		}
		time.Sleep(time.Until(l.begin.Add(due)))
		if r <= 0 {
			continue
		}
		size := sizes[l.rnd.IntN(len(sizes))]
		underway.Go(func() { l.send(ctx, due, size) })
	}
	underway.Wait()
	l.client.CloseIdleConnections()
	return l.done
}

func (l *Load) send(ctx context.Context, due time.Duration, size string) {
	at := l.begin.Add(due)
	ctx, cancel := context.WithDeadline(ctx, at.Add(GiveUp))
	defer cancel()
	outcome := l.outcome(ctx, size)
	r := Request{Due: due, Latency: time.Since(at), Outcome: outcome}
	l.mu.Lock()
	l.done = append(l.done, r)
	l.mu.Unlock()
}

func (l *Load) outcome(ctx context.Context, size string) Outcome {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://service/work?size="+size, nil)
	if err != nil {
		return Failed
	}
	resp, err := l.client.Do(req)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return TimedOut
	case err != nil:
		return Failed
	case resp.StatusCode == http.StatusOK:
		return Answered
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable:
		return Refused
	}
	return Failed
}

// Between scores the requests that were due from a time to another, and forgets those
// that were due before.
func (l *Load) Between(from, to time.Duration) Part {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done = slices.DeleteFunc(l.done, func(r Request) bool { return r.Due < from })
	sorted := slices.SortedFunc(slices.Values(l.done), byDue)
	return part(sorted, from, to)
}
