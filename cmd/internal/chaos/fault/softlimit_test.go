package fault

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/live"
	"github.com/heapwright/heapwright/record"
)

func softFault(level chaos.Level) chaos.Fault {
	return chaos.Fault{Name: "soft", Kind: chaos.SoftLimit, Level: level}
}

func mib(n float64) chaos.Level { return chaos.Level{Value: n * (1 << 20)} }

func percent(n float64) chaos.Level { return chaos.Level{Value: n / 100, Share: true} }

// TestSoftLimit takes the limit of a process down and back in steps, and undoes it.
func TestSoftLimit(t *testing.T) {
	ctx := context.Background()
	t.Setenv("HEAPWRIGHT_STATE_DIR", t.TempDir())
	s := startSubject(t, "GOMEMLIMIT=400MiB")
	s.ask("hold 40")
	s.ask("gc")
	r, err := Resolve(ctx, softFault(percent(50)), s.Target, chaos.Caps{}, Room{})
	if err != nil {
		t.Fatal(err)
	}
	if r.From != 400<<20 || r.Level != 200<<20 {
		t.Errorf("from %g to %g", r.From, r.Level)
	}
	words := strings.Join(r.Words, "\n")
	for _, want := range []string{"from 400MiB to 200MiB", "memoryLimit", "watchdog"} {
		if !strings.Contains(words, want) {
			t.Errorf("the plan does not say %q:\n%s", want, words)
		}
	}
	if got := s.ask("read"); got != 400<<20 {
		t.Errorf("after looking the limit is %d", got)
	}
	j := newJournal()
	e, err := Make(ctx, r, s.Target, j)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Undo(ctx)
	if got := s.ask("read"); got != 400<<20 || len(j.all) != 0 {
		t.Errorf("without a level the limit is %d, steps %v", got, j.all)
	}
	for _, tt := range []struct{ set, want int64 }{
		{400 << 20, 400 << 20}, // where it is
		{350 << 20, 350 << 20},
		{349 << 20, 350 << 20}, // less than a step
		{280 << 20, 280 << 20},
		{200 << 20, 200 << 20},
		{201 << 20, 200 << 20},
		{300 << 20, 300 << 20},
		{500 << 20, 400 << 20}, // never above what it was
		{200 << 20, 200 << 20},
	} {
		if err := e.Set(ctx, float64(tt.set)); err != nil {
			t.Fatal(err)
		}
		if got := s.ask("read"); got != tt.want {
			t.Errorf("set to %d the limit is %d, want %d", tt.set, got, tt.want)
		}
		if got, by, ok := e.Measure(); !ok || int64(got) != tt.want || !strings.Contains(by, "memory of the process") {
			t.Errorf("measured %g, %q, %t", got, by, ok)
		}
	}
	// It lives more in it than there was when it was looked at.
	s.ask("hold 60")
	s.ask("gc")
	var floor *FloorError
	if err := e.Set(ctx, 60<<20); !errors.As(err, &floor) || floor.LimitBytes != 200<<20 || floor.Hint() == "" {
		t.Errorf("below what lives: %v", err)
	}
	if got := s.ask("read"); got != 200<<20 {
		t.Errorf("after that the limit is %d", got)
	}
	if len(j.steps) != 1 {
		t.Errorf("the journal has %v", j.steps)
	}
	for range 2 {
		if err := e.Undo(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.ask("read"); got != 400<<20 {
		t.Errorf("undone, the limit is %d", got)
	}
	if err := e.Set(ctx, 200<<20); !errors.Is(err, errUndone) {
		t.Errorf("a level after that: %v", err)
	}
	j.empty(t)
	if left, err := os.ReadDir(os.Getenv("HEAPWRIGHT_STATE_DIR") + "/leases"); err != nil || len(left) > 0 {
		t.Errorf("leases %v, %v are left", left, err)
	}
}

// squeeze takes the limit down to 300 MiB.
func (s *subject) squeeze(ctx context.Context) (Effect, *memoryJournal) {
	s.t.Helper()
	r, err := Resolve(ctx, softFault(mib(300)), s.Target, chaos.Caps{}, Room{})
	if err != nil {
		s.t.Fatal(err)
	}
	j := newJournal()
	e, err := Make(ctx, r, s.Target, j)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := e.Set(ctx, 300<<20); err != nil {
		s.t.Fatal(err)
	}
	return e, j
}

// TestSoftLimitOfTheirs: what the program sets meanwhile is left so, and said.
func TestSoftLimitOfTheirs(t *testing.T) {
	ctx := context.Background()
	t.Setenv("HEAPWRIGHT_STATE_DIR", t.TempDir())
	s := startSubject(t)
	e, j := s.squeeze(ctx)
	s.ask("limit %d", 333<<20)
	if err := e.Set(ctx, 250<<20); err == nil {
		t.Error("what the program set is overwritten")
	}
	var changed *ChangedError
	if err := e.Undo(ctx); !errors.As(err, &changed) || changed.Have != "333MiB" {
		t.Errorf("undoing: %v", err)
	}
	if got := s.ask("read"); got != 333<<20 {
		t.Errorf("the limit is %d", got)
	}
	j.empty(t)
}

// TestSoftLimitReverts: whoever finds the step puts the limit back, when nobody else
// holds the process, and only what a fault has changed.
func TestSoftLimitReverts(t *testing.T) {
	ctx := context.Background()
	t.Setenv("HEAPWRIGHT_STATE_DIR", t.TempDir())
	s := startSubject(t)
	e, j := s.squeeze(ctx)
	step := j.all[0]
	if step.Kind != StepSoftLimit || step.PID != s.PID || step.Old != "9223372036854775807" {
		t.Errorf("the step is %+v", step)
	}
	// Who holds it lives: it is theirs to undo.
	short, stop := context.WithTimeout(ctx, 200*time.Millisecond)
	var held *live.OwnedError
	if err := Revert(short, step); !errors.As(err, &held) {
		t.Errorf("while it is held: %v", err)
	}
	stop()
	if err := e.Undo(ctx); err != nil {
		t.Fatal(err)
	}
	if err := Revert(ctx, step); err != nil {
		t.Errorf("after it was undone: %v", err)
	}
	// A change that the user made, and keeps.
	h, err := live.NewHost(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	session, err := h.Open(ctx, s.PID)
	if err != nil {
		t.Fatal(err)
	}
	v := int64(500 << 20)
	if _, err := session.Apply(ctx, live.Change{GOMEMLIMITBytes: &v}, "the user's"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(session.Keep(), session.Close()); err != nil {
		t.Fatal(err)
	}
	if err := Revert(ctx, step); err != nil || s.ask("read") != v {
		t.Errorf("the user's change: %v", err)
	}
	var no *RefusedError
	if _, err := Resolve(ctx, softFault(mib(300)), s.Target, chaos.Caps{}, Room{}); !errors.As(err, &no) || !strings.Contains(no.Hint(), "heapwright undo") {
		t.Errorf("over a change that is kept: %v", err)
	}
	s.cmd.Process.Kill()
	s.cmd.Wait()
	if err := Revert(ctx, step); err != nil {
		t.Errorf("of a process that ended: %v", err)
	}
}

// softVerb runs a process that squeezes the soft limit of another, says the step, and
// then does nothing.
const softVerb = "test-soft"

func beSoft(ctx context.Context) error {
	pid, err := strconv.Atoi(os.Args[2])
	if err != nil {
		return err
	}
	t, err := Locate(ctx, pid, "")
	if err != nil {
		return err
	}
	r, err := Resolve(ctx, softFault(mib(200)), t, chaos.Caps{}, Room{})
	if err != nil {
		return err
	}
	j := newJournal()
	e, err := Make(ctx, r, t, j)
	if err != nil {
		return err
	}
	for _, level := range []float64{300 << 20, 200 << 20} {
		if err := e.Set(ctx, level); err != nil {
			return err
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(j.all[0]); err != nil {
		return err
	}
	<-ctx.Done()
	return e.Undo(context.Background())
}

// TestSoftLimitKilled kills who squeezes, between two levels: the limit comes back, by
// the watchdog or by who finds the step at the same time, and nothing is left.
func TestSoftLimitKilled(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HEAPWRIGHT_STATE_DIR", dir)
	s := startSubject(t, "GOMEMLIMIT=400MiB")
	for _, reverted := range []bool{false, true} {
		cmd, _, out := run(t, "/proc/self/exe", nil, softVerb, strconv.Itoa(s.PID))
		line, err := out.ReadBytes('\n')
		var step Step
		if err == nil {
			err = json.Unmarshal(line, &step)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := s.ask("read"); got != 200<<20 {
			t.Fatalf("squeezed, the limit is %d", got)
		}
		cmd.Process.Kill()
		cmd.Wait()
		if reverted {
			ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
			if err := Revert(ctx, step); err != nil {
				t.Error(err)
			}
			stop()
			if got := s.ask("read"); got != 400<<20 {
				t.Errorf("reverted, the limit is %d", got)
			}
		} else {
			soon(t, "the watchdog to put the limit back", func() bool { return s.ask("read") == 400<<20 })
		}
		soon(t, "the lease to be gone", func() bool {
			left, err := os.ReadDir(dir + "/leases")
			return err == nil && len(left) == 0
		})
		if err := Revert(context.Background(), step); err != nil {
			t.Errorf("once more: %v", err)
		}
	}
}

// TestSoftLimitOfTheDead: the target ends while it is squeezed.
func TestSoftLimitOfTheDead(t *testing.T) {
	ctx := context.Background()
	t.Setenv("HEAPWRIGHT_STATE_DIR", t.TempDir())
	s := startSubject(t)
	e, j := s.squeeze(ctx)
	s.cmd.Process.Kill()
	s.cmd.Wait()
	if _, _, ok := e.Measure(); ok {
		t.Error("a level of a process that ended")
	}
	if err := e.Set(ctx, 250<<20); err == nil {
		t.Error("a level for a process that ended")
	}
	if err := e.Undo(ctx); err != nil {
		t.Errorf("undoing: %v", err)
	}
	j.empty(t)
}

func TestSoftLimitRefuses(t *testing.T) {
	ctx := context.Background()
	t.Setenv("HEAPWRIGHT_STATE_DIR", t.TempDir())
	s := startSubject(t, "GOMEMLIMIT=400MiB")
	s.ask("hold 100")
	s.ask("gc")
	for _, tt := range []struct {
		level chaos.Level
		want  string
	}{
		{mib(100), "storm floor"}, {mib(400), "no squeeze"}, {mib(500), "no squeeze"}, {chaos.Level{}, "a soft limit of 0"}, {percent(10), "storm floor"},
	} {
		_, err := Resolve(ctx, softFault(tt.level), s.Target, chaos.Caps{}, Room{})
		var no *RefusedError
		if !errors.As(err, &no) || !strings.Contains(err.Error(), tt.want) || no.Hint() == "" {
			t.Errorf("%v: %v, want %q and a hint", tt.level, err, tt.want)
		}
	}
	if got := s.ask("read"); got != 400<<20 {
		t.Errorf("the limit is %d", got)
	}
	guarded := startGuarded(t)
	for debug, want := range map[string]string{"": "target.debug", guarded.Debug: "AllowChange"} {
		g := *guarded
		g.Debug = debug
		_, err := Resolve(ctx, softFault(mib(300)), &g, chaos.Caps{}, Room{})
		var no *RefusedError
		if !errors.As(err, &no) || !strings.Contains(no.Hint(), want) {
			t.Errorf("a program that tunes itself, with page %q: %v, want a hint at %q", debug, err, want)
		}
	}
}

// TestSoftLimitVia has a program that tunes itself do it.
func TestSoftLimitVia(t *testing.T) {
	ctx := context.Background()
	t.Setenv("HEAPWRIGHT_STATE_DIR", t.TempDir())
	g := startGuarded(t, "-allow-change")
	r, err := Resolve(ctx, softFault(mib(500)), g, chaos.Caps{}, Room{})
	if err != nil {
		t.Fatal(err)
	}
	if words := strings.Join(r.Words, "\n"); !strings.Contains(words, "memlimit makes the change") || !strings.Contains(words, "15 seconds") {
		t.Errorf("the plan says\n%s", words)
	}
	j := newJournal()
	e, err := Make(ctx, r, g, j)
	if err != nil {
		t.Fatal(err)
	}
	for level := r.From; level >= r.Level; level -= (r.From - r.Level) / 4 {
		if err := e.Set(ctx, level); err != nil {
			t.Fatal(err)
		}
		if got, _, ok := e.Measure(); !ok || math.Abs(got-level) > 1 {
			t.Errorf("at %g measured %g, %t", level, got, ok)
		}
	}
	if err := e.Undo(ctx); err != nil {
		t.Fatal(err)
	}
	if got, _, ok := e.Measure(); ok && got < r.From {
		t.Errorf("undone, the limit is %g", got)
	}
	j.empty(t)
	if err := Revert(ctx, j.all[0]); err != nil {
		t.Errorf("reverting what was undone: %v", err)
	}
}

func TestSoftRange(t *testing.T) {
	const none = math.MaxInt64
	for _, tt := range []struct {
		name        string
		f           chaos.Fault
		limit, used int64
		cgroup      uint64
		from, level int64
		want        string
	}{
		{name: "bytes", f: chaos.Fault{Level: mib(100)}, limit: 200 << 20, from: 200 << 20, level: 100 << 20},
		{name: "share", f: chaos.Fault{Level: percent(25)}, limit: 200 << 20, from: 200 << 20, level: 50 << 20},
		{name: "share of the cgroup's", f: chaos.Fault{Level: percent(25)}, limit: none, used: 90 << 20, cgroup: 200 << 20, from: 90 << 20, level: 50 << 20},
		{name: "share of nothing", f: chaos.Fault{Level: percent(25)}, limit: none, want: "there is none"},
		{name: "above what it uses", f: chaos.Fault{Level: mib(100)}, limit: none, used: 90 << 20, from: 100 << 20, level: 100 << 20},
		{name: "from", f: chaos.Fault{Level: mib(100), From: percent(75)}, limit: 200 << 20, from: 150 << 20, level: 100 << 20},
		{name: "from below", f: chaos.Fault{Level: mib(100), From: mib(50)}, limit: 200 << 20, want: "not down"},
		{name: "from above", f: chaos.Fault{Level: mib(100), From: mib(300)}, limit: 200 << 20, want: "not down"},
		{name: "nonsense", f: chaos.Fault{Level: chaos.Level{Value: math.NaN()}}, limit: 200 << 20, want: "no level"},
		{name: "huge", f: chaos.Fault{Level: chaos.Level{Value: 1e300}}, limit: none, want: "a soft limit of"},
	} {
		from, level, err := softRange(tt.f, softView{tt.limit, tt.used}, tt.cgroup)
		if tt.want == "" && (err != nil || from != tt.from || level != tt.level) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: from %d to %d, %v", tt.name, from, level, err)
		}
	}
}

func TestGCShare(t *testing.T) {
	from := record.Sample{CPUTotal: 1000, CPUIdle: 500, CPUGCTotal: 100, CPUGCIdle: 50}
	to := record.Sample{CPUTotal: 3000, CPUIdle: 1500, CPUGCTotal: 500, CPUGCIdle: 200}
	if r, ok := gcShare(from, to); !ok || r != 0.25 {
		t.Errorf("%g, %t", r, ok)
	}
	if _, ok := gcShare(to, to); ok {
		t.Error("a share of nothing")
	}
	if _, ok := gcShare(to, from); ok {
		t.Error("a share of what went back")
	}
}

func TestBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bucket{size: 4, each: 2 * time.Second}
		begin := time.Now()
		for range 3 {
			if err := b.wait(context.Background(), 1); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("what there is takes %v", d)
		}
		if ok, _ := b.take(0, time.Now()); !ok {
			t.Error("what is kept cannot be had")
		}
		if err := b.wait(context.Background(), 1); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d != 4*time.Second {
			t.Errorf("the next two take %v", d)
		}
		ctx, stop := context.WithTimeout(context.Background(), time.Second)
		defer stop()
		if err := b.wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for too long: %v", err)
		}
	})
}
