package debugz

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/guard/fault"
)

func faultsHandler(t testing.TB, o fault.Options) (*handler, *fault.Injector) {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	i := fault.New(o)
	t.Cleanup(func() { i.Close() })
	return Handler(Options{Faults: i, Logger: o.Logger}).(*handler), i
}

func ask(method, path, body string) *http.Request {
	r := local(method, "/debug/heapwright/"+path, body)
	if method == "POST" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// tell makes a request that has to be answered with a status, and reads the answer.
func tell(t *testing.T, h *handler, status int, method, path, body string) (one fault.Fault, all faultsAnswer) {
	t.Helper()
	w := answer(h, ask(method, path, body))
	if w.Code != status {
		t.Fatalf("%s %s %s: status %d, want %d: %s", method, path, body, w.Code, status, w.Body)
	}
	if status != 200 {
		return one, all
	}
	checkHeaders(t, w)
	var a faultAnswer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	if a.Schema != FaultsSchema || a.PID != h.process.PID {
		t.Errorf("%s %s: %s", method, path, w.Body)
	}
	return a.Fault, all
}

func TestFaults(t *testing.T) {
	var log bytes.Buffer
	h, i := faultsHandler(t, fault.Options{MaxBytes: 64 << 20, MaxGoroutines: 100, MaxLease: time.Hour, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	before := runtime.NumGoroutine()
	if _, all := tell(t, h, 200, "GET", "faults", ""); all.MaxBytes != 64<<20 || all.MaxGoroutines != 100 || all.MaxLease != 3600 || len(all.Active) != 0 {
		t.Errorf("nothing is asked for: %+v", all)
	}
	a, _ := tell(t, h, 200, "POST", "faults", `{"kind": "goroutines", "level": 7, "lease_seconds": 600, "by": "ada"}`)
	if a.Kind != fault.Goroutines || a.Level != 7 || a.Unit != fault.Count || a.By != "ada" || time.Until(a.Until) < 500*time.Second {
		t.Errorf("started: %+v", a)
	}
	if a, _ = tell(t, h, 200, "POST", "faults/", `{"id": "`+a.ID+`", "level": 9, "lease_seconds": 60}`); a.Level != 9 || time.Until(a.Until) > time.Minute {
		t.Errorf("another level: %+v", a)
	}
	if a, _ = tell(t, h, 200, "POST", "faults", `{"id": "`+a.ID+`", "lease_seconds": 60}`); a.Level != 9 {
		t.Errorf("renewed: %+v", a)
	}
	b, _ := tell(t, h, 200, "POST", "faults", `{"kind": "gc.forced", "every_seconds": 100, "lease_seconds": 60, "by": "bob"}`)
	if b.Level != 0.01 {
		t.Errorf("one in 100 s: %+v", b)
	}
	c, _ := tell(t, h, 200, "POST", "faults", `{"kind": "heap.retain", "level": 1048576, "size_bytes": 100000, "lease_seconds": 60, "by": "bob"}`)
	if c.Size != 13*8192 {
		t.Errorf("a size: %+v", c)
	}
	tell(t, h, 409, "POST", "faults", `{"kind": "heap.retain", "level": 67108864, "by": "eve"}`)
	tell(t, h, 409, "POST", "faults", `{"id": "`+a.ID+`", "level": 101}`)
	if d := h.look(); d.Faults == nil || len(d.Faults.Active) != 3 || d.Faults.Active[0].ID != a.ID {
		t.Errorf("the document has %+v", d.Faults)
	}
	if _, all := tell(t, h, 200, "DELETE", "faults/"+a.ID, ""); *all.Ended != 1 || len(all.Active) != 2 {
		t.Errorf("ended one: %+v", all)
	}
	tell(t, h, 404, "DELETE", "faults/"+a.ID, "")
	tell(t, h, 404, "POST", "faults", `{"id": "`+a.ID+`"}`)
	tell(t, h, 404, "POST", "faults/"+b.ID, `{"level": 1}`)
	if _, all := tell(t, h, 200, "DELETE", "faults", ""); *all.Ended != 2 || len(all.Active) != 0 {
		t.Errorf("ended all: %+v", all)
	}
	if _, all := tell(t, h, 200, "DELETE", "faults/", ""); *all.Ended != 0 {
		t.Errorf("ended none: %+v", all)
	}
	i.Close()
	tell(t, h, 503, "POST", "faults", `{"kind": "goroutines", "level": 7, "by": "ada"}`)
	for end := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 7 {
		t.Errorf("%d lines in the log, want one for each beginning, each end and the one that was not started:\n%s", n, &log)
	}
	for _, want := range []string{"fault begins", "by=ada", "from=127.0.0.1:40000", "highest=9", `why="stopped by a request from 127.0.0.1:40000"`, "not started", "by=eve"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, &log)
		}
	}
}

func TestFaultsAreRefused(t *testing.T) {
	const good = `{"kind": "goroutines", "level": 1, "by": "ada"}`
	with := func(r *http.Request, k, v string) *http.Request {
		r.Header.Set(k, v)
		return r
	}
	from := func(r *http.Request, addr, host string) *http.Request {
		r.RemoteAddr, r.Host = addr, host
		return r
	}
	post := func(body string) *http.Request { return ask("POST", "faults", body) }
	tests := []struct {
		name   string
		r      *http.Request
		status int
	}{
		{"good", post(good), 200},
		{"another machine", from(post(good), "192.0.2.1:1", "127.0.0.1:6060"), 403},
		{"another machine looks", from(ask("GET", "faults", ""), "192.0.2.1:1", "127.0.0.1:6060"), 403},
		{"another name", from(post(good), "127.0.0.1:1", "evil.example"), 403},
		{"a proxy", with(post(good), "X-Forwarded-For", "192.0.2.1"), 403},
		{"another origin", with(post(good), "Origin", "http://evil.example"), 403},
		{"another site", with(post(good), "Sec-Fetch-Site", "cross-site"), 403},
		{"DELETE of another site", with(ask("DELETE", "faults", ""), "Sec-Fetch-Site", "cross-site"), 403},
		{"a form", with(post(good), "Content-Type", "text/plain"), 415},
		{"PUT", ask("PUT", "faults", good), 405},
		{"PUT of one", ask("PUT", "faults/X", good), 405},
		{"no JSON", post("kind=goroutines"), 400},
		{"empty", post(""), 400},
		{"two", post(good + good), 400},
		{"unknown key", post(`{"kind": "goroutines", "level": 1, "by": "ada", "levels": 2}`), 400},
		{"too long", post(`{"kind": "goroutines", "level": 1, "by": "` + strings.Repeat("a", maxBody) + `"}`), 400},
		{"a level beyond numbers", post(`{"kind": "goroutines", "level": 1e999, "by": "ada"}`), 400},
		{"a size below 0", post(`{"kind": "heap.churn", "level": 1, "size_bytes": -1, "by": "ada"}`), 400},
		{"null", post("null"), 422},
		{"no level", post(`{"kind": "goroutines", "by": "ada"}`), 422},
		{"no kind", post(`{"level": 1, "by": "ada"}`), 422},
		{"another kind", post(`{"kind": "heap", "level": 1, "by": "ada"}`), 422},
		{"nobody", post(`{"kind": "goroutines", "level": 1}`), 422},
		{"a negative lease", post(`{"kind": "goroutines", "level": 1, "lease_seconds": -1, "by": "ada"}`), 422},
		{"a lease for ever", post(`{"kind": "goroutines", "level": 1, "lease_seconds": 1e300, "by": "ada"}`), 422},
		{"a lease of nothing", post(`{"kind": "goroutines", "level": 1, "lease_seconds": 1e-300, "by": "ada"}`), 422},
		{"a long lease", post(`{"kind": "goroutines", "level": 1, "lease_seconds": 61, "by": "ada"}`), 422},
		{"too often", post(`{"kind": "gc.forced", "every_seconds": 1e-9, "by": "ada"}`), 422},
		{"a count of another", post(`{"kind": "heap.retain", "level": 1, "count": 3, "by": "ada"}`), 422},
		{"a count below nothing", post(`{"kind": "gc.forced", "level": 1, "count": -3, "by": "ada"}`), 400},
		{"every for ever", post(`{"kind": "gc.forced", "every_seconds": 1e9, "by": "ada"}`), 422},
		{"another kind of the same", post(`{"id": "X", "kind": "goroutines", "level": 1}`), 422},
		{"none has this ID", post(`{"id": "X", "level": 1}`), 404},
		{"none has this ID to end", ask("DELETE", "faults/X", ""), 404},
		{"beyond the bounds", post(`{"kind": "goroutines", "level": 1e9, "by": "ada"}`), 409},
	}
	for _, tt := range tests {
		h, i := faultsHandler(t, fault.Options{})
		w := answer(h, tt.r)
		if w.Code != tt.status {
			t.Errorf("%s: status %d, want %d: %s", tt.name, w.Code, tt.status, w.Body)
		}
		if n := len(i.Status().Active); (n == 1) != (tt.status == 200) {
			t.Errorf("%s: %d faults", tt.name, n)
		}
		checkHeaders(t, w)
	}
	for _, method := range []string{"GET", "POST", "DELETE"} {
		if w := answer(newHandler(t, Options{AllowChange: true}, newFakeLimit(), nil), ask(method, "faults", good)); w.Code != 403 {
			t.Errorf("%s without hooks: %d", method, w.Code)
		}
	}
	if w := answer(newHandler(t, Options{}, nil, nil), local("GET", "/faults/heapwright/", "")); w.Code != 200 {
		t.Errorf("a page that is mounted below something of that name: %d", w.Code)
	}
}

func TestFaultsRate(t *testing.T) {
	h, i := faultsHandler(t, fault.Options{})
	now := time.Now()
	h.faults.now = func() time.Time { return now }
	f, _ := tell(t, h, 200, "POST", "faults", `{"kind": "heap.churn", "level": 0, "lease_seconds": 60, "by": "ada"}`)
	for range startsBurst - 1 {
		g, _ := tell(t, h, 200, "POST", "faults", `{"kind": "heap.churn", "level": 0, "lease_seconds": 60, "by": "ada"}`)
		tell(t, h, 200, "DELETE", "faults/"+g.ID, "")
	}
	tell(t, h, 429, "POST", "faults", `{"kind": "heap.churn", "level": 0, "by": "ada"}`)
	now = now.Add(startEvery)
	tell(t, h, 200, "POST", "faults", `{"kind": "heap.churn", "level": 0, "by": "ada"}`)
	tell(t, h, 429, "POST", "faults", `{"kind": "heap.churn", "level": 0, "by": "ada"}`)
	// Ten levels a second, of three faults, for a minute.
	renew := `{"id": "` + f.ID + `", "level": 0, "lease_seconds": 60}`
	for range 600 {
		for range 3 {
			tell(t, h, 200, "POST", "faults", renew)
		}
		now = now.Add(100 * time.Millisecond)
	}
	for range renewsBurst {
		tell(t, h, 200, "POST", "faults", renew)
	}
	tell(t, h, 429, "POST", "faults", renew)
	if n := len(i.Status().Active); n != 2 {
		t.Errorf("%d faults", n)
	}
}

// TestFaultsOnPage has the page say first, and in words, that it is not as it is by
// itself; and say nothing of it when it is.
func TestFaultsOnPage(t *testing.T) {
	h, _ := faultsHandler(t, fault.Options{})
	page := func() string {
		w := answer(h, local("GET", "/debug/heapwright/", ""))
		if w.Code != 200 || w.Body.Len() > maxPage {
			t.Fatalf("status %d, %d bytes", w.Code, w.Body.Len())
		}
		return w.Body.String()
	}
	if s := page(); strings.Contains(s, `class="fault"`) || strings.Contains(s, "under a fault") || !strings.Contains(s, "No setting can be changed here. Faults may be started") {
		t.Error("the page shows a fault that there is not, or not that there may be one")
	}
	tell(t, h, 200, "POST", "faults", `{"kind": "heap.churn", "level": 1048576, "lease_seconds": 60, "by": "<b>ada"}`)
	s := page()
	for _, want := range []string{"A fault is injected into this service", "1.00 MiB/s", "heap.churn", "by &lt;b&gt;ada", "<title>under a fault", `class="faulty"`} {
		if !strings.Contains(s, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Index(s, `class="fault"`) > strings.Index(s, "<h2>") {
		t.Error("the fault is not on top")
	}
	for range 15 {
		tell(t, h, 200, "POST", "faults", `{"kind": "goroutines", "level": 1, "lease_seconds": 60, "by": "`+strings.Repeat("&", 64)+`"}`)
	}
	if s := page(); !strings.Contains(s, "16 faults are injected") {
		t.Error("the page does not say how many there are")
	}
	d := &document{Faults: &fault.Status{Returning: 3 << 20}}
	if p := faultsOf(d, budgets[0]); p == nil || !strings.Contains(p.Note, "3.00 MiB") {
		t.Errorf("what is given back: %+v", p)
	}
	d = &document{Faults: &fault.Status{}}
	for n := range 16 {
		d.Faults.Active = append(d.Faults.Active, fault.Fault{ID: fmt.Sprint(n), Kind: "x", Ending: "its lease ended", Problem: strings.Repeat("<", 500)})
	}
	if p := faultsOf(d, budgets[len(budgets)-1]); len(p.Rows) != 4 || !strings.Contains(p.Note, "12 more") || p.Rows[0].For != "ends: its lease ended" {
		t.Errorf("more than there is room for: %+v", p)
	}
}

func FuzzFaults(f *testing.F) {
	for _, s := range []string{`{"kind": "goroutines", "level": 3, "by": "ada"}`, `{"kind": "gc.forced", "every_seconds": 1e-9, "by": "é"}`, `{"kind":"heap.retain","level":65536,"size_bytes":1024,"lease_seconds":0.1,"by":"a"}`,
		`{"id": "", "level": -0}`, `{"id": "X"}`, `[]`, `null`, `{"by": "\u0000"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		h, i := faultsHandler(t, fault.Options{MaxBytes: 1 << 20, MaxGoroutines: 100})
		w := answer(h, ask("POST", "faults", body))
		s := i.Status()
		if (w.Code == 200) != (len(s.Active) == 1) || s.Held > 1<<20 || s.Goroutines > 100 {
			t.Errorf("status %d, then %+v", w.Code, s)
		}
		i.Close()
	})
}
