package forward

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/store"
)

const (
	// lag is how old a sample is before it is sent: those of GC cycles are stored when
	// the cycle is noticed, with the time at which it ended.
	lag = 15 * time.Second
	// pace is how often is looked for what is due.
	pace = 5 * time.Second
	// maxRequest is how many points a request has at most, if they can be parted.
	maxRequest = 20_000
	// leastRequest is where splitting for size ends.
	leastRequest = 500
	// maxSplits is how many requests more are made of the points of one request, to find
	// those that the other side does not want.
	maxSplits = 64
	// maxFuture is how far ahead of the clock a cursor can be before the clock is
	// taken to have been set back.
	maxFuture = 10 * time.Minute
	// longAway is how far back a cursor has to be for the store to have begun to forget.
	longAway = time.Hour
)

// An encoder writes requests in one of the protocols.
type encoder interface {
	header() http.Header
	// learn sees all that is read, in the order of time, before it is encoded.
	learn(lines []line)
	// units groups lines that must be in one request.
	units(lines []line) [][]line
	// encode returns a body, which is good until the next call.
	encode(units [][]line) ([]byte, error)
	// partly says how many points an answer of success says were refused, and why.
	partly(body []byte) (int, string)
}

// samples sends what is in the store.
type samples struct {
	*worker
	src  Source
	enc  encoder
	most int // points in a request

	looked time.Time // when last was looked for what is due
	broken bool      // that the store cannot be read was said
}

func (s *samples) run(ctx context.Context) {
	s.prime(ctx)
	for failures := 0; ; {
		err := s.round(ctx)
		if ctx.Err() != nil || s.stopping() {
			return
		}
		next := pace
		if err != nil {
			failures++
			next = max(wait(failures, random()), pace)
			if !s.broken {
				s.log.Warn("samples wait in the store", "error", err)
			}
		} else {
			failures = 0
		}
		s.broken = err != nil
		if s.rest(ctx, next) != nil {
			return
		}
	}
}

// prime has the encoder see the minutes before the cursor: what it must know of
// processes comes once a minute.
func (s *samples) prime(ctx context.Context) {
	if s.kind != kindOTLP {
		return
	}
	until := s.cursor.Until.UnixMilli()
	if lines, err := read(ctx, s.src, until-90_000, until, 4*maxRead); err == nil {
		s.enc.learn(lines)
	}
}

// due is the instant before which everything is to be sent.
func (s *samples) due() time.Time {
	now := time.Now().Round(0)
	// After the machine slept, or the agent was stopped, what was read before may still
	// be on its way to the store.
	if limit := s.looked.Add(2 * pace); !s.looked.IsZero() && now.After(limit) {
		now, s.looked = limit, now
	} else {
		s.looked = now
	}
	return now.Add(-lag)
}

// round sends all that is due. The error is of the store.
func (s *samples) round(ctx context.Context) error {
	end := gridBefore(s.due().UnixMilli())
	s.mind()
	span := int64(maxAhead)
	for !s.stopping() {
		// The first cell may be a part of one: the cursor began in the middle.
		from := s.cursor.Until.UnixMilli()
		if from >= end {
			return nil
		}
		to := min(gridBefore(from+span), end)
		to = max(to, min(gridAfter(from+1), end))
		if flight := s.cursor.Flight.UnixMilli(); flight > from {
			to = min(flight, end)
		}
		most := maxRead
		if to-from <= step {
			most = int(^uint(0) >> 1) // it has to be read in one
		}
		lines, err := read(ctx, s.src, from, to, most)
		if errors.Is(err, errMany) {
			span = max((to-from)/4, step)
			continue
		}
		if err != nil {
			return err
		}
		if points(lines) < maxRead/4 {
			span = min(span*2, maxAhead)
		}
		s.enc.learn(lines)
		for at := from; at < to; {
			next := s.next(lines, at, to)
			if part := cell(lines, next); len(part) > 0 {
				if next > gridAfter(at+1) {
					s.depart(time.UnixMilli(next))
				}
				if s.send(ctx, part) != nil {
					return nil
				}
			} else if next < to {
				at = next
				continue
			}
			s.advance(time.UnixMilli(next), next == to)
			at = next
			if s.stopping() {
				s.advance(time.UnixMilli(next), true)
				return nil
			}
		}
	}
	return nil
}

// next is the end of the next request, of lines from one instant to another. It is that of
// one that was under way when the agent ended, the end of a cell, or of as many as a
// request holds where the other side is known to have nothing of them.
func (s *samples) next(lines []line, at, to int64) int64 {
	if end := s.cursor.Flight.UnixMilli(); end > at {
		return min(end, to)
	}
	if !s.unsure {
		for cells := int64(maxAhead / step); cells > 1; cells /= 4 {
			end := min(gridBefore(at+cells*step), to)
			if end > gridAfter(at+1) && pointsBefore(lines, end) <= s.most {
				return end
			}
		}
	}
	return min(gridAfter(at+1), to)
}

// mind sets the cursor right when it is where nothing can come from.
func (s *samples) mind() {
	now := time.Now()
	if s.cursor.Until.After(now.Add(maxFuture)) {
		s.log.Warn("the clock was set back: sending goes on from now", "cursor", s.cursor.Until)
		s.advance(now, true)
	}
	o, ok := s.src.(interface{ Stats() store.Stats })
	if !ok || now.Sub(s.cursor.Until) < longAway {
		return
	}
	if oldest := o.Stats().Oldest; !oldest.IsZero() && oldest.After(s.cursor.Until.Add(time.Minute)) {
		lost := oldest.Sub(s.cursor.Until).Round(time.Second)
		s.log.Warn("the store does not go back to what was sent last", "gap", lost)
		s.mu.Lock()
		s.status.LastError, s.status.ErrorAt = fmt.Sprintf("%s were never sent: the store has forgotten them", lost), now
		s.mu.Unlock()
		s.advance(time.UnixMilli(gridBefore(oldest.UnixMilli())), true)
	}
}

// send sends the lines of one cell. The error is that of the end.
func (s *samples) send(ctx context.Context, lines []line) error {
	units := s.enc.units(lines)
	for len(units) > 0 {
		n, k := 0, 0
		for k < len(units) && (k == 0 || n+points(units[k]) <= s.most) {
			n += points(units[k])
			k++
		}
		splits := maxSplits
		if err := s.part(ctx, units[:k], &splits); err != nil {
			return err
		}
		units = units[k:]
	}
	return nil
}

// part sends units in one request, and takes them apart when that is refused.
func (s *samples) part(ctx context.Context, units [][]line, splits *int) error {
	n := 0
	for _, u := range units {
		n += points(u)
	}
	body, err := s.enc.encode(units)
	if err != nil {
		s.drop(n, "it cannot be encoded: "+err.Error())
		return nil
	}
	v, a, err := s.deliver(ctx, body, n)
	if err != nil {
		return err
	}
	switch {
	case v == taken:
		if lost, why := s.enc.partly(a.body); lost > 0 {
			s.rejected(min(lost, n), why)
		}
		return nil
	case v == tooLarge && len(units) > 1:
		s.most = max(min(s.most, n)/2, leastRequest)
	case v == refused && len(units) > 1 && *splits > 0:
		*splits -= 2
	default:
		s.drop(n, a.err.Error())
		return nil
	}
	// An answer that was lost before concerns both halves.
	unsure, half := s.unsure, len(units)/2
	if err := s.part(ctx, units[:half], splits); err != nil {
		return err
	}
	s.unsure = s.unsure || unsure
	return s.part(ctx, units[half:], splits)
}

// rejected counts what was sent, and then said not to have been taken.
func (s *samples) rejected(n int, why string) {
	s.mu.Lock()
	s.status.Sent -= int64(n)
	s.mu.Unlock()
	s.drop(n, why)
}
