package goproc

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"runtime/debug"
	"strings"
	"unicode/utf8"
)

// An Exe is what an executable says about the Go program in it.
type Exe struct {
	GoVersion     string // "go1.26.8", without experiments
	GOEXPERIMENT  string // "nogreenteagc,synctest"
	MainPackage   string
	Module        string
	ModuleVersion string // "" or "(devel)" or "v1.2.3"
	GOOS, GOARCH  string
	Settings      map[string]string // build settings, without what -X sets
	GoBuildID     string            // of the go command
	GNUBuildID    string            // hex, of the linker
	Machine       elf.Machine
	Bits          int // 32 or 64

	Stripped bool // no symbol table
	PIE      bool
	Static   bool // no program interpreter
	Cgo      bool // linked with runtime/cgo
	Race     bool
}

// What is read of a file at most. A program with more segments, sections or
// notes than that is none that a Go linker wrote.
const (
	maxSegments     = 256
	maxSections     = 8192
	maxSectionNames = 1 << 20
	maxNotes        = 1 << 16
	maxDynamic      = 1 << 16
	maxScan         = 256 << 20 // looking for build information when sections are gone
	maxGoVersion    = 256
	maxModInfo      = 4 << 20
)

var errMalformed = errors.New("the executable is malformed")

// ReadExe reads an executable. It fails with [ErrNotGo], or with [Err32Bit],
// [ErrArch] or [ErrNoBuildInfo] together with what could be read. It reads no
// more than the headers and the build information.
func ReadExe(r io.ReaderAt) (*Exe, error) {
	f, err := readELF(r)
	if err != nil {
		return nil, err
	}
	x := &Exe{
		Machine:  f.machine,
		Bits:     f.bits,
		GOARCH:   goarch(f),
		Stripped: !f.symtab,
		PIE:      f.kind == elf.ET_DYN,
		Static:   !f.interp,
		// A Go program is linked against libraries, or by the C linker, if and
		// only if runtime/cgo is in it. Go's linker writes PT_PHDR always and
		// PT_GNU_EH_FRAME never (cmd/link/internal/ld/elf.go, asmbElf); GNU's
		// writes PT_PHDR only where there is an interpreter.
		Cgo:        f.needed || f.ehFrame || !f.phdr,
		GoBuildID:  f.goBuildID,
		GNUBuildID: f.gnuBuildID,
	}
	version, mod, err := f.buildInfo()
	switch {
	case err == nil:
	case f.isGo:
		// Sections or notes that only the Go linker writes.
	default:
		return nil, ErrNotGo
	}
	x.setBuildInfo(version, mod)
	switch {
	case x.Bits != 64:
		return x, Err32Bit
	case x.Machine != elf.EM_X86_64 && x.Machine != elf.EM_AARCH64:
		return x, ErrArch
	case x.GoVersion == "":
		return x, ErrNoBuildInfo
	}
	return x, nil
}

func (x *Exe) setBuildInfo(version, mod string) {
	// cmd/link appends experiments that are not the release's default:
	// "go1.25.1 X:nodwarf5", since Go 1.26 "go1.26.8-X:nodwarf5".
	for _, sep := range []string{" X:", "-X:"} {
		if v, exp, ok := strings.Cut(version, sep); ok {
			version, x.GOEXPERIMENT = v, exp
			break
		}
	}
	x.GoVersion = strings.TrimSpace(version)
	info, err := debug.ParseBuildInfo(mod)
	if err != nil {
		return // the program was not built from modules
	}
	x.MainPackage = info.Path
	x.Module, x.ModuleVersion = info.Main.Path, info.Main.Version
	for _, s := range info.Settings {
		if x.Settings == nil {
			x.Settings = make(map[string]string, len(info.Settings))
		}
		x.Settings[s.Key] = withoutX(s.Key, s.Value)
	}
	x.GOOS = x.Settings["GOOS"]
	x.Race = x.Settings["-race"] == "true"
	if x.GOEXPERIMENT == "" {
		x.GOEXPERIMENT = x.Settings["GOEXPERIMENT"]
	}
}

// withoutX cuts -ldflags before the first -X: people put secrets there. It may
// be the first flag after a pattern of packages, as in "all=-X main.key=...".
func withoutX(key, value string) string {
	if key != "-ldflags" {
		return value
	}
	for at := 0; ; {
		i := strings.Index(value[at:], "-X")
		if i < 0 {
			return value
		}
		at += i
		if at == 0 || strings.ContainsRune(" '\"\t\n-=", rune(value[at-1])) {
			return strings.TrimRight(value[:at], " '\"\t-") + " -X ..."
		}
		at += 2
	}
}

func goarch(f *elfFile) string {
	switch f.machine {
	case elf.EM_X86_64:
		return "amd64"
	case elf.EM_AARCH64:
		return "arm64"
	case elf.EM_386:
		return "386"
	case elf.EM_ARM:
		return "arm"
	case elf.EM_RISCV:
		return "riscv64"
	case elf.EM_LOONGARCH:
		return "loong64"
	case elf.EM_S390:
		return "s390x"
	case elf.EM_PPC64:
		if f.order == binary.BigEndian {
			return "ppc64"
		}
		return "ppc64le"
	case elf.EM_MIPS:
		return "mips"
	}
	return f.machine.String()
}

// An elfFile is what we need of an ELF file.
type elfFile struct {
	r       io.ReaderAt
	order   binary.ByteOrder
	bits    int
	kind    elf.Type
	machine elf.Machine
	loads   []segment

	hasSections bool
	symtab      bool
	isGo        bool
	infoOff     uint64 // section .go.buildinfo
	infoSize    uint64

	interp, needed, ehFrame, phdr bool
	goBuildID, gnuBuildID         string
}

// A segment is where PT_LOAD lies in the file.
type segment struct {
	off, size uint64
	vaddr     uint64
}

// readELF reads the headers. Its error is ErrNotGo, or errMalformed, or the
// reader's.
func readELF(r io.ReaderAt) (*elfFile, error) {
	var head [64]byte
	n, err := readFull(r, head[:], 0)
	if err != nil {
		return nil, err
	}
	if n < 52 || string(head[:4]) != elf.ELFMAG {
		return nil, ErrNotGo // a script has its interpreter's executable, so this is no program at all
	}
	f := &elfFile{r: r}
	switch elf.Data(head[elf.EI_DATA]) {
	case elf.ELFDATA2LSB:
		f.order = binary.LittleEndian
	case elf.ELFDATA2MSB:
		f.order = binary.BigEndian
	default:
		return nil, errMalformed
	}
	f.kind = elf.Type(f.order.Uint16(head[16:]))
	f.machine = elf.Machine(f.order.Uint16(head[18:]))
	var phoff, shoff uint64
	var sizes []byte // e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
	var phsize, shsize int
	switch elf.Class(head[elf.EI_CLASS]) {
	case elf.ELFCLASS64:
		if n < 64 {
			return nil, errMalformed
		}
		f.bits, phsize, shsize = 64, 56, 64
		phoff, shoff = f.order.Uint64(head[32:]), f.order.Uint64(head[40:])
		sizes = head[54:64]
	case elf.ELFCLASS32:
		f.bits, phsize, shsize = 32, 32, 40
		phoff, shoff = uint64(f.order.Uint32(head[28:])), uint64(f.order.Uint32(head[32:]))
		sizes = head[42:52]
	default:
		return nil, errMalformed
	}
	field := func(i int) int { return int(f.order.Uint16(sizes[2*i:])) }
	phnum, shnum, shstrndx := field(1), field(3), field(4)
	if phnum > maxSegments || shnum > maxSections || (phnum > 0 && field(0) != phsize) || (shnum > 0 && field(2) != shsize) {
		return nil, errMalformed
	}
	if err := f.readSegments(phoff, phnum, phsize); err != nil {
		return nil, err
	}
	return f, f.readSections(shoff, shnum, shsize, shstrndx)
}

func (f *elfFile) readSegments(off uint64, num, size int) error {
	table := make([]byte, num*size)
	if n, err := readFull(f.r, table, off); err != nil {
		return err
	} else if n < len(table) {
		return errMalformed
	}
	for ; len(table) > 0; table = table[size:] {
		var s segment
		if f.bits == 64 {
			s = segment{f.order.Uint64(table[8:]), f.order.Uint64(table[32:]), f.order.Uint64(table[16:])}
		} else {
			s = segment{uint64(f.order.Uint32(table[4:])), uint64(f.order.Uint32(table[16:])), uint64(f.order.Uint32(table[8:]))}
		}
		switch elf.ProgType(f.order.Uint32(table)) {
		case elf.PT_LOAD:
			f.loads = append(f.loads, s)
		case elf.PT_INTERP:
			f.interp = true
		case elf.PT_PHDR:
			f.phdr = true
		case elf.PT_GNU_EH_FRAME:
			f.ehFrame = true
		case elf.PT_NOTE:
			if err := f.readNotes(s.off, s.size); err != nil {
				return err
			}
		case elf.PT_DYNAMIC:
			if err := f.readDynamic(s.off, s.size); err != nil {
				return err
			}
		}
	}
	return nil
}

// readNotes takes the build IDs.
func (f *elfFile) readNotes(off, size uint64) error {
	b := make([]byte, min(size, maxNotes))
	n, err := readFull(f.r, b, off)
	if err != nil {
		return err
	}
	for b = b[:n]; len(b) >= 12; {
		namesz, descsz, kind := uint64(f.order.Uint32(b)), uint64(f.order.Uint32(b[4:])), f.order.Uint32(b[8:])
		b = b[12:]
		name, ok := take(&b, namesz)
		if !ok {
			break
		}
		desc, ok := take(&b, descsz)
		if !ok {
			break
		}
		switch {
		case string(name) == "Go\x00\x00" && kind == 4: // ELF_NOTE_GOBUILDID_TAG, cmd/link/internal/ld/elf.go
			f.isGo = true
			if id := string(desc); utf8.ValidString(id) && len(id) <= 256 {
				f.goBuildID = id
			}
		case string(name) == "GNU\x00" && kind == 3 && len(desc) <= 64: // NT_GNU_BUILD_ID
			f.gnuBuildID = hex.EncodeToString(desc)
		}
	}
	return nil
}

// take cuts n bytes, and what aligns them to 4, off the front of b.
func take(b *[]byte, n uint64) ([]byte, bool) {
	if n > uint64(len(*b)) {
		return nil, false
	}
	v := (*b)[:n]
	*b = (*b)[min((n+3)&^3, uint64(len(*b))):]
	return v, true
}

// readDynamic looks for a shared library that the program needs.
func (f *elfFile) readDynamic(off, size uint64) error {
	b := make([]byte, min(size, maxDynamic))
	n, err := readFull(f.r, b, off)
	if err != nil {
		return err
	}
	word := f.bits / 8
	for b = b[:n]; len(b) >= 2*word; b = b[2*word:] {
		tag := uint64(f.order.Uint32(b))
		if word == 8 {
			tag = f.order.Uint64(b)
		}
		switch elf.DynTag(tag) {
		case elf.DT_NULL:
			return nil
		case elf.DT_NEEDED:
			f.needed = true
			return nil
		}
	}
	return nil
}

func (f *elfFile) readSections(off uint64, num, size, names int) error {
	table := make([]byte, num*size)
	if n, err := readFull(f.r, table, off); err != nil {
		return err
	} else if n < len(table) {
		return nil // truncated: as if there were none
	}
	section := func(i int) (name uint32, kind elf.SectionType, off, length uint64) {
		h := table[i*size:]
		if f.bits == 64 {
			off, length = f.order.Uint64(h[24:]), f.order.Uint64(h[32:])
		} else {
			off, length = uint64(f.order.Uint32(h[16:])), uint64(f.order.Uint32(h[20:]))
		}
		return f.order.Uint32(h), elf.SectionType(f.order.Uint32(h[4:])), off, length
	}
	if names >= num {
		return nil
	}
	_, _, stroff, strsize := section(names)
	strtab := make([]byte, min(strsize, maxSectionNames))
	n, err := readFull(f.r, strtab, stroff)
	if err != nil {
		return err
	}
	strtab = strtab[:n]
	f.hasSections = true
	for i := range num {
		name, kind, off, length := section(i)
		if kind == elf.SHT_SYMTAB && length > 0 {
			f.symtab = true
		}
		if uint64(name) >= uint64(len(strtab)) || kind == elf.SHT_NOBITS {
			continue
		}
		text, _, _ := bytes.Cut(strtab[name:], []byte{0})
		switch string(text) {
		case ".go.buildinfo":
			f.isGo = true
			f.infoOff, f.infoSize = off, length
		case ".gopclntab", ".data.rel.ro.gopclntab", ".note.go.buildid":
			f.isGo = true
		}
	}
	return nil
}

// The build information is a header of 32 bytes, aligned to 16, and since Go
// 1.18 two strings, each after its length (cmd/link/internal/ld/data.go,
// buildinfo).
const infoMagic = "\xff Go buildinf:"

// buildInfo finds the Go version and the module information.
func (f *elfFile) buildInfo() (version, mod string, err error) {
	if f.infoSize > 0 {
		var head [32]byte
		if n, err := readFull(f.r, head[:], f.infoOff); err != nil {
			return "", "", err
		} else if n == 32 && string(head[:len(infoMagic)]) == infoMagic {
			return f.decodeInfo(head[:], f.infoOff)
		}
	}
	if f.hasSections {
		return "", "", ErrNoBuildInfo
	}
	// The section headers are gone. The linker puts the header first in a
	// segment, or close to it.
	buf := make([]byte, 1<<20)
	scanned := 0
	for _, s := range f.loads {
		for at := uint64(0); at < s.size; {
			n, err := readFull(f.r, buf[:min(uint64(len(buf)), s.size-at)], s.off+at)
			if err != nil {
				return "", "", err
			}
			if scanned += n; scanned > maxScan {
				return "", "", ErrNoBuildInfo
			}
			for i := 0; ; i++ {
				k := bytes.Index(buf[i:n], []byte(infoMagic))
				if k < 0 {
					break
				}
				i += k
				if (s.vaddr+at+uint64(i))%16 == 0 && i+32 <= n {
					if v, m, err := f.decodeInfo(buf[i:i+32], s.off+at+uint64(i)); err == nil {
						return v, m, nil
					}
				}
			}
			if n < 64 || at+uint64(n) >= s.size {
				break
			}
			at += uint64(n) - 32 // the header may lie across
		}
	}
	return "", "", ErrNoBuildInfo
}

// decodeInfo decodes the strings after the header, which is at off in the file.
func (f *elfFile) decodeInfo(head []byte, off uint64) (version, mod string, err error) {
	if head[15]&2 == 0 {
		// Before Go 1.18 there were pointers. The standard library follows them.
		info, err := buildinfo.Read(&limitedReader{f.r, 64 << 20})
		if err != nil {
			return "", "", ErrNoBuildInfo
		}
		return info.GoVersion, "", nil
	}
	at := off + 32
	if version, err = f.infoString(&at, maxGoVersion); err != nil {
		return "", "", err
	}
	if mod, err = f.infoString(&at, maxModInfo); err != nil {
		return "", "", err
	}
	if version == "" || !utf8.ValidString(version) {
		return "", "", ErrNoBuildInfo
	}
	// The text is between two marks of 16 bytes (cmd/go/internal/modload/build.go).
	if len(mod) >= 33 && mod[len(mod)-17] == '\n' {
		return version, strings.ToValidUTF8(mod[16:len(mod)-16], "\uFFFD"), nil
	}
	return version, "", nil
}

func (f *elfFile) infoString(at *uint64, limit uint64) (string, error) {
	var head [binary.MaxVarintLen64]byte
	n, err := readFull(f.r, head[:], *at)
	if err != nil {
		return "", err
	}
	length, k := binary.Uvarint(head[:n])
	if k <= 0 || length > limit {
		return "", ErrNoBuildInfo
	}
	b := make([]byte, length)
	n, err = readFull(f.r, b, *at+uint64(k))
	if err != nil {
		return "", err
	}
	if n < len(b) {
		return "", ErrNoBuildInfo
	}
	*at += uint64(k) + length
	return string(b), nil
}

// A limitedReader fails when more than left bytes were read through it.
type limitedReader struct {
	r    io.ReaderAt
	left int
}

func (l *limitedReader) ReadAt(p []byte, off int64) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errMalformed
	}
	return l.r.ReadAt(p, off)
}

// readFull reads what there is of len(b) bytes. The end of the file is no error.
func readFull(r io.ReaderAt, b []byte, off uint64) (int, error) {
	if off > 1<<62 || len(b) == 0 {
		return 0, nil
	}
	n, err := r.ReadAt(b, int64(off))
	if err == io.EOF {
		err = nil
	}
	return n, err
}
