package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/servers"
)

// A gate is the way to a server, which can be closed: then connections are cut, or the
// answer is that of a proxy whose server is away.
type gate struct {
	*httptest.Server
	shut   atomic.Bool
	opened atomic.Int64 // bytes of requests that were let through
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{}
	var n atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(target)
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.shut.Load() {
			if n.Add(1)%2 == 0 {
				http.Error(w, "the server is away", http.StatusServiceUnavailable)
				return
			}
			panic(http.ErrAbortHandler)
		}
		g.opened.Add(max(r.ContentLength, 0))
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	return g
}

// cpu is the CPU time that the agent took, from the kernel.
func (a *agent) cpu(t *testing.T) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", a.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var user, system int64
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
	fmt.Sscan(f[11], &user)
	fmt.Sscan(f[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// raw asks a server for all samples of a selector up to an instant, by its query API.
// The result is a line each: series without job and name, and then its samples.
func raw(t *testing.T, base, selector string, at time.Time) map[string][]string {
	t.Helper()
	q := url.Values{"query": {selector + "[30m]"}, "time": {fmt.Sprintf("%.3f", float64(at.UnixMilli())/1000)}}
	resp, err := http.Get(base + "/api/v1/query?" + q.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil || doc.Status != "success" {
		t.Fatalf("%s at %s: %v, %s", selector, base, err, doc.Error)
	}
	out := map[string][]string{}
	for _, r := range doc.Data.Result {
		var key []string
		for k, v := range r.Metric {
			key = append(key, k+"="+v)
		}
		slices.Sort(key)
		var values []string
		for _, v := range r.Values {
			values = append(values, fmt.Sprintf("%.3f %v", v[0], v[1]))
		}
		out[strings.Join(key, ",")] = values
	}
	return out
}

func count(m map[string][]string) int {
	n := 0
	for _, v := range m {
		n += len(v)
	}
	return n
}

// parses reports whether a text begins with a compressed profile that has something in it.
func parses(text []byte) bool {
	zr, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return false
	}
	zr.Multistream(false)
	raw, err := io.ReadAll(zr)
	if err != nil {
		return false
	}
	p, err := pprof.ParseUncompressed(raw)
	return err == nil && len(p.Sample) > 0 && len(p.Sample[0].Location) > 0
}

// same reports whether two lists of samples are the same: the instants exactly, and the
// values to twelve digits, for VictoriaMetrics keeps no more than fifteen.
func same(a, b []string) bool {
	return slices.EqualFunc(a, b, func(x, y string) bool {
		var t1, t2 string
		var v1, v2 float64
		fmt.Sscan(x, &t1, &v1)
		fmt.Sscan(y, &t2, &v2)
		return t1 == t2 && math.Abs(v1-v2) <= 1e-12*math.Abs(v1)
	})
}

// until waits for something that takes its time.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
		if f() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not in three minutes", what)
		}
	}
}

// TestForward sends what the agent stores to a Prometheus, to VictoriaMetrics, through
// an OpenTelemetry Collector, and profiles by Pyroscope's protocol; lets the servers go
// away, kills the agent meanwhile, and demands every sample in the end.
func TestForward(t *testing.T) {
	long(t)
	prometheus := startServer(t, servers.PrometheusReceiver)
	victoria := startServer(t, servers.VictoriaMetrics)
	behind := startServer(t, servers.PrometheusReceiver) // the Collector
	collector := startServer(t, servers.Collector(behind.Base()+"/api/v1/otlp"))
	gates := []*gate{newGate(t, prometheus.Base()), newGate(t, victoria.Base()), newGate(t, collector.Base())}

	var mu sync.Mutex
	profiles := map[string]int{}
	pyroscope := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
		if err != nil || r.URL.Path != "/push.v1.PusherService/Push" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		// What a profile is stands in the message in plain text, as a label; the profile is
		// compressed.
		for _, name := range []string{"memory", "goroutine"} {
			if bytes.Contains(body, []byte("\x12"+string(rune(len(name)))+name)) {
				profiles[name]++
			}
		}
		if i := bytes.Index(body, []byte("\x1f\x8b")); i >= 0 && parses(body[i:]) {
			profiles["parsed"]++
		}
	}))
	t.Cleanup(pyroscope.Close)

	// A name of its own: other tests run the same programs.
	subject := filepath.Join(t.TempDir(), "forwarded")
	text, err := os.ReadFile(product.Example("churn"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(subject, text, 0o755); err != nil {
		t.Fatal(err)
	}
	harness.Start{Path: subject}.Start(t)

	dir := t.TempDir()
	config := filepath.Join(dir, "serve.yaml")
	yaml := fmt.Sprintf(`listen: 127.0.0.1:0
data: %s
discovery: {interval: 1s, min_uptime: 0s, include: [forwarded]}
sampling: {interval: 200ms, adaptive: false}
snapshots: {interval: 10s}
forward:
  remote_write:
    - {name: prometheus, url: "%s/api/v1/write"}
    - {name: victoria, url: "%s/api/v1/write"}
  otlp:
    - {name: collector, url: "%s"}
  pyroscope:
    - {name: pyroscope, url: "%s"}
`, filepath.Join(dir, "data"), gates[0].URL, gates[1].URL, gates[2].URL, pyroscope.URL)
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := product.Run(t, "serve", "--config", config, "--check-config"); r.Code != 0 {
		t.Fatal(r)
	}
	const mine = `{process="forwarded"}`
	began := time.Now()
	a := startAgent(t, config)
	logs := func() {
		if t.Failed() {
			t.Logf("the agent said:\n%s", a.log())
		}
	}
	defer func() { logs() }()
	until(t, "first samples arrive", func() bool {
		now := time.Now()
		return count(raw(t, prometheus.Base(), mine, now)) > 0 && count(raw(t, victoria.Base(), mine, now)) > 0 &&
			count(raw(t, behind.Base(), `{job="forwarded"}`, now)) > 0
	})

	// All are away; the agent is killed twice meanwhile, once just as they are back.
	for _, g := range gates {
		g.shut.Store(true)
	}
	time.Sleep(15 * time.Second)
	a.kill()
	a = startAgent(t, config)
	time.Sleep(20 * time.Second)
	for _, g := range gates {
		g.shut.Store(false)
	}
	time.Sleep(time.Second)
	a.kill()
	a = startAgent(t, config)
	cpu, sent := a.cpu(t), gates[0].opened.Load()
	since := time.Now()

	time.Sleep(30 * time.Second)
	at := time.Now()
	until(t, "all that was stored arrives", func() bool {
		now := time.Now()
		for _, x := range [][2]string{{prometheus.Base(), mine}, {victoria.Base(), mine}, {behind.Base(), `{job="forwarded"}`}} {
			newest := ""
			for _, v := range raw(t, x[0], x[1], now) {
				newest = max(newest, v[len(v)-1])
			}
			if newest < fmt.Sprintf("%.3f", float64(at.UnixMilli())/1000) {
				return false
			}
		}
		return true
	})
	took, bytes := a.cpu(t)-cpu, gates[0].opened.Load()-sent
	span := time.Since(since)
	stored := raw(t, a.url, mine, at)
	if len(stored) < 30 || count(stored) < 1000 {
		t.Fatalf("only %d samples of %d series are stored", count(stored), len(stored))
	}
	for name, base := range map[string]string{"Prometheus": prometheus.Base(), "VictoriaMetrics": victoria.Base()} {
		got := raw(t, base, mine, at)
		for key, want := range stored {
			if !same(got[key], want) {
				t.Errorf("%s has %d samples of %s, stored are %d", name, len(got[key]), key, len(want))
			}
		}
		t.Logf("%s has %d samples of %d series, stored are %d of %d", name, count(got), len(got), count(stored), len(stored))
	}
	for name, as := range map[string]string{"heapwright_heap_live_bytes": "heapwright_heap_live_bytes", "go_memstats_alloc_bytes_total": "go_memory_allocated_bytes_total",
		"go_goroutines": "go_goroutine_count", "go_sched_latencies_seconds_count": "go_schedule_duration_seconds_count", "heapwright_gc_cycle_pause_seconds": "heapwright_gc_cycle_pause_seconds"} {
		want := raw(t, a.url, `{__name__="`+name+`",process="forwarded"}`, at)
		got := raw(t, behind.Base(), `{__name__="`+as+`",job="forwarded"}`, at)
		if len(want) != 1 || len(got) != 1 {
			t.Errorf("%s: %d series are stored, %d are behind the Collector", name, len(want), len(got))
			continue
		}
		for _, w := range want {
			for key, g := range got {
				if !slices.Equal(g, w) {
					t.Errorf("behind the Collector are %d samples of %s, stored are %d of %s", len(g), key, len(w), name)
				}
			}
		}
	}
	all := raw(t, behind.Base(), `{job="forwarded"}`, at)
	t.Logf("behind the Collector are %d samples of %d series", count(all), len(all))
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		t.Logf("profiles: %v", profiles)
	}()
	until(t, "profiles arrive", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return profiles["memory"] > 0 && profiles["goroutine"] > 0 && profiles["parsed"] > 0
	})
	recent := 0
	for _, values := range stored {
		for _, v := range values {
			if v >= fmt.Sprintf("%.3f", float64(since.Add(-25*time.Second).UnixMilli())/1000) {
				recent++
			}
		}
	}
	t.Logf("%d samples in %s; over the last %s the whole agent took %s of CPU, and sent about %.1f bytes a sample to Prometheus (%d bytes, %d samples)",
		count(stored), time.Since(began).Round(time.Second), span.Round(time.Second), took, float64(bytes)/float64(max(recent, 1)), bytes, recent)
}
