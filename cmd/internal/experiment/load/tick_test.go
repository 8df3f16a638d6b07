package load

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestTicks stops the subject for a second: what is under way then has no latency,
// and has an age. All that was due is accounted for in the end.
func TestTicks(t *testing.T) {
	for _, bound := range []int{1, 4, 1000} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			frozen, thaw := begin.Add(1000*time.Millisecond), begin.Add(2000*time.Millisecond)
			s := &stub{take: func(ctx context.Context, _ uint64) error {
				if now := time.Now(); !now.Before(frozen) && now.Before(thaw) {
					return pause(ctx, thaw.Sub(now))
				}
				return nil
			}}
			l := newLane(s, bound)
			l.tally = newTally()
			e := newEngine(t.Context(), newSchedule(100, 1, true, 1), []*lane{l}, 10*time.Second)
			e.nap = time.Sleep
			e.start()
			time.Sleep(500*time.Microsecond + 500*time.Millisecond)
			e.measure()
			var due, ended uint64
			for i := range 30 { // to 3.5 s
				time.Sleep(100 * time.Millisecond)
				tick, err := l.tick(e).tick()
				if err != nil {
					t.Fatal(err)
				}
				if tick.Due != 10 || tick.Errors != 0 {
					t.Errorf("tick %d: %d due, %d errors", i, tick.Due, tick.Errors)
				}
				if n := uint64(tick.Latency.TotalCount()); n != tick.Answered {
					t.Errorf("tick %d: %d latencies of %d answers", i, n, tick.Answered)
				}
				due, ended = due+tick.Due, ended+tick.Answered
				if under := uint64(tick.Pending.TotalCount()); due != ended+under {
					t.Errorf("tick %d: %d due so far, %d ended and %d under way", i, due, ended, under)
				}
				at := time.Since(begin)
				if !tick.At.Equal(time.Now()) {
					t.Errorf("tick %d is of %v, not %v", i, tick.At, time.Now())
				}
				if at > frozen.Sub(begin) && at < thaw.Sub(begin) {
					want := (at - frozen.Sub(begin)).Microseconds()
					if got := tick.Pending.Max(); got < want-20_000 || got > want+20_000 {
						t.Errorf("%d connections, tick %d: the oldest is %d µs old, want %d", bound, i, got, want)
					}
				}
				if at > thaw.Sub(begin)+100*time.Millisecond && tick.Pending.TotalCount() != 0 {
					t.Errorf("tick %d: %d are under way", i, tick.Pending.TotalCount())
				}
			}
			e.stop()
			if len(l.tally.open) != 0 {
				t.Errorf("%d are open after the end", len(l.tally.open))
			}
			if r := l.report(e.seconds()); r.Requests != due || r.Requests != 300 {
				t.Errorf("the report has %d requests, the ticks %d", r.Requests, due)
			}
		})
	}
}

func TestGeneratorTicks(t *testing.T) {
	leftovers(t)
	var down atomic.Bool
	s := server(t, false, func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	c := config(200, get("http1", s.URL))
	c.Every = 50 * time.Millisecond
	g, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Measure(); err != nil {
		t.Fatal(err)
	}
	var answered, errors uint64
	for tick := range g.Ticks() {
		answered, errors = answered+tick.Answered, errors+tick.Errors
		if answered >= 20 {
			down.Store(true)
		}
		if errors >= 20 {
			break
		}
	}
	r, err := g.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if r[0].Errors < errors || r[0].Answered < answered {
		t.Errorf("the report has %d answers and %d errors, the ticks %d and %d", r[0].Answered, r[0].Errors, answered, errors)
	}
	for range g.Ticks() { // it ends
	}
}

func TestStreamLosesTheOldest(t *testing.T) {
	s := make(stream, maxTicks)
	for i := range 3 * maxTicks {
		s.put(Tick{Due: uint64(i)})
	}
	if first := <-s; first.Due != 2*maxTicks {
		t.Errorf("the oldest that is left is %d", first.Due)
	}
}

func TestNoTicksOfCommands(t *testing.T) {
	c := config(10, Target{Command: []string{"true"}})
	c.Seconds, c.Every = 1, time.Second
	if err := c.check(); err == nil {
		t.Error("a command is followed")
	}
	c = config(10, get("http1", "http://127.0.0.1:1/"))
	for every, ok := range map[time.Duration]bool{0: true, MinEvery: true, MaxEvery: true, time.Millisecond: false, -1: false, time.Minute: false} {
		c.Every = every
		if err := c.check(); (err == nil) != ok {
			t.Errorf("every %v: %v", every, err)
		}
	}
}
