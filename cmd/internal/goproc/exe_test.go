package goproc

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/targettest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	targettest.Cleanup()
	os.Exit(code)
}

// A kind is a way to build a Go program.
type kind struct {
	name  string
	build []string
	// want is what the Exe must say; GoVersion and the like are checked apart.
	want Exe
	err  error
}

func kinds() []kind {
	if runtime.GOARCH != "amd64" {
		return []kind{{"exe", []string{"plain", "CGO_ENABLED=0"}, Exe{Static: true}, nil}}
	}
	return []kind{
		{"exe", []string{"plain", "CGO_ENABLED=0"}, Exe{Static: true}, nil},
		{"exe with cgo allowed but not used", []string{"plain", "CGO_ENABLED=1"}, Exe{Static: true}, nil},
		{"-s -w", []string{"plain", "CGO_ENABLED=0", "-ldflags=-s -w"}, Exe{Static: true, Stripped: true}, nil},
		{"-trimpath", []string{"plain", "CGO_ENABLED=0", "-trimpath"}, Exe{Static: true}, nil},
		{"pie", []string{"plain", "CGO_ENABLED=0", "-buildmode=pie"}, Exe{PIE: true}, nil},
		{"pie -s -w", []string{"plain", "CGO_ENABLED=0", "-buildmode=pie", "-ldflags=-s -w"}, Exe{PIE: true, Stripped: true}, nil},
		{"cgo, C's linker", []string{"plain", "CGO_ENABLED=1", "-ldflags=-linkmode=external"}, Exe{Cgo: true}, nil},
		{"cgo pie -s -w", []string{"plain", "CGO_ENABLED=1", "-buildmode=pie", "-ldflags=-linkmode=external -s -w"}, Exe{Cgo: true, PIE: true, Stripped: true}, nil},
		{"cgo static", []string{"plain", "CGO_ENABLED=1", "-ldflags=-linkmode=external -extldflags=-static"}, Exe{Cgo: true, Static: true}, nil},
		{"cgo static pie", []string{"plain", "CGO_ENABLED=1", "-buildmode=pie", "-ldflags=-linkmode=external -extldflags=-static-pie"}, Exe{Cgo: true, Static: true, PIE: true}, nil},
		{"-race, cgo with Go's linker", []string{"plain", "CGO_ENABLED=1", "-race"}, Exe{Cgo: true, Race: true}, nil},
		{"386", []string{"plain", "CGO_ENABLED=0", "GOARCH=386"}, Exe{Static: true}, Err32Bit},
	}
}

func TestReadExe(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			path := targettest.Build(t, targettest.Local, k.build...)
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			x, err := ReadExe(f)
			if !errors.Is(err, k.err) {
				t.Fatalf("got error %v, want %v", err, k.err)
			}
			got := Exe{Stripped: x.Stripped, PIE: x.PIE, Static: x.Static, Cgo: x.Cgo, Race: x.Race}
			if !reflect.DeepEqual(got, k.want) {
				t.Errorf("got  %+v\nwant %+v", got, k.want)
			}
			checkPlain(t, x)
		})
	}
}

// checkPlain compares what every build of the target has in common.
func checkPlain(t *testing.T, x *Exe) {
	t.Helper()
	if x.GoVersion != strings.Fields(runtime.Version())[0] || x.Module != "example.com/target" || !strings.HasPrefix(x.MainPackage, "example.com/target") {
		t.Errorf("is %q, module %q, package %q", x.GoVersion, x.Module, x.MainPackage)
	}
	if x.GOOS != "linux" || x.Settings["GOARCH"] != x.GOARCH || x.GoBuildID == "" {
		t.Errorf("GOOS %q, GOARCH %q (settings: %q), build ID %q", x.GOOS, x.GOARCH, x.Settings["GOARCH"], x.GoBuildID)
	}
}

// Without section headers the program is still known, from its segments.
func TestReadExeWithoutSections(t *testing.T) {
	for _, tt := range []struct {
		goVersion string
		build     []string
	}{
		{targettest.Local, []string{"plain", "CGO_ENABLED=0", "-ldflags=-s -w"}},
		{targettest.Local, []string{"plain", "CGO_ENABLED=0", "-buildmode=pie", "-ldflags=-s -w"}},
		{"go1.24.13", []string{"plain", "CGO_ENABLED=0", "-buildmode=pie", "-ldflags=-s -w"}},
	} {
		t.Run(tt.goVersion+strings.Join(tt.build, " "), func(t *testing.T) {
			data, err := os.ReadFile(targettest.Build(t, tt.goVersion, tt.build...))
			if err != nil {
				t.Fatal(err)
			}
			clear(data[40:48]) // e_shoff
			clear(data[58:64]) // e_shentsize, e_shnum, e_shstrndx
			x, err := ReadExe(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if x.Module != "example.com/target" || !x.Stripped || x.GoVersion == "" {
				t.Errorf("got %+v", x)
			}
		})
	}
}

func TestReadExeOtherArch(t *testing.T) {
	f, err := os.Open(targettest.Build(t, targettest.Local, "plain", "CGO_ENABLED=0", "GOARCH=arm64"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x, err := ReadExe(f)
	if err != nil || x.GOARCH != "arm64" {
		t.Errorf("arm64: %+v, %v", x, err)
	}
	data := makeELF(elfParts{version: "go1.26.8", machine: elf.EM_RISCV})
	if x, err := ReadExe(bytes.NewReader(data)); !errors.Is(err, ErrArch) || x.GOARCH != "riscv64" || x.GoVersion != "go1.26.8" {
		t.Errorf("riscv64: %+v, %v; want ErrArch", x, err)
	}
}

func TestReadExeNotGo(t *testing.T) {
	for _, path := range []string{"/bin/sh", "/bin/sleep"} {
		f, err := os.Open(path)
		if err != nil {
			t.Skip(err)
		}
		defer f.Close()
		if x, err := ReadExe(f); !errors.Is(err, ErrNotGo) {
			t.Errorf("%s: %+v, %v; want ErrNotGo", path, x, err)
		}
	}
	for _, data := range []string{"", "#!/bin/sh\n", "\x7fELF", strings.Repeat("x", 1000)} {
		if x, err := ReadExe(strings.NewReader(data)); !errors.Is(err, ErrNotGo) {
			t.Errorf("%.10q: %+v, %v; want ErrNotGo", data, x, err)
		}
	}
}

// elfParts describes a small executable.
type elfParts struct {
	machine elf.Machine
	version string // "" leaves the build information out
	mod     string
	note    string // Go build ID
	flags   byte   // of the build information; 2 unless set
}

// makeELF makes an executable without sections: a header, a note segment and a
// data segment.
func makeELF(p elfParts) []byte {
	le := binary.LittleEndian
	var note, data []byte
	if p.note != "" {
		note = le.AppendUint32(note, 4)
		note = le.AppendUint32(note, uint32(len(p.note)))
		note = le.AppendUint32(note, 4)
		note = append(note, "Go\x00\x00"+p.note...)
	}
	if p.version != "" {
		if p.flags == 0 {
			p.flags = 2
		}
		data = append(data, infoMagic...)
		data = append(data, 8, p.flags)
		data = append(data, make([]byte, 16)...)
		data = append(binary.AppendUvarint(data, uint64(len(p.version))), p.version...)
		data = append(binary.AppendUvarint(data, uint64(len(p.mod))), p.mod...)
		data = append(data, make([]byte, 64)...)
	}
	if p.machine == 0 {
		p.machine = elf.EM_X86_64
	}
	const dataOff = 4096
	b := make([]byte, dataOff)
	copy(b, elf.ELFMAG)
	b[elf.EI_CLASS], b[elf.EI_DATA], b[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	le.PutUint16(b[16:], uint16(elf.ET_EXEC))
	le.PutUint16(b[18:], uint16(p.machine))
	le.PutUint64(b[32:], 64) // e_phoff
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 3)
	segment := func(at int, kind elf.ProgType, off, size int) {
		le.PutUint32(b[at:], uint32(kind))
		le.PutUint64(b[at+8:], uint64(off))
		le.PutUint64(b[at+16:], 0x400000+uint64(off))
		le.PutUint64(b[at+32:], uint64(size))
		le.PutUint64(b[at+40:], uint64(size))
	}
	segment(64, elf.PT_NOTE, 1024, len(note))
	segment(120, elf.PT_LOAD, dataOff, len(data))
	segment(176, elf.PT_PHDR, 64, 3*56)
	copy(b[1024:], note)
	return append(b, data...)
}

const testMod = "\xff\xfe23456789abcdefpath\tx.org/cmd/x\nmod\tx.org\tv1.2.3\t\nbuild\t-race=true\nbuild\t-ldflags=\"-s -w -X main.key=secret\"\nbuild\tGOOS=linux\n\n0123456789abcde"

func TestReadExeHostile(t *testing.T) {
	good := makeELF(elfParts{version: "go1.26.8-X:nogreenteagc,foo", mod: testMod + "f", note: "abc/def"})
	x, err := ReadExe(bytes.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	want := &Exe{GoVersion: "go1.26.8", GOEXPERIMENT: "nogreenteagc,foo", MainPackage: "x.org/cmd/x", Module: "x.org", ModuleVersion: "v1.2.3",
		GOOS: "linux", GOARCH: "amd64", Settings: map[string]string{"-race": "true", "-ldflags": "-s -w -X ...", "GOOS": "linux"},
		GoBuildID: "abc/def", Machine: elf.EM_X86_64, Bits: 64, Stripped: true, Static: true, Race: true}
	if !reflect.DeepEqual(x, want) {
		t.Fatalf("got  %+v\nwant %+v", x, want)
	}
	le := binary.LittleEndian
	with := func(change func(b []byte)) []byte {
		b := bytes.Clone(good)
		change(b)
		return b
	}
	for _, tt := range []struct {
		name string
		data []byte
		err  error
	}{
		{"no build information", makeELF(elfParts{note: "id"}), ErrNoBuildInfo},
		{"nothing Go", makeELF(elfParts{}), ErrNotGo},
		{"version of Go before 1.18", makeELF(elfParts{version: "go1.16", flags: 0x10, note: "id"}), ErrNoBuildInfo},
		{"version too long", makeELF(elfParts{version: strings.Repeat("x", 300), note: "id"}), ErrNoBuildInfo},
		{"version is no text", makeELF(elfParts{version: "go1\xff", note: "id"}), ErrNoBuildInfo},
		{"length beyond the file", with(func(b []byte) { le.PutUint64(b[4096+32:], 0x7f7f7f7fffffffff) }), ErrNoBuildInfo},
		{"segment of 2^63 bytes", with(func(b []byte) { le.PutUint64(b[120+32:], 1<<63); le.PutUint64(b[120+8:], 1<<40) }), ErrNoBuildInfo},
		{"segment at the end of the world", with(func(b []byte) { le.PutUint64(b[120+8:], ^uint64(0)) }), ErrNoBuildInfo},
		{"note with lengths of 4 GiB", with(func(b []byte) { le.PutUint64(b[1024:], ^uint64(0)) }), nil},
		{"65535 segments", with(func(b []byte) { le.PutUint16(b[56:], 0xffff) }), errMalformed},
		{"segments beyond the file", with(func(b []byte) { le.PutUint64(b[32:], 1<<40) }), errMalformed},
		{"segments of another size", with(func(b []byte) { le.PutUint16(b[54:], 32) }), errMalformed},
		{"65535 sections", with(func(b []byte) { le.PutUint16(b[58:], 64); le.PutUint16(b[60:], 0xffff) }), errMalformed},
		{"sections beyond the file", with(func(b []byte) { le.PutUint64(b[40:], 1<<40); le.PutUint16(b[58:], 64); le.PutUint16(b[60:], 9) }), nil},
		{"no byte order", with(func(b []byte) { b[elf.EI_DATA] = 9 }), errMalformed},
		{"no class", with(func(b []byte) { b[elf.EI_CLASS] = 9 }), errMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if x, err := ReadExe(bytes.NewReader(tt.data)); !errors.Is(err, tt.err) {
				t.Errorf("got %+v, %v; want %v", x, err, tt.err)
			}
		})
	}
	for i := range good {
		if _, err := ReadExe(bytes.NewReader(good[:i])); err == nil && i < len(good)-64 {
			t.Fatalf("a file cut after %d of %d bytes was read", i, len(good))
		}
	}
}

func TestExperiments(t *testing.T) {
	for _, tt := range []struct{ in, version, experiment string }{
		{"go1.26.8", "go1.26.8", ""},
		{"go1.25.1 X:nodwarf5", "go1.25.1", "nodwarf5"},
		{"go1.26.8-X:a,b", "go1.26.8", "a,b"},
		{"go1.27-custom X:a", "go1.27-custom", "a"},
		{"devel go1.28-abc Tue Jan 1 00:00:00 2030 X:a", "devel go1.28-abc Tue Jan 1 00:00:00 2030", "a"},
	} {
		var x Exe
		x.setBuildInfo(tt.in, "")
		if x.GoVersion != tt.version || x.GOEXPERIMENT != tt.experiment {
			t.Errorf("%q: %q, %q; want %q, %q", tt.in, x.GoVersion, x.GOEXPERIMENT, tt.version, tt.experiment)
		}
	}
}

func TestWithoutX(t *testing.T) {
	for in, want := range map[string]string{
		"-s -w":                         "-s -w",
		"-X main.a=b":                   " -X ...",
		"-s -X main.a=b -w":             "-s -X ...",
		"-s '-X=main.a=b'":              "-s -X ...",
		"-s --X main.a=b":               "-s -X ...",
		"-extldflags=-Wl,-Xlinker -s":   "-extldflags=-Wl,-Xlinker -s",
		"-linkmode=external -X \"a=b\"": "-linkmode=external -X ...",
		"all=-X main.key=secret":        "all= -X ...",
		"-s\n-X main.key=secret":        "-s\n -X ...",
	} {
		if got := withoutX("-ldflags", in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := withoutX("-gcflags", "-X"); got != "-X" {
		t.Errorf("another setting became %q", got)
	}
}

func FuzzReadExe(f *testing.F) {
	f.Add(makeELF(elfParts{version: "go1.26.8 X:a", mod: testMod + "f", note: "id"}))
	f.Add(makeELF(elfParts{version: "go1.16", flags: 0x10, note: "id"}))
	if self, err := os.ReadFile("/bin/true"); err == nil && len(self) < 100<<10 {
		f.Add(self)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := ReadExe(bytes.NewReader(data))
		if err == nil && (x.GoVersion == "" || x.Bits != 64) {
			t.Fatalf("accepted %+v", x)
		}
		if x != nil && len(x.GoVersion)+len(x.GoBuildID)+len(x.GNUBuildID) > 1000 {
			t.Fatalf("long names: %+v", x)
		}
	})
}
