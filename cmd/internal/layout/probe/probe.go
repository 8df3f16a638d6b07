// Package probe takes a release's structure layouts and anchors from a program
// that its toolchain built with symbols and DWARF. It is the generator's half of
// package layout, and the oracle of its tests.
package probe

import (
	"debug/dwarf"
	"debug/elf"
	"fmt"
	"sort"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/fingerprint"
	"github.com/heapwright/heapwright/cmd/internal/layout"
)

// Globals are the runtime's variables that the product reads, as symbols.
var Globals = []string{
	"runtime.MemProfileRate", "runtime.allglen", "runtime.allgptr", "runtime.allgs", "runtime.allm", "runtime.allp",
	"runtime.bbuckets", "runtime.blockprofilerate", "runtime.buildVersion", "runtime.disableMemoryProfiling", "runtime.fingStatus",
	"runtime.firstmoduledata", "runtime.gcBlackenEnabled", "runtime.gcCPULimiter", "runtime.gcController",
	"runtime.gcphase", "runtime.gomaxprocs", "runtime.iscgo", "runtime.mProfCycle", "runtime.mbuckets",
	"runtime.memstats", "runtime.mheap_", "runtime.mutexprofilerate", "runtime.ncpu", "runtime.runtimeInitTime",
	"runtime.scavenge", "runtime.sched", "runtime.ticks", "runtime.waitReasonStrings", "runtime.work", "runtime.xbuckets",
}

// structs are the structures whose layouts are kept, by the name of their type
// or, where it has none in some release, of a variable of it; and how deep
// nested structures are followed.
var structs = []struct {
	name, variable string
	depth          int
}{
	{"g", "", 2}, {"m", "", 1}, {"p", "", 2}, {"schedt", "runtime.sched", 3}, {"sudog", "", 1}, {"hchan", "", 1},
	{"gcControllerState", "runtime.gcController", 1}, {"gcCPULimiterState", "runtime.gcCPULimiter", 2},
	{"workType", "runtime.work", 2}, {"cpuStats", "", 1}, {"mstats", "runtime.memstats", 2},
	{"consistentHeapStats", "", 1}, {"heapStatsDelta", "", 1}, {"timeHistogram", "", 1},
	{"scavenge", "runtime.scavenge", 1}, {"mheap", "runtime.mheap_", 1}, {"mcache", "", 1}, {"mspan", "", 1},
	{"moduledata", "runtime.firstmoduledata", 2}, {"pcHeader", "", 1}, {"bucket", "", 1}, {"memRecord", "", 2}, {"memRecordCycle", "", 1},
	{"blockRecord", "", 1}, {"mProfCycleHolder", "runtime.mProfCycle", 2}, {"ticksType", "runtime.ticks", 1}, {"timer", "", 1},
}

// A Probe is what one build gives.
type Probe struct {
	Structs map[string]map[string][2]uint32
	Anchors []layout.Anchor
	GOARCH  string
	// Symbols holds the address of each of Globals that the program has.
	Symbols map[string]uint64
}

// Read takes a probe program apart.
func Read(path string) (*Probe, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading probe: %w", err)
	}
	defer f.Close()
	p := &Probe{Symbols: map[string]uint64{}}
	switch f.Machine {
	case elf.EM_X86_64:
		p.GOARCH = "amd64"
	case elf.EM_AARCH64:
		p.GOARCH = "arm64"
	default:
		return nil, fmt.Errorf("reading probe %s: machine %v", path, f.Machine)
	}
	if err := p.readDWARF(f); err != nil {
		return nil, fmt.Errorf("reading probe %s: %w", path, err)
	}
	if err := p.readAnchors(f); err != nil {
		return nil, fmt.Errorf("reading probe %s: %w", path, err)
	}
	return p, nil
}

func (p *Probe) readDWARF(f *elf.File) error {
	d, err := f.DWARF()
	if err != nil {
		return err
	}
	byType := map[string]dwarf.Type{}
	byVar := map[string]dwarf.Type{}
	wantType, wantVar := map[string]bool{}, map[string]bool{}
	for _, s := range structs {
		wantType["runtime."+s.name] = true
		wantVar[s.variable] = true
	}
	r := d.Reader()
	for {
		e, err := r.Next()
		if err != nil {
			return err
		}
		if e == nil {
			break
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		switch e.Tag {
		case dwarf.TagStructType:
			if wantType[name] {
				t, err := d.Type(e.Offset)
				if err != nil {
					return err
				}
				byType[name] = t
			}
		case dwarf.TagVariable:
			if wantVar[name] && name != "" {
				if off, ok := e.Val(dwarf.AttrType).(dwarf.Offset); ok {
					t, err := d.Type(off)
					if err != nil {
						return err
					}
					byVar[name] = t
				}
			}
		case dwarf.TagSubprogram:
			r.SkipChildren()
		}
	}
	p.Structs = map[string]map[string][2]uint32{}
	for _, s := range structs {
		t := byType["runtime."+s.name]
		if t == nil {
			t = byVar[s.variable]
		}
		st := structOf(t)
		if st == nil {
			continue // this release does not have it
		}
		fields := map[string][2]uint32{"": {0, uint32(st.ByteSize)}}
		flatten(fields, "", 0, st, s.depth)
		p.Structs[s.name] = fields
	}
	return nil
}

func structOf(t dwarf.Type) *dwarf.StructType {
	for {
		switch u := t.(type) {
		case *dwarf.TypedefType:
			t = u.Type
		case *dwarf.StructType:
			return u
		default:
			return nil
		}
	}
}

func flatten(out map[string][2]uint32, prefix string, base int64, st *dwarf.StructType, depth int) {
	for _, f := range st.Field {
		if f.Name == "_" || f.Name == "" {
			continue
		}
		name := prefix + f.Name
		out[name] = [2]uint32{uint32(base + f.ByteOffset), uint32(f.Type.Size())}
		if inner := structOf(f.Type); inner != nil && depth > 1 && !strings.HasPrefix(inner.StructName, "internal/runtime/atomic.") {
			flatten(out, name+".", base+f.ByteOffset, inner, depth-1)
		}
	}
}

func (p *Probe) readAnchors(f *elf.File) error {
	syms, err := f.Symbols()
	if err != nil {
		return err
	}
	text := f.Section(".text")
	if text == nil {
		return fmt.Errorf("no .text")
	}
	code, err := text.Data()
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, g := range Globals {
		wanted[g] = true
	}
	var globals, funcs []elf.Symbol
	for _, s := range syms {
		switch {
		case wanted[s.Name]:
			globals = append(globals, s)
			p.Symbols[s.Name] = s.Value
		case elf.ST_TYPE(s.Info) == elf.STT_FUNC && strings.HasPrefix(s.Name, "runtime."):
			funcs = append(funcs, s)
		}
	}
	sort.Slice(globals, func(i, j int) bool { return globals[i].Value < globals[j].Value })
	find := func(addr uint64) (elf.Symbol, bool) {
		i := sort.Search(len(globals), func(i int) bool { return globals[i].Value > addr }) - 1
		if i < 0 || addr >= globals[i].Value+max(globals[i].Size, 1) {
			return elf.Symbol{}, false
		}
		return globals[i], true
	}
	for _, fn := range funcs {
		lo := fn.Value - text.Addr
		if fn.Value < text.Addr || lo+fn.Size > uint64(len(code)) || fn.Size == 0 {
			continue
		}
		print, err := fingerprint.Of(p.GOARCH, code[lo:lo+fn.Size], fn.Value)
		if err != nil {
			continue // cannot serve as an anchor
		}
		// The symbol table names an ABI0 wrapper "f.abi0"; the pclntab says "f" for both.
		a := layout.Anchor{Func: strings.TrimSuffix(fn.Name, ".abi0"), Size: uint32(fn.Size), Hash: print.Hash}
		for i, ref := range print.Refs {
			a.Fields = append(a.Fields, ref.Field)
			if g, ok := find(ref.Addr); ok && !ref.Code {
				a.Refs = append(a.Refs, layout.Ref{Index: i, Symbol: g.Name, Addend: int64(ref.Addr - g.Value)})
			}
		}
		if len(a.Refs) > 0 {
			p.Anchors = append(p.Anchors, a)
		}
	}
	return nil
}
