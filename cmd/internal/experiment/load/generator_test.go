package load

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/proto"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// server is an HTTP server for a test; HTTP/2 without TLS, or HTTP/1.1.
func server(t *testing.T, http2 bool, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(!http2)
	s.Config.Protocols.SetUnencryptedHTTP2(http2)
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func get(protocol, url string) Target {
	return Target{HTTP: &experiment.HTTPLoad{Protocol: protocol, Requests: []experiment.HTTPRequest{{Method: "GET", URL: url, Weight: 1, Expect: 200}}}}
}

func config(rate float64, targets ...Target) Config {
	return Config{Targets: targets, Rate: rate, Arrivals: experiment.Poisson, Connections: 8, Timeout: 20 * time.Second, Seed: 1}
}

// run loads with a warm-up and a window, and wants nothing to be left of it.
func run(t *testing.T, c Config, warmup, window time.Duration) []Report {
	t.Helper()
	g, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(warmup)
	if err := g.Measure(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(window)
	r, err := g.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if len(r) != len(c.Targets) {
		t.Fatalf("%d reports on %d targets", len(r), len(c.Targets))
	}
	return r
}

// leftovers fails a test that leaves goroutines or child processes behind.
func leftovers(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for begin := time.Now(); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			if time.Since(begin) > 10*time.Second {
				buf := make([]byte, 1<<16)
				t.Errorf("%d goroutines before, now:\n%s", before, buf[:runtime.Stack(buf, true)])
				return
			}
		}
		if pids := children(t); len(pids) > 0 {
			t.Errorf("left behind: processes %v", pids)
		}
	})
}

// children are our child processes. To Linux each is one thread's.
func children(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil { // a thread may be gone by now
			out = append(out, strings.Fields(string(b))...)
		}
	}
	return out
}

func TestHTTP(t *testing.T) {
	for _, protocol := range []string{"http1", "http2"} {
		t.Run(protocol, func(t *testing.T) {
			leftovers(t)
			var mu sync.Mutex
			conns, bodies, seqs := map[string]bool{}, map[string]int{}, map[string]bool{}
			var wrong atomic.Pointer[string]
			s := server(t, protocol == "http2", func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				mu.Lock()
				defer mu.Unlock()
				conns[r.RemoteAddr] = true
				if want := int(protocol[4] - '0'); r.ProtoMajor != want {
					text := r.Proto
					wrong.Store(&text)
				}
				if r.Method == "POST" {
					bodies[r.Header.Get("X-Kind")+" "+r.Host+" "+string(body[:4])]++
					seqs[string(body[4:])] = true
					w.WriteHeader(http.StatusCreated)
				} else {
					seqs[r.URL.Query().Get("n")] = true
				}
			})
			c := config(400, Target{HTTP: &experiment.HTTPLoad{Protocol: protocol, Requests: []experiment.HTTPRequest{
				{Method: "GET", URL: s.URL + "/?n={seq}", Weight: 1, Expect: 200},
				{Method: "POST", URL: s.URL, Body: "n = {seq}", Header: map[string]string{"X-Kind": "a", "Host": "example.com"}, Weight: 3, Expect: 201},
			}}})
			r := run(t, c, 100*time.Millisecond, 500*time.Millisecond)[0]
			if r.Requests < 50 || r.Errors != 0 || r.Answered == 0 || r.Seconds < 0.5 || uint64(r.Latency.TotalCount()) != r.Requests {
				t.Errorf("%+v", r)
			}
			if r.Audit.Offered < 200 || r.Audit.Offered > 800 || r.Audit.CPUSeconds <= 0 || r.Audit.SlipMax < r.Audit.SlipP99 || r.Audit.SlipP99 < r.Audit.SlipP50 {
				t.Errorf("audit %+v", r.Audit)
			}
			mu.Lock()
			defer mu.Unlock()
			if text := wrong.Load(); text != nil {
				t.Errorf("a request came by %s", *text)
			}
			if len(conns) > c.Connections {
				t.Errorf("%d connections, of %d", len(conns), c.Connections)
			}
			posts := bodies["a example.com n = "]
			if len(bodies) != 1 || float64(posts) < 0.6*float64(len(seqs)) || float64(posts) > 0.9*float64(len(seqs)) {
				t.Errorf("%v of %d requests, by weight 3 of 4", bodies, len(seqs))
			}
			for i := range len(seqs) {
				if text := fmt.Sprintf("%012d", i); !seqs[text] {
					t.Errorf("no request has %s", text)
				}
			}
		})
	}
}

// TestFreeze is TestNoCoordinatedOmission over the wire. Only lower bounds are
// held: a slow machine makes everything later.
func TestFreeze(t *testing.T) {
	const rate, freeze = 300, 200 * time.Millisecond
	var gate sync.RWMutex
	s := server(t, false, func(w http.ResponseWriter, r *http.Request) {
		gate.RLock()
		defer gate.RUnlock()
	})
	c := config(rate, get("http1", s.URL))
	c.Connections = 1
	g, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	time.Sleep(100 * time.Millisecond)
	if err := g.Measure(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	gate.Lock()
	time.Sleep(freeze)
	gate.Unlock()
	time.Sleep(100 * time.Millisecond)
	r, err := g.Stop()
	if err != nil {
		t.Fatal(err)
	}
	slow := int64(0)
	for _, bar := range r[0].Latency.Distribution() {
		if bar.From >= (freeze / 2).Microseconds() {
			slow += bar.Count
		}
	}
	// Due in the first half of the freeze: 30 on average, and 5.5 is the deviation.
	if slow < 10 {
		t.Errorf("%d requests took more than %v: the others that were due then were forgotten", slow, freeze/2)
	}
}

func TestDuet(t *testing.T) {
	leftovers(t)
	var got [2]atomic.Int64
	var targets []Target
	for i := range got {
		s := server(t, false, func(w http.ResponseWriter, r *http.Request) { got[i].Add(1) })
		targets = append(targets, get("http1", s.URL))
	}
	r := run(t, config(500, targets...), 0, 500*time.Millisecond)
	for i := range r {
		if r[i].Errors != 0 || r[i].Requests < 125 || got[i].Load() < int64(r[i].Requests) {
			t.Errorf("target %d got %d: %+v", i, got[i].Load(), r[i])
		}
	}
	if r[0].Audit.CPUSeconds != r[1].Audit.CPUSeconds {
		t.Error("one process took two CPU times")
	}
}

func TestBadServers(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	tests := []struct {
		name    string
		handler http.HandlerFunc
		http2   bool
		want    string
	}{
		{"error", func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no\x1b[31m", http.StatusServiceUnavailable)
		}, false, "GET URL: status 503, not 200: no\ufffd[31m "},
		{"error over HTTP/2", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound) }, true, "GET URL: status 404, not 200: "},
		{"redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, false, "status 302, not 200"},
		{"closes", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, false, "EOF"},
		{"closes in the answer", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "some")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, false, "GET URL: reading the answer: unexpected EOF"},
		{"never answers", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, false, "no answer within 300ms"},
		{"never answers over HTTP/2", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, true, "no answer within 300ms"},
		{"never ends", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, "and so on"); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				time.Sleep(time.Millisecond)
			}
		}, false, "no answer within 300ms"},
		{"not there", nil, false, "connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leftovers(t)
			url, protocol := closed.URL, "http1"
			if tt.handler != nil {
				url = server(t, tt.http2, tt.handler).URL
			}
			if tt.http2 {
				protocol = "http2"
			}
			c := config(100, get(protocol, url))
			if strings.Contains(tt.want, "no answer") { // others may take their time on a busy machine
				c.Timeout = 300 * time.Millisecond
			}
			r := run(t, c, 0, 300*time.Millisecond)[0]
			if r.Requests == 0 || r.Errors != r.Requests || r.Answered != 0 {
				t.Errorf("%+v", r)
			}
			if text := strings.ReplaceAll(r.Audit.FirstError, url, "URL"); !strings.Contains(text, tt.want) || len(text) > 2*maxErrorText {
				t.Errorf("says %q, want %q", text, tt.want)
			}
			if ok, _ := r.Held(); ok {
				t.Error("it held")
			}
		})
	}
}

func TestEndlessAnswer(t *testing.T) {
	s := server(t, false, func(w http.ResponseWriter, r *http.Request) {
		for b := make([]byte, 1<<16); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	})
	h, err := newHTTPSender(get("http1", s.URL).HTTP, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	if err := h.send(t.Context(), 0, make([]byte, bodyChunk)); err == nil || !strings.Contains(err.Error(), "longer than 64 MiB") {
		t.Errorf("error %v", err)
	}
}

// A health server that knows every service.
type healthServer struct {
	grpc_health_v1.UnimplementedHealthServer
	mu    sync.Mutex
	asked map[string]bool
}

func (h *healthServer) Check(_ context.Context, q *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked[q.Service] = true
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

func grpcServer(t *testing.T, reflects bool) (*healthServer, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, h := grpc.NewServer(), &healthServer{asked: map[string]bool{}}
	grpc_health_v1.RegisterHealthServer(s, h)
	if reflects {
		reflection.Register(s)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return h, l.Addr().String()
}

func TestGRPC(t *testing.T) {
	message, err := proto.Marshal(&grpc_health_v1.HealthCheckRequest{Service: "orders-" + BytesPlaceholder})
	if err != nil {
		t.Fatal(err)
	}
	const check = "/grpc.health.v1.Health/Check"
	for name, l := range map[string]experiment.GRPCLoad{
		"bytes": {Method: check, Bytes: base64.StdEncoding.EncodeToString(message)},
		"json":  {Method: check, JSON: `{"service": "orders-{seq}"}`},
	} {
		t.Run(name, func(t *testing.T) {
			leftovers(t)
			h, address := grpcServer(t, name == "json")
			l.Address = address
			r := run(t, config(300, Target{GRPC: &l}), 100*time.Millisecond, 300*time.Millisecond)[0]
			if r.Requests < 30 || r.Errors != 0 || r.Answered == 0 {
				t.Errorf("%+v", r)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			for i := range len(h.asked) {
				if text := fmt.Sprintf("orders-%012d", i); !h.asked[text] {
					t.Errorf("no request has %s", text)
				}
			}
		})
	}
}

func TestGRPCErrors(t *testing.T) {
	_, plain := grpcServer(t, false)
	_, reflects := grpcServer(t, true)
	notGRPC := strings.TrimPrefix(server(t, false, func(w http.ResponseWriter, r *http.Request) {}).URL, "http://")
	const check = "/grpc.health.v1.Health/Check"
	for _, tt := range []struct {
		name string
		l    experiment.GRPCLoad
		want string // of Start; else of the report
		sent string
	}{
		{"no reflection", experiment.GRPCLoad{Address: plain, Method: check, JSON: `{}`}, "has no reflection", ""},
		{"no such service", experiment.GRPCLoad{Address: reflects, Method: "/a.B/C", JSON: `{}`}, "NotFound", ""},
		{"no such method", experiment.GRPCLoad{Address: reflects, Method: "/grpc.health.v1.Health/Chuck", JSON: `{}`}, "has no method Chuck", ""},
		{"a stream", experiment.GRPCLoad{Address: reflects, Method: "/grpc.health.v1.Health/Watch", JSON: `{}`}, "is a stream", ""},
		{"no such field", experiment.GRPCLoad{Address: reflects, Method: check, JSON: `{"serv": 1}`}, "is not a grpc.health.v1.HealthCheckRequest", ""},
		{"no method", experiment.GRPCLoad{Address: reflects, Method: "Check", JSON: `{}`}, "is /package.Service/Method", ""},
		{"no port", experiment.GRPCLoad{Address: "localhost", Method: check}, "is HOST:PORT", ""},
		{"not base64", experiment.GRPCLoad{Address: plain, Method: check, Bytes: "{}"}, "not base64", ""},
		{"short placeholder", experiment.GRPCLoad{Address: plain, Method: check, Bytes: base64.StdEncoding.EncodeToString([]byte("\x0a\x05{seq}"))}, BytesPlaceholder, ""},
		{"not a message", experiment.GRPCLoad{Address: plain, Method: check, Bytes: "/w=="}, "", check + ": rpc error: code = Internal"},
		{"unknown method", experiment.GRPCLoad{Address: plain, Method: "/a.B/C"}, "", "/a.B/C: rpc error: code = Unimplemented"},
		{"not gRPC", experiment.GRPCLoad{Address: notGRPC, Method: check}, "", "code = Unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			leftovers(t)
			g, err := Start(t.Context(), config(100, Target{GRPC: &tt.l}))
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Measure(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond)
			r, err := g.Stop()
			if err != nil {
				t.Fatal(err)
			}
			if r[0].Requests == 0 || r[0].Errors != r[0].Requests || !strings.Contains(r[0].Audit.FirstError, tt.sent) {
				t.Errorf("%+v", r[0])
			}
		})
	}
}

func TestStartErrors(t *testing.T) {
	good := get("http1", "http://127.0.0.1:1/")
	with := func(change func(*Config)) Config {
		c := config(100, good)
		change(&c)
		return c
	}
	request := func(r experiment.HTTPRequest) Config {
		return config(100, Target{HTTP: &experiment.HTTPLoad{Protocol: "http1", Requests: []experiment.HTTPRequest{r}}})
	}
	for want, c := range map[string]Config{
		"one target, or two in a duet, not 0":      with(func(c *Config) { c.Targets = nil }),
		"one target, or two in a duet, not 3":      with(func(c *Config) { c.Targets = []Target{good, good, good} }),
		"one of HTTP, gRPC and a command":          with(func(c *Config) { c.Targets = []Target{{}} }),
		"both loaded by a command":                 with(func(c *Config) { c.Seconds, c.Targets = 1, []Target{good, {Command: []string{"true"}}} }),
		"for how many seconds":                     config(1, Target{Command: []string{"true"}}),
		"a rate of 0 ":                             with(func(c *Config) { c.Rate = 0 }),
		"a rate of 1e+07 ":                         with(func(c *Config) { c.Rate = 1e7 }),
		`arrivals are poisson or constant, not ""`: with(func(c *Config) { c.Arrivals = "" }),
		"0 connections":                            with(func(c *Config) { c.Connections = 0 }),
		"a timeout of 1h0m0s":                      with(func(c *Config) { c.Timeout = time.Hour }),
		"a window of -1 ":                          with(func(c *Config) { c.Seconds = -1 }),
		`http1 or http2, not "spdy"`:               config(100, get("spdy", "http://127.0.0.1:1/")),
		"has no requests":                          config(100, Target{HTTP: &experiment.HTTPLoad{Protocol: "http1"}}),
		"no request of the HTTP load has a weight": request(experiment.HTTPRequest{Method: "GET", URL: "http://127.0.0.1:1/", Expect: 200}),
		"a weight of -1":                           request(experiment.HTTPRequest{Method: "GET", URL: "http://127.0.0.1:1/", Expect: 200, Weight: -1}),
		"begins with http://":                      request(experiment.HTTPRequest{Method: "GET", URL: "https://127.0.0.1:1/", Expect: 200, Weight: 1}),
		"no answer has status 0":                   request(experiment.HTTPRequest{Method: "GET", URL: "http://127.0.0.1:1/", Weight: 1}),
		`the header "a b" is not one`:              request(experiment.HTTPRequest{Method: "GET", URL: "http://127.0.0.1:1/", Weight: 1, Expect: 200, Header: map[string]string{"a b": "c"}}),
		"invalid method":                           request(experiment.HTTPRequest{Method: "G T", URL: "http://127.0.0.1:1/", Weight: 1, Expect: 200}),
	} {
		t.Run(want, func(t *testing.T) {
			leftovers(t)
			g, err := Start(t.Context(), c)
			if err == nil {
				g.Close()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "starting the load: ") {
				t.Errorf("error %q, want %q", err, want)
			}
		})
	}
}

func TestGeneratorKilled(t *testing.T) {
	leftovers(t)
	s := server(t, false, func(w http.ResponseWriter, r *http.Request) {})
	for _, when := range []string{"warm-up", "window"} {
		g, err := Start(t.Context(), config(100, get("http1", s.URL)))
		if err != nil {
			t.Fatal(err)
		}
		if when == "window" {
			if err := g.Measure(); err != nil {
				t.Fatal(err)
			}
		}
		if err := syscall.Kill(g.by.(*process).cmd.Process.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-g.by.(*process).done
		if when == "warm-up" {
			err = g.Measure()
		} else {
			_, err = g.Stop()
		}
		if err == nil || !strings.Contains(err.Error(), "signal: killed") {
			t.Errorf("%s: error %v", when, err)
		}
	}
}

func TestContextEndsLoad(t *testing.T) {
	leftovers(t)
	s := server(t, false, func(w http.ResponseWriter, r *http.Request) {})
	ctx, cancel := context.WithCancel(t.Context())
	g, err := Start(ctx, config(100, get("http1", s.URL)))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-g.by.(*process).done
	if _, err := g.Stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := Start(ctx, config(100, get("http1", s.URL))); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestNoOrphans kills the tool that started loads.
func TestNoOrphans(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends a process with the one that started it")
	}
	cmd := exec.Command(os.Args[0], hangVerb)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err := errors.Join(err, cmd.Process.Kill()); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it ended by itself")
	}
	pids := strings.Fields(line)
	if len(pids) != 2 {
		t.Fatalf("it said %q", line)
	}
	for _, pid := range pids {
		gone(t, pid)
	}
}

// TestNiceness holds all threads of a generator against what was asked for.
func TestNiceness(t *testing.T) {
	s := server(t, false, func(w http.ResponseWriter, r *http.Request) {})
	g, err := Start(t.Context(), config(500, get("http1", s.URL)))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Measure(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", g.by.(*process).cmd.Process.Pid))
	if err != nil || len(files) == 0 {
		t.Skipf("the threads of a process are not in /proc here: %v", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		// The 17th field after the name.
		_, after, _ := strings.Cut(string(b), ") ")
		if nice := strings.Fields(after)[16]; nice == "0" && os.Getuid() != 0 {
			t.Skip("a niceness below 0 is not permitted here")
		} else if nice != strconv.Itoa(niceness) {
			t.Errorf("%s: niceness %s, want %d", f, nice, niceness)
		}
	}
}

func TestGeneratorEnvironment(t *testing.T) {
	got := strings.Join(environment([]string{"A=b", "GOGC=off", "GOMEMLIMIT=1GiB", "GOMAXPROCS=1", "GODEBUG=x=1", "GOGCX=1"}), " ")
	if want := "A=b GOGCX=1 GOGC=800 GOMAXPROCS=" + strconv.Itoa(runtime.GOMAXPROCS(0)+1); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestServe is the generator's side of the conversation.
func TestServe(t *testing.T) {
	s := server(t, false, func(w http.ResponseWriter, r *http.Request) {})
	hello := fmt.Sprintf(`{"Targets":[{"http":{"protocol":"http1","requests":[{"method":"GET","url":%q,"weight":1,"expect":200}]}}],"Rate":100,"Arrivals":"poisson","Connections":2,"Timeout":1000000000,"Seed":1}`+"\n", s.URL)
	for _, tt := range []struct{ name, in, want, out string }{
		{"nothing", "", "not by hand: EOF", ""},
		{"not JSON", "hello\n", "not by hand: invalid character", ""},
		{"no config", "{}\n", "not by hand: a load has one target", ""},
		{"too long", strings.Repeat(" ", maxConfigLine+1<<17), "longer than 16 MiB", ""},
		{"the tool ends", hello, "has ended", `{"is":"sending"}`},
		{"the tool ends in the window", hello + "measure\n", "has ended", `{"is":"sending"}`},
		{"another order", hello + "stop\n", `told "stop", not "measure"`, `{"is":"sending"}`},
		{"garbage", hello + "me\x00asure\n", "not \"measure\"", `{"is":"sending"}`},
		{"long garbage", hello + strings.Repeat("x", 1<<18) + "\n", "has ended", `{"is":"sending"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			leftovers(t)
			var out strings.Builder
			err := Serve(t.Context(), strings.NewReader(tt.in), &out)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if !strings.HasPrefix(out.String(), tt.out) {
				t.Errorf("said %q", out.String())
			}
			s.CloseClientConnections()
		})
	}
}

func TestTail(t *testing.T) {
	var all strings.Builder
	var last tail
	for i := range 3000 {
		text := fmt.Sprintf("line %d\n", i)
		if i == 2000 {
			text = strings.Repeat("x", 2*maxTail) + "\n"
		}
		all.WriteString(text)
		if n, err := io.WriteString(&last, text); n != len(text) || err != nil {
			t.Fatal(n, err)
		}
		if got, want := string(last.b), all.String()[max(0, all.Len()-maxTail):]; got != want {
			t.Fatalf("line %d: %q, want %q", i, got, want)
		}
	}
}
