package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
	"github.com/heapwright/heapwright/cmd/internal/chaos/keeper"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/load"
	"github.com/heapwright/heapwright/record"
)

// A fake is a machine, a target, its load, and what watches it. Its keeper is apart.
type fake struct {
	mu       sync.Mutex
	calls    []string // what was done, in order
	fail     map[string]error
	swept    []string
	gone     chan struct{}
	values   map[chaos.Metric]float64
	settings map[string]string
	ticks    chan load.Tick
	keeper   *fakeKeeper
	epoch    time.Time
	closed   bool
	done     chan struct{}
	dead     chan struct{} // closed when the load has ended by itself
}

func newFake() *fake {
	f := &fake{fail: map[string]error{}, gone: make(chan struct{}), ticks: make(chan load.Tick), done: make(chan struct{}), dead: make(chan struct{}), settings: map[string]string{"limit": "1"},
		values: map[chaos.Metric]float64{chaos.Ready: 1, chaos.LiveHeap: 100e6, chaos.WorkingSet: 200e6, chaos.GoroutineCount: 20, chaos.Headroom: 300e6, chaos.GCCPURatio: 0.02}}
	f.keeper = &fakeKeeper{fake: f, events: make(chan chaos.Event, 1000), undone: map[int]chaos.Done{}, wake: make(chan int, 10), hold: 5 * time.Second}
	return f
}

func (f *fake) call(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, what)
	return f.fail[what]
}

func (f *fake) Machine() chaos.Machine { return chaos.Machine{CPUs: 2} }
func (f *fake) Sweep(context.Context) ([]string, error) {
	return f.swept, f.call("sweep")
}
func (f *fake) Open(_ context.Context, _ *chaos.Plan, doing func(string)) (Target, error) {
	doing("starting")
	if err := f.call("open"); err != nil {
		return nil, err
	}
	return fakeTarget{f}, nil
}

type fakeTarget struct{ *fake }

func (f fakeTarget) Process() record.Process { return record.Process{PID: 4123, Name: "orders"} }
func (f fakeTarget) Cgroup() (string, int)   { return "/sys/fs/cgroup/orders", 2 }
func (f fakeTarget) Gone() <-chan struct{}   { return f.gone }
func (f fakeTarget) Resolve(context.Context) ([]*fault.Resolved, error) {
	return []*fault.Resolved{{}, {}}, f.call("resolve")
}
func (f fakeTarget) Keep(_ context.Context, _ []*fault.Resolved, epoch time.Time) (Keeper, error) {
	f.epoch = epoch
	f.fake.epoch = epoch
	if err := f.call("keep"); err != nil {
		return nil, err
	}
	return f.keeper, nil
}
func (f fakeTarget) Load(context.Context) (Load, error) {
	if err := f.call("load"); err != nil {
		return nil, err
	}
	go func() {
		t := time.NewTicker(100 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-f.done:
				return
			case <-f.dead:
				close(f.ticks)
				return
			case now := <-t.C:
				h := hdrhistogram.New(1, 60e6, 2)
				_ = h.RecordValues(20_000, 10)
				select {
				case f.ticks <- load.Tick{At: now, Due: 10, Answered: 10, Latency: h, Pending: hdrhistogram.New(1, 60e6, 2)}:
				case <-f.done:
					return
				case <-f.dead:
					close(f.ticks)
					return
				}
			}
		}
	}()
	return fakeLoad{f.fake}, nil
}
func (f fakeTarget) Warm(ctx context.Context) error {
	select {
	case <-time.After(4 * time.Second):
	case <-ctx.Done():
	}
	return errors.Join(f.call("warm"), ctx.Err())
}
func (f fakeTarget) Watch(context.Context, time.Time) (Watch, error) {
	return fakeWatch{f.fake}, f.call("watch")
}
func (f fakeTarget) Settings(context.Context) map[string]string {
	_ = f.call("settings")
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]string{}
	for k, v := range f.settings {
		out[k] = v
	}
	return out
}
func (f fakeTarget) Close(context.Context) []string {
	_ = f.call("close")
	return nil
}

type fakeLoad struct{ *fake }

func (f fakeLoad) Ticks() <-chan load.Tick { return f.ticks }
func (f fakeLoad) Close() {
	_ = f.call("unload")
	close(f.done)
}

type fakeWatch struct{ *fake }

func (f fakeWatch) Read(time.Duration) chaos.Point {
	f.mu.Lock()
	defer f.mu.Unlock()
	return chaos.Point{Values: f.values}
}
func (f fakeWatch) Cycles() []chaos.Cycle { return nil }
func (f fakeWatch) Events() []chaos.Event { return nil }
func (f fakeWatch) Recording(from, to time.Time) *record.Recording {
	return &record.Recording{Process: record.Process{PID: 4123}}
}
func (f fakeWatch) Close() { _ = f.call("unwatch") }

// A fakeKeeper has every fault last for a while.
type fakeKeeper struct {
	*fake
	events  chan chaos.Event
	undone  map[int]chaos.Done
	wake    chan int
	hold    time.Duration
	heard   int
	lastly  map[chaos.Metric]float64
	aborted string
	ended   bool
	silence time.Duration // the longest
	last    time.Time
}

func (k *fakeKeeper) at() time.Duration { return time.Since(k.epoch) }

func (k *fakeKeeper) Before(p []chaos.Point) error { return k.call(fmt.Sprintf("before %d", len(p)/50)) }

func (k *fakeKeeper) Begin(i int) error {
	if err := k.call(fmt.Sprintf("begin %d", i)); err != nil {
		return err
	}
	began := k.at()
	k.events <- chaos.Event{At: began, Kind: chaos.EventFault, Fault: i, Text: keeper.Began}
	k.events <- chaos.Event{At: began, Kind: chaos.EventLevel, Fault: i, Value: 7}
	time.AfterFunc(k.hold, func() { k.undo(i, began) })
	return nil
}

func (k *fakeKeeper) undo(i int, began time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.undone[i]; ok || k.ended {
		return
	}
	k.undone[i] = chaos.Done{Fault: i, Began: began, Ended: time.Since(k.epoch), Peak: 7, Happened: true, Verified: true, Contained: true}
	k.events <- chaos.Event{At: time.Since(k.epoch), Kind: chaos.EventFault, Fault: i, Text: keeper.Undone}
}

func (k *fakeKeeper) Here(v map[chaos.Metric]float64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); k.heard > 0 {
		k.silence = max(k.silence, now.Sub(k.last))
	}
	k.heard++
	k.last, k.lastly = time.Now(), v
}

func (k *fakeKeeper) Abort(why string) {
	_ = k.call("abort")
	k.mu.Lock()
	k.aborted = why
	k.mu.Unlock()
	for i := range 2 {
		if slices.Contains(k.calls, fmt.Sprintf("begin %d", i)) {
			k.undo(i, 0)
		}
	}
	k.events <- chaos.Event{At: k.at(), Kind: chaos.EventAbort, Fault: -1, Text: why, Value: 0.01}
}

func (k *fakeKeeper) Events() <-chan chaos.Event { return k.events }

func (k *fakeKeeper) Undone(i int) (chaos.Done, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d, ok := k.undone[i]
	return d, ok
}

func (k *fakeKeeper) Done() (all []chaos.Done, left []string, err error) {
	_ = k.call("done")
	k.die()
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range 2 {
		if d, ok := k.undone[i]; ok {
			all = append(all, d)
		}
	}
	return all, nil, nil
}

func (k *fakeKeeper) die() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.ended {
		k.ended = true
		close(k.events)
	}
}

// plan has two faults that last five seconds.
func plan() *chaos.Plan {
	one := 1.0
	return &chaos.Plan{
		Schema: chaos.PlanSchema, Name: "test", Target: chaos.Target{PID: 4123},
		Load:       &experiment.Load{Rate: 100},
		Hypothesis: []chaos.Criterion{{Metric: chaos.Ready, AtLeast: &one}},
		Faults:     []chaos.Fault{{Name: "first", Kind: chaos.Sibling, Hold: 5 * time.Second}, {Name: "second", Kind: chaos.Freeze, Hold: 5 * time.Second}},
		Recovery:   chaos.Recovery{Within: 20 * time.Second, Stable: 2 * time.Second, LiveHeap: 0.05, WorkingSet: 0.1, Memory: 30 * time.Second, Goroutines: 0.02, Latency: 0.5, Watch: 3 * time.Second},
		Before:     5 * time.Second, Between: time.Second,
	}
}

// do runs a plan on a fake; more happens beside it.
func do(t *testing.T, f *fake, p *chaos.Plan, ctx context.Context, more func(Progress)) (*chaos.Run, error) {
	t.Helper()
	return Run(ctx, Options{Plan: p, Lab: f, Tool: "test",
		Confirm:  func(context.Context, Preview) (bool, error) { return f.call("confirm") == nil, nil },
		Progress: more, Note: func(s string) { _ = f.call("note " + s) }})
}

func phases(r *chaos.Run) string {
	var out []string
	for _, p := range r.Phases {
		out = append(out, fmt.Sprintf("%s %d", p.Kind, p.Fault))
	}
	return strings.Join(out, ", ")
}

const whole = "before -1, fault 0, recovery 0, fault 1, recovery 1, after -1"

func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.swept = []string{"a limit"}
		r, err := do(t, f, plan(), t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		want := "sweep, note left by a run that was killed, and put back now: a limit, open, resolve, confirm, settings, keep, load, warm, watch, before 1, begin 0, begin 1, done, unload, settings, unwatch, close"
		if got := strings.Join(f.calls, ", "); got != want {
			t.Errorf("it did\n%s\nnot\n%s", got, want)
		}
		if phases(r) != whole {
			t.Errorf("phases %s", phases(r))
		}
		if r.Aborted != "" || r.Refused != "" || r.Interrupted || len(r.Left) != 0 || len(r.Faults) != 2 {
			t.Errorf("the run is %+v", r)
		}
		if f.keeper.silence > 200*time.Millisecond {
			t.Errorf("the keeper heard nothing for %v", f.keeper.silence)
		}
		if f.keeper.lastly[chaos.LatencyP99] == 0 || f.keeper.lastly[chaos.Throughput] < 90 {
			t.Errorf("the keeper was told %v", f.keeper.lastly)
		}
		for i := range r.Phases {
			if p := r.Phases[i]; p.To <= p.From || i > 0 && p.From < r.Phases[i-1].To {
				t.Errorf("phase %d is %+v", i, p)
			}
		}
		last := r.Phases[len(r.Phases)-1].To
		first := r.Phases[0].From
		if n := len(r.Points); n < int((last-first)/every)-10 || n > int((last-first)/every)+10 {
			t.Errorf("%d points in %v", n, last-first)
		}
		if p99 := r.Points[len(r.Points)-1].Values[chaos.LatencyP99]; p99 < 0.019 || p99 > 0.021 {
			t.Errorf("p99 is %v", p99)
		}
	})
}

func TestRefused(t *testing.T) {
	for _, what := range []string{"sweep", "open", "resolve", "keep", "load", "warm", "watch"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.fail[what] = &RefusedError{Why: "no " + what, Advice: "do otherwise"}
				r, err := do(t, f, plan(), t.Context(), nil)
				refused := new(RefusedError)
				if !errors.As(err, &refused) || r == nil || !strings.Contains(r.Refused, "no "+what) {
					t.Fatalf("%+v, %v", r, err)
				}
				has := func(call string) bool { return slices.Contains(f.calls, call) }
				if has("begin 0") || has("open") && what != "open" && !has("close") || has("keep") && what != "keep" && !has("done") {
					t.Errorf("it did %v", f.calls)
				}
				if what == "warm" && !has("unload") {
					t.Error("the load goes on")
				}
			})
		})
	}
}

func TestRefusedRate(t *testing.T) {
	f, p := newFake(), plan()
	p.Load.Rate = 0
	if r, err := do(t, f, p, t.Context(), nil); err == nil || r.Refused == "" || len(f.calls) != 0 {
		t.Errorf("%v, %v", err, f.calls)
	}
}

func TestDeclined(t *testing.T) {
	f := newFake()
	f.fail["confirm"] = errors.New("no")
	if _, err := do(t, f, plan(), t.Context(), nil); !errors.Is(err, ErrDeclined) {
		t.Error(err)
	}
	if got := strings.Join(f.calls, ", "); got != "sweep, open, resolve, confirm, close" {
		t.Errorf("it did %s", got)
	}
}

func TestHypothesisDoesNotHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.values[chaos.Ready] = 0
		r, err := do(t, f, plan(), t.Context(), nil)
		if err == nil || r.Refused == "" || phases(r) != "before -1" || slices.Contains(f.calls, "begin 0") {
			t.Errorf("%v, %v, %v", err, phases(r), f.calls)
		}
	})
}

// at calls what when a phase of a fault has lasted for a while, once.
func at(phase chaos.PhaseKind, fault int, what func()) func(Progress) {
	done := false
	return func(p Progress) {
		if !done && p.Phase == phase && p.Fault == fault && p.For >= time.Second {
			done = true
			what()
		}
	}
}

// Whatever ends it and whenever: everything is undone, and the run says why.
func TestEndings(t *testing.T) {
	stages := []struct {
		kind  chaos.PhaseKind
		fault int
	}{{chaos.PhaseBefore, -1}, {chaos.PhaseFault, 0}, {chaos.PhaseRecovery, 0}, {chaos.PhaseFault, 1}, {chaos.PhaseAfter, -1}}
	for _, how := range []string{"interrupt", "gone", "keeper", "load", "condition"} {
		for _, s := range stages {
			t.Run(fmt.Sprintf("%s in %s %d", how, s.kind, s.fault), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					r, err := do(t, f, plan(), ctx, at(s.kind, s.fault, func() {
						switch how {
						case "interrupt":
							cancel()
						case "gone":
							close(f.gone)
						case "keeper":
							f.keeper.die()
						case "load":
							close(f.dead)
						case "condition":
							f.keeper.Abort("oom_kills is 1")
						}
					}))
					if err != nil {
						t.Fatal(err)
					}
					if how == "gone" {
						if !slices.ContainsFunc(r.Events, func(e chaos.Event) bool { return e.Kind == chaos.EventGone }) || r.Aborted != "" {
							t.Errorf("the target is gone, and the run has %+v, %q", r.Events, r.Aborted)
						}
					} else if r.Aborted == "" {
						t.Error("it was not aborted")
					}
					if r.Interrupted != (how == "interrupt") {
						t.Errorf("interrupted is %v", r.Interrupted)
					}
					end := phases(r)
					if !strings.HasPrefix(whole, strings.TrimSuffix(end, fmt.Sprintf(", recovery %d", s.fault))) {
						t.Errorf("phases %s", end)
					}
					if last := r.Phases[len(r.Phases)-1]; how == "condition" && s.kind == chaos.PhaseFault && last.Kind != chaos.PhaseRecovery {
						t.Errorf("after an abort the recovery was not looked at: %s", end)
					}
					if got := strings.Join(f.calls, ", "); !strings.HasSuffix(got, "done, unload, settings, unwatch, close") {
						t.Errorf("it did %s", got)
					}
					for i := 1; i < len(r.Events); i++ {
						if r.Events[i].At < r.Events[i-1].At {
							t.Error("events are not in the order of time")
						}
					}
				})
			})
		}
	}
}

// What was not put back is said.
func TestLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		r, err := do(t, f, plan(), t.Context(), at(chaos.PhaseAfter, -1, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.settings["limit"] = "2"
			f.settings["our process 12"] = "is there"
		}))
		if err != nil || strings.Join(r.Left, "; ") != "limit is 2, and was 1; our process 12: is there" {
			t.Errorf("%v, %v", r.Left, err)
		}
	})
}

// A target that does not recover gets no other fault.
func TestNoOtherFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		r, err := do(t, f, plan(), t.Context(), at(chaos.PhaseFault, 0, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.values = map[chaos.Metric]float64{chaos.Ready: 1, chaos.LiveHeap: 190e6, chaos.WorkingSet: 290e6, chaos.GoroutineCount: 900, chaos.Headroom: 200e6}
		}))
		if err != nil || slices.Contains(f.calls, "begin 1") || !strings.HasPrefix(phases(r), "before -1, fault 0, recovery 0") {
			t.Errorf("%v: %s, %v", err, phases(r), f.calls)
		}
	})
}

func TestBeginFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.fail["begin 0"] = errors.New("beginning a fault: it is gone")
		r, err := do(t, f, plan(), t.Context(), nil)
		if err != nil || !strings.Contains(r.Aborted, "fault first: beginning a fault") {
			t.Errorf("%v: %q", err, r.Aborted)
		}
	})
}
