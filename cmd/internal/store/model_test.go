package store

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/series"
	"github.com/heapwright/heapwright/record"
)

// A service is a Go process as the agent sees it: its heap saws between what is live and
// the goal, requests come by the hour of the day, and everything has the noise that
// makes values hard to compress. The names and tiers are those of package series.
type service struct {
	r      *rand.Rand
	s      record.Sample
	base   float64 // live heap, bytes
	rate   float64 // allocation, bytes/s, before the day's course
	cycles []record.Cycle
}

func newService(seed uint64) *service {
	m := &service{r: rand.New(rand.NewPCG(seed, 1))}
	m.base = 20e6 * math.Exp(2*m.r.Float64())
	m.rate = m.base / (1 + 4*m.r.Float64()) // a cycle in 1 to 5 s
	for f := range record.NumFields {
		m.s.Has.Add(f)
	}
	m.s.GOGCPercent, m.s.GOMEMLIMITBytes, m.s.GOMAXPROCS = 100, math.MaxInt64, 8
	m.s.CgroupLimitBytes = 1 << 30
	m.s.HeapMarkedBytes = uint64(m.base)
	m.s.HeapLiveBytes = uint64(m.base)
	m.s.HeapGoalBytes = uint64(2 * m.base)
	m.s.RSSBytes = uint64(2.4*m.base) &^ 4095
	m.s.Threads = 14
	return m
}

// step lets time go on to t, dt after the last step.
func (m *service) step(t time.Time, dt time.Duration) *record.Sample {
	s, r := &m.s, m.r
	load := 1 + 0.6*math.Sin(float64(t.Unix()%86400)/86400*2*math.Pi) + 0.15*r.NormFloat64()
	load = max(load, 0.05)
	m.cycles = m.cycles[:0]
	allocated := m.rate * load * dt.Seconds()
	objects := allocated / (90 + 10*r.Float64())
	s.TotalAllocBytes += uint64(allocated)
	s.AllocObjects += uint64(objects)
	s.HeapLiveBytes += uint64(allocated)
	s.CPUProcUser += (time.Duration(load*0.4*dt.Seconds()*100) * 10 * time.Millisecond)
	s.CPUProcSystem += (time.Duration(load*0.1*dt.Seconds()*100+r.Float64()) * 10 * time.Millisecond)
	for s.HeapLiveBytes > s.HeapGoalBytes {
		m.cycle(t.Add(-time.Duration(r.Float64() * float64(dt))))
	}
	s.Time = t
	s.Goroutines = 60 + int64(40*load) + int64(3*r.NormFloat64())
	s.Runnable = max(0, int64(load*2*r.NormFloat64()))
	s.HeapTriggerBytes = s.HeapMarkedBytes + (s.HeapGoalBytes-s.HeapMarkedBytes)*9/10
	s.HeapObjectsBytes = s.HeapLiveBytes + uint64(r.IntN(1<<20))
	s.HeapInUseBytes = (s.HeapLiveBytes*108/100 + 8191) &^ 8191
	s.StackInUseBytes = uint64(s.Goroutines*9000) &^ 32767
	s.MappedReadyBytes = (s.HeapGoalBytes*11/10 + s.StackInUseBytes) &^ 8191
	s.RuntimeOtherBytes = 9_000_000 + uint64(s.Goroutines)*400
	if want := (s.HeapGoalBytes*115/100 + 12<<20) &^ 4095; want > s.RSSBytes || r.IntN(60) == 0 {
		s.RSSBytes = want
	}
	s.RSSAnonBytes = s.RSSBytes - 11<<20
	s.CgroupUsageBytes = s.RSSBytes + uint64(r.IntN(200))*4096
	s.CPUUser += time.Duration(load * 0.5 * float64(dt))
	s.CPUTotal += 8 * dt
	s.CPUIdle = s.CPUTotal - s.CPUUser - s.CPUGCTotal
	s.PSICPUSomeStall += time.Duration(load*load*1000*r.Float64()) * time.Microsecond
	for range int(20 * load) {
		s.SchedLatency.Counts[min(40+int(8*r.ExpFloat64()), len(s.SchedLatency.Counts)-1)] += uint64(1 + r.IntN(4))
	}
	return s
}

func (m *service) cycle(end time.Time) {
	s, r := &m.s, m.r
	c := record.Cycle{
		N: s.GCCycles + 1, End: end, Detail: true,
		SweepTermination: time.Duration(15000 + 20000*r.ExpFloat64()),
		MarkTermination:  time.Duration(20000 + 30000*r.ExpFloat64()),
		Mark:             time.Duration(m.base / 4 * (1 + 0.1*r.NormFloat64())),
		HeapStartBytes:   s.HeapTriggerBytes, HeapEndBytes: s.HeapLiveBytes,
		HeapGoalBytes: s.HeapGoalBytes, Procs: 8,
		StackScanBytes:   s.StackInUseBytes / 3,
		GlobalsScanBytes: 612_344,
		Idle:             time.Duration(2e6 * r.Float64()),
		Assist:           time.Duration(1e5 * max(0, r.NormFloat64())),
	}
	c.Pause = c.SweepTermination + c.MarkTermination
	c.Dedicated = c.Mark * 2
	marked := m.base * (1 + 0.03*r.NormFloat64())
	c.HeapMarkedBytes = uint64(marked)
	s.GCCycles++
	s.PauseTotal += c.Pause
	s.CPUGCAssist += c.Assist
	s.CPUGCDedicated += c.Dedicated
	s.CPUGCIdle += c.Idle
	s.CPUGCPause += 8 * c.Pause
	s.CPUGCTotal += c.Assist + c.Dedicated + c.Idle + 8*c.Pause
	freed := s.HeapLiveBytes - min(s.HeapLiveBytes, c.HeapMarkedBytes)
	s.TotalFreeBytes += freed
	s.FreeObjects += freed / 95
	s.HeapMarkedBytes, s.HeapLiveBytes = c.HeapMarkedBytes, c.HeapMarkedBytes
	s.HeapGoalBytes = 2*c.HeapMarkedBytes + s.StackInUseBytes
	s.LastGC = end
	m.cycles = append(m.cycles, c)
}

// A feeder stores what a model does, at the pace of the agent.
type feeder struct {
	db      *DB
	process series.Label
	m       *service
	handles map[string]*Series
	buf     []series.Point
	n       int
}

func newFeeder(db *DB, name string, seed uint64) *feeder {
	return &feeder{db: db, process: series.Label{Name: series.ProcessLabel, Value: name}, m: newService(seed), handles: map[string]*Series{}}
}

func (f *feeder) add(b *Batch, t time.Time) {
	for i := range f.buf {
		p := &f.buf[i]
		key := p.Name
		for _, l := range p.Labels {
			key += "," + l.Value
		}
		s := f.handles[key]
		if s == nil {
			s = f.db.Series(p.Name, append([]series.Label{f.process}, p.Labels...)...)
			f.handles[key] = s
		}
		b.Append(s, t, p.Value)
	}
	f.n += len(f.buf)
}

// second adds what one second brings.
func (f *feeder) second(b *Batch, t time.Time) {
	s := f.m.step(t, time.Second)
	for i := range f.m.cycles {
		f.buf = series.FromCycle(f.buf[:0], &f.m.cycles[i])
		f.add(b, f.m.cycles[i].End)
	}
	f.buf = series.FromSample(f.buf[:0], s, series.Fast)
	if t.Unix()%10 == 0 {
		f.buf = series.FromSample(f.buf, s, series.Slow)
	}
	if t.Unix()%60 == 0 {
		f.buf = series.FromSample(f.buf, s, series.Static)
	}
	f.add(b, t)
}
