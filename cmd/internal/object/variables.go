package object

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
)

// Bounds of what is read to name variables.
const (
	maxSymbols    = 1 << 21 // variables in the symbol table
	maxSymbolSize = 1 << 29 // bytes of it
	maxHeaderSize = 64 << 20
	maxText       = 1 << 29 // bytes of code that are searched
	maxUsers      = 8       // functions that are kept of those that use a variable
	namedUsers    = 3       // of them it is named by
	maxUsed       = 1 << 20 // places in variables that code refers to
	maxVariable   = 1 << 16 // bytes between what code refers to and a part of it
)

// A variable is one of the program's.
type variable struct {
	addr, size uint64
	name       string
	nameAt     uint32
}

// A user is a function that refers to a place.
type user struct {
	addr uint64
	fn   uint32 // index in the function table
}

// variables knows the names of variables: from the symbol table, and where there is
// none by the functions that refer to them.
type variables struct {
	w       *walk
	symbols []variable // by address
	names   io.ReaderAt
	users   []user // by address, at most maxUsers each
	known   map[uint64]string
	// typed is what the words of variables refer to, by their addresses, where
	// debugging information says it.
	typed map[uint64][]slot
}

// variables prepares names for the places of the references.
func (w *walk) variables(refs []reference) *variables {
	if w.vars != nil {
		return w.vars // of an attempt before
	}
	v := &variables{w: w, known: map[uint64]string{}}
	w.vars = v
	if v.readSymbols(refs) && len(v.symbols) > 0 {
		return v
	}
	for _, name := range []string{"runtime.allgs", "runtime.allp", "runtime.allm", "runtime.sched", "runtime.mheap_", "runtime.work"} {
		if at, ok := w.rt.Global(name); ok {
			v.known[at] = name
		}
	}
	v.readUsers()
	return v
}

// name returns the name of the variable that an address is in, and which kind of
// root it is.
func (v *variables) name(at uint64) (string, heapgraph.RootKind) {
	kind := func(name string) heapgraph.RootKind {
		if strings.HasPrefix(name, "runtime.") {
			return heapgraph.Other
		}
		return heapgraph.Global
	}
	if name, ok := v.known[at]; ok {
		return name, kind(name)
	}
	if s := v.symbolAt(at); s != nil {
		if s.name == "" {
			s.name = v.symbolName(s.nameAt)
		}
		if s.name != "" {
			return s.name, kind(s.name)
		}
	}
	return v.used(at)
}

// symbolAt returns the variable of the symbol table that an address is in.
func (v *variables) symbolAt(at uint64) *variable {
	i, ok := slices.BinarySearchFunc(v.symbols, at, func(s variable, a uint64) int { return cmp.Compare(s.addr, a) })
	if !ok {
		i--
	}
	if i < 0 || at-v.symbols[i].addr >= max(v.symbols[i].size, 8) {
		return nil
	}
	return &v.symbols[i]
}

// used names a variable by the functions that refer to it, or to the last place
// before it that any function refers to.
func (v *variables) used(at uint64) (string, heapgraph.RootKind) {
	i, ok := slices.BinarySearchFunc(v.users, at, func(u user, a uint64) int { return cmp.Compare(u.addr, a) })
	if !ok {
		i--
	}
	if i < 0 || at-v.users[i].addr > maxVariable {
		return fmt.Sprintf("variable at %#x", at), heapgraph.Global
	}
	base := v.users[i].addr
	for i > 0 && v.users[i-1].addr == base {
		i--
	}
	kind := heapgraph.Other
	var names []string
	for ; i < len(v.users) && v.users[i].addr == base; i++ {
		f, err := v.w.rt.Table().FuncAt(int(v.users[i].fn))
		if err != nil {
			continue
		}
		name := v.w.rt.Table().FuncName(f.Entry)
		if name == "" || slices.Contains(names, name) {
			continue
		}
		if !strings.HasPrefix(name, "runtime.") {
			kind = heapgraph.Global
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return fmt.Sprintf("variable at %#x", base), heapgraph.Global
	}
	// That an init function sets it says the least.
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(initiality(a), initiality(b)) })
	return fmt.Sprintf("variable at %#x used by %s", base, strings.Join(names[:min(len(names), namedUsers)], ", ")), kind
}

// initiality is 1 for functions that run once, at the start.
func initiality(name string) int {
	_, name, _ = strings.Cut(name[strings.LastIndexByte(name, '/')+1:], ".")
	if name == "init" || strings.HasPrefix(name, "init.") || strings.HasPrefix(name, "map.init.") {
		return 1
	}
	return 0
}

// inData says whether an address is of a variable that can hold pointers.
func (w *walk) inData(addr uint64) bool {
	for i := range w.modules {
		if m := &w.modules[i]; addr >= m.data && addr < m.edata || addr >= m.bss && addr < m.ebss {
			return true
		}
	}
	return false
}

// readUsers looks through the program's code for references to its variables.
func (v *variables) readUsers() {
	w := v.w
	arm := w.arm()
	table := w.rt.Table()
	left := uint64(maxText)
	var low, high uint64 = math.MaxUint64, 0
	for i := range w.modules {
		m := &w.modules[i]
		low, high = min(low, m.data, m.bss), max(high, m.edata, m.ebss)
	}
	count := map[uint64]uint8{}
	lo, hi := table.PCRange()
	const step = 1 << 20
	buf := make([]byte, step+64)
	next, fn := 0, -1
	var fend uint64
	for at := lo; at < hi && left > 0; at += step {
		if w.ctx.Err() != nil {
			return
		}
		part := buf[:min(hi-at, uint64(len(buf)))]
		left -= min(left, step)
		if w.r.bytes(at, part) != nil {
			continue
		}
		eachReference(arm, part, at, func(end int, addr uint64) {
			if addr < low || addr >= high || !w.inData(addr) {
				return
			}
			pc := at + uint64(end) - 1
			for pc >= fend && next < table.NumFuncs() {
				f, err := table.FuncAt(next)
				if err != nil {
					return
				}
				next, fn, fend = next+1, next, f.End
			}
			if n := count[addr]; n < 2*maxUsers && (n > 0 || len(count) < maxUsed) {
				count[addr] = n + 1
				v.users = append(v.users, user{addr, uint32(fn)})
			}
		})
	}
	slices.SortFunc(v.users, func(a, b user) int { return cmp.Or(cmp.Compare(a.addr, b.addr), cmp.Compare(a.fn, b.fn)) })
	v.users = slices.Compact(v.users)
	// No more than a few for each.
	n, same := 0, 0
	for i, u := range v.users {
		if i > 0 && v.users[i-1].addr == u.addr {
			same++
		} else {
			same = 0
		}
		if same < maxUsers {
			v.users[n] = u
			n++
		}
	}
	v.users = v.users[:n]
}

// readSymbols reads the variables of the symbol table, and reports whether there
// is one that fits the process.
func (v *variables) readSymbols(refs []reference) (ok bool) {
	p := processOf(v.w.rt)
	if p == nil {
		return false
	}
	exe, err := p.OpenExe()
	if err != nil {
		return false
	}
	// debug/elf is fuzzed upstream, but promises nothing about hostile files.
	defer func() {
		if recover() != nil {
			v.symbols, v.typed, ok = nil, nil, false
		}
	}()
	f, err := elf.NewFile(io.NewSectionReader(exe, 0, math.MaxInt64))
	if err != nil || f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB || len(f.Sections) > 1<<12 {
		return false
	}
	tab := f.SectionByType(elf.SHT_SYMTAB)
	if tab == nil || int(tab.Link) >= len(f.Sections) || tab.FileSize > maxSymbolSize || tab.Type == elf.SHT_NOBITS {
		return false
	}
	str := f.Sections[tab.Link]
	v.names = io.NewSectionReader(exe, int64(str.Offset), int64(min(str.FileSize, math.MaxUint32)))
	// The program may lie elsewhere than where it was linked for.
	module, _ := v.w.rt.Global("runtime.firstmoduledata")
	var bias uint64
	found := false
	each := func(fn func(name uint32, value, size uint64)) bool {
		buf := make([]byte, elf.Sym64Size<<13)
		for off := uint64(0); off < tab.FileSize; off += uint64(len(buf)) {
			part := buf[:min(uint64(len(buf)), tab.FileSize-off)]
			if v.w.ctx.Err() != nil {
				return false
			}
			if _, err := exe.ReadAt(part, int64(tab.Offset+off)); err != nil {
				return false
			}
			for ; len(part) >= elf.Sym64Size; part = part[elf.Sym64Size:] {
				if part[4]&0xf == byte(elf.STT_OBJECT) {
					le := binary.LittleEndian
					fn(le.Uint32(part), le.Uint64(part[8:]), le.Uint64(part[16:]))
				}
			}
		}
		return true
	}
	if f.Type == elf.ET_DYN {
		// Symbols that end like the module data's address are few.
		each(func(name uint32, value, _ uint64) {
			if !found && value&0xfff == module&0xfff && v.symbolName(name) == "runtime.firstmoduledata" {
				bias, found = module-value, true
			}
		})
		if !found {
			return false
		}
	}
	if !each(func(name uint32, value, size uint64) {
		if at := value + bias; len(v.symbols) < maxSymbols && v.w.inData(at) {
			v.symbols = append(v.symbols, variable{addr: at, size: size, nameAt: name})
		}
	}) {
		return false
	}
	slices.SortStableFunc(v.symbols, func(a, b variable) int {
		// Of two at one place, such as runtime.bss and the first variable, the larger.
		return cmp.Or(cmp.Compare(a.addr, b.addr), cmp.Compare(b.size, a.size))
	})
	v.symbols = slices.CompactFunc(v.symbols, func(a, b variable) bool { return a.addr == b.addr })
	holding := map[uint64]bool{}
	for _, ref := range refs {
		if s := v.symbolAt(ref.at); s != nil {
			holding[s.addr] = true
		}
	}
	v.typed = v.w.types.variableTypes(f, bias, func(addr uint64) bool { return holding[addr] })
	return true
}

// symbolName reads a name of the symbol table's strings.
func (v *variables) symbolName(at uint32) string {
	var b [maxName]byte
	n, _ := v.names.ReadAt(b[:], int64(at))
	name, _, _ := strings.Cut(string(b[:n]), "\x00")
	return strings.ToValidUTF8(name, "\ufffd")
}
