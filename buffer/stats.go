package buffer

import (
	"time"

	"github.com/heapwright/heapwright/metric"
)

// Stats are the numbers of a pool since it was made.
type Stats struct {
	Gets     uint64 // leases taken
	Hits     uint64 // of those, with a buffer that lay in the pool
	Misses   uint64 // of those, with a new one
	Releases uint64
	Discards uint64 // buffers left to the collector: no room, too great, or not used
	Out      int64  // leases that are neither released nor dropped
	// Dropped counts leases that became garbage without a release, Overdue sampled
	// ones that are or were out for longer than LeaseTimeout.
	Dropped        uint64
	Overdue        uint64
	DoubleReleases uint64
	UnreportedLeak uint64  // leaks that OnLeak was not told of: too many at once
	LeakPanics     uint64  // calls of OnLeak that panicked
	RetainedBytes  int64   // lie idle in the pool now
	RetainLimit    int64   // the bound of that, under the pressure that there is
	MadeBytes      uint64  // size of all new buffers
	Pressure       float64 // what SetPressure was told last
}

// Stats returns the numbers as they are now, and looks for overdue leases. The
// parts are read one after the other: among themselves they may be off by what
// happens meanwhile.
func (p *Pool) Stats() Stats {
	var st Stats
	p.watch.mu.Lock()
	p.watch.sweep(p.timeout, time.Now())
	st.Overdue, st.UnreportedLeak, st.LeakPanics = p.watch.overdue, p.watch.lost, p.watch.panicked
	p.watch.mu.Unlock()
	for _, s := range p.shards {
		s.mu.Lock()
		st.Gets += s.gets
		st.Hits += s.hits
		st.Releases += s.releases
		st.Discards += s.discards
		st.RetainedBytes += s.retained
		s.mu.Unlock()
	}
	st.Misses = p.made.Load()
	st.MadeBytes = p.bytesMade.Load()
	st.Dropped = p.dropped.Load()
	st.DoubleReleases = p.doubleReleases.Load()
	st.Out = max(int64(st.Gets-st.Releases-st.Dropped), 0)
	p.pressure.Lock()
	st.Pressure, st.RetainLimit = p.pressure.level, p.pressure.limit
	p.pressure.Unlock()
	return st
}

// Metrics emits the pool's numbers, without a label: wrap it to tell several pools
// apart.
func (p *Pool) Metrics(emit func(metric.Metric)) {
	st := p.Stats()
	for _, m := range [...]metric.Metric{
		{Name: "heapwright.buffer.gets", Unit: "{lease}", Kind: metric.Counter, Value: float64(st.Gets), Help: "Leases taken."},
		{Name: "heapwright.buffer.hits", Unit: "{lease}", Kind: metric.Counter, Value: float64(st.Hits), Help: "Leases of a buffer that lay in the pool."},
		{Name: "heapwright.buffer.out", Unit: "{lease}", Kind: metric.Gauge, Value: float64(st.Out), Help: "Leases that are neither released nor dropped."},
		{Name: "heapwright.buffer.dropped", Unit: "{lease}", Kind: metric.Counter, Value: float64(st.Dropped), Help: "Leases that became garbage without a release."},
		{Name: "heapwright.buffer.overdue", Unit: "{lease}", Kind: metric.Counter, Value: float64(st.Overdue), Help: "Sampled leases that were out for longer than the timeout."},
		{Name: "heapwright.buffer.double_releases", Unit: "{lease}", Kind: metric.Counter, Value: float64(st.DoubleReleases), Help: "Releases of leases that had been released."},
		{Name: "heapwright.buffer.retained", Unit: "By", Kind: metric.Gauge, Value: float64(st.RetainedBytes), Help: "Bytes that lie idle in the pool."},
		{Name: "heapwright.buffer.retain_limit", Unit: "By", Kind: metric.Gauge, Value: float64(st.RetainLimit), Help: "The most bytes that may lie idle, under the pressure that there is."},
		{Name: "heapwright.buffer.made", Unit: "By", Kind: metric.Counter, Value: float64(st.MadeBytes), Help: "Bytes of new buffers."},
	} {
		emit(m)
	}
}
