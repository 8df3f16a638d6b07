// Package heapgraph is the graph of a heap: objects, who refers to whom, and the
// roots that keep them. It says which node dominates which, how many bytes each
// retains, and which way leads from a root to an object.
//
// It is pure: it reads no process. Whoever reads one fills a [Builder]. What comes
// in is not believed: addresses outside of all spans, nodes that do not exist,
// cycles of any length and objects that nothing refers to are all in order.
//
// A node costs 9 bytes, an edge 4, and a slot of a span an eighth: the address and
// the size of an object follow from its span. [Dominators] takes another 28 bytes
// a node and 4 an edge while it runs, and keeps 20 a node.
package heapgraph

import (
	"iter"
	"math/bits"
	"sort"

	"github.com/heapwright/heapwright/record"
)

// A NodeID is a node's index. 0 is the super-root, which refers to every root.
// Objects follow in order of their addresses, and after them the roots.
type NodeID uint32

// SuperRoot refers to every root and to nothing else.
const SuperRoot NodeID = 0

// None is no node.
const None NodeID = ^NodeID(0)

// A RootKind says what sort of root keeps an object.
type RootKind uint8

const (
	Global    RootKind = iota // a package-level variable
	Stack                     // a frame of a goroutine
	Finalizer                 // an object waits for its finalizer, or is referred to by one
	Cleanup                   // a runtime.AddCleanup's argument or closure
	Other                     // the runtime's own
)

var rootKinds = [...]string{"global", "stack", "finalizer", "cleanup", "other"}

func (k RootKind) String() string {
	if int(k) < len(rootKinds) {
		return rootKinds[k]
	}
	return "other"
}

// MarshalText writes the kind's word.
func (k RootKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// A Root is what keeps objects without being one: a global by its name, a
// function's frame on the stacks of goroutines.
type Root struct {
	Kind RootKind
	// Name is the global ("main.cache") or the frame's function ("main.worker").
	Name string
	// Frames is the stack of the goroutine, leaf first, for Kind Stack.
	Frames []record.Frame
	// Goroutine is the id of the first goroutine of this root, and CreatedBy the
	// function with its go statement, for Kind Stack.
	Goroutine uint64
	CreatedBy string
	// Addr and Size are where a global lies, 0 where that is not known, and Type what
	// it is.
	Addr, Size uint64
	Type       TypeID
	// Count is how many roots that are equal in kind, name and frames this one
	// stands for, each goroutine counted once.
	Count int
}

// A Kind is what an object is in the language, as far as it matters to who reads
// the graph.
type Kind uint8

const (
	KindUnknown    Kind = iota
	KindStruct          // or any type that has no kind of its own here
	KindBytes           // pointer-free memory: strings, []byte, numbers
	KindPointers        // an array of pointers
	KindInterfaces      // an array of interfaces
	KindArray           // an array of anything else
	KindMap             // the header of a map: internal/runtime/maps.Map, or runtime.hmap
	KindMapTable        // internal/runtime/maps.table
	KindMapGroups       // groups of a swiss map, or buckets of an old one
	KindChan            // runtime.hchan, with its buffer behind it where that is in one object
	KindChanBuffer      // the buffer of a channel, where it is an object of its own
	KindFunc            // a closure
	KindTimer           // runtime.timer, time.Timer or time.Ticker
	KindString          // the bytes of a string
)

var kinds = [...]string{
	"unknown", "struct", "bytes", "pointers", "interfaces", "array", "map", "map table", "map groups",
	"chan", "chan buffer", "func", "timer", "string",
}

func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k]
	}
	return "unknown"
}

// A TypeID is an index into Graph.Types. 0 is the type that is not known.
type TypeID uint32

// A Type is a type of objects. An object that is several times as large as its
// type is an array of it: what is behind a slice.
type Type struct {
	Name   string // as Go writes it: "main.Session", "map[string]*main.Session"
	Kind   Kind
	Size   uint64  // of one; 0: not known
	Fields []Field // by rising offset; nil: not known, or none
	// Elem is the type of the elements of maps (values) and channels, where known.
	Elem TypeID
	// Key is the type of a map's keys, where known.
	Key TypeID
}

// A Field is a field of a struct, those of embedded and nested structs and of
// small arrays included, with their whole path as the name ("mu.sema").
type Field struct {
	Name   string
	Offset uint64
	Size   uint64
	Kind   FieldKind
	Elem   TypeID // what it points to, or the elements of a slice; 0: not known
}

// A FieldKind is how a field refers to objects.
type FieldKind uint8

const (
	FieldPlain     FieldKind = iota // refers to nothing
	FieldPointer                    // a pointer, map, channel or func: one word
	FieldSlice                      // pointer, length, capacity
	FieldString                     // pointer, length
	FieldInterface                  // type or itab, and pointer
)

// A span is a run of slots of one size.
type span struct {
	base  uint64
	elem  uint64 // bytes a slot
	bits  uint32 // index of the first word of its node bits; merged: how many objects it has
	slots uint32
	first NodeID
	nodes uint32
	flags spanFlag
}

type spanFlag uint8

const (
	noscan spanFlag = 1 << iota
	folded          // its objects belong to their first referrers
	merged          // it is one node
)

func (s *span) end() uint64 { return s.base + s.elem*uint64(s.slots) }

// A Coarse says how the graph is coarser than one node an object, because it would
// not have fitted into its budget. The totals are exact at each level.
type Coarse uint8

const (
	Exact       Coarse = iota // each object is a node
	FoldNoscan                // objects without pointers belong to the first object that refers to them
	SpanPerNode               // the small objects of a span are one node
)

func (c Coarse) String() string {
	switch c {
	case FoldNoscan:
		return "objects without pointers count as part of the first object that refers to them"
	case SpanPerNode:
		return "small objects count by spans of 8 KiB and more: sizes of single holders are estimates from above"
	}
	return ""
}

// A Sample is a live object that the runtime's heap profiler sampled when it was
// allocated.
type Sample struct {
	Node NodeID
	Site int   // into Graph.Sites
	Size int64 // bytes the program asked for; 0: not known
}

// A Site is a place that allocates: its stack, leaf first.
type Site struct{ Stack []record.Frame }

// unreached is the rank of a node that no root reaches.
const unreached = 0xff

// A Graph is a heap. It does not change once it is built, and may be read by many.
type Graph struct {
	spans   []span
	bits    []uint64 // which slots are nodes
	pages   pages
	types   []TypeID // by node, objects only: index is node-1
	offsets []uint32 // by node, objects and roots: of the first edge; one more at the end
	edges   []NodeID
	rootIDs []NodeID
	extra   []uint32 // by node: bytes folded into it, in units of 8; nil where nothing is
	extraN  []uint32 // and how many objects

	ranks []uint8 // by node: of the roots that count for it

	objects int // nodes that are objects

	// Types are the types of objects. The first is the unknown one.
	Types []Type
	// Roots are in the order of their nodes.
	Roots []Root
	// Sites and Samples are what the heap profiler knows of the objects.
	Sites   []Site
	Samples []Sample
	// Coarse says whether nodes are single objects.
	Coarse Coarse
	// LiveBytes and LiveObjects count all objects in the heap, whether a root
	// reaches them or not, exactly, however coarse the nodes are.
	LiveBytes, LiveObjects uint64
	// LooseBytes and LooseObjects are those of them that were to be folded and that
	// no object refers to. They have no node.
	LooseBytes, LooseObjects uint64
}

// Len returns how many nodes there are: the super-root, objects and roots. Every
// NodeID is smaller.
func (g *Graph) Len() int { return 1 + g.objects + len(g.Roots) }

// Objects returns how many nodes are objects: those from 1 to Objects.
func (g *Graph) Objects() int { return g.objects }

// EdgeCount returns how many references there are, those of the super-root left out.
func (g *Graph) EdgeCount() int { return len(g.edges) }

// IsObject says whether the node is an object, and not a root.
func (g *Graph) IsObject(n NodeID) bool { return n > 0 && int(n) <= g.objects }

// Root returns the root of a node, nil when it is none.
func (g *Graph) Root(n NodeID) *Root {
	if i := int(n) - 1 - g.objects; i >= 0 && i < len(g.Roots) {
		return &g.Roots[i]
	}
	return nil
}

// Edges returns what the node refers to. The slice is the graph's own.
func (g *Graph) Edges(n NodeID) []NodeID {
	if n == SuperRoot {
		return g.rootIDs
	}
	if int(n) >= g.Len() {
		return nil
	}
	return g.edges[g.offsets[n-1]:g.offsets[n]]
}

// Keeps says whether a reference from one node to another counts for who keeps what.
// Of what a global reaches, goroutines are users and not keepers: the object that a
// request works on refers to the server, and a frame to what its function was once
// called with. Between the two are the runtime's variables, which have the timers.
// What goroutines reach is not kept by the runtime's own stacks, and what is not
// dead not by finalizers. So what is said to be kept by a global is
// free without that once no goroutine uses it any more.
func (g *Graph) Keeps(from, to NodeID) bool {
	return from == SuperRoot || g.ranks[from] == g.ranks[to]
}

// TypeOf returns the node's type: 0 where it is not known, and for roots.
func (g *Graph) TypeOf(n NodeID) TypeID {
	if !g.IsObject(n) {
		return 0
	}
	return g.types[n-1]
}

// Type returns the node's type, that of index 0 where it is not known.
func (g *Graph) Type(n NodeID) *Type { return &g.Types[g.TypeOf(n)] }

// spanOf returns the span of an object's node. A span without nodes has the first
// node of the one that follows it, and comes before that.
func (g *Graph) spanOf(n NodeID) *span {
	i := sort.Search(len(g.spans), func(i int) bool { return g.spans[i].first > n }) - 1
	return &g.spans[i]
}

// Size returns the bytes of the node itself, what was folded into it included:
// a root has no others.
func (g *Graph) Size(n NodeID) uint64 {
	size := uint64(0)
	if g.IsObject(n) {
		s := g.spanOf(n)
		size = s.elem * s.objects()
	}
	if i := int(n) - 1; i >= 0 && i < len(g.extra) {
		size += uint64(g.extra[i]) * 8
	}
	return size
}

// Count returns how many objects the node stands for.
func (g *Graph) Count(n NodeID) uint64 {
	count := uint64(0)
	if g.IsObject(n) {
		count = g.spanOf(n).objects()
	}
	if i := int(n) - 1; i >= 0 && i < len(g.extraN) {
		count += uint64(g.extraN[i])
	}
	return count
}

// objects returns how many objects a node of the span stands for, but for those
// that were folded into it.
func (s *span) objects() uint64 {
	if s.flags&merged != 0 {
		return uint64(s.bits)
	}
	return 1
}

// A Run is objects of one span whose nodes follow each other.
type Run struct {
	First   NodeID
	Nodes   int
	Size    uint64 // of an object, as its size class has it
	Objects uint64 // that each node stands for
	Noscan  bool
	Merged  bool // the one node stands for all objects of the span
}

// Runs returns all objects in order. What was folded into nodes is not in it, see
// Folded.
func (g *Graph) Runs() iter.Seq[Run] {
	return func(yield func(Run) bool) {
		for i := range g.spans {
			s := &g.spans[i]
			r := Run{First: s.first, Nodes: int(s.nodes), Size: s.elem, Objects: s.objects(), Noscan: s.flags&noscan != 0, Merged: s.flags&merged != 0}
			if r.Nodes > 0 && !yield(r) {
				return
			}
		}
	}
}

// Folded returns what was folded into a node.
func (g *Graph) Folded(n NodeID) (bytes, objects uint64) {
	if i := int(n) - 1; i >= 0 && i < len(g.extra) {
		return uint64(g.extra[i]) * 8, uint64(g.extraN[i])
	}
	return 0, 0
}

// SlotSize returns the size of the memory at Addr: that of one object.
func (g *Graph) SlotSize(n NodeID) uint64 {
	if !g.IsObject(n) {
		return 0
	}
	return g.spanOf(n).elem
}

// Noscan says whether the object has no pointers.
func (g *Graph) Noscan(n NodeID) bool { return g.IsObject(n) && g.spanOf(n).flags&noscan != 0 }

// Addr returns the address of the object, or of the span that the node stands for,
// and 0 for roots.
func (g *Graph) Addr(n NodeID) uint64 {
	if !g.IsObject(n) {
		return 0
	}
	s := g.spanOf(n)
	if s.flags&merged != 0 {
		return s.base
	}
	k := int(n - s.first)
	words := g.bits[s.bits : s.bits+(s.slots+63)/64]
	for i, w := range words {
		c := bits.OnesCount64(w)
		if k >= c {
			k -= c
			continue
		}
		for ; k > 0; k-- {
			w &= w - 1
		}
		return s.base + s.elem*uint64(i*64+bits.TrailingZeros64(w))
	}
	return s.base
}

// Find returns the object that the address points into, and how far.
func (g *Graph) Find(addr uint64) (n NodeID, offset uint64, ok bool) {
	i, ok := g.pages.span(addr, g.spans)
	if !ok {
		return None, 0, false
	}
	s := &g.spans[i]
	slot := (addr - s.base) / s.elem
	offset = addr - s.base - slot*s.elem
	if s.flags&merged != 0 {
		return s.first, offset, s.nodes > 0
	}
	n, ok = s.node(g.bits, uint32(slot))
	return n, offset, ok
}

// node returns the node of a slot, and false where the slot is none.
func (s *span) node(b []uint64, slot uint32) (NodeID, bool) {
	words := b[s.bits:]
	w := words[slot/64]
	if w&(1<<(slot%64)) == 0 {
		return None, false
	}
	n := s.first + NodeID(bits.OnesCount64(w&(1<<(slot%64)-1)))
	for _, w := range words[:slot/64] {
		n += NodeID(bits.OnesCount64(w))
	}
	return n, true
}
