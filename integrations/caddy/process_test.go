package heapwrightcaddy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// binary is Caddy with this module, built once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "heapwright-caddy")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "caddy")
	if out, err := exec.Command("go", "build", "-o", path, "./cmd/caddy").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

var built string // the directory of it

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// A command is a run of that binary, away from the user's own Caddy.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	home := t.TempDir()
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "GOMEMLIMIT=") || strings.HasPrefix(v, "GOGC=")
	}), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home)
	return cmd
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommands(t *testing.T) {
	text, err := os.ReadFile("testdata/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, "Caddyfile", strings.ReplaceAll(string(text), "/var/lib/caddy", t.TempDir()))

	out, err := command(t, "list-modules").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"heapwright", "http.handlers.heapwright_guard", "http.handlers.heapwright_ready", "admin.api.heapwright"} {
		if !slices.Contains(strings.Fields(string(out)), m) {
			t.Errorf("list-modules does not list %s", m)
		}
	}

	out, err = command(t, "adapt", "--config", "testdata/Caddyfile").Output()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/Caddyfile.json")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, out, "", "\t"); err != nil {
		t.Fatal(err)
	}
	if got := bytes.TrimSpace(b.Bytes()); !bytes.Equal(got, bytes.TrimSpace(want)) {
		t.Errorf("adapt says\n%s", got)
	}

	if out, err := command(t, "validate", "--config", file).CombinedOutput(); err != nil || !strings.Contains(string(out), "Valid configuration") {
		t.Errorf("validate: %v\n%s", err, out)
	}
	if out, err := command(t, "fmt", "--diff", "testdata/Caddyfile").CombinedOutput(); err != nil {
		t.Errorf("fmt: %v\n%s", err, out)
	}

	bad := write(t, "Caddyfile", "{\n\theapwright {\n\t\tguard {\n\t\t\tbudget lots\n\t\t}\n\t}\n}\n")
	for _, c := range []string{"adapt", "validate"} {
		out, err := command(t, c, "--config", bad).CombinedOutput()
		if exit := new(exec.ExitError); !errors.As(err, &exit) || !strings.Contains(string(out), `\"lots\" is no ratio, such as 0.25 or 25%, at `+bad+":4") && !strings.Contains(string(out), `"lots" is no ratio, such as 0.25 or 25%, at `+bad+":4") {
			t.Errorf("%s of a bad file: %v\n%s", c, err, out)
		}
	}
}

// A server is a Caddy that runs.
type server struct {
	t     *testing.T
	admin string // URL
	site  string // URL
	cmd   *exec.Cmd
	mu    sync.Mutex
	lines []string
	done  chan struct{}
}

// freePort returns a port that nobody listens on now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// start runs Caddy with the file that text returns for the addresses of its admin
// API and its site, and with more in its environment.
func start(t *testing.T, text func(admin, site string) string, env ...string) *server {
	t.Helper()
	admin, site := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	s := &server{t: t, admin: "http://" + admin, site: site, done: make(chan struct{})}
	s.cmd = command(t, "run", "--adapter", "caddyfile", "--config", write(t, "Caddyfile", text(admin, site)))
	s.cmd.Env = append(s.cmd.Env, env...)
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.done)
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			s.mu.Lock()
			s.lines = append(s.lines, lines.Text())
			s.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Signal(os.Interrupt)
		stuck := time.AfterFunc(time.Minute, func() { _ = s.cmd.Process.Kill() })
		defer stuck.Stop()
		<-s.done
		if err := s.cmd.Wait(); err != nil {
			t.Errorf("caddy ended with %v", err)
		}
		if t.Failed() {
			lines := slices.DeleteFunc(s.log(""), func(l string) bool { return strings.Contains(l, `"received request"`) })
			t.Logf("its log\n%s", strings.Join(lines, "\n"))
		}
	})
	s.wait("its site to answer", func() bool {
		r, err := http.Get(s.site + "/healthz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return true
	})
	return s
}

func (s *server) wait(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.done:
			s.t.Fatalf("caddy has ended\n%s", strings.Join(s.log(""), "\n"))
		default:
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("a minute was not enough for %s", what)
		}
	}
}

// log returns the lines of the log that have a text in them.
func (s *server) log(text string) (lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		if strings.Contains(l, text) {
			lines = append(lines, l)
		}
	}
	return lines
}

func (s *server) ask(path string) string {
	s.t.Helper()
	r, err := http.Get(s.admin + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != 200 {
		s.t.Fatalf("GET %s: %d, error %v\n%s", path, r.StatusCode, err, body)
	}
	return string(body)
}

// metric returns the sum over the series of one name whose labels have a text in
// them, and how many there are.
func (s *server) metric(name, labels string) (sum float64, n int) {
	s.t.Helper()
	for line := range strings.Lines(s.ask("/metrics")) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != '{' && rest[0] != ' ' || !strings.Contains(rest, labels) {
			continue
		}
		fields := strings.Fields(rest)
		v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
		sum += v
		n++
	}
	return sum, n
}

// goroutines returns how many there are, and the stacks of those in code of ours.
func (s *server) goroutines() (all int, heapwright []string) {
	s.t.Helper()
	for _, g := range strings.Split(s.ask("/debug/pprof/goroutine?debug=2"), "\n\n") {
		if strings.HasPrefix(g, "goroutine ") {
			all++
			if strings.Contains(g, "github.com/heapwright/heapwright/") {
				heapwright = append(heapwright, g)
			}
		}
	}
	return all, heapwright
}

// post gives Caddy a config, as JSON.
func (s *server) post(config []byte) error {
	r, err := http.Post(s.admin+"/load", "application/json", bytes.NewReader(config))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if body, _ := io.ReadAll(r.Body); r.StatusCode != 200 {
		return fmt.Errorf("%d %s", r.StatusCode, body)
	}
	return nil
}

// reload gives Caddy a Caddyfile, by its own command.
func (s *server) reload(text string) error {
	file := write(s.t, "Caddyfile", text)
	out, err := command(s.t, "reload", "--adapter", "caddyfile", "--config", file, "--address", strings.TrimPrefix(s.admin, "http://"), "--force").CombinedOutput()
	if err != nil {
		return fmt.Errorf("caddy reload: %w\n%s", err, out)
	}
	return nil
}

// upstream is what Caddy is in front of: /slow sends its body in ten parts, so that
// many requests are in flight at any time.
func upstream(t *testing.T) *httptest.Server {
	u := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		part := bytes.Repeat([]byte("x"), partSize)
		for range parts {
			if _, err := w.Write(part); err != nil {
				return
			}
			if r.URL.Path != "/fast" {
				w.(http.Flusher).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		}
	}))
	t.Cleanup(u.Close)
	return u
}

const partSize, parts = 1000, 10

// TestReloadUnderLoad replaces Caddy's config ten times while it serves requests, and
// sheds what is too much: no request is cut, the guard and the memory limit stay the
// same ones, and nothing is left behind.
func TestReloadUnderLoad(t *testing.T) {
	u := upstream(t)
	caddyfile := func(admin, site, memory, guard string, n int) string {
		return fmt.Sprintf(`{
	admin %s
	persist_config off
	auto_https off
	heapwright {
		memory_limit %s {
			interval 1s
		}
		guard {
			no_limiter
			no_objectives
			capacity %s
		}
	}
}
%s {
	header X-Config %d
	heapwright_guard {
		class critical /critical
		class low /low
		health /healthz
		retry_after 3s
	}
	respond /healthz ok
	reverse_proxy %s {
		transport http {
			keepalive off # else Caddy's old proxies keep their connections for two minutes
		}
	}
}
`, admin, memory, guard, site, n, u.URL)
	}
	var admin, site string
	config := func(memory, capacity string, n int) string { return caddyfile(admin, site, memory, capacity, n) }
	// Four requests of 16 KiB fit: Normal may fill nine tenths of it, Low a half.
	const memory, capacity = "512MiB", "80KiB"
	s := start(t, func(a, b string) string {
		admin, site = a, b
		return config(memory, capacity, 0)
	})

	if v, _ := s.metric("heapwright_memlimit_limit_bytes", ""); v != 512<<20 {
		t.Errorf("the memory limit is %v", v)
	}
	if v, _ := s.metric("heapwright_memlimit_gomemlimit_bytes", ""); v < 100<<20 || v >= 512<<20 {
		t.Errorf("GOMEMLIMIT is %v", v)
	}
	allBefore, ours := s.goroutines()
	oursBefore := len(ours)
	if oursBefore == 0 {
		t.Error("there are no goroutines of ours")
	}
	looks, _ := s.metric("heapwright_memlimit_refreshes_total", "")

	// Clients.
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	var served, refused, health atomic.Int64
	seen := sync.Map{} // values of X-Config
	get := func(path string) {
		r, err := client.Get(s.site + path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		seen.Store(r.Header.Get("X-Config"), true)
		switch {
		case err != nil:
			t.Errorf("%s was cut after %d bytes: %v", path, len(body), err)
		case path == "/healthz":
			health.Add(1)
			if r.StatusCode != 200 || string(body) != "ok" {
				t.Errorf("a health check is answered %d %q", r.StatusCode, body)
			}
		case r.StatusCode == 503:
			refused.Add(1)
			after, err := strconv.Atoi(r.Header.Get("Retry-After"))
			if err != nil || after < 3 || after > 6 || path == "/critical" {
				t.Errorf("%s is refused, Retry-After %q", path, r.Header.Get("Retry-After"))
			}
		case r.StatusCode == 200:
			served.Add(1)
			if len(body) != partSize*parts {
				t.Errorf("%s has %d bytes", path, len(body))
			}
		default:
			t.Errorf("%s is answered %d", path, r.StatusCode)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	for i := range 10 {
		path := []string{"/slow", "/slow", "/low", "/fast", "/critical"}[i%5]
		clients.Go(func() {
			for ctx.Err() == nil {
				get(path)
				time.Sleep(time.Millisecond) // what is refused comes back at once else
			}
		})
	}
	clients.Go(func() {
		for ctx.Err() == nil {
			get("/healthz")
			time.Sleep(5 * time.Millisecond)
		}
	})

	progress := func() {
		from := served.Load()
		s.wait("requests to be served", func() bool { return served.Load() > from+20 })
	}
	progress()
	for n := 1; n <= 10; n++ {
		text := config(memory, capacity, n)
		var err error
		if n%2 == 0 {
			var out []byte
			if out, err = adapt(t, text); err == nil {
				err = s.post(out)
			}
		} else {
			err = s.reload(text)
		}
		if err != nil {
			t.Errorf("reload %d: %v", n, err)
		}
		progress()
		// Another limit would begin to count anew.
		if v, series := s.metric("heapwright_memlimit_refreshes_total", ""); v < looks || series != 1 {
			t.Errorf("after reload %d the memory limit was looked at %v times, before it %v", n, v, looks)
		} else {
			looks = v
		}
	}
	stop()
	clients.Wait()
	client.CloseIdleConnections()

	for n := range 11 {
		if _, ok := seen.Load(strconv.Itoa(n)); !ok {
			t.Errorf("config %d has answered nothing", n)
		}
	}
	if looks < 2 {
		t.Errorf("the memory limit was looked at %v times", looks)
	}
	// The counters have gone on: they are those of one gate.
	if v, _ := s.metric("heapwright_shed_requests_total", `outcome="shed_by_capacity"`); v != float64(refused.Load()) || v == 0 {
		t.Errorf("the gate refused %v requests, the clients saw %d", v, refused.Load())
	}
	if v, _ := s.metric("heapwright_shed_requests_total", `outcome="admitted"`); v != float64(served.Load()) {
		t.Errorf("the gate admitted %v requests, the clients saw %d", v, served.Load())
	}
	if v, n := s.metric("heapwright_shed_in_flight_requests", ""); v != 0 || n != 1 {
		t.Errorf("%v requests are in flight", v)
	}
	if v, _ := s.metric("heapwright_guard_state", `state="healthy"`); v != 1 {
		t.Error("the guard is not healthy")
	}
	if lines := s.log(`"mode":"closed"`); len(lines) != 0 {
		t.Errorf("the memory limit was given up:\n%s", strings.Join(lines, "\n"))
	}
	defer func() {
		if t.Failed() {
			t.Logf("goroutines of ours:\n%s", strings.Join(ours, "\n\n"))
		}
	}()
	s.wait("goroutines of the old configs to end", func() bool {
		var all int
		all, ours = s.goroutines()
		return len(ours) <= oursBefore && all <= allBefore
	})
	t.Logf("%d served, %d refused, %d health checks, over 10 reloads; %d goroutines before, %d of them ours", served.Load(), refused.Load(), health.Load(), allBefore, oursBefore)

	if page := s.ask("/debug/heapwright/"); !strings.Contains(page, "<html") {
		t.Errorf("the debug page is %.200q", page)
	}
	var status map[string]any
	if err := json.Unmarshal([]byte(s.ask("/debug/heapwright/?format=json")), &status); err != nil || status["guard"] == nil {
		t.Errorf("the debug page as JSON: %v", err)
	}

	// A config that is refused changes nothing.
	bad, err := adapt(t, config("256MiB", capacity, 11))
	if err != nil {
		t.Fatal(err)
	}
	bad = bytes.Replace(bad, []byte(`"capacity_bytes":81920`), []byte(`"capacity_bytes":-1`), 1)
	if err := s.post(bad); err == nil || !strings.Contains(err.Error(), "the capacity is negative") {
		t.Errorf("a bad config: error %v", err)
	}
	// Caddy replaces its admin server beside the answer.
	unchanged := func(what string) {
		t.Helper()
		s.wait("the metrics of before, after "+what, func() bool {
			limit, _ := s.metric("heapwright_memlimit_limit_bytes", "")
			admitted, _ := s.metric("heapwright_shed_requests_total", `outcome="admitted"`)
			return limit == 512<<20 && admitted == float64(served.Load())
		})
	}
	unchanged("a config that was refused")
	bad = bytes.Replace(bad, []byte(`"capacity_bytes":-1`), []byte(`"capacity_bytes":81920`), 1)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	bad = bytes.ReplaceAll(bad, []byte(strings.TrimPrefix(site, "http://127.0.0.1")), []byte(fmt.Sprintf(":%d", taken.Addr().(*net.TCPAddr).Port)))
	if err := s.post(bad); err == nil {
		t.Error("a config whose port is taken is no error")
	}
	unchanged("a config that failed")

	// Other settings: another limit, another guard.
	if err := s.reload(config("256MiB", "1GiB", 12)); err != nil {
		t.Error(err)
	}
	if v, _ := s.metric("heapwright_memlimit_limit_bytes", ""); v != 256<<20 {
		t.Errorf("the memory limit is %v", v)
	}
	if v, n := s.metric("heapwright_shed_capacity_bytes", ""); v != 1<<30 || n != 1 {
		t.Errorf("the capacity is %v", v)
	}
	if v, _ := s.metric("heapwright_shed_requests_total", ""); v != 0 {
		t.Errorf("a new gate has counted %v", v)
	}

	// And none.
	text := config(memory, capacity, 13)
	before, rest, _ := strings.Cut(text, "\theapwright {")
	_, after, _ := strings.Cut(rest, "\n}\n")
	site2, rest, _ := strings.Cut(after, "\theapwright_guard {")
	_, rest, _ = strings.Cut(rest, "\n\t}\n")
	if err := s.reload(before + "}\n" + site2 + rest); err != nil {
		t.Error(err)
	}
	if _, n := s.metric("heapwright_", ""); n != 0 {
		t.Errorf("%d metrics are left", n)
	}
	s.wait("goroutines of the guard to end", func() bool { _, ours = s.goroutines(); return len(ours) == 0 })
}

// TestOperator has a GOMEMLIMIT in the environment: it is kept. Caddy's own, which
// it sets where there is none, is not.
func TestOperator(t *testing.T) {
	config := func(admin, site string) string {
		return fmt.Sprintf(`{
	admin %s
	persist_config off
	auto_https off
	heapwright {
		memory_limit 512MiB
	}
}
%s {
	respond ok
}
`, admin, site)
	}
	for _, tt := range []struct {
		env        []string
		mode       string
		gomemlimit float64
	}{
		{[]string{"GOMEMLIMIT=200MiB"}, "operator", 200 << 20},
		{nil, "set", 0},
	} {
		s := start(t, config, tt.env...)
		if v, _ := s.metric("heapwright_memlimit_mode", `mode="`+tt.mode+`"`); v != 1 {
			t.Errorf("with %q the memory limit is not in mode %s:\n%s", tt.env, tt.mode, s.ask("/metrics"))
		}
		if v, _ := s.metric("heapwright_memlimit_gomemlimit_bytes", ""); tt.gomemlimit != 0 && v != tt.gomemlimit || v > 512<<20 {
			t.Errorf("with %q GOMEMLIMIT is %v", tt.env, v)
		}
		if _, n := s.metric("heapwright_guard_state", ""); n != 0 {
			t.Error("there is a guard that nobody asked for")
		}
	}
}

// TestStateOverReload has a guard trip for an objective that nothing can keep: what
// it came to is there after reloads, and the evidence of it is on disk.
func TestStateOverReload(t *testing.T) {
	evidence := filepath.Join(t.TempDir(), "evidence")
	var admin, site string
	config := func(capacity string) string {
		return fmt.Sprintf(`{
	admin %s
	persist_config off
	auto_https off
	heapwright {
		memory_limit off
		guard {
			objective goroutines 0 {
				name always
				interval 200ms
				window 2s
			}
			capacity %s
			evidence %s {
				trace
			}
		}
	}
}
%s {
	heapwright_guard
	heapwright_ready /readyz
	metrics /metrics
	respond / ok
}
`, admin, capacity, evidence, site)
	}
	s := start(t, func(a, b string) string {
		admin, site = a, b
		return config("1GiB")
	})
	degraded := func() bool { v, _ := s.metric("heapwright_guard_state", `state="degraded"`); return v == 1 }
	s.wait("the guard to trip", degraded)
	bundles := func() []string {
		found, err := filepath.Glob(filepath.Join(evidence, "*", "heap.pprof"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	s.wait("evidence", func() bool { return len(bundles()) == 1 })
	if lines := s.log(`"logger":"heapwright"`); len(lines) == 0 {
		t.Error("Caddy's log has no line of the guard")
	}
	steps, _ := s.metric("heapwright_guard_steps_total", "")
	for range 3 {
		if err := s.reload(config("1GiB")); err != nil {
			t.Fatal(err)
		}
		if !degraded() {
			t.Error("after a reload the guard is not degraded any more")
		}
	}
	if v, _ := s.metric("heapwright_guard_trips_total", ""); v != 1 {
		t.Errorf("it has tripped %v times", v)
	}
	if v, _ := s.metric("heapwright_guard_steps_total", ""); v < steps {
		t.Errorf("after %v steps it has made %v", steps, v)
	}
	r, err := http.Get(s.site + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != 200 { // an objective does not lead to the rung that is not ready
		t.Errorf("/readyz is answered %d", r.StatusCode)
	}

	// The new guard has the flight recorder of the old one.
	if err := s.reload(config("2GiB")); err != nil {
		t.Fatal(err)
	}
	if v, _ := s.metric("heapwright_guard_trips_total", ""); v != 0 {
		t.Errorf("a new guard has tripped %v times", v)
	}
	s.wait("the new guard to trip, and evidence", func() bool { return degraded() && len(bundles()) == 2 })
	traces, err := filepath.Glob(filepath.Join(evidence, "*", "trace.out"))
	if err != nil || len(traces) != 2 {
		t.Errorf("there are traces %q, error %v; and %q", traces, err, bundles())
	}
	r, err = http.Get(s.site + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, _ := io.ReadAll(r.Body); !strings.Contains(string(body), "heapwright_guard_state") {
		t.Errorf("the metrics handler has no metrics of the guard: %d\n%s", r.StatusCode, body)
	}
}
