package remote

import (
	"time"

	"github.com/heapwright/heapwright/record"
)

// A cycleLog turns consecutive readings of the books into GC cycles.
type cycleLog struct {
	seen    uint64 // cycles up to this one are in pending, or were taken
	forced  uint64 // of those seen, asked for by runtime.GC
	pending []record.Cycle
	lost    uint64
}

// maxPending bounds the cycles kept for a caller that does not take them.
const maxPending = 1 << 14

func (c *cycleLog) start(s *record.Sample) { c.seen, c.forced = s.GCCycles, s.GCForced }

// observe logs the cycles that ended since the last reading; the books say more
// of the latest one than of those before it.
func (c *cycleLog) observe(k *books, s *record.Sample) {
	if s.GCCycles == c.seen {
		return
	}
	first := c.seen
	if s.GCCycles-first > ring {
		c.lost += s.GCCycles - first - ring
		first = s.GCCycles - ring
	}
	if over := len(c.pending) + int(s.GCCycles-first) - maxPending; over > 0 {
		c.pending = c.pending[:copy(c.pending, c.pending[over:])]
		c.lost += uint64(over)
	}
	for i := first; i < s.GCCycles; i++ {
		c.pending = append(c.pending, record.Cycle{
			N:     i + 1,
			End:   time.Unix(0, int64(k.f.pauseEnd.at(int(i%ring)))),
			Pause: time.Duration(k.f.pauseNS.at(int(i % ring))),
		})
	}
	ended, forced := s.GCCycles-c.seen, s.GCForced-c.forced
	c.seen, c.forced = s.GCCycles, s.GCForced
	// Not by work.userForced, which is the next cycle's long before that begins:
	// gcStart visits all goroutines after it. Where cycles of both kinds have
	// ended, nothing says which kind the last one was.
	if last := &c.pending[len(c.pending)-1]; forced == 0 || forced == ended {
		k.detail(last, s)
		last.Forced = last.Detail && forced != 0
	}
}

func (c *cycleLog) take(dst []record.Cycle) ([]record.Cycle, uint64, error) {
	dst = append(dst, c.pending...)
	lost := c.lost
	c.pending, c.lost = c.pending[:0], 0
	return dst, lost, nil
}

// detail fills in what runtime.work and gcController still hold of the last
// cycle: they do until the next one starts to stop the world for its sweep
// termination, which the order of the four times shows.
func (k *books) detail(c *record.Cycle, s *record.Sample) {
	f := &k.f
	t0, t1, t2, t3 := f.tSweepTerm.i64(), f.tMark.i64(), f.tMarkTerm.i64(), f.tEnd.i64()
	if s.GCPhase != 0 || t0 <= 0 || t1 < t0 || t2 < t1 || t3 < t2 {
		return
	}
	c.Detail = true
	c.SweepTermination, c.Mark, c.MarkTermination = time.Duration(t1-t0), time.Duration(t2-t1), time.Duration(t3-t2)
	c.HeapStartBytes, c.HeapEndBytes, c.HeapMarkedBytes = f.heap0.u64(), f.heap1.u64(), f.heap2.u64()
	c.HeapGoalBytes = f.lastHeapGoal.u64()
	c.StackScanBytes, c.GlobalsScanBytes = f.lastStackScan.u64(), f.globalsScan.u64()
	c.Assist, c.Dedicated = time.Duration(f.assistTime.i64()), time.Duration(f.dedicatedMarkTime.i64())
	c.Fractional, c.Idle = time.Duration(f.fractionalMarkTime.i64()), time.Duration(f.idleMarkTime.i64())
	c.Procs = int(f.workProcs.i32())
}

// remember keeps what the next reading is held against.
func (k *books) remember() {
	k.prevGC, k.prevPause, k.prevOK = uint64(k.f.numgc.u32()), k.f.pauseTotal.u64(), true
}
