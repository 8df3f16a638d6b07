package sli

import (
	"io"
	"os"
	"time"

	"github.com/heapwright/heapwright/cgroup"
	"github.com/heapwright/heapwright/record"
	"github.com/heapwright/heapwright/rtmetrics"
)

// A Point is the state of the process at one instant. The sample's Has says which of
// its fields mean something: besides those of package rtmetrics there are the kernel's,
// as far as it gives them. What a sample has no field for is here, with flags that say
// whether it is known.
//
// A Point is about 9 kB, most of it histograms.
type Point struct {
	record.Sample

	// ProcessCPU is the CPU time of the process by the kernel's account.
	ProcessCPU    time.Duration
	HasProcessCPU bool
	// CycleCPU is ProcessCPU at the instant up to which the runtime's CPU classes
	// count, which is the end of the last GC cycle. It is interpolated between two
	// readings, and not known before the first cycle that ends under our eyes.
	CycleCPU    time.Duration
	HasCycleCPU bool
	// Cores is how many CPUs' worth of time the process can have: GOMAXPROCS, or the
	// quota of its cgroup when that is less. 0 is not known.
	Cores float64

	// GroupLimitBytes is the effective limit of the cgroup, 0 for none: the smaller of
	// the limit at which the kernel kills, and of memory.high, from which on it brings
	// the group almost to a stop. GroupPinnedBytes is what of the usage it can't drop
	// (cgroup.MemoryParts.NonReclaimable).
	GroupLimitBytes  uint64
	GroupPinnedBytes uint64
	HasGroupPinned   bool
	// OwnLimitBytes is the limit that Options.Limit gave, 0 for none, and
	// OwnPinnedBytes the anonymous memory of this process alone.
	OwnLimitBytes  uint64
	OwnPinnedBytes uint64
	HasOwnPinned   bool

	// OOMEvents counts what the signal of that name is made of, since the group was
	// made.
	OOMEvents    uint64
	HasOOMEvents bool
}

// Options are what a Source cannot find out.
type Options struct {
	// Limit returns a memory limit of this process in bytes, 0 for none. It is asked at
	// each Read, so it must not block. Nil is none. With a limit of the cgroup
	// too, the one that is nearer to being reached counts.
	Limit func() uint64
}

// groupStats are the numbers of the cgroup that a Point has.
const groupStats = cgroup.StatMemoryUsage | cgroup.StatMemoryLimit | cgroup.StatMemoryHigh | cgroup.StatMemoryParts |
	cgroup.StatOOMKills | cgroup.StatOOMs | cgroup.StatCPUQuota | cgroup.StatThrottling | cgroup.StatMemoryPressure

// reopenAfter is how long the cgroup is left alone after it could not be read.
const reopenAfter = 10 * time.Second

// A Source takes Points of the process that it runs in. It is not safe for concurrent
// use.
type Source struct {
	limit   func() uint64
	runtime *rtmetrics.Reader
	times   cpuTimes
	statm   *os.File // nil where there is none
	buf     [256]byte

	self   func() (*cgroup.Group, error)
	group  *cgroup.Reader // nil when there is none to be read
	stats  cgroup.Stats
	retry  time.Time // when to look for the group again
	closed bool

	// What CycleCPU is made of.
	last struct {
		seen     bool
		at       time.Time
		cpu      time.Duration
		cpuTotal time.Duration // by the runtime; it moves when a cycle ends
	}
	cycleCPU    time.Duration
	hasCycleCPU bool
}

// NewSource returns a Source of this process. That the process is in no cgroup, or in
// one that can't be read, is no error: those numbers are absent then, and looked for again
// from time to time.
func NewSource(o Options) (*Source, error) { return newSource(o, cgroup.Self) }

func newSource(o Options, self func() (*cgroup.Group, error)) (*Source, error) {
	s := &Source{limit: o.Limit, runtime: rtmetrics.NewReader(), self: self}
	if f, err := os.Open("/proc/self/statm"); err == nil {
		s.statm = f
	}
	s.openGroup(time.Now())
	return s, nil
}

// Close closes the files that the Source keeps open. A Source is not to be used after it.
func (s *Source) Close() error {
	s.closed = true
	s.closeGroup()
	if s.statm != nil {
		s.statm.Close()
		s.statm = nil
	}
	return nil
}

func (s *Source) openGroup(now time.Time) {
	s.retry = now.Add(reopenAfter)
	g, err := s.self()
	if err != nil {
		return
	}
	if s.group, err = g.NewReader(groupStats); err != nil {
		s.group = nil
	}
}

func (s *Source) closeGroup() {
	if s.group != nil {
		s.group.Close()
		s.group = nil
	}
}

// Read overwrites p with the present state. It does not stop the world, and does not
// allocate but when it looks for a cgroup that it lost. What can't be read is absent.
func (s *Source) Read(p *Point) {
	*p = Point{}
	s.runtime.Read(&p.Sample)
	if user, system, ok := s.times.read(); ok {
		p.CPUProcUser, p.CPUProcSystem = user, system
		p.Has.Add(record.FieldCPUProcUser)
		p.Has.Add(record.FieldCPUProcSystem)
		p.ProcessCPU, p.HasProcessCPU = user+system, true
	}
	s.anchor(p)
	p.Cores = float64(p.GOMAXPROCS)
	s.readOwn(p)
	s.readGroup(p)
}

// anchor finds the process's CPU time at the end of the last cycle.
func (s *Source) anchor(p *Point) {
	if !p.HasProcessCPU || !p.Has.Has(record.FieldCPUTotal) {
		return
	}
	l := &s.last
	switch {
	case !l.seen:
		// Before the first cycle the classes are at their beginning, like the process.
		s.cycleCPU, s.hasCycleCPU = 0, p.CPUTotal == 0
	case p.CPUTotal != l.cpuTotal:
		between := p.Time.Sub(l.at)
		// LastGC is by the wall clock. If that was set, the cycle still ended between
		// the two readings.
		since := min(max(p.Time.Round(0).Sub(p.LastGC), 0), between)
		share := 1.0
		if between > 0 && p.Has.Has(record.FieldLastGC) {
			share = 1 - float64(since)/float64(between)
		}
		s.cycleCPU = l.cpu + time.Duration(share*float64(p.ProcessCPU-l.cpu))
		s.hasCycleCPU = true
	}
	l.seen, l.at, l.cpu, l.cpuTotal = true, p.Time, p.ProcessCPU, p.CPUTotal
	p.CycleCPU, p.HasCycleCPU = s.cycleCPU, s.hasCycleCPU
}

// readOwn reads what is known of this process alone.
func (s *Source) readOwn(p *Point) {
	if s.limit != nil {
		p.OwnLimitBytes = callLimit(s.limit)
	}
	if s.statm == nil {
		return
	}
	n, err := s.statm.ReadAt(s.buf[:], 0)
	if err != nil && err != io.EOF {
		return
	}
	resident, shared, ok := parseStatm(s.buf[:n])
	if !ok {
		return
	}
	page := uint64(os.Getpagesize())
	p.RSSBytes = resident * page
	p.RSSAnonBytes = (resident - shared) * page
	p.Has.Add(record.FieldRSSBytes)
	p.Has.Add(record.FieldRSSAnonBytes)
	p.OwnPinnedBytes, p.HasOwnPinned = p.RSSAnonBytes, true
}

func callLimit(limit func() uint64) (bytes uint64) {
	defer func() {
		if recover() != nil { // the service's own code: no limit is known
			bytes = 0
		}
	}()
	return limit()
}

// parseStatm parses /proc/PID/statm: the pages that are resident, and those of them
// that are of files or shared.
func parseStatm(b []byte) (resident, shared uint64, ok bool) {
	var v [3]uint64
	i := 0
	for field := range v {
		start := i
		for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
			if v[field] > 1<<50 { // with the size of a page it fits into 64 bits
				return 0, 0, false
			}
			v[field] = v[field]*10 + uint64(b[i]-'0')
		}
		if i == start || i == len(b) || (b[i] != ' ' && b[i] != '\n') {
			return 0, 0, false
		}
		i++
	}
	if v[1] > 1<<50 || v[2] > v[1] {
		return 0, 0, false
	}
	return v[1], v[2], true
}

func (s *Source) readGroup(p *Point) {
	if s.group == nil {
		if s.closed || p.Time.Before(s.retry) {
			return
		}
		if s.openGroup(p.Time); s.group == nil {
			return
		}
	}
	g := &s.stats
	if err := s.group.Read(g); err != nil {
		// The group may have been removed, or we been moved. What was read before the
		// error is good.
		s.closeGroup()
		s.retry = p.Time.Add(reopenAfter)
	}
	if g.Has(cgroup.StatMemoryUsage) {
		p.CgroupUsageBytes = g.MemoryUsage
		p.Has.Add(record.FieldCgroupUsageBytes)
	}
	if g.Has(cgroup.StatMemoryLimit) {
		p.CgroupLimitBytes = g.MemoryLimit
		p.Has.Add(record.FieldCgroupLimitBytes)
		p.GroupLimitBytes = g.MemoryLimit
	}
	if g.Has(cgroup.StatMemoryHigh) && (p.GroupLimitBytes == 0 || g.MemoryHigh < p.GroupLimitBytes) {
		p.GroupLimitBytes = g.MemoryHigh
	}
	if g.Has(cgroup.StatMemoryParts) {
		p.GroupPinnedBytes, p.HasGroupPinned = g.MemoryParts.NonReclaimable, true
	}
	if g.Has(cgroup.StatOOMKills) {
		p.CgroupOOMKills = g.OOMKills
		p.Has.Add(record.FieldCgroupOOMKills)
		p.OOMEvents, p.HasOOMEvents = g.OOMKills, true
		if g.Has(cgroup.StatOOMs) {
			p.OOMEvents = max(g.OOMKills, g.OOMs)
		}
	}
	if g.Has(cgroup.StatCPUQuota) && g.CPUQuota > 0 {
		p.Cores = min(p.Cores, g.CPUQuota)
	}
	if g.Has(cgroup.StatThrottling) {
		p.CgroupThrottled = g.Throttling.Throttled
		p.CgroupPeriods = g.Throttling.Periods
		p.CgroupThrottledPeriods = g.Throttling.ThrottledPeriods
		p.Has.Add(record.FieldCgroupThrottled)
		p.Has.Add(record.FieldCgroupPeriods)
		p.Has.Add(record.FieldCgroupThrottledPeriods)
	}
	if g.Has(cgroup.StatMemoryPressure) && !g.MemoryPressure.Host {
		p.PSIMemorySomeStall = g.MemoryPressure.Some.Total
		p.Has.Add(record.FieldPSIMemorySomeStall)
	}
}
