package evidence

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heapwright/heapwright/metric"
	"github.com/heapwright/heapwright/record"
	"github.com/heapwright/heapwright/rtmetrics"
)

func newRecorder(t *testing.T, o Options) *Recorder {
	t.Helper()
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func capture(t *testing.T, r *Recorder, reason string) Bundle {
	t.Helper()
	b, err := r.Capture(context.Background(), reason, samples(20))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func samples(n int) []record.Sample {
	reader := rtmetrics.NewReader()
	all := make([]record.Sample, n)
	for i := range all {
		reader.Read(&all[i])
	}
	return all
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// What is captured can be read by what is to read it.
func TestBundle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "evidence")
	var sunk []Bundle
	r := newRecorder(t, Options{Dir: dir, Sink: func(b Bundle) { sunk = append(sunk, b) }})
	runtime.GC()
	taken := samples(20)
	runtime.GC()
	b, err := r.Capture(context.Background(), "p99 pause\xff", taken)
	if err != nil {
		t.Fatal(err)
	}
	if len(sunk) != 1 || !reflect.DeepEqual(sunk[0], b) || b.Data != nil {
		t.Errorf("the sink got %+v, the caller %+v", sunk, b)
	}
	want := []string{"goroutine.pprof", "heap.pprof", "reason.json", "samples.hwrec"}
	if got := names(t, b.Path); !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	listed := slices.Sorted(slices.Values(b.Files))
	if !slices.Equal(listed, want) || b.Bytes != diskUsage(b.Path) || b.Reason != "p99 pause\uFFFD" {
		t.Errorf("bundle %+v, of %d bytes", b, diskUsage(b.Path))
	}
	if !slices.ContainsFunc(b.Notes, func(n string) bool { return strings.Contains(n, "no trace") }) {
		t.Errorf("notes %q do not say that there is no trace", b.Notes)
	}
	if runtime.GOOS != "windows" {
		filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			info, err2 := e.Info()
			if want := map[bool]fs.FileMode{true: 0o700, false: 0o600}[e.IsDir()]; err != nil || err2 != nil || info.Mode().Perm() != want {
				t.Errorf("%s has the mode %v, want %v; %v, %v", path, info.Mode().Perm(), want, err, err2)
			}
			return nil
		})
	}

	var reason map[string]any
	text, err := os.ReadFile(filepath.Join(b.Path, "reason.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &reason); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"time", "reason", "files", "notes", "pid", "program", "go_version", "goos", "goarch", "gogc_percent", "gomemlimit_bytes", "gomaxprocs", "goroutines", "samples"} {
		if _, ok := reason[key]; !ok {
			t.Errorf("reason.json has no %s", key)
		}
	}

	file, err := os.Open(filepath.Join(b.Path, "samples.hwrec"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader, err := record.NewReader(file, record.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	recordings, err := reader.ReadAll()
	if err != nil || len(recordings) != 1 {
		t.Fatalf("%d recordings, %v", len(recordings), err)
	}
	rec := recordings[0]
	if rec.Process.PID != os.Getpid() || rec.Process.GoVersion != runtime.Version() || rec.Truncated != "" || len(rec.Samples) != len(taken) || len(rec.Cycles) == 0 {
		t.Errorf("recording of %+v: %d samples, %d cycles, truncated %q", rec.Process, len(rec.Samples), len(rec.Cycles), rec.Truncated)
	}
	for _, name := range []string{"heap.pprof", "goroutine.pprof"} {
		if n := gunzip(t, filepath.Join(b.Path, name)); n < 100 {
			t.Errorf("%s has %d bytes", name, n)
		}
	}
}

func gunzip(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, z)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestInMemory(t *testing.T) {
	var b Bundle
	r := newRecorder(t, Options{Sink: func(got Bundle) { b = got }})
	capture(t, r, "x")
	if b.Path != "" || len(b.Data) != len(b.Files) || len(b.Data) != 4 {
		t.Fatalf("bundle %+v", b)
	}
	var bytes int64
	for _, name := range b.Files {
		bytes += int64(len(b.Data[name]))
	}
	if bytes != b.Bytes {
		t.Errorf("%d bytes, the bundle says %d", bytes, b.Bytes)
	}
	if len(r.Bundles()) != 0 {
		t.Error("there are bundles without a directory")
	}
	if _, err := record.ReadAll(strings.NewReader(string(b.Data["samples.hwrec"]))); err != nil {
		t.Error(err)
	}
}

// A bundle can do without what is too large, but for why it was captured.
func TestTooLarge(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		if dir != "" {
			os.Chmod(dir, 0o700)
		}
		r := newRecorder(t, Options{Dir: dir, Sink: func(Bundle) {}, MaxBytes: reserve + 200, PerHour: 10})
		b := capture(t, r, "x")
		if !slices.Equal(b.Files, []string{"reason.json"}) || len(b.Notes) != 4 {
			t.Errorf("files %q, notes %q", b.Files, b.Notes)
		}
		r = newRecorder(t, Options{Dir: dir, Sink: func(Bundle) {}, MaxBytes: 100, PerHour: 10})
		if b, err := r.Capture(context.Background(), "x", nil); !errors.Is(err, ErrTooLarge) {
			t.Errorf("bundle %+v, %v; want ErrTooLarge", b, err)
		}
		if dir != "" {
			if left := names(t, dir); len(left) != 1 || strings.HasPrefix(left[0], partial) {
				t.Errorf("%q are left, want the bundle of before", left)
			}
		}
	}
}

func TestManyGoroutines(t *testing.T) {
	r := newRecorder(t, Options{Sink: func(Bundle) {}, MaxGoroutines: 1})
	b := capture(t, r, "x")
	if slices.Contains(b.Files, "goroutine.pprof") || !strings.Contains(strings.Join(b.Notes, "\n"), "no goroutine.pprof: there are") {
		t.Errorf("files %q, notes %q", b.Files, b.Notes)
	}
	if !strings.Contains(string(b.Data["reason.json"]), "no goroutine.pprof") {
		t.Errorf("reason.json does not say it:\n%s", b.Data["reason.json"])
	}
}

func TestRateLimit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "e")
	r := newRecorder(t, Options{Dir: dir, PerHour: 2})
	capture(t, r, "1")
	capture(t, r, "2")
	if _, err := r.Capture(context.Background(), "3", nil); !errors.Is(err, ErrRateLimited) || !strings.Contains(err.Error(), "the next in") {
		t.Errorf("got %v, want ErrRateLimited", err)
	}
	if len(r.Bundles()) != 2 {
		t.Errorf("there are %+v", r.Bundles())
	}
	// A process that starts again and again has no more an hour than one that does not.
	again := newRecorder(t, Options{Dir: dir, PerHour: 2})
	if _, err := again.Capture(context.Background(), "4", nil); !errors.Is(err, ErrRateLimited) {
		t.Errorf("after a restart: got %v, want ErrRateLimited", err)
	}
	// Bundles of yesterday, and of a clock that was set, do not count.
	for i, b := range r.Bundles() {
		at := []time.Duration{-2 * time.Hour, 24 * time.Hour}[i]
		if err := os.Rename(b.Path, filepath.Join(dir, time.Now().Add(at).UTC().Format(nameFormat))); err != nil {
			t.Fatal(err)
		}
	}
	capture(t, newRecorder(t, Options{Dir: dir, PerHour: 2}), "5")

	seen := map[string]float64{}
	r.Metrics(func(m metric.Metric) {
		for _, l := range m.Labels {
			seen[l.Value] = m.Value
		}
	})
	if want := map[string]float64{"captured": 2, "refused": 1, "failed": 0}; !reflect.DeepEqual(seen, want) {
		t.Errorf("metrics %v, want %v", seen, want)
	}
}

// The directory stays below its bound: the oldest bundles go, and nothing else does.
func TestBoundedDir(t *testing.T) {
	dir := t.TempDir()
	os.Chmod(dir, 0o700)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(theirs, make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	// Links: named as a bundle, as a partial one, and inside of a bundle.
	links := runtime.GOOS != "windows"
	old := filepath.Join(dir, "20200101T000000.000000000Z")
	if links {
		os.Mkdir(old, 0o700)
		for _, link := range []string{filepath.Join(old, "trace.out"), filepath.Join(dir, "20200102T000000.000000000Z"), filepath.Join(dir, partial+"1")} {
			if err := os.Symlink(filepath.Dir(outside), link); err != nil {
				t.Fatal(err)
			}
		}
	}
	one := capture(t, newRecorder(t, Options{Dir: dir, PerHour: 100}), "measure").Bytes
	limit := 4*one + reserve
	r := newRecorder(t, Options{Dir: dir, PerHour: 100, MaxBytes: limit})
	var last Bundle
	for i := range 8 {
		last = capture(t, r, fmt.Sprint(i))
		if used := diskUsage(dir); used > limit {
			t.Errorf("the directory has %d bytes, more than %d", used, limit)
		}
	}
	left := r.Bundles()
	if len(left) < 2 || len(left) > 4 || left[len(left)-1].Path != last.Path {
		t.Errorf("there are %+v, want the last ones", left)
	}
	if links {
		if _, err := os.Lstat(old); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the oldest is still there: %v", err)
		}
	}
	if _, err := os.Stat(theirs); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(outside); string(text) != "keep" {
		t.Errorf("what a link leads to: %q, %v", text, err)
	}
}

// What cannot be written in any case costs none of what is there.
func TestRoomThatCannotBeMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "e")
	r := newRecorder(t, Options{Dir: dir, PerHour: 100, MaxBytes: 1 << 20})
	for range 3 {
		capture(t, r, "x")
	}
	core := filepath.Join(dir, "core.1234") // somebody else's
	if err := os.WriteFile(core, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Capture(context.Background(), "y", nil); !errors.Is(err, ErrTooLarge) || len(r.Bundles()) != 3 {
		t.Errorf("got %v, %d bundles are left; want ErrTooLarge and 3", err, len(r.Bundles()))
	}
	if err := os.Remove(core); err != nil {
		t.Fatal(err)
	}

	// A file of the bundle itself, of which nobody knows how large it becomes.
	p, err := r.dir.begin()
	if err != nil {
		t.Fatal(err)
	}
	endless := func(w io.Writer) error {
		for {
			if _, err := w.Write(make([]byte, 4<<10)); err != nil {
				return err
			}
		}
	}
	if _, err := p.write(fileHeap, endless); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	if n := len(r.Bundles()); n != 3 {
		t.Errorf("%d bundles are left, want 3: there was room for half of the directory without them", n)
	}
	if used := diskUsage(dir); p.used != used {
		t.Errorf("counted %d bytes, there are %d", p.used, used)
	}
	if err := p.discard(); err != nil {
		t.Fatal(err)
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	os.Chmod(dir, 0o700)
	now := time.Now()
	for name, age := range map[string]time.Duration{"a": 0, "b": time.Hour, "c": -time.Hour} {
		path := filepath.Join(dir, partial+name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "heap.pprof"), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	newRecorder(t, Options{Dir: dir})
	if got := names(t, dir); !slices.Equal(got, []string{partial + "a"}) {
		t.Errorf("left are %q, want what another may be writing", got)
	}
}

func TestUnsafeDir(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the mode of a directory says nothing there")
	}
	parent := t.TempDir()
	ours := filepath.Join(parent, "ours")
	if err := os.Mkdir(ours, 0o700); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(parent, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(parent, "link")
	if err := os.Symlink(ours, link); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(parent, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{open, link} {
		if _, err := New(Options{Dir: dir}); !errors.Is(err, ErrUnsafeDir) {
			t.Errorf("%s: got %v, want ErrUnsafeDir", dir, err)
		}
	}
	if _, err := New(Options{Dir: file}); err == nil {
		t.Error("a file is taken for a directory")
	}
	if os.Geteuid() == 0 {
		theirs := filepath.Join(parent, "theirs")
		if err := os.Mkdir(theirs, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(theirs, 12345, -1); err != nil {
			t.Fatal(err)
		}
		if _, err := New(Options{Dir: theirs}); !errors.Is(err, ErrUnsafeDir) {
			t.Errorf("another's: got %v, want ErrUnsafeDir", err)
		}
	}

	// The directory is replaced, or gone, while the process runs.
	r := newRecorder(t, Options{Dir: ours})
	if err := os.Remove(ours); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Capture(context.Background(), "x", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("gone: got %v, want fs.ErrNotExist", err)
	}
	if err := os.Symlink(parent, ours); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Capture(context.Background(), "x", nil); !errors.Is(err, ErrUnsafeDir) {
		t.Errorf("replaced by a link: got %v, want ErrUnsafeDir", err)
	}
	if got := names(t, parent); slices.ContainsFunc(got, func(n string) bool { return strings.HasPrefix(n, "20") || strings.HasPrefix(n, partial) }) {
		t.Errorf("something was written through the link: %q", got)
	}
}

// Who can write to what the directory lies in, and replaces it while a bundle is written, is
// not given it.
func TestReplacedMeanwhile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open directory cannot be renamed there")
	}
	parent := t.TempDir()
	ours, moved, theirs := filepath.Join(parent, "e"), filepath.Join(parent, "moved"), filepath.Join(parent, "theirs")
	r := newRecorder(t, Options{Dir: ours})
	p, err := r.dir.begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(ours, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(theirs, p.name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(theirs, ours); err != nil {
		t.Fatal(err)
	}
	if _, err := p.write(fileHeap, func(w io.Writer) error { _, err := io.WriteString(w, "secret"); return err }); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(moved, p.name, fileHeap)); string(text) != "secret" {
		t.Errorf("our own directory has %q, %v", text, err)
	}
	if got := names(t, filepath.Join(theirs, p.name)); len(got) != 0 {
		t.Errorf("theirs has %q", got)
	}
	if _, err := p.finish(time.Now()); !errors.Is(err, ErrUnsafeDir) {
		t.Errorf("got %v, want ErrUnsafeDir", err)
	}
	if err := p.discard(); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	for name, o := range map[string]Options{
		"nowhere":       {},
		"negative rate": {Dir: "x", PerHour: -1},
		"negative size": {Dir: "x", MaxBytes: -1},
		"negative":      {Dir: "x", MaxGoroutines: -1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	r := newRecorder(t, Options{Sink: func(Bundle) {}})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Capture(ctx, "x", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	r.Close()
	if _, err := r.Capture(context.Background(), "x", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

// One at a time, and Close waits for it.
func TestBusy(t *testing.T) {
	r := newRecorder(t, Options{Sink: func(Bundle) {}})
	in, out := make(chan bool), make(chan bool)
	ctx := &blocks{Context: context.Background(), in: in, out: out}
	done := make(chan error)
	go func() {
		_, err := r.Capture(ctx, "1", nil)
		done <- err
	}()
	<-in
	if _, err := r.Capture(context.Background(), "2", nil); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	closed := make(chan error)
	go func() { closed <- r.Close() }()
	select {
	case <-closed:
		t.Error("Close did not wait for a Capture")
	case out <- true:
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	<-closed
}

// blocks is a context in which the first look whether it ended takes long.
type blocks struct {
	context.Context
	once    sync.Once
	in, out chan bool
}

func (c *blocks) Err() error {
	c.once.Do(func() { c.in <- true; <-c.out })
	return nil
}

// A Sink that does not return holds up nothing but its own goroutine.
func TestSinkBlocks(t *testing.T) {
	for _, dir := range []string{"", filepath.Join(t.TempDir(), "e")} {
		in, out := make(chan bool), make(chan bool)
		var log bytes.Buffer
		r := newRecorder(t, Options{Dir: dir, Sink: func(Bundle) { in <- true; <-out }, PerHour: 100, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		first := make(chan error)
		go func() {
			_, err := r.Capture(context.Background(), "1", nil)
			first <- err
		}()
		<-in
		_, err := r.Capture(context.Background(), "2", nil)
		if dir == "" && !errors.Is(err, ErrBusy) {
			t.Errorf("without a directory: got %v, want ErrBusy", err)
		}
		if dir != "" && (err != nil || len(r.Bundles()) != 2 || r.unsunk.Load() != 1) {
			t.Errorf("got %v, %d bundles, %d that the sink did not get; want 2 and 1", err, len(r.Bundles()), r.unsunk.Load())
		}
		if !strings.Contains(log.String(), "has not returned from the last one") {
			t.Errorf("the log does not say it:\n%s", &log)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		out <- true
		if err := <-first; err != nil {
			t.Error(err)
		}
	}
}

func TestSinkPanics(t *testing.T) {
	r := newRecorder(t, Options{Sink: func(Bundle) { panic("no") }})
	capture(t, r, "x")
	if r.panics.Load() != 1 {
		t.Error("the panic is not counted")
	}
	capture(t, r, "y") // the lock is free
}

// The context ends between two files.
func TestContextEnds(t *testing.T) {
	r := newRecorder(t, Options{Sink: func(Bundle) {}})
	ctx := &endsAfter{Context: context.Background(), n: 2}
	b, err := r.Capture(ctx, "x", samples(3))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(b.Files, []string{"samples.hwrec", "reason.json"}) || !strings.Contains(strings.Join(b.Notes, "\n"), "no heap.pprof: context deadline exceeded") {
		t.Errorf("files %q, notes %q", b.Files, b.Notes)
	}
}

type endsAfter struct {
	context.Context
	n int
}

func (c *endsAfter) Err() error {
	if c.n--; c.n < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

func TestMemoryStore(t *testing.T) {
	m := &memory{left: reserve + 10, data: map[string][]byte{}}
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error {
			io.WriteString(w, s) // the error is lost, as in package pprof
			return nil
		}
	}
	if n, err := m.write("a", text("12345")); n != 5 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := m.write("b", text("123456")); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	var skip skipped
	if _, err := m.write("c", func(io.Writer) error { return io.ErrNoProgress }); !errors.As(err, &skip) {
		t.Errorf("got %v, want it to be skipped", err)
	}
	if n, err := m.write(fileReason, text(strings.Repeat("x", reserve))); n != reserve || err != nil {
		t.Errorf("%d, %v; that room is for it", n, err)
	}
	if len(m.data) != 2 || !bytes.Equal(m.data["a"], []byte("12345")) {
		t.Errorf("holds %d files", len(m.data))
	}
}
