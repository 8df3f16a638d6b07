package exectrace

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// traces are the committed ones: testdata/busy.go.txt, traced for some
// milliseconds by each release.
func traces(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.trace.gz")
	if err != nil || len(paths) < 6 {
		t.Fatalf("%d traces, %v", len(paths), err)
	}
	out := map[string][]byte{}
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		out[strings.TrimSuffix(filepath.Base(p), ".trace.gz")] = b
	}
	return out
}

// consistent checks what is true of every report, whatever the trace.
func consistent(t testing.TB, r *Report) {
	t.Helper()
	if _, err := json.Marshal(r); err != nil {
		t.Errorf("as JSON: %v", err)
	}
	near := func(what string, got, want float64) {
		if math.Abs(got-want) > 1e-6+0.001*math.Abs(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	c := r.Impact.Cost
	for _, v := range []float64{c.Assist, c.Blocked, c.Sweep, c.Stopped, c.Delayed, r.Processors.User, r.Processors.Stopped, r.Trace.Seconds} {
		if !(v >= 0) {
			t.Errorf("a negative time: %v in %+v", v, c)
		}
	}
	if c.Total() > r.Impact.Wanted*1.001+1e-6 {
		t.Errorf("GC cost %v of %v that goroutines wanted", c.Total(), r.Impact.Wanted)
	}
	// What is charged to goroutines is what was taken from them.
	// Some of it goes to goroutines that only later turn out to be the runtime's.
	if taken := r.Steal.Taken + r.Steal.Idle; c.Delayed > taken*1.001+1e-6 {
		t.Errorf("delayed: %v, but only %v was taken", c.Delayed, taken)
	}
	near("assisting", c.Assist, r.Assist.Running)
	near("sweeping", c.Sweep, r.Sweep.Running)
	if r.Cycles.On < 0 || r.Cycles.On > 1 || r.Cycles.CPU < 0 || r.Cycles.CPU > 1 {
		t.Errorf("shares %v and %v", r.Cycles.On, r.Cycles.CPU)
	}
	var marking, assist float64
	for _, s := range r.Timeline.Steps {
		marking += s.Marking
		assist += s.Assist
	}
	near("marking in the timeline", marking, r.Cycles.Marking)
	near("assisting in the timeline", assist, r.Assist.Running)
	if len(r.Timeline.Steps) > maxSteps {
		t.Errorf("%d steps", len(r.Timeline.Steps))
	}
	if r.Verdict == "" {
		t.Error("no verdict")
	}
	for _, f := range r.Findings {
		if f.ID == "" || f.Title == "" || f.Cause == "" || f.Remedy == "" || f.ConfidenceReason == "" || len(f.Evidence) == 0 {
			t.Errorf("a finding without all its parts: %+v", f)
		}
	}
}

func TestReleases(t *testing.T) {
	formats := map[string]int{"go1.22.12": 22, "go1.23.12": 23, "go1.24.13": 23, "go1.25.14": 25, "go1.26.11": 26, "go1.27.4": 26}
	for name, b := range traces(t) {
		t.Run(name, func(t *testing.T) {
			r, err := Read(t.Context(), bytes.NewReader(b), Options{})
			if err != nil {
				t.Fatal(err)
			}
			consistent(t, r)
			if r.Trace.Format != formats[name] || r.Trace.Bytes != int64(len(b)) || r.Trace.Generations != 1 || r.Processors.GOMAXPROCS != 4 {
				t.Errorf("trace %+v, GOMAXPROCS %d", r.Trace, r.Processors.GOMAXPROCS)
			}
			// The program collects once more at its end.
			if r.Cycles.N < 1 || r.Processors.Dedicated <= 0 {
				t.Errorf("cycles %+v", r.Cycles)
			}
			if len(r.Tasks) != 1 || r.Tasks[0].Type != "request" || r.Tasks[0].N == 0 {
				t.Errorf("tasks %+v", r.Tasks)
			}
			kinds := map[string]bool{}
			for _, k := range r.Kinds {
				kinds[k.Func] = true
			}
			if !kinds["main.main.func1"] || !kinds["main.handle.func1"] || !kinds["main.main"] {
				t.Errorf("kinds %v", kinds)
			}
			n := 0
			for _, s := range r.Stops {
				if s.GC {
					n += int(s.Spread.N)
				}
			}
			if n != 2*r.Cycles.N {
				t.Errorf("%d stops in %d cycles", n, r.Cycles.N)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct{ in, reason, hint string }{
		{"", "empty", "1.22 to 1.27"},
		{"go 1.", "within its head", "1.22 to 1.27"},
		{"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "no Go execution trace", "runtime/trace"},
		{"go 1.xy trace\x00\x00\x00", "head", "1.22 to 1.27"},
		{"go 1.21 trace\x00\x00\x00rest", "format of Go 1.21", "go tool trace"},
		{"go 1.5 trace\x00\x00\x00\x00\x00", "format of Go 1.5", "1.22 to 1.27"},
		{"go 1.11 trace\x00\x00\x00", "format of Go 1.11", "go tool trace"},
		{"go 1.24 trace\x00\x00\x00", "does not know", "1.22 to 1.27"},
		{"go 1.28 trace\x00\x00\x00", "does not know", "1.22 to 1.27"},
	} {
		r, err := Read(t.Context(), strings.NewReader(c.in), Options{})
		var e *FormatError
		if r != nil || !errors.As(err, &e) || !strings.Contains(e.Error(), c.reason) || !strings.Contains(e.Hint(), c.hint) {
			t.Errorf("%q: %v, want a refusal that has %q", c.in, err, c.reason)
		}
	}
}

// TestCut reads every trace cut at many places: what came before is reported.
func TestCut(t *testing.T) {
	for name, b := range traces(t) {
		for _, n := range []int{16, 17, 20, 100, len(b) / 3, len(b) / 2, len(b) - 1000, len(b) - 1} {
			r, err := Read(t.Context(), bytes.NewReader(b[:n]), Options{})
			var cut *CutError
			if err == nil && n <= 16 {
				continue // a head with nothing behind it
			}
			if !errors.As(err, &cut) || r == nil {
				t.Errorf("%s cut at %d: %v", name, n, err)
				continue
			}
			if r.Trace.Cut == "" || r.Trace.Bytes > int64(n) {
				t.Errorf("%s cut at %d: %+v", name, n, r.Trace)
			}
			consistent(t, r)
		}
	}
}

// TestSecondGenerationCut keeps what the whole generations before the cut tell.
func TestSecondGenerationCut(t *testing.T) {
	for _, name := range []string{"go1.22.12", "go1.27.4"} {
		b := traces(t)[name]
		whole, err := Read(t.Context(), bytes.NewReader(b), Options{})
		if err != nil {
			t.Fatal(err)
		}
		// A batch of the next generation that goes on where the file ends.
		next := append(bytes.Clone(b), evEventBatch, 2, 1, 1, 100, 1, 2, 3)
		if whole.Trace.Format < 26 {
			next = append(bytes.Clone(b), evEventBatch, 2, 1, 1, 100)
		}
		r, err := Read(t.Context(), bytes.NewReader(next), Options{})
		var cut *CutError
		if !errors.As(err, &cut) {
			t.Fatalf("%s: %v", name, err)
		}
		if r.Cycles.N != whole.Cycles.N || r.Tasks[0].N != whole.Tasks[0].N {
			t.Errorf("%s: %d cycles and %d tasks before the cut, want %d and %d", name, r.Cycles.N, r.Tasks[0].N, whole.Cycles.N, whole.Tasks[0].N)
		}
	}
}

func TestBounds(t *testing.T) {
	b := traces(t)["go1.26.11"]
	r, err := Read(t.Context(), bytes.NewReader(b), Options{MaxGeneration: 10000})
	var gen *errGeneration
	if !errors.As(err, &gen) || r == nil || r.Trace.LargestGeneration > 10000+maxBatch {
		t.Errorf("a generation that is too long: %v", err)
	}
	if _, err = Read(t.Context(), bytes.NewReader(b), Options{MaxGoroutines: 5}); !errors.Is(err, errGoroutines) {
		t.Errorf("too many goroutines: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, bytes.NewReader(b), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	var seen int64
	if _, err := Read(t.Context(), bytes.NewReader(b), Options{Progress: func(n int64) { seen = n }}); err != nil || seen == 0 {
		t.Errorf("progress %d, %v", seen, err)
	}
}

func FuzzRead(f *testing.F) {
	for _, b := range traces(f) {
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Read(t.Context(), bytes.NewReader(b), Options{MaxGeneration: 1 << 20, MaxGoroutines: 1000})
		if (r == nil) != (err != nil && !errors.As(err, new(*CutError))) {
			t.Fatalf("report %v, error %v", r != nil, err)
		}
		if r != nil {
			consistent(t, r)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	data := traces(b)["go1.26.11"]
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	var events int64
	for b.Loop() {
		r, err := Read(b.Context(), bytes.NewReader(data), Options{})
		if err != nil {
			b.Fatal(err)
		}
		events += r.Trace.Events
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}
