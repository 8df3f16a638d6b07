package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/heapwright/heapwright/cmd/internal/agent"
	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/web"
	"github.com/heapwright/heapwright/record"
)

func TestSession(t *testing.T) {
	w := newWorld(t)
	var d plainSession
	if w.get("session", &d); d.Role != "reader" || d.ChangesEnabled || d.CSRF.Header != web.CSRFHeader || d.Store.Kind != "embedded" || d.Store.URL != nil || d.Now != "2026-01-02T04:04:05.000Z" {
		t.Errorf("got %+v", d)
	}
	w.sources.StoreURL, w.sources.Changer = "http://prom:9090", &fakeChanger{}
	if w.get("session", &d); !d.ChangesEnabled || d.Store.Kind != "remote" || *d.Store.URL != "http://prom:9090" {
		t.Errorf("got %+v", d)
	}
}

// plainSession is a session as who reads JSON has it.
type plainSession struct {
	Role           string
	ChangesEnabled bool `json:"changes_enabled"`
	CSRF           CSRF
	Store          StoreIdentity
	Now            string
}

func TestProcesses(t *testing.T) {
	w := newWorld(t)
	nan, half := math.NaN(), 0.5
	warning := diagnose.Warning
	s := &record.Sample{RSSBytes: 100, GOGCPercent: -1}
	s.Has.Add(record.FieldRSSBytes)
	s.Has.Add(record.FieldGOGCPercent)
	w.agent.list = []agent.Process{
		{ID: "quiet", Info: record.Process{Name: "quiet"}, Trouble: 0.1},
		{ID: "web", Info: record.Process{Name: "web\x1b[31m\n", PID: 7, StartTime: w.now.Add(-90 * time.Second), CgroupPath: "/system.slice/web.service/worker", CPUQuotaCores: 2, MemoryLimitBytes: 1 << 30},
			Up: true, Trouble: 3, Latest: s, GCCPURatio: &half, AssistRatio: &nan, Worst: &warning, Interval: time.Second,
			Findings: []diagnose.Finding{{ID: "HW1001", Severity: warning, Title: "a title", Evidence: []diagnose.Evidence{}}},
			Spark:    agent.Spark{Step: time.Second, End: w.now, RSSBytes: []float64{1, nan, 3}, LiveBytes: []float64{1, 2}, GCCPURatio: nil}},
		{ID: "also", Trouble: math.Inf(1)},
	}
	w.agent.unseen = []agent.Unseen{{PID: 3, Name: "z", Reason: "not yours", Hint: "be root"}, {PID: 2, Name: "a"}}
	var d struct {
		Processes []map[string]any
		Unseen    []map[string]any
	}
	w.get("processes", &d)
	if len(d.Processes) != 3 || d.Processes[0]["id"] != "web" || d.Processes[1]["id"] != "quiet" || d.Unseen[0]["name"] != "a" || d.Unseen[1]["hint"] != "be root" || d.Unseen[0]["hint"] != nil {
		t.Fatalf("got %+v", d)
	}
	row := d.Processes[0]
	for key, want := range map[string]any{
		"uptime_seconds": 90.0, "unit": "web.service", "rss_bytes": 100.0, "heap_live_bytes": nil, "gogc_percent": -1.0, "gc_cpu_ratio": 0.5, "assist_ratio": nil,
		"worst": "warning", "sample_interval_seconds": 1.0, "ended": nil, "trouble": 3.0,
	} {
		if row[key] != want {
			t.Errorf("%s is %v, want %v", key, row[key], want)
		}
	}
	if name := row["name"].(string); strings.ContainsAny(name, "\x1b\n") {
		t.Errorf("the name is %q", name)
	}
	if spark, _ := json.Marshal(row["spark"]); string(spark) != `{"end":"2026-01-02T04:04:05.000Z","gc_cpu_ratio":[],"heap_live_bytes":[1,2],"rss_bytes":[1,null,3],"step_seconds":1}` {
		t.Errorf("the picture is %s", spark)
	}
	// In the live stream what is large and slow is left out.
	live, err := json.Marshal(Fleet(w.agent, w.now))
	if err != nil || !strings.Contains(string(live), `"spark":null`) || strings.Contains(string(live), "a title") || !strings.Contains(string(live), "HW1001") {
		t.Errorf("%v: %s", err, live)
	}

	var p map[string]any
	w.get("processes/web", &p)
	settings := p["settings"].(map[string]any)
	finding := p["findings"].([]any)[0].(map[string]any)
	if p["identity"].(map[string]any)["pid"] != 7.0 || settings["gogc_percent"] != -1.0 || settings["container_limit_bytes"] != float64(1<<30) || settings["cpu_quota_cores"] != 2.0 || finding["evidence"] == nil {
		t.Errorf("got %+v", p)
	}
	w.refused("processes/nobody", 404, "no process")
	w.refused("processes/a%2fb", 400, "no id")
}

func TestPeaks(t *testing.T) {
	nan := math.NaN()
	for _, tc := range []struct {
		in   []float64
		n    int
		want string
	}{
		{nil, 1, "[]"}, {[]float64{1, 2, 3}, 1, "[1,2,3]"}, {[]float64{1, 3, 2}, 2, "[1,3]"}, {[]float64{nan, nan, 1, nan}, 2, "[null,1]"}, {[]float64{1234567, 0.123456}, 1, "[1.23e+06,0.123]"},
	} {
		if got, _ := json.Marshal(peaks(tc.in, tc.n)); string(got) != tc.want {
			t.Errorf("%v by %d: %s, want %s", tc.in, tc.n, got, tc.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	got, _ := json.Marshal(Values{math.NaN(), math.Inf(1), 0, 1, -3, 0.1, 123456789, 1.23456789, 1 << 60, 1e-9})
	if want := `[null,null,0,1,-3,0.1,123456789,1.234568,1.152922e+18,1e-09]`; string(got) != want {
		t.Errorf("got %s", got)
	}
	for in, want := range map[time.Time]string{
		{}: "null", time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC): "null", time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC): "null",
		time.Date(2026, 1, 2, 3, 4, 5, 6789e5, time.FixedZone("", 3600)): `"2026-01-02T02:04:05.678Z"`,
	} {
		if got, err := json.Marshal(Time{in}); string(got) != want || err != nil {
			t.Errorf("%v: %s %v", in, got, err)
		}
	}
}

func TestFindings(t *testing.T) {
	w := newWorld(t)
	f := diagnose.Finding{ID: "HW1001", Severity: diagnose.Warning, Title: "a", Evidence: []diagnose.Evidence{}}
	w.history.Diagnosed("web", epoch, []diagnose.Finding{f})
	for i := range 4 {
		w.history.Diagnosed("web", epoch.Add(time.Duration(i+1)*time.Minute), nil)
	}
	w.history.Diagnosed("api", epoch.Add(2*time.Minute), []diagnose.Finding{f})
	for i := range 3 {
		if err := w.history.Event("web", record.Event{Time: epoch.Add(time.Duration(3-i) * time.Minute), Kind: record.EventSettingChanged, Text: "GOGC 100 to 50", Data: map[string]string{"gogc": "50"}}); err != nil {
			t.Fatal(err)
		}
	}
	var d struct {
		Episodes []struct {
			Process, ID string
			Began       time.Time
			Ended       *time.Time
			Finding     diagnose.Finding
		}
	}
	w.get("findings", &d)
	if len(d.Episodes) != 2 || d.Episodes[0].Process != "api" || d.Episodes[0].Ended != nil || d.Episodes[1].Ended == nil || d.Episodes[1].Finding.Title != "a" {
		t.Errorf("got %+v", d)
	}
	for query, want := range map[string]int{"open=1": 1, "process=web": 1, "process=none": 0, "limit=1": 1, "from=now-1m": 1, "to=2026-01-02T03:05:35Z": 1} {
		if w.get("findings?"+query, &d); len(d.Episodes) != want {
			t.Errorf("%s: %d, want %d", query, len(d.Episodes), want)
		}
	}
	var e struct {
		Events []struct {
			Time        time.Time
			Event, Text string
			Data        map[string]string
		}
	}
	w.get("events?process=web", &e)
	if len(e.Events) != 3 || !e.Events[0].Time.Equal(epoch.Add(time.Minute)) || e.Events[0].Event != "setting_changed" || e.Events[0].Data["gogc"] != "50" {
		t.Errorf("got %+v", e)
	}
	if w.get("events?process=web&from=2026-01-02T03:06:30Z", &e); len(e.Events) != 1 {
		t.Errorf("got %+v", e)
	}
	w.refused("findings?open=2", 400, "neither 1 nor 0")
	w.refused("events?limit=0", 400, "no number")
}

func TestExplain(t *testing.T) {
	w := newWorld(t)
	rule := diagnose.Rules()[0]
	var d ExplainDocument
	if w.get("explain/"+rule.ID, &d); d.ID != rule.ID || d.Title != rule.Title || !strings.Contains(d.Text, "Why") {
		t.Errorf("got %+v", d)
	}
	w.refused("explain/HW0", 404, "no finding")
	var e ErrorDocument
	if w.get("explain/"+rule.ID+"x", &e); e.Hint == nil || !strings.Contains(*e.Hint, rule.ID) {
		t.Errorf("nearly right: %+v", e)
	}
}

func TestAlertsAndStatus(t *testing.T) {
	w := newWorld(t)
	w.record("web", service())
	cores := 0.01
	w.agent.own = w.agent.list[0]
	w.agent.own.CPUCores = &cores
	var a struct {
		Active []struct{ Rule string }
		Rules  []struct {
			Name string
			For  float64 `json:"for_seconds"`
			With []any
		}
	}
	w.get("alerts", &a)
	if len(a.Active) != 2 || a.Active[0].Rule != "headroom-low" || len(a.Rules) < 5 || a.Rules[0].For != 60 || a.Rules[0].With == nil {
		t.Errorf("got %+v", a)
	}
	var whole struct {
		Agent, Store, Vault, Discovery map[string]any
		Forward, Alerts                []map[string]any
	}
	w.get("status", &whole)
	if len(whole.Alerts) != 2 || whole.Alerts[0]["dropped_total"] != 1.0 || whole.Alerts[0]["queued"] != 4.0 || whole.Alerts[1]["last_error"] != nil ||
		strings.Contains(whole.Alerts[0]["last_error"].(string), "\x1b") {
		t.Errorf("who is told: %+v", whole.Alerts)
	}
	if whole.Agent["cpu_cores"] != 0.01 || whole.Agent["samples_per_second"] != 1.0 || whole.Agent["uptime_seconds"] != 3600.0 || whole.Agent["rss_bytes"] == nil ||
		whole.Store["series"].(float64) < 20 || whole.Store["bytes"].(float64) <= 0 || whole.Vault["snapshots"] != 0.0 || whole.Vault["oldest"] != nil ||
		whole.Discovery["watched"] != 1.0 || whole.Forward[0]["behind_seconds"] != 20.0 || whole.Forward[0]["since"] != nil {
		t.Errorf("got %+v", whole)
	}
	w.sources.Embedded, w.sources.Forward, w.sources.Alerts = nil, nil, nil
	for _, path := range []string{"status", "alerts"} {
		if code := w.get(path, nil); code != 200 {
			t.Errorf("%s without all of it: %d", path, code)
		}
	}
}

// A fakeChanger remembers what it was asked for.
type fakeChanger struct {
	changes []Change
	err     error
}

func (c *fakeChanger) Change(_ context.Context, ch Change) (Outcome, error) {
	c.changes = append(c.changes, ch)
	return Outcome{Outcome: "changed", PID: ch.PID, Steps: []Written{{Symbol: "runtime.gcController.gcPercent", Old: "100", New: "50"}}}, c.err
}

func (c *fakeChanger) Undo(_ context.Context, process string, pid int, _ time.Time, who, reason string) (Outcome, error) {
	return Outcome{Outcome: "undone", PID: pid}, c.err
}

func TestChange(t *testing.T) {
	w := newWorld(t)
	w.record("web", busy())
	w.agent.list[0].Info.PID = 7
	w.agent.list = append(w.agent.list, agent.Process{ID: "gone"})
	c := &fakeChanger{}
	ask := func(path, body string, role web.Role) (int, string) {
		res := w.send(Handler(w.sources), "POST", path, body, role)
		return res.Code, res.Body.String()
	}
	const good = `{"process":"web","pid":7,"gogc":50,"gomemlimit":"256MiB","lease_seconds":60,"reason":"to see"}`
	if code, body := ask("change", good, web.Operator); code != 403 || !strings.Contains(body, "allow_changes") {
		t.Errorf("where nothing may be changed: %d %s", code, body)
	}
	w.sources.Changer = c
	for _, path := range []string{"change", "undo"} {
		for _, role := range []web.Role{web.None, web.Reader} {
			if code, body := ask(path, good, role); code != 403 || !strings.Contains(body, "operator") {
				t.Errorf("%s by a %v: %d %s", path, role, code, body)
			}
		}
	}
	if len(c.changes) > 0 {
		t.Fatalf("%+v was changed", c.changes)
	}
	code, body := ask("change", good, web.Operator)
	if code != 200 || !strings.Contains(body, `"outcome":"changed"`) || !strings.Contains(body, `"notes":[]`) {
		t.Fatalf("%d %s", code, body)
	}
	if got := c.changes[0]; got.PID != 7 || *got.GOGCPercent != 50 || *got.GOMEMLIMITBytes != 256*mib || got.Lease != time.Minute || got.Reason != "to see" || got.Who != "test" || got.DryRun || got.StormFloorBytes <= 0 {
		t.Errorf("%+v was asked for", got)
	}
	if code, body := ask("change", `{"process":"web","gogc":"off","dry_run":true}`, web.Operator); code != 200 || *c.changes[1].GOGCPercent != -1 || c.changes[1].GOMEMLIMITBytes != nil || c.changes[1].Lease != defaultLease || !c.changes[1].DryRun {
		t.Errorf("%d %s: %+v", code, body, c.changes[1])
	}
	if code, body := ask("undo", `{"process":"web"}`, web.Operator); code != 200 || !strings.Contains(body, `"undone"`) {
		t.Errorf("undo: %d %s", code, body)
	}
	for _, tc := range []struct {
		body string
		want int
	}{
		{`{"process":"web","gogc":50}`, 400}, {`{"process":"web","reason":"x"}`, 400}, {`{"process":"web","gogc":0,"reason":"x"}`, 400}, {`{"process":"web","gogc":"x","reason":"x"}`, 400},
		{`{"process":"web","gogc":50,"reason":"x","lease_seconds":1}`, 400}, {`{"process":"web","gogc":50,"reason":"x","lease_seconds":1000000000000}`, 400}, {`{"process":"web","gogc":50,"reason":"x","lease_seconds":-5}`, 400},
		{`{"process":"web","gomemlimit":"12","reason":"x"}`, 400}, {`{"process":"web","gogc":{},"reason":"x"}`, 400}, {`{"process":"gone","gogc":50,"reason":"x"}`, 409}, {`{"process":"none","gogc":50,"reason":"x"}`, 404},
		{`{"process":"web","gogc":50,"reason":"x","pid":1}`, 409}, {`{"process":"web","gogc":50,"reason":"x","start":1}`, 400}, {``, 415},
	} {
		if code, body := ask("change", tc.body, web.Operator); code != tc.want {
			t.Errorf("%s: %d %s, want %d", tc.body, code, body, tc.want)
		}
	}
	c.err = errors.New("the process tunes itself")
	if code, body := ask("change", good, web.Operator); code != 422 || !strings.Contains(body, "tunes itself") {
		t.Errorf("%d %s", code, body)
	}
}

func TestRoutes(t *testing.T) {
	w := newWorld(t)
	w.refused("", 404, "nothing at")
	w.refused("x", 404, "nothing at")
	h := Handler(w.sources)
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		if res := w.send(h, method, "processes", "{}", web.Operator); res.Code != 405 || !json.Valid(res.Body.Bytes()) || res.Header().Get("Allow") == "" {
			t.Errorf("%s: %d %s", method, res.Code, res.Body)
		}
	}
	if res := w.send(h, "HEAD", "processes", "", web.Reader); res.Code != 200 {
		t.Errorf("HEAD: %d", res.Code)
	}
}

// Answers that are long are compressed for who can read that.
func TestCompressed(t *testing.T) {
	w := newWorld(t)
	fleetOf(w, 50)
	h := Handler(w.sources)
	req := httptest.NewRequest("GET", "http://localhost"+Prefix+"processes", nil)
	req.Header.Set("Accept-Encoding", "gzip")
	res := httptest.NewRecorder()
	h.ServeHTTP(res, req)
	if res.Header().Get("Content-Encoding") != "gzip" || !strings.Contains(res.Header().Get("Vary"), "Accept-Encoding") {
		t.Fatalf("headers %v", res.Header())
	}
	z, err := gzip.NewReader(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var d plainProcesses
	if err := json.NewDecoder(z).Decode(&d); err != nil || len(d.Processes) != 50 {
		t.Errorf("%d processes, %v", len(d.Processes), err)
	}
}

// plainProcesses is processes as who reads JSON has them.
type plainProcesses struct{ Processes []struct{ ID string } }

// fleetOf is so many processes that have everything.
func fleetOf(w *world, n int) {
	rec := service()
	last := rec.Samples[len(rec.Samples)-1]
	f := func(v float64) *float64 { return &v }
	warning := diagnose.Warning
	for i := range n {
		x := float64(i)
		spark := agent.Spark{Step: 10 * time.Second, End: w.now}
		for j := range 60 {
			wave := 1 + 0.3*math.Sin(float64(j)/5+x) + 0.1*math.Sin(float64(j*j)*x)
			spark.RSSBytes = append(spark.RSSBytes, 100*mib*wave)
			spark.LiveBytes = append(spark.LiveBytes, 60*mib*wave*wave)
			spark.GCCPURatio = append(spark.GCCPURatio, 0.05*wave)
		}
		w.agent.list = append(w.agent.list, agent.Process{
			ID: fmt.Sprintf("service-%d", i), Up: true, First: epoch, Seen: w.now, Lives: 1, Interval: time.Second, Latest: &last, Spark: spark, Trouble: math.Mod(x*0.37, 4), Worst: &warning,
			Info:       record.Process{Name: fmt.Sprintf("service-%d", i), PID: 1000 + i, GoVersion: "go1.26.8", Module: fmt.Sprintf("example.com/team/service-%d", i), ModuleVersion: "v1.2.3", User: "svc", StartTime: epoch, CgroupPath: fmt.Sprintf("/system.slice/service-%d.service", i)},
			LimitBytes: f(512 * mib), LimitKind: "container", HeadroomBytes: f(300*mib + x), HeadroomRatio: f(0.6 + x/1e4), GCCPURatio: f(0.05 + x/1e5), AssistRatio: f(x / 1e5), CyclesPerSecond: f(0.5 + x/100),
			AllocBytesPerSecond: f(20*mib + 1e3*x), CPUCores: f(0.5 + x/333), GoroutineGrowthRatio: f(x / 1e3),
			Findings: []diagnose.Finding{{ID: "HW1001", Severity: warning, Title: fmt.Sprintf("GOMEMLIMIT is not set, and the container has a limit of %d MiB", 512+i), Evidence: []diagnose.Evidence{}}},
		})
	}
}

// What the first page of 200 processes takes: `heapwright serve` is to paint it in less
// than a second.
func BenchmarkProcesses(b *testing.B) {
	w := newWorld(b)
	fleetOf(w, 200)
	h := Handler(w.sources)
	var size int
	for b.Loop() {
		req := httptest.NewRequest(http.MethodGet, "http://localhost"+Prefix+"processes", nil)
		req.Header.Set("Accept-Encoding", "gzip")
		res := httptest.NewRecorder()
		h.ServeHTTP(res, req)
		size = res.Body.Len()
	}
	b.ReportMetric(float64(size), "gzipped-bytes")
}
