package retention

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
	"github.com/heapwright/heapwright/cmd/internal/human"
)

const (
	// leastArray is the size from which an array is looked at: in smaller ones a
	// window cannot waste much.
	leastArray = 512
	// perGroup is how many arrays of a group are looked at, drawn at random, and
	// windowGroups of how many groups.
	perGroup     = 400
	windowGroups = 16
	// maxReferences is how many references to one array are looked at. One with more
	// counts as used throughout.
	maxReferences = 64
	// maxWindowBytes bounds what is read of those that refer to arrays.
	maxWindowBytes = 256 << 20
	windowChunk    = 1 << 20
	// spared is which part of an array must be out of use at least.
	spared = 0.75
)

// An array is one that was drawn.
type array struct {
	node       heapgraph.NodeID
	group      uint32
	low, high  uint64
	elem       uint64 // bytes of an element, 0 where the type is not known
	windows    [][2]uint64
	strings    int
	slices     int
	fromStart  int // slices from the array's beginning whose capacity is all of it
	buffers    int // of them, those of bytes.Buffer and its like
	whole      bool
	references int
}

// windows finds arrays of which only a small part can be reached: all that refers to
// them are slices and strings that leave most of them out. A sample of the arrays
// is looked at, and what refers to them.
func (h *hinter) windows() error {
	if h.opt.Look == nil || h.g.Coarse == heapgraph.SpanPerNode {
		return nil
	}
	arrays, eligible := h.draw()
	if len(arrays) == 0 {
		return nil
	}
	slices.SortFunc(arrays, func(x, y *array) int { return cmp.Compare(x.low, y.low) })
	h.lookFrom(h.referrers(arrays), arrays)
	if err := h.ctx.Err(); err != nil {
		return err
	}
	h.judge(arrays, eligible)
	return nil
}

// draw takes some arrays of each group that weighs something, and returns how many
// bytes the groups have in arrays.
func (h *hinter) draw() ([]*array, map[uint32]uint64) {
	wanted := map[uint32]int{}
	var ids []uint32
	for i := 1; i < len(h.owned.groups); i++ {
		p := &h.owned.groups[i]
		if p.root != heapgraph.None || p.own < h.least {
			continue
		}
		switch k := &h.owned.kinds.list[p.kind]; k.is {
		case heapgraph.KindMap, heapgraph.KindMapTable, heapgraph.KindMapGroups, heapgraph.KindChan, heapgraph.KindFunc, heapgraph.KindTimer:
		default:
			if k.noscan || k.array || k.is == heapgraph.KindBytes || k.is == heapgraph.KindString {
				ids = append(ids, uint32(i))
			}
		}
	}
	slices.SortStableFunc(ids, func(x, y uint32) int { return cmp.Compare(h.owned.groups[y].own, h.owned.groups[x].own) })
	for _, id := range ids[:min(len(ids), windowGroups)] {
		wanted[id] = 0
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	// The same heap gives the same draw.
	r := rand.New(rand.NewPCG(uint64(h.g.LiveBytes), h.g.LiveObjects))
	drawn := map[uint32][]*array{}
	eligible := map[uint32]uint64{}
	for run := range h.g.Runs() {
		if run.Size < leastArray || run.Merged {
			continue
		}
		for n := run.First; n < run.First+heapgraph.NodeID(run.Nodes); n++ {
			id := h.owned.of[n]
			seen, ok := wanted[id]
			if !ok || !h.tree.Reached(n) {
				continue
			}
			wanted[id]++
			eligible[id] += run.Size
			at := seen
			if seen >= perGroup {
				if at = r.IntN(seen + 1); at >= perGroup {
					continue
				}
				drawn[id][at] = &array{node: n, group: id}
				continue
			}
			drawn[id] = append(drawn[id], &array{node: n, group: id})
		}
	}
	var out []*array
	for _, list := range drawn {
		for _, x := range list {
			x.low, x.elem = h.g.Addr(x.node), h.g.Type(x.node).Size
			x.high = x.low + h.g.SlotSize(x.node)
			out = append(out, x)
		}
	}
	return out, eligible
}

// referrers finds who refers to the arrays: one pass over all references.
func (h *hinter) referrers(arrays []*array) []heapgraph.NodeID {
	byNode := make(map[heapgraph.NodeID]*array, len(arrays))
	filter := make([]uint64, (h.g.Len()+63)/64)
	for _, x := range arrays {
		byNode[x.node] = x
		filter[x.node/64] |= 1 << (x.node % 64)
	}
	var out []heapgraph.NodeID
	for _, from := range h.tree.Order() {
		last := false
		for _, to := range h.g.Edges(from) {
			if filter[to/64]&(1<<(to%64)) == 0 {
				continue
			}
			x := byNode[to]
			if x.references++; x.references > maxReferences {
				x.whole = true
				continue
			}
			// What cannot be looked into may use all of it.
			if r := h.g.Root(from); r != nil && (r.Addr == 0 || r.Size == 0) || r == nil && h.g.Size(from) > maxWindowBytes {
				x.whole = true
				continue
			}
			if !last {
				out, last = append(out, from), true
			}
		}
	}
	return out
}

// lookFrom reads the referrers and notes through which windows they see the arrays.
func (h *hinter) lookFrom(referrers []heapgraph.NodeID, arrays []*array) {
	left := int64(maxWindowBytes)
	for _, n := range referrers {
		addr, size, t := h.memory(n)
		if left -= int64(size); left < 0 {
			// Not looked at: what these refer to may be used throughout.
			for _, to := range h.g.Edges(n) {
				if i, ok := slices.BinarySearchFunc(arrays, h.g.Addr(to), func(x *array, at uint64) int { return cmp.Compare(x.low, at) }); ok {
					arrays[i].whole = true
				}
			}
			continue
		}
		if h.ctx.Err() != nil {
			return
		}
		for at := uint64(0); at < size; at += windowChunk {
			// Three words more: a slice's length and capacity may lie in the next chunk.
			end := min(at+windowChunk+24, size)
			h.scan(addr+at, end-at, func(off uint64, w []uint64) bool {
				if off >= windowChunk {
					return false
				}
				if w[0] >= arrays[0].low && w[0] < arrays[len(arrays)-1].high {
					if x := find(arrays, w[0]); x != nil {
						h.see(x, w, fieldAt(t, at+off), t, at+off)
					}
				}
				return true
			})
		}
	}
}

// find returns the array that an address lies in.
func find(arrays []*array, addr uint64) *array {
	i, ok := slices.BinarySearchFunc(arrays, addr, func(x *array, at uint64) int { return cmp.Compare(x.low, at) })
	if !ok {
		i--
	}
	if i < 0 || addr >= arrays[i].high {
		return nil
	}
	return arrays[i]
}

// see notes a reference: words from the pointer on, the field it is in and the type
// it is in.
func (h *hinter) see(x *array, w []uint64, f *heapgraph.Field, t *heapgraph.Type, off uint64) {
	kind, name, elem := heapgraph.FieldPointer, "", x.elem
	switch {
	case f != nil:
		at := off
		if t.Size > 0 {
			at %= t.Size
		}
		if kind, name = f.Kind, f.Name; at != f.Offset {
			kind = heapgraph.FieldPointer // within a field that is more than it seems
		}
		if f.Elem > 0 && int(f.Elem) < len(h.g.Types) {
			elem = h.g.Types[f.Elem].Size
		}
	case t == nil:
	case t.Name == "string":
		kind = heapgraph.FieldString
	case strings.HasPrefix(t.Name, "[]") && t.Size == 24 && off%24 == 0:
		kind = heapgraph.FieldSlice
		if t.Name == "[]uint8" || t.Name == "[]byte" {
			elem = 1
		}
	}
	room := x.high - w[0]
	switch {
	case kind == heapgraph.FieldString && len(w) > 1 && w[1] <= room:
		x.strings++
		x.windows = append(x.windows, [2]uint64{w[0], w[0] + w[1]})
	case kind == heapgraph.FieldSlice && len(w) > 2 && elem > 0 && w[1] <= w[2] && w[2] <= room/elem:
		x.slices++
		x.elem = elem
		if whole := w[0] == x.low && w[2]*elem*4 >= (x.high-x.low)*3; whole {
			x.fromStart++
			if name == "buf" || strings.HasSuffix(name, ".buf") {
				x.buffers++
			}
		}
		x.windows = append(x.windows, [2]uint64{w[0], w[0] + w[1]*elem})
	default:
		x.whole = true
	}
}

// used returns how many bytes of the array can be reached.
func (x *array) used() uint64 {
	if x.whole || len(x.windows) == 0 {
		return x.high - x.low
	}
	slices.SortFunc(x.windows, func(a, b [2]uint64) int { return cmp.Compare(a[0], b[0]) })
	used, to := uint64(0), uint64(0)
	for _, w := range x.windows {
		if w[1] > to {
			used += w[1] - max(w[0], to)
			to = w[1]
		}
	}
	return used
}

// cause says what has left the array behind.
func (x *array) cause() string {
	switch {
	case x.strings > 0 && x.slices == 0:
		return "substring"
	case x.buffers > 0 && x.buffers == x.slices:
		return "buffer-never-shrinks"
	case x.fromStart == x.slices && x.elem > 1:
		// The few elements at the beginning are in a slice that has the capacity of all:
		// what append makes of a slice of somebody else's array.
		return "append-aliasing"
	}
	return "sub-slice"
}

var windowTexts = map[string]string{
	"substring":            "Strings refer to %s of arrays that have %s: a part of a string keeps the whole.",
	"sub-slice":            "Slices refer to %s of arrays that have %s: a part of a slice keeps the whole array.",
	"append-aliasing":      "Slices show %s of arrays that have %s: they begin where the array does and have its whole capacity, as after append to a part of a longer slice.",
	"buffer-never-shrinks": "Buffers hold %s in arrays that have %s: a buffer keeps the capacity of its largest content.",
}

// judge sums up, by group and cause.
func (h *hinter) judge(arrays []*array, eligible map[uint32]uint64) {
	type sum struct {
		id          uint32
		cause       string
		n           int
		size, spare uint64
	}
	var sums []*sum
	drawn := map[uint32]uint64{}
	slices.SortStableFunc(arrays, func(x, y *array) int { return cmp.Compare(x.group, y.group) })
	for _, x := range arrays {
		size := x.high - x.low
		drawn[x.group] += size
		spare := size - min(x.used(), size)
		if float64(spare) < spared*float64(size) {
			continue
		}
		cause := x.cause()
		i := slices.IndexFunc(sums, func(s *sum) bool { return s.id == x.group && s.cause == cause })
		if i < 0 {
			i = len(sums)
			sums = append(sums, &sum{id: x.group, cause: cause})
		}
		s := sums[i]
		s.n++
		s.size += size
		s.spare += spare
	}
	for _, s := range sums {
		scale := float64(eligible[s.id]) / float64(max(drawn[s.id], 1))
		waste := uint64(scale * float64(s.spare))
		if waste < h.least {
			continue
		}
		h.hint(s.cause, s.id, waste, map[string]float64{"arrays_seen": float64(s.n), "used_share": 1 - float64(s.spare)/float64(s.size)},
			windowTexts[s.cause], human.Bytes(scale*float64(s.size-s.spare)), human.Bytes(scale*float64(s.size)))
	}
}
