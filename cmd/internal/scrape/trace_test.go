package scrape

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/pprof"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWriteTrace(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/flight", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("go 1.26 trace\x00\x00\x00")) })
	mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("<html>")) })
	mux.HandleFunc("/busy/debug/pprof/trace", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "tracing", 500) })
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, c := range []struct {
		path  string
		limit int64
		want  string // the beginning, or of the error when it has a space at its end
		fails string
	}{
		{path: "", limit: 1 << 20, want: "go 1."},
		{path: "/debug/pprof/", limit: 1 << 20, want: "go 1."},
		{path: "/metrics", limit: 1 << 20, want: "go 1."},
		{path: "/flight", limit: 1 << 20, want: "go 1.26 trace"},
		{path: "/flight", limit: 4, fails: "longer than"},
		{path: "/page", limit: 1 << 20, fails: "a web page"},
		{path: "/nothing/debug/pprof", limit: 1 << 20, fails: "import net/http/pprof"},
		{path: "/busy/debug/pprof", limit: 1 << 20, fails: "one trace at a time"},
	} {
		client, err := New(server.URL+c.path, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		_, err = client.WriteTrace(t.Context(), time.Millisecond, &b, c.limit)
		if c.fails != "" {
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(e.Error(), c.fails) {
				t.Errorf("%s: error %v, want one that has %q", c.path, err, c.fails)
			}
		} else if err != nil || !strings.HasPrefix(b.String(), c.want) {
			t.Errorf("%s: %.20q, %v; want %q", c.path, b.String(), err, c.want)
		}
		client.Close()
	}
	client, err := New(server.URL, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if got, err := client.CommandLine(t.Context()); err != nil || !slices.Equal(got, os.Args) {
		t.Errorf("command line %q, %v; want %q", got, err, os.Args)
	}
}
