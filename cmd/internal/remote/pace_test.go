package remote

import (
	"encoding/binary"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/pacer"
)

// A ledger is what the pacer of a subject has in its books between two cycles.
type ledger struct {
	cycle           uint32
	heap            pacer.Heap
	pacing          pacer.Pacing
	consMark        pacer.ConsMark
	elapsed         time.Duration // of the cycle that ended
	assistTime      time.Duration
	idleTime        time.Duration
	lastHeapGoal    uint64
	lastHeapInUse   uint64
	scavenge        pacer.ScavengeGoals
	limiterCapacity uint64
	gogc            int64
	limit           int64
	procs           int
	heapMinimum     uint64
}

// ledger reads it. It is false while a cycle runs.
func (k *books) ledger(t *testing.T) (ledger, bool) {
	t.Helper()
	if err := k.read(); err != nil {
		return ledger{}, false
	}
	word := func(b *block, name string, i int) uint64 {
		f, ok := k.layout.Field(name)
		if !ok {
			t.Fatalf("no %s", name)
		}
		return binary.LittleEndian.Uint64(b.buf[int(f.Off)+8*i:])
	}
	f := &k.f
	l := ledger{
		cycle: f.numgc.u32(),
		heap: pacer.Heap{Marked: f.heapMarked.u64(), HeapScan: word(&k.gc, "gcControllerState.lastHeapScan", 0),
			StackScan: f.lastStackScan.u64(), Globals: f.globalsScan.u64()},
		pacing: pacer.Pacing{Marked: f.heapMarked.u64(), PercentGoal: f.gcPercentHeapGoal.u64(), MinTrigger: f.sweepDistMinTrigger.u64(),
			Runway: f.runway.u64(), Triggered: f.triggered.u64()},
		consMark:        pacer.ConsMark{Estimate: math.Float64frombits(word(&k.gc, "gcControllerState.consMark", 0))},
		elapsed:         time.Duration(f.tMarkTerm.u64() - word(&k.gc, "gcControllerState.markStartTime", 0)),
		assistTime:      time.Duration(f.assistTime.i64()),
		idleTime:        time.Duration(f.idleMarkTime.i64()),
		lastHeapGoal:    f.lastHeapGoal.u64(),
		lastHeapInUse:   word(&k.mstats, "mstats.lastHeapInUse", 0),
		scavenge:        pacer.ScavengeGoals{HeapRetained: f.scavGOGC.u64(), MappedReady: f.scavLimit.u64()},
		limiterCapacity: f.limCapacity.u64(),
		gogc:            int64(f.gcPercent.i32()),
		limit:           f.memoryLimit.i64(),
		procs:           int(binary.LittleEndian.Uint32(k.maxprocs.buf)),
		heapMinimum:     f.heapMinimum.u64(),
	}
	if c, _ := k.layout.Field("gcControllerState.lastConsMark"); c.Size == 8 {
		l.consMark.Last[3] = math.Float64frombits(word(&k.gc, "gcControllerState.lastConsMark", 0))
	} else {
		for i := range l.consMark.Last {
			l.consMark.Last[i] = math.Float64frombits(word(&k.gc, "gcControllerState.lastConsMark", i))
		}
	}
	return l, l.cycle > 0 && binary.LittleEndian.Uint32(k.phase.buf) == 0 && l.pacing.Triggered == pacer.NoGoal
}

// A traced cycle is what the runtime printed of it under gctrace=1,gcpacertrace=1.
type traced struct {
	assistRatio, fractional, consMark string // as printed
	dedicated, utilization            int64
	heapWork, stackWork, globalsWork  int64
	expected                          uint64
	triggered, live                   uint64
	overGoal                          int64
	goalMiB, procs                    uint64
	closed, forced                    bool
}

var (
	tracedStart = regexp.MustCompile(`^pacer: assist ratio=(\S+) \(.*\) workers=(\d+)\+(\S+)$`)
	tracedEnd   = regexp.MustCompile(`^pacer: (\d+)% CPU \(25 exp\.\) for (\d+)\+(\d+)\+(\d+) B work \((\d+) B exp\.\) in (\d+) B -> (\d+) B \(∆goal (-?\d+), cons/mark (\S+)\)$`)
	tracedCycle = regexp.MustCompile(`^gc (\d+) @.* (\d+) MB goal, .* (\d+) P( \(forced\))?$`)
)

func parseTrace(t *testing.T, text string) map[uint32]traced {
	number := func(s string) int64 {
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatalf("%v in the trace", err)
		}
		return v
	}
	cycles := map[uint32]traced{}
	var c traced
	for line := range strings.SplitSeq(text, "\n") {
		if m := tracedStart.FindStringSubmatch(line); m != nil {
			c = traced{assistRatio: m[1], dedicated: number(m[2]), fractional: m[3]}
		} else if m := tracedEnd.FindStringSubmatch(line); m != nil {
			c.utilization, c.heapWork, c.stackWork, c.globalsWork = number(m[1]), number(m[2]), number(m[3]), number(m[4])
			c.expected, c.triggered, c.live = uint64(number(m[5])), uint64(number(m[6])), uint64(number(m[7]))
			c.overGoal, c.consMark, c.closed = number(m[8]), m[9], true
		} else if m := tracedCycle.FindStringSubmatch(line); m != nil {
			c.goalMiB, c.procs, c.forced = uint64(number(m[2])), uint64(number(m[3])), m[4] != ""
			cycles[uint32(number(m[1]))] = c
			c = traced{}
		}
	}
	return cycles
}

// printed says whether the runtime prints v as s: seven digits of it.
func printed(v float64, s string) bool {
	p, err := strconv.ParseFloat(s, 64)
	return err == nil && (p == v || math.Abs(p-v) <= 0.51e-6*math.Pow(10, math.Floor(math.Log10(math.Abs(v)))))
}

// TestPacer runs a program that allocates, with the pacer's own trace on, and holds
// package pacer against what the program printed and has in its books: the pace of
// each cycle from how the one before went.
func TestPacer(t *testing.T) {
	releases := []string{"local", "go1.20.14", "go1.21.13", "go1.27.4"}
	if *matrixFlag == "full" {
		releases = []string{"go1.20.14", "go1.21.13", "go1.22.12", "go1.23.12", "go1.24.13", "go1.25.14", "go1.26.11", "go1.27.4"}
	}
	for _, release := range releases {
		exe := buildSubject(t, release, buildModes[0], true)
		for _, c := range []struct{ gogc, limit, procs, retain string }{
			{"100", "off", "2", "64"}, {"50", "off", "6", "128"}, {"200", "300MiB", "1", "64"}, {"off", "200MiB", "4", "64"},
		} {
			t.Run(fmt.Sprintf("%s/GOGC=%s,GOMEMLIMIT=%s,GOMAXPROCS=%s", release, c.gogc, c.limit, c.procs), func(t *testing.T) {
				env := []string{"GODEBUG=gctrace=1,gcpacertrace=1", "GOGC=" + c.gogc, "GOMEMLIMIT=" + c.limit, "GOMAXPROCS=" + c.procs}
				s := startSubjectEnv(t, env, exe, "-load=2", "-retain="+c.retain)
				target := attachSubject(t, s)
				ledgers := watchPacer(t, target.books)
				s.cmd.Process.Kill()
				s.cmd.Wait()
				holdPacer(t, target.books.model, ledgers, parseTrace(t, s.err.String()))
			})
		}
	}
}

// pairs is how many times two cycles that follow each other are to be seen.
const pairs = 12

// watchPacer reads the books between cycles, until enough of them followed each other.
func watchPacer(t *testing.T, k *books) map[uint32]ledger {
	ledgers := map[uint32]ledger{}
	for seen, end := 0, time.Now().Add(time.Minute); seen < pairs; {
		if time.Now().After(end) {
			t.Fatalf("%d cycles were seen to follow each other within a minute", seen)
		}
		time.Sleep(100 * time.Microsecond)
		l, ok := k.ledger(t)
		// What is read while a cycle starts or ends is in part of one and of the other.
		if again, ok2 := k.ledger(t); !ok || !ok2 || l != again {
			continue
		}
		_, seenBefore := ledgers[l.cycle]
		ledgers[l.cycle] = l
		if _, ok := ledgers[l.cycle-1]; ok && !seenBefore {
			seen++
		}
	}
	return ledgers
}

func holdPacer(t *testing.T, m pacer.Model, ledgers map[uint32]ledger, trace map[uint32]traced) {
	held := 0
	for n, l := range ledgers {
		was, ok1 := ledgers[n-1]
		c, ok2 := trace[n]
		if !ok1 || !ok2 || !c.closed {
			continue
		}
		held++
		end := pacer.CycleEnd{Triggered: c.triggered, Live: c.live, ScanWork: c.heapWork + c.stackWork + c.globalsWork,
			Elapsed: l.elapsed, AssistTime: l.assistTime, IdleTime: l.idleTime, GOMAXPROCS: l.procs}

		// What was printed of the cycle follows from the books before it.
		if c.expected != was.heap.ScanWork() {
			t.Errorf("cycle %d expected to scan %d B, not %d", n, c.expected, was.heap.ScanWork())
		}
		if !printed(was.consMark.Estimate, c.consMark) {
			t.Errorf("cycle %d printed the cons/mark ratio %v as %s", n, was.consMark.Estimate, c.consMark)
		}
		if u := end.UtilizationPercent(); int64(u) != c.utilization {
			t.Errorf("cycle %d: %d%% CPU, printed %d%%", n, u, c.utilization)
		}
		w := m.Workers(l.procs, false)
		if w.Dedicated != c.dedicated || !printed(w.FractionalUtilization, c.fractional) {
			t.Errorf("cycle %d: workers %+v, printed %d+%s", n, w, c.dedicated, c.fractional)
		}
		if goal := uint64(int64(c.live) - c.overGoal); goal != l.lastHeapGoal || goal>>20 != c.goalMiB {
			t.Errorf("cycle %d: last goal %d, printed %d and %d MiB", n, l.lastHeapGoal, goal, c.goalMiB)
		}
		if l.limit == pacer.NoMemoryLimit { // the goal is the same all the time
			free := pacer.Memory{Limit: pacer.NoMemoryLimit}
			if trigger, _ := m.Trigger(was.pacing, free); c.triggered < trigger && !c.forced {
				t.Errorf("cycle %d started at %d B, before its trigger at %d", n, c.triggered, trigger)
			}
			p := was.pacing
			p.Triggered = c.triggered
			goal := m.Goal(p, free)
			if goal != l.lastHeapGoal {
				t.Errorf("cycle %d: goal %d B, was %d", n, goal, l.lastHeapGoal)
			}
			a := m.Assist(pacer.Mark{Goal: goal, Triggered: c.triggered, Live: c.triggered, Last: was.heap}, l.gogc)
			if !printed(a.WorkPerByte, c.assistRatio) {
				t.Errorf("cycle %d: assist ratio %v, printed %s", n, a.WorkPerByte, c.assistRatio)
			}
		}

		// The books after it follow from those before it and from what was printed.
		if got := m.NextConsMark(was.consMark, end); got != l.consMark {
			t.Errorf("cycle %d: cons/mark %+v, the books say %+v", n, got, l.consMark)
		}
		if h := l.heap; int64(h.HeapScan) != c.heapWork || int64(h.StackScan) != c.stackWork {
			t.Errorf("cycle %d scanned %+v, printed %d+%d", n, h, c.heapWork, c.stackWork)
		}
		if got := m.Commit(l.heap, l.gogc, l.consMark.Estimate, l.heap.Marked, false); got != l.pacing {
			t.Errorf("cycle %d: paced %+v, the books say %+v", n, got, l.pacing)
		}
		if got := m.HeapMinimum(l.gogc); got != l.heapMinimum {
			t.Errorf("heap minimum %d, the books say %d", got, l.heapMinimum)
		}
		if got := pacer.NewLimiter(l.procs).Capacity; got != l.limiterCapacity {
			t.Errorf("limiter of %d, the books say %d", got, l.limiterCapacity)
		}
		// Whether there is anything to release depends on what was mapped just then.
		g := m.ScavengeGoals(pacer.Scavenge{Limit: l.limit, LastHeapGoal: l.lastHeapGoal, LastHeapInUse: l.lastHeapInUse,
			HeapGoal: m.Goal(l.pacing, pacer.Memory{Limit: pacer.NoMemoryLimit}), HeapRetained: math.MaxUint64, MappedReady: math.MaxUint64, PageSize: 4096})
		if l.limit == pacer.NoMemoryLimit && l.scavenge.HeapRetained != pacer.NoGoal && l.scavenge.HeapRetained != g.HeapRetained {
			t.Errorf("cycle %d: scavenge to %d, the books say %d", n, g.HeapRetained, l.scavenge.HeapRetained)
		}
		if l.scavenge.MappedReady != pacer.NoGoal && l.scavenge.MappedReady != g.MappedReady {
			t.Errorf("cycle %d: scavenge to %d under the limit, the books say %d", n, g.MappedReady, l.scavenge.MappedReady)
		}
	}
	if held < pairs/2 {
		t.Errorf("only %d cycles are in both the books and the trace", held)
	}
	t.Logf("%d cycles", held)
}
