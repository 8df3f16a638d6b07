package object

import (
	"encoding/binary"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
	"github.com/heapwright/heapwright/cmd/internal/profile"
	"github.com/heapwright/heapwright/record"
)

// maxSpecials bounds the specials that are followed.
const maxSpecials = 1 << 21

// specialShape is where the fields of specials lie, and how their kinds are
// numbered (runtime/mheap.go). The offset took two bytes until Go 1.23, and takes
// eight since.
type specialShape struct {
	wide                              bool
	kindAt, size                      int
	finalizer, weak, profile, cleanup byte // 0: there are none
	cleanupWords                      int  // words of a cleanup that are roots
}

func specialsOf(minor int) specialShape {
	s := specialShape{kindAt: 10, size: 16, finalizer: 1, profile: 2}
	if minor >= 24 {
		s.wide, s.kindAt, s.size = true, 16, 24
	}
	switch {
	case minor >= 25:
		s.finalizer, s.weak, s.profile, s.cleanup = 2, 3, 4, 7
	case minor == 24:
		s.weak, s.profile, s.cleanup = 2, 3, 6
	case minor == 23:
		s.weak, s.profile = 2, 3
	}
	// Until Go 1.25 the closure alone, then cleanupFn: code, closure, argument.
	s.cleanupWords = 1
	if minor >= 26 {
		s.cleanupWords = 3
	}
	return s
}

// A special is what the runtime knows of an object besides.
type special struct {
	object uint64 // what it is about
	kind   byte
	words  [4]uint64 // that follow it
}

// readSpecials reads the specials of all spans, and tells the builder of the
// objects that were sampled.
func (w *walk) readSpecials() ([]special, error) {
	f := specialsOf(w.minor)
	var list []want
	for i := range w.spans {
		if w.spans[i].specials != 0 {
			list = append(list, want{w.spans[i].specials, uint32(f.size + 8), uint32(i)})
		}
	}
	var out []special
	var outAt []want // of those with more words
	seen := 0
	for len(list) > 0 && seen < maxSpecials {
		var next []want
		err := w.r.gather(list, func(q want, b []byte) error {
			if b == nil || seen >= maxSpecials {
				return nil
			}
			seen++
			le := binary.LittleEndian
			s := &w.spans[q.id]
			off := uint64(le.Uint16(b[8:]))
			if f.wide {
				off = le.Uint64(b[8:])
			}
			if off >= s.scanBytes() {
				return nil
			}
			sp := special{object: s.base + off, kind: b[f.kindAt]}
			sp.words[0] = le.Uint64(b[f.size:])
			switch sp.kind {
			case 0:
				return nil
			case f.finalizer, f.cleanup:
				outAt = append(outAt, want{q.addr + uint64(f.size), 32, uint32(len(out))})
				out = append(out, sp)
			case f.profile, f.weak:
				out = append(out, sp)
			}
			if n := le.Uint64(b); n != 0 {
				next = append(next, want{n, uint32(f.size + 8), q.id})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		list = next
	}
	w.partSpecials = len(list) > 0
	err := w.r.gather(outAt, func(q want, b []byte) error {
		for i := 0; b != nil && i < 4; i++ {
			out[q.id].words[i] = binary.LittleEndian.Uint64(b[8*i:])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	w.readSamples(out, f.profile)
	return out, nil
}

// maxSites bounds the stacks of samples.
const maxSites = 1 << 17

// readSamples tells the builder which objects the heap profiler sampled, and where.
func (w *walk) readSamples(list []special, kind byte) {
	buckets, err := profile.NewBuckets(w.rt)
	if err != nil {
		w.stats.Notes = append(w.stats.Notes, "where objects were allocated is not known: "+err.Error())
		return
	}
	type site struct {
		rec   profile.Record
		stack []record.Frame
		types []slot
		ok    bool
	}
	sites := map[uint64]*site{}
	for i := range list {
		sp := &list[i]
		if sp.kind != kind {
			continue
		}
		k := sites[sp.words[0]]
		if k == nil {
			if len(sites) >= maxSites {
				continue
			}
			k = &site{}
			if k.rec, k.ok = buckets.Read(sp.words[0]); k.ok {
				k.stack = buckets.Frames(&k.rec)
				k.types = w.allocated(&k.rec)
			}
			sites[sp.words[0]] = k
		}
		if k.ok {
			w.b.AddSample(sp.object, k.rec.Size, k.stack)
			if len(k.types) > 0 {
				w.sampled = append(w.sampled, sampledType{sp.object, uint64(k.rec.Size), k.types})
			}
		}
	}
}

// applySpecials makes roots of what finalizers, cleanups and weak pointers keep, and
// gives types to sampled objects. It belongs after Layout.
func (w *walk) applySpecials(list []special) {
	f := specialsOf(w.minor)
	for i := range list {
		sp := &list[i]
		switch {
		case sp.kind == f.finalizer:
			// The object is kept by nobody for it, but what it refers to is: the
			// finalizer will see it (runtime.gcScanFinalizer). Its own closure is a root.
			root := w.b.AddRoot(heapgraph.Root{Kind: heapgraph.Finalizer, Name: w.funcOf(sp.words[0], "finalizer")})
			w.b.RootEdge(root, sp.words[0])
			w.finalized(root, sp.object)
			// special, fn, nret, fint, ot: the type of the pointer that it gets.
			if r := w.types.get(sp.words[3]); r != nil && r.kind == kindPointer {
				w.setType(sp.object, slot{kind: slotPointer, typ: r.elem}, 0)
			}
		case f.cleanup != 0 && sp.kind == f.cleanup:
			name := sp.words[0]
			if w.minor >= 26 {
				name = sp.words[1]
			}
			root := w.b.AddRoot(heapgraph.Root{Kind: heapgraph.Cleanup, Name: w.funcOf(name, "cleanup")})
			for _, v := range sp.words[:specialsOf(w.minor).cleanupWords] {
				w.b.RootEdge(root, v)
			}
		case f.weak != 0 && sp.kind == f.weak:
			root := w.b.AddRoot(heapgraph.Root{Kind: heapgraph.Other, Name: "weak pointers"})
			w.b.RootEdge(root, sp.words[0])
		}
	}
	for _, s := range w.sampled {
		w.setSampled(s)
	}
	w.sampled = nil
}

// finalized adds what an object with a finalizer refers to.
func (w *walk) finalized(root heapgraph.RootID, object uint64) {
	s := w.spanOf(object)
	if s == nil || s.noscan || s.elem > scanPiece {
		return
	}
	base := s.base + (object-s.base)/s.elem*s.elem
	buf := make([]byte, s.elem)
	if w.r.bytes(base, buf) != nil {
		return
	}
	buf = buf[w.header(s):]
	own, _, _ := w.b.Find(base)
	for ; len(buf) >= 8; buf = buf[8:] {
		v := binary.LittleEndian.Uint64(buf)
		if v < w.low || v >= w.high {
			continue
		}
		if n, _, ok := w.b.Find(v); !ok || n != own {
			w.b.RootEdge(root, v)
		}
	}
}

// funcOf returns the name of the function of a closure, or other.
func (w *walk) funcOf(closure uint64, other string) string {
	pc, ok := w.cache.word(closure)
	if !ok {
		return other
	}
	if f, ok := w.rt.Table().FuncForPC(pc); ok && f.Entry == pc {
		if name := w.rt.Table().Name(f); name != "" {
			return name
		}
	}
	return other
}
