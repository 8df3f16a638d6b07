package heapwrightcaddy

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/heapwright/heapwright/guard/shed"
	"github.com/heapwright/heapwright/guard/sli"
	"github.com/heapwright/heapwright/memlimit"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// adapt returns the JSON of a Caddyfile.
func adapt(t testing.TB, text string) ([]byte, error) {
	t.Helper()
	out, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	for _, w := range warnings {
		if !strings.Contains(w.Message, "not formatted") {
			t.Errorf("warning: %v", w)
		}
	}
	return out, err
}

func TestAdapt(t *testing.T) {
	text, err := os.ReadFile("testdata/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	got, err := adapt(t, string(text))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, got, "", "\t"); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	const golden = "testdata/Caddyfile.json"
	if *update {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("it is now\n%s", b.Bytes())
	}
}

// inGlobal and inSite put lines into a Caddyfile, where they begin at line 4.
func inGlobal(block, lines string) string {
	return "{\n\theapwright {\n\t\t" + block + " {\n" + lines + "\n\t\t}\n\t}\n}\nhttp://localhost {\n\theapwright_guard\n}\n"
}

func inSite(lines string) string {
	return "http://localhost {\n\trespond ok\n\theapwright_guard {\n" + lines + "\n\t}\n}\n"
}

func TestBadCaddyfile(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"unknown part", "{\n\theapwright {\n\t\tmemory 1\n\t}\n}\n", `there is no setting "memory" here; there are memory_limit, guard, at Caddyfile:3`},
		{"argument", "{\n\theapwright on\n}\n", "Caddyfile:2"},
		{"two apps", "{\n\theapwright\n\theapwright\n}\n", "this is the second, at Caddyfile:3"},
		{"two guards", "{\n\theapwright {\n\t\tguard\n\t\tguard\n\t}\n}\n", "guard is set a second time, at Caddyfile:4"},

		{"limit of nothing", "{\n\theapwright {\n\t\tmemory_limit 0\n\t}\n}\n", `"0" is no size, such as 64MiB, at Caddyfile:3`},
		{"limit of what", "{\n\theapwright {\n\t\tmemory_limit much\n\t}\n}\n", `"much" is no size, such as 64MiB, at Caddyfile:3`},
		{"negative limit", "{\n\theapwright {\n\t\tmemory_limit -1GiB\n\t}\n}\n", `"-1GiB" is no size, such as 64MiB, at Caddyfile:3`},
		{"absurd limit", "{\n\theapwright {\n\t\tmemory_limit 9EiB\n\t}\n}\n", `"9EiB" is no size, such as 64MiB, at Caddyfile:3`},
		{"two limits", "{\n\theapwright {\n\t\tmemory_limit 1GiB 2GiB\n\t}\n}\n", "Caddyfile:3"},
		{"settings of none", "{\n\theapwright {\n\t\tmemory_limit off {\n\t\t\tdry_run\n\t\t}\n\t}\n}\n", "a memory limit that is off has no settings, at Caddyfile:4"},
		{"unknown limit", inGlobal("memory_limit", "max 1GiB"), `there is no setting "max" here; there are file, reserve, interval, objective, gogc, dry_run, at Caddyfile:4`},
		{"no file", inGlobal("memory_limit", "file"), "Caddyfile:4"},
		{"no interval", inGlobal("memory_limit", "interval 10"), `"10" is no duration, such as 10s, at Caddyfile:4`},
		{"dry run", inGlobal("memory_limit", "dry_run yes"), "Caddyfile:4"},
		{"one gogc", inGlobal("memory_limit", "objective\ngogc 50"), "Caddyfile:5"},
		{"no gogc", inGlobal("memory_limit", "objective\ngogc 50 off"), `"off" is no percentage of GOGC, such as 50, at Caddyfile:5`},
		{"gogc without objective", inGlobal("memory_limit", "gogc 50 400"), "gogc bounds what an objective chooses: without one GOGC stays as it is, at Caddyfile:3"},
		{"objective of what", inGlobal("memory_limit", "objective {\nrss 1GiB\n}"), `there is no setting "rss" here; there are gc_cpu, assist, pause_p99, at Caddyfile:5`},
		{"objective over all", inGlobal("memory_limit", "objective {\ngc_cpu 101%\n}"), `"101%" is no ratio, such as 0.25 or 25%, at Caddyfile:5`},

		{"unknown guard", inGlobal("guard", "shed all"), `there is no setting "shed" here; there are objective, no_objectives, capacity, budget, evidence, no_limiter, dry_run, at Caddyfile:4`},
		{"no signal", inGlobal("guard", "\nobjective pause 10ms"), `there is no signal "pause"; there are ["gc_pause_p99_seconds"`},
		{"signal's line", inGlobal("guard", "\nobjective pause 10ms"), "at Caddyfile:5"},
		{"no bound", inGlobal("guard", "objective goroutines"), "Caddyfile:4"},
		{"bound of a time", inGlobal("guard", "objective gc_pause_p99_seconds 10"), `"10" is no duration, such as 10s, at Caddyfile:4`},
		{"bound of a ratio", inGlobal("guard", "objective gc_cpu_ratio nan"), `"nan" is no ratio, such as 0.25 or 25%, at Caddyfile:4`},
		{"bound of a number", inGlobal("guard", "objective goroutines -1"), `"-1" is no bound of goroutines, which is a number, at Caddyfile:4`},
		{"objective twice", inGlobal("guard", "objective goroutines 1000 {\nratio 0.1\nratio 0.2\n}"), "ratio is set a second time, at Caddyfile:6"},
		{"objective and none", inGlobal("guard", "objective goroutines 1000\nno_objectives"), "there is an objective, and no_objectives, at Caddyfile:3"},
		{"no budget", inGlobal("guard", "budget 0"), "a budget of 0 sheds nothing: dry_run is for that, at Caddyfile:4"},
		{"long budget", inGlobal("guard", "budget 0.5 1m 2m"), "Caddyfile:4"},
		{"no evidence", inGlobal("guard", "evidence"), "Caddyfile:4"},
		{"little evidence", inGlobal("guard", "evidence /tmp {\nper_hour 0\n}"), `"0" is no number of bundles an hour, at Caddyfile:5`},

		{"unknown handler", inSite("rate 10"), `there is no setting "rate" here; there are class, health, retry_after, cost, at Caddyfile:4`},
		{"guard's setting", inSite("capacity 1GiB"), "capacity is a setting of the guard, of which there is one: put it into the global options, below heapwright and guard, at Caddyfile:4"},
		{"no class", inSite("class"), "Caddyfile:4"},
		{"class of what", inSite("class gold /x"), `parsing class: "gold" is none of low, normal, high, critical, at Caddyfile:4`},
		{"class by what", inSite("class low @x"), `"@x" is no path; other matchers go into a block, at Caddyfile:4`},
		{"class of both", inSite("class low /x {\nmethod GET\n}"), "a class has paths or a block of matchers, not both, at Caddyfile:5"},
		{"class of no block", inSite("class low {\n}"), "the block has no matchers, at Caddyfile:5"},
		{"class by unknown", inSite("class low {\nweather rain\n}"), "getting matcher module 'weather'"},
		{"two rests", inSite("class low\nclass high"), "a second class for all other requests, at Caddyfile:5"},
		{"health of nothing", inSite("health"), "Caddyfile:4"},
		{"health of all", inSite("health /health*"), `a health check is a whole path, such as /healthz; this is "/health*", at Caddyfile:4`},
		{"retry", inSite("retry_after never"), `"never" is no duration, such as 10s, at Caddyfile:4`},
		{"retry twice", inSite("retry_after 1s\nretry_after 2s"), "retry_after is set a second time, at Caddyfile:5"},
		{"cost", inSite("cost 1 2"), "Caddyfile:4"},
		{"ready", "http://localhost {\n\theapwright_ready /readyz {\n\t\tx\n\t}\n}\n", "heapwright_ready has no settings, at Caddyfile:3"},
	} {
		out, err := adapt(t, tt.text)
		if err == nil {
			t.Errorf("%s: it is\n%s", tt.name, out)
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %s", tt.name, err, tt.want)
		}
	}
}

// TestBadConfig has JSON that says what cannot be: Caddy's validation, which makes
// every module ready, finds it, and leaves nothing behind.
func TestBadConfig(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "evidence")
	const app = `{"apps": {"heapwright": %s}}`
	const handler = `{"apps": {"http": {"servers": {"s": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [{"handler": "heapwright_guard", %s}]}]}}}}}`
	for _, tt := range []struct{ form, text, want string }{
		{app, `{"limit": 1}`, `unknown field "limit"`},
		{app, `{"memory_limit": {"interval": -1}}`, "the interval is negative"},
		{app, `{"memory_limit": {"bytes": -1}}`, "cannot unmarshal"},
		{app, `{"memory_limit": {"bytes": 9223372036854775808}}`, "no machine has as much memory"},
		{app, `{"memory_limit": {"min_gogc": 50}}`, "bounds of GOGC are of no use without an objective"},
		{app, `{"memory_limit": {"objective": {"gc_cpu_ratio": 2}}}`, "memory controller"},
		{app, `{"guard": {"capacity_bytes": -1}}`, "the capacity is negative"},
		{app, `{"guard": {"budget": {"max_ratio": 2}}}`, "a budget is a ratio above 0 and up to 1"},
		{app, `{"guard": {"objectives": [{"signal": "weather"}]}}`, `there is no signal "weather"`},
		{app, `{"guard": {"objectives": [{"signal": "goroutines", "max": 1, "window": "1ms"}]}}`, "its window"},
		{app, `{"guard": {"evidence": {}}}`, "evidence has no directory"},
		{app, `{"guard": {"evidence": {"per_hour": 1}}}`, "there is nowhere for evidence to go"},
		{app, `{"guard": {"objectives": [{"signal": "goroutines", "max": 1, "ratio": 2}], "evidence": {"dir": "DIR"}}}`, "ratio"},
		{handler, `"class": "gold"`, `"gold" is none of low`},
		{handler, `"classes": [{"class": "low"}]`, "has no matchers"},
		{handler, `"classes": [{"class": "low", "match": [{"weather": {}}]}]`, "unknown module: http.matchers.weather"},
		{handler, `"cost_bytes": -1`, "cost and retry_after are not negative"},
	} {
		err := validate(fmt.Sprintf(tt.form, strings.ReplaceAll(tt.text, "DIR", filepath.ToSlash(dir))))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %s", tt.text, err, tt.want)
		}
	}
	for _, pool := range []*caddy.UsagePool{guards, recorders} {
		pool.Range(func(key, _ any) bool {
			t.Errorf("%v is left behind", key)
			return true
		})
	}
}

func validate(text string) error {
	var conf *caddy.Config
	if err := caddy.StrictUnmarshalJSON([]byte(text), &conf); err != nil {
		return err
	}
	return caddy.Validate(conf)
}

func TestObjectiveAndGOGC(t *testing.T) {
	t.Setenv("GOGC", "50")
	err := validate(`{"apps": {"heapwright": {"memory_limit": {"objective": {}}}}}`)
	if err == nil || !strings.Contains(err.Error(), "which the environment sets to 50") {
		t.Errorf("error %v", err)
	}
}

// TestEverySignal writes an objective of each signal, in its own unit.
func TestEverySignal(t *testing.T) {
	var lines, want []string
	for _, s := range sli.Signals() {
		max, value := "3", 3.0
		switch {
		case strings.HasSuffix(string(s), "_seconds"):
			max, value = "20ms", 0.02
		case strings.HasSuffix(string(s), "_ratio"):
			max, value = "7.5%", 0.075
		}
		lines = append(lines, fmt.Sprintf("objective %s %s", s, max))
		want = append(want, fmt.Sprintf("%s %v", s, value))
	}
	out, err := adapt(t, inGlobal("guard", strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	var conf struct{ Apps struct{ Heapwright *App } }
	if err := json.Unmarshal(out, &conf); err != nil {
		t.Fatal(err)
	}
	for i, o := range conf.Apps.Heapwright.Guard.Objectives {
		if got := fmt.Sprintf("%s %v", o.Signal, o.Max); got != want[i] {
			t.Errorf("%s, want %s", got, want[i])
		}
	}
	if err := validate(string(out)); err != nil {
		t.Error(err)
	}
}

// served runs a request through a handler that Caddy made ready.
func served(t *testing.T, h *Handler, r *http.Request, next caddyhttp.HandlerFunc) (*httptest.ResponseRecorder, error) {
	t.Helper()
	w := httptest.NewRecorder()
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
	return w, h.ServeHTTP(w, r, next)
}

// prepared returns a handler with these settings and a gate of its own.
func prepared(t testing.TB, settings string) *Handler {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	h := &Handler{gate: shed.NewGate(shed.Options{Capacity: 1 << 30})}
	if err := caddy.StrictUnmarshalJSON([]byte(settings), h); err != nil {
		t.Fatal(err)
	}
	if err := h.prepare(ctx); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHandler(t *testing.T) {
	h := prepared(t, `{
		"classes": [
			{"class": "critical", "match": [{"path": ["/commit"]}]},
			{"class": "high", "match": [{"path": ["/api/*"], "method": ["POST"]}, {"header": {"X-Vip": ["yes"]}}]}
		],
		"class": "low",
		"health": ["/lb"],
		"retry_after": "10s"
	}`)
	ok := func(w http.ResponseWriter, _ *http.Request) error { _, err := w.Write([]byte("ok")); return err }
	admitted := func() string { return fmt.Sprint(h.gate.Stats().Admitted) }
	for _, tt := range []struct {
		method, path, header string
		class                shed.Class
		health               bool
	}{
		{"GET", "/commit", "", shed.Critical, false},
		{"POST", "/api/x", "", shed.High, false},
		{"GET", "/api/x", "", shed.Low, false},
		{"GET", "/api/x", "yes", shed.High, false},
		{"GET", "/", "", shed.Low, false},
		{"GET", "/lb", "", 0, true},
		{"GET", "/healthz", "", shed.Low, false},
	} {
		before := h.gate.Stats().Admitted
		r := httptest.NewRequest(tt.method, tt.path, nil)
		if tt.header != "" {
			r.Header.Set("X-Vip", tt.header)
		}
		w, err := served(t, h, r, ok)
		if err != nil || w.Code != 200 || w.Body.String() != "ok" {
			t.Errorf("%v: %d %q, error %v", tt, w.Code, w.Body, err)
		}
		if !tt.health {
			before[tt.class]++
		}
		if want := fmt.Sprint(before); admitted() != want {
			t.Errorf("%v: admitted %v, want %v", tt, admitted(), want)
		}
	}

	h.gate.SetShares(shed.Shares{})
	after := map[string]bool{}
	for range 50 {
		w, err := served(t, h, httptest.NewRequest("GET", "/", nil), ok)
		if err != nil || w.Code != 503 || w.Body.String() != "503 service unavailable: too busy, try again later\n" || w.Header().Get("Cache-Control") != "no-store" {
			t.Fatalf("%d %q, error %v", w.Code, w.Body, err)
		}
		after[w.Header().Get("Retry-After")] = true
	}
	if len(after) < 3 || after["9"] || after["21"] || after[""] {
		t.Errorf("Retry-After is one of %v", after)
	}
	for _, path := range []string{"/lb", "/commit"} {
		if w, err := served(t, h, httptest.NewRequest("GET", path, nil), ok); err != nil || w.Code != 200 {
			t.Errorf("%s: %d, error %v", path, w.Code, err)
		}
	}
}

func TestHandlerReturnsTickets(t *testing.T) {
	h := prepared(t, `{"cost_bytes": 1000}`)
	r := httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat("x", 500)))
	var during int64
	_, err := served(t, h, r, func(http.ResponseWriter, *http.Request) error {
		during = h.gate.Stats().InFlightBytes
		return caddyhttp.Error(418, nil)
	})
	if err == nil || during != 1500 {
		t.Errorf("%d bytes in flight, error %v", during, err)
	}
	r.ContentLength = math.MaxInt64
	func() {
		defer func() { _ = recover() }()
		_, _ = served(t, h, r, func(http.ResponseWriter, *http.Request) error {
			during = h.gate.Stats().InFlightBytes
			panic(http.ErrAbortHandler)
		})
	}()
	if during != 1000+bodyCost {
		t.Errorf("%d bytes in flight for who says he sends %d", during, r.ContentLength)
	}
	if s := h.gate.Stats(); s.InFlight != 0 || s.InFlightBytes != 0 || s.Admitted.Total() != 2 {
		t.Errorf("afterwards %+v", s)
	}
}

// blockedLog is a log that takes nothing until it is closed.
type blockedLog struct {
	slog.Handler
	until chan struct{}
}

func (h blockedLog) Enabled(context.Context, slog.Level) bool { return true }

func (h blockedLog) Handle(context.Context, slog.Record) error {
	<-h.until
	return nil
}

// A reload does not fail for a log that has not taken the memory limit's lines.
func TestKeeperOfBlockedLog(t *testing.T) {
	k, app := &keeper{}, &App{}
	until := make(chan struct{})
	defer close(until)
	const mib = 1 << 20
	if err := k.take(app, &memlimit.Config{Bytes: 512 * mib, Logger: slog.New(blockedLog{slog.DiscardHandler, until})}); err != nil {
		t.Fatal(err)
	}
	next := &App{}
	if err := k.take(next, &memlimit.Config{Bytes: 400 * mib, Logger: slog.New(slog.DiscardHandler)}); err != nil || k.limitBytes() != 400*mib {
		t.Errorf("the next config: %v, a limit of %d bytes", err, k.limitBytes())
	}
	for _, a := range []*App{app, next} {
		if err := k.giveBack(a); err != nil {
			t.Error(err)
		}
	}
	if memlimit.Current() != nil {
		t.Error("a memory limit is left")
	}
}

// TestKeeper takes and gives back memory limits as Caddy does while configs are
// replaced.
func TestKeeper(t *testing.T) {
	k := &keeper{}
	conf := func(s MemoryLimit) (*App, func() error) {
		a := &App{MemoryLimit: s, keeper: k}
		return a, a.Start
	}
	start := func(s MemoryLimit) *App {
		t.Helper()
		a, f := conf(s)
		if err := f(); err != nil {
			t.Fatal(err)
		}
		return a
	}
	stop := func(a *App) {
		t.Helper()
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	limit := func() uint64 {
		if l := k.current(); l != nil {
			return l.Report().LimitBytes
		}
		return 0
	}
	const mib = 1 << 20
	first := start(MemoryLimit{Bytes: 512 * mib})
	one := k.current()
	second := start(MemoryLimit{Bytes: 512 * mib})
	stop(first)
	if k.current() != one || limit() != 512*mib || k.limitBytes() != 512*mib {
		t.Error("a config with the same settings has another limit")
	}
	third := start(MemoryLimit{Bytes: 300 * mib})
	if k.current() == one || limit() != 300*mib {
		t.Errorf("a config with other settings has a limit of %d", limit())
	}
	// It is refused, and the one before it goes on.
	stop(third)
	if limit() != 512*mib {
		t.Errorf("the limit is %d after a config was given up", limit())
	}
	if _, f := conf(MemoryLimit{Bytes: 1000}); f() == nil {
		t.Error("a limit of 1000 bytes is none")
	}
	if limit() != 512*mib {
		t.Errorf("the limit is %d after a config was refused", limit())
	}
	off := start(MemoryLimit{Off: true})
	stop(second)
	if k.current() != nil || k.limitBytes() != 0 {
		t.Error("a limit is kept that is off")
	}
	again := start(MemoryLimit{Bytes: 400 * mib})
	stop(off)
	if limit() != 400*mib {
		t.Errorf("the limit is %d", limit())
	}
	stop(again)
	if k.current() != nil || len(k.owners) != 0 {
		t.Errorf("%d configs are left", len(k.owners))
	}
}

func TestExampleInREADME(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, part := range strings.Split(string(readme), "\n```caddyfile\n")[1:] {
		text, _, _ := strings.Cut(part, "\n```")
		out, err := adapt(t, text)
		if err != nil {
			t.Errorf("%v\n%s", err, text)
			continue
		}
		text = strings.ReplaceAll(string(out), "/var/lib/caddy", filepath.ToSlash(t.TempDir()))
		if err := validate(text); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
		found++
	}
	if found == 0 {
		t.Error("there are no Caddyfiles in it")
	}
}

// FuzzCaddyfile reads what may stand in the option and in the directive. What is
// accepted is the same when it was JSON in between.
func FuzzCaddyfile(f *testing.F) {
	text, err := os.ReadFile("testdata/Caddyfile")
	if err != nil {
		f.Fatal(err)
	}
	for _, part := range strings.Split(string(text), "heapwright")[1:] {
		f.Add("heapwright" + part)
	}
	f.Add("heapwright { memory_limit 1GiB\n}")
	f.Add("heapwright {\nguard {\nobjective goroutines 1e3 {\nratio 1e-400\n}\nbudget 0x1p-2 9999999h\n}\n}")
	f.Add("heapwright_guard {\nclass low `{http.request.method} == 'GET'`\nclass low {\nnot path /x\n}\n}")
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := caddyfile.Tokenize([]byte(text), "Caddyfile")
		if err != nil || len(tokens) == 0 {
			t.Skip()
		}
		for _, to := range []func() caddyfile.Unmarshaler{
			func() caddyfile.Unmarshaler { return new(App) },
			func() caddyfile.Unmarshaler { return new(Handler) },
		} {
			read := to()
			if read.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)) != nil {
				continue
			}
			text, err := json.Marshal(read)
			if err != nil {
				t.Fatal(err)
			}
			again := to()
			if err := caddy.StrictUnmarshalJSON(text, again); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if second, err := json.Marshal(again); err != nil || !bytes.Equal(second, text) {
				t.Fatalf("%s is read as %s, error %v", text, second, err)
			}
		}
	})
}

func BenchmarkHandler(b *testing.B) {
	for _, bm := range []struct {
		name, settings string
		shares         shed.Shares
	}{
		{"admitted", `{}`, shed.All()},
		{"admitted_classes", `{"classes": [{"class": "critical", "match": [{"path": ["/commit", "/cancel"]}]}, {"class": "low", "match": [{"path": ["/export/*"], "method": ["GET"]}]}]}`, shed.All()},
		{"shed", `{}`, shed.Shares{}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			h := prepared(b, bm.settings)
			h.gate.SetShares(bm.shares)
			next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				w := discard{http.Header{}}
				r := caddyhttp.PrepareRequest(httptest.NewRequest("GET", "/", nil), caddy.NewReplacer(), w, nil)
				for pb.Next() {
					if err := h.ServeHTTP(w, r, next); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// discard is a response that nobody reads.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) WriteHeader(int)             {}
func (discard) Write(p []byte) (int, error) { return len(p), nil }
