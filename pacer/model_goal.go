package pacer

// A Heap is what the last cycle found, in bytes. Its scan sizes are the work that
// the next cycle is expected to have.
type Heap struct {
	Marked    uint64 // objects that live: gcController.heapMarked
	HeapScan  uint64 // of them, what had to be scanned for pointers: lastHeapScan
	StackScan uint64 // stacks scanned: lastStackScan
	Globals   uint64 // data and BSS that is scanned: globalsScan
}

// ScanWork is what a cycle is expected to scan.
func (h Heap) ScanWork() uint64 { return h.HeapScan + h.StackScan + h.Globals }

// A Memory is what the runtime holds against a memory limit, in bytes. It is
// memory that the runtime mapped and did not release, whether it is resident or not.
type Memory struct {
	Limit       int64  // GOMEMLIMIT; NoMemoryLimit is none
	MappedReady uint64 // mapped and not released, heap and all else: gcController.mappedReady
	HeapFree    uint64 // of it, heap spans not in use: heapFree
	HeapAlloc   uint64 // of it, heap objects, dead ones not yet swept too: totalAlloc − totalFree
}

// A Pacing is what is committed at the end of a cycle, and again when settings
// change; trigger and goal follow from it, and from the memory limit, at any time.
// In bytes of heapLive: what the last cycle marked, and what was allocated since.
type Pacing struct {
	Marked      uint64 // of the Heap: heapMarked
	PercentGoal uint64 // by GOGC: gcPercentHeapGoal
	MinTrigger  uint64 // leaves room to sweep, 0 when all is swept: sweepDistMinTrigger
	Runway      uint64 // what the program will allocate while the cycle marks: runway
	Triggered   uint64 // where the running cycle started, NoGoal between cycles: triggered
}

// HeapMinimum is the least that the heap goal by GOGC can be
// (runtime/mgcpacer.go, setGCPercent; Go 1.20 to 1.27).
func (m Model) HeapMinimum(gogc int64) uint64 {
	return m.defaultHeapMinimum() * uint64(int64(gcPercent(gogc))) / 100
}

// PercentGoal is the heap goal by GOGC alone, NoGoal when it is off
// (runtime/mgcpacer.go, commit; Go 1.20 to 1.27). A product beyond 64 bits wraps
// around, as in the runtime.
func (m Model) PercentGoal(h Heap, gogc int64) uint64 {
	p := gcPercent(gogc)
	if p < 0 {
		return NoGoal
	}
	goal := h.Marked + (h.Marked+h.StackScan+h.Globals)*uint64(p)/100
	return max(goal, m.HeapMinimum(gogc))
}

// Commit sets the pace after a cycle, or after a change of GOGC. heapLive is what
// the heap holds now, right after a cycle h.Marked. swept says that nothing is left
// to sweep, which right after a cycle is not so unless the program asked for the
// cycle with the world stopped (runtime/mgcpacer.go, commit; Go 1.20 to 1.27).
func (m Model) Commit(h Heap, gogc int64, consMark float64, heapLive uint64, swept bool) Pacing {
	p := Pacing{Marked: h.Marked, PercentGoal: m.PercentGoal(h, gogc), Triggered: NoGoal}
	if !swept {
		p.MinTrigger = heapLive + sweepMinDistance
	}
	p.Runway = toUint64((consMark * (1 - goalUtilization) / goalUtilization) * float64(h.ScanWork()))
	return p
}

// LimitGoal is the heap goal by the memory limit alone. It is never below marked,
// however low the limit: then cycles follow each other without end, and only the
// [Limiter] bounds what they take (runtime/mgcpacer.go, memoryLimitHeapGoal;
// Go 1.20 has 1 MiB of headroom, 1.21 to 1.27 have 3%).
func (m Model) LimitGoal(mem Memory, marked uint64) uint64 {
	// The runtime reads its counters again until they add up.
	nonHeap := mem.MappedReady - mem.HeapFree - mem.HeapAlloc
	if mem.HeapFree > mem.MappedReady || mem.HeapAlloc > mem.MappedReady-mem.HeapFree {
		nonHeap = 0
	}
	limit := uint64(mem.Limit)
	overage := uint64(0)
	if mem.MappedReady > limit {
		overage = mem.MappedReady - limit
	}
	if nonHeap+overage >= limit {
		return marked
	}
	goal := limit - (nonHeap + overage)
	headroom := uint64(limitMinHeadroom)
	if m.minor >= 21 {
		headroom = max(goal/100*limitHeadroomPercent, limitMinHeadroom)
	}
	if goal < headroom || goal-headroom < headroom {
		goal = headroom
	} else {
		goal -= headroom
	}
	return max(goal, marked)
}

// Goal is where the cycle is to end: the lower of the goals by GOGC and by the
// memory limit. To leave room for sweeping, and for marking once it runs, a goal by
// GOGC is raised, beyond the limit if need be; one by the limit is not
// (runtime/mgcpacer.go, heapGoalInternal; Go 1.20 to 1.27).
func (m Model) Goal(p Pacing, mem Memory) uint64 {
	goal, _ := m.goal(&p, &mem)
	return goal
}

func (m Model) goal(p *Pacing, mem *Memory) (goal, minTrigger uint64) {
	goal = p.PercentGoal
	if limited := m.LimitGoal(*mem, p.Marked); limited < goal {
		return limited, 0
	}
	goal = max(goal, p.MinTrigger)
	if p.Triggered != NoGoal && goal < p.Triggered+minRunway {
		goal = p.Triggered + minRunway
	}
	return goal, p.MinTrigger
}

// Trigger is where the next cycle starts and where it is to end
// (runtime/mgcpacer.go, trigger; Go 1.20 to 1.27). The goal less the runway, but
// no less than 45/64 of the way from the marked heap to the goal; and no more than
// 61/64 of it or, if that is higher, 4 MiB below the goal.
func (m Model) Trigger(p Pacing, mem Memory) (trigger, goal uint64) {
	goal, minTrigger := m.goal(&p, &mem)
	if p.Marked >= goal {
		return goal, goal
	}
	step := (goal - p.Marked) / triggerRatioDen
	minTrigger = max(minTrigger, p.Marked, step*minTriggerRatioNum+p.Marked)
	maxTrigger := step*maxTriggerRatioNum + p.Marked
	if d := m.defaultHeapMinimum(); goal > d && goal-d > maxTrigger {
		maxTrigger = goal - d
	}
	maxTrigger = max(maxTrigger, minTrigger)
	trigger = minTrigger
	if p.Runway <= goal {
		trigger = goal - p.Runway
	}
	return min(max(trigger, minTrigger), maxTrigger), goal
}
