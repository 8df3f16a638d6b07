package remote

import "github.com/heapwright/heapwright/pacer"

// pace returns where the current cycle is to start and to end, in heapLive
// bytes. The runtime keeps neither: it works them out whenever it wants to know.
func (k *books) pace() (trigger, goal uint64) {
	f := &k.f
	return k.model.Trigger(pacer.Pacing{
		Marked: f.heapMarked.u64(), PercentGoal: f.gcPercentHeapGoal.u64(), MinTrigger: f.sweepDistMinTrigger.u64(),
		Runway: f.runway.u64(), Triggered: f.triggered.u64(),
	}, pacer.Memory{
		Limit: f.memoryLimit.i64(), MappedReady: f.mappedReady.u64(), HeapFree: f.heapFree.u64(),
		HeapAlloc: f.totalAlloc.u64() - f.totalFree.u64(), // adds up: see heapSettled
	})
}
