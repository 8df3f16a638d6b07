package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
)

const mebi = 1 << 20

// A lab is cgroups for a program, of v1 or v2, and the program in them. Their files have
// their names of v1.
type lab struct {
	*targettest.Groups
	pid int
	in  io.Closer
	cmd *exec.Cmd
}

// startLab starts a program in groups of its own for these controllers.
func startLab(t testing.TB, limit uint64, spec targetSpec, controllers ...string) *lab {
	t.Helper()
	l := &lab{Groups: targettest.MakeGroups(t, controllers...)}
	spec.Dirs = l.Dirs()
	if slices.Contains(controllers, "memory") && limit > 0 {
		if err := os.WriteFile(l.Path("memory.limit_in_bytes"), []byte(strconv.FormatUint(limit, 10)), 0); err != nil {
			t.Skipf("needs to set a limit: %v", err)
		}
	}
	arg, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	l.cmd = exec.Command("/proc/self/exe", targetVerb, string(arg))
	l.cmd.Stderr = os.Stderr
	l.in, l.pid = targettest.Ready(t, l.cmd), l.cmd.Process.Pid
	return l
}

func (l *lab) value(t testing.TB, file string) string {
	t.Helper()
	v, err := readValue(l.Path(file))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (l *lab) bytes(t testing.TB, file string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(l.value(t, file), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// begin locates, resolves and makes.
func begin(t testing.TB, l *lab, f chaos.Fault, caps chaos.Caps) (*Target, *Resolved, Effect, *listJournal) {
	t.Helper()
	target, err := Locate(t.Context(), l.pid, "")
	if err != nil {
		t.Fatal(err)
	}
	room, err := Look()
	if err != nil {
		t.Fatal(err)
	}
	if f.Name == "" {
		f.Name = string(f.Kind)
	}
	r, err := Resolve(t.Context(), f, target, caps, room)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Words) == 0 {
		t.Error("the plan would not say what is done")
	}
	for _, w := range r.Words {
		t.Log(w)
	}
	if n := len(listTree(t, l)); n != 1 {
		t.Errorf("resolving left %d processes in the group", n)
	}
	j := &listJournal{}
	// As the keeper gets them: by JSON.
	var r2 Resolved
	var t2 Target
	over(t, r, &r2)
	over(t, target, &t2)
	e, err := Make(t.Context(), &r2, &t2, j)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Undo(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return target, r, e, j
}

func over(t testing.TB, from, to any) {
	t.Helper()
	b, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func listTree(t testing.TB, l *lab) []int {
	t.Helper()
	var all []int
	for _, dir := range l.Dirs() {
		pids, err := members(dir)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, pids...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// children are the processes that this one has started and that still run.
func children(t testing.TB) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, err := readStat("", pid); err == nil && s.parent == os.Getpid() && !s.dead() {
			out = append(out, pid)
		}
	}
	return out
}

func TestEaters(t *testing.T) {
	tests := []struct {
		kind  chaos.Kind
		dirty bool
		level float64
		stat  string // of memory.stat
	}{
		{chaos.Sibling, false, 100 * mebi, "rss"},
		{chaos.Shared, false, 64 * mebi, "shmem"},
		{chaos.PageCache, false, 64 * mebi, "cache"},
		{chaos.PageCache, true, 24 * mebi, "cache"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s %v", tt.kind, tt.dirty), func(t *testing.T) {
			l := startLab(t, 256*mebi, targetSpec{Heap: 32 * mebi}, "memory")
			next := startLab(t, 256*mebi, targetSpec{Heap: 8 * mebi}, "memory")
			key := tt.stat
			if l.Version == 2 {
				key = map[string]string{"rss": "anon", "shmem": "shmem", "cache": "file"}[key]
			}
			stat := func(l *lab) float64 { return float64(parseKeys(l.value(t, "memory.stat"))[key]) }
			before, nextBefore, had := l.bytes(t, "memory.usage_in_bytes"), next.bytes(t, "memory.usage_in_bytes"), stat(l)
			had2 := children(t)
			_, r, e, j := begin(t, l, chaos.Fault{Kind: tt.kind, Level: chaos.Level{Value: tt.level}, DirtyFiles: tt.dirty}, chaos.Caps{})
			for _, level := range []float64{tt.level / 4, tt.level, tt.level / 2, tt.level, 0, r.Level} {
				if err := e.Set(t.Context(), level); err != nil {
					t.Fatal(err)
				}
				n, by, ok := e.Measure()
				if !ok || by == "" || n < level-mebi || n > level+4*mebi {
					t.Errorf("at %.1f MiB it measures %.1f MiB, %q, %v", level/mebi, n/mebi, by, ok)
				}
				grew := l.bytes(t, "memory.usage_in_bytes") - before
				t.Logf("level %.1f MiB: measured %.2f by %s; usage grew by %.2f, %s by %.2f", level/mebi, n/mebi, by, grew/mebi, tt.stat, (stat(l)-had)/mebi)
				if d := stat(l) - had; d < level-2*mebi || d > level+6*mebi {
					t.Errorf("at %.1f MiB %s grew by %.1f MiB", level/mebi, tt.stat, d/mebi)
				}
			}
			if !e.(Contained).Contained() {
				t.Error("it is not contained")
			}
			if grew := next.bytes(t, "memory.usage_in_bytes") - nextBefore; grew > 2*mebi {
				t.Errorf("the neighbour grew by %.1f MiB", grew/mebi)
			}
			if n := len(j.left()); n != 1 {
				t.Errorf("%d steps are in the journal", n)
			}
			began := time.Now()
			if err := e.Undo(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Logf("undone in %v", time.Since(began))
			if err := e.Undo(t.Context()); err != nil {
				t.Errorf("undone again: %v", err)
			}
			if err := e.Set(t.Context(), r.Level); err == nil {
				t.Error("it can be set after it was undone")
			}
			if e.(Mortal).KilledOurs() != 0 {
				t.Error("it takes its own end for the kernel's")
			}
			if left := j.left(); len(left) > 0 {
				t.Errorf("in the journal there is %v", left)
			}
			if now := listTree(t, l); !slices.Equal(now, []int{l.pid}) {
				t.Errorf("in the group there are %v", now)
			}
			if now := children(t); !slices.Equal(now, had2) {
				t.Errorf("there are the children %v, there were %v", now, had2)
			}
			if grew := l.bytes(t, "memory.usage_in_bytes") - before; grew > 4*mebi {
				t.Errorf("the group has %.1f MiB more than before", grew/mebi)
			}
		})
	}
}

// TestEaterIsFirst has the group run out of memory: our process goes, the target stays.
func TestEaterIsFirst(t *testing.T) {
	l := startLab(t, 96*mebi, targetSpec{Heap: 32 * mebi}, "memory")
	_, r, e, _ := begin(t, l, chaos.Fault{Kind: chaos.Sibling, Level: chaos.Level{Value: 200 * mebi}, AllowKill: true}, chaos.Caps{})
	err := e.Set(t.Context(), r.Level)
	if killed := new(KilledError); !errors.As(err, &killed) || killed.Hint() == "" {
		t.Fatalf("taking more than there is: %v", err)
	}
	t.Log(err)
	if e.(Mortal).KilledOurs() != 1 {
		t.Error("it does not say that the kernel killed it")
	}
	if err := e.Set(t.Context(), 1*mebi); !errors.As(err, new(*KilledError)) {
		t.Errorf("it was started again: %v", err)
	}
	if _, _, ok := e.Measure(); ok {
		t.Error("what is gone is measured")
	}
	if s, err := readStat("", l.pid); err != nil || s.dead() {
		t.Error("the target was killed")
	}
}

// TestEaterRefuses asks for what there is not.
func TestEaterRefuses(t *testing.T) {
	l := startLab(t, 128*mebi, targetSpec{Heap: 16 * mebi}, "memory")
	target, err := Locate(t.Context(), l.pid, "")
	if err != nil {
		t.Fatal(err)
	}
	room := Room{TotalBytes: 1 << 30, AvailableBytes: 512 * mebi, CPUs: 2}
	tests := []struct {
		name  string
		fault chaos.Fault
		caps  chaos.Caps
		room  func(*Room)
		want  string
	}{
		{name: "fits", fault: chaos.Fault{Kind: chaos.Sibling, Level: chaos.Level{Value: 0.5, Share: true}}},
		{"headroom", chaos.Fault{Kind: chaos.Sibling, Level: chaos.Level{Value: 1.5, Share: true}}, chaos.Caps{Memory: 1 << 30}, nil, "until the limit there are"},
		{"cap", chaos.Fault{Kind: chaos.Sibling, Level: chaos.Level{Value: 64 * mebi}}, chaos.Caps{Memory: 32 * mebi}, nil, "caps.memory is 32"},
		{"quarter", chaos.Fault{Kind: chaos.PageCache, Level: chaos.Level{Value: 200 * mebi}}, chaos.Caps{}, nil, "a quarter of"},
		{"host", chaos.Fault{Kind: chaos.PageCache, Level: chaos.Level{Value: 480 * mebi}}, chaos.Caps{Memory: 1 << 30}, nil, "have to stay free"},
		{"host share", chaos.Fault{Kind: chaos.Shared, Level: chaos.Level{Value: 16 * mebi}}, chaos.Caps{HostFree: 0.6}, nil, "have to stay free"},
		{"swap", chaos.Fault{Kind: chaos.Shared, Level: chaos.Level{Value: 16 * mebi}}, chaos.Caps{}, func(r *Room) { r.SwapBytes = 1 << 30 }, "swap"},
		{"nothing", chaos.Fault{Kind: chaos.Sibling}, chaos.Caps{}, nil, "nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			room := room
			if tt.room != nil {
				tt.room(&room)
			}
			r, err := Resolve(t.Context(), tt.fault, target, tt.caps, room)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if r.Level < 40*mebi || r.Level > 60*mebi {
					t.Errorf("half of the headroom is %.1f MiB", r.Level/mebi)
				}
				return
			}
			refused := new(RefusedError)
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// TestEaterWithoutLimit: without one it needs the user's word.
func TestEaterWithoutLimit(t *testing.T) {
	l := startLab(t, 0, targetSpec{}, "memory")
	target, err := Locate(t.Context(), l.pid, "")
	if err != nil {
		t.Fatal(err)
	}
	room := Room{TotalBytes: 1 << 32, AvailableBytes: 1 << 32}
	f := chaos.Fault{Kind: chaos.Sibling, Level: chaos.Level{Value: 16 * mebi}}
	if dirs := target.Memory; dirs.Path != l.Dir("memory") {
		t.Errorf("its group is %s", dirs.Path)
	}
	if m, err := target.Memory.look(); err != nil || m.limited {
		t.Skipf("needs groups above without a limit: %+v %v", m, err)
	}
	if _, err := Resolve(t.Context(), f, target, chaos.Caps{}, room); !errors.As(err, new(*RefusedError)) || !strings.Contains(err.Error(), "no memory limit") {
		t.Errorf("without a limit: %v", err)
	}
	if _, err := Resolve(t.Context(), f, target, chaos.Caps{Memory: experiment.Bytes(32 * mebi)}, room); err != nil {
		t.Errorf("with a cap: %v", err)
	}
}

// TestEaterInterrupted ends a Set while memory is taken.
func TestEaterInterrupted(t *testing.T) {
	l := startLab(t, 768*mebi, targetSpec{}, "memory")
	_, r, e, _ := begin(t, l, chaos.Fault{Kind: chaos.Sibling, Level: chaos.Level{Value: 512 * mebi}}, chaos.Caps{Memory: 600 * mebi})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Set(ctx, r.Level) }()
	for n := 0.0; n < 4*mebi; n, _, _ = e.Measure() {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) && err != nil {
		t.Fatal(err)
	}
	if err := e.Set(t.Context(), 2*mebi); err != nil {
		t.Fatal(err)
	}
	go func() { done <- e.Set(t.Context(), r.Level) }()
	time.Sleep(5 * time.Millisecond)
	if err := e.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil && !errors.Is(err, errUndone) {
		t.Errorf("the Set that was under way: %v", err)
	}
}

// TestEaterKilled kills the process that takes memory from outside.
func TestEaterKilled(t *testing.T) {
	for _, kind := range []chaos.Kind{chaos.Sibling, chaos.Shared, chaos.PageCache} {
		l := startLab(t, 256*mebi, targetSpec{}, "memory")
		had, before := children(t), l.bytes(t, "memory.usage_in_bytes")
		_, r, e, j := begin(t, l, chaos.Fault{Kind: kind, Level: chaos.Level{Value: 64 * mebi}}, chaos.Caps{})
		if err := e.Set(t.Context(), r.Level/2); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(e.(*eater).child.cmd.Process.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := e.Set(t.Context(), r.Level); !errors.As(err, new(*KilledError)) {
			t.Errorf("%s: %v", kind, err)
		}
		if n := e.(Mortal).KilledOurs(); n != 1 || !e.(Contained).Contained() {
			t.Errorf("%s: killed %d", kind, n)
		}
		if err := e.Undo(t.Context()); err != nil || len(j.left()) > 0 {
			t.Errorf("%s: %v, %v", kind, err, j.left())
		}
		if now := children(t); !slices.Equal(now, had) || !slices.Equal(listTree(t, l), []int{l.pid}) {
			t.Errorf("%s: there are %v, in the group %v", kind, now, listTree(t, l))
		}
		if grew := l.bytes(t, "memory.usage_in_bytes") - before; grew > 4*mebi {
			t.Errorf("%s: the group has %.1f MiB more than before", kind, grew/mebi)
		}
	}
}

// TestHangs: where nothing is killed, all would stand still.
func TestHangs(t *testing.T) {
	l := startLab(t, 256*mebi, targetSpec{}, "memory")
	if l.Version == 2 {
		t.Skip("needs cgroup v1: with v2 the kernel always kills")
	}
	if err := os.WriteFile(l.Path("memory.oom_control"), []byte("1"), 0); err != nil {
		t.Skipf("needs memory.oom_control: %v", err)
	}
	target, err := Locate(t.Context(), l.pid, "")
	if err != nil {
		t.Fatal(err)
	}
	room := Room{TotalBytes: 1 << 32, AvailableBytes: 1 << 32}
	for _, k := range []chaos.Kind{chaos.Sibling, chaos.Shared, chaos.HardLimit} {
		f := chaos.Fault{Kind: k, Level: chaos.Level{Value: 64 * mebi}}
		if _, err := Resolve(t.Context(), f, target, chaos.Caps{}, room); !errors.As(err, new(*RefusedError)) || !strings.Contains(err.Error(), "oom_kill_disable") {
			t.Errorf("%s: %v", k, err)
		}
	}
}

// TestUndoWhileReclaiming undoes a limit that the kernel is busy with: much of what is
// above it is dirty, and has to be written to the disk before.
func TestUndoWhileReclaiming(t *testing.T) {
	l := startLab(t, 256*mebi, targetSpec{Heap: 8 * mebi}, "memory")
	_, r, cache, _ := begin(t, l, chaos.Fault{Kind: chaos.PageCache, Level: chaos.Level{Value: 128 * mebi}, DirtyFiles: true}, chaos.Caps{})
	if err := cache.Set(t.Context(), r.Level); err != nil {
		t.Fatal(err)
	}
	s, err := openSetting(l.Path("memory.limit_in_bytes"), &listJournal{})
	if err != nil {
		t.Fatal(err)
	}
	e := &limitEffect{gate: newGate(), dir: Dir{Path: l.Dir("memory"), Version: l.Version, Own: true}, file: s}
	done := make(chan error, 1)
	go func() { done <- e.Set(t.Context(), 32*mebi) }()
	time.Sleep(2 * time.Millisecond)
	began := time.Now()
	if err := e.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("undone in %v", time.Since(began))
	if err := <-done; err != nil && !errors.Is(err, errUndone) {
		t.Logf("the Set that was under way: %v", err)
	}
	if now := l.bytes(t, "memory.limit_in_bytes"); now != 256*mebi {
		t.Errorf("the limit is %.0f", now)
	}
}

func TestHardLimit(t *testing.T) {
	l := startLab(t, 256*mebi, targetSpec{Heap: 48 * mebi, Cache: 64 * mebi}, "memory")
	_, r, e, j := begin(t, l, chaos.Fault{Kind: chaos.HardLimit, Level: chaos.Level{Value: 0.5, Share: true}}, chaos.Caps{})
	if r.From != 256*mebi || r.Level != 128*mebi {
		t.Fatalf("from %g to %g", r.From, r.Level)
	}
	if err := e.Set(t.Context(), r.Level); err != nil {
		t.Fatal(err)
	}
	if n, by, ok := e.Measure(); !ok || n != r.Level || by == "" {
		t.Errorf("measured %g %q %v", n, by, ok)
	}
	// The cache goes, what the program holds does not.
	if err := e.Set(t.Context(), 80*mebi); err != nil {
		t.Fatal(err)
	}
	err := e.Set(t.Context(), 16*mebi)
	busy := new(BusyLimitError)
	if !errors.As(err, &busy) {
		t.Fatalf("a limit below what is in use: %v", err)
	}
	t.Log(err)
	if now := l.bytes(t, "memory.limit_in_bytes"); now != float64(busy.LimitBytes) || busy.InUseBytes > busy.LimitBytes {
		t.Errorf("the limit is %.0f: %+v", now, busy)
	}
	if err := e.Set(t.Context(), 8*mebi); !errors.As(err, &busy) {
		t.Errorf("asked again: %v", err)
	}
	if err := e.Set(t.Context(), 120*mebi); err != nil {
		t.Errorf("up again: %v", err)
	}
	if left := j.left(); len(left) != 1 || left[0].Old != strconv.Itoa(256*mebi) {
		t.Errorf("in the journal there is %v", left)
	}
	if err := e.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := l.bytes(t, "memory.limit_in_bytes"); now != 256*mebi || len(j.left()) > 0 {
		t.Errorf("the limit is %.0f, the journal has %v", now, j.left())
	}
	if s, err := readStat("", l.pid); err != nil || s.dead() {
		t.Error("the target was killed")
	}
}

// TestChangedByOthers: what others set meanwhile is theirs.
func TestChangedByOthers(t *testing.T) {
	l := startLab(t, 256*mebi, targetSpec{}, "memory")
	_, _, e, j := begin(t, l, chaos.Fault{Kind: chaos.HardLimit, Level: chaos.Level{Value: 128 * mebi}}, chaos.Caps{})
	if err := e.Set(t.Context(), 128*mebi); err != nil {
		t.Fatal(err)
	}
	step := j.left()[0]
	path := l.Path("memory.limit_in_bytes")
	if err := os.WriteFile(path, []byte(strconv.Itoa(200*mebi)), 0); err != nil {
		t.Fatal(err)
	}
	changed := new(ChangedError)
	if err := e.Set(t.Context(), 64*mebi); !errors.As(err, &changed) {
		t.Errorf("set over it: %v", err)
	}
	if err := Revert(t.Context(), step); !errors.As(err, &changed) {
		t.Errorf("reverted over it: %v", err)
	}
	if err := e.Undo(t.Context()); !errors.As(err, &changed) || changed.Hint() == "" {
		t.Errorf("undone over it: %v", err)
	}
	if now := l.bytes(t, "memory.limit_in_bytes"); now != 200*mebi {
		t.Errorf("the limit is %.0f", now)
	}
}

func TestReclaim(t *testing.T) {
	l := startLab(t, 256*mebi, targetSpec{Heap: 32 * mebi, Cache: 96 * mebi}, "memory")
	_, _, e, j := begin(t, l, chaos.Fault{Kind: chaos.Reclaim, Level: chaos.Level{Value: 96 * mebi}}, chaos.Caps{})
	before := l.bytes(t, "memory.usage_in_bytes")
	journaled := 0 // with v1 the limit is back at once, with v2 memory.high stays for the time
	if l.Version == 2 {
		journaled = 1
	}
	for _, level := range []float64{96 * mebi, 64 * mebi, 1 * mebi} {
		if err := e.Set(t.Context(), level); err != nil {
			t.Fatal(err)
		}
		n, by, ok := e.Measure()
		t.Logf("from %.1f MiB to %.1f: %.1f by %s", before/mebi, level/mebi, n/mebi, by)
		if !ok || n > level || l.bytes(t, "memory.usage_in_bytes") > max(level, 40*mebi)+mebi {
			t.Errorf("it was to reclaim down to %.1f MiB, and %.1f are in use: %v", level/mebi, n/mebi, ok)
		}
		if now := l.bytes(t, "memory.limit_in_bytes"); now != 256*mebi {
			t.Errorf("the limit is %.0f", now)
		}
		if len(j.left()) != journaled {
			t.Errorf("in the journal there is %v", j.left())
		}
	}
	if err := e.Undo(t.Context()); err != nil || len(j.left()) > 0 {
		t.Fatalf("%v, in the journal there is %v", err, j.left())
	}
	if l.Version == 2 {
		if high := l.value(t, "memory.high"); high != "max" {
			t.Errorf("memory.high is %s", high)
		}
	}
	if s, err := readStat("", l.pid); err != nil || s.dead() {
		t.Error("the target was killed")
	}
}

func TestQuota(t *testing.T) {
	l := startLab(t, 0, targetSpec{Burn: true}, "cpu")
	_, r, e, j := begin(t, l, chaos.Fault{Kind: chaos.CPUQuota, Level: chaos.Level{Value: 0.1}}, chaos.Caps{})
	if r.From < 1 {
		t.Errorf("from %g cores", r.From)
	}
	if _, _, ok := e.Measure(); ok {
		t.Error("there is a quota before any was set")
	}
	if err := e.Set(t.Context(), r.Level); err != nil {
		t.Fatal(err)
	}
	throttled := func() uint64 { return parseKeys(l.value(t, "cpu.stat"))["nr_throttled"] }
	for end := time.Now().Add(20 * time.Second); throttled() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is not throttled")
		}
	}
	n, by, ok := e.Measure()
	if !ok || n != 0.1 {
		t.Errorf("measured %g %q %v", n, by, ok)
	}
	t.Log(by)
	if err := e.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	if q := l.value(t, "cpu.cfs_quota_us"); q != "-1" && q != "max 100000" || len(j.left()) > 0 {
		t.Errorf("the quota is %s, the journal has %v", q, j.left())
	}
}

func TestFreeze(t *testing.T) {
	for _, controllers := range [][]string{{"freezer"}, {"cpu"}} {
		t.Run(fmt.Sprint(controllers), func(t *testing.T) {
			l := startLab(t, 0, targetSpec{}, controllers...)
			had := children(t)
			target, r, e, j := begin(t, l, chaos.Fault{Kind: chaos.Freeze, Level: chaos.Level{Value: 0.2}}, chaos.Caps{})
			if l.Version == 2 && controllers[0] != "freezer" {
				t.Skip("needs cgroup v1: with v2 every group can be frozen")
			}
			if target.byCgroup() != (controllers[0] == "freezer") {
				t.Fatalf("the freezer is %+v", target.Freezer)
			}
			seen := make(chan bool)
			go func() {
				was := false
				for range 100 {
					if controllers[0] != "freezer" {
						was = was || stopped(l.pid, target.Start)
					} else if v, err := readValue(l.Path("freezer.state")); err == nil {
						was = was || v == "FROZEN" || v == "1"
					}
					time.Sleep(2 * time.Millisecond)
				}
				seen <- was
			}()
			if err := e.Set(t.Context(), r.Level); err != nil {
				t.Fatal(err)
			}
			if !<-seen {
				t.Error("it was not seen to stand still")
			}
			n, by, ok := e.Measure()
			t.Logf("measured %g s by %s", n, by)
			if !ok || n < 0.2 {
				t.Errorf("measured %g %v", n, ok)
			}
			if e.(*freezeEffect).still() || len(j.left()) != 1 {
				t.Errorf("it still stands, or the journal has %v", j.left())
			}
			// A longer one, ended by Undo.
			done := make(chan error, 1)
			go func() { done <- e.Set(t.Context(), 20) }()
			for !e.(*freezeEffect).still() {
				time.Sleep(time.Millisecond)
			}
			began := time.Now()
			if err := e.Undo(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Logf("undone in %v", time.Since(began))
			if err := <-done; !errors.Is(err, errUndone) {
				t.Errorf("the Set that was under way: %v", err)
			}
			if e.(*freezeEffect).still() || len(j.left()) > 0 {
				t.Errorf("it still stands, or the journal has %v", j.left())
			}
			if now := children(t); !slices.Equal(now, had) {
				t.Errorf("there are the children %v, there were %v", now, had)
			}
		})
	}
}

// TestHolderKilled kills who holds a fault, and undoes it from the journal.
func TestHolderKilled(t *testing.T) {
	tests := []struct {
		fault       chaos.Fault
		controllers []string
		background  bool
	}{
		{chaos.Fault{Kind: chaos.Sibling, Level: chaos.Level{Value: 64 * mebi}}, []string{"memory"}, false},
		{chaos.Fault{Kind: chaos.Sibling, Level: chaos.Level{Value: 200 * mebi}}, []string{"memory"}, true},
		{chaos.Fault{Kind: chaos.Shared, Level: chaos.Level{Value: 64 * mebi}}, []string{"memory"}, false},
		{chaos.Fault{Kind: chaos.PageCache, Level: chaos.Level{Value: 64 * mebi}}, []string{"memory"}, false},
		{chaos.Fault{Kind: chaos.HardLimit, Level: chaos.Level{Value: 128 * mebi}}, []string{"memory"}, false},
		{chaos.Fault{Kind: chaos.HardLimit, Level: chaos.Level{Value: 48 * mebi}}, []string{"memory"}, true},
		{chaos.Fault{Kind: chaos.CPUQuota, Level: chaos.Level{Value: 0.2}}, []string{"cpu"}, false},
		{chaos.Fault{Kind: chaos.Freeze, Level: chaos.Level{Value: 20}}, []string{"freezer"}, true},
		{chaos.Fault{Kind: chaos.Freeze, Level: chaos.Level{Value: 20}}, []string{"cpu"}, true},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s %v", tt.fault.Kind, tt.background), func(t *testing.T) {
			l := startLab(t, 300*mebi, targetSpec{Heap: 32 * mebi, Cache: 16 * mebi}, tt.controllers...)
			files := map[string]string{"memory": "memory.limit_in_bytes", "cpu": "cpu.cfs_quota_us", "freezer": "freezer.state"}
			before := map[string]string{}
			for _, c := range tt.controllers {
				before[c] = l.value(t, files[c])
			}
			tt.fault.Name = string(tt.fault.Kind)
			spec := holderSpec{PID: l.pid, Fault: tt.fault, Journal: filepath.Join(t.TempDir(), "journal"), Background: tt.background}
			arg, err := json.Marshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			holder := exec.Command("/proc/self/exe", holderVerb, string(arg))
			holder.Stderr = os.Stderr
			targettest.Ready(t, holder)
			target, err := Locate(t.Context(), l.pid, "")
			if err != nil {
				t.Fatal(err)
			}
			frozen := &freezeEffect{t: target}
			begun := func() bool {
				_, err := os.Stat(spec.Journal)
				return err == nil && (tt.fault.Kind != chaos.Freeze || frozen.still())
			}
			if err := until(t.Context(), begun, "the holder does not begin"); err != nil {
				t.Fatal(err)
			}
			if err := holder.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			holder.Wait()
			// The watcher is all that is left.
			if err := until(t.Context(), func() bool { return !frozen.still() }, "the watcher does not let it go on"); err != nil {
				t.Error(err)
			}
			steps := outstanding(t, spec.Journal)
			for _, s := range steps {
				if s.Kind != StepProcess {
					continue
				}
				if err := until(t.Context(), func() bool { return !running("", s.PID, s.Start) }, s.String()+" does not end by itself"); err != nil {
					t.Error(err)
				}
			}
			for _, s := range steps {
				if err := Revert(t.Context(), s); err != nil {
					t.Errorf("undoing %s: %v", s, err)
				}
				if err := Revert(t.Context(), s); err != nil {
					t.Errorf("undoing %s again: %v", s, err)
				}
			}
			t.Logf("undone were %v", steps)
			for _, c := range tt.controllers {
				if now := l.value(t, files[c]); now != before[c] {
					t.Errorf("%s is %s, was %s", files[c], now, before[c])
				}
			}
			// Who adopts a dead process may count it a little later.
			alone := func() bool { return slices.Equal(listTree(t, l), []int{l.pid}) }
			if err := until(t.Context(), alone, "there are others in the group"); err != nil {
				t.Errorf("%v: %v", err, listTree(t, l))
			}
		})
	}
}

// TestHolderKilledAnywhere kills who changes settings at moments of all sorts.
func TestHolderKilledAnywhere(t *testing.T) {
	kinds := map[chaos.Kind]struct{ controller, file string }{
		chaos.HardLimit: {"memory", "memory.limit_in_bytes"},
		chaos.Reclaim:   {"memory", "memory.limit_in_bytes"},
		chaos.CPUQuota:  {"cpu", "cpu.cfs_quota_us"},
	}
	levels := map[chaos.Kind]float64{chaos.HardLimit: 96 * mebi, chaos.Reclaim: 64 * mebi, chaos.CPUQuota: 0.3}
	for kind, k := range kinds {
		l := startLab(t, 300*mebi, targetSpec{Heap: 32 * mebi, Cache: 64 * mebi}, k.controller)
		before := l.value(t, k.file)
		for round := range 6 {
			f := chaos.Fault{Name: "x", Kind: kind, Level: chaos.Level{Value: levels[kind]}}
			spec := holderSpec{PID: l.pid, Fault: f, Journal: filepath.Join(t.TempDir(), "journal"), Background: true, Again: true}
			arg, err := json.Marshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			holder := exec.Command("/proc/self/exe", holderVerb, string(arg))
			holder.Stderr = os.Stderr
			targettest.Ready(t, holder)
			time.Sleep(time.Duration(round*1777) * time.Microsecond)
			holder.Process.Kill()
			holder.Wait()
			if _, err := os.Stat(spec.Journal); err == nil {
				for _, s := range outstanding(t, spec.Journal) {
					if err := Revert(t.Context(), s); err != nil {
						t.Errorf("%s: undoing %s: %v", kind, s, err)
					}
				}
			}
			if now := l.value(t, k.file); now != before {
				t.Errorf("%s: %s is %s, was %s", kind, k.file, now, before)
			}
		}
	}
}

// TestOtherUser: processes of others are refused for who is not root.
func TestOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be someone else")
	}
	l := startLab(t, 0, targetSpec{})
	arg, err := json.Marshal(holderSpec{PID: l.pid, Fault: chaos.Fault{Kind: chaos.Freeze, Level: chaos.Level{Value: 1}}, Journal: "/dev/null"})
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command("/proc/self/exe", holderVerb, string(arg))
	other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	said, err := other.CombinedOutput()
	if err == nil || !strings.Contains(string(said), "belongs to the user 0") {
		t.Errorf("%v: %s", err, said)
	}
}

// TestWatcherKilled: with nobody to let it go on, nothing is frozen.
func TestWatcherKilled(t *testing.T) {
	l := startLab(t, 0, targetSpec{}, "freezer")
	_, r, e, j := begin(t, l, chaos.Fault{Kind: chaos.Freeze, Level: chaos.Level{Value: 0.1}}, chaos.Caps{})
	f := e.(*freezeEffect)
	if err := f.guard.child.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-f.guard.child.done
	if err := e.Set(t.Context(), r.Level); err == nil {
		t.Error("it was frozen with nobody to let it go on")
	}
	if f.still() {
		t.Error("it stands still")
	}
	if err := e.Undo(t.Context()); err != nil || len(j.left()) > 0 {
		t.Errorf("undone: %v, left %v", err, j.left())
	}
}
