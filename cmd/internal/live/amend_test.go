package live

import (
	"context"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

// TestAmend lowers the limit of a process step by step: one lease, one watchdog, and
// what was there before the first step is what comes back.
func TestAmend(t *testing.T) {
	tg := start(t, buildProgram(t, "subject", ""), "GOMEMLIMIT=400MiB")
	tg.ask("hold 40")
	tg.ask("gc")
	h := testHost(t.TempDir())
	s := tg.open(h)
	if _, err := s.Amend(Change{GOMEMLIMITBytes: ptr(300 << 20)}, "a step"); !errors.Is(err, ErrNotApplied) {
		t.Errorf("amending nothing: %v", err)
	}
	apply(t, s, Change{GOMEMLIMITBytes: ptr(300 << 20)})
	dog := s.dog
	for _, mib := range []int64{200, 120, 80, 250} {
		r, err := s.Amend(Change{GOMEMLIMITBytes: ptr(mib << 20)}, "a step")
		if err != nil || len(r.Steps) != 1 || r.Steps[0].New != uint64(mib<<20) {
			t.Fatalf("amending to %d MiB: %v, %v", mib, r.Steps, err)
		}
		if got := tg.ask("read"); got.Limit != mib<<20 {
			t.Errorf("the limit is %d, not %d MiB", got.Limit, mib)
		}
		left, err := h.Leases()
		if err != nil || len(left) != 1 || left[0].Words[0].Old != 400<<20 || left[0].Words[0].New != uint64(mib<<20) {
			t.Errorf("at %d MiB the leases are %+v, %v", mib, left, err)
		}
	}
	// What may not be stays undone, and what was there stays.
	for _, tt := range []struct {
		name string
		c    Change
		want func(error) bool
	}{
		{"below the floor", Change{GOMEMLIMITBytes: ptr(30 << 20)}, func(err error) bool { return errors.As(err, new(*StormFloorError)) }},
		{"below the caller's floor", Change{GOMEMLIMITBytes: ptr(200 << 20), StormFloorBytes: 201 << 20}, func(err error) bool { return errors.As(err, new(*StormFloorError)) }},
		{"nothing new", Change{GOMEMLIMITBytes: ptr(250 << 20)}, func(err error) bool { return errors.Is(err, ErrNothing) }},
		{"another setting", Change{GOGCPercent: ptr(50)}, func(err error) bool { return errors.Is(err, ErrNotApplied) }},
	} {
		if _, err := s.Amend(tt.c, "a step"); !tt.want(err) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if got := tg.ask("read"); got.Limit != 250<<20 || s.dog != dog || !s.Guarded() {
		t.Errorf("after refusals the limit is %d, guarded %t", got.Limit, s.Guarded())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := tg.ask("read"); got.Limit != 400<<20 {
		t.Errorf("the limit is %d at the end", got.Limit)
	}
	if got := h.actions(t); got != "apply ok, amend ok, amend ok, amend ok, amend ok, revert ok" {
		t.Errorf("the log has %q", got)
	}
	if left, err := h.Leases(); err != nil || len(left) > 0 {
		t.Errorf("leases %v, %v are left", left, err)
	}
}

// TestAmendOfTheirs: what somebody else has set is not taken over.
func TestAmendOfTheirs(t *testing.T) {
	tg := start(t, buildProgram(t, "subject", ""))
	h := testHost(t.TempDir())
	s := tg.open(h)
	apply(t, s, Change{GOMEMLIMITBytes: ptr(300 << 20)})
	tg.ask("limit %d", 333<<20)
	var changed *ChangedError
	if _, err := s.Amend(Change{GOMEMLIMITBytes: ptr(200 << 20)}, "a step"); !errors.As(err, &changed) {
		t.Errorf("amending what somebody else set: %v", err)
	}
	r, err := s.Revert("the test is over")
	if err != nil || len(r.Theirs) != 1 {
		t.Errorf("reverting: %+v, %v", r, err)
	}
	if got := tg.ask("read"); got.Limit != 333<<20 {
		t.Errorf("the limit is %d", got.Limit)
	}
}

// TestAmendWithoutLog: a step that cannot be logged is taken back, with all before it.
func TestAmendWithoutLog(t *testing.T) {
	tg := start(t, buildProgram(t, "subject", ""))
	dir := t.TempDir()
	h := testHost(dir)
	h.LeaseDir, h.StateDir = dir+"/leases", dir+"/state"
	s := tg.open(h)
	apply(t, s, Change{GOMEMLIMITBytes: ptr(300 << 20)})
	if err := os.Chmod(h.StateDir, 0o777); err != nil { // not to be trusted
		t.Fatal(err)
	}
	if _, err := s.Amend(Change{GOMEMLIMITBytes: ptr(200 << 20)}, "a step"); err == nil {
		t.Error("a step without a line in the log")
	}
	tg.unchanged()
}

// TestAmendThenDie kills a tool between its steps, with its lease's file and without:
// the watchdog knows of the last step either way.
func TestAmendThenDie(t *testing.T) {
	path := buildProgram(t, "subject", "")
	for _, lost := range []bool{false, true} {
		tg := start(t, path)
		h := testHost(t.TempDir())
		s := tg.open(h)
		apply(t, s, Change{GOMEMLIMITBytes: ptr(300 << 20)})
		if _, err := s.Amend(Change{GOMEMLIMITBytes: ptr(200 << 20)}, "a step"); err != nil {
			t.Fatal(err)
		}
		if lost {
			time.Sleep(time.Second) // until the watchdog has looked, which cannot be seen from here
			if err := h.drop(s.lease); err != nil {
				t.Fatal(err)
			}
		}
		s.dog.abandon() // the end of the pipe is all that it knows of the tool's death
		s.dog, s.lease = nil, nil
		eventually(t, "the watchdog to put the limit back", func() bool { return tg.ask("read").Limit == math.MaxInt64 })
	}
}

// TestViaAmend does the same through the program itself.
func TestViaAmend(t *testing.T) {
	ctx := context.Background()
	pid, page := startGuarded(t, "-allow-change")
	h := testHost(t.TempDir())
	before := settingsOf(t, pid)
	v, err := h.OpenVia(ctx, pid, page)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	v.Brief(15 * time.Second)
	if notes := v.Notes(); !strings.Contains(notes[0], "15 seconds") {
		t.Errorf("notes %q", notes)
	}
	limit := func(mib int64) Change { return Change{GOMEMLIMITBytes: ptr(mib << 20)} }
	if _, err := v.Amend(ctx, limit(700), "a step"); !errors.Is(err, ErrNotApplied) {
		t.Errorf("amending nothing: %v", err)
	}
	if err := v.Renew(ctx); !errors.Is(err, ErrNotApplied) {
		t.Errorf("renewing nothing: %v", err)
	}
	if _, err := v.Apply(ctx, limit(700), "a test"); err != nil {
		t.Fatal(err)
	}
	for _, mib := range []int64{600, 500} {
		if _, err := v.Amend(ctx, limit(mib), "a step"); err != nil {
			t.Fatal(err)
		}
		if got := settingsOf(t, pid); got.GOMEMLIMIT != mib<<20 || got.GOGC != before.GOGC {
			t.Errorf("amended to %d MiB: %+v", mib, got)
		}
	}
	if err := v.Renew(ctx); err != nil {
		t.Error(err)
	}
	var floor *StormFloorError
	if _, err := v.Amend(ctx, limit(1), "a step"); !errors.As(err, &floor) {
		t.Errorf("below the floor: %v", err)
	}
	if got := settingsOf(t, pid); got.GOMEMLIMIT != 500<<20 {
		t.Errorf("after a refusal: %+v", got)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if got := settingsOf(t, pid); got.GOMEMLIMIT != before.GOMEMLIMIT {
		t.Errorf("in the end %+v, before %+v", got, before)
	}
	if got := h.actions(t); got != "apply ok, amend ok, amend ok, revert ok" {
		t.Errorf("the log has %q", got)
	}
}
