//go:build go1.25

package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heapwright/heapwright/guard/shed"
	"github.com/heapwright/heapwright/guard/sli"
	"github.com/heapwright/heapwright/metric"
	"github.com/heapwright/heapwright/record"
)

// A fake is a process whose signals the test sets.
type fake struct {
	mu     sync.Mutex
	values map[sli.Signal]float64
	cycles uint64
	panics bool
	exits  bool
	still  bool // no collection ends
	blocks atomic.Pointer[chan struct{}]
	closed bool
}

func (f *fake) set(s sli.Signal, v float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values[s] = v
}

func (f *fake) take() state {
	if block := f.blocks.Load(); block != nil {
		<-*block
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panics {
		panic("a bug")
	}
	if f.exits {
		runtime.Goexit()
	}
	if !f.still {
		f.cycles++
	}
	return state{cycles: f.cycles}
}

func (f *fake) window(time.Duration) (r sli.Reading, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s, v := range f.values {
		r.Set(s, v)
	}
	return r, true
}

func (f *fake) samples() []record.Sample { return nil }
func (f *fake) close() error             { f.closed = true; return nil }

func started(t *testing.T, c Config) (*Guard, *fake) {
	t.Helper()
	c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	c, err := c.complete()
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{values: map[sli.Signal]float64{sli.MemoryRatio: 0.4}}
	g := start(c, f)
	t.Cleanup(func() {
		g.Close()
		if !f.closed {
			t.Error("it did not close its signals")
		}
	})
	return g, f
}

// after lets time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestGuardWholeCycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var calls []string
		call := func(what string) func(context.Context) error {
			return func(context.Context) error {
				mu.Lock()
				defer mu.Unlock()
				calls = append(calls, what)
				return nil
			}
		}
		var events []Event
		half := shed.All()
		half[shed.Low] = 0
		g, f := started(t, Config{
			Ladder: []Degradation{
				{Name: "caches", Enter: call("+caches"), Exit: call("-caches"), Above: 0.7, Below: 0.6},
				{Name: "low", Enter: call("+low"), Exit: call("-low"), Admit: &half, NotReady: true, Above: 0.8, Below: 0.7},
			},
			NoLimiter: true,
			OnEvent:   func(e Event) { events = append(events, e) },
		})
		after(time.Minute)
		if g.State() != Healthy || len(events) > 0 {
			t.Fatalf("%v %v", g.State(), events)
		}
		f.set(sli.MemoryRatio, 0.85)
		after(time.Second)
		if s := g.Status(); s.State != Degraded || s.Rung != 2 || s.Ready || g.Ready() || s.Shed.Shares[shed.Low] != 0 || s.Shed.Shares[shed.Normal] != 1 || *s.MemoryRatio != 0.85 {
			t.Fatalf("%+v", s)
		}
		if _, ok := g.Gate().Admit(shed.Low, 1); ok {
			t.Error("a request of class Low is admitted")
		}
		w := httptest.NewRecorder()
		g.ReadyHandler().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("the readiness probe says %d", w.Code)
		}
		f.set(sli.MemoryRatio, 0.3)
		after(time.Minute)
		if s := g.Status(); s.State != Healthy || s.Rung != 0 || !s.Ready || s.Shed.Shares != shed.All() || s.Trips != 1 {
			t.Fatalf("%+v", s)
		}
		if want := []string{"+caches", "+low", "-low", "-caches"}; !slices.Equal(calls, want) {
			t.Errorf("calls %v, want %v", calls, want)
		}
		var states []string
		for _, e := range events {
			if e.Kind == EventState {
				states = append(states, e.To)
			}
			if e.Reason == "" {
				t.Errorf("no reason: %+v", e)
			}
		}
		if want := []string{"degraded", "recovering", "healthy"}; !slices.Equal(states, want) {
			t.Errorf("states %v, want %v", states, want)
		}
	})
}

func TestGuardObjective(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, f := started(t, Config{})
		f.set(sli.PauseP99, 0.020)
		after(55 * time.Second)
		if g.State() != Healthy {
			t.Fatalf("it is %v after five violations", g.State())
		}
		after(10 * time.Second)
		if s := g.Status(); s.State != Degraded || !s.Objectives[0].Tripped || *s.Objectives[0].Value != 0.020 {
			t.Fatalf("%+v", s)
		}
		f.set(sli.PauseP99, 0.001)
		after(100 * time.Second)
		if s := g.Status(); s.State != Healthy || s.Objectives[0].Tripped {
			t.Fatalf("%+v", s)
		}
	})
}

// TestGuardCallbacks: they panic, fail, and block, and the guard goes on.
func TestGuardCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var events []Event
		var exits int
		g, f := started(t, Config{
			CallbackTimeout: 2 * time.Second,
			NoLimiter:       true,
			Ladder: []Degradation{
				{Name: "panics", Enter: func(context.Context) error { panic("boom") }, Exit: func(context.Context) error { exits++; return nil }, Above: 0.5, Below: 0.4},
				{Name: "fails", Enter: func(context.Context) error { return errors.New("no") }, Above: 0.6, Below: 0.5},
				{Name: "blocks", Enter: func(context.Context) error { <-release; return nil }, Above: 0.7, Below: 0.6},
			},
			OnEvent: func(e Event) {
				events = append(events, e)
				panic("OnEvent too")
			},
		})
		f.set(sli.MemoryRatio, 0.9)
		after(10 * time.Second)
		if s := g.Status(); s.Rung != 3 || s.CallbackFailures < 3 {
			t.Fatalf("%+v", s)
		}
		var failed []string
		for _, e := range events {
			if e.Kind == EventCallbackFailed {
				failed = append(failed, e.Name+" "+e.Reason)
			}
		}
		slices.Sort(failed)
		if want := []string{"blocks callback: it has not returned for 2s", "fails enter: no", "panics enter: panic: boom"}; !slices.Equal(failed, want) {
			t.Errorf("failed: %q", failed)
		}
		f.set(sli.MemoryRatio, 0.1)
		after(time.Minute)
		if g.State() != Healthy || exits != 1 {
			t.Errorf("%v, %d exits", g.State(), exits)
		}
		if err := g.Close(); err == nil || !strings.Contains(err.Error(), `"blocks"`) {
			t.Errorf("Close does not say which callback still runs: %v", err)
		}
		close(release)
		after(time.Second)
	})
}

// TestGuardGoexit: what a callback, a logger or a signal ends is its own goroutine.
func TestGuardGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exits := 0
		g, f := started(t, Config{
			NoLimiter: true,
			Ladder: []Degradation{{Name: "x", Above: 0.5, Below: 0.4,
				Enter: func(context.Context) error { runtime.Goexit(); return nil },
				Exit:  func(context.Context) error { exits++; return nil }}},
			OnEvent: func(Event) { runtime.Goexit() },
		})
		g.conf.Logger = slog.New(panics{})
		f.set(sli.MemoryRatio, 0.9)
		after(5 * time.Second)
		f.set(sli.MemoryRatio, 0.1)
		after(time.Minute)
		if s := g.Status(); s.State != Healthy || exits != 1 || s.CallbackFailures < 3 {
			t.Errorf("%d exits, %+v", exits, s)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
}

// panics is a handler of slog's that does.
type panics struct{}

func (panics) Enabled(context.Context, slog.Level) bool  { return true }
func (panics) Handle(context.Context, slog.Record) error { panic("no disk") }
func (p panics) WithAttrs([]slog.Attr) slog.Handler      { return p }
func (p panics) WithGroup(string) slog.Handler           { return p }

func TestGuardEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, f := started(t, Config{})
		f.set(sli.MemoryRatio, 0.99)
		after(5 * time.Second)
		f.mu.Lock()
		f.exits = true
		f.mu.Unlock()
		after(time.Second)
		if s := g.Status(); s.Broken == "" || s.Shed.Shares != shed.All() || !s.Ready {
			t.Errorf("%+v", s)
		}
	})
}

// TestGuardStale: a service that is sent nothing is not collected, and would be taken
// for full for ever.
func TestGuardStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, f := started(t, Config{})
		collections := 0
		g.collect = func() {
			collections++
			f.set(sli.MemoryRatio, 0.2)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.still = false
		}
		f.set(sli.MemoryRatio, 0.99)
		after(2 * time.Second)
		f.mu.Lock()
		f.still = true
		f.mu.Unlock()
		if g.Ready() {
			t.Fatal("it is ready")
		}
		after(40 * time.Second)
		if g.State() != Healthy || collections != 1 {
			t.Errorf("%v after %d collections", g.State(), collections)
		}
	})
}

// TestGuardBlockedListener: the guard does not wait for OnEvent, and says how many
// events it lost.
func TestGuardBlockedListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g, f := started(t, Config{OnEvent: func(Event) { <-release }, NoLimiter: true})
		for range 2 * queueEvents {
			f.set(sli.MemoryRatio, 0.99)
			after(2 * time.Second)
			f.set(sli.MemoryRatio, 0.1)
			after(40 * time.Second)
		}
		if s := g.Status(); s.EventsLost == 0 || s.Trips != 2*queueEvents || len(s.Events) != keepEvents {
			t.Errorf("%d lost, %d trips, %d kept", s.EventsLost, s.Trips, len(s.Events))
		}
		close(release)
	})
}

func TestGuardDryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entered := false
		g, f := started(t, Config{DryRun: true, Trim: func(context.Context) error { entered = true; return nil }})
		f.set(sli.MemoryRatio, 0.99)
		f.set(sli.SchedP99, 10)
		after(5 * time.Second)
		if s := g.Status(); s.State != Degraded || s.Rung == 0 || entered || s.Shed.Shares != shed.All() || s.Shed.Capacity != shed.NoBound || !s.Ready {
			t.Errorf("entered %v: %+v", entered, s)
		}
	})
}

// TestGuardBroken: a bug of ours must not take the service along.
func TestGuardBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, f := started(t, Config{})
		f.set(sli.MemoryRatio, 0.99)
		after(5 * time.Second)
		f.mu.Lock()
		f.panics = true
		f.mu.Unlock()
		after(time.Second)
		if s := g.Status(); s.Broken != "a bug" || s.Shed.Shares != shed.All() || s.Shed.Capacity != shed.NoBound || !s.Ready {
			t.Errorf("%+v", s)
		}
	})
}

// TestGuardCloses: in the middle of trouble it undoes what it did, and no goroutine
// is left (synctest fails if one is).
func TestGuardCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := 0
		g, f := started(t, Config{Ladder: []Degradation{{Name: "x", NotReady: true, Above: 0.5, Below: 0.4,
			Enter: func(context.Context) error { in++; return nil }, Exit: func(context.Context) error { in--; return nil }}}})
		f.set(sli.MemoryRatio, 0.9)
		f.set(sli.SchedP99, 1)
		after(5 * time.Second)
		if in != 1 {
			t.Fatal("it is not on the rung")
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		if in != 0 || !g.Ready() || g.Gate().Capacity() != shed.NoBound {
			t.Errorf("in %d, ready %v, capacity %d", in, g.Ready(), g.Gate().Capacity())
		}
		if err := g.Close(); err != nil {
			t.Errorf("the second Close: %v", err)
		}
	})
}

// TestGuardClosedWhileBlocked: a look that returns after Close changes nothing any more.
func TestGuardClosedWhileBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}.complete()
		if err != nil {
			t.Fatal(err)
		}
		f := &fake{values: map[sli.Signal]float64{sli.MemoryRatio: 0.99}}
		g := start(c, f)
		block := make(chan struct{})
		f.blocks.Store(&block)
		after(time.Second)
		if err := g.Close(); err == nil || !strings.Contains(err.Error(), "Limit still runs") {
			t.Errorf("error %v", err)
		}
		close(block)
		after(time.Minute)
		if s := g.Status(); s.Shed.Shares != shed.All() || s.Shed.Capacity != shed.NoBound || s.State != Healthy || !s.Ready {
			t.Errorf("%+v", s)
		}
	})
}

func TestGuardMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, f := started(t, Config{})
		f.set(sli.MemoryRatio, 0.99)
		after(5 * time.Second)
		found := map[string]float64{}
		g.Metrics(func(m metric.Metric) {
			if m.Help == "" || !strings.HasPrefix(m.Name, "heapwright.") {
				t.Errorf("%+v", m)
			}
			found[m.Name+fmt.Sprint(m.Labels)] = m.Value
		})
		if found["heapwright.guard.state[{state degraded}]"] != 1 || found["heapwright.guard.trips[]"] != 1 || found["heapwright.guard.signal[{signal memory_limit_used_ratio}]"] != 0.99 {
			t.Errorf("%v", found)
		}
	})
}
