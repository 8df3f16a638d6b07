package blackbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/oom"
	"github.com/heapwright/heapwright/cmd/internal/postmortem"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/record"
)

// How often what is looked at.
const (
	scanInterval = 100 * time.Millisecond // for new processes
	sampleFar    = 2 * time.Second        // the runtime's books
	sampleNear   = 200 * time.Millisecond
	nearTime     = 15 * time.Second       // to the limit
	groupChecks  = time.Second            // that a process has not moved, and of counters
	hostFar      = 250 * time.Millisecond // the machine's memory
	hostNear     = 50 * time.Millisecond  // when less than a fifth is left
	// limbo is how long the end of a process waits for a word of why.
	limbo = 3 * time.Second
	// forgetPages is how long after a capture what makes the next one faster is kept.
	forgetPages = 20 * time.Second
	// Stacks that are walked in a capture: five hundred deep ones take 15 ms.
	quietStacks   = 10_000
	hurriedStacks = 500
	// captureBudget is what a capture may take before it leaves out what is dearer.
	captureBudget = 60 * time.Millisecond
	maxAttaching  = 4
	leftOut       = time.Second // until somebody who was left out is looked at again: it may exec
	maxLooks      = 240         // kept of a group
)

// Stats are what a Watcher says of itself.
type Stats struct {
	Watched      int           `json:"watched"`
	Groups       int           `json:"groups"`
	TooMany      int           `json:"too_many"`
	Looks        uint64        `json:"looks"`
	Captures     uint64        `json:"captures"`
	Failed       uint64        `json:"failed_captures"`
	CaptureTime  time.Duration `json:"capture_time_ns"`
	LongestTook  time.Duration `json:"longest_capture_ns"`
	Kills        uint64        `json:"kills"`         // of watched processes
	KernelKills  uint64        `json:"kernel_kills"`  // that the kernel's log told of, of whomever
	CounterKills uint64        `json:"counter_kills"` // by which counters of watched groups rose
	LostRecords  uint64        `json:"lost_records"`  // of the kernel's log
	LogProblem   string        `json:"log_problem"`   // why the kernel's log is not read, "" when it is
	LastProblem  string        `json:"last_problem"`
}

// A Watcher watches processes until they are killed for want of memory.
type Watcher struct {
	opt     Options
	keep    *keeper
	results chan func() // run by the loop
	writing sync.WaitGroup
	working sync.WaitGroup

	// Of the loop.
	start     time.Time
	seen      map[int]*candidate
	notGo     map[string]bool // programs
	procs     map[int]*proc
	groups    map[string]*group
	blind     bool // processes could not be listed the last time
	attaching int
	capturing int
	waiting   []*order // for captures
	bells     Bells
	log       Log
	ended     []*proc // in limbo
	kills     []oom.Kill
	host      oom.Level
	stalled   time.Duration
	hostOK    bool
	hostAt    time.Duration
	hostReads uint64
	mu        sync.Mutex
	stats     Stats
	exited    map[int]bool // by SIGKILL, as who started it says
}

// A candidate is a process that was seen, and may become one that is watched.
type candidate struct {
	program string
	since   time.Duration
	next    time.Duration
	wait    time.Duration
	busy    bool
	left    *record.Process // it was not selected, and is this
}

// A proc is a watched process.
type proc struct {
	pid     int
	info    record.Process
	source  Source
	life    life
	group   *group
	ring    *ring
	busy    bool // somebody reads it
	wanted  *order
	due     time.Duration // of the next sample
	checked time.Duration
	touched time.Duration // of the last capture, for what it left behind
	dirty   bool
	member  string
	demand  uint64 // see Look
	rss     uint64
	gone    bool
	buried  bool // and nobody waits for anything of it
	goneAt  time.Time
	goneMon time.Duration
	kill    *oom.Kill
	killMon time.Duration
	kills0  uint64
	last    record.Sample
}

// A group is a cgroup with watched processes in it.
type group struct {
	key     string
	path    string
	files   Group
	procs   map[int]*proc
	due     time.Duration
	levels  []oom.Level
	trigger []Trigger
	// Of the page cache of each level, as last read.
	cache   []uint64
	cacheAt []time.Duration
	usedAt  []uint64
	worst   Verdict
	level   int     // of the levels, which worst is about
	share   float64 // of the limit, that is used
	high    float64 // the highest share lately, and when that was: an end is noticed late
	highAt  time.Duration
	looks   thinned[postmortem.Group]
	full    []postmortem.Group // looks with all there is to know
	bells   []string
	hung    []uint64 // limits that the bells hang at
	kills   uint64
	counts  bool
	rose    time.Time // when the counter last rose
	roseBy  uint64
	checked time.Duration
	gone    bool
	order   *order

	hostSeen uint64 // the reading of the machine's memory that was looked at last
	hanging  bool   // somebody hangs bells
}

// An order is a capture of a group's processes that is wanted.
type order struct {
	group    *group
	level    int
	verdict  Verdict
	of       []*proc
	open     int // not yet back
	longest  time.Duration
	captured bool
}

// New makes a watcher, which does nothing before it runs.
func New(opt Options) (*Watcher, error) {
	if opt.Dir == "" {
		return nil, errors.New("a black box needs a directory for post-mortems")
	}
	if opt.Host == nil {
		opt.Host = NewMachine()
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Select == nil {
		opt.Select = func(*record.Process) bool { return true }
	}
	if opt.On == nil {
		opt.On = func(Postmortem) {}
	}
	opt.MaxProcesses = cmp.Or(opt.MaxProcesses, 1000)
	opt.MaxBytes = cmp.Or(opt.MaxBytes, 512<<20)
	opt.MaxFiles = cmp.Or(opt.MaxFiles, 1000)
	opt.Quiet = cmp.Or(opt.Quiet, 5*time.Minute)
	k, err := newKeeper(opt.Dir, opt.MaxBytes, opt.MaxFiles)
	if err != nil {
		return nil, err
	}
	return &Watcher{
		opt: opt, keep: k, results: make(chan func(), 64),
		seen: map[int]*candidate{}, notGo: map[string]bool{}, procs: map[int]*proc{},
		groups: map[string]*group{}, exited: map[int]bool{},
	}, nil
}

// Stats are what it did so far.
func (w *Watcher) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

func (w *Watcher) count(f func(*Stats)) {
	w.mu.Lock()
	f(&w.stats)
	w.mu.Unlock()
}

// Killed tells that a process which the caller started was ended by SIGKILL.
func (w *Watcher) Killed(pid int) {
	w.mu.Lock()
	w.exited[pid] = true
	w.mu.Unlock()
}

func (w *Watcher) now() time.Duration { return time.Since(w.start) }

func (w *Watcher) problem(what string, err error) {
	w.opt.Logger.Warn(what, "error", err.Error())
	w.count(func(s *Stats) { s.LastProblem = what + ": " + err.Error() })
}

// Run watches until the context ends, which is no error. It runs once.
func (w *Watcher) Run(ctx context.Context) error {
	w.start = time.Now()
	kills := make(chan oom.Kill, 64)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.openLog(ctx, kills)
	var rings <-chan oom.Ring
	if b, err := w.opt.Host.Bells(); err != nil {
		w.problem("no notices of the kernel, looking oftener", err)
	} else {
		w.bells = b
		rings = b.C()
		if err := b.HangHost(); err != nil {
			w.opt.Logger.Info("no notices of memory pressure", "error", err.Error())
		}
	}
	defer w.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var nextScan time.Duration
	for {
		select {
		case <-ctx.Done():
			for len(kills) > 0 {
				w.killed(<-kills)
			}
			return nil
		case f := <-w.results:
			f()
		case k := <-kills:
			w.killed(k)
		case r := <-rings:
			w.rang(r)
		case <-timer.C:
		}
		// What else is there already, before the clock is looked at again.
		for more := true; more; {
			select {
			case f := <-w.results:
				f()
			case k := <-kills:
				w.killed(k)
			default:
				more = false
			}
		}
		now := w.now()
		if now >= nextScan {
			began := now
			w.scan(ctx, now)
			now = w.now()
			// On a machine with very many processes the scan itself is what costs.
			nextScan = now + max(scanInterval, 20*(now-began))
		}
		next := min(nextScan, w.round(ctx, now))
		timer.Reset(max(next-w.now(), 500*time.Microsecond))
	}
}

func (w *Watcher) openLog(ctx context.Context, kills chan<- oom.Kill) {
	l, err := w.opt.Host.Log()
	if err != nil {
		w.logProblem(err)
		return
	}
	w.log = l
	w.working.Add(1)
	go func() {
		defer w.working.Done()
		for {
			k, err := l.Next(ctx)
			if err != nil {
				if ctx.Err() == nil {
					w.logProblem(err)
				}
				return
			}
			w.count(func(s *Stats) { s.KernelKills++; s.LostRecords = l.Lost() })
			select {
			case kills <- k:
			case <-ctx.Done():
				return
			}
		}
	}()
}

func (w *Watcher) logProblem(err error) {
	w.problem("the kernel's log is not read", err)
	w.count(func(s *Stats) { s.LogProblem = err.Error() })
}

// logged reports whether the kernel's log can be trusted to tell of every kill.
func (w *Watcher) logged() bool {
	if w.log == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats.LogProblem == "" && w.log.Lost() == 0
}

// close ends everything. Whom somebody reads is waited for: a read ends soon.
func (w *Watcher) close() {
	// Deaths that wait for more evidence have what there is.
	for _, p := range w.ended {
		w.settle(p, true)
	}
	done := make(chan struct{})
	go func() { w.working.Wait(); close(done) }()
	if w.log != nil {
		w.log.Close()
	}
	for waiting := true; waiting; {
		select {
		case <-w.results: // nobody needs it any more
		case <-done:
			waiting = false
		}
	}
	w.writing.Wait()
	for _, p := range w.procs {
		if p.source != nil {
			p.source.Close()
		}
	}
	for _, g := range w.groups {
		g.files.Close()
	}
	if w.bells != nil {
		w.bells.Close()
	}
}

// scan looks for processes that came and went.
func (w *Watcher) scan(ctx context.Context, now time.Duration) {
	pids, err := w.opt.Host.PIDs()
	if err != nil {
		if !w.blind { // ten times a second is no news
			w.problem("looking for processes", err)
		}
		w.blind = true
		return
	}
	w.blind = false
	there := make(map[int]*candidate, len(pids))
	tooMany := 0
	// Who came last goes first: the others have lived for a while.
	slices.Sort(pids)
	slices.Reverse(pids)
	slices.SortStableFunc(pids, func(a, b int) int {
		return cmp.Compare(w.since(b, now), w.since(a, now))
	})
	for _, pid := range pids {
		c := w.seen[pid]
		if c == nil {
			c = &candidate{wait: scanInterval, since: now}
		}
		there[pid] = c
		if c.busy || now < c.next || w.procs[pid] != nil {
			continue
		}
		program := w.opt.Host.Program(pid)
		if program == c.program {
			c.wait = min(2*c.wait, 5*time.Minute)
		} else {
			c.program, c.wait, c.left = program, scanInterval, nil
		}
		c.next = now + c.wait
		switch {
		case c.left != nil && !w.opt.Select(c.left):
			// It is asked again, since others may be selected now. To read the program again
			// would cost much, and keep those that are waited for out.
			c.next = now + leftOut
		case program == "" || w.notGo[program]:
		case len(w.procs) >= w.opt.MaxProcesses:
			tooMany++
		case w.attaching < maxAttaching:
			w.attach(ctx, pid, c)
		default:
			c.next = now // as soon as there is room
		}
	}
	w.seen = there
	w.count(func(s *Stats) { s.TooMany = tooMany })
}

// since is when a process was first seen, now for one that is new.
func (w *Watcher) since(pid int, now time.Duration) time.Duration {
	if c := w.seen[pid]; c != nil {
		return c.since
	}
	return now
}

// attach takes hold of a process, beside the loop.
func (w *Watcher) attach(ctx context.Context, pid int, c *candidate) {
	c.busy = true
	w.attaching++
	w.working.Add(1)
	go func() {
		defer w.working.Done()
		info, err := w.opt.Host.Identify(pid)
		left := err == nil && !w.opt.Select(&info)
		var src Source
		if err == nil && !left {
			src, err = w.opt.Host.Attach(ctx, pid)
		}
		w.result(ctx, func() {
			c.busy = false
			w.attaching--
			switch {
			case left:
				c.left, c.next = &info, w.now()+leftOut
				return
			case errors.Is(err, goproc.ErrNotGo):
				if len(w.notGo) > 10_000 {
					clear(w.notGo)
				}
				w.notGo[c.program] = true
				return
			case err != nil:
				if !errors.Is(err, recorder.ErrEnded) {
					w.opt.Logger.Debug("not watched", "pid", pid, "error", err.Error())
					w.count(func(s *Stats) { s.LastProblem = err.Error() })
				}
				return
			}
			w.watch(pid, src)
		}, func() {
			if src != nil {
				src.Close()
			}
		})
	}()
}

// result hands what came of work to the loop, or undoes it when there is none any more.
func (w *Watcher) result(ctx context.Context, f, undo func()) {
	select {
	case w.results <- f:
	case <-ctx.Done():
		undo()
	}
}

func (w *Watcher) watch(pid int, src Source) {
	info := src.Process()
	if w.procs[pid] != nil {
		src.Close()
		return
	}
	p := &proc{pid: pid, info: info, source: src, ring: newRing(), life: life{pid: pid, command: w.opt.Host.Command(pid)}}
	w.procs[pid] = p
	w.join(p, w.now())
	w.opt.Logger.Info("watching for kills", "pid", pid, "name", info.Name, "group", p.life.path)
	w.count(func(s *Stats) { s.Watched = len(w.procs) })
}

// join puts a process into the group that it is in now.
func (w *Watcher) join(p *proc, now time.Duration) {
	p.checked = now
	member := w.opt.Host.Membership(p.pid)
	if member == "" || member == p.member && p.group != nil && !p.group.gone {
		return
	}
	files, err := w.opt.Host.Group(p.pid)
	var g *group
	if err != nil {
		if p.group != nil {
			return
		}
		w.opt.Logger.Debug("no group", "pid", p.pid, "error", err.Error())
		files = noGroup{}
	}
	key := files.Path()
	if levels, err := files.Levels(nil); err == nil && len(levels) > 0 {
		key = levels[0].Dir
	}
	if g = w.groups[key]; g != nil && !g.gone {
		files.Close()
	} else {
		g = &group{key: key, path: files.Path(), files: files, procs: map[int]*proc{}, due: now, looks: thinned[postmortem.Group]{most: maxLooks}}
		g.kills, g.counts = files.Kills()
		w.groups[key] = g
	}
	if p.group != nil {
		w.leave(p)
	}
	p.member, p.group, p.life.path = member, g, g.path
	p.kills0 = g.kills
	g.procs[p.pid] = p
	g.due = now
	w.count(func(s *Stats) { s.Groups = len(w.groups) })
}

// noGroup stands for a group that cannot be seen: there is the machine's memory only.
type noGroup struct{}

func (noGroup) Path() string                              { return "" }
func (noGroup) Version() int                              { return 0 }
func (noGroup) Levels(l []oom.Level) ([]oom.Level, error) { return l, nil }
func (noGroup) Kills() (uint64, bool)                     { return 0, false }
func (noGroup) Close() error                              { return nil }
func (noGroup) Parts(string) (map[postmortem.Part]uint64, uint64, error) {
	return nil, 0, errors.New("there is no group")
}

func (w *Watcher) leave(p *proc) {
	g := p.group
	delete(g.procs, p.pid)
	if len(g.procs) > 0 {
		return
	}
	for _, e := range w.ended {
		if e.group == g && e != p {
			return
		}
	}
	if w.bells != nil {
		w.bells.Take(g.key)
	}
	g.files.Close()
	if w.groups[g.key] == g {
		delete(w.groups, g.key)
	}
}

// rang looks at once.
func (w *Watcher) rang(r oom.Ring) {
	now := w.now()
	note := func(g *group) {
		g.due = now
		if r.Kind == oom.RingOOM || r.Kind == oom.RingEvents {
			g.checked = 0
		}
		for _, p := range g.procs {
			p.ring.addNotice(postmortem.Notice{Time: time.Now(), Kind: string(r.Kind), Text: "the kernel rang"})
		}
	}
	if r.Group != "" {
		if g := w.groups[r.Group]; g != nil {
			note(g)
		}
		return
	}
	for _, g := range w.groups {
		if g.share > 0.5 {
			note(g)
		}
	}
}

// round does what is due, and says when something will be.
func (w *Watcher) round(ctx context.Context, now time.Duration) (next time.Duration) {
	next = now + time.Second
	for _, g := range w.groups {
		if now >= g.due && len(g.procs) > 0 {
			w.look(ctx, g, now)
		}
		if len(g.procs) > 0 {
			next = min(next, g.due)
		}
	}
	for _, p := range w.procs {
		if p.busy || p.gone {
			continue
		}
		if now >= p.due || now-p.checked >= groupChecks && p.group == nil {
			if now-p.checked >= groupChecks {
				w.join(p, now)
			}
			w.sample(ctx, p, now)
			continue
		}
		next = min(next, p.due)
	}
	w.dispatch(ctx)
	w.settleEnded(now)
	if len(w.ended) > 0 {
		next = min(next, now+20*time.Millisecond)
	}
	return next
}

// look looks at the room of a group, and orders captures.
func (w *Watcher) look(ctx context.Context, g *group, now time.Duration) {
	w.count(func(s *Stats) { s.Looks++ })
	g.due = now + slowestLook
	every := hostFar
	if w.hostOK && w.host.Left() < w.host.Limit/5 {
		every = hostNear
	}
	if now-w.hostAt >= every || w.hostAt == 0 {
		w.host, w.stalled, w.hostOK = w.opt.Host.Memory()
		w.hostAt = now
		w.hostReads++
	}
	var err error
	if !g.gone {
		if g.levels, err = g.files.Levels(g.levels[:0]); err != nil {
			if errors.Is(err, oom.ErrGone) {
				g.gone = true
				for _, p := range g.procs {
					p.due, p.checked = now, 0
				}
			}
			return
		}
	}
	levels := g.levels
	if w.hostOK {
		levels = append(levels, w.host)
	}
	if len(g.trigger) != len(levels) {
		g.trigger = make([]Trigger, len(levels))
		g.cache, g.cacheAt, g.usedAt = make([]uint64, len(levels)), make([]time.Duration, len(levels)), make([]uint64, len(levels))
		// Not all at once, when there are many from the start.
		stagger := time.Duration(len(w.groups)) * 20 * time.Millisecond
		for i := range g.trigger {
			g.trigger[i].First = stagger
			if i == 0 {
				g.trigger[i].Quiet = w.opt.Quiet
			}
		}
	}
	var demand uint64
	for _, p := range g.procs {
		demand += p.demand
	}
	g.worst, g.share = Verdict{Left: Never, Next: slowestLook}, 0
	var wanted *Verdict
	var wantedAt int
	for i, l := range levels {
		if l.Limit == 0 && i > 0 {
			continue
		}
		if l.Dir == "" {
			// It is read for all groups together; what was seen already is no new look.
			if g.hostSeen == w.hostReads {
				continue
			}
			g.hostSeen = w.hostReads
		}
		used := l.Usage
		if l.Limit > 0 && l.Dir != "" {
			used -= min(used, w.droppable(g, i, l, now))
		}
		v := g.trigger[i].Look(Look{At: now, Used: used, Limit: l.Limit, Demand: demand, Stalled: w.stalled, Bells: len(g.bells) > 0})
		if l.Limit > 0 {
			if share := float64(used) / float64(l.Limit); share > g.share {
				g.share = share
			}
		}
		if v.Left < g.worst.Left || v.Left == g.worst.Left && v.Next <= g.worst.Next {
			g.worst, g.level = v, i
		}
		g.due = min(g.due, now+v.Next)
		if v.Capture && (wanted == nil || wanted.Why == postmortem.WhyQuiet) {
			wanted, wantedAt = &v, i
		}
	}
	if g.share >= g.high || now-g.highAt > limbo {
		g.high, g.highAt = g.share, now
	}
	w.hang(ctx, g)
	if t := g.tightest(levels); t >= 0 {
		l := levels[t]
		at := time.Now()
		if n := len(g.looks.items); n == 0 || at.Sub(g.looks.items[n-1].Time) >= g.spacing() {
			g.looks.add(postmortem.Group{Time: at, Path: g.path, LimitPath: limitPath(g, l), Version: g.files.Version(), UsageBytes: l.Usage, LimitBytes: l.Limit, OOMKills: g.kills})
		}
	}
	if now-g.checked >= groupChecks {
		g.checked = now
		w.readCounter(g)
	}
	if wanted != nil && g.order == nil {
		w.want(g, wantedAt, *wanted, now)
	}
}

// spacing is between looks that are kept.
func (g *group) spacing() time.Duration {
	if g.worst.Left < nearTime {
		return 10 * time.Millisecond
	}
	return 250 * time.Millisecond
}

// tightest is the level with the least room, in bytes, -1 when none has a limit.
func (g *group) tightest(levels []oom.Level) int {
	best, left := -1, uint64(math.MaxUint64)
	for i, l := range levels {
		if l.Limit > 0 && (l.Left() < left || best < 0) && (l.Dir != "" || best < 0) {
			best, left = i, l.Left()
		}
	}
	return best
}

// limitPath says which level of a group has the limit, by how far above it is.
func limitPath(g *group, l oom.Level) string {
	switch {
	case l.Dir == "":
		return "the machine"
	case len(g.levels) > 0 && l.Dir != g.levels[0].Dir:
		return l.Dir
	}
	return ""
}

// droppable is how much of a level's usage is page cache. To know that costs as much as
// looking at all else, and it matters where the usage is high only.
func (w *Watcher) droppable(g *group, i int, l oom.Level, now time.Duration) uint64 {
	if float64(l.Usage) < 0.3*float64(l.Limit) {
		return 0
	}
	moved := l.Usage > g.usedAt[i] && l.Usage-g.usedAt[i] > l.Limit/50
	every := time.Second
	if g.cache[i] > l.Limit/20 {
		every = 20 * time.Millisecond // it may turn into memory that cannot be dropped, at the same usage
	}
	if now-g.cacheAt[i] >= every || moved && g.cache[i] > 0 {
		if _, droppable, err := g.files.Parts(l.Dir); err == nil {
			g.cache[i], g.cacheAt[i], g.usedAt[i] = droppable, now, l.Usage
		}
	}
	return g.cache[i]
}

// hang hangs the bells of a group, and again when its limits changed. It does so beside
// the loop: the kernel takes tens of milliseconds to register each threshold of v1.
func (w *Watcher) hang(ctx context.Context, g *group) {
	if w.bells == nil || g.hanging || g.gone {
		return
	}
	same := len(g.hung) == len(g.levels)
	for i := 0; same && i < len(g.hung); i++ {
		same = g.hung[i] == g.levels[i].Limit
	}
	if same {
		return
	}
	g.hung = g.hung[:0]
	for _, l := range g.levels {
		g.hung = append(g.hung, l.Limit)
	}
	if !slices.ContainsFunc(g.hung, func(limit uint64) bool { return limit > 0 }) {
		return
	}
	levels := slices.Clone(g.levels)
	g.hanging = true
	w.working.Add(1)
	go func() {
		defer w.working.Done()
		kinds := w.bells.Hang(g.key, levels, g.files.Version())
		w.result(ctx, func() {
			g.hanging, g.bells = false, kinds
			if w.groups[g.key] != g {
				w.bells.Take(g.key)
			}
		}, func() {})
	}()
}

// readCounter notices that the kernel killed in a group.
func (w *Watcher) readCounter(g *group) {
	n, ok := g.files.Kills()
	if !ok {
		return
	}
	if g.counts && n > g.kills {
		g.rose, g.roseBy = time.Now(), n-g.kills
		w.count(func(s *Stats) { s.CounterKills += n - g.kills })
		for _, p := range g.procs {
			p.due = 0 // is it still there?
		}
	}
	g.kills, g.counts = n, true
}

// want orders a capture of all watched processes of a group.
func (w *Watcher) want(g *group, level int, v Verdict, now time.Duration) {
	o := &order{group: g, level: level, verdict: v}
	for _, p := range g.procs {
		if !p.gone && p.wanted == nil {
			o.of = append(o.of, p)
		}
	}
	if len(o.of) == 0 {
		return
	}
	slices.SortFunc(o.of, func(a, b *proc) int { return cmp.Compare(b.rss, a.rss) })
	o.open = len(o.of)
	g.order = o
	for _, p := range o.of {
		p.wanted = o
	}
	w.waiting = append(w.waiting, o)
}

// dispatch begins captures, the most urgent first, of whom nobody reads just now.
func (w *Watcher) dispatch(ctx context.Context) {
	most := max(2, runtime.GOMAXPROCS(0)/2)
	for w.capturing < most && len(w.waiting) > 0 {
		var best *order
		var of *proc
		for _, o := range w.waiting {
			if best != nil && o.verdict.Left >= best.verdict.Left {
				continue
			}
			for _, p := range o.of {
				if p.wanted == o && !p.busy && !p.gone {
					best, of = o, p
					break
				}
			}
		}
		if of == nil {
			return
		}
		w.capture(ctx, of, best)
	}
}

// capture takes profiles of a process, beside the loop.
func (w *Watcher) capture(ctx context.Context, p *proc, o *order) {
	p.wanted = nil
	p.busy = true
	w.capturing++
	w.working.Add(1)
	g := o.group
	c := &capture{Capture: postmortem.Capture{Why: o.verdict.Why, Bytes: o.verdict.used}}
	quiet := o.verdict.Why == postmortem.WhyQuiet
	sample := p.last
	go func() {
		defer w.working.Done()
		var cycles []record.Cycle
		ended := takeCapture(p.source, c, &sample, &cycles, quiet)
		w.result(ctx, func() {
			w.capturing--
			p.busy = false
			now := w.now()
			p.touched, p.dirty = now, true
			w.count(func(s *Stats) {
				s.Captures++
				s.CaptureTime += c.Took
				s.LongestTook = max(s.LongestTook, c.Took)
				if len(c.Kinds) == 0 {
					s.Failed++
				}
			})
			if len(c.Kinds) > 0 {
				p.ring.addCapture(c)
				w.detail(g, o.level)
			} else {
				w.opt.Logger.Debug("capture failed", "pid", p.pid, "error", c.Failed)
			}
			if sample.Time.After(p.last.Time) {
				w.sampled(p, &sample, cycles, now)
			}
			w.finished(o, c.Took, len(c.Kinds) > 0)
			w.read(p, ended)
		}, func() {})
	}()
}

// takeCapture takes what there is, the most telling first: what comes after may not be
// reached any more.
func takeCapture(src Source, c *capture, sample *record.Sample, cycles *[]record.Cycle, quiet bool) (ended bool) {
	c.Time = time.Now()
	var failures []error
	fail := func(err error) bool {
		if err != nil {
			failures = append(failures, err)
			ended = ended || errors.Is(err, recorder.ErrEnded)
		}
		return ended
	}
	defer func() {
		c.Took = time.Since(c.Time)
		if err := errors.Join(failures...); err != nil {
			c.Failed = err.Error()
		}
	}()
	heap, since, err := src.Heap()
	c.heap, c.since = cutHeap(heap), cutHeap(since)
	if c.heap != nil {
		c.Kinds = append(c.Kinds, "heap")
	}
	if c.since != nil {
		c.Kinds = append(c.Kinds, "heap_since")
	}
	if fail(err) {
		return true
	}
	if fail(src.Sample(sample)) {
		return true
	}
	cs, _, err := src.Cycles(nil)
	*cycles = cs
	if fail(err) {
		return true
	}
	if !quiet && time.Since(c.Time) > captureBudget {
		fail(fmt.Errorf("goroutines were left out: the heap profile took %v", time.Since(c.Time).Round(time.Millisecond)))
		return false
	}
	stacks := hurriedStacks
	if quiet {
		stacks = quietStacks
	}
	g, err := src.Goroutines(stacks)
	if g != nil {
		c.goroutines = cutGoroutines(g)
		c.Kinds = append(c.Kinds, "goroutines")
	}
	return fail(err)
}

// detail looks at all that there is to know of a group.
func (w *Watcher) detail(g *group, level int) {
	if len(g.levels) == 0 {
		return
	}
	i := min(level, len(g.levels)-1)
	if levels, err := g.files.Levels(nil); err == nil {
		g.levels = levels
	}
	if len(g.levels) == 0 {
		return
	}
	l := g.levels[min(i, len(g.levels)-1)]
	d := postmortem.Group{Time: time.Now(), Path: g.path, LimitPath: limitPath(g, l), Version: g.files.Version(), UsageBytes: l.Usage, LimitBytes: l.Limit, OOMKills: g.kills}
	if parts, _, err := g.files.Parts(l.Dir); err == nil {
		d.Parts = parts
	}
	d.Siblings, d.SiblingsLeftOut = w.opt.Host.Siblings(g.levels[0].Dir)
	d.Siblings = slices.DeleteFunc(d.Siblings, func(s postmortem.Sibling) bool { return len(g.procs) == 1 && g.procs[s.PID] != nil })
	g.full = append(g.full, d)
	if len(g.full) > 12 {
		g.full = slices.Delete(g.full, 2, 3)
	}
}

// finished notes that one process of an order has been captured.
func (w *Watcher) finished(o *order, took time.Duration, got bool) {
	o.longest = max(o.longest, took)
	o.captured = o.captured || got
	if o.open--; o.open > 0 {
		return
	}
	w.waiting = slices.DeleteFunc(w.waiting, func(x *order) bool { return x == o })
	if o.group.order == o {
		o.group.order = nil
	}
	for i := range o.group.trigger {
		if i == o.level {
			o.group.trigger[i].Captured(o.verdict, o.longest)
		}
	}
}

// sample reads the runtime's books of a process, beside the loop.
func (w *Watcher) sample(ctx context.Context, p *proc, now time.Duration) {
	p.busy = true
	forget := p.dirty && now-p.touched > forgetPages
	if forget {
		p.dirty = false
	}
	w.working.Add(1)
	s := p.last
	go func() {
		defer w.working.Done()
		if forget {
			p.source.Forget()
		}
		err := p.source.Sample(&s)
		var cycles []record.Cycle
		if err == nil {
			cycles, _, _ = p.source.Cycles(nil)
		}
		w.result(ctx, func() {
			p.busy = false
			now := w.now()
			if err != nil {
				p.due = now + sampleNear
			} else {
				w.sampled(p, &s, cycles, now)
			}
			w.read(p, errors.Is(err, recorder.ErrEnded))
		}, func() {})
	}()
}

// read is called when somebody has read a process.
func (w *Watcher) read(p *proc, ended bool) {
	switch {
	case p.buried:
		p.source.Close()
	case ended || p.kill != nil:
		w.end(p)
	}
}

// sampled takes a sample.
func (w *Watcher) sampled(p *proc, s *record.Sample, cycles []record.Cycle, now time.Duration) {
	p.last = *s
	p.ring.addSample(s)
	p.ring.addCycles(cycles)
	p.rss = s.RSSBytes
	p.demand = 0
	if s.Has.Has(record.FieldHeapGoalBytes) && s.HeapGoalBytes < math.MaxInt64/2 {
		if want := s.HeapLiveBytes + s.HeapFreeBytes; s.HeapGoalBytes > want {
			p.demand = s.HeapGoalBytes - want
		}
	}
	p.due = now + sampleFar
	if g := p.group; g != nil && g.worst.Left < nearTime {
		p.due = now + sampleNear
	}
}

// killed takes what the kernel's log says.
func (w *Watcher) killed(k oom.Kill) {
	for _, p := range w.procs {
		if p.kill == nil && matches(&k, &p.life, w.opt.Host.SamePIDs()) {
			w.convict(p, k)
			return
		}
	}
	for _, p := range w.ended {
		if p.kill == nil && matches(&k, &p.life, w.opt.Host.SamePIDs()) {
			w.convict(p, k)
			return
		}
	}
	// Somebody else: a sibling perhaps, which those in its group have to know of.
	for _, p := range w.procs {
		if k.TaskGroup != "" && p.life.path != "" && within(k.TaskGroup, p.life.path) && p.life.path != "/" {
			p.ring.addNotice(postmortem.Notice{Time: k.Time, Kind: "sibling_killed", Text: fmt.Sprintf("the kernel killed process %d (%s) of the same group", k.PID, k.Name)})
			p.group.checked = 0
		}
	}
	w.opt.Logger.Info("the kernel killed a process that is not watched", "pid", k.PID, "name", k.Name, "group", k.TaskGroup)
	// Without our numbers: it may be one whose end is not noticed yet.
	if !w.opt.Host.SamePIDs() {
		w.kills = append(w.kills, k)
		if len(w.kills) > 64 {
			w.kills = slices.Delete(w.kills, 0, 1)
		}
	}
}

func (w *Watcher) convict(p *proc, k oom.Kill) {
	p.kill, p.killMon = &k, w.now()
	p.due = 0
	if !p.busy {
		w.end(p)
	}
}

// end takes a process out that is no more, or that the kernel is ending.
func (w *Watcher) end(p *proc) {
	if w.procs[p.pid] != p {
		return
	}
	delete(w.procs, p.pid)
	if c := w.seen[p.pid]; c != nil {
		// The number may be another process's by now.
		c.program, c.left, c.next, c.wait = "", nil, w.now()+scanInterval, scanInterval
	}
	p.gone, p.goneAt, p.goneMon = true, time.Now(), w.now()
	p.life.ended = true
	if o := p.wanted; o != nil {
		p.wanted = nil
		w.finished(o, 0, false)
	}
	if p.group != nil {
		w.readCounter(p.group)
		delete(p.group.procs, p.pid)
	}
	w.ended = append(w.ended, p)
	if !w.opt.Host.SamePIDs() && p.kill == nil {
		fits := func(k oom.Kill) bool { return matches(&k, &p.life, false) && p.goneAt.Sub(k.Time) < limbo }
		if i := slices.IndexFunc(w.kills, fits); i >= 0 {
			// A kill is of one process only.
			k := w.kills[i]
			w.kills = slices.Delete(w.kills, i, i+1)
			p.kill, p.killMon = &k, w.now()
		}
	}
	w.count(func(s *Stats) { s.Watched = len(w.procs) })
}

func (w *Watcher) settleEnded(now time.Duration) {
	w.ended = slices.DeleteFunc(w.ended, func(p *proc) bool { return w.settle(p, now-p.goneMon >= limbo) })
}

// settle decides what became of a process that ended, at the latest when its time is
// over, and reports whether that is decided.
func (w *Watcher) settle(p *proc, over bool) bool {
	if p.busy && !over {
		return false // a capture may be on its way
	}
	// The counter rises a moment after the log was written.
	if p.kill != nil && !over && w.now()-p.killMon < 50*time.Millisecond {
		return false
	}
	if p.kill == nil && !over {
		return false
	}
	g := p.group
	var rose, gone bool
	var by uint64
	left, share := Never, 0.0
	if g != nil {
		w.readCounter(g)
		gone = g.gone
		if n, ok := g.files.Kills(); ok {
			by = n - min(n, p.kills0)
		} else {
			gone = true
		}
		rose = by > 0 && !g.rose.IsZero() && g.rose.Sub(p.goneAt).Abs() < 2*limbo
		left, share = g.worst.Left, g.share
		if w.now()-g.highAt < 2*limbo {
			share = g.high
		}
	}
	w.mu.Lock()
	signalled := w.exited[p.pid]
	delete(w.exited, p.pid)
	w.mu.Unlock()
	sources := verdictOnEnd(rose, signalled, gone, left, share)
	if p.kill == nil && w.logged() && w.opt.Host.SamePIDs() {
		sources = nil // the log would have said so: it was somebody else's kill, or none
	}
	if p.kill != nil || len(sources) > 0 {
		w.report(p, sources, by)
	}
	w.bury(p)
	return true
}

func (w *Watcher) bury(p *proc) {
	if p.group != nil {
		w.leave(p)
	}
	p.buried = true
	if !p.busy {
		p.source.Close()
	}
}

// report puts together what is known of a kill, and writes it.
func (w *Watcher) report(p *proc, sources []postmortem.Source, by uint64) {
	at := p.goneAt
	e := &postmortem.Evidence{
		Recording: p.ring.recording(p.info),
		Kill:      blend(p.kill, sources, &p.life, at),
		Notices:   slices.Clone(p.ring.notices),
	}
	at = e.Kill.Time
	e.Recording.Events = append(e.Recording.Events, record.Event{Time: at, Kind: record.EventExited, Text: "killed for want of memory"})
	for _, c := range p.ring.captures {
		e.Captures = append(e.Captures, c.Capture)
	}
	if g := p.group; g != nil {
		e.Groups = slices.Concat(g.looks.items, g.full)
		slices.SortStableFunc(e.Groups, func(a, b postmortem.Group) int { return a.Time.Compare(b.Time) })
		e.Groups = slices.DeleteFunc(e.Groups, func(l postmortem.Group) bool { return l.Time.After(at.Add(time.Second)) })
		if n := len(g.full); n > 0 && len(e.Groups) > 0 {
			// The last look counts most, and has to have all: what is not read anew each
			// time is from the last one that did.
			last := &e.Groups[len(e.Groups)-1]
			if last.Parts == nil && last.LimitPath == g.full[n-1].LimitPath && last.Time.Sub(g.full[n-1].Time) < 2*time.Second {
				last.Siblings, last.SiblingsLeftOut = g.full[n-1].Siblings, g.full[n-1].SiblingsLeftOut
			}
		}
	}
	w.count(func(s *Stats) { s.Kills++ })
	pm := Postmortem{Process: p.info, Evidence: e, GroupKills: by}
	w.writing.Add(1)
	go func() {
		defer w.writing.Done()
		var stable func() error
		pm.File, stable, pm.Err = w.keep.put(e, at)
		if pm.Err != nil {
			w.problem("keeping a post-mortem", pm.Err)
		}
		w.opt.Logger.Info("a watched process was killed for want of memory", "pid", p.pid, "name", p.info.Name, "file", pm.File)
		w.opt.On(pm)
		// A disk that is busy, as one is on a machine without memory, takes many seconds.
		if err := stable(); err != nil {
			w.problem("keeping a post-mortem", err)
		}
	}()
}
