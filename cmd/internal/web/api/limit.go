package api

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// A door lets so many in at a time. Who waits too long is turned away.
type door struct {
	places chan struct{}
	wait   time.Duration
}

func newDoor(places int, wait time.Duration) *door {
	return &door{make(chan struct{}, places), wait}
}

// enter waits for a place; release gives it back.
func (d *door) enter(ctx context.Context) (release func(), err error) {
	timer := time.NewTimer(d.wait)
	defer timer.Stop()
	select {
	case d.places <- struct{}{}:
		return func() { <-d.places }, nil
	case <-ctx.Done():
		return nil, failf(http.StatusServiceUnavailable, "the request was given up")
	case <-timer.C:
		e := failf(http.StatusServiceUnavailable, "the agent is busy with other requests like this").hint("ask again in a few seconds")
		e.RetryAfter = 2 * time.Second
		return nil, e
	}
}

// A spacer keeps things that are done for a process apart in time.
type spacer struct {
	every time.Duration
	mu    sync.Mutex
	last  map[string]time.Time
}

// wait returns 0 when it may be done now, and notes that it is, or how long not yet.
func (p *spacer) wait(process string, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, t := range p.last {
		// A clock that was set back must not stop it for long.
		if d := now.Sub(t); d >= p.every || d < 0 {
			delete(p.last, id)
		}
	}
	if t, ok := p.last[process]; ok {
		return p.every - now.Sub(t)
	}
	if p.last == nil {
		p.last = map[string]time.Time{}
	}
	p.last[process] = now
	return 0
}
