package load

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A stub is a sender that takes as long as it is told to.
type stub struct {
	take func(ctx context.Context, seq uint64) error
	most atomic.Int64
	now  atomic.Int64
}

func (s *stub) send(ctx context.Context, seq uint64, _ []byte) error {
	n := s.now.Add(1)
	defer s.now.Add(-1)
	for {
		most := s.most.Load()
		if n <= most || s.most.CompareAndSwap(most, n) {
			break
		}
	}
	return s.take(ctx, seq)
}

func (s *stub) close() {}

func takes(d time.Duration) *stub {
	return &stub{take: func(ctx context.Context, _ uint64) error { return pause(ctx, d) }}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bubble runs an engine on a clock of its own: warm-up, window, reports.
func bubble(t *testing.T, plan *schedule, timeout, warmup, window time.Duration, lanes ...*lane) []Report {
	t.Helper()
	e := newEngine(t.Context(), plan, lanes, timeout)
	e.nap = time.Sleep
	e.start()
	// Nothing is due at the very instant at which the window begins or ends.
	time.Sleep(warmup + 500*time.Microsecond)
	e.measure()
	time.Sleep(window)
	e.stop()
	var out []Report
	for _, l := range lanes {
		r := l.report(e.seconds())
		if r.Requests != uint64(r.Latency.TotalCount())+r.Errors-gaveUp(l) {
			t.Errorf("%d requests, %d latencies, %d errors, %d given up on", r.Requests, r.Latency.TotalCount(), r.Errors, gaveUp(l))
		}
		if l.underway != 0 || l.waiting.n != 0 {
			t.Errorf("%d under way and %d waiting after the end", l.underway, l.waiting.n)
		}
		out = append(out, r)
	}
	return out
}

func gaveUp(l *lane) uint64 { return uint64(l.latency.TotalCount()) - (l.requests - l.errors) }

func TestEngineKeepsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := takes(3 * time.Millisecond)
		r := bubble(t, newSchedule(1000, 1, true, 1), time.Second, 500*time.Millisecond, 2*time.Second, newLane(s, 10))[0]
		if r.Requests != 2000 || r.Errors != 0 || r.Answered != 2000 || r.Waited != 0 || r.Seconds != 2 {
			t.Errorf("%+v", r)
		}
		if lo, hi := r.Latency.Min(), r.Latency.Max(); lo < 2998 || hi > 3002 {
			t.Errorf("latency from %d to %d µs, want 3000", lo, hi)
		}
		if r.Audit.SlipMax != 0 || r.Audit.Offered != 1000 {
			t.Errorf("audit %+v", r.Audit)
		}
		if n := s.most.Load(); n > 4 {
			t.Errorf("%d requests under way at once, for 3 ms at 1000 a second", n)
		}
		if ok, why := r.Held(); !ok {
			t.Errorf("did not hold: %s", why)
		}
	})
}

// TestNoCoordinatedOmission stops the subject for 200 ms. Whoever sends the next
// request when the last was answered sees a single slow one; all that were due in
// that time were slow.
func TestNoCoordinatedOmission(t *testing.T) {
	for _, bound := range []int{1, 16, 1000} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			frozen, thaw := begin.Add(1500*time.Millisecond), begin.Add(1700*time.Millisecond)
			s := &stub{take: func(ctx context.Context, _ uint64) error {
				if now := time.Now(); !now.Before(frozen) && now.Before(thaw) {
					return pause(ctx, thaw.Sub(now))
				}
				return nil
			}}
			r := bubble(t, newSchedule(1000, 1, true, 1), 10*time.Second, time.Second, 2*time.Second, newLane(s, bound))[0]
			if r.Requests != 2000 || r.Errors != 0 {
				t.Fatalf("%d connections: %+v", bound, r)
			}
			// Of 2000, 200 took 200, 199, ... 1 ms: the quantiles are a ramp.
			for _, q := range []struct {
				percent float64
				ms      int64
			}{{50, 0}, {90, 1}, {95, 100}, {99, 180}, {100, 200}} {
				if got := r.Latency.ValueAtPercentile(q.percent) / 1000; got < q.ms-2 || got > q.ms+2 {
					t.Errorf("%d connections: p%v is %d ms, want %d", bound, q.percent, got, q.ms)
				}
			}
			if bound == 1 && r.Waited < 190 || bound == 1000 && r.Waited != 0 {
				t.Errorf("%d connections: %d waited", bound, r.Waited)
			}
		})
	}
}

func TestEngineAboveTheKnee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// One connection and 2 ms a request are 500 a second.
		s := takes(2 * time.Millisecond)
		r := bubble(t, newSchedule(1000, 1, false, 1), 30*time.Second, time.Second, 2*time.Second, newLane(s, 1))[0]
		if ok, why := r.Held(); ok || why == "" {
			t.Errorf("twice what the subject can do held: %+v", r)
		}
		if th := r.Throughput(); th < 495 || th > 505 {
			t.Errorf("throughput %v, want 500", th)
		}
		if r.Errors != 0 || r.Waited < r.Requests*9/10 {
			t.Errorf("%+v", r)
		}
		if s.most.Load() != 1 {
			t.Errorf("%d under way on one connection", s.most.Load())
		}
	})
}

func TestEngineGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := &stub{take: func(ctx context.Context, _ uint64) error { <-ctx.Done(); return ctx.Err() }}
		well := takes(time.Millisecond)
		r := bubble(t, newSchedule(100, 2, true, 1), 3*time.Second, time.Second, 2*time.Second, newLane(never, 10), newLane(well, 10))
		if r[0].Requests != 200 || r[0].Errors != 200 || r[0].Answered != 0 {
			t.Errorf("a subject that never answers: %+v", r[0])
		}
		if lo, hi := r[0].Latency.Min(), r[0].Latency.Max(); lo < 2_990_000 || hi > 6_010_000 {
			t.Errorf("what was given up on took %d to %d µs", lo, hi)
		}
		if r[0].Audit.FirstError == "" {
			t.Error("no error is told")
		}
		// The other target of the duet does not suffer from it.
		if r[1].Requests != 200 || r[1].Errors != 0 || r[1].Latency.Max() > 1002 {
			t.Errorf("beside it: %+v, at most %d µs", r[1], r[1].Latency.Max())
		}
	})
}

func TestEngineQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := &stub{take: func(ctx context.Context, _ uint64) error { <-ctx.Done(); return ctx.Err() }}
		l := newLane(never, 1)
		r := bubble(t, newSchedule(100_000, 1, true, 1), time.Minute, 0, time.Second, l)[0]
		if n := len(l.waiting.items); n > maxWaiting {
			t.Errorf("%d requests had room to wait", n)
		}
		if r.Errors != r.Requests || r.Requests < 99_990 {
			t.Errorf("%+v", r)
		}
		if r.Latency.Min() < 59_900_000 {
			t.Errorf("what was not sent took %d µs", r.Latency.Min())
		}
	})
}

func TestEngineErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := errors.New("bad\x1b[2J")
		s := &stub{take: func(_ context.Context, seq uint64) error {
			if seq%10 == 0 {
				return bad
			}
			return nil
		}}
		r := bubble(t, newSchedule(1000, 1, true, 1), time.Second, 0, time.Second, newLane(s, 10))[0]
		if r.Errors != 100 || r.Latency.TotalCount() != int64(r.Requests)-100 || r.Audit.FirstError != "bad\ufffd[2J" {
			t.Errorf("%+v", r)
		}
		if ok, why := r.Held(); ok || why != "10% of the requests failed, the first: bad\ufffd[2J" {
			t.Errorf("held %v: %s", ok, why)
		}
	})
}

// TestEngineCancelled ends with the bubble, which wants all goroutines to be gone.
func TestEngineCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		never := &stub{take: func(ctx context.Context, _ uint64) error { <-ctx.Done(); return ctx.Err() }}
		e := newEngine(ctx, newSchedule(10, 1, true, 1), []*lane{newLane(never, 4)}, time.Minute)
		e.nap = time.Sleep
		e.start()
		time.Sleep(10 * time.Second)
		cancel()
		begin := time.Now()
		e.stop()
		if d := time.Since(begin); d > 0 {
			t.Errorf("took %v to end", d)
		}
	})
}

// TestEngineStopsBetweenRareRequests ends while the leader sleeps for long.
func TestEngineStopsBetweenRareRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := bubble(t, newSchedule(0.001, 1, true, 1), time.Second, time.Second, time.Second, newLane(takes(0), 1))[0]
		if r.Requests != 0 {
			t.Errorf("%+v", r)
		}
		if ok, _ := r.Held(); ok {
			t.Error("a window without a request says that the rate holds")
		}
	})
}

func TestSeqIsDense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		seen := [2]map[uint64]bool{{}, {}}
		var lanes []*lane
		for i := range seen {
			lanes = append(lanes, newLane(&stub{take: func(ctx context.Context, seq uint64) error {
				mu.Lock()
				defer mu.Unlock()
				if seen[i][seq] {
					t.Errorf("request %d of target %d was sent twice", seq, i)
				}
				seen[i][seq] = true
				return nil
			}}, 3))
		}
		bubble(t, newSchedule(500, 2, false, 4), time.Second, 0, time.Second, lanes...)
		for i := range seen {
			for seq := range uint64(len(seen[i])) {
				if !seen[i][seq] {
					t.Errorf("request %d of target %d was not sent", seq, i)
				}
			}
		}
	})
}

func TestRing(t *testing.T) {
	var r ring
	if _, ok := r.pop(); ok {
		t.Error("an empty ring gives something")
	}
	in, out := uint64(0), uint64(0)
	for range 40_000 {
		for range 3 {
			if r.push(request{seq: in}) {
				in++
			}
		}
		q, ok := r.pop()
		if !ok || q.seq != out {
			t.Fatalf("got %d, %v; want %d", q.seq, ok, out)
		}
		out++
	}
	if r.n > maxWaiting || len(r.items) > maxWaiting {
		t.Errorf("%d in a ring of %d", r.n, len(r.items))
	}
	for r.n > 0 {
		q, _ := r.pop()
		if q.seq != out {
			t.Fatalf("got %d, want %d", q.seq, out)
		}
		out++
	}
	if out != in {
		t.Errorf("%d went in, %d came out", in, out)
	}
}
