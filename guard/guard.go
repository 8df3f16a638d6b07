package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heapwright/heapwright/guard/evidence"
	"github.com/heapwright/heapwright/guard/shed"
	"github.com/heapwright/heapwright/guard/sli"
	"github.com/heapwright/heapwright/metric"
)

// A Guard guards the process it is in. Its methods are safe for concurrent use.
type Guard struct {
	conf    Config
	collect func() // runtime.GC
	gate    *shed.Gate
	signals signals
	rungs   []*rung
	base    int64 // the gate's capacity while the limiter has nothing against it
	start   time.Time

	ready    atomic.Bool
	events   chan Event
	stop     context.CancelFunc
	watched  chan struct{}  // closed when nothing is decided any more
	reported chan struct{}  // closed when no event is handed on any more
	working  sync.WaitGroup // captures of evidence, and collections
	closed   sync.Once
	ended    atomic.Bool // Close was called
	err      error

	mu         sync.Mutex // of what follows
	machine    machine
	limiter    limiter
	trackers   []*tracker
	reading    sli.Reading // of the last second
	last       state       // what it was when the limiter last took it in
	completed  uint64      // requests since then
	perRequest float64     // bytes that one allocates
	stale      stale
	contained  bool    // a container's limit was known
	history    []Event // transitions and steps, oldest first
	bundles    []evidence.Bundle
	counts     counts
	broken     string // what the guard itself panicked with: it is off then
}

type counts struct {
	trips, steps, callbackFailures, eventsLost, limits uint64
}

const (
	keepEvents  = 100
	keepBundles = 16
	queueEvents = 256
)

// Start guards this process until Close. The error says what of the Config cannot
// be, or why the process cannot be measured.
func Start(c Config) (*Guard, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	s, err := openProcess(c)
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	return start(c, s), nil
}

func start(c Config, s signals) *Guard {
	ctx, stop := context.WithCancel(context.Background())
	g := &Guard{
		conf:     c,
		collect:  runtime.GC,
		gate:     shed.NewGate(c.Shed),
		signals:  s,
		start:    time.Now(),
		events:   make(chan Event, queueEvents),
		stop:     stop,
		watched:  make(chan struct{}),
		reported: make(chan struct{}),
		machine:  machine{reach: c.Reach, dwells: defaultDwells},
		limiter:  newLimiter(),
	}
	g.base = g.gate.Capacity()
	g.ready.Store(true)
	for _, d := range c.Ladder {
		g.machine.marks = append(g.machine.marks, mark{d.Above, d.Below})
		name := d.Name
		g.rungs = append(g.rungs, newRung(d, c.CallbackTimeout, func(what string, err error) {
			g.failed(name, fmt.Errorf("%s: %w", what, err))
		}))
	}
	for _, o := range c.Objectives {
		g.trackers = append(g.trackers, newTracker(o, 0))
	}
	go func() {
		defer close(g.reported)
		g.report(ctx)
	}()
	go func() {
		defer close(g.watched)
		g.watch(ctx)
	}()
	return g
}

// Gate is what admits requests, for servers that Handler is not for.
func (g *Guard) Gate() *shed.Gate { return g.gate }

// Handler returns a handler that lets the guard's gate decide which requests next
// serves. Health checks always pass; what was begun is never cut.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return shed.Handler(g.gate, next, g.conf.HTTP)
}

// Ready reports whether the service should be sent requests: false on rungs that
// are NotReady.
func (g *Guard) Ready() bool { return g.ready.Load() }

// ReadyHandler answers 200 while Ready, else 503: for a readiness probe.
func (g *Guard) ReadyHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if !g.Ready() {
			http.Error(w, "not ready: "+g.State().String(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusOK)
	})
}

// State is the state now.
func (g *Guard) State() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.machine.state
}

// Close undoes every degradation, admits every request from then on, and waits for
// the callbacks, as long as CallbackTimeout at most; the error names what still runs.
// A callback should not call it: it would wait for itself.
func (g *Guard) Close() error {
	g.closed.Do(func() {
		g.ended.Store(true)
		g.stop()
		ctx, cancel := context.WithTimeout(context.Background(), g.conf.CallbackTimeout)
		defer cancel()
		select {
		case <-g.watched:
		case <-ctx.Done(): // Limit, or the kernel, does not answer
		}
		g.open()
		for _, r := range slices.Backward(g.rungs) {
			g.err = errors.Join(g.err, r.wait(ctx))
		}
		captured := make(chan struct{})
		go func() {
			g.working.Wait()
			close(captured)
		}()
		for _, w := range []struct {
			what string
			done <-chan struct{}
		}{{"Limit", g.watched}, {"a capture of evidence", captured}, {"OnEvent", g.reported}} {
			select {
			case <-w.done:
				continue
			default:
			}
			select {
			case <-w.done:
			case <-ctx.Done():
				g.err = errors.Join(g.err, fmt.Errorf("guard: %s still runs", w.what))
			}
		}
		select {
		case <-g.watched:
			g.err = errors.Join(g.err, g.signals.close())
		default: // they are in use
		}
	})
	return g.err
}

// open leaves every rung and admits everything: nothing is decided any more.
func (g *Guard) open() {
	g.mu.Lock()
	g.machine.state, g.machine.rung, g.machine.since = Healthy, 0, time.Since(g.start)
	g.limiter = newLimiter()
	g.mu.Unlock()
	for _, r := range slices.Backward(g.rungs) {
		r.want(false)
	}
	g.gate.SetShares(shed.All())
	g.gate.SetCapacity(g.base)
	g.ready.Store(true)
}

func (g *Guard) watch(ctx context.Context) {
	defer func() {
		if ctx.Err() == nil && g.Status().Broken == "" {
			g.brake("a function of the service's ended the guard's goroutine")
		}
	}()
	every := tickEvery
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if !g.tick() {
				return
			}
			if e := g.pace(); e != every {
				every = e
				t.Reset(e)
			}
		}
	}
}

// pace is how long to wait for the next look: memory that is nearly full may be so
// within a tenth of a second.
func (g *Guard) pace() time.Duration {
	// Garbage may fill memory up to GOMEMLIMIT with nothing wrong.
	resident, _ := g.reading.Get(sli.ResidentRatio)
	ratio, _ := memory(&g.reading, g.contained)
	if resident > 0.93 || ratio > 0.70 || g.limiter.limited() {
		return tickTight
	}
	return tickEvery
}

// tick looks, decides and acts. A guard that panics must not take its service
// along: it ends, and lets everything in.
func (g *Guard) tick() (goOn bool) {
	defer func() {
		if p := recover(); p != nil {
			g.brake(fmt.Sprint(p))
			goOn = false
		}
	}()
	is := g.signals.take()
	if g.ended.Load() {
		return false // Close did not wait for what blocked, and nothing is to be shed any more
	}
	r, ok := g.signals.window(fastWindow)
	if !ok {
		return true
	}
	now := time.Since(g.start)
	g.decide(now, r, is)
	return true
}

// brake turns the guard off for what should not have happened.
func (g *Guard) brake(why string) {
	g.mu.Lock()
	g.broken = why
	g.mu.Unlock()
	g.open()
	g.emit(Event{Kind: EventBroken, Reason: "the guard is off: " + why})
}

// decide takes one reading through the objectives, the limiter and the machine.
func (g *Guard) decide(now time.Duration, r sli.Reading, is state) {
	tripped, events := g.evaluate(now)

	g.note(r)
	ratio, ok := memory(&r, g.contained)
	capacity := math.Inf(1)
	if !g.conf.NoLimiter {
		var e []Event
		short, _ := g.signals.window(shortWindow)
		capacity, e = g.limit(now, &r, &short, is)
		events = append(events, e...)
	}

	change, changed := g.step(now, demand{memory: ratio, memoryOK: ok, objectives: len(tripped) > 0, limited: g.limiter.limited()})
	why, top := g.limiter.why, len(g.rungs)

	reason := ""
	switch {
	case change.to != Degraded:
		reason = "nothing is wrong any more"
	case ok && g.machine.want > 0:
		reason = fmt.Sprintf("memory is at %.0f%% of the limit", 100*ratio)
	case len(tripped) > 0:
		reason = fmt.Sprintf("objective %s is not kept", tripped[0])
	case why != "":
		reason = "requests are held back: " + why
	}
	if ok && !g.conf.DryRun && g.stale.due(now, is.cycles, g.machine.want > 0 || g.limiter.limited() && g.limiter.why != "sched_latency") {
		events = append(events, Event{Kind: EventCollect, Reason: fmt.Sprintf("what lives was last known %v ago, and the service is degraded", staleAfterCycle)})
		g.working.Add(1)
		go func() {
			defer g.working.Done()
			g.collect()
		}()
	}
	if changed {
		g.apply(change)
		if change.from != change.to {
			events = append(events, Event{Kind: EventState, From: change.from.String(), To: change.to.String(), Reason: reason})
		}
		if change.fromRung != change.toRung {
			events = append(events, Event{Kind: EventStep, From: g.rungName(change.fromRung), To: g.rungName(change.toRung), Reason: reason})
		}
	}
	if !g.conf.DryRun {
		c := g.base
		if capacity < float64(c) {
			c = int64(capacity)
		}
		g.gate.SetCapacity(c)
	}
	for _, e := range events {
		g.emit(e)
	}
	if change.from != Degraded && change.to == Degraded || change.toRung > change.fromRung && change.toRung == top {
		g.capture(reason)
	}
}

// memory is what the ladder and the limiter go by: how full of what cannot be freed
// the container's limit is; where none ever was known, GOMEMLIMIT. Where both are, GOMEMLIMIT
// is soft: what is above it costs CPU, which has a sign of its own, and not the process.
func memory(r *sli.Reading, contained bool) (ratio float64, ok bool) {
	if ratio, ok = r.Get(sli.MemoryRatio); ok || contained {
		return ratio, ok
	}
	return r.Get(sli.GoMemoryRatio)
}

// note keeps a reading for who asks.
func (g *Guard) note(r sli.Reading) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reading = r
	if _, has := r.Get(sli.MemoryRatio); has {
		g.contained = true
	}
}

// step takes the machine on, and counts.
func (g *Guard) step(now time.Duration, d demand) (change, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c, changed := g.machine.step(now, d)
	if c.to == Degraded && c.from != Degraded {
		g.counts.trips++
	}
	if c.fromRung != c.toRung {
		g.counts.steps++
	}
	return c, changed
}

const (
	// staleAfterCycle is how old what a collection found may be while the service is
	// degraded, and staleAgain how soon at most it is asked for again.
	staleAfterCycle = 5 * time.Second
	staleAgain      = 15 * time.Second
)

// A stale notices that memory is not news any more. A service that is sent nothing,
// since it is not ready, allocates nothing, is not collected, and would be taken for
// full for as long as that: two minutes, or for ever with GOGC=off
// (runtime/mgc.go, gcTrigger.test).
type stale struct {
	cycles uint64
	since  time.Duration // when they last changed
	asked  time.Duration // when a collection was last asked for
}

// due reports whether a collection is to be asked for.
func (s *stale) due(now time.Duration, cycles uint64, degraded bool) bool {
	if cycles != s.cycles {
		s.cycles, s.since = cycles, now
	}
	if !degraded || now-s.since < staleAfterCycle || s.asked > 0 && now-s.asked < staleAgain {
		return false
	}
	s.asked = now
	return true
}

// evaluate evaluates the objectives that are due, and returns the names of those
// that are not kept.
func (g *Guard) evaluate(now time.Duration) (tripped []string, events []Event) {
	for _, t := range g.trackers {
		if now >= t.due {
			v, ok := 0.0, false
			if r, has := g.signals.window(t.Interval); has {
				v, ok = r.Get(t.Signal)
			}
			if g.judge(t, now, v, ok) {
				e := Event{Kind: EventObjective, Name: t.Name, From: "kept", To: "violated", Reason: fmt.Sprintf("%s is %.4g, at most %.4g is good", t.Signal, v, t.Max)}
				if !t.tripped {
					e.From, e.To, e.Reason = e.To, e.From, fmt.Sprintf("for %v it was kept", t.Cooldown)
				}
				events = append(events, e)
			}
		}
		if t.tripped {
			tripped = append(tripped, t.Name)
		}
	}
	return tripped, events
}

func (g *Guard) judge(t *tracker, now time.Duration, v float64, ok bool) (changed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return t.evaluate(now, v, ok)
}

// perRequestOf is how many requests the allocation of one is the mean of.
const perRequestOf = 64

// limit asks the limiter.
func (g *Guard) limit(now time.Duration, r, short *sli.Reading, is state) (float64, []Event) {
	value := func(r *sli.Reading, s sli.Signal) float64 {
		if v, ok := r.Get(s); ok {
			return v
		}
		return math.NaN()
	}
	w := g.gate.Window()
	in := load{
		memory:   math.NaN(),
		resident: value(r, sli.ResidentRatio),
		gcCPU:    value(r, sli.GCCPURatio),
		schedP99: value(short, sli.SchedP99),
		inFlight: float64(max(w.PeakInFlightBytes, w.InFlightBytes)),
		requests: float64(max(w.PeakInFlight, w.InFlight)),
		refused:  float64(w.ShedByCapacity.Total()),
		procs:    float64(runtime.GOMAXPROCS(0)),
	}
	if v, ok := memory(r, g.contained); ok {
		in.memory = v
	}
	in.goMemory = value(r, sli.GoMemoryRatio)
	if s := w.Elapsed.Seconds(); s > 0 {
		in.throughput = float64(w.Completed.Total()) / s
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	in.fresh = is.cycles != g.last.cycles
	g.last.cycles = is.cycles
	in.room, in.perRequest = math.NaN(), math.NaN()
	if is.limit > 0 {
		in.room = (burstFull - in.memory) * float64(is.limit)
	}
	if done := g.completed + w.Completed.Total(); done < perRequestOf {
		g.completed = done
	} else {
		if g.last.allocs > 0 {
			g.perRequest = float64(is.allocs-min(is.allocs, g.last.allocs)) / float64(done)
		}
		g.completed, g.last.allocs = 0, is.allocs
	}
	if g.perRequest > 0 {
		in.perRequest = g.perRequest
	}
	was := g.limiter.limited()
	c := g.limiter.step(now, float64(g.base), in)
	switch is := g.limiter.limited(); {
	case is && !was:
		g.counts.limits++
		return c, []Event{{Kind: EventLimit, From: "open", To: "limited", Reason: g.limiter.why}}
	case was && !is:
		return c, []Event{{Kind: EventLimit, From: "limited", To: "open", Reason: "nobody was held back for a while"}}
	}
	return c, nil
}

// apply carries a change of the machine out.
func (g *Guard) apply(c change) {
	if g.conf.DryRun || c.fromRung == c.toRung {
		return
	}
	shares, ready := shed.All(), true
	for i, r := range g.rungs {
		on := i < c.toRung
		r.want(on)
		if !on {
			continue
		}
		ready = ready && !r.NotReady
		if r.Admit != nil {
			for class, v := range r.Admit {
				shares[class] = min(shares[class], v)
			}
		}
	}
	g.gate.SetShares(shares)
	g.ready.Store(ready)
}

func (g *Guard) rungName(i int) string {
	if i == 0 {
		return "ground"
	}
	return g.rungs[i-1].Name
}

// capture has evidence taken, without waiting for it.
func (g *Guard) capture(reason string) {
	if g.conf.Evidence == nil {
		return
	}
	g.working.Add(1)
	go func() {
		defer g.working.Done()
		defer func() {
			if p := recover(); p != nil {
				g.failed("evidence", fmt.Errorf("panic: %v", p))
			}
		}()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		b, err := g.conf.Evidence.Capture(ctx, reason, g.signals.samples())
		switch {
		case errors.Is(err, evidence.ErrRateLimited), errors.Is(err, evidence.ErrBusy):
			return
		case err != nil:
			g.emit(Event{Kind: EventEvidence, Reason: err.Error()})
			return
		}
		g.mu.Lock()
		b.Data = nil
		g.bundles = append(g.bundles, b)
		if len(g.bundles) > keepBundles {
			g.bundles = slices.Delete(g.bundles, 0, 1)
		}
		g.mu.Unlock()
		g.emit(Event{Kind: EventEvidence, Name: b.Path, Reason: reason})
	}()
}

// emit notes an event, and has it reported.
func (g *Guard) emit(e Event) {
	e.Time = time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.history) == keepEvents {
		g.history = slices.Delete(g.history, 0, 1)
	}
	g.history = append(g.history, e)
	for {
		select {
		case g.events <- e:
			return
		default:
		}
		select {
		case <-g.events:
			g.counts.eventsLost++
		default:
		}
	}
}

// failed notes a callback that did.
func (g *Guard) failed(name string, err error) {
	g.mu.Lock()
	g.counts.callbackFailures++
	g.mu.Unlock()
	g.emit(Event{Kind: EventCallbackFailed, Name: name, Reason: err.Error()})
}

// report logs events and hands them on, until ctx is done and none is left.
func (g *Guard) report(ctx context.Context) {
	for {
		select {
		case e := <-g.events:
			g.hand(e)
		case <-ctx.Done():
			for {
				select {
				case e := <-g.events:
					g.hand(e)
				default:
					return
				}
			}
		}
	}
}

// hand logs an event and hands it on. Either may panic, or end its goroutine.
func (g *Guard) hand(e Event) {
	level := slog.LevelInfo
	if e.Kind == EventCallbackFailed || e.Kind == EventBroken || e.To == Degraded.String() {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("event", e.Kind)}
	for _, a := range [][2]string{{"name", e.Name}, {"from", e.From}, {"to", e.To}, {"reason", e.Reason}} {
		if a[1] != "" {
			attrs = append(attrs, slog.String(a[0], a[1]))
		}
	}
	if g.conf.DryRun {
		attrs = append(attrs, slog.Bool("dry_run", true))
	}
	count := func(err error) {
		if err != nil {
			g.mu.Lock()
			g.counts.callbackFailures++
			g.mu.Unlock()
		}
	}
	count(guarded(func() error {
		g.conf.Logger.LogAttrs(context.Background(), level, "heapwright guard", attrs...)
		return nil
	}))
	if g.conf.OnEvent != nil {
		count(guarded(func() error {
			g.conf.OnEvent(e)
			return nil
		}))
	}
}

// Metrics emits what the guard and its gate are doing. See metric.Source.
func (g *Guard) Metrics(emit func(metric.Metric)) {
	s := g.Status()
	gauge := func(name, unit, help string, v float64, labels ...metric.Label) {
		emit(metric.Metric{Name: "heapwright.guard." + name, Unit: unit, Help: help, Kind: metric.Gauge, Value: v, Labels: labels})
	}
	counter := func(name, unit, help string, v uint64) {
		emit(metric.Metric{Name: "heapwright.guard." + name, Unit: unit, Help: help, Kind: metric.Counter, Value: float64(v)})
	}
	for _, st := range []State{Healthy, Degraded, Recovering} {
		gauge("state", "{state}", "1 for the state that the guard is in, else 0.", bit(s.State == st), metric.Label{Key: "state", Value: st.String()})
	}
	gauge("rung", "{rung}", "Place on the ladder of degradations, 0 is none.", float64(s.Rung))
	gauge("ready", "", "1 when the service should be sent requests.", bit(s.Ready))
	gauge("limited", "", "1 when the bytes of requests in flight are bounded.", bit(s.LimitedBy != ""))
	counter("trips", "{trip}", "How often the state became degraded.", s.Trips)
	counter("steps", "{step}", "Steps on the ladder, up and down.", s.Steps)
	counter("callback_failures", "{failure}", "Callbacks that failed, panicked or took too long.", s.CallbackFailures)
	counter("events_lost", "{event}", "Events that waited too long to be handed on.", s.EventsLost)
	for i, o := range s.Objectives {
		l := []metric.Label{{Key: "objective", Value: o.Name}, {Key: "index", Value: strconv.Itoa(i)}}
		gauge("objective.violations", "1", "Share of the evaluations in the window that violated the objective.", o.Violations, l...)
		gauge("objective.violated", "", "1 when the objective is not kept.", bit(o.Tripped), l...)
	}
	for _, v := range s.Signals {
		gauge("signal", "", "Signals of the last second, each in the unit that its name ends in.", v.Value, metric.Label{Key: "signal", Value: v.Name})
	}
	g.gate.Metrics(emit)
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
