package retention

import (
	"context"
	"encoding/binary"
	"sort"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
	"github.com/heapwright/heapwright/record"
)

// A heap is a process's heap as tests write it: objects with words.
type heap struct {
	t       testing.TB
	b       *heapgraph.Builder
	objects []*object
	next    uint64
	roots   []func()
	types   map[string]heapgraph.TypeID
	infos   []heapgraph.Type
}

type object struct {
	addr, size uint64
	typ        heapgraph.TypeID
	noscan     bool
	mem        []byte
	pointers   map[uint64]uint64 // offset: address
}

func newHeap(t testing.TB) *heap {
	return &heap{t: t, b: heapgraph.NewBuilder(heapgraph.BuildOptions{}), next: 0xc000000000, types: map[string]heapgraph.TypeID{}, infos: make([]heapgraph.Type, 1)}
}

// typ adds a type, once a name.
func (h *heap) typ(t heapgraph.Type) heapgraph.TypeID {
	id, ok := h.types[t.Name]
	if !ok {
		id = h.b.AddType(t)
		h.types[t.Name] = id
		h.infos = append(h.infos, t)
	}
	return id
}

// new allocates an object of a type with its size, at least a word, and pointers to
// others, a word each from the first.
func (h *heap) new(typ heapgraph.TypeID, size uint64, to ...*object) *object {
	o := &object{addr: h.next, size: size, typ: typ, mem: make([]byte, size), pointers: map[uint64]uint64{}}
	h.next += size
	h.objects = append(h.objects, o)
	for i, p := range to {
		o.set(uint64(i)*8, p)
	}
	return o
}

// bytes allocates memory without pointers.
func (h *heap) bytes(size uint64) *object {
	o := h.new(0, size)
	o.noscan = true
	return o
}

func (o *object) set(off uint64, to *object) *object {
	return o.setAt(off, to, 0)
}

// setAt stores a pointer into the middle of an object.
func (o *object) setAt(off uint64, to *object, inside uint64) *object {
	o.pointers[off] = to.addr + inside
	o.word(off, to.addr+inside)
	return o
}

func (o *object) word(off, v uint64) *object {
	binary.LittleEndian.PutUint64(o.mem[off:], v)
	return o
}

func (h *heap) root(r heapgraph.Root, to ...*object) {
	h.roots = append(h.roots, func() {
		id := h.b.AddRoot(r)
		for _, o := range to {
			h.b.RootEdge(id, o.addr)
		}
	})
}

func (h *heap) global(name string, to ...*object) {
	h.root(heapgraph.Root{Name: name}, to...)
}

func (h *heap) sample(o *object, size int64, fn string) {
	h.b.AddSample(o.addr, size, []record.Frame{{Func: fn}})
}

func (h *heap) look(addr uint64, buf []byte) int {
	i := sort.Search(len(h.objects), func(i int) bool { return h.objects[i].addr+h.objects[i].size > addr })
	if i == len(h.objects) || addr < h.objects[i].addr {
		return 0
	}
	return copy(buf, h.objects[i].mem[addr-h.objects[i].addr:])
}

func (h *heap) graph() *heapgraph.Graph {
	h.t.Helper()
	check := func(err error) {
		h.t.Helper()
		if err != nil {
			h.t.Fatal(err)
		}
	}
	for _, o := range h.objects {
		check(h.b.AddSpan(heapgraph.Span{Base: o.addr, ElemSize: o.size, Slots: 1, Noscan: o.noscan}))
	}
	check(h.b.Layout())
	for _, o := range h.objects {
		n, _, _ := h.b.Find(o.addr)
		h.b.SetType(n, o.typ)
		check(h.b.Begin(n))
		for off := uint64(0); off < o.size; off += 8 {
			if p, ok := o.pointers[off]; ok {
				h.b.Edge(p)
			}
		}
	}
	for _, r := range h.roots {
		r()
	}
	g, err := h.b.Graph()
	check(err)
	return g
}

func (h *heap) analyse() *Report {
	h.t.Helper()
	r, err := Analyse(context.Background(), h.graph(), Options{Look: h.look, Precise: "typed"})
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// swissMap allocates a map as Go 1.24 lays it out, of groups with room for 8 entries
// of a word and a pointer, with used entries for the values.
func (h *heap) swissMap(name string, tables, groups, used int, values ...*object) *object {
	elem := h.typ(heapgraph.Type{Name: "map.group[" + name + "]", Kind: heapgraph.KindMapGroups, Size: 136})
	table := h.typ(heapgraph.Type{Name: "table of " + name, Kind: heapgraph.KindMapTable, Size: 32})
	dir := h.new(h.typ(heapgraph.Type{Name: "tables of " + name, Kind: heapgraph.KindPointers, Size: 8}), uint64(tables)*8)
	m := h.new(h.typ(heapgraph.Type{Name: name, Kind: heapgraph.KindMap, Size: 48}), 48)
	m.word(0, uint64(used)).set(16, dir).word(24, uint64(tables))
	for i := range tables {
		g := h.new(elem, uint64(groups)*136)
		for j := 0; j < groups*8 && len(values) > 0; j++ {
			g.set(uint64(j/8*136+8+j%8*16+8), values[0])
			values = values[1:]
		}
		dir.set(uint64(i)*8, h.new(table, 32).word(0, uint64(groups*8)<<16).set(16, g))
	}
	return m
}
