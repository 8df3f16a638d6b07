package guard

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heapwright/heapwright/guard/sli"
	"github.com/heapwright/heapwright/record"
)

// A state is what of the last look is not in a reading.
type state struct {
	cycles uint64 // collections since the process started
	allocs uint64 // bytes allocated since then
	limit  uint64 // memory limit, in bytes; 0 is none known
}

// signals are where readings come from; take measures. They are used by one goroutine, but for
// samples.
type signals interface {
	take() state
	window(time.Duration) (sli.Reading, bool)
	samples() []record.Sample
	close() error
}

const (
	tickEvery   = 100 * time.Millisecond
	tickTight   = 25 * time.Millisecond  // while memory is scarce or requests are held back
	fastWindow  = time.Second            // what the ladder and the limiter go by
	shortWindow = 250 * time.Millisecond // but for waits for the CPU, of which one is not yet a queue
	sampleEvery = time.Second
	sampleAge   = 2 * time.Minute
	readEvery   = time.Second // of the service's own signals
	staleAfter  = 10 * time.Second
	closeWait   = time.Second
)

// process is the signals of this process: points of the last second at every tick,
// and of the last minutes at every second.
type process struct {
	source     *sli.Source
	fast       *sli.Ring
	mu         sync.Mutex // of slow, which evidence is taken from
	slow       *sli.Ring
	lastSample time.Time
	custom     []*custom
}

func openProcess(c Config) (*process, error) {
	s, err := sli.NewSource(sli.Options{Limit: c.Limit})
	if err != nil {
		return nil, err
	}
	longest := sampleAge
	for _, o := range c.Objectives {
		longest = max(longest, o.Interval)
	}
	p := &process{
		source: s,
		fast:   sli.NewRing(int(fastWindow/tickTight)+2, fastWindow),
		slow:   sli.NewRing(int(sampleAge/sampleEvery)+2, longest),
	}
	for _, s := range c.Signals {
		p.custom = append(p.custom, newCustom(s, c.Logger))
	}
	return p, nil
}

func (p *process) take() state {
	last := p.fast.Read(p.source)
	now, is := last.Time, state{cycles: last.GCCycles, allocs: last.TotalAllocBytes, limit: last.GroupLimitBytes}
	if l := last.OwnLimitBytes; l > 0 && (is.limit == 0 || l < is.limit) {
		is.limit = l
	}
	if now.Sub(p.lastSample) >= sampleEvery || p.lastSample.IsZero() {
		p.keep()
		p.lastSample = now
		for _, c := range p.custom {
			c.poll()
		}
	}
	return is
}

func (p *process) keep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slow.Read(p.source)
}

func (p *process) window(d time.Duration) (sli.Reading, bool) {
	ring := p.slow
	if d <= fastWindow {
		ring = p.fast
	}
	r, ok := ring.Window(d)
	if ok {
		for _, c := range p.custom {
			if v, ok := c.value(); ok {
				r.Set(c.Name, v)
			}
		}
	}
	return r, ok
}

func (p *process) samples() []record.Sample {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slow.Samples(sampleAge)
}

// close waits a moment for readings of the service's own signals.
func (p *process) close() error {
	deadline := time.Now().Add(closeWait)
	for _, c := range p.custom {
		for c.busy.Load() && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
	}
	return p.source.Close()
}

// A custom is a signal of the service's own. Each reading has a goroutine, so that
// one which blocks makes its signal absent and holds up nothing; until it has
// returned it is not read again.
type custom struct {
	sli.Custom
	logger *slog.Logger
	warn   sync.Once
	busy   atomic.Bool
	last   atomic.Pointer[customValue]
}

type customValue struct {
	at time.Time
	v  float64
	ok bool
}

func newCustom(c sli.Custom, l *slog.Logger) *custom { return &custom{Custom: c, logger: l} }

func (c *custom) poll() {
	if !c.busy.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer c.busy.Store(false)
		v, ok, panicked := c.Value()
		if panicked != nil {
			c.warn.Do(func() {
				guarded(func() error {
					c.logger.Warn("heapwright guard: a signal panicked, it is absent", "signal", string(c.Name), "panic", fmt.Sprint(panicked))
					return nil
				})
			})
		}
		c.last.Store(&customValue{time.Now(), v, ok})
	}()
}

func (c *custom) value() (float64, bool) {
	l := c.last.Load()
	if l == nil || !l.ok || time.Since(l.at) > staleAfter {
		return 0, false
	}
	return l.v, true
}
