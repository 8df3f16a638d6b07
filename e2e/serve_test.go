package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/servers"
)

// An agent is a running heapwright serve.
type agent struct {
	cmd *exec.Cmd
	url string

	mu     sync.Mutex
	stderr bytes.Buffer
}

// Write takes what the agent says on stderr.
func (a *agent) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stderr.Write(b)
}

// log is what it has said so far.
func (a *agent) log() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stderr.String()
}

func startAgent(t *testing.T, config string) *agent {
	t.Helper()
	return startCommand(t, exec.Command(product.Binary, "serve", "--config", config))
}

// startCommand starts an agent, and waits until it listens.
func startCommand(t *testing.T, cmd *exec.Cmd) *agent {
	t.Helper()
	a := &agent{cmd: cmd}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	}
	cmd.Stderr = a
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.kill)
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		if u, ok := strings.CutPrefix(sc.Text(), "heapwright serves "); ok {
			a.url = strings.TrimRight(u, "/")
			go io.Copy(io.Discard, out)
			return a
		}
	}
	a.kill()
	t.Fatalf("heapwright serve ended:\n%s", a.log())
	return nil
}

func (a *agent) kill() {
	a.cmd.Process.Kill()
	a.cmd.Wait()
}

// serveFile writes a configuration with the lines of more, and returns its path.
func serveFile(t *testing.T, dir string, more ...string) string {
	t.Helper()
	file := filepath.Join(dir, "serve.yaml")
	text := fmt.Sprintf("listen: 127.0.0.1:0\ndata: %s\n%s\n", filepath.Join(dir, "data"), strings.Join(more, "\n"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// named copies an example under a name that no other test's agent watches.
func named(t *testing.T, example, name string) string {
	t.Helper()
	return copied(t, product.Example(example), name)
}

// copied is a program under another name.
func copied(t *testing.T, path, name string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// get asks the agent's own API, and decodes what it says.
func (a *agent) get(t *testing.T, doc any, path string, query ...string) {
	t.Helper()
	if body := a.body(t, "/api/heapwright/v1/"+path, query...); json.Unmarshal(body, doc) != nil {
		t.Fatalf("%s says %.300s", path, body)
	}
}

// body is what the agent answers; query is names and values in turn.
func (a *agent) body(t *testing.T, path string, query ...string) []byte {
	t.Helper()
	q := url.Values{}
	for i := 0; i < len(query); i += 2 {
		q.Set(query[i], query[i+1])
	}
	resp, err := http.Get(a.url + path + "?" + q.Encode())
	if err != nil {
		t.Fatalf("%s: %v\n%s", path, err, a.log())
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %.300s, %v", path, resp.Status, body, err)
	}
	return body
}

type servedProcess struct {
	ID       string
	PID      int
	Up       bool
	Lives    int
	Live     float64 `json:"heap_live_bytes"`
	Goal     float64 `json:"heap_goal_bytes"`
	RSS      float64 `json:"rss_bytes"`
	Cycles   float64 `json:"gc_cycles_per_second"`
	Findings []struct{ ID, Severity string }
	Error    *string
}

// named is what the agent calls the process with a PID: other tests run servers of the
// same name. It is "" while it does not watch it.
func (a *agent) named(t *testing.T, pid int) string {
	t.Helper()
	var doc struct{ Processes []servedProcess }
	a.get(t, &doc, "processes")
	for _, p := range doc.Processes {
		if p.PID == pid && p.Live > 0 {
			return p.ID
		}
	}
	return ""
}

// process is a process that the agent watches, nil when it does not.
func (a *agent) process(t *testing.T, id string) *servedProcess {
	t.Helper()
	var doc struct{ Processes []servedProcess }
	a.get(t, &doc, "processes")
	for i := range doc.Processes {
		if doc.Processes[i].ID == id {
			return &doc.Processes[i]
		}
	}
	return nil
}

// TestServe watches a real server under load and a program that leaks goroutines, and
// asks for all that the pages show: what is now, what was, findings, profiles, PromQL.
// Then the agent is killed, and goes on where it was.
func TestServe(t *testing.T) {
	t.Parallel()
	inst := startServerAs(t, servers.NATS, "served")
	stop := underLoad(t, inst, inst.ModerateLoad())
	defer stop()
	leak := harness.Start{Path: named(t, "goroutines", "leaky")}.Start(t)
	config := serveFile(t, t.TempDir(), "discovery: {interval: 1s, min_uptime: 0s, include: [served, leaky]}",
		"diagnose: {interval: 5s}", "snapshots: {interval: 15s}")
	a := startAgent(t, config)
	defer func() {
		if t.Failed() {
			t.Logf("the agent said:\n%s", a.log())
		}
	}()
	until(t, "both are watched", func() bool { return a.named(t, inst.PID) != "" && a.named(t, leak.PID) == "leaky" })
	nats := a.named(t, inst.PID)
	if resp, err := http.Get(a.url + "/readyz"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("it is not ready: %v, %v", resp, err)
	}

	// What it shows is what ps shows.
	var ps struct {
		Processes []struct {
			PID  int
			Live float64 `json:"heap_live_bytes"`
			RSS  float64 `json:"rss_bytes"`
		}
	}
	product.JSON(t, &ps, "ps", "served")
	until(t, "it shows what ps shows", func() bool {
		p := a.process(t, nats)
		near := func(x, y float64) bool { return x > y/3 && x < 3*y }
		for _, row := range ps.Processes {
			if row.PID == inst.PID {
				return near(p.RSS, row.RSS) && near(p.Live, row.Live)
			}
		}
		return false
	})

	// The leak is found, and kept as an episode.
	until(t, "the leak is found", func() bool {
		var doc struct {
			Episodes []struct {
				ID    string
				Began time.Time
				Ended *time.Time
			}
		}
		a.get(t, &doc, "findings", "process", "leaky", "open", "1")
		for _, e := range doc.Episodes {
			if strings.HasPrefix(e.ID, "HW3") && !e.Began.IsZero() {
				return true
			}
		}
		return false
	})

	// Time lines and cycles.
	until(t, "there is a time line with cycles", func() bool {
		var lines struct {
			Time   []float64
			Series []struct {
				Name   string
				Values []*float64
			}
		}
		a.get(t, &lines, "series", "process", nats, "set", "memory", "from", "now-1m", "to", "now", "points", "60")
		var cycles struct {
			Total  int
			Cycles []struct {
				N     uint64
				Pause float64 `json:"pause_seconds"`
			}
		}
		a.get(t, &cycles, "cycles", "process", nats, "from", "now-5m", "to", "now")
		return len(lines.Time) > 10 && len(lines.Series) >= 3 && cycles.Total > 2 && cycles.Cycles[0].Pause > 0
	})

	// Profiles, as trees and for go tool pprof.
	var snapshots struct{ Snapshots []struct{ Key string } }
	until(t, "there are two snapshots", func() bool {
		a.get(t, &snapshots, "snapshots", "process", "leaky")
		return len(snapshots.Snapshots) >= 2
	})
	first, last := snapshots.Snapshots[0].Key, snapshots.Snapshots[len(snapshots.Snapshots)-1].Key
	var goroutines struct {
		Total  int
		Base   int `json:"base_total"`
		Groups []struct {
			Growth int
			Reason string `json:"wait_reason"`
		}
	}
	a.get(t, &goroutines, "goroutines", "process", "leaky", "at", last, "base", first)
	if goroutines.Total <= goroutines.Base || len(goroutines.Groups) == 0 || goroutines.Groups[0].Growth <= 0 {
		t.Errorf("the goroutines of a leak: %+v", goroutines)
	}
	var tree struct {
		Root struct{ Children []json.RawMessage }
	}
	a.get(t, &tree, "profile", "process", "leaky", "at", last, "type", "goroutines")
	if len(tree.Root.Children) == 0 {
		t.Error("the tree of goroutines is empty")
	}
	p, err := pprof.Parse(bytes.NewReader(a.body(t, "/api/heapwright/v1/profile", "process", "leaky", "at", last, "type", "goroutines", "format", "pprof")))
	if err != nil || len(p.Sample) == 0 {
		t.Errorf("the pprof file: %v, %v", p, err)
	}

	// PromQL, and the page for a Prometheus.
	var up struct {
		Data struct{ Result []json.RawMessage }
	}
	if err := json.Unmarshal(a.body(t, "/api/v1/query", "query", `go_goroutines{process="leaky"} > 0`), &up); err != nil || len(up.Data.Result) != 1 {
		t.Errorf("PromQL: %+v, %v", up, err)
	}
	if page := string(a.body(t, "/metrics")); !strings.Contains(page, `go_goroutines{process="leaky"}`) || !strings.Contains(page, "heapwright_agent_samples_total") {
		t.Errorf("/metrics is %.500s", page)
	}

	// The live stream.
	resp, err := http.Get(a.url + "/api/heapwright/v1/live?process=" + url.QueryEscape(nats))
	if err != nil {
		t.Fatal(err)
	}
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		if data, ok := strings.CutPrefix(sc.Text(), "data: "); ok {
			if !strings.Contains(data, `"heap_live_bytes":`) {
				t.Errorf("the stream says %s", data)
			}
			break
		}
	}
	resp.Body.Close()

	// The agent dies: what was there is there, and the processes are who they were.
	mine := fmt.Sprintf(`go_goroutines{process=~"leaky|%s"}`, nats)
	before := raw(t, a.url, mine, time.Now())
	a.kill()
	leak.Kill(t)
	again := harness.Start{Path: named(t, "goroutines", "leaky")}.Start(t)
	a = startAgent(t, config)
	until(t, "the next life of the leak joins the first", func() bool {
		p := a.process(t, "leaky")
		return p != nil && p.PID == again.PID
	})
	after := raw(t, a.url, mine, time.Now())
	for series, points := range before {
		have := map[string]bool{}
		for _, p := range after[series] {
			have[p] = true
		}
		for _, p := range points {
			if !have[p] {
				t.Fatalf("a sample of %s that was stored is lost: %s", series, p)
			}
		}
	}
	if len(before) != 2 {
		t.Errorf("%d series of goroutines", len(before))
	}

	// A process dies while it is watched.
	again.Kill(t)
	until(t, "its end is seen", func() bool { p := a.process(t, "leaky"); return p != nil && !p.Up })
	var events struct{ Events []struct{ Event string } }
	a.get(t, &events, "events", "process", "leaky")
	if n := len(events.Events); n == 0 || events.Events[n-1].Event != "exited" {
		t.Errorf("events: %+v", events)
	}

	// A reload, a mistake in one, and the end.
	serveFile(t, filepath.Dir(config), "discovery: {interval: 1s, min_uptime: 0s, exclude: [served]}")
	a.cmd.Process.Signal(syscall.SIGHUP)
	until(t, "the reload is said", func() bool { return strings.Contains(a.log(), "discovery.exclude") })
	until(t, "who is left out now is watched no longer", func() bool { return a.process(t, nats) == nil })
	if err := os.WriteFile(config, []byte("lisen: x"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.cmd.Process.Signal(syscall.SIGHUP)
	until(t, "the mistake is said", func() bool { return strings.Contains(a.log(), "lisen") })
	harness.Alive(t, inst.PID)
	a.cmd.Process.Signal(syscall.SIGTERM)
	if err := a.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v\n%s", err, a.log())
	}
}

// TestServeAnother: an agent shows what another one stores, for it speaks as a
// Prometheus does.
func TestServeAnother(t *testing.T) {
	t.Parallel()
	harness.Start{Path: named(t, "churn", "churn-there")}.Start(t)
	a := startAgent(t, serveFile(t, t.TempDir(), "discovery: {interval: 1s, min_uptime: 0s, include: [churn-there]}"))
	until(t, "it is watched", func() bool { p := a.process(t, "churn-there"); return p != nil && p.Cycles > 0 })
	b := startAgent(t, serveFile(t, t.TempDir(), "discovery: {interval: 1s, include: [nothing-at-all]}", "storage: {url: \""+a.url+"\"}"))
	until(t, "the other one shows it", func() bool {
		var cycles struct{ Total int }
		b.get(t, &cycles, "cycles", "process", "churn-there", "from", "now-5m", "to", "now")
		return cycles.Total > 0
	})
	// And so do the commands, by the other one too, which keeps nothing itself.
	until(t, "what is stored is diagnosed", func() bool {
		var d harness.Diagnosis
		r := product.Run(t, "diagnose", "--store", a.url, "--for", "5m", "--json", "churn-there")
		if r.Code != 0 && r.Code != 1 {
			return false // too little yet
		}
		r.Decode(t, &d)
		return d.Find("HW2001") != nil
	})
	if r := product.Run(t, "diagnose", "--store", a.url, "nobody"); r.Code != harness.CouldNotRun || !strings.Contains(r.Stderr, "nothing is stored") {
		t.Error(r)
	}
	if p := b.process(t, "churn-there"); p != nil {
		t.Errorf("it watches what it was told not to: %+v", p)
	}
}

// TestServeRefuses: what cannot be run says what to do, and ends with 2.
func TestServeRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := serveFile(t, dir, "discovery: {include: [nothing-at-all]}")
	a := startAgent(t, config)
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"a second agent on the same data", []string{"--config", config}, fmt.Sprint(a.cmd.Process.Pid)},
		{"everybody's address without TLS", []string{"--data", t.TempDir(), "--listen", "0.0.0.0:0"}, "TLS"},
		{"an address that is taken", []string{"--data", t.TempDir(), "--listen", strings.TrimPrefix(a.url, "http://")}, "address already in use"},
		{"a file that is none", []string{"--config", filepath.Join(dir, "none.yaml")}, "no such file"},
		{"a directory that cannot be", []string{"--data", filepath.Join(config, "x"), "--listen", "127.0.0.1:0"}, "not a directory"},
	} {
		r := product.Run(t, append([]string{"serve"}, tt.args...)...)
		if r.Code != harness.CouldNotRun || !strings.Contains(r.Stderr, tt.want) || strings.Contains(r.Stderr, "goroutine ") {
			t.Errorf("%s: want %q\n%v", tt.name, tt.want, r)
		}
	}
	if r := product.Run(t, "serve", "--config", config, "--check-config"); r.Code != 0 {
		t.Error(r)
	}
	if r := product.Run(t, "serve", "--print-config"); r.Code != 0 || !strings.Contains(string(r.Stdout), "retention") {
		t.Error(r)
	}
}

// TestServeUnseen: what a user without rights cannot see is listed, with what to do.
func TestServeUnseen(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root, to run the agent as somebody else")
	}
	prog := harness.Start{Path: named(t, "churn", "of-root")}.Start(t)
	dir, err := os.MkdirTemp("", "heapwright-serve")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "heapwright")
	text, err := os.ReadFile(product.Binary)
	if err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	if err := os.WriteFile(binary, text, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(data, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	a := startCommand(t, func() *exec.Cmd {
		cmd := exec.Command(binary, "serve", "--listen", "127.0.0.1:0", "--data", data)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		return cmd
	}())
	until(t, "root's process is listed as one that cannot be seen", func() bool {
		var doc struct {
			Unseen []struct {
				PID    int
				Reason string
				Hint   *string
			}
		}
		a.get(t, &doc, "processes")
		for _, u := range doc.Unseen {
			if u.PID == prog.PID {
				return u.Reason != "" && u.Hint != nil
			}
		}
		return false
	})
}

// TestServeForwards sends what it stores to a Prometheus, which has the same then.
// TestForward does more of it, to more.
func TestServeForwards(t *testing.T) {
	t.Parallel()
	prometheus := startServer(t, servers.PrometheusReceiver)
	harness.Start{Path: named(t, "churn", "churn-sent")}.Start(t)
	a := startAgent(t, serveFile(t, t.TempDir(), "discovery: {interval: 1s, min_uptime: 0s, include: [churn-sent]}",
		fmt.Sprintf("forward: {remote_write: [{url: %q}]}", prometheus.Base()+"/api/v1/write")))
	const what = `{process="churn-sent", __name__=~"go_goroutines|heapwright_gc_cycle_pause_seconds"}`
	until(t, "samples and cycles have arrived", func() bool { return len(raw(t, prometheus.Base(), what, time.Now())) == 2 })
	there := raw(t, prometheus.Base(), what, time.Now())
	here := raw(t, a.url, what, time.Now())
	for series, points := range there {
		if len(here[series]) < len(points) || strings.Join(here[series][:len(points)], " ") != strings.Join(points, " ") {
			t.Errorf("%s: %d points here, and there others: %d", series, len(here[series]), len(points))
		}
	}
}

// TestServeChanges changes a process through the agent, as an operator, and nobody else
// can: the file has to allow it, and a token has to be shown.
func TestServeChanges(t *testing.T) {
	t.Parallel()
	prog := harness.Start{Path: named(t, "churn", "churn-changed")}.Start(t)
	dir := t.TempDir()
	reader, operator := filepath.Join(dir, "reader"), filepath.Join(dir, "operator")
	const readerToken, operatorToken = "reader-0123456789abcdef", "operator-0123456789abcdef"
	for file, token := range map[string]string{reader: readerToken, operator: "alice " + operatorToken} {
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := startAgent(t, serveFile(t, dir, "discovery: {interval: 1s, min_uptime: 0s, include: [churn-changed]}",
		fmt.Sprintf("access: {reader_token_file: %q, operator_token_file: %q, allow_changes: true}", reader, operator)))
	ask := func(token, method, path, body string) (int, string) {
		req, err := http.NewRequest(method, a.url+"/api/heapwright/v1/"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	until(t, "it is watched", func() bool {
		status, text := ask(readerToken, "GET", "processes", "")
		return status == http.StatusOK && strings.Contains(text, `"gogc_percent":100`)
	})
	const change = `{"process": "churn-changed", "gogc": "170", "lease_seconds": 600, "reason": "a test"}`
	gogc := func() int64 {
		var ps struct {
			Processes []struct {
				PID  int
				GOGC int64 `json:"gogc_percent"`
			}
		}
		product.JSON(t, &ps, "ps", "churn-changed")
		for _, p := range ps.Processes {
			if p.PID == prog.PID {
				return p.GOGC
			}
		}
		return 0
	}
	if status, _ := ask("", "GET", "processes", ""); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", status)
	}
	if status, text := ask(readerToken, "POST", "change", change); status != http.StatusForbidden || gogc() != 100 {
		t.Errorf("a reader changes: %d %s", status, text)
	}
	if status, text := ask(operatorToken, "POST", "change", strings.Replace(change, "{", `{"dry_run": true, `, 1)); status != http.StatusOK || gogc() != 100 {
		t.Errorf("a plan: %d %s", status, text)
	}
	if status, text := ask(operatorToken, "POST", "change", change); status != http.StatusOK || gogc() != 170 {
		t.Fatalf("an operator changes: %d %s, GOGC is %d", status, text, gogc())
	}
	if status, text := ask(operatorToken, "POST", "undo", `{"process": "churn-changed"}`); status != http.StatusOK || gogc() != 100 {
		t.Errorf("an operator undoes: %d %s, GOGC is %d", status, text, gogc())
	}
	// Of what is in effect when the agent ends, nothing stays.
	if status, text := ask(operatorToken, "POST", "change", change); status != http.StatusOK || gogc() != 170 {
		t.Fatalf("an operator changes again: %d %s, GOGC is %d", status, text, gogc())
	}
	a.cmd.Process.Signal(syscall.SIGTERM)
	a.cmd.Wait()
	if got := gogc(); got != 100 {
		t.Errorf("after the end of the agent GOGC is %d", got)
	}
	audit, err := os.ReadFile(filepath.Join(dir, "data", "audit.log"))
	if err != nil || strings.Count(string(audit), "alice") < 3 || strings.Contains(string(audit), operatorToken) {
		t.Errorf("the audit log: %s, %v", audit, err)
	}
	harness.Alive(t, prog.PID)
}
