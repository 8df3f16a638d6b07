package web

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/heapwright/heapwright/cmd/internal/store"
)

// FuzzHTTP sends requests of any kind. None may make a handler panic or fail, be let in
// without a token, or be answered without the headers that keep browsers from harm.
func FuzzHTTP(f *testing.F) {
	for _, s := range []struct{ method, target, host, header, value, body string }{
		{"GET", "/", "localhost", "", "", ""},
		{"GET", "/ui/process/a?from=now-1h", "127.0.0.1:80", "Accept-Encoding", "gzip;q=0.5, *", ""},
		{"GET", "/app.js", "localhost", "If-None-Match", `W/"x", *`, ""},
		{"POST", "/login", "localhost", "Content-Type", "application/x-www-form-urlencoded", "token=x&form=y&next=//evil"},
		{"POST", "/login", "localhost", "Content-Type", "multipart/form-data; boundary=x", "--x\r\n\r\n--x--"},
		{"GET", "/login?next=%2f%2fevil", "localhost", "Cookie", "heapwright-1-form=" + strings.Repeat("a", 43), ""},
		{"POST", "/api/v1/query", "[::1]", "Authorization", "Bearer x", "query=1"},
		{"GET", "/api/v1/query_range?query=a&start=1&end=2&step=1", "localhost", "Authorization", "Bearer " + readerToken, ""},
		{"GET", "/api/v1/label/U__a_2e_b/values?match[]={a=\"b\"}", "localhost", "Authorization", "Bearer " + readerToken, ""},
		{"POST", "/api/heapwright/v1/change", "localhost", "X-Heapwright-Csrf", "x", "{}"},
		{"GET", "/api/heapwright/v1/live?process=a", "localhost", "Origin", "null", ""},
		{"DELETE", "/../../etc/passwd", "evil.example", "X-Forwarded-For", "1.2.3.4, [", ""},
		{"OPTIONS", "*", "localhost", "Sec-Fetch-Site", "cross-site", ""},
	} {
		f.Add(s.method, s.target, s.host, s.header, s.value, s.body)
	}
	o := everything(f)
	o.ReaderTokenFile, o.OperatorTokenFile = secretFile(f, readerToken), secretFile(f, operatorToken)
	o.AllowChanges, o.AuditFile = true, filepath.Join(f.TempDir(), "audit.log")
	o.API = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if RoleOf(r.Context()) == None {
			panic("somebody without a role is let in")
		}
		io.Copy(w, r.Body)
	})
	o.ExternalURL = "https://hw.example"
	o.Now = func() time.Time { return epoch } // the failures of one address soon are too many
	s := newServer(f, o)
	h := s.Handler()
	f.Fuzz(func(t *testing.T, method, target, host, header, value, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || strings.HasSuffix(target, "/panic") {
			return // what net/http does not hand on
		}
		r := httptest.NewRequest("GET", "http://localhost/", strings.NewReader(body))
		r.Method, r.URL, r.RequestURI, r.Host, r.RemoteAddr = method, u, target, host, "127.0.0.1:1"
		if header != "" {
			r.Header[http.CanonicalHeaderKey(header)] = []string{value}
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if strings.HasSuffix(u.Path, "/live") {
			cancel()
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(ctx))
		if n := s.stats.panics.Load(); n != 0 {
			t.Fatalf("%d panics", n)
		}
		if w.Code >= 500 && w.Code != http.StatusServiceUnavailable {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if w.Result().Header.Get("Content-Security-Policy") == "" || w.Result().Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("headers are missing: %v", w.Result().Header)
		}
		if w.Code == 200 && strings.HasPrefix(u.Path, "/api/") && value != "Bearer "+readerToken && !strings.EqualFold(strings.Join(strings.Fields(value), " "), "bearer "+readerToken) &&
			!strings.Contains(value, operatorToken) {
			t.Errorf("let in without a token: %s", w.Body)
		}
		if l := w.Header().Get("Location"); l != "" && strings.HasPrefix(l, "//") {
			t.Errorf("it leads to %q", l)
		}
	})
}

// FuzzQuery asks a store, with all parameters. No question may fail for another reason
// than that it is wrong or too dear, and all are answered in JSON.
func FuzzQuery(f *testing.F) {
	for _, q := range questions() {
		f.Add(q.Path, q.Form)
	}
	db := fill(f, f.TempDir())
	h := serveStore(f, limited{db.Reader()})
	f.Fuzz(func(t *testing.T, path, form string) {
		u, err := url.ParseRequestURI("/api/v1/" + path)
		if err != nil {
			return
		}
		for _, method := range []string{"GET", "POST"} {
			r := httptest.NewRequest(method, "http://localhost/", strings.NewReader(form))
			r.URL, r.RemoteAddr = u, "127.0.0.1:1"
			if method == "GET" {
				at := *u
				at.RawQuery = form
				r.URL = &at
			} else {
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code >= 500 && w.Code != http.StatusServiceUnavailable {
				t.Errorf("%s: %d %s", method, w.Code, w.Body)
			}
			if w.Code >= 300 && w.Code < 400 {
				continue // a path that is written in another way
			}
			var doc struct {
				Status, ErrorType, Error string
				Data                     json.RawMessage
			}
			if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || (doc.Status == "success") != (w.Code == 200) || (doc.Data == nil) != (w.Code != 200) {
				t.Errorf("%s: %d %s", method, w.Code, w.Body)
			}
		}
	})
}

// limited are questions that may not take long.
type limited struct{ store.Reader }

func (l limited) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (promql.Matrix, []string, error) {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	return l.Reader.QueryRange(ctx, expr, from, to, step)
}

func (l limited) Query(ctx context.Context, expr string, at time.Time) (parser.Value, []string, error) {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	return l.Reader.Query(ctx, expr, at)
}

// FuzzPlaces holds that a login leads to a page of this server.
func FuzzPlaces(f *testing.F) {
	for _, s := range []string{"/ui/", "//evil", "/ui//evil", "/ui/\\evil", "/ui/%2f%2fevil", "https:evil", "/ui/?a=b#c", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := local(s)
		base := &url.URL{Scheme: "http", Host: "localhost"}
		u, err := base.Parse(got)
		if err != nil || u.Host != "localhost" || u.Scheme != "http" || !strings.HasPrefix(got, "/ui/") {
			t.Errorf("%q leads to %q", s, got)
		}
		if strings.ContainsAny(got, "\r\n\t\\ \"<>") {
			t.Errorf("%q becomes %q", s, got)
		}
	})
}

// FuzzTokens reads files of tokens.
func FuzzTokens(f *testing.F) {
	f.Add([]byte("# a\nname " + readerToken + "\n"))
	f.Add([]byte("\x00\xff\n\r"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tokens, err := parseTokens(data)
		if (err == nil) == (len(tokens) == 0) || len(tokens) > maxTokens {
			t.Errorf("%d tokens, %v", len(tokens), err)
		}
		if err != nil {
			// A mistake is told of without what is secret.
			for _, word := range bytes.Fields(data) {
				if len(word) >= minToken && strings.Contains(err.Error(), string(word)) {
					t.Errorf("the error has a token: %v", err)
				}
			}
		}
	})
}

// FuzzHosts holds that no name is let in that is neither known nor of this machine.
func FuzzHosts(f *testing.F) {
	for _, s := range []string{"localhost:1", "127.0.0.1", "[::1]:2", "evil.example", "hw.example.", "[::ffff:127.0.0.1%25lo]:1", "127.1", "::1"} {
		f.Add(s)
	}
	n := names{local: true, known: []string{"hw.example"}, cert: func() *x509.Certificate { return nil }}
	f.Fuzz(func(t *testing.T, host string) {
		if !n.allow(host) {
			return
		}
		name := hostName(host)
		if name != "localhost" && name != "hw.example" && !strings.HasSuffix(name, ".localhost") && !strings.HasPrefix(name, "127.") && !strings.HasPrefix(name, "::1") && !strings.HasPrefix(name, "::ffff:") && !strings.Contains(name, ":") {
			t.Errorf("%q is let in", host)
		}
	})
}
