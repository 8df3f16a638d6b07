package api

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/heapwright/heapwright/cmd/internal/agent"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/forecast"
	"github.com/heapwright/heapwright/cmd/internal/history"
	"github.com/heapwright/heapwright/cmd/internal/web"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// A strictReader is a store that checks what it is asked, and answers with something
// that is as odd as a server can be.
type strictReader struct{ t testing.TB }

func (r strictReader) check(expr string, from, to time.Time, steps int64) {
	if _, err := parser.NewParser(parser.Options{}).ParseExpr(expr); err != nil {
		r.t.Errorf("asked for what cannot be parsed: %s: %v", expr, err)
	}
	if from.After(to) || steps > maxPoints+1 || from.Before(earliest.Add(-time.Hour)) {
		r.t.Errorf("asked for %d steps from %v to %v", steps, from, to)
	}
}

func (r strictReader) Query(_ context.Context, expr string, at time.Time) (parser.Value, []string, error) {
	r.check(expr, at, at, 1)
	return promql.Vector{{F: 1e12}}, nil, nil
}

func (r strictReader) QueryRange(_ context.Context, expr string, from, to time.Time, step time.Duration) (promql.Matrix, []string, error) {
	r.check(expr, from, to, int64(to.Sub(from)/step)+1)
	odd := []promql.FPoint{{T: from.UnixMilli(), F: math.NaN()}, {T: from.UnixMilli() + 1, F: 1}, {T: to.UnixMilli(), F: math.Inf(1)}, {T: to.UnixMilli() + 1e12, F: -1}}
	return promql.Matrix{
		{Metric: labels.FromStrings("le", "0.1", "state", "waiting\x1b", "reason", strings.Repeat("x", 1000)), Floats: odd},
		{Metric: labels.FromStrings("le", "+Inf"), Floats: odd}, {Metric: labels.FromStrings("le", "x")}, {Metric: labels.FromStrings("le", "-Inf"), Floats: odd},
	}, []string{"odd"}, nil
}

func (r strictReader) Raw(_ context.Context, selector string, from, to time.Time, limit int) (promql.Matrix, error) {
	r.check(selector, from, to, 1)
	if limit <= 0 || limit > 5_000_000 {
		r.t.Errorf("up to %d samples were asked for", limit)
	}
	return promql.Matrix{{Metric: labels.FromStrings("__name__", "heapwright_gc_cycle_number"), Floats: []promql.FPoint{{T: from.UnixMilli(), F: -5}, {T: to.UnixMilli(), F: math.NaN()}}}}, nil
}

// quickTwin is a twin that needs no time.
type quickTwin struct{ forecast.Twin }

func (quickTwin) Current() pacer.Settings {
	return pacer.Settings{GOGCPercent: 100, GOMEMLIMITBytes: pacer.NoMemoryLimit, ContainerLimitBytes: 512 * mib}
}

func (quickTwin) Forecast(s pacer.Settings) pacer.Forecast {
	e := pacer.Estimate{Estimate: 100 * mib, Low: 90 * mib, High: math.Inf(1)}
	return pacer.Forecast{Settings: s, RSSPeakBytes: e, HeapPeakBytes: e, GCCPURatio: pacer.Estimate{Estimate: 0.1, Low: math.NaN(), High: 0.2}}
}

func (q quickTwin) Forecasts(s []pacer.Settings) []pacer.Forecast {
	var out []pacer.Forecast
	for _, x := range s {
		out = append(out, q.Forecast(x))
	}
	return out
}
func (quickTwin) Workload() pacer.Workload        { return pacer.Workload{} }
func (quickTwin) Parameters() []pacer.Parameter   { return nil }
func (quickTwin) Missing() []string               { return nil }
func (quickTwin) StormFloorBytes() pacer.Estimate { return pacer.Estimate{Estimate: math.NaN()} }

// fuzzServer has everything, made so that requests are quick.
func fuzzServer(t testing.TB) (http.Handler, *world) {
	w := &world{t: t, now: epoch.Add(time.Hour)}
	rec := ruletest.Server{Seconds: 20, Hz: 1}.Recording()
	last := rec.Samples[len(rec.Samples)-1]
	last.LimiterFillRatio = math.NaN()
	last.Has.Add(record.FieldLimiterFillRatio)
	w.agent = &fakeAgent{list: []agent.Process{{ID: "web", Up: true, Info: rec.Process, Latest: &last}}, recordings: map[string]*record.Recording{"web": rec}}
	var err error
	if w.history, err = history.Open(t.TempDir(), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.history.Close() })
	w.sources = Sources{Agent: w.agent, Store: strictReader{t}, Vault: emptyVault{}, History: w.history, Alerts: fakeAlerts{}, Forward: fakeForward{}, Changer: &fakeChanger{},
		Experiments: []string{t.TempDir()}, Now: func() time.Time { return w.now }}
	return handler(w.sources, func(s *server) {
		s.twins.fit = func(*record.Recording) (forecast.Twin, error) { return quickTwin{}, nil }
	}), w
}

// Whatever is asked for, the answer is JSON, or a page or file of ours; it is never the
// server's fault.
func FuzzHandler(f *testing.F) {
	for _, path := range []string{
		"session", "processes", "processes/web", "processes/web:2", "series?process=web&set=sched&from=now-1h&to=now&points=2000", "series?process=web&from=0&to=1", "series?process=web&from=2026-01-02T03:04:05Z",
		"series?process=web&from=now-10y&points=1", "cycles?process=web&limit=20000&from=now-399d", "findings?open=1&process=web", "events?from=1e9&to=2e9", "explain/HW1001", "explain/hw100", "snapshots?process=web",
		"profile?process=web&type=alloc_space&at=20260102T030405.000000Z&base=x&format=json", "goroutines?process=web&at=a", "forecast?process=web&gogc=1,2,off&gomemlimit=1GiB,off&limit=512MiB&gomaxprocs=4", "front?process=web&limit=off",
		"plan?process=web&memory_limit=1GiB&objective=bound&max_pause_ratio=1%25", "experiments", "experiments/x-00", "experiments/x/report", "alerts", "status", "..//..", "series?process=web&from=now-%2b1h",
		"series?process=web%22%7D&set=", "series?process=web&from=now-1h1m1s1ms1d", "series?process=web&points=-1", "cycles?process=web&from=NaN", "cycles?process=web&from=-1e300",
	} {
		f.Add("GET", path, "")
	}
	f.Add("POST", "snapshots", `{"process":"web"}`)
	f.Add("POST", "change", `{"process":"web","gogc":"off","gomemlimit":"1GiB","reason":"x","dry_run":true}`)
	f.Add("POST", "undo", `{"process":"web"}`)
	h, w := fuzzServer(f)
	f.Fuzz(func(t *testing.T, method, path, body string) {
		target, query, _ := strings.Cut(path, "?")
		req := httptest.NewRequest(http.MethodGet, "http://localhost"+Prefix, strings.NewReader(body))
		req.Method = method
		req.URL = &url.URL{Scheme: "http", Host: "localhost", Path: Prefix + target, RawQuery: query}
		req.Header.Set("Content-Type", "application/json")
		res := httptest.NewRecorder()
		w.now = w.now.Add(time.Minute)
		h.ServeHTTP(res, req.WithContext(web.WithRole(t.Context(), web.Operator)))
		switch {
		case res.Code >= 500:
			t.Errorf("%s %s: %d %.300s", method, path, res.Code, res.Body)
		case res.Code >= 300 && res.Code < 400: // a path that is not clean
		case method != http.MethodHead && !json.Valid(res.Body.Bytes()):
			t.Errorf("%s %s: %d %.300s", method, path, res.Code, res.Body)
		}
		if res.Body.Len() > 32<<20 {
			t.Errorf("%s %s: %d bytes", method, path, res.Body.Len())
		}
	})
}

func FuzzParseInstant(f *testing.F) {
	for _, s := range []string{"now", "now-1h", "now-1h30m", "now+5s", "now-0.5d", "1700000000", "1700000000.5", "2026-01-02T03:04:05.6Z", "2026-01-02T03:04:05+02:00", "now-", "now-1", "1e300", "-1", "now-99999999w", "now-.h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseInstant(s, epoch)
		if err == nil && (got.Before(earliest) || got.After(latest)) {
			t.Errorf("%q is %v", s, got)
		}
	})
}

func TestParseInstant(t *testing.T) {
	for s, want := range map[string]time.Time{
		"now": epoch, "now-1h": epoch.Add(-time.Hour), "now-1h30m": epoch.Add(-90 * time.Minute), "now+5s": epoch.Add(5 * time.Second), "now 5s": epoch.Add(5 * time.Second), "now-1.5d": epoch.Add(-36 * time.Hour), "now-1w": epoch.Add(-7 * 24 * time.Hour),
		"1700000000": time.Unix(1700000000, 0), "1700000000.25": time.UnixMilli(1700000000250), "2026-01-02T03:04:05Z": epoch, "2026-01-02T04:04:05+01:00": epoch,
	} {
		if got, err := parseInstant(s, epoch); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "x", "now-", "now1h", "now-h", "now-1", "now-1x", "now--1h", "now-1h2", "1e300", "NaN", "Inf", "-1", "0x10", "2026-01-02", "2026-13-02T03:04:05Z", "now-11y", "now-100000w", "9999999999999", "1969-12-31T23:59:59Z"} {
		if got, err := parseInstant(s, epoch); err == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
}

// A store that fails is the store's failure, and says what to do.
func TestUnanswered(t *testing.T) {
	for _, err := range []error{context.Canceled, context.DeadlineExceeded, errors.New("connection refused")} {
		var e *Error
		if !errors.As(unanswered(err), &e) || e.Status != 503 || e.Text == "" {
			t.Errorf("%v: %v", err, e)
		}
	}
}
