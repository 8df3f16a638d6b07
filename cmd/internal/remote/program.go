package remote

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/layout"
	"github.com/heapwright/heapwright/cmd/internal/pclntab"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

func newest() string { return strings.TrimPrefix(layout.Newest("amd64"), "go") }

// A program is an executable whose runtime has been located in a process: where
// its globals lie, and how its structures are laid out.
type program struct {
	release *layout.Release
	table   *pclntab.Table
	module  moduleData
	globals map[string]uint64 // run-time addresses
	missing map[string]string // why a global is not among them
	voters  map[string]int    // how many functions, and the symbol table, agree on a global
	bias    uint64
}

// moduleData is what is used of runtime.moduledata; all are run-time addresses.
type moduleData struct {
	addr                               uint64
	text, etext, minpc, maxpc          uint64
	noptrdata, enoptrdata, data, edata uint64
	bss, ebss, noptrbss, enoptrbss     uint64
	gofunc                             uint64
	ftabLen                            uint64
	rodata, types, etypes              uint64
}

// locate finds the runtime of the program in img, as it is mapped in mem at
// link-time address + bias. goVersion is what the build info says. known is the
// outcome for another process of the same file, or nil: it saves the election.
func locate(img *image, goVersion string, mem procmem.Memory, bias uint64, known *program) (*program, error) {
	rel, err := layout.Lookup(goVersion, img.goarch)
	if err != nil {
		var unknown *layout.UnknownError
		if errors.As(err, &unknown) {
			return nil, &UnsupportedError{What: unknown.Error(), hint: unknown.Hint(), err: err}
		}
		return nil, err
	}
	table, err := pclntab.Open(io.NewSectionReader(img, int64(img.tab), int64(img.tabEnd-img.tab)), int64(img.tabEnd-img.tab), pclntab.Options{})
	if err != nil {
		return nil, refuse("its function table is damaged: %v", err)
	}
	p := &program{release: rel, table: table, bias: bias}
	p.module, err = findModule(img, rel.Layout, mem, bias, uint64(table.NumFuncs()))
	if err != nil {
		return nil, err
	}
	table.Place(pclntab.Options{
		TextStart: p.module.text,
		GoVersion: goVersion,
		FuncData:  io.NewSectionReader(img, int64(p.module.gofunc-bias), 1<<32),
	})
	if known != nil {
		p.missing, p.voters, p.globals = known.missing, known.voters, make(map[string]uint64, len(known.globals))
		for s, a := range known.globals {
			p.globals[s] = a - known.bias + bias
		}
		return p, p.place()
	}
	wanted := map[string]bool{}
	for _, a := range rel.Anchors {
		for _, r := range a.Refs {
			wanted[r.Symbol] = true
		}
	}
	symbols := img.symbols(wanted)
	for s := range symbols {
		symbols[s] += bias
	}
	code := func(addr uint64, buf []byte) error {
		_, err := io.ReadFull(io.NewSectionReader(img, int64(addr-bias), int64(len(buf))), buf)
		return err
	}
	e, err := elect(rel, table, code, symbols)
	if err != nil {
		return nil, err
	}
	p.globals, p.missing, err = e.result()
	if err != nil {
		return nil, err
	}
	p.voters = make(map[string]int, len(e.ballots))
	for s, b := range e.ballots {
		p.voters[s] = b.voters
	}
	return p, p.place()
}

// place checks that every global lies where the linker puts variables.
func (p *program) place() error {
	m := &p.module
	if got := p.globals["runtime.firstmoduledata"]; got != m.addr {
		return refuse("its module data is at %#x by content and at %#x by reference", m.addr, got)
	}
	for s, a := range p.globals {
		if s == "runtime.firstmoduledata" {
			continue // in a section of its own since Go 1.26
		}
		in := a >= m.noptrdata && a < m.enoptrdata || a >= m.data && a < m.edata || a >= m.bss && a < m.ebss || a >= m.noptrbss && a < m.enoptrbss
		if !in {
			return refuse("%s at %#x is outside of the program's data", s, a)
		}
	}
	return nil
}

// findModule finds runtime.firstmoduledata by its content: it begins with the
// address of the pclntab. It is read from memory, where a PIE is relocated.
func findModule(img *image, l *layout.Layout, mem procmem.Memory, bias, nfunc uint64) (moduleData, error) {
	tab := img.tab + bias
	if img.goMod != 0 {
		if m, ok := readModule(l, mem, img.goMod+bias, tab, nfunc); ok {
			return m, nil
		}
	}
	var found []moduleData
	buf := make([]byte, 1<<16)
	budget := uint64(1 << 30) // of initialised data, in all segments
	for _, seg := range img.loads {
		if seg.Flags&elf.PF_W == 0 {
			continue
		}
		size := min(seg.Filesz, budget)
		budget -= size
		for off := uint64(0); off < size; off += uint64(len(buf)) {
			b := buf[:min(uint64(len(buf)), size-off)]
			if err := mem.Read(seg.Vaddr+bias+off, b); err != nil {
				continue // a hole; what is not there cannot be found
			}
			for i := 0; i+8 <= len(b); i += 8 {
				if binary.LittleEndian.Uint64(b[i:]) != tab {
					continue
				}
				if m, ok := readModule(l, mem, seg.Vaddr+bias+off+uint64(i), tab, nfunc); ok {
					found = append(found, m)
				}
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return moduleData{}, ErrNotReady
	}
	return moduleData{}, refuse("%d places look like its module data", len(found))
}

func readModule(l *layout.Layout, mem procmem.Memory, addr, tab, nfunc uint64) (moduleData, bool) {
	buf := make([]byte, l.Size("moduledata"))
	if len(buf) == 0 || mem.Read(addr, buf) != nil {
		return moduleData{}, false
	}
	ok := true
	word := func(field string, extra uint32) uint64 {
		f, has := l.Field("moduledata." + field)
		if !has || int(f.Off+extra+8) > len(buf) {
			ok = false
			return 0
		}
		return binary.LittleEndian.Uint64(buf[f.Off+extra:])
	}
	m := moduleData{
		addr: addr,
		text: word("text", 0), etext: word("etext", 0), minpc: word("minpc", 0), maxpc: word("maxpc", 0),
		noptrdata: word("noptrdata", 0), enoptrdata: word("enoptrdata", 0), data: word("data", 0), edata: word("edata", 0),
		bss: word("bss", 0), ebss: word("ebss", 0), noptrbss: word("noptrbss", 0), enoptrbss: word("enoptrbss", 0),
		gofunc: word("gofunc", 0), ftabLen: word("ftab", 8), rodata: word("rodata", 0), types: word("types", 0), etypes: word("etypes", 0),
	}
	sane := word("pcHeader", 0) == tab &&
		m.text <= m.minpc && m.minpc < m.maxpc && m.maxpc <= m.etext &&
		m.noptrdata <= m.enoptrdata && m.data <= m.edata && m.bss <= m.ebss && m.noptrbss <= m.enoptrbss &&
		m.ftabLen == nfunc+1
	return m, ok && sane
}
