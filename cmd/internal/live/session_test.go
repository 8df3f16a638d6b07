package live

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/profile"
	"github.com/heapwright/heapwright/cmd/internal/remote"
)

// unchanged fails the test unless a target is as it started.
func (tg *target) unchanged() {
	tg.t.Helper()
	if got := tg.ask("read"); got.Limit != math.MaxInt64 || got.GOGC != nil && *got.GOGC != 100 {
		tg.t.Errorf("the process was changed: %v", got)
	}
}

func (h Host) actions(t *testing.T) string {
	t.Helper()
	entries, _, err := h.History()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, string(e.Action)+" "+e.Outcome)
	}
	return strings.Join(out, ", ")
}

func TestRails(t *testing.T) {
	tg := start(t, buildProgram(t, "subject", ""))
	tg.ask("hold 40")
	tg.ask("gc")
	h := testHost(t.TempDir())
	s := tg.open(h)
	var floor *StormFloorError
	for _, tt := range []struct {
		name string
		c    Change
		want any
	}{
		{"gogc -2", Change{GOGCPercent: ptr(-2)}, new(*RangeError)},
		{"gogc beyond 32 bits", Change{GOGCPercent: ptr(1 << 31)}, new(*RangeError)},
		{"limit -1", Change{GOMEMLIMITBytes: ptr(-1)}, new(*RangeError)},
		{"limit 0", Change{GOMEMLIMITBytes: ptr(0)}, &floor},
		{"limit at the live heap", Change{GOMEMLIMITBytes: ptr(41 << 20)}, &floor},
		{"limit below the caller's floor", Change{GOMEMLIMITBytes: ptr(200 << 20), StormFloorBytes: 201 << 20}, &floor},
		{"off without a limit", Change{GOGCPercent: ptr(-1)}, new(*UnboundedError)},
		{"nothing", Change{}, nil},
		{"nothing new", Change{GOGCPercent: ptr(100), GOMEMLIMITBytes: ptr(math.MaxInt64)}, nil},
	} {
		for _, do := range []func() error{
			func() error { _, err := s.Describe(tt.c); return err },
			func() error { _, err := s.Apply(context.Background(), tt.c, "a test"); return err },
		} {
			if err := do(); tt.want == nil && !errors.Is(err, ErrNothing) || tt.want != nil && !errors.As(err, tt.want) {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
	}
	tg.unchanged()

	// What was planned is not what is there any more.
	if _, err := s.Describe(Change{GOGCPercent: ptr(50)}); err != nil {
		t.Fatal(err)
	}
	tg.ask("gogc 77")
	var changed *ChangedError
	if _, err := s.Apply(context.Background(), Change{GOGCPercent: ptr(50)}, "a test"); !errors.As(err, &changed) {
		t.Errorf("a plan that was made for other settings: %v", err)
	}
	tg.ask("gogc 100")

	// No watchdog, no lease, no log: no change.
	for _, tt := range []struct {
		name string
		h    Host
	}{
		{"no watchdog", Host{LeaseDir: h.LeaseDir, StateDir: h.StateDir}},
		{"a watchdog that fails", Host{LeaseDir: h.LeaseDir, StateDir: h.StateDir, Watchdog: []string{"/bin/false"}}},
		{"a watchdog that says nothing useful", Host{LeaseDir: h.LeaseDir, StateDir: h.StateDir, Watchdog: []string{"/bin/echo", "hello"}}},
		{"a watchdog that is not there", Host{LeaseDir: h.LeaseDir, StateDir: h.StateDir, Watchdog: []string{"/no/such/program"}}},
		{"no place for leases", Host{LeaseDir: "/proc/nowhere", StateDir: h.StateDir, Watchdog: h.Watchdog}},
		{"no place for the log", Host{LeaseDir: h.LeaseDir, StateDir: "/proc/nowhere", Watchdog: h.Watchdog}},
	} {
		s := tg.open(tt.h)
		_, err := s.Apply(context.Background(), Change{GOGCPercent: ptr(50)}, "a test")
		if err == nil {
			t.Errorf("%s: it was applied", tt.name)
		}
		var dog *WatchdogError
		if strings.Contains(tt.name, "watchdog") != errors.As(err, &dog) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	tg.unchanged()
	if left, err := h.Leases(); err != nil || len(left) > 0 {
		t.Errorf("leases %v, %v are left", left, err)
	}

	// After all of that it works, and once only.
	s = tg.open(h)
	apply(t, s, Change{GOGCPercent: ptr(50)})
	if _, err := s.Apply(context.Background(), Change{GOGCPercent: ptr(60)}, "a test"); !errors.Is(err, ErrApplied) {
		t.Errorf("a second change of one session: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	tg.unchanged()
	if got := h.actions(t); got != "apply ok, revert ok" {
		t.Errorf("the log has %q", got)
	}
}

func TestTwoTools(t *testing.T) {
	tg := start(t, buildProgram(t, "subject", ""))
	h := testHost(t.TempDir())
	a, b := tg.open(h), tg.open(h)
	apply(t, a, Change{GOGCPercent: ptr(50)})
	var owned *OwnedError
	if _, err := b.Apply(context.Background(), Change{GOGCPercent: ptr(60)}, "a test"); !errors.As(err, &owned) || owned.Owner == nil || owned.Owner.PID != os.Getpid() {
		t.Errorf("the second tool: %v", err)
	}
	if _, err := h.Undo(context.Background(), tg.pid()); !errors.As(err, &owned) {
		t.Errorf("undo meanwhile: %v", err)
	}
	// One that keeps its leases elsewhere, as another user does, sees the hold too.
	other := tg.open(testHost(t.TempDir()))
	if _, err := other.Apply(context.Background(), Change{GOGCPercent: ptr(60)}, "a test"); !errors.As(err, &owned) || owned.Owner != nil {
		t.Errorf("another user's tool: %v", err)
	}
	if got := tg.ask("read"); deref(got.GOGC) != 50 {
		t.Errorf("the first tool's setting is gone: %v", got)
	}
	if !a.Guarded() {
		t.Error("there is no watchdog")
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	tg.unchanged()
	apply(t, b, Change{GOGCPercent: ptr(60)})
}

func TestKeepAndUndo(t *testing.T) {
	tg := start(t, buildProgram(t, "subject", ""))
	h := testHost(t.TempDir())
	keep := func(c Change) {
		t.Helper()
		s := tg.open(h)
		apply(t, s, c)
		if err := s.Keep(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var none *NoLeaseError
	if _, err := h.Undo(context.Background(), tg.pid()); !errors.As(err, &none) {
		t.Errorf("undo of nothing: %v", err)
	}
	keep(Change{GOGCPercent: ptr(50)})
	keep(Change{GOMEMLIMITBytes: ptr(1 << 30)})
	keep(Change{GOGCPercent: ptr(70)})
	if got := tg.ask("read"); deref(got.GOGC) != 70 || got.Limit != 1<<30 {
		t.Errorf("kept changes: %v", got)
	}
	left, err := h.Leases()
	if err != nil || len(left) != 1 || !left[0].Kept || len(left[0].Words) != 3 {
		t.Fatalf("leases %+v, %v", left, err)
	}
	if s := tg.open(h); s.Lease() == nil || !strings.Contains(strings.Join(s.Notes(), " "), "changed this process") {
		t.Errorf("the change before is not mentioned: %q", s.Notes())
	}
	r, err := h.Undo(context.Background(), tg.pid())
	if err != nil || len(r.Theirs) > 0 || len(r.Steps) < 3 {
		t.Errorf("undo: %+v, %v", r, err)
	}
	tg.unchanged()
	if _, err := h.Undo(context.Background(), tg.pid()); !errors.As(err, &none) {
		t.Errorf("undo again: %v", err)
	}

	// The program has set one of the two since: that stays.
	keep(Change{GOGCPercent: ptr(50), GOMEMLIMITBytes: ptr(1 << 30)})
	tg.ask("gogc 300")
	r, err = h.Undo(context.Background(), tg.pid())
	if err != nil || strings.Join(r.Theirs, " ") != remote.WordGCPercent {
		t.Errorf("undo: %+v, %v", r, err)
	}
	if got := tg.ask("read"); deref(got.GOGC) != 300 || got.Limit != math.MaxInt64 {
		t.Errorf("after undo %v", got)
	}
	// It relies on the limit since: without one nothing would start a collection.
	keep(Change{GOGCPercent: ptr(50), GOMEMLIMITBytes: ptr(1 << 30)})
	tg.ask("gogc -1")
	r, err = h.Undo(context.Background(), tg.pid())
	if err != nil || strings.Join(r.Theirs, " ") != remote.WordGCPercent+" "+remote.WordMemoryLimit {
		t.Errorf("undo: %+v, %v", r, err)
	}
	if got := tg.ask("read"); deref(got.GOGC) != off || got.Limit != 1<<30 {
		t.Errorf("after undo %v", got)
	}
	tg.ask("gogc 100")
	tg.ask("limit " + strconv.Itoa(math.MaxInt64))
	// Both are gone: the next change starts from what is there.
	keep(Change{GOGCPercent: ptr(50)})
	tg.ask("gogc 200")
	keep(Change{GOMEMLIMITBytes: ptr(1 << 30)})
	if _, err := h.Undo(context.Background(), tg.pid()); err != nil {
		t.Fatal(err)
	}
	if got := tg.ask("read"); deref(got.GOGC) != 200 || got.Limit != math.MaxInt64 {
		t.Errorf("after undo %v", got)
	}
}

// TestUndoAfterExec: a process that has replaced its program since has nothing of a
// change, even where it is set to what the change had set.
func TestUndoAfterExec(t *testing.T) {
	if b, err := os.ReadFile("/proc/sys/kernel/randomize_va_space"); err != nil || strings.TrimSpace(string(b)) == "0" {
		t.Skip("without randomized addresses one program is where the other was")
	}
	tg := start(t, buildProgram(t, "subject", ""))
	h := testHost(t.TempDir())
	s := tg.open(h)
	apply(t, s, Change{GOGCPercent: ptr(50)})
	if err := s.Keep(); err != nil {
		t.Fatal(err)
	}
	if l, err := h.Leases(); err != nil || len(l) != 1 || l[0].Stack == 0 {
		t.Fatalf("leases %+v, %v", l, err)
	}
	if got := tg.ask("exec 50"); deref(got.GOGC) != 50 {
		t.Fatalf("the new program has %v", got)
	}
	if s := tg.open(h); s.Lease() != nil {
		t.Errorf("the new program has the lease %+v", s.Lease())
	}
	var none *NoLeaseError
	if r, err := h.Undo(context.Background(), tg.pid()); !errors.As(err, &none) {
		t.Errorf("undo: %+v, %v", r, err)
	}
	if got := tg.ask("read"); deref(got.GOGC) != 50 {
		t.Errorf("the setting of the new program was changed: %v", got)
	}
	if l, err := h.Leases(); err != nil || len(l) != 0 {
		t.Errorf("leases %+v, %v", l, err)
	}
}

// A childTool is a tool in a process of its own that has applied a change.
type childTool struct {
	*exec.Cmd
	in interface{ Close() error }
	h  Host
}

func startTool(t *testing.T, tg *target, dir string, c Change, attr *syscall.SysProcAttr) (*childTool, string) {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "live-tool", strconv.Itoa(tg.pid()), dir, string(b))
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the tool said %q, %v", line, err)
	}
	return &childTool{cmd, in, testHost(dir)}, strings.TrimSpace(line)
}

// watchdogOf finds the child of a tool.
func watchdogOf(t *testing.T, tool int) int {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(tool) + "/task/" + strconv.Itoa(tool) + "/children")
	if err == nil && len(strings.Fields(string(b))) == 0 {
		// A child belongs to the thread that started it.
		tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(tool) + "/task/*/children")
		for _, f := range tasks {
			if b, err = os.ReadFile(f); len(strings.Fields(string(b))) > 0 {
				break
			}
		}
	}
	if err != nil {
		t.Skipf("the kernel does not list children: %v", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatalf("the children of the tool: %q", b)
	}
	return pid
}

// patience is how long the kernel and a loaded machine may take for what is sure to come.
const patience = time.Minute

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in %v there was no %s", patience, what)
		}
	}
}

func TestKilledTool(t *testing.T) {
	path := buildProgram(t, "subject", "")
	c := Change{GOGCPercent: ptr(50), GOMEMLIMITBytes: ptr(1 << 30)}
	begin := func(t *testing.T, env ...string) (*target, *childTool) {
		tg := start(t, path, env...)
		tool, line := startTool(t, tg, t.TempDir(), c, nil)
		if line != "applied" {
			t.Fatalf("the tool said %q", line)
		}
		if got := tg.ask("read"); deref(got.GOGC) != 50 || got.Limit != 1<<30 {
			t.Fatalf("the tool did not apply its change: %v", got)
		}
		return tg, tool
	}
	t.Run("tool", func(t *testing.T) {
		tg, tool := begin(t)
		tool.Process.Kill()
		eventually(t, "revert", func() bool { l, err := tool.h.Leases(); return err == nil && len(l) == 0 })
		tg.unchanged()
		if got := tool.h.actions(t); got != "apply ok, revert ok" {
			t.Errorf("the log has %q", got)
		}
	})
	t.Run("tool, and its lease was lost", func(t *testing.T) {
		tg, tool := begin(t)
		if err := os.RemoveAll(tool.h.LeaseDir); err != nil {
			t.Fatal(err)
		}
		tool.Process.Kill()
		eventually(t, "revert", func() bool { return tool.h.actions(t) == "apply ok, revert ok" })
		tg.unchanged()
	})
	t.Run("tool, and the process was started off", func(t *testing.T) {
		tg, tool := begin(t, "GOGC=off", "GOMEMLIMIT=2GiB")
		tool.Process.Kill()
		eventually(t, "revert", func() bool { l, err := tool.h.Leases(); return err == nil && len(l) == 0 })
		if got := tg.ask("read"); deref(got.GOGC) != off || got.Limit != 2<<30 {
			t.Errorf("after reverting %v", got)
		}
	})
	t.Run("tool that is stopped", func(t *testing.T) {
		t.Setenv(silenceVar, "3s")
		tg, tool := begin(t)
		tool.Process.Signal(syscall.SIGSTOP)
		eventually(t, "revert", func() bool { return tool.h.actions(t) == "apply ok, revert ok" })
		tg.unchanged()
	})
	t.Run("tool and watchdog", func(t *testing.T) {
		tg, tool := begin(t)
		dog := watchdogOf(t, tool.Process.Pid)
		syscall.Kill(dog, syscall.SIGKILL)
		tool.Process.Kill()
		tool.Wait()
		eventually(t, "end of the watchdog", func() bool { return syscall.Kill(dog, 0) != nil || orphanGone(dog) })
		if got := tg.ask("read"); deref(got.GOGC) != 50 {
			t.Fatalf("somebody else put it back: %v", got)
		}
		s := tg.open(tool.h)
		if s.Lease() == nil || !s.Lease().Orphaned() {
			t.Errorf("the lease is %+v", s.Lease())
		}
		// A killed process may be a zombie before all of its threads have let go of
		// what it had locked.
		var orphan *OrphanError
		eventually(t, "let go of the lock", func() bool {
			_, err := s.Apply(context.Background(), Change{GOGCPercent: ptr(60)}, "a test")
			return errors.As(err, &orphan)
		})
		if r, err := tool.h.Undo(context.Background(), tg.pid()); err != nil || len(r.Theirs) > 0 {
			t.Errorf("undo: %+v, %v", r, err)
		}
		tg.unchanged()
	})
	t.Run("half-way", func(t *testing.T) {
		// What a tool leaves that dies between two words.
		tg := start(t, path)
		h := testHost(t.TempDir())
		s := tg.open(h)
		steps, err := s.Describe(c)
		if err != nil {
			t.Fatal(err)
		}
		for n := range steps {
			l := &Lease{BootID: s.boot, PID: s.pid, StartTicks: s.target.Process().StartTicks(), Owner: Owner{Tool: "test", PID: 1 << 30}}
			for _, w := range steps {
				if w.Symbol != remote.WordGCPercentHeapGoal {
					l.Words = append(l.Words, w)
				}
			}
			if err := h.write(l); err != nil {
				t.Fatal(err)
			}
			for _, w := range steps[:n] {
				if err := set(s.target, w.Symbol, w.Old, w.New); err != nil {
					t.Fatalf("after %d words: %v", n, err)
				}
			}
			if r, err := h.Undo(context.Background(), tg.pid()); err != nil || len(r.Theirs) > 0 {
				t.Errorf("after %d words: undo %+v, %v", n, r, err)
			}
			tg.unchanged()
			if b, err := readBooks(s.target, &s.sample); err != nil || b.consistent() != nil || b.goal != b.model.PercentGoal(b.heap, 100) {
				t.Errorf("after %d words and undo: %+v, %v", n, b, err)
			}
		}
	})
	t.Run("half-way, after a change that was kept", func(t *testing.T) {
		tg := start(t, path)
		h := testHost(t.TempDir())
		for n := range 4 {
			s := tg.open(h)
			apply(t, s, Change{GOGCPercent: ptr(70), GOMEMLIMITBytes: ptr(2 << 30)})
			if err := s.Keep(); err != nil {
				t.Fatal(err)
			}
			s = tg.open(h)
			if _, err := s.Describe(c); err != nil {
				t.Fatal(err)
			}
			l := &Lease{BootID: s.boot, PID: s.pid, StartTicks: s.target.Process().StartTicks(), Owner: Owner{Tool: "test", PID: 1 << 30}}
			pairs := s.books.words(c)
			var err error
			if l.Words, l.Earlier, err = s.leaseWords(pairs, s.Lease()); err != nil {
				t.Fatal(err)
			}
			if err := h.write(l); err != nil {
				t.Fatal(err)
			}
			for _, p := range pairs[:n] {
				if err := set(s.target, p.symbol, p.old, p.value); err != nil && p.symbol != remote.WordGCPercentHeapGoal {
					t.Fatalf("after %d words: %v", n, err)
				}
			}
			if r, err := h.Undo(context.Background(), tg.pid()); err != nil || len(r.Theirs) > 0 {
				t.Errorf("after %d words: undo %+v, %v", n, r, err)
			}
			tg.unchanged()
		}
	})
	t.Run("watchdog", func(t *testing.T) {
		tg, tool := begin(t)
		syscall.Kill(watchdogOf(t, tool.Process.Pid), syscall.SIGTERM)
		eventually(t, "revert", func() bool { l, err := tool.h.Leases(); return err == nil && len(l) == 0 })
		tg.unchanged()
	})
	t.Run("nobody", func(t *testing.T) {
		tg, tool := begin(t)
		tool.in.Close() // it keeps the change, and ends
		if err := tool.Wait(); err != nil {
			t.Fatal(err)
		}
		if got := tg.ask("read"); deref(got.GOGC) != 50 || got.Limit != 1<<30 {
			t.Errorf("a kept change is gone: %v", got)
		}
		if got := tool.h.actions(t); got != "apply ok, keep ok" {
			t.Errorf("the log has %q", got)
		}
		if _, err := tool.h.Undo(context.Background(), tg.pid()); err != nil {
			t.Error(err)
		}
		tg.unchanged()
	})
}

// orphanGone reports whether a process has ended but for being waited for.
func orphanGone(pid int) bool {
	_, err := startTicks(pid)
	return errors.Is(err, procmem.ErrExited)
}

func TestWatchReal(t *testing.T) {
	path := buildProgram(t, "subject", "")
	t.Run("effective", func(t *testing.T) {
		tg := start(t, path)
		tg.ask("hold 40")
		tg.ask("work 1")
		s := tg.open(testHost(t.TempDir()))
		apply(t, s, Change{GOGCPercent: ptr(60), GOMEMLIMITBytes: ptr(1 << 30)})
		out, err := Watch(context.Background(), s, Expectation{For: 3 * time.Second, StormRatio: 1}, nil)
		if err != nil || out.Verdict.Decision != GoOn || !out.Status.Effective {
			t.Errorf("%+v, %v", out, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		tg.unchanged()
	})
	t.Run("storm", func(t *testing.T) {
		tg := start(t, path)
		tg.ask("forest 6")
		tg.ask("gc")
		tg.ask("work 2")
		s := tg.open(testHost(t.TempDir()))
		apply(t, s, Change{GOGCPercent: ptr(1)})
		out, err := Watch(context.Background(), s, Expectation{For: 5 * time.Minute, StormFor: 2 * time.Second}, nil)
		if err != nil || out.Verdict.Decision != TakeBack || !strings.Contains(out.Verdict.Why, "GC") || len(out.Reverted.Steps) == 0 {
			t.Errorf("%+v, %v", out, err)
		}
		t.Logf("after %v: %s", out.Status.Elapsed, out.Verdict.Why)
		tg.unchanged()
	})
	t.Run("the program sets its limit", func(t *testing.T) {
		tg := start(t, path)
		h := testHost(t.TempDir())
		s := tg.open(h)
		apply(t, s, Change{GOGCPercent: ptr(60), GOMEMLIMITBytes: ptr(1 << 30)})
		tg.ask("fight %d", 2<<30)
		out, err := Watch(context.Background(), s, Expectation{For: time.Minute}, nil)
		if err != nil || out.Verdict.Decision != StandAside || strings.Join(out.Reverted.Theirs, " ") != remote.WordMemoryLimit {
			t.Errorf("%+v, %v", out, err)
		}
		if got := tg.ask("read"); deref(got.GOGC) != 100 || got.Limit != 2<<30 {
			t.Errorf("after standing aside %v", got)
		}
		if got := h.actions(t); !strings.Contains(got, "that stays") {
			t.Errorf("the log has %q", got)
		}
	})
	t.Run("the process ends", func(t *testing.T) {
		tg := start(t, path)
		h := testHost(t.TempDir())
		s := tg.open(h)
		apply(t, s, Change{GOGCPercent: ptr(60)})
		tg.cmd.Process.Kill()
		tg.cmd.Wait()
		out, err := Watch(context.Background(), s, Expectation{For: time.Minute}, nil)
		if err != nil || out.Verdict.Decision != End {
			t.Errorf("%+v, %v", out, err)
		}
		if _, err := s.Describe(Change{GOGCPercent: ptr(50)}); !errors.Is(err, procmem.ErrExited) {
			t.Errorf("describing a change of a process that ended: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if left, err := h.Leases(); err != nil || len(left) > 0 {
			t.Errorf("leases %v, %v are left", left, err)
		}
	})
	t.Run("nothing was changed", func(t *testing.T) {
		s := start(t, path).open(testHost(t.TempDir()))
		if _, err := Watch(context.Background(), s, Expectation{}, nil); err == nil {
			t.Error("there was something to watch")
		}
	})
}

func TestSelfTuned(t *testing.T) {
	for _, tt := range []struct {
		program string // -tags
		by      string
		ours    bool
		note    string
	}{
		{"gctuner", "github.com/bytedance/gopkg/util/gctuner", false, ""},
		{"guard", "github.com/heapwright/heapwright/guard", true, ""},
		{"refresh", "github.com/KimMachineGun/automemlimit/memlimit", false, ""},
		{"once", "", false, "set the memory limit when it started"},
		{"native", "", false, "calls debug.SetGCPercent somewhere"},
		{"plain", "", false, ""},
	} {
		t.Run(tt.program, func(t *testing.T) {
			path := buildProgram(t, "tuned", "", "-mod=mod", "-tags="+tt.program, "-ldflags=-s -w")
			cmd := exec.Command(path)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { cmd.Process.Kill(); cmd.Wait() }()
			if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			s, err := testHost(t.TempDir()).Open(context.Background(), cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			_, err = s.Describe(Change{GOGCPercent: ptr(50)})
			var self *SelfTunedError
			if errors.As(err, &self) != (tt.by != "") || self != nil && (self.By != tt.by || self.Ours != tt.ours) {
				t.Errorf("%v, want %q", err, tt.by)
			}
			if _, err := s.Apply(context.Background(), Change{GOGCPercent: ptr(50)}, "a test"); (err != nil) != (tt.by != "") {
				t.Errorf("applying: %v", err)
			}
			if notes := strings.Join(s.Notes(), " "); !strings.Contains(notes, tt.note) || (tt.note == "") != (notes == "") {
				t.Errorf("notes %q, want %q", notes, tt.note)
			}
		})
	}
}

// TestSampling switches on what the linker left out.
func TestSampling(t *testing.T) {
	for _, release := range []string{"", "go1.20.14", "go1.23.12", "go1.27.4"} {
		t.Run("go"+strings.TrimPrefix(release, "go"), func(t *testing.T) {
			tg := start(t, buildProgram(t, "subject", release, "-ldflags=-s -w"))
			h := testHost(t.TempDir())
			s := tg.open(h)
			var disabled *profile.DisabledError
			if _, err := profile.TakeHeap(s.target); !errors.As(err, &disabled) {
				t.Fatalf("the program samples: %v", err)
			}
			var bad *RangeError
			if _, err := s.EnableSampling(context.Background(), SampleHeap, -1); !errors.As(err, &bad) {
				t.Errorf("a negative rate: %v", err)
			}
			if _, err := s.EnableSampling(context.Background(), "threadcreate", 0); err == nil {
				t.Error("a profile that has no rate was switched on")
			}
			if _, err := s.EnableSampling(context.Background(), SampleHeap, 64<<10); err != nil {
				t.Fatal(err)
			}
			var on *SamplingOnError
			again := tg.open(testHost(t.TempDir()))
			if _, err := again.EnableSampling(context.Background(), SampleHeap, 1); !errors.As(err, new(*OwnedError)) {
				t.Errorf("a second tool: %v", err)
			}
			tg.ask("work 1")
			tg.ask("hold 20")
			tg.ask("rest")
			tg.ask("gc")
			tg.ask("gc")
			p, err := profile.TakeHeap(s.target)
			if err != nil {
				t.Fatal(err)
			}
			var allocs, inUse float64
			for _, site := range p.Record().Sites {
				for _, f := range site.Stack {
					if f.Func == "main.main" {
						inUse += site.InUseBytes
					}
					if strings.HasPrefix(f.Func, "main.tree") {
						allocs += site.AllocBytes
						break
					}
				}
			}
			// 20 MiB in objects of 1 MiB, each of which is sampled.
			if inUse < 19<<20 || inUse > 22<<20 || allocs == 0 {
				t.Errorf("the profile has %.0f bytes that main holds, %.0f that tree allocated", inUse, allocs)
			}
			if err := s.Keep(); err != nil {
				t.Fatal(err)
			}
			s.Close()
			if _, err := again.EnableSampling(context.Background(), SampleHeap, 1); !errors.As(err, &on) {
				t.Errorf("a rate where there is one: %v", err)
			}
			// What was kept for the one setting does not go when another changes.
			apply(t, again, Change{GOGCPercent: ptr(50)})
			if _, err := again.Revert("the test is over"); err != nil {
				t.Fatal(err)
			}
			r, err := h.Undo(context.Background(), tg.pid())
			if err != nil || len(r.Steps) != 1 || r.Steps[0].New != 0 {
				t.Errorf("undo: %+v, %v", r, err)
			}
			tg.unchanged()
			for _, kind := range []Sampling{SampleBlock, SampleMutex} {
				s := tg.open(h)
				r, err := s.EnableSampling(context.Background(), kind, 0)
				if err != nil {
					t.Errorf("%s: %v", kind, err)
					continue
				}
				if r.Steps[0].Old != 0 || r.Steps[0].New == 0 {
					t.Errorf("%s: %v", kind, r.Steps)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
