package fault

import (
	"math/bits"
)

// A Kind is what sort of fault.
type Kind string

// The kinds.
const (
	// Churn allocates garbage, in bytes a second.
	Churn Kind = "heap.churn"
	// Retain keeps bytes that have no pointers.
	Retain Kind = "heap.retain"
	// Pointers keeps bytes of small objects that are full of pointers, linked so that
	// each collection has to walk them.
	Pointers Kind = "heap.pointers"
	// Large keeps bytes of large objects, each of which is replaced once a second.
	Large Kind = "heap.large"
	// Fragments keeps bytes of spans of the heap by one small object in each: what is
	// between them serves nobody but objects of that size, and cannot be given back.
	Fragments Kind = "heap.fragments"
	// Goroutines is a number of goroutines that wait.
	Goroutines Kind = "goroutines"
	// Stacks is bytes of stacks of goroutines that wait.
	Stacks Kind = "stacks"
	// Finalizers makes objects with finalizers, so many a second.
	Finalizers Kind = "finalizers"
	// OffHeap is bytes of mappings that the runtime does not know of.
	OffHeap Kind = "heap.off"
	// ForcedGC forces collections, so many a second.
	ForcedGC Kind = "gc.forced"
)

// A Unit is what levels are in.
type Unit string

// The units.
const (
	Bytes          Unit = "bytes"
	BytesPerSecond Unit = "bytes/s"
	Count          Unit = "count"
	CountPerSecond Unit = "count/s"
)

// A kindInfo is what is to be known of a kind.
type kindInfo struct {
	kind Kind
	unit Unit
	// size is that of an object where none is asked for, least and most the bounds of
	// what may be; all 0 where there is none to choose.
	size, least, most uint64
	// round is what a size becomes, so that what is counted is what the allocator takes.
	round func(size uint64) uint64
	// max is the most that a level may be, 0 where the bytes and goroutines bound it.
	max  float64
	make func(r *Request) effect
	// bytes and goroutines are what a level takes at most.
	bytes      func(level float64, size uint64) float64
	goroutines func(level float64, size uint64) float64
}

const (
	// goroutineBytes is what a goroutine takes that waits: its stack, and the runtime's
	// books of it.
	goroutineBytes = 4 << 10
	// mapUnit is a multiple of the page size of every system.
	mapUnit = 64 << 10
)

func levelBytes(level float64, _ uint64) float64 { return level }

var kinds = []kindInfo{
	{kind: Churn, unit: BytesPerSecond, least: 16, most: 64 << 20, round: roundSize, max: 64 << 30,
		make: func(r *Request) effect { return &churn{size: r.Size} }},
	{kind: Retain, unit: Bytes, size: 64 << 10, least: 1 << 10, most: 64 << 20, round: roundSize,
		make: func(r *Request) effect { return &retain{size: r.Size} }, bytes: levelBytes},
	{kind: Pointers, unit: Bytes, size: 64, least: 16, most: 512, round: roundSize,
		make: func(r *Request) effect { return &pointers{size: r.Size} }, bytes: levelBytes},
	{kind: Large, unit: Bytes, size: 4 << 20, least: 64 << 10, most: 256 << 20, round: roundSize,
		make: func(r *Request) effect { return &large{size: r.Size} }, bytes: levelBytes},
	{kind: Fragments, unit: Bytes, least: 16, most: 512, round: roundSize,
		make: func(r *Request) effect { return &fragments{size: r.Size} }, bytes: levelBytes},
	{kind: Goroutines, unit: Count,
		make:  func(*Request) effect { return newGoroutines() },
		bytes: func(level float64, _ uint64) float64 { return level * goroutineBytes }, goroutines: levelBytes},
	{kind: Stacks, unit: Bytes, size: 64 << 10, least: 16 << 10, most: 16 << 20, round: func(size uint64) uint64 { return 1 << bits.Len64(size-1) },
		make: func(r *Request) effect { return newStacks(r.Size) }, bytes: levelBytes,
		goroutines: func(level float64, size uint64) float64 { return level / float64(size) }},
	{kind: Finalizers, unit: CountPerSecond, size: 64, least: 16, most: 64 << 10, round: roundSize, max: 1e6,
		make:  func(r *Request) effect { return &finalizers{size: r.Size} },
		bytes: func(level float64, size uint64) float64 { return float64(mostGhosts(level)) * float64(ghostBytes+size) }},
	{kind: OffHeap, unit: Bytes, size: 1 << 20, least: mapUnit, most: 256 << 20, round: func(size uint64) uint64 { return (size + mapUnit - 1) &^ (mapUnit - 1) },
		make: func(r *Request) effect { return &offHeap{size: r.Size} }, bytes: levelBytes},
	{kind: ForcedGC, unit: CountPerSecond, max: 50,
		make: func(r *Request) effect { return &forced{most: r.Count} }},
}

// roundSize is the next size that the allocator has a class for without waste: powers
// of two up to 32 KiB, whole pages of the runtime above.
func roundSize(size uint64) uint64 {
	const page = 8 << 10
	if size > 32<<10 {
		return (size + page - 1) &^ (page - 1)
	}
	return 1 << bits.Len64(size-1)
}

func (k Kind) info() *kindInfo {
	for i := range kinds {
		if kinds[i].kind == k {
			return &kinds[i]
		}
	}
	return nil
}

// Kinds are all kinds.
func Kinds() []Kind {
	var all []Kind
	for _, i := range kinds {
		all = append(all, i.kind)
	}
	return all
}

// Unit is what the levels of a kind are in; "" for one that is not known.
func (k Kind) Unit() Unit {
	if i := k.info(); i != nil {
		return i.unit
	}
	return ""
}
