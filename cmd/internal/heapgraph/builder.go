package heapgraph

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sort"
	"strings"

	"github.com/heapwright/heapwright/record"
)

const (
	// MaxSlots bounds the slots of a span. The runtime's have at most 1,024: pages of
	// 8 KiB, and objects of 8 bytes (internal/runtime/gc/sizeclasses.go of Go 1.26).
	MaxSlots = 1 << 16
	// maxRoots bounds the roots that have a node of their own. Beyond, roots of one
	// kind share a node.
	maxRoots = 1 << 20
	// maxSamples and maxTypes bound what comes with the objects.
	maxSamples = 1 << 20
	maxTypes   = 1 << 20
	// smallObject is the largest size that the runtime takes from a size class.
	smallObject = 32 << 10

	// What a node and an edge cost, in the graph and while its dominators are found.
	nodeCost = 9 + 28
	edgeCost = 4 + 4
)

// A Span is a run of equal slots, as the runtime's mspan is one.
type Span struct {
	Base     uint64
	ElemSize uint64
	Slots    int
	Noscan   bool
	// Live has a bit for each slot that holds an object, the first in the lowest bit
	// of the first word. nil: all slots.
	Live []uint64
}

// BuildOptions say how large a graph may become.
type BuildOptions struct {
	// Budget is how many bytes the graph and the search for its dominators may take
	// together. 0: as many as it takes.
	Budget int64
	// Coarse is the level to begin with. The builder takes a coarser one by itself
	// where the objects do not fit.
	Coarse Coarse
}

// A TooLargeError says that there are more references than the budget has room for.
type TooLargeError struct {
	Budget int64
	Coarse Coarse // of the attempt
	What   string
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("building the object graph: %s do not fit into %d bytes", e.What, e.Budget)
}

// Hint says what a user can do.
func (e *TooLargeError) Hint() string { return "allow more memory" }

// Coarser returns the level to try next, and false when there is none.
func (e *TooLargeError) Coarser() (Coarse, bool) { return e.Coarse + 1, e.Coarse < SpanPerNode }

// A Builder makes a Graph: spans, types and samples first; then Layout; then the
// references of each object, objects in order of their nodes, and roots with theirs;
// then Graph. It keeps the first error, and does nothing after one.
type Builder struct {
	g   Graph
	opt BuildOptions
	err error

	live     [][]uint64 // by span, until Layout
	fold     []uint64   // live objects of folded spans that nobody refers to yet
	foldAt   []uint32   // by span: the first word in fold
	samples  []pendingSample
	sites    map[string]int
	laid     bool
	from     NodeID // the node whose edges are added
	fromEdge int    // its first
	roots    map[rootKey]uint32
	rootFrom []uint32 // pairs: the root,
	rootTo   []NodeID // and what it refers to
	rootNode []rootExtra
}

type rootExtra struct {
	bytes, objects uint64
	last           uint64 // goroutine
}

type pendingSample struct {
	addr uint64
	site int
	size int64
}

type rootKey struct {
	kind RootKind
	name string
	hash string
}

// A RootID is a root of a graph that is being built.
type RootID uint32

// NewBuilder returns an empty one.
func NewBuilder(opt BuildOptions) *Builder {
	b := &Builder{opt: opt, sites: map[string]int{}, roots: map[rootKey]uint32{}}
	b.g.Types = []Type{{}}
	b.g.Coarse = opt.Coarse
	return b
}

// errOrder is a mistake of who builds, not of the process.
var errOrder = errors.New("building the object graph: not in order")

// AddSpan adds a span, in any order of spans. Spans that no runtime has are refused.
func (b *Builder) AddSpan(s Span) error {
	switch {
	case b.laid:
		return errOrder
	case s.ElemSize == 0 || s.Slots <= 0 || s.Slots > MaxSlots || s.Base == 0:
		return fmt.Errorf("building the object graph: a span of %d slots of %d bytes at %#x", s.Slots, s.ElemSize, s.Base)
	}
	if high, n := bits.Mul64(s.ElemSize, uint64(s.Slots)); high != 0 || n > math.MaxUint64-s.Base || s.Base+n > 1<<57 {
		return fmt.Errorf("building the object graph: a span of %d slots of %d bytes at %#x ends nowhere", s.Slots, s.ElemSize, s.Base)
	}
	n := span{base: s.Base, elem: s.ElemSize, slots: uint32(s.Slots), bits: uint32(len(b.live))}
	if s.Noscan {
		n.flags |= noscan
	}
	words := make([]uint64, (s.Slots+63)/64)
	if s.Live == nil {
		for i := range words {
			words[i] = ^uint64(0)
		}
	}
	copy(words, s.Live)
	if r := s.Slots % 64; r != 0 {
		words[len(words)-1] &= 1<<r - 1
	}
	b.g.spans = append(b.g.spans, n)
	b.live = append(b.live, words)
	return nil
}

// AddType adds a type and returns its id, 0 when there are too many.
func (b *Builder) AddType(t Type) TypeID {
	if len(b.g.Types) >= maxTypes {
		return 0
	}
	b.g.Types = append(b.g.Types, t)
	return TypeID(len(b.g.Types) - 1)
}

// PutType replaces a type that was added, so that types can refer to each other.
func (b *Builder) PutType(id TypeID, t Type) {
	if id > 0 && int(id) < len(b.g.Types) {
		b.g.Types[id] = t
	}
}

// TypeInfo returns a type that was added.
func (b *Builder) TypeInfo(id TypeID) *Type {
	if int(id) >= len(b.g.Types) {
		id = 0
	}
	return &b.g.Types[id]
}

// AddSample says that the object at addr was sampled by the heap profiler when it
// was allocated, by the stack, leaf first. It belongs before Layout.
func (b *Builder) AddSample(addr uint64, size int64, stack []record.Frame) {
	if b.laid || len(b.samples) >= maxSamples {
		return
	}
	key := frameKey(stack)
	site, ok := b.sites[key]
	if !ok {
		site = len(b.g.Sites)
		b.sites[key] = site
		b.g.Sites = append(b.g.Sites, Site{Stack: stack})
	}
	b.samples = append(b.samples, pendingSample{addr: addr, site: site, size: size})
}

func frameKey(stack []record.Frame) string {
	n := 0
	for _, f := range stack {
		n += len(f.Func) + len(f.File) + 8
	}
	key := make([]byte, 0, n)
	for _, f := range stack {
		key = append(key, f.Func...)
		key = append(key, 0)
		key = append(key, f.File...)
		key = append(key, 0, byte(f.Line), byte(f.Line>>8), byte(f.Line>>16))
	}
	return string(key)
}

// Layout gives every object its node. Spans that overlap an earlier one are left
// out: no heap has such.
func (b *Builder) Layout() error {
	if b.laid {
		return errOrder
	}
	b.laid = true
	spans := b.g.spans
	sort.Slice(spans, func(i, j int) bool { return spans[i].base < spans[j].base })
	kept := spans[:0]
	for _, s := range spans {
		if len(kept) > 0 && s.base < kept[len(kept)-1].end() {
			continue
		}
		kept = append(kept, s)
	}
	b.g.spans = kept
	b.g.pages = newPages(kept)

	var small, smallNoscan, spansSmall, large uint64
	for i := range kept {
		s := &kept[i]
		n := popcount(b.live[s.bits])
		b.g.LiveObjects += n
		b.g.LiveBytes += n * s.elem
		switch {
		case s.elem > smallObject || s.slots == 1:
			large += n
		case s.flags&noscan != 0:
			smallNoscan += n
			spansSmall++
		default:
			small += n
			spansSmall++
		}
	}
	// One and a half references an object are a little more than most heaps have; if
	// there are more than fit, Edge says so.
	fits := func(scan, plain uint64) bool {
		cost := (scan+plain)*nodeCost + scan*3/2*edgeCost
		return b.opt.Budget <= 0 || (cost <= uint64(b.opt.Budget) && scan+plain < math.MaxUint32-maxRoots)
	}
	if b.g.Coarse == Exact && !fits(small+large, smallNoscan) {
		b.g.Coarse = FoldNoscan
	}
	if b.g.Coarse == FoldNoscan && !fits(small+large, 0) {
		b.g.Coarse = SpanPerNode
	}
	if b.g.Coarse == SpanPerNode && !fits(spansSmall+large, 0) {
		return b.fail(&TooLargeError{Budget: b.opt.Budget, Coarse: SpanPerNode, What: fmt.Sprintf("%d spans", len(kept))})
	}
	if small+large+smallNoscan >= math.MaxUint32-maxRoots && b.g.Coarse == Exact {
		return b.fail(&TooLargeError{Budget: b.opt.Budget, Coarse: Exact, What: fmt.Sprintf("%d objects", b.g.LiveObjects)})
	}
	b.place()
	// Room for as many references as are expected: growing by copies would take twice
	// the memory for a moment. What is not written to is not resident.
	if b.g.Coarse != SpanPerNode {
		b.g.edges = make([]NodeID, 0, min((small+large)*3/2, uint64(b.g.objects)*3/2))
	}
	return nil
}

// place assigns nodes and the places of the bitmaps.
func (b *Builder) place() {
	sampled := map[uint64]bool{}
	if b.g.Coarse == FoldNoscan {
		b.foldAt = make([]uint32, len(b.g.spans))
		for _, s := range b.samples {
			if base, ok := b.slotBase(s.addr); ok {
				sampled[base] = true
			}
		}
	}
	next := NodeID(1)
	for i := range b.g.spans {
		s := &b.g.spans[i]
		live := b.live[s.bits]
		s.first = next
		isSmall := s.elem <= smallObject && s.slots > 1
		switch {
		case b.g.Coarse == SpanPerNode && isSmall:
			s.flags |= merged
			s.bits = uint32(popcount(live))
			if s.bits > 0 {
				s.nodes = 1
			}
		case b.g.Coarse == FoldNoscan && isSmall && s.flags&noscan != 0:
			s.flags |= folded
			b.foldAt[i] = uint32(len(b.fold))
			s.bits = uint32(len(b.g.bits))
			for w, word := range live {
				// What was sampled stays a node, so that its site can be joined.
				var keep uint64
				for x := word; x != 0 && len(sampled) > 0; x &= x - 1 {
					slot := w*64 + bits.TrailingZeros64(x)
					if sampled[s.base+uint64(slot)*s.elem] {
						keep |= x & -x
					}
				}
				b.g.bits = append(b.g.bits, keep)
				b.fold = append(b.fold, word&^keep)
				s.nodes += uint32(bits.OnesCount64(keep))
				loose := uint64(bits.OnesCount64(word &^ keep))
				b.g.LooseObjects += loose
				b.g.LooseBytes += loose * s.elem
			}
		default:
			s.bits = uint32(len(b.g.bits))
			b.g.bits = append(b.g.bits, live...)
			s.nodes = uint32(popcount(live))
		}
		next += NodeID(s.nodes)
	}
	b.live = nil
	b.g.objects = int(next) - 1
	b.g.types = make([]TypeID, b.g.objects)
	b.g.offsets = make([]uint32, 1, b.g.objects+2)
	if b.g.Coarse == FoldNoscan {
		b.g.extra = make([]uint32, b.g.objects)
		b.g.extraN = make([]uint32, b.g.objects)
	}
	for _, s := range b.samples {
		if n, _, ok := b.g.Find(s.addr); ok {
			b.g.Samples = append(b.g.Samples, Sample{Node: n, Site: s.site, Size: s.size})
		}
	}
	b.samples = nil
}

// slotBase returns where the object begins that addr points into.
func (b *Builder) slotBase(addr uint64) (uint64, bool) {
	i, ok := b.g.pages.span(addr, b.g.spans)
	if !ok {
		return 0, false
	}
	s := &b.g.spans[i]
	return addr - (addr-s.base)%s.elem, true
}

func popcount(words []uint64) uint64 {
	n := 0
	for _, w := range words {
		n += bits.OnesCount64(w)
	}
	return uint64(n)
}

func (b *Builder) fail(err error) error {
	if b.err == nil {
		b.err = err
	}
	return b.err
}

// Coarse returns the level that Layout chose.
func (b *Builder) Coarse() Coarse { return b.g.Coarse }

// SpanCount returns how many spans there are after Layout, in order of address.
func (b *Builder) SpanCount() int { return len(b.g.spans) }

// SpanAt returns a span after Layout. Live is the objects that are nodes: nil for a
// span that is one node.
func (b *Builder) SpanAt(i int) Span {
	s := &b.g.spans[i]
	out := Span{Base: s.base, ElemSize: s.elem, Slots: int(s.slots), Noscan: s.flags&noscan != 0}
	if s.flags&merged == 0 {
		out.Live = b.g.bits[s.bits : s.bits+(s.slots+63)/64]
	}
	return out
}

// Find returns the node of the object that addr points into, and how far into it.
// An object that is folded has none.
func (b *Builder) Find(addr uint64) (n NodeID, offset uint64, ok bool) { return b.g.Find(addr) }

// SetType says of which type an object is. The last word counts.
func (b *Builder) SetType(n NodeID, t TypeID) {
	if b.g.IsObject(n) && int(t) < len(b.g.Types) {
		b.g.types[n-1] = t
	}
}

// TypeOf returns what SetType said.
func (b *Builder) TypeOf(n NodeID) TypeID { return b.g.TypeOf(n) }

// Begin says that the edges which follow are from this node. Nodes must not fall;
// those that are skipped have no edges.
func (b *Builder) Begin(from NodeID) error {
	if b.err != nil {
		return b.err
	}
	if !b.laid || from < b.from || !b.g.IsObject(from) {
		return b.fail(errOrder)
	}
	if from != b.from {
		b.seal(from)
	}
	return nil
}

// seal ends the edges of all nodes before next.
func (b *Builder) seal(next NodeID) {
	if b.g.Coarse == SpanPerNode && len(b.g.edges)-b.fromEdge > 1 {
		own := b.g.edges[b.fromEdge:]
		slices.Sort(own)
		b.g.edges = b.g.edges[:b.fromEdge+len(slices.Compact(own))]
	}
	// offsets[n-1] is where n begins.
	for len(b.g.offsets) < int(next) {
		b.g.offsets = append(b.g.offsets, uint32(len(b.g.edges)))
	}
	b.from, b.fromEdge = next, len(b.g.edges)
}

// Edge says that the object of the last Begin holds this address. It returns the
// node that this leads to, and false where it leads to none: the address lies in no
// object, or the object was folded into the one that refers to it.
func (b *Builder) Edge(addr uint64) (NodeID, bool) {
	if b.err != nil || b.from == 0 {
		return None, false
	}
	to, ok := b.resolve(addr, func(size uint64) {
		if x := &b.g.extra[b.from-1]; uint64(*x)+size/8 <= math.MaxUint32 {
			*x += uint32(size / 8)
			b.g.extraN[b.from-1]++
			b.g.LooseBytes -= size
			b.g.LooseObjects--
		}
	})
	if !ok || to == b.from {
		return to, ok
	}
	if n := len(b.g.edges); n > b.fromEdge && b.g.edges[n-1] == to {
		return to, true
	}
	b.g.edges = append(b.g.edges, to)
	b.check()
	return to, true
}

// resolve finds the node of an address; a folded object that nobody had yet goes
// to claim, with its size.
func (b *Builder) resolve(addr uint64, claim func(size uint64)) (NodeID, bool) {
	i, ok := b.g.pages.span(addr, b.g.spans)
	if !ok {
		return None, false
	}
	s := &b.g.spans[i]
	if s.flags&merged != 0 {
		return s.first, s.nodes > 0
	}
	slot := uint32((addr - s.base) / s.elem)
	if n, ok := s.node(b.g.bits, slot); ok {
		return n, true
	}
	if s.flags&folded != 0 {
		w, bit := &b.fold[b.foldAt[i]+slot/64], uint64(1)<<(slot%64)
		if *w&bit != 0 {
			*w &^= bit
			claim(s.elem)
		}
	}
	return None, false
}

func (b *Builder) check() {
	edges := len(b.g.edges) + len(b.rootTo)
	if edges >= math.MaxUint32 || b.opt.Budget > 0 && int64(b.g.objects)*nodeCost+int64(edges)*edgeCost > b.opt.Budget {
		b.fail(&TooLargeError{Budget: b.opt.Budget, Coarse: b.g.Coarse, What: fmt.Sprintf("%d objects with more than %d references", b.g.objects, edges)})
	}
}

// AddRoot adds a root, or finds the one that is equal in kind, name and frames.
func (b *Builder) AddRoot(r Root) RootID {
	key := rootKey{kind: r.Kind, name: r.Name, hash: frameKey(r.Frames)}
	id, ok := b.roots[key]
	if !ok && len(b.g.Roots) >= maxRoots {
		r = Root{Kind: r.Kind, Name: "others"}
		key = rootKey{kind: r.Kind, name: r.Name}
		id, ok = b.roots[key]
	}
	if !ok {
		id = uint32(len(b.g.Roots))
		b.roots[key] = id
		r.Count = 0
		b.g.Roots = append(b.g.Roots, r)
		b.rootNode = append(b.rootNode, rootExtra{})
	}
	// A goroutine counts once, however often its stack has the frame.
	if at := &b.rootNode[id]; b.g.Roots[id].Count == 0 || r.Goroutine == 0 || r.Goroutine != at.last {
		b.g.Roots[id].Count++
		at.last = r.Goroutine
	}
	return RootID(id)
}

// RootEdge says that a root holds this address. It returns what Edge does. It
// belongs after Layout.
func (b *Builder) RootEdge(r RootID, addr uint64) (NodeID, bool) {
	if b.err != nil || int(r) >= len(b.g.Roots) {
		return None, false
	}
	if !b.laid {
		b.fail(errOrder)
		return None, false
	}
	to, ok := b.resolve(addr, func(size uint64) {
		b.rootNode[r].bytes += size
		b.rootNode[r].objects++
		b.g.LooseBytes -= size
		b.g.LooseObjects--
	})
	if ok {
		b.rootFrom, b.rootTo = append(b.rootFrom, uint32(r)), append(b.rootTo, to)
		b.check()
	}
	return to, ok
}

// Graph ends the building. The builder is of no use afterwards.
func (b *Builder) Graph() (*Graph, error) {
	if b.err != nil {
		return nil, b.err
	}
	if !b.laid {
		return nil, errOrder
	}
	g := &b.g
	b.seal(NodeID(g.objects + 1))
	// Sort the roots' edges by counting.
	start := make([]uint32, len(g.Roots)+1)
	for _, r := range b.rootFrom {
		start[r+1]++
	}
	for i := range g.Roots {
		start[i+1] += start[i]
	}
	base := uint32(len(g.edges))
	g.edges = append(g.edges, make([]NodeID, len(b.rootTo))...)
	at := slices.Clone(start)
	for i, r := range b.rootFrom {
		g.edges[base+at[r]] = b.rootTo[i]
		at[r]++
	}
	end := base
	for i := range g.Roots {
		own := g.edges[base+start[i] : base+start[i+1]]
		slices.Sort(own)
		end += uint32(copy(g.edges[end:], slices.Compact(own)))
		g.offsets = append(g.offsets, end)
		g.rootIDs = append(g.rootIDs, NodeID(g.objects+1+i))
	}
	g.edges = slices.Clip(g.edges[:end])
	g.rank()
	if g.extra != nil {
		for i, x := range b.rootNode {
			if x.bytes/8 > math.MaxUint32 {
				g.LooseBytes += x.bytes
				g.LooseObjects += x.objects
				b.rootNode[i] = rootExtra{}
			}
			g.extra = append(g.extra, uint32(b.rootNode[i].bytes/8))
			g.extraN = append(g.extraN, uint32(min(b.rootNode[i].objects, math.MaxUint32)))
		}
	}
	out := *g
	*b = Builder{err: errOrder}
	return &out, nil
}

// ranks is how many ranks of roots there are.
const ranks = 5

// rank is which roots yield to which: a goroutine uses what a global keeps, and what
// it was called with may lie on its stack long after; what a function of the program
// has, it hands to the runtime's; a finalizer keeps what its object refers to, but
// only once the object is dead does that matter.
func (r *Root) rank() uint8 {
	switch {
	case r.Kind == Global:
		return 0
	case r.Kind == Other && len(r.Frames) == 0:
		return 1 // timers, for one
	case r.Kind == Stack && !strings.HasPrefix(r.Name, "runtime."):
		return 2
	case r.Kind == Stack || r.Kind == Other:
		return 3
	}
	return ranks - 1
}

// rank finds for each node the first rank whose roots reach it.
func (g *Graph) rank() {
	g.ranks = make([]uint8, g.Len())
	for i := range g.ranks {
		g.ranks[i] = unreached
	}
	schedulers := make([]bool, len(g.Types))
	for i := range g.Types {
		schedulers[i] = isScheduler(g.Types[i].Name)
	}
	var todo, late []NodeID
	reach := func(rank uint8, later bool) {
		for len(todo) > 0 {
			v := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			for _, to := range g.Edges(v) {
				switch {
				case g.ranks[to] != unreached:
				case later && schedulers[g.TypeOf(to)]:
					late = append(late, to)
				default:
					g.ranks[to] = rank
					todo = append(todo, to)
				}
			}
		}
	}
	for rank := range uint8(ranks) {
		for i := range g.Roots {
			if g.Roots[i].rank() == rank {
				g.ranks[g.rootIDs[i]] = rank
				todo = append(todo, g.rootIDs[i])
			}
		}
		reach(rank, rank == 0)
	}
	// What the runtime's own variables do not lead to is kept by whom it was found by.
	for _, to := range late {
		if g.ranks[to] == unreached {
			g.ranks[to] = 0
			todo = append(todo, to)
		}
	}
	reach(0, false)
}

// isScheduler says whether a type is one of those by which the scheduler knows
// goroutines, threads and processors. A channel refers to who waits at it, who waits to
// its thread, and that to all timers: but no variable of the program keeps those.
func isScheduler(name string) bool {
	switch name {
	case "runtime.g", "runtime.m", "runtime.p", "runtime.sudog":
		return true
	}
	return false
}
