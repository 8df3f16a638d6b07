package remote

import (
	"encoding/binary"
	"fmt"
	"runtime"
)

// A Word is a setting of the runtime that is one machine word, at its place in
// the target. It is for package live, which may change it; this package cannot.
type Word struct {
	Symbol string // "runtime.gcController.memoryLimit"
	Addr   uint64
	Size   int // bytes: 4 or 8
}

// The settings that there are words for.
const (
	WordGCPercent         = "runtime.gcController.gcPercent"
	WordMemoryLimit       = "runtime.gcController.memoryLimit"
	WordHeapMinimum       = "runtime.gcController.heapMinimum"
	WordGCPercentHeapGoal = "runtime.gcController.gcPercentHeapGoal"
	WordMemProfileRate    = "runtime.MemProfileRate"
	WordBlockProfileRate  = "runtime.blockprofilerate"
	WordMutexProfileRate  = "runtime.mutexprofilerate"
)

// A wordPlace says where a setting lies: in a field of a structure, or in a
// variable of its own.
type wordPlace struct {
	global, field string
	size          int
	votes         int    // that the global must have
	witness       string // another global of the same function, that must have two
}

var wordPlaces = map[string]wordPlace{
	WordGCPercent:         {global: "runtime.gcController", field: "gcControllerState.gcPercent", size: 4, votes: 2},
	WordMemoryLimit:       {global: "runtime.gcController", field: "gcControllerState.memoryLimit", size: 8, votes: 2},
	WordHeapMinimum:       {global: "runtime.gcController", field: "gcControllerState.heapMinimum", size: 8, votes: 2},
	WordGCPercentHeapGoal: {global: "runtime.gcController", field: "gcControllerState.gcPercentHeapGoal", size: 8, votes: 2},
	WordMemProfileRate:    {global: "runtime.MemProfileRate", size: 8, votes: 2},
	WordBlockProfileRate:  {global: "runtime.blockprofilerate", size: 8, votes: 2},
	// One function refers to it, semacquire1. That this function is what it seems
	// shows in its other vote, which those of three more agree with.
	WordMutexProfileRate: {global: "runtime.mutexprofilerate", size: 8, votes: 1, witness: "runtime.blockprofilerate"},
}

// Word returns the place of a setting. It is refused unless the votes that gave
// the address were unanimous and enough, and the address is what is expected of
// such a variable. The layout is exact for the release: Attach takes no other.
func (t *Target) Word(symbol string) (Word, error) {
	pl, ok := wordPlaces[symbol]
	if !ok {
		return Word{}, fmt.Errorf("%s is not a setting that may be changed", symbol)
	}
	if t.proc == nil || t.prog.release.GOARCH != runtime.GOARCH {
		return Word{}, refuse("%s is not of a live process of this machine", symbol)
	}
	addr, ok := t.prog.globals[pl.global]
	if !ok {
		why := t.prog.missing[pl.global]
		if why == "" {
			why = "no function that refers to it is known in this build"
		}
		return Word{}, refuse("the place of %s is not settled: %s", pl.global, why)
	}
	if n := t.prog.voters[pl.global]; n < pl.votes {
		return Word{}, refuse("the place of %s has %d of %d votes that writing needs", pl.global, n, pl.votes)
	}
	if pl.witness != "" && t.prog.voters[pl.witness] < 2 {
		return Word{}, refuse("the place of %s has one vote, and nothing confirms the function that gave it", pl.global)
	}
	if pl.field != "" {
		f, ok := t.prog.release.Layout.Field(pl.field)
		if !ok || int(f.Size) != pl.size {
			return Word{}, fmt.Errorf("layout tables of %s lack %s of %d bytes", t.prog.release.Version, pl.field, pl.size)
		}
		addr += uint64(f.Off)
	}
	if addr%uint64(pl.size) != 0 {
		return Word{}, refuse("%s at %#x is not aligned", symbol, addr)
	}
	return Word{Symbol: symbol, Addr: addr, Size: pl.size}, nil
}

// Value reads a word.
func (t *Target) Value(w Word) (uint64, error) {
	var b [8]byte
	if w.Size != 4 && w.Size != 8 {
		return 0, fmt.Errorf("reading %s: %d bytes are not a word", w.Symbol, w.Size)
	}
	if err := t.mem.Read(w.Addr, b[:w.Size]); err != nil {
		return 0, fmt.Errorf("reading %s: %w", w.Symbol, err)
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// A PercentGoal is what the heap goal that follows from GOGC is made of, as it
// was when the last Sample was taken; in bytes.
type PercentGoal struct {
	MarkedBytes, StackScanBytes, GlobalsScanBytes uint64
	HeapMinimumBytes                              uint64 // gcController.heapMinimum
	GoalBytes                                     uint64 // gcController.gcPercentHeapGoal
	LastGoalBytes                                 uint64 // that the last cycle ended with, whatever it followed from
	// NonHeapBytes is what the memory limit's goal takes off for memory that is
	// mapped and ready, and neither holds objects nor is free heap.
	NonHeapBytes uint64
}

// PercentGoal returns the parts of the last Sample that the settings act on.
func (t *Target) PercentGoal() PercentGoal {
	f := &t.books.f
	return PercentGoal{
		MarkedBytes: f.heapMarked.u64(), StackScanBytes: f.lastStackScan.u64(), GlobalsScanBytes: f.globalsScan.u64(),
		HeapMinimumBytes: f.heapMinimum.u64(), GoalBytes: f.gcPercentHeapGoal.u64(), LastGoalBytes: f.lastHeapGoal.u64(),
		NonHeapBytes: f.mappedReady.u64() - f.heapFree.u64() - (f.totalAlloc.u64() - f.totalFree.u64()), // not below zero: see heapSettled
	}
}
