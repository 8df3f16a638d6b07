package remote

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/layout"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// ring is the length of memstats.pause_ns and pause_end (runtime/mstats.go).
const ring = 256

// maxProcs bounds GOMAXPROCS: the runtime's allp is a slice, but no machine has more.
const maxProcs = 1 << 16

// A block is a structure of the runtime, read whole in one piece.
type block struct {
	name string
	addr uint64
	buf  []byte
}

// A word is the place of a field within a block's buffer; off is -1 where the
// release has no such field.
type word struct {
	b   *block
	off int
}

func (w word) ok() bool    { return w.off >= 0 }
func (w word) u64() uint64 { return binary.LittleEndian.Uint64(w.b.buf[w.off:]) }
func (w word) i64() int64  { return int64(w.u64()) }
func (w word) u32() uint32 { return binary.LittleEndian.Uint32(w.b.buf[w.off:]) }
func (w word) i32() int32  { return int32(w.u32()) }
func (w word) byte() byte  { return w.b.buf[w.off] }
func (w word) at(i int) uint64 {
	return binary.LittleEndian.Uint64(w.b.buf[w.off+8*i:])
}

// books reads everything that a Sample is made of in two system calls: the
// runtime's structures, and the few words of each P that it takes to count
// goroutines. A books value serves one reader at a time.
type books struct {
	mem    procmem.Memory
	layout *layout.Layout
	errs   []string

	gc, mstats, work, sched, limiter, scavenge block
	phase, maxprocs, allglen, allp             block
	stats, gen2, phase2, lastGC2               block // read a second time: did anything move?
	reqs                                       []procmem.Request

	ps       []uint64 // addresses of the Ps
	psKey    [2]uint64
	pbuf     []byte
	preqs    []procmem.Request
	pOff     struct{ runqhead, runqtail, runnext, gfree uint32 }
	hasScav  bool
	hasLimit bool

	model pacer.Model

	f fields

	prevGC    uint64
	prevPause uint64
	prevOK    bool
}

type fields struct {
	// gcController
	gcPercent, memoryLimit, heapMinimum, gcPercentHeapGoal, sweepDistMinTrigger, triggered, lastHeapGoal,
	heapLive, heapMarked, runway, lastStackScan, maxStackScan, globalsScan,
	heapInUse, heapReleased, heapFree, totalAlloc, totalFree, mappedReady,
	assistTime, dedicatedMarkTime, fractionalMarkTime, idleMarkTime word
	// memstats
	numgc, numforced, pauseTotal, pauseNS, pauseEnd, lastGC, heapStats, heapStatsGen, gcPauseDist,
	stacksSys, mspanSys, mcacheSys, buckhashSys, gcMiscSys, otherSys word
	// work
	tSweepTerm, tMark, tMarkTerm, tEnd, heap0, heap1, heap2, workProcs,
	cpuAssist, cpuDedicated, cpuIdleGC, cpuPause, cpuGC, cpuScavAssist, cpuScavBg, cpuScav, cpuIdle, cpuUser, cpuTotal word
	// sched
	mnext, nmfreed, npidle, ngsys, runqsize, gfreeA, gfreeB, timeToRun, stopGC, stopOther, totalGC, totalOther word
	// gcCPULimiter
	limEnabled, limLast, limFill, limCapacity word
	// scavenge
	scavGOGC, scavLimit word

	// heapStatsDelta, offsets within one of the three
	hsSize                                                                                                            uint32
	inHeap, inStacks, inWorkBufs, tinyAllocs, largeAlloc, largeAllocs, smallAllocs, largeFree, largeFrees, smallFrees uint32

	th struct{ size, counts, under, over uint32 } // timeHistogram
}

func (k *books) must(b *block, names ...string) word {
	for _, n := range names {
		if f, ok := k.layout.Field(n); ok && int(f.Off+min(f.Size, 8)) <= len(b.buf) {
			return word{b, int(f.Off)}
		}
	}
	k.errs = append(k.errs, names[0])
	return word{b, -1}
}

func (k *books) may(b *block, names ...string) word {
	n := len(k.errs)
	w := k.must(b, names...)
	k.errs = k.errs[:n]
	return w
}

func (k *books) offset(name string) uint32 {
	f, ok := k.layout.Field(name)
	if !ok {
		k.errs = append(k.errs, name)
	}
	return f.Off
}

func newBooks(p *program, mem procmem.Memory) (*books, error) {
	model, err := pacer.ModelOf(p.release.Version + " X:" + p.release.Experiment)
	if err != nil {
		return nil, err
	}
	k := &books{mem: mem, layout: p.release.Layout, model: model}
	open := func(b *block, global, typ string) {
		*b = block{name: global, addr: p.globals[global], buf: make([]byte, k.layout.Size(typ))}
		if len(b.buf) == 0 {
			k.errs = append(k.errs, typ)
		}
	}
	open(&k.gc, "runtime.gcController", "gcControllerState")
	open(&k.mstats, "runtime.memstats", "mstats")
	open(&k.work, "runtime.work", "workType")
	open(&k.sched, "runtime.sched", "schedt")
	if _, k.hasLimit = p.globals["runtime.gcCPULimiter"]; k.hasLimit {
		open(&k.limiter, "runtime.gcCPULimiter", "gcCPULimiterState")
	}
	if _, k.hasScav = p.globals["runtime.scavenge"]; k.hasScav {
		open(&k.scavenge, "runtime.scavenge", "scavenge")
	}
	small := func(b *block, global string, n int) {
		*b = block{name: global, addr: p.globals[global], buf: make([]byte, n)}
	}
	small(&k.phase, "runtime.gcphase", 4)
	small(&k.maxprocs, "runtime.gomaxprocs", 4)
	small(&k.allglen, "runtime.allglen", 8)
	small(&k.allp, "runtime.allp", 24)
	small(&k.phase2, "runtime.gcphase", 4)
	k.bind()
	if len(k.errs) > 0 {
		return nil, fmt.Errorf("layout tables of %s lack %v", p.release.Version, k.errs)
	}
	again := func(b *block, w word, n int) {
		*b = block{name: w.b.name, addr: w.b.addr + uint64(w.off), buf: make([]byte, n)}
	}
	again(&k.stats, k.f.heapStats, k.f.heapStatsGen.off+4-k.f.heapStats.off)
	again(&k.gen2, k.f.heapStatsGen, 4)
	again(&k.lastGC2, k.f.lastGC, 8)
	for _, b := range []*block{&k.phase, &k.maxprocs, &k.allglen, &k.allp, &k.stats, &k.mstats, &k.gen2, &k.gc, &k.work, &k.sched, &k.limiter, &k.scavenge, &k.phase2, &k.lastGC2} {
		if len(b.buf) > 0 {
			k.reqs = append(k.reqs, procmem.Request{Addr: b.addr, Buf: b.buf})
		}
	}
	return k, nil
}

func (k *books) bind() {
	f := &k.f
	g := func(n string) word { return k.must(&k.gc, "gcControllerState."+n) }
	f.gcPercent, f.memoryLimit, f.heapMinimum = g("gcPercent"), g("memoryLimit"), g("heapMinimum")
	f.gcPercentHeapGoal, f.sweepDistMinTrigger = g("gcPercentHeapGoal"), g("sweepDistMinTrigger")
	f.triggered, f.lastHeapGoal, f.runway = g("triggered"), g("lastHeapGoal"), g("runway")
	f.heapLive, f.heapMarked = g("heapLive"), g("heapMarked")
	f.lastStackScan, f.maxStackScan, f.globalsScan = g("lastStackScan"), g("maxStackScan"), g("globalsScan")
	f.heapInUse, f.heapReleased, f.heapFree = g("heapInUse"), g("heapReleased"), g("heapFree")
	f.totalAlloc, f.totalFree, f.mappedReady = g("totalAlloc"), g("totalFree"), g("mappedReady")
	f.assistTime, f.dedicatedMarkTime = g("assistTime"), g("dedicatedMarkTime")
	f.fractionalMarkTime, f.idleMarkTime = g("fractionalMarkTime"), g("idleMarkTime")

	m := func(n string) word { return k.must(&k.mstats, "mstats."+n) }
	f.numgc, f.numforced, f.pauseTotal = m("numgc"), m("numforcedgc"), m("pause_total_ns")
	f.pauseNS, f.pauseEnd, f.lastGC, f.heapStats = m("pause_ns"), m("pause_end"), m("last_gc_unix"), m("heapStats.stats")
	f.stacksSys, f.mspanSys, f.mcacheSys = m("stacks_sys"), m("mspan_sys"), m("mcache_sys")
	f.buckhashSys, f.gcMiscSys, f.otherSys = m("buckhash_sys"), m("gcMiscSys"), m("other_sys")
	f.heapStatsGen = m("heapStats.gen")
	f.gcPauseDist = k.may(&k.mstats, "mstats.gcPauseDist") // until Go 1.21

	w := func(n ...string) word {
		for i := range n {
			n[i] = "workType." + n[i]
		}
		return k.must(&k.work, n...)
	}
	f.workProcs = w("maxprocs")
	f.tSweepTerm, f.tMark, f.tMarkTerm, f.tEnd = w("tSweepTerm"), w("tMark"), w("tMarkTerm"), w("tEnd")
	f.heap0, f.heap1, f.heap2 = w("heap0"), w("heap1"), w("heap2")
	// cpuStats' fields were exported in Go 1.23.
	f.cpuAssist, f.cpuDedicated = w("cpuStats.GCAssistTime", "cpuStats.gcAssistTime"), w("cpuStats.GCDedicatedTime", "cpuStats.gcDedicatedTime")
	f.cpuIdleGC, f.cpuPause = w("cpuStats.GCIdleTime", "cpuStats.gcIdleTime"), w("cpuStats.GCPauseTime", "cpuStats.gcPauseTime")
	f.cpuGC = w("cpuStats.GCTotalTime", "cpuStats.gcTotalTime")
	f.cpuScavAssist, f.cpuScavBg = w("cpuStats.ScavengeAssistTime", "cpuStats.scavengeAssistTime"), w("cpuStats.ScavengeBgTime", "cpuStats.scavengeBgTime")
	f.cpuScav, f.cpuIdle = w("cpuStats.ScavengeTotalTime", "cpuStats.scavengeTotalTime"), w("cpuStats.IdleTime", "cpuStats.idleTime")
	f.cpuUser, f.cpuTotal = w("cpuStats.UserTime", "cpuStats.userTime"), w("cpuStats.TotalTime", "cpuStats.totalTime")

	s := func(n ...string) word {
		for i := range n {
			n[i] = "schedt." + n[i]
		}
		return k.must(&k.sched, n...)
	}
	f.mnext, f.nmfreed, f.npidle, f.ngsys = s("mnext"), s("nmfreed"), s("npidle"), s("ngsys")
	f.runqsize = s("runqsize", "runq.size") // moved into gQueue in Go 1.25
	f.gfreeA = k.may(&k.sched, "schedt.gFree.n")
	if !f.gfreeA.ok() { // split over the lists in Go 1.25
		f.gfreeA, f.gfreeB = s("gFree.stack.size"), s("gFree.noStack.size")
	} else {
		f.gfreeB.off = -1
	}
	f.timeToRun = s("timeToRun")
	f.stopGC, f.stopOther = k.may(&k.sched, "schedt.stwStoppingTimeGC"), k.may(&k.sched, "schedt.stwStoppingTimeOther")
	f.totalGC, f.totalOther = k.may(&k.sched, "schedt.stwTotalTimeGC"), k.may(&k.sched, "schedt.stwTotalTimeOther")

	if k.hasLimit {
		l := func(n string) word { return k.must(&k.limiter, "gcCPULimiterState."+n) }
		f.limEnabled, f.limLast, f.limFill, f.limCapacity = l("enabled"), l("lastEnabledCycle"), l("bucket.fill"), l("bucket.capacity")
	}
	if k.hasScav {
		f.scavGOGC, f.scavLimit = k.must(&k.scavenge, "scavenge.gcPercentGoal"), k.must(&k.scavenge, "scavenge.memoryLimitGoal")
	}

	h := func(n string) uint32 { return k.offset("heapStatsDelta." + n) }
	f.hsSize = k.layout.Size("heapStatsDelta")
	f.inHeap, f.inStacks, f.inWorkBufs = h("inHeap"), h("inStacks"), h("inWorkBufs")
	f.tinyAllocs, f.largeAlloc, f.largeAllocs, f.smallAllocs = h("tinyAllocCount"), h("largeAlloc"), h("largeAllocCount"), h("smallAllocCount")
	f.largeFree, f.largeFrees, f.smallFrees = h("largeFree"), h("largeFreeCount"), h("smallFreeCount")
	if c, _ := k.layout.Field("heapStatsDelta.smallAllocCount"); c.Size != 8*record.NumSizeClasses {
		k.errs = append(k.errs, "heapStatsDelta.smallAllocCount of 68 classes")
	}

	f.th.size = k.layout.Size("timeHistogram")
	f.th.counts, f.th.under, f.th.over = k.offset("timeHistogram.counts"), k.offset("timeHistogram.underflow"), k.offset("timeHistogram.overflow")
	if c, _ := k.layout.Field("timeHistogram.counts"); c.Size != 8*record.TimeHistogramBuckets {
		k.errs = append(k.errs, "timeHistogram.counts of 160 buckets")
	}

	k.pOff.runqhead, k.pOff.runqtail, k.pOff.runnext = k.offset("p.runqhead"), k.offset("p.runqtail"), k.offset("p.runnext")
	if x, ok := k.layout.Field("p.gFree.n"); ok {
		k.pOff.gfree = x.Off
	} else {
		k.pOff.gfree = k.offset("p.gFree.size")
	}

	// The generation lies after the three sets of statistics (runtime/mstats.go, consistentHeapStats).
	if f.heapStatsGen.off < f.heapStats.off+3*int(f.hsSize) {
		k.errs = append(k.errs, "mstats.heapStats.gen after its statistics")
	}

	// Whole structures were allocated from the tables' sizes; arrays must fit too.
	for _, x := range []struct {
		w    word
		size int
	}{{f.pauseNS, 8 * ring}, {f.pauseEnd, 8 * ring}, {f.heapStats, 3 * int(f.hsSize)},
		{f.timeToRun, int(f.th.size)}, {f.stopGC, int(f.th.size)}, {f.stopOther, int(f.th.size)},
		{f.totalGC, int(f.th.size)}, {f.totalOther, int(f.th.size)}, {f.gcPauseDist, int(f.th.size)}} {
		if x.w.ok() && x.w.off+x.size > len(x.w.b.buf) {
			k.errs = append(k.errs, x.w.b.name+": array beyond the structure")
		}
	}
}

// attempts is how often a reading is repeated when the books moved under it. A
// reading takes tens of microseconds, mark termination often more.
const attempts = 8

// read takes the books once, consistently: no cycle was being closed, or was
// closed, from its first to its last word, the pause total is the sum of the
// pauses, no span was counted twice, and the target did not move its heap
// statistics from one set to another.
func (k *books) read() error {
	for try := range attempts {
		if try > 2 {
			time.Sleep(50 * time.Microsecond)
		}
		if _, err := k.mem.ReadBatch(k.reqs); err != nil {
			return fmt.Errorf("reading the runtime's books: %w", err)
		}
		if k.cyclesSettled() && k.heapSettled() && k.heapStatsSettled() {
			return k.readPs()
		}
	}
	return ErrUnsettled
}

// cyclesSettled reports whether no cycle was being closed. gcMarkTermination
// writes last_gc_unix first, then the rings, the sum and the CPU classes, and
// numgc last (runtime/mgc.go).
func (k *books) cyclesSettled() bool {
	numgc, last := k.f.numgc.u32(), k.f.lastGC.u64()
	if binary.LittleEndian.Uint64(k.lastGC2.buf) != last {
		return false
	}
	if numgc > 0 && k.f.pauseEnd.at(int((numgc-1)%ring)) != last || numgc == 0 && last != 0 {
		return false
	}
	const markTermination = 2
	if binary.LittleEndian.Uint32(k.phase.buf) == markTermination || binary.LittleEndian.Uint32(k.phase2.buf) == markTermination {
		return false
	}
	if n := uint64(numgc) - k.prevGC; k.prevOK && uint64(numgc) >= k.prevGC && n <= ring {
		sum := k.prevPause
		for i := range n {
			sum += k.f.pauseNS.at(int((k.prevGC + i) % ring))
		}
		if sum != k.f.pauseTotal.u64() {
			return false
		}
	}
	return true
}

// heapSettled reports whether no span was on its way between free and in use:
// the heap goal under a memory limit follows from the difference, and the
// runtime itself waits for this (runtime/mgcpacer.go, memoryLimitHeapGoal).
func (k *books) heapSettled() bool {
	f := &k.f
	return f.heapFree.u64()+f.totalAlloc.u64()-f.totalFree.u64() <= f.mappedReady.u64()
}

// heapStatsSettled reports whether the three sets of heap statistics were read
// while nobody in the target did. A reader there (runtime/metrics) moves writers
// on to the next set by gen, then adds the set before the last to the last, and
// clears it (runtime/mstats.go, consistentHeapStats.read); meanwhile the sum of
// the three counts much twice, or not at all. When it is done the set after gen
// is clear: if it was so, and gen has not moved since, no reader was at work.
func (k *books) heapStatsSettled() bool {
	size := int(k.f.hsSize)
	gen := binary.LittleEndian.Uint32(k.stats.buf[len(k.stats.buf)-4:])
	if gen > 2 || binary.LittleEndian.Uint32(k.gen2.buf) != gen {
		return false
	}
	next := int(gen+1) % 3 * size
	for i := next; i < next+size; i += 8 { // all of its fields are words
		if binary.LittleEndian.Uint64(k.stats.buf[i:]) != 0 {
			return false
		}
	}
	return true
}

// readPs reads the run queues of the Ps.
func (k *books) readPs() error {
	ptr, n := binary.LittleEndian.Uint64(k.allp.buf), binary.LittleEndian.Uint64(k.allp.buf[8:])
	if n > maxProcs {
		return refuse("it has %d Ps", n)
	}
	if key := [2]uint64{ptr, n}; key != k.psKey || len(k.ps) == 0 {
		// GOMAXPROCS changed. The Ps themselves never move and are never freed, but
		// while the list grows some are not there yet: then look again next time.
		raw := make([]byte, 8*n)
		if err := k.mem.Read(ptr, raw); err != nil {
			return fmt.Errorf("reading the list of Ps: %w", err)
		}
		k.ps = k.ps[:0]
		for i := range n {
			if p := binary.LittleEndian.Uint64(raw[8*i:]); p != 0 {
				k.ps = append(k.ps, p)
			}
		}
		if k.psKey = key; uint64(len(k.ps)) != n {
			k.psKey = [2]uint64{}
		}
		const per = 24
		k.pbuf = slices.Grow(k.pbuf[:0], per*len(k.ps))[:per*len(k.ps)]
		k.preqs = k.preqs[:0]
		for i, p := range k.ps {
			b := k.pbuf[per*i:]
			k.preqs = append(k.preqs,
				procmem.Request{Addr: p + uint64(k.pOff.runqhead), Buf: b[0:4:4]},
				procmem.Request{Addr: p + uint64(k.pOff.runqtail), Buf: b[4:8:8]},
				procmem.Request{Addr: p + uint64(k.pOff.runnext), Buf: b[8:16:16]},
				procmem.Request{Addr: p + uint64(k.pOff.gfree), Buf: b[16:20:20]})
		}
	}
	if _, err := k.mem.ReadBatch(k.preqs); err != nil {
		return fmt.Errorf("reading the Ps: %w", err)
	}
	return nil
}

// classSize is runtime.class_to_size (runtime/sizeclasses.go, moved to
// internal/runtime/gc in Go 1.25), the same in Go 1.20 to 1.27. Index 0 stands
// for large objects.
var classSize = [record.NumSizeClasses]uint64{0, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256,
	288, 320, 352, 384, 416, 448, 480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792, 2048, 2304, 2688, 3072, 3200,
	3456, 4096, 4864, 5376, 6144, 6528, 6784, 6912, 8192, 9472, 9728, 10240, 10880, 12288, 13568, 14336, 16384, 18432, 19072, 20480,
	21760, 24576, 27264, 28672, 32768}

// decode fills s from what read took.
func (k *books) decode(s *record.Sample) {
	f := &k.f
	has := &s.Has
	put := func(field record.Field, dst *uint64, v uint64) { *dst = v; has.Add(field) }
	puti := func(field record.Field, dst *int64, v int64) { *dst = v; has.Add(field) }
	putd := func(field record.Field, dst *time.Duration, v int64) { *dst = time.Duration(v); has.Add(field) }

	put(record.FieldHeapLiveBytes, &s.HeapLiveBytes, f.heapLive.u64())
	put(record.FieldHeapMarkedBytes, &s.HeapMarkedBytes, f.heapMarked.u64())
	trigger, goal := k.pace()
	put(record.FieldHeapGoalBytes, &s.HeapGoalBytes, goal)
	put(record.FieldHeapTriggerBytes, &s.HeapTriggerBytes, trigger)
	put(record.FieldHeapInUseBytes, &s.HeapInUseBytes, f.heapInUse.u64())
	put(record.FieldHeapFreeBytes, &s.HeapFreeBytes, f.heapFree.u64())
	put(record.FieldHeapReleasedBytes, &s.HeapReleasedBytes, f.heapReleased.u64())
	put(record.FieldMappedReadyBytes, &s.MappedReadyBytes, f.mappedReady.u64())
	put(record.FieldStackScanBytes, &s.StackScanBytes, f.lastStackScan.u64())
	put(record.FieldGlobalsScanBytes, &s.GlobalsScanBytes, f.globalsScan.u64())
	put(record.FieldRuntimeOtherBytes, &s.RuntimeOtherBytes,
		f.stacksSys.u64()+f.mspanSys.u64()+f.mcacheSys.u64()+f.buckhashSys.u64()+f.gcMiscSys.u64()+f.otherSys.u64())
	k.decodeHeapStats(s)

	puti(record.FieldGOGCPercent, &s.GOGCPercent, int64(f.gcPercent.i32()))
	puti(record.FieldGOMEMLIMITBytes, &s.GOMEMLIMITBytes, f.memoryLimit.i64())

	put(record.FieldGCCycles, &s.GCCycles, uint64(f.numgc.u32()))
	put(record.FieldGCForced, &s.GCForced, uint64(f.numforced.u32()))
	puti(record.FieldGCPhase, &s.GCPhase, int64(binary.LittleEndian.Uint32(k.phase.buf)))
	putd(record.FieldPauseTotal, &s.PauseTotal, f.pauseTotal.i64())
	if t := f.lastGC.i64(); t != 0 {
		s.LastGC = time.Unix(0, t)
		has.Add(record.FieldLastGC)
	}

	putd(record.FieldCPUGCAssist, &s.CPUGCAssist, f.cpuAssist.i64())
	putd(record.FieldCPUGCDedicated, &s.CPUGCDedicated, f.cpuDedicated.i64())
	putd(record.FieldCPUGCIdle, &s.CPUGCIdle, f.cpuIdleGC.i64())
	putd(record.FieldCPUGCPause, &s.CPUGCPause, f.cpuPause.i64())
	putd(record.FieldCPUGCTotal, &s.CPUGCTotal, f.cpuGC.i64())
	putd(record.FieldCPUScavengeAssist, &s.CPUScavengeAssist, f.cpuScavAssist.i64())
	putd(record.FieldCPUScavengeBackground, &s.CPUScavengeBackground, f.cpuScavBg.i64())
	putd(record.FieldCPUScavengeTotal, &s.CPUScavengeTotal, f.cpuScav.i64())
	putd(record.FieldCPUIdle, &s.CPUIdle, f.cpuIdle.i64())
	putd(record.FieldCPUUser, &s.CPUUser, f.cpuUser.i64())
	putd(record.FieldCPUTotal, &s.CPUTotal, f.cpuTotal.i64())

	if k.hasLimit {
		s.LimiterEnabled = f.limEnabled.byte() != 0
		has.Add(record.FieldLimiterEnabled)
		put(record.FieldLimiterLastCycle, &s.LimiterLastCycle, uint64(f.limLast.u32()))
		if c := f.limCapacity.u64(); c != 0 {
			s.LimiterFillRatio = min(float64(f.limFill.u64())/float64(c), 1)
			has.Add(record.FieldLimiterFillRatio)
		}
	}
	if k.hasScav {
		goal := func(w word) uint64 {
			if v := w.u64(); v != math.MaxUint64 {
				return v
			}
			return 0
		}
		put(record.FieldScavengeGOGCGoalBytes, &s.ScavengeGOGCGoalBytes, goal(f.scavGOGC))
		put(record.FieldScavengeMemlimitGoalBytes, &s.ScavengeMemlimitGoalBytes, goal(f.scavLimit))
	}

	puti(record.FieldGOMAXPROCS, &s.GOMAXPROCS, int64(int32(binary.LittleEndian.Uint32(k.maxprocs.buf))))
	puti(record.FieldThreads, &s.Threads, f.mnext.i64()-f.nmfreed.i64())
	puti(record.FieldIdlePs, &s.IdlePs, int64(f.npidle.i32()))
	runnable, free := int64(f.runqsize.i32()), int64(f.gfreeA.i32())
	if f.gfreeB.ok() {
		free += int64(f.gfreeB.i32())
	}
	for i := range k.ps {
		b := k.pbuf[24*i:]
		head, tail := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		if n := tail - head; n <= 256 { // p.runq holds 256; the two may be read mid-move
			runnable += int64(n)
		}
		if binary.LittleEndian.Uint64(b[8:]) != 0 {
			runnable++
		}
		free += int64(int32(binary.LittleEndian.Uint32(b[16:])))
	}
	puti(record.FieldRunnable, &s.Runnable, max(runnable, 0))
	// As runtime.gcount, which also says at least 1.
	puti(record.FieldGoroutines, &s.Goroutines, max(int64(binary.LittleEndian.Uint64(k.allglen.buf))-free-int64(f.ngsys.i32()), 1))

	k.histogram(&s.SchedLatency, f.timeToRun, has, record.FieldSchedLatency)
	k.histogram(&s.STWStoppingGC, f.stopGC, has, record.FieldSTWStoppingGC)
	k.histogram(&s.STWStoppingOther, f.stopOther, has, record.FieldSTWStoppingOther)
	if f.totalGC.ok() {
		k.histogram(&s.STWTotalGC, f.totalGC, has, record.FieldSTWTotalGC)
	} else {
		k.histogram(&s.STWTotalGC, f.gcPauseDist, has, record.FieldSTWTotalGC)
	}
	k.histogram(&s.STWTotalOther, f.totalOther, has, record.FieldSTWTotalOther)
}

func (k *books) histogram(dst *record.TimeHistogram, w word, has *record.FieldSet, field record.Field) {
	if !w.ok() {
		return
	}
	b := w.b.buf[w.off:]
	counts := b[k.f.th.counts:]
	for i := range dst.Counts {
		dst.Counts[i] = binary.LittleEndian.Uint64(counts[8*i:])
	}
	dst.Underflow = binary.LittleEndian.Uint64(b[k.f.th.under:])
	dst.Overflow = binary.LittleEndian.Uint64(b[k.f.th.over:])
	has.Add(field)
}

// decodeHeapStats sums the three generations of memstats.heapStats, as
// consistentHeapStats.unsafeRead does, and derives what heapStatsAggregate does
// (runtime/metrics.go). Parts of it are deltas below zero; sums wrap as they should.
func (k *books) decodeHeapStats(s *record.Sample) {
	f := &k.f
	b := f.heapStats.b.buf[f.heapStats.off:]
	sum := func(off uint32) uint64 {
		v := uint64(0)
		for g := range uint32(3) {
			v += binary.LittleEndian.Uint64(b[g*f.hsSize+off:])
		}
		return v
	}
	s.LargeAllocBytes, s.LargeFreeBytes = sum(f.largeAlloc), sum(f.largeFree)
	s.TinyAllocs = sum(f.tinyAllocs)
	s.SizeClassAllocs[0], s.SizeClassFrees[0] = sum(f.largeAllocs), sum(f.largeFrees)
	s.TotalAllocBytes, s.TotalFreeBytes = s.LargeAllocBytes, s.LargeFreeBytes
	s.AllocObjects, s.FreeObjects = s.SizeClassAllocs[0], s.SizeClassFrees[0]
	for c := 1; c < record.NumSizeClasses; c++ {
		na, nf := sum(f.smallAllocs+8*uint32(c)), sum(f.smallFrees+8*uint32(c))
		s.SizeClassAllocs[c], s.SizeClassFrees[c] = na, nf
		s.TotalAllocBytes += na * classSize[c]
		s.TotalFreeBytes += nf * classSize[c]
		s.AllocObjects += na
		s.FreeObjects += nf
	}
	// As MemStats.Mallocs and Frees: a tiny object counts as allocated, and at
	// once as freed, for what is collected is the block it shares.
	s.AllocObjects += s.TinyAllocs
	s.FreeObjects += s.TinyAllocs
	s.HeapObjectsBytes = s.TotalAllocBytes - s.TotalFreeBytes
	s.StackInUseBytes = sum(f.inStacks)
	for _, x := range [...]record.Field{record.FieldLargeAllocBytes, record.FieldLargeFreeBytes, record.FieldTinyAllocs,
		record.FieldSizeClassAllocs, record.FieldSizeClassFrees, record.FieldTotalAllocBytes, record.FieldTotalFreeBytes,
		record.FieldAllocObjects, record.FieldFreeObjects, record.FieldHeapObjectsBytes, record.FieldStackInUseBytes} {
		s.Has.Add(x)
	}
}
