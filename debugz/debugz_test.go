package debugz

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heapwright/heapwright/guard"
	"github.com/heapwright/heapwright/guard/evidence"
	"github.com/heapwright/heapwright/guard/shed"
	"github.com/heapwright/heapwright/guard/sli"
	"github.com/heapwright/heapwright/memlimit"
	"github.com/heapwright/heapwright/memlimit/control"
	"github.com/heapwright/heapwright/metric"
)

// A fakeLimit is a memlimit.Limit that sets nothing.
type fakeLimit struct {
	mu     sync.Mutex
	report memlimit.Report
	base   settingPair
	err    error
	calls  []string
}

func newFakeLimit() *fakeLimit {
	l := &fakeLimit{base: settingPair{100, 200 << 20}}
	l.report = memlimit.Report{Mode: memlimit.ModeSet, Reason: "the limit, less what is not Go's", Source: memlimit.SourceCgroup, LimitBytes: 256 << 20,
		NonGoBytes: 20 << 20, Measured: true, ReserveBytes: 16 << 20, GOGC: 100, GOMEMLIMIT: 200 << 20, PreviousGOGC: 100, PreviousGOMEMLIMIT: math.MaxInt64}
	return l
}

func (l *fakeLimit) Report() memlimit.Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.report
}

func (l *fakeLimit) CheckOverride(gogc int, gomemlimit int64, lease time.Duration, who string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o := l.report.Override; l.err == nil && o != nil && o.Who != who {
		return errors.New("there is one override at a time")
	}
	return l.err
}

func (l *fakeLimit) Override(gogc int, gomemlimit int64, lease time.Duration, who string) (func(), error) {
	if err := l.CheckOverride(gogc, gomemlimit, lease, who); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.GOGC, l.report.GOMEMLIMIT = l.base.GOGC, l.base.GOMEMLIMIT
	l.calls = append(l.calls, fmt.Sprintf("override %d %d %v %s", gogc, gomemlimit, lease, who))
	l.report.Mode = memlimit.ModeOverride
	l.report.Override = &memlimit.Lease{Who: who, Until: time.Now().Add(lease), GOGC: gogc, GOMEMLIMIT: gomemlimit}
	if gogc != 0 {
		l.report.GOGC = gogc
	}
	if gomemlimit != 0 {
		l.report.GOMEMLIMIT = gomemlimit
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.calls = append(l.calls, "revert")
		l.report.Mode, l.report.Override = memlimit.ModeSet, nil
		l.report.GOGC, l.report.GOMEMLIMIT = l.base.GOGC, l.base.GOMEMLIMIT
	}, nil
}

type fakeGuard struct{ status guard.Status }

func (g *fakeGuard) Status() guard.Status { return g.status }

// newHandler makes a handler with parts of a test's.
func newHandler(t *testing.T, o Options, l limiter, g guarded) *handler {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := &handler{o: o, limit: l, guard: g, process: identify(), env: readStartup(func(string) string { return "" }), ring: sli.NewRing(windowPoints, windowLength)}
	return h.init()
}

// local is a request from this machine.
func local(method, target string, body string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.RemoteAddr, r.Host = "127.0.0.1:40000", "127.0.0.1:6060"
	return r
}

func answer(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestAccess(t *testing.T) {
	tests := []struct {
		name   string
		o      Options
		remote string // "" is 127.0.0.1:40000
		host   string // "" is 127.0.0.1:6060
		header string
		want   int
	}{
		{name: "local", want: 200},
		{name: "IPv6", remote: "[::1]:40000", host: "[::1]:6060", want: 200},
		{name: "IPv4 in IPv6", remote: "[::ffff:127.0.0.1]:40000", want: 200},
		{name: "another loopback address", remote: "127.9.9.9:1", host: "127.0.1.1", want: 200},
		{name: "localhost", host: "localhost:6060", want: 200},
		{name: "LOCALHOST with a dot", host: "LocalHost.:6060", want: 200},
		{name: "below localhost", host: "svc.localhost", want: 200},
		{name: "remote", remote: "192.0.2.7:40000", want: 403},
		{name: "remote that says localhost", remote: "192.0.2.7:40000", host: "localhost", want: 403},
		{name: "remote IPv6", remote: "[2001:db8::1]:40000", want: 403},
		{name: "no address", remote: "@", want: 403},
		{name: "rebound name", host: "evil.example:6060", want: 403},
		{name: "name that ends alike", host: "notlocalhost", want: 403},
		{name: "localhost of somebody", host: "localhost.evil.example", want: 403},
		{name: "other address", host: "192.0.2.1:6060", want: 403},
		{name: "all addresses", host: "0.0.0.0:6060", want: 403},
		{name: "empty host", host: "-", want: 403},
		{name: "through a proxy", header: "X-Forwarded-For: 192.0.2.7", want: 403},
		{name: "through another proxy", header: "Forwarded: for=192.0.2.7", want: 403},
		{name: "listed name", o: Options{Hosts: []string{"Debug.example.com"}}, host: "debug.example.com:80", want: 200},
		{name: "not the listed name", o: Options{Hosts: []string{"debug.example.com"}}, host: "x.debug.example.com", want: 403},
		{name: "listed name from outside", o: Options{Hosts: []string{"debug.example.com"}}, remote: "192.0.2.7:1", host: "debug.example.com", want: 403},
		{name: "allowed", o: Options{AllowRemote: true}, remote: "192.0.2.7:1", host: "192.0.2.1:6060", want: 200},
		{name: "allowed, through a proxy", o: Options{AllowRemote: true}, header: "X-Forwarded-For: 192.0.2.7", want: 200},
		{name: "allowed, rebound name", o: Options{AllowRemote: true}, remote: "192.0.2.7:1", host: "evil.example", want: 403},
		{name: "allowed, listed name", o: Options{AllowRemote: true, Hosts: []string{"debug"}}, remote: "192.0.2.7:1", host: "debug:6060", want: 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHandler(t, tt.o, nil, nil)
			for _, target := range []string{"/debug/heapwright/", "/debug/heapwright/?format=json", "/debug/heapwright/override"} {
				r := local("GET", target, "")
				if tt.remote != "" {
					r.RemoteAddr = tt.remote
				}
				if tt.host != "" {
					r.Host = strings.Trim(tt.host, "-")
				}
				if k, v, ok := strings.Cut(tt.header, ": "); ok {
					r.Header.Set(k, v)
				}
				w := answer(h, r)
				want := tt.want
				if strings.HasSuffix(target, "override") {
					want = 403 // nothing can be changed
				}
				if w.Code != want {
					t.Errorf("%s: status %d, want %d\n%s", target, w.Code, want, w.Body)
				}
				if w.Code == 403 && strings.Contains(w.Body.String(), "go1.") {
					t.Errorf("%s: a refusal says what it must not: %s", target, w.Body)
				}
				checkHeaders(t, w)
			}
		})
	}
}

func checkHeaders(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	for k, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Access-Control-Allow-Origin": ""} {
		if got := w.Header().Get(k); got != want {
			t.Errorf("header %s is %q, want %q", k, got, want)
		}
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; ") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("Content-Security-Policy: %s", csp)
	}
}

func TestUnixSocket(t *testing.T) {
	r := local("GET", "/debug/heapwright/", "")
	r.RemoteAddr = "@"
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "s", Net: "unix"}))
	if w := answer(newHandler(t, Options{}, nil, nil), r); w.Code != 200 {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

func TestMethodsAndForms(t *testing.T) {
	h := newHandler(t, Options{}, nil, nil)
	tests := []struct {
		method, target, accept string
		status                 int
		typ                    string
	}{
		{"GET", "/debug/heapwright", "", 200, "text/html; charset=utf-8"},
		{"GET", "/debug/heapwright/", "text/html,application/json;q=0.9", 200, "text/html; charset=utf-8"},
		{"GET", "/debug/heapwright/", "application/json", 200, "application/json"},
		{"GET", "/debug/heapwright/?format=json", "text/html", 200, "application/json"},
		{"GET", "/debug/heapwright/?format=html", "application/json", 200, "text/html; charset=utf-8"},
		{"GET", "/", "", 200, "text/html; charset=utf-8"},
		{"HEAD", "/debug/heapwright/", "", 200, "text/html; charset=utf-8"},
		{"POST", "/debug/heapwright/", "", 405, "text/plain; charset=utf-8"},
		{"OPTIONS", "/debug/heapwright/", "", 405, "text/plain; charset=utf-8"},
		{"GET", "/debug/heapwright/?evidence=a&file=b", "", 403, "text/plain; charset=utf-8"},
	}
	for _, tt := range tests {
		r := local(tt.method, tt.target, "")
		r.Header.Set("Accept", tt.accept)
		w := answer(h, r)
		if w.Code != tt.status || w.Header().Get("Content-Type") != tt.typ {
			t.Errorf("%s %s, accepting %q: %d %s, want %d %s", tt.method, tt.target, tt.accept, w.Code, w.Header().Get("Content-Type"), tt.status, tt.typ)
		}
	}
}

// TestOverHTTP asks a real server, mounted as the package says.
func TestOverHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/debug/heapwright/", Handler(Options{}))
	s := httptest.NewServer(mux)
	defer s.Close()
	r, err := http.Get(s.URL + "/debug/heapwright?format=json") // without the slash: the mux redirects
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var d struct {
		Schema  string
		Process struct {
			PID        int
			StartTicks *uint64 `json:"start_ticks"`
		}
		Settings []settingDoc
		Memory   map[string]any
		Signals  []signalDoc
	}
	if err := json.NewDecoder(r.Body).Decode(&d); err != nil {
		t.Fatal(err)
	}
	if d.Schema != Schema || d.Process.PID != os.Getpid() || len(d.Settings) != 3 {
		t.Errorf("document: %+v", d)
	}
}

// hostile is a text that means harm wherever it is not escaped, and is long.
var hostile = `"><script>alert('x')</script>` + strings.Repeat(`<&"'é`, 60)

// fullStatus is a guard that has everything, with names as given.
func fullStatus(name string) guard.Status {
	now := time.Now()
	ratio, value := 0.87, 0.021
	s := guard.Status{
		State: guard.Degraded, Since: now.Add(-3 * time.Hour), DryRun: true, Rung: 12, Trips: 3, Steps: 40, LimitedBy: name, Broken: name,
		MemoryRatio: &ratio, CallbackFailures: 7, EventsLost: 1,
		Shed: shed.Stats{Admitted: shed.Counts{1e9, 2e9, 3, 4}, ShedByShare: shed.Counts{5e6}, ShedByCapacity: shed.Counts{6e6}, Spared: shed.Counts{7}, InFlight: 512, InFlightBytes: 1 << 30, Capacity: 1 << 31, Shares: shed.Shares{0.5, 0, 1, 1}},
	}
	for i := range 20 {
		s.Ladder = append(s.Ladder, guard.Rung{Name: fmt.Sprintf("%s %d", name, i), On: i < 12, Above: 0.5 + float64(i)/50, Below: 0.45 + float64(i)/50, Admit: &shed.Shares{0.25, 0.5, 0.75, 1}, NotReady: i > 15})
	}
	for i := range 20 {
		s.Objectives = append(s.Objectives, guard.ObjectiveStatus{Objective: guard.Objective{Name: fmt.Sprintf("%s %d", name, i), Signal: sli.Signal(name), Max: 0.015, Interval: 10 * time.Second, Window: 5 * time.Minute, Ratio: 0.2}, Value: &value, Violations: 0.3, Tripped: i%2 == 0})
	}
	for i := range 100 {
		kind := []string{guard.EventState, guard.EventStep, guard.EventObjective, guard.EventLimit, guard.EventEvidence, guard.EventCallbackFailed, name}[i%7]
		s.Events = append(s.Events, guard.Event{Time: now.Add(time.Duration(i) * time.Second), Kind: kind, Name: name, From: name, To: name, Reason: name})
	}
	for i := range 16 {
		s.Evidence = append(s.Evidence, evidence.Bundle{Time: now, Reason: name, Path: fmt.Sprintf("evidence/%d", i), Bytes: 1 << 20, Files: []string{"trace.out", "heap.pprof", "goroutine.pprof", "samples.hwrec", name}, Notes: []string{name}})
	}
	for _, n := range sli.Signals() {
		s.Signals = append(s.Signals, guard.Signal{Name: string(n), Value: 0.25})
	}
	for i := range 30 {
		s.Signals = append(s.Signals, guard.Signal{Name: fmt.Sprintf("%s %d", name, i), Value: 1e12})
	}
	return s
}

func fullReport(name string) memlimit.Report {
	r := newFakeLimit().report
	r.Mode, r.Reason, r.Path, r.NonGoWhy, r.ReserveWhy, r.Error, r.WouldSet = memlimit.ModeOverride, name, name, name, name, name, 1<<30
	r.Control = &memlimit.Decision{Reason: name, Mode: control.Mode(name)}
	r.Override = &memlimit.Lease{Who: name, Until: time.Now().Add(time.Hour), GOGC: 100, GOMEMLIMIT: 200 << 20}
	return r
}

// TestPageIsBounded fills the page with all that there can be, in names that are
// long and escape to five times their length.
func TestPageIsBounded(t *testing.T) {
	for _, name := range []string{"memory", strings.Repeat("long name ", 40), hostile, strings.Repeat("\x00\xff<>", 300)} {
		l := &fakeLimit{report: fullReport(name)}
		sources := []metric.Source{metric.SourceFunc(func(emit func(metric.Metric)) {
			for range 5000 {
				emit(metric.Metric{Name: name, Unit: name, Help: name, Labels: []metric.Label{{Key: name, Value: name}}, Value: math.NaN()})
			}
		})}
		h := newHandler(t, Options{Sources: sources, AllowEvidence: true, AllowChange: true}, l, &fakeGuard{fullStatus(name)})
		h.process.Name, h.process.Module, h.process.Revision, h.process.Main = name, name, name, name
		// As full as it gets: the history, too.
		at := time.Now().Add(-time.Hour)
		for i := range 2 * historyPoints {
			var signals []signalDoc
			for _, s := range fullStatus(name).Signals {
				signals = append(signals, signalDoc{s.Name, math.Sin(float64(i)) + 1.1})
			}
			h.history.add(at.Add(time.Duration(i)*time.Second), signals)
		}
		w := answer(h, local("GET", "/debug/heapwright/?refresh=1", ""))
		body := w.Body.String()
		if w.Code != 200 {
			t.Fatalf("names of %.20q: status %d: %.300s", name, w.Code, body)
		}
		t.Logf("names of %.20q: %d bytes", name, len(body))
		if len(body) > maxPage {
			t.Errorf("names of %.20q: the page has %d bytes, more than %d", name, len(body), maxPage)
		}
		checkMarkup(t, body)
		var d document
		j := answer(h, local("GET", "/debug/heapwright/?format=json", ""))
		if err := json.Unmarshal(j.Body.Bytes(), &d); err == nil {
			if len(d.Metrics) != maxMetrics || len(d.Problems) != 1 {
				t.Errorf("%d metrics, problems %q", len(d.Metrics), d.Problems)
			}
		} else if !strings.Contains(err.Error(), "guard.State") { // which is only written
			t.Errorf("names of %.20q: JSON: %v", name, err)
		}
		if j.Body.Len() > 8<<20 {
			t.Errorf("names of %.20q: JSON of %d bytes", name, j.Body.Len())
		}
	}
}

// checkMarkup looks for what a hostile text would have brought in.
func checkMarkup(t *testing.T, body string) {
	t.Helper()
	for _, bad := range []string{"<script", "javascript:", " style=", " onload", "ZgotmplZ", "alert('x')"} {
		if strings.Contains(body, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	known := regexp.MustCompile(`^/?(html|head|meta|title|style|body|main|header|span|a|h1|h2|h3|small|p|div|b|dl|dt|dd|svg|rect|path|table|thead|tbody|tr|th|td|details|summary|footer)$`)
	for _, m := range regexp.MustCompile(`<(/?[a-zA-Z][a-zA-Z0-9]*)`).FindAllStringSubmatch(body, -1) {
		if !known.MatchString(m[1]) {
			t.Errorf("the page has the tag <%s", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		if !strings.HasPrefix(m[1], "?") {
			t.Errorf("the page links to %q", m[1])
		}
	}
}

func TestPageSays(t *testing.T) {
	status := fullStatus("rung")
	status.Broken, status.DryRun = "", false
	h := newHandler(t, Options{}, newFakeLimit(), &fakeGuard{status})
	body := answer(h, local("GET", "/debug/heapwright/", "")).Body.String()
	for _, want := range []string{
		"Degraded", "on rung 12 of 20", "Not ready", "256 MiB", "not Go&#39;s</dt><dd>20.0 MiB", "memlimit: set",
		"violated", "callback failed", "1 000 000 000", "To download it here is not allowed", "GOMAXPROCS", `aria-label="`,
	} {
		if !strings.Contains(strings.ReplaceAll(body, "\u202f", " "), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(body, "http-equiv") {
		t.Error("the page refreshes itself without having been asked to")
	}
	if strings.Contains(body, "evidence=") {
		t.Error("the page links to evidence that is not given out")
	}
	checkMarkup(t, body)
	status.Broken = "a function of the service's ended the guard's goroutine"
	body = answer(newHandler(t, Options{}, nil, &fakeGuard{status}), local("GET", "/debug/heapwright/", "")).Body.String()
	if !strings.Contains(body, "every request is admitted: a function of the service&#39;s ended") || strings.Contains(body, "panicked") {
		t.Error("the page does not say why the guard is off, or that it panicked")
	}
	status.Broken = ""
	status.State, status.Rung, status.Ready = guard.Healthy, 0, true
	h = newHandler(t, Options{}, nil, &fakeGuard{status})
	if body = answer(h, local("GET", "/debug/heapwright/?refresh=5", "")).Body.String(); !strings.Contains(body, "Healthy") || !strings.Contains(body, `http-equiv="refresh" content="5"`) {
		t.Errorf("a healthy page that refreshes itself: %.600s", body)
	}
}

// TestSaysNothingOfItself holds that neither the environment nor the arguments show.
func TestSaysNothingOfItself(t *testing.T) {
	t.Setenv("HEAPWRIGHT_TEST_SECRET", "s3cr3t-value")
	old := os.Args
	os.Args = append(os.Args, "--password=s3cr3t-argument")
	defer func() { os.Args = old }()
	h := Handler(Options{})
	for _, target := range []string{"/", "/?format=json"} {
		if body := answer(h, local("GET", target, "")).Body.String(); strings.Contains(body, "s3cr3t") || strings.Contains(body, "HEAPWRIGHT_TEST") {
			t.Errorf("%s shows the environment or the arguments", target)
		}
	}
}

func TestSourcesThatFail(t *testing.T) {
	block := make(chan struct{})
	good := metric.SourceFunc(func(emit func(metric.Metric)) {
		emit(metric.Metric{Name: "pool.bytes", Unit: "By", Kind: metric.Gauge, Value: 1 << 20})
	})
	panics := metric.SourceFunc(func(func(metric.Metric)) { panic("broken <b>") })
	blocks := metric.SourceFunc(func(func(metric.Metric)) { <-block })

	h := newHandler(t, Options{Sources: []metric.Source{panics, nil, good}}, nil, nil)
	d := h.look()
	if len(d.Metrics) != 1 || *d.Metrics[0].Value != 1<<20 || len(d.Problems) != 1 || !strings.Contains(d.Problems[0], "broken") {
		t.Errorf("metrics %v, problems %q", d.Metrics, d.Problems)
	}
	checkMarkup(t, answer(h, local("GET", "/", "")).Body.String())

	h = newHandler(t, Options{Sources: []metric.Source{blocks, good}}, nil, nil)
	for i, want := range []string{"has not answered", "another request, or one of them blocks"} {
		if d := h.look(); len(d.Metrics) != 0 || len(d.Problems) != 1 || !strings.Contains(d.Problems[0], want) {
			t.Errorf("request %d: metrics %v, problems %q", i, d.Metrics, d.Problems)
		}
	}
	close(block)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if d := h.look(); len(d.Metrics) == 1 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the sources are not asked again: %q", d.Problems)
		}
	}
}

func TestConcurrent(t *testing.T) {
	h := newHandler(t, Options{AllowChange: true, Sources: []metric.Source{metric.SourceFunc(func(func(metric.Metric)) {})}}, newFakeLimit(), &fakeGuard{fullStatus("x")})
	var all sync.WaitGroup
	for i := range 4 {
		all.Add(1)
		go func() {
			defer all.Done()
			for range 10 {
				if w := answer(h, local("GET", []string{"/", "/?format=json"}[i%2], "")); w.Code != 200 {
					t.Errorf("status %d", w.Code)
				}
			}
		}()
	}
	all.Wait()
}

func TestHistory(t *testing.T) {
	var h history
	at := time.Now()
	for i := range historyPoints + 50 {
		signals := []signalDoc{{"a", float64(i)}}
		if i%2 == 0 {
			signals = append(signals, signalDoc{"b", 1})
		}
		if i == 0 {
			for n := range 2 * historySeries {
				signals = append(signals, signalDoc{fmt.Sprint("c", n), 0})
			}
		}
		h.add(at.Add(time.Duration(i)*time.Second), signals)
	}
	d := h.doc()
	if len(d.Times) != historyPoints || len(d.Series) != historySeries {
		t.Fatalf("%d times, %d series", len(d.Times), len(d.Series))
	}
	for _, s := range d.Series {
		if len(s.Values) != historyPoints {
			t.Errorf("%s has %d values", s.Name, len(s.Values))
		}
	}
	if first := d.Series[0].Values[0]; first == nil || *first != 50 {
		t.Errorf("the oldest value is %v, want 50", first)
	}
	if b := d.Series[1].Values; b[0] == nil || b[1] != nil {
		t.Error("a value that was not known is not missing")
	}
}

func TestStartTicks(t *testing.T) {
	tests := []struct {
		stat string
		want uint64
		ok   bool
	}{
		{"5273 (guarded) S 1 5273 5273 0 -1 4194560 100 0 0 0 1 1 0 0 20 0 7 0 3669741 1 2", 3669741, true},
		{"1 (a) b) (c) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 7 0 42 1 2", 42, true},
		{"1 (a) S 1 1", 0, false},
		{"", 0, false},
		{"1 (a) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 7 0 x 1 2", 0, false},
	}
	for _, tt := range tests {
		got := startTicks([]byte(tt.stat))
		if (got != nil) != tt.ok || tt.ok && *got != tt.want {
			t.Errorf("%q: %v", tt.stat, got)
		}
	}
}

func TestSettingsSayWhoSetThem(t *testing.T) {
	env := func(pairs ...string) startup {
		return readStartup(func(k string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == k {
					return pairs[i+1]
				}
			}
			return ""
		})
	}
	lease := func(l *memlimit.Report) *memlimit.Report {
		l.Mode, l.Override = memlimit.ModeOverride, &memlimit.Lease{Who: "ada", GOGC: 50}
		return l
	}
	report := func() *memlimit.Report { l := newFakeLimit().report; return &l }
	tests := []struct {
		name        string
		gogc, limit int64
		env         startup
		l           *memlimit.Report
		want        string // of GOGC, of GOMEMLIMIT
	}{
		{"nobody", 100, math.MaxInt64, env(), nil, "Go's default, Go's default"},
		{"environment", 50, 512 << 20, env("GOGC", "50", "GOMEMLIMIT", "512MiB"), nil, "the environment (GOGC), the environment (GOMEMLIMIT)"},
		{"environment, bytes", -1, 1000, env("GOGC", "off", "GOMEMLIMIT", "1000B"), nil, "the environment (GOGC), the environment (GOMEMLIMIT)"},
		{"program", 50, 512 << 20, env("GOGC", "200"), nil, "the program, the program"},
		{"memlimit", 100, 200 << 20, env(), report(), "Go's default, memlimit"},
		{"override", 50, 200 << 20, env(), lease(report()), "an override, by ada, the program"},
	}
	for _, tt := range tests {
		s := settings(tt.gogc, tt.limit, 2, tt.env, tt.l, 2)
		if got := s[0].SetBy + ", " + s[1].SetBy; got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestParseLimit(t *testing.T) {
	tests := map[string]int64{
		"off": math.MaxInt64, "0": 0, "1024": 1024, "7B": 7, "1KiB": 1 << 10, "512MiB": 512 << 20, "2GiB": 2 << 30, "1TiB": 1 << 40,
		"": -1, "512Mi": -1, "512MB": -1, "-1": -1, "1.5GiB": -1, "B": -1, "9223372036854775807GiB": -1, "MiB": -1,
	}
	for text, want := range tests {
		got, ok := parseLimit(text)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestTexts(t *testing.T) {
	tests := []struct{ got, want string }{
		{bytesText(0), "0 B"}, {bytesText(1023), "1023 B"}, {bytesText(1 << 20), "1.00 MiB"}, {bytesText(1048575), "1.00 MiB"}, {bytesText(28.7 * (1 << 20)), "28.7 MiB"}, {bytesText(1 << 60), "1.049e+06 TiB"},
		{limitText(math.MaxInt64), "off"}, {gogcText(-1), "off"}, {gogcText(100), "100"},
		{percentText(0), "0%"}, {percentText(0.2), "20%"}, {percentText(0.00001), "< 0.01%"}, {percentText(0.1234), "12.3%"}, {percentText(1), "100%"}, {percentText(2.5), "250%"},
		{spanText(59 * time.Second), "59 s"}, {spanText(61 * time.Second), "1m 1s"}, {spanText(3*time.Hour + time.Minute), "3h 1m"}, {spanText(50 * time.Hour), "2d 2h"}, {spanText(-time.Second), "0 s"},
		{roundSpan(5 * time.Minute), "5m"}, {roundSpan(10 * time.Second), "10 s"}, {roundSpan(time.Hour), "1h"}, {roundSpan(90 * time.Second), "90 s"}, {roundSpan(500 * time.Millisecond), "0.5 s"},
		{secondsText(0), "0 s"}, {secondsText(2e-5), "20.0 µs"}, {secondsText(0.015), "15.0 ms"}, {secondsText(1.5), "1.50 s"}, {secondsText(3600), "1h 0m"}, {secondsText(1e30), "years"},
		{strings.ReplaceAll(countText(1234567), "\u202f", " "), "1 234 567"}, {countText(999), "999"},
		{signalText("gc_limiter_on", 1), "yes"}, {signalText("queue", 2.5), "2.50"}, {signalText("x_bytes", 1024), "1.00 KiB"},
		{valueText(nil, "By"), "not a number"}, {numberText(-1234.5), "-1234"}, {numberText(-2), "-2"},
		{cut("abcdef", 6), "abcdef"}, {cut("ééééé", 8), "éé…"}, {cut("a\xffb", 8), "a\uFFFDb"},
	}
	for i, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%d: %q, want %q", i, tt.got, tt.want)
		}
	}
}

func TestSpark(t *testing.T) {
	v := func(x float64) *float64 { return &x }
	at := time.Now()
	times := []time.Time{at, at.Add(time.Second), at.Add(2 * time.Second), at.Add(3 * time.Second)}
	got := string(sparkSVG(times, []*float64{v(0), nil, v(1), v(2)}))
	if !strings.Contains(got, `d="M0 37.0M133 20.0L200 3.0"`) {
		t.Errorf("a line with a gap: %s", got)
	}
	if sparkSVG(times[:1], []*float64{v(1)}) != "" || sparkSVG(times, make([]*float64, 4)) != "" {
		t.Error("there is a line through fewer than two points")
	}
	if got := sparkSVG([]time.Time{at, at}, []*float64{v(0), v(0)}); strings.Contains(string(got), "NaN") {
		t.Errorf("a flat line of no length: %s", got)
	}
}

// TestMemoryAddsUp holds the parts against what they are parts of.
func TestMemoryAddsUp(t *testing.T) {
	var p sli.Point
	p.HeapMarkedBytes, p.HeapInUseBytes, p.HeapFreeBytes, p.StackInUseBytes, p.RuntimeOtherBytes = 50, 80, 10, 5, 6
	p.MappedReadyBytes, p.GroupPinnedBytes, p.HasGroupPinned, p.GroupLimitBytes = 101, 141, true, 500
	m := memoryOf(&p, nil)
	if m.LiveBytes != 50 || m.GarbageBytes != 30 || m.NonGoBytes == nil || *m.NonGoBytes != 40 || *m.LimitBytes != 500 || m.used() != 141 {
		t.Errorf("%+v, used %d", m, m.used())
	}
	p.HeapMarkedBytes, p.GroupPinnedBytes = 100, 10 // more alive at the mark than in use since; Go's memory not all touched
	if m = memoryOf(&p, nil); m.LiveBytes != 80 || m.GarbageBytes != 0 || *m.NonGoBytes != 0 {
		t.Errorf("%+v", m)
	}
	p.GroupLimitBytes = 0 // what is in the group is others' too then, and nothing is known of us
	if m = memoryOf(&p, nil); m.NonGoBytes != nil || m.LimitBytes != nil {
		t.Errorf("without a limit: %+v", m)
	}
	p.OwnPinnedBytes, p.HasOwnPinned = 111, true
	if m = memoryOf(&p, nil); m.NonGoBytes == nil || *m.NonGoBytes != 10 {
		t.Errorf("without a limit, measured: %+v", m)
	}
	l := newFakeLimit().report
	if m = memoryOf(&p, &l); *m.LimitBytes != 256<<20 || *m.NonGoBytes != 20<<20 || *m.ReserveBytes != 16<<20 {
		t.Errorf("%+v", m)
	}
	l.Measured = false
	if m = memoryOf(&p, &l); m.NonGoBytes != nil {
		t.Error("a share of the limit is shown as if it had been measured")
	}
}

func TestEvidence(t *testing.T) {
	dir := t.TempDir()
	bundle := filepath.Join(dir, "2026-11-21T19-00-00")
	if err := os.MkdirAll(bundle, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{filepath.Join(bundle, "heap.pprof"): "profile", filepath.Join(dir, "secret"): "secret", filepath.Join(bundle, "not-listed"): "secret"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g := &fakeGuard{guard.Status{Evidence: []evidence.Bundle{{Path: bundle, Files: []string{"heap.pprof", "../secret", "gone"}}, {Files: []string{"heap.pprof"}}}}}
	h := newHandler(t, Options{AllowEvidence: true}, nil, g)
	tests := []struct {
		bundle, file string
		status       int
	}{
		{filepath.Base(bundle), "heap.pprof", 200},
		{filepath.Base(bundle), "not-listed", 404},
		{filepath.Base(bundle), "gone", 404},
		{filepath.Base(bundle), "../secret", 404},
		{filepath.Base(bundle), "", 404},
		{"..", "secret", 404},
		{".", "heap.pprof", 404},
	}
	for _, tt := range tests {
		w := answer(h, local("GET", "/debug/heapwright/"+query("evidence", tt.bundle, "file", tt.file), ""))
		if w.Code != tt.status || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s of %s: %d %s, want %d", tt.file, tt.bundle, w.Code, w.Body, tt.status)
		}
		if w.Code == 200 && (w.Body.String() != "profile" || !strings.Contains(w.Header().Get("Content-Disposition"), "attachment") || w.Header().Get("Content-Type") != "application/octet-stream") {
			t.Errorf("a file: %v %s", w.Header(), w.Body)
		}
	}
	if w := answer(newHandler(t, Options{}, nil, g), local("GET", "/?evidence=x&file=y", "")); w.Code != 403 {
		t.Errorf("where it is not allowed: %d", w.Code)
	}
}

// TestFormatIsDocumented holds the keys of the JSON against its manual.
func TestFormatIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/formats/debugz.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] || typ == reflect.TypeFor[time.Time]() {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			f := typ.Field(i)
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous {
				walk(f.Type)
				continue
			}
			if key == "" || key == "-" {
				continue
			}
			if !bytes.Contains(text, []byte("`"+key+"`")) {
				t.Errorf("docs/formats/debugz.md does not say what %s (of %s) is", key, typ)
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[document]())
	walk(reflect.TypeFor[overrideRequest]())
	walk(reflect.TypeFor[overrideAnswer]())
	walk(reflect.TypeFor[faultRequest]())
	walk(reflect.TypeFor[faultAnswer]())
	walk(reflect.TypeFor[faultsAnswer]())
}

func BenchmarkPage(b *testing.B) {
	l := &fakeLimit{report: newFakeLimit().report}
	h := &handler{o: Options{Logger: slog.New(slog.DiscardHandler)}, limit: l, guard: &fakeGuard{fullStatus("rung")}, process: identify(), ring: sli.NewRing(windowPoints, windowLength)}
	h.init()
	b.ReportAllocs()
	for b.Loop() {
		if w := answer(h, local("GET", "/", "")); w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}

// TestSettingsAreThoseOfNow asks twice in a moment, with a change in between.
func TestSettingsAreThoseOfNow(t *testing.T) {
	h := newHandler(t, Options{}, nil, nil)
	before := h.look().Settings[0].Value
	defer debug.SetGCPercent(debug.SetGCPercent(137))
	if got := h.look().Settings[0].Value; got != 137 || before == 137 {
		t.Errorf("GOGC is %d after it was set to 137, %d before", got, before)
	}
}
