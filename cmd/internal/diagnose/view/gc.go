package view

import (
	"math"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
	"github.com/heapwright/heapwright/record"
)

// NoLimit is how the runtime writes that GOMEMLIMIT is not set
// (runtime/mgcpacer.go, readGOMEMLIMIT: maxInt64).
const NoLimit = math.MaxInt64

// CPU says what the collector costs in the window.
//
// The runtime's CPU classes are time that Ps spent, not CPU time: on a machine
// that is contended or a container that is throttled they say several times what
// the kernel charged (measured: 21.6 s where the process used 5.6 s). Shares of
// busy P-time do not suffer, because the collector and the program are stretched
// alike, so Share and AssistShare are those, and Cores is Share times what the
// kernel charged.
type CPU struct {
	Share       float64 // GC's part of the busy P-time, idle marking and pauses left out
	AssistShare float64 // mark assists' part of the same
	ScavShare   float64 // the scavenger's part of the same
	Cores       float64 // CPU-seconds per second in GC, by the kernel's account when CoresKnown
	CoresKnown  bool
	// Demand is the P-time in GC per second: what the collector would use of a
	// machine that is not contended, where it is Cores. Whether a share matters
	// is judged by it: on a starved machine all cores are few.
	Demand    float64
	BusyCores float64 // CPU-seconds per second of the whole process; valid when CoresKnown
	// Stretch is P-time over kernel CPU time: 1 on a quiet machine; 2 means that
	// a P that thinks it runs is off the CPU half of the time. 0 when unknown.
	Stretch float64
	Seconds float64 // the window of the classes: from one GC's end to another's
	Cycles  float64 // GC cycles in it, 0 when unknown
}

// CPU returns the collector's cost. It reports false when the source has no CPU
// classes, or no two samples lie on different sides of a GC cycle: the classes
// move only at mark termination (runtime/mstats.go, cpuStats.accumulate).
func (v *View) CPU() (*CPU, bool) {
	if !v.cpuDone {
		v.cpuDone = true
		v.cpu = v.computeCPU()
	}
	return v.cpu, v.cpu != nil
}

func (v *View) computeCPU() *CPU {
	need := []record.Field{record.FieldCPUGCTotal, record.FieldCPUTotal, record.FieldCPUIdle}
	get := func(s *record.Sample, f record.Field) float64 { x, _ := number(s, f); return x }
	// The samples just after the classes moved: the first and the last of them
	// bound a window in which the kernel's account and the runtime's agree to
	// within a sampling interval.
	var fresh []*record.Sample
	var prev, firstSample, lastSample *record.Sample
	for _, s := range v.samples {
		all := true
		for _, f := range need {
			_, ok := number(s, f)
			all = all && ok
		}
		if !all {
			continue
		}
		if firstSample == nil {
			firstSample = s
		}
		if prev != nil && s.CPUTotal != prev.CPUTotal {
			fresh = append(fresh, s)
		}
		prev, lastSample = s, s
	}
	a, b := firstSample, lastSample
	aligned := false
	if len(fresh) >= 2 {
		a, b, aligned = fresh[0], fresh[len(fresh)-1], true
	}
	if a == nil || a == b {
		return nil
	}
	delta := func(f record.Field) float64 { return get(b, f) - get(a, f) }
	gc, total, idle := delta(record.FieldCPUGCTotal), delta(record.FieldCPUTotal), delta(record.FieldCPUIdle)
	// Idle workers run where nothing else would: they cost nobody anything.
	idleMark := delta(record.FieldCPUGCIdle)
	// A pause is charged with its length times GOMAXPROCS (runtime/mgc.go,
	// accumulateGCPauseTime), though hardly any CPU is used in it: on a contended
	// machine, where pauses are long, that would be most of the GC time.
	pause := delta(record.FieldCPUGCPause)
	busy := total - idle - idleMark - pause
	cost := gc - idleMark - pause
	if busy <= 0 || cost < 0 || idleMark < 0 || pause < 0 || idle < 0 || cost > busy {
		return nil
	}
	c := &CPU{
		Share:       cost / busy,
		AssistShare: clamp01(delta(record.FieldCPUGCAssist) / busy),
		ScavShare:   clamp01(delta(record.FieldCPUScavengeTotal) / busy),
		Seconds:     b.Time.Sub(a.Time).Seconds(),
	}
	if c.Seconds <= 0 {
		return nil
	}
	c.Cycles = max(0, delta(record.FieldGCCycles))
	c.Demand = cost / c.Seconds
	c.Cores = c.Demand
	_, okA := number(a, record.FieldCPUProcUser)
	_, okB := number(b, record.FieldCPUProcUser)
	if okA && okB {
		kernel := delta(record.FieldCPUProcUser) + delta(record.FieldCPUProcSystem)
		// What idle workers took is in the kernel's account too.
		if kernel > 0 {
			c.CoresKnown = true
			if aligned {
				c.Stretch = max(1, (total-idle-pause)/kernel)
			}
			c.BusyCores = kernel * (busy / (busy + idleMark)) / c.Seconds
			c.Cores = c.BusyCores * c.Share
		}
	}
	return c
}

func clamp01(x float64) float64 {
	if !(x > 0) {
		return 0
	}
	return min(x, 1)
}

// Contended reports whether the kernel kept the process's threads off the CPU
// for a good part of the time in which they could have run, so that durations in
// the recording are the machine's doing as much as the process's; why says what
// shows it. known is false when nothing in the recording could tell.
//
// It takes the cgroup throttled for 5% of the window, a stretch of 1.4 (runnable
// for 1.4 s for each second of CPU; system calls that block for less than a
// scheduler tick stretch too) in a process that would use 0.3 cores or more (an
// idle one stretches by waking up: 1.7 was measured), or a CPU pressure of 20%.
func (v *View) Contended() (yes, known bool, why string) {
	const (
		throttle = 0.05
		stretch  = 1.4
		demand   = 0.30
		pressure = 0.20
	)
	if d, s, ok := v.Delta(record.FieldCgroupThrottled); ok && d/s >= throttle {
		return true, true, "the container was throttled"
	}
	if c, ok := v.CPU(); ok && c.Stretch > 0 && c.BusyCores*c.Stretch >= demand {
		if known = true; c.Stretch >= stretch {
			return true, true, "the kernel gave the process less CPU than its Ps asked for"
		}
	}
	if d, s, ok := v.Delta(record.FieldPSICPUSomeStall); ok {
		if known = true; d/s >= pressure {
			return true, true, "tasks waited for CPU (pressure stall information)"
		}
	}
	return false, known, ""
}

// Cycles returns the GC cycles of the recording, rising in N.
func (v *View) Cycles() []record.Cycle { return v.cycles }

// CycleCount is how many GC cycles ended in the window, and whether that is
// known.
func (v *View) CycleCount() (float64, bool) {
	if d, _, ok := v.Delta(record.FieldGCCycles); ok {
		return d, true
	}
	if len(v.cycles) > 0 {
		return float64(len(v.cycles)), true
	}
	return 0, false
}

// Pauses are the stop-the-world times of the cycles in seconds, rising.
func (v *View) Pauses() []float64 {
	var out []float64
	for _, c := range v.cycles {
		if c.Pause > 0 {
			out = append(out, c.Pause.Seconds())
		}
	}
	slices.Sort(out)
	return out
}

// QuantileOf is the q-quantile of rising values, by nearest rank; 0 for none.
func QuantileOf(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return quantileSorted(sorted, q)
}

// WarmupCycles are the first cycles of a process: the heap grows from the 4 MiB
// minimum, and what it finds alive says nothing yet.
const WarmupCycles = 4

// Marked is what each GC cycle found alive, over time: from the Cycles that have
// detail, else from the samples, one for each cycle that was seen.
func (v *View) Marked() []trend.Point {
	var pts []trend.Point
	for _, c := range v.cycles {
		if c.Detail && c.N > WarmupCycles && c.HeapMarkedBytes > 0 {
			pts = append(pts, trend.Point{T: v.seconds(c.End), V: float64(c.HeapMarkedBytes)})
		}
	}
	if len(pts) >= trend.MinPoints {
		return pts
	}
	var fromSamples []trend.Point
	lastCycle := math.Inf(-1)
	for _, s := range v.samples {
		n, okN := number(s, record.FieldGCCycles)
		live, okL := number(s, record.FieldHeapMarkedBytes)
		if okN && okL && n > WarmupCycles && n != lastCycle && live > 0 {
			fromSamples = append(fromSamples, trend.Point{T: v.seconds(s.Time), V: live})
			lastCycle = n
		}
	}
	if len(fromSamples) > len(pts) {
		return fromSamples
	}
	return pts
}

// GOGC is the newest GOGC, -1 for off.
func (v *View) GOGC() (float64, bool) { return v.Last(record.FieldGOGCPercent) }

// GOMEMLIMIT is the newest memory limit of the runtime; set is false when there
// is none, ok false when it is not known.
func (v *View) GOMEMLIMIT() (limit float64, set, ok bool) {
	x, ok := v.Last(record.FieldGOMEMLIMITBytes)
	if !ok || x < 0 {
		return 0, false, false
	}
	return x, x < NoLimit, true
}

// LimiterOn reports whether the GC CPU limiter (runtime/mgclimit.go) came on in
// the window.
func (v *View) LimiterOn() bool {
	if on, ok := v.Max(record.FieldLimiterEnabled); ok && on > 0 {
		return true
	}
	d, _, ok := v.Delta(record.FieldLimiterLastCycle)
	return ok && d > 0
}
