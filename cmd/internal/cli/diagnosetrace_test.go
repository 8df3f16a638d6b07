package cli

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/pprof"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/exectrace"
	"github.com/heapwright/heapwright/record"
)

// traceFile unpacks a trace of a release.
func traceFile(t *testing.T, release string) string {
	t.Helper()
	f, err := os.Open(filepath.Join(sourceDir, "..", "exectrace", "testdata", release+".trace.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "trace.out")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDiagnoseTraceFile(t *testing.T) {
	f := newFakeEnv()
	path, page := traceFile(t, "go1.24.13"), filepath.Join(t.TempDir(), "x.html")
	f.run(t, ExitOK, "diagnose", "--trace", path, "--html", page)
	for _, want := range []string{"format of Go 1.23", "time in which goroutines ran or wanted to", "main.main", "GC mark termination", "marking", "request"} {
		if !strings.Contains(f.out.String(), want) {
			t.Errorf("no %q in\n%s", want, &f.out)
		}
	}
	at80(t, f.out.String())
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"ZgotmplZ", "src=", "href=", "<no value>"} {
		if strings.Contains(string(b), bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	f = newFakeEnv()
	f.run(t, ExitFinding, "diagnose", "--trace", path, "--fail-on", "info", "--json")
	var doc traceDocument
	if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Schema != schemaTrace || doc.From.Kind != "file" || len(doc.Findings) == 0 {
		t.Errorf("document %+v", doc.From)
	}
}

func TestDiagnoseTraceCut(t *testing.T) {
	path := traceFile(t, "go1.26.11")
	if err := os.Truncate(path, 9000); err != nil {
		t.Fatal(err)
	}
	f := newFakeEnv()
	f.run(t, ExitInconclusive, "diagnose", "--trace", path)
	if !strings.Contains(f.out.String(), "could not be read to its end") || !strings.Contains(f.err.String(), "before byte") {
		t.Errorf("out:\n%s\nerr:\n%s", &f.out, &f.err)
	}
	if err := os.WriteFile(path, []byte("go 1.19 trace\x00\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.run(t, ExitCouldNotRun, "diagnose", "--trace", path)
	if !strings.Contains(f.err.String(), "traces of Go 1.22 to 1.27 can be read") {
		t.Errorf("err: %s", &f.err)
	}
}

func TestDiagnoseTraceUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--trace", "x", "4123"}, {"--trace", "x", "--for", "1s"}, {"--trace", "x", "-o", "y"}, {"--trace", "-5"}, {"--html", "x", "4123"},
		{"--trace", "x", "--life", "2"}, {"--trace", "x", "--fail-on", "nonsense"}, {"--trace", filepath.Join(t.TempDir(), "none")}, {"--trace", "ftp://x"},
	} {
		f := newFakeEnv()
		f.run(t, ExitCouldNotRun, append([]string{"diagnose"}, args...)...)
	}
}

// A program is asked for its trace by URL and by PID; this test is the program.
func TestDiagnoseTraceOfProgram(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	server := httptest.NewServer(mux)
	defer server.Close()
	kept := filepath.Join(t.TempDir(), "kept.trace")
	f := newFakeEnv()
	// Whether a collection runs meanwhile is chance.
	code := run(t.Context(), f.Env, []string{"diagnose", "--trace", server.URL, "--for", "20ms", "-o", kept, "--json"})
	if code != ExitOK && code != ExitInconclusive {
		t.Fatalf("code %d: %s", code, &f.err)
	}
	var doc traceDocument
	if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil || doc.From.Kind != "url" || doc.Trace.Events == 0 {
		t.Errorf("document %+v, %v", doc.From, err)
	}
	if b, err := os.ReadFile(kept); err != nil || !strings.HasPrefix(string(b), "go 1.") || int64(len(b)) != doc.Trace.Bytes {
		t.Errorf("kept %d bytes of %d, %v", len(b), doc.Trace.Bytes, err)
	}
	if runtime.GOOS != "linux" {
		return
	}
	// One that accepts and says nothing must not hold it up for long.
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	f = newFakeEnv()
	code = run(t.Context(), f.Env, []string{"diagnose", "--trace", strconv.Itoa(os.Getpid()), "--for", "20ms", "--json"})
	if code != ExitOK && code != ExitInconclusive {
		t.Fatalf("code %d: %s", code, &f.err)
	}
	doc = traceDocument{}
	if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil || doc.From.PID != os.Getpid() || doc.From.Kind != "pid" {
		t.Errorf("document %+v, %v", doc.From, err)
	}
	if !strings.Contains(f.err.String(), "costs the program CPU while it lasts") {
		t.Errorf("it does not say what that costs: %s", &f.err)
	}
}

// An interrupt ends the tracing: what came until then is kept and looked at.
func TestDiagnoseTraceInterrupted(t *testing.T) {
	trace, err := os.ReadFile(traceFile(t, "go1.26.11"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(trace)
		w.(http.Flusher).Flush()
		for r.Context().Err() == nil { // until all of that was taken; and the tracing goes on
			time.Sleep(time.Millisecond)
			names, _ := filepath.Glob(filepath.Join(dir, ".heapwright-trace-*"))
			for _, name := range names {
				if st, err := os.Stat(name); err == nil && st.Size() == int64(len(trace)) {
					interrupt()
				}
			}
		}
	}))
	defer server.Close()
	f, kept := newFakeEnv(), filepath.Join(dir, "kept.trace")
	if code := run(ctx, f.Env, []string{"diagnose", "--trace", server.URL, "-o", kept, "--json"}); code != ExitOK {
		t.Fatalf("code %d: %s", code, &f.err)
	}
	var doc traceDocument
	if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil || doc.Trace.Bytes != int64(len(trace)) || doc.Trace.Events == 0 {
		t.Errorf("document of %d bytes, %v", doc.Trace.Bytes, err)
	}
	if b, err := os.ReadFile(kept); err != nil || !bytes.Equal(b, trace) {
		t.Errorf("kept %d bytes of %d, %v", len(b), len(trace), err)
	}
	if !strings.Contains(f.err.String(), "interrupted") {
		t.Errorf("it does not say so: %s", &f.err)
	}
	// Before anything came there is nothing to keep.
	f = newFakeEnv()
	if code := run(ctx, f.Env, []string{"diagnose", "--trace", server.URL, "-o", filepath.Join(dir, "none.trace")}); code != ExitCouldNotRun {
		t.Errorf("code %d: %s", code, &f.err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left %v", left)
	}
}

func TestLocalFirst(t *testing.T) {
	var in []netip.AddrPort
	for _, s := range []string{"10.0.0.5:1", "0.0.0.0:2", "[::]:3", "127.0.0.1:4"} {
		in = append(in, netip.MustParseAddrPort(s))
	}
	var got []string
	for _, a := range localFirst(in) {
		got = append(got, a.String())
	}
	if want := []string{"127.0.0.1:2", "127.0.0.1:3", "[::1]:3", "127.0.0.1:4", "10.0.0.5:1"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestRedacted(t *testing.T) {
	for in, want := range map[string]string{
		"http://u:p@h:6060/debug/pprof?token=x": "http://h:6060/debug/pprof",
		"http://h:6060":                         "http://h:6060",
		"https://a@b@h/x":                       "https://h/x",
	} {
		if got := redacted(in); got != want {
			t.Errorf("redacted(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestTraceContract holds the document against docs/cli-json.md.
func TestTraceContract(t *testing.T) {
	keys, seen := documented(t, schemaTrace), map[string]string{}
	for _, release := range []string{"go1.22.12", "go1.27.4"} {
		f := newFakeEnv()
		f.run(t, ExitOK, "diagnose", "--trace", traceFile(t, release), "--json")
		var doc map[string]any
		decode(t, f.out.Bytes(), &doc)
		compare(t, schemaTrace, keys, seen, "", doc)
	}
	stack := []record.Frame{{Func: "f", File: "f.go", Line: 1}}
	compare(t, schemaTrace, keys, seen, "", document(t, traceDocument{From: tracedFrom{PID: 1}, Report: &exectrace.Report{
		Schema: schemaTrace, Trace: exectrace.Trace{Cut: "x", Notes: []string{"x"}},
		Cycles:     exectrace.Cycles{Longest: []exectrace.Cycle{{}}},
		Stops:      []exectrace.StopKind{{From: stack}},
		WorstStops: []exectrace.Stop{{Culprit: &exectrace.Last{Stack: stack}}},
		Culprits:   []exectrace.Culprit{{File: "f.go", Line: 1, Stack: stack}},
		Kinds:      []exectrace.Kind{{CreatedBy: "f", AssistedAt: []exectrace.Place{{Stack: stack}}}},
		Goroutines: []exectrace.Goroutine{{}},
		Tasks:      []exectrace.TaskType{{Worst: []exectrace.Task{{}}}},
		Timeline:   exectrace.Timeline{Steps: []exectrace.Step{{}}},
		Findings:   []rule.Finding{{Evidence: []rule.Evidence{{}}, Sites: []rule.Site{rule.At(stack[0], "calls", "x")}}},
	}}))
	for k := range keys {
		if seen[k] == "" {
			t.Errorf("%s is documented and in no document", k)
		}
	}
}
