// Listunbounded keeps events in a list, the latest in front, and drops those from
// its end that are older than a day. The clock that it goes by is that of the
// events, in seconds; the day is in milliseconds.
//
// Fix: const day = 24 * 60 * 60.
package main

import (
	"container/list"
	"time"

	"github.com/heapwright/heapwright/examples/internal/work"
)

type event struct {
	at   int64 // seconds
	body [400]byte
}

var recent = list.New()

func main() {
	work.Run(50, func(int) { observe(&event{at: time.Now().Unix()}) })
}

func observe(e *event) {
	const day = 24 * 60 * 60 * 1000
	recent.PushFront(e)
	for last := recent.Back(); last != nil && last.Value.(*event).at < e.at-day; last = recent.Back() {
		recent.Remove(last)
	}
}
