// Package runtest has a lab that is not there, for tests of what conducts plans of
// stress and of what shows them.
package runtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
	"github.com/heapwright/heapwright/cmd/internal/chaos/keeper"
	"github.com/heapwright/heapwright/cmd/internal/chaos/run"
	"github.com/heapwright/heapwright/cmd/internal/experiment/load"
	"github.com/heapwright/heapwright/record"
)

// A Lab is a machine, a target, its load, and what watches it. Its keeper is apart.
// Whoever changes its fields while a run goes on holds its lock.
type Lab struct {
	sync.Mutex
	Calls    []string         // what was done, in order
	Fail     map[string]error // what fails, by the call
	Swept    []string
	Gone     chan struct{} // closed when the target has ended
	Dead     chan struct{} // closed when the load has ended by itself
	Values   map[chaos.Metric]float64
	Settings map[string]string
	Keeper   *Keeper
	Plan     *chaos.Plan // that it was opened for

	ticks chan load.Tick
	epoch time.Time
	done  chan struct{}
}

// New is a lab on which everything goes well.
func New() *Lab {
	f := &Lab{Fail: map[string]error{}, Gone: make(chan struct{}), ticks: make(chan load.Tick), done: make(chan struct{}), Dead: make(chan struct{}), Settings: map[string]string{"limit": "1"},
		Values: map[chaos.Metric]float64{chaos.Ready: 1, chaos.LiveHeap: 100e6, chaos.WorkingSet: 200e6, chaos.GoroutineCount: 20, chaos.Headroom: 300e6, chaos.GCCPURatio: 0.02}}
	f.Keeper = &Keeper{Lab: f, events: make(chan chaos.Event, 1000), undone: map[int]chaos.Done{}, Hold: 5 * time.Second, abort: make(chan struct{})}
	return f
}

// Call takes note of a call.
func (f *Lab) Call(what string) error {
	f.Lock()
	defer f.Unlock()
	f.Calls = append(f.Calls, what)
	return f.Fail[what]
}

func (f *Lab) Machine() chaos.Machine { return chaos.Machine{CPUs: 2} }
func (f *Lab) Sweep(context.Context) ([]string, error) {
	return f.Swept, f.Call("sweep")
}
func (f *Lab) Open(_ context.Context, p *chaos.Plan, doing func(string)) (run.Target, error) {
	f.Plan = p
	doing("starting")
	if err := f.Call("open"); err != nil {
		return nil, err
	}
	return target{f}, nil
}

type target struct{ *Lab }

func (f target) Process() record.Process { return record.Process{PID: 4123, Name: "orders"} }
func (f target) Cgroup() (string, int)   { return "/sys/fs/cgroup/orders", 2 }
func (f target) Gone() <-chan struct{}   { return f.Lab.Gone }
func (f target) Resolve(context.Context) ([]*fault.Resolved, error) {
	var all []*fault.Resolved
	for _, x := range f.Plan.Faults {
		all = append(all, &fault.Resolved{Fault: x, Level: x.Level.Value, Words: []string{"do " + x.Name}})
	}
	return all, f.Call("resolve")
}
func (f target) Keep(_ context.Context, _ []*fault.Resolved, epoch time.Time) (run.Keeper, error) {
	f.epoch = epoch
	if err := f.Call("keep"); err != nil {
		return nil, err
	}
	return f.Keeper, nil
}
func (f target) Load(context.Context) (run.Load, error) {
	if err := f.Call("load"); err != nil {
		return nil, err
	}
	go func() {
		t := time.NewTicker(100 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-f.done:
				return
			case <-f.Dead:
				close(f.ticks)
				return
			case now := <-t.C:
				h := hdrhistogram.New(1, 60e6, 2)
				_ = h.RecordValues(20_000, 10)
				select {
				case f.ticks <- load.Tick{At: now, Due: 10, Answered: 10, Latency: h, Pending: hdrhistogram.New(1, 60e6, 2)}:
				case <-f.done:
					return
				case <-f.Dead:
					close(f.ticks)
					return
				}
			}
		}
	}()
	return generator(f), nil
}
func (f target) Warm(ctx context.Context) error {
	select {
	case <-time.After(4 * time.Second):
	case <-ctx.Done():
	}
	return errors.Join(f.Call("warm"), ctx.Err())
}
func (f target) Watch(context.Context, time.Time) (run.Watch, error) {
	return watch(f), f.Call("watch")
}
func (f target) Settings(context.Context) map[string]string {
	_ = f.Call("settings")
	f.Lock()
	defer f.Unlock()
	return maps.Clone(f.Lab.Settings)
}
func (f target) Close(context.Context) []string {
	_ = f.Call("close")
	return nil
}

type generator struct{ *Lab }

func (f generator) Ticks() <-chan load.Tick { return f.ticks }
func (f generator) Close() {
	_ = f.Call("unload")
	close(f.done)
}

type watch struct{ *Lab }

func (f watch) Read(time.Duration) chaos.Point {
	f.Lock()
	defer f.Unlock()
	return chaos.Point{Values: f.Lab.Values}
}
func (f watch) Cycles() []chaos.Cycle { return nil }
func (f watch) Events() []chaos.Event { return nil }
func (f watch) Recording(from, to time.Time) *record.Recording {
	return &record.Recording{Process: record.Process{PID: 4123}}
}
func (f watch) Close() { _ = f.Call("unwatch") }

// A Keeper has every fault last for a while.
type Keeper struct {
	*Lab
	Hold    time.Duration
	Hangs   time.Duration            // how long it takes to begin a fault, unless it is aborted
	Told    map[chaos.Metric]float64 // last
	Silence time.Duration            // the longest between two words

	events chan chaos.Event
	undone map[int]chaos.Done
	heard  time.Time
	ended  bool
	abort  chan struct{} // closed when it was aborted
}

func (k *Keeper) at() time.Duration { return time.Since(k.epoch) }

func (k *Keeper) Before(p []chaos.Point) error { return k.Call(fmt.Sprintf("before %d", len(p)/50)) }

func (k *Keeper) Begin(i int) error {
	if err := k.Call(fmt.Sprintf("begin %d", i)); err != nil {
		return err
	}
	select {
	case <-time.After(k.Hangs):
	case <-k.abort:
		return errors.New("it was over before it began")
	}
	began := k.at()
	k.events <- chaos.Event{At: began, Kind: chaos.EventFault, Fault: i, Text: keeper.Began}
	k.events <- chaos.Event{At: began, Kind: chaos.EventLevel, Fault: i, Value: 7}
	time.AfterFunc(k.Hold, func() { k.undo(i, began) })
	return nil
}

func (k *Keeper) undo(i int, began time.Duration) {
	k.Lock()
	defer k.Unlock()
	if _, ok := k.undone[i]; ok || k.ended {
		return
	}
	k.undone[i] = chaos.Done{Fault: i, Began: began, Ended: time.Since(k.epoch), Peak: 7, Happened: true, Verified: true, Contained: true}
	k.events <- chaos.Event{At: time.Since(k.epoch), Kind: chaos.EventFault, Fault: i, Text: keeper.Undone}
}

func (k *Keeper) Here(v map[chaos.Metric]float64) {
	k.Lock()
	defer k.Unlock()
	now := time.Now()
	if !k.heard.IsZero() {
		k.Silence = max(k.Silence, now.Sub(k.heard))
	}
	k.heard, k.Told = now, v
}

func (k *Keeper) Abort(why string) {
	_ = k.Call("abort")
	k.Lock()
	select {
	case <-k.abort:
	default:
		close(k.abort)
	}
	k.Unlock()
	for i := range 2 {
		if slices.Contains(k.Calls, fmt.Sprintf("begin %d", i)) {
			k.undo(i, 0)
		}
	}
	k.events <- chaos.Event{At: k.at(), Kind: chaos.EventAbort, Fault: -1, Text: why, Value: 0.01}
}

func (k *Keeper) Events() <-chan chaos.Event { return k.events }

func (k *Keeper) Undone(i int) (chaos.Done, bool) {
	k.Lock()
	defer k.Unlock()
	d, ok := k.undone[i]
	return d, ok
}

func (k *Keeper) Done() (all []chaos.Done, left []string, err error) {
	_ = k.Call("done")
	k.Die()
	k.Lock()
	defer k.Unlock()
	for i := range 2 {
		if d, ok := k.undone[i]; ok {
			all = append(all, d)
		}
	}
	return all, nil, nil
}

// Die ends the keeper, as if it were killed.
func (k *Keeper) Die() {
	k.Lock()
	defer k.Unlock()
	if !k.ended {
		k.ended = true
		close(k.events)
	}
}
