package blackbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/oom"
	"github.com/heapwright/heapwright/cmd/internal/postmortem"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/record"
)

const mib = 1 << 20

// A world is a Host with processes and groups that are made up.
type world struct {
	mu     sync.Mutex
	procs  map[int]*being
	groups map[string]*room
	log    chan oom.Kill
	noLog  error
	other  bool // PID namespace
	took   time.Duration

	identified atomic.Int32
	opened     int // sources and groups that are not closed
}

type being struct {
	w      *world
	pid    int
	name   string
	group  string
	born   time.Time
	dead   bool
	notGo  bool
	perSec float64 // bytes
	base   float64
	taken  int
}

type room struct {
	path  string
	limit uint64
	fixed func() uint64 // usage; nil: the sum of its processes
	kills uint64
	gone  bool
}

func newWorld() *world {
	return &world{procs: map[int]*being{}, groups: map[string]*room{}, took: 5 * time.Millisecond}
}

func (w *world) add(pid int, name, group string, base, perSec float64) *being {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := &being{w: w, pid: pid, name: name, group: group, born: time.Now(), base: base, perSec: perSec}
	w.procs[pid] = b
	if w.groups[group] == nil {
		w.groups[group] = &room{path: "/" + group, limit: 100 * mib}
	}
	return b
}

// addOther adds a process that is not Go.
func (w *world) addOther(pid int, name, group string, base, perSec float64) {
	b := w.add(pid, name, group, base, perSec)
	w.mu.Lock()
	defer w.mu.Unlock()
	b.notGo = true
}

func (b *being) bytes() float64 {
	if b.dead {
		return 0
	}
	return b.base + b.perSec*time.Since(b.born).Seconds()
}

// kill ends a process as the kernel does.
func (w *world) kill(pid int, counted, logged bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.procs[pid]
	b.dead = true
	delete(w.procs, pid)
	if counted {
		w.groups[b.group].kills++
	}
	if logged {
		w.log <- oom.Kill{Kill: postmortem.Kill{Time: time.Now(), PID: pid, Name: b.name, TaskGroup: "/" + b.group, OOMGroup: "/" + b.group, Known: []postmortem.Source{postmortem.FromKernelLog}}}
	}
}

func (w *world) PIDs() (pids []int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for pid := range w.procs {
		pids = append(pids, pid)
	}
	return pids, nil
}

func (w *world) of(pid int) *being {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.procs[pid]
	if b == nil {
		return nil
	}
	seen := *b
	return &seen
}

func (w *world) Program(pid int) string {
	if b := w.of(pid); b != nil {
		return b.name
	}
	return ""
}
func (w *world) Command(pid int) string { return w.Program(pid) }
func (w *world) Membership(pid int) string {
	if b := w.of(pid); b != nil {
		return b.group
	}
	return ""
}
func (w *world) SamePIDs() bool { return !w.other }

func (w *world) Identify(pid int) (record.Process, error) {
	w.identified.Add(1)
	b := w.of(pid)
	switch {
	case b == nil:
		return record.Process{}, &gone{}
	case b.notGo:
		return record.Process{}, &goproc.Error{PID: pid, Err: goproc.ErrNotGo}
	}
	return record.Process{PID: pid, Name: b.name, StartTime: b.born}, nil
}

func (w *world) Attach(_ context.Context, pid int) (Source, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.procs[pid]
	if b == nil {
		return nil, &gone{}
	}
	w.opened++
	return b, nil
}

type gone struct{}

func (*gone) Error() string        { return "it is gone" }
func (*gone) Is(target error) bool { return target == recorder.ErrEnded }

func (b *being) alive() error {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	if b.dead {
		return &gone{}
	}
	return nil
}

// size is bytes, for who does not hold the lock.
func (b *being) size() float64 {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	return b.bytes()
}

func (b *being) captured() int {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	return b.taken
}

func (b *being) Sample(s *record.Sample) error {
	if err := b.alive(); err != nil {
		return err
	}
	s.Time = time.Now()
	s.RSSBytes = uint64(b.size())
	s.Has.Add(record.FieldRSSBytes)
	return nil
}
func (b *being) Cycles(dst []record.Cycle) ([]record.Cycle, uint64, error) {
	return dst, 0, b.alive()
}
func (b *being) Heap() (published, since *record.Profile, err error) {
	time.Sleep(b.w.took)
	if err := b.alive(); err != nil {
		return nil, nil, err
	}
	b.w.mu.Lock()
	b.taken++
	b.w.mu.Unlock()
	return &record.Profile{Time: time.Now(), Kind: record.ProfileHeap, Sites: []record.ProfileSite{{Stack: []record.Frame{{Func: "main.grow"}}, InUseBytes: b.size()}}}, nil, nil
}
func (b *being) Goroutines(int) (*record.Goroutines, error) {
	return &record.Goroutines{Time: time.Now(), Total: 1}, b.alive()
}
func (b *being) Forget()                 {}
func (b *being) Process() record.Process { return record.Process{PID: b.pid, Name: b.name} }
func (b *being) Close() error {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	b.w.opened--
	return nil
}

type openRoom struct {
	w *world
	r *room
	n string
}

func (w *world) Group(pid int) (Group, error) {
	b := w.of(pid)
	if b == nil {
		return nil, errors.New("gone")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened++
	return &openRoom{w, w.groups[b.group], b.group}, nil
}
func (o *openRoom) Path() string { return o.r.path }
func (o *openRoom) Version() int { return 2 }
func (o *openRoom) Levels(dst []oom.Level) ([]oom.Level, error) {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	if o.r.gone {
		return dst, fmt.Errorf("reading: %w", oom.ErrGone)
	}
	l := oom.Level{Dir: o.n, Limit: o.r.limit}
	for _, b := range o.w.procs {
		if b.group == o.n {
			l.Usage += uint64(b.bytes())
		}
	}
	if o.r.fixed != nil {
		l.Usage = o.r.fixed()
	}
	return append(dst, l), nil
}
func (o *openRoom) Parts(string) (map[postmortem.Part]uint64, uint64, error) {
	return map[postmortem.Part]uint64{postmortem.PartAnon: 1}, 0, nil
}
func (o *openRoom) Kills() (uint64, bool) {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	return o.r.kills, !o.r.gone
}
func (o *openRoom) Close() error {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	o.w.opened--
	return nil
}

func (w *world) Memory() (oom.Level, time.Duration, bool) { return oom.Level{}, 0, false }
func (w *world) Siblings(dir string) (all []postmortem.Sibling, leftOut int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.procs {
		if b.group == dir {
			all = append(all, postmortem.Sibling{PID: b.pid, Name: b.name, RSSBytes: uint64(b.bytes())})
		}
	}
	return all, 0
}
func (w *world) Bells() (Bells, error) { return nil, errors.New("no bells here") }
func (w *world) Log() (Log, error) {
	if w.noLog != nil {
		return nil, w.noLog
	}
	return worldLog{w}, nil
}

type worldLog struct{ w *world }

func (l worldLog) Next(ctx context.Context) (oom.Kill, error) {
	select {
	case k := <-l.w.log:
		return k, nil
	case <-ctx.Done():
		return oom.Kill{}, ctx.Err()
	}
}
func (l worldLog) Lost() uint64 { return 0 }
func (l worldLog) Close() error { return nil }

// watched runs a watcher over a world while play does something, and returns what it
// told of, in order.
func watched(t *testing.T, w *world, opt Options, play func(*Watcher)) (told []Postmortem, stats Stats) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		opt.Host = w
		w.log = make(chan oom.Kill, 16) // of the bubble
		if opt.Dir == "" {
			opt.Dir = t.TempDir()
		}
		opt.On = func(p Postmortem) {
			mu.Lock()
			told = append(told, p)
			mu.Unlock()
		}
		x, err := New(opt)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- x.Run(ctx) }()
		play(x)
		time.Sleep(Settling)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		stats = x.Stats()
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.opened != 0 {
			t.Errorf("%d sources and groups were left open", w.opened)
		}
	})
	return told, stats
}

func sources(p Postmortem) string {
	var s []string
	for _, k := range p.Evidence.Kill.Known {
		s = append(s, string(k))
	}
	return strings.Join(s, " ")
}

func nears(p Postmortem) (n int) {
	for _, c := range p.Evidence.Captures {
		if c.Why != postmortem.WhyQuiet && len(c.Kinds) > 0 {
			n++
		}
	}
	return n
}

// grownUp waits until a process fills its group.
func grownUp(b *being) {
	time.Sleep(time.Duration((100*mib - b.base) / b.perSec * float64(time.Second)))
}

func TestWatcherKill(t *testing.T) {
	w := newWorld()
	dir := t.TempDir()
	told, stats := watched(t, w, Options{Dir: dir}, func(*Watcher) {
		w.addOther(1, "init", "root", 10*mib, 0)
		b := w.add(10, "api", "a", 20*mib, 40*mib)
		grownUp(b)
		w.kill(10, true, true)
	})
	if len(told) != 1 || told[0].Err != nil || sources(told[0]) != "kernel_log cgroup_counter" || nears(told[0]) < 2 || told[0].GroupKills != 1 {
		t.Fatalf("told of %+v", told)
	}
	if stats.Kills != 1 || stats.Captures < 3 {
		t.Errorf("stats %+v", stats)
	}
	list, err := List(dir)
	if err != nil || len(list) != 1 || list[0].PID != 10 || list[0].Name != "api" || list[0].Bytes == 0 || list[0].File != told[0].File {
		t.Fatalf("list %+v, %v", list, err)
	}
	rec, err := Open(dir, list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	e, err := postmortem.Read(rec)
	if err != nil {
		t.Fatal(err)
	}
	if e.Kill == nil || e.Kill.PID != 10 || len(e.Captures) != len(told[0].Evidence.Captures) || len(rec.Profiles) < 3 || len(rec.Samples) < 3 || len(e.Groups) < 5 {
		t.Errorf("kill %+v, %d captures, %d profiles, %d samples, %d looks", e.Kill, len(e.Captures), len(rec.Profiles), len(rec.Samples), len(e.Groups))
	}
	last := e.Groups[len(e.Groups)-1]
	if last.LimitBytes != 100*mib || last.UsageBytes < 80*mib {
		t.Errorf("the last look: %+v", last)
	}
	for _, l := range e.Groups {
		if slices.ContainsFunc(l.Siblings, func(s postmortem.Sibling) bool { return s.PID == 10 }) {
			t.Errorf("it is its own sibling: %+v", l)
		}
	}
}

func TestWatcherDeaths(t *testing.T) {
	grow := func(w *world, pid int, group string) *being {
		return w.add(pid, fmt.Sprintf("api%d", pid), group, 20*mib, 20*mib)
	}
	for _, tt := range []struct {
		name string
		play func(w *world, x *Watcher)
		want string // PID: sources, of each
	}{
		{"two in a group in one second", func(w *world, x *Watcher) {
			w.add(10, "a", "g", 10*mib, 20*mib)
			w.add(11, "b", "g", 10*mib, 20*mib)
			time.Sleep(1900 * time.Millisecond)
			w.kill(10, true, true)
			time.Sleep(300 * time.Millisecond)
			w.kill(11, true, true)
		}, "10: kernel_log cgroup_counter, 11: kernel_log cgroup_counter"},
		{"no log, but the counter", func(w *world, x *Watcher) {
			grownUp(grow(w, 10, "g"))
			w.kill(10, true, false)
		}, "10: cgroup_counter"},
		{"no log, and the group is gone at once", func(w *world, x *Watcher) {
			b := grow(w, 10, "g")
			time.Sleep(3980 * time.Millisecond)
			w.kill(b.pid, true, false)
			w.mu.Lock()
			w.groups["g"].gone = true
			w.mu.Unlock()
		}, "10: disappeared"},
		{"the group is gone at once, with a log", func(w *world, x *Watcher) {
			b := grow(w, 10, "g")
			time.Sleep(3980 * time.Millisecond)
			w.kill(b.pid, true, true)
			w.mu.Lock()
			w.groups["g"].gone = true
			w.mu.Unlock()
		}, "10: kernel_log"},
		{"it ends by itself near the limit", func(w *world, x *Watcher) {
			grownUp(grow(w, 10, "g"))
			w.kill(10, false, false)
		}, ""},
		{"it ends by itself, without a log", func(w *world, x *Watcher) {
			w.add(10, "api", "g", 20*mib, 0)
			time.Sleep(time.Second)
			w.kill(10, false, false)
		}, ""},
		{"SIGKILL, as who started it says, without a log", func(w *world, x *Watcher) {
			grownUp(grow(w, 10, "g"))
			x.Killed(10)
			w.kill(10, false, false)
		}, "10: exit_status"},
		{"SIGKILL of somebody, with a log that says nothing", func(w *world, x *Watcher) {
			grownUp(grow(w, 10, "g"))
			x.Killed(10)
			w.kill(10, false, false)
		}, ""},
		{"a number is used again", func(w *world, x *Watcher) {
			w.add(10, "old", "g", 20*mib, 0)
			time.Sleep(3 * time.Second)
			w.kill(10, false, false)
			w.add(10, "new", "h", 10*mib, 0)
			w.kill(10, true, true) // before anybody saw it
		}, ""},
		{"a number is used again, and seen", func(w *world, x *Watcher) {
			w.add(10, "old", "g", 20*mib, 0)
			time.Sleep(3 * time.Second)
			w.kill(10, false, false)
			w.add(10, "new", "h", 20*mib, 20*mib)
			time.Sleep(4 * time.Second)
			w.kill(10, true, true)
		}, "10: kernel_log cgroup_counter"},
		{"a sibling that is not watched", func(w *world, x *Watcher) {
			w.add(10, "api", "g", 20*mib, 0)
			w.addOther(11, "hog", "g", 20*mib, 20*mib)
			time.Sleep(3 * time.Second)
			w.kill(11, true, true)
		}, ""},
		{"numbers of another namespace", func(w *world, x *Watcher) {
			grownUp(grow(w, 10, "g"))
			w.kill(10, true, false)
			w.log <- oom.Kill{Kill: postmortem.Kill{Time: time.Now(), PID: 48123, Name: "api10", TaskGroup: "/pods/g", Known: []postmortem.Source{postmortem.FromKernelLog}}}
		}, "10: kernel_log cgroup_counter"},
		{"numbers of another namespace, and one kill of two deaths", func(w *world, x *Watcher) {
			w.add(10, "api", "g", 10*mib, 20*mib)
			w.add(11, "api", "g", 10*mib, 20*mib)
			time.Sleep(1900 * time.Millisecond)
			w.kill(10, true, false)
			w.log <- oom.Kill{Kill: postmortem.Kill{Time: time.Now(), PID: 48123, Name: "api", TaskGroup: "/pods/g", Known: []postmortem.Source{postmortem.FromKernelLog}}}
			time.Sleep(time.Second)
			w.kill(11, false, false)
		}, "10: kernel_log cgroup_counter, 11: cgroup_counter"},
		{"it moves to another group", func(w *world, x *Watcher) {
			b := w.add(10, "api", "start", 20*mib, 16*mib)
			w.addOther(99, "shell", "g", 0, 0)
			time.Sleep(300 * time.Millisecond)
			w.mu.Lock()
			w.groups["start"].limit = 0
			b.group = "g"
			w.mu.Unlock()
			time.Sleep(4600 * time.Millisecond)
			w.kill(10, true, true)
		}, "10: kernel_log cgroup_counter"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			// The log is opened when the watcher begins.
			if strings.Contains(tt.name, "no log") || strings.Contains(tt.name, "without a log") {
				w.noLog = fs.ErrPermission
			}
			w.other = strings.Contains(tt.name, "another namespace")
			told, _ := watched(t, w, Options{}, func(x *Watcher) { tt.play(w, x) })
			var got []string
			for _, p := range told {
				got = append(got, fmt.Sprintf("%d: %s", p.Process.PID, sources(p)))
				if nears(p) == 0 {
					t.Errorf("nothing was captured of %d: %+v", p.Process.PID, p.Evidence.Captures)
				}
			}
			slices.Sort(got)
			if s := strings.Join(got, ", "); s != tt.want {
				t.Errorf("told of %q, want %q", s, tt.want)
			}
		})
	}
}

// TestWatcherDiesInCapture: what was captured before is there.
func TestWatcherDiesInCapture(t *testing.T) {
	w := newWorld()
	w.took = 90 * time.Millisecond
	told, stats := watched(t, w, Options{}, func(*Watcher) {
		b := w.add(10, "api", "g", 20*mib, 40*mib)
		for b.captured() < 2 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(400 * time.Millisecond)
		w.kill(10, true, true)
	})
	if len(told) != 1 || nears(told[0]) == 0 {
		t.Errorf("told of %+v; %+v", told, stats)
	}
}

// TestWatcherLimitRaised: a limit that is raised meanwhile is believed.
func TestWatcherLimitRaised(t *testing.T) {
	w := newWorld()
	told, _ := watched(t, w, Options{}, func(*Watcher) {
		w.add(10, "api", "g", 20*mib, 20*mib)
		time.Sleep(3 * time.Second)
		w.mu.Lock()
		w.groups["g"].limit = 200 * mib
		w.mu.Unlock()
		time.Sleep(5900 * time.Millisecond)
		w.kill(10, true, true)
	})
	if len(told) != 1 {
		t.Fatalf("told of %+v", told)
	}
	last := told[0].Evidence.Captures[len(told[0].Evidence.Captures)-1]
	if last.Bytes < 170*mib {
		t.Errorf("the last capture: %+v", last)
	}
}

// TestWatcherMany: among hundreds that live, one that dies is not overlooked, and the
// others are left in peace.
func TestWatcherMany(t *testing.T) {
	w := newWorld()
	told, stats := watched(t, w, Options{}, func(*Watcher) {
		for i := range 300 {
			w.add(1000+i, "calm", fmt.Sprintf("g%d", i), 50*mib, 0)
		}
		time.Sleep(time.Minute)
		b := w.add(10, "api", "g", 20*mib, 60*mib)
		grownUp(b)
		w.kill(10, true, true)
	})
	if len(told) != 1 || nears(told[0]) < 2 {
		t.Fatalf("told of %+v", told)
	}
	if stats.Captures > 330 {
		t.Errorf("%d captures of 301 processes in a minute", stats.Captures)
	}
	t.Logf("%+v", stats)
}

// TestWatcherSelect: who is left out is not attached to.
func TestWatcherSelect(t *testing.T) {
	w := newWorld()
	told, stats := watched(t, w, Options{Select: func(p *record.Process) bool { return p.Name == "api" }}, func(*Watcher) {
		w.add(11, "other", "h", 90*mib, 0)
		b := w.add(10, "api", "g", 20*mib, 20*mib)
		grownUp(b)
		w.kill(11, true, true)
		w.kill(10, true, true)
	})
	if len(told) != 1 || told[0].Process.Name != "api" || stats.KernelKills != 2 {
		t.Errorf("told of %+v, %+v", told, stats)
	}
}

// TestWatcherSelectsAnew: who is left out is watched when others are selected, and its
// program is read once until then.
func TestWatcherSelectsAnew(t *testing.T) {
	w := newWorld()
	var all atomic.Bool
	told, _ := watched(t, w, Options{Select: func(p *record.Process) bool { return all.Load() }}, func(*Watcher) {
		w.add(10, "api", "g", 20*mib, 2*mib)
		time.Sleep(20 * time.Second)
		if n := w.identified.Load(); n != 1 {
			t.Errorf("what it runs was read %d times", n)
		}
		all.Store(true)
		time.Sleep(19900 * time.Millisecond)
		w.kill(10, true, true)
	})
	if len(told) != 1 || nears(told[0]) == 0 {
		t.Errorf("told of %+v", told)
	}
}

func TestKeeper(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "oom")
	k, err := newKeeper(dir, 1<<30, 3)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)
	for i := range 5 {
		e := &postmortem.Evidence{Recording: &record.Recording{Process: record.Process{PID: 7, Name: "../../etc/päss"}}, Kill: &postmortem.Kill{PID: 7, Time: start}}
		_, stable, err := k.put(e, start.Add(time.Duration(i)*time.Minute))
		if err := errors.Join(err, stable()); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"README", "x-1-20260501T100000.000Z.txt", "-1-20260501T100000.000Z.hwrec", ".left.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := List(dir)
	if err != nil || len(list) != 3 || !list[0].Time.Equal(start.Add(4*time.Minute)) || strings.ContainsAny(list[0].ID, "/\\") || list[0].PID != 7 {
		t.Fatalf("list %+v, %v", list, err)
	}
	if fi, err := os.Stat(list[0].File); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	old := time.Now().Add(-2 * longestWrite)
	if err := os.Chtimes(filepath.Join(dir, ".left.tmp"), old, old); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".others.tmp"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newKeeper(dir, 1, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".left.tmp")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a write left behind is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".others.tmp")); err != nil {
		t.Errorf("what another watcher writes is not: %v", err)
	}
	for _, id := range []string{"", "..", "../x-1-20260501T100000.000Z", "a/b-1-20260501T100000.000Z"} {
		if _, err := Open(dir, id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("opening %q: %v", id, err)
		}
	}
	if all, err := List(filepath.Join(dir, "not there")); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

// TestThinned: the newest are all there, and it reaches far back.
func TestThinned(t *testing.T) {
	l := thinned[int]{most: 64}
	for i := range 10_000 {
		l.add(i)
	}
	if len(l.items) > 64 || !slices.IsSorted(l.items) || l.items[len(l.items)-1] != 9999 || l.items[len(l.items)-16] != 9984 || l.items[0] != 0 {
		t.Errorf("%v", l.items)
	}
}

// TestLean: a sample that was kept is as it was, but for its histograms.
func TestLean(t *testing.T) {
	if len(scalars) > len(lean{}.values) {
		t.Fatalf("%d fields, room for %d", len(scalars), len(lean{}.values))
	}
	s := record.Sample{Time: time.Now(), Source: record.SourceRemote, HeapLiveBytes: 5, GOGCPercent: -1, LimiterEnabled: true, PauseTotal: 7, LastGC: time.Unix(9, 0)}
	for _, f := range []record.Field{record.FieldHeapLiveBytes, record.FieldGOGCPercent, record.FieldLimiterEnabled, record.FieldPauseTotal, record.FieldLastGC, record.FieldSchedLatency} {
		s.Has.Add(f)
	}
	l := newLean(&s)
	got := l.sample()
	s.Has.Remove(record.FieldSchedLatency)
	if got != s {
		t.Errorf("got  %+v\nwant %+v", got, s)
	}
}
