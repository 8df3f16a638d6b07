package object

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
)

// Bounds of the list of spans.
const (
	maxSpans     = 1 << 26 // 512 GiB of the smallest
	spanChunk    = 1 << 14 // handled at a time
	maxSpanTries = 4       // of a span that changes while its bitmap is read
	maxObjBytes  = 1 << 46 // of one object
	spanCost     = 128     // bytes that a span takes here and in the builder, but for its bits
)

// States of a span, runtime/mheap.go, in all of Go 1.20 to 1.27.
const spanInUse = 1

// A span is an mspan in use.
type span struct {
	base, elem uint64
	at         uint64 // address of the mspan
	specials   uint64
	largeType  uint64
	slots      uint32
	npages     uint32
	freeindex  uint32
	sweepgen   uint32
	liveAt     uint32 // where its live slots are in walk.liveBits
	allocs     uint16
	noscan     bool
	large      bool // size class 0: one object
	arena      bool // a chunk of a user arena: its pointers are in no bitmap that is read here
}

// scanBytes is how much of the span's memory holds slots.
func (s *span) scanBytes() uint64 { return s.elem * uint64(s.slots) }

// spanFields are the places of fields of an mspan.
type spanFields struct {
	base, npages, nelems, freeindex, allocBits, markBits uint64
	sweepgen, class, state, elem, allocs, specials       uint64
	large, arena                                         uint64
	wide                                                 bool // nelems and freeindex are 8 bytes wide: before Go 1.22
	hasLarge, hasArena                                   bool
	size                                                 int
}

// rawSpan is what is read of an mspan.
type rawSpan struct {
	span
	allocBits, markBits uint64
}

func (f *spanFields) parse(at uint64, b []byte) (s rawSpan, state byte) {
	le := binary.LittleEndian
	u64 := func(off uint64) uint64 { return le.Uint64(b[off:]) }
	count := func(off uint64) uint64 {
		if f.wide {
			return u64(off)
		}
		return uint64(le.Uint16(b[off:]))
	}
	s.at = at
	s.base, s.elem = u64(f.base), u64(f.elem)
	s.npages = uint32(min(u64(f.npages), 1<<32-1))
	s.slots = uint32(min(count(f.nelems), 1<<32-1))
	s.freeindex = uint32(min(count(f.freeindex), 1<<32-1))
	s.allocBits, s.markBits = u64(f.allocBits), u64(f.markBits)
	s.sweepgen = le.Uint32(b[f.sweepgen:])
	s.allocs = le.Uint16(b[f.allocs:])
	s.specials = u64(f.specials)
	class := b[f.class]
	// spanClass: the size class, and in the lowest bit whether it is noscan.
	s.noscan, s.large = class&1 != 0, class>>1 == 0
	if f.hasLarge && s.large {
		s.largeType = u64(f.large)
	}
	s.arena = f.hasArena && b[f.arena] != 0
	return s, b[f.state]
}

// maxSmallPages is more than any span of small objects has pages: the size classes
// need 10 at most.
const maxSmallPages = 64

// plausible says whether a span in use can be one.
func (s *span) plausible() bool {
	bytes := uint64(s.npages) << pageShift
	if s.large && s.slots != 1 || !s.large && s.npages > maxSmallPages {
		return false
	}
	return s.base != 0 && s.base%pageSize == 0 && s.npages > 0 && s.base+bytes > s.base && s.base+bytes <= 1<<48 &&
		s.slots > 0 && s.slots <= heapgraph.MaxSlots && s.elem >= 8 && s.elem%8 == 0 && s.elem <= maxObjBytes &&
		s.elem <= bytes/uint64(s.slots)
}

// same says whether two readings of an mspan agree in what its bitmaps depend on.
func (s *rawSpan) same(o *rawSpan) bool {
	return s.base == o.base && s.elem == o.elem && s.slots == o.slots && s.freeindex == o.freeindex && s.sweepgen == o.sweepgen &&
		s.allocBits == o.allocBits && s.markBits == o.markBits && s.noscan == o.noscan && s.allocs == o.allocs
}

// readSpans reads all spans in use and adds them to the builder.
func (w *walk) readSpans() error {
	head := make([]byte, 16)
	if err := w.r.bytes(w.heap+w.f.allspans, head); err != nil {
		return err
	}
	list, n := binary.LittleEndian.Uint64(head), binary.LittleEndian.Uint64(head[8:])
	if n > maxSpans {
		return implausible("it says %d spans", n)
	}
	w.listed = n
	w.room, w.held, w.refused = w.memory(), 0, nil
	if err := w.readPhase(); err != nil {
		return err
	}
	for done := uint64(0); done < n; done += spanChunk {
		ptrs := make([]byte, 8*min(n-done, spanChunk))
		if err := w.r.bytes(list+8*done, ptrs); err != nil {
			return err
		}
		var todo []uint64
		for i := 0; i < len(ptrs); i += 8 {
			if p := binary.LittleEndian.Uint64(ptrs[i:]); p != 0 {
				todo = append(todo, p)
			}
		}
		for try := 0; len(todo) > 0; try++ {
			var err error
			if w.refused != nil {
				return w.refused
			}
			if todo, err = w.spanChunk(todo, w.opt.Paused || try+1 == maxSpanTries); err != nil {
				return err
			}
		}
	}
	if w.refused != nil {
		return w.refused
	}
	return w.placeSpans()
}

// hold accounts for memory that the list of spans takes, of as much as the graph may
// have: a process can have as many addresses as it likes without any memory behind
// them, and spans in all of them.
func (w *walk) hold(bytes int64) {
	if w.held += bytes; w.held > w.opt.MaxMemory && w.refused == nil {
		w.refused = &heapgraph.TooLargeError{Budget: w.opt.MaxMemory, Coarse: heapgraph.SpanPerNode, What: "the spans of the heap"}
	}
}

// spanChunk reads some spans, their bitmaps, and the spans again. It returns those
// that changed in between, unless last says to take them as they are.
func (w *walk) spanChunk(addrs []uint64, last bool) ([]uint64, error) {
	raws := make([]rawSpan, 0, len(addrs))
	wants := make([]want, 0, len(addrs))
	for i, a := range addrs {
		wants = append(wants, want{a, uint32(w.f.span.size), uint32(i)})
	}
	err := w.r.gather(wants, func(q want, b []byte) error {
		if b == nil {
			w.badSpans++
			return nil
		}
		s, state := w.f.span.parse(q.addr, b)
		if state != spanInUse {
			return nil
		}
		if !s.plausible() {
			if last {
				w.badSpans++
				return nil
			}
		}
		raws = append(raws, s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	// A span that the current cycle has not swept yet has its dead objects still
	// among the allocated; its mark bits say which they are (runtime/mgcsweep.go).
	sweepgen := w.sweepgen
	wants = wants[:0]
	bitmaps := make([][]uint64, len(raws))
	for i := range raws {
		s := &raws[i]
		if !s.plausible() {
			continue
		}
		at := s.allocBits
		if !w.marking && s.sweepgen == sweepgen-2 {
			at = s.markBits
		}
		wants = append(wants, want{at, (s.slots + 7) / 8, uint32(i)})
	}
	err = w.r.gather(wants, func(q want, b []byte) error {
		if b == nil {
			return nil
		}
		words := make([]uint64, (raws[q.id].slots+63)/64)
		for i, x := range b {
			words[i/8] |= uint64(x) << (i % 8 * 8)
		}
		bitmaps[q.id] = words
		return nil
	})
	if err != nil {
		return nil, err
	}
	if w.inlineMarks() {
		if err := w.addInlineMarks(raws, bitmaps); err != nil {
			return nil, err
		}
	}
	moved := make([]bool, len(raws))
	if !w.opt.Paused {
		wants = wants[:0]
		for i := range raws {
			wants = append(wants, want{raws[i].at, uint32(w.f.span.size), uint32(i)})
		}
		err = w.r.gather(wants, func(q want, b []byte) error {
			if b == nil {
				moved[q.id] = true
				return nil
			}
			s, state := w.f.span.parse(q.addr, b)
			moved[q.id] = state != spanInUse || !s.same(&raws[q.id])
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	var again []uint64
	for i := range raws {
		s := &raws[i]
		if !last && (moved[i] || !s.plausible()) {
			again = append(again, s.at)
			continue
		}
		if moved[i] {
			w.stats.MovedSpans++
		}
		if s.plausible() {
			w.addSpan(s, bitmaps[i])
		}
	}
	if len(again) > 0 {
		// The sweeper may have come to a new cycle.
		if err := w.readPhase(); err != nil {
			return nil, err
		}
	}
	return again, nil
}

// addSpan adds a span with its live slots, which are those below freeindex and
// those whose allocation bit is set (runtime.(*mspan).isFree).
func (w *walk) addSpan(s *rawSpan, live []uint64) {
	if live == nil {
		w.stats.UnreadableBytes += s.scanBytes()
		live = make([]uint64, (s.slots+63)/64)
	}
	if s.sweepgen != w.sweepgen-2 || w.marking {
		for i := uint32(0); i < min(s.freeindex, s.slots); i++ {
			if i%64 == 0 && i+64 <= min(s.freeindex, s.slots) {
				live[i/64] = ^uint64(0)
				i += 63
				continue
			}
			live[i/64] |= 1 << (i % 64)
		}
	}
	if s.large && s.slots == 1 && s.allocs > 0 && s.sweepgen != w.sweepgen-2 {
		live[0] = 1
	}
	// A list that repeats itself would have no end otherwise.
	bytes := uint64(s.npages) << pageShift
	if bytes > w.room || len(w.liveBits)+len(live) > 1<<32-1 {
		w.refused = implausible("its spans are larger than its memory")
	}
	w.hold(spanCost + 8*int64(len(live)))
	if w.refused != nil {
		return
	}
	w.room -= bytes
	s.liveAt = uint32(len(w.liveBits))
	w.liveBits = append(w.liveBits, live...)
	if r := s.slots % 64; r != 0 {
		w.liveBits[len(w.liveBits)-1] &= 1<<r - 1
	}
	w.spans = append(w.spans, s.span)
}

// placeSpans puts the spans in order and gives them to the builder. Spans that
// overlap, or that are more than the process has memory, are no heap.
func (w *walk) placeSpans() error {
	slices.SortFunc(w.spans, func(a, b span) int { return cmp.Compare(a.base, b.base) })
	kept := w.spans[:0]
	for _, s := range w.spans {
		if n := len(kept); n > 0 && s.base < kept[n-1].base+uint64(kept[n-1].npages)<<pageShift {
			w.badSpans++
			continue
		}
		kept = append(kept, s)
	}
	w.spans = kept
	if w.badSpans > 64 && w.badSpans > len(w.spans)/16 {
		return implausible("%d of its %d spans are not spans", w.badSpans, w.badSpans+len(w.spans))
	}
	w.low, w.high = 0, 0
	if len(kept) > 0 {
		last := &kept[len(kept)-1]
		w.low, w.high = kept[0].base, last.base+uint64(last.npages)<<pageShift
	}
	w.hold(pagesCost(kept))
	if w.refused != nil {
		return w.refused
	}
	w.pages = newSpanPages(kept)
	for i := range kept {
		s := &kept[i]
		live := w.liveBits[s.liveAt:][:(s.slots+63)/64]
		if err := w.b.AddSpan(heapgraph.Span{Base: s.base, ElemSize: s.elem, Slots: int(s.slots), Noscan: s.noscan, Live: live}); err != nil {
			return implausible("%v", err)
		}
	}
	return nil
}

// imageMemory is how much of a heap is believed where no kernel says how much
// memory there is: of a captured image.
const imageMemory = 64 << 30

// memory returns how many bytes of writable memory the process has.
func (w *walk) memory() uint64 {
	p := processOf(w.rt)
	if p == nil {
		return imageMemory
	}
	maps, err := p.Maps()
	if err != nil {
		return imageMemory
	}
	total := uint64(0)
	for _, m := range maps {
		total += m.End - m.Start
	}
	return total
}

// spanPages finds the span of an address: an index+1 for each page, by pieces of
// 64 MiB of addresses.
type spanPages struct {
	chunks map[uint64]*[1 << (26 - pageShift)]uint32
	last   uint64
	chunk  *[1 << (26 - pageShift)]uint32
}

// pagesCost is how many bytes newSpanPages will take for spans in order of address.
func pagesCost(spans []span) int64 {
	var chunks, next uint64 // of which the first that is not counted yet
	for i := range spans {
		s := &spans[i]
		first, end := max(next, s.base>>26), (s.base+uint64(s.npages)<<pageShift-1)>>26+1
		if end > first {
			chunks, next = chunks+end-first, end
		}
	}
	return int64(chunks) * 4 << (26 - pageShift)
}

func newSpanPages(spans []span) *spanPages {
	p := &spanPages{chunks: map[uint64]*[1 << (26 - pageShift)]uint32{}, last: ^uint64(0)}
	for i := range spans {
		s := &spans[i]
		for page := s.base >> pageShift; page < s.base>>pageShift+uint64(s.npages); page++ {
			c := p.chunks[page>>(26-pageShift)]
			if c == nil {
				c = new([1 << (26 - pageShift)]uint32)
				p.chunks[page>>(26-pageShift)] = c
			}
			c[page&(1<<(26-pageShift)-1)] = uint32(i + 1)
		}
	}
	return p
}

// spanOf returns the span with a slot at the address, nil when there is none.
func (w *walk) spanOf(addr uint64) *span {
	if addr < w.low || addr >= w.high {
		return nil
	}
	p := w.pages
	if k := addr >> 26; k != p.last {
		p.last, p.chunk = k, p.chunks[k]
	}
	if p.chunk == nil {
		return nil
	}
	i := p.chunk[addr>>pageShift&(1<<(26-pageShift)-1)]
	if i == 0 {
		return nil
	}
	s := &w.spans[i-1]
	if addr-s.base >= s.scanBytes() {
		return nil
	}
	return s
}

// inHeap says whether an address is of an object's slot.
func (w *walk) inHeap(addr uint64) bool { return w.spanOf(addr) != nil }

// Marks of small objects are in their span since the green tea collector
// (spanInlineMarkBits of runtime/mgcmark_greenteagc.go): 63 bytes of scans, a byte,
// 63 bytes of marks, a byte.
const (
	inlineMarksSize = 128
	inlineMarksAt   = 64
)

// hasInlineMarks is runtime.gcUsesSpanInlineMarkBits.
func (w *walk) hasInlineMarks(elem uint64) bool {
	return w.greenTea && elem >= 16 && elem <= minHeader
}

func (w *walk) inlineMarks() bool { return w.greenTea && !w.marking }

// addInlineMarks adds to the mark bits of spans that are not swept those in the span.
func (w *walk) addInlineMarks(raws []rawSpan, bitmaps [][]uint64) error {
	var wants []want
	for i := range raws {
		s := &raws[i]
		if s.plausible() && s.sweepgen == w.sweepgen-2 && w.hasInlineMarks(s.elem) && bitmaps[i] != nil {
			end := s.base + uint64(s.npages)<<pageShift
			wants = append(wants, want{end - inlineMarksSize + inlineMarksAt, min((s.slots+7)/8, 63), uint32(i)})
		}
	}
	return w.r.gather(wants, func(q want, b []byte) error {
		for i, x := range b {
			bitmaps[q.id][i/8] |= uint64(x) << (i % 8 * 8)
		}
		return nil
	})
}

// readPhase reads the sweep generation and whether the collector marks.
func (w *walk) readPhase() error {
	var b [4]byte
	if err := w.r.bytes(w.heap+w.f.sweepgen, b[:]); err != nil {
		return err
	}
	w.sweepgen = binary.LittleEndian.Uint32(b[:])
	if w.phase != 0 {
		if err := w.r.bytes(w.phase, b[:]); err != nil {
			return err
		}
		w.marking = binary.LittleEndian.Uint32(b[:]) != 0
	}
	return nil
}

// recheck counts the spans that have changed since they were read.
func (w *walk) recheck() error {
	if w.opt.Paused {
		return nil
	}
	n, err := w.r.word(w.heap + w.f.allspans + 8)
	if err != nil {
		return err
	}
	if n > w.listed {
		w.stats.NewSpans = int(min(n-w.listed, maxSpans))
	}
	for at := 0; at < len(w.spans); at += spanChunk {
		part := w.spans[at:min(len(w.spans), at+spanChunk)]
		wants := make([]want, len(part))
		for i := range part {
			wants[i] = want{part[i].at, uint32(w.f.span.size), uint32(i)}
		}
		err := w.r.gather(wants, func(q want, b []byte) error {
			if b == nil {
				w.stats.LateSpans++
				return nil
			}
			s, state := w.f.span.parse(q.addr, b)
			o := &part[q.id]
			if state != spanInUse || s.base != o.base || s.elem != o.elem || s.freeindex != o.freeindex || s.allocs != o.allocs {
				w.stats.LateSpans++
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
