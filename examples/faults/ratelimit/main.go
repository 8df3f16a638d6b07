// Ratelimit allows each of its clients so many requests a minute. It writes down
// when each request came, and never strikes out those that are more than a minute
// ago.
//
// Fix: drop the old ones in front of append.
package main

import (
	"time"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type limiter struct {
	requests [32][]stamp
}

type stamp struct {
	at    time.Time
	agent string
}

var limits limiter

func main() {
	work.Run(600, func(n int) { limits.allow(n%len(limits.requests), time.Now()) })
}

func (l *limiter) allow(client int, now time.Time) bool {
	l.requests[client] = append(l.requests[client], stamp{now, "agent"})
	last, count := now.Add(-time.Minute), 0
	for i := len(l.requests[client]) - 1; i >= 0 && count < 100 && l.requests[client][i].at.After(last); i-- {
		count++
	}
	return count < 100
}
