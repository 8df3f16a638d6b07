package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/servers"
)

// A managed alert is one as Alertmanager's API shows it.
type managed struct {
	Labels       map[string]string
	Annotations  map[string]string
	StartsAt     time.Time
	EndsAt       time.Time
	GeneratorURL string
}

// managedAlerts are those that an Alertmanager holds for active, by name and process.
func managedAlerts(t *testing.T, base string) map[string]managed {
	t.Helper()
	resp, err := http.Get(base + "/api/v2/alerts")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var all []managed
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	byName := map[string]managed{}
	for _, a := range all {
		byName[a.Labels["alertname"]+" "+a.Labels["process"]] = a
	}
	return byName
}

// within waits until something is so.
func within(t *testing.T, limit time.Duration, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !so(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v: not yet that %s", limit, what)
		}
	}
}

// TestAlerts has the agent tell a real Alertmanager, a webhook and its stdout that a
// process is there, that it is gone, and that it is back.
func TestAlerts(t *testing.T) {
	t.Parallel()
	manager := startServer(t, servers.Alertmanager)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hook secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var hooked []string
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		mac := hmac.New(sha256.New, []byte("hook secret"))
		mac.Write([]byte(req.Header.Get("X-Heapwright-Timestamp") + "."))
		mac.Write(body)
		var a struct{ Schema, Rule, Process, State string }
		if err != nil || req.Header.Get("X-Heapwright-Signature") != "sha256="+hex.EncodeToString(mac.Sum(nil)) || json.Unmarshal(body, &a) != nil || a.Schema != "heapwright.alert/1" {
			t.Errorf("the webhook got %v %q: %v", req.Header, body, err)
		}
		mu.Lock()
		defer mu.Unlock()
		hooked = append(hooked, a.Rule+" "+a.Process+" "+a.State)
	}))
	defer hook.Close()

	config := filepath.Join(t.TempDir(), "serve.yaml")
	text := fmt.Sprintf(`
schema: heapwright.serve/1
listen: 127.0.0.1:0
data: %q
discovery: {interval: 1s, include: [alerted], min_uptime: 0}
sampling: {interval: 200ms}
diagnose: {interval: 1s}
alerts:
  no_defaults: true
  stdout: true
  rules:
  - {name: e2e-there, severity: warning, signal: rss_bytes, above: 1, for: 2s, remedy: nothing}
  - {name: e2e-gone, severity: critical, signal: process_gone, for: 2s, clear_for: 1s}
  labels: {team: e2e}
  webhooks: [{url: %q, secret_file: %q}]
  alertmanagers: [{url: %q}]
`, t.TempDir(), hook.URL, secret, manager.URL())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	agent := exec.Command(product.Binary, "serve", "--config", config)
	agent.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stdout, stderr bytes.Buffer
	agent.Stdout, agent.Stderr = &stdout, &stderr
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- agent.Wait() }()
	stop := sync.OnceFunc(func() {
		agent.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the agent ended with %v\n%s", err, stderr.String())
			}
		case <-time.After(30 * time.Second):
			agent.Process.Kill()
			<-ended
			t.Errorf("the agent did not end\n%s", stderr.String())
		}
	})
	defer stop()
	defer func() {
		if t.Failed() {
			stop() // then nobody writes to the buffers
			t.Logf("the agent said\n%s", stderr.String())
		}
	}()

	path := named(t, "notenough", "alerted")
	program := harness.Start{Path: path}.Start(t)
	const there, gone = "HeapwrightE2eThere alerted", "HeapwrightE2eGone alerted"
	within(t, time.Minute, "Alertmanager knows that the process is there", func() bool {
		_, ok := managedAlerts(t, manager.URL())[there]
		return ok
	})
	a := managedAlerts(t, manager.URL())[there]
	host, _ := os.Hostname()
	if l := a.Labels; l["severity"] != "warning" || l["job"] != "heapwright" || l["instance"] != host || l["team"] != "e2e" {
		t.Errorf("the labels are %v", l)
	}
	if n := a.Annotations; n["summary"] == "" || n["remedy"] != "nothing" || !strings.Contains(n["evidence"], "rss_bytes: ") || n["link"] != a.GeneratorURL {
		t.Errorf("the annotations are %v", n)
	}
	if left := time.Until(a.EndsAt); left < time.Minute || left > 5*time.Minute {
		t.Errorf("without the agent it would end in %v", left)
	}
	resp, err := http.Get(a.GeneratorURL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !strings.Contains(a.GeneratorURL, "alerted") {
		t.Errorf("the link %s answers %s", a.GeneratorURL, resp.Status)
	}

	program.Kill(t)
	within(t, time.Minute, "Alertmanager knows that the process is gone", func() bool {
		_, ok := managedAlerts(t, manager.URL())[gone]
		return ok
	})
	harness.Start{Path: path}.Start(t)
	within(t, time.Minute, "Alertmanager knows that the process is back", func() bool {
		all := managedAlerts(t, manager.URL())
		_, isGone := all[gone]
		_, isThere := all[there]
		return isThere && !isGone
	})
	want := "e2e-there alerted firing,e2e-gone alerted firing,e2e-gone alerted resolved"
	within(t, time.Minute, "the webhook was told the same", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(hooked, ",") == want
	})

	stop()
	var printed []string
	for line := range bytes.Lines(stdout.Bytes()) {
		var a struct{ Rule, Process, State string }
		if json.Unmarshal(line, &a) == nil && a.Rule != "" {
			printed = append(printed, a.Rule+" "+a.Process+" "+a.State)
		}
	}
	if got := strings.Join(printed, ","); got != want {
		t.Errorf("on stdout it said %s, want %s", got, want)
	}
	// That the agent ended is no reason to believe that all is well.
	if _, ok := managedAlerts(t, manager.URL())[there]; !ok {
		t.Error("with the agent's end the alert has ended")
	}
}
