package fault

import (
	"crypto/rand"
	"log/slog"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

const (
	// fallbackBytes is what faults may hold where no memory limit is known.
	fallbackBytes = 256 << 20
	// limitShare is the part of a memory limit that they may hold.
	limitShare           = 4
	defaultMaxGoroutines = 100_000
	defaultMaxLease      = time.Minute
)

// Options bound what faults may do. All of them may be left out.
type Options struct {
	// MaxBytes is what all faults together may hold. 0 is a quarter of the memory limit:
	// of what Limit says, or of GOMEMLIMIT, or 256 MiB where there is neither.
	MaxBytes uint64
	// Limit is the memory limit, 0 where it is not known:
	// func() uint64 { return l.Report().LimitBytes } of a memlimit.Limit.
	Limit func() uint64
	// MaxGoroutines is how many goroutines all faults together may have. 0 is 100000.
	MaxGoroutines int
	// MaxLease is the longest lease. 0 is a minute.
	MaxLease time.Duration
	// Logger is told when a fault begins and when it ends. Nil is slog.Default.
	Logger *slog.Logger
}

// An Injector lets faults happen. All its methods may be called at any time, from any
// goroutine.
type Injector struct {
	o Options

	mu     sync.Mutex // of what follows
	active []*active
	closed bool
	// returning are bytes that were held by faults that have ended, and that the runtime
	// has not given back yet. drains are their finalizers.
	returning float64
	drains    []*finalizers
	freed     chan struct{} // closed when they are; nil while nothing is given back
}

// New makes an Injector. It does nothing until a fault is started.
func New(o Options) *Injector {
	if o.MaxGoroutines <= 0 {
		o.MaxGoroutines = defaultMaxGoroutines
	}
	if o.MaxLease <= 0 {
		o.MaxLease = defaultMaxLease
	}
	return &Injector{o: o}
}

func (i *Injector) log() *slog.Logger {
	if i.o.Logger == nil {
		return slog.Default()
	}
	return i.o.Logger
}

// maxBytes is what faults may hold now. A limit can change while the service runs.
func (i *Injector) maxBytes() uint64 {
	if i.o.MaxBytes > 0 {
		return i.o.MaxBytes
	}
	if i.o.Limit != nil {
		if n := i.o.Limit(); n > 0 {
			return n / limitShare
		}
	}
	if n := debug.SetMemoryLimit(-1); n > 0 && n != math.MaxInt64 {
		return uint64(n) / limitShare
	}
	return fallbackBytes
}

// Start starts a fault. It does not wait until its level is reached; Status says how
// far it is.
func (i *Injector) Start(r Request) (Fault, error) {
	k, err := r.check(i.o.MaxLease)
	if err != nil {
		return Fault{}, err
	}
	if r.Kind == OffHeap && !canMap {
		return Fault{}, ErrUnsupported
	}
	most := i.maxBytes()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return Fault{}, ErrClosed
	}
	if n := len(i.active); n >= maxActive {
		return Fault{}, &BoundError{What: "faults", Asked: 1, Held: float64(n), Most: maxActive}
	}
	now := time.Now()
	a := &active{
		kind: k, id: rand.Text()[:12], size: r.Size, count: r.Count, by: r.By, from: r.From, since: now, effect: k.make(&r),
		level: r.Level, highest: r.Level, until: now.Add(r.Lease), changed: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if err := i.admit(a, r.Level, most); err != nil {
		return Fault{}, err
	}
	i.active = append(i.active, a)
	i.log().Warn("heapwright fault begins", "kind", r.Kind, "level", r.Level, "unit", k.unit, "lease", r.Lease, "by", r.By, "from", r.From, "id", a.id)
	go i.run(a)
	return a.fault(), nil
}

// admit says whether a level of a fault is within the bounds, beside what the others
// hold or may take. With mu.
func (i *Injector) admit(a *active, level float64, most uint64) error {
	held, herd := i.held(a)
	b, g := a.kind.takes(level, a.size)
	switch {
	case held+b > float64(most):
		return &BoundError{What: "bytes", Asked: b, Held: held, Most: float64(most)}
	case herd+g > float64(i.o.MaxGoroutines):
		return &BoundError{What: "goroutines", Asked: g, Held: herd, Most: float64(i.o.MaxGoroutines)}
	}
	return nil
}

// held is what there is or may be of all faults but one. With mu.
func (i *Injector) held(but *active) (bytes, goroutines float64) {
	bytes = i.returning
	for _, a := range i.active {
		if a != but {
			b, g := a.takes()
			bytes, goroutines = bytes+b, goroutines+g
		}
	}
	return bytes, goroutines
}

func (k *kindInfo) takes(level float64, size uint64) (bytes, goroutines float64) {
	if k.bytes != nil {
		bytes = k.bytes(level, size)
	}
	if k.goroutines != nil {
		goroutines = math.Floor(k.goroutines(level, size))
	}
	return bytes, goroutines
}

// Renew gives a fault another level, unless that is nil, and a lease that begins now. A
// lease of 0 is DefaultLease. When it is refused the fault goes on as it was, with the
// lease that it had.
func (i *Injector) Renew(id string, level *float64, lease time.Duration) (Fault, error) {
	if lease == 0 {
		lease = min(DefaultLease, i.o.MaxLease)
	}
	if err := checkLease(lease, i.o.MaxLease); err != nil {
		return Fault{}, err
	}
	most := i.maxBytes()
	i.mu.Lock()
	defer i.mu.Unlock()
	a := i.find(id)
	if a == nil {
		return Fault{}, ErrUnknown
	}
	was, _, _ := a.wanted()
	to := was
	if level != nil {
		to = *level
	}
	if err := a.kind.checkLevel(to); err != nil {
		return Fault{}, err
	}
	// Less than it was may be, whatever the bounds are by now.
	if to > was {
		if err := i.admit(a, to, most); err != nil {
			return Fault{}, err
		}
	}
	if !a.renew(to, time.Now().Add(lease)) {
		return Fault{}, ErrUnknown
	}
	return a.fault(), nil
}

// find finds a fault. With mu.
func (i *Injector) find(id string) *active {
	for _, a := range i.active {
		if a.id == id {
			return a
		}
	}
	return nil
}

// Stop ends a fault, and waits until it has let go of everything. The runtime gives
// the memory back to the system soon after; Status says when it has. By says who ends
// it, for the log.
func (i *Injector) Stop(id, by string) error {
	i.mu.Lock()
	a := i.find(id)
	i.mu.Unlock()
	if a == nil || !a.end("stopped by "+by) {
		return ErrUnknown
	}
	<-a.done
	return nil
}

// StopAll ends all faults as Stop does, and returns how many there were.
func (i *Injector) StopAll(by string) int {
	i.mu.Lock()
	all := slices.Clone(i.active)
	i.mu.Unlock()
	n := 0
	for _, a := range all {
		if a.end("stopped by " + by) {
			n++
		}
	}
	for _, a := range all {
		<-a.done
	}
	return n
}

// Close ends all faults for good, and waits until all that they held is given back.
func (i *Injector) Close() error {
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	i.StopAll("Close")
	i.mu.Lock()
	freed := i.freed
	i.mu.Unlock()
	if freed != nil {
		<-freed
	}
	return nil
}

// run is the goroutine of a fault.
func (i *Injector) run(a *active) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		level, until, ending := a.wanted()
		now := time.Now()
		if !now.Before(until) {
			a.end("its lease ended")
			break
		}
		if ending {
			break
		}
		// A step is short, so that a lease is kept while much is to be done.
		wait, err := a.effect.step(level, now)
		a.failed(err)
		if wait <= 0 {
			continue
		}
		timer.Reset(min(wait, until.Sub(now)))
		select {
		case <-timer.C:
		case <-a.changed:
		}
	}
	took := a.effect.release()
	i.mu.Lock()
	i.active = slices.DeleteFunc(i.active, func(other *active) bool { return other == a })
	i.giveBack(a, took)
	i.mu.Unlock()
	why, most := a.history()
	i.log().Warn("heapwright fault ended", "kind", a.kind.kind, "highest", most, "unit", a.kind.unit, "why", why, "by", a.by, "from", a.from, "id", a.id, "after", time.Since(a.since).Round(time.Millisecond))
	a.effect = nil // Status does not look at one that is not in the list
	close(a.done)
}

// giveBack has the runtime give back what a fault held on its heap, when none of those
// that end with it holds anything any more. With mu.
func (i *Injector) giveBack(a *active, took float64) {
	i.returning += took
	if f, ok := a.effect.(*finalizers); ok {
		i.drains = append(i.drains, f)
	}
	for _, other := range i.active {
		if _, _, ending := other.wanted(); ending {
			return // the last of them does it
		}
	}
	if i.returning > 0 && i.freed == nil {
		i.freed = make(chan struct{})
		go i.free()
	}
}

// free gives back what faults that have ended held.
//
// A collection of the service's own would find it only when as much again has been
// allocated, which in a quiet service is up to two minutes away, and the pages would
// go back over minutes more. Until then the service would suffer from a fault that is
// over, and whoever measures how it recovers would measure that. So it is done once for
// all that end together, and only where something was held.
func (i *Injector) free() {
	for {
		i.mu.Lock()
		n, drains := i.returning, i.drains
		i.drains = nil
		i.mu.Unlock()
		until := time.Now().Add(drainLimit)
		for _, f := range drains {
			f.drain(until)
		}
		debug.FreeOSMemory()
		i.mu.Lock()
		if i.returning -= n; i.returning == 0 {
			close(i.freed)
			i.freed = nil
			i.mu.Unlock()
			return
		}
		i.mu.Unlock()
	}
}
