package remote

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/layout"
	"github.com/heapwright/heapwright/record"
)

// facts is what the kernel says of the target, to be held against what its
// memory says. Zero fields are not known and not checked.
type facts struct {
	vmBytes uint64 // size of the address space
	threads int
}

// slack is how far two counters of a running process that are read at different
// instants may stray from an exact relation: a share of the larger, and a floor.
func slack(v uint64) uint64 { return v/16 + 64<<20 }

// check holds a decoded sample against what must be true of any Go runtime. It
// is pure; everything it needs was read before.
func (k *books) check(s *record.Sample, now time.Time, os facts) error {
	f := &k.f
	if s.GOMAXPROCS == 0 || s.MappedReadyBytes == 0 || f.heapMinimum.u64() == 0 {
		return ErrNotReady // schedinit has not come to procresize, mallocinit or gcinit
	}
	if s.GCPhase == 0 && k.psKey[1] != uint64(s.GOMAXPROCS) {
		return ErrUnsettled // procresize changes one after the other; the world is stopped for it
	}
	switch {
	case s.GOGCPercent < -1:
		return refuse("it says GOGC=%d", s.GOGCPercent)
	case s.GOMEMLIMITBytes < 0:
		return refuse("it says GOMEMLIMIT=%d", s.GOMEMLIMITBytes)
	case s.GCPhase < 0 || s.GCPhase > 2:
		return refuse("it says GC phase %d", s.GCPhase)
	case s.GOMAXPROCS < 1 || s.GOMAXPROCS > maxProcs:
		return refuse("it says GOMAXPROCS=%d", s.GOMAXPROCS)
	case s.GCForced > s.GCCycles:
		return refuse("it says %d forced of %d cycles", s.GCForced, s.GCCycles)
	case s.Threads < 1 || os.threads > 0 && s.Threads > int64(os.threads)+64:
		return refuse("it says %d threads where the kernel says %d", s.Threads, os.threads)
	case s.IdlePs < 0 || s.IdlePs > s.GOMAXPROCS:
		return refuse("it says %d idle of %d Ps", s.IdlePs, s.GOMAXPROCS)
	case s.Goroutines > 1<<30:
		return refuse("it says %d goroutines", s.Goroutines)
	case s.MappedReadyBytes > 1<<47:
		return refuse("it says %d bytes of ready memory", s.MappedReadyBytes)
	case os.vmBytes > 0 && s.MappedReadyBytes > os.vmBytes+slack(os.vmBytes):
		return refuse("it says %d bytes of ready memory in an address space of %d", s.MappedReadyBytes, os.vmBytes)
	}
	mapped := s.MappedReadyBytes + slack(s.MappedReadyBytes)
	for _, x := range []struct {
		name  string
		bytes uint64
	}{{"in-use heap", s.HeapInUseBytes}, {"free heap", s.HeapFreeBytes}, {"live heap", s.HeapLiveBytes}, {"marked heap", s.HeapMarkedBytes},
		{"stacks", s.StackInUseBytes}, {"runtime's own memory", s.RuntimeOtherBytes}, {"heap objects", s.HeapObjectsBytes},
		{"heap by the pacer", f.totalAlloc.u64() - f.totalFree.u64()}} {
		if x.bytes > mapped {
			return refuse("it says %s %d bytes of %d ready", x.name, x.bytes, s.MappedReadyBytes)
		}
	}
	if s.HeapReleasedBytes > 1<<47 {
		return refuse("it says %d bytes of released heap", s.HeapReleasedBytes)
	}
	if s.HeapGoalBytes < s.HeapMarkedBytes || s.HeapTriggerBytes > s.HeapGoalBytes {
		return refuse("it says marked heap %d, trigger %d, goal %d", s.HeapMarkedBytes, s.HeapTriggerBytes, s.HeapGoalBytes)
	}
	// With GOGC=off the runtime keeps the huge minimum of its last percentage.
	if m := f.heapMinimum.u64(); s.GOGCPercent >= 0 && m > 1<<47 && m < math.MaxUint64/200 {
		return refuse("it says a least heap of %d bytes", m)
	}
	return k.checkPauses(s, now)
}

// checkPauses: the rings hold one pause and one end for each cycle, in order,
// not in the future, and their sum is the total while none was overwritten.
func (k *books) checkPauses(s *record.Sample, now time.Time) error {
	f := &k.f
	n := min(s.GCCycles, ring)
	sum := uint64(0)
	for i := s.GCCycles - n; i < s.GCCycles; i++ {
		pause, end := f.pauseNS.at(int(i%ring)), f.pauseEnd.at(int(i%ring))
		sum += pause
		if pause > uint64(time.Hour) {
			return refuse("cycle %d says it paused for %v", i+1, time.Duration(pause))
		}
		// The wall clock may have been set back, but hardly to another century.
		if end < uint64(time.Hour*24*365*30) || end > uint64(now.Add(400*24*time.Hour).UnixNano()) {
			return refuse("cycle %d says it ended at %v", i+1, time.Unix(0, int64(end)).UTC().Format(time.RFC3339))
		}
	}
	for i := n; i < ring; i++ {
		if f.pauseNS.at(int(i)) != 0 || f.pauseEnd.at(int(i)) != 0 {
			return refuse("it says %d cycles but has the pause of cycle %d", s.GCCycles, i+1)
		}
	}
	total := uint64(s.PauseTotal)
	if sum > total || s.GCCycles <= ring && sum != total {
		return refuse("the pauses of %d cycles add up to %d ns of %d", n, sum, total)
	}
	if n == 0 && total != 0 {
		return refuse("it paused %d ns in no cycle", total)
	}
	return nil
}

// checkIdentity looks at values that only a Go runtime has at these places.
func (t *Target) checkIdentity() error {
	if a, ok := t.prog.globals["runtime.buildVersion"]; ok {
		got, err := t.readString(a, 256)
		if err != nil {
			return refuse("its runtime version cannot be read: %v", err)
		}
		v, x := layout.ParseVersion(got)
		if wv, wx := layout.ParseVersion(t.goVersion); v != wv || x != wx {
			return refuse("its build info says %s, its runtime %.40q", t.goVersion, got)
		}
	}
	if a, ok := t.prog.globals["runtime.waitReasonStrings"]; ok {
		// runtime.waitReasonStrings[1] (runtime/runtime2.go), in all of Go 1.20 to 1.27.
		const want = "GC assist marking"
		if got, err := t.readString(a+16, 64); err != nil || got != want {
			return refuse("its second wait reason is %.40q rather than %q", got, want)
		}
	}
	return t.checkMainGoroutine()
}

// checkMainGoroutine: allgs[0] is goroutine 1, on a stack of its own.
func (t *Target) checkMainGoroutine() error {
	var b [8]byte
	word := func(addr uint64) (uint64, error) {
		err := t.mem.Read(addr, b[:])
		return binary.LittleEndian.Uint64(b[:]), err
	}
	all, err := word(t.prog.globals["runtime.allgptr"])
	if err != nil {
		return fmt.Errorf("reading goroutines: %w", err)
	}
	n, err := word(t.prog.globals["runtime.allglen"])
	if err != nil {
		return fmt.Errorf("reading goroutines: %w", err)
	}
	if all == 0 || n == 0 {
		return ErrNotReady
	}
	if n > 1<<30 {
		return refuse("it says %d goroutines", n)
	}
	g, err := word(all)
	if err != nil {
		return refuse("its list of goroutines cannot be read: %v", err)
	}
	l := t.prog.release.Layout
	buf := make([]byte, l.Size("g"))
	if err := t.mem.Read(g, buf); err != nil {
		return refuse("its first goroutine cannot be read: %v", err)
	}
	field := func(name string) uint64 {
		f, _ := l.Field("g." + name)
		return binary.LittleEndian.Uint64(buf[f.Off:])
	}
	if id := field("goid"); id != 1 {
		return refuse("its first goroutine says it is number %d", id)
	}
	if lo, hi := field("stack.lo"), field("stack.hi"); lo == 0 || hi <= lo || hi-lo > 1<<32 {
		return refuse("its first goroutine says its stack is [%#x, %#x)", lo, hi)
	}
	return nil
}

// readString reads the Go string whose header is at addr.
func (t *Target) readString(addr uint64, limit uint64) (string, error) {
	var h [16]byte
	if err := t.mem.Read(addr, h[:]); err != nil {
		return "", err
	}
	ptr, n := binary.LittleEndian.Uint64(h[:]), binary.LittleEndian.Uint64(h[8:])
	if n > limit {
		return "", fmt.Errorf("a string of %d bytes", n)
	}
	buf := make([]byte, n)
	if n > 0 {
		if err := t.mem.Read(ptr, buf); err != nil {
			return "", err
		}
	}
	return string(bytes.ToValidUTF8(buf, []byte("?"))), nil
}
