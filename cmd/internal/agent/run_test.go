package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"

	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/history"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/cmd/internal/store"
	"github.com/heapwright/heapwright/cmd/internal/vault"
	"github.com/heapwright/heapwright/record"
)

// A script is a host with processes that do as they are told.
type script struct {
	mu    sync.Mutex
	procs map[int]*actor

	slow      time.Duration // attaching takes so long
	now, most int           // of those who attach
}

type actor struct {
	info   record.Process
	err    error         // of reading it
	hang   chan struct{} // reading it waits for this
	reads  int
	cycles uint64
}

func (s *script) Processes(context.Context) ([]goproc.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var es []goproc.Entry
	for _, a := range s.procs {
		if !errors.Is(a.err, recorder.ErrEnded) {
			es = append(es, goproc.Entry{Process: a.info, IsGo: true})
		}
	}
	slices.SortFunc(es, func(a, b goproc.Entry) int { return a.Process.PID - b.Process.PID })
	es = append(es, goproc.Entry{Process: record.Process{PID: 999, Name: "foreign"}, Err: goproc.ErrAccess})
	return es, nil
}

func (s *script) Attach(_ context.Context, pid int) (Source, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	time.Sleep(s.slow)
	s.mu.Lock()
	s.now--
	if a := s.procs[pid]; a != nil {
		return &scripted{s, a}, nil
	}
	return nil, recorder.ErrEnded
}

func (s *script) set(pid int, change func(*actor)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.procs[pid])
}

type scripted struct {
	s *script
	a *actor
}

func (x *scripted) Sample(s *record.Sample) error {
	x.s.mu.Lock()
	hang := x.a.hang
	x.s.mu.Unlock()
	if hang != nil {
		<-hang
	}
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	if x.a.err != nil {
		return x.a.err
	}
	x.a.reads++
	*s = record.Sample{Time: time.Now(), Source: record.SourceRemote, GOGCPercent: 100, HeapLiveBytes: 1 << 20, Goroutines: 5}
	for _, f := range []record.Field{record.FieldGOGCPercent, record.FieldHeapLiveBytes, record.FieldGoroutines, record.FieldCPUProcUser, record.FieldCPUProcSystem, record.FieldRSSBytes} {
		s.Has.Add(f)
	}
	s.CPUProcUser = time.Duration(x.a.reads) * time.Second // it works
	return nil
}
func (x *scripted) Quick(s *record.Sample) error { return x.Sample(s) }
func (x *scripted) Cycles(dst []record.Cycle) ([]record.Cycle, uint64, error) {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.a.cycles++
	return append(dst, record.Cycle{N: x.a.cycles, End: time.Now(), Pause: time.Millisecond}), 0, nil
}
func (x *scripted) Goroutines() (*record.Goroutines, error) {
	return &record.Goroutines{Time: time.Now(), Total: 5, Groups: []record.GoroutineGroup{{Count: 5, Status: "waiting", WaitReason: "select"}}}, nil
}
func (x *scripted) Profile(record.ProfileKind) (*record.Profile, error) { return nil, nil }
func (x *scripted) Process() record.Process                             { return x.a.info }
func (x *scripted) Forget()                                             {}
func (x *scripted) Close() error                                        { return nil }

type world struct {
	*Agent
	script *script
	db     *store.DB
	stop   func()
}

// begin runs an agent over a script.
func begin(t *testing.T, s *script, dir string) *world {
	t.Helper()
	db, err := store.Open(store.Options{Dir: filepath.Join(dir, "tsdb")})
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(vault.Options{Dir: filepath.Join(dir, "snapshots")})
	if err != nil {
		t.Fatal(err)
	}
	h, err := history.Open(filepath.Join(dir, "history"), 0)
	if err != nil {
		t.Fatal(err)
	}
	set := DefaultSettings()
	set.Discover, set.MinUptime = 100*time.Millisecond, 0
	set.Pace = Pace{Interval: 200 * time.Millisecond, Fastest: 200 * time.Millisecond, Slowest: 200 * time.Millisecond}
	a, err := New(Options{Host: s, Store: db, Vault: v, History: h, Dir: dir, Settings: set})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		h.Close()
		v.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return &world{a, s, db, stop}
}

// until waits for something to be so.
func (w *world) until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute; %+v\n%+v", what, w.Status(), w.Processes())
		}
	}
}

func (w *world) up(id string) bool {
	p, ok := w.Process(id)
	return ok && p.Up && p.Latest != nil
}

func actors(pids ...int) *script {
	s := &script{procs: map[int]*actor{}}
	for _, pid := range pids {
		s.procs[pid] = &actor{info: record.Process{PID: pid, Name: "svc", StartTime: time.Now().Add(-time.Hour)}}
	}
	return s
}

// TestProcessesComeAndGo: each gets an ID, the one that is started again its old one, and
// the end is in the store, in the history, and in the view.
func TestProcessesComeAndGo(t *testing.T) {
	w := begin(t, actors(1, 2), t.TempDir())
	w.until(t, "both are watched", func() bool { return w.up("svc") && w.up("svc:2") })
	if u := w.Unseen(); len(u) != 1 || u[0].PID != 999 {
		t.Errorf("unseen %+v", u)
	}
	updates, end := w.Subscribe(4)
	if u := <-updates; len(u.Processes) == 0 {
		t.Error("an update of nothing")
	}
	w.script.set(1, func(a *actor) { a.err = fmt.Errorf("it is gone: %w", recorder.ErrEnded) })
	w.until(t, "the first has ended", func() bool { p, _ := w.Process("svc"); return !p.Up && !p.Ended.IsZero() })
	w.script.mu.Lock()
	w.script.procs[3] = &actor{info: record.Process{PID: 3, Name: "svc", StartTime: time.Now()}}
	w.script.mu.Unlock()
	w.until(t, "it is there again", func() bool { return w.up("svc") })
	if p, _ := w.Process("svc"); p.Lives != 2 || p.Info.PID != 3 {
		t.Errorf("%+v", p)
	}
	var kinds []string
	for _, e := range w.opt.History.Events(history.Query{Process: "svc"}) {
		kinds = append(kinds, string(e.Kind))
	}
	if got := strings.Join(kinds, " "); got != "started exited started" {
		t.Errorf("events: %s", got)
	}
	end()
	for range updates { // it is closed
	}
	w.stop()
	w2 := begin(t, actors(3, 2), w.opt.Dir)
	w2.until(t, "both are what they were", func() bool {
		a, _ := w2.Process("svc")
		b, _ := w2.Process("svc:2")
		return a.Info.PID == 3 && b.Info.PID == 2
	})
	m, err := w2.db.Reader().Raw(t.Context(), `heapwright_up{process="svc"}`, time.Now().Add(-time.Minute), time.Now(), 1000)
	if err != nil || !hasValue(m, 0) {
		t.Errorf("that it ended is not stored: %v, %v", m, err)
	}
}

func hasValue(m promql.Matrix, v float64) bool {
	for _, s := range m {
		for _, p := range s.Floats {
			if p.F == v {
				return true
			}
		}
	}
	return false
}

// TestOneHangs: a process that cannot be read for a long time holds up nobody, and is read
// again when it can be.
func TestOneHangs(t *testing.T) {
	w := begin(t, actors(1, 2), t.TempDir())
	w.until(t, "both are watched", func() bool { return w.up("svc") && w.up("svc:2") })
	hang := make(chan struct{})
	w.script.set(1, func(a *actor) { a.hang = hang })
	reads := func(pid int) (n int) { w.script.set(pid, func(a *actor) { n = a.reads }); return n }
	before := reads(2)
	w.until(t, "the other is read", func() bool { return reads(2) > before+10 })
	w.until(t, "it is counted", func() bool { return w.Status().Late > 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := w.Snap(ctx, "svc", "test"); err == nil {
		t.Error("a snapshot of a process that hangs")
	}
	stuck := reads(1)
	w.script.set(1, func(a *actor) { a.hang = nil })
	close(hang)
	w.until(t, "it is read again", func() bool { return reads(1) > stuck+2 })
}

// TestEndsTogether: a process that ends while the agent does, before its last reading is
// taken in, is noted as ended.
func TestEndsTogether(t *testing.T) {
	w := begin(t, actors(1), t.TempDir())
	w.until(t, "it is watched", func() bool { return w.up("svc") })
	hang := make(chan struct{})
	w.script.set(1, func(a *actor) { a.hang = hang })
	w.until(t, "it is late", func() bool { return w.Status().Late > 0 })
	go func() {
		time.Sleep(100 * time.Millisecond) // so that the agent is ending
		w.script.set(1, func(a *actor) { a.err = recorder.ErrEnded })
		close(hang)
	}()
	w.stop()
	if p, _ := w.Process("svc"); p.Up {
		t.Errorf("%+v", p)
	}
}

// TestUnreadable: why it cannot be read is said, and it is left in peace.
func TestUnreadable(t *testing.T) {
	s := actors(1)
	s.procs[1].err = errors.New("not today")
	w := begin(t, s, t.TempDir())
	w.until(t, "it is said", func() bool { p, _ := w.Process("svc"); return p.Error == "not today" && p.Up })
	w.until(t, "it is counted", func() bool { return w.Status().Unread == 1 })
	if _, err := w.Snap(t.Context(), "svc", "asked"); err == nil || !strings.Contains(err.Error(), "not today") {
		t.Errorf("a snapshot of what cannot be read: %v", err)
	}
	if _, err := w.Recording("nobody"); err == nil {
		t.Error("a recording of nobody")
	}
}

// TestSnap: a snapshot is taken when somebody asks, and a setting that changed is an event.
func TestSnap(t *testing.T) {
	w := begin(t, actors(1), t.TempDir())
	w.until(t, "it is watched", func() bool { return w.up("svc") })
	e, err := w.Snap(t.Context(), "svc", "asked")
	if err != nil || e.Reason != "asked" || e.Goroutines != 5 {
		t.Fatalf("%+v, %v", e, err)
	}
	rec, err := w.opt.Vault.Get("svc", e.Key)
	if err != nil || len(rec.Goroutines) != 1 {
		t.Errorf("%+v, %v", rec, err)
	}
	if rec, err := w.Recording("svc"); err != nil || len(rec.Samples) == 0 || len(rec.Goroutines) == 0 {
		t.Errorf("%+v, %v", rec, err)
	}
}

// TestReconfigure: who is left out by new settings is watched no longer.
func TestReconfigure(t *testing.T) {
	w := begin(t, actors(1), t.TempDir())
	w.until(t, "it is watched", func() bool { return w.up("svc") })
	set := DefaultSettings()
	set.Discover, set.MinUptime = 100*time.Millisecond, 0
	// While it is read, which the race detector looks at.
	hang := make(chan struct{})
	w.script.set(1, func(a *actor) { a.hang = hang })
	w.until(t, "it is late", func() bool { return w.Status().Late > 0 })
	w.Reconfigure(set)
	w.script.set(1, func(a *actor) { a.hang = nil })
	close(hang)
	set.Exclude = []string{"svc"}
	w.Reconfigure(set)
	w.until(t, "it is left out", func() bool { return len(w.Processes()) == 0 })
	set.Exclude = nil
	w.Reconfigure(set)
	w.until(t, "it is watched again", func() bool { return w.up("svc") })
}

// TestAttachStorm: many processes at once are attached to few at a time.
func TestAttachStorm(t *testing.T) {
	var pids []int
	for i := range 40 {
		pids = append(pids, i+1)
	}
	s := actors(pids...)
	s.slow = 5 * time.Millisecond
	w := begin(t, s, t.TempDir())
	w.until(t, "all are watched", func() bool { return w.Status().Samples >= 40 })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.most > maxAttaching {
		t.Errorf("%d at a time", s.most)
	}
}

// TestThousand: a thousand processes are all watched.
func TestThousand(t *testing.T) {
	var pids []int
	for i := range 1000 {
		pids = append(pids, i+1)
	}
	w := begin(t, actors(pids...), t.TempDir())
	w.until(t, "all are watched", func() bool { return w.Status().Watched == 1000 && w.Status().Samples > 2000 })
	if n := len(w.Processes()); n != 1000 {
		t.Errorf("%d are shown", n)
	}
}

func TestSelected(t *testing.T) {
	p := &record.Process{Name: "nats-server", Module: "github.com/nats-io/nats-server/v2"}
	for _, tt := range []struct {
		include, exclude []string
		want             bool
	}{
		{nil, nil, true},
		{[]string{"nats-*"}, nil, true},
		{[]string{"etcd"}, nil, false},
		{[]string{"nats"}, nil, true}, // a part, as in ps NAME
		{[]string{"github.com/nats-io/"}, nil, true},
		{nil, []string{"server"}, false},
		{[]string{"nats?"}, nil, false}, // a pattern is of the whole name
		{nil, []string{"nats-*"}, false},
		{[]string{"nats-*"}, []string{"github.com/nats-io/*/v2"}, false},
		{[]string{"["}, nil, false},
	} {
		if got := selected(p, tt.include, tt.exclude); got != tt.want {
			t.Errorf("%v %v: %t", tt.include, tt.exclude, got)
		}
	}
}
