package top

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/record"
)

// A fakeHost has the processes that a test gives it.
type fakeHost struct {
	mu      sync.Mutex
	entries []goproc.Entry
	err     error
	sources map[int]*fakeSource
	denied  map[int]error
	listed  int
	tried   map[int]int
}

func newFakeHost(pids ...int) *fakeHost {
	h := &fakeHost{sources: map[int]*fakeSource{}, denied: map[int]error{}, tried: map[int]int{}}
	for _, pid := range pids {
		h.add(pid)
	}
	return h
}

func (h *fakeHost) add(pid int) {
	rec := ruletest.Server{Seconds: 5, Hz: 1, LastGoroutines: groups()}.Recording()
	rec.Process.PID, rec.Process.Name = pid, fmt.Sprintf("p%d", pid)
	rec.Process.StartTime = time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = append(h.entries, goproc.Entry{Process: rec.Process, IsGo: true, Uptime: time.Minute, RSS: 1 << 20})
	h.sources[pid] = &fakeSource{rec: rec}
}

func (h *fakeHost) remove(pid int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = slices.DeleteFunc(slices.Clone(h.entries), func(e goproc.Entry) bool { return e.Process.PID == pid })
	h.sources[pid].ended = true
}

func (h *fakeHost) Processes(context.Context) ([]goproc.Entry, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listed++
	return h.entries, h.err
}

func (h *fakeHost) Attach(_ context.Context, pid int) (Source, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tried[pid]++
	if err := h.denied[pid]; err != nil {
		return nil, err
	}
	h.sources[pid].open++
	return h.sources[pid], nil
}

// A fakeSource gives the samples of a recording, the last one again and again.
type fakeSource struct {
	rec            *record.Recording
	n, open, walks int
	ended          bool
	err            error
}

func (s *fakeSource) Process() record.Process { return s.rec.Process }
func (s *fakeSource) Close() error            { s.open--; return nil }

func (s *fakeSource) Sample(dst *record.Sample) error {
	switch {
	case s.ended:
		return recorder.ErrEnded
	case s.err != nil:
		return s.err
	}
	*dst = s.rec.Samples[min(s.n, len(s.rec.Samples)-1)]
	s.n++
	dst.Time = time.Now()
	dst.TotalAllocBytes = uint64(s.n) << 20
	return nil
}

func (s *fakeSource) Cycles(dst []record.Cycle) ([]record.Cycle, uint64, error) {
	return append(dst, record.Cycle{N: uint64(s.n), Pause: 100 * time.Microsecond}), 0, nil
}

func (s *fakeSource) Goroutines() (*record.Goroutines, error) { s.walks++; return groups(), nil }

func (s *fakeSource) Profile(record.ProfileKind) (*record.Profile, error) { return nil, nil }

func pids(r Round) string {
	var out []string
	for i := range r.Rows {
		s := itoa(r.Rows[i].Process.PID)
		if !r.Rows[i].Ended.IsZero() {
			s += "×"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHost(1, 2)
		h.denied[2] = errors.New("operation not permitted")
		h.entries = append(h.entries, goproc.Entry{Process: record.Process{PID: 9}, Err: errors.New("who knows")})
		w := NewWatcher(h)
		w.Hint = func(err error) (string, string) { return err.Error(), "be root" }
		round := func() Round {
			time.Sleep(time.Second)
			return w.Round(t.Context())
		}
		r := round()
		if pids(r) != "1 2" || r.Unseen != 1 || r.Rows[0].Latest == nil || r.Rows[1].Error != "operation not permitted" || r.Rows[1].Hint != "be root" {
			t.Fatalf("%+v", r)
		}
		if !math.IsNaN(r.Rows[1].Live) || r.Rows[1].RSS != 1<<20 {
			t.Errorf("of a process that cannot be read: %+v", r.Rows[1])
		}
		for range 8 {
			r = round()
		}
		if a := r.Rows[0]; a.AllocRate != 1<<20 || len(a.Points) != 9 || a.LastPause != 100e-6 || a.Groups != nil {
			t.Errorf("after nine samples: %+v", a)
		}
		if h.listed != 3 || h.tried[2] != 1 {
			t.Errorf("looked %d times, tried %d times to read what cannot be", h.listed, h.tried[2])
		}

		// Goroutines are read of the one that is looked at, now and then.
		w.Focus(1)
		for range 7 {
			r = round()
		}
		if r.Rows[0].Groups == nil || h.sources[1].walks != 3 {
			t.Errorf("goroutines were read %d times", h.sources[1].walks)
		}
		w.Focus(0)
		if r = round(); r.Rows[0].Groups != nil {
			t.Error("goroutines of a process that nobody looks at")
		}

		// One that came is there within seconds, one that ended stays a minute.
		h.add(3)
		h.remove(1)
		r = round()
		if pids(r) != "1×" && pids(r) != "1× 2" && pids(r) != "1× 2 3" {
			t.Error(pids(r))
		}
		for range 4 {
			r = round()
		}
		if pids(r) != "1× 2 3" || h.sources[1].open != 0 || h.sources[3].open != 1 {
			t.Errorf("%s, open %d and %d", pids(r), h.sources[1].open, h.sources[3].open)
		}
		for range 60 {
			r = round()
		}
		if pids(r) != "2 3" || h.tried[2] < 2 {
			t.Errorf("%s, tried %d times", pids(r), h.tried[2])
		}

		// Another process with the same number is another row.
		h.remove(3)
		h.add(3)
		for range 5 {
			r = round()
		}
		if pids(r) != "2 3" || len(r.Rows[1].Points) > 5 {
			t.Errorf("%s, %d points", pids(r), len(r.Rows[1].Points))
		}

		// A passing error is said, and the row stays; so do all when looking fails.
		h.sources[3].err = errors.New("busy")
		h.err = errors.New("no /proc")
		for range 4 {
			r = round()
		}
		if pids(r) != "2 3" || r.Rows[1].Error != "busy" || r.Rows[1].Latest == nil || r.Err == nil {
			t.Errorf("%s %v %+v", pids(r), r.Err, r.Rows[1].Error)
		}
		h.sources[3].err, h.err = nil, nil
		for range 4 {
			r = round()
		}
		if r.Rows[1].Error != "" || r.Err != nil {
			t.Errorf("%v %q", r.Err, r.Rows[1].Error)
		}
		w.close()
		if h.sources[3].open != 0 {
			t.Error("a process is left open")
		}
	})
}

func TestWatcherIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHost()
		for pid := range maxWatched + 30 {
			h.entries = append(h.entries, goproc.Entry{Process: record.Process{PID: pid + 1}, IsGo: true, Err: errors.New("stripped of everything")})
		}
		r := NewWatcher(h).Round(t.Context())
		if len(r.Rows) != maxWatched || r.Left != 30 {
			t.Errorf("%d rows, %d left", len(r.Rows), r.Left)
		}
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFakeHost(1)
		w := NewWatcher(h)
		w.Match = func(e goproc.Entry) bool { return e.Process.PID == 1 }
		ctx, cancel := context.WithCancel(t.Context())
		rounds := make(chan Round)
		go func() {
			defer close(rounds)
			w.Watch(ctx, func(r Round) {
				select {
				case rounds <- r:
				case <-ctx.Done():
				}
			})
		}()
		start := time.Now()
		first, second := <-rounds, <-rounds
		if took := time.Since(start); pids(first) != "1" || pids(second) != "1" || took != roundEvery {
			t.Errorf("two rounds took %v", took)
		}
		w.Focus(1) // it does not wait for the next second
		if third := <-rounds; time.Since(start) != roundEvery || third.Rows[0].Groups == nil {
			t.Errorf("goroutines came after %v", time.Since(start))
		}
		cancel()
		for range rounds {
		}
		if h.sources[1].open != 0 {
			t.Error("the process is left open")
		}
	})
}
