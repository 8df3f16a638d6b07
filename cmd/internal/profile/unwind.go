package profile

import (
	"encoding/binary"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/pclntab"
)

const (
	// maxCodePCs bounds how many program counters a walker learns for one
	// snapshot, and how many it remembers: a program's goroutines wait at few
	// places, and what is not a program's stack must not cost much.
	maxCodePCs    = 1 << 16
	initialSlots  = 1 << 10
	maxStartKinds = 1 << 14
)

// A codeCache knows of program counters what unwinding and classifying needs.
type codeCache struct {
	t       *pclntab.Table
	lr      bool // arm64: the return address of a leaf is in a register
	seed    uint64
	slots   []codePC
	used    int
	learned int // since reset
	starts  map[uint64]startKind
	tops    *[]uint64 // gets the frames' tops, from the stack pointer; nil: nobody wants them
}

// codePC is what unwinding needs to know of one program counter.
type codePC struct {
	pc    uint64
	entry bool  // pc is the first instruction of its function
	kind  uint8 // pcUnknown, ...
	delta int32 // from the stack pointer to the frame's top
}

const (
	pcUnknown  = iota + 1 // not in Go code, or without frame information
	pcCall                // an ordinary frame
	pcInjected            // a function that a signal handler called: its caller's pc is exact
	pcTop                 // the outermost frame
	pcStop                // the stack pointer is lost here, unless a system call saved it
)

// A startKind is what a goroutine's first function says of it.
type startKind uint8

const (
	startUser startKind = iota
	startSystem
	startFinalizer
	startCleanup
)

// reset starts the bound of a new snapshot.
func (c *codeCache) reset() { c.learned = 0 }

// look returns what is known of pc. The result is valid until the next call.
func (c *codeCache) look(pc uint64) *codePC {
	if c.slots == nil {
		c.slots = make([]codePC, initialSlots)
	}
	mask := uint64(len(c.slots) - 1)
	i := c.slot(pc) & mask
	for c.slots[i].kind != 0 {
		if c.slots[i].pc == pc {
			return &c.slots[i]
		}
		i = (i + 1) & mask
	}
	if c.learned >= maxCodePCs {
		return &codePC{pc: pc, kind: pcUnknown}
	}
	c.learned++
	if c.used >= maxCodePCs {
		clear(c.slots)
		c.used = 0
	} else if c.used*2 >= len(c.slots) {
		old := c.slots
		c.slots = make([]codePC, 2*len(old))
		mask = uint64(len(c.slots) - 1)
		for _, e := range old {
			if e.kind != 0 {
				k := c.slot(e.pc) & mask
				for c.slots[k].kind != 0 {
					k = (k + 1) & mask
				}
				c.slots[k] = e
			}
		}
	}
	e := c.learn(pc)
	for i = c.slot(pc) & mask; c.slots[i].kind != 0; {
		i = (i + 1) & mask
	}
	c.slots[i] = e
	c.used++
	return &c.slots[i]
}

// slot is a hash of pc. Mixing twice lets all of its bits count.
func (c *codeCache) slot(pc uint64) uint64 { return mix(mix(c.seed, pc), 0) }

func (c *codeCache) learn(pc uint64) codePC {
	e := codePC{pc: pc, kind: pcUnknown}
	f, ok := c.t.FuncForPC(pc)
	if !ok {
		return e
	}
	delta, ok := c.t.SPDelta(f, pc)
	if !ok {
		return e
	}
	e.delta, e.entry = delta, pc == f.Entry
	switch {
	case f.Flags&pclntab.FlagTopFrame != 0:
		e.kind = pcTop
	case !c.t.MayUnwind(f, false):
		e.kind = pcStop
	case c.t.IsInjectedCall(f):
		e.kind = pcInjected
	default:
		e.kind = pcCall
	}
	return e
}

// startKind classifies a goroutine by its first function, as
// runtime.isSystemGoroutine does.
func (c *codeCache) startKind(pc uint64) startKind {
	if k, ok := c.starts[pc]; ok {
		return k
	}
	if c.starts == nil || len(c.starts) >= maxStartKinds {
		c.starts = make(map[uint64]startKind)
	}
	k := startUser
	if f, ok := c.t.FuncForPC(pc); ok {
		switch name := c.t.Name(f); {
		case name == "runtime.main", name == "runtime.corostart", name == "runtime.handleAsyncEvent":
		case name == "runtime.runfinq", name == "runtime.runFinalizers":
			k = startFinalizer
		case name == "runtime.runCleanups":
			k = startCleanup
		case strings.HasPrefix(name, "runtime."):
			k = startSystem
		}
	}
	c.starts[pc] = k
	return k
}

type unwindResult int

const (
	unwindDone  unwindResult = iota // to the outermost frame
	unwindLost                      // the way is lost before that
	unwindShort                     // the stack bytes did not suffice
	unwindDeep                      // more than maxDepth frames
)

// unwind appends the return addresses of g's stack to pcs, leaf first, of which
// stack is a copy from g.sp on. It follows runtime.(*unwinder) of
// runtime/traceback.go, with the flags that goroutine profiles use. An exact
// program counter is returned plus one, as runtime.Callers does.
func (c *codeCache) unwind(pcs []uint64, g *gInfo, stack []byte) ([]uint64, unwindResult) {
	at, pc, lr := uint64(0), g.pc, g.lr
	exact := false
	for innermost := true; ; innermost = false {
		e := c.look(pc)
		kind, delta := e.kind, uint64(e.delta)
		if kind == pcUnknown {
			return pcs, unwindLost
		}
		if len(pcs) == maxDepth {
			return pcs, unwindDeep
		}
		if exact || e.entry {
			pcs = append(pcs, pc+1)
		} else {
			pcs = append(pcs, pc)
		}
		if kind == pcTop {
			return pcs, unwindDone
		}
		if kind == pcStop && !(innermost && g.insys) {
			return pcs, unwindLost
		}
		fp := at + delta // frame's top, relative to g.sp
		var slot uint64
		if c.lr {
			slot = at
			if !(innermost && delta > 0) && lr != 0 {
				pc, slot = lr, ^uint64(0)
			}
		} else {
			slot = fp
			fp += 8
		}
		if slot != ^uint64(0) {
			if slot+8 > uint64(len(stack)) {
				return pcs, unwindShort
			}
			pc = binary.LittleEndian.Uint64(stack[slot:])
		}
		lr = 0
		at = fp
		if c.tops != nil {
			*c.tops = append(*c.tops, at)
		}
		exact = kind == pcInjected
		if c.lr && exact {
			// The signal handler saved the link register on the stack first.
			if at+8 > uint64(len(stack)) {
				return pcs, unwindShort
			}
			saved := binary.LittleEndian.Uint64(stack[at:])
			at += 16
			if e := c.look(pc); e.kind == pcUnknown {
				pc = saved
			} else if e.delta == 0 {
				lr = saved
			}
		}
	}
}
