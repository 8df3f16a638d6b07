package remote

// The arithmetic of gcControllerState.heapGoalInternal, memoryLimitHeapGoal and
// trigger (runtime/mgcpacer.go). It is the same in Go 1.20 to 1.27 but for the
// headroom below a memory limit, which became 3% in Go 1.21.
const (
	minRunway          = 64 << 10
	minHeadroom        = 1 << 20
	headroomPercent    = 3
	triggerRatioDen    = 64
	minTriggerRatioNum = 45
	maxTriggerRatioNum = 61
	defaultHeapMinimum = 4 << 20
)

// A pace is where the current cycle is to start and to end, in heapLive bytes.
type pace struct{ goal, trigger uint64 }

// A pacerState is the part of gcControllerState that the pace follows from; all
// in bytes.
type pacerState struct {
	gcPercentHeapGoal, sweepDistMinTrigger, triggered, heapMarked, runway uint64
	memoryLimit                                                           uint64
	heapFree, totalAlloc, totalFree, mappedReady                          uint64
	percentHeadroom                                                       bool // Go 1.21+
}

func (k *books) pace() pace {
	f := &k.f
	return pacerState{
		gcPercentHeapGoal: f.gcPercentHeapGoal.u64(), sweepDistMinTrigger: f.sweepDistMinTrigger.u64(),
		triggered: f.triggered.u64(), heapMarked: f.heapMarked.u64(), runway: f.runway.u64(),
		memoryLimit: f.memoryLimit.u64(), heapFree: f.heapFree.u64(), totalAlloc: f.totalAlloc.u64(),
		totalFree: f.totalFree.u64(), mappedReady: f.mappedReady.u64(), percentHeadroom: k.percentHeadroom,
	}.pace()
}

func (c pacerState) pace() pace {
	goal, minTrigger := c.heapGoal()
	if c.heapMarked >= goal {
		return pace{goal, goal}
	}
	step := (goal - c.heapMarked) / triggerRatioDen
	minTrigger = max(minTrigger, c.heapMarked, step*minTriggerRatioNum+c.heapMarked)
	maxTrigger := step*maxTriggerRatioNum + c.heapMarked
	if goal > defaultHeapMinimum && goal-defaultHeapMinimum > maxTrigger {
		maxTrigger = goal - defaultHeapMinimum
	}
	maxTrigger = max(maxTrigger, minTrigger)
	trigger := minTrigger
	if c.runway <= goal {
		trigger = goal - c.runway
	}
	return pace{goal, min(max(trigger, minTrigger), maxTrigger)}
}

func (c pacerState) heapGoal() (goal, minTrigger uint64) {
	goal = c.gcPercentHeapGoal
	if limited := c.memoryLimitHeapGoal(); limited < goal {
		return limited, 0
	}
	goal = max(goal, c.sweepDistMinTrigger)
	if c.triggered != ^uint64(0) && goal < c.triggered+minRunway {
		goal = c.triggered + minRunway
	}
	return goal, c.sweepDistMinTrigger
}

func (c pacerState) memoryLimitHeapGoal() uint64 {
	heapAlloc := c.totalAlloc - c.totalFree
	nonHeap := c.mappedReady - c.heapFree - heapAlloc // not below zero: see heapSettled
	overage := uint64(0)
	if c.mappedReady > c.memoryLimit {
		overage = c.mappedReady - c.memoryLimit
	}
	if nonHeap+overage >= c.memoryLimit {
		return c.heapMarked
	}
	goal := c.memoryLimit - (nonHeap + overage)
	headroom := uint64(minHeadroom)
	if c.percentHeadroom {
		headroom = max(goal/100*headroomPercent, minHeadroom)
	}
	if goal < headroom || goal-headroom < headroom {
		goal = headroom
	} else {
		goal -= headroom
	}
	return max(goal, c.heapMarked)
}
