package live

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/heapwright/heapwright/cmd/internal/remote"
	"github.com/heapwright/heapwright/pacer"
)

// A Change is what to set. What is nil stays as it is.
type Change struct {
	GOGCPercent     *int64 // -1 is off
	GOMEMLIMITBytes *int64 // math.MaxInt64 is none
	// StormFloorBytes is a limit below which nobody should go, such as a twin's
	// StormFloorBytes. 0: only what the process shows now.
	StormFloorBytes int64
}

// A Step is one word that is written.
type Step struct {
	Symbol string `json:"symbol"` // "runtime.gcController.memoryLimit"
	Addr   uint64 `json:"addr"`
	Size   int    `json:"size"`
	Old    uint64 `json:"old"`
	New    uint64 `json:"new"`
}

// String names the words and shows the values as the setting they are.
func (s Step) String() string {
	return fmt.Sprintf("%s at %#x, %d bytes: %s -> %s", s.Symbol, s.Addr, s.Size, s.show(s.Old), s.show(s.New))
}

// Values are the old and the new value as people write them.
func (s Step) Values() (old, value string) { return s.show(s.Old), s.show(s.New) }

func (s Step) show(v uint64) string {
	switch {
	case s.Symbol == remote.WordGCPercent && int32(v) < 0:
		return "off"
	case s.Symbol == remote.WordGCPercent:
		return fmt.Sprint(int32(v))
	case s.Symbol == remote.WordMemoryLimit && v == math.MaxInt64, s.Symbol == remote.WordGCPercentHeapGoal && v == pacer.NoGoal:
		return "none"
	}
	return fmt.Sprint(v)
}

// books are the settings of a process and what the heap goal follows from.
type books struct {
	model   pacer.Model
	percent int32
	limit   int64
	minimum uint64 // heapMinimum
	goal    uint64 // gcPercentHeapGoal
	heap    pacer.Heap
	nonHeap uint64
}

// consistent reports whether the least heap is that of the percentage: the
// runtime never sets one without the other. That both are as the model has it
// is also a last proof that these are the pacer's settings.
func (b *books) consistent() error {
	if want := b.model.HeapMinimum(int64(b.percent)); b.minimum != want {
		return &InconsistentError{fmt.Sprintf("GOGC=%d makes the least heap %d bytes, not %d", b.percent, want, b.minimum)}
	}
	return nil
}

// check holds a change against the rails that follow from values alone.
func (b *books) check(c Change) error {
	if err := b.consistent(); err != nil {
		return err
	}
	percent, limit := b.percent, b.limit
	if c.GOGCPercent != nil {
		v := *c.GOGCPercent
		switch {
		case v < -1:
			return &RangeError{"GOGC", v, "a percentage, or -1 for off"}
		case v > math.MaxInt32:
			return &RangeError{"GOGC", v, "the runtime keeps it in 32 bits"}
		}
		h := b.heap
		if hi, _ := bits.Mul64(h.Marked+h.StackScan+h.Globals, uint64(max(v, 0))); hi != 0 {
			return &RangeError{"GOGC", v, "the heap goal of this process would wrap around"}
		}
		percent = int32(v)
	}
	if c.GOMEMLIMITBytes != nil {
		v := *c.GOMEMLIMITBytes
		if v < 0 {
			return &RangeError{"GOMEMLIMIT", v, "a number of bytes"}
		}
		if floor := b.stormFloor(); v < floor {
			return &StormFloorError{v, floor, fmt.Sprintf("%d bytes live after the last cycle and a tenth, and %d bytes that are not heap", b.heap.Marked, b.nonHeap)}
		}
		if v < c.StormFloorBytes {
			return &StormFloorError{v, c.StormFloorBytes, "so the recording of the process says"}
		}
		limit = v
	}
	changed := percent != b.percent || limit != b.limit
	if !changed {
		return ErrNothing
	}
	if percent < 0 && limit == pacer.NoMemoryLimit {
		return &UnboundedError{}
	}
	return nil
}

// stormFloor is the lowest memory limit that leaves a tenth of the live heap to
// allocate in.
func (b *books) stormFloor() int64 {
	return int64(min(b.heap.Marked+b.heap.Marked/10+b.nonHeap, math.MaxInt64))
}

// A pair is a word, what it holds and what it shall hold.
type pair struct {
	symbol     string
	old, value uint64
}

// words lists what makes a change take effect at once, and just as the runtime's
// own setters do: in an order in which a cycle that ends between two writes, or a
// tool that dies there, leaves settings that are sound.
//
// GOGC is three words (runtime/mgcpacer.go, setGCPercent and commit). The least
// heap comes first, since a percentage without it would keep the huge minimum of
// GOGC=off; when GOGC is turned off it comes last, for the same reason. The heap
// goal is what commit would make of them; without it the new percentage would
// wait for the end of a cycle, which GOGC=off never lets come. The memory limit
// is one word: goal and trigger are computed from it whenever they are asked for.
func (b *books) words(c Change) []pair {
	var gogc, limit []pair
	off := false
	if c.GOGCPercent != nil && int32(*c.GOGCPercent) != b.percent {
		v := *c.GOGCPercent
		off = v < 0
		percent := pair{remote.WordGCPercent, uint64(uint32(b.percent)), uint64(uint32(int32(v)))}
		minimum := pair{remote.WordHeapMinimum, b.minimum, b.model.HeapMinimum(v)}
		goal := pair{remote.WordGCPercentHeapGoal, b.goal, b.model.PercentGoal(b.heap, v)}
		if off {
			gogc = []pair{percent, minimum, goal}
		} else {
			gogc = []pair{minimum, percent, goal}
		}
	}
	if c.GOMEMLIMITBytes != nil && *c.GOMEMLIMITBytes != b.limit {
		limit = []pair{{remote.WordMemoryLimit, uint64(b.limit), uint64(*c.GOMEMLIMITBytes)}}
	}
	// A heap without GOGC must have its limit first.
	if off {
		return append(limit, gogc...)
	}
	return append(gogc, limit...)
}

// value is what a word holds.
func (b *books) value(symbol string) uint64 {
	switch symbol {
	case remote.WordGCPercent:
		return uint64(uint32(b.percent))
	case remote.WordMemoryLimit:
		return uint64(b.limit)
	case remote.WordHeapMinimum:
		return b.minimum
	case remote.WordGCPercentHeapGoal:
		return b.goal
	}
	return 0
}
