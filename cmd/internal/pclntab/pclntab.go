// Package pclntab reads the table in which a Go program describes its own code:
// which functions lie where, which source line every instruction comes from,
// what was inlined, and how large each stack frame is. The table is in every Go
// program, stripped or not.
//
// It reads the format of Go 1.20 to 1.27 (magic 0xfffffff1; runtime/symtab.go,
// runtime/symtabinl.go, cmd/link/internal/ld/pcln.go), for 64-bit little-endian
// targets. It reads pages of the table as it needs them and keeps few of them.
// It takes nothing in the table on trust: a table that lies gives wrong answers
// or errors, but never a panic, an endless loop, or memory without bound.
//
// It does not find the table, nor the module data that says where the program's
// text lies; the caller does.
package pclntab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/heapwright/heapwright/record"
)

// Magic is the first word of the table, abi.Go120PCLnTabMagic.
const Magic = 0xfffffff1

const (
	headerSize     = 8 + 8*8
	funcSize       = 44 // runtime._func up to its variable part
	inlineCallSize = 16 // runtime.inlinedCall
	maxFuncs       = 1 << 26
	maxPCSteps     = 1 << 20 // of one pc-value table
	maxInlineDepth = 1 << 10

	pcdataInlTreeIndex = 2 // abi.PCDATA_InlTreeIndex
	funcdataInlTree    = 3 // abi.FUNCDATA_InlTree
)

// Flags of a function, abi.FuncFlag.
const (
	FlagTopFrame = 1 << iota // the outermost function of a stack
	FlagSPWrite              // writes the stack pointer in ways SPDelta does not know
	FlagAsm                  // written in assembly
)

// A FormatError says what is wrong with a table.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string { return "not a usable pclntab: " + e.Reason }

// Options is what the table itself does not say.
type Options struct {
	// TextStart is the address that function offsets count from,
	// moduledata.text. Since Go 1.26 the table no longer holds it, and before
	// that not at its run-time value in a PIE. With 0, entries are offsets.
	TextStart uint64
	// FuncData reads the module's function data, at offsets from
	// moduledata.gofunc. Without it there is no inlining information.
	FuncData io.ReaderAt
	// GoVersion is the release that built the program, such as "go1.26.8". How
	// the names of generic functions are printed depends on it.
	GoVersion string
}

// A Func is one function of the table.
type Func struct {
	Index     int
	Entry     uint64 // address of its first instruction
	End       uint64 // address of the next function, padding included
	EntryOff  uint32 // Entry - TextStart
	Args      int32  // size of arguments and results in bytes, if known
	ID        uint8  // abi.FuncID; its numbering depends on the Go release
	Flags     uint8  // FlagTopFrame, ...
	StartLine int32  // line of the func keyword

	nameOff   int32
	pcsp      uint32
	pcfile    uint32
	pcln      uint32
	cuOff     uint32
	npcdata   uint32
	nfuncdata uint8
	rec       int64 // offset of its record in the table
}

// A Table is an open pclntab. Its methods may be called concurrently.
type Table struct {
	mu        sync.Mutex
	p         *pager
	data      *pager // function data, nil without
	quantum   uint32
	textStart uint64
	hdrText   uint64
	nfunc     int
	minOff    uint32 // first function
	maxOff    uint32 // end of the last function
	namesOff  int64
	cuOff     int64
	filesOff  int64
	pctabOff  int64
	pclnOff   int64
	names     map[int32]string
	files     map[uint32]string
	ids       *specialIDs
	printName func(string) string
}

// specialIDs are the function IDs the unwinder and the wrapper rules need, in
// the numbering of this program. 0xff stands for one that was not linked.
type specialIDs struct {
	wrapper, gopanic, sigpanic, panicwrap uint8
	asyncPreempt, debugCall, cgocallback  uint8
}

var specialNames = []string{
	"runtime.systemstack_switch", "runtime.gopanic", "runtime.sigpanic", "runtime.panicwrap",
	"runtime.asyncPreempt", "runtime.debugCallV2", "runtime.cgocallback",
}

// Open checks the header of the table that src holds from offset 0. size is the
// length of the table or an upper bound of it, such as the end of its segment.
func Open(src io.ReaderAt, size int64, opts Options) (*Table, error) {
	if size < headerSize {
		return nil, &FormatError{"too short for a header"}
	}
	t := &Table{
		p:         newPager(src, size),
		textStart: opts.TextStart,
		names:     make(map[int32]string),
		files:     make(map[uint32]string),
		printName: printNameFor(opts.GoVersion),
	}
	if opts.FuncData != nil {
		t.data = newPager(opts.FuncData, 1<<32) // offsets are 32 bits wide
	}
	h, err := t.p.bytes(0, headerSize)
	if err != nil {
		return nil, fmt.Errorf("reading pclntab header: %w", err)
	}
	switch magic := binary.LittleEndian.Uint32(h); magic {
	case Magic:
	case 0xfffffff0:
		return nil, &FormatError{"it is of Go 1.18 or 1.19, Go 1.20 or newer is needed"}
	case 0xfffffffa, 0xfffffffb:
		return nil, &FormatError{"it is of Go 1.17 or older, Go 1.20 or newer is needed"}
	default:
		return nil, &FormatError{fmt.Sprintf("unknown magic %#x", magic)}
	}
	if h[4] != 0 || h[5] != 0 {
		return nil, &FormatError{"padding is not zero"}
	}
	if h[6] != 1 && h[6] != 2 && h[6] != 4 {
		return nil, &FormatError{fmt.Sprintf("instruction size %d", h[6])}
	}
	if h[7] != 8 {
		return nil, &FormatError{fmt.Sprintf("pointers of %d bytes, only 64-bit programs are supported", h[7])}
	}
	t.quantum = uint32(h[6])
	var w [8]uint64
	for i := range w {
		w[i] = binary.LittleEndian.Uint64(h[8+8*i:])
	}
	nfunc := w[0]
	t.hdrText = w[2]
	prev := uint64(headerSize)
	for _, off := range w[3:] {
		if off < prev || off > uint64(size) {
			return nil, &FormatError{"its parts are not in order"}
		}
		prev = off
	}
	t.namesOff, t.cuOff, t.filesOff, t.pctabOff, t.pclnOff = int64(w[3]), int64(w[4]), int64(w[5]), int64(w[6]), int64(w[7])
	if nfunc == 0 || nfunc > maxFuncs || int64(nfunc)*8+4 > size-t.pclnOff {
		return nil, &FormatError{fmt.Sprintf("%d functions do not fit", nfunc)}
	}
	t.nfunc = int(nfunc)
	if t.minOff, err = t.entryOff(0); err != nil {
		return nil, fmt.Errorf("reading pclntab: %w", err)
	}
	if t.maxOff, err = t.entryOff(t.nfunc); err != nil {
		return nil, fmt.Errorf("reading pclntab: %w", err)
	}
	if t.minOff >= t.maxOff {
		return nil, &FormatError{"its functions have no extent"}
	}
	return t, nil
}

// NumFuncs returns the number of functions, inlined ones not counted.
func (t *Table) NumFuncs() int { return t.nfunc }

// Quantum returns the instruction alignment: 1 on amd64, 4 on arm64.
func (t *Table) Quantum() int { return int(t.quantum) }

// TextStart returns the address that function offsets count from.
func (t *Table) TextStart() uint64 { return t.textStart }

// HeaderTextStart returns the text address the table was linked with; 0 since
// Go 1.26, and in a PIE.
func (t *Table) HeaderTextStart() uint64 { return t.hdrText }

// PCRange returns the addresses [min, max) that the table covers,
// moduledata.minpc and maxpc.
func (t *Table) PCRange() (lo, hi uint64) {
	return t.textStart + uint64(t.minOff), t.textStart + uint64(t.maxOff)
}

// Place sets where the program's text lies and how to read its function data,
// for a table that was opened before that was known.
func (t *Table) Place(opts Options) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.textStart = opts.TextStart
	t.printName = printNameFor(opts.GoVersion)
	t.data = nil
	if opts.FuncData != nil {
		t.data = newPager(opts.FuncData, 1<<32)
	}
}

func (t *Table) entryOff(i int) (uint32, error) {
	b, err := t.p.bytes(t.pclnOff+int64(i)*8, 4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

// FuncAt returns function i, 0 <= i < NumFuncs, in the order of addresses.
func (t *Table) FuncAt(i int) (Func, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.funcAt(i)
}

func (t *Table) funcAt(i int) (Func, error) {
	if i < 0 || i >= t.nfunc {
		return Func{}, errOutOfTable
	}
	b, err := t.p.bytes(t.pclnOff+int64(i)*8, 12)
	if err != nil {
		return Func{}, err
	}
	start := binary.LittleEndian.Uint32(b)
	rec := t.pclnOff + int64(binary.LittleEndian.Uint32(b[4:]))
	end := binary.LittleEndian.Uint32(b[8:])
	b, err = t.p.bytes(rec, funcSize)
	if err != nil {
		return Func{}, err
	}
	f := decodeFunc(b)
	f.Index = i
	f.rec = rec
	// The functab rules where they differ, as in the runtime's own lookup.
	f.EntryOff = start
	f.Entry = t.textStart + uint64(start)
	f.End = t.textStart + uint64(max(start, end))
	return f, nil
}

func decodeFunc(b []byte) Func {
	le := binary.LittleEndian
	return Func{
		nameOff:   int32(le.Uint32(b[4:])),
		Args:      int32(le.Uint32(b[8:])),
		pcsp:      le.Uint32(b[16:]),
		pcfile:    le.Uint32(b[20:]),
		pcln:      le.Uint32(b[24:]),
		npcdata:   le.Uint32(b[28:]),
		cuOff:     le.Uint32(b[32:]),
		StartLine: int32(le.Uint32(b[36:])),
		ID:        b[40],
		Flags:     b[41],
		nfuncdata: b[43],
	}
}

// FuncForPC returns the function that contains pc.
func (t *Table) FuncForPC(pc uint64) (Func, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.find(pc)
}

func (t *Table) find(pc uint64) (Func, bool) {
	off := pc - t.textStart
	if pc < t.textStart || off < uint64(t.minOff) || off >= uint64(t.maxOff) {
		return Func{}, false
	}
	lo, hi := 0, t.nfunc // entry(lo) <= off < entry(hi)
	for hi-lo > 1 {
		mid := int(uint(lo+hi) / 2)
		e, err := t.entryOff(mid)
		if err != nil {
			return Func{}, false
		}
		if uint64(e) <= off {
			lo = mid
		} else {
			hi = mid
		}
	}
	f, err := t.funcAt(lo)
	if err != nil || pc < f.Entry || pc >= f.End {
		return Func{}, false
	}
	return f, true
}

// Forget lets go of what was read of the table so far; it is read again when it is
// needed. For who keeps many tables and looks into each of them seldom.
func (t *Table) Forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p.forget()
	if t.data != nil {
		t.data.forget()
	}
	t.names, t.files = make(map[int32]string), make(map[uint32]string)
}

// Name returns the full symbol name of f, "" when it has none. Names of
// instantiated generic functions hold their type arguments.
func (t *Table) Name(f Func) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.name(f.nameOff)
}

func (t *Table) name(off int32) string {
	if off <= 0 {
		return ""
	}
	if s, ok := t.names[off]; ok {
		return s
	}
	s, err := t.p.cstring(t.namesOff+int64(off), t.cuOff)
	if err != nil {
		s = ""
	}
	if len(t.names) >= 1<<14 {
		clear(t.names)
	}
	t.names[off] = s
	return s
}

func (t *Table) file(f *Func, fileno int32) string {
	if fileno < 0 {
		return "?"
	}
	b, err := t.p.bytes(t.cuOff+4*(int64(f.cuOff)+int64(fileno)), 4)
	if err != nil {
		return "?"
	}
	off := binary.LittleEndian.Uint32(b)
	if off == ^uint32(0) {
		return "?"
	}
	if s, ok := t.files[off]; ok {
		return s
	}
	s, err := t.p.cstring(t.filesOff+int64(off), t.pctabOff)
	if err != nil {
		return "?"
	}
	if len(t.files) >= 1<<13 {
		clear(t.files)
	}
	t.files[off] = s
	return s
}

// pcvalue returns the value that the pc-value table at off has for pc, -1 when
// it has none (runtime.pcvalue).
func (t *Table) pcvalue(f *Func, off uint32, pc uint64) int32 {
	if off == 0 {
		return -1
	}
	start := t.pctabOff + int64(off)
	if start >= t.pclnOff {
		return -1
	}
	c := cursor{p: t.p, off: start}
	at := f.Entry
	val := int32(-1)
	for i := range maxPCSteps {
		uv, err := c.uvarint()
		if err != nil || uv == 0 && i > 0 {
			return -1
		}
		val += int32(-(uv & 1) ^ (uv >> 1))
		dpc, err := c.uvarint()
		if err != nil {
			return -1
		}
		at += uint64(dpc * t.quantum)
		if pc < at {
			return val
		}
		if at >= f.End {
			return -1
		}
	}
	return -1
}

func (t *Table) pcdata(f *Func, table uint32, pc uint64) int32 {
	if table >= f.npcdata {
		return -1
	}
	b, err := t.p.bytes(f.rec+funcSize+4*int64(table), 4)
	if err != nil {
		return -1
	}
	return t.pcvalue(f, binary.LittleEndian.Uint32(b), pc)
}

// fileLine returns the source position of the instruction at pc.
func (t *Table) fileLine(f *Func, pc uint64) (string, int) {
	fileno := t.pcvalue(f, f.pcfile, pc)
	line := t.pcvalue(f, f.pcln, pc)
	if fileno == -1 || line == -1 {
		return "?", 0
	}
	return t.file(f, fileno), int(line)
}

// FuncName returns the name of the innermost function at exactly pc, inlined or
// not, as runtime.FuncForPC(pc).Name() does; "" outside of Go code.
func (t *Table) FuncName(pc uint64) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.find(pc)
	if !ok {
		return ""
	}
	if tree, ok := t.inlineTree(&f); ok {
		if ix := t.pcdata(&f, pcdataInlTreeIndex, pc); ix >= 0 {
			if call, ok := t.inlinedCall(tree, ix); ok {
				return t.printName(t.name(call.nameOff))
			}
		}
	}
	return t.printName(t.name(f.nameOff))
}

// SPDelta returns the distance from the stack pointer at pc to the function's
// frame top, in bytes: on amd64 the return address lies there.
func (t *Table) SPDelta(f Func, pc uint64) (int32, bool) {
	if f.pcsp == 0 {
		return 0, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.pcvalue(&f, f.pcsp, pc)
	return d, d >= 0
}

// A Frame is one function of a stack.
type Frame struct {
	record.Frame        // Func is as runtime.Frame.Function: type arguments are "..."
	Symbol       string // full name
	PC           uint64 // the instruction its file and line belong to
	StartLine    int
	Inlined      bool
}

// A Callee says what a frame called, for the rule that hides wrappers. The zero
// Callee belongs to the leaf of a stack that was unwound from memory.
type Callee struct {
	id   uint8
	set  bool
	keep bool
}

// Recorded is the Callee for a program counter that the runtime recorded
// itself, as in its profiles: it has left out wrappers already, so the function
// at the address is kept whatever it is.
var Recorded = Callee{keep: true}

// Frames returns the functions at a return address of a stack, leaf first:
// those that were inlined there, and the one that holds the code, as
// runtime.CallersFrames has them. The result is nil for an address outside of
// the program's Go code.
func (t *Table) Frames(pc uint64) []record.Frame {
	var buf [8]Frame
	frames, _ := t.Expand(buf[:0], pc, true, Recorded)
	var out []record.Frame
	for i := range frames {
		out = append(out, frames[i].Frame)
	}
	return out
}

// Expand appends the functions at pc to dst, leaf first. ret says that pc is a
// return address, so that the instruction before it counts, as in all frames
// but one that was interrupted. callee is what the previous call, for the frame
// below, returned.
func (t *Table) Expand(dst []Frame, pc uint64, ret bool, callee Callee) ([]Frame, Callee) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.find(pc)
	if !ok {
		return dst, callee
	}
	if ret && pc > f.Entry {
		pc--
	}
	ids := t.special()
	inl, haveInl := t.inlineTree(&f)
	for range maxInlineDepth {
		var (
			call    inlinedCall
			inlined bool
		)
		if haveInl {
			if ix := t.pcdata(&f, pcdataInlTreeIndex, pc); ix >= 0 {
				call, inlined = t.inlinedCall(inl, ix)
			}
		}
		fn := Frame{PC: pc, Inlined: inlined}
		id := f.ID
		nameOff := f.nameOff
		fn.StartLine = int(f.StartLine)
		if inlined {
			id, nameOff, fn.StartLine = call.id, call.nameOff, int(call.startLine)
		}
		if id != ids.wrapper || callee.keep || callee.set && (callee.id == ids.gopanic || callee.id == ids.sigpanic || callee.id == ids.panicwrap) {
			fn.Symbol = t.name(nameOff)
			fn.Func = t.printName(fn.Symbol)
			fn.File, fn.Line = t.fileLine(&f, pc)
			dst = append(dst, fn)
		}
		callee = Callee{id: id, set: true}
		if !inlined {
			return dst, callee
		}
		pc = f.Entry + uint64(int64(call.parentPC))
		if pc < f.Entry || pc >= f.End {
			return dst, callee
		}
	}
	return dst, callee
}

type inlinedCall struct {
	id        uint8
	nameOff   int32
	parentPC  int32
	startLine int32
}

// inlineTree returns the offset of f's inline tree in the function data.
func (t *Table) inlineTree(f *Func) (int64, bool) {
	if t.data == nil || f.nfuncdata <= funcdataInlTree {
		return 0, false
	}
	b, err := t.p.bytes(f.rec+funcSize+4*int64(f.npcdata)+4*funcdataInlTree, 4)
	if err != nil {
		return 0, false
	}
	off := binary.LittleEndian.Uint32(b)
	return int64(off), off != ^uint32(0)
}

func (t *Table) inlinedCall(tree int64, ix int32) (inlinedCall, bool) {
	b, err := t.data.bytes(tree+int64(ix)*inlineCallSize, inlineCallSize)
	if err != nil {
		return inlinedCall{}, false
	}
	le := binary.LittleEndian
	return inlinedCall{b[0], int32(le.Uint32(b[4:])), int32(le.Uint32(b[8:])), int32(le.Uint32(b[12:]))}, true
}

// special resolves the function IDs by name: their numbers differ between
// releases, and the table does not say which release wrote it.
func (t *Table) special() *specialIDs {
	if t.ids == nil {
		if _, err := t.lookup(nil); err != nil {
			// Without them no wrapper is hidden, and nothing else is lost.
			t.setSpecial(nil)
		}
	}
	return t.ids
}

func (t *Table) setSpecial(found map[string][]Func) {
	id := func(name string) uint8 {
		best := uint8(0xff)
		for _, f := range found[name] {
			// An ABI wrapper bears the same name and the largest ID.
			if f.ID != 0 {
				best = min(best, f.ID)
			}
		}
		return best
	}
	t.ids = &specialIDs{
		wrapper:      0xff,
		gopanic:      id("runtime.gopanic"),
		sigpanic:     id("runtime.sigpanic"),
		panicwrap:    id("runtime.panicwrap"),
		asyncPreempt: id("runtime.asyncPreempt"),
		debugCall:    id("runtime.debugCallV2"),
		cgocallback:  id("runtime.cgocallback"),
	}
	// FuncIDWrapper follows systemstack_switch in all of Go 1.20 to 1.27.
	if s := id("runtime.systemstack_switch"); s != 0xff {
		t.ids.wrapper = s + 1
	}
}

// IsInjectedCall reports whether f is a function that a signal handler makes
// another one seem to call: the caller's program counter is then no return
// address (runtime.isInjectedCall).
func (t *Table) IsInjectedCall(f Func) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids := t.special()
	return f.ID != 0 && f.ID != 0xff && (f.ID == ids.sigpanic || f.ID == ids.asyncPreempt || f.ID == ids.debugCall)
}

// MayUnwind reports whether the frame of f can be unwound from a saved program
// counter. A function that writes the stack pointer freely cannot, but for
// cgocallback, and for the innermost frame of a system call, which was saved
// before it did (runtime.(*unwinder).resolveInternal).
func (t *Table) MayUnwind(f Func, syscall bool) bool {
	if f.Flags&FlagSPWrite == 0 || syscall {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return f.ID == t.special().cgocallback
}

// FuncByName returns the functions with that symbol name, in the order of
// addresses. There can be several: ABI wrappers bear the name of what they wrap.
func (t *Table) FuncByName(name string) ([]Func, error) {
	m, err := t.Lookup([]string{name})
	return m[name], err
}

// Lookup finds functions by symbol name in one pass over the table, whose cost
// does not depend on how many names there are.
func (t *Table) Lookup(names []string) (map[string][]Func, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lookup(names)
}

func (t *Table) lookup(names []string) (map[string][]Func, error) {
	wanted := make(map[string]bool, len(names)+len(specialNames))
	for _, n := range names {
		wanted[n] = true
	}
	all := wanted
	if t.ids == nil {
		for _, n := range specialNames {
			if !wanted[n] {
				wanted[n] = false
			}
		}
	}
	offs, err := t.findNames(all)
	if err != nil {
		return nil, fmt.Errorf("searching pclntab names: %w", err)
	}
	found, err := t.findFuncs(offs)
	if err != nil {
		return nil, fmt.Errorf("searching pclntab functions: %w", err)
	}
	if t.ids == nil {
		t.setSpecial(found)
	}
	for n := range found {
		if !wanted[n] {
			delete(found, n)
		}
	}
	return found, nil
}

const chunkSize = 256 << 10

// findNames returns the offsets of the wanted names in the name table.
func (t *Table) findNames(wanted map[string]bool) (map[int32]string, error) {
	var lengths [256]bool
	var long bool
	for n := range wanted {
		if len(n) < len(lengths) {
			lengths[len(n)] = true
		} else {
			long = true
		}
	}
	intern := make(map[string]string, len(wanted))
	for n := range wanted {
		intern[n] = n
	}
	out := make(map[int32]string)
	err := t.eachName(func(off int64, b []byte) {
		if i := len(b); i < len(lengths) && !lengths[i] || i >= len(lengths) && !long {
			return
		}
		if name, ok := intern[string(b)]; ok && off > 0 && off < 1<<31 && len(out) < 1<<16 {
			out[int32(off)] = name
		}
	})
	return out, err
}

// NamesBegin reports which of the prefixes some function's name begins with,
// functions that exist only inlined into others included. It is one pass over
// the names.
func (t *Table) NamesBegin(prefixes []string) (map[string]bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// Nearly all names are told apart by what they begin with.
	var first [256][]string
	for _, p := range prefixes {
		if p != "" {
			first[p[0]] = append(first[p[0]], p)
		}
	}
	found := make(map[string]bool)
	err := t.eachName(func(_ int64, b []byte) {
		if len(b) == 0 {
			return
		}
		for _, p := range first[b[0]] {
			if len(b) >= len(p) && string(b[:len(p)]) == p {
				found[p] = true
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("searching pclntab names: %w", err)
	}
	return found, nil
}

// eachName calls visit with each name of the name table and its offset there.
// Names too long to be of interest are left out.
func (t *Table) eachName(visit func(off int64, name []byte)) error {
	buf := make([]byte, 0, chunkSize)
	base := t.namesOff // table offset of buf[0]
	skip := false      // inside a name too long to be one of ours
	for pos := base; pos < t.cuOff; {
		n := min(int64(cap(buf)-len(buf)), t.cuOff-pos)
		part := buf[len(buf) : len(buf)+int(n)]
		got, err := t.p.src.ReadAt(part, pos)
		if got < len(part) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		buf = buf[:len(buf)+got]
		pos += int64(got)
		start := 0
		for {
			i := indexZero(buf[start:])
			if i < 0 {
				break
			}
			if !skip {
				visit(base+int64(start)-t.namesOff, buf[start:start+i])
			}
			skip = false
			start += i + 1
		}
		rest := len(buf) - start
		if rest == cap(buf) {
			skip = true
			start, rest = len(buf), 0
		}
		copy(buf[:rest], buf[start:])
		base += int64(start)
		buf = buf[:rest]
	}
	return nil
}

// findFuncs returns the functions whose names have one of the offsets.
func (t *Table) findFuncs(offs map[int32]string) (map[string][]Func, error) {
	out := make(map[string][]Func)
	if len(offs) == 0 {
		return out, nil
	}
	// Most functions are told apart by one bit of a small set.
	var filter [1 << 10]uint64
	for off := range offs {
		filter[uint32(off)>>6&(1<<10-1)] |= 1 << (uint32(off) & 63)
	}
	tab := newStream(t.p.src, t.p.size)
	recs := newStream(t.p.src, t.p.size)
	count := 0
	for i := range t.nfunc {
		b, err := tab.bytes(t.pclnOff+int64(i)*8, 8)
		if err != nil {
			return nil, err
		}
		rec := t.pclnOff + int64(binary.LittleEndian.Uint32(b[4:]))
		if b, err = recs.bytes(rec, 8); err != nil {
			return nil, err
		}
		off := int32(binary.LittleEndian.Uint32(b[4:]))
		if filter[uint32(off)>>6&(1<<10-1)]&(1<<(uint32(off)&63)) == 0 {
			continue
		}
		name, ok := offs[off]
		if !ok {
			continue
		}
		f, err := t.funcAt(i)
		if err != nil {
			return nil, err
		}
		if count++; count > 1<<16 {
			return nil, errors.New("too many functions of one name")
		}
		out[name] = append(out[name], f)
	}
	return out, nil
}
