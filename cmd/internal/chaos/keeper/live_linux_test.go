package keeper

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// keep starts a keeper for the target of a scene.
func (s *scene) keep(t *testing.T, abort []chaos.Criterion, faults ...chaos.Fault) (*Keeper, error) {
	t.Helper()
	t.Setenv("HEAPWRIGHT_STATE_DIR", s.state)
	plan := &chaos.Plan{Name: "live", Faults: faults, Abort: abort, Caps: chaos.Caps{Memory: experiment.Bytes(256 * mebi)}}
	target, err := fault.Locate(t.Context(), s.pid, "")
	if err != nil {
		t.Fatal(err)
	}
	room, err := fault.Look()
	if err != nil {
		t.Fatal(err)
	}
	var resolved []*fault.Resolved
	for _, f := range faults {
		r, err := fault.Resolve(t.Context(), f, target, plan.Caps, room)
		if err != nil {
			t.Fatal(err)
		}
		resolved = append(resolved, r)
	}
	return Start(t.Context(), Config{Plan: plan, Target: target, Faults: resolved, Dir: s.state + "/run", StateDir: s.state, Tool: "test"})
}

// follow says that the tool is here until an event is met, and returns what came.
func follow(t *testing.T, k *Keeper, met func(chaos.Event) bool) []chaos.Event {
	t.Helper()
	var events []chaos.Event
	tick := time.NewTicker(tick)
	defer tick.Stop()
	end := time.After(time.Minute)
	for {
		select {
		case <-tick.C:
			k.Here(map[chaos.Metric]float64{chaos.ErrorRatio: 0.5})
		case e, ok := <-k.Events():
			if !ok {
				t.Fatalf("the keeper has ended: %+v", events)
			}
			events = append(events, e)
			if met(e) {
				return events
			}
		case <-end:
			t.Fatalf("that does not happen: %+v", events)
		}
	}
}

func is(kind chaos.EventKind, text string) func(chaos.Event) bool {
	return func(e chaos.Event) bool { return e.Kind == kind && strings.Contains(e.Text, text) }
}

func quota() chaos.Fault {
	return chaos.Fault{Name: "quota", Kind: chaos.CPUQuota, Level: chaos.Level{Value: 0.4}, Ramp: 300 * time.Millisecond, Hold: time.Minute}
}

func TestCourse(t *testing.T) {
	s := newScene(t)
	f := quota()
	f.Hold = 300 * time.Millisecond
	k, err := s.keep(t, nil, f, f)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := k.Undone(0); ok {
		t.Error("it is undone before it began")
	}
	if err := k.Begin(0); err != nil {
		t.Fatal(err)
	}
	if err := k.Begin(0); err == nil {
		t.Error("it begins twice")
	}
	if err := k.Begin(9); err == nil {
		t.Error("a fault that there is not begins")
	}
	events := follow(t, k, is(chaos.EventFault, Undone))
	var texts []string
	for _, e := range events {
		if e.Kind == chaos.EventFault {
			texts = append(texts, e.Text)
		}
	}
	if !slices.Equal(texts, []string{Began, Reached, Undone}) {
		t.Errorf("there came %+v", events)
	}
	d, ok := k.Undone(0)
	if !ok || !d.Verified || !d.Happened || !d.Contained || d.Peak != 0.4 || d.Ended <= d.Began || d.Err != "" {
		t.Errorf("of it: %+v", d)
	}
	dones, left, err := k.Done()
	if len(dones) != 1 || len(left) > 0 || err != nil {
		t.Errorf("%+v, %q, %v", dones, left, err)
	}
	if _, left := s.settle(t, time.Now(), k.PID()); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
}

// TestAborts: whatever ends a plan, everything is undone and it is said why.
func TestAborts(t *testing.T) {
	most := 0.01
	tests := []struct {
		name  string
		abort []chaos.Criterion
		end   func(*scene, *Keeper)
		why   string
	}{
		{"a condition on what the tool tells", []chaos.Criterion{{Metric: chaos.ErrorRatio, AtMost: &most}}, func(*scene, *Keeper) {}, "requests that failed"},
		{"a condition on what the keeper sees", []chaos.Criterion{{Metric: chaos.RSS, AtMost: &most}}, func(*scene, *Keeper) {}, "resident memory"},
		{"the tool says so", nil, func(_ *scene, k *Keeper) { k.Abort("as you like") }, "as you like"},
		{"the keeper is told to end", nil, func(_ *scene, k *Keeper) { syscall.Kill(k.PID(), syscall.SIGTERM) }, "told to end"},
		{"the target ends", nil, func(s *scene, _ *Keeper) { syscall.Kill(s.pid, syscall.SIGKILL) }, "the target has ended"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t)
			k, err := s.keep(t, tt.abort, quota(), quota())
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Begin(0); err != nil {
				t.Fatal(err)
			}
			tt.end(s, k)
			events := follow(t, k, is(chaos.EventAbort, ""))
			last := events[len(events)-1]
			if !strings.Contains(last.Text, tt.why) {
				t.Errorf("it ended for %q", last.Text)
			}
			t.Logf("rolled back in %.1f ms: %s", 1000*last.Value, last.Text)
			if q := s.file(t, "cpu.cfs_quota_us"); q != s.quota {
				t.Errorf("the quota is %s", q)
			}
			if err := k.Begin(1); err == nil {
				t.Error("another fault begins")
			}
			dones, left, err := k.Done()
			if len(dones) != 1 || !dones[0].Verified || len(left) > 0 || err != nil {
				t.Errorf("%+v, %q, %v", dones, left, err)
			}
		})
	}
}

func TestBusy(t *testing.T) {
	s := newScene(t)
	k, err := s.keep(t, nil, quota())
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.keep(t, nil, quota())
	busy := new(BusyError)
	if !errors.As(err, &busy) || busy.PID != os.Getpid() || busy.Plan != "live" {
		t.Errorf("a second plan: %v", err)
	}
	if _, left, err := k.Done(); len(left) > 0 || err != nil {
		t.Errorf("%q, %v", left, err)
	}
	if k, err = s.keep(t, nil, quota()); err != nil {
		t.Fatal(err)
	}
	k.Done()
	// The keeper was killed: whoever comes next undoes what it left.
	if k, err = s.keep(t, nil, quota()); err != nil {
		t.Fatal(err)
	}
	if err := k.Begin(0); err != nil {
		t.Fatal(err)
	}
	follow(t, k, is(chaos.EventFault, Reached))
	k.cmd.Process.Kill()
	for range k.Events() {
	}
	dones, left, err := k.Done()
	if len(dones) != 1 || len(left) > 0 || err != nil {
		t.Errorf("%+v, %q, %v", dones, left, err)
	}
	if _, left := s.settle(t, time.Now()); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
	if locks, err := os.ReadDir(s.state + "/run"); err != nil || len(locks) > 0 {
		t.Errorf("%v is left, %v", locks, err)
	}
}

// TestStopped: a keeper that is stopped ends nothing by itself. The tool ends it, and
// undoes what it keeps.
func TestStopped(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as a keeper may be silent")
	}
	s := newScene(t)
	k, err := s.keep(t, nil, quota())
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Begin(0); err != nil {
		t.Fatal(err)
	}
	follow(t, k, is(chaos.EventFault, Reached))
	syscall.Kill(k.PID(), syscall.SIGSTOP)
	follow(t, k, is(chaos.EventAbort, "the keeper ended"))
	if dones, left, err := k.Done(); len(dones) != 1 || len(left) > 0 || err != nil {
		t.Errorf("%+v, %q, %v", dones, left, err)
	}
	if _, left := s.settle(t, time.Now()); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
}

// TestProxies: they listen before there is a target.
func TestProxies(t *testing.T) {
	if _, err := procmem.BootID(); err != nil {
		t.Skipf("needs Linux: %v", err)
	}
	f := chaos.Fault{Name: "db", Kind: chaos.SlowDependency, Level: chaos.Level{Value: 0.1}, Hold: time.Second, Upstream: "127.0.0.1:9"}
	k, err := Start(t.Context(), Config{Plan: &chaos.Plan{Name: "proxy", Faults: []chaos.Fault{f}}, Dir: t.TempDir(), StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if k.Proxies()["db"] == "" {
		t.Errorf("the proxies are %v", k.Proxies())
	}
	if err := k.Begin(0); err == nil {
		t.Error("a fault begins without a target")
	}
	if dones, left, err := k.Done(); len(dones)+len(left) > 0 || err != nil {
		t.Errorf("%+v, %q, %v", dones, left, err)
	}
}

// TestStartFails: what cannot be started is said.
func TestStartFails(t *testing.T) {
	if _, err := Start(t.Context(), Config{}); err == nil {
		t.Error("there is no plan")
	}
	plan := &chaos.Plan{Name: "x"}
	if _, err := Start(t.Context(), Config{Plan: plan, Argv: []string{"/nonexistent/x"}}); err == nil {
		t.Error("there is no program")
	}
	if _, err := Start(t.Context(), Config{Plan: plan, Argv: []string{"sleep", "0"}}); err == nil {
		t.Error("the program is no keeper")
	}
}
