package escape

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/record"
)

// What three releases said of testdata/esc.
func TestParse(t *testing.T) {
	for _, tt := range []struct {
		release string
		make    Verdict // of make([]byte, n): on the stack since 1.25, if it is small
	}{{"go1.22.12", Escapes}, {"go1.26.8", Stays}, {"go1.27.4", Stays}} {
		t.Run(tt.release, func(t *testing.T) {
			f, err := os.Open("testdata/m2-" + tt.release + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			decisions, err := Parse(f, "/src")
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []Decision{
				{"/src/main.go", 14, 23, Escapes, "map[string]int{}", "m = map[string]int{} (assign)"},
				{"/src/main.go", 16, 25, Escapes, "&T{...}", "return &T{...} (return)"},
				{"/src/main.go", 19, 11, tt.make, "make([]byte, n)", ""},
				{"/src/main.go", 23, 12, Stays, "[]int{}", ""},
				{"/src/main.go", 31, 5, Escapes, "a + b", "m[a + b] (key of map put)"},
				{"/src/main.go", 36, 6, Moved, "x", "sink = &x (assign)"},
				{"/src/main.go", 40, 7, Escapes, "func literal", "f := func literal (assign)"},
				{"/src/sub/s.go", 10, 48, Escapes, "v(f(3))", "append(keep, v(f(3))) (call parameter)"},
			} {
				i := slices.IndexFunc(decisions, func(d Decision) bool {
					return d.File == want.File && d.Line == want.Line && d.Column == want.Column && d.What == want.What
				})
				if i < 0 {
					t.Errorf("nothing was found of %s at %s:%d", want.What, want.File, want.Line)
					continue
				}
				got := decisions[i]
				if want.Verdict == Escapes && want.What == "make([]byte, n)" {
					want.Why = got.Why // non-constant size
				}
				if got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			}
		})
	}
}

func TestParseBounds(t *testing.T) {
	long := "a.go:1:2: " + strings.Repeat("x", 3*maxLine) + " escapes to heap\nC:\\x.go:3:4: y escapes to heap\na.go:0:1: z escapes to heap\n# p\n\n"
	got, err := Parse(strings.NewReader(long), "/d")
	if err != nil || len(got) != 1 || got[0].What != "y" || got[0].Line != 3 {
		t.Errorf("got %+v, %v", got, err)
	}
	if got := clip(strings.Repeat("\xffx", maxText)); len(got) > maxText+len("…") {
		t.Errorf("%d bytes are kept of what is not UTF-8", len(got))
	}
	if _, err := Parse(io.MultiReader(strings.NewReader("a.go:1:1: x escapes to heap\n"), failing{}), "/"); err == nil {
		t.Error("an error of the reader is lost")
	}
	if _, err := Parse(io.LimitReader(endless{}, maxOutput+10), "/"); !errors.Is(err, ErrTooMuch) {
		t.Errorf("got %v of endless output", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/m2-*.txt")
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw[:min(len(raw), 500)])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		decisions, err := Parse(bytes.NewReader(raw), "/d")
		if err != nil {
			t.Fatal(err)
		}
		if len(decisions) > bytes.Count(raw, []byte("\n"))+1 {
			t.Errorf("%d decisions of %d bytes", len(decisions), len(raw))
		}
		for _, d := range decisions {
			if d.Line <= 0 || d.Column <= 0 || len(d.What) > maxText+len("…") || len(d.Why) > maxText+len("…") {
				t.Errorf("%+v", d)
			}
		}
		Join(decisions, nil, nil)
	})
}

// The real compiler, whichever it is, on a program with a package below.
func TestCompile(t *testing.T) {
	c, err := Compile(context.Background(), []string{"./..."}, Options{Dir: "testdata/esc", Env: []string{"GOWORK=off"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Packages) != 2 || c.Packages[0].Name != "main" || !strings.HasPrefix(c.GoVersion, "go1.") {
		t.Errorf("got %+v of %s", c.Packages, c.GoVersion)
	}
	dir, err := filepath.Abs("testdata/esc")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(c.Decisions, func(d Decision) bool {
		return d.File == filepath.Join(dir, "main.go") && d.Line == 36 && d.Verdict == Moved
	}) {
		t.Errorf("that x is moved to the heap is not among %d decisions", len(c.Decisions))
	}
}

func TestCompileErrors(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module m\n\ngo 1.22\n", "a.go": "package a\n\nfunc f() { return 1 }\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opt := Options{Dir: dir, Env: []string{"GOWORK=off"}}
	var build *BuildError
	if _, err := Compile(context.Background(), []string{"."}, opt); !errors.As(err, &build) || !strings.Contains(build.Output, "too many return values") {
		t.Errorf("a package that does not compile: %v", err)
	}
	if _, err := Compile(context.Background(), []string{"./nowhere"}, opt); !errors.As(err, &build) || build.Output == "" {
		t.Errorf("a package that is not there: %v", err)
	}
	if _, err := Compile(context.Background(), []string{"-toolexec=x"}, opt); err == nil || errors.As(err, &build) {
		t.Errorf("a flag in place of a package: %v", err)
	}
}

func frames(s ...string) []record.Frame {
	var out []record.Frame
	for i := 0; i+1 < len(s); i += 2 {
		file, line, _ := strings.Cut(s[i+1], ":")
		n := 0
		for _, c := range line {
			n = n*10 + int(c-'0')
		}
		out = append(out, record.Frame{Func: s[i], File: file, Line: n})
	}
	return out
}

func TestJoin(t *testing.T) {
	packages := []Package{{"example.com/p/api.v2", "api", "/src/p/api.v2"}, {"example.com/p", "main", "/src/p"}}
	decisions := []Decision{
		{"/src/p/main.go", 10, 3, Escapes, "&T{}", "return &T{} (return)"},
		{"/src/p/main.go", 10, 3, Escapes, "&T{}", "return &T{} (return)"}, // once more, inlined elsewhere
		{"/src/p/main.go", 20, 3, Stays, "append", ""},
		{"/src/p/main.go", 30, 3, Escapes, "never", ""},
		{"/src/p/main.go", 40, 3, Stays, "fine", ""},
		{"/src/p/api.v2/a.go", 5, 3, Escapes, "msg", "fmt.Sprint(msg) (call parameter)"},
		{"/src/p/api.v2/a.go", 5, 9, Stays, "... argument", ""},
	}
	allocations := []Allocation{
		{Stack: frames("main.f", "/elsewhere/p/main.go:10", "main.main", "/elsewhere/p/main.go:99"), Bytes: 100, Objects: 10, Samples: 2},
		{Stack: frames("main.f", "/elsewhere/p/main.go:10"), Bytes: 50, Objects: 5, Samples: 1},
		{Stack: frames("main.g", "/elsewhere/p/main.go:20"), Bytes: 40},
		{Stack: frames("main.h", "/elsewhere/p/main.go:21"), Bytes: 30},
		{Stack: frames("strings.Repeat", "strings/s.go:1", "main.k", "/elsewhere/p/main.go:22"), Bytes: 20},
		{Stack: frames("example.com/p/api%2ev2.(*S[go.shape.int/x]).M", "example.com/p/api.v2/a.go:5"), Bytes: 10},
		{Stack: frames("net/http.Get", "net/http/c.go:5"), Bytes: 1000},
		{Stack: nil, Bytes: -5},
	}
	r := Join(decisions, allocations, packages)
	if r.Bytes != 1250 || r.Inside != 250 || r.Objects != 15 {
		t.Errorf("got %v bytes, %v inside, %v objects", r.Bytes, r.Inside, r.Objects)
	}
	type line struct {
		place     string
		line      int
		bytes     float64
		agreement Agreement
	}
	want := []line{
		{"/src/p/main.go", 10, 150, Agree}, {"/src/p/main.go", 20, 40, Denied}, {"/src/p/main.go", 21, 30, Silent},
		{"/src/p/main.go", 22, 20, Elsewhere}, {"/src/p/api.v2/a.go", 5, 10, Agree}, {"/src/p/main.go", 30, 0, Unseen},
	}
	var got []line
	for _, l := range r.Lines {
		got = append(got, line{l.File, l.Line, l.Bytes, l.Agreement})
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if n := len(r.Lines[0].Decisions); n != 1 {
		t.Errorf("a decision that is said twice is there %d times", n)
	}
	if c := r.Lines[3].Callees; len(c) != 1 || c[0].Func != "strings.Repeat" {
		t.Errorf("got callees %+v", c)
	}
	if d := r.Lines[4].Decisions; d[0].Verdict != Escapes || d[1].Verdict != Stays {
		t.Errorf("what stays comes before what escapes: %+v", d)
	}
}

func TestExplain(t *testing.T) {
	src := "package p\n\nfunc f(m map[string]int, s string, b []int) {\n\tm[s]++\n\tb = append(b, 1)\n\t_ = s + \"x\"\n\tgo f(nil, string([]byte(s)), make([]int, len(b)))\n}\n"
	r := &Report{Lines: []Line{{File: "p.go", Line: 4, Agreement: Silent}, {File: "p.go", Line: 5, Agreement: Denied}, {File: "p.go", Line: 7, Agreement: Silent},
		{File: "p.go", Line: 6, Agreement: Agree}, {File: "gone.go", Line: 1, Agreement: Silent}, {File: "bad.go", Line: 1, Agreement: Silent}}}
	r.Explain(func(name string) (io.ReadCloser, error) {
		switch name {
		case "p.go":
			return io.NopCloser(strings.NewReader(src)), nil
		case "bad.go":
			return io.NopCloser(strings.NewReader("\x00\xff{{{")), nil
		}
		return nil, os.ErrNotExist
	})
	if got := r.Lines[0].Allocates; len(got) != 1 || !strings.Contains(got[0], "map") {
		t.Errorf("m[s]++: %q", got)
	}
	if got := r.Lines[1].Allocates; len(got) != 1 || !strings.Contains(got[0], "append") {
		t.Errorf("append: %q", got)
	}
	if got := r.Lines[2].Allocates; len(got) != 4 {
		t.Errorf("a line with four: %q", got)
	}
	for _, l := range r.Lines[3:] {
		if l.Allocates != nil {
			t.Errorf("%s:%d: %q", l.File, l.Line, l.Allocates)
		}
	}
}

func heap(at time.Time, bytes, objects float64) record.Profile {
	return record.Profile{Time: at, Kind: record.ProfileHeap, PeriodBytes: 512 << 10,
		Sites: []record.ProfileSite{{Stack: frames("main.f", "/p/main.go:10"), AllocBytes: bytes, AllocObjects: objects, SampledAllocs: int64(objects)}}}
}

func TestFromRecording(t *testing.T) {
	start := time.Unix(1000, 0)
	rec := &record.Recording{Process: record.Process{StartTime: start}}
	if _, ok := FromRecording(rec); ok {
		t.Error("a recording without profiles has allocations")
	}
	rec.Profiles = []record.Profile{heap(start.Add(time.Minute), 100, 10), {Kind: record.ProfileMutex}, heap(start.Add(2*time.Minute), 400, 30)}
	m, ok := FromRecording(rec)
	if !ok || m.Span != time.Minute || m.SinceStart || len(m.Allocations) != 1 || m.Allocations[0].Bytes != 300 || m.Allocations[0].Samples != 20 {
		t.Errorf("got %+v", m)
	}
	// No GC published anything new.
	rec.Profiles = []record.Profile{heap(start.Add(time.Minute), 100, 10), heap(start.Add(2*time.Minute), 100, 10)}
	if m, ok := FromRecording(rec); !ok || m.Span != 2*time.Minute || !m.SinceStart || m.Allocations[0].Bytes != 100 {
		t.Errorf("got %+v", m)
	}
}

func TestFromPprof(t *testing.T) {
	make := func(at int64, bytes int64) *profile.Profile {
		fn := &profile.Function{ID: 1, Name: "main.f", Filename: "/p/main.go"}
		inlined := &profile.Function{ID: 2, Name: "main.g", Filename: "/p/main.go"}
		loc := &profile.Location{ID: 1, Address: 0x400000, Line: []profile.Line{{Function: inlined, Line: 3}, {Function: fn, Line: 10}}}
		return &profile.Profile{
			TimeNanos: at, PeriodType: &profile.ValueType{Type: "space", Unit: "bytes"}, Function: []*profile.Function{fn, inlined}, Location: []*profile.Location{loc},
			SampleType: []*profile.ValueType{{Type: "alloc_objects", Unit: "count"}, {Type: "alloc_space", Unit: "bytes"}},
			Sample:     []*profile.Sample{{Location: []*profile.Location{loc}, Value: []int64{bytes / 10, bytes}}},
		}
	}
	m, err := FromPprof(make(5e9, 400), make(3e9, 100))
	if err != nil || m.Span != 2*time.Second || len(m.Allocations) != 1 || m.Allocations[0].Bytes != 300 || m.Allocations[0].Objects != 30 {
		t.Fatalf("got %+v, %v", m, err)
	}
	if s := m.Allocations[0].Stack; len(s) != 2 || s[0].Func != "main.g" || s[1].Line != 10 {
		t.Errorf("got stack %+v", s)
	}
	if m, err := FromPprof(make(5e9, 400), nil); err != nil || !m.SinceStart || m.Span != 0 {
		t.Errorf("got %+v, %v", m, err)
	}
	if _, err := FromPprof(make(3e9, 400), make(5e9, 100)); err == nil {
		t.Error("a base that is newer is taken")
	}
	cpu := make(1, 1)
	cpu.SampleType = []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}}
	if _, err := FromPprof(cpu, nil); err == nil {
		t.Error("a CPU profile is taken")
	}
}

func BenchmarkParse(b *testing.B) {
	raw, err := os.ReadFile("testdata/m2-go1.26.8.txt")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, err := Parse(bytes.NewReader(raw), "/src"); err != nil {
			b.Fatal(err)
		}
	}
}

// What a profile says of a file's name is not opened unless it may be source.
func TestExplainOpensSourceOnly(t *testing.T) {
	packages := []Package{{ImportPath: "p", Name: "p", Dir: "/src/p"}}
	var stacks []Allocation
	for _, file := range []string{"../../../etc/passwd", "/src/p/.env", "..", ".", "/", "", "C:\\x\\key.pem", "/else/../where/a.go", "../b.go"} {
		stacks = append(stacks, Allocation{Stack: []record.Frame{{Func: "p.f", File: file, Line: 1}}, Bytes: 1})
	}
	var opened []string
	Join(nil, stacks, packages).Explain(func(name string) (io.ReadCloser, error) {
		opened = append(opened, name)
		return nil, io.EOF
	})
	slices.Sort(opened)
	if want := []string{"/src/p/a.go", "/src/p/b.go"}; !slices.Equal(opened, want) {
		t.Errorf("opened %q, want %q", opened, want)
	}
}
