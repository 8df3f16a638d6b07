package shed_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heapwright/heapwright/guard/shed"
)

// closed returns a gate that refuses all but Critical.
func closed() *shed.Gate {
	g := shed.NewGate(shed.Options{})
	g.SetShares(shed.Shares{})
	return g
}

// wait waits until nothing is in flight: net/http answers before a handler returns.
func wait(t *testing.T, g *shed.Gate) {
	t.Helper()
	for range 1000 {
		if s := g.Stats(); s.InFlight == 0 && s.InFlightBytes == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("still in flight: %+v", g.Stats())
}

// protocols runs a test over HTTP/1.1 and over HTTP/2.
func protocols(t *testing.T, test func(t *testing.T, start func(http.Handler) *httptest.Server)) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP %d", map[bool]int{false: 1, true: 2}[h2]), func(t *testing.T) {
			test(t, func(h http.Handler) *httptest.Server {
				s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if (r.ProtoMajor == 2) != h2 {
						t.Errorf("the request is %s", r.Proto)
					}
					h.ServeHTTP(w, r)
				}))
				s.EnableHTTP2 = h2
				s.Config.ErrorLog = log.New(io.Discard, "", 0) // panics are part of the tests
				s.StartTLS()
				t.Cleanup(s.Close)
				return s
			})
		})
	}
}

func get(t *testing.T, s *httptest.Server, path string) (*http.Response, string) {
	t.Helper()
	res, err := s.Client().Get(s.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestRefusal(t *testing.T) {
	protocols(t, func(t *testing.T, start func(http.Handler) *httptest.Server) {
		g := closed()
		called := make(chan string, 10)
		s := start(shed.Handler(g, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "served ", r.URL.Path)
		}), shed.HandlerOptions{
			RetryAfter: 1500 * time.Millisecond,
			OnShed:     func(r *http.Request) { called <- r.URL.Path },
		}))
		res, body := get(t, s, "/things")
		if res.StatusCode != http.StatusServiceUnavailable || !strings.HasPrefix(body, "503 ") {
			t.Errorf("%s: %q", res.Status, body)
		}
		for key, want := range map[string]string{
			"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store", "Content-Length": strconv.Itoa(len(body)),
		} {
			if got := res.Header.Get(key); got != want {
				t.Errorf("%s: %q, want %q", key, got, want)
			}
		}
		if got, err := strconv.Atoi(res.Header.Get("Retry-After")); err != nil || got < 2 || got > 4 {
			t.Errorf("Retry-After: %q", res.Header.Get("Retry-After"))
		}
		if got := <-called; got != "/things" {
			t.Errorf("OnShed is called for %s", got)
		}
		res, err := s.Client().Head(s.URL + "/things")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusServiceUnavailable {
			t.Error("HEAD:", res.Status)
		}
		for _, path := range []string{"/healthz", "/readyz", "/livez", "/health"} {
			if res, body := get(t, s, path); res.StatusCode != 200 || body != "served "+path {
				t.Errorf("%s: %s", path, res.Status)
			}
		}
		for _, path := range []string{"/healthz/", "/health/x", "/x/healthz", "//healthz", "/Healthz"} {
			if res, _ := get(t, s, path); res.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s: %s", path, res.Status)
			}
		}
		if got := g.Stats(); got.Shed().Total() != 7 || got.Admitted.Total() != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// TestRefusalKeepsConnection sends bodies that nobody reads.
func TestRefusalKeepsConnection(t *testing.T) {
	protocols(t, func(t *testing.T, start func(http.Handler) *httptest.Server) {
		s := start(shed.Handler(closed(), http.NotFoundHandler(), shed.HandlerOptions{}))
		for i := range 5 {
			reused := false
			ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
				GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused },
			})
			req, err := http.NewRequestWithContext(ctx, "POST", s.URL, strings.NewReader(strings.Repeat("x", 10_000)))
			if err != nil {
				t.Fatal(err)
			}
			res, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode != http.StatusServiceUnavailable || reused != (i > 0) {
				t.Errorf("request %d: %s, connection reused is %t", i, res.Status, reused)
			}
		}
	})
}

func TestHealthIsChosen(t *testing.T) {
	h := shed.Handler(closed(), http.NotFoundHandler(), shed.HandlerOptions{Health: []string{"/up"}})
	none := shed.Handler(closed(), http.NotFoundHandler(), shed.HandlerOptions{Health: []string{}})
	for _, tt := range []struct {
		h    http.Handler
		path string
		want int
	}{{h, "/up", 404}, {h, "/healthz", 503}, {none, "/healthz", 503}} {
		w := httptest.NewRecorder()
		tt.h.ServeHTTP(w, httptest.NewRequest("GET", tt.path, nil))
		if w.Code != tt.want {
			t.Errorf("%s: %d, want %d", tt.path, w.Code, tt.want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for _, tt := range []struct {
		base     time.Duration
		min, max int
	}{
		{0, 2, 4}, {-time.Second, 2, 4}, {1, 1, 2}, {time.Second, 1, 2}, {3*time.Second + 1, 4, 8},
		{time.Hour, 3600, 7200}, {1<<63 - 1, 86400, 172800},
	} {
		h := shed.Handler(closed(), http.NotFoundHandler(), shed.HandlerOptions{RetryAfter: tt.base})
		seen := map[int]int{}
		for range 2000 {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			s, err := strconv.Atoi(w.Header().Get("Retry-After"))
			if err != nil || s < tt.min || s > tt.max {
				t.Fatalf("base %v: Retry-After: %q", tt.base, w.Header().Get("Retry-After"))
			}
			seen[s]++
		}
		// All values, about as often as each other.
		want := min(tt.max-tt.min+1, 61)
		if len(seen) < want-3 || len(seen) > want || seen[tt.min] == 0 || seen[tt.max] == 0 {
			t.Errorf("base %v: %d values: %v", tt.base, len(seen), seen)
		}
		for s, n := range seen {
			if want < 10 && (n < 2000/want/2 || n > 2000/want*2) {
				t.Errorf("base %v: %d s %d times of 2000", tt.base, s, n)
			}
		}
	}
}

func TestCost(t *testing.T) {
	for _, tt := range []struct {
		length int64
		cost   func(*http.Request) int64
		want   int64
	}{
		{-1, nil, 16 << 10},
		{0, nil, 16 << 10},
		{1000, nil, 16<<10 + 1000},
		{1 << 62, nil, 16<<10 + 32<<20},
		{5, func(r *http.Request) int64 { return 3 * r.ContentLength }, 15},
		{5, func(r *http.Request) int64 { return -1 }, 1},
		{5, func(r *http.Request) int64 { panic("no idea") }, 16 << 10},
	} {
		g := shed.NewGate(shed.Options{Capacity: 1 << 40})
		var got int64
		h := shed.Handler(g, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got = g.Stats().InFlightBytes }),
			shed.HandlerOptions{Cost: tt.cost})
		r := httptest.NewRequest("POST", "/", nil)
		r.ContentLength = tt.length
		h.ServeHTTP(httptest.NewRecorder(), r)
		if got != tt.want {
			t.Errorf("length %d: cost %d, want %d", tt.length, got, tt.want)
		}
		wait(t, g)
	}
}

func TestCallbacksPanic(t *testing.T) {
	g := shed.NewGate(shed.Options{})
	h := shed.Handler(g, http.NotFoundHandler(), shed.HandlerOptions{
		Class:  func(*http.Request) shed.Class { panic("class") },
		Cost:   func(*http.Request) int64 { panic(http.ErrAbortHandler) },
		OnShed: func(*http.Request) { panic("shed") },
	})
	serve := func(want int) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Code != want {
			t.Errorf("status %d, want %d", w.Code, want)
		}
	}
	serve(404)
	g.SetShares(shed.Shares{shed.High: 1}) // Normal, which is what nobody classified, is not admitted
	serve(503)
	if s := g.Stats(); s.CallbackPanics != 5 || s.Admitted[shed.Normal] != 1 || s.ShedByShare[shed.Normal] != 1 {
		t.Errorf("%+v", s)
	}
}

// TestNothingIsWrapped: what next is given is what the server gave.
func TestNothingIsWrapped(t *testing.T) {
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	called := false
	shed.Handler(shed.NewGate(shed.Options{}), http.HandlerFunc(func(gotW http.ResponseWriter, gotR *http.Request) {
		called = true
		if gotW != http.ResponseWriter(w) || gotR != r {
			t.Error("something else")
		}
	}), shed.HandlerOptions{}).ServeHTTP(w, r)
	if !called {
		t.Error("not called")
	}
}

// TestRunningResponsesEnd closes the gate to all while responses are being streamed,
// some of them to slow clients. All arrive whole.
func TestRunningResponsesEnd(t *testing.T) {
	protocols(t, func(t *testing.T, start func(http.Handler) *httptest.Server) {
		const streams, parts = 8, 64
		part := strings.Repeat("0123456789abcdef", 1024)
		g := shed.NewGate(shed.Options{Capacity: 1 << 30})
		gone := make(chan struct{})
		h := shed.Handler(g, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			out := http.NewResponseController(w)
			// Works only on the server's own writer.
			if err := out.SetWriteDeadline(time.Now().Add(time.Hour)); err != nil {
				t.Error(err)
			}
			for i := range parts {
				if i == 1 {
					if err := out.Flush(); err != nil {
						t.Error(err)
					}
					<-gone
				}
				if _, err := io.WriteString(w, part); err != nil {
					t.Error(err)
					return
				}
			}
		}), shed.HandlerOptions{})
		s := start(h)

		var wg, begun sync.WaitGroup
		for i := range streams {
			wg.Add(1)
			begun.Add(1)
			go func() {
				defer wg.Done()
				res, err := s.Client().Get(s.URL + "/stream")
				begun.Done()
				if err != nil {
					t.Error(err)
					return
				}
				defer res.Body.Close()
				var n int64
				buf := make([]byte, 4096)
				for {
					m, err := res.Body.Read(buf)
					n += int64(m)
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Error(err)
						return
					}
					if i%4 == 0 && n%(1<<17) < 4096 {
						time.Sleep(10 * time.Millisecond)
					}
				}
				if n != int64(parts*len(part)) {
					t.Errorf("%d of %d bytes", n, parts*len(part))
				}
			}()
		}
		begun.Wait()
		g.SetShares(shed.Shares{})
		g.SetCapacity(1)
		if res, _ := get(t, s, "/new"); res.StatusCode != http.StatusServiceUnavailable {
			t.Error("a new request:", res.Status)
		}
		if got := g.Stats().InFlight; got != streams {
			t.Errorf("%d in flight, want %d", got, streams)
		}
		close(gone)
		wg.Wait()
		wait(t, g)
	})
}

func TestPanicReturnsTicket(t *testing.T) {
	protocols(t, func(t *testing.T, start func(http.Handler) *httptest.Server) {
		g := shed.NewGate(shed.Options{Capacity: 1 << 20})
		s := start(shed.Handler(g, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/abort" {
				panic(http.ErrAbortHandler)
			}
			panic("a defect of the service")
		}), shed.HandlerOptions{}))
		for _, path := range []string{"/abort", "/defect"} {
			res, err := s.Client().Get(s.URL + path)
			if err == nil {
				res.Body.Close()
				t.Errorf("%s: %s: the panic did not reach the server", path, res.Status)
			}
		}
		wait(t, g)
	})

	// And the value is the same.
	g := shed.NewGate(shed.Options{})
	h := shed.Handler(g, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), shed.HandlerOptions{})
	func() {
		defer func() {
			if got := recover(); got != http.ErrAbortHandler {
				t.Errorf("recovered %v", got)
			}
		}()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	}()
	wait(t, g)
}

func TestCancelledInService(t *testing.T) {
	protocols(t, func(t *testing.T, start func(http.Handler) *httptest.Server) {
		g := shed.NewGate(shed.Options{Capacity: 1 << 20})
		serving := make(chan struct{}, 1)
		s := start(shed.Handler(g, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			serving <- struct{}{}
			<-r.Context().Done()
		}), shed.HandlerOptions{}))
		ctx, cancel := context.WithCancel(context.Background())
		failed := make(chan error, 1)
		go func() {
			req, err := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
			if err == nil {
				var res *http.Response
				if res, err = s.Client().Do(req); err == nil {
					res.Body.Close()
				}
			}
			failed <- err
		}()
		<-serving
		if got := g.Stats().InFlight; got != 1 {
			t.Errorf("%d in flight", got)
		}
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		wait(t, g)
	})
}

// TestHijack speaks a protocol of its own over the connection, as WebSocket does,
// while the gate is closed.
func TestHijack(t *testing.T) {
	g := shed.NewGate(shed.Options{Capacity: 1 << 20})
	s := httptest.NewServer(shed.Handler(g, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		rw.Flush()
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			rw.WriteString(line)
			rw.Flush()
		}
	}), shed.HandlerOptions{}))
	defer s.Close()

	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res, err)
	}
	g.SetShares(shed.Shares{})
	g.SetCapacity(1)
	for i := range 10 {
		line := fmt.Sprintf("line %d\n", i)
		fmt.Fprint(conn, line)
		if got, err := in.ReadString('\n'); err != nil || got != line {
			t.Fatalf("got %q, error %v", got, err)
		}
	}
	if got := g.Stats().InFlight; got != 1 {
		t.Errorf("%d in flight", got)
	}
	conn.Close()
	wait(t, g)
}

func TestHandlerDoesNotAllocate(t *testing.T) {
	open := shed.NewGate(shed.Options{Capacity: 1 << 30})
	w, r := &discard{http.Header{}}, httptest.NewRequest("GET", "/", nil)
	for name, h := range map[string]http.Handler{
		"admitted": shed.Handler(open, plain, shed.HandlerOptions{Class: shed.ClassByMethod(map[string]shed.Class{"GET": shed.High})}),
		"shed":     shed.Handler(closed(), plain, shed.HandlerOptions{OnShed: func(*http.Request) {}}),
	} {
		if n := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r) }); n > shed.TicketAllocs {
			t.Errorf("%s: %v allocations, want at most %v", name, n, shed.TicketAllocs)
		}
	}
}

func TestClassifiers(t *testing.T) {
	prefix := shed.ClassByPrefix(map[string]shed.Class{
		"/api": shed.High, "/api/batch/": shed.Low, "/admin": shed.Critical, "/plain": shed.Normal,
	})
	all := shed.ClassByPrefix(map[string]shed.Class{"/": shed.Low})
	method := shed.ClassByMethod(map[string]shed.Class{"DELETE": shed.Critical})
	header := shed.ClassByHeader("x-request-priority", map[string]shed.Class{"low": shed.Low, "high": shed.High})
	for _, tt := range []struct {
		class  func(*http.Request) shed.Class
		method string
		path   string
		header []string
		want   shed.Class
	}{
		{prefix, "GET", "/api", nil, shed.High},
		{prefix, "GET", "/api/", nil, shed.High},
		{prefix, "GET", "/api/x", nil, shed.High},
		{prefix, "GET", "/apis", nil, shed.Normal},
		{prefix, "GET", "/api/batch", nil, shed.Low},
		{prefix, "GET", "/api/batch/7", nil, shed.Low},
		{prefix, "GET", "/api/batches", nil, shed.High},
		{prefix, "GET", "/admin/../expensive", nil, shed.Normal},
		{prefix, "GET", "/admin//expensive", nil, shed.Normal},
		{prefix, "GET", "/admin/%2e%2e/expensive", nil, shed.Normal},
		{prefix, "GET", "/api/.hidden", nil, shed.High},
		{prefix, "GET", "/admin/..", nil, shed.Normal},
		{prefix, "GET", "/admin/.", nil, shed.Normal},
		{prefix, "GET", "/", nil, shed.Normal},
		{all, "GET", "/", nil, shed.Low},
		{all, "GET", "/x/y", nil, shed.Low},
		{method, "DELETE", "/", nil, shed.Critical},
		{method, "delete", "/", nil, shed.Normal},
		{method, "GET", "/", nil, shed.Normal},
		{header, "GET", "/", []string{"low"}, shed.Low},
		{header, "GET", "/", []string{"critical"}, shed.Normal},
		{header, "GET", "/", []string{"high", "low"}, shed.Normal},
		{header, "GET", "/", nil, shed.Normal},
	} {
		r := httptest.NewRequest(tt.method, tt.path, nil)
		r.Header["X-Request-Priority"] = tt.header
		if got := tt.class(r); got != tt.want {
			t.Errorf("%s %s %v: %v, want %v", tt.method, tt.path, tt.header, got, tt.want)
		}
	}
	if got := all(&http.Request{Method: "OPTIONS", URL: &url.URL{Path: "*"}}); got != shed.Normal {
		t.Errorf("OPTIONS *: %v", got)
	}
}
