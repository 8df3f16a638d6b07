package remote

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// An image is a program's executable file, as the linker laid it out. All
// addresses are link-time; a process adds its load bias.
type image struct {
	r      io.ReaderAt
	goarch string
	entry  uint64
	loads  []elf.ProgHeader
	sects  []elf.SectionHeader
	goMod  uint64 // address of .go.module (Go 1.26+), 0 without
	tab    uint64 // address of the pclntab
	tabEnd uint64 // upper bound of its end
}

// maxLoads and maxSections bound what is taken from the headers of a file.
const (
	maxLoads    = 64
	maxSections = 1 << 12
)

// A thrifty reader fails when more than left bytes were read through it. The
// standard library believes an ELF file's headers as far as the file goes, and a
// sparse file goes as far as its maker likes.
type thrifty struct {
	r    io.ReaderAt
	left int64
}

func (t *thrifty) ReadAt(b []byte, off int64) (int, error) {
	if t.left -= int64(len(b)); t.left < 0 {
		return 0, errors.New("there is more of it than any program has")
	}
	return t.r.ReadAt(b, off)
}

// maxHeaders bounds what is read of a file's headers, section names included;
// maxInfoScan what is searched for build info whose section header is gone.
const (
	maxHeaders  = 64 << 20
	maxInfoScan = 256 << 20
)

func openImage(r io.ReaderAt) (img *image, err error) {
	// debug/elf is fuzzed upstream, but promises nothing about hostile files.
	defer func() {
		if p := recover(); p != nil {
			img, err = nil, refuse("its ELF headers are damaged: %v", p)
		}
	}()
	f, err := elf.NewFile(&thrifty{r, maxHeaders})
	if err != nil {
		return nil, &UnsupportedError{What: "not a readable ELF file: " + err.Error(), err: err}
	}
	img = &image{r: r, entry: f.Entry}
	if f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB {
		return nil, &UnsupportedError{What: f.Class.String() + " " + f.Data.String(), hint: "supported are 64-bit little-endian programs for amd64 and arm64"}
	}
	switch f.Machine {
	case elf.EM_X86_64:
		img.goarch = "amd64"
	case elf.EM_AARCH64:
		img.goarch = "arm64"
	default:
		return nil, &UnsupportedError{What: "machine " + f.Machine.String(), hint: "supported are amd64 and arm64"}
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && len(img.loads) < maxLoads && p.Vaddr+p.Memsz >= p.Vaddr && p.Filesz <= p.Memsz && p.Off <= math.MaxInt64-p.Filesz {
			img.loads = append(img.loads, p.ProgHeader)
		}
	}
	if len(img.loads) == 0 {
		return nil, refuse("its ELF file has no loadable segment")
	}
	for _, s := range f.Sections {
		if len(img.sects) == maxSections {
			break
		}
		img.sects = append(img.sects, s.SectionHeader)
		switch s.Name {
		case ".go.module":
			img.goMod = s.Addr
		case ".gopclntab", ".data.rel.ro.gopclntab":
			if s.Type != elf.SHT_NOBITS && s.Size > 0 && s.Addr+s.Size > s.Addr {
				img.tab, img.tabEnd = s.Addr, s.Addr+s.Size
			}
		}
	}
	if img.tab != 0 && !img.isTable(img.tab) {
		img.tab = 0 // a section that lies; look for the content
	}
	if img.tab == 0 {
		if err := img.scanTable(); err != nil {
			return nil, err
		}
	}
	return img, nil
}

// ReadAt reads the file's bytes at a link-time address.
func (img *image) ReadAt(buf []byte, addr int64) (int, error) {
	a := uint64(addr)
	for _, p := range img.loads {
		if a < p.Vaddr || a-p.Vaddr >= p.Filesz {
			continue
		}
		left := p.Filesz - (a - p.Vaddr)
		short := uint64(len(buf)) > left
		if short {
			buf = buf[:left]
		}
		n, err := img.r.ReadAt(buf, int64(p.Off+(a-p.Vaddr)))
		if err == nil && short {
			err = io.EOF
		}
		return n, err
	}
	return 0, fmt.Errorf("address %#x is not in the file", a)
}

// tableMagic is the start of a Go 1.20+ pclntab: magic, two zero bytes, the pc
// quantum, and the pointer size 8 (runtime.pcHeader, runtime/symtab.go).
var tableMagic = []byte{0xf1, 0xff, 0xff, 0xff, 0, 0}

func (img *image) isTable(addr uint64) bool {
	var h [8]byte
	n, _ := img.ReadAt(h[:], int64(addr))
	return n == len(h) && bytes.HasPrefix(h[:], tableMagic) && (h[6] == 1 || h[6] == 4) && h[7] == 8
}

// maxScan bounds how much of a file is searched for a pclntab whose section
// header is gone.
const maxScan = 2 << 30

func (img *image) scanTable() error {
	buf := make([]byte, 1<<20)
	scanned := 0
	for _, p := range img.loads {
		for off := uint64(0); off < p.Filesz && scanned < maxScan; off += uint64(len(buf)) - 64 {
			n, err := img.ReadAt(buf, int64(p.Vaddr+off))
			if n == 0 || err != nil && !errors.Is(err, io.EOF) {
				break
			}
			scanned += n
			for i := 0; ; {
				k := bytes.Index(buf[i:n], tableMagic)
				if k < 0 {
					break
				}
				addr := p.Vaddr + off + uint64(i+k)
				if addr%8 == 0 && img.isTable(addr) && img.plausibleTable(addr, p) {
					img.tab, img.tabEnd = addr, p.Vaddr+p.Filesz
					return nil
				}
				i += k + 1
			}
			if n < len(buf) {
				break
			}
		}
	}
	return &UnsupportedError{What: "no Go function table (pclntab) of Go 1.20 or newer found in it",
		hint: "heapwright reads programs built by Go 1.20 to " + newest() + "; a packed executable (UPX) must be unpacked"}
}

// plausibleTable looks beyond the magic: offsets of pcHeader must lie in the segment.
func (img *image) plausibleTable(addr uint64, p elf.ProgHeader) bool {
	var h [72]byte
	if n, _ := img.ReadAt(h[:], int64(addr)); n < len(h) {
		return false
	}
	left := p.Vaddr + p.Filesz - addr
	for i := 32; i < 72; i += 8 { // funcname, cu, filetab, pctab, pcln offsets
		if o := binary.LittleEndian.Uint64(h[i:]); o == 0 || o >= left {
			return false
		}
	}
	return true
}

// Bounds of what is searched for symbols: bytes of each table, the length of a
// name, and places where a wanted name may stand.
const (
	maxSymbolBytes = 1 << 29
	maxNameLen     = 64
	maxNamePlaces  = 1 << 12
)

// symbols returns the addresses of those of the wanted symbols that the symbol
// table has; an empty map where there is no table. A name that stands there twice
// with different values is left out. All wanted names begin with "runtime.".
func (img *image) symbols(wanted map[string]bool) map[string]uint64 {
	out := map[string]uint64{}
	i := slices.IndexFunc(img.sects, func(s elf.SectionHeader) bool { return s.Type == elf.SHT_SYMTAB })
	if i < 0 || int(img.sects[i].Link) >= len(img.sects) {
		return out
	}
	// Both tables can be hundreds of megabytes: neither is held in memory. First
	// the places in the string table where a wanted name stands, ...
	places := map[uint64]string{}
	prefix := []byte("runtime.")
	ok := scanSection(img.r, img.sects[img.sects[i].Link], maxNameLen, func(base uint64, b []byte) bool {
		for at := 0; ; at++ {
			k := bytes.Index(b[at:], prefix)
			if k < 0 {
				return true
			}
			at += k
			name, _, whole := bytes.Cut(b[at:min(len(b), at+maxNameLen)], []byte{0})
			if whole && wanted[string(name)] {
				places[base+uint64(at)] = string(name)
			}
			if len(places) > maxNamePlaces {
				return false
			}
		}
	})
	// ... then the symbols that are called so.
	twice := map[string]bool{}
	ok = ok && scanSection(img.r, img.sects[i], 0, func(_ uint64, b []byte) bool {
		for ; len(b) >= elf.Sym64Size; b = b[elf.Sym64Size:] {
			if b[4]&0xf != byte(elf.STT_OBJECT) {
				continue
			}
			name, is := places[uint64(binary.LittleEndian.Uint32(b))]
			if !is {
				continue
			}
			v := binary.LittleEndian.Uint64(b[8:])
			if old, again := out[name]; again && old != v {
				twice[name] = true
			}
			out[name] = v
		}
		return true
	})
	if !ok {
		return map[string]uint64{}
	}
	for n := range twice {
		delete(out, n)
	}
	return out
}

// scanSection calls f with one piece of a section after the other, each with the
// last overlap bytes of the one before, until f returns false. It reports whether
// all of the section was there and f wanted it.
func scanSection(r io.ReaderAt, s elf.SectionHeader, overlap int, f func(base uint64, b []byte) bool) bool {
	if s.Type == elf.SHT_NOBITS || s.FileSize > maxSymbolBytes || s.Offset > math.MaxInt64-s.FileSize {
		return false
	}
	const piece = elf.Sym64Size << 14
	buf := make([]byte, min(piece+overlap, int(s.FileSize)))
	for base := uint64(0); base < s.FileSize; base += piece {
		b := buf[:min(uint64(piece+overlap), s.FileSize-base)]
		if n, _ := r.ReadAt(b, int64(s.Offset+base)); n < len(b) || !f(base, b) {
			return false
		}
	}
	return true
}
