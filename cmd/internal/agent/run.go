package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/history"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/cmd/internal/series"
	"github.com/heapwright/heapwright/cmd/internal/store"
	"github.com/heapwright/heapwright/cmd/internal/vault"
	"github.com/heapwright/heapwright/record"
)

// Options say what an agent does. Host, Store, Vault and History must be there.
type Options struct {
	Host    Host
	Store   *store.DB
	Vault   *vault.Vault
	History *history.History
	Dir     string // for what it remembers itself; "" for nothing
	Logger  *slog.Logger

	Settings
	// Observe is told of every process each five seconds, on the agent's own goroutine: it
	// must not wait.
	Observe func(now time.Time, ps []Process)
}

// Settings are what a running agent can be told anew.
type Settings struct {
	Discover     time.Duration // between looks for new processes
	Include      []string      // parts or patterns of name, module or main package; none for all
	Exclude      []string
	MinUptime    time.Duration
	MaxProcesses int
	Pace         Pace
	Diagnose     time.Duration
	Window       time.Duration
	Snapshots    time.Duration // 0 for only when a finding begins or somebody asks
}

// DefaultSettings are those of the configuration file that says nothing.
func DefaultSettings() Settings {
	return Settings{
		Discover: 5 * time.Second, MinUptime: 2 * time.Second, MaxProcesses: 1000,
		Pace:     Pace{Interval: time.Second, Fastest: 200 * time.Millisecond, Slowest: 5 * time.Second, Adaptive: true},
		Diagnose: 30 * time.Second, Window: 10 * time.Minute, Snapshots: 5 * time.Minute,
	}
}

// Status is what an agent says of itself.
type Status struct {
	Started     time.Time     `json:"started"`
	Discovered  time.Time     `json:"discovered"` // when it last looked for processes; zero: not yet
	Watched     int           `json:"watched"`
	Unread      int           `json:"unread"`       // watched, but cannot be read now
	TooMany     int           `json:"too_many"`     // left out, for there are more than MaxProcesses
	Filtered    int           `json:"filtered"`     // left out by patterns or for being young
	Samples     uint64        `json:"samples"`      // taken
	Points      uint64        `json:"points"`       // stored
	Dropped     uint64        `json:"dropped"`      // points that the store did not take
	LostCycles  uint64        `json:"lost_cycles"`  // GC cycles that ended unseen
	Late        uint64        `json:"late_rounds"`  // rounds for which somebody was not back in time
	ReadTime    time.Duration `json:"-"`            // spent reading processes
	LastProblem string        `json:"last_problem"` // what went wrong last, "" for nothing
	ProblemAt   time.Time     `json:"problem_at"`
}

// An Agent watches the processes of a machine.
type Agent struct {
	opt     Options
	results chan result
	hurry   chan *target         // is to be read at once
	room    chan []record.Sample // for one diagnosis
	anew    chan Settings
	// attaching has one for each process that is attached to just now.
	attaching chan struct{}

	// Of the loop.
	names    *identities
	unsaved  bool
	targets  map[int]*target // by PID
	running  sync.WaitGroup
	rounds   uint64
	observed time.Time

	mu      sync.RWMutex
	view    map[string]*Process
	byID    map[string]*target
	unseen  []Unseen
	status  Status
	subs    map[chan Update]bool
	changed map[string]*Process // since the last update
	cycles  map[string][]record.Cycle
}

// New makes an agent, which does nothing before it runs.
func New(opt Options) (*Agent, error) {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Settings.Pace.Interval <= 0 {
		opt.Settings = DefaultSettings()
	}
	a := &Agent{
		opt: opt, results: make(chan result, 64), hurry: make(chan *target, 16), room: make(chan []record.Sample, 1), anew: make(chan Settings, 1),
		attaching: make(chan struct{}, maxAttaching),
		names:     newIdentities(), targets: map[int]*target{}, view: map[string]*Process{}, byID: map[string]*target{},
		subs: map[chan Update]bool{}, changed: map[string]*Process{}, cycles: map[string][]record.Cycle{},
	}
	if opt.Dir != "" {
		if err := a.names.load(a.identityFile()); err != nil {
			a.note(err)
		}
	}
	return a, nil
}

func (a *Agent) identityFile() string { return filepath.Join(a.opt.Dir, "identities.json") }

// Reconfigure gives a running agent other settings, from its next round on.
func (a *Agent) Reconfigure(s Settings) {
	for {
		select {
		case a.anew <- s:
			return
		case <-a.anew: // older ones, not taken yet
		}
	}
}

// tick is the grain of all intervals: processes that are due together are stored together.
const tick = 200 * time.Millisecond

// Run watches until the context ends, which is no error.
func (a *Agent) Run(ctx context.Context) error {
	a.mu.Lock()
	a.status.Started = time.Now()
	a.mu.Unlock()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	watch := newLookout(a.opt.Host)
	go watch.run(ctx)
	watch.look()
	nextLook := time.Now().Add(a.opt.Discover)
	for {
		select {
		case <-ctx.Done():
			a.stop()
			return nil
		case s := <-a.anew:
			a.opt.Settings = s
			nextLook = time.Now()
		case found := <-watch.found:
			a.discovered(ctx, found, time.Now())
		case r := <-a.results: // of somebody who was late
			b := a.opt.Store.Begin()
			a.finish(b, r, time.Now())
			a.commit(b)
		case t := <-a.hurry:
			t.due = time.Now()
			a.round(ctx, t.due)
		case <-ticker.C:
			now := time.Now()
			if !now.Before(nextLook) {
				watch.look()
				nextLook = now.Add(a.opt.Discover)
			}
			a.round(ctx, now)
		}
	}
}

func (a *Agent) stop() {
	for _, t := range a.targets {
		t.dismiss()
	}
	// Those that read just now want to be rid of what they read.
	done := make(chan struct{})
	go func() { a.running.Wait(); close(done) }()
	b := a.opt.Store.Begin()
	late := time.NewTimer(5 * time.Second)
	defer late.Stop()
	for waiting := true; waiting; {
		select {
		case r := <-a.results:
			a.finish(b, r, time.Now())
		case <-done:
			waiting = false
		case <-late.C:
			waiting = false
		}
	}
	a.commit(b)
	a.saveNames(true)
	a.mu.Lock()
	for ch := range a.subs {
		close(ch)
	}
	a.subs = map[chan Update]bool{}
	a.mu.Unlock()
}

// A lookout looks for processes beside the loop, which must not wait for it.
type lookout struct {
	host  Host
	asked chan struct{}
	found chan found
}

type found struct {
	entries []goproc.Entry
	err     error
}

func newLookout(h Host) *lookout {
	return &lookout{host: h, asked: make(chan struct{}, 1), found: make(chan found)}
}

func (l *lookout) look() {
	select {
	case l.asked <- struct{}{}:
	default: // it is looking
	}
}

func (l *lookout) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.asked:
		}
		entries, err := l.host.Processes(ctx)
		select {
		case <-ctx.Done():
			return
		case l.found <- found{entries, err}:
		}
	}
}

// discovered begins to watch what is new.
func (a *Agent) discovered(ctx context.Context, f found, now time.Time) {
	if f.err != nil {
		if ctx.Err() == nil {
			a.note(f.err)
		}
		return
	}
	a.deselect(now)
	var unseen []Unseen
	var filtered, tooMany int
	for i := range f.entries {
		e := &f.entries[i]
		p := &e.Process
		if t := a.targets[p.PID]; t != nil {
			continue // if it is another process by now, the next reading says so
		}
		switch {
		case !selected(p, a.opt.Include, a.opt.Exclude):
			filtered++
		case e.Err != nil:
			unseen = append(unseen, Unseen{PID: p.PID, Name: p.Name, Reason: e.Err.Error(), Hint: hint(e.Err)})
		case now.Sub(p.StartTime) < a.opt.MinUptime:
			filtered++
		case len(a.targets) >= a.opt.MaxProcesses:
			tooMany++
		default:
			a.watch(ctx, p, now)
		}
	}
	a.saveNames(false)
	a.forgetEnded(now)
	a.mu.Lock()
	a.unseen = unseen
	a.status.Discovered, a.status.Filtered, a.status.TooMany = now, filtered, tooMany
	a.mu.Unlock()
}

// deselect stops watching those that the settings leave out by now. They have not ended.
func (a *Agent) deselect(now time.Time) {
	for pid, t := range a.targets {
		if t.busy || selected(&t.window.process, a.opt.Include, a.opt.Exclude) {
			continue // who is read just now goes with the next look
		}
		t.dismiss()
		t.refuseSnaps(&NotWatchedError{t.id})
		delete(a.targets, pid)
		a.names.release(t.id, now)
		a.unsaved = true
		a.opt.Logger.Info("left out", "process", t.id, "pid", t.pid)
		a.mu.Lock()
		delete(a.view, t.id)
		delete(a.byID, t.id)
		a.mu.Unlock()
	}
}

// selected reports whether patterns leave a process in. One without wildcards is a part of
// a name, as in heapwright ps NAME; one with them is as in a shell, and of the whole name.
func selected(p *record.Process, include, exclude []string) bool {
	matches := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			part := !strings.ContainsAny(pattern, `*?[\`)
			for _, s := range []string{p.Name, p.Module, p.MainPackage} {
				if ok, _ := path.Match(pattern, s); s != "" && (ok || part && strings.Contains(s, pattern)) {
					return true
				}
			}
			return false
		})
	}
	return !matches(exclude) && (len(include) == 0 || matches(include))
}

func hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

func (a *Agent) watch(ctx context.Context, p *record.Process, now time.Time) {
	t := &target{
		id: a.names.take(p, now), pid: p.PID, wake: make(chan reading, 1), snap: make(chan snapRequest, 4),
		due: now, interval: a.opt.Pace.Interval,
		window: window{process: *p, span: a.opt.Window},
		// The first diagnosis needs something to go by.
		diagnosed: now.Add(firstDiagnosis - a.opt.Diagnose),
		snapped:   now.Add(firstSnapshot - a.opt.Snapshots),
	}
	a.unsaved = true
	a.targets[p.PID] = t
	a.running.Add(1)
	go func() {
		defer a.running.Done()
		t.run(ctx, a)
	}()
	a.mu.Lock()
	lives := 1
	if old := a.view[t.id]; old != nil {
		lives = old.Lives + 1
	}
	v := &Process{ID: t.id, Info: *p, Up: true, First: now, Seen: now, Lives: lives}
	a.view[t.id], a.byID[t.id], a.changed[t.id] = v, t, v
	a.mu.Unlock()
	a.opt.Logger.Info("watching", "process", t.id, "pid", t.pid, "go", p.GoVersion)
	a.event(t.id, record.Event{Time: now, Kind: record.EventStarted, Text: fmt.Sprintf("observation of process %d began", t.pid)})
}

const (
	firstDiagnosis = 10 * time.Second
	firstSnapshot  = 3 * time.Second
)

// round wakes those that are due, and stores what they come back with. Who is not back in
// time is not waited for: what the process does must not hold up others.
func (a *Agent) round(ctx context.Context, now time.Time) {
	var due []*target
	for _, t := range a.targets {
		if !t.busy && !now.Add(tick/2).Before(t.due) {
			due = append(due, t)
		}
	}
	if len(due) == 0 {
		a.publish(now)
		return
	}
	a.rounds++
	dear := a.dear(due, now)
	for _, t := range due {
		w := reading{round: a.rounds, now: now, pace: a.opt.Pace, span: a.opt.Window}
		if d := dear[t]; d != nil {
			w.diagnose, w.snapshot = d.diagnose, d.snapshot
		}
		t.busy = true
		t.wake <- w
	}
	b := a.opt.Store.Begin()
	late := time.NewTimer(tick)
	defer late.Stop()
	for waiting := len(due); waiting > 0; {
		select {
		case r := <-a.results:
			a.finish(b, r, now)
			if r.round == a.rounds { // and not of an earlier round, and late
				waiting--
			}
			continue
		case <-late.C:
			a.mu.Lock()
			a.status.Late++
			a.mu.Unlock()
		case <-ctx.Done():
		}
		break
	}
	a.commit(b)
	a.publish(now)
}

type dearWork struct {
	diagnose bool
	snapshot string
}

// dear chooses who may do more than read: few at a time, those that have waited longest
// first, so that the load is even.
func (a *Agent) dear(due []*target, now time.Time) map[*target]*dearWork {
	budget := 1 + len(a.targets)*int(tick/time.Millisecond)/int(max(a.opt.Diagnose, time.Second)/time.Millisecond)
	chosen := map[*target]*dearWork{}
	pick := func(overdue func(*target) time.Duration, do func(*dearWork)) {
		var over []*target
		for _, t := range due {
			if t.samples > 0 && overdue(t) >= 0 {
				over = append(over, t)
			}
		}
		slices.SortFunc(over, func(x, y *target) int { return cmp.Or(cmp.Compare(overdue(y), overdue(x)), cmp.Compare(x.pid, y.pid)) })
		for _, t := range over[:min(len(over), budget)] {
			if chosen[t] == nil {
				chosen[t] = &dearWork{}
			}
			do(chosen[t])
		}
	}
	pick(func(t *target) time.Duration { return now.Sub(t.diagnosed) - a.opt.Diagnose }, func(d *dearWork) { d.diagnose = true })
	if a.opt.Snapshots > 0 {
		pick(func(t *target) time.Duration { return now.Sub(t.snapped) - a.opt.Snapshots }, func(d *dearWork) { d.snapshot = vault.Periodic })
	}
	return chosen
}

// retry is how long a process that cannot be read is left alone.
const retry = 30 * time.Second

// finish takes what a target read: points into the batch, and what is known of the
// process into the view.
func (a *Agent) finish(b *store.Batch, r result, now time.Time) {
	t := r.target
	t.busy = false
	for i := range t.points {
		p := &t.points[i]
		b.Append(t.series(a.opt.Store, &p.Point), p.at, p.Value)
	}
	for _, e := range r.events {
		a.event(t.id, e)
	}
	a.mu.Lock()
	a.status.ReadTime += r.took
	a.status.LostCycles += r.lost
	if r.sampled {
		a.status.Samples++
	}
	a.mu.Unlock()
	switch {
	case r.ended:
		a.ended(b, t, now)
		return
	case r.err != nil:
		t.due = now.Add(retry)
		if t.samples > 0 {
			t.due = now.Add(t.interval)
		}
		if text := r.err.Error(); t.failed != text {
			t.failed = text
			a.opt.Logger.Warn("cannot read a process", "process", t.id, "pid", t.pid, "error", text)
			a.event(t.id, record.Event{Time: now, Kind: record.EventGap, Text: text})
		}
	default:
		t.failed = ""
		t.due = now.Add(t.interval)
	}
	if r.diagnose {
		started, _ := a.opt.History.Diagnosed(t.id, t.sample.Time, t.findings)
		if began(started) && now.Sub(t.snapped) > firstDiagnosis {
			select { // what there was when it began is worth keeping
			case t.snap <- snapRequest{reason: "finding", done: make(chan snapResult, 1)}:
			default:
			}
		}
	}
	a.show(t, r)
}

// show brings the view of a process up to date.
func (a *Agent) show(t *target, r result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.view[t.id]
	if old == nil {
		return
	}
	p := *old
	p.Interval, p.Error, p.Hint = t.interval, "", ""
	if r.err != nil {
		p.Error, p.Hint = r.err.Error(), hint(r.err)
	}
	if r.sampled {
		s := t.sample
		if old.Latest != nil {
			// What only whole samples have stays as it was in the last.
			for _, f := range rare {
				if !s.Has.Has(f) && old.Latest.Has.Has(f) {
					copyField(&s, old.Latest, f)
				}
			}
		}
		p.Latest, p.Seen, p.Info = &s, s.Time, t.window.process
		f := &t.figures
		p.LimitBytes, p.LimitKind, p.HeadroomBytes, p.HeadroomRatio = f.limit, f.limitKind, f.headroom, f.headroomRatio
		p.GCCPURatio, p.AssistRatio, p.CyclesPerSecond, p.AllocBytesPerSecond = f.gcCPU, f.assist, f.cycles, f.alloc
		p.CPUCores, p.GoroutineGrowthRatio = f.cpu, f.goroutineGrowth
		p.TimeToLimitSeconds, p.Outlook = f.timeToLimit, f.outlook
		if p.Spark.End != t.spark.end {
			p.Spark = t.spark.spark()
		}
	}
	if r.diagnose {
		p.Findings, p.Worst = t.findings, nil
		if len(t.findings) > 0 {
			worst := t.findings[0].Severity
			p.Worst = &worst
		}
	}
	p.Trouble = trouble(&p)
	a.view[t.id], a.changed[t.id] = &p, &p
	if len(t.cycles) > 0 {
		kept := append(a.cycles[t.id], t.cycles...)
		a.cycles[t.id] = kept[max(0, len(kept)-maxStored*5):]
	}
}

// rare are the fields that quick samples lack.
var rare = []record.Field{
	record.FieldRSSPeakBytes, record.FieldRSSAnonBytes, record.FieldRSSFileBytes, record.FieldSwapBytes, record.FieldCgroupUsageBytes,
	record.FieldCgroupLimitBytes, record.FieldCgroupThrottled, record.FieldCgroupOOMKills, record.FieldPSIMemorySomeStall, record.FieldPSICPUSomeStall,
}

func copyField(to, from *record.Sample, f record.Field) {
	switch p := to.Pointer(f).(type) {
	case *uint64:
		*p = *from.Pointer(f).(*uint64)
	case *time.Duration:
		*p = *from.Pointer(f).(*time.Duration)
	}
	to.Has.Add(f)
}

// trouble is how much a process needs somebody to look at it: up to 2 for the worst
// finding, 1 for how little headroom there is, and 1 for what the collector takes.
func trouble(p *Process) float64 {
	var t float64
	if p.Worst != nil {
		t += [...]float64{0.2, 1, 2}[*p.Worst]
	}
	if p.HeadroomRatio != nil && p.LimitKind != "host" {
		t += 1 - min(max(*p.HeadroomRatio, 0)/0.5, 1)
	}
	if p.GCCPURatio != nil {
		t += min(*p.GCCPURatio/0.5, 1) * min(deref(p.CPUCores)/0.05, 1)
	}
	if p.Error != "" {
		t += 0.1
	}
	if !p.Up {
		t /= 2
	}
	return math.Round(t*1000) / 1000
}

// ended is the end of a process.
func (a *Agent) ended(b *store.Batch, t *target, now time.Time) {
	t.dismiss()
	delete(a.targets, t.pid)
	a.names.release(t.id, now)
	a.unsaved = true
	up := series.PointOf(series.Up, 0)
	b.Append(t.series(a.opt.Store, &up), now, 0)
	a.event(t.id, record.Event{Time: now, Kind: record.EventExited, Text: fmt.Sprintf("process %d has ended", t.pid)})
	a.opt.Logger.Info("ended", "process", t.id, "pid", t.pid)
	a.mu.Lock()
	defer a.mu.Unlock()
	if old := a.view[t.id]; old != nil {
		p := *old
		p.Up, p.Ended, p.Findings, p.Worst = false, now, nil, nil
		p.Trouble = trouble(&p)
		a.view[t.id], a.changed[t.id] = &p, &p
	}
	if a.byID[t.id] == t {
		delete(a.byID, t.id)
	}
	t.refuseSnaps(recorder.ErrEnded)
}

// endedFor is how long a process that has ended stays in the view.
const endedFor = 15 * time.Minute

func (a *Agent) forgetEnded(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, p := range a.view {
		if !p.Up && now.Sub(p.Ended) > endedFor {
			delete(a.view, id)
		}
	}
}

func (a *Agent) commit(b *store.Batch) {
	stored, err := b.Commit()
	a.mu.Lock()
	a.status.Points += uint64(stored)
	a.mu.Unlock()
	if err != nil {
		a.note(err)
	}
}

func (a *Agent) event(id string, e record.Event) {
	if err := a.opt.History.Event(id, e); err != nil && !errors.Is(err, history.ErrTooMany) {
		a.note(err)
	}
}

// note keeps what went wrong, and says it when it is something else than the last time.
func (a *Agent) note(err error) {
	a.mu.Lock()
	same := a.status.LastProblem == err.Error() && time.Since(a.status.ProblemAt) < time.Minute
	if !same {
		a.status.LastProblem, a.status.ProblemAt = err.Error(), time.Now()
	}
	a.mu.Unlock()
	if !same {
		a.opt.Logger.Error("problem", "error", err.Error(), "hint", hint(err))
	}
}

func (a *Agent) saveNames(always bool) {
	if a.opt.Dir == "" || !a.unsaved && !always {
		return
	}
	if err := a.names.save(a.identityFile()); err != nil {
		a.note(err)
		return
	}
	a.unsaved = false
}

// publish hands what is new to subscribers, and everything to who observes.
func (a *Agent) publish(now time.Time) {
	a.mu.Lock()
	a.status.Watched = len(a.targets)
	a.status.Unread = 0
	for _, p := range a.view {
		if p.Up && p.Error != "" {
			a.status.Unread++
		}
	}
	if len(a.changed) > 0 && len(a.subs) > 0 {
		u := Update{Time: now, Cycles: a.cycles}
		for _, id := range slices.Sorted(maps.Keys(a.changed)) {
			u.Processes = append(u.Processes, *a.changed[id])
		}
		for ch := range a.subs {
			select {
			case ch <- u:
			default: // who is slow misses it
			}
		}
		a.cycles = map[string][]record.Cycle{}
	} else if len(a.subs) == 0 {
		clear(a.cycles)
	}
	clear(a.changed)
	a.mu.Unlock()
	if a.opt.Observe != nil && now.Sub(a.observed) >= observeInterval {
		a.observed = now
		a.opt.Observe(now, a.Processes())
	}
}

const observeInterval = 5 * time.Second

// Processes returns what is known of all processes, by ID.
func (a *Agent) Processes() []Process {
	a.mu.RLock()
	defer a.mu.RUnlock()
	ps := make([]Process, 0, len(a.view))
	for _, p := range a.view {
		ps = append(ps, *p)
	}
	slices.SortFunc(ps, func(x, y Process) int { return strings.Compare(x.ID, y.ID) })
	return ps
}

// Process returns what is known of one process.
func (a *Agent) Process(id string) (Process, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	p, ok := a.view[id]
	if !ok {
		return Process{}, false
	}
	return *p, true
}

// Unseen are the processes that may be Go and cannot be read.
func (a *Agent) Unseen() []Unseen {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.Clone(a.unseen)
}

// Status is what the agent says of itself.
func (a *Agent) Status() Status {
	a.mu.RLock()
	defer a.mu.RUnlock()
	s := a.status
	d := a.opt.Store.Stats().Dropped
	s.Dropped = uint64(d.Duplicate + d.TooOld + d.Failed)
	return s
}

// Subscribe returns a channel of what is new after each round, and what ends it. Of
// more than n updates that were not taken the later ones are lost. The channel is
// closed when the agent stops.
func (a *Agent) Subscribe(n int) (<-chan Update, func()) {
	ch := make(chan Update, max(n, 1))
	a.mu.Lock()
	a.subs[ch] = true
	a.mu.Unlock()
	return ch, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.subs[ch] {
			delete(a.subs, ch)
			close(ch)
		}
	}
}

// A NotWatchedError says that no process of that name is watched now.
type NotWatchedError struct{ ID string }

func (e *NotWatchedError) Error() string { return fmt.Sprintf("no process %q is watched now", e.ID) }

// Recording is what was seen of a process in the last minutes, for the rules and the twin.
func (a *Agent) Recording(id string) (*record.Recording, error) {
	a.mu.RLock()
	t := a.byID[id]
	a.mu.RUnlock()
	if t == nil {
		return nil, &NotWatchedError{id}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.window.recording(nil), nil
}

// Snap takes a snapshot of a process now.
func (a *Agent) Snap(ctx context.Context, id, reason string) (vault.Entry, error) {
	a.mu.RLock()
	t := a.byID[id]
	a.mu.RUnlock()
	if t == nil {
		return vault.Entry{}, &NotWatchedError{id}
	}
	done := make(chan snapResult, 1)
	select {
	case t.snap <- snapRequest{reason, done}:
	default:
		return vault.Entry{}, fmt.Errorf("taking a snapshot of %s: others are waiting for theirs; try again in a moment", id)
	}
	select {
	case a.hurry <- t:
	default: // it will be read soon
	}
	select {
	case r := <-done:
		return r.entry, r.err
	case <-ctx.Done():
		return vault.Entry{}, fmt.Errorf("taking a snapshot of %s: %w", id, context.Cause(ctx))
	}
}

// self is this process, for the agent's own figures.
var self = os.Getpid()

// Own is what the agent sees of itself: it watches itself as it does others.
func (a *Agent) Own() (Process, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, p := range a.view {
		if p.Up && p.Info.PID == self {
			return *p, true
		}
	}
	return Process{}, false
}
