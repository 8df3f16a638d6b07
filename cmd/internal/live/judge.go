package live

import (
	"fmt"
	"math"
	"time"
)

// An Expectation is what a change is held against while it is watched. Zero
// fields take the default that is named, or are not looked at.
type Expectation struct {
	// GCCPURatio is the collector's share of the CPU that the process uses, idle
	// workers included, as pacer.Forecast has it. 0: not known.
	GCCPURatio float64
	// GCCPURatioHigh is the upper end of its interval: a forecast that said itself
	// that it is rough is not wrong before that. 0: there is no interval.
	GCCPURatioHigh float64
	// RSSPeakBytes is the highest resident memory. 0: not known.
	RSSPeakBytes float64

	For       time.Duration // how long to watch; 0: until the context ends
	Tolerance float64       // how far off an expectation may be; 0: 0.30
	Cycles    uint64        // cycles before it is held against what happened; 0: 10
	Settle    time.Duration // and time; 0: 10 s
	// EffectCycles is by when the runtime's own arithmetic must show the change; 0: 3.
	EffectCycles uint64
	StormRatio   float64       // GC CPU that is a storm, idle workers not counted; 0: 0.25
	StormFor     time.Duration // when it lasts this long; 0: 10 s
}

func (e Expectation) withDefaults() Expectation {
	if math.IsNaN(e.GCCPURatio) {
		e.GCCPURatio = 0
	}
	if math.IsNaN(e.GCCPURatioHigh) { // and nothing would be more than it
		e.GCCPURatioHigh = 0
	}
	if e.Tolerance == 0 {
		e.Tolerance = 0.30
	}
	if e.Cycles == 0 {
		e.Cycles = 10
	}
	if e.Settle == 0 {
		e.Settle = 10 * time.Second
	}
	if e.EffectCycles == 0 {
		e.EffectCycles = 3
	}
	if e.StormRatio == 0 {
		// Who was promised that the collector takes 30% shall not be told at 31
		// that there is a storm.
		e.StormRatio = max(0.25, e.GCCPURatio*(1+e.Tolerance))
	}
	if e.StormFor == 0 {
		e.StormFor = 10 * time.Second
	}
	return e
}

// An Observation is what is seen of the process at one time.
type Observation struct {
	Time   time.Time
	Gone   bool     // the process ended, or runs another program
	Theirs []string // words that no longer hold what was written

	Cycles           uint64 // completed
	LimiterLastCycle uint64 // in which the GC CPU limiter was last on, 0 never
	// Cumulative. The first three are P-time, which moves at the end of a cycle;
	// the last is the kernel's.
	GCTotal, GCIdle, Busy time.Duration
	ProcessCPU            time.Duration
	RSSBytes              uint64
	// Effective says that the goal which the runtime keeps is the one that the
	// settings make of what the last cycle found.
	Effective bool
}

// A Decision is what to do after a look at the process.
type Decision int

const (
	GoOn       Decision = iota // all is as expected so far
	TakeBack                   // put the old values back
	StandAside                 // somebody else set something: theirs stays, the rest goes back
	End                        // the process is gone
)

// String names the decision.
func (d Decision) String() string {
	switch d {
	case GoOn:
		return "go on"
	case TakeBack:
		return "take back"
	case StandAside:
		return "stand aside"
	case End:
		return "end"
	}
	return fmt.Sprintf("Decision(%d)", int(d))
}

// A Verdict is a decision with its reason, "" for none.
type Verdict struct {
	Decision Decision
	Why      string
}

// A State is what [Judge] remembers. The zero State is that before the first look.
type State struct {
	started bool
	start   Observation
	// marks are observations at which a cycle had ended since the one before,
	// some way apart, the oldest first: the CPU classes move at those only.
	marks    []Observation
	base     Observation // the first of them
	latest   Observation // the last at which a cycle had ended
	effect   bool
	rssPeak  uint64
	measured float64 // GC CPU ratio since base; NaN before
}

// Effective reports whether the runtime's own arithmetic has shown the change.
func (s State) Effective() bool { return s.effect }

// GCCPURatio is the collector's share of the CPU since the first cycle after the
// change; NaN when that is not known yet.
func (s State) GCCPURatio() float64 {
	if len(s.marks) == 0 {
		return math.NaN()
	}
	return s.measured
}

// RSSPeakBytes is the most resident memory that was seen.
func (s State) RSSPeakBytes() uint64 { return s.rssPeak }

// storms is into how many parts the window of a storm is divided.
const storms = 16

// Judge looks at a process once more, some time after its settings were changed,
// and says what to do. It is a pure function. The first observation is to be
// made right after the change.
func Judge(s State, o Observation, e Expectation) (State, Verdict) {
	e = e.withDefaults()
	switch {
	case o.Gone:
		return s, Verdict{End, "the process has ended"}
	case len(o.Theirs) > 0:
		return s, Verdict{StandAside, (&ChangedError{o.Theirs}).Error()}
	}
	s.rssPeak = max(s.rssPeak, o.RSSBytes)
	if !s.started {
		s.started, s.start, s.latest, s.measured = true, o, o, math.NaN()
		return s, Verdict{}
	}
	if o.Cycles < s.latest.Cycles {
		return s, Verdict{TakeBack, fmt.Sprintf("its GC cycles went back from %d to %d", s.latest.Cycles, o.Cycles)}
	}
	if o.Cycles > s.start.Cycles && o.LimiterLastCycle > s.start.Cycles {
		return s, Verdict{TakeBack, fmt.Sprintf("the runtime's GC CPU limiter had to step in, in cycle %d", o.LimiterLastCycle)}
	}
	s.effect = s.effect || o.Effective && o.Cycles > s.start.Cycles
	if !s.effect && o.Cycles >= s.start.Cycles+e.EffectCycles {
		return s, Verdict{TakeBack, fmt.Sprintf("the heap goal did not follow in %d cycles", o.Cycles-s.start.Cycles)}
	}
	if o.Cycles > s.latest.Cycles {
		s.latest = o
		s.mark(o, e)
	}
	if len(s.marks) == 0 {
		return s, Verdict{}
	}
	if from, ok := s.ago(o.Time, e.StormFor); ok {
		if r := share(from, s.latest, true); r > e.StormRatio {
			return s, Verdict{TakeBack, fmt.Sprintf("a GC storm: the collector took %.0f%% of the CPU for %v", 100*r, s.latest.Time.Sub(from.Time).Round(time.Second))}
		}
	}
	s.measured = share(s.base, s.latest, false)
	if o.Time.Sub(s.start.Time) < e.Settle || s.latest.Cycles < s.base.Cycles+e.Cycles {
		return s, Verdict{}
	}
	// A hundredth of the CPU more is no reason to do anything, nor is less.
	if most := max((1+e.Tolerance)*e.GCCPURatio, e.GCCPURatioHigh, e.GCCPURatio+0.01); e.GCCPURatio > 0 && s.measured > most {
		return s, Verdict{TakeBack, fmt.Sprintf("the collector takes %.1f%% of the CPU where %.1f%% were expected", 100*s.measured, 100*e.GCCPURatio)}
	}
	// Memory that was resident before takes its time to go.
	if rss := float64(o.RSSBytes); e.RSSPeakBytes > 0 && rss > (1+e.Tolerance)*e.RSSPeakBytes && rss > 1.05*float64(s.start.RSSBytes) {
		return s, Verdict{TakeBack, fmt.Sprintf("%.0f MiB are resident where at most %.0f were expected", rss/(1<<20), e.RSSPeakBytes/(1<<20))}
	}
	return s, Verdict{}
}

// mark keeps an observation for windows of time, some way from the last.
func (s *State) mark(o Observation, e Expectation) {
	n := len(s.marks)
	if n == 0 {
		s.base = o
	} else if o.Time.Sub(s.marks[n-1].Time) < e.StormFor/storms {
		return
	}
	// The caller's State keeps its own.
	kept := s.marks
	if _, ok := s.ago(o.Time, e.StormFor); ok && n > 1 && o.Time.Sub(kept[1].Time) >= e.StormFor {
		kept = kept[1:]
	}
	s.marks = append(append(make([]Observation, 0, len(kept)+1), kept...), o)
}

// ago returns the latest mark that is at least d old.
func (s *State) ago(now time.Time, d time.Duration) (Observation, bool) {
	for i := len(s.marks) - 1; i >= 0; i-- {
		if now.Sub(s.marks[i].Time) >= d {
			return s.marks[i], true
		}
	}
	return Observation{}, false
}

// leastCPU is what the kernel's account, which goes in hundredths of a second,
// needs to say anything about a share.
const leastCPU = 200 * time.Millisecond

// share is the part of the process's CPU that the collector used between two
// observations, without idle workers if strict. The runtime counts the wall time
// of Ps, which under contention is more than the CPU they got, alike for the
// collector and the program: it is scaled to the kernel's account. NaN when there
// is too little to tell.
func share(from, to Observation, strict bool) float64 {
	gc, busy, cpu := to.GCTotal-from.GCTotal, to.Busy-from.Busy, to.ProcessCPU-from.ProcessCPU
	if strict {
		gc -= to.GCIdle - from.GCIdle
	}
	if cpu < leastCPU || busy <= 0 || gc < 0 {
		return math.NaN()
	}
	// More CPU than P-time is of threads without a P: not the collector's.
	k := min(float64(cpu)/float64(busy), 1)
	return min(k*float64(gc)/float64(cpu), 1)
}
