package object

import (
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"strings"
)

// Attributes of Go's own in debugging information (cmd/internal/dwarf).
const (
	attrGoKind        = dwarf.Attr(0x2900)
	attrGoElem        = dwarf.Attr(0x2902)
	attrGoRuntimeType = dwarf.Attr(0x2904)
)

// Operations of a variable's place.
const (
	opAddr  = 0x03
	opAddrx = 0xa1 // an index into .debug_addr, DWARF 5
)

// maxDebugInfo bounds the debugging information that is read: it is held whole while
// the variables are looked up.
const maxDebugInfo = 64 << 20

// A debugInfo says of which types variables are.
type debugInfo struct {
	t     *types
	d     *dwarf.Data
	bias  uint64
	addrs []byte // .debug_addr
	slots map[dwarf.Offset][]slot
}

// variableTypes returns what the words of variables refer to, by the variables'
// addresses, for those that wanted asks for. It returns nil where the program has no
// debugging information, or more than is read.
func (t *types) variableTypes(f *elf.File, bias uint64, wanted func(addr uint64) bool) map[uint64][]slot {
	total := uint64(0)
	for _, s := range f.Sections {
		// Linkers of Go 1.19 and newer do not write these. How large they are is not
		// known before they are expanded.
		if strings.HasPrefix(s.Name, ".zdebug_") {
			return nil
		}
		if strings.HasPrefix(s.Name, ".debug_") {
			total += max(s.Size, s.FileSize)
		}
	}
	if total == 0 || total > maxDebugInfo {
		return nil
	}
	d, err := f.DWARF()
	if err != nil {
		return nil
	}
	di := &debugInfo{t: t, d: d, bias: bias, slots: map[dwarf.Offset][]slot{}}
	if s := f.Section(".debug_addr"); s != nil {
		if di.addrs, err = s.Data(); err != nil {
			return nil
		}
	}
	out := map[uint64][]slot{}
	r := d.Reader()
	base := int64(0)
	for {
		e, err := r.Next()
		if err != nil || e == nil || t.w.ctx.Err() != nil {
			return out
		}
		switch e.Tag {
		case dwarf.TagCompileUnit:
			base, _ = e.Val(dwarf.AttrAddrBase).(int64)
			continue // into it
		case dwarf.TagVariable:
			place, _ := e.Val(dwarf.AttrLocation).([]byte)
			typ, ok := e.Val(dwarf.AttrType).(dwarf.Offset)
			if addr, known := di.address(place, base); ok && known && wanted(addr) && len(out) < maxTypes {
				if slots := di.slotsAt(typ, 0); len(slots) > 0 {
					out[addr] = slots
				}
			}
		}
		if e.Children {
			r.SkipChildren()
		}
	}
}

// address returns where a variable is in the process.
func (di *debugInfo) address(place []byte, base int64) (uint64, bool) {
	switch {
	case len(place) == 9 && place[0] == opAddr:
		return binary.LittleEndian.Uint64(place[1:]) + di.bias, true
	case len(place) > 1 && place[0] == opAddrx:
		i, n := binary.Uvarint(place[1:])
		if n <= 0 || i > uint64(len(di.addrs)) || base < 0 {
			return 0, false
		}
		at := uint64(base) + 8*i
		if at+8 > uint64(len(di.addrs)) {
			return 0, false
		}
		return binary.LittleEndian.Uint64(di.addrs[at:]) + di.bias, true
	}
	return 0, false
}

// runtimeType returns the abi.Type that an entry names, nil when the program has
// none of that type.
func (di *debugInfo) runtimeType(e *dwarf.Entry) *rtype {
	var at uint64
	switch v := e.Val(attrGoRuntimeType).(type) {
	case uint64:
		at = v
	case int64:
		at = uint64(v)
	}
	if at == 0 || len(di.t.w.modules) == 0 {
		return nil
	}
	// It counts from where the module's types begin.
	return di.t.get(di.t.w.modules[0].types + at)
}

// slotsAt returns what a value of the type at an offset refers to.
func (di *debugInfo) slotsAt(off dwarf.Offset, depth int) []slot {
	if s, ok := di.slots[off]; ok {
		return s
	}
	if depth > maxDepth {
		return nil
	}
	di.slots[off] = nil // for types that hold themselves, which only lies do
	r := di.d.Reader()
	r.Seek(off)
	e, err := r.Next()
	if err != nil || e == nil {
		return nil
	}
	s := di.slotsOf(r, e, depth)
	di.slots[off] = s
	return s
}

func (di *debugInfo) slotsOf(r *dwarf.Reader, e *dwarf.Entry, depth int) []slot {
	if t := di.runtimeType(e); t != nil {
		return di.t.slotsOf(nil, t, 0, 0)
	}
	// The program has no abi.Type of it: nothing puts it into an interface. Those of
	// its parts may be there.
	inner, _ := e.Val(dwarf.AttrType).(dwarf.Offset)
	elem, hasElem := e.Val(attrGoElem).(dwarf.Offset)
	kind, _ := e.Val(attrGoKind).(int64)
	switch {
	case kind == kindSlice && hasElem:
		if t := di.typeAt(elem); t != nil {
			return []slot{{0, slotSlice, t.addr}}
		}
	case kind == kindString:
		return []slot{{0, slotString, 0}}
	case kind == kindInterface:
		return []slot{{8, slotEface, 0}}
	case e.Tag == dwarf.TagTypedef && kind != kindMap && kind != kindChan:
		return di.slotsAt(inner, depth+1)
	case e.Tag == dwarf.TagPointerType:
		if t := di.typeAt(inner); t != nil {
			return []slot{{0, slotPointer, t.addr}}
		}
	case e.Tag == dwarf.TagStructType && e.Children:
		var out []slot
		for {
			m, err := r.Next()
			if err != nil || m == nil || m.Tag == 0 {
				return out
			}
			at, ok := m.Val(dwarf.AttrDataMemberLoc).(int64)
			typ, ok2 := m.Val(dwarf.AttrType).(dwarf.Offset)
			if m.Tag == dwarf.TagMember && ok && ok2 && at >= 0 && at < 1<<30 {
				for _, s := range di.slotsAt(typ, depth+1) {
					if len(out) < maxSlots {
						out = append(out, slot{s.off + uint32(at), s.kind, s.typ})
					}
				}
			}
			if m.Children {
				r.SkipChildren()
			}
		}
	}
	return nil
}

// typeAt returns the abi.Type of the type at an offset, nil when there is none.
func (di *debugInfo) typeAt(off dwarf.Offset) *rtype {
	r := di.d.Reader()
	for range maxDepth {
		r.Seek(off)
		e, err := r.Next()
		if err != nil || e == nil {
			return nil
		}
		if t := di.runtimeType(e); t != nil {
			return t
		}
		// A name for a type has none, but the type has.
		var ok bool
		if off, ok = e.Val(dwarf.AttrType).(dwarf.Offset); !ok || e.Tag != dwarf.TagTypedef {
			return nil
		}
	}
	return nil
}
