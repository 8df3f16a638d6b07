package memlimit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heapwright/heapwright/memlimit/control"
)

// A Config says where the limit is from and what may be changed. The zero Config
// is good: the limit of the cgroup, GOMEMLIMIT only, a look every second.
type Config struct {
	// Bytes is the memory limit of this process, for where no cgroup has it, or where
	// the process is to have less. 0: look for it.
	Bytes uint64
	// File has the memory limit: a number of bytes, or a quantity as Kubernetes
	// writes it ("512Mi"). A downward API volume with limits.memory is meant; it is
	// read again at every look. HEAPWRIGHT_MEMORY_LIMIT in the environment gives a
	// quantity, or such a file as "@/path".
	File string

	// Reserve is how many bytes of the limit stay free, beside the memory that is not
	// Go's, at least. 0: 2% of the limit, 32 MiB at least but a tenth of the limit
	// at most. What is measured may add to either.
	Reserve uint64
	// Interval is the time from one look to the next, 1 s by default, 100 ms at
	// least. With less than a quarter of the limit left it is 200 ms, if that is less.
	Interval time.Duration

	// Objective has a controller choose GOGC as well, and GOMEMLIMIT into the reserve
	// where the collector is under pressure; see package memlimit/control. Nil:
	// GOMEMLIMIT only. &Objective{} is the least CPU for the collector.
	Objective *control.Objective
	// MinGOGC and MaxGOGC bound the controller, in percent: 25 and 1000.
	MinGOGC, MaxGOGC int

	// DryRun sets nothing, and says what would be set.
	DryRun bool
	// IgnoreOperator sets GOMEMLIMIT and GOGC even where they were set before, in
	// the environment or by the program.
	IgnoreOperator bool
	// Keep leaves the settings as they are at Close, instead of restoring those from
	// before Start.
	Keep bool

	// Logger gets a line when something is set. Nil: slog.Default().
	Logger *slog.Logger
	// OnChange is called after each change, in a goroutine of its own. It may take
	// its time: if more changes come, it sees the latest.
	OnChange func(Report)
}

const (
	// A neighbour in the same container takes memory within seconds, and a look costs
	// tens of microseconds.
	defaultInterval = time.Second
	leastInterval   = 100 * time.Millisecond
	// tightInterval is the interval when less than tightShare of the limit is left.
	tightInterval = 200 * time.Millisecond
	tightShare    = 0.25
	// changeShare is by how much GOMEMLIMIT has to be too high before it is touched,
	// raiseShare by how much too low: memory that others gave back is no hurry.
	changeShare = 0.01
	raiseShare  = 0.05
	// sayInterval is the least time between two lines about changes that come by
	// themselves, sayAgain that between two that a mode has come; those in between are
	// for debugging.
	sayInterval = 10 * time.Second
	sayAgain    = time.Minute
	// maxLines of the log wait for a logger that does not take them.
	maxLines = 16
	// startWait is how long Start waits for the logger.
	startWait = time.Second
	// closeWait is how long Close waits for a callback that does not return.
	closeWait = time.Second
)

// ErrRunning: another Limit runs in this process. There is one GOMEMLIMIT, so
// there can be one only. [Current] returns it.
var ErrRunning = errors.New("a memory limit is kept in this process already: use memlimit.Current, or close that one first")

// running is the Limit of this process. It is stored with starting held.
var (
	starting sync.Mutex
	running  atomic.Pointer[Limit]
)

// Current returns the Limit that runs in this process, nil when none does: that of
// package memlimit/auto, or what Start returned.
func Current() *Limit { return running.Load() }

// A Limit keeps GOMEMLIMIT right until it is closed. Its methods are safe for
// concurrent use.
type Limit struct {
	conf Config
	sys  *system
	base setting // from before Start

	operator     string // who set GOMEMLIMIT before Start, "" for nobody
	operatorGOGC string

	look     sync.Mutex // held while files are read: one look at a time
	steering *steering  // of the loop; nil: no controller
	watchdog *time.Timer

	mu          sync.Mutex // of all below; nothing that may block is called with it
	found       found
	noise       noise
	started     time.Time
	plan        settings
	limit       int64   // what the plan comes to, without its jitter
	set         setting // as we, or somebody before us, left it
	ours        struct{ limit, gogc bool }
	plans       uint64          // made
	action      *control.Action // the controller's last; nil: none is carried out
	broken      string          // what the controller panicked with
	stalled     bool
	lowered     bool  // GOMEMLIMIT was lowered since the last look
	prepared    int64 // of Prepare; 0: none
	preparedEnd time.Time
	lease       *Lease
	expiry      *time.Timer
	leases      uint64
	off         string // why it is off
	envOff      bool   // the environment said so at the start, and nothing was looked for
	stood       string // who else changes the settings
	closed      bool
	said        said
	report      Report
	lines       *courier[line]
	changes     *courier[Report]

	dropped, failures atomic.Uint64

	stop context.CancelFunc
	done chan struct{} // of the loop
}

// A setting is what debug.SetMemoryLimit and SetGCPercent have.
type setting struct {
	limit int64
	gogc  int
}

// said is what the log has, so that a thing is said once.
type said struct {
	mode Mode
	bad  string
	err  string

	// Of the last line that was not for debugging, and for each mode.
	at    time.Time
	limit uint64
	modes map[Mode]time.Time
}

// A line is a line of the log, or, with flushed, the question whether all before it
// were written.
type line struct {
	flushed chan struct{}

	level slog.Level
	text  string
	attrs []slog.Attr
}

// Start finds the memory limit, sets GOMEMLIMIT, says so in one line of the log, and
// keeps it right until Close. It fails for a Config that cannot be meant, and with
// [ErrRunning]; a limit that cannot be found or used is no failure: the Report says
// what there is.
func Start(conf Config) (*Limit, error) {
	l, err := newLimit(conf, realSystem())
	if err != nil {
		return nil, err
	}
	starting.Lock()
	defer starting.Unlock()
	if running.Load() != nil {
		return nil, ErrRunning
	}
	l.start()
	running.Store(l)
	l.flush()
	return l, nil
}

func newLimit(conf Config, sys *system) (*Limit, error) {
	switch {
	case conf.Bytes > 0 && conf.Bytes < minLimit:
		return nil, fmt.Errorf("memory limit: Config.Bytes is %d, and %w", conf.Bytes, check(conf.Bytes, true, 0))
	case conf.Bytes >= unlimited:
		return nil, fmt.Errorf("memory limit: Config.Bytes is %d, which is no limit: leave it 0", conf.Bytes)
	case conf.Interval < 0:
		return nil, fmt.Errorf("memory limit: Config.Interval is %v: leave it 0 for %v", conf.Interval, defaultInterval)
	}
	if conf.Interval == 0 {
		conf.Interval = defaultInterval
	}
	conf.Interval = max(conf.Interval, leastInterval)
	l := &Limit{conf: conf, sys: sys}
	switch v := sys.getenv(envSwitch); v {
	case "", "on":
	case "off":
		l.off, l.envOff = envSwitch+"=off in the environment", true
	case "dry-run":
		l.conf.DryRun = true
	default:
		return nil, fmt.Errorf("memory limit: %s is %q: it may be on, off or dry-run", envSwitch, v)
	}
	if conf.Objective != nil {
		var err error
		if l.steering, err = newSteering(&conf); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *Limit) start() {
	var g goState
	l.sys.read(&g)
	l.base = setting{g.limit, g.gogc}
	l.set = l.base
	l.started = time.Now()
	if !l.conf.IgnoreOperator {
		switch v := l.sys.getenv("GOMEMLIMIT"); {
		case v != "":
			l.operator = "GOMEMLIMIT=" + v + " in the environment"
		case g.limit != math.MaxInt64:
			l.operator = "debug.SetMemoryLimit, called by the program"
		}
		switch v := l.sys.getenv("GOGC"); {
		case v != "":
			l.operatorGOGC = "GOGC=" + v + " in the environment"
		case g.gogc != 100:
			l.operatorGOGC = "debug.SetGCPercent, called by the program"
		}
	}
	if g.gogc < 0 {
		// Off could not be restored without waiting for a collection that may run.
		l.operatorGOGC = "GOGC=off"
	}
	l.report = Report{Mode: ModeOff, PreviousGOMEMLIMIT: g.limit, PreviousGOGC: g.gogc, Source: SourceNone}
	l.lines = newCourier(maxLines, &l.dropped, &l.failures, l.write)
	if l.conf.OnChange != nil {
		l.changes = newCourier(1, &l.dropped, &l.failures, l.conf.OnChange)
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop, l.done = stop, make(chan struct{})
	if l.off != "" {
		l.mu.Lock()
		l.settle(&g)
		l.mu.Unlock()
		close(l.done)
		return
	}
	l.refresh()
	if l.steering != nil {
		var err error
		if l.steering.points, err = l.sys.points(); err != nil {
			l.steering = nil
			l.breakOff(err.Error())
		} else {
			l.watchdog = time.AfterFunc(stallAfter, l.stall)
		}
	}
	go l.run(ctx, l.steering)
}

// run looks again and again.
func (l *Limit) run(ctx context.Context, steering *steering) {
	defer close(l.done)
	defer func() {
		l.look.Lock()
		defer l.look.Unlock()
		l.sys.close()
	}()
	next := time.NewTimer(l.interval())
	defer next.Stop()
	var poll <-chan time.Time
	if steering != nil {
		t := time.NewTicker(pollInterval)
		defer t.Stop()
		defer steering.points.Close()
		defer l.watchdog.Stop()
		poll = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-poll:
			l.steer(steering)
			l.watchdog.Reset(stallAfter)
		case <-next.C:
			l.refresh()
			next.Reset(l.interval())
		}
	}
}

// interval is the time until the next look.
func (l *Limit) interval() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := &l.report; r.LimitBytes > 0 && r.UsedBytes > 0 && float64(r.UsedBytes) > (1-tightShare)*float64(r.LimitBytes) {
		return min(l.conf.Interval, tightInterval)
	}
	return l.conf.Interval
}

// refresh takes a look, and sets what follows from it.
func (l *Limit) refresh() {
	l.look.Lock()
	defer l.look.Unlock()
	guarded(&l.failures, func() {
		l.mu.Lock()
		earlier, closed := l.found, l.closed
		l.mu.Unlock()
		if closed {
			return // what find opens would stay open
		}
		f := find(l.sys, &l.conf, &earlier)
		used, err := l.measure(&f)
		if l.takeIn(f, used, err) {
			// A program that does not allocate now would hold its garbage, however low the
			// limit, until something else needs the memory.
			l.sys.nudge()
		}
	})
}

// measure says what counts against the limit and cannot be reclaimed: what the
// kernel charges to the group that has the limit, or what this process alone has
// where the limit is another's.
func (l *Limit) measure(f *found) (uint64, error) {
	if f.source == SourceCgroup || f.source == SourceCgroupHigh {
		if f.group.measured {
			return f.group.used, nil
		}
		if used, err := l.sys.own(); err == nil {
			return used, nil
		}
		return 0, f.group.err
	}
	return l.sys.own()
}

// takeIn takes in what was seen, and settles. over is true when Go holds more than it
// may.
func (l *Limit) takeIn(f found, used uint64, err error) (over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.off != "" {
		return false
	}
	var g goState
	l.sys.read(&g)
	in := inputs{limit: f.bytes, reserve: l.conf.Reserve, live: g.live, fixed: g.fixed}
	r := &l.report
	r.Refreshes++
	r.Time = time.Now()
	r.Source, r.Path, r.LimitBytes, r.HostBytes, r.Looks = f.source, f.path, f.bytes, f.host, f.looks
	r.UsedBytes, r.GoBytes, r.LiveBytes, r.Error = used, g.held, g.live, ""
	if f.failed != "" {
		r.Error = "the limit of before is kept: " + f.failed
	}
	if err != nil && !errors.Is(err, errUnmeasurable) {
		r.Error = err.Error()
	}
	if r.Error != "" {
		l.failures.Add(1)
	}
	switch {
	case err != nil:
	case r.Refreshes > 1:
		limit := g.limit
		if l.lowered || l.plan.tooSmall || limit == math.MaxInt64 {
			limit = -1 // it takes a collection or more to come down
		}
		l.noise.add(time.Since(l.started), used, g.held, limit)
	default:
		in.nonGo = used - min(used, g.held)
	}
	l.lowered = false
	if l.noise.looks > 0 {
		in.measured = true
		in.nonGo, in.rise, in.over = uint64(l.noise.nonGo.v), uint64(l.noise.rise.v), uint64(l.noise.over.v)
	}
	changed := f.bytes != l.found.bytes
	l.found = f
	if l.prepared > 0 && time.Now().After(l.preparedEnd) {
		l.prepared = 0
	}
	l.plan = settings{}
	r.NonGoBytes, r.Measured, r.NonGoWhy, r.ReserveBytes, r.ReserveWhy = 0, false, "", 0, ""
	if f.source == SourceNone {
		l.limit = 0
	} else {
		p := plan(in)
		l.plan = p
		before := l.limit
		off := float64(p.limit - l.limit)
		if changed || l.limit <= 0 || l.limit > p.ceiling || -off > changeShare*float64(p.limit) || off > raiseShare*float64(p.limit) {
			l.limit = p.limit
		}
		if l.limit != before || l.plans == 0 {
			l.plans++
		}
		r.NonGoBytes, r.Measured, r.NonGoWhy = p.nonGo, in.measured, p.nonGoWhy
		if errors.Is(err, errUnmeasurable) {
			r.NonGoWhy = "10% of the limit: " + err.Error()
		}
		r.ReserveBytes, r.ReserveWhy = p.reserve, p.reserveWhy
	}
	l.settle(&g)
	return l.ours.limit && g.held > uint64(max(0, l.set.limit))
}

// wanted is what should be set now, and why. With mu.
func (l *Limit) wanted() (want setting, mode Mode, reason string) {
	want = l.base
	switch {
	case l.closed:
		return want, ModeClosed, "closed"
	case l.off != "":
		return want, ModeOff, l.off
	case l.found.source == SourceNone || l.found.source == "": // none, or not looked for
		mode, reason = ModeNoLimit, l.noLimit()
		if l.prepared > 0 && l.operator == "" && !l.conf.DryRun {
			want.limit, mode, reason = l.prepared, ModeSet, "lowered, before there is a limit"
		}
	case l.operator != "":
		mode, reason = ModeOperator, l.operator+" is kept"
		if l.base.limit > l.plan.ceiling {
			reason += fmt.Sprintf(", although it is more than the %s that the limit leaves", human(uint64(max(0, l.plan.ceiling))))
		}
	case l.conf.DryRun:
		mode, reason = ModeDryRun, "a dry run sets nothing"
	default:
		want.limit, mode = l.limit, ModeSet
		reason = "the limit, less what is not Go's, less a reserve"
		if l.plan.tooSmall {
			mode = ModeTooSmall
			reason = fmt.Sprintf("what lives needs %s, which the limit does not leave: the collector runs nearly all the time", human(l.plan.floor))
		}
		if l.action != nil && l.operatorGOGC != "" {
			reason += "; " + l.operatorGOGC + " is kept"
		}
		if a := l.action; a != nil && l.operatorGOGC == "" {
			want.gogc, want.limit = a.GOGC, min(a.GOMEMLIMIT, max(l.plan.ceiling, l.limit))
			if a.Reason != "" {
				reason = a.Reason
			}
			switch a.Mode {
			case control.Leaking:
				mode, reason = ModeLeak, "the live heap only grows: it is not given more"
			case control.Exhausted:
				mode = ModeTooSmall
				reason = "what lives fills what the limit leaves: no setting helps, only less work or more memory"
			}
		}
		if l.prepared > 0 && l.prepared < want.limit {
			want.limit = l.prepared
			reason = "lowered, before the limit is"
		}
	}
	if l.lease != nil {
		if l.lease.GOMEMLIMIT != 0 {
			want.limit = l.lease.GOMEMLIMIT
		}
		if l.lease.GOGC != 0 {
			want.gogc = l.lease.GOGC
		}
		mode, reason = ModeOverride, "overridden by "+l.lease.Who+" until "+l.lease.Until.Format(time.RFC3339)
	}
	return want, mode, reason
}

// noLimit says why there is none. With mu.
func (l *Limit) noLimit() string {
	if l.found.group.err != nil {
		return "no memory limit was given, and no cgroup seen: " + l.found.group.err.Error()
	}
	return "there is no memory limit"
}

// follow takes over what somebody changed that we have not set. With mu.
func (l *Limit) follow(g *goState) {
	if !l.ours.limit && g.limit != l.base.limit {
		l.base.limit = g.limit
		if !l.conf.IgnoreOperator {
			l.operator = "debug.SetMemoryLimit, called by the program"
		}
	}
	if !l.ours.gogc && g.gogc != l.base.gogc {
		l.base.gogc = g.gogc
		if !l.conf.IgnoreOperator {
			l.operatorGOGC = "debug.SetGCPercent, called by the program"
		}
	}
}

// settle sets what is wanted, and says so. With mu.
func (l *Limit) settle(g *goState) {
	r := &l.report
	l.follow(g)
	if l.ours.limit && g.limit != l.set.limit {
		l.stood = fmt.Sprintf("GOMEMLIMIT is %s, but %s was set here", limitText(g.limit), limitText(l.set.limit))
		l.ours.limit, l.base.limit = false, g.limit
	}
	if l.ours.gogc && g.gogc != l.set.gogc {
		l.stood = fmt.Sprintf("GOGC is %d, but %d was set here", g.gogc, l.set.gogc)
		l.ours.gogc, l.base.gogc = false, g.gogc
	}
	want, mode, reason := l.wanted()
	before := setting{g.limit, g.gogc}
	if want.gogc < 0 {
		want.gogc = g.gogc // to turn it off would wait for a collection that runs
	}
	if l.stood != "" && l.off == "" && !l.closed {
		want, mode = before, ModeStoodDown
		reason = "somebody else changes the settings, and is left to it: " + l.stood
	}
	if l.closed && l.conf.Keep {
		want = before
	}
	changed := false
	if want.limit != g.limit {
		l.sys.setMemoryLimit(want.limit)
		l.lowered = want.limit < g.limit
		l.ours.limit = want.limit != l.base.limit
		changed = true
	}
	if want.gogc != g.gogc {
		l.sys.setGCPercent(want.gogc)
		l.ours.gogc = want.gogc != l.base.gogc
		changed = true
	}
	l.set = want
	if changed {
		r.Changes++
	}
	r.Mode, r.Reason = mode, reason
	r.GOMEMLIMIT, r.GOGC = want.limit, want.gogc
	would := setting{}
	if l.found.source != SourceNone && !l.closed {
		would.limit = l.limit
		if l.action != nil {
			would = setting{min(l.action.GOMEMLIMIT, max(l.plan.ceiling, l.limit)), l.action.GOGC}
		}
	}
	if would.limit == want.limit {
		would.limit = 0
	}
	if would.gogc == want.gogc {
		would.gogc = 0
	}
	news := changed || mode == ModeDryRun && (would.limit != r.WouldSet || would.gogc != r.WouldSetGOGC)
	r.WouldSet, r.WouldSetGOGC = would.limit, would.gogc
	r.Override = nil
	if l.lease != nil {
		c := *l.lease
		r.Override = &c
	}
	l.say(before, news)
}

// say writes to the log and calls back, when there is something new. With mu.
func (l *Limit) say(before setting, news bool) {
	r := &l.report
	bad := ""
	for _, b := range l.found.bad {
		bad += fmt.Sprintf("%s %s has %s: %s; ", b.Source, b.Where, b.Found, b.Why)
	}
	if bad != l.said.bad {
		l.said.bad = bad
		if bad != "" {
			l.lines.post(line{nil, slog.LevelWarn, "memory limit was passed over", []slog.Attr{slog.String("why", bad)}})
		}
	}
	if r.Error != l.said.err {
		l.said.err = r.Error
		if r.Error != "" {
			l.lines.post(line{nil, slog.LevelDebug, "memory was not measured", []slog.Attr{slog.String("error", r.Error)}})
		}
	}
	newMode := r.Mode != l.said.mode
	l.said.mode = r.Mode
	if !newMode && !news {
		return
	}
	// What goes to and fro is said once a minute, and what creeps every ten seconds.
	// What somebody decided is said at once.
	level := slog.LevelInfo
	now := time.Now()
	switch last, ok := l.said.modes[r.Mode]; {
	case newMode && (!ok || now.Sub(last) >= sayAgain), r.LimitBytes != l.said.limit, r.Mode == ModeOverride, r.Mode == ModeOff, r.Mode == ModeClosed:
	case !newMode && now.Sub(l.said.at) >= sayInterval:
	default:
		level = slog.LevelDebug
	}
	if level == slog.LevelInfo {
		if l.said.modes == nil {
			l.said.modes = map[Mode]time.Time{}
		}
		l.said.at, l.said.limit, l.said.modes[r.Mode] = now, r.LimitBytes, now
	}
	quiet := level == slog.LevelDebug
	text := "memory limit is set"
	switch r.Mode {
	case ModeNoLimit:
		level, text = slog.LevelDebug, "memory limit is not set"
	case ModeOff, ModeClosed:
		text = "memory limit is not kept"
		if r.Mode == ModeClosed && before == (setting{r.GOMEMLIMIT, r.GOGC}) {
			level = slog.LevelDebug
		}
	case ModeDryRun:
		text = "memory limit would be set"
	case ModeOperator:
		text = "memory limit is left as it was set"
		if l.base.limit > l.plan.ceiling {
			level = slog.LevelWarn
		}
	case ModeTooSmall, ModeLeak:
		level = slog.LevelWarn
	case ModeStoodDown:
		level, text = slog.LevelWarn, "memory limit is left alone"
	}
	if quiet {
		level = slog.LevelDebug
	} else if !newMode && level == slog.LevelWarn {
		level = slog.LevelInfo
	}
	l.lines.post(line{nil, level, text, r.attrs(before)})
	if l.changes != nil {
		l.changes.post(l.snapshot())
	}
}

// attrs are those of the line that says what was set.
func (r *Report) attrs(before setting) []slog.Attr {
	a := []slog.Attr{slog.String("mode", string(r.Mode)), slog.String("gomemlimit", limitText(r.GOMEMLIMIT))}
	if before.limit != r.GOMEMLIMIT {
		a = append(a, slog.String("previous", limitText(before.limit)))
	}
	if r.WouldSet != 0 {
		a = append(a, slog.String("would_set", limitText(r.WouldSet)))
	}
	if before.gogc != r.GOGC {
		a = append(a, slog.Int("gogc", r.GOGC), slog.Int("previous_gogc", before.gogc))
	}
	if r.WouldSetGOGC != 0 {
		a = append(a, slog.Int("would_set_gogc", r.WouldSetGOGC))
	}
	if r.LimitBytes > 0 {
		a = append(a, slog.String("limit", human(r.LimitBytes)), slog.String("source", string(r.Source)), slog.String("path", r.Path),
			slog.String("non_go", human(r.NonGoBytes)), slog.Bool("non_go_measured", r.Measured), slog.String("reserve", human(r.ReserveBytes)))
	}
	return append(a, slog.String("why", r.Reason))
}

func limitText(v int64) string {
	if v == math.MaxInt64 {
		return "none"
	}
	if v < 0 {
		return strconv.FormatInt(v, 10)
	}
	return human(uint64(v))
}

// flush waits until the log has its lines, so that a program that ends at once has
// said what it did; but not for a logger that does not take them.
func (l *Limit) flush() {
	n := line{flushed: make(chan struct{})}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.lines.post(n)
	l.mu.Unlock()
	wait := time.NewTimer(startWait)
	defer wait.Stop()
	select {
	case <-n.flushed:
	case <-wait.C:
	}
}

// write passes a line to the logger.
func (l *Limit) write(n line) {
	if n.flushed != nil {
		close(n.flushed)
		return
	}
	log := l.conf.Logger
	if log == nil {
		log = slog.Default()
	}
	log.LogAttrs(context.Background(), n.level, n.text, n.attrs...)
}

// Report says what was found and set, and why. It costs a copy.
func (l *Limit) Report() Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.snapshot()
}

func (l *Limit) snapshot() Report {
	r := l.report
	r.Looks = append([]Look(nil), r.Looks...)
	r.Dropped, r.Failures = l.dropped.Load(), l.failures.Load()
	return r
}

// Disable restores the settings from before Start and turns the Limit off, until
// Enable. reason is for the report and the log.
func (l *Limit) Disable(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.off != "" {
		return
	}
	if reason == "" {
		reason = "turned off"
	}
	l.off = reason
	l.action, l.report.Control = nil, nil
	l.resettle()
}

// Enable turns a Limit on again that was turned off or that stood down. What the
// environment turned off stays off.
func (l *Limit) Enable() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.envOff || l.sys.getenv(envSwitch) == "off" {
		return
	}
	l.off, l.stood = "", ""
	var g goState
	l.sys.read(&g)
	l.set = setting{g.limit, g.gogc} // whoever set it, it is ours now
	l.settle(&g)
}

// resettle settles without a look. With mu.
func (l *Limit) resettle() {
	var g goState
	l.sys.read(&g)
	l.settle(&g)
}

// Override sets GOGC, in percent, and GOMEMLIMIT, in bytes, to other values for at
// most the time of the lease, whatever was chosen; 0 leaves a setting as it is. It
// ends by itself, or by revert, which may be called more than once. who is for the
// report and the log. There is one override at a time; another of the same who takes
// its place, and so a lease is renewed without the settings going back in between.
func (l *Limit) Override(gogc int, gomemlimit int64, lease time.Duration, who string) (revert func(), err error) {
	if who == "" {
		who = "somebody"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refusal(gogc, gomemlimit, lease, who); err != nil {
		return nil, err
	}
	if l.lease != nil {
		l.expiry.Stop()
	}
	l.leases++
	n := l.leases
	l.lease = &Lease{Who: who, Until: time.Now().Add(lease), GOGC: gogc, GOMEMLIMIT: gomemlimit}
	end := func() { l.endLease(n) }
	l.expiry = time.AfterFunc(lease, end)
	l.resettle()
	return end, nil
}

// CheckOverride returns the error that Override would return now, and changes nothing.
func (l *Limit) CheckOverride(gogc int, gomemlimit int64, lease time.Duration, who string) error {
	if who == "" {
		who = "somebody"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refusal(gogc, gomemlimit, lease, who)
}

// refusal says why there cannot be such an override now. With mu.
func (l *Limit) refusal(gogc int, gomemlimit int64, lease time.Duration, who string) error {
	switch {
	case gogc == 0 && gomemlimit == 0:
		return errors.New("overriding the memory limit: neither GOGC nor GOMEMLIMIT is given")
	case gogc < 0 || gogc > 100_000:
		return fmt.Errorf("overriding the memory limit: GOGC=%d: it may be 1 to 100000; GOGC=off would have to wait for a collection", gogc)
	case gomemlimit != 0 && gomemlimit < minLimit:
		return fmt.Errorf("overriding the memory limit: GOMEMLIMIT=%d is less than %s", gomemlimit, human(minLimit))
	case lease <= 0 || lease > maxLease:
		return fmt.Errorf("overriding the memory limit: a lease of %v: it may be up to %v", lease, maxLease)
	case l.closed:
		return errors.New("overriding the memory limit: it was closed")
	case l.off != "":
		return fmt.Errorf("overriding the memory limit: it is off: %s", l.off)
	case l.stood != "":
		return fmt.Errorf("overriding the memory limit: it stood down, enable it first: %s", l.stood)
	case l.conf.DryRun:
		return errors.New("overriding the memory limit: a dry run sets nothing")
	case l.lease != nil && l.lease.Who != who:
		return fmt.Errorf("overriding the memory limit: %s has it until %s", l.lease.Who, l.lease.Until.Format(time.RFC3339))
	case gogc != 0 && l.base.gogc < 0:
		return errors.New("overriding the memory limit: GOGC was off before, and is not set back to off without waiting for a collection: leave it")
	}
	return nil
}

// maxLease bounds an override: what is to stay belongs into the configuration.
const maxLease = 24 * time.Hour

// endLease ends the override of that number, if it has not ended yet.
func (l *Limit) endLease(n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lease == nil || l.leases != n {
		return
	}
	l.expiry.Stop()
	l.lease = nil
	if !l.closed {
		l.resettle()
	}
}

// Close restores the settings from before Start, unless Config.Keep says otherwise
// or somebody else changed them since. It waits for the goroutines, a second for a
// callback that does not return. It may be called more than once.
func (l *Limit) Close() error {
	l.mu.Lock()
	first := !l.closed
	if first {
		l.closed = true
		if l.lease != nil {
			l.expiry.Stop()
			l.lease = nil
		}
		l.resettle()
		close(l.lines.queue)
		if l.changes != nil {
			close(l.changes.queue)
		}
	}
	l.mu.Unlock()
	if first {
		l.stop()
		running.CompareAndSwap(l, nil)
	}
	wait := time.NewTimer(closeWait)
	defer wait.Stop()
	waits := []chan struct{}{l.done, l.lines.done}
	if l.changes != nil {
		waits = append(waits, l.changes.done)
	}
	for _, c := range waits {
		select {
		case <-c:
		case <-wait.C:
			return errors.New("closing the memory limit: the settings are restored, but a callback has not returned")
		}
	}
	return nil
}
