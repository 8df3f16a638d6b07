package profile_test

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/profile"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
	"github.com/heapwright/heapwright/record"
)

func TestMain(m *testing.M) {
	code := m.Run()
	targettest.Cleanup()
	os.Exit(code)
}

// start runs the target of a release, skipping the test where its layout is not
// known. An architecture may follow the release, as in "go1.24.13/arm64".
func start(t testing.TB, version string, args ...string) *targettest.Target {
	t.Helper()
	version, arch, _ := strings.Cut(version, "/")
	var flags []string
	if arch != "" {
		flags = []string{"GOARCH=" + arch, "CGO_ENABLED=0"}
	}
	tg := targettest.Start(t, targettest.Build(t, version, flags...), args...)
	if tg.Layout() == nil {
		t.Skipf("no layout of %s", tg.GoVersion())
	}
	return tg
}

func eachToolchain(t *testing.T, fn func(t *testing.T, version string)) {
	for _, v := range targettest.Toolchains {
		name := v
		if v == targettest.Local {
			name = "local"
		}
		t.Run(name, func(t *testing.T) { fn(t, v) })
	}
}

// eachTarget is eachToolchain, and the local one for arm64.
func eachTarget(t *testing.T, fn func(t *testing.T, version string)) {
	eachToolchain(t, fn)
	t.Run("arm64", func(t *testing.T) { fn(t, targettest.Local+"/arm64") })
}

// stackDepth is how many frames the release's own profiles hold.
func stackDepth(version string) int {
	if version < "go1.23" {
		return 32
	}
	return 128
}

func frameKey(stack []record.Frame, max int) string {
	var b strings.Builder
	for i, f := range stack {
		if i == max {
			break
		}
		fmt.Fprintf(&b, "%s %s:%d\n", f.Func, f.File, f.Line)
	}
	return b.String()
}

// pprofStack returns the frames of a sample, leaf first.
func pprofStack(s *pprof.Sample) []record.Frame {
	var out []record.Frame
	for _, l := range s.Location {
		for _, ln := range l.Line {
			out = append(out, record.Frame{Func: ln.Function.Name, File: ln.Function.Filename, Line: int(ln.Line)})
		}
	}
	return out
}

func diff(t *testing.T, what string, got, want map[string]int) {
	t.Helper()
	keys := slices.Collect(maps.Keys(want))
	for k := range got {
		if _, ok := want[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	bad := 0
	for _, k := range keys {
		if got[k] != want[k] {
			if bad++; bad <= 4 {
				t.Errorf("%s: got %d want %d of\n%s", what, got[k], want[k], k)
			}
		}
	}
	if bad > 4 {
		t.Errorf("%s: %d more differ, of %d", what, bad-4, len(keys))
	}
}

func take(t testing.TB, tg profile.Runtime) *profile.Goroutines {
	t.Helper()
	gs, err := profile.TakeGoroutines(tg, profile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return gs
}

// TestGoroutinesAgainstPprof compares stacks and labels with the target's own
// goroutine profile, while it does nothing else.
func TestGoroutinesAgainstPprof(t *testing.T) {
	eachTarget(t, func(t *testing.T, version string) {
		tg := start(t, version)
		p, err := pprof.ParseData(tg.Ask(t, "profile goroutine 0"))
		if err != nil {
			t.Fatal(err)
		}
		gs := take(t, tg)
		depth := stackDepth(tg.GoVersion()) - 2 // the last may be cut within inlined calls
		want, got := map[string]int{}, map[string]int{}
		total := 0
		for _, s := range p.Sample {
			total += int(s.Value[0])
			stack := frameKey(pprofStack(s), depth)
			if strings.Contains(stack, "runtime/pprof.(*Profile).WriteTo") {
				continue // the one that writes the profile
			}
			labels := []string{}
			for k, vs := range s.Label {
				labels = append(labels, k+"="+strings.Join(vs, ","))
			}
			slices.Sort(labels)
			want[stack+strings.Join(labels, " ")] += int(s.Value[0])
		}
		for i := range gs.Groups {
			g := &gs.Groups[i]
			if g.System || g.GoID == 1 {
				continue
			}
			labels := []string{}
			for _, l := range g.Labels {
				labels = append(labels, l.Key+"="+l.Value)
			}
			slices.Sort(labels)
			got[frameKey(gs.Stack(g), depth)+strings.Join(labels, " ")] += g.Count
		}
		diff(t, "goroutines", got, want)
		if gs.Total != total {
			t.Errorf("%d user goroutines, want %d", gs.Total, total)
		}
		if gs.Truncated != 0 || gs.Moved != 0 || gs.NoStack != 0 || gs.LabelsOmitted != 0 {
			t.Errorf("at rest: %d truncated, %d moved, %d without stack, %d without labels", gs.Truncated, gs.Moved, gs.NoStack, gs.LabelsOmitted)
		}
		if gs.CutStacks != 1 { // that of 400 frames
			t.Errorf("%d stacks were cut, want 1", gs.CutStacks)
		}
	})
}

var headerRE = regexp.MustCompile(`^goroutine (\d+) \[([^],]*)`)

// TestGoroutinesAgainstTraceback compares wait reasons and creation sites with
// a traceback of the target's own making.
func TestGoroutinesAgainstTraceback(t *testing.T) {
	eachTarget(t, func(t *testing.T, version string) {
		tg := start(t, version)
		text := tg.Ask(t, "profile goroutine 2")
		gs := take(t, tg)
		want, got := map[string]int{}, map[string]int{}
		sc := bufio.NewScanner(bytes.NewReader(text))
		state, created := "", ""
		flush := func() {
			if state != "" {
				want[state+"\n"+created]++
			}
			state, created = "", ""
		}
		for sc.Scan() {
			line := sc.Text()
			if m := headerRE.FindStringSubmatch(line); m != nil {
				flush()
				if m[1] != "1" {
					state = m[2]
				}
			} else if rest, ok := strings.CutPrefix(line, "created by "); ok {
				created, _, _ = strings.Cut(rest, " in goroutine")
				sc.Scan()
				pos, _, _ := strings.Cut(strings.TrimSpace(sc.Text()), " +")
				created += " " + pos
			}
		}
		flush()
		for i := range gs.Groups {
			g := &gs.Groups[i]
			if g.System || g.GoID == 1 {
				continue
			}
			state := g.Status
			if g.WaitReason != "" {
				state = g.WaitReason
			}
			c := gs.CreatedBy(g)
			got[state+"\n"+c.Func+" "+c.File+":"+strconv.Itoa(c.Line)] += g.Count
		}
		diff(t, "states", got, want)
		if len(want) < 8 {
			t.Errorf("only %d kinds of goroutines", len(want))
		}
	})
}

// TestChurn reads a program whose goroutines never rest.
func TestChurn(t *testing.T) {
	tg := start(t, targettest.Local, "churn")
	w, err := profile.NewWalker(tg)
	if err != nil {
		t.Fatal(err)
	}
	stacks, wrong, incomplete := 0, 0, 0
	for range 200 {
		gs, err := w.Goroutines(profile.Options{})
		if err != nil {
			t.Fatal(err)
		}
		// One that moves to a larger stack while it is read has none for a moment.
		incomplete += gs.Incomplete + gs.NoStack
		if gs.Truncated != 0 {
			t.Errorf("%d truncated", gs.Truncated)
		}
		for i := range gs.Groups {
			g := &gs.Groups[i]
			stack := gs.Stack(g)
			if g.System || len(stack) == 0 || !strings.HasPrefix(gs.CreatedBy(g).Func, "main.churn") {
				continue
			}
			stacks += g.Count
			if root := stack[len(stack)-1].Func; root != "main.churn.gowrap1" && root != "main.churn.gowrap2" && root != "main.churner" {
				wrong += g.Count
				t.Logf("a stack ends in %s", root)
			}
		}
	}
	if stacks < 1000 {
		t.Errorf("only %d stacks", stacks)
	}
	if (wrong+incomplete)*100 > stacks {
		t.Errorf("of %d stacks %d are incomplete and %d wrong", stacks, incomplete, wrong)
	}
}

// TestWaits checks that waits count from the GC that noticed them.
func TestWaits(t *testing.T) {
	tg := start(t, targettest.Local)
	tg.Ask(t, "gc")
	tg.Ask(t, "gc") // the first of a process leaves no time behind
	const hour = int64(3600e9)
	now := procmem.Nanotime()
	longest := func(now int64) time.Duration {
		gs, err := profile.TakeGoroutines(tg, profile.Options{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range gs.Groups {
			if g.WaitReason == "chan receive" && g.Count >= 10 {
				return g.WaitMax
			}
		}
		t.Fatal("no goroutines wait for a channel")
		return 0
	}
	if d := longest(now + hour); d < time.Hour || d > time.Hour+time.Minute {
		t.Errorf("an hour after the GC the longest wait is %v", d)
	}
	if d := longest(now - hour); d != 0 {
		t.Errorf("an hour before the GC the longest wait is %v", d)
	}
}

// TestWaitReasonNames compares this package's names with those of the targets.
func TestWaitReasonNames(t *testing.T) {
	eachToolchain(t, func(t *testing.T, version string) {
		tg := start(t, version)
		mem := tg.Memory()
		names := profile.WaitReasonNames(tg.GoVersion())
		if len(names) < 30 {
			t.Fatalf("%d names", len(names))
		}
		at := global(t, tg, "runtime.waitReasonStrings")
		if size := tg.SymbolSize("runtime.waitReasonStrings"); size != uint64(16*len(names)) {
			t.Errorf("%d bytes of strings, want %d", size, 16*len(names))
		}
		for i, want := range names {
			b := make([]byte, word(t, mem, at+uint64(16*i)+8))
			if err := mem.Read(word(t, mem, at+uint64(16*i)), b); err != nil {
				t.Fatal(err)
			}
			if string(b) != want {
				t.Errorf("wait reason %d is %q, want %q", i, want, b)
			}
		}
	})
	if names := profile.WaitReasonNames("go1.99.1"); names != nil {
		t.Error("names of an unknown release")
	}
}
