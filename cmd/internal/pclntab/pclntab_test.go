package pclntab_test

import (
	"bytes"
	"debug/elf"
	"debug/gosym"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/pclntab"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
	"github.com/heapwright/heapwright/record"
)

// A binary is the table of a program, read from its file.
type binary struct {
	tab, funcData []byte
	text          uint64
}

func readBinary(t testing.TB, path string) binary {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b binary
	b.tab, err = f.Section(".gopclntab").Data()
	if err != nil {
		t.Fatal(err)
	}
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range syms {
		switch s.Name {
		case "runtime.text":
			b.text = s.Value
		case "go:func.*":
			for _, sec := range f.Sections {
				if sec.Type == elf.SHT_PROGBITS && s.Value >= sec.Addr && s.Value < sec.Addr+sec.Size {
					d, err := sec.Data()
					if err != nil {
						t.Fatal(err)
					}
					b.funcData = d[s.Value-sec.Addr:]
				}
			}
		}
	}
	if b.text == 0 || b.funcData == nil {
		t.Fatal("symbols are missing")
	}
	return b
}

func (b binary) open(t testing.TB) *pclntab.Table {
	t.Helper()
	tab, err := pclntab.Open(bytes.NewReader(b.tab), int64(len(b.tab)), pclntab.Options{TextStart: b.text, FuncData: bytes.NewReader(b.funcData)})
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// TestAgainstGosym compares functions, names and lines with debug/gosym, on
// both instruction sizes.
func TestAgainstGosym(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			b := readBinary(t, targettest.Build(t, targettest.Local, "GOARCH="+arch, "CGO_ENABLED=0"))
			tab := b.open(t)
			ref, err := gosym.NewTable(nil, gosym.NewLineTable(b.tab, b.text))
			if err != nil {
				t.Fatal(err)
			}
			if len(ref.Funcs) != tab.NumFuncs() {
				t.Fatalf("%d functions, want %d", tab.NumFuncs(), len(ref.Funcs))
			}
			for i := range ref.Funcs {
				f, err := tab.FuncAt(i)
				if err != nil {
					t.Fatal(err)
				}
				want := &ref.Funcs[i]
				if f.Entry != want.Entry || f.End != want.End {
					t.Fatalf("function %d at %#x..%#x, want %#x..%#x", i, f.Entry, f.End, want.Entry, want.End)
				}
				// The runtime takes a name at offset 0 for none, gosym does not.
				if name := tab.Name(f); name != want.Name && f.HasName() {
					t.Fatalf("function %d is %q, want %q", i, name, want.Name)
				}
				if i%10 != 0 {
					continue
				}
				for pc := f.Entry; pc < f.End; pc += uint64(tab.Quantum()) {
					file, line, fn := ref.PCToLine(pc)
					if line < 0 {
						continue // padding after the function
					}
					if gotFile, gotLine := tab.FileLine(&f, pc); gotFile != file || gotLine != line {
						t.Fatalf("%s+%#x is %s:%d, want %s:%d", fn.Name, pc-f.Entry, gotFile, gotLine, file, line)
					}
				}
			}
		})
	}
}

func TestLookup(t *testing.T) {
	b := readBinary(t, targettest.Build(t, targettest.Local))
	tab := b.open(t)
	names := []string{"main.main", "main.deep", "runtime.gcStart", "runtime.mallocgc", "no.such.function", "main.(*parker).recvInlined"}
	found, err := tab.Lookup(names)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names[:4] {
		if len(found[n]) != 1 {
			t.Fatalf("%d functions %s, want 1", len(found[n]), n)
		}
		f := found[n][0]
		if got := tab.Name(f); got != n {
			t.Errorf("function %s has the name %q", n, got)
		}
		if g, ok := tab.FuncForPC(f.Entry + 1); !ok || g.Index != f.Index {
			t.Errorf("FuncForPC in %s is function %d, want %d", n, g.Index, f.Index)
		}
	}
	if len(found) != 4 {
		t.Errorf("found %d names, want 4", len(found))
	}
	if f := found["main.deep"][0]; f.StartLine == 0 || f.Args == 0 {
		t.Errorf("main.deep has start line %d and arguments of %d bytes", f.StartLine, f.Args)
	}
}

func TestNamesBegin(t *testing.T) {
	b := readBinary(t, targettest.Build(t, targettest.Local))
	tab := b.open(t)
	found, err := tab.NamesBegin([]string{"main.allocLeaf", "main.allocInlined", "runtime.", "example.com/none.", "main.allocLeafs", ""})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"main.allocLeaf": true, "main.allocInlined": true, "runtime.": true}
	if !maps.Equal(found, want) {
		t.Errorf("found %v, want %v", found, want)
	}
}

func TestWrapperID(t *testing.T) {
	tab := readBinary(t, targettest.Build(t, targettest.Local)).open(t)
	// FuncIDWrapper in internal/abi/symtab.go of Go 1.26.
	if got := tab.WrapperID(); got != 23 {
		t.Errorf("wrappers have function ID %d, want 23", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	good := readBinary(t, targettest.Build(t, targettest.Local)).tab
	for _, tt := range []struct {
		name   string
		change func(b []byte) []byte
	}{
		{"empty", func(b []byte) []byte { return nil }},
		{"short", func(b []byte) []byte { return b[:40] }},
		{"magic", func(b []byte) []byte { b[0] = 0xf5; return b }},
		{"go1.18", func(b []byte) []byte { b[0] = 0xf0; return b }},
		{"go1.16", func(b []byte) []byte { b[0] = 0xfa; return b }},
		{"padding", func(b []byte) []byte { b[4] = 1; return b }},
		{"quantum", func(b []byte) []byte { b[6] = 3; return b }},
		{"32-bit", func(b []byte) []byte { b[7] = 4; return b }},
		{"no functions", func(b []byte) []byte { clear(b[8:16]); return b }},
		{"many functions", func(b []byte) []byte { b[12] = 1; return b }},
		{"offset outside", func(b []byte) []byte { b[39] = 0x7f; return b }},
		{"offsets swapped", func(b []byte) []byte { copy(b[32:40], b[64:72]); return b }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.change(bytes.Clone(good[:1<<16]))
			_, err := pclntab.Open(bytes.NewReader(b), int64(len(b)), pclntab.Options{})
			var format *pclntab.FormatError
			if !errors.As(err, &format) {
				t.Fatalf("error %v, want a FormatError", err)
			}
		})
	}
}

// exercise calls everything a table can be asked, and checks what must hold
// whatever it says.
func exercise(t *testing.T, tab *pclntab.Table, rnd *rand.Rand, n int) {
	t.Helper()
	lo, hi := tab.PCRange()
	for range n {
		pc := lo + rnd.Uint64N(hi-lo+16)
		f, ok := tab.FuncForPC(pc)
		if ok && (pc < f.Entry || pc >= f.End) {
			t.Fatalf("function %#x..%#x for %#x", f.Entry, f.End, pc)
		}
		frames, _ := tab.Expand(nil, pc, true, pclntab.Callee{})
		if len(frames) > pclntab.MaxInlineDepth {
			t.Fatalf("%d frames at one address", len(frames))
		}
		tab.SPDelta(f, pc)
		tab.FuncName(pc)
		tab.Name(f)
		tab.IsInjectedCall(f)
		tab.MayUnwind(f, false)
		if i := rnd.IntN(tab.NumFuncs()); i >= 0 {
			tab.FuncAt(i)
		}
		if tab.PagesKept() > pclntab.MaxPages {
			t.Fatalf("%d pages are kept", tab.PagesKept())
		}
	}
}

// TestFlippedBytes asks damaged tables of a real program everything.
func TestFlippedBytes(t *testing.T) {
	b := readBinary(t, targettest.Build(t, targettest.Local))
	rnd := rand.New(rand.NewPCG(1, 2))
	opened := 0
	for range 30 {
		tab, data := bytes.Clone(b.tab), bytes.Clone(b.funcData)
		for range 1 + rnd.IntN(5000) {
			tab[72+rnd.IntN(len(tab)-72)] = byte(rnd.Uint32())
			data[rnd.IntN(len(data))] = byte(rnd.Uint32())
		}
		if rnd.IntN(4) == 0 {
			tab[rnd.IntN(72)] ^= 1 << rnd.IntN(8)
		}
		tb, err := pclntab.Open(bytes.NewReader(tab), int64(len(tab)), pclntab.Options{TextStart: b.text, FuncData: bytes.NewReader(data)})
		if err != nil {
			continue
		}
		opened++
		exercise(t, tb, rnd, 300)
		tb.Lookup([]string{"runtime.gcStart"})
	}
	if opened < 15 {
		t.Errorf("only %d of the damaged tables could be opened at all", opened)
	}
}

// TestShortRead opens a table whose end is missing, as when it is larger than
// what can be read of it.
func TestShortRead(t *testing.T) {
	b := readBinary(t, targettest.Build(t, targettest.Local))
	half := io.NewSectionReader(bytes.NewReader(b.tab), 0, int64(len(b.tab)/2))
	tab, err := pclntab.Open(half, int64(len(b.tab)), pclntab.Options{TextStart: b.text})
	if err != nil {
		return
	}
	if _, err := tab.Lookup([]string{"runtime.gcStart"}); err == nil {
		t.Error("a search of half a table did not fail")
	}
}

func FuzzTable(f *testing.F) {
	b := readBinary(f, targettest.Build(f, targettest.Local))
	// The whole table is too large a seed: damage is described instead.
	f.Add([]byte{}, uint64(1))
	f.Add([]byte{8, 0, 0, 0xff, 40, 0, 0, 0x10}, uint64(2))
	f.Add(b.tab[:200], uint64(3))
	f.Fuzz(func(t *testing.T, damage []byte, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		tab := bytes.Clone(b.tab)
		for i := 0; i+4 <= len(damage); i += 4 {
			at := int(damage[i]) | int(damage[i+1])<<8 | int(damage[i+2])<<16
			if i%8 == 4 {
				at = int(int64(at) * int64(len(tab)) >> 24) // anywhere
			}
			if at < len(tab) {
				tab[at] = damage[i+3]
			}
		}
		tb, err := pclntab.Open(bytes.NewReader(tab), int64(len(tab)), pclntab.Options{TextStart: b.text, FuncData: bytes.NewReader(b.funcData)})
		if err != nil {
			return
		}
		exercise(t, tb, rnd, 20)
	})
}

// FuzzRaw takes the whole table from the fuzzer.
func FuzzRaw(f *testing.F) {
	b := readBinary(f, targettest.Build(f, targettest.Local))
	f.Add(b.tab[:4096])
	f.Add(b.tab[:72])
	f.Fuzz(func(t *testing.T, data []byte) {
		tb, err := pclntab.Open(bytes.NewReader(data), int64(len(data)), pclntab.Options{FuncData: bytes.NewReader(data)})
		if err != nil {
			return
		}
		exercise(t, tb, rand.New(rand.NewPCG(1, 1)), 20)
		tb.Lookup([]string{"runtime.gcStart"})
	})
}

func TestPrintName(t *testing.T) {
	for _, tt := range []struct{ version, name, want string }{
		{"go1.26.8", "main.main", "main.main"},
		{"go1.26.8", "main.generic[go.shape.int]", "main.generic[...]"},
		{"go1.26.8", "main.generic[go.shape.[]int].func1", "main.generic[...].func1"},
		{"go1.26.8", "type:.eq.[2]main.P[int]", "type:.eq.[...]"},
		{"go1.20.14", "type:.eq.[2]main.P[...]", "type:.eq.[2]main.P[...]"},
		{"go1.27.4", "main.T[go.shape.int].M[go.shape.string]", "main.T[...].M[...]"},
		{"go1.27.4", "main.generic[go.shape.[]int].func1", "main.generic[...].func1"},
		{"go1.27.4", "main.f]x[", "main.f]x["},
		{"", "main.f[", "main.f["},
	} {
		if got := pclntab.PrintName(tt.version, tt.name); got != tt.want {
			t.Errorf("%s: %q printed as %q, want %q", tt.version, tt.name, got, tt.want)
		}
	}
}

// BenchmarkOpenLookup is what finding the runtime's functions in a program costs.
func BenchmarkOpenLookup(b *testing.B) {
	// The program under test is the largest that is always there.
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	f, err := elf.Open(filepath.Clean(exe))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	sec := f.Section(".gopclntab")
	names := []string{"runtime.gcStart", "runtime.mallocgc", "runtime.sysAlloc", "runtime.schedinit", "runtime.allgadd"}
	b.ReportAllocs()
	for b.Loop() {
		tab, err := pclntab.Open(sec, int64(sec.Size), pclntab.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if m, err := tab.Lookup(names); err != nil || len(m) < 4 {
			b.Fatal(len(m), err)
		}
	}
}

// TestForget: what was forgotten is read again, and is the same.
func TestForget(t *testing.T) {
	b := readBinary(t, targettest.Build(t, targettest.Local))
	tab := b.open(t)
	frames := func() (all [][]record.Frame) {
		for i := 0; i < tab.NumFuncs(); i += 50 {
			f, err := tab.FuncAt(i)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, tab.Frames(f.Entry))
		}
		return all
	}
	want := frames()
	tab.Forget()
	if got := frames(); !reflect.DeepEqual(got, want) {
		t.Error("the frames are others")
	}
}
