package memlimit

import (
	"errors"
	"io"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"

	"github.com/heapwright/heapwright/cgroup"
	"github.com/heapwright/heapwright/guard/sli"
)

// A system is what memlimit touches outside of itself. Tests bring their own.
type system struct {
	getenv   func(string) string
	readFile func(string) ([]byte, error) // of a small file
	// group looks at the cgroups of the process. It may keep files open until close.
	group func() groupLook
	close func()
	// own is the memory of this process that cannot be reclaimed, bytes.
	own  func() (uint64, error)
	host func() uint64 // memory of the host, bytes; 0: not known
	// read fills in the state of the runtime.
	read func(*goState)
	// cycles is how many collections there were.
	cycles func() uint64
	// points opens what the controller's numbers are from.
	points         func() (points, error)
	setMemoryLimit func(int64)
	setGCPercent   func(int)
	freeOSMemory   func()
	// nudge has the runtime look whether a collection is due.
	nudge func()
}

// A groupLook is what was seen of the cgroups of the process.
type groupLook struct {
	limit    uint64 // bytes
	limited  bool
	high     bool   // the limit is a memory.high
	path     string // of the group that has the limit
	used     uint64 // charged to that group, and not to be reclaimed
	measured bool   // used is known
	looks    []Look
	err      error // why nothing was seen, or used is not known
}

// A goState is what the Go runtime says of itself. Bytes.
type goState struct {
	held   uint64 // mapped and not given back to the system
	live   uint64 // heap found alive by the last collection
	fixed  uint64 // of held, what is not heap
	limit  int64  // GOMEMLIMIT
	gogc   int    // -1: off
	cycles uint64
}

// nudged keeps the last allocation of nudge on the heap.
var nudged atomic.Pointer[[]byte]

// nudge allocates an object of the kind at which the runtime starts a collection if
// one is due (runtime/malloc.go, mallocgcLarge), and no other.
func nudge() {
	b := make([]byte, 64<<10)
	nudged.Store(&b)
}

// errUnmeasurable is no failure: the system has no such number.
var errUnmeasurable = errors.New("only Linux tells, without more than the standard library, what memory a process has")

// maxFile bounds what is read of a file that is to hold one number.
const maxFile = 4 << 10

func realSystem() *system {
	group := &groupReader{self: cgroup.Self}
	return &system{
		getenv: os.Getenv, readFile: readSmall, group: group.look, close: group.close, own: ownMemory, host: sync.OnceValue(hostMemory), read: runtimeReader(),
		cycles:         cycleReader(),
		points:         openPoints,
		setMemoryLimit: func(v int64) { debug.SetMemoryLimit(v) },
		setGCPercent:   func(v int) { debug.SetGCPercent(v) },
		freeOSMemory:   debug.FreeOSMemory,
		nudge:          nudge,
	}
}

func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = errors.New("too long for a file that holds one number")
	}
	return b, err
}

// runtimeReader returns a function that reads the runtime's numbers, without
// allocating and without stopping the world. It is not safe for concurrent use.
func runtimeReader() func(*goState) {
	const (
		total = iota
		released
		free
		objects
		unused
		live
		limit
		gogc
		cycles
	)
	s := []metrics.Sample{
		total:    {Name: "/memory/classes/total:bytes"},
		released: {Name: "/memory/classes/heap/released:bytes"},
		free:     {Name: "/memory/classes/heap/free:bytes"},
		objects:  {Name: "/memory/classes/heap/objects:bytes"},
		unused:   {Name: "/memory/classes/heap/unused:bytes"},
		live:     {Name: "/gc/heap/live:bytes"},
		limit:    {Name: "/gc/gomemlimit:bytes"},
		gogc:     {Name: "/gc/gogc:percent"},
		cycles:   {Name: "/gc/cycles/total:gc-cycles"},
	}
	return func(g *goState) {
		metrics.Read(s)
		v := func(i int) uint64 {
			if s[i].Value.Kind() != metrics.KindUint64 {
				return 0
			}
			return s[i].Value.Uint64()
		}
		g.held = v(total) - min(v(total), v(released))
		heap := v(free) + v(objects) + v(unused)
		g.fixed = g.held - min(g.held, heap)
		g.live = v(live)
		g.limit = int64(min(v(limit), math.MaxInt64))
		g.gogc = int(int64(v(gogc))) // off is -1, shown as an unsigned number
		g.cycles = v(cycles)
	}
}

// cycleReader returns a function that asks for nothing but the number of
// collections. It is not safe for concurrent use.
func cycleReader() func() uint64 {
	s := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	return func() uint64 {
		metrics.Read(s)
		if s[0].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return s[0].Value.Uint64()
	}
}

func openPoints() (points, error) { return sli.NewSource(sli.Options{}) }
