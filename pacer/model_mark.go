package pacer

import "time"

// Workers are the background mark workers of a cycle.
type Workers struct {
	// Dedicated is how many Ps do nothing but mark.
	Dedicated int64
	// FractionalUtilization is how much of its time every other P marks in turn,
	// 0 to 1, so that all together come to 25% of GOMAXPROCS. It is 0 where
	// dedicated workers alone are within 30% of that: with 4 Ps and more, but for 6.
	FractionalUtilization float64
	// IdleMax is how many Ps that have nothing else to do may mark besides.
	IdleMax int32
}

// Workers says who marks in the background. periodic says that the cycle was
// forced after [ForcedPeriod]; then idle Ps are left alone
// (runtime/mgcpacer.go, startCycle; Go 1.20 to 1.27).
func (m Model) Workers(gomaxprocs int, periodic bool) Workers {
	total := float64(gomaxprocs) * backgroundUtilization
	w := Workers{Dedicated: toInt64(total + 0.5)}
	const maxError = 0.3
	if e := float64(w.Dedicated)/total - 1; e < -maxError || e > maxError {
		if float64(w.Dedicated) > total {
			w.Dedicated--
		}
		w.FractionalUtilization = (total - float64(w.Dedicated)) / float64(gomaxprocs)
	}
	switch {
	case !periodic:
		w.IdleMax = int32(gomaxprocs) - int32(w.Dedicated)
	case w.Dedicated <= 0:
		w.IdleMax = 1
	}
	return w
}

// A Mark is a cycle under way, in bytes.
type Mark struct {
	Goal      uint64 // from Goal with Pacing.Triggered set: heapGoal
	Triggered uint64 // where the cycle started: triggered
	Live      uint64 // heap now: heapLive
	HeapScan  uint64 // what may have to be scanned of the heap as it was at the start: heapScan
	MaxStack  uint64 // all stacks in full, used or not: maxStackScan
	Done      int64  // scanned so far: heapScanWork + stackScanWork + globalsScanWork
	Last      Heap   // of the cycle before: what to expect
}

// An Assist is what a goroutine that allocates owes to the cycle under way.
type Assist struct {
	WorkPerByte  float64 // bytes to scan for each byte to allocate: assistWorkPerByte
	BytesPerWork float64 // bytes to allocate for each byte scanned: assistBytesPerWork
}

// Assist is the ratio at which allocation must help so that the cycle is done at
// the goal. Once more was scanned than in the cycle before, all of the heap that may
// have to be scanned is expected, and the goal extended in proportion, but no
// further than by GOGC once more; once the heap is past the goal, it is extended by
// 10% (runtime/mgcpacer.go, revise; Go 1.20 to 1.27). Goroutines assist only when
// they find no credit left of what background workers scanned, do 64 KiB of work
// at a time, and none while the [Limiter] limits (runtime/mgcmark.go, gcAssistAlloc).
func (m Model) Assist(k Mark, gogc int64) Assist {
	percent := gcPercent(gogc)
	if percent < 0 {
		percent = 100000 // goals are fluid only because of a memory limit
	}
	goal := int64(k.Goal)
	expected := int64(k.Last.ScanWork())
	most := int64(k.HeapScan + k.MaxStack + k.Last.Globals)
	if k.Done > expected {
		extended := toInt64(float64(goal-int64(k.Triggered))/float64(expected)*float64(most)) + int64(k.Triggered)
		expected = most
		goal = min(extended, toInt64((1.0+float64(percent)/100.0)*float64(goal)))
	}
	if int64(k.Live) > goal {
		goal = toInt64(float64(goal) * 1.1)
		expected = most
	}
	work := max(expected-k.Done, 1000)
	heap := goal - int64(k.Live)
	if heap <= 0 {
		heap = 1
	}
	return Assist{float64(work) / float64(heap), float64(heap) / float64(work)}
}

// A CycleEnd is how a cycle went, between its two pauses.
type CycleEnd struct {
	Triggered  uint64        // heap when it started, in bytes: triggered
	Live       uint64        // heap when it ended, in bytes: heapLive
	ScanWork   int64         // what it scanned, in bytes: heapScanWork + stackScanWork + globalsScanWork
	Elapsed    time.Duration // from before the first pause to the second: now − markStartTime
	AssistTime time.Duration // of all goroutines: assistTime
	IdleTime   time.Duration // of idle mark workers: idleMarkTime
	GOMAXPROCS int
}

// utilization is the share of GOMAXPROCS that marked, idle workers left out.
// Background workers count with what they should have taken.
func (e *CycleEnd) utilization() float64 {
	u := backgroundUtilization
	if e.Elapsed > 0 {
		u += float64(e.AssistTime) / float64(int64(e.Elapsed)*int64(e.GOMAXPROCS))
	}
	return u
}

// UtilizationPercent is the CPU of GOMAXPROCS that the runtime thinks marking took,
// idle workers left out: 25 and what assists took (GODEBUG=gcpacertrace=1 prints it).
func (e CycleEnd) UtilizationPercent() int { return int(toInt64(e.utilization() * 100)) }

// A ConsMark is the pacer's estimate of how fast the program allocates, as a ratio
// to how fast the collector marks, each in bytes per CPU-nanosecond. The zero value
// is that of a new process.
type ConsMark struct {
	Estimate float64    // gcController.consMark
	Last     [4]float64 // of the last cycles, the newest last: lastConsMark. Go 1.20 has the newest only.
}

// NextConsMark is the estimate after a cycle. Nothing was learned of a cycle in
// which nothing was allocated (runtime/mgcpacer.go, endCycle; the mean of two cycles
// in Go 1.20, the largest of five in 1.21 to 1.27).
func (m Model) NextConsMark(c ConsMark, e CycleEnd) ConsMark {
	if e.Live <= e.Triggered {
		return c
	}
	utilization, idle := e.utilization(), 0.0
	if e.Elapsed > 0 {
		idle = float64(e.IdleTime) / float64(int64(e.Elapsed)*int64(e.GOMAXPROCS))
	}
	current := (float64(e.Live-e.Triggered) * (utilization + idle)) / (float64(e.ScanWork) * (1 - utilization))
	if m.minor < 21 {
		return ConsMark{Estimate: (current + c.Last[3]) / 2, Last: [4]float64{3: current}}
	}
	c.Estimate = current
	for _, last := range c.Last {
		if last > c.Estimate {
			c.Estimate = last
		}
	}
	c.Last = [4]float64{c.Last[1], c.Last[2], c.Last[3], current}
	return c
}
