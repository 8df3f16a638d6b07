package live

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/remote"
	"github.com/heapwright/heapwright/pacer"
)

// startGuarded runs examples/guarded, and returns the address of its debug page.
func startGuarded(t *testing.T, args ...string) (pid int, page string) {
	t.Helper()
	buildProgram(t, "subject", "") // skips where nothing is written, and makes the directory
	buildMu.Lock()
	path, ok := built["guarded"]
	if !ok {
		path = filepath.Join(buildDir, "guarded")
		cmd := exec.Command("go", "build", "-o", path, "./examples/guarded")
		cmd.Dir = "../../.."
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false", "GOPROXY=off", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			buildMu.Unlock()
			t.Fatalf("building: %v\n%s", err, out)
		}
		built["guarded"] = path
	}
	buildMu.Unlock()
	cmd := exec.Command(path, append([]string{"-addr", "127.0.0.1:0", "-debug", "127.0.0.1:0", "-limit", "1024", "-rate", "20"}, args...)...)
	cmd.Env = append(os.Environ(), "GODEBUG=", "GOGC=", "GOMEMLIMIT=", "GOMAXPROCS=2")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewReader(out)
	said, err := lines.ReadString('\n')
	m := regexp.MustCompile(`http://\S+/debug/heapwright/`).FindString(said)
	if err != nil || m == "" {
		t.Fatalf("the program says %q, %v", said, err)
	}
	if _, err := lines.ReadString('\n'); err != nil { // ready
		t.Fatal(err)
	}
	return cmd.Process.Pid, m
}

// settingsOf reads a process's settings from its memory.
func settingsOf(t *testing.T, pid int) settingPair {
	t.Helper()
	target, err := remote.Attach(context.Background(), pid)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	var v Via
	b, err := readBooks(target, &v.sample)
	if err != nil {
		t.Fatal(err)
	}
	return settingPair{int64(b.percent), b.limit}
}

// TestVia changes a program that uses memlimit, through the program itself.
func TestVia(t *testing.T) {
	ctx := context.Background()
	pid, page := startGuarded(t, "-allow-change")
	h := testHost(t.TempDir())
	before := settingsOf(t, pid)
	wanted := Change{GOGCPercent: ptr(250), GOMEMLIMITBytes: ptr(700 << 20)}
	changed := settingPair{250, 700 << 20}

	// From outside it is refused, with the way that there is.
	s, err := h.Open(ctx, pid)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Describe(wanted)
	var self *SelfTunedError
	if !errors.As(err, &self) || !self.Ours || !strings.Contains(self.Hint(), "--via") {
		t.Errorf("writing into it: %v", err)
	}
	s.Close()

	open := func() *Via {
		t.Helper()
		v, err := h.OpenVia(ctx, pid, page)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { v.Close() })
		return v
	}
	v := open()
	if steps, err := v.Describe(wanted); err != nil || len(steps) != 2 || steps[0].New != 250 || steps[1].New != 700<<20 {
		t.Errorf("steps %v, %v", steps, err)
	}
	for name, c := range map[string]Change{"a limit below what lives": {GOMEMLIMITBytes: ptr(1 << 20)}, "GOGC=off": {GOGCPercent: ptr(-1)}, "nothing": {GOGCPercent: &before.GOGC}} {
		if _, err := v.Describe(c); err == nil {
			t.Errorf("%s is described", name)
		}
	}
	if _, err := v.Describe(wanted); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Apply(ctx, wanted, "a test"); err != nil {
		t.Fatal(err)
	}
	if got := settingsOf(t, pid); got != changed {
		t.Errorf("after the change: %+v", got)
	}
	other := open()
	if _, err := other.Apply(ctx, Change{GOGCPercent: ptr(80)}, "another"); !errors.As(err, new(*OwnedError)) {
		t.Errorf("a second tool: %v", err)
	}
	out, err := v.Watch(ctx, Expectation{For: 2 * time.Second, EffectCycles: 1000}, nil)
	if err != nil || out.Verdict.Decision != GoOn {
		t.Errorf("watching: %+v, %v", out.Verdict, err)
	}
	r, err := v.Revert("the test is over")
	if err != nil || len(r.Steps) != 2 || settingsOf(t, pid).GOGC != before.GOGC {
		t.Errorf("reverting: %+v, %v, settings %+v", r, err, settingsOf(t, pid))
	}
	v.Close()

	// Kept, it outlives the tool, and undo ends it.
	v = open()
	if _, err := v.Apply(ctx, wanted, "a test"); err != nil {
		t.Fatal(err)
	}
	if err := v.Keep(); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if got := settingsOf(t, pid); got != changed {
		t.Errorf("after it was kept: %+v", got)
	}
	if r, err := h.UndoVia(ctx, pid, page); err != nil || len(r.Steps) != 2 {
		t.Errorf("undo: %+v, %v", r, err)
	}
	if got := settingsOf(t, pid); got.GOGC != before.GOGC || got.GOMEMLIMIT == changed.GOMEMLIMIT {
		t.Errorf("after undo: %+v, before %+v", got, before)
	}

	// Closed without a word it is taken back.
	v = open()
	if _, err := v.Apply(ctx, wanted, "a test"); err != nil {
		t.Fatal(err)
	}
	// Somebody else ends it: that shows.
	if err := v.point.release(ctx); err != nil {
		t.Fatal(err)
	}
	if out, err := v.Watch(ctx, Expectation{For: time.Minute}, nil); err != nil || out.Verdict.Decision != StandAside {
		t.Errorf("watching what somebody else ended: %+v, %v", out.Verdict, err)
	}
	v.Close()
	v = open()
	if _, err := v.Apply(ctx, wanted, "a test"); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if got := settingsOf(t, pid); got.GOGC != before.GOGC {
		t.Errorf("after closing: %+v", got)
	}

	log, _, err := h.History()
	if err != nil {
		t.Fatal(err)
	}
	var did []string
	for _, e := range log {
		if e.Outcome != "ok" || e.PID != pid {
			t.Errorf("in the log: %+v", e)
		}
		did = append(did, string(e.Action))
	}
	if got, want := strings.Join(did, " "), "apply revert apply keep undo apply revert apply revert"; got != want {
		t.Errorf("the log has %q, want %q", got, want)
	}
}

// TestViaOfAnother gives a page that is not the process's own, or not willing.
func TestViaOfAnother(t *testing.T) {
	ctx := context.Background()
	h := testHost(t.TempDir())
	pid, page := startGuarded(t)
	tg := start(t, buildProgram(t, "subject", ""))
	for _, tt := range []struct {
		name string
		pid  int
		want string
	}{
		{"another process's", tg.pid(), "belongs to process"},
		{"one that allows nothing", pid, "does not allow changes"},
	} {
		_, err := h.OpenVia(ctx, tt.pid, page)
		var e *EndpointError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) || e.Hint() == "" {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	tg.unchanged()
}

// A fakePage answers as a debug page of a process does, and changes nothing.
type fakePage struct {
	mu    sync.Mutex
	get   string // answer to GET; "" is that of the process
	pid   int
	ticks uint64
	did   []string
	post  func(w http.ResponseWriter) // nil is an answer that all is well
}

func (p *fakePage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.Method {
	case http.MethodGet:
		if p.get == "" {
			fmt.Fprintf(w, `{"schema": %q, "process": {"pid": %d, "start_ticks": %d}, "change": {"allowed": true, "active": null}, "more": 1}`, debugzSchema, p.pid, p.ticks)
		}
		fmt.Fprint(w, p.get)
		return
	case http.MethodPost:
		var body struct {
			GOGC  int64   `json:"gogc_percent"`
			Limit int64   `json:"gomemlimit_bytes"`
			Lease float64 `json:"lease_seconds"`
			By    string  `json:"by"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Header.Get("Content-Type") != "application/json" || r.URL.Path != "/debug/heapwright/override" {
			http.Error(w, "not as it should be", http.StatusBadRequest)
			return
		}
		p.did = append(p.did, fmt.Sprintf("POST %d %d %g %s", body.GOGC, body.Limit, body.Lease, body.By))
		if p.post != nil {
			p.post(w)
			return
		}
	case http.MethodDelete:
		p.did = append(p.did, "DELETE")
	}
	fmt.Fprintf(w, `{"schema": %q}`, overrideSchema)
}

func TestViaPageThatLies(t *testing.T) {
	ctx := context.Background()
	h := testHost(t.TempDir())
	tg := start(t, buildProgram(t, "subject", ""))
	s := tg.open(h)
	page := &fakePage{pid: tg.pid(), ticks: s.target.Process().StartTicks()}
	server := httptest.NewServer(page)
	defer server.Close()
	v, err := h.OpenVia(ctx, tg.pid(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	// It says yes, and nothing happens.
	_, err = v.Apply(ctx, Change{GOGCPercent: ptr(60)}, "a test")
	if err == nil || !strings.Contains(err.Error(), "in the process runtime.gcController.gcPercent is not") {
		t.Errorf("a page that lies: %v", err)
	}
	if got, want := strings.Join(page.did, ", "), fmt.Sprintf("POST 60 %d 120 heapwright, tester, DELETE", int64(pacer.NoMemoryLimit)); got != want {
		t.Errorf("it was asked for %q, want %q", got, want)
	}
	// It says no, with what a terminal would act on.
	page.post = func(w http.ResponseWriter) {
		http.Error(w, "somebody \x1b[31melse\x1b[0m has it\nand more", http.StatusConflict)
	}
	_, err = v.Apply(ctx, Change{GOGCPercent: ptr(60)}, "a test")
	if err == nil || !strings.Contains(err.Error(), "it answers 409: somebody [31melse[0m has it") || strings.ContainsAny(strings.Split(err.Error(), "\n")[0], "\x1b") {
		t.Errorf("a page that refuses: %q", err)
	}
	for name, get := range map[string]string{
		"no JSON":         "<html>",
		"another schema":  `{"schema": "heapwright.debugz/2", "process": {"pid": 1}}`,
		"no start":        fmt.Sprintf(`{"schema": %q, "process": {"pid": %d}, "change": {"allowed": true}}`, debugzSchema, tg.pid()),
		"another start":   fmt.Sprintf(`{"schema": %q, "process": {"pid": %d, "start_ticks": 1}, "change": {"allowed": true}}`, debugzSchema, tg.pid()),
		"another process": fmt.Sprintf(`{"schema": %q, "process": {"pid": 0, "start_ticks": %d}, "change": {"allowed": true}}`, debugzSchema, page.ticks),
		"not allowed":     fmt.Sprintf(`{"schema": %q, "process": {"pid": %d, "start_ticks": %d}}`, debugzSchema, tg.pid(), page.ticks),
		"endless":         strings.Repeat(" ", maxAnswer+1) + "{}",
	} {
		page.mu.Lock()
		page.get = get
		page.mu.Unlock()
		if _, err := h.OpenVia(ctx, tg.pid(), server.URL); !errors.As(err, new(*EndpointError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	server.Close()
	if _, err := h.OpenVia(ctx, tg.pid(), server.URL); !errors.As(err, new(*EndpointError)) || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("a page that is not there: %v", err)
	}
	tg.unchanged()
}

// TestViaRenews holds that a lease is renewed while it is watched.
func TestViaRenews(t *testing.T) {
	ctx := context.Background()
	pid, page := startGuarded(t, "-allow-change")
	v, err := testHost(t.TempDir()).OpenVia(ctx, pid, page)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := v.Apply(ctx, Change{GOGCPercent: ptr(300)}, "a test"); err != nil {
		t.Fatal(err)
	}
	v.renewed = v.renewed.Add(-viaLease / 2)
	was := v.renewed
	if out, err := v.Watch(ctx, Expectation{For: time.Second, EffectCycles: 1000}, nil); err != nil || out.Verdict.Decision != GoOn || !v.renewed.After(was) {
		t.Errorf("watching: %+v, %v; renewed %v after %v", out.Verdict, err, v.renewed, was)
	}
	if got := settingsOf(t, pid); got.GOGC != 300 {
		t.Errorf("after the renewal: %+v", got)
	}
}

func TestPageAddress(t *testing.T) {
	for text, want := range map[string]string{
		"http://127.0.0.1:6060":                   "http://127.0.0.1:6060/debug/heapwright/",
		"http://127.0.0.1:6060/":                  "http://127.0.0.1:6060/debug/heapwright/",
		"http://127.0.0.1:6060/debug/heapwright":  "http://127.0.0.1:6060/debug/heapwright/",
		"http://127.0.0.1:6060/debug/heapwright/": "http://127.0.0.1:6060/debug/heapwright/",
		"https://api.internal/x":                  "https://api.internal/x/",
		"127.0.0.1:6060":                          "",
		"localhost":                               "",
		"":                                        "",
		"ftp://127.0.0.1/":                        "",
		"http://":                                 "",
		"http://user:secret@127.0.0.1/":           "",
		"http://127.0.0.1/?format=json":           "",
		"http://127.0.0.1:6060/%zz":               "",
	} {
		e, err := openEndpoint(text)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q is taken for %s", text, e.base)
		case want != "" && (err != nil || e.base.String() != want):
			t.Errorf("%q: %v, %v", text, e, err)
		}
	}
}
