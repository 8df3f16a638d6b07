package pacer

// ScavengeUtilization is the share of GOMAXPROCS that the background scavenger aims
// to take at most, and to take as long as it has something to return
// (runtime/mgcscavenge.go, scavengePercent; Go 1.20 to 1.27).
const ScavengeUtilization = 0.01

// A Scavenge is what the goals of the scavenger follow from, in bytes.
type Scavenge struct {
	Limit         int64  // GOMEMLIMIT
	HeapGoal      uint64 // of the next cycle, from Goal
	LastHeapGoal  uint64 // of the cycle that ended, 0 before the first: lastHeapGoal
	LastHeapInUse uint64 // spans in use at the end of that cycle: memstats.lastHeapInUse
	HeapRetained  uint64 // spans in use and free, not released, now: heapInUse + heapFree
	MappedReady   uint64 // gcController.mappedReady
	PageSize      uint64 // of the kernel: physPageSize
}

// ScavengeGoals are what the background scavenger releases memory down to, NoGoal
// where it need not.
type ScavengeGoals struct {
	HeapRetained uint64 // of HeapRetained, for GOGC: scavenge.gcPercentGoal
	MappedReady  uint64 // of MappedReady, for the memory limit: scavenge.memoryLimitGoal
}

// ScavengeGoals says what the background scavenger is to return: what the heap holds
// beyond the spans that the next goal will take, and 10% of them; and what the process
// holds beyond 95% of the memory limit, though in Go 1.20 and 1.21 beyond 95 times the
// limit, which is never (runtime/mgcscavenge.go, gcPaceScavenger; Go 1.20 to 1.27).
func (m Model) ScavengeGoals(s Scavenge) ScavengeGoals {
	const retainExtraPercent, reduceExtraPercent = 10, 5
	g := ScavengeGoals{NoGoal, NoGoal}
	factor := 1 - reduceExtraPercent/100.0
	if m.minor < 22 {
		factor = 100.0 - reduceExtraPercent
	}
	if limited := toUint64(float64(s.Limit) * factor); s.MappedReady > limited {
		g.MappedReady = limited
	}
	if s.LastHeapGoal == 0 {
		return g
	}
	goal := toUint64(float64(s.LastHeapInUse) * (float64(s.HeapGoal) / float64(s.LastHeapGoal)))
	goal += goal / (100 / retainExtraPercent)
	goal = (goal + s.PageSize - 1) &^ (s.PageSize - 1)
	if s.HeapRetained > goal && s.HeapRetained-goal >= s.PageSize {
		g.HeapRetained = goal
	}
	return g
}

// An Alloc is a span about to be allocated, in bytes.
type Alloc struct {
	Released uint64 // of the span, what was released and now is not: scav
	Growth   uint64 // by how much the heap had to grow for it: growth
	Limiting bool   // Limiter.Enabled
}

// ScavengeOnAlloc is how much memory the goroutine that allocates a span must
// release first: all beyond the memory limit, unless the collector is limited, and
// of the growth of the heap what is beyond the scavenger's goal
// (runtime/mheap.go, allocSpan; Go 1.20 to 1.27). It may find less to release.
func (m Model) ScavengeOnAlloc(a Alloc, s Scavenge, g ScavengeGoals) uint64 {
	n := uint64(0)
	if need := a.Released + s.MappedReady; !a.Limiting && need > uint64(s.Limit) {
		n = need - uint64(s.Limit)
	}
	if g.HeapRetained != NoGoal && a.Growth > 0 && s.HeapRetained+a.Growth > g.HeapRetained {
		n = max(n, min(a.Growth, s.HeapRetained+a.Growth-g.HeapRetained))
	}
	return n
}
