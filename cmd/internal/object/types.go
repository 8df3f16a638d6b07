package object

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
)

// Kinds of types, abi.Kind; the same in all of Go 1.20 to 1.27.
const (
	kindArray         = 17
	kindChan          = 18
	kindFunc          = 19
	kindInterface     = 20
	kindMap           = 21
	kindPointer       = 22
	kindSlice         = 23
	kindString        = 24
	kindStruct        = 25
	kindUnsafePointer = 26
	kindMask          = 1<<5 - 1
	kindGCProg        = 1 << 6 // until Go 1.23: GCData is a program
)

// Flags of a type, abi.TFlag.
const (
	flagExtraStar  = 1 << 1
	flagGCOnDemand = 1 << 4 // since Go 1.24: GCData is the address of the address of the bitmap
)

// Places in an abi.Type, and of what follows it in those of composed types
// (internal/abi/type.go; until Go 1.20 runtime/type.go). They are the same in all
// releases of Go 1.20 to 1.27.
const (
	typeSize       = 48
	typePtrBytesAt = 8
	typeFlagAt     = 20
	typeKindAt     = 23
	typeGCDataAt   = 32
	typeNameAt     = 40
	typeElemAt     = 48 // arrays, channels, pointers, slices; the key of a map
	typeMapElemAt  = 56
	typeGroupAt    = 64 // of a swiss map the group, of an old one the bucket
	typeArrayLenAt = 64
	typeFieldsAt   = 56 // of a struct: pointer and length
	fieldSize      = 24 // abi.StructField: name, type, offset
)

// Bounds of what is believed about types.
const (
	maxTypes     = 1 << 17
	maxSlots     = 1 << 12 // of one type
	maxFields    = 1 << 12
	maxFieldInfo = 256 // fields of one type that the graph is told
	maxDepth     = 32
	maxName      = 256
	maxMask      = 1 << 20 // bytes of one pointer bitmap
	maxFuncs     = 1 << 16 // closures that have a type of their own
)

// A slotKind says what a word of a type refers to.
type slotKind uint8

const (
	slotPointer   slotKind = iota // to one
	slotSlice                     // to an array
	slotString                    // to bytes
	slotEface                     // the word before is a type
	slotIface                     // the word before is an itab
	slotMap                       // to a map's header
	slotChan                      // to a channel
	slotFunc                      // to a closure
	slotDirectory                 // of a swiss map: to its tables, or to one group
	slotTable                     // to a table of a swiss map
	slotGroups                    // to groups, or to buckets
	slotBuffer                    // of a channel
	slotUnknown                   // to something
)

// A slot is a word of a type that refers to an object.
type slot struct {
	off  uint32
	kind slotKind
	typ  uint64 // what it refers to
}

// A shape is a type of objects, as far as is needed to go on from them: how often
// it repeats, and what its words refer to.
type shape struct {
	id    heapgraph.TypeID
	size  uint64
	slots []slot
	typ   uint64 // the address of its abi.Type, 0 for the runtime's own shapes
}

// An rtype is what was read of an abi.Type.
type rtype struct {
	addr     uint64
	size     uint64
	ptrBytes uint64
	hash     uint32
	kind     uint8
	prog     bool
	flag     uint8
	gcdata   uint64
	nameOff  int32
	elem     uint64 // or a map's key
	mapElem  uint64
	group    uint64
	length   uint64 // of an array
	fields   uint64 // of a struct: where they are, and how many
	nfields  uint64
	base     uint64 // of the module's types

	masked bool
	mask   []byte // a bit a word; nil: not known
}

// types knows the types of the program.
type types struct {
	w     *walk
	pages *pageCache // of the program's read-only data
	known map[uint64]*rtype
	full  bool

	shapes map[shapeKey]*shape
	byID   []*shape // by heapgraph.TypeID
	itabs  map[uint64]uint64
	funcs  map[uint64]*shape

	hchanBuf, hchanType, hchanSize uint64
	chanEnd                        int
	hasChan                        bool
	depth                          int
}

// A shapeKey is a type and in which role: a map's header and its table are of the
// map's type both.
type shapeKey struct {
	typ  uint64
	role slotKind
}

func newTypes(w *walk) *types {
	t := &types{w: w, pages: newPageCache(w.r, 1<<11), known: map[uint64]*rtype{}, itabs: map[uint64]uint64{}}
	l := w.rt.Layout()
	buf, ok := l.Field("hchan.buf")
	typ, ok2 := l.Field("hchan.elemtype")
	size, ok3 := l.Field("hchan.elemsize")
	t.hchanBuf, t.hchanType, t.hchanSize = uint64(buf.Off), uint64(typ.Off), uint64(size.Off)
	t.chanEnd = int(max(t.hchanBuf, t.hchanType, t.hchanSize, 8)) + 8
	t.hasChan = ok && ok2 && ok3
	t.forget()
	return t
}

// forget lets go of what belongs to a builder.
func (t *types) forget() {
	t.shapes, t.funcs, t.byID = map[shapeKey]*shape{}, map[uint64]*shape{}, []*shape{nil}
}

// contains returns the module whose types the address is among.
func (t *types) contains(addr uint64) *module {
	for i := range t.w.modules {
		if m := &t.w.modules[i]; addr >= m.types && addr < m.etypes {
			return m
		}
	}
	return nil
}

// get reads a type, nil when there is none at that address.
func (t *types) get(addr uint64) *rtype {
	if r, ok := t.known[addr]; ok {
		return r
	}
	m := t.contains(addr)
	if m == nil || addr%8 != 0 {
		return nil
	}
	if len(t.known) >= maxTypes {
		t.full = true
		return nil
	}
	r := t.read(addr, m)
	t.known[addr] = r
	return r
}

func (t *types) read(addr uint64, m *module) *rtype {
	var b [typeSize + 32]byte
	if !t.pages.read(addr, b[:typeSize]) {
		return nil
	}
	le := binary.LittleEndian
	r := &rtype{
		addr: addr, size: le.Uint64(b[:]), ptrBytes: le.Uint64(b[typePtrBytesAt:]), hash: le.Uint32(b[16:]),
		flag: b[typeFlagAt], kind: b[typeKindAt] & kindMask,
		gcdata: le.Uint64(b[typeGCDataAt:]), nameOff: int32(le.Uint32(b[typeNameAt:])), base: m.types,
	}
	r.prog = t.w.minor < 24 && b[typeKindAt]&kindGCProg != 0
	// Alignments are powers of two, no larger than a word for Go's own types.
	if align, field := b[21], b[22]; align == 0 || align&(align-1) != 0 || field == 0 || field&(field-1) != 0 || align > 64 || field > 64 {
		return nil
	}
	if r.kind == 0 || r.kind > kindUnsafePointer || r.ptrBytes > r.size || r.size > maxObjBytes || r.ptrBytes%8 != 0 || r.nameOff < 0 {
		return nil
	}
	if !t.pages.read(addr+typeSize, b[typeSize:typeSize+32]) {
		clear(b[typeSize:]) // the last type of all
	}
	r.elem = le.Uint64(b[typeElemAt:])
	switch r.kind {
	case kindMap:
		r.mapElem, r.group = le.Uint64(b[typeMapElemAt:]), le.Uint64(b[typeGroupAt:])
	case kindArray:
		r.length = le.Uint64(b[typeArrayLenAt:])
	case kindStruct:
		r.fields, r.nfields = le.Uint64(b[typeFieldsAt:]), le.Uint64(b[typeFieldsAt+8:])
		if r.nfields > maxFields {
			r.nfields = 0
		}
	}
	return r
}

// pointerMask returns the bitmap of the type's words, nil when it is not known.
func (t *types) pointerMask(r *rtype) []byte {
	if r.masked {
		return r.mask
	}
	r.masked = true
	n := (r.ptrBytes/8 + 7) / 8
	if r.prog || n > maxMask || n == 0 {
		return nil
	}
	at := r.gcdata
	if t.w.minor >= 24 && r.flag&flagGCOnDemand != 0 {
		var ok bool
		if at, ok = t.w.cache.word(at); !ok || at == 0 {
			return nil
		}
		// While it is being built it is the address of a variable.
		for i := range t.w.modules {
			if m := &t.w.modules[i]; at >= min(m.noptrdata, m.data) && at < max(m.ebss, m.enoptrbss) {
				r.masked = false
				return nil
			}
		}
		mask := make([]byte, n)
		if t.w.r.bytes(at, mask) == nil {
			r.mask = mask
		}
		return r.mask
	}
	mask := make([]byte, n)
	if t.pages.read(at, mask) {
		r.mask = mask
	}
	return r.mask
}

// name reads an abi.Name: flags, the length as a varint, the bytes.
func (t *types) nameAt(addr uint64) string {
	var head [4]byte
	if addr == 0 || !t.pages.read(addr, head[:1]) {
		return ""
	}
	n, used := uint64(0), uint64(0)
	for shift := 0; shift < 21; shift += 7 {
		if !t.pages.read(addr+1+used, head[:1]) {
			return ""
		}
		used++
		n |= uint64(head[0]&0x7f) << shift
		if head[0]&0x80 == 0 {
			break
		}
	}
	cut := n > maxName
	b := make([]byte, min(n, maxName))
	if !t.pages.read(addr+1+used, b) {
		return ""
	}
	s := strings.ToValidUTF8(string(b), "\ufffd")
	if cut {
		s += "..."
	}
	return s
}

// name returns how Go writes a type.
func (t *types) name(r *rtype) string {
	m := t.contains(r.addr)
	if m == nil || uint64(r.nameOff) >= m.etypes-m.types {
		return ""
	}
	s := t.nameAt(m.types + uint64(r.nameOff))
	if r.flag&flagExtraStar != 0 {
		s = strings.TrimPrefix(s, "*")
	}
	return s
}

// itab returns the type of an itab, 0 when the address is not of one: an
// interface's type, a type, and its hash once more (abi.ITab).
func (t *types) itab(addr uint64) uint64 {
	if v, ok := t.itabs[addr]; ok {
		return v
	}
	if len(t.itabs) >= maxTypes {
		return 0
	}
	v := uint64(0)
	var b [24]byte
	if addr%8 == 0 && addr>>12 != 0 && t.pages.read(addr, b[:]) {
		inter, typ := t.get(binary.LittleEndian.Uint64(b[:])), t.get(binary.LittleEndian.Uint64(b[8:]))
		if inter != nil && typ != nil && inter.kind == kindInterface && typ.hash == binary.LittleEndian.Uint32(b[16:]) {
			v = typ.addr
		}
	}
	t.itabs[addr] = v
	return v
}

// boxed returns the type of what the data word of an interface refers to, whose
// type or itab is given: the type itself, or for a type that is one pointer what
// that leads to. ok is false when word is neither.
func (t *types) boxed(word uint64) (slot, bool) {
	r := t.get(word)
	if r == nil {
		// Only what can be an itab: not in the heap, and not small.
		if word < 1<<16 || t.w.inHeap(word) {
			return slot{}, false
		}
		if r = t.get(t.itab(word)); r == nil {
			return slot{}, false
		}
	}
	return t.refersTo(r, 0)
}

// refersTo returns what an interface's data word with that dynamic type refers to.
func (t *types) refersTo(r *rtype, depth int) (slot, bool) {
	switch r.kind {
	case kindPointer:
		return slot{kind: slotPointer, typ: r.elem}, true
	case kindMap:
		return slot{kind: slotMap, typ: r.addr}, true
	case kindChan:
		return slot{kind: slotChan, typ: r.addr}, true
	case kindFunc:
		return slot{kind: slotFunc}, true
	case kindUnsafePointer:
		return slot{kind: slotUnknown}, true
	}
	// A struct or an array of one pointer is kept in the word too.
	if r.size == 8 && r.ptrBytes == 8 && depth < maxDepth {
		switch {
		case r.kind == kindStruct && r.nfields == 1:
			var b [fieldSize]byte
			if t.pages.read(r.fields, b[:]) {
				if e := t.get(binary.LittleEndian.Uint64(b[8:])); e != nil {
					return t.refersTo(e, depth+1)
				}
			}
		case r.kind == kindArray && r.length == 1:
			if e := t.get(r.elem); e != nil {
				return t.refersTo(e, depth+1)
			}
		}
	}
	return slot{kind: slotPointer, typ: r.addr}, true
}

// shape returns the shape of what a slot refers to, nil when it has none.
func (t *types) shapeOf(s slot) *shape {
	switch s.kind {
	case slotPointer, slotSlice, slotGroups, slotBuffer:
		s.kind = slotPointer
	case slotMap, slotChan, slotDirectory, slotTable:
	default:
		return nil
	}
	key := shapeKey{s.typ, s.kind}
	if sh, ok := t.shapes[key]; ok {
		return sh
	}
	r := t.get(s.typ)
	if r == nil || len(t.byID) >= maxTypes {
		t.full = t.full || r != nil
		return nil
	}
	// Its own place first: types refer to themselves.
	sh := &shape{typ: r.addr, size: r.size}
	t.shapes[key] = sh
	info := heapgraph.Type{Name: t.name(r), Kind: heapgraph.KindStruct, Size: r.size}
	sh.id = t.add(sh, info)
	if sh.id == 0 {
		return sh
	}
	switch s.kind {
	case slotPointer:
		if r.size == 0 {
			return sh
		}
		sh.slots = t.slotsOf(nil, r, 0, 0)
		info.Fields = t.fieldsOf(nil, r, "", 0, 0)
		info.Kind = kindOf(r, info.Name)
	case slotMap:
		sh.typ = 0
		info.Kind = heapgraph.KindMap
		info.Fields, sh.slots = nil, nil
		if t.w.swiss {
			// internal/runtime/maps.Map: used, seed, dirPtr, dirLen, ..., clearSeq.
			info.Size, sh.size = 48, 48
			sh.slots = []slot{{16, slotDirectory, r.addr}}
		} else {
			// runtime.hmap: count, flags and hash, buckets, oldbuckets, nevacuate, extra.
			info.Size, sh.size = 48, 48
			if t.w.minor >= 24 {
				info.Size, sh.size = 56, 56
			}
			sh.slots = []slot{{16, slotGroups, r.group}, {24, slotGroups, r.group}}
		}
		info.Key, info.Elem = t.idOf(slot{kind: slotPointer, typ: r.elem}), t.idOf(slot{kind: slotPointer, typ: r.mapElem})
	case slotTable:
		// internal/runtime/maps.table: counts, index, groups.data, groups.lengthMask.
		sh.typ = 0
		info.Kind, info.Size, sh.size = heapgraph.KindMapTable, 32, 32
		info.Name = "table of " + info.Name
		sh.slots = []slot{{16, slotGroups, r.group}}
	case slotDirectory:
		sh.typ = 0
		info.Kind, info.Size, sh.size = heapgraph.KindPointers, 8, 8
		info.Name = "tables of " + info.Name
		sh.slots = []slot{{0, slotTable, r.addr}}
	case slotChan:
		sh.typ = 0
		info.Kind = heapgraph.KindChan
		sh.size = 0 // it does not repeat
		info.Size = 0
		if t.hasChan {
			sh.slots = []slot{{uint32(t.hchanBuf), slotBuffer, r.elem}}
		}
		info.Elem = t.idOf(slot{kind: slotPointer, typ: r.elem})
	}
	t.w.b.PutType(sh.id, info)
	return sh
}

// idOf returns the graph's type of what a slot refers to, 0 when it has none.
func (t *types) idOf(s slot) heapgraph.TypeID {
	// A chain of types that are not known yet can be long; each is known before the
	// next is asked for, so that only the depth of calls needs a bound.
	if t.depth++; t.depth > maxDepth {
		t.depth--
		return 0
	}
	defer func() { t.depth-- }()
	if sh := t.shapeOf(s); sh != nil {
		return sh.id
	}
	return 0
}

func (t *types) add(sh *shape, info heapgraph.Type) heapgraph.TypeID {
	id := t.w.b.AddType(info)
	if id != 0 {
		for len(t.byID) <= int(id) {
			t.byID = append(t.byID, nil)
		}
		t.byID[id] = sh
	}
	return id
}

// kindOf says what a type is to who reads the graph.
func kindOf(r *rtype, name string) heapgraph.Kind {
	for _, p := range []string{"map.group[", "map.bucket["} {
		if strings.HasPrefix(strings.TrimPrefix(name, "noalg."), p) {
			return heapgraph.KindMapGroups
		}
	}
	switch name {
	case "time.Timer", "time.Ticker", "runtime.timer", "time.timeTimer", "runtime.timeTimer":
		return heapgraph.KindTimer
	}
	switch r.kind {
	case kindPointer, kindUnsafePointer, kindMap, kindChan, kindFunc:
		return heapgraph.KindPointers
	case kindInterface:
		return heapgraph.KindInterfaces
	case kindSlice, kindString, kindArray:
		return heapgraph.KindArray
	case kindStruct:
		return heapgraph.KindStruct
	}
	return heapgraph.KindBytes
}

// slotsOf appends the slots of a type that lies at off.
func (t *types) slotsOf(dst []slot, r *rtype, off uint64, depth int) []slot {
	if depth > maxDepth || len(dst) >= maxSlots || r.ptrBytes == 0 || off > 1<<31 {
		return dst
	}
	o := uint32(off)
	switch r.kind {
	case kindPointer:
		return append(dst, slot{o, slotPointer, r.elem})
	case kindSlice:
		return append(dst, slot{o, slotSlice, r.elem})
	case kindString:
		return append(dst, slot{o, slotString, 0})
	case kindMap:
		return append(dst, slot{o, slotMap, r.addr})
	case kindChan:
		return append(dst, slot{o, slotChan, r.addr})
	case kindFunc:
		return append(dst, slot{o, slotFunc, 0})
	case kindUnsafePointer:
		return append(dst, slot{o, slotUnknown, 0})
	case kindInterface:
		// Which of the two it is shows in the word itself.
		return append(dst, slot{o + 8, slotEface, 0})
	case kindArray:
		e := t.get(r.elem)
		if e == nil || e.size == 0 || r.length > r.size/e.size {
			return dst
		}
		for i := range min(r.length, maxSlots) {
			if len(dst) >= maxSlots {
				break
			}
			dst = t.slotsOf(dst, e, off+i*e.size, depth+1)
		}
	case kindStruct:
		bucket := strings.HasPrefix(strings.TrimPrefix(t.name(r), "noalg."), "map.bucket[")
		t.eachField(r, func(_ uint64, e *rtype, at uint64) {
			if bucket && at == r.size-8 && (e.kind == kindUnsafePointer || e.kind == kindPointer) {
				// The overflow bucket of a map before Go 1.24.
				dst = append(dst, slot{uint32(off + at), slotPointer, r.addr})
				return
			}
			dst = t.slotsOf(dst, e, off+at, depth+1)
		})
	}
	return dst
}

// eachField calls fn with the address of the name, the type and the place of each
// field of a struct.
func (t *types) eachField(r *rtype, fn func(name uint64, typ *rtype, at uint64)) {
	buf := make([]byte, r.nfields*fieldSize)
	if !t.pages.read(r.fields, buf) {
		return
	}
	for ; len(buf) > 0; buf = buf[fieldSize:] {
		le := binary.LittleEndian
		at := le.Uint64(buf[16:])
		if e := t.get(le.Uint64(buf[8:])); e != nil && at <= r.size && e.size <= r.size-at {
			fn(le.Uint64(buf), e, at)
		}
	}
}

// fieldsOf appends the fields of a type that refer to something, with their paths.
func (t *types) fieldsOf(dst []heapgraph.Field, r *rtype, path string, off uint64, depth int) []heapgraph.Field {
	if depth > maxDepth || len(dst) >= maxFieldInfo || r.ptrBytes == 0 {
		return dst
	}
	f := heapgraph.Field{Name: path, Offset: off, Size: r.size}
	switch r.kind {
	case kindPointer:
		f.Kind, f.Elem = heapgraph.FieldPointer, t.idOf(slot{kind: slotPointer, typ: r.elem})
	case kindMap:
		f.Kind, f.Elem = heapgraph.FieldPointer, t.idOf(slot{kind: slotMap, typ: r.addr})
	case kindChan:
		f.Kind, f.Elem = heapgraph.FieldPointer, t.idOf(slot{kind: slotChan, typ: r.addr})
	case kindFunc, kindUnsafePointer:
		f.Kind = heapgraph.FieldPointer
	case kindSlice:
		f.Kind, f.Elem = heapgraph.FieldSlice, t.idOf(slot{kind: slotSlice, typ: r.elem})
	case kindString:
		f.Kind = heapgraph.FieldString
	case kindInterface:
		f.Kind = heapgraph.FieldInterface
	case kindArray:
		e := t.get(r.elem)
		if e == nil || e.size == 0 || r.length > r.size/e.size || r.length > 16 {
			return dst
		}
		for i := range r.length {
			dst = t.fieldsOf(dst, e, fmt.Sprintf("%s[%d]", path, i), off+i*e.size, depth+1)
		}
		return dst
	case kindStruct:
		t.eachField(r, func(name uint64, e *rtype, at uint64) {
			p := t.nameAt(name)
			if path != "" {
				p = path + "." + p
			}
			dst = t.fieldsOf(dst, e, p, off+at, depth+1)
		})
		return dst
	default:
		return dst
	}
	if f.Name == "" {
		return dst // the type is one reference, and no struct
	}
	return append(dst, f)
}

// closure returns the shape of a closure whose code begins at pc, nil when no
// function begins there.
func (t *types) closure(pc uint64) *shape {
	if sh, ok := t.funcs[pc]; ok {
		return sh
	}
	if !t.inText(pc) || len(t.funcs) >= maxFuncs {
		return nil
	}
	var sh *shape
	table := t.w.rt.Table()
	if f, ok := table.FuncForPC(pc); ok && f.Entry == pc {
		if name := table.Name(f); name != "" {
			sh = &shape{}
			sh.id = t.add(sh, heapgraph.Type{Name: "func " + name, Kind: heapgraph.KindFunc})
		}
	}
	t.funcs[pc] = sh
	return sh
}

func (t *types) inText(pc uint64) bool {
	for i := range t.w.modules {
		if m := &t.w.modules[i]; pc >= m.text && pc < m.etext {
			return true
		}
	}
	return false
}

// named returns a shape that is only a name.
func (t *types) named(name string, kind heapgraph.Kind) heapgraph.TypeID {
	return t.add(&shape{}, heapgraph.Type{Name: name, Kind: kind})
}
