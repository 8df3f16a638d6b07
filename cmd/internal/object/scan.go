package object

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

const (
	// scanRound is how much of the heap is read at once, scanPiece how much of one
	// object.
	scanRound = 8 << 20
	scanPiece = 4 << 20
	// maxPending bounds the objects whose fields are still to be followed.
	maxPending = 1 << 24
	// maxPassed bounds the objects that came while the heap was read and that are
	// looked through.
	maxPassed = 1 << 14
	// maxLateReads is how often the list of spans is read again for them.
	maxLateReads = 8
	// arenaSize is heapArenaBytes on Linux: spans come next to those that there are.
	arenaSize = 64 << 20
)

// A piece is a part of a span that is read.
type piece struct {
	s        *span
	from, to uint64 // from its base
	bad      bool
}

// scan reads all objects that have pointers, in order of address, and gives their
// references to the builder.
func (w *walk) scan() error {
	var total, done uint64
	for i := range w.spans {
		if !w.spans[i].noscan {
			total += w.spans[i].scanBytes()
		}
	}
	w.stats.ScanBytes = total
	var round []piece
	var size uint64
	flush := func() error {
		if len(round) == 0 {
			return nil
		}
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if err := w.scanRound(round, int(size)); err != nil {
			return err
		}
		// So that the list does not grow with the heap.
		if len(w.pending) >= maxPending/16 {
			if err := w.follow(); err != nil {
				return err
			}
		}
		done += size
		if w.opt.Progress != nil {
			w.opt.Progress(min(done, total), total)
		}
		round, size = round[:0], 0
		return nil
	}
	for i := range w.spans {
		s := &w.spans[i]
		if s.noscan || w.live(s) == nil {
			continue
		}
		end := s.scanBytes()
		if w.bitsInSpan(s) {
			end = uint64(s.npages) << pageShift
		}
		if end <= scanRound {
			if size+end > scanRound {
				if err := flush(); err != nil {
					return err
				}
			}
			round, size = append(round, piece{s: s, to: end}), size+end
			continue
		}
		// Only spans of one object are as large as that, and user arenas.
		for from := uint64(0); from < end; from += scanPiece {
			if err := flush(); err != nil {
				return err
			}
			to := min(end, from+scanPiece)
			round, size = append(round, piece{s: s, from: from, to: to}), to-from
		}
	}
	if err := flush(); err != nil {
		return err
	}
	w.scanned = ^uint64(0)
	return nil
}

// live returns the bitmap of the live slots of a span, nil when none is.
func (w *walk) live(s *span) []uint64 {
	words := w.liveBits[s.liveAt:][:(s.slots+63)/64]
	for _, x := range words {
		if x != 0 {
			return words
		}
	}
	return nil
}

// bitsInSpan says whether the bitmap of a span's pointers is at its end.
func (w *walk) bitsInSpan(s *span) bool {
	return w.headers && !s.noscan && !s.large && !s.arena && s.elem <= minHeader
}

// header is how many bytes of a slot come before the object.
func (w *walk) header(s *span) uint64 {
	if w.headers && !s.noscan && !s.large && s.elem > minHeader {
		return headerSize
	}
	return 0
}

func (w *walk) scanRound(round []piece, size int) error {
	w.scanBuf = grow(w.scanBuf, size)
	reqs := make([]procmem.Request, len(round))
	at := uint64(0)
	for i := range round {
		p := &round[i]
		reqs[i] = procmem.Request{Addr: p.s.base + p.from, Buf: w.scanBuf[at : at+p.to-p.from]}
		at += p.to - p.from
	}
	if err := w.r.batch(reqs, func(i int) { round[i].bad = true }); err != nil {
		return err
	}
	for i := range round {
		p := &round[i]
		data := reqs[i].Buf
		if p.bad {
			w.readHoles(p, data)
		}
		if err := w.scanSpan(p, data); err != nil {
			return err
		}
	}
	return nil
}

// readHoles reads page by page a piece that could not be read as a whole. What is
// not there counts as zero.
func (w *walk) readHoles(p *piece, data []byte) {
	for off := 0; off < len(data); off += cacheSize {
		part := data[off:min(len(data), off+cacheSize)]
		if w.r.bytes(p.s.base+p.from+uint64(off), part) != nil {
			clear(part)
			w.stats.UnreadableBytes += uint64(len(part))
		}
	}
}

// scanSpan gives the references of a span's objects to the builder.
func (w *walk) scanSpan(p *piece, data []byte) error {
	s := p.s
	var bitmap []byte
	if w.bitsInSpan(s) {
		// runtime.spanHeapBitsRange: a bit a word of the span, at its end, before the
		// marks that are kept there too.
		n := uint64(s.npages) << pageShift / 64
		end := uint64(s.npages) << pageShift
		if w.hasInlineMarks(s.elem) {
			end -= inlineMarksSize
		}
		bitmap = data[end-n : end]
	}
	n, _, ok := w.b.Find(s.base)
	known := ok
	merged := w.b.Coarse() == heapgraph.SpanPerNode && s.slots > 1
	for i, word := range w.live(s) {
		for ; word != 0; word &= word - 1 {
			slot := uint64(i*64 + bits.TrailingZeros64(word))
			at := slot * s.elem
			if at+s.elem > p.to && s.slots > 1 {
				return nil
			}
			if !merged {
				if known {
					// Nodes of a span follow one another.
				} else if n, _, known = w.b.Find(s.base + at); !known {
					continue
				}
			}
			if p.from == 0 || s.slots > 1 {
				w.scanned = s.base + at + 1
			}
			if err := w.b.Begin(n); err != nil {
				return err
			}
			if s.slots == 1 {
				w.object(n, s, s.base, p.from, data[:min(uint64(len(data)), s.elem-p.from)], bitmap)
			} else {
				w.object(n, s, s.base+at, 0, data[at:at+s.elem], bitmap)
			}
			if !merged {
				n++
			}
		}
	}
	return nil
}

// object gives the references of one object, of which data is the part from off on.
func (w *walk) object(n heapgraph.NodeID, s *span, base, off uint64, data, bitmap []byte) {
	named := w.b.Coarse() != heapgraph.SpanPerNode || s.slots == 1
	var sh *shape
	if named {
		sh = w.types.byID[w.b.TypeOf(n)]
	}
	le := binary.LittleEndian
	switch {
	case !w.headers || w.opt.Conservative || s.arena:
		w.conservative(data)
		if w.header(s) != 0 {
			data = data[headerSize:]
		}
	case bitmap != nil:
		first := (base - s.base) / 8
		for i := uint64(0); i < uint64(len(data))/8; {
			// The bits of up to eight words.
			k := first + i
			x := bitmap[k/8] >> (k % 8)
			step := 8 - k%8
			if left := uint64(len(data))/8 - i; left < step {
				x &= 1<<left - 1
				step = left
			}
			for ; x != 0; x &= x - 1 {
				at := (i + uint64(bits.TrailingZeros8(x))) * 8
				if v := le.Uint64(data[at:]); v != 0 {
					w.edge(v)
					if named && sh == nil && at >= 8 {
						w.guess(v, data, at)
					}
				}
			}
			i += step
		}
	default:
		typ := s.largeType
		if !s.large {
			typ = le.Uint64(data)
			data = data[headerSize:]
		}
		if typ == 0 {
			// A large object that is still being cleared has no type yet.
			return
		}
		r := w.types.get(typ)
		var mask []byte
		if r != nil {
			mask = w.types.pointerMask(r)
		}
		if mask == nil {
			w.stats.ConservativeBytes += uint64(len(data))
			w.conservative(data)
		} else {
			w.tile(r, mask, off, data)
		}
		if named && sh == nil && r != nil {
			if sh = w.types.shapeOf(slot{kind: slotPointer, typ: typ}); sh != nil {
				w.b.SetType(n, sh.id)
			}
		}
	}
	if !named {
		return
	}
	if sh == nil && off == 0 && len(data) >= 8 {
		if c := w.types.closure(le.Uint64(data)); c != nil {
			w.b.SetType(n, c.id)
		} else if sh = w.recognise(s, data); sh != nil {
			w.b.SetType(n, sh.id)
		}
	}
	if sh != nil {
		w.fields(sh, off, data)
	}
}

// edge gives a reference of the object that was begun to the builder. Where it leads
// to an object that came after the spans were read, which has no node, the references
// of that one count as its own: the first element of a list that grows at its front
// is always such a one, be it of deferred calls or of contexts, and what is behind it
// would be lost.
func (w *walk) edge(v uint64) {
	if _, ok := w.b.Edge(v); ok || w.opt.Paused || len(w.passed) >= maxPassed || w.newcomer(v) == nil {
		return
	}
	todo := []uint64{v}
	for len(todo) > 0 && len(w.passed) < maxPassed {
		v := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		s := w.newcomer(v)
		if s == nil {
			continue
		}
		base := v - (v-s.base)%s.elem
		if w.passed[base] {
			continue
		}
		w.passed[base] = true
		data := make([]byte, s.elem)
		if w.r.bytes(base, data) != nil {
			continue
		}
		for ; len(data) >= 8; data = data[8:] {
			x := binary.LittleEndian.Uint64(data)
			if x < w.low-min(w.low, arenaSize) || x >= w.high+arenaSize {
				continue
			}
			if _, ok := w.b.Edge(x); !ok {
				todo = append(todo, x)
			}
		}
	}
}

// newcomer returns the span of an address, if it is of small slots with pointers, and
// the one of the address was free when the span was read, or the span is new.
func (w *walk) newcomer(v uint64) *span {
	if w.b.Coarse() == heapgraph.SpanPerNode {
		return nil
	}
	s := w.spanOf(v)
	late := s == nil
	if late {
		s = w.lateSpan(v)
	}
	if s == nil || s.noscan || s.slots == 1 || s.elem > minHeader {
		return nil
	}
	slot := (v - s.base) / s.elem
	if slot >= uint64(s.slots) || !late && w.liveBits[s.liveAt:][slot/64]>>(slot%64)&1 != 0 {
		return nil
	}
	return s
}

// lateSpan returns the span of an address that had none when the spans were read.
func (w *walk) lateSpan(v uint64) *span {
	for {
		i, _ := slices.BinarySearchFunc(w.late, v, func(s span, v uint64) int {
			if s.base+s.scanBytes() <= v {
				return -1
			}
			return 1
		})
		if i < len(w.late) && w.late[i].base <= v {
			return &w.late[i]
		}
		if w.lateReads == maxLateReads || v%8 != 0 {
			return nil
		}
		w.lateReads++
		w.readLate()
	}
}

// readLate reads which small spans there are that were not when the spans were read.
// Where it fails, they stay unknown.
func (w *walk) readLate() {
	head := make([]byte, 16)
	if w.r.bytes(w.heap+w.f.allspans, head) != nil {
		return
	}
	list, n := binary.LittleEndian.Uint64(head), binary.LittleEndian.Uint64(head[8:])
	if n > maxSpans {
		return
	}
	w.late = w.late[:0]
	for done := uint64(0); done < n; done += spanChunk {
		ptrs := make([]byte, 8*min(n-done, spanChunk))
		if w.r.bytes(list+8*done, ptrs) != nil {
			return
		}
		var wants []want
		for i := 0; i < len(ptrs); i += 8 {
			if p := binary.LittleEndian.Uint64(ptrs[i:]); p != 0 {
				wants = append(wants, want{p, uint32(w.f.span.size), 0})
			}
		}
		if w.r.gather(wants, func(q want, b []byte) error {
			if b == nil {
				return nil
			}
			if s, state := w.f.span.parse(q.addr, b); state == spanInUse && s.plausible() && s.slots > 1 && w.spanOf(s.base) == nil && len(w.late) < maxPassed {
				w.late = append(w.late, s.span)
			}
			return nil
		}) != nil {
			return
		}
	}
	slices.SortFunc(w.late, func(a, b span) int { return cmp.Compare(a.base, b.base) })
}

// conservative takes every word for a reference.
func (w *walk) conservative(data []byte) {
	for ; len(data) >= 8; data = data[8:] {
		if v := binary.LittleEndian.Uint64(data); v >= w.low && v < w.high {
			w.b.Edge(v)
		}
	}
}

// tile gives the references of an object that consists of values of one type, of
// which data is the part from off on.
func (w *walk) tile(r *rtype, mask []byte, off uint64, data []byte) {
	if r.size == 0 || r.ptrBytes == 0 {
		return
	}
	for elem := off / r.size * r.size; elem < off+uint64(len(data)); elem += r.size {
		for i, x := range mask {
			for ; x != 0; x &= x - 1 {
				at := elem + uint64(i*64+bits.TrailingZeros8(x)*8)
				if at < off {
					continue
				}
				if at+8 > off+uint64(len(data)) {
					return
				}
				if v := binary.LittleEndian.Uint64(data[at-off:]); v != 0 {
					w.edge(v)
				}
			}
		}
	}
}

// guess looks whether the word before a reference is the type of an interface.
func (w *walk) guess(v uint64, data []byte, at uint64) {
	word := binary.LittleEndian.Uint64(data[at-8:])
	if word < 1<<16 || word%8 != 0 || word >= 1<<48 {
		return
	}
	if sl, ok := w.types.boxed(word); ok {
		w.setType(v, sl, 0)
	}
}

// fields gives types to what the fields of an object refer to, of which data is the
// part from off on.
func (w *walk) fields(sh *shape, off uint64, data []byte) {
	if len(sh.slots) == 0 {
		return
	}
	step := sh.size
	if step == 0 {
		step = 1 << 62
	}
	end := off + uint64(len(data))
	for elem := off / step * step; elem < end; elem += step {
		for _, sl := range sh.slots {
			at := elem + uint64(sl.off)
			if at < off {
				continue
			}
			if at+8 > end {
				break
			}
			w.field(sl, data, at-off)
		}
	}
}

// field gives a type to what the word at data[at] refers to.
func (w *walk) field(sl slot, data []byte, at uint64) {
	v := binary.LittleEndian.Uint64(data[at:])
	if v < w.low || v >= w.high {
		return
	}
	extra := uint64(0)
	switch sl.kind {
	case slotFunc, slotUnknown:
		return
	case slotEface:
		if at >= 8 {
			w.guess(v, data, at)
		}
		return
	case slotSlice:
		// The capacity says how large the array is.
		if at+24 > uint64(len(data)) {
			return
		}
		extra = binary.LittleEndian.Uint64(data[at+16:])
	case slotDirectory, slotGroups:
		if at+16 <= uint64(len(data)) {
			extra = binary.LittleEndian.Uint64(data[at+8:])
		}
	}
	w.setType(v, sl, extra)
}

// setType gives the object at v the type of what a slot refers to, if it has none
// yet and is of the right size. extra is the number that belongs to the slot: a
// slice's capacity, the length of a map's directory, the mask of a table's groups.
func (w *walk) setType(v uint64, sl slot, extra uint64) {
	n, off, ok := w.b.Find(v)
	if !ok || w.b.TypeOf(n) != 0 {
		return
	}
	s := w.spanOf(v)
	if s == nil || s.slots > 1 && w.b.Coarse() == heapgraph.SpanPerNode {
		return
	}
	header := w.header(s)
	if off != header {
		if sl.kind == slotPointer && (off == 8 || off == 16) {
			w.setTimer(n, s, v, sl.typ, off)
		}
		return
	}
	if sl.kind == slotString {
		if s.noscan {
			w.b.SetType(n, w.stringType())
		}
		return
	}
	r := w.types.get(sl.typ)
	if r == nil {
		return
	}
	if sl.kind == slotDirectory && extra == 0 {
		sl = slot{kind: slotPointer, typ: groupOf(r)}
	}
	var sh *shape
	switch {
	case sl.kind == slotDirectory && r.kind != kindMap:
		sh = w.types.directory(r)
	case sl.kind == slotTable && r.kind != kindMap:
		sh = w.types.mapPart(sl.typ, slotTable)
	default:
		sh = w.types.shapeOf(sl)
	}
	if sh == nil || sh.id == 0 {
		return
	}
	want := sh.size
	switch sl.kind {
	case slotSlice, slotDirectory:
		if extra > 1<<40 || sh.size > 1<<40 || sh.size == 0 {
			return
		}
		high, low := bits.Mul64(sh.size, extra)
		if high != 0 {
			return
		}
		want = low
	case slotGroups:
		if w.swiss {
			if extra > 1<<32 || sh.size > 1<<16 {
				return
			}
			want = (extra + 1) * sh.size
		} else {
			want = 0 // a power of two of buckets, and some for their overflow
		}
	case slotChan, slotBuffer:
		want = 0
	}
	if r := w.types.get(sh.typ); r != nil && r.ptrBytes == 0 != s.noscan {
		return
	}
	if want != 0 && !w.fits(want, s) {
		return
	}
	w.b.SetType(n, sh.id)
	if !s.noscan && len(sh.slots) > 0 && v < w.scanned && len(w.pending) < maxPending {
		w.pending = append(w.pending, v)
	}
}

// setTimer gives the object n the type of a timer of package time, if what points
// into it points to the runtime's timer there: time.Timer, or runtime.timeTimer since
// Go 1.23.
func (w *walk) setTimer(n heapgraph.NodeID, s *span, v, typ, off uint64) {
	r := w.types.get(typ)
	if r == nil || w.types.name(r) != "runtime.timer" || !w.fits(r.size+off, s) || s.noscan {
		return
	}
	sh := w.types.timer(r, off)
	w.b.SetType(n, sh.id)
	if v < w.scanned && len(w.pending) < maxPending {
		w.pending = append(w.pending, v-off)
	}
}

// stringType is the type of the bytes of strings.
func (w *walk) stringType() heapgraph.TypeID {
	if w.stringID == 0 {
		w.stringID = w.types.named("string", heapgraph.KindString)
	}
	return w.stringID
}

// sizeClasses are the sizes of small objects, the same in all of Go 1.20 to 1.27
// (internal/runtime/gc/sizeclasses.go; until Go 1.24 runtime/sizeclasses.go).
var sizeClasses = [...]uint16{8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 352, 384, 416, 448, 480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792, 2048, 2304, 2688, 3072, 3200, 3456, 4096, 4864, 5376, 6144, 6528, 6784, 6912, 8192, 9472, 9728, 10240, 10880, 12288, 13568, 14336, 16384, 18432, 19072, 20480, 21760, 24576, 27264, 28672, 32768}

// fits says whether an object of so many bytes is one that the span is for
// (runtime.roundupsize).
func (w *walk) fits(size uint64, s *span) bool {
	if size == 0 || size > s.elem {
		return false
	}
	if s.large {
		return s.elem-size < pageSize
	}
	if w.headers && !s.noscan && size > minHeader {
		size += headerSize
	}
	if size < 16 && s.noscan && s.elem == 16 {
		return false // a block of the tiny allocator, which is several objects
	}
	i, _ := slices.BinarySearch(sizeClasses[:], uint16(min(size, 1<<15)))
	return i < len(sizeClasses) && uint64(sizeClasses[i]) == s.elem
}

// follow gives types to what objects refer to that were scanned before their own
// type was known. It reads them once more.
func (w *walk) follow() error {
	var pages []uint64
	buf := make([]byte, 0, 32<<10)
	for len(w.pending) > 0 {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		list := w.pending
		w.pending = nil
		slices.Sort(list)
		for len(list) > 0 {
			// As many as fit into half of the cache.
			pages = pages[:0]
			n := 0
			for ; n < len(list) && len(pages) < len(w.cache.slots)/2; n++ {
				if p := list[n] >> cacheShift; len(pages) == 0 || pages[len(pages)-1] != p {
					pages = append(pages, p)
				}
			}
			if len(pages) > 1 {
				if err := w.cache.prefetch(pages); err != nil {
					return err
				}
			}
			for _, v := range list[:n] {
				s := w.spanOf(v)
				node, _, ok := w.b.Find(v)
				if s == nil || !ok {
					continue
				}
				sh := w.types.byID[w.b.TypeOf(node)]
				if sh == nil {
					continue
				}
				size := s.elem - w.header(s)
				if s.large {
					if err := w.followLarge(sh, v, size); err != nil {
						return err
					}
					continue
				}
				buf = grow(buf, int(size))
				if w.cache.read(v, buf) {
					w.fields(sh, 0, buf)
				}
			}
			list = list[n:]
		}
	}
	return nil
}

// followLarge is fields for an object of which only parts are held.
func (w *walk) followLarge(sh *shape, base, size uint64) error {
	buf := make([]byte, min(size, scanPiece))
	for off := uint64(0); off < size; off += uint64(len(buf)) {
		buf = buf[:min(size-off, uint64(len(buf)))]
		if err := w.r.bytes(base+off, buf); err != nil {
			if gone(err) {
				return err
			}
			continue
		}
		w.fields(sh, off, buf)
	}
	return nil
}
