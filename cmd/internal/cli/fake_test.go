package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	conductor "github.com/heapwright/heapwright/cmd/internal/chaos/run"
	"github.com/heapwright/heapwright/cmd/internal/chaos/run/runtest"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/record"
)

// A fakeHost has the processes that a test gives it.
type fakeHost struct {
	mu         sync.Mutex
	entries    []goproc.Entry
	recs       map[int]*record.Recording // what a process's readings are taken from
	errs       map[int]error             // of Attach
	urls       map[string]*record.Recording
	unreadable error // of Readable
	ends       bool  // processes end with their recording
	from       int   // the sample to begin with
}

func (h *fakeHost) add(e goproc.Entry, rec *record.Recording) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = append(h.entries, e)
	if h.recs == nil {
		h.recs = map[int]*record.Recording{}
	}
	h.recs[e.Process.PID] = rec
}

func (h *fakeHost) remove(pid int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = slices.DeleteFunc(h.entries, func(e goproc.Entry) bool { return e.Process.PID == pid })
}

func (h *fakeHost) Processes(context.Context) ([]goproc.Entry, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]goproc.Entry(nil), h.entries...), nil
}

func (h *fakeHost) Attach(_ context.Context, pid int) (Target, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.errs[pid]; err != nil {
		return nil, err
	}
	rec := h.recs[pid]
	if rec == nil {
		return nil, fmt.Errorf("no process %d", pid)
	}
	t := &fakeTarget{rec: rec, sample: h.from}
	if h.ends {
		t.end = func() { h.remove(pid) }
	}
	return t, nil
}

func (h *fakeHost) Endpoint(_ context.Context, url string) (Target, error) {
	rec := h.urls[url]
	if rec == nil {
		return nil, errors.New("connection refused")
	}
	return &fakeTarget{rec: rec}, nil
}

func (h *fakeHost) Readable(string) error { return h.unreadable }

// A fakeTarget replays a recording, one sample a reading, at the time it is read.
type fakeTarget struct {
	rec    *record.Recording
	end    func() // called at its end; nil for a process that goes on
	sample int
	cycle  int
}

func (t *fakeTarget) Process() record.Process { return t.rec.Process }
func (t *fakeTarget) Close() error            { return nil }
func (t *fakeTarget) Ready() error            { return nil }
func (t *fakeTarget) Hz() float64             { return recorder.DefaultHz }

func (t *fakeTarget) Sample(s *record.Sample) error {
	if t.sample == len(t.rec.Samples) {
		if t.end != nil {
			t.end()
			return recorder.ErrEnded
		}
		t.sample--
	}
	*s = t.rec.Samples[t.sample]
	t.sample++
	s.Time = time.Now()
	return nil
}

func (t *fakeTarget) Cycles(dst []record.Cycle) ([]record.Cycle, uint64, error) {
	now := t.rec.Samples[t.sample-1].GCCycles
	for t.cycle < len(t.rec.Cycles) && t.rec.Cycles[t.cycle].N <= now {
		dst = append(dst, t.rec.Cycles[t.cycle])
		t.cycle++
	}
	return dst, 0, nil
}

func (t *fakeTarget) Goroutines() (*record.Goroutines, error) {
	if len(t.rec.Goroutines) == 0 {
		return nil, nil
	}
	g := t.rec.Goroutines[len(t.rec.Goroutines)-1]
	g.Time = time.Now()
	return &g, nil
}

func (t *fakeTarget) Profile(kind record.ProfileKind) (*record.Profile, error) {
	for i := len(t.rec.Profiles) - 1; i >= 0; i-- {
		if p := t.rec.Profiles[i]; p.Kind == kind {
			p.Time = time.Now()
			return &p, nil
		}
	}
	return nil, nil
}

// WriteProfile writes a small profile: main.main calls main.work, which calls
// main.(*cache).put.
func (t *fakeTarget) WriteProfile(_ context.Context, kind string, w io.Writer) error {
	types := map[string][]*profile.ValueType{
		"heap":      {{Type: "alloc_space", Unit: "bytes"}, {Type: "inuse_space", Unit: "bytes"}},
		"allocs":    {{Type: "alloc_space", Unit: "bytes"}, {Type: "inuse_space", Unit: "bytes"}},
		"goroutine": {{Type: "goroutine", Unit: "count"}},
		"mutex":     {{Type: "contentions", Unit: "count"}, {Type: "delay", Unit: "nanoseconds"}},
	}[kind]
	if types == nil {
		return hinted(fmt.Errorf("the program has no %s profile", kind), "call runtime.SetBlockProfileRate in it")
	}
	p := &profile.Profile{SampleType: types}
	locs := map[string]*profile.Location{}
	loc := func(name string) *profile.Location {
		if locs[name] == nil {
			id := uint64(len(locs) + 1)
			f := &profile.Function{ID: id, Name: name, Filename: "/src/main.go"}
			locs[name] = &profile.Location{ID: id, Line: []profile.Line{{Function: f, Line: int64(10 * id)}}}
			p.Function, p.Location = append(p.Function, f), append(p.Location, locs[name])
		}
		return locs[name]
	}
	add := func(a, b int64, stack ...string) {
		if kind == "goroutine" {
			a >>= 20
		}
		s := &profile.Sample{Value: []int64{a, b}[:len(types)]}
		for _, f := range stack {
			s.Location = append(s.Location, loc(f))
		}
		p.Sample = append(p.Sample, s)
	}
	add(90<<20, 30<<20, "example.com/store/internal/cache.(*cache).put", "main.work", "main.main")
	add(40<<20, 1<<20, "main.work", "main.main")
	add(9<<20, 1<<20, "main.main")
	return p.Write(w)
}

// A fakeEnv is an Env of buffers around a fakeHost.
type fakeEnv struct {
	Env
	host        *fakeHost
	out, err    bytes.Buffer
	vars        map[string]string
	errTerminal int // columns of the terminal that stderr is, 0 for none
}

func newFakeEnv() *fakeEnv {
	f := &fakeEnv{host: &fakeHost{}, vars: map[string]string{"COLUMNS": "80"}}
	f.Env = Env{
		Stdin: strings.NewReader(""), Stdout: &f.out, Stderr: &f.err, Now: func() time.Time { return time.Now().UTC() }, Host: f.host,
		Getenv:   func(k string) string { return f.vars[k] },
		Terminal: func(w any) (int, bool) { return f.errTerminal, w == any(&f.err) && f.errTerminal > 0 },
		Stress:   func(Env, string, io.Writer) (conductor.Lab, error) { return runtest.New(), nil },
	}
	return f
}

// run runs heapwright and demands an exit code.
func (f *fakeEnv) run(t *testing.T, want ExitCode, args ...string) {
	t.Helper()
	f.out.Reset()
	f.err.Reset()
	if got := run(t.Context(), f.Env, args); got != want {
		t.Fatalf("heapwright %s: exit code %d, want %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), got, want, &f.out, &f.err)
	}
}

// update reports whether files are to be written anew. The flag is ruletest's.
func update() bool { return flag.Lookup("update").Value.String() == "true" }

// golden compares text with a file in testdata, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if update() {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew)\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

// at80 fails for lines of more than 80 columns.
func at80(t *testing.T, text string) {
	t.Helper()
	for _, l := range strings.Split(text, "\n") {
		if n := term.Width(l); n > 80 {
			t.Errorf("%d columns: %s", n, l)
		}
	}
}

// sourceDir is where the tests, and testdata, are.
var sourceDir, _ = os.Getwd()

const mib = 1 << 20

// proc is a process for an Entry.
func proc(pid int, name string) record.Process {
	return record.Process{PID: pid, Name: name, Exe: "/usr/bin/" + name, Module: "example.com/" + name, GoVersion: "go1.26.8",
		User: "app", StartTime: ruletest.Epoch, HostMemoryBytes: 24 << 30, HostCPUs: 2}
}

// recordingOf is a recording of a simulated server, as another process.
func recordingOf(p record.Process, sv ruletest.Server) *record.Recording {
	rec := sv.Recording()
	memory, quota, env := rec.Process.MemoryLimitBytes, rec.Process.CPUQuotaCores, rec.Process.GoEnv
	rec.Process = p
	rec.Process.MemoryLimitBytes, rec.Process.CPUQuotaCores, rec.Process.GoEnv = memory, quota, env
	return rec
}

// serve adds a simulated server to the host.
func (f *fakeEnv) serve(pid int, name string, sv ruletest.Server) {
	rec := recordingOf(proc(pid, name), sv)
	s := &rec.Samples[0]
	f.host.add(goproc.Entry{Process: rec.Process, RSS: s.RSSBytes, RSSPeak: s.RSSPeakBytes, Uptime: 10 * time.Minute, IsGo: true}, rec)
}
