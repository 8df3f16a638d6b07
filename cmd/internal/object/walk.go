package object

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/metrics"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
	"github.com/heapwright/heapwright/cmd/internal/layout"
)

// minHeader is gc.MinSizeForMallocHeader: larger objects with pointers have their
// type in front, or in their span (Go 1.22 to 1.27). headerSize is what it takes.
const (
	minHeader  = 512
	headerSize = 8
)

// A walk is one reading of a heap.
type walk struct {
	ctx   context.Context
	rt    Runtime
	opt   Options
	stats Stats
	r     *reader
	b     *heapgraph.Builder

	f struct {
		allspans, sweepgen uint64 // in mheap
		span               spanFields
	}
	heap, phase uint64 // addresses of mheap_ and gcphase
	cycles      uint64 // address of the count of cycles, 0: not known

	minor    int
	headers  bool // Go 1.22 and newer: pointers by bitmaps and types
	greenTea bool
	swiss    bool

	modules  []module
	spans    []span
	listed   uint64 // spans in the process's list, dead ones included
	badSpans int
	room     uint64 // bytes that further spans can have
	held     int64  // bytes that the list of spans takes
	refused  error  // why there are no more spans
	sweepgen uint32
	marking  bool

	types *types
	cache *pageCache // of the heap, for following types

	liveBits  []uint64 // of all spans
	low, high uint64   // the heap's addresses lie between
	pages     *spanPages
	scanBuf   []byte
	sampled   []sampledType
	stringID  heapgraph.TypeID

	partSpecials, partGlobals bool // there are more than are read

	pending   []uint64        // addresses of typed objects whose fields are still to be followed
	scanned   uint64          // objects below this address are past the scan
	passed    map[uint64]bool // objects that came while the heap was read, by address
	late      []span          // spans that did, in order of address
	lateReads int
	vars      *variables
}

// A module is what is used of a runtime.moduledata.
type module struct {
	text, etext            uint64
	data, edata, bss, ebss uint64
	types, etypes          uint64
	dataMask, bssMask      uint64 // addresses of bitmaps, a bit a word
	dataMaskN, bssMaskN    uint64 // their bits
	noptrdata, enoptrdata  uint64
	noptrbss, enoptrbss    uint64
}

const maxModules = 64

func newWalk(ctx context.Context, rt Runtime, opt Options) (*walk, error) {
	w := &walk{ctx: ctx, rt: rt, opt: opt, r: &reader{ctx: ctx, mem: rt.Memory()}, minor: minorOf(rt.GoVersion())}
	l := rt.Layout()
	if l == nil {
		return nil, &MissingError{"the runtime's structures"}
	}
	_, experiment := layout.ParseVersion(rt.GoVersion())
	has := func(x string) bool { return slices.Contains(strings.Split(experiment, ","), x) }
	w.headers = w.minor >= 22 && !has("noallocheaders")
	w.greenTea = w.minor >= 26 && !has("nogreenteagc") || has("greenteagc")
	w.swiss = w.minor >= 24 && !has("noswissmap")

	var missing string
	off := func(name string) uint64 {
		f, ok := l.Field(name)
		if !ok && missing == "" {
			missing = name
		}
		return uint64(f.Off)
	}
	f := &w.f.span
	w.f.allspans, w.f.sweepgen = off("mheap.allspans"), off("mheap.sweepgen")
	f.base, f.npages, f.nelems, f.freeindex = off("mspan.startAddr"), off("mspan.npages"), off("mspan.nelems"), off("mspan.freeindex")
	f.allocBits, f.markBits, f.sweepgen = off("mspan.allocBits"), off("mspan.gcmarkBits"), off("mspan.sweepgen")
	f.class, f.state, f.elem = off("mspan.spanclass"), off("mspan.state"), off("mspan.elemsize")
	f.allocs, f.specials = off("mspan.allocCount"), off("mspan.specials")
	if n, ok := l.Field("mspan.nelems"); ok {
		f.wide = n.Size == 8
	}
	if n, ok := l.Field("mspan.largeType"); ok {
		f.large, f.hasLarge = uint64(n.Off), true
	}
	if n, ok := l.Field("mspan.isUserArenaChunk"); ok {
		f.arena, f.hasArena = uint64(n.Off), true
	}
	f.size = int(l.Size("mspan"))
	if missing == "" && f.size == 0 {
		missing = "mspan"
	}
	if missing != "" {
		return nil, &MissingError{missing}
	}
	for _, o := range []uint64{f.base, f.npages, f.nelems, f.freeindex, f.allocBits, f.markBits, f.elem, f.specials, f.sweepgen, f.large} {
		if o+8 > uint64(f.size) || f.size > 1<<12 {
			return nil, &MissingError{"mspan"}
		}
	}
	var ok bool
	if w.heap, ok = rt.Global("runtime.mheap_"); !ok {
		return nil, &MissingError{"runtime.mheap_"}
	}
	w.phase, _ = rt.Global("runtime.gcphase")
	if at, ok := rt.Global("runtime.memstats"); ok {
		if n, ok := l.Field("mstats.numgc"); ok {
			w.cycles = at + uint64(n.Off)
		}
	}
	if err := w.readModules(l); err != nil {
		return nil, err
	}
	w.cache = newPageCache(w.r, 1<<13)
	w.types = newTypes(w)
	return w, nil
}

// readModules reads the list of modules: the program, and its plugins.
func (w *walk) readModules(l *layout.Layout) error {
	at, ok := w.rt.Global("runtime.firstmoduledata")
	if !ok {
		return &MissingError{"runtime.firstmoduledata"}
	}
	size := uint64(l.Size("moduledata"))
	next, ok := l.Field("moduledata.next")
	if !ok || size == 0 || size > 1<<16 {
		return &MissingError{"moduledata"}
	}
	buf := make([]byte, size)
	missing := ""
	for at != 0 && len(w.modules) < maxModules {
		if err := w.r.bytes(at, buf); err != nil {
			if len(w.modules) == 0 {
				return fmt.Errorf("reading the module data: %w", err)
			}
			break
		}
		word := func(name string) uint64 {
			f, ok := l.Field("moduledata." + name)
			if !ok || uint64(f.Off)+8 > size {
				missing = "moduledata." + name
				return 0
			}
			return binary.LittleEndian.Uint64(buf[f.Off:])
		}
		m := module{
			text: word("text"), etext: word("etext"), data: word("data"), edata: word("edata"), bss: word("bss"), ebss: word("ebss"),
			types: word("types"), etypes: word("etypes"),
			noptrdata: word("noptrdata"), enoptrdata: word("enoptrdata"), noptrbss: word("noptrbss"), enoptrbss: word("enoptrbss"),
			dataMaskN: word("gcdatamask.n") & (1<<32 - 1), dataMask: word("gcdatamask.bytedata"),
			bssMaskN: word("gcbssmask.n") & (1<<32 - 1), bssMask: word("gcbssmask.bytedata"),
		}
		if missing != "" {
			return &MissingError{missing}
		}
		if m.text > m.etext || m.data > m.edata || m.bss > m.ebss || m.types > m.etypes {
			return implausible("its module data is out of order")
		}
		w.modules = append(w.modules, m)
		n := binary.LittleEndian.Uint64(buf[next.Off:])
		if n == at {
			break
		}
		at = n
	}
	return nil
}

// run reads the heap. What the graph has no room for is tried again more coarsely.
func (w *walk) run() (*heapgraph.Graph, error) {
	start := time.Now()
	w.stats.Time = start
	before := w.cycleCount()
	level := heapgraph.Exact
	for {
		g, err := w.once(level)
		var large *heapgraph.TooLargeError
		if errors.As(err, &large) {
			if next, ok := large.Coarser(); ok {
				level = next
				w.reset()
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		if p := processOf(w.rt); p != nil {
			if err := p.Alive(); err != nil {
				return nil, err
			}
		}
		w.stats.Cycles = w.cycleCount() - before
		w.stats.Took = time.Since(start)
		w.finish(g)
		return g, nil
	}
}

// reset forgets what an attempt has found.
func (w *walk) reset() {
	w.spans, w.badSpans, w.pending, w.scanned = nil, 0, nil, 0
	w.liveBits, w.pages, w.sampled, w.stringID = nil, nil, nil, 0
	w.partSpecials, w.partGlobals = false, false
	w.stats = Stats{Time: w.stats.Time}
	w.types.forget()
}

func (w *walk) cycleCount() uint64 {
	if w.cycles == 0 {
		return 0
	}
	var b [4]byte
	if w.r.bytes(w.cycles, b[:]) != nil {
		return 0
	}
	return uint64(binary.LittleEndian.Uint32(b[:]))
}

// once reads the heap at a level of detail.
func (w *walk) once(level heapgraph.Coarse) (*heapgraph.Graph, error) {
	w.passed, w.late, w.lateReads = map[uint64]bool{}, nil, 0
	w.b = heapgraph.NewBuilder(heapgraph.BuildOptions{Budget: w.opt.MaxMemory, Coarse: level})
	if err := w.readSpans(); err != nil {
		return nil, fmt.Errorf("reading the heap's spans: %w", err)
	}
	specials, err := w.readSpecials()
	if err != nil {
		return nil, fmt.Errorf("reading the heap's specials: %w", err)
	}
	if err := w.b.Layout(); err != nil {
		return nil, err
	}
	w.weigh()
	w.applySpecials(specials)
	if err := w.globals(); err != nil {
		return nil, fmt.Errorf("reading the program's variables: %w", err)
	}
	if err := w.stacks(); err != nil {
		return nil, fmt.Errorf("reading the goroutines' stacks: %w", err)
	}
	if err := w.scan(); err != nil {
		return nil, err
	}
	w.weigh()
	if err := w.follow(); err != nil {
		return nil, err
	}
	w.weigh()
	if err := w.recheck(); err != nil {
		return nil, err
	}
	// What only reading needed need not be held while the graph is finished.
	w.liveBits, w.scanBuf, w.pages, w.sampled, w.pending = nil, nil, nil, nil, nil
	g, err := w.b.Graph()
	w.weigh()
	return g, err
}

// weigh notes how large this process's heap is.
func (w *walk) weigh() {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() == metrics.KindUint64 {
		w.stats.OwnBytes = max(w.stats.OwnBytes, s[0].Value.Uint64())
	}
}

func (w *walk) finish(g *heapgraph.Graph) {
	s := &w.stats
	s.Coarse = g.Coarse
	s.Spans = len(w.spans)
	s.Objects, s.Bytes = g.LiveObjects, g.LiveBytes
	s.Edges = uint64(g.EdgeCount())
	s.Roots = len(g.Roots)
	s.BytesRead = w.r.read
	s.Precision = Conservative
	if w.headers && !w.opt.Conservative {
		s.Precision = Typed
	}
	s.GraphBytes = uint64(g.Len())*8 + uint64(g.EdgeCount())*4
	for n := heapgraph.NodeID(1); int(n) <= g.Objects(); n++ {
		if g.TypeOf(n) != 0 {
			s.TypedObjects += g.Count(n)
			s.TypedBytes += g.Size(n)
		}
	}
	note := func(on bool, format string, args ...any) {
		if on {
			s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
		}
	}
	note(s.Precision == Conservative, "every word that points into the heap was taken for a pointer: %s does not say which are, so that garbage can seem alive", w.rt.GoVersion())
	note(s.Coarse != heapgraph.Exact, "%s", s.Coarse)
	note(s.MovedSpans > 0, "%d of %d spans changed each time they were read", s.MovedSpans, s.Spans)
	note(s.NewSpans > 0, "%d spans came while the heap was read; their objects are missing", s.NewSpans)
	note(s.Cycles > 0, "%d collections ended while the heap was read", s.Cycles)
	note(s.UnreadableBytes > 0, "%d bytes of objects could not be read", s.UnreadableBytes)
	note(s.LostStacks > 0, "the stacks of %d of %d goroutines could not be read", s.LostStacks, s.Goroutines)
	note(s.ConservativeBytes > 0, "in %d bytes of objects every word that points into the heap was taken for a pointer", s.ConservativeBytes)
	note(w.partSpecials, "the heap has more than %d finalizers, cleanups, weak pointers and samples: the others, and what they keep, are missing", maxSpecials)
	note(w.partGlobals, "the program's variables refer to more than is kept: what only the others hold seems to be kept by nobody")
	note(w.types.full, "the program has more types than are kept; objects of the others have none")
}
