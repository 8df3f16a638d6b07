package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/servers"
)

// TestPromQL lets an agent store what a program does, gives a real Prometheus a copy of
// the agent's database, and asks both the same: what Grafana asks, and more. Every
// answer is to be the same, wrong questions included.
func TestPromQL(t *testing.T) {
	t.Parallel()
	binary, err := servers.PrometheusReceiver.Recipe.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	harness.Start{Path: named(t, "churn", "asked")}.Start(t)
	dir := t.TempDir()
	a := startAgent(t, serveFile(t, dir, "discovery: {interval: 1s, min_uptime: 0s, include: [asked]}"))
	until(t, "there is some history", func() bool {
		return len(raw(t, a.url, `{process="asked"}`, time.Now())) > 20 && count(raw(t, a.url, `go_goroutines{process="asked"}`, time.Now())) > 20
	})
	at := time.Now()
	a.cmd.Process.Signal(syscall.SIGTERM)
	if err := a.cmd.Wait(); err != nil {
		t.Fatalf("the agent ended with %v:\n%s", err, a.log())
	}
	data := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(data, os.DirFS(filepath.Join(dir, "data", "tsdb"))); err != nil {
		t.Fatal(err)
	}
	// From here on it watches nothing, so that nothing is written.
	a = startAgent(t, serveFile(t, dir, "discovery: {include: [nothing-of-this-name]}"))
	prometheus := startPrometheus(t, binary, data)

	start, now, end := at.Add(-15*time.Second), seconds(at), seconds(at)
	ask := func(path string, pairs ...string) {
		t.Helper()
		q := url.Values{}
		for i := 0; i+1 < len(pairs); i += 2 {
			q.Add(pairs[i], pairs[i+1])
		}
		for _, method := range []string{"GET", "POST"} {
			if method == "POST" && path == "label/process/values" {
				continue // which Prometheus takes as GET only
			}
			ours, got := question(t, method, a.url, path, q)
			theirs, want := question(t, method, prometheus, path, q)
			if ours != theirs || !reflect.DeepEqual(got, want) {
				t.Errorf("%s %s %v:\n%d %.1500v\nand Prometheus says\n%d %.1500v", method, path, q, ours, got, theirs, want)
			}
		}
	}
	names := []string{"go_goroutines", "heapwright_heap_live_bytes", "process_cpu_seconds_total", "heapwright_gc_cycle_pause_seconds", "go_sched_latencies_seconds_bucket", "heapwright_process_info", "heapwright_up"}
	for _, expr := range slices.Concat(names, []string{
		"1+1", `{process="asked"}`, "sum by (process) (go_goroutines)", "rate(process_cpu_seconds_total[10s])", "increase(go_gc_cycles_total_gc_cycles_total[15s])",
		"histogram_quantile(0.99, sum by (le) (rate(go_sched_latencies_seconds_bucket[30s])))", "max_over_time(heapwright_gc_cycle_pause_seconds[15s])", "heapwright_heap_live_bytes[10s]",
		"heapwright_heap_live_bytes / go_memstats_next_gc_bytes", "absent(heapwright_up)", "rate(go_goroutines[10s])", "count({__name__=~\".+\"})", "sum(", "nothing", "go_goroutines[5m:1s]", `{__name__=~".*"}`,
	}) {
		ask("query", "query", expr, "time", now)
		ask("query_range", "query", expr, "start", seconds(start), "end", end, "step", "1")
		ask("query_range", "query", expr, "start", seconds(start), "end", end, "step", "250ms", "limit", "1")
	}
	ask("query", "query", "go_goroutines", "time", "yesterday")
	ask("query_range", "query", "go_goroutines", "start", end, "end", seconds(start), "step", "1")
	ask("query_range", "query", "go_goroutines", "start", "0", "end", end, "step", "1")
	for _, path := range []string{"labels", "series", "label/process/values"} {
		ask(path, "start", seconds(start), "end", end)
		ask(path, "match[]", "go_goroutines", "start", seconds(start), "end", end)
		ask(path, "match[]", `{process="asked"}`, "match[]", "heapwright_up", "start", seconds(start), "end", end)
		ask(path, "match[]", "{}")
		ask(path, "match[]", "go_goroutines", "limit", "1", "start", seconds(start), "end", end)
	}
}

func seconds(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

// question asks a server, and returns what it says without what may come in any order.
func question(t *testing.T, method, base, path string, q url.Values) (int, any) {
	t.Helper()
	target, body := base+"/api/v1/"+path, io.Reader(nil)
	if method == "GET" {
		target += "?" + q.Encode()
	} else {
		body = bytes.NewBufferString(q.Encode())
	}
	r, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Fatalf("%s %s: %s, %v", method, target, resp.Status, err)
	}
	list, _ := doc["data"].([]any)
	if d, ok := doc["data"].(map[string]any); ok {
		list, _ = d["result"].([]any)
		if d["resultType"] == "scalar" || d["resultType"] == "string" {
			list = nil
		}
	}
	slices.SortFunc(list, func(a, b any) int { return bytes.Compare(encoded(a), encoded(b)) })
	return resp.StatusCode, doc
}

func encoded(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Append(nil, v)
	}
	return b
}

// startPrometheus starts one that scrapes nothing, on a database that there is, and
// returns its URL.
func startPrometheus(t *testing.T, binary, data string) string {
	t.Helper()
	config := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(config, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	cmd := exec.Command(binary, "--config.file", config, "--storage.tsdb.path", data, "--web.listen-address", addr, "--log.level", "warn")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("Prometheus said:\n%s", &said)
		}
	})
	until(t, "Prometheus is ready", func() bool {
		resp, err := http.Get("http://" + addr + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return "http://" + addr
}
