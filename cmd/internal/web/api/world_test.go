package api

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/agent"
	"github.com/heapwright/heapwright/cmd/internal/alert"
	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/forward"
	"github.com/heapwright/heapwright/cmd/internal/history"
	"github.com/heapwright/heapwright/cmd/internal/series"
	"github.com/heapwright/heapwright/cmd/internal/store"
	"github.com/heapwright/heapwright/cmd/internal/vault"
	"github.com/heapwright/heapwright/cmd/internal/web"
	"github.com/heapwright/heapwright/record"
)

const mib = 1 << 20

// epoch is when the worlds of tests begin.
var epoch = ruletest.Epoch

// A world is an agent that is made up, with a store, a vault and a history that are
// real.
type world struct {
	t       testing.TB
	now     time.Time
	agent   *fakeAgent
	db      *store.DB
	vault   *vault.Vault
	history *history.History
	sources Sources
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, now: epoch.Add(time.Hour), agent: &fakeAgent{}}
	clock := func() time.Time { return w.now }
	var err error
	if w.db, err = store.Open(store.Options{Dir: t.TempDir(), External: []series.Label{{Name: "instance", Value: "host"}}, Now: clock}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.db.Close() })
	if w.vault, err = vault.Open(vault.Options{Dir: t.TempDir(), Now: clock}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.vault.Close() })
	if w.history, err = history.Open(t.TempDir(), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.history.Close() })
	w.agent.vault = w.vault
	w.sources = Sources{
		Agent: w.agent, Store: w.db.Reader(), Vault: w.vault, History: w.history, Embedded: w.db, Alerts: fakeAlerts{}, Forward: fakeForward{},
		Labels: []series.Label{{Name: "instance", Value: "host"}}, Version: "v0.0.0", Host: "host", Now: clock,
	}
	return w
}

// record stores a recording as the agent would, and makes its process one of the
// agent's.
func (w *world) record(id string, rec *record.Recording) {
	w.t.Helper()
	b := w.db.Begin()
	put := func(t time.Time, points []series.Point) {
		for _, p := range points {
			b.Append(w.db.Series(p.Name, append([]series.Label{{Name: "process", Value: id}}, p.Labels...)...), t, p.Value)
		}
	}
	var slow, static time.Time
	for i := range rec.Samples {
		s := &rec.Samples[i]
		put(s.Time, series.FromSample(nil, s, series.Fast))
		if s.Time.Sub(slow) >= 10*time.Second {
			slow = s.Time
			put(s.Time, series.FromSample(nil, s, series.Slow))
			put(s.Time, []series.Point{series.PointOf(series.GCCPURatio, 0.05)})
		}
		if s.Time.Sub(static) >= time.Minute {
			static = s.Time
			put(s.Time, series.FromSample(nil, s, series.Static))
		}
	}
	for i := range rec.Cycles {
		put(rec.Cycles[i].End, series.FromCycle(nil, &rec.Cycles[i]))
	}
	for i := range rec.Goroutines {
		put(rec.Goroutines[i].Time, series.FromGoroutines(nil, &rec.Goroutines[i]))
	}
	if _, err := b.Commit(); err != nil {
		w.t.Fatal(err)
	}
	last := rec.Samples[len(rec.Samples)-1]
	w.agent.list = append(w.agent.list, agent.Process{
		ID: id, Info: rec.Process, Up: true, First: rec.Samples[0].Time, Seen: last.Time, Lives: 1, Interval: time.Second, Latest: &last,
	})
	if w.agent.recordings == nil {
		w.agent.recordings = map[string]*record.Recording{}
	}
	w.agent.recordings[id] = rec
}

// get asks for a document.
func (w *world) get(path string, into any) int { return w.ask("GET", path, "", into) }

func (w *world) ask(method, path, body string, into any) int {
	w.t.Helper()
	res := w.send(Handler(w.sources), method, path, body, web.Reader)
	if into != nil {
		if err := json.Unmarshal(res.Body.Bytes(), into); err != nil {
			w.t.Fatalf("%s %s: %d, %v in %.300s", method, path, res.Code, err, res.Body)
		}
	}
	return res.Code
}

func (w *world) send(h http.Handler, method, path, body string, role web.Role) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, "http://localhost"+Prefix+path, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res := httptest.NewRecorder()
	h.ServeHTTP(res, req.WithContext(web.WithRole(w.t.Context(), role)))
	return res
}

// refused asks for something that there is not, and wants to be told why.
func (w *world) refused(path string, status int, about string) {
	w.t.Helper()
	var e ErrorDocument
	if got := w.get(path, &e); got != status || e.Schema != schemaError || !strings.Contains(e.Error, about) {
		w.t.Errorf("%s: %d %q, want %d about %q", path, got, e.Error, status, about)
	}
}

// A fakeAgent knows what it is told.
type fakeAgent struct {
	list       []agent.Process
	unseen     []agent.Unseen
	recordings map[string]*record.Recording
	vault      *vault.Vault
	snaps      int
	own        agent.Process
}

func (a *fakeAgent) Processes() []agent.Process { return a.list }

func (a *fakeAgent) Process(id string) (agent.Process, bool) {
	for _, p := range a.list {
		if p.ID == id {
			return p, true
		}
	}
	return agent.Process{}, false
}

func (a *fakeAgent) Unseen() []agent.Unseen { return a.unseen }

func (a *fakeAgent) Recording(id string) (*record.Recording, error) {
	if rec := a.recordings[id]; rec != nil {
		return rec, nil
	}
	return nil, &agent.NotWatchedError{ID: id}
}

func (a *fakeAgent) Snap(_ context.Context, id, reason string) (vault.Entry, error) {
	a.snaps++
	if a.vault == nil {
		return vault.Entry{}, errors.New("it cannot be read")
	}
	return a.vault.Put(id, reason, a.recordings[id])
}

func (a *fakeAgent) Status() agent.Status {
	return agent.Status{Started: epoch, Discovered: epoch, Watched: len(a.list), Samples: 1000}
}

func (a *fakeAgent) Own() (agent.Process, bool) { return a.own, a.own.ID != "" }

type fakeAlerts struct{}

func (fakeAlerts) Active() []alert.Alert {
	return []alert.Alert{
		{Rule: "gc-cpu-high", Process: "b", Severity: diagnose.Warning, State: "firing", Since: epoch},
		{Rule: "headroom-low", Process: "a", Severity: diagnose.Critical, State: "firing", Since: epoch.Add(time.Minute)},
	}
}

func (fakeAlerts) Rules() []alert.Rule { return alert.Defaults() }

func (fakeAlerts) Status() []alert.Status {
	return []alert.Status{{Name: "pager", Kind: "webhook", Sent: 3, Failed: 2, Dropped: 1, Queued: 4, Error: "503: \"no\x1b[31m\"", Since: epoch}, {Name: "stdout", Kind: "stdout"}}
}

type fakeForward struct{}

func (fakeForward) Status() []forward.Status {
	return []forward.Status{{Name: "prom", Kind: "remote_write", URL: "http://prom:9090/api/v1/write", Sent: 10, Behind: 20 * time.Second, Until: epoch}}
}

// emptyVault has snapshots of nobody.
type emptyVault struct{}

func (emptyVault) Stats() vault.Stats                              { return vault.Stats{} }
func (emptyVault) List(string, time.Time, time.Time) []vault.Entry { return nil }
func (emptyVault) Get(process, key string) (*record.Recording, error) {
	return nil, &vault.NotFoundError{Process: process, Key: key}
}

// count is how many values are numbers.
func count(v []*float64) int {
	n := 0
	for _, x := range v {
		if x != nil && !math.IsNaN(*x) {
			n++
		}
	}
	return n
}
