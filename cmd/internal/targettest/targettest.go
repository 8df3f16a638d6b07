// Package targettest builds and runs a program for tests to look into from
// outside, with any Go toolchain there is, and lets them ask the program itself
// for the truth: its own profiles, and the frames of its own code.
package targettest

import (
	"bufio"
	"debug/buildinfo"
	"debug/elf"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/layout"
	"github.com/heapwright/heapwright/cmd/internal/pclntab"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

//go:embed testdata/main.go.txt
var source []byte

//go:embed testdata/books.go.txt
var booksSource []byte

const plainSource = `package main

import "os"

func main() {
	os.Stdout.WriteString("0\n")
	os.Stdin.Read(make([]byte, 1))
}
`

// Local stands for the toolchain that runs the test.
const Local = ""

// Toolchains are releases to test with: the local one, and of each different
// kind of runtime one that is skipped where it is not installed.
var Toolchains = []string{Local, "go1.20.14", "go1.22.12", "go1.23.12", "go1.24.13", "go1.25.9", "go1.27.4"}

var (
	buildMu  sync.Mutex
	buildDir string
	built    = map[string]string{}
)

// Cleanup removes what Build has built. Call it at the end of TestMain.
func Cleanup() {
	if buildDir != "" {
		os.RemoveAll(buildDir)
	}
}

// Build builds the program with a Go release such as "go1.20.14", without
// downloading it, and returns its path. It skips the test if there is no such
// toolchain. Environment settings such as "GOARCH=arm64" come before flags.
func Build(t testing.TB, goVersion string, args ...string) string {
	t.Helper()
	buildMu.Lock()
	defer buildMu.Unlock()
	key := goVersion + " " + strings.Join(args, " ")
	if path, ok := built[key]; ok {
		return path
	}
	if buildDir == "" {
		var err error
		if buildDir, err = os.MkdirTemp("", "targettest"); err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{"main.go": source, "books.go": booksSource, "plain/main.go": []byte(plainSource), "go.mod": []byte("module example.com/target\n\ngo 1.20\n")} {
			path := filepath.Join(buildDir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	env := append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false", "GOPROXY=off", "GOTOOLCHAIN=local")
	if goVersion != Local {
		env = append(env, "GOTOOLCHAIN="+goVersion)
		probe := exec.Command("go", "version")
		probe.Env, probe.Dir = env, buildDir
		if out, err := probe.CombinedOutput(); err != nil {
			t.Skipf("no toolchain %s here: %v: %s", goVersion, err, out)
		}
	}
	var flags []string
	pkg := "."
	for _, a := range args {
		switch {
		case a == "plain":
			pkg = "./plain"
		case strings.HasPrefix(a, "-"):
			flags = append(flags, a)
		default:
			env = append(env, a)
		}
	}
	path := filepath.Join(buildDir, fmt.Sprintf("target%d", len(built)))
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), pkg)...)
	cmd.Env, cmd.Dir = env, buildDir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the target with %q %v: %v\n%s", goVersion, args, err, out)
	}
	built[key] = path
	return path
}

// A Target is the running program. Unless it is stripped, it has what
// profile.Runtime asks for, from the program's symbol table and the layout
// tables.
type Target struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	mem     procmem.Memory
	table   *pclntab.Table
	release *layout.Release
	version string
	arch    string
	symbols map[string]uint64
	sizes   map[string]uint64
	bias    uint64
	// Text and EText are the address range of its Go code.
	Text, EText uint64
}

// Start runs a program that Build has built, with what it shall do first (see
// testdata), and waits until it has. Arguments such as "GODEBUG=..." are for its
// environment. A program for arm64 runs under qemu elsewhere, if that is
// installed. It ends with the test.
func Start(t testing.TB, path string, args ...string) *Target {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux")
	}
	env := append(os.Environ(), "GODEBUG=", "GOGC=", "GOTRACEBACK=")
	var cmdArgs []string
	for _, a := range args {
		if strings.HasPrefix(a, "GO") {
			env = append(env, a)
		} else {
			cmdArgs = append(cmdArgs, a)
		}
	}
	arch := goarch(t, path)
	command := []string{path}
	if arch != runtime.GOARCH {
		command = []string{emulator(t, arch), path}
	}
	cmd := exec.Command(command[0], append(command[1:], cmdArgs...)...)
	cmd.Stderr = os.Stderr
	cmd.Env = env
	in, out := Pipe(t, cmd)
	tg := &Target{cmd: cmd, arch: arch, in: in, out: out, symbols: map[string]uint64{}, sizes: map[string]uint64{}}
	tg.answer(t)
	tg.open(t, path)
	return tg
}

func (tg *Target) open(t testing.TB, path string) {
	t.Helper()
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tg.version = info.GoVersion
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	syms, err := f.Symbols()
	if errors.Is(err, elf.ErrNoSymbols) {
		return // stripped: only good for asking, and for others to attach to
	}
	if err != nil {
		t.Fatal(err)
	}
	proc, err := procmem.Open(tg.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proc.Close() })
	maps, err := proc.Maps()
	if err != nil {
		t.Fatal(err)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	bias := uint64(0)
	for _, m := range maps {
		if m.Path == real && m.Offset == 0 {
			bias = m.Start - firstLoad(f)
		}
	}
	tg.mem = proc
	if f.Type == elf.ET_DYN {
		tg.bias = bias
	} else if bias != 0 {
		tg.mem = shifted{proc, bias}
	}
	for _, s := range syms {
		tg.symbols[s.Name] = s.Value + tg.bias
		tg.sizes[s.Name] = s.Size
	}
	tg.Text, tg.EText = tg.symbols["runtime.text"], tg.symbols["runtime.etext"]
	start := tg.symbols["runtime.pclntab"]
	size := tg.symbols["runtime.epclntab"] - start
	gofunc, ok := tg.symbols["go:func.*"]
	if !ok {
		t.Fatal("no go:func.* symbol")
	}
	tg.table, err = pclntab.Open(pclntab.At(tg.mem, start, size), int64(size), pclntab.Options{
		TextStart: tg.Text, GoVersion: tg.version, FuncData: pclntab.At(tg.mem, gofunc, 1<<32),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// shifted is the memory of a program that an emulator runs: its addresses, moved
// to where the emulator put them.
type shifted struct {
	procmem.Memory
	by uint64
}

func (s shifted) Read(addr uint64, buf []byte) error { return s.Memory.Read(addr+s.by, buf) }

func (s shifted) ReadBatch(reqs []procmem.Request) (int, error) {
	moved := make([]procmem.Request, len(reqs))
	for i, r := range reqs {
		moved[i] = procmem.Request{Addr: r.Addr + s.by, Buf: r.Buf}
	}
	return s.Memory.ReadBatch(moved)
}

func goarch(t testing.TB, path string) string {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	switch f.Machine {
	case elf.EM_X86_64:
		return "amd64"
	case elf.EM_AARCH64:
		return "arm64"
	}
	t.Fatalf("%s is for %v", path, f.Machine)
	return ""
}

func emulator(t testing.TB, arch string) string {
	t.Helper()
	if arch == "arm64" {
		for _, n := range []string{"qemu-aarch64-static", "qemu-aarch64"} {
			if p, err := exec.LookPath(n); err == nil {
				return p
			}
		}
	}
	t.Skipf("no emulator of %s here (Debian: qemu-user-static)", arch)
	return ""
}

// firstLoad returns the address that offset 0 of a file was linked for.
func firstLoad(f *elf.File) uint64 {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Off == 0 {
			return p.Vaddr
		}
	}
	return 0
}

// Memory, Layout, Global, Table and GoVersion make it a profile.Runtime.
func (tg *Target) Memory() procmem.Memory { return tg.mem }

// Layout returns the layout of the target's release, nil when the tables lack it.
func (tg *Target) Layout() *layout.Layout {
	if tg.release == nil {
		r, err := layout.Lookup(tg.version, tg.arch)
		if err != nil {
			return nil
		}
		tg.release = r
	}
	return tg.release.Layout
}

// Global returns the address of a symbol.
func (tg *Target) Global(symbol string) (uint64, bool) {
	a, ok := tg.symbols[symbol]
	return a, ok
}

// SymbolSize returns the size of a symbol in bytes.
func (tg *Target) SymbolSize(symbol string) uint64 { return tg.sizes[symbol] }

// Table returns the target's pclntab.
func (tg *Target) Table() *pclntab.Table { return tg.table }

// GoVersion returns the release that the target was built with.
func (tg *Target) GoVersion() string { return tg.version }

// PID returns the process ID.
func (tg *Target) PID() int { return tg.cmd.Process.Pid }

// Kill ends the target, and waits until it is gone.
func (tg *Target) Kill() {
	tg.cmd.Process.Kill()
	tg.cmd.Wait()
}

// Ask gives the target a command and returns its answer: "gc", "profile NAME
// DEBUG", "frames START END STEP", "burn COUNT SIZE" to allocate so many objects, or
// "books" for its [Books]. Afterwards it waits for the next one.
func (tg *Target) Ask(t testing.TB, format string, args ...any) []byte {
	t.Helper()
	if _, err := fmt.Fprintf(tg.in, format+"\n", args...); err != nil {
		t.Fatal(err)
	}
	b := tg.answer(t)
	// It has answered, and is about to read again.
	time.Sleep(20 * time.Millisecond)
	return b
}

// Books are what a runtime says of itself: TotalAlloc, Mallocs, NumGC,
// PauseTotalNs and PauseNs[i] of runtime.MemStats, and the values of
// runtime/metrics that are one number, by their names.
type Books map[string]float64

// Books asks the target for its books.
func (tg *Target) Books(t testing.TB) Books {
	t.Helper()
	b := Books{}
	for line := range strings.Lines(string(tg.Ask(t, "books"))) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		x, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("the target's books say %q: %v", line, err)
		}
		b[name] = x
	}
	return b
}

func (tg *Target) answer(t testing.TB) []byte {
	t.Helper()
	line, err := tg.out.ReadString('\n')
	if err != nil {
		t.Fatalf("target: %v", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(tg.out, b); err != nil {
		t.Fatal(err)
	}
	return b
}
