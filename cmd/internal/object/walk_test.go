package object

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
	"github.com/heapwright/heapwright/cmd/internal/pause"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/remote"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
)

var matrixFlag = flag.String("matrix", "slice", "how many Go releases to run: slice or full")

// releases are the newest patch releases of each minor that can be here; those that
// are not are skipped.
var releases = []string{"go1.20.14", "go1.21.13", "go1.22.12", "go1.23.12", "go1.24.13", "go1.25.9", "go1.27.4"}

var buildDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "heapwright-object")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buildDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	targettest.Cleanup()
	os.Exit(code)
}

// build builds testdata/shapes with a release, "" for the local one.
func build(t testing.TB, release string, env []string, args ...string) string {
	t.Helper()
	out := filepath.Join(buildDir, strings.ReplaceAll(fmt.Sprint("shapes", release, args), "/", "_"))
	if _, err := os.Stat(out); err == nil {
		return out
	}
	env = append(os.Environ(), append([]string{"GOWORK=off", "GOFLAGS=-buildvcs=false", "GOPROXY=off", "CGO_ENABLED=0", "GOTOOLCHAIN=local"}, env...)...)
	if release != "" {
		env = append(env, "GOTOOLCHAIN="+release)
		probe := exec.Command("go", "version")
		probe.Env, probe.Dir = env, "testdata/shapes"
		if b, err := probe.CombinedOutput(); err != nil {
			t.Skipf("no toolchain %s here: %v: %s", release, err, b)
		}
	}
	cmd := exec.Command("go", append(append([]string{"build", "-o", out}, args...), ".")...)
	cmd.Dir, cmd.Env = "testdata/shapes", env
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building shapes: %v\n%s", err, b)
	}
	return out
}

// shapes is a running testdata/shapes.
type shapes struct {
	t              testing.TB
	cmd            *exec.Cmd
	in             *os.File
	out            *bufio.Reader
	objects, bytes uint64
}

func startShapes(t testing.TB, exe string, args ...string) *shapes {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), "GODEBUG=", "GOGC=100", "GOMEMLIMIT=")
	cmd.Stdin, cmd.Stderr = r, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	s := &shapes{t: t, cmd: cmd, in: w, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		w.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	s.answer()
	s.ask() // what answering takes once is there now
	return s
}

func (s *shapes) answer() {
	s.t.Helper()
	if _, err := fmt.Fscan(s.out, &s.objects, &s.bytes); err != nil {
		s.t.Fatal(err)
	}
	s.out.ReadString('\n')
}

// ask has it collect and say again how many objects it has.
func (s *shapes) ask() {
	s.t.Helper()
	fmt.Fprintln(s.in)
	s.answer()
	time.Sleep(20 * time.Millisecond) // it is about to read again
}

func (s *shapes) attach() *remote.Target {
	s.t.Helper()
	tg, err := remote.Attach(context.Background(), s.cmd.Process.Pid)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { tg.Close() })
	return tg
}

// a heap is a graph and what a test wants to know of it.
type heap struct {
	*heapgraph.Graph
	stats   *Stats
	reached []bool
}

func walkHeap(t testing.TB, rt Runtime, opt Options) *heap {
	t.Helper()
	g, stats, err := Walk(context.Background(), rt, opt)
	if err != nil {
		t.Fatal(err)
	}
	h := &heap{g, stats, make([]bool, g.Len())}
	for todo := []heapgraph.NodeID{heapgraph.SuperRoot}; len(todo) > 0; {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, to := range g.Edges(n) {
			if !h.reached[to] {
				h.reached[to] = true
				todo = append(todo, to)
			}
		}
	}
	return h
}

// count returns how many objects have a type.
func (h *heap) count(name string) int {
	c := 0
	for n := heapgraph.NodeID(1); int(n) <= h.Objects(); n++ {
		if h.Type(n).Name == name && h.TypeOf(n) != 0 {
			c++
		}
	}
	return c
}

// lost returns how many objects and bytes no root reaches.
func (h *heap) lost() (objects, bytes uint64) {
	for n := heapgraph.NodeID(1); int(n) <= h.Objects(); n++ {
		if !h.reached[n] {
			objects += h.Count(n)
			bytes += h.Size(n)
		}
	}
	return objects, bytes
}

// a kept is what a root keeps: the objects that can be reached from it.
func (h *heap) from(match func(r *heapgraph.Root) bool) int {
	seen := make([]bool, h.Len())
	var todo []heapgraph.NodeID
	for i := range h.Roots {
		if match(&h.Roots[i]) {
			todo = append(todo, heapgraph.NodeID(h.Objects()+1+i))
		}
	}
	c := 0
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, to := range h.Edges(n) {
			if !seen[to] {
				seen[to] = true
				c++
				todo = append(todo, to)
			}
		}
	}
	return c
}

const testN = 2000

// checkShapes compares a graph with what the program says and is known to have built.
func checkShapes(t *testing.T, s *shapes, h *heap, precise bool) {
	t.Helper()
	near := func(what string, got, want, tolerance uint64) {
		t.Helper()
		if got+tolerance < want || got > want+tolerance {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	// Printing and waiting take a few objects themselves.
	near("objects", h.LiveObjects, s.objects, 64)
	near("bytes", h.LiveBytes, s.bytes, 16<<10)
	objects, bytes := h.lost()
	if objects > 64 || bytes > 16<<10 {
		t.Errorf("no root reaches %d objects of %d bytes", objects, bytes)
	}
	if h.stats.LostStacks > 0 || h.stats.GlobalsConservative || h.stats.UnreadableBytes > 0 {
		t.Errorf("stats %+v", *h.stats)
	}
	// 20 goroutines hold 1000 entries each.
	held := h.from(func(r *heapgraph.Root) bool {
		return r.Kind == heapgraph.Stack && strings.HasPrefix(r.CreatedBy, "main.build")
	})
	// They also hold what the runtime has of them: their channels, their threads. Where
	// pointers are not exact, a word of a stack that was left there holds a little more.
	slack := 600
	if !precise {
		slack = 20 * 1001 / 10
	}
	if held < 20*1001 || held > 20*1001+slack {
		t.Errorf("goroutines hold %d objects, want %d", held, 20*1001)
	}
	fin := 0
	for _, r := range h.Roots {
		if r.Kind == heapgraph.Finalizer && strings.HasPrefix(r.Name, "main.build.func") {
			fin += r.Count
		}
	}
	if fin != testN/10 {
		t.Errorf("%d finalizers, want %d", fin, testN/10)
	}
	if !precise {
		return
	}
	if h.stats.Precision != Typed || h.stats.ConservativeBytes > 0 {
		t.Errorf("precision %s, %d bytes conservative", h.stats.Precision, h.stats.ConservativeBytes)
	}
	for name, want := range map[string]int{"main.big": testN/10 + 1, "main.tree": testN, "main.chained": testN / 10} {
		if got := h.count(name); got < want {
			t.Errorf("%d objects of type %s, want %d", got, name, want)
		}
	}
	// Those of the table and their peers are found through the map's groups.
	if got := h.count("main.entry"); got < testN {
		t.Errorf("%d objects of type main.entry, want %d", got, testN)
	}
}

func TestShapes(t *testing.T) {
	for _, tt := range []struct {
		name, release string
		env, args     []string
	}{
		{name: "stripped", args: []string{"-ldflags=-s -w"}},
		{name: "symbols"},
		{name: "pie", args: []string{"-buildmode=pie"}},
		{name: "pie stripped", args: []string{"-buildmode=pie", "-ldflags=-s -w"}},
		{name: "race", env: []string{"CGO_ENABLED=1"}, args: []string{"-race"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startShapes(t, build(t, tt.release, tt.env, tt.args...), fmt.Sprint(testN))
			h := walkHeap(t, s.attach(), Options{})
			checkShapes(t, s, h, true)
			if !strings.Contains(tt.name, "stripped") {
				// Debugging information says of which types these are.
				if got := h.count("main.node"); got < 2*testN {
					t.Errorf("%d objects of type main.node, want %d", got, 2*testN)
				}
				for name, want := range map[string]int{
					"main.list": testN, "main.root": testN, "main.held": 38 * testN / 10, "main.ring": testN + 1, "main.ifaces": testN + 1,
					"main.byInt": testN / 10, "main.keep": testN / 5, "main.timers": 201,
				} {
					if got := h.from(func(r *heapgraph.Root) bool { return r.Name == name }); got < want || got > want*2+20 {
						t.Errorf("%s holds %d objects, want %d", name, got, want)
					}
				}
				return
			}
			// Without symbols, by the functions that use it.
			if n := h.from(func(r *heapgraph.Root) bool { return strings.HasSuffix(r.Name, "used by main.build") }); n < 5*testN {
				t.Errorf("variables of main.build hold %d objects", n)
			}
		})
	}
}

func TestReleases(t *testing.T) {
	for _, release := range releases {
		modes := [][]string{{"-ldflags=-s -w"}, {"-buildmode=pie"}}
		if *matrixFlag == "slice" {
			modes = modes[:1]
		}
		for _, args := range modes {
			t.Run(release+fmt.Sprint(args), func(t *testing.T) {
				s := startShapes(t, build(t, release, nil, args...), fmt.Sprint(testN))
				h := walkHeap(t, s.attach(), Options{})
				checkShapes(t, s, h, minorOf(release) >= 22)
			})
		}
	}
}

// Where the graph does not fit, it is coarser, and its totals are the same.
func TestBudget(t *testing.T) {
	s := startShapes(t, build(t, "", nil, "-ldflags=-s -w"), fmt.Sprint(testN))
	tg := s.attach()
	exact := walkHeap(t, tg, Options{})
	seen := []heapgraph.Coarse{heapgraph.Exact}
	for budget := int64(3 << 20); budget > 300<<10; budget = budget * 31 / 32 {
		h := walkHeap(t, tg, Options{MaxMemory: budget})
		if last := seen[len(seen)-1]; h.stats.Coarse < last {
			t.Errorf("with %d bytes: %q, with more %q", budget, h.stats.Coarse, last)
		} else if h.stats.Coarse > last {
			seen = append(seen, h.stats.Coarse)
		}
		if h.LiveObjects != exact.LiveObjects || h.LiveBytes != exact.LiveBytes {
			t.Errorf("with %d bytes: %d objects of %d bytes, want %d and %d", budget, h.LiveObjects, h.LiveBytes, exact.LiveObjects, exact.LiveBytes)
		}
		if (len(h.stats.Notes) > 0) != (h.stats.Coarse != heapgraph.Exact) {
			t.Errorf("with %d bytes: notes %q", budget, h.stats.Notes)
		}
	}
	if want := []heapgraph.Coarse{heapgraph.Exact, heapgraph.FoldNoscan, heapgraph.SpanPerNode}; !slices.Equal(seen, want) {
		t.Errorf("levels %q, want %q", seen, want)
	}
	var large *heapgraph.TooLargeError
	if _, _, err := Walk(context.Background(), tg, Options{MaxMemory: 1 << 10}); !errors.As(err, &large) {
		t.Errorf("with 1 KiB: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := Walk(ctx, tg, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	s.cmd.Process.Kill()
	s.cmd.Wait()
	if _, _, err := Walk(context.Background(), tg, Options{}); !errors.Is(err, procmem.ErrExited) {
		t.Errorf("of a process that has ended: %v", err)
	}
}

// A heap that changes all the time is read to its end, and what changed is counted.
// What holds still in it is all there.
func TestBusy(t *testing.T) {
	for _, release := range []string{"", "go1.20.14", "go1.24.13"} {
		t.Run("go"+release, func(t *testing.T) {
			s := startShapes(t, build(t, release, nil, "-ldflags=-s -w"), fmt.Sprint(testN))
			fmt.Fprintln(s.in, "churn")
			tg := s.attach()
			// A walk that the machine interrupts for long enough misses what moved meanwhile. It
			// says so, and the next one finds it.
			right := 0
			for range 5 {
				h := walkHeap(t, tg, Options{})
				held := h.from(func(r *heapgraph.Root) bool {
					return r.Kind == heapgraph.Stack && strings.HasPrefix(r.CreatedBy, "main.build")
				})
				steady := h.from(func(r *heapgraph.Root) bool {
					return strings.HasSuffix(r.Name, "used by main.build")
				})
				switch st := h.stats; {
				case held >= 20*1001 && steady >= 5*testN:
					right++
				case st.LateSpans+st.MovedSpans+st.NewSpans == 0 && st.Cycles == 0:
					t.Errorf("goroutines hold %d objects, want %d; variables of main.build %d; and nothing moved: %+v", held, 20*1001, steady, *st)
				default:
					t.Logf("goroutines hold %d objects, want %d; variables of main.build %d; %+v", held, 20*1001, steady, *st)
				}
			}
			if right == 0 {
				t.Error("no walk of five found what holds still")
			}
			// The same while it stands still: then nothing has moved.
			p, err := pause.Stop(context.Background(), tg.Process(), pause.Options{For: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Resume()
			h := walkHeap(t, tg, Options{Paused: true})
			again := walkHeap(t, tg, Options{})
			if st := again.stats; st.LateSpans+st.MovedSpans+st.NewSpans > 0 || st.Cycles > 0 || h.LiveObjects != again.LiveObjects || h.EdgeCount() != again.EdgeCount() {
				t.Errorf("paused: %d objects and %d references, then %d and %d; %+v", h.LiveObjects, h.EdgeCount(), again.LiveObjects, again.EdgeCount(), *st)
			}
		})
	}
}

func BenchmarkWalk(b *testing.B) {
	s := startShapes(b, build(b, "", nil, "-ldflags=-s -w"), "100000")
	tg := s.attach()
	b.ResetTimer()
	var objects, bytes uint64
	for range b.N {
		_, stats, err := Walk(context.Background(), tg, Options{})
		if err != nil {
			b.Fatal(err)
		}
		objects, bytes = objects+stats.Objects, bytes+stats.Bytes
	}
	b.SetBytes(int64(bytes) / int64(b.N))
	b.ReportMetric(float64(b.Elapsed())/float64(objects), "ns/object")
	b.ReportMetric(float64(objects)/float64(b.N), "objects")
}
