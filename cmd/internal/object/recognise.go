package object

import (
	"encoding/binary"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
)

// recognise returns the shape of an object of the runtime's that nothing typed refers
// to, by what its words must be among themselves: a channel, the header or a table of
// a map. nil when it is none of these.
func (w *walk) recognise(s *span, data []byte) *shape {
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(data[8*i:]) }
	if t := w.types; t.hasChan && s.elem >= 96 && len(data) >= t.chanEnd {
		// runtime.hchan names the type of its elements and their size, and has no more
		// of them than there is room.
		if e := t.get(binary.LittleEndian.Uint64(data[t.hchanType:])); e != nil && word(0) <= word(1) &&
			e.size == uint64(binary.LittleEndian.Uint16(data[t.hchanSize:])) {
			return t.chanOf(e)
		}
	}
	switch {
	case s.noscan:
		return nil
	case w.swiss && s.elem == 32:
		// internal/runtime/maps.table: used, capacity and growthLeft in two bytes each,
		// localDepth, index, groups and the mask of their number.
		used, capacity, left, depth := data[0:], data[2:], data[4:], data[6]
		le := binary.LittleEndian
		u, c, l := uint64(le.Uint16(used)), uint64(le.Uint16(capacity)), uint64(le.Uint16(left))
		if c == 0 || c&(c-1) != 0 || u > c || l > c || depth > 48 || data[7] != 0 || word(3)+1 != max(c/8, 1) || int64(word(1)) < -1 || int64(word(1)) > 1<<32 {
			return nil
		}
		if g := w.groupAt(word(2)); g != 0 {
			return w.types.mapPart(g, slotTable)
		}
	case w.swiss && s.elem == 48:
		// internal/runtime/maps.Map: used, seed, dirPtr, dirLen, globalDepth, globalShift.
		depth, shift := data[32], data[33]
		n := word(3)
		switch {
		case !w.inHeap(word(2)) || data[34] > 1 || data[35] > 1 || word(4)>>32 != 0 || word(0) > 1<<40:
			return nil
		case n == 0:
			// A small map is one group, of eight slots at most.
			if word(0) > 8 || depth != 0 || word(1)>>32 == 0 {
				return nil
			}
			if g := w.groupAt(word(2)); g != 0 {
				return w.types.mapPart(g, slotMap)
			}
			return nil
		case depth > 40 || n != 1<<depth || shift != 64-depth&63:
			return nil
		}
		// A table of its directory says of what it is.
		if table, ok := w.cache.word(word(2)); ok {
			if groups, ok := w.cache.word(table + 16); ok {
				if g := w.groupAt(groups); g != 0 {
					return w.types.mapPart(g, slotMap)
				}
			}
		}
		return nil
	case !w.swiss && (s.elem == 48 || s.elem == 64):
		// runtime.hmap: count, flags, B, noverflow, hash0, buckets, oldbuckets, nevacuate.
		b := data[9]
		if data[8] > 15 || b > 40 || word(0) > 13<<b+8 || word(1)>>32 == 0 || !w.inHeap(word(2)) || word(3) != 0 && !w.inHeap(word(3)) || word(4) > 1<<b {
			return nil
		}
		if g := w.groupAt(word(2)); g != 0 {
			return w.types.mapPart(g, slotMap)
		}
	}
	return nil
}

// groupAt returns the type of the groups or buckets at an address, 0 when there are
// none or it is not known.
func (w *walk) groupAt(addr uint64) uint64 {
	n, off, ok := w.b.Find(addr)
	s := w.spanOf(addr)
	if !ok || s == nil || off != w.header(s) {
		return 0
	}
	sh := w.types.byID[w.b.TypeOf(n)]
	typ := uint64(0)
	switch {
	case sh != nil:
		typ = sh.typ
	case s.large:
		typ = s.largeType
	case w.header(s) != 0:
		typ, _ = w.cache.word(addr - headerSize)
	}
	r := w.types.get(typ)
	if r == nil || kindOf(r, w.types.name(r)) != heapgraph.KindMapGroups {
		return 0
	}
	return typ
}

// mapPart returns the shape of a map's header or table, of which only the type of the
// groups is known.
func (t *types) mapPart(group uint64, role slotKind) *shape {
	key := shapeKey{group, role}
	if sh, ok := t.shapes[key]; ok {
		return sh
	}
	r := t.get(group)
	if r == nil || len(t.byID) >= maxTypes {
		return nil
	}
	name := strings.TrimPrefix(t.name(r), "noalg.")
	name = "map" + strings.TrimPrefix(strings.TrimPrefix(name, "map.group"), "map.bucket")
	sh := &shape{}
	t.shapes[key] = sh
	info := heapgraph.Type{Name: name, Kind: heapgraph.KindMap, Size: 48}
	switch {
	case role == slotTable:
		info.Name, info.Kind, info.Size = "table of "+name, heapgraph.KindMapTable, 32
		sh.slots = []slot{{16, slotGroups, group}}
	case t.w.swiss:
		sh.slots = []slot{{16, slotDirectory, group}}
	default:
		if t.w.minor >= 24 {
			info.Size = 56
		}
		sh.slots = []slot{{16, slotGroups, group}, {24, slotGroups, group}}
	}
	sh.size = info.Size
	sh.id = t.add(sh, info)
	if role == slotMap {
		info.Key, info.Elem = t.pairOf(r)
		t.w.b.PutType(sh.id, info)
	}
	return sh
}

// pairOf returns the types of keys and values of a map by that of its groups: a struct
// with slots of both, or, in buckets and split groups, with an array of each.
func (t *types) pairOf(group *rtype) (key, elem heapgraph.TypeID) {
	var find func(r *rtype, depth int)
	find = func(r *rtype, depth int) {
		t.eachField(r, func(name uint64, e *rtype, _ uint64) {
			of := e
			if e.kind == kindArray {
				if of = t.get(e.elem); of == nil {
					return
				}
			}
			switch n := t.nameAt(name); {
			case n == "slots" && depth == 0:
				find(of, 1)
			case n == "keys", n == "key" && depth == 1:
				key = t.idOf(slot{kind: slotPointer, typ: of.addr})
			case n == "elems", n == "elem" && depth == 1:
				elem = t.idOf(slot{kind: slotPointer, typ: of.addr})
			}
		})
	}
	find(group, 0)
	return key, elem
}

// groupOf returns the type of the groups of a map's type, or of the groups themselves
// where only they are known.
func groupOf(r *rtype) uint64 {
	if r.kind == kindMap {
		return r.group
	}
	return r.addr
}

// directory returns the shape of the directory of a swiss map of which only the type
// of the groups is known.
func (t *types) directory(group *rtype) *shape {
	key := shapeKey{group.addr, slotDirectory}
	if sh, ok := t.shapes[key]; ok {
		return sh
	}
	table := t.mapPart(group.addr, slotTable)
	if table == nil || len(t.byID) >= maxTypes {
		return nil
	}
	sh := &shape{size: 8, slots: []slot{{0, slotTable, group.addr}}}
	t.shapes[key] = sh
	sh.id = t.add(sh, heapgraph.Type{Name: "tables of " + strings.TrimPrefix(t.w.b.TypeInfo(table.id).Name, "table of "), Kind: heapgraph.KindPointers, Size: 8})
	return sh
}

// chanOf returns the shape of a channel of which only the element is known.
func (t *types) chanOf(e *rtype) *shape {
	key := shapeKey{e.addr, slotBuffer}
	if sh, ok := t.shapes[key]; ok {
		return sh
	}
	if len(t.byID) >= maxTypes {
		return nil
	}
	sh := &shape{slots: []slot{{uint32(t.hchanBuf), slotBuffer, e.addr}}}
	t.shapes[key] = sh
	sh.id = t.add(sh, heapgraph.Type{Name: "chan " + t.name(e), Kind: heapgraph.KindChan, Elem: t.idOf(slot{kind: slotPointer, typ: e.addr})})
	return sh
}

// timer returns the shape of a time.Timer or time.Ticker, which holds a
// runtime.timer off bytes from its beginning.
func (t *types) timer(r *rtype, off uint64) *shape {
	key := shapeKey{r.addr, slotUnknown}
	if sh, ok := t.shapes[key]; ok {
		return sh
	}
	sh := &shape{size: r.size + off}
	t.shapes[key] = sh
	sh.slots = t.slotsOf(nil, r, off, 0)
	info := heapgraph.Type{Name: "time.Timer", Kind: heapgraph.KindTimer, Size: sh.size}
	sh.id = t.add(sh, info)
	info.Fields = t.fieldsOf(nil, r, "timer", off, 0)
	t.w.b.PutType(sh.id, info)
	return sh
}
