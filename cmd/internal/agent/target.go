package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/history"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/cmd/internal/series"
	"github.com/heapwright/heapwright/cmd/internal/store"
	"github.com/heapwright/heapwright/cmd/internal/vault"
	"github.com/heapwright/heapwright/record"
)

// A target is one process that is watched. Its goroutine reads it whenever it is woken;
// between, and only then, the agent's loop looks at what it read.
type target struct {
	id   string
	pid  int
	wake chan reading
	snap chan snapRequest

	// Of the goroutine while it reads, of the loop otherwise.
	src       Source
	sample    record.Sample
	before    record.Sample // the sample before, for the pace
	samples   int
	cycles    []record.Cycle
	points    []timed
	figures   figures
	spark     sparks
	mood      mood
	interval  time.Duration
	due       time.Time
	slowAt    time.Time // when the last whole sample was taken
	staticAt  time.Time
	settings  [4]float64
	diagnosed time.Time
	snapped   time.Time
	findings  []diagnose.Finding
	failed    string // why it could not be read the last time, "" when it could
	busy      bool
	dismissed bool
	oomKills  float64
	handles   map[handle]*store.Series
	plain     map[string]*store.Series // those without labels, which are most

	mu     sync.Mutex // of the window, which others read too
	window window
}

// A reading is what a target is asked to do, by the settings of that moment.
type reading struct {
	round    uint64
	now      time.Time
	pace     Pace
	span     time.Duration // of the window
	diagnose bool
	snapshot string // the reason for one, "" for none
}

// A timed is a point at an instant.
type timed struct {
	series.Point
	at time.Time
}

// A handle names a series of a process.
type handle struct{ name, a, b, c, d, e string }

func handleOf(p *series.Point) handle {
	h := handle{name: p.Name}
	at := [...]*string{&h.a, &h.b, &h.c, &h.d, &h.e}
	for i := range min(len(p.Labels), len(at)) {
		*at[i] = p.Labels[i].Value
	}
	return h
}

// maxHandles bounds what is remembered of the series of one process; those whose labels
// change (goroutines, findings) come and go.
const maxHandles = 1000

func (t *target) series(db *store.DB, p *series.Point) *store.Series {
	if len(p.Labels) == 0 { // their names are few
		s := t.plain[p.Name]
		if s == nil {
			s = db.Series(p.Name, series.Label{Name: series.ProcessLabel, Value: t.id})
			if t.plain == nil {
				t.plain = map[string]*store.Series{}
			}
			t.plain[p.Name] = s
		}
		return s
	}
	h := handleOf(p)
	if s := t.handles[h]; s != nil {
		return s
	}
	if len(t.handles) >= maxHandles || t.handles == nil {
		t.handles = map[handle]*store.Series{}
	}
	s := db.Series(p.Name, append([]series.Label{{Name: series.ProcessLabel, Value: t.id}}, p.Labels...)...)
	t.handles[h] = s
	return s
}

// A result is what came of waking a target.
type result struct {
	target   *target
	round    uint64 // in which it was woken
	ended    bool
	err      error  // why there is no sample
	sampled  bool   // there is one
	lost     uint64 // GC cycles
	events   []record.Event
	diagnose bool // findings are new
	took     time.Duration
}

type snapRequest struct {
	reason string
	done   chan<- snapResult
}

type snapResult struct {
	entry vault.Entry
	err   error
}

// dismiss ends the goroutine. One that was told so already stays so: a process may end
// while the agent does.
func (t *target) dismiss() {
	if !t.dismissed {
		t.dismissed = true
		close(t.wake)
	}
}

// run reads the process each time it is woken, until the channel is closed.
func (t *target) run(ctx context.Context, a *Agent) {
	defer func() {
		if t.src != nil {
			t.src.Close()
		}
	}()
	for w := range t.wake {
		start := time.Now()
		r := t.read(ctx, a, w)
		if r.err != nil {
			t.refuseSnaps(r.err)
		}
		r.round, r.took = w.round, time.Since(start)
		a.results <- r
	}
}

// maxAttaching is how many processes are attached to at a time: that is reading
// executables, and there may be a thousand when the agent starts.
const maxAttaching = 4

func (a *Agent) attach(ctx context.Context, pid int) (Source, error) {
	select {
	case a.attaching <- struct{}{}:
		defer func() { <-a.attaching }()
	case <-ctx.Done():
		return nil, fmt.Errorf("attaching to process %d: %w", pid, context.Cause(ctx))
	}
	return a.opt.Host.Attach(ctx, pid)
}

func (t *target) read(ctx context.Context, a *Agent, w reading) (r result) {
	r.target = t
	t.points, t.cycles = t.points[:0], t.cycles[:0]
	if t.src == nil {
		src, err := a.attach(ctx, t.pid)
		if err != nil {
			r.err, r.ended = err, errors.Is(err, recorder.ErrEnded)
			return r
		}
		t.src = src
		src.Forget()
		t.mu.Lock()
		t.window = window{process: src.Process()}
		t.mu.Unlock()
	}
	whole := w.now.Sub(t.slowAt) >= slowInterval || w.diagnose || w.snapshot != ""
	t.before = t.sample
	read := t.src.Quick
	if whole || t.interval < w.pace.Interval {
		read = t.src.Sample
	}
	if err := read(&t.sample); err != nil {
		r.err, r.ended = err, errors.Is(err, recorder.ErrEnded)
		return r
	}
	r.sampled = true
	t.samples++
	var err error
	if t.cycles, r.lost, err = t.src.Cycles(t.cycles); err != nil && errors.Is(err, recorder.ErrEnded) {
		r.ended = true
	}
	if r.lost > 0 {
		r.events = append(r.events, record.Event{Time: t.sample.Time, Kind: record.EventLostCycles, Text: fmt.Sprintf("%d GC cycles ended unseen", r.lost)})
	}
	r.events = append(append(r.events, t.changes()...), t.oomKill()...)
	t.keep(&w, whole, r.events)
	t.measure(whole)
	if t.samples > 1 {
		t.interval = w.pace.next(&t.mood, &t.before, &t.sample, t.figures.headroomRatio, deref(t.figures.limit))
	}
	if w.snapshot != "" {
		t.takeSnapshot(a, w.snapshot)
	}
	t.serveSnaps(a)
	if w.diagnose {
		t.findings = t.judge(a)
		t.diagnosed, r.diagnose = w.now, true
		for _, p := range series.FromFindings(nil, t.findings) {
			t.points = append(t.points, timed{p, t.sample.Time})
		}
		t.points = append(t.points, timed{series.PointOf(series.Up, 1), t.sample.Time})
		if v := t.figures.timeToLimit; v != nil {
			t.points = append(t.points, timed{series.PointOf(series.TimeToLimit, *v), t.sample.Time})
		}
	}
	return r
}

// judge runs the diagnosis. The samples that it looks at are more than a megabyte, and
// nobody keeps them: the next that diagnoses has their room.
func (t *target) judge(a *Agent) []diagnose.Finding {
	var room []record.Sample
	select {
	case room = <-a.room:
	default: // another has it
	}
	t.mu.Lock()
	rec := t.window.recording(room)
	t.mu.Unlock()
	findings := diagnose.Run(rec, diagnose.Options{Rules: rules})
	t.figures.forecast(rec)
	select {
	case a.room <- rec.Samples:
	default:
	}
	return findings
}

// rules are those about a process. Those about a recording itself (90xx) say that it
// is too short or has gaps, which an agent that goes on for weeks knows better.
var rules = slices.DeleteFunc(slices.Clone(diagnose.Rules()), func(r *diagnose.Rule) bool { return strings.HasPrefix(r.ID, "HW90") })

func deref(p *float64) float64 {
	if p == nil {
		return 0
	}
	return *p
}

// changes are the settings that are others than in the sample before.
func (t *target) changes() (events []record.Event) {
	if t.samples < 2 {
		return nil
	}
	for _, f := range []record.Field{record.FieldGOGCPercent, record.FieldGOMEMLIMITBytes, record.FieldGOMAXPROCS} {
		was, ok := t.before.Value(f)
		is, also := t.sample.Value(f)
		if ok && also && was != is {
			events = append(events, record.Event{Time: t.sample.Time, Kind: record.EventSettingChanged,
				Text: fmt.Sprintf("%s changed from %s to %s", f, settingText(f, was), settingText(f, is)),
				Data: map[string]string{"setting": f.String(), "from": settingText(f, was), "to": settingText(f, is)}})
		}
	}
	return events
}

// oomKill is whether the kernel has killed for the container's limit since the last whole sample.
func (t *target) oomKill() (events []record.Event) {
	n, ok := t.sample.Value(record.FieldCgroupOOMKills)
	if ok && n > t.oomKills && !t.slowAt.IsZero() {
		events = append(events, record.Event{Time: t.sample.Time, Kind: record.EventOOMKill,
			Text: fmt.Sprintf("the kernel killed %.0f of the container's processes for its memory limit", n-t.oomKills)})
	}
	if ok {
		t.oomKills = n
	}
	return events
}

func settingText(f record.Field, v float64) string {
	switch {
	case f == record.FieldGOGCPercent && v < 0, f == record.FieldGOMEMLIMITBytes && v >= math.MaxInt64/2:
		return "off"
	}
	return fmt.Sprintf("%.0f", v)
}

// keep puts what was read into the window, and makes points of it.
func (t *target) keep(w *reading, whole bool, events []record.Event) {
	at, now := t.sample.Time, w.now
	t.mu.Lock()
	t.window.span = w.span
	t.window.add(&t.sample, whole)
	t.window.addCycles(t.cycles)
	for _, e := range events {
		t.window.addEvent(e)
	}
	t.mu.Unlock()

	var scratch [64]series.Point
	add := func(ps []series.Point) {
		for _, p := range ps {
			t.points = append(t.points, timed{p, at})
		}
	}
	add(series.FromSample(scratch[:0], &t.sample, series.Fast))
	if whole {
		t.slowAt = now
		add(series.FromSample(scratch[:0], &t.sample, series.Slow))
		settings := [4]float64{}
		for i, f := range []record.Field{record.FieldGOGCPercent, record.FieldGOMEMLIMITBytes, record.FieldGOMAXPROCS, record.FieldCgroupLimitBytes} {
			settings[i], _ = t.sample.Value(f)
		}
		if settings != t.settings || now.Sub(t.staticAt) >= staticInterval {
			t.settings, t.staticAt = settings, now
			add(series.FromSample(scratch[:0], &t.sample, series.Static))
			add(series.FromProcess(scratch[:0], &t.window.process))
		}
	}
	for _, c := range longestPauses(t.cycles) {
		for _, p := range series.FromCycle(scratch[:0], &c) {
			t.points = append(t.points, timed{p, c.End})
		}
	}
}

// maxStored is how many GC cycles of one reading are stored, each with a dozen numbers:
// of more, those with the longest pauses. How many there were is a counter of its own.
const maxStored = 20

func longestPauses(cs []record.Cycle) []record.Cycle {
	if len(cs) <= maxStored {
		return cs
	}
	longest := slices.Clone(cs)
	slices.SortFunc(longest, func(a, b record.Cycle) int { return cmp.Compare(b.Pause, a.Pause) })
	longest = longest[:maxStored]
	slices.SortFunc(longest, func(a, b record.Cycle) int { return cmp.Compare(a.N, b.N) })
	return longest
}

// How often the dearer parts are read. A whole minute of rates is looked at, or more where
// GC cycles are rare.
const (
	slowInterval   = 10 * time.Second
	staticInterval = time.Minute
	rateWindow     = time.Minute
)

// measure brings the figures up to date.
func (t *target) measure(whole bool) {
	t.spark.add(&t.sample, t.figures.gcCPU)
	if !whole {
		return
	}
	var from record.Sample
	var old *record.Sample
	t.mu.Lock()
	if l := t.window.before(t.sample.Time, min(growthOver, t.window.span*9/10)); l != nil {
		old = new(record.Sample)
		l.sample(old)
	}
	for i := len(t.window.lean) - 1; i >= 0; i-- {
		// As far back as it takes for the minute, and for a cycle in it.
		l := &t.window.lean[i]
		if i == 0 || t.sample.Time.Sub(l.time) >= rateWindow {
			l.sample(&from)
			if i == 0 || from.GCCycles != t.sample.GCCycles {
				break
			}
		}
	}
	t.mu.Unlock()
	t.figures.rates(&from, &t.sample)
	t.figures.growth(old, &t.sample)
	t.figures.memory(&t.sample, float64(t.window.process.HostMemoryBytes))
	add := func(d *series.Def, v *float64) {
		if v != nil {
			t.points = append(t.points, timed{series.PointOf(d, *v), t.sample.Time})
		}
	}
	add(series.GCCPURatio, t.figures.gcCPU)
	add(series.AssistRatio, t.figures.assist)
	add(series.Headroom, t.figures.headroom)
}

// serveSnaps takes the snapshots that somebody waits for.
func (t *target) serveSnaps(a *Agent) {
	for {
		select {
		case req := <-t.snap:
			entry, err := t.takeSnapshot(a, req.reason)
			req.done <- snapResult{entry, err}
		default:
			return
		}
	}
}

// refuseSnaps tells who waits for a snapshot why there is none.
func (t *target) refuseSnaps(err error) {
	for {
		select {
		case req := <-t.snap:
			req.done <- snapResult{err: fmt.Errorf("taking a snapshot of %s: %w", t.id, err)}
		default:
			return
		}
	}
}

// takeSnapshot takes goroutines and profiles, keeps them, and makes points of the
// goroutines. What cannot be had is left out; that nothing can is an error.
func (t *target) takeSnapshot(a *Agent, reason string) (vault.Entry, error) {
	t.snapped = t.sample.Time
	defer t.src.Forget()
	rec := record.Recording{Process: t.window.process}
	g, err := t.src.Goroutines()
	if err == nil && g != nil {
		rec.Goroutines = []record.Goroutines{*g}
		for _, p := range series.FromGoroutines(nil, g) {
			t.points = append(t.points, timed{p, t.sample.Time})
		}
	} else {
		g = nil
	}
	var profiles []*record.Profile
	for _, kind := range []record.ProfileKind{record.ProfileHeap, record.ProfileBlock, record.ProfileMutex} {
		p, perr := t.src.Profile(kind)
		if perr != nil || p == nil {
			err = errors.Join(err, perr)
			continue
		}
		profiles = append(profiles, p)
		rec.Profiles = append(rec.Profiles, *p)
	}
	if g == nil && len(profiles) == 0 {
		return vault.Entry{}, fmt.Errorf("taking a snapshot of %s: %w", t.id, cmp.Or(err, errors.New("it has no profiles")))
	}
	t.mu.Lock()
	t.window.addSnapshot(t.sample.Time, g, profiles)
	t.mu.Unlock()
	entry, err := a.opt.Vault.Put(t.id, reason, &rec)
	if err != nil {
		err = fmt.Errorf("keeping a snapshot of %s: %w", t.id, err)
		a.note(err)
	}
	return entry, err
}

// began reports whether a finding that is to be acted on began.
func began(episodes []history.Episode) bool {
	return slices.ContainsFunc(episodes, func(e history.Episode) bool { return e.Severity >= diagnose.Warning })
}

// sparks are the near past in few numbers: one each sparkStep, sparkLength of them.
type sparks struct {
	end             time.Time
	rss, live, gc   [sparkLength]float32
	n               int
	peakRSS, peakHL uint64
}

const (
	sparkStep   = 10 * time.Second
	sparkLength = 60
)

func (k *sparks) add(s *record.Sample, gc *float64) {
	k.peakRSS, k.peakHL = max(k.peakRSS, s.RSSBytes), max(k.peakHL, s.HeapLiveBytes)
	if !k.end.IsZero() && s.Time.Sub(k.end) < sparkStep && !s.Time.Before(k.end) {
		return
	}
	gap := 1
	if !k.end.IsZero() {
		gap = int(s.Time.Sub(k.end) / sparkStep)
	}
	for range min(max(gap-1, 0), sparkLength) {
		k.push(float32(math.NaN()), float32(math.NaN()), float32(math.NaN()))
	}
	g := float32(math.NaN())
	if gc != nil {
		g = float32(*gc)
	}
	k.push(float32(k.peakRSS), float32(k.peakHL), g)
	k.end, k.peakRSS, k.peakHL = s.Time, 0, 0
}

func (k *sparks) push(rss, live, gc float32) {
	if k.n == sparkLength {
		copy(k.rss[:], k.rss[1:])
		copy(k.live[:], k.live[1:])
		copy(k.gc[:], k.gc[1:])
		k.n--
	}
	k.rss[k.n], k.live[k.n], k.gc[k.n] = rss, live, gc
	k.n++
}

func (k *sparks) spark() Spark {
	wide := func(f []float32) []float64 {
		d := make([]float64, len(f))
		for i, v := range f {
			d[i] = float64(v)
		}
		return d
	}
	return Spark{Step: sparkStep, End: k.end, RSSBytes: wide(k.rss[:k.n]), LiveBytes: wide(k.live[:k.n]), GCCPURatio: wide(k.gc[:k.n])}
}
