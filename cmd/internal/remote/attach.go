package remote

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/layout"
	"github.com/heapwright/heapwright/cmd/internal/pclntab"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/record"
)

// A Target is a Go process whose runtime has been located and checked. It serves
// one reader at a time.
type Target struct {
	proc      *procmem.Process // nil for an image
	mem       procmem.Memory
	prog      *program
	books     *books
	goVersion string
	sample    record.Sample // scratch for the check
	cycles    cycleLog
}

// startWait bounds how long Attach waits for a runtime that is still starting.
const startWait = 2 * time.Second

// Attach locates the runtime of process pid. Errors: *UnsupportedError,
// *RefusedError, [ErrNotReady], and those of package procmem.
func Attach(ctx context.Context, pid int) (*Target, error) {
	proc, err := procmem.Open(pid)
	if err != nil {
		return nil, err
	}
	t, err := attachProcess(ctx, proc)
	if err != nil {
		// What went wrong may be that the process is gone, or another one.
		if alive := proc.Alive(); alive != nil {
			err = alive
		}
		proc.Close()
		return nil, err
	}
	return t, nil
}

func attachProcess(ctx context.Context, proc *procmem.Process) (*Target, error) {
	exe, err := proc.OpenExe()
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(startWait)
	for {
		t, err := attachOnce(proc, exe)
		switch {
		case !errors.Is(err, ErrNotReady) && !errors.Is(err, ErrUnsettled):
			return t, err
		case time.Now().After(deadline) && errors.Is(err, ErrNotReady):
			return nil, refuse("its Go runtime is not there, or has not been initialised, after %v", startWait)
		case time.Now().After(deadline):
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func attachOnce(proc *procmem.Process, exe *os.File) (*Target, error) {
	prog, goVersion, err := locateFile(exe, proc)
	if err != nil {
		return nil, err
	}
	t, err := newTarget(prog, goVersion, proc, kernelFacts(proc.PID()))
	if err != nil {
		return nil, err
	}
	t.proc = proc
	return t, proc.Alive()
}

func locateFile(exe *os.File, proc *procmem.Process) (*program, string, error) {
	goVersion, err := readGoVersion(exe)
	if err != nil {
		return nil, "", err
	}
	img, err := openImage(exe)
	if err != nil {
		return nil, "", err
	}
	bias, err := loadBias(img, exe, proc)
	if err != nil {
		return nil, "", err
	}
	prog, err := locateCached(exe, img, goVersion, proc, bias)
	return prog, goVersion, err
}

// newTarget checks a located program before anything of it is given out.
func newTarget(prog *program, goVersion string, mem procmem.Memory, os facts) (*Target, error) {
	b, err := newBooks(prog, mem)
	if err != nil {
		return nil, err
	}
	t := &Target{mem: mem, prog: prog, books: b, goVersion: goVersion}
	if err := t.checkIdentity(); err != nil {
		return nil, err
	}
	if err := b.read(); err != nil {
		return nil, err
	}
	b.decode(&t.sample)
	if err := b.check(&t.sample, time.Now(), os); err != nil {
		return nil, err
	}
	b.remember()
	t.cycles.start(&t.sample)
	return t, nil
}

// readGoVersion reads the release that built exe, with its experiments.
func readGoVersion(exe io.ReaderAt) (v string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = refuse("its build info is damaged: %v", p)
		}
	}()
	bi, err := buildinfo.Read(&thrifty{exe, maxInfoScan})
	if err != nil {
		return "", &UnsupportedError{What: "no Go build info: " + err.Error(), hint: "is it a Go program? heapwright ps lists those it sees", err: err}
	}
	return bi.GoVersion, nil
}

// loadBias finds by how much the program was moved from its link-time addresses.
func loadBias(img *image, exe *os.File, proc *procmem.Process) (uint64, error) {
	st, err := exe.Stat()
	if err != nil {
		return 0, fmt.Errorf("reading the executable: %w", err)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, errors.New("reading the executable: no inode")
	}
	maps, err := proc.Maps()
	if err != nil {
		return 0, err
	}
	// The segment that holds the pclntab is mapped from the file: find it there.
	var seg *elf.ProgHeader
	for i := range img.loads {
		if p := &img.loads[i]; img.tab >= p.Vaddr && img.tab < p.Vaddr+p.Filesz {
			seg = p
		}
	}
	if seg == nil {
		return 0, refuse("its function table is in no segment")
	}
	fileOff := seg.Off + (img.tab - seg.Vaddr)
	for _, m := range maps {
		if m.Inode != sys.Ino || fileOff < m.Offset || fileOff-m.Offset >= m.End-m.Start {
			continue
		}
		// Another file can have the same inode number on another device, and on an
		// overlay the device of the mapping is not that of the file: look.
		addr := m.Start + (fileOff - m.Offset)
		var head [8]byte
		if proc.Read(addr, head[:]) == nil && bytes.HasPrefix(head[:], tableMagic) {
			return addr - img.tab, nil
		}
	}
	return 0, refuse("its executable is not mapped where /proc says it is")
}

func kernelFacts(pid int) facts {
	var f facts
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return f
	}
	for line := range strings.Lines(string(b)) {
		key, val, _ := strings.Cut(line, ":")
		val = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(val), " kB"))
		switch key {
		case "VmPeak":
			n, _ := strconv.ParseUint(val, 10, 54)
			f.vmBytes = n << 10
		case "Threads":
			f.threads, _ = strconv.Atoi(val)
		}
	}
	return f
}

// Close lets go of the process.
func (t *Target) Close() error {
	if t.proc == nil {
		return nil
	}
	return t.proc.Close()
}

// Alive reports whether the target is still the process that was attached to.
func (t *Target) Alive() error {
	if t.proc == nil {
		return nil
	}
	return t.proc.Alive()
}

// Process is the process that was attached to, nil for a captured image.
func (t *Target) Process() *procmem.Process { return t.proc }

// Memory is the target's address space.
func (t *Target) Memory() procmem.Memory { return t.mem }

// Layout is the layout of the runtime's structures.
func (t *Target) Layout() *layout.Layout { return t.prog.release.Layout }

// Global returns the address of one of the runtime's variables, such as
// "runtime.mbuckets", and whether it was found without dissent.
func (t *Target) Global(symbol string) (uint64, bool) {
	a, ok := t.prog.globals[symbol]
	return a, ok
}

// Table is the target's function table, placed at run-time addresses.
func (t *Target) Table() *pclntab.Table { return t.prog.table }

// GoVersion is the release that built the target, such as "go1.26.8" or "go1.26.8-X:nogreenteagc".
func (t *Target) GoVersion() string { return t.goVersion }

// Sample reads the runtime's books into s: the runtime's fields, Time, Source
// and Has. Fields that it does not have keep what they held. It does not
// allocate. [ErrUnsettled] is about this one reading only.
func (t *Target) Sample(s *record.Sample) error {
	err := t.books.read()
	// What was read is the target's only if it is still there: after an exec the
	// same addresses may well hold another runtime.
	if alive := t.Alive(); alive != nil {
		return alive
	}
	if err != nil {
		return err
	}
	s.Time = time.Now()
	s.Source = record.SourceRemote
	s.Has = record.FieldSet{}
	t.books.decode(s)
	if s.GCCycles < t.books.prevGC || s.GOGCPercent < -1 || s.GCPhase > 2 {
		return refuse("its books went back from cycle %d to %d", t.books.prevGC, s.GCCycles)
	}
	t.books.remember()
	t.cycles.observe(t.books, s)
	return nil
}

// Cycles appends to dst the GC cycles that ended since the previous call, or
// since Attach, up to the latest Sample; lost is how many of them had left the
// runtime's 256-entry rings before a Sample saw them.
func (t *Target) Cycles(dst []record.Cycle) (cycles []record.Cycle, lost uint64, err error) {
	return t.cycles.take(dst)
}
