package retention

import (
	"encoding/binary"
	"sort"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
)

// maxLook bounds how much of an object is read in search of a field.
const maxLook = 64 << 10

// field names the field of from that refers to to, "" where it is not known.
func (a *analysis) field(from, to heapgraph.NodeID) string {
	if a.opt.Look == nil || !a.g.IsObject(to) || a.g.Coarse == heapgraph.SpanPerNode {
		return ""
	}
	f, _, ok := a.reference(from, to)
	if !ok || f == nil {
		return ""
	}
	return shorten(f.Name)
}

// memory is where an object or a global lies, and what type it is an array of.
func (a *analysis) memory(n heapgraph.NodeID) (addr, size uint64, t *heapgraph.Type) {
	if r := a.g.Root(n); r != nil {
		if int(r.Type) < len(a.g.Types) {
			t = &a.g.Types[r.Type]
		}
		return r.Addr, r.Size, t
	}
	if !a.g.IsObject(n) {
		return 0, 0, nil
	}
	return a.g.Addr(n), a.g.SlotSize(n), a.g.Type(n)
}

// reference finds the first word of from that points into to, and the field it is
// in, nil where the type is not known.
func (a *analysis) reference(from, to heapgraph.NodeID) (f *heapgraph.Field, words []uint64, ok bool) {
	addr, size, t := a.memory(from)
	low := a.g.Addr(to)
	high := low + a.g.SlotSize(to)
	found := false
	a.scan(addr, min(size, maxLook), func(off uint64, w []uint64) bool {
		if w[0] < low || w[0] >= high {
			return true
		}
		found, words = true, w
		f = fieldAt(t, off)
		return false
	})
	return f, words, found
}

// scan calls fn for each word of some memory, with the words from there on (at
// least one), until it says false.
func (a *analysis) scan(addr, size uint64, fn func(off uint64, words []uint64) bool) {
	if addr == 0 || a.opt.Look == nil {
		return
	}
	buf := make([]byte, size)
	n := a.opt.Look(addr, buf)
	words := make([]uint64, max(min(n, len(buf)), 0)/8)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(buf[i*8:])
	}
	for i := range words {
		if !fn(uint64(i)*8, words[i:]) {
			return
		}
	}
}

// fieldAt returns the field of a type, or of an array of it, that the offset is in.
func fieldAt(t *heapgraph.Type, off uint64) *heapgraph.Field {
	if t == nil || len(t.Fields) == 0 {
		return nil
	}
	if t.Size > 0 {
		off %= t.Size
	}
	i := sort.Search(len(t.Fields), func(i int) bool { return t.Fields[i].Offset > off }) - 1
	if i < 0 || off >= t.Fields[i].Offset+max(t.Fields[i].Size, 8) {
		return nil
	}
	return &t.Fields[i]
}

// words reads the first words of an object.
func (a *analysis) words(n heapgraph.NodeID, count int) ([]uint64, bool) {
	if a.opt.Look == nil || !a.g.IsObject(n) || a.g.SlotSize(n) < uint64(count)*8 || a.g.Coarse == heapgraph.SpanPerNode {
		return nil, false
	}
	buf := make([]byte, count*8)
	if a.opt.Look(a.g.Addr(n), buf) < len(buf) {
		return nil, false
	}
	out := make([]uint64, count)
	for i := range out {
		out[i] = binary.LittleEndian.Uint64(buf[i*8:])
	}
	return out, true
}

// A mapHeader is what a map says of itself.
type mapHeader struct {
	used, capacity uint64
	// structure is the bytes of its groups or buckets, and of tables.
	structure uint64
}

const (
	slotsPerGroup = 8
	maxTables     = 1 << 16
	maxEntries    = 1 << 40
)

// readMap reads the header of a map and adds up its parts.
//
// internal/runtime/maps.Map of Go 1.24 to 1.27: used, seed, dirPtr, dirLen, ...;
// maps.table: used, capacity uint16, ... runtime.hmap before: count, flags and B as
// the second byte of the next word, buckets, oldbuckets. Which of the two it is
// shows in the fourth word: a small number, or nil or an address.
func (a *analysis) readMap(n heapgraph.NodeID) (mapHeader, bool) {
	var m mapHeader
	if a.g.Type(n).Kind != heapgraph.KindMap {
		return m, false
	}
	w, ok := a.words(n, 4)
	if !ok || w[0] > maxEntries {
		return m, false
	}
	m.used = w[0]
	parts := func(n heapgraph.NodeID, own heapgraph.Kind) {
		for _, to := range a.g.Edges(n) {
			if a.g.Type(to).Kind == own {
				m.structure += a.g.SlotSize(to)
			}
		}
	}
	switch {
	case w[3] > 0 && w[3] <= maxTables*16:
		// A directory: its entries are pointers to tables, several to one at times.
		dir, _, ok := a.g.Find(w[2])
		if !ok {
			return m, false
		}
		m.structure += a.g.SlotSize(dir)
		edges := a.g.Edges(dir)
		for _, table := range edges[:min(len(edges), maxTables)] {
			t, ok := a.words(table, 1)
			if !ok {
				continue
			}
			capacity := t[0] >> 16 & 0xffff
			m.capacity += capacity
			m.structure += a.g.SlotSize(table)
			parts(table, heapgraph.KindMapGroups)
		}
	default:
		// Buckets: as many as fit, by what the object behind them holds.
		groups, _, ok := a.g.Find(w[2])
		if !ok {
			return m, false
		}
		parts(n, heapgraph.KindMapGroups)
		size := a.g.Type(groups).Size
		if size == 0 {
			return m, false
		}
		m.capacity = a.g.SlotSize(groups) / size * slotsPerGroup
	}
	return m, m.used <= m.capacity*4
}

// A chanHeader is what a channel says of itself.
type chanHeader struct{ queued, capacity uint64 }

// readChan reads runtime.hchan, whose first words are qcount and dataqsiz in all
// releases.
func (a *analysis) readChan(n heapgraph.NodeID) (chanHeader, bool) {
	if a.g.Type(n).Kind != heapgraph.KindChan {
		return chanHeader{}, false
	}
	w, ok := a.words(n, 2)
	if !ok || w[0] > w[1] || w[1] > maxEntries {
		return chanHeader{}, false
	}
	return chanHeader{queued: w[0], capacity: w[1]}, true
}
