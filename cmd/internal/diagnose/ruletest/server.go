// Package ruletest makes recordings for the tests of rules and compares findings
// with golden files. A [Server] is a small simulation of a Go process: enough of
// the pacer's arithmetic that the fields of a recording agree with each other.
// It is not a model to predict with.
package ruletest

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/heapwright/heapwright/record"
)

// Sizes, for tests.
const (
	KiB = 1 << 10
	MiB = 1 << 20
	GiB = 1 << 30
)

// Epoch is the time of the first sample.
var Epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// A Server says what a simulated process does. The zero value of a field is
// what a small healthy server has: 30 s at 10 Hz, 10 MiB live, 50 MiB/s
// allocated, GOGC=100, no limits, 2 Ps on a quiet machine.
type Server struct {
	Seconds   float64
	Hz        float64
	Age       float64 // seconds that the process lived before the first sample; default 600
	GoVersion string
	GoEnv     map[string]string
	Module    string

	Live      func(t float64) float64 // truly live heap, bytes
	Alloc     func(t float64) float64 // bytes/s
	LargePart float64                 // of allocated bytes in objects > 32 KiB
	GOGC      int64                   // -1 for off
	Limit     int64                   // GOMEMLIMIT
	Container uint64
	Quota     float64
	Procs     int64

	UserCores  float64 // kernel CPU of the program itself, cores; default 0.5
	MarkSpeed  float64 // bytes marked per CPU-second; default 1 GiB
	CycleCost  float64 // fixed CPU-seconds a cycle; default 200e-6
	AssistPart float64 // of GC CPU
	IdlePart   float64 // of GC CPU
	Stretch    float64 // P-time per kernel CPU time; default 1
	Limiter    bool    // the GC CPU limiter was on

	Stacks      func(t float64) float64
	Outside     func(t float64) float64 // anonymous memory outside of the runtime
	FreeHeap    func(t float64) float64 // free spans still backed
	ScavGoal    func(t float64) float64
	UnusedPart  float64 // of in-use spans without objects; default 0.1
	ForcedEvery float64 // seconds between calls of runtime.GC

	Pause     func(i int) time.Duration // of the i-th cycle
	Stopping  func(i int) time.Duration
	SchedWait func(i int) time.Duration // of the i-th scheduled goroutine; 100 a sample

	Goroutines func(t float64) float64
	Runnable   float64
	Throttled  float64 // share of cgroup periods that were throttled
	PSICPU     float64 // share of time with CPU pressure

	Others, Cache, Shmem func(t float64) float64 // of the container, not the process's; default 0
	Refaults             float64                 // pages a second
	Stopped              func(t float64) bool

	// Change is called for each sample before it is kept, for what has no field here.
	Change func(t float64, s *record.Sample)

	FirstGoroutines, LastGoroutines *record.Goroutines
	Profiles                        []record.Profile
}

// Const is a function that is the same at all times.
func Const(v float64) func(float64) float64 { return func(float64) float64 { return v } }

// Ramp rises from a to b over seconds.
func Ramp(a, b, seconds float64) func(float64) float64 {
	return func(t float64) float64 { return a + (b-a)*t/seconds }
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

func orFunc(f func(float64) float64, def float64) func(float64) float64 {
	if f == nil {
		return Const(def)
	}
	return f
}

// absentWithoutContainer are the fields that need a cgroup.
var absentWithoutContainer = []record.Field{
	record.FieldCgroupUsageBytes, record.FieldCgroupLimitBytes, record.FieldCgroupThrottled,
	record.FieldCgroupPeriods, record.FieldCgroupThrottledPeriods, record.FieldCgroupOOMKills,
	record.FieldCgroupAnonBytes, record.FieldCgroupFileBytes, record.FieldCgroupShmemBytes, record.FieldCgroupRefaults,
	record.FieldCgroupReclaimedBytes,
}

// Recording runs the simulation. It is deterministic.
func (sv Server) Recording() *record.Recording {
	seconds, hz := or(sv.Seconds, 30), or(sv.Hz, 10)
	live, alloc := orFunc(sv.Live, 10*MiB), orFunc(sv.Alloc, 50*MiB)
	stacks, outside := orFunc(sv.Stacks, 512*KiB), orFunc(sv.Outside, 6*MiB)
	others, cache, shmem := orFunc(sv.Others, 0), orFunc(sv.Cache, 0), orFunc(sv.Shmem, 0)
	freeHeap, goroutines := orFunc(sv.FreeHeap, 2*MiB), orFunc(sv.Goroutines, 40)
	gogc, limit := or(sv.GOGC, 100), or(sv.Limit, math.MaxInt64)
	procs := or(sv.Procs, 2)
	user, speed, fixed := or(sv.UserCores, 0.5), or(sv.MarkSpeed, GiB), or(sv.CycleCost, 200e-6)
	stretch, unused := or(sv.Stretch, 1), or(sv.UnusedPart, 0.1)
	pause := sv.Pause
	if pause == nil {
		pause = func(i int) time.Duration { return time.Duration(80+10*(i%7)) * time.Microsecond }
	}
	stopping := sv.Stopping
	if stopping == nil {
		stopping = func(i int) time.Duration { return time.Duration(4+i%5) * time.Microsecond }
	}
	wait := sv.SchedWait
	if wait == nil {
		wait = func(i int) time.Duration { return time.Duration(1+i%40) * time.Microsecond }
	}
	rng := rand.New(rand.NewPCG(1, 2))

	rec := &record.Recording{Process: record.Process{
		PID: 4242, StartTime: Epoch.Add(-time.Duration(or(sv.Age, 600) * float64(time.Second))), Name: "server", Exe: "/usr/bin/server",
		MainPackage: "example.com/server", Module: or(sv.Module, "example.com/server"), GoVersion: or(sv.GoVersion, "go1.26.8"),
		GOOS: "linux", GOARCH: "amd64", GoEnv: sv.GoEnv, MemoryLimitBytes: sv.Container, CPUQuotaCores: sv.Quota,
		HostMemoryBytes: 24 * GiB, HostCPUs: 2,
	}}
	const (
		globals = 256 * KiB
		other   = 6 * MiB
		dt      = 0.002
	)
	s := record.Sample{
		Source: record.SourceRemote, GOGCPercent: gogc, GOMEMLIMITBytes: limit, GOMAXPROCS: procs, Threads: procs + 5,
		GCCycles: 100, GlobalsScanBytes: globals, RuntimeOtherBytes: other,
		CgroupLimitBytes: sv.Container, CPUUser: time.Minute, CPUTotal: 2 * time.Minute, CPUIdle: time.Minute,
	}
	for f := record.Field(0); f < record.NumFields; f++ {
		s.Has.Add(f)
	}
	if sv.Container == 0 {
		for _, f := range absentWithoutContainer {
			s.Has.Remove(f)
		}
		if sv.Quota > 0 {
			for _, f := range []record.Field{record.FieldCgroupThrottled, record.FieldCgroupPeriods, record.FieldCgroupThrottledPeriods} {
				s.Has.Add(f)
			}
		}
	}

	if s.CgroupCPUQuota = time.Duration(sv.Quota * float64(time.Second)); sv.Quota == 0 {
		s.Has.Remove(record.FieldCgroupCPUQuota)
	}

	goal := func(marked, st float64) float64 {
		g := math.Inf(1)
		if gogc >= 0 {
			g = max(marked+(marked+st+globals)*float64(gogc)/100, 4*MiB*float64(gogc)/100)
		}
		if limit != math.MaxInt64 {
			l := float64(limit)
			g = max(marked, min(g, l-other-st-freeHeap(0)-max(l*0.03, MiB)))
		}
		return min(g, 1<<50)
	}
	marked := live(0)
	heap := marked
	now := goal(marked, stacks(0))
	var cpu struct{ gc, assist, idle, user, busy, pause float64 } // P-time since the start, flushed at a cycle's end
	var kernelUser float64
	nextForced := sv.ForcedEvery
	nextSample := 0.0
	cycles, scheduled := 0, 0
	dur := func(x float64) time.Duration { return time.Duration(x * 1e9) }
	steps := int(seconds/dt) + 1
	for i := 0; i <= steps; i++ {
		t := float64(i) * dt
		at := Epoch.Add(dur(t))
		heap += alloc(t) * dt
		s.TotalAllocBytes += uint64(alloc(t) * dt)
		s.AllocObjects += uint64(alloc(t) * dt / 256)
		s.LargeAllocBytes += uint64(alloc(t) * dt * sv.LargePart)
		s.SizeClassAllocs[0] = s.LargeAllocBytes / MiB
		cpu.user += user * dt * stretch
		kernelUser += user * dt
		forced := sv.ForcedEvery > 0 && t >= nextForced
		if forced || heap >= now-(now-marked)*0.05 {
			start := heap
			st := stacks(t)
			marked = live(t) * (1 + 0.01*(rng.Float64()-0.5))
			cost := fixed + (marked+st+globals)/speed
			cpu.gc += cost * stretch
			cpu.assist += cost * stretch * sv.AssistPart
			cpu.idle += cost * stretch * sv.IdlePart
			kernelUser += cost
			p := pause(cycles)
			cpu.pause += p.Seconds() * float64(procs)
			s.GCCycles++
			if forced {
				s.GCForced++
				nextForced += sv.ForcedEvery
			}
			if sv.Limiter {
				s.LimiterLastCycle, s.LimiterFillRatio = s.GCCycles, 1
			}
			s.PauseTotal += p
			s.LastGC = at
			s.STWStoppingGC.Add(stopping(cycles))
			s.STWTotalGC.Add(p)
			s.TotalFreeBytes += uint64(max(0, start-marked))
			s.LargeFreeBytes += uint64(max(0, start-marked) * sv.LargePart)
			rec.Cycles = append(rec.Cycles, record.Cycle{
				N: s.GCCycles, End: at, Pause: p, Detail: true, Forced: forced,
				SweepTermination: p / 3, Mark: dur(cost * stretch), MarkTermination: p - p/3,
				HeapStartBytes: uint64(start), HeapEndBytes: uint64(start), HeapMarkedBytes: uint64(marked), HeapGoalBytes: uint64(now),
				StackScanBytes: uint64(st), GlobalsScanBytes: globals,
				Assist: dur(cost * stretch * sv.AssistPart), Dedicated: dur(cost * stretch * (1 - sv.AssistPart - sv.IdlePart)),
				Idle: dur(cost * stretch * sv.IdlePart), Procs: int(procs),
			})
			heap = marked
			now = goal(marked, st)
			cycles++
			// The classes move at mark termination only.
			s.CPUGCTotal, s.CPUGCAssist, s.CPUGCIdle, s.CPUGCPause = dur(cpu.gc+cpu.pause), dur(cpu.assist), dur(cpu.idle), dur(cpu.pause)
			s.CPUGCDedicated = dur(cpu.gc - cpu.assist - cpu.idle)
			s.CPUTotal = 2*time.Minute + dur(t*float64(procs))
			s.CPUUser = time.Minute + dur(cpu.user)
			s.CPUIdle = s.CPUTotal - s.CPUUser - s.CPUGCTotal
		}
		if t+1e-9 < nextSample {
			continue
		}
		nextSample += 1 / hz
		for range 100 {
			s.SchedLatency.Add(wait(scheduled))
			scheduled++
		}
		s.Time = at
		s.HeapLiveBytes, s.HeapMarkedBytes, s.HeapGoalBytes = uint64(heap), uint64(marked), uint64(now)
		s.HeapTriggerBytes = uint64(now - (now-marked)*0.05)
		s.HeapObjectsBytes = uint64(heap)
		s.HeapInUseBytes = uint64(heap / (1 - unused))
		s.HeapFreeBytes, s.HeapReleasedBytes = uint64(freeHeap(t)), 4*MiB
		s.StackInUseBytes, s.StackScanBytes = uint64(stacks(t)), uint64(stacks(t))
		s.MappedReadyBytes = s.HeapInUseBytes + s.HeapFreeBytes + s.StackInUseBytes + other
		if sv.ScavGoal != nil {
			s.ScavengeGOGCGoalBytes = uint64(sv.ScavGoal(t))
		}
		s.Goroutines, s.Runnable = int64(goroutines(t)), int64(sv.Runnable)
		s.RSSAnonBytes = s.MappedReadyBytes + uint64(outside(t))
		s.RSSFileBytes = 12 * MiB
		s.RSSBytes = s.RSSAnonBytes + s.RSSFileBytes
		s.RSSPeakBytes = max(s.RSSPeakBytes, s.RSSBytes)
		s.CPUProcUser, s.CPUProcSystem = dur(kernelUser*0.9), dur(kernelUser*0.1)
		s.CgroupAnonBytes = s.RSSAnonBytes + uint64(others(t))
		s.CgroupFileBytes = s.RSSFileBytes + uint64(cache(t))
		s.CgroupShmemBytes = uint64(shmem(t))
		s.CgroupRefaults = uint64(t * sv.Refaults)
		s.MajorFaults = s.CgroupRefaults / 2
		s.Stopped = sv.Stopped != nil && sv.Stopped(t)
		s.CgroupUsageBytes = s.CgroupAnonBytes + s.CgroupFileBytes + s.CgroupShmemBytes + 2*MiB
		s.CgroupPeriods = uint64(t * 10)
		s.CgroupThrottledPeriods = uint64(t * 10 * sv.Throttled)
		s.CgroupThrottled = dur(t * 0.6 * sv.Throttled)
		s.PSICPUSomeStall = dur(t * sv.PSICPU)
		if sv.Change != nil {
			sv.Change(t, &s)
		}
		rec.Samples = append(rec.Samples, s)
	}
	end := rec.Samples[len(rec.Samples)-1].Time
	if g := sv.FirstGoroutines; g != nil {
		c := *g
		c.Time = Epoch
		rec.Goroutines = append(rec.Goroutines, c)
	}
	if g := sv.LastGoroutines; g != nil {
		c := *g
		c.Time = end
		rec.Goroutines = append(rec.Goroutines, c)
	}
	for i, p := range sv.Profiles {
		p.Time = Epoch
		if i == len(sv.Profiles)-1 {
			p.Time = end
		}
		rec.Profiles = append(rec.Profiles, p)
	}
	return rec
}

// Without removes fields from every sample.
func Without(rec *record.Recording, fields ...record.Field) *record.Recording {
	for i := range rec.Samples {
		for _, f := range fields {
			rec.Samples[i].Has.Remove(f)
		}
	}
	return rec
}

// Bare removes the cycles, goroutines and profiles, and all fields but some: what
// a poor source gives.
func Bare(rec *record.Recording, source record.Source, keep ...record.Field) *record.Recording {
	rec.Cycles, rec.Goroutines, rec.Profiles = nil, nil, nil
	var has record.FieldSet
	for _, f := range keep {
		has.Add(f)
	}
	for i := range rec.Samples {
		rec.Samples[i].Has, rec.Samples[i].Source = has, source
	}
	return rec
}

// F makes a frame of the test program.
func F(fn, file string, line int) record.Frame { return record.Frame{Func: fn, File: file, Line: line} }

// HeapProfile is a heap profile with sites.
func HeapProfile(sites ...record.ProfileSite) record.Profile {
	return record.Profile{Kind: record.ProfileHeap, PeriodBytes: 512 * KiB, Sites: sites}
}

// Allocates is a site of a heap profile; the stack is leaf first.
func Allocates(allocBytes, allocObjects, inUseBytes float64, stack ...record.Frame) record.ProfileSite {
	return record.ProfileSite{Stack: stack, AllocBytes: allocBytes, AllocObjects: allocObjects, InUseBytes: inUseBytes, SampledAllocs: int64(allocBytes / (512 * KiB))}
}
