package object

import (
	"encoding/binary"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
	"github.com/heapwright/heapwright/cmd/internal/profile"
)

// eachReference calls fn with each address that the code refers to relative to its
// own place, and where the reference ends. at is the code's address. It looks at
// patterns and does not decode instructions one after the other: what looks like a
// reference and is none leads to an address that nobody asks for, nearly always.
func eachReference(arm bool, code []byte, at uint64, fn func(end int, addr uint64)) {
	le := binary.LittleEndian
	if !arm {
		for i := 1; i+5 <= len(code); i++ {
			// A ModRM byte with a 32-bit displacement from the next instruction.
			if code[i]&0xc7 != 0x05 {
				continue
			}
			// What follows the displacement belongs to the instruction too.
			more := 0
			switch code[i-1] {
			case 0x80, 0x83, 0xc0, 0xc1, 0xc6, 0x6b:
				more = 1
			case 0x81, 0xc7, 0x69:
				more = 4
			}
			fn(i+5+more, at+uint64(i+5+more)+uint64(int64(int32(le.Uint32(code[i+1:])))))
		}
		return
	}
	// ADRP Xd, page; then ADD Xd', Xd, #low, or a load or store with that as its base.
	var page [32]uint64
	var set [32]int
	for i := 0; i+4 <= len(code); i += 4 {
		op := le.Uint32(code[i:])
		d, n := op&31, op>>5&31
		switch {
		case op&0x9f000000 == 0x90000000: // ADRP
			imm := int64(int32(op>>5&0x7ffff<<13))>>11 | int64(op>>29&3)
			page[d], set[d] = (at+uint64(i))&^0xfff+uint64(imm<<12), i+1
		case op&0xffc00000 == 0x91000000: // ADD, 64 bits, no shift
			if set[n] != 0 && i-set[n] < 64 {
				fn(i+4, page[n]+uint64(op>>10&0xfff))
			}
			set[d] = 0
		case op&0x3b000000 == 0x39000000: // load or store, unsigned offset
			if set[n] != 0 && i-set[n] < 64 {
				shift := op >> 30
				if op>>26&1 != 0 && op>>23&1 != 0 {
					shift = 4
				}
				fn(i+4, page[n]+uint64(op>>10&0xfff)<<shift)
			}
		}
	}
}

// arm says whether the program is for arm64.
func (w *walk) arm() bool { return w.rt.Table().Quantum() == 4 }

// A sampledType is an object that was sampled, and the types it may be of.
type sampledType struct {
	object, size uint64
	types        []slot
}

// maxCallSetup is how many bytes before a call are searched for the type that it
// is given.
const maxCallSetup = 64

// allocated returns the types that the code may have allocated where an object was
// sampled: a call of the allocator gets the type's address, which is a constant
// but in generic code.
func (w *walk) allocated(r *profile.Record) []slot {
	pc, callee := uint64(0), ""
	for _, p := range r.Stack {
		name := w.rt.Table().FuncName(p - 1)
		if name == "" {
			return nil
		}
		if !strings.HasPrefix(name, "runtime.") && !strings.HasPrefix(name, "internal/runtime/") {
			pc = p
			break
		}
		callee = name
	}
	plain := false
	for _, p := range []string{"newobject", "makeslice", "growslice", "mallocgc", "convT"} {
		plain = plain || strings.HasPrefix(callee, "runtime."+p)
	}
	f, ok := w.rt.Table().FuncForPC(pc)
	if pc == 0 || !ok {
		return nil
	}
	code := make([]byte, min(pc-f.Entry, maxCallSetup))
	from := pc - uint64(len(code))
	if !w.types.pages.read(from, code) {
		return nil
	}
	var out []slot
	eachReference(w.arm(), code, from, func(end int, addr uint64) {
		t := w.types.get(addr)
		switch {
		case t == nil || end >= len(code) || t.size == 0:
		case plain:
			out = append(out, slot{kind: slotPointer, typ: addr})
		case t.kind == kindChan && callee == "runtime.makechan":
			// The channel's buffer, or the channel with its buffer.
			out = append(out, slot{kind: slotPointer, typ: t.elem})
		case t.kind == kindMap:
			out = append(out, slot{kind: slotPointer, typ: t.group})
		}
	})
	return out
}

// setSampled gives a sampled object a type, if one of those that its allocation
// names is of the size that was asked for.
func (w *walk) setSampled(o sampledType) {
	n, off, ok := w.b.Find(o.object)
	s := w.spanOf(o.object)
	if !ok || s == nil || w.b.TypeOf(n) != 0 || off > headerSize || s.slots > 1 && w.b.Coarse() == heapgraph.SpanPerNode {
		return
	}
	if s.noscan && s.elem == 16 && o.size < 16 {
		return // a block of the tiny allocator
	}
	size := o.size
	if h := w.header(s); h != 0 && size > s.elem-h {
		size -= h
	}
	// The last reference before the call is the likeliest. A whole object first, then
	// an array.
	for _, array := range []bool{false, true} {
		for i := len(o.types) - 1; i >= 0; i-- {
			sl := o.types[i]
			r := w.types.get(sl.typ)
			if r == nil || r.size == 0 || (r.ptrBytes == 0) != s.noscan {
				continue
			}
			// Some releases count the header too.
			whole := r.size == size || r.size == o.size || r.size+headerSize == o.size
			if !array && !whole || array && (size%r.size != 0 && (o.size-headerSize)%r.size != 0) {
				continue
			}
			sh := w.types.shapeOf(sl)
			if sh == nil || sh.id == 0 {
				continue
			}
			w.b.SetType(n, sh.id)
			return
		}
	}
}
