package fault

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	// tick is how long work of a rate is put together.
	tick = 5 * time.Millisecond
	// slack is how much lateness is made up for: that of timers, of a busy machine, and of
	// a CPU quota that is used up for the rest of its period.
	slack = 200 * time.Millisecond
	// meterWindow is over what time a rate is measured, at least.
	meterWindow = time.Second
)

// A pacer says how much of a rate is due. It goes by time that passed, but what was
// not done for longer than slack is not made up for: after a stop of the process, a
// machine that slept or a collection that took its time, it goes on at the rate and
// does not burst.
type pacer struct {
	last time.Time
	due  float64
}

// until adds what has become due, and returns how long it is until so much is; 0 when
// it is due now.
func (p *pacer) until(now time.Time, rate, unit float64) time.Duration {
	if rate <= 0 {
		p.last, p.due = time.Time{}, 0
		return never
	}
	if p.last.IsZero() {
		p.last = now
	}
	late := max(rate*slack.Seconds(), unit)
	p.due = min(p.due+rate*now.Sub(p.last).Seconds(), late)
	p.last = now
	if p.due >= unit {
		return 0
	}
	wait := (unit - p.due) / rate
	if wait > never.Seconds() {
		return never
	}
	return time.Duration(math.Ceil(wait * 1e9))
}

// A meter measures a rate. One goroutine adds, any may read.
type meter struct {
	begin   time.Time
	n       float64
	level   float64
	rate    atomic.Uint64 // bits of a float64
	total   atomic.Uint64
	settled bool
}

// add counts what was done at a level, and measures.
func (m *meter) add(now time.Time, level float64, n uint64) {
	if m.begin.IsZero() || level != m.level {
		m.begin, m.n, m.level, m.settled = now, 0, level, false
	}
	m.n += float64(n)
	m.total.Add(n)
	d := now.Sub(m.begin)
	if d <= 0 {
		return
	}
	// Two of what comes seldom make a rate.
	whole := d >= meterWindow && (m.n >= 2 || m.n == 0 && level == 0 || d.Seconds()*level > 4)
	if whole || !m.settled {
		m.rate.Store(math.Float64bits(m.n / d.Seconds()))
	}
	if whole {
		m.begin, m.n, m.settled = now, 0, true
	}
}

func (m *meter) reached() (float64, uint64) {
	return math.Float64frombits(m.rate.Load()), m.total.Load()
}
