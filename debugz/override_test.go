package debugz

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/memlimit"
)

func post(body string) *http.Request {
	r := local("POST", "/debug/heapwright/override", body)
	r.Header.Set("Content-Type", "application/json")
	return r
}

func remove() *http.Request { return local("DELETE", "/debug/heapwright/override", "") }

func TestOverride(t *testing.T) {
	l := newFakeLimit()
	var log bytes.Buffer
	h := newHandler(t, Options{AllowChange: true, Logger: slog.New(slog.NewTextHandler(&log, nil))}, l, nil)
	steps := []struct {
		name   string
		r      *http.Request
		status int
		is     settingPair // where it is answered
		by     string      // of what is active then
		calls  string      // of the limit
	}{
		{"dry run", post(`{"gogc_percent": 50, "lease_seconds": 60, "by": "ada", "dry_run": true}`), 200, settingPair{50, 200 << 20}, "", ""},
		{"nothing to take back", remove(), 200, settingPair{100, 200 << 20}, "", ""},
		{"make", post(`{"gogc_percent": 50, "gomemlimit_bytes": 104857600, "lease_seconds": 60, "by": "ada"}`), 200, settingPair{50, 100 << 20}, "ada", "override 50 104857600 1m0s ada"},
		{"somebody else", post(`{"gogc_percent": 70, "by": "bob"}`), 409, settingPair{}, "ada", ""},
		{"renew", post(`{"gogc_percent": 60, "by": "ada"}`), 200, settingPair{60, 200 << 20}, "ada", "override 60 0 5m0s ada"},
		{"take back", remove(), 200, settingPair{100, 200 << 20}, "", "revert"},
	}
	for _, s := range steps {
		before := len(l.calls)
		w := answer(h, s.r)
		if w.Code != s.status {
			t.Fatalf("%s: status %d, want %d: %s", s.name, w.Code, s.status, w.Body)
		}
		if w.Code == 200 {
			var a overrideAnswer
			if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
				t.Fatal(err)
			}
			by := ""
			if a.Active != nil {
				by = a.Active.Who
			}
			if a.Schema != OverrideSchema || a.Is != s.is || by != s.by || a.PID != h.process.PID {
				t.Errorf("%s: %+v, active by %q", s.name, a, by)
			}
		}
		if got := strings.Join(l.calls[before:], "; "); got != s.calls {
			t.Errorf("%s: the limit was asked for %q, want %q", s.name, got, s.calls)
		}
	}
	for _, want := range []string{"settings are overridden", "by=ada", "from=127.0.0.1:40000", "gogc_was=100", "gogc=50", "lease=1m0s", "taken back"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 3 {
		t.Errorf("%d lines in the log, want 3:\n%s", n, log.String())
	}
	checkHeaders(t, answer(h, remove()))
}

func TestOverrideIsRefused(t *testing.T) {
	with := func(r *http.Request, k, v string) *http.Request {
		r.Header.Set(k, v)
		return r
	}
	const good = `{"gogc_percent": 50, "by": "ada"}`
	tests := []struct {
		name   string
		r      *http.Request
		status int
	}{
		{"good", post(good), 200},
		{"page's own origin", with(post(good), "Origin", "http://127.0.0.1:6060"), 200},
		{"a tool that says it is none", with(post(good), "Sec-Fetch-Site", "none"), 200},
		{"GET", local("GET", "/debug/heapwright/override", ""), 405},
		{"a form", with(post(good), "Content-Type", "application/x-www-form-urlencoded"), 415},
		{"plain text", with(post(good), "Content-Type", "text/plain"), 415},
		{"no type", with(post(good), "Content-Type", ""), 415},
		{"another origin", with(post(good), "Origin", "http://evil.example"), 403},
		{"no origin", with(post(good), "Origin", "null"), 403},
		{"another site", with(post(good), "Sec-Fetch-Site", "cross-site"), 403},
		{"the same site", with(post(good), "Sec-Fetch-Site", "same-site"), 403},
		{"DELETE of another site", with(remove(), "Sec-Fetch-Site", "cross-site"), 403},
		{"no JSON", post(`gogc=50`), 400},
		{"empty", post(``), 400},
		{"two objects", post(good + good), 400},
		{"unknown key", post(`{"gogc_percent": 50, "by": "ada", "gogc": 1}`), 400},
		{"too long", post(`{"gogc_percent": 50, "by": "` + strings.Repeat("a", maxBody) + `"}`), 400},
		{"nothing", post(`{"by": "ada"}`), 422},
		{"nobody", post(`{"gogc_percent": 50}`), 422},
		{"a long name", post(`{"gogc_percent": 50, "by": "` + strings.Repeat("a", maxBy+1) + `"}`), 422},
		{"a line feed in the name", post(`{"gogc_percent": 50, "by": "a\nb"}`), 422},
		{"GOGC of 0", post(`{"gogc_percent": 0, "by": "ada"}`), 422},
		{"GOGC off", post(`{"gogc_percent": -1, "by": "ada"}`), 422},
		{"GOGC of 1e6", post(`{"gogc_percent": 1000000, "by": "ada"}`), 422},
		{"a limit of 0", post(`{"gomemlimit_bytes": 0, "by": "ada"}`), 422},
		{"a limit that is too large", post(`{"gomemlimit_bytes": 9223372036854775808, "by": "ada"}`), 400},
		{"a negative lease", post(`{"gogc_percent": 50, "by": "ada", "lease_seconds": -1}`), 422},
		{"a short lease", post(`{"gogc_percent": 50, "by": "ada", "lease_seconds": 0.1}`), 422},
		{"a long lease", post(`{"gogc_percent": 50, "by": "ada", "lease_seconds": 1e9}`), 422},
	}
	for _, tt := range tests {
		l := newFakeLimit()
		h := newHandler(t, Options{AllowChange: true}, l, nil)
		w := answer(h, tt.r)
		if w.Code != tt.status {
			t.Errorf("%s: status %d, want %d: %s", tt.name, w.Code, tt.status, w.Body)
		}
		if w.Code != 200 && len(l.calls) != 0 {
			t.Errorf("%s: refused, and done: %q", tt.name, l.calls)
		}
	}
}

func TestOverrideNotAllowed(t *testing.T) {
	l := newFakeLimit()
	for name, h := range map[string]*handler{"without AllowChange": newHandler(t, Options{}, l, nil), "without a limit": newHandler(t, Options{AllowChange: true}, nil, nil)} {
		for _, r := range []*http.Request{post(`{"gogc_percent": 50, "by": "ada"}`), remove()} {
			if w := answer(h, r); w.Code != 403 || len(l.calls) != 0 {
				t.Errorf("%s, %s: status %d, calls %q", name, r.Method, w.Code, l.calls)
			}
		}
	}
}

// TestOverrideOfOthers: what was overridden elsewhere is not ours to end, and what the
// limit refuses is said.
func TestOverrideOfOthers(t *testing.T) {
	l := newFakeLimit()
	h := newHandler(t, Options{AllowChange: true}, l, nil)
	l.report.Override = &memlimit.Lease{Who: "the program", Until: time.Now().Add(time.Hour)}
	for _, r := range []*http.Request{post(`{"gogc_percent": 50, "by": "the program"}`), remove()} {
		if w := answer(h, r); w.Code != 409 || !strings.Contains(w.Body.String(), "the program") {
			t.Errorf("%s: %d %s", r.Method, w.Code, w.Body)
		}
	}
	l.report.Override, l.err = nil, errors.New("it stood down")
	if w := answer(h, post(`{"gogc_percent": 50, "by": "ada"}`)); w.Code != 409 || !strings.Contains(w.Body.String(), "it stood down") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestDryRunIsRefused: a dry run is answered as the change itself would be.
func TestDryRunIsRefused(t *testing.T) {
	l, err := memlimit.Start(memlimit.Config{Bytes: 1 << 30, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h := Handler(Options{Limit: l, AllowChange: true, Logger: slog.New(slog.DiscardHandler)})
	both := func(name, change string, want int) {
		t.Helper()
		for _, dry := range []string{`, "dry_run": true`, ""} { // the real one comes second
			if w := answer(h, post(`{"by": "ada", `+change+dry+`}`)); w.Code != want {
				t.Errorf("%s%s: status %d, want %d: %s", name, dry, w.Code, want, w.Body)
			}
		}
		answer(h, remove())
	}
	both("a change", `"gogc_percent": 300`, 200)
	both("a limit below all", `"gomemlimit_bytes": 1048576`, 409)
	l.Disable("the test")
	both("of what is off", `"gogc_percent": 300`, 409)
}

func TestOverrideRate(t *testing.T) {
	l := newFakeLimit()
	h := newHandler(t, Options{AllowChange: true}, l, nil)
	now := time.Now()
	h.changes.now = func() time.Time { return now }
	ask := func() int { return answer(h, post(`{"gogc_percent": 50, "by": "ada"}`)).Code }
	for i := range changesBurst {
		if got := ask(); got != 200 {
			t.Fatalf("change %d: %d", i, got)
		}
	}
	if got := ask(); got != 429 {
		t.Errorf("one more: %d", got)
	}
	now = now.Add(changeEvery)
	if a, b := ask(), ask(); a != 200 || b != 429 {
		t.Errorf("a moment later: %d, %d", a, b)
	}
	now = now.Add(-time.Hour) // a clock that jumps gives nothing
	if got := ask(); got != 429 {
		t.Errorf("after a jump: %d", got)
	}
}

func FuzzOverride(f *testing.F) {
	for _, s := range []string{`{"gogc_percent": 50, "by": "ada"}`, `{"gomemlimit_bytes": 1e9, "lease_seconds": 1e-9, "by": "é"}`, `[]`, `null`, `{"by": "\u0000"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		l := newFakeLimit()
		w := answer(newHandler(t, Options{AllowChange: true}, l, nil), post(body))
		if (w.Code == 200) != (len(l.calls) == 1) && !strings.Contains(strings.ToLower(body), "dry_run") {
			t.Errorf("status %d, calls %q", w.Code, l.calls)
		}
	})
}
