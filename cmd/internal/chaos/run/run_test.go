package run_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/run"
	"github.com/heapwright/heapwright/cmd/internal/chaos/run/runtest"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// every is the time between two points.
const every = 100 * time.Millisecond

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
func do(t *testing.T, f *runtest.Lab, p *chaos.Plan, ctx context.Context, more func(run.Progress)) (*chaos.Run, error) {
	t.Helper()
	return run.Run(ctx, run.Options{Plan: p, Lab: f, Tool: "test",
		Confirm:  func(context.Context, run.Preview) (bool, error) { return f.Call("confirm") == nil, nil },
		Progress: more, Note: func(s string) { _ = f.Call("note " + s) }})
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
		f := runtest.New()
		f.Swept = []string{"a limit"}
		r, err := do(t, f, plan(), t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		want := "sweep, note left by a run that was killed, and put back now: a limit, open, resolve, confirm, settings, keep, load, warm, watch, before 1, begin 0, begin 1, done, unload, settings, unwatch, close"
		if got := strings.Join(f.Calls, ", "); got != want {
			t.Errorf("it did\n%s\nnot\n%s", got, want)
		}
		if phases(r) != whole {
			t.Errorf("phases %s", phases(r))
		}
		if r.Aborted != "" || r.Refused != "" || r.Interrupted || len(r.Left) != 0 || len(r.Faults) != 2 {
			t.Errorf("the run is %+v", r)
		}
		if f.Keeper.Silence > 200*time.Millisecond {
			t.Errorf("the keeper heard nothing for %v", f.Keeper.Silence)
		}
		if f.Keeper.Told[chaos.LatencyP99] == 0 || f.Keeper.Told[chaos.Throughput] < 90 {
			t.Errorf("the keeper was told %v", f.Keeper.Told)
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
				f := runtest.New()
				f.Fail[what] = &run.RefusedError{Why: "no " + what, Advice: "do otherwise"}
				r, err := do(t, f, plan(), t.Context(), nil)
				refused := new(run.RefusedError)
				if !errors.As(err, &refused) || r == nil || !strings.Contains(r.Refused, "no "+what) {
					t.Fatalf("%+v, %v", r, err)
				}
				has := func(call string) bool { return slices.Contains(f.Calls, call) }
				if has("begin 0") || has("open") && what != "open" && !has("close") || has("keep") && what != "keep" && !has("done") {
					t.Errorf("it did %v", f.Calls)
				}
				if what == "warm" && !has("unload") {
					t.Error("the load goes on")
				}
			})
		})
	}
}

func TestRefusedRate(t *testing.T) {
	f, p := runtest.New(), plan()
	p.Load.Rate = 0
	if r, err := do(t, f, p, t.Context(), nil); err == nil || r.Refused == "" || len(f.Calls) != 0 {
		t.Errorf("%v, %v", err, f.Calls)
	}
}

func TestDeclined(t *testing.T) {
	f := runtest.New()
	f.Fail["confirm"] = errors.New("no")
	if _, err := do(t, f, plan(), t.Context(), nil); !errors.Is(err, run.ErrDeclined) {
		t.Error(err)
	}
	if got := strings.Join(f.Calls, ", "); got != "sweep, open, resolve, confirm, close" {
		t.Errorf("it did %s", got)
	}
}

func TestHypothesisDoesNotHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := runtest.New()
		f.Values[chaos.Ready] = 0
		r, err := do(t, f, plan(), t.Context(), nil)
		if err == nil || r.Refused == "" || phases(r) != "before -1" || slices.Contains(f.Calls, "begin 0") {
			t.Errorf("%v, %v, %v", err, phases(r), f.Calls)
		}
	})
}

// at calls what when a phase of a fault has lasted for a while, once.
func at(phase chaos.PhaseKind, fault int, what func()) func(run.Progress) {
	done := false
	return func(p run.Progress) {
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
					f := runtest.New()
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					r, err := do(t, f, plan(), ctx, at(s.kind, s.fault, func() {
						switch how {
						case "interrupt":
							cancel()
						case "gone":
							close(f.Gone)
						case "keeper":
							f.Keeper.Die()
						case "load":
							close(f.Dead)
						case "condition":
							f.Keeper.Abort("oom_kills is 1")
						}
					}))
					if err != nil {
						t.Fatal(err)
					}
					if how == "gone" {
						if !slices.ContainsFunc(r.Events, func(e chaos.Event) bool { return e.Kind == chaos.EventGone }) || (r.Aborted != "") != (s.kind == chaos.PhaseFault) {
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
					if got := strings.Join(f.Calls, ", "); !strings.HasSuffix(got, "done, unload, settings, unwatch, close") {
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
		f := runtest.New()
		r, err := do(t, f, plan(), t.Context(), at(chaos.PhaseAfter, -1, func() {
			f.Lock()
			defer f.Unlock()
			f.Settings["limit"] = "2"
			f.Settings["our process 12"] = "is there"
		}))
		if err != nil || strings.Join(r.Left, "; ") != "limit is 2, and was 1; our process 12: is there" {
			t.Errorf("%v, %v", r.Left, err)
		}
	})
}

// A target that does not recover gets no other fault.
func TestNoOtherFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := runtest.New()
		r, err := do(t, f, plan(), t.Context(), at(chaos.PhaseFault, 0, func() {
			f.Lock()
			defer f.Unlock()
			f.Values = map[chaos.Metric]float64{chaos.Ready: 1, chaos.LiveHeap: 190e6, chaos.WorkingSet: 290e6, chaos.GoroutineCount: 900, chaos.Headroom: 200e6}
		}))
		if err != nil || slices.Contains(f.Calls, "begin 1") || !strings.HasPrefix(phases(r), "before -1, fault 0, recovery 0") {
			t.Errorf("%v: %s, %v", err, phases(r), f.Calls)
		}
	})
}

func TestBeginFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := runtest.New()
		f.Fail["begin 0"] = errors.New("beginning a fault: it is gone")
		r, err := do(t, f, plan(), t.Context(), nil)
		if err != nil || !strings.Contains(r.Aborted, "fault first: beginning a fault") {
			t.Errorf("%v: %q", err, r.Aborted)
		}
	})
}

// A fault that takes long to begin, as through a page that hangs, keeps nobody from ending
// the run, and the keeper from hearing of us.
func TestBeginHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := runtest.New()
		f.Keeper.Hangs = 30 * time.Second
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var ended time.Time
		r, err := do(t, f, plan(), ctx, at(chaos.PhaseFault, 0, func() {
			ended = time.Now()
			cancel()
		}))
		if err != nil || !r.Interrupted || r.Aborted != "the user ended it" {
			t.Fatalf("%v: %q", err, r.Aborted)
		}
		if took := time.Since(ended); took > every {
			t.Errorf("the user was heard after %v", took)
		}
		if f.Keeper.Silence > 2*every {
			t.Errorf("the keeper heard nothing for %v", f.Keeper.Silence)
		}
		if got := strings.Join(f.Calls, ", "); !strings.HasSuffix(got, "begin 0, abort, done, unload, settings, unwatch, close") {
			t.Errorf("it did %s", got)
		}
	})
}

// A fault that takes long to begin begins all the same.
func TestBeginLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := runtest.New()
		f.Keeper.Hangs = 10 * time.Second
		r, err := do(t, f, plan(), t.Context(), nil)
		if err != nil || r.Aborted != "" || phases(r) != whole || len(r.Faults) != 2 {
			t.Errorf("%v: %q, %s", err, r.Aborted, phases(r))
		}
	})
}
