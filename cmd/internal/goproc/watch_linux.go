package goproc

import (
	"context"
	"fmt"
	"time"
)

// A Watch looks for Go processes again and again, and looks into a process anew only
// now and then: a host has many processes, and what they are seldom changes. So a
// process that runs another program, or a PID that was given to another process, is
// noticed late, by up to five minutes; who reads the process notices at once. It is not
// safe for concurrent use.
type Watch struct {
	seen map[int]*looked
	now  func() time.Time
}

// A looked is a process that was looked into.
type looked struct {
	entry Entry
	next  time.Time     // when it is to be looked into again
	wait  time.Duration // until then
}

// A process is looked into when it is first seen, then after firstLook, and after
// twice the time each time up to lastLook: shells start programs in their place soon or
// never.
const (
	firstLook = 5 * time.Second
	lastLook  = 5 * time.Minute
)

// NewWatch returns a Watch that has seen nothing.
func NewWatch() *Watch { return &Watch{seen: map[int]*looked{}, now: time.Now} }

// Look is [List]. Of processes that were not looked into again RSS and Uptime are
// those of the last look.
func (w *Watch) Look(ctx context.Context) ([]Entry, error) {
	pids, err := pids()
	if err != nil {
		return nil, err
	}
	var h *host // made when it is needed
	var entries []Entry
	there := make(map[int]*looked, len(pids))
	for _, pid := range pids {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("listing processes: %w", context.Cause(ctx))
		}
		now := w.now()
		l := w.seen[pid]
		if l == nil || !now.Before(l.next) {
			if h == nil {
				h = newHost()
			}
			e := inspect(pid, h)
			if l == nil || !l.entry.Process.StartTime.Equal(e.Process.StartTime) {
				l = &looked{wait: firstLook}
			} else {
				l.wait = min(2*l.wait, lastLook)
			}
			l.entry, l.next = e, now.Add(l.wait)
		}
		there[pid] = l
		if l.entry.listed() {
			entries = append(entries, l.entry)
		}
	}
	w.seen = there
	return entries, nil
}
