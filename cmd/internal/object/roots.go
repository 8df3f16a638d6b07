package object

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
	"github.com/heapwright/heapwright/cmd/internal/profile"
	"github.com/heapwright/heapwright/record"
)

// maxGlobals bounds the bytes of variables that are looked at.
const maxGlobals = 1 << 30

// referenceCost is how many bytes a reference takes while the list grows.
const referenceCost = 2 * 24

// A reference is a word of a variable that leads into the heap.
type reference struct {
	at, to uint64
	before uint64 // the word before it
}

// globals makes roots of the program's variables.
func (w *walk) globals() error {
	var refs []reference
	left := uint64(maxGlobals)
	for i := range w.modules {
		m := &w.modules[i]
		for _, part := range []struct{ from, to, mask, bits uint64 }{
			{m.data, m.edata, m.dataMask, m.dataMaskN}, {m.bss, m.ebss, m.bssMask, m.bssMaskN},
		} {
			if n := part.to - part.from; n == 0 || n > left {
				w.partGlobals = w.partGlobals || n > left
				continue
			}
			left -= part.to - part.from
			var err error
			if refs, err = w.segment(refs, part.from, part.to, part.mask, part.bits); err != nil {
				return err
			}
		}
	}
	vars := w.variables(refs)
	roots := map[string]heapgraph.RootID{}
	for _, ref := range refs {
		name, kind := vars.name(ref.at)
		id, ok := roots[name]
		if !ok {
			id = w.b.AddRoot(heapgraph.Root{Kind: kind, Name: name})
			roots[name] = id
		}
		w.b.RootEdge(id, ref.to)
		if sl, ok := w.types.boxed(ref.before); ok && ref.before != 0 {
			w.setType(ref.to, sl, 0)
		}
	}
	for addr, slots := range vars.typed {
		s := vars.symbolAt(addr)
		if s == nil || s.size > maxVariable {
			continue
		}
		data := make([]byte, s.size&^7)
		if w.r.bytes(addr, data) == nil {
			w.fields(&shape{slots: slots}, 0, data)
		}
	}
	return nil
}

// segment appends the references of a part of the program's data. mask is the
// address of a bitmap with a bit a word, as many as bits.
func (w *walk) segment(refs []reference, from, to, mask, bits uint64) ([]reference, error) {
	words := (to - from) / 8
	var bitmap []byte
	if bits >= words && bits <= words+64 && mask != 0 {
		bitmap = make([]byte, (words+7)/8)
		if err := w.r.bytes(mask, bitmap); err != nil {
			if gone(err) {
				return nil, err
			}
			bitmap = nil
		}
	}
	if bitmap == nil {
		w.stats.GlobalsConservative = true
	}
	const step = 1 << 20
	buf := make([]byte, step)
	before := uint64(0)
	for at := from; at < to; at += step {
		if err := w.ctx.Err(); err != nil {
			return nil, err
		}
		part := buf[:min(step, to-at)&^7]
		if err := w.r.bytes(at, part); err != nil {
			if gone(err) {
				return nil, err
			}
			w.readHoles(&piece{s: &span{base: at}}, part)
		}
		for i := 0; i < len(part); i += 8 {
			v := binary.LittleEndian.Uint64(part[i:])
			k := (at - from + uint64(i)) / 8
			if v >= w.low && v < w.high && (bitmap == nil || bitmap[k/8]>>(k%8)&1 != 0) {
				if int64(len(refs)) >= w.opt.MaxMemory/referenceCost {
					w.partGlobals = true
					return refs, nil
				}
				refs = append(refs, reference{at + uint64(i), v, before})
			}
			before = v
		}
	}
	return refs, nil
}

// stacks makes roots of the frames of all goroutines.
func (w *walk) stacks() error {
	gs, err := profile.NewWalker(w.rt)
	if err != nil {
		w.stats.Notes = append(w.stats.Notes, "what goroutines keep is not known: "+err.Error())
		return nil
	}
	var gType heapgraph.TypeID
	type stack struct {
		frames []record.Frame
		ends   []int
		by     string
	}
	seed := maphash.MakeSeed()
	known := map[uint64]*stack{}
	total, lost, err := gs.EachStack(profile.Options{}, func(s *profile.Stack) error {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if s.Running || s.Moved {
			w.stats.RunningStacks++
		}
		if n, _, ok := w.b.Find(s.G); ok && w.b.TypeOf(n) == 0 && w.b.Coarse() != heapgraph.SpanPerNode {
			if gType == 0 {
				gType = w.types.named("runtime.g", heapgraph.KindStruct)
			}
			w.b.SetType(n, gType)
		}
		var h maphash.Hash
		h.SetSeed(seed)
		var b [8]byte
		for _, pc := range append(s.PCs[:len(s.PCs):len(s.PCs)], s.GoPC) {
			binary.LittleEndian.PutUint64(b[:], pc)
			h.Write(b[:])
		}
		k := known[h.Sum64()]
		if k == nil {
			k = &stack{by: gs.Creator(s.GoPC).Func}
			k.frames, k.ends = gs.Frames(s.PCs)
			if len(known) < 1<<16 {
				known[h.Sum64()] = k
			}
		}
		w.frames(s, k.frames, k.ends, k.by)
		return nil
	})
	w.stats.Goroutines, w.stats.LostStacks = total, lost
	return err
}

// frames makes a root of each frame of a stack that refers to the heap.
func (w *walk) frames(s *profile.Stack, frames []record.Frame, ends []int, by string) {
	from := uint64(0)
	for i := 0; i <= len(s.PCs); i++ {
		to := uint64(len(s.Bytes))
		if i < len(s.Tops) {
			to = min(to, s.Tops[i])
		}
		if to <= from {
			continue
		}
		part := s.Bytes[from:to]
		before := uint64(0)
		if from >= 8 {
			before = binary.LittleEndian.Uint64(s.Bytes[from-8:])
		}
		from = to
		var root heapgraph.RootID
		have := false
		for ; len(part) >= 8; part = part[8:] {
			v := binary.LittleEndian.Uint64(part)
			if v >= w.low && v < w.high && w.inHeap(v) {
				if !have {
					root, have = w.b.AddRoot(w.frameRoot(s, i, frames, ends, by)), true
				}
				w.b.RootEdge(root, v)
				if before >= 1<<16 && before%8 == 0 && before < 1<<48 {
					if sl, ok := w.types.boxed(before); ok {
						w.setType(v, sl, 0)
					}
				}
			}
			before = v
		}
	}
}

// frameRoot is the root of frame i of a stack.
func (w *walk) frameRoot(s *profile.Stack, i int, frames []record.Frame, ends []int, by string) heapgraph.Root {
	r := heapgraph.Root{Kind: heapgraph.Stack, Frames: frames, Goroutine: s.GoID, CreatedBy: by}
	if s.System {
		r.Kind = heapgraph.Other
	}
	switch {
	case len(frames) == 0:
		r.Name = "goroutine"
	case i < len(ends) && ends[i] > 0:
		// The function that has the frame is the outermost of those at its place.
		r.Name = frames[ends[i]-1].Func
	case i < len(ends):
		r.Name = frames[0].Func
	default:
		r.Name = frames[len(frames)-1].Func
	}
	return r
}
