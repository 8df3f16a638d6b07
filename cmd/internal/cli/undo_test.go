package cli

import (
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/live"
)

func undoHost() (*fakeEnv, *fakeChanger) {
	f, c := tuneHost()
	f.serve(4123, "orders", ruletest.Server{})
	at := ruletest.Epoch.Add(90 * time.Second)
	c.leases = []live.Lease{
		{PID: 4123, Exe: "/usr/bin/orders", Why: "tune", Kept: true, Owner: live.Owner{Tool: "heapwright", PID: 1 << 30, User: "ada", Since: at}, Words: fakeSteps},
		{PID: 77, Exe: "/usr/bin/old\x1b[2J", Why: "tune", Owner: live.Owner{Tool: "heapwright", PID: 1 << 30, UID: 1000, Since: at}, Words: fakeSteps[:1]},
	}
	c.entries = []live.Entry{
		{Time: at, Action: live.ActionApply, Tool: "heapwright", User: "ada", PID: 4123, Exe: "/usr/bin/orders", Words: fakeSteps, Why: "tune: least GC CPU within 512Mi", Outcome: "ok"},
		{Time: at.Add(time.Second), Action: live.ActionUndo, Tool: "heapwright", UID: 1000, PID: 77, Exe: "/usr/bin/old", Why: "undo", Outcome: "the process has exited"},
	}
	c.skipped = 2
	return f, c
}

func TestUndo(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		code ExitCode
		did  []string
	}{
		{"pid", []string{"4123"}, ExitOK, []string{"undo 4123"}},
		{"name", []string{"orders"}, ExitOK, []string{"undo 4123"}},
		{"all", []string{"--all"}, ExitCouldNotRun, []string{"undo 4123", "undo 77"}},
		{"nothing", []string{"5"}, ExitCouldNotRun, []string{"undo 5"}},
		{"list", []string{"--list"}, ExitOK, nil},
		{"history", []string{"--history"}, ExitOK, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, c := undoHost()
			c.undo = map[int]error{5: &live.NoLeaseError{PID: 5}, 77: &live.OwnerError{PID: 77, UID: 1}}
			f.run(t, tc.code, append([]string{"undo"}, tc.args...)...)
			if !slices.Equal(c.did, tc.did) {
				t.Errorf("did %q", c.did)
			}
			if strings.ContainsRune(f.out.String(), '\x1b') {
				t.Error("an escape sequence from a lease")
			}
			golden(t, filepath.Join("undo", tc.name+".txt"), f.out.String()+"--- stderr\n"+f.err.String())
		})
	}
}

// A damaged lease hides itself, and no other.
func TestUndoDamaged(t *testing.T) {
	for _, args := range [][]string{{"--all"}, {"--list"}, {"--list", "--json"}} {
		f, c := undoHost()
		c.leases, c.unread = c.leases[:1], errors.New("7-7.json: the lease is malformed")
		f.run(t, ExitCouldNotRun, append([]string{"undo"}, args...)...)
		if !strings.Contains(f.out.String(), "4123") || !strings.Contains(f.err.String(), "malformed") {
			t.Errorf("%q: stdout %q, stderr %q", args, &f.out, &f.err)
		}
		c.leases = nil
		f.run(t, ExitCouldNotRun, append([]string{"undo"}, args...)...)
		if f.out.Len() > 0 || !strings.Contains(f.err.String(), "malformed") {
			t.Errorf("%q: stdout %q, stderr %q", args, &f.out, &f.err)
		}
	}
}

func TestUndoUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"1", "2"}, {"1", "--all"}, {"--list", "--history"}, {"http://h/metrics"}, {"0"}} {
		f, c := undoHost()
		f.run(t, ExitCouldNotRun, append([]string{"undo"}, args...)...)
		if f.out.Len() > 0 || len(c.did) > 0 {
			t.Errorf("%q: stdout %q, did %q", args, &f.out, c.did)
		}
	}
	f, c := undoHost()
	c.leases, c.entries, c.skipped = nil, nil, 0
	for arg, want := range map[string]string{"--all": "No change is in effect.\n", "--list": "No change is in effect.\n", "--history": "Nothing was ever changed.\n"} {
		f.run(t, ExitOK, "undo", arg)
		if f.out.String() != want {
			t.Errorf("%s: %q", arg, &f.out)
		}
	}
}

func TestWatchdogIsHidden(t *testing.T) {
	f, c := undoHost()
	f.run(t, ExitOK, "live-watchdog", "4123")
	if !slices.Equal(c.did, []string{"guard 4123"}) {
		t.Errorf("did %q", c.did)
	}
	f.run(t, ExitCouldNotRun, "live-watchdog", "x")
	f.run(t, ExitOK, "--help")
	if strings.Contains(f.out.String(), "watchdog") {
		t.Error("people are told of it")
	}
}

func TestProfileEnable(t *testing.T) {
	f := profileHost()
	c := &fakeChanger{}
	f.Changes = func() (Changer, error) { return c, nil }
	f.errTerminal = 80
	f.run(t, ExitOK, "profile", "4123", "--enable", "--for", "300ms", "--top=2")
	if !slices.Equal(c.did, []string{"open 4123", "sample heap", "close"}) || !strings.Contains(f.out.String(), "FUNCTION") || !strings.Contains(f.err.String(), "collecting") {
		t.Errorf("did %q, stdout %s, stderr %q", c.did, &f.out, &f.err)
	}
	// One that is on is taken as it is.
	c.did, c.sampling = nil, &live.SamplingOnError{Kind: live.SampleHeap, Rate: 512 << 10}
	f.run(t, ExitOK, "profile", "4123", "--enable", "--top=2")
	if !slices.Equal(c.did, []string{"open 4123", "sample heap", "close"}) || !strings.Contains(f.err.String(), "samples already") {
		t.Errorf("did %q, stderr %q", c.did, &f.err)
	}
	c.did, c.sampling = nil, &live.RangeError{Setting: "rate", Value: math.MaxInt64, Reason: "no"}
	f.run(t, ExitCouldNotRun, "profile", "4123", "--enable", "--top=2")
	for _, args := range [][]string{{"4123", "--for", "1s"}, {"4123", "--enable", "--type", "goroutine"}, {"4123", "--enable", "--for", "-1s"}, {"http://10.0.0.7:6060/debug/pprof", "--enable"}} {
		f.run(t, ExitCouldNotRun, append([]string{"profile"}, args...)...)
	}
}

func TestStepsText(t *testing.T) {
	got := stepsText(liveSteps(append(back().Steps, live.Step{Symbol: "runtime.MemProfileRate", New: 512 << 10})))
	if want := "GOMEMLIMIT 460MiB → none, GOGC 200 → 100, heap sampling 0 → 524288"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
