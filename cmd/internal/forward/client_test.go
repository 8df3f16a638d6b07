package forward

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		kind            string
		status, attempt int
		want            verdict
	}{
		{kindRemoteWrite, 200, 0, taken}, {kindRemoteWrite, 204, 0, taken}, {kindRemoteWrite, 301, 0, again}, {kindRemoteWrite, 400, 0, refused},
		{kindRemoteWrite, 401, 0, again}, {kindRemoteWrite, 403, 9, again}, {kindRemoteWrite, 404, 0, again}, {kindRemoteWrite, 409, 0, refused},
		{kindRemoteWrite, 413, 0, tooLarge}, {kindRemoteWrite, 415, 0, refused}, {kindRemoteWrite, 422, 0, refused}, {kindRemoteWrite, 429, 99, again},
		{kindRemoteWrite, 500, 0, again}, {kindRemoteWrite, 500, 999, again}, {kindRemoteWrite, 503, 0, again}, {kindRemoteWrite, 999, 0, again},
		{kindRemoteWrite, 100, 0, again},
		{kindOTLP, 200, 0, taken}, {kindOTLP, 500, 0, again}, {kindOTLP, 500, maxBroken - 1, refused}, {kindOTLP, 503, 999, again}, {kindOTLP, 429, 999, again},
		{kindPyroscope, 501, 99, refused}, {kindPyroscope, 502, 99, again},
	} {
		if got := judge(test.kind, test.status, test.attempt); got != test.want {
			t.Errorf("%s: %d on attempt %d is %d, not %d", test.kind, test.status, test.attempt, got, test.want)
		}
	}
}

func TestWait(t *testing.T) {
	for _, r := range []float64{0, 0.5, 0.999} {
		before := time.Duration(0)
		for n := 1; n < 100; n++ {
			d := wait(n, r)
			if d < before || d < firstWait/2 || d > lastWait {
				t.Errorf("after %d failures it waits %s", n, d)
			}
			before = d
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "0": 0, "-5": 0, "30": 30 * time.Second, "99999999": maxRetryAfter, "soon": 0, "999999999999999999999": 0,
		"Thu, 01 Jan 2026 00:01:00 GMT": time.Minute, "Thu, 01 Jan 2025 00:01:00 GMT": 0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("%q is %s, not %s", header, got, want)
		}
	}
}

func newTestClient(t *testing.T, d Destination) *client {
	t.Helper()
	c, err := newClient(kindRemoteWrite, &d, http.Header{"Content-Type": {"x/y"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Who renews a token does not have to tell the agent; without a token nothing is sent.
func TestCredentials(t *testing.T) {
	var auth, tenant atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		auth.Store(r.Header.Get("Authorization"))
		tenant.Store(r.Header.Get("X-Scope-OrgID"))
	}))
	defer srv.Close()
	file := write(t, "token", "one\n")
	c := newTestClient(t, Destination{URL: srv.URL + "/w", BearerTokenFile: file, Headers: map[string]string{"X-Scope-OrgID": "me"}})
	if a := c.post(context.Background(), nil); a.status != 200 || auth.Load() != "Bearer one" || tenant.Load() != "me" {
		t.Errorf("%+v with %q for %q", a, auth.Load(), tenant.Load())
	}
	os.WriteFile(file, []byte("two"), 0o600)
	if c.post(context.Background(), nil); auth.Load() != "Bearer two" {
		t.Errorf("after it was renewed: %q", auth.Load())
	}
	for _, bad := range []string{"", "a\nb", strings.Repeat("x", maxSecret+1)} {
		os.WriteFile(file, []byte(bad), 0o600)
		auth.Store("")
		if a := c.post(context.Background(), nil); a.err == nil || a.unknown || auth.Load() != "" {
			t.Errorf("%.10q: %+v with %q", bad, a, auth.Load())
		}
	}
	c = newTestClient(t, Destination{URL: srv.URL + "/w", BasicAuth: BasicAuth{Username: "u", PasswordFile: write(t, "p", "secret\n")}})
	if c.post(context.Background(), nil); auth.Load() != "Basic dTpzZWNyZXQ=" {
		t.Errorf("basic auth is %q", auth.Load())
	}
}

// A redirect is not followed, by which credentials would go to another server.
func TestNoRedirect(t *testing.T) {
	var visited atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited.Add(1) }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		srv := httptest.NewServer(http.RedirectHandler(other.URL+"/x", status))
		c := newTestClient(t, Destination{URL: srv.URL + "/w", BearerTokenFile: write(t, "token", "one")})
		a := c.post(context.Background(), []byte("body"))
		srv.Close()
		if visited.Load() != 0 || a.status != status || a.err == nil || !strings.Contains(a.err.Error(), other.URL) {
			t.Errorf("%d: %+v, the other server was asked %d times", status, a, visited.Load())
		}
	}
}

func TestTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	ca := write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
	for _, test := range []struct {
		name string
		tls  TLS
		ok   bool
	}{{"unknown authority", TLS{}, false}, {"its authority", TLS{CAFile: ca}, true}, {"wrong name", TLS{CAFile: ca, ServerName: "other.example"}, false},
		{"not verified", TLS{InsecureSkipVerify: true}, true}} {
		c := newTestClient(t, Destination{URL: srv.URL + "/w", TLS: test.tls})
		if a := c.post(context.Background(), nil); (a.status == 200) != test.ok {
			t.Errorf("%s: %+v", test.name, a)
		}
	}
	for _, bad := range []TLS{{CAFile: "/does/not/exist"}, {CAFile: write(t, "x", "no PEM")}, {CertFile: ca, KeyFile: ca}} {
		if _, err := newClient(kindRemoteWrite, &Destination{URL: srv.URL, TLS: bad}, nil, nil); err == nil || !strings.Contains(err.Error(), "tls.") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// Servers that cut the connection, say too much, or nothing.
func TestBadServers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answers := []string{"", "HTTP/1.1 200", "garbage\r\n\r\n", "HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\nshort",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"}
	go func() {
		for _, a := range answers {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 4096))
			conn.Write([]byte(a))
			conn.Close()
		}
	}()
	for _, text := range answers {
		c := newTestClient(t, Destination{URL: "http://" + l.Addr().String() + "/w"})
		if a := c.post(context.Background(), []byte("x")); a.err == nil || !a.unknown || a.status != 0 && a.status != 500 {
			t.Errorf("%.20q: %+v", text, a)
		}
	}
	huge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(400)
		w.Write([]byte(strings.Repeat("\x1b[31mno\n", 1<<18)))
	}))
	defer huge.Close()
	a := newTestClient(t, Destination{URL: huge.URL + "/w"}).post(context.Background(), nil)
	if len(a.body) > maxAnswer || len(a.err.Error()) > 1000 || strings.ContainsAny(a.err.Error(), "\n\x1b") {
		t.Errorf("%d bytes of an answer are kept, the error is %.200q", len(a.body), a.err)
	}
}

func TestConfigProblems(t *testing.T) {
	for _, test := range []struct {
		name string
		cfg  Config
		want string // a part of the message; "" for none
	}{
		{"nothing", Config{}, ""},
		{"all", Config{RemoteWrite: []Destination{{URL: "https://a.example/api/v1/write", Headers: map[string]string{"X-Scope-OrgID": "a"}}, {Name: "b", URL: "https://a.example/w"}},
			OTLP: []Destination{{URL: "http://127.0.0.1:4318"}}, Pyroscope: []Destination{{URL: "http://127.0.0.1:4040", Timeout: time.Minute}}}, ""},
		{"no URL", Config{OTLP: []Destination{{}}}, "otlp[0].url: it is missing"},
		{"no scheme", Config{OTLP: []Destination{{URL: "localhost:4318"}}}, "otlp[0].url: this is no URL of a server: write http://collector"},
		{"a file", Config{Pyroscope: []Destination{{URL: "file:///etc/passwd"}}}, "pyroscope[0].url"},
		{"no path", Config{RemoteWrite: []Destination{{URL: "http://a.example/"}}}, "remote_write[0].url: write the whole URL"},
		{"password", Config{OTLP: []Destination{{URL: "http://u:p@a.example"}}}, "password_file"},
		{"same name", Config{OTLP: []Destination{{URL: "http://a.example/1"}, {URL: "http://a.example/2"}}}, `otlp[1].name: two destinations are called "a.example"`},
		{"bad name", Config{OTLP: []Destination{{Name: "../x", URL: "http://a.example/1"}}}, "otlp[0].name"},
		{"header", Config{OTLP: []Destination{{URL: "http://a.example", Headers: map[string]string{"a b": "c"}}}}, "otlp[0].headers"},
		{"header value", Config{OTLP: []Destination{{URL: "http://a.example", Headers: map[string]string{"a": "c\r\nd: e"}}}}, "otlp[0].headers"},
		{"own header", Config{OTLP: []Destination{{URL: "http://a.example", Headers: map[string]string{"content-TYPE": "c"}}}}, "is set by heapwright"},
		{"secret header", Config{OTLP: []Destination{{URL: "http://a.example", Headers: map[string]string{"Authorization": "c"}}}}, "bearer_token_file"},
		{"two secrets", Config{OTLP: []Destination{{URL: "http://a.example", BearerTokenFile: "x", BasicAuth: BasicAuth{"u", "p"}}}}, "use one of them"},
		{"no password", Config{OTLP: []Destination{{URL: "http://a.example", BasicAuth: BasicAuth{Username: "u"}}}}, "basic_auth.password_file"},
		{"no key", Config{OTLP: []Destination{{URL: "https://a.example", TLS: TLS{CertFile: "x"}}}}, "otlp[0].tls: a certificate needs its key"},
		{"TLS over http", Config{OTLP: []Destination{{URL: "http://a.example", TLS: TLS{CAFile: "x"}}}}, "write https"},
		{"timeout", Config{OTLP: []Destination{{URL: "http://a.example", Timeout: time.Millisecond}}}, "otlp[0].timeout"},
		{"backfill", Config{OTLP: []Destination{{URL: "http://a.example", Backfill: -1}}}, "otlp[0].backfill"},
		{"many", Config{OTLP: make([]Destination, 17)}, "17 destinations"},
	} {
		err := test.cfg.Validate()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestInTheClear(t *testing.T) {
	for url, want := range map[string]bool{"http://a.example/": true, "https://a.example/": false, "http://127.0.0.1:1/": false, "http://[::1]/": false, "http://localhost/": false} {
		if got := (&Destination{URL: url, BearerTokenFile: "x"}).inTheClear(); got != want {
			t.Errorf("%s: %t", url, got)
		}
	}
}

func TestCursor(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "c.json")
	now := time.Now()
	c, err := begin(name, now)
	if err != nil || !c.Until.Equal(now) {
		t.Fatal(c, err)
	}
	if c, err = begin(name, now.Add(time.Hour)); err != nil || !c.Until.Equal(now) {
		t.Errorf("the second time it begins at %v, %v", c, err)
	}
	for _, bad := range []string{"", "{", `{"schema":"other/1","until":"2026-01-01T00:00:00Z"}`, `{"schema":"heapwright.cursor/1","until":"9999-01-01T00:00:00Z"}`,
		`{"schema":"heapwright.cursor/1"}`, strings.Repeat("[", 2<<20)} {
		if err := os.WriteFile(name, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err = begin(name, now); err == nil || !c.Until.Equal(now) {
			t.Errorf("%.20q: %v, %v", bad, c, err)
		}
		if c, err = loadCursor(name); err != nil || !c.Until.Equal(now) {
			t.Errorf("%.20q is not replaced: %v, %v", bad, c, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("the directory has %v", left)
	}
	if _, err := begin(filepath.Join(dir, "no", "c.json"), now); err == nil {
		t.Error("a cursor was kept in no directory")
	}
}

func FuzzCursor(f *testing.F) {
	f.Add([]byte(`{"schema":"heapwright.cursor/1","until":"2026-01-01T00:00:00Z","sent":["a/b"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		name := filepath.Join(t.TempDir(), "c.json")
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := loadCursor(name)
		if err != nil {
			return
		}
		if err := c.save(name); err != nil {
			t.Fatal(err)
		}
		again, err := loadCursor(name)
		if err != nil || !again.Until.Equal(c.Until) || len(again.Sent) != len(c.Sent) {
			t.Errorf("%v became %v, %v", c, again, err)
		}
	})
}

func FuzzPartly(f *testing.F) {
	f.Add([]byte{0x0a, 0x02, 0x08, 0x03})
	f.Fuzz(func(t *testing.T, body []byte) {
		n, why := (&otlp{}).partly(body)
		if n < 0 || strings.ContainsAny(why, "\n\x1b") || len(why) > 2000 {
			t.Errorf("%d, %q", n, why)
		}
	})
}
