package alert

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
)

var quiet = slog.New(slog.DiscardHandler)

// A fakeNet is where what is posted goes, so that time can be a test's own.
type fakeNet struct {
	mu     sync.Mutex
	answer func(n int, req *http.Request, body []byte) (status int, err error)
	n      int
	got    []posted
}

type posted struct {
	at     time.Time
	url    string
	header http.Header
	body   []byte
}

func (f *fakeNet) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.n++
	n, answer := f.n, f.answer
	f.got = append(f.got, posted{time.Now(), req.URL.String(), req.Header, body})
	f.mu.Unlock()
	status := 200
	if answer != nil {
		if status, err = answer(n, req, body); err != nil {
			return nil, err
		}
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Body: io.NopCloser(strings.NewReader("text")), Header: http.Header{}, Request: req}, nil
}

func (f *fakeNet) all() []posted {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.got)
}

func testWebhook(t *testing.T, c Webhook, f *fakeNet) *webhook {
	t.Helper()
	w, err := newWebhook(&c, quiet)
	if err != nil {
		t.Fatal(err)
	}
	w.post.client.Transport = f
	return w
}

func testManager(t *testing.T, c Alertmanager, labels map[string]string, f *fakeNet) *manager {
	t.Helper()
	m, err := newManager(&c, labels, quiet)
	if err != nil {
		t.Fatal(err)
	}
	m.post.client.Transport = f
	return m
}

func alertOf(process, state string, now time.Time) Alert {
	return Alert{
		Rule: "low", Process: process, Severity: diagnose.Warning, State: state, Since: now, At: now, Value: 0.04, Threshold: 0.1,
		Title: "4% is left", Evidence: []diagnose.Evidence{{Name: "headroom_ratio", Value: 0.04, Unit: "ratio", Source: "agent", Text: "4.0%"}}, Remedy: "do", Link: "http://host/ui",
	}
}

func TestWebhook(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		f := &fakeNet{}
		w := testWebhook(t, Webhook{URL: "http://hook.test/x", Headers: map[string]string{"X-Mine": "1"}, SecretFile: secret}, f)
		defer w.close(closedContext())
		w.notify(time.Now(), []Alert{alertOf("x", Firing, noon)}, nil)
		synctest.Wait()
		got := f.all()
		if len(got) != 1 {
			t.Fatalf("it posted %d", len(got))
		}
		var a struct {
			Schema string
			Alert
		}
		if err := json.Unmarshal(got[0].body, &a); err != nil {
			t.Fatal(err)
		}
		if want := alertOf("x", Firing, noon); a.Schema != Schema || !reflect.DeepEqual(a.Alert, want) {
			t.Errorf("it posted %s", got[0].body)
		}
		h := got[0].header
		mac := hmac.New(sha256.New, []byte("abc"))
		mac.Write([]byte(h.Get("X-Heapwright-Timestamp") + "." + string(got[0].body)))
		if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); h.Get("X-Heapwright-Signature") != want || h.Get("X-Mine") != "1" || h.Get("Content-Type") != "application/json" {
			t.Errorf("the headers are %v, want the signature %s", h, want)
		}
		if s := w.status(); s.Sent != 1 || s.Error != "" || s.Name != "hook.test" {
			t.Errorf("status %+v", s)
		}
	})
}

func TestWebhookTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeNet{answer: func(n int, _ *http.Request, _ []byte) (int, error) {
			switch {
			case n < 3:
				return 503, nil
			case n == 3:
				return 0, errors.New("no route")
			}
			return 200, nil
		}}
		w := testWebhook(t, Webhook{URL: "http://hook.test/x"}, f)
		defer w.close(closedContext())
		w.notify(time.Now(), []Alert{alertOf("x", Firing, noon), alertOf("y", Firing, noon)}, nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		var order []string
		for _, p := range f.all() {
			var a Alert
			if err := json.Unmarshal(p.body, &a); err != nil {
				t.Fatal(err)
			}
			order = append(order, a.Process)
		}
		if got := strings.Join(order, ""); got != "xxxxy" {
			t.Errorf("it posted %s", got)
		}
		if s := w.status(); s.Sent != 2 || s.Failed != 3 || s.Dropped != 0 || s.Error != "" {
			t.Errorf("status %+v", s)
		}
	})
}

func TestWebhookGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeNet{answer: func(n int, _ *http.Request, body []byte) (int, error) {
			if bytes.Contains(body, []byte(`"refused"`)) {
				return 400, nil
			}
			return 500, nil
		}}
		w := testWebhook(t, Webhook{URL: "http://hook.test/x"}, f)
		w.notify(time.Now(), []Alert{alertOf("refused", Firing, noon), alertOf("away", Firing, noon)}, nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		if s := w.status(); s.Sent != 0 || s.Failed != 1+maxTries || s.Dropped != 2 || s.Queued != 0 || !strings.Contains(s.Error, "text") {
			t.Errorf("status %+v", s)
		}
		w.close(closedContext())
	})
}

// TestHanging: one that never answers delays nobody, its queue is bounded, and Close
// ends when it is told to.
func TestHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := func(_ int, req *http.Request, _ []byte) (int, error) {
			<-req.Context().Done()
			return 0, req.Context().Err()
		}
		bad, good, am := &fakeNet{answer: hang}, &fakeNet{}, &fakeNet{answer: hang}
		a := &Alerter{engine: New([]Rule{low}), notifiers: []notifier{
			testWebhook(t, Webhook{URL: "http://bad.test"}, bad),
			testManager(t, Alertmanager{URL: "http://am.test"}, nil, am),
			testWebhook(t, Webhook{URL: "http://good.test"}, good),
		}}
		start := time.Now()
		now := start
		obs := make([]Observation, 1000)
		for range 20 {
			for i := range obs {
				obs[i] = of(strings.Repeat("x", i%100+1)+string(rune('a'+i/100)), headroom(0.01))
			}
			now = now.Add(10 * time.Second)
			a.Observe(now, obs)
		}
		synctest.Wait()
		if d := time.Since(start); d != 0 {
			t.Errorf("observing took %v", d)
		}
		if n := len(a.Active()); n != 1000 {
			t.Errorf("%d fire", n)
		}
		s := a.Status()
		if s[0].Queued > maxQueued || s[0].Dropped < 1000-maxQueued-1 {
			t.Errorf("the one that hangs: %+v", s[0])
		}
		if s[2].Sent+s[2].Dropped != 1000 || s[2].Sent < maxQueued {
			t.Errorf("the other: %+v", s[2])
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := a.Close(ctx); err == nil || !strings.Contains(err.Error(), "bad.test") {
			t.Errorf("Close: %v", err)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("Close took %v", d)
		}
	})
}

func TestCloseTellsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, am := &fakeNet{}, &fakeNet{}
		a := &Alerter{engine: New(nil), notifiers: []notifier{
			testWebhook(t, Webhook{URL: "http://hook.test"}, f), testManager(t, Alertmanager{URL: "http://am.test"}, nil, am)}}
		alerts := []Alert{alertOf("x", Firing, noon), alertOf("y", Firing, noon)}
		for _, n := range a.notifiers {
			n.notify(time.Now(), alerts, alerts)
		}
		if err := a.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if len(f.all()) != 2 || len(am.all()) == 0 {
			t.Errorf("%d posts and %d", len(f.all()), len(am.all()))
		}
	})
}

func decode(t *testing.T, p posted) []amAlert {
	t.Helper()
	var out []amAlert
	if err := json.Unmarshal(p.body, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeNet{}
		m := testManager(t, Alertmanager{URL: "http://am.test/prefix/"}, map[string]string{"instance": "h1", "team": "a"}, f)
		start := time.Now()
		x := alertOf("x", Firing, start)
		m.notify(start, []Alert{x}, []Alert{x})
		synctest.Wait()
		got := f.all()
		if len(got) != 1 || got[0].url != "http://am.test/prefix/api/v2/alerts" {
			t.Fatalf("it posted %+v", got)
		}
		a := decode(t, got[0])[0]
		want := amAlert{
			Labels:      map[string]string{"alertname": "HeapwrightLow", "instance": "h1", "job": "heapwright", "process": "x", "severity": "warning", "team": "a"},
			Annotations: map[string]string{"summary": "4% is left", "evidence": "headroom_ratio: 4.0%", "remedy": "do", "link": "http://host/ui"},
			StartsAt:    start.UTC(), EndsAt: start.Add(4 * time.Minute).UTC(), GeneratorURL: "http://host/ui",
		}
		if !reflect.DeepEqual(a.Labels, want.Labels) || !reflect.DeepEqual(a.Annotations, want.Annotations) || !a.StartsAt.Equal(want.StartsAt) || !a.EndsAt.Equal(want.EndsAt) || a.GeneratorURL != want.GeneratorURL {
			t.Errorf("it posted %s", got[0].body)
		}
		// What fires is sent each minute, and ends later each time.
		time.Sleep(5*time.Minute + time.Second)
		synctest.Wait()
		if got = f.all(); len(got) != 6 {
			t.Errorf("in five minutes it posted %d times", len(got))
		}
		if end := decode(t, got[5])[0].EndsAt; !end.After(a.EndsAt.Add(4 * time.Minute)) {
			t.Errorf("the last ends %v", end)
		}
		// What is resolved has an end, and is forgotten after a while.
		y := x
		y.State, y.At = Resolved, time.Now()
		m.notify(time.Now(), []Alert{y}, nil)
		synctest.Wait()
		got = f.all()
		if a := decode(t, got[6])[0]; !a.EndsAt.Equal(y.At) || a.Labels["process"] != "x" {
			t.Errorf("resolved it posted %+v", a)
		}
		time.Sleep(16 * time.Minute)
		m.notify(time.Now(), nil, nil)
		synctest.Wait()
		n := len(f.all())
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(f.all()) != n {
			t.Errorf("with nothing to say it posted %d times", len(f.all())-n)
		}
		m.close(context.Background())
	})
}

// TestManagerAway: while it is away an alert fires and another one ends; when it is back
// it hears of both.
func TestManagerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(7 * time.Minute)
		f := &fakeNet{answer: func(int, *http.Request, []byte) (int, error) {
			if time.Now().Before(back) {
				return 0, errors.New("connection refused")
			}
			return 200, nil
		}}
		m := testManager(t, Alertmanager{URL: "http://am.test"}, nil, f)
		x, y := alertOf("x", Firing, time.Now()), alertOf("y", Firing, time.Now())
		m.notify(time.Now(), []Alert{x, y}, []Alert{x, y})
		time.Sleep(3 * time.Minute)
		y.State, y.At = Resolved, time.Now()
		m.notify(time.Now(), []Alert{y}, []Alert{x})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if s := m.status(); s.Sent != 0 || s.Failed == 0 || s.Error == "" {
			t.Errorf("while it is away: %+v", s)
		}
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		last := f.all()
		heard := map[string]bool{}
		for _, a := range decode(t, last[len(last)-1]) {
			heard[a.Labels["process"]] = a.EndsAt.After(time.Now())
		}
		if !reflect.DeepEqual(heard, map[string]bool{"x": true, "y": false}) {
			t.Errorf("it heard %v", heard)
		}
		if s := m.status(); s.Sent == 0 || s.Error != "" {
			t.Errorf("when it is back: %+v", s)
		}
		m.close(context.Background())
	})
}

func TestManagerBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeNet{}
		m := testManager(t, Alertmanager{URL: "http://am.test"}, nil, f)
		var all []Alert
		for i := range 150 {
			all = append(all, alertOf(strings.Repeat("x", i+1), Firing, time.Now()))
		}
		m.notify(time.Now(), all, all)
		synctest.Wait()
		n := 0
		for _, p := range f.all() {
			n += len(decode(t, p))
		}
		if n != 150 || len(f.all()) != 3 {
			t.Errorf("%d alerts in %d posts", n, len(f.all()))
		}
		m.close(context.Background())
	})
}

// TestReal goes through real sockets: a redirect is not followed, what a server sends
// is read in part only, and Start takes what Config says.
func TestReal(t *testing.T) {
	var mu sync.Mutex
	paths := map[string]int{}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("t0ken"), 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{}, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		paths[req.URL.Path+" "+req.Header.Get("Authorization")]++
		mu.Unlock()
		if req.URL.Path == "/moved" {
			http.Redirect(w, req, "/elsewhere", http.StatusTemporaryRedirect)
		}
		w.Write(bytes.Repeat([]byte("x"), 10_000))
		done <- struct{}{}
	}))
	defer s.Close()
	var out bytes.Buffer
	a, err := start(Config{
		NoDefaults: true, Rules: []Rule{low}, Stdout: true,
		Webhooks:      []Webhook{{URL: s.URL + "/hook"}, {URL: s.URL + "/moved"}},
		Alertmanagers: []Alertmanager{{URL: s.URL, BearerTokenFile: token}},
	}, func(a *Alert) string { return "http://ui/" + a.Process }, quiet, &out)
	if err != nil {
		t.Fatal(err)
	}
	now := noon
	for range 8 {
		now = now.Add(10 * time.Second)
		a.Observe(now, []Observation{of("x", headroom(0.01))})
	}
	for range 3 {
		<-done
	}
	if err := a.Close(context.Background()); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if paths["/hook "] != 1 || paths["/moved "] != 1 || paths["/api/v2/alerts Bearer t0ken"] == 0 || len(paths) != 3 {
		t.Errorf("asked were %v", paths)
	}
	var printed Alert
	if err := json.Unmarshal(out.Bytes(), &printed); err != nil || printed.Link != "http://ui/x" || printed.State != Firing {
		t.Errorf("printed was %s, %v", out.Bytes(), err)
	}
	for _, st := range a.Status() {
		if bad := st.Dropped > 0; bad != (st.Name == strings.TrimPrefix(s.URL, "http://") && st.Failed > 0) {
			t.Errorf("status %+v", st)
		}
	}
}

// TestReconfigure changes the rules while two alerts fire.
func TestReconfigure(t *testing.T) {
	other := low
	other.Name, other.Process = "other", "x*"
	var out bytes.Buffer
	a, err := start(Config{NoDefaults: true, Rules: []Rule{low, other}, Stdout: true}, nil, quiet, &out)
	if err != nil {
		t.Fatal(err)
	}
	now := noon
	observe := func(n int, v float64) {
		for range n {
			now = now.Add(10 * time.Second)
			a.Observe(now, []Observation{of("x", headroom(v))})
		}
	}
	observe(7, 0.01)
	if n := len(a.Active()); n != 2 {
		t.Fatalf("%d fire", n)
	}
	if err := a.Reconfigure(Config{Rules: []Rule{{}}}); err == nil {
		t.Error("a rule without a name was taken")
	}
	out.Reset()
	higher := low
	higher.ClearAbove, higher.ClearFor = at(0.5), time.Minute
	if err := a.Reconfigure(Config{NoDefaults: true, Rules: []Rule{higher}, Stdout: true}); err != nil {
		t.Fatal(err)
	}
	var ended Alert
	if err := json.Unmarshal(out.Bytes(), &ended); err != nil || ended.Rule != "other" || ended.State != Resolved || ended.Note == "" {
		t.Errorf("it said %s, %v", out.Bytes(), err)
	}
	observe(60, 0.2) // which would have cleared the rule of before
	if active := a.Active(); len(active) != 1 || active[0].Rule != "low" || !active[0].Since.Equal(noon.Add(10*time.Second)) {
		t.Errorf("after it there fire %+v", active)
	}
	observe(7, 0.6)
	if n := len(a.Active()); n != 0 {
		t.Errorf("%d fire", n)
	}
	if err := a.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestConfigChecks(t *testing.T) {
	for name, tt := range map[string]struct {
		c    Config
		want string
	}{
		"rule":     {Config{Rules: []Rule{{Name: "x"}}}, "rules[0]"},
		"twice":    {Config{Rules: []Rule{low, low}}, "two"},
		"url":      {Config{Webhooks: []Webhook{{URL: "ftp://x"}}}, "webhooks[0]"},
		"header":   {Config{Webhooks: []Webhook{{URL: "http://x", Headers: map[string]string{"a": "b\r\nc"}}}}, "header"},
		"manager":  {Config{Alertmanagers: []Alertmanager{{}}}, "alertmanagers[0]"},
		"label":    {Config{Labels: map[string]string{"a-b": "c"}}, "labels"},
		"repeat":   {Config{Repeat: time.Second}, "repeat"},
		"timeout":  {Config{Webhooks: []Webhook{{URL: "http://x", Timeout: time.Hour}}}, "timeout"},
		"many":     {Config{Webhooks: make([]Webhook, 100)}, "more than"},
		"no file":  {Config{Webhooks: []Webhook{{URL: "http://x", SecretFile: "/nonexistent"}}}, "secret_file"},
		"no file2": {Config{Alertmanagers: []Alertmanager{{URL: "http://x", BearerTokenFile: "/nonexistent"}}}, "bearer_token_file"},
	} {
		a, err := Start(tt.c, nil, quiet)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		if a != nil {
			t.Errorf("%s: it started", name)
		}
	}
	// A default can be changed, and turned off.
	mine := low
	mine.Name = "headroom-low"
	c := Config{Rules: []Rule{mine, {Name: "gc-storm", Disabled: true}}}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range New(c.rules()).Rules() {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "finding gc-cpu-high goroutine-growth headroom-critical headroom-low limit-soon oom-kill" {
		t.Errorf("the rules are %s", got)
	}
}

// FuzzTranslate: whatever an alert says, it becomes what Alertmanager takes.
func FuzzTranslate(f *testing.F) {
	f.Add("x", "title", "http://link", "remedy")
	f.Add("\xff", "", "javascript:alert(1)", "\x00")
	m := &manager{labels: map[string]string{"instance": "h"}}
	f.Fuzz(func(t *testing.T, process, text, link, remedy string) {
		a := Alert{Rule: "r", Process: process, Title: text, Link: link, Remedy: remedy, State: Firing, Since: noon, At: noon}
		got := m.translate(&a, noon)
		for k, v := range got.Labels {
			if v == "" || strings.ToValidUTF8(v, "") != v {
				t.Errorf("label %s is %q", k, v)
			}
		}
		if got.GeneratorURL != "" && !strings.HasPrefix(got.GeneratorURL, "http") {
			t.Errorf("the URL is %q", got.GeneratorURL)
		}
		if _, err := json.Marshal(got); err != nil {
			t.Error(err)
		}
	})
}
