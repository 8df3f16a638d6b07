package vault

import (
	"time"
)

// How dense snapshots are kept: all of the last hour, then one in ten minutes for a
// day, then one an hour. A leak is seen from snapshots hours apart; what happened just
// now is asked for by the minute.
const (
	denseFor = time.Hour
	tenFor   = 25 * time.Hour
	tenSlot  = 10 * time.Minute
	hourSlot = time.Hour
)

// sparse returns which entries are to go, rising: those older than maxAge, and of the
// periodic ones those that have an older one in the same slot. Slots are of the clock,
// and the first of each stays, so that what stayed once stays until its slot is longer,
// however often this is asked. Those with a reason go by age alone.
func sparse(entries []Entry, now time.Time, maxAge time.Duration) []int {
	var drop []int
	var last time.Time // slot of the last periodic one that stayed
	for i, e := range entries {
		// One from the future is of a clock that was wrong, and goes by how wrong.
		age := now.Sub(e.Time).Abs()
		switch {
		case age > maxAge:
			drop = append(drop, i)
			continue
		case e.Reason != Periodic:
			continue
		}
		slot := time.Time{}
		switch {
		case age <= denseFor:
			continue
		case age <= tenFor:
			slot = e.Time.Truncate(tenSlot)
		default:
			slot = e.Time.Truncate(hourSlot)
		}
		if slot.Equal(last) {
			drop = append(drop, i)
			continue
		}
		last = slot
	}
	return drop
}

// victim returns which entry goes first for want of room. Those from the future are of
// a clock that was wrong: the latest of them goes. Then the oldest periodic one, unless
// those with a reason have more than their part, in bytes: a process that gives reasons
// all the time must not lose the snapshots in between, which show what changed.
func victim(entries []Entry, now time.Time, part int64) int {
	if last := len(entries) - 1; entries[last].Time.Sub(now) > time.Hour {
		return last
	}
	oldest := map[bool]int{}
	var reasoned int64
	for i, e := range entries {
		periodic := e.Reason == Periodic
		if !periodic {
			reasoned += e.Bytes
		}
		if _, ok := oldest[periodic]; !ok {
			oldest[periodic] = i
		}
	}
	at, ok := oldest[reasoned <= part]
	if !ok {
		at = 0 // all are of one kind
	}
	return at
}
