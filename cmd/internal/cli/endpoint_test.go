package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/pprof"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/record"
)

// program serves what a Go program may serve.
func program(t *testing.T, metrics, profiles bool) string {
	t.Helper()
	mux := http.NewServeMux()
	var n atomic.Int64
	if metrics {
		mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "# TYPE go_goroutines gauge\ngo_goroutines %d\n# TYPE go_info gauge\ngo_info{version=\"go1.26.8\"} 1\n", 10+n.Add(1))
		})
	}
	if profiles {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
	}
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.URL
}

// overHTTP is an Env whose endpoints are real.
func overHTTP() *fakeEnv {
	f := newFakeEnv()
	f.Env.Host = localHost{}
	return f
}

func TestRecordEndpoint(t *testing.T) {
	f := overHTTP()
	file := filepath.Join(t.TempDir(), "x.hwrec")
	f.run(t, ExitOK, "record", program(t, true, true)+"/metrics", "--for", "300ms", "--hz", "20", "-o", file, "--json")
	var doc recordDocument
	if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if o := doc.Recordings[0]; o.FailedReadings != 0 || o.Samples < 2 || o.HeapLivePeakBytes != nil {
		t.Errorf("recorded %+v", o)
	}
	rec := readBack(t, file)[0]
	s := rec.Samples[0]
	if s.Source != record.SourcePrometheus || s.Goroutines < 11 || rec.Process.GoVersion != "go1.26.8" || len(rec.Goroutines) == 0 || len(rec.Profiles) == 0 {
		t.Errorf("first sample %s with %d goroutines, of %s; %d snapshots of goroutines, %d profiles", s.Source, s.Goroutines, rec.Process.GoVersion, len(rec.Goroutines), len(rec.Profiles))
	}
}

func TestEndpointWithoutMetrics(t *testing.T) {
	url := program(t, false, true) + "/debug/pprof"
	f := overHTTP()
	f.run(t, ExitCouldNotRun, "record", url, "--for", "100ms", "-o", filepath.Join(t.TempDir(), "x.hwrec"))
	if !strings.Contains(f.err.String(), "404") {
		t.Errorf("stderr %q", &f.err)
	}
	f.run(t, ExitOK, "profile", url, "--type", "goroutine", "-o", "-")
	if p, err := profile.ParseData(f.out.Bytes()); err != nil || len(p.Sample) == 0 {
		t.Errorf("no profile: %v", err)
	}
}

func TestEndpointWithoutProfiles(t *testing.T) {
	url := program(t, true, false)
	f := overHTTP()
	file := filepath.Join(t.TempDir(), "x.hwrec")
	f.run(t, ExitOK, "record", url, "--for", "300ms", "--hz", "20", "--profiles", "20ms", "-o", file)
	gaps := 0
	for _, e := range readBack(t, file)[0].Events {
		if e.Kind == record.EventGap {
			gaps++
		}
	}
	if gaps != 1 {
		t.Errorf("that there are no profiles is told %d times, want once", gaps)
	}
	f.run(t, ExitCouldNotRun, "profile", url)
	if !strings.Contains(f.err.String(), "net/http/pprof") {
		t.Errorf("stderr %q", &f.err)
	}
}
