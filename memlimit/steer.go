package memlimit

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/heapwright/heapwright/guard/sli"
	"github.com/heapwright/heapwright/memlimit/control"
)

const (
	// pollInterval is how often the number of collections is asked for, at half a
	// microsecond.
	pollInterval = 100 * time.Millisecond
	// sampleInterval is the least time between two samples of the controller, which
	// cost a reading of the group each: 90 microseconds.
	sampleInterval = 250 * time.Millisecond
	// stallAfter is how long the loop may take for a turn, before the watchdog takes
	// the controller's settings back.
	stallAfter = 30 * time.Second
	// pauseWindow is what the percentile of pauses is taken over, at least; twice
	// that at most.
	pauseWindow = time.Minute
)

// points is where the controller's numbers are from.
type points interface {
	Read(*sli.Point)
	Close() error
}

// A stepper is a control.Controller.
type stepper interface {
	Step(control.Sample) control.Action
}

// A steering feeds the controller. It belongs to the loop's goroutine.
type steering struct {
	controller stepper
	points     points

	begin      time.Time
	at         time.Time // of the last sample
	older, now *sli.Point
	pauses     [2]*sli.Point // where the window of pauses may begin: the last but one, and the last
	samples    int
	plans      uint64 // number of the plan that was last sampled
	collector  time.Duration
	assists    time.Duration
}

func newSteering(conf *Config) (*steering, error) {
	c, err := control.New(control.Config{Objective: *conf.Objective, MinGOGC: conf.MinGOGC, MaxGOGC: conf.MaxGOGC})
	if err != nil {
		return nil, err
	}
	return &steering{controller: c, older: new(sli.Point), now: new(sli.Point), pauses: [2]*sli.Point{new(sli.Point), new(sli.Point)}}, nil
}

// steer asks the controller, if there is something new to tell it: a collection
// ended, or the plan changed.
func (l *Limit) steer(s *steering) {
	now := time.Now()
	l.mu.Lock()
	l.stalled = false
	// What somebody else set for a while is not the controller's to go on from.
	idle := l.closed || l.off != "" || l.broken != "" || l.plans == 0 || l.lease != nil
	plans := l.plans
	l.mu.Unlock()
	if idle || s.samples > 0 && now.Sub(s.at) < sampleInterval || s.plans == plans && l.sys.cycles() == s.now.GCCycles {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			l.failures.Add(1)
			l.breakOff(fmt.Sprint(p))
		}
	}()
	s.sample(now)
	s.plans = plans
	a := s.controller.Step(l.sampleOf(s))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.off != "" || l.lease != nil {
		return
	}
	l.action = &a
	l.report.Control = decision(a)
	l.resettle()
}

// sample takes a Point, and adds up what the collector used since the last.
func (s *steering) sample(now time.Time) {
	if s.samples == 0 {
		s.begin = now
	}
	s.older, s.now = s.now, s.older
	s.points.Read(s.now)
	s.at = now
	s.samples++
	if s.samples == 1 {
		*s.pauses[0], *s.pauses[1] = *s.now, *s.now
		return
	}
	// The shares of sli.Window are of the CPU time that the process could have, by
	// the kernel's account.
	r := sli.Window(s.older, s.now)
	could := float64(s.now.CPUTotal - s.older.CPUTotal)
	if s.now.GOMAXPROCS > 0 {
		could *= min(s.now.Cores/float64(s.now.GOMAXPROCS), 1)
	}
	share, _ := r.Get(sli.GCCPURatio)
	assist, _ := r.Get(sli.AssistRatio)
	s.collector += time.Duration(share * max(could, 0))
	s.assists += time.Duration(assist * max(could, 0))
	if s.now.Time.Sub(s.pauses[1].Time) >= pauseWindow {
		s.pauses[0], s.pauses[1] = s.pauses[1], s.pauses[0]
		*s.pauses[1] = *s.now
	}
}

// sampleOf is the controller's sample.
func (l *Limit) sampleOf(s *steering) control.Sample {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := s.now
	c := control.Sample{
		At: s.at.Sub(s.begin), Cycles: p.GCCycles,
		LiveBytes: p.HeapMarkedBytes, AllocBytes: p.TotalAllocBytes, StackBytes: p.StackScanBytes, GlobalsBytes: p.GlobalsScanBytes,
		NonHeapBytes: p.MappedReadyBytes - min(p.MappedReadyBytes, p.HeapObjectsBytes),
		BudgetBytes:  l.limit, CeilingBytes: l.plan.ceiling,
		GCCPU: s.collector, AssistCPU: s.assists, Procs: p.Cores, LimiterCycle: p.LimiterLastCycle,
		GOGC: int(p.GOGCPercent), GOMEMLIMIT: p.GOMEMLIMITBytes,
	}
	pauses := sli.Window(s.pauses[0], s.now)
	if v, ok := pauses.Get(sli.PauseP99); ok {
		c.PauseP99 = time.Duration(v * float64(time.Second))
	}
	// What is not set is taken as set, so that advice gets as far as deeds would.
	if a := l.action; a != nil && l.adviseOnly() {
		c.GOGC, c.GOMEMLIMIT = a.GOGC, a.GOMEMLIMIT
	}
	return c
}

// adviseOnly reports that the controller's decisions are not carried out. With mu.
func (l *Limit) adviseOnly() bool {
	return l.conf.DryRun || l.operator != "" || l.operatorGOGC != "" || l.stood != ""
}

// breakOff takes the controller out after it panicked.
func (l *Limit) breakOff(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = why
	l.action, l.report.Control = nil, nil
	if l.closed {
		return
	}
	l.lines.post(line{nil, slog.LevelError, "memory controller failed, its settings are taken back", []slog.Attr{slog.String("panic", why)}})
	l.resettle()
}

// stall is the watchdog: the loop has not come round. GOMEMLIMIT stays at what the
// limit leaves.
func (l *Limit) stall() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.stalled {
		return
	}
	l.stalled = true
	if l.action == nil {
		return
	}
	l.action, l.report.Control = nil, nil
	l.lines.post(line{nil, slog.LevelWarn, "memory controller stalled, its settings are taken back", nil})
	l.resettle()
}
