//go:build go1.25

package memlimit

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heapwright/heapwright/guard/sli"
	"github.com/heapwright/heapwright/memlimit/control"
	"github.com/heapwright/heapwright/record"
)

// These tests have a clock of their own. Each ends with Close, and a bubble does not
// end while a goroutine of it is left.

func TestLooksOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		l := f.start(t, Config{Interval: 10 * time.Second})
		wait := func(d time.Duration, refreshes uint64) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if n := l.Report().Refreshes; n != refreshes {
				t.Errorf("%d looks, want %d", n, refreshes)
			}
		}
		wait(time.Second, 1)
		wait(9*time.Second, 2)
		wait(20*time.Second, 4)
		// Nearly full, it looks five times a second.
		f.change(func() { f.look = container(gib, 1000*mib) })
		wait(10*time.Second, 5)
		wait(time.Second, 10)
		f.change(func() { f.look = container(gib, 100*mib) })
		wait(200*time.Millisecond, 11)
		wait(10*time.Second, 12)
		l.Disable("drill")
		wait(time.Minute, 12)
		l.Close()
	})
}

func TestLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		l := f.start(t, Config{Interval: time.Hour})
		before := f.state().limit
		if _, err := l.Override(0, 500*mib, 5*time.Minute, "ada"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5*time.Minute - time.Second)
		if f.state().limit != 500*mib {
			t.Error("ended early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if r := l.Report(); f.state().limit != before || r.Mode != ModeSet || r.Override != nil {
			t.Errorf("the lease has ended: %+v", r)
		}
		// Close ends a lease.
		if _, err := l.Override(50, 0, time.Hour, "ada"); err != nil {
			t.Fatal(err)
		}
		l.Close()
		if f.state().gogc != 100 {
			t.Error("the override outlives Close")
		}
		time.Sleep(2 * time.Hour)
	})
}

func TestPreparationEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		l := f.start(t, Config{Interval: 10 * time.Second})
		time.Sleep(11 * time.Second)
		before := f.state().limit
		if err := l.Prepare(context.Background(), 512*mib); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Second)
		if f.state().limit > 512*mib {
			t.Error("ended early")
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if f.state().limit != before {
			t.Errorf("nobody lowered the limit, and GOMEMLIMIT is still %d", f.state().limit)
		}
		l.Close()
	})
}

// A callback that never returns does not hold Close for more than a second.
func TestCloseWithoutCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		block := make(chan struct{})
		l := f.start(t, Config{OnChange: func(Report) { <-block }})
		at := time.Now()
		if err := l.Close(); err == nil || time.Since(at) != closeWait {
			t.Errorf("%v after %v", err, time.Since(at))
		}
		if f.state().limit != math.MaxInt64 {
			t.Error("the limit was not restored")
		}
		close(block)
	})
}

// A file that never answers holds up neither Report nor Close's restoring.
func TestHungFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		sys := f.system()
		hang := make(chan struct{})
		look, n := sys.group, 0
		sys.group = func() groupLook {
			if n++; n > 1 {
				<-hang
			}
			return look()
		}
		l, err := newLimit(Config{Interval: time.Second, Objective: &control.Objective{}, Logger: slog.New(slog.DiscardHandler)}, sys)
		if err != nil {
			t.Fatal(err)
		}
		l.steering.controller = stepFunc(func(s control.Sample) control.Action {
			return control.Action{GOGC: 300, GOMEMLIMIT: 500 * mib, Mode: control.Steady}
		})
		l.start()
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if g := f.state(); g.gogc != 300 || g.limit != 500*mib {
			t.Fatalf("the controller's settings are not set: %+v", g)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		// The watchdog has taken the controller's settings back, and left the plan's.
		if g := f.state(); g.gogc != 100 || g.limit != l.Report().GOMEMLIMIT || g.limit < 800*mib {
			t.Errorf("stalled: %+v", g)
		}
		if err := l.Close(); err == nil {
			t.Error("closed, with a look that hangs")
		}
		if f.state().limit != math.MaxInt64 {
			t.Error("the limit was not restored")
		}
		close(hang)
	})
}

type stepFunc func(control.Sample) control.Action

func (f stepFunc) Step(s control.Sample) control.Action { return f(s) }

// steered starts a Limit with a controller of the test's own.
func steered(t *testing.T, f *fake, conf Config, step stepFunc) *Limit {
	t.Helper()
	conf.Objective, conf.Logger, conf.Interval = &control.Objective{}, f.logger(), 10*time.Second
	l, err := newLimit(conf, f.system())
	if err != nil {
		t.Fatal(err)
	}
	l.steering.controller = step
	l.start()
	return l
}

// TestSteeringOverride: what is set for a while is not what the controller goes on
// from when it is over.
func TestSteeringOverride(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		l := steered(t, f, Config{}, func(s control.Sample) control.Action {
			return control.Action{GOGC: s.GOGC, GOMEMLIMIT: s.GOMEMLIMIT, Mode: control.Steady}
		})
		defer l.Close()
		collect := func() {
			f.change(func() { f.g.cycles++ })
			time.Sleep(400 * time.Millisecond)
			synctest.Wait()
		}
		collect()
		before := f.state()
		revert, err := l.Override(400, 0, time.Hour, "the test")
		if err != nil {
			t.Fatal(err)
		}
		collect()
		collect()
		if f.state().gogc != 400 {
			t.Fatalf("overridden: %+v", f.state())
		}
		revert()
		collect()
		collect()
		if f.state().gogc != before.gogc {
			t.Errorf("after it %+v, before %+v", f.state(), before)
		}
	})
}

func TestSteering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var kept []control.Sample
		seen := func() (samples []control.Sample) {
			synctest.Wait()
			f.change(func() { samples = slices.Clone(kept) })
			return samples
		}
		f.point = func(p *sli.Point) {
			p.Has.Add(record.FieldGCCycles)
			p.StackScanBytes, p.HeapObjectsBytes = 3*mib, 60*mib
		}
		l := steered(t, f, Config{}, func(s control.Sample) control.Action {
			f.change(func() { kept = append(kept, s) })
			return control.Action{GOGC: 200, GOMEMLIMIT: s.BudgetBytes - mib, Mode: control.Steady, Reason: "for the test", GCCPURatio: math.NaN()}
		})
		collect := func() {
			f.change(func() { f.g.cycles++ })
			time.Sleep(400 * time.Millisecond)
		}
		collect()
		samples := seen()
		if len(samples) != 1 || f.state().gogc != 200 || f.state().limit != samples[0].BudgetBytes-mib {
			t.Fatalf("%d samples, %+v", len(samples), f.state())
		}
		if s := samples[0]; s.LiveBytes != 40*mib || s.NonHeapBytes != 40*mib || s.StackBytes != 3*mib || s.Procs != 2 || s.GOGC != 100 ||
			s.CeilingBytes <= s.BudgetBytes || s.CeilingBytes > gib {
			t.Errorf("sample %+v", s)
		}
		time.Sleep(5 * time.Second)
		if n := len(seen()); n != 1 {
			t.Errorf("%d samples without a collection", n)
		}
		collect()
		if samples = seen(); len(samples) != 2 || samples[1].At <= samples[0].At {
			t.Errorf("%d samples after another", len(samples))
		}
		// A plan that changed is told at once.
		time.Sleep(5 * time.Second)
		samples = seen()
		if n := len(samples); n != 3 || samples[2].BudgetBytes == samples[1].BudgetBytes {
			t.Errorf("%d samples after the first measurement", n)
		}
		r := l.Report()
		if r.Control == nil || r.Control.GOGC != 200 || r.Control.GCCPURatio != nil || r.Reason != "for the test" {
			t.Errorf("report %+v", r)
		}
		l.Close()
		if g := f.state(); g.gogc != 100 || g.limit != math.MaxInt64 {
			t.Errorf("after Close: %+v", g)
		}
	})
}

// Whatever the controller says, GOGC is not turned off and GOMEMLIMIT stays below
// what the limit leaves.
func TestSteeringIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		l := steered(t, f, Config{}, func(s control.Sample) control.Action {
			return control.Action{GOGC: -1, GOMEMLIMIT: math.MaxInt64, Mode: control.Steady}
		})
		time.Sleep(time.Second)
		if g := f.state(); g.gogc != 100 || g.limit > gib {
			t.Errorf("%+v", g)
		}
		l.Close()
	})
}

func TestControllerPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var n atomic.Int32
		l := steered(t, f, Config{}, func(control.Sample) control.Action {
			if n.Add(1) > 1 {
				panic("division by zero")
			}
			return control.Action{GOGC: 400, GOMEMLIMIT: 300 * mib, Mode: control.Steady}
		})
		time.Sleep(time.Second)
		if f.state().gogc != 400 {
			t.Fatalf("%+v", f.state())
		}
		f.change(func() { f.g.cycles++ })
		time.Sleep(time.Minute)
		synctest.Wait()
		if r := l.Report(); f.state().gogc != 100 || r.Mode != ModeSet || f.state().limit < 800*mib || r.Failures == 0 {
			t.Errorf("after a panic: %+v", r)
		}
		if n.Load() != 2 {
			t.Errorf("%d steps", n.Load())
		}
		if log := f.lines(t, l); !strings.Contains(log, "ERROR memory controller failed") || !strings.Contains(log, "division by zero") {
			t.Errorf("the log is\n%s", log)
		}
	})
}

// With GOGC or GOMEMLIMIT set by the operator, and in a dry run, the controller
// only says what it would set, and gets as far in that as it would in earnest.
func TestAdvice(t *testing.T) {
	for _, tt := range []struct {
		name  string
		conf  Config
		set   func(*fake)
		mode  Mode
		limit int64 // MiB
	}{
		{"dry run", Config{DryRun: true}, nil, ModeDryRun, math.MaxInt64},
		{"GOMEMLIMIT", Config{}, func(f *fake) { f.env["GOMEMLIMIT"], f.g.limit = "500MiB", 500*mib }, ModeOperator, 500 * mib},
		{"GOGC", Config{}, func(f *fake) { f.env["GOGC"], f.g.gogc = "80", 80 }, ModeSet, 0},
		{"GOGC is off", Config{IgnoreOperator: true}, func(f *fake) { f.env["GOGC"], f.g.gogc = "off", -1 }, ModeSet, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				if tt.set != nil {
					tt.set(f)
				}
				before := f.g
				l := steered(t, f, tt.conf, func(s control.Sample) control.Action {
					if s.GOGC < 100 {
						s.GOGC = 100
					}
					return control.Action{GOGC: s.GOGC + 10, GOMEMLIMIT: 400 * mib, Mode: control.Steady, Reason: "more"}
				})
				for range 5 {
					time.Sleep(time.Second)
					f.change(func() { f.g.cycles++ })
				}
				time.Sleep(time.Second)
				synctest.Wait()
				r := l.Report()
				if f.state().gogc != before.gogc || len(f.gogc) > 0 || r.WouldSetGOGC != 160 || r.Mode != tt.mode || tt.limit != 0 && f.state().limit != tt.limit {
					t.Errorf("set %+v, %v; report %+v", f.state(), f.gogc, r)
				}
				l.Close()
			})
		})
	}
}

func TestControllerMeetsSomebodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		l := steered(t, f, Config{}, func(s control.Sample) control.Action {
			return control.Action{GOGC: 200, GOMEMLIMIT: 600 * mib, Mode: control.Steady}
		})
		time.Sleep(time.Second)
		f.change(func() { f.g.gogc = 33; f.g.cycles++ })
		time.Sleep(time.Second)
		if r := l.Report(); r.Mode != ModeStoodDown || f.state().gogc != 33 || f.state().limit != 600*mib {
			t.Errorf("%+v", r)
		}
		l.Close()
		if g := f.state(); g.gogc != 33 || g.limit != math.MaxInt64 {
			t.Errorf("after Close: %+v", g) // GOGC is theirs, GOMEMLIMIT was ours
		}
	})
}

func TestNoPoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		sys := f.system()
		sys.points = func() (points, error) { return nil, errors.New("no numbers") }
		l, err := newLimit(Config{Objective: &control.Objective{}, Logger: f.logger()}, sys)
		if err != nil {
			t.Fatal(err)
		}
		l.start()
		time.Sleep(time.Minute)
		if r := l.Report(); r.Mode != ModeSet || r.Control != nil {
			t.Errorf("%+v", r)
		}
		l.Close()
	})
}
