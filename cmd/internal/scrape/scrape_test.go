package scrape

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/record"
)

var update = flag.Bool("update", false, "write the golden files")

// What the default handler of client_golang writes, v0.9.4 to v1.25.0, with Go
// 1.20 to 1.26; "all" with every metric of runtime/metrics, "tuned" with GOGC
// off and a memory limit.
func TestMetricsGoldens(t *testing.T) {
	files, err := filepath.Glob("testdata/v*.txt")
	if err != nil || len(files) < 9 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s, p, err := parseMetrics(bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			enc := json.NewEncoder(&got)
			enc.SetIndent("", "\t")
			if err := errors.Join(enc.Encode(s), enc.Encode(p)); err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".txt") + ".golden"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s\ndiffers from %s; run with -update and look at the difference", got.Bytes(), golden)
			}

			// What every generation tells.
			for _, f := range []record.Field{
				record.FieldHeapGoalBytes, record.FieldHeapInUseBytes, record.FieldHeapFreeBytes, record.FieldHeapReleasedBytes, record.FieldHeapObjectsBytes,
				record.FieldTotalAllocBytes, record.FieldTotalFreeBytes, record.FieldAllocObjects, record.FieldFreeObjects, record.FieldMappedReadyBytes,
				record.FieldStackInUseBytes, record.FieldRuntimeOtherBytes, record.FieldGCCycles, record.FieldPauseTotal, record.FieldLastGC,
				record.FieldGoroutines, record.FieldThreads, record.FieldRSSBytes,
			} {
				if !s.Has.Has(f) {
					t.Errorf("%s is missing", f)
				}
			}
			if !strings.HasPrefix(p.GoVersion, "go1.") || p.StartTime.Year() != 2026 {
				t.Errorf("Go version %q, started %v", p.GoVersion, p.StartTime)
			}
			// The parts of memory are together what the runtime has mapped.
			parts := s.HeapInUseBytes + s.HeapFreeBytes + s.StackInUseBytes + s.RuntimeOtherBytes
			if parts != s.MappedReadyBytes {
				t.Errorf("the parts are %d bytes together, mapped are %d", parts, s.MappedReadyBytes)
			}
			if s.TotalAllocBytes-s.TotalFreeBytes != s.HeapObjectsBytes || s.FreeObjects > s.AllocObjects {
				t.Errorf("%d bytes allocated, %d freed, %d there", s.TotalAllocBytes, s.TotalFreeBytes, s.HeapObjectsBytes)
			}
			if all := strings.Contains(file, "all"); s.Has.Has(record.FieldCPUGCTotal) != all || all && s.CPUGCTotal != s.CPUGCAssist+s.CPUGCDedicated+s.CPUGCIdle+s.CPUGCPause {
				t.Errorf("GC took %v of CPU time", s.CPUGCTotal)
			}
			if strings.Contains(file, "tuned") && (s.GOGCPercent != -1 || s.GOMEMLIMITBytes != 1<<30) {
				t.Errorf("GOGC is %d, GOMEMLIMIT %d", s.GOGCPercent, s.GOMEMLIMITBytes)
			}
			if strings.HasSuffix(file, "v1.25.0.txt") && (s.GOGCPercent != 100 || s.GOMEMLIMITBytes != math.MaxInt64) {
				t.Errorf("GOGC is %d, GOMEMLIMIT %d", s.GOGCPercent, s.GOMEMLIMITBytes)
			}
		})
	}
}

// Values that can't be true are not believed.
func TestMetricsRefused(t *testing.T) {
	for _, test := range []struct {
		text string
		has  int    // fields
		err  string // part of the error
	}{
		{"", 0, ""},
		{"go_goroutines 5\n", 1, ""},
		{"# TYPE go_goroutines gauge\ngo_goroutines 5\n", 1, ""},
		{"go_goroutines NaN\n", 0, ""},
		{"go_goroutines +Inf\n", 0, ""},
		{"go_goroutines -5\n", 0, ""},
		{"go_goroutines 1e30\n", 0, ""},
		{"go_goroutines 9223372036854775808\n", 0, ""},
		{"go_memstats_heap_alloc_bytes 18446744073709551616\n", 0, ""},
		{"go_memstats_last_gc_time_seconds 0\n", 0, ""},
		{"go_memstats_last_gc_time_seconds 1e18\n", 0, ""},
		{"go_cpu_classes_total_cpu_seconds_total 1e10\n", 0, ""},
		{"go_gc_gogc_percent 1.8446744073709552e+19\n", 1, ""},
		{"go_goroutines{pod=\"a\"} 5\ngo_goroutines{pod=\"b\"} 6\n", 0, ""}, // a proxy of several
		{"go_memstats_sys_bytes 5\ngo_memstats_heap_released_bytes 6\n", 1, ""},
		{"other_metric{a=\"go_goroutines 5\"} 1\n", 0, ""},
		{"other_metric garbage\n%%%\n", 0, ""},
		{"go_goroutines five\n", 0, "expected float"},
		{"go_goroutines 5\ngo_goroutines 6\n", 0, ""},
		{"# TYPE go_goroutines sundial\n", 0, "unknown metric type"},
		{"go_goroutines 5", 0, "unexpected EOF"},
		{"# TYPE go_gc_duration_seconds summary\ngo_gc_duration_seconds_sum 2\ngo_gc_duration_seconds_count 3\n", 2, ""},
		{"go_gc_duration_seconds_count -1\n", 0, ""},
		{strings.Repeat("go_info{version=\"x\"} 1\n", 1<<17), 0, "more of the Go runtime's metrics"},
		{"go_info{version=\"" + strings.Repeat("x", 1<<17) + "\"} 1\n", 0, ""},
		{"go_info{version=\"a\\nb\"} 1\n", 0, ""},
	} {
		s, p, err := parseMetrics(strings.NewReader(test.text))
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%.60q: error %v, want one with %q", test.text, err, test.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%.60q: %v", test.text, err)
			continue
		}
		if got := int(record.NumFields) - len(s.Missing()); got != test.has {
			t.Errorf("%.60q: %d fields, want %d", test.text, got, test.has)
		}
		if p.GoVersion != "" {
			t.Errorf("%.60q: version %q", test.text, p.GoVersion)
		}
	}
}

// serve starts a server with one handler and returns a Client for a path on it.
func serve(t *testing.T, path string, limits Limits, h http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c, err := New(server.URL+path, limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func metricsFile(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/v1.25.0.txt")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestSample(t *testing.T) {
	text := metricsFile(t)
	for _, zipped := range []bool{false, true} {
		c := serve(t, "", Limits{}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/metrics" || strings.Contains(r.Header.Get("Accept"), "openmetrics") {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
			if !zipped {
				w.Write(text)
				return
			}
			w.Header().Set("Content-Encoding", "gzip")
			gz := gzip.NewWriter(w)
			defer gz.Close()
			gz.Write(text)
		})
		s, p, err := c.Sample(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.Source != record.SourcePrometheus || time.Since(s.Time) > time.Minute || s.GCCycles != 15 || p.GoVersion != "go1.26.8" || !strings.HasPrefix(p.Name, "127.0.0.1:") {
			t.Errorf("gzip %v: %+v, %+v", zipped, s, p)
		}
	}
}

// A program that has many metrics of its own.
func TestSampleAmongMany(t *testing.T) {
	text := metricsFile(t)
	c := serve(t, "", Limits{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for i := range 50_000 {
			fmt.Fprintf(w, "apiserver_request_duration_seconds_bucket{verb=\"GET\",resource=\"r%d\",le=\"+Inf\"} 5\n", i)
		}
		fmt.Fprintf(w, "long{x=%q} 1\n", strings.Repeat("go_goroutines 5 ", 10_000))
		w.Write(text)
	})
	s, _, err := c.Sample(t.Context())
	if err != nil || s.Goroutines != 6 {
		t.Errorf("%v, %+v", err, s)
	}
}

func TestSampleErrors(t *testing.T) {
	const text = "text/plain; version=0.0.4"
	answer := func(contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			fmt.Fprint(w, body)
		}
	}
	elsewhere := httptest.NewServer(answer(text, "go_goroutines 1\n"))
	defer elsewhere.Close()
	for _, test := range []struct {
		name   string
		limits Limits
		h      http.HandlerFunc
		want   string
	}{
		{"HTML", Limits{}, answer("text/html; charset=utf-8", "<html>"), "web page"},
		{"JSON", Limits{}, answer("application/json", "{}"), "not metrics in Prometheus' text format"},
		{"OpenMetrics", Limits{}, answer("application/openmetrics-text; version=1.0.0", "# EOF\n"), "openmetrics-text although"},
		{"no type", Limits{}, answer("", "go_goroutines 1\n"), "text format"},
		{"not Go", Limits{}, answer(text, "python_info{version=\"3\"} 1\n"), "none of a Go runtime"},
		{"empty", Limits{}, answer(text, ""), "none of a Go runtime"},
		{"garbage", Limits{}, answer(text, "go_goroutines x\n"), "parsing the metrics"},
		{"not found", Limits{}, http.NotFound, "404 Not Found"},
		{"forbidden", Limits{}, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }, "a user and a password"},
		{"slow", Limits{Time: 50 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer within 50ms"},
		{"slow body", Limits{Time: 200 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", text)
			fmt.Fprint(w, "go_goroutines ")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "took too long"},
		{"huge", Limits{MetricsBytes: 1 << 20}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", text)
			for range 1000 {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 4096)); err != nil {
					return
				}
			}
		}, "longer than 1 MiB"},
		{"gzip bomb", Limits{MetricsBytes: 1 << 20}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", text)
			w.Header().Set("Content-Encoding", "gzip")
			gz := gzip.NewWriter(w)
			gz.Write(make([]byte, 8<<20))
			gz.Close()
		}, "longer than 1 MiB"},
		{"not gzip", Limits{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", text)
			w.Header().Set("Content-Encoding", "gzip")
			fmt.Fprint(w, "go_goroutines 1\n")
		}, "expanding the answer"},
		{"brotli", Limits{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", text)
			w.Header().Set("Content-Encoding", "br")
		}, "not asked for"},
		{"redirect elsewhere", Limits{}, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/metrics", http.StatusFound)
		}, "redirects to another server"},
		{"redirect in circles", Limits{}, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/metrics", http.StatusFound)
		}, "in circles"},
		{"broken off", Limits{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", text)
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, "go_goroutines 1\n")
		}, "unexpected EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := serve(t, "/metrics", test.limits, test.h)
			s, _, err := c.Sample(t.Context())
			var e *Error
			if s != nil || !errors.As(err, &e) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, error %v, want an *Error with %q", s, err, test.want)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("the error is more than a line: %q", err)
			}
		})
	}

	t.Run("nobody there", func(t *testing.T) {
		c, err := New("http://user:secret@127.0.0.1:1/metrics", Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err = c.Sample(t.Context()); err == nil || !strings.Contains(err.Error(), "is the program running") || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("canceled", func(t *testing.T) {
		c := serve(t, "", Limits{}, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := c.Sample(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("redirect to a slash", func(t *testing.T) {
		c := serve(t, "/m", Limits{}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/m" {
				http.Redirect(w, r, "/m/", http.StatusMovedPermanently)
				return
			}
			answer(text, "go_goroutines 1\n")(w, r)
		})
		if s, _, err := c.Sample(t.Context()); err != nil || s.Goroutines != 1 {
			t.Errorf("%v, %v", s, err)
		}
	})
}

func TestNew(t *testing.T) {
	for _, test := range []struct{ url, metrics, pprof string }{
		{"http://host:8080", "http://host:8080/metrics", "http://host:8080/debug/pprof/"},
		{"http://host:8080/", "http://host:8080/metrics", "http://host:8080/debug/pprof/"},
		{"https://host/a/metrics?x=1#top", "https://host/a/metrics?x=1", "https://host/debug/pprof/"},
		{"http://host/debug/pprof", "http://host/metrics", "http://host/debug/pprof/"},
		{"http://host/a/debug/pprof/heap?debug=1", "http://host/a/metrics", "http://host/a/debug/pprof/"},
		{"http://u:p@host/", "http://u:p@host/metrics", "http://u:p@host/debug/pprof/"},
	} {
		c, err := New(test.url, Limits{})
		if err != nil {
			t.Errorf("%s: %v", test.url, err)
			continue
		}
		if c.metrics.String() != test.metrics || c.pprof.String() != test.pprof {
			t.Errorf("%s: metrics at %s, profiles at %s", test.url, c.metrics, c.pprof)
		}
	}
	for _, bad := range []string{"", "host:8080", "ftp://host/metrics", "http://", "/metrics", "http://u:secret@[::1/metrics", "file:///etc/passwd"} {
		if _, err := New(bad, Limits{}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzMetrics(f *testing.F) {
	files, _ := filepath.Glob("testdata/v*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text[:min(len(text), 8000)])
	}
	f.Add([]byte("go_goroutines{a=\"b\",} 5 123\ngo_info{version=\"go1\"} 1\n"))
	f.Add([]byte("# TYPE go_gc_duration_seconds summary\ngo_gc_duration_seconds{quantile=\"0\"} NaN\ngo_gc_duration_seconds_count 1e300\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, p, err := parseMetrics(bytes.NewReader(text))
		if err != nil {
			return
		}
		// Whatever was believed can be recorded.
		if _, err := s.AppendJSON(nil); err != nil {
			t.Fatal(err)
		}
		if _, err := json.Marshal(p); err != nil {
			t.Fatal(err)
		}
		if s.PauseTotal < 0 || s.CPUTotal < 0 || s.Goroutines < 0 || s.GOGCPercent < -1 {
			t.Fatalf("%+v", s)
		}
	})
}

func FuzzNew(f *testing.F) {
	f.Add("http://u:p@host:1/a/debug/pprof/../x?y#z")
	f.Fuzz(func(t *testing.T, raw string) {
		c, err := New(raw, Limits{})
		if err != nil {
			return
		}
		for _, u := range []*url.URL{c.metrics, c.pprof} {
			if _, err := url.Parse(u.String()); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
				t.Fatalf("%q becomes %q: %v", raw, u, err)
			}
		}
	})
}
