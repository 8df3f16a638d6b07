package remote

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/layout"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/record"
)

// patched copies a program with some of its bytes replaced.
func patched(t testing.TB, exe string, patch func([]byte) []byte) string {
	t.Helper()
	b, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "patched")
	if err := os.WriteFile(out, patch(b), 0o755); err != nil {
		t.Fatal(err)
	}
	return out
}

// refusal attaches and wants an error of type E whose text and hint are one line each.
func refusal[E interface {
	error
	Hint() string
}](t *testing.T, pid int) E {
	t.Helper()
	target, err := Attach(context.Background(), pid)
	if err == nil {
		target.Close()
		t.Fatal("attached")
	}
	e, ok := errors.AsType[E](err)
	if !ok {
		t.Fatalf("%T: %v", err, err)
	}
	if e.Hint() == "" || strings.ContainsAny(e.Error()+e.Hint(), "\n") {
		t.Errorf("error %q, hint %q", e.Error(), e.Hint())
	}
	return e
}

func TestRefuseNewerRelease(t *testing.T) {
	exe := buildSubject(t, "local", buildModes[0], true)
	for _, v := range []string{"go1.29.1", "go1.27.9", "go1.19.8", "devel 28"} {
		t.Run(v, func(t *testing.T) {
			b, err := os.ReadFile(exe)
			if err != nil {
				t.Fatal(err)
			}
			old, err := readGoVersion(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			// The inline build info begins with the length and the version.
			was := append([]byte{byte(len(old))}, old...)
			is := append([]byte{byte(len(old))}, (v + strings.Repeat(" ", max(0, len(old)-len(v))))[:len(old)]...)
			if len(v) > len(old) {
				t.Fatalf("%q does not fit over %q", v, old)
			}
			s := startSubject(t, patched(t, exe, func(b []byte) []byte { return bytes.Replace(b, was, is, 1) }))
			e := refusal[*UnsupportedError](t, s.cmd.Process.Pid)
			if !strings.Contains(e.Error(), strings.TrimSpace(v)) || !strings.Contains(e.Hint(), newest()) {
				t.Errorf("%q (%q) names neither the version nor what is supported", e.Error(), e.Hint())
			}
		})
	}
}

// TestOtherTables: the tables of every other release, applied to a program, are
// refused, unless what they say of it is the same.
func TestOtherTables(t *testing.T) {
	exe := buildSubject(t, "local", buildModes[0], true)
	s := startSubject(t, exe)
	own := attachSubject(t, s)
	f, img, _ := openFile(t, exe)
	_ = f
	accepted := 0
	for _, v := range layout.Releases("amd64") {
		prog, err := locate(img, v, own.mem, own.prog.bias, nil)
		if err != nil {
			continue
		}
		if _, err := newTarget(prog, own.goVersion, own.mem, kernelFacts(s.cmd.Process.Pid)); err != nil {
			continue
		}
		accepted++
		for _, g := range needed {
			if prog.globals[g] != own.prog.globals[g] {
				t.Errorf("with the tables of %s %s is elsewhere", v, g)
			}
		}
		theirs, err := newBooks(prog, own.mem)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := theirs.places(), own.books.places(); a != b {
			t.Errorf("the tables of %s were accepted, which read other places:\n%s\n%s", v, a, b)
		}
	}
	if accepted == 0 {
		t.Error("not even its own tables were accepted")
	}
	t.Logf("%d of %d releases' tables are the same for this program", accepted, len(layout.Releases("amd64")))
}

// places lists where each field is read.
func (k *books) places() string {
	var b strings.Builder
	f := reflect.ValueOf(k.f)
	for i := range f.NumField() {
		if w := f.Field(i); w.Type() == reflect.TypeFor[word]() {
			fmt.Fprintf(&b, "%s=%d ", f.Type().Field(i).Name, w.FieldByName("off").Int())
		} else {
			fmt.Fprintf(&b, "%s=%v ", f.Type().Field(i).Name, w)
		}
	}
	fmt.Fprint(&b, k.pOff)
	return b.String()
}

func TestRefuseOtherPrograms(t *testing.T) {
	start := func(t *testing.T, name string, args ...string) int {
		cmd := exec.Command(name, args...)
		if err := cmd.Start(); err != nil {
			t.Skipf("cannot run %s: %v", name, err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		return cmd.Process.Pid
	}
	t.Run("not Go", func(t *testing.T) {
		refusal[*UnsupportedError](t, start(t, "sleep", "60"))
	})
	t.Run("32 bit", func(t *testing.T) {
		out := filepath.Join(t.TempDir(), "subject-386")
		cmd := exec.Command("go", "build", "-o", out, ".")
		cmd.Dir = "testdata/subject"
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOARCH=386", "CGO_ENABLED=0")
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		s := startSubject(t, out)
		if e := refusal[*UnsupportedError](t, s.cmd.Process.Pid); !strings.Contains(e.Error(), "ELFCLASS32") {
			t.Error(e)
		}
	})
	t.Run("unoptimised and stripped", func(t *testing.T) {
		m := buildMode{name: "noopt", args: []string{"-gcflags=all=-N -l"}}
		s := startSubject(t, buildSubject(t, "local", m, true))
		refusal[*RefusedError](t, s.cmd.Process.Pid)
	})
}

// TestUnusualBuilds are forms that are not in the matrix but must be read right.
func TestUnusualBuilds(t *testing.T) {
	check := func(t *testing.T, exe string) {
		s := startSubject(t, exe)
		atRest(t, s, attachSubject(t, s), 3, tally{})
	}
	t.Run("no section headers", func(t *testing.T) {
		check(t, patched(t, buildSubject(t, "local", buildModes[0], true), func(b []byte) []byte {
			le := binary.LittleEndian
			le.PutUint64(b[40:], 0) // e_shoff
			le.PutUint32(b[60:], 0) // e_shnum, e_shstrndx
			return b
		}))
	})
	t.Run("strip", func(t *testing.T) {
		exe := patched(t, buildSubject(t, "local", buildModes[3], false), func(b []byte) []byte { return b })
		if out, err := exec.Command("strip", "--strip-all", exe).CombinedOutput(); err != nil {
			t.Skipf("no strip here: %v %s", err, out)
		}
		check(t, exe)
	})
	t.Run("deleted", func(t *testing.T) {
		exe := patched(t, buildSubject(t, "local", buildModes[0], true), func(b []byte) []byte { return b })
		s := startSubject(t, exe)
		if err := os.Remove(exe); err != nil {
			t.Fatal(err)
		}
		atRest(t, s, attachSubject(t, s), 3, tally{})
	})
	t.Run("stopped", func(t *testing.T) {
		s := startSubject(t, buildSubject(t, "local", buildModes[0], true))
		if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		var out record.Sample
		if err := attachSubject(t, s).Sample(&out); err != nil {
			t.Error(err)
		}
	})
}

// TestAttachAtOnce attaches to processes that have only just been started: their
// runtime is soon there, and never looks wrong on the way.
func TestAttachAtOnce(t *testing.T) {
	exe := buildSubject(t, "local", buildModes[0], true)
	for range 40 {
		cmd := exec.Command(exe)
		in, err := cmd.StdinPipe() // keeps the subject waiting
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		target, err := Attach(context.Background(), cmd.Process.Pid)
		for tries := 0; tooEarly(err) && tries < 30; tries++ {
			target, err = Attach(context.Background(), cmd.Process.Pid)
		}
		if err != nil {
			t.Errorf("attaching: %v", err)
		} else {
			target.Close()
		}
		in.Close()
		cmd.Wait()
	}
}

// tooEarly reports whether a process had not begun, or not settled, for as long as Attach
// waits: on a busy machine it may not have got the CPU for it.
func tooEarly(err error) bool {
	var refused *RefusedError
	return errors.Is(err, ErrUnsettled) || errors.As(err, &refused) && strings.HasSuffix(err.Error(), "after "+startWait.String())
}

func TestTargetGoesAway(t *testing.T) {
	exe := buildSubject(t, "local", buildModes[0], true)
	s := startSubject(t, exe)
	target := attachSubject(t, s)
	s.cmd.Process.Kill()
	s.cmd.Wait()
	var out record.Sample
	if err := target.Sample(&out); !errors.Is(err, procmem.ErrExited) && !errors.Is(err, procmem.ErrReplaced) {
		t.Errorf("after exit: %v", err)
	}
	if _, err := Attach(context.Background(), s.cmd.Process.Pid); err == nil {
		t.Error("attached to a process that is gone")
	}
}

// TestTargetExecs: a program that replaces itself by another run of itself has
// the same PID, the same file and the same addresses, but it is another process.
func TestTargetExecs(t *testing.T) {
	exe := buildSubject(t, "local", buildModes[0], true)
	s := startSubject(t, exe)
	target := attachSubject(t, s)
	s.send('x')
	if line, err := s.out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("subject said %q: %v", line, err)
	}
	var out record.Sample
	if err := target.Sample(&out); !errors.Is(err, procmem.ErrReplaced) && !errors.Is(err, procmem.ErrExited) {
		t.Errorf("after exec: %v", err)
	}
}

// A noiseMemory has random bytes everywhere, others at each read.
type noiseMemory struct{ r *rand.Rand }

func (m noiseMemory) Read(_ uint64, buf []byte) error {
	for i := range buf {
		buf[i] = byte(m.r.Uint32())
	}
	return nil
}

func (m noiseMemory) ReadBatch(reqs []procmem.Request) (int, error) {
	for _, r := range reqs {
		m.Read(r.Addr, r.Buf)
	}
	return len(reqs), nil
}

// TestNoise: a located program whose memory is then random gives errors, never a panic or a sample.
func TestNoise(t *testing.T) {
	exe := buildSubject(t, "local", buildModes[0], true)
	s := startSubject(t, exe)
	own := attachSubject(t, s)
	for seed := range uint64(200) {
		mem := noiseMemory{rand.New(rand.NewPCG(seed, 1))}
		if _, err := newTarget(own.prog, own.goVersion, mem, facts{}); err == nil {
			t.Fatalf("seed %d: random memory was accepted", seed)
		}
		if _, err := locate(mustImage(t, exe), own.goVersion, mem, 0, nil); err == nil {
			t.Fatalf("seed %d: a runtime was located in random memory", seed)
		}
	}
}

func mustImage(t testing.TB, path string) *image {
	_, img, _ := openFile(t, path)
	return img
}

// A flickering memory is a real one in which a counter moves at every read.
type flickering struct {
	procmem.Memory
	addr uint64
	n    uint64
}

func (m *flickering) ReadBatch(reqs []procmem.Request) (int, error) {
	n, err := m.Memory.ReadBatch(reqs)
	for _, r := range reqs {
		if r.Addr == m.addr {
			m.n++
			binary.LittleEndian.PutUint64(r.Buf, 1<<20+m.n)
		}
	}
	return n, err
}

func TestUnsettled(t *testing.T) {
	s := startSubject(t, buildSubject(t, "local", buildModes[0], true))
	target := attachSubject(t, s)
	target.books.mem = &flickering{Memory: target.mem, addr: target.books.lastGC2.addr}
	var out record.Sample
	if err := target.Sample(&out); !errors.Is(err, ErrUnsettled) {
		t.Errorf("got %v", err)
	}
}

// A tornMemory is a real one that is read, the first few times, while the
// target is at work in it.
type tornMemory struct {
	procmem.Memory
	torn  int // readings
	write func(reqs []procmem.Request)
}

func (m *tornMemory) ReadBatch(reqs []procmem.Request) (int, error) {
	n, err := m.Memory.ReadBatch(reqs)
	if m.torn > 0 {
		m.torn--
		m.write(reqs)
	}
	return n, err
}

// TestHeapStatsMove: a target that reads its own metrics adds one set of heap
// statistics to another and clears it. At no step of that is a sample wrong.
func TestHeapStatsMove(t *testing.T) {
	s := startSubject(t, buildSubject(t, "local", buildModes[0], true))
	target := attachSubject(t, s)
	k := target.books
	var want record.Sample
	if err := target.Sample(&want); err != nil {
		t.Fatal(err)
	}
	size := int(k.f.hsSize)
	word := binary.LittleEndian
	gen := int(word.Uint32(k.gen2.buf))
	now, before, clear3 := gen*size, (gen+2)%3*size, (gen+1)%3*size
	// What the steps of consistentHeapStats.read make of the three sets, from
	// "gen has moved to clear3": before is added to now, and then cleared.
	merge := func(b []byte, words int) {
		for i := 0; i < words; i++ {
			word.PutUint64(b[now+8*i:], word.Uint64(b[now+8*i:])+word.Uint64(b[before+8*i:]))
		}
	}
	moved := func(b []byte) { word.PutUint32(b[len(b)-4:], uint32(clear3/size)) }
	for _, c := range []struct {
		name         string
		early, later func(stats []byte) // what the first and the second copy become
	}{
		{"gen moves between", func([]byte) {}, moved},
		{"gen has moved", moved, moved},
		{"half merged", func(b []byte) { moved(b); merge(b, size/16) }, func(b []byte) { moved(b); merge(b, size/16) }},
		{"merged", func(b []byte) { moved(b); merge(b, size/8) }, func(b []byte) { moved(b); merge(b, size/8) }},
		{"half cleared", func(b []byte) { moved(b); merge(b, size/8); clear(b[before : before+size/2]) }, func(b []byte) { moved(b); merge(b, size/8); clear(b[before : before+size]) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			stats := k.stats.addr
			m := &tornMemory{Memory: target.mem, torn: 3, write: func(reqs []procmem.Request) {
				var later []byte
				for _, r := range reqs {
					switch {
					case r.Addr == stats && len(r.Buf) == len(k.stats.buf):
						c.early(r.Buf)
					case r.Addr == k.mstats.addr:
						later = r.Buf[k.f.heapStats.off:][:len(k.stats.buf)]
						c.later(later)
					case r.Addr == k.gen2.addr && len(r.Buf) == 4:
						copy(r.Buf, later[len(later)-4:])
					}
				}
			}}
			k.mem = m
			defer func() { k.mem = target.mem }()
			var got record.Sample
			if err := target.Sample(&got); err != nil {
				t.Fatal(err)
			}
			if m.torn != 0 {
				t.Errorf("a torn reading was believed, %d before the end", m.torn)
			}
			if got.TotalAllocBytes != want.TotalAllocBytes || got.SizeClassAllocs != want.SizeClassAllocs || got.StackInUseBytes != want.StackInUseBytes {
				t.Errorf("allocated %d bytes, want %d", got.TotalAllocBytes, want.TotalAllocBytes)
			}
		})
	}
}

// TestSpanOnItsWay: a span that is counted as free and in use at once would
// make the heap goal under a memory limit too large.
func TestSpanOnItsWay(t *testing.T) {
	s := startSubjectEnv(t, []string{"GOMEMLIMIT=1GiB", "GOGC=off"}, buildSubject(t, "local", buildModes[0], true))
	target := attachSubject(t, s)
	k := target.books
	var want, got record.Sample
	if err := target.Sample(&want); err != nil {
		t.Fatal(err)
	}
	m := &tornMemory{Memory: target.mem, torn: 3, write: func(reqs []procmem.Request) {
		for _, r := range reqs {
			if r.Addr == k.gc.addr {
				b := r.Buf[k.f.heapFree.off:]
				binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)+want.MappedReadyBytes)
			}
		}
	}}
	k.mem = m
	if err := target.Sample(&got); err != nil || m.torn != 0 || got.HeapGoalBytes != want.HeapGoalBytes {
		t.Errorf("goal %d, want %d, %v; %d torn readings to come", got.HeapGoalBytes, want.HeapGoalBytes, err, m.torn)
	}
}

// TestListOfPsGrows: while GOMAXPROCS grows, the list of Ps is long before all
// of them are in it. They are looked for again.
func TestListOfPsGrows(t *testing.T) {
	s := startSubject(t, buildSubject(t, "local", buildModes[0], true))
	target := attachSubject(t, s)
	k := target.books
	all := len(k.ps)
	k.psKey = [2]uint64{}
	k.mem = &missingP{target.mem, binary.LittleEndian.Uint64(k.allp.buf)}
	var out record.Sample
	if err := target.Sample(&out); err != nil || len(k.ps) != all-1 {
		t.Fatalf("%d of %d Ps, %v", len(k.ps), all, err)
	}
	k.mem = target.mem
	if err := target.Sample(&out); err != nil || len(k.ps) != all {
		t.Errorf("%d of %d Ps later, %v", len(k.ps), all, err)
	}
}

// A missingP is a real memory without the last P of the list.
type missingP struct {
	procmem.Memory
	list uint64
}

func (m *missingP) Read(addr uint64, buf []byte) error {
	err := m.Memory.Read(addr, buf)
	if addr == m.list {
		clear(buf[len(buf)-8:])
	}
	return err
}

// TestForcedCycles: whether a cycle was asked for does not depend on what the
// next one has left in runtime.work.
func TestForcedCycles(t *testing.T) {
	s := startSubject(t, buildSubject(t, "local", buildModes[0], true))
	target := attachSubject(t, s)
	var out record.Sample
	read := func() record.Cycle {
		t.Helper()
		s.send('g')
		if line, _ := s.out.ReadString('\n'); line != "done\n" {
			t.Fatalf("subject said %q", line)
		}
		if err := target.Sample(&out); err != nil {
			t.Fatal(err)
		}
		cycles, _, _ := target.Cycles(nil)
		return cycles[len(cycles)-1]
	}
	if c := read(); !c.Detail || !c.Forced {
		t.Errorf("forced: %+v", c)
	}
	target.cycles.forced++ // as if this one had not been
	if c := read(); !c.Detail || c.Forced {
		t.Errorf("not forced: %+v", c)
	}
	target.cycles.seen-- // as if two had ended, one of them forced
	if c := read(); c.Detail || c.Forced {
		t.Errorf("one of two: %+v", c)
	}
}

// A sparse file has a beginning, and zeros without end.
type sparse struct {
	head []byte
	read int
}

func (s *sparse) ReadAt(b []byte, off int64) (int, error) {
	if s.read += len(b); s.read > 1<<30 {
		return 0, errors.New("a gigabyte was read")
	}
	clear(b)
	if off < int64(len(s.head)) {
		copy(b, s.head[off:])
	}
	return len(b), nil
}

// TestSparseFile: an executable may claim a terabyte, and have it.
func TestSparseFile(t *testing.T) {
	le := binary.LittleEndian
	const huge = 1 << 40
	header := func(phnum, shnum int) []byte {
		b := make([]byte, 256)
		copy(b, "\x7fELF\x02\x01\x01")
		le.PutUint16(b[16:], uint16(elf.ET_EXEC))
		le.PutUint16(b[18:], uint16(elf.EM_X86_64))
		le.PutUint32(b[20:], 1)
		le.PutUint64(b[32:], 64)  // e_phoff
		le.PutUint64(b[40:], 128) // e_shoff
		le.PutUint16(b[52:], 64)
		le.PutUint16(b[54:], 56)
		le.PutUint16(b[56:], uint16(phnum))
		le.PutUint16(b[58:], 64)
		le.PutUint16(b[60:], uint16(shnum))
		le.PutUint32(b[64:], uint32(elf.PT_LOAD))
		le.PutUint32(b[68:], uint32(elf.PF_R|elf.PF_W))
		le.PutUint64(b[80:], 0x400000) // p_vaddr
		le.PutUint64(b[96:], huge)
		le.PutUint64(b[104:], huge)
		if shnum > 0 {
			le.PutUint16(b[62:], 1) // e_shstrndx
			le.PutUint32(b[192+4:], uint32(elf.SHT_STRTAB))
			le.PutUint64(b[192+24:], 4096)
			le.PutUint64(b[192+32:], huge)
		}
		return b
	}
	for _, c := range []struct {
		name string
		head []byte
		open func(io.ReaderAt) error
		most int
	}{
		{"section names", header(1, 2), func(r io.ReaderAt) error { _, err := openImage(r); return err }, maxHeaders},
		{"section names, build info", header(1, 2), func(r io.ReaderAt) error { _, err := readGoVersion(r); return err }, maxInfoScan},
		{"a segment, build info", header(1, 0), func(r io.ReaderAt) error { _, err := readGoVersion(r); return err }, maxInfoScan},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := &sparse{head: c.head}
			if err := c.open(file); err == nil {
				t.Error("it was accepted")
			}
			if file.read > c.most+1<<20 {
				t.Errorf("%d MiB of it were read", file.read>>20)
			}
		})
	}
}

// FuzzImage opens files that claim to be Go programs.
func FuzzImage(f *testing.F) {
	if b, err := os.ReadFile(buildSubject(f, "local", buildModes[0], true)); err == nil {
		f.Add(b[:4096])
	}
	f.Add([]byte(elf.ELFMAG))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := readGoVersion(bytes.NewReader(b)); err != nil && strings.Contains(err.Error(), "damaged") {
			t.Log(err)
		}
		if img, err := openImage(bytes.NewReader(b)); err == nil {
			img.symbols(map[string]bool{"runtime.memstats": true})
			locate(img, "go1.26.8", noiseMemory{rand.New(rand.NewPCG(1, 2))}, 0, nil)
		}
	})
}

// FuzzAttach attaches to a captured process in whose file and memory bytes were
// changed: each 6 bytes of the input are a place (file or memory, where) and a value.
func FuzzAttach(f *testing.F) {
	read := func(name string) []byte {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	file, memory := read(fixtureFile), read(fixtureMemory)
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0x10, 0x20, 0xff, 0, 0, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		fi, err := procmem.ReadImage(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		mi, err := procmem.ReadImage(bytes.NewReader(memory))
		if err != nil {
			t.Fatal(err)
		}
		for ; len(b) >= 6; b = b[6:] {
			at := uint64(b[1]) | uint64(b[2])<<8 | uint64(b[3])<<16
			if b[0]&1 == 0 {
				fi.Add(at, b[4:6])
			} else {
				mi.Add(0x200000+at, b[4:6])
			}
		}
		target, err := attachImage(fileImage{fi}, mi, 0)
		if err != nil {
			return
		}
		var s record.Sample
		target.Sample(&s)
		target.Cycles(nil)
	})
}

func TestSampleDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	s := startSubject(t, buildSubject(t, "local", buildModes[0], true))
	target := attachSubject(t, s)
	var out record.Sample
	if n := testing.AllocsPerRun(100, func() {
		if err := target.Sample(&out); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a sample makes %v allocations", n)
	}
}

func BenchmarkSample(b *testing.B) {
	s := startSubject(b, buildSubject(b, "local", buildModes[0], true))
	target := attachSubject(b, s)
	var out record.Sample
	b.ReportAllocs()
	for b.Loop() {
		if err := target.Sample(&out); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAttach(b *testing.B) {
	s := startSubject(b, buildSubject(b, "local", buildModes[0], true))
	for _, warm := range []bool{false, true} {
		name := "first"
		if warm {
			name = "same-program-again"
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if !warm {
					located.Lock()
					clear(located.m)
					located.Unlock()
				}
				target, err := Attach(context.Background(), s.cmd.Process.Pid)
				if err != nil {
					b.Fatal(err)
				}
				target.Close()
			}
		})
	}
}

// BenchmarkLocate locates the globals of a large stripped program without
// running it: HEAPWRIGHT_BENCH_EXE, or the go command itself.
func BenchmarkLocate(b *testing.B) {
	path := os.Getenv("HEAPWRIGHT_BENCH_EXE")
	if path == "" {
		var err error
		if path, err = exec.LookPath("go"); err != nil {
			b.Skip("no large program: set HEAPWRIGHT_BENCH_EXE")
		}
	}
	st, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	_, img, v := openFile(b, path)
	mem := newFileMemory(b, path, img)
	for b.Loop() {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		img, err := openImage(f)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := locate(img, v, mem, 0, nil); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
	b.ReportMetric(float64(st.Size())/1e6, "MB")
}

// TestSymbols: the streaming search finds what reading the whole table finds.
func TestSymbols(t *testing.T) {
	exe := buildSubject(t, "local", buildModes[4], false) // linked by the C linker, which merges names
	f, err := elf.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	want, wanted := map[string]uint64{}, map[string]bool{}
	for _, s := range syms {
		if elf.ST_TYPE(s.Info) == elf.STT_OBJECT && strings.HasPrefix(s.Name, "runtime.") && len(s.Name) < maxNameLen-1 {
			want[s.Name] = s.Value
			wanted[s.Name] = true
		}
	}
	got := mustImage(t, exe).symbols(wanted)
	if len(want) < 100 || !maps.Equal(got, want) {
		t.Errorf("%d of %d symbols are the same", len(got), len(want))
	}
	if got := mustImage(t, buildSubject(t, "local", buildModes[4], true)).symbols(wanted); len(got) > 0 {
		t.Errorf("%d symbols in a stripped program", len(got))
	}
}
