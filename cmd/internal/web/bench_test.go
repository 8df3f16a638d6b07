package web

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// nowhere takes answers and forgets them.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) WriteHeader(int)             {}
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkAnswer writes what a day of 20 series is at 30 s: about 58,000 points.
func BenchmarkAnswer(b *testing.B) {
	var m promql.Matrix
	for i := range 20 {
		s := promql.Series{Metric: labels.FromStrings("__name__", "go_goroutines", "instance", "host", "job", "heapwright", "process", strings.Repeat("p", i+1))}
		for t := range 2880 {
			s.Floats = append(s.Floats, promql.FPoint{T: epoch.UnixMilli() + int64(t)*30_000, F: float64(t) * 1234.5678})
		}
		m = append(m, s)
	}
	h := serveStore(b, fakeStore{value: m})
	r := question{Method: "GET", Path: "query_range", Form: "query=a&start=0&end=1&step=1"}.request("http://localhost")
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(nowhere{http.Header{}}, r.Clone(b.Context()))
	}
}

// BenchmarkRequest is what it costs to be let in, with a token of a hundred.
func BenchmarkRequest(b *testing.B) {
	o := everything(b)
	o.API = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") })
	o.ReaderTokenFile = secretFile(b, strings.Repeat("another-0123456789abcdef\n", maxTokens-1)+readerToken)
	o.Now = time.Now
	h := newServer(b, o).Handler()
	r := question{Method: "GET", Path: "x"}.request("http://localhost")
	r.URL.Path = "/api/heapwright/v1/processes"
	r.Header.Set("Authorization", "Bearer "+readerToken)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(nowhere{http.Header{}}, r.Clone(b.Context()))
	}
}
