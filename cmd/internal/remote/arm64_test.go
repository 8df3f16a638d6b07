package remote

import (
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/record"
)

var (
	captureFlag = flag.Bool("capture-arm64", false, "make testdata/arm64.* anew, from a program under qemu-aarch64")
	probesFlag  = flag.String("probes", "", "directory of the probes that tools/layouts built")
)

// buildARM64 cross-compiles the subject.
func buildARM64(t testing.TB, release string, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "subject-arm64")
	cmd := exec.Command("go", append(append([]string{"build", "-o", out}, args...), ".")...)
	cmd.Dir = "testdata/subject"
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0", "GOARCH=arm64")
	if release != "local" {
		cmd.Env = append(cmd.Env, "GOTOOLCHAIN="+release)
	}
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the subject for arm64: %v\n%s", err, b)
	}
	return out
}

// A fileMemory is what the kernel would map of an executable before it runs:
// its segments, with the relocations of a PIE applied at the link-time address.
type fileMemory struct {
	img    *image
	relocs map[uint64]uint64
}

func newFileMemory(t testing.TB, path string, img *image) *fileMemory {
	m := &fileMemory{img, map[uint64]uint64{}}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA {
			continue
		}
		data, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		for ; len(data) >= 24; data = data[24:] {
			typ := binary.LittleEndian.Uint32(data[8:])
			if typ == uint32(elf.R_AARCH64_RELATIVE) || typ == uint32(elf.R_X86_64_RELATIVE) {
				m.relocs[binary.LittleEndian.Uint64(data)] = binary.LittleEndian.Uint64(data[16:])
			}
		}
	}
	return m
}

func (m *fileMemory) Read(addr uint64, buf []byte) error {
	if n, err := m.img.ReadAt(buf, int64(addr)); n < len(buf) {
		return fmt.Errorf("address %#x: %v", addr, err)
	}
	for i := range buf {
		if v, ok := m.relocs[addr+uint64(i)]; ok && i+8 <= len(buf) {
			binary.LittleEndian.PutUint64(buf[i:], v)
		}
	}
	return nil
}

func (m *fileMemory) ReadBatch(reqs []procmem.Request) (int, error) {
	for i, r := range reqs {
		if err := m.Read(r.Addr, r.Buf); err != nil {
			return i, err
		}
	}
	return len(reqs), nil
}

func openFile(t testing.TB, path string) (*os.File, *image, string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	v, err := readGoVersion(f)
	if err != nil {
		t.Fatal(err)
	}
	img, err := openImage(f)
	if err != nil {
		t.Fatal(err)
	}
	return f, img, v
}

// TestARM64Static resolves cross-compiled programs without running them: what
// is found without the symbol table must be what the symbol table says.
func TestARM64Static(t *testing.T) {
	for _, release := range []string{"local", "go1.20.14", "go1.27.4"} {
		for _, mode := range []string{"exe", "pie"} {
			t.Run(release+"/"+mode, func(t *testing.T) {
				resolveStatically(t, buildARM64(t, release, "-buildmode="+mode))
			})
		}
	}
}

// TestProbesStatically does the same to every probe of the layout tables: every
// release, both architectures, every flavour.
func TestProbesStatically(t *testing.T) {
	if *probesFlag == "" {
		t.Skip("needs the probes of every release: go run ./tools/layouts -probes DIR builds them, -probes DIR names them here")
	}
	probes, err := filepath.Glob(filepath.Join(*probesFlag, "go1.*-*-*"))
	if err != nil || len(probes) == 0 {
		t.Fatalf("no probes in %s: %v", *probesFlag, err)
	}
	for _, path := range probes {
		t.Run(filepath.Base(path), func(t *testing.T) { resolveStatically(t, path) })
	}
}

// resolveStatically locates the globals of a program as if it were stripped, and
// holds them against its symbol table.
func resolveStatically(t *testing.T, path string) {
	_, img, v := openFile(t, path)
	// A second build with -s would lie elsewhere: the flags are part of the build
	// info, which is data. So the symbols are only hidden.
	img.sects = nil
	prog, err := locate(img, v, newFileMemory(t, path, img), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(prog.missing) > 0 {
		t.Errorf("votes disagree: %v", prog.missing)
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, s := range syms {
		if got, ok := prog.globals[s.Name]; ok {
			checked++
			if got != s.Value {
				t.Errorf("%s is at %#x, resolved to %#x", s.Name, s.Value, got)
			}
		}
	}
	if checked < 25 {
		t.Errorf("only %d globals resolved", checked)
	}
}

// An offsetMemory is the memory of a program that qemu-user runs: the guest's
// addresses, shifted to where qemu put them.
type offsetMemory struct {
	procmem.Memory
	base uint64
}

func (m offsetMemory) Read(addr uint64, buf []byte) error { return m.Memory.Read(addr+m.base, buf) }

func (m offsetMemory) ReadBatch(reqs []procmem.Request) (int, error) {
	shifted := make([]procmem.Request, len(reqs))
	for i, r := range reqs {
		shifted[i] = procmem.Request{Addr: r.Addr + m.base, Buf: r.Buf}
	}
	return m.Memory.ReadBatch(shifted)
}

// attachEmulated attaches to an arm64 program under qemu-aarch64. wrap sees what
// is read of its memory and of its file.
func attachEmulated(t testing.TB, path string, s *subject, wrapMem func(procmem.Memory) procmem.Memory, wrapFile func(io.ReaderAt) io.ReaderAt) *Target {
	t.Helper()
	proc, err := procmem.Open(s.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proc.Close() })
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	img, err := openImage(f)
	if err != nil {
		t.Fatal(err)
	}
	base, err := loadBias(img, f, proc) // not a PIE: the bias is all qemu's
	if err != nil {
		t.Fatal(err)
	}
	target, err := attachImage(wrapFile(f), wrapMem(offsetMemory{proc, base}), 0)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// attachImage attaches to captured memory.
func attachImage(exe io.ReaderAt, mem procmem.Memory, bias uint64) (*Target, error) {
	v, err := readGoVersion(exe)
	if err != nil {
		return nil, err
	}
	img, err := openImage(exe)
	if err != nil {
		return nil, err
	}
	prog, err := locate(img, v, mem, bias, nil)
	if err != nil {
		return nil, err
	}
	return newTarget(prog, v, mem, facts{})
}

func qemu(t testing.TB) string {
	for _, n := range []string{"qemu-aarch64-static", "qemu-aarch64"} {
		if p, err := exec.LookPath(n); err == nil {
			return p
		}
	}
	t.Skip("no qemu-aarch64 here (Debian: qemu-user-static): arm64 programs are checked statically and from a captured image only")
	return ""
}

// TestARM64Emulated reads live arm64 programs, which qemu-user runs.
func TestARM64Emulated(t *testing.T) {
	q := qemu(t)
	releases := []string{"local"}
	if *matrixFlag == "full" {
		releases = []string{"go1.21.13", "go1.23.12", "go1.24.13", "go1.25.14", "go1.26.11", "go1.27.4"}
	}
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			path := buildARM64(t, release, "-ldflags=-s -w")
			s := startSubject(t, q, path)
			target := attachEmulated(t, path, s,
				func(m procmem.Memory) procmem.Memory { return m }, func(r io.ReaderAt) io.ReaderAt { return r })
			atRest(t, s, target, 5, tally{})
			pauses(t, s, target)
		})
	}
}

const (
	fixtureMemory = "testdata/arm64.memory"
	fixtureFile   = "testdata/arm64.file"
	fixtureTruth  = "testdata/arm64.json.gz"
)

// A fileRecorder is a file that keeps what is read of it.
type fileRecorder struct {
	r  io.ReaderAt
	to *procmem.Image
}

func (f fileRecorder) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.r.ReadAt(b, off)
	f.to.Add(uint64(off), b[:n])
	return n, err
}

// A fileImage is such a copy.
type fileImage struct{ *procmem.Image }

func (f fileImage) ReadAt(b []byte, off int64) (int, error) {
	if err := f.Read(uint64(off), b); err != nil {
		for n := range b { // the copy ends where reading did
			if f.Read(uint64(off)+uint64(n), b[n:n+1]) != nil {
				return n, io.EOF
			}
		}
	}
	return len(b), nil
}

// TestARM64Image reads an arm64 process's memory as captured once under
// qemu-aarch64 (-capture-arm64), and holds it against what the process said.
func TestARM64Image(t *testing.T) {
	if *captureFlag {
		capture(t)
	}
	read := func(name string) *procmem.Image {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		im, err := procmem.ReadImage(f)
		if err != nil {
			t.Fatal(err)
		}
		return im
	}
	target, err := attachImage(fileImage{read(fixtureFile)}, read(fixtureMemory), 0)
	if err != nil {
		t.Fatal(err)
	}
	var s record.Sample
	if err := target.Sample(&s); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(fixtureTruth)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var truth map[string]json.RawMessage
	if err := json.NewDecoder(z).Decode(&truth); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, c := range comparisons {
		if want, ok := metricValue(truth, c.metric); ok {
			compared++
			if got := c.value(&s); !equal(got, want) && c.drifts == 0 {
				t.Errorf("%s was %v, read as %v", c.metric, want, got)
			}
		}
	}
	if compared < 30 {
		t.Errorf("only %d values compared", compared)
	}
}

func capture(t *testing.T) {
	path := buildARM64(t, "local", "-ldflags=-s -w")
	s := startSubject(t, qemu(t), path)
	mem, file := procmem.NewImage(), procmem.NewImage()
	target := attachEmulated(t, path, s,
		func(m procmem.Memory) procmem.Memory { return procmem.Recorder{Memory: m, Image: mem} },
		func(r io.ReaderAt) io.ReaderAt { return fileRecorder{r, file} })
	truth := s.metrics(func() {
		if err := target.checkIdentity(); err != nil {
			t.Fatal(err)
		}
		var out record.Sample
		if err := target.Sample(&out); err != nil {
			t.Fatal(err)
		}
	})
	write := func(name string, put func(io.Writer) error) {
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := put(f); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write(fixtureMemory, func(w io.Writer) error { _, err := mem.WriteTo(w); return err })
	write(fixtureFile, func(w io.Writer) error { _, err := file.WriteTo(w); return err })
	write(fixtureTruth, func(w io.Writer) error {
		z := gzip.NewWriter(w)
		if err := json.NewEncoder(z).Encode(truth); err != nil {
			return err
		}
		return z.Close()
	})
}
