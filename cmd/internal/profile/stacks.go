package profile

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/pclntab"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/record"
)

// maxWholeStack bounds what is read of one stack that is wanted whole. The
// runtime's own bound is 1 GB (runtime.maxstacksize).
const maxWholeStack = 64 << 20

// A Stack is the memory of one goroutine's stack, and which frame each part of it
// belongs to.
type Stack struct {
	G      uint64 // address of the runtime.g
	GoID   uint64
	GoPC   uint64 // return address of the go statement, 0 for the main goroutine
	System bool   // the runtime's own
	// Running says that the goroutine runs, so that its stack pointer is not known:
	// SP is the stack's lowest address then, and there are no frames.
	Running bool
	// Moved says that the goroutine ran each time its stack was read, so that parts
	// of it may be of different instants.
	Moved bool
	// Cut is how many bytes of the outer end were not read, the stack being too deep.
	Cut uint64

	SP    uint64
	Bytes []byte // from SP on
	// PCs is as in Group. The frame of PCs[i] ends at Tops[i], from SP; those that
	// have no top, and what is beyond the last one, reach to the end.
	PCs  []uint64
	Tops []uint64
}

// EachStack calls fn with the stack of each goroutine that has one. It returns how
// many goroutines there are, and of how many the stack could not be read. fn must
// not keep the Stack.
func (w *Walker) EachStack(opts Options, fn func(*Stack) error) (total, lost int, err error) {
	var head [16]byte
	if err := w.mem.Read(w.allglen, head[:8]); err != nil {
		return 0, 0, fmt.Errorf("reading the number of goroutines: %w", err)
	}
	if err := w.mem.Read(w.allgptr, head[8:]); err != nil {
		return 0, 0, fmt.Errorf("reading the list of goroutines: %w", err)
	}
	count, list := binary.LittleEndian.Uint64(head[:]), binary.LittleEndian.Uint64(head[8:])
	limit := uint64(defaultMaxGoroutines)
	if opts.MaxGoroutines > 0 {
		limit = uint64(opts.MaxGoroutines)
	}
	if count > limit {
		lost = int(min(count-limit, 1<<31))
		count = limit
	}
	w.code.reset()
	w.failures, w.gone = 0, nil
	fing := w.finalizerRuns()
	for done := uint64(0); done < count && w.failures <= maxFailures; {
		n := min(count-done, chunkGoroutines)
		w.ptrs = grow(w.ptrs, int(n)*8)
		if err := w.mem.Read(list+done*8, w.ptrs); err != nil {
			return total, lost, fmt.Errorf("reading the list of %d goroutines: %w", count, err)
		}
		w.gs = w.gs[:0]
		for i := range int(n) {
			if p := binary.LittleEndian.Uint64(w.ptrs[8*i:]); p != 0 {
				w.gs = append(w.gs, gInfo{addr: p})
			}
		}
		if err := w.wholeChunk(&total, &lost, fing, fn); err != nil {
			return total, lost, err
		}
		done += n
	}
	return total, lost, nil
}

// wholeChunk reads the g's in w.gs and their whole stacks.
func (w *Walker) wholeChunk(total, lost *int, fing bool, fn func(*Stack) error) error {
	w.todo = w.todo[:0]
	for i := range w.gs {
		w.todo = append(w.todo, int32(i))
	}
	for try := 0; len(w.todo) > 0; try++ {
		w.reqs = w.reqs[:0]
		w.planHeaders(w.todo)
		w.readAll(func(r int) { w.runs[r].failed = true })
		w.eachHeader(w.todo, func(i int32, g *gInfo, ok bool) {
			addr := w.gs[i].addr
			if ok {
				w.gs[i] = *g
			}
			w.gs[i].addr, w.gs[i].ok = addr, ok
			if !ok {
				w.failures++
				*lost++
			}
		})
		if w.gone != nil {
			return fmt.Errorf("reading goroutines: %w", w.gone)
		}
		w.todo = slices.DeleteFunc(w.todo, func(i int32) bool {
			g := &w.gs[i]
			return !g.ok || g.status == gIdle || g.status == gDead || g.status == gDeadextra || int(g.status) >= len(statusNames)
		})
		w.next = w.next[:0]
		for list := w.todo; len(list) > 0; {
			n, bytes := 0, uint64(0)
			for n < len(list) && (n == 0 || bytes < maxRoundBytes) {
				bytes += w.wholeSize(&w.gs[list[n]])
				n++
			}
			if err := w.wholeRound(list[:n], try == maxRetries, total, lost, fing, fn); err != nil {
				return err
			}
			list = list[n:]
		}
		w.todo, w.next = w.next, w.todo
	}
	return nil
}

// wholeSize is how much of a stack is read, 0 where it has none.
func (w *Walker) wholeSize(g *gInfo) uint64 {
	switch {
	case g.lo >= g.hi || g.hi-g.lo > 1<<30:
		return 0
	case g.status == gRunning || g.status == gCopystack:
		return min(g.hi-g.lo, maxWholeStack)
	case !w.stackPlausible(g):
		return 0
	}
	return min(g.hi-g.sp, maxWholeStack)
}

// wholeRound reads the stacks of some goroutines, then their headers once more. Those
// that have run in between go to w.next, unless it is the last attempt.
func (w *Walker) wholeRound(list []int32, last bool, total, lost *int, fing bool, fn func(*Stack) error) error {
	size := uint64(0)
	for _, i := range list {
		g := &w.gs[i]
		g.want = uint32(w.wholeSize(g))
		g.stackAt, g.stackSz = uint32(size), g.want
		size += uint64(g.want)
	}
	w.stacks = grow(w.stacks, int(size))
	w.reqs = w.reqs[:0]
	for _, i := range list {
		g := &w.gs[i]
		from := g.sp
		if g.status == gRunning || g.status == gCopystack {
			from = g.lo
		}
		w.reqs = append(w.reqs, procmem.Request{Addr: from, Buf: w.stacks[g.stackAt : g.stackAt+g.stackSz]})
	}
	n := len(w.reqs)
	w.planHeaders(list)
	w.readAll(func(r int) {
		if r < n {
			w.gs[list[r]].stackSz = 0
		} else {
			w.runs[r-n].failed = true
		}
	})
	if w.gone != nil {
		return fmt.Errorf("reading goroutines: %w", w.gone)
	}
	var failed error
	w.eachHeader(list, func(i int32, h *gInfo, ok bool) {
		g := &w.gs[i]
		running := g.status == gRunning || g.status == gCopystack
		moved := !ok || !g.same(h) && !running
		switch {
		case failed != nil:
		case (moved || g.stackSz == 0) && !last && ok:
			w.next = append(w.next, i)
		case g.stackSz == 0:
			*total++
			*lost++
		default:
			*total++
			failed = w.giveStack(g, running, moved, fing, fn)
		}
	})
	return failed
}

func (w *Walker) giveStack(g *gInfo, running, moved, fing bool, fn func(*Stack) error) error {
	kind := w.code.startKind(g.startpc)
	s := Stack{
		G: g.addr, GoID: g.goid, GoPC: g.gopc, Running: running, Moved: moved, SP: g.sp,
		System: kind == startSystem || kind == startFinalizer && !fing || kind == startCleanup && !g.cleanups,
		Bytes:  w.stacks[g.stackAt : g.stackAt+g.stackSz],
	}
	if g.goid == 1 {
		s.GoPC = 0
	}
	if running {
		s.SP = g.lo
		s.PCs = append(w.pcs[:0], g.startpc+1)
		s.Cut = g.hi - g.lo - uint64(g.stackSz)
		return fn(&s)
	}
	s.Cut = g.hi - g.sp - uint64(g.stackSz)
	w.tops = w.tops[:0]
	w.code.tops = &w.tops
	w.pcs, _ = w.code.unwind(w.pcs[:0], g, s.Bytes)
	w.code.tops = nil
	s.PCs, s.Tops = w.pcs, w.tops
	return fn(&s)
}

// Frames returns the functions of PCs, leaf first, and for each of PCs how many of
// them are before it or its own.
func (w *Walker) Frames(pcs []uint64) (frames []record.Frame, ends []int) {
	callee := pclntab.Callee{}
	for _, pc := range pcs {
		var fr []pclntab.Frame
		fr, callee = w.symbols.unwound(pc, callee)
		for i := range fr {
			if fr[i].Func != goexit {
				frames = append(frames, fr[i].Frame)
			}
		}
		ends = append(ends, len(frames))
	}
	return frames, ends
}

// Creator returns the go statement at a return address, zero for 0.
func (w *Walker) Creator(gopc uint64) record.Frame {
	if fr := w.symbols.recorded(gopc); len(fr) > 0 {
		return fr[0].Frame
	}
	return record.Frame{}
}

// Buckets reads buckets of the heap profile one by one, for objects that say
// which of them they were sampled for.
type Buckets struct {
	b *bucketReader
	p *Profile
}

// NewBuckets checks that what they need is known of the target.
func NewBuckets(rt Runtime) (*Buckets, error) {
	b, err := newBucketReader(rt, "heap")
	if err != nil {
		return nil, err
	}
	return &Buckets{b, newProfile(rt, record.ProfileHeap)}, nil
}

// Read returns the record of the bucket at an address, without its counts; false
// when there is none.
func (k *Buckets) Read(addr uint64) (Record, bool) {
	hdr := make([]byte, k.b.header)
	if k.b.read(addr, hdr) != nil {
		return Record{}, false
	}
	le := binary.LittleEndian
	n := le.Uint64(hdr[k.b.nstk:])
	if le.Uint64(hdr[k.b.typ:]) != memProfile || n > maxBucketStack {
		return Record{}, false
	}
	stack := make([]byte, 8*n)
	if k.b.read(addr+k.b.header, stack) != nil {
		return Record{}, false
	}
	return Record{Stack: stackWords(stack), Size: int64(min(le.Uint64(hdr[k.b.size:]), 1<<62))}, true
}

// Frames is Profile.Frames.
func (k *Buckets) Frames(r *Record) []record.Frame { return k.p.Frames(r) }
