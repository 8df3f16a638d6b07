package web

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

const (
	readerToken   = "reader-0123456789abcdef"
	operatorToken = "operator-0123456789abcdef"
)

// secretFile is a file with mode 0600.
func secretFile(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// echo is an API that says who asked.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if strings.HasSuffix(r.URL.Path, "/broken") {
		w.WriteHeader(http.StatusConflict)
		io.WriteString(w, `{"schema":"heapwright.error/1","error":"it is being changed"}`)
		return
	}
	if strings.HasSuffix(r.URL.Path, "/panic") {
		panic("on purpose")
	}
	json.NewEncoder(w).Encode(map[string]any{"role": RoleOf(r.Context()).String(), "who": WhoOf(r.Context()), "csrf": CSRFOf(r.Context()), "body": string(body), "method": r.Method})
}

// everything is options with all that is served.
func everything(t testing.TB) Options {
	return Options{
		Listen: "127.0.0.1:0",
		UI: fstest.MapFS{"index.html": {Data: []byte("<!doctype html><title>Heapwright</title>" + strings.Repeat(" ", 2000))}, "app.js": {Data: []byte(strings.Repeat("let a=1;", 500))},
			"chunk-ABCDEF12.js": {Data: []byte("1")}, "deep/x.bin": {Data: []byte{0, 1}}},
		API:     http.HandlerFunc(echo),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "up 1\n") }),
		Store:   fakeStore{},
		Live:    fakeLive{},
		Logger:  slog.New(slog.DiscardHandler),
	}
}

// fakeLive says something at once, and then nothing.
type fakeLive struct{}

func (fakeLive) Follow(ctx context.Context, process string) (<-chan Message, error) {
	if process == "none" {
		return nil, ErrUnknown
	}
	c := make(chan Message, 1)
	c <- Message{"processes", []byte("{}")}
	context.AfterFunc(ctx, func() { close(c) })
	return c, nil
}

// do asks a handler, as somebody of this machine unless the request says otherwise.
func do(h http.Handler, method, target string, body string, header ...string) *httptest.ResponseRecorder {
	var from io.Reader
	if body != "" {
		from = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, "http://localhost/", from)
	u, err := url.ParseRequestURI(target)
	if err != nil {
		panic(err)
	}
	r.URL, r.RequestURI = u, target
	r.RemoteAddr = "127.0.0.1:1234"
	for i := 0; i+1 < len(header); i += 2 {
		switch header[i] {
		case "Host":
			r.Host = header[i+1]
		case "Remote":
			r.RemoteAddr = header[i+1]
		default:
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if strings.HasSuffix(u.Path, "/live") {
		cancel() // nobody waits for what does not end
	}
	h.ServeHTTP(w, r.WithContext(ctx))
	return w
}

// says is what echo says.
func says(t *testing.T, w *httptest.ResponseRecorder) (m map[string]string) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return m
}

// TestEveryAnswer looks that all answers have the headers that keep browsers from doing
// harm, whatever was asked.
func TestEveryAnswer(t *testing.T) {
	o := everything(t)
	o.ReaderTokenFile = secretFile(t, readerToken)
	h := newServer(t, o).Handler()
	for _, target := range []string{"/", "/ui/", "/ui/process/a", "/app.js", "/nothing", "/login", "/login.css", "/healthz", "/readyz", "/metrics", "/api/v1/query?query=1", "/api/v1/nothing",
		"/api/heapwright/v1/session", "/api/heapwright/v1/live", "/api/heapwright/v1/panic", "/../etc/passwd", "//", "/%2e%2e/x", "/api/"} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"} {
			for _, header := range [][]string{nil, {"Authorization", "Bearer " + readerToken}, {"Host", "evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Authorization", "Bearer wrong"}} {
				w := do(h, method, target, "", header...)
				got := w.Result().Header
				referrer := "no-referrer"
				if got.Get("Set-Cookie") != "" {
					referrer = "same-origin" // the form
				}
				for name, want := range map[string]string{"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": referrer,
					"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin"} {
					if got.Get(name) != want {
						t.Errorf("%s %s %v: %d with %s %q", method, target, header, w.Code, name, got.Get(name))
					}
				}
				if got.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s %s lets other sites read", method, target)
				}
				if w.Code >= 500 && !strings.HasSuffix(target, "/panic") {
					t.Errorf("%s %s %v: %d %s", method, target, header, w.Code, w.Body)
				}
				if len(header) > 0 && header[0] == "Host" && w.Code != http.StatusForbidden {
					t.Errorf("%s %s for another host: %d", method, target, w.Code)
				}
			}
		}
	}
}

// TestRoles is who may what.
func TestRoles(t *testing.T) {
	const (
		session, query, snapshots, change = "GET /api/heapwright/v1/session", "POST /api/v1/query", "POST /api/heapwright/v1/snapshots", "POST /api/heapwright/v1/change"
		metrics, ui, health               = "GET /metrics", "GET /ui/", "GET /healthz"
	)
	local := func(o *Options) {}
	reader := func(o *Options) { o.ReaderTokenFile = secretFile(t, "r "+readerToken) }
	operator := func(o *Options) { o.OperatorTokenFile = secretFile(t, "o "+operatorToken) }
	changes := func(o *Options) { o.AllowChanges, o.AuditFile = true, filepath.Join(t.TempDir(), "audit.log") }
	loopbackOperator := func(o *Options) { o.LoopbackOperator = true }
	external := func(o *Options) { o.ExternalURL = "https://hw.example" }
	all := func(fs ...func(*Options)) []func(*Options) { return fs }
	asReader, asOperator := []string{"Authorization", "Bearer " + readerToken}, []string{"Authorization", "bearer " + operatorToken}
	for _, c := range []struct {
		name   string
		with   []func(*Options)
		header []string
		want   map[string]int
	}{
		{"loopback", all(local), nil, map[string]int{session: 200, query: 200, snapshots: 403, change: 403, metrics: 200, ui: 200, health: 200}},
		{"loopback, another machine", all(local), []string{"Remote", "192.0.2.1:1"}, map[string]int{session: 401, query: 401, change: 401, metrics: 401, ui: 200, health: 200}},
		{"loopback, a proxy", all(local), []string{"X-Forwarded-For", "192.0.2.1"}, map[string]int{session: 403, query: 403, metrics: 403, ui: 200, health: 200}},
		{"loopback, a proxy that is known", all(external), []string{"X-Forwarded-For", "192.0.2.1", "Host", "hw.example"}, map[string]int{session: 200, query: 200, metrics: 200, ui: 200}},
		{"loopback, a token that nobody wants", all(local), asReader, map[string]int{session: 200, query: 200}},
		{"loopback, an operator's token", all(operator, changes), asOperator, map[string]int{session: 200, change: 200, snapshots: 200}},
		{"loopback beside an operator's token", all(operator, changes), nil, map[string]int{session: 200, change: 403}},
		{"loopback operator", all(changes, loopbackOperator), nil, map[string]int{session: 200, change: 403}}, // for want of the token against other sites
		{"no token", all(reader), nil, map[string]int{session: 401, query: 401, snapshots: 401, change: 401, metrics: 401, ui: 200, health: 200}},
		{"reader", all(reader), asReader, map[string]int{session: 200, query: 200, snapshots: 200, change: 403, metrics: 200}},
		{"reader, changes", all(reader, changes), asReader, map[string]int{session: 200, change: 403, snapshots: 200}},
		{"operator, no changes", all(reader, operator), asOperator, map[string]int{session: 200, change: 403, snapshots: 200}},
		{"operator, changes", all(reader, operator, changes), asOperator, map[string]int{session: 200, change: 200}},
		{"a wrong token", all(reader), []string{"Authorization", "Bearer x" + readerToken}, map[string]int{session: 401, query: 401, metrics: 401, health: 200}},
		{"another scheme", all(reader), []string{"Authorization", "Basic " + readerToken}, map[string]int{session: 401}},
		{"an empty token", all(reader), []string{"Authorization", "Bearer "}, map[string]int{session: 401}},
		{"a huge token", all(reader), []string{"Authorization", "Bearer " + strings.Repeat("a", 4<<10)}, map[string]int{session: 401}},
		{"a made-up cookie", all(reader), []string{"Cookie", "heapwright-0=abc"}, map[string]int{session: 401}},
		{"reader from another site", all(reader), append([]string{"Sec-Fetch-Site", "cross-site"}, asReader...), map[string]int{session: 403, query: 403, snapshots: 403, metrics: 403}},
	} {
		o := everything(t)
		for _, f := range c.with {
			f(&o)
		}
		h := newServer(t, o).Handler()
		for what, want := range c.want {
			method, target, _ := strings.Cut(what, " ")
			body := ""
			if method == "POST" {
				body = "query=1"
			}
			header := append([]string{"Content-Type", "application/x-www-form-urlencoded"}, c.header...)
			w := do(h, method, target, body, header...)
			if w.Code != want {
				t.Errorf("%s: %s: %d %s, want %d", c.name, what, w.Code, w.Body, want)
			}
			if w.Code == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s: %s: 401 without a challenge", c.name, what)
			}
			if w.Code >= 400 && strings.HasPrefix(target, "/api/heapwright/") {
				var doc struct{ Schema, Error, Hint string }
				if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.Schema != "heapwright.error/1" || doc.Error == "" || doc.Hint == "" {
					t.Errorf("%s: %s: %s", c.name, what, w.Body)
				}
			}
		}
	}
}

// TestCSRF is how a page of this server changes something, and one of another does not.
func TestCSRF(t *testing.T) {
	o := everything(t)
	o.AllowChanges, o.LoopbackOperator, o.AuditFile = true, true, filepath.Join(t.TempDir(), "audit.log")
	h := newServer(t, o).Handler()
	session := says(t, do(h, "GET", "/api/heapwright/v1/session", ""))
	if session["role"] != "operator" || session["csrf"] == "" || session["who"] != "local" {
		t.Fatalf("%v", session)
	}
	change := func(header ...string) int {
		return do(h, "POST", "/api/heapwright/v1/change", `{"gogc":50}`, header...).Code
	}
	for _, c := range []struct {
		name   string
		header []string
		want   int
	}{
		{"own page", []string{CSRFHeader, session["csrf"], "Sec-Fetch-Site", "same-origin", "Origin", "http://localhost"}, 200},
		{"a script", []string{CSRFHeader, session["csrf"]}, 200},
		{"no token", []string{"Sec-Fetch-Site", "same-origin"}, 403},
		{"a wrong token", []string{CSRFHeader, session["csrf"] + "x"}, 403},
		{"another site that knows the token", []string{CSRFHeader, session["csrf"], "Sec-Fetch-Site", "cross-site"}, 403},
		{"another origin that knows the token", []string{CSRFHeader, session["csrf"], "Origin", "http://evil.example"}, 403},
		{"another host", []string{CSRFHeader, session["csrf"], "Host", "evil.example"}, 403},
		{"a proxy", []string{CSRFHeader, session["csrf"], "Via", "1.1 x"}, 403},
		{"the token of no session", []string{CSRFHeader, ""}, 403},
	} {
		if got := change(c.header...); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	again := newServer(t, o).Handler()
	if says(t, do(again, "GET", "/api/heapwright/v1/session", ""))["csrf"] == session["csrf"] {
		t.Error("another start has the same token")
	}
}

// TestLogin is a browser that logs in and out.
func TestLogin(t *testing.T) {
	o := everything(t)
	o.ReaderTokenFile, o.OperatorTokenFile, o.AuditFile = secretFile(t, "alice "+readerToken), secretFile(t, "bob "+operatorToken), filepath.Join(t.TempDir(), "audit.log")
	s := newServer(t, o)
	run(t, s)
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get := func(path string) (*http.Response, string) {
		t.Helper()
		res, err := client.Get(s.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res, string(body)
	}
	post := func(path string, form url.Values, header ...string) *http.Response {
		t.Helper()
		r, _ := http.NewRequest("POST", s.URL()+path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	if res, _ := get("api/heapwright/v1/session"); res.StatusCode != http.StatusUnauthorized {
		t.Fatalf("before: %d", res.StatusCode)
	}
	res, page := get("login?next=/ui/process/a%3Fx=%22%3E%3Cscript%3E")
	if res.StatusCode != 200 || strings.Contains(page, "<script") || strings.Contains(page, "style=") {
		t.Fatalf("%d %s", res.StatusCode, page)
	}
	field := func(name string) string {
		m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(page)
		if m == nil {
			t.Fatalf("no field %s in %s", name, page)
		}
		return m[1]
	}
	form := url.Values{"token": {readerToken}, "next": {"/ui/process/a?x=1"}, "form": {field("form")}}
	if res := post("login", url.Values{"token": {readerToken}, "form": {"made up"}}); res.StatusCode != http.StatusForbidden || len(res.Cookies()) == 0 {
		t.Errorf("a form of nobody: %d", res.StatusCode)
	}
	if res := post("login", url.Values{"token": {"wrong"}, "form": form["form"]}); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong token: %d", res.StatusCode)
	}
	if res := post("login", form, "Sec-Fetch-Site", "cross-site"); res.StatusCode != http.StatusForbidden {
		t.Errorf("from another site: %d", res.StatusCode)
	}
	other := &http.Client{} // without the cookie of the form
	if res, err := other.PostForm(s.URL()+"login", form); err != nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("another browser sends the form: %v, %v", res, err)
	}
	res = post("login", form)
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/ui/process/a?x=1" {
		t.Fatalf("%d to %s", res.StatusCode, res.Header.Get("Location"))
	}
	var cookie *http.Cookie
	for _, c := range res.Cookies() {
		if c.MaxAge > 0 {
			cookie = c
		}
	}
	if cookie == nil || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Secure || cookie.Path != "/" {
		t.Fatalf("the cookie: %v", cookie)
	}
	_, body := get("api/heapwright/v1/session")
	var session map[string]string
	json.Unmarshal([]byte(body), &session)
	if session["role"] != "reader" || session["who"] != "session of token alice" || session["csrf"] == "" {
		t.Fatalf("logged in: %s", body)
	}
	if res := post("api/heapwright/v1/snapshots", nil); res.StatusCode != http.StatusForbidden {
		t.Errorf("without the token against other sites: %d", res.StatusCode)
	}
	if res := post("api/heapwright/v1/snapshots", nil, CSRFHeader, session["csrf"]); res.StatusCode != http.StatusOK {
		t.Errorf("with it: %d", res.StatusCode)
	}
	// As an operator now: the session before is over.
	before := cookie.Value
	_, page = get("login")
	post("login", url.Values{"token": {operatorToken}, "form": {field("form")}})
	if _, body := get("api/heapwright/v1/session"); !strings.Contains(body, `"role":"operator"`) {
		t.Errorf("as an operator: %s", body)
	}
	if v := s.bySession(before); v != nil {
		t.Error("the session before goes on")
	}
	_, body = get("api/heapwright/v1/session")
	json.Unmarshal([]byte(body), &session)
	if res := post("logout", nil); res.StatusCode != http.StatusForbidden {
		t.Errorf("another page logs out: %d", res.StatusCode)
	}
	if res := post("logout", nil, CSRFHeader, session["csrf"]); res.StatusCode != http.StatusNoContent {
		t.Errorf("logging out: %d", res.StatusCode)
	}
	if res, _ := get("api/heapwright/v1/session"); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("after: %d", res.StatusCode)
	}
	log, err := os.ReadFile(o.AuditFile)
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for line := range bytes.Lines(log) {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(e.From, "127.0.0.1:") || e.Time.IsZero() || e.Request == "" {
			t.Errorf("%s", line)
		}
		actions = append(actions, e.Who+" "+e.Action+" "+e.Outcome)
	}
	const want = "nobody token it is wrong; token alice login ok; session of token alice POST /api/heapwright/v1/snapshots the request does not bring the token against cross-site requests; " +
		"session of token alice POST /api/heapwright/v1/snapshots ok; token bob login ok; session of token bob POST /logout the request does not bring the token against cross-site requests; session of token bob logout ok"
	if got := strings.Join(actions, "; "); got != want {
		t.Errorf("the audit log has\n%s\nwant\n%s", got, want)
	}
	for _, secret := range []string{readerToken, operatorToken, before, session["csrf"]} {
		if bytes.Contains(log, []byte(secret)) {
			t.Errorf("the audit log has a secret: %s", secret)
		}
	}
}

// TestTokensChange reads the files of tokens again, and ends what their tokens began.
func TestTokensChange(t *testing.T) {
	now := epoch
	o := everything(t)
	o.Now = func() time.Time { return now }
	o.ReaderTokenFile = secretFile(t, readerToken)
	s := newServer(t, o)
	ask := func(token string) int {
		now = now.Add(rereadAfter)
		return do(s.Handler(), "GET", "/api/heapwright/v1/session", "", "Authorization", "Bearer "+token).Code
	}
	cookie := s.sessions.begin(s.tokenOf2(readerToken))
	if ask(readerToken) != 200 || s.bySession(cookie) == nil {
		t.Fatal("before")
	}
	v := s.bySession(cookie)
	bearer, _ := s.byToken(httptest.NewRequest("GET", "/", nil), readerToken)
	if !v.still() || !bearer.still() {
		t.Error("the roles do not hold")
	}
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(o.ReaderTokenFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		now = now.Add(rereadAfter)
	}
	put("another-0123456789abcdef")
	if v.still() || bearer.still() || s.bySession(cookie) != nil {
		t.Error("the session outlives its token, or a stream would")
	}
	if ask(readerToken) != 401 || ask("another-0123456789abcdef") != 200 {
		t.Error("the token that was taken out lets in, or the new one does not")
	}
	put("short")
	if ask("another-0123456789abcdef") != 401 {
		t.Error("a file that is wrong lets in")
	}
	put(readerToken)
	if ask(readerToken) != 200 {
		t.Error("a file that is right again does not let in")
	}
	if err := os.Remove(o.ReaderTokenFile); err != nil {
		t.Fatal(err)
	}
	if ask(readerToken) != 401 {
		t.Error("a file that is gone lets in")
	}
}

func (s *Server) tokenOf2(token string) (Role, [32]byte) {
	role, k, _ := s.checkToken(httptest.NewRequest("GET", "/", nil), token)
	return role, k.hash
}

// TestGuessing is somebody who tries tokens, and others who are not bothered by it.
func TestGuessing(t *testing.T) {
	now := epoch
	o := everything(t)
	o.Now = func() time.Time { return now }
	o.ReaderTokenFile = secretFile(t, readerToken)
	s := newServer(t, o)
	ask := func(from, token string) *httptest.ResponseRecorder {
		return do(s.Handler(), "GET", "/api/heapwright/v1/session", "", "Remote", from, "Authorization", "Bearer "+token)
	}
	for i := range failuresAtOnce {
		if c := ask("192.0.2.1:1", fmt.Sprint("guess", i)).Code; c != 401 {
			t.Fatalf("guess %d: %d", i, c)
		}
	}
	w := ask("192.0.2.1:2", readerToken)
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "6" {
		t.Errorf("the next: %d, after %q", w.Code, w.Header().Get("Retry-After"))
	}
	if c := ask("192.0.2.2:1", readerToken).Code; c != 200 {
		t.Errorf("another: %d", c)
	}
	now = now.Add(failureEvery)
	if c := ask("192.0.2.1:2", readerToken).Code; c != 200 {
		t.Errorf("later: %d", c)
	}
	if st := s.Stats(); st.Denied != failuresAtOnce || st.Limited != 1 {
		t.Errorf("%+v", st)
	}
}

func TestWorldReadable(t *testing.T) {
	var log bytes.Buffer
	o := everything(t)
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	o.ReaderTokenFile = secretFile(t, readerToken)
	newServer(t, o)
	if log.Len() != 0 {
		t.Errorf("a file of one's own: %s", &log)
	}
	if err := os.Chmod(o.ReaderTokenFile, 0o644); err != nil {
		t.Fatal(err)
	}
	newServer(t, o)
	if !strings.Contains(log.String(), "other users of this machine may read") || strings.Contains(log.String(), readerToken) {
		t.Errorf("a file of everybody's: %s", &log)
	}
	log.Reset()
	o.ReaderTokenFile, o.ExternalURL = "", "https://hw.example"
	newServer(t, o)
	if !strings.Contains(log.String(), "whoever the proxy lets in is a reader") {
		t.Errorf("behind a proxy, without tokens: %s", &log)
	}
	for name, set := range map[string]func(*Options){
		"no token file":    func(o *Options) { o.ReaderTokenFile = filepath.Join(t.TempDir(), "none") },
		"a directory":      func(o *Options) { o.OperatorTokenFile = t.TempDir() },
		"a short token":    func(o *Options) { o.OperatorTokenFile = secretFile(t, "short") },
		"no certificate":   func(o *Options) { o.TLS = TLS{CertFile: "none", KeyFile: "none"} },
		"no audit":         func(o *Options) { o.AuditFile = filepath.Join(t.TempDir(), "none", "audit.log") },
		"audit into a dir": func(o *Options) { o.AuditFile = t.TempDir() },
		"no index":         func(o *Options) { o.UI = fstest.MapFS{} },
	} {
		o := everything(t)
		set(&o)
		if s, err := New(o); err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

// TestAudit is what is written of changes, and that nothing is changed that cannot be
// written down.
func TestAudit(t *testing.T) {
	o := everything(t)
	o.OperatorTokenFile, o.AllowChanges, o.AuditFile = secretFile(t, "bob "+operatorToken), true, filepath.Join(t.TempDir(), "audit.log")
	s := newServer(t, o)
	change := func(path, body string) *httptest.ResponseRecorder {
		return do(s.Handler(), "POST", "/api/heapwright/v1/"+path, body, "Authorization", "Bearer "+operatorToken)
	}
	if w := change("change", `{"process":"a","gogc":50}`); w.Code != 200 || says(t, w)["body"] != `{"process":"a","gogc":50}` {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	change("broken", "no json \xff")
	change("panic", "")
	want := []string{
		`{"who":"token bob","role":"operator","action":"POST /api/heapwright/v1/change","what":{"process":"a","gogc":50},"outcome":"asked"}`,
		`{"who":"token bob","role":"operator","action":"POST /api/heapwright/v1/change","what":{"process":"a","gogc":50},"status":200,"outcome":"ok"}`,
		`{"who":"token bob","role":"operator","action":"POST /api/heapwright/v1/broken","what":"no json ` + "\uFFFD" + `","outcome":"asked"}`,
		`{"who":"token bob","role":"operator","action":"POST /api/heapwright/v1/broken","what":"no json ` + "\uFFFD" + `","status":409,"outcome":"it is being changed"}`,
		`{"who":"token bob","role":"operator","action":"POST /api/heapwright/v1/panic","outcome":"asked"}`,
		`{"who":"token bob","role":"operator","action":"POST /api/heapwright/v1/panic","status":500,"outcome":"the handler panicked"}`,
	}
	data, err := os.ReadFile(o.AuditFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines:\n%s", len(lines), data)
	}
	strip := regexp.MustCompile(`"(time|request|from)":"[^"]*",`)
	for i, line := range lines {
		if got := strip.ReplaceAllString(line, ""); got != want[i] {
			t.Errorf("line %d is\n%s\nwant\n%s", i, got, want[i])
		}
	}
	if info, err := os.Stat(o.AuditFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
	s.audit.close() // as a disk that takes nothing
	if w := change("change", "{}"); w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), `"body"`) {
		t.Errorf("it is changed without a log: %d %s", w.Code, w.Body)
	}
}

// TestAuditBounds fills the log, and lets strangers try to.
func TestAuditBounds(t *testing.T) {
	now := epoch
	dir := t.TempDir()
	a, err := openAudit(filepath.Join(dir, "audit.log"), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	for range 10 * strangerLines {
		if err := a.write(entry{Who: strings.Repeat("x", 10<<10)}, true); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Second)
	if err := a.write(entry{Who: "y"}, true); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(a.path)
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	var last entry
	if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil || len(lines) != strangerLines+1 || last.Missed != 9*strangerLines || len(data) > 100<<10 {
		t.Errorf("%d lines, %d bytes, the last %+v, %v", len(lines), len(data), last, err)
	}
	for range 2 * keptAudits {
		a.size = maxAudit // instead of writing so much
		if err := a.write(entry{Who: "z"}, false); err != nil {
			t.Fatal(err)
		}
	}
	files, _ := os.ReadDir(dir)
	if len(files) != keptAudits+1 {
		t.Errorf("%d files", len(files))
	}
}

func TestPages(t *testing.T) {
	h := newServer(t, everything(t)).Handler()
	w := do(h, "GET", "/app.js", "")
	tag := w.Header().Get("ETag")
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/javascript; charset=utf-8" || w.Header().Get("Cache-Control") != "no-cache" || tag == "" || w.Header().Get("Content-Encoding") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	z := do(h, "GET", "/app.js", "", "Accept-Encoding", "br, gzip")
	if z.Header().Get("Content-Encoding") != "gzip" || z.Body.Len() >= w.Body.Len()/4 || z.Header().Get("ETag") == tag || z.Header().Get("Vary") != "Accept-Encoding" {
		t.Errorf("%d bytes, %v", z.Body.Len(), z.Header())
	}
	if w := do(h, "GET", "/app.js", "", "Accept-Encoding", "gzip", "If-None-Match", `"x", W/`+z.Header().Get("ETag")); w.Code != http.StatusNotModified || w.Body.Len() != 0 {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	if w := do(h, "HEAD", "/app.js", ""); w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") != "4000" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w := do(h, "GET", "/chunk-ABCDEF12.js", ""); w.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" {
		t.Errorf("%v", w.Header())
	}
	if w := do(h, "GET", "/deep/x.bin", ""); w.Header().Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%v", w.Header())
	}
	for target, want := range map[string]int{"/": 302, "/ui": 302, "/ui/": 200, "/ui/process/nats-server:2": 200, "/ui/a.js": 200, "/index.html": 200, "/none.js": 404, "/deep": 404, "/deep/": 404,
		"/ui/../app.js": 307, "/../server.go": 307, "/%2e%2e/%2e%2e/etc/passwd": 404, "/..%2f..%2fetc/passwd": 404, "/ui/..%2f..%2fetc/passwd": 200, "/..\\x": 404, "/app.js/": 404, "/app.js%00": 404} {
		w := do(h, "GET", target, "")
		if w.Code != want {
			t.Errorf("%s: %d, want %d", target, w.Code, want)
		}
		if strings.Contains(w.Body.String(), "root:") || strings.Contains(w.Body.String(), "package web") {
			t.Errorf("%s reads files", target)
		}
		if w.Code == 200 && strings.HasPrefix(target, "/ui/") && w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%s: %v", target, w.Header())
		}
	}
	if w := do(h, "GET", "/ui/gone.js", "", "Sec-Fetch-Dest", "script"); w.Code != 404 {
		t.Errorf("a script that is not there: %d", w.Code)
	}
}

func TestReady(t *testing.T) {
	o := everything(t)
	var err error
	o.Ready = func() error { return err }
	h := newServer(t, o).Handler()
	if w := do(h, "GET", "/readyz", ""); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
	err = errors.New("the store is being opened")
	if w := do(h, "GET", "/readyz", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "being opened") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := do(h, "GET", "/healthz", ""); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
}

// TestFrom is where requests come from, by what a proxy says where there is one.
func TestFrom(t *testing.T) {
	for _, c := range []struct {
		external, remote, header, want string
	}{
		{"", "192.0.2.1:5", "10.0.0.1", "192.0.2.1"},
		{"", "127.0.0.1:5", "10.0.0.1", "127.0.0.1"},
		{"https://a", "127.0.0.1:5", "6.6.6.6, 10.0.0.1", "10.0.0.1"}, // what is before the last anybody can send
		{"https://a", "127.0.0.1:5", "10.0.0.1, nonsense", "127.0.0.1"},
		{"https://a", "127.0.0.1:5", "", "127.0.0.1"},
		{"https://a", "[::1]:5", "2001:db8::1%x", "2001:db8::1"},
		{"https://a", "192.0.2.1:5", "10.0.0.1", "192.0.2.1"}, // not by the proxy of this machine
		{"https://a", "nonsense", "", "invalid IP"},
	} {
		s := &Server{o: Options{ExternalURL: c.external}}
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.remote
		if c.header != "" {
			r.Header.Set("X-Forwarded-For", c.header)
		}
		if got := s.from(r).String(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestZipped compresses long answers for other machines, and for this one does not.
func TestZipped(t *testing.T) {
	o := everything(t)
	o.ReaderTokenFile = secretFile(t, readerToken)
	var m promql.Matrix
	for range 100 {
		m = append(m, promql.Series{Metric: labels.FromStrings("a", "b"), Floats: make([]promql.FPoint, 100)})
	}
	o.Store = fakeStore{value: m}
	h := newServer(t, o).Handler()
	for remote, want := range map[string]string{"127.0.0.1:1": "", "192.0.2.1:1": "gzip"} {
		w := do(h, "GET", "/api/v1/query?query=1", "", "Remote", remote, "Accept-Encoding", "gzip", "Authorization", "Bearer "+readerToken)
		if got := w.Header().Get("Content-Encoding"); w.Code != 200 || got != want || (want != "") != (w.Body.Len() < 5000) {
			t.Errorf("%s: %d, %q, %d bytes", remote, w.Code, got, w.Body.Len())
		}
	}
	if err := Check(Options{Listen: ":1"}); err == nil || !strings.Contains(err.Error(), "without TLS tokens and data could be read on the way: listen on 127.0.0.1, or set the files") {
		t.Errorf("%v", err)
	}
	if RoleOf(context.Background()) != None || RoleOf(WithRole(context.Background(), Operator)) != Operator || CSRFOf(context.Background()) != "" {
		t.Error("roles of contexts")
	}
}

// An authority makes certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "an authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.file = secretFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return a
}

// issue writes a certificate and its key to files.
func (a *authority) issue(t *testing.T, cert, key string, template *x509.Certificate) {
	t.Helper()
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, k.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTLS is a server that others reach: HTTP/2, client certificates, and files that
// change under it.
func TestTLS(t *testing.T) {
	ca, dir := newAuthority(t), t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	server := &x509.Certificate{Subject: pkix.Name{CommonName: "first"}, DNSNames: []string{"hw.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	ca.issue(t, in("cert"), in("key"), server)
	var clock struct {
		sync.Mutex
		ahead time.Duration
	}
	o := everything(t)
	o.Now = func() time.Time { clock.Lock(); defer clock.Unlock(); return time.Now().Add(clock.ahead) }
	later := func() { clock.Lock(); defer clock.Unlock(); clock.ahead += rereadAfter }
	o.Listen = "0.0.0.0:0"
	o.ReaderTokenFile = secretFile(t, readerToken)
	o.AllowChanges, o.AuditFile = true, in("audit.log")
	o.TLS = TLS{CertFile: in("cert"), KeyFile: in("key"), ClientCAFile: ca.file, Readers: []string{"viewers"}, Operators: []string{"admin", "ops"}}
	s := newServer(t, o)
	run(t, s)
	_, port, _ := net.SplitHostPort(s.Addr().String())
	base := "https://127.0.0.1:" + port
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	client := func(cert *tls.Certificate) *http.Client {
		c := &tls.Config{RootCAs: roots}
		if cert != nil {
			c.Certificates = []tls.Certificate{*cert}
		}
		tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr}
	}
	ask := func(c *http.Client, method, path string, header ...string) (*http.Response, string) {
		t.Helper()
		r, _ := http.NewRequest(method, base+path, nil)
		for i := 0; i+1 < len(header); i += 2 {
			if header[i] == "Host" {
				r.Host = header[i+1]
			}
			r.Header.Set(header[i], header[i+1])
		}
		res, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res, string(body)
	}
	const session = "/api/heapwright/v1/session"
	plain := client(nil)
	if res, _ := ask(plain, "GET", "/healthz"); res.StatusCode != 200 || res.ProtoMajor != 2 {
		t.Errorf("%d over %s", res.StatusCode, res.Proto)
	}
	if res, _ := ask(plain, "GET", session); res.StatusCode != 401 {
		t.Errorf("without anything: %d", res.StatusCode)
	}
	if res, _ := ask(plain, "GET", session, "Authorization", "Bearer "+readerToken); res.StatusCode != 200 {
		t.Errorf("with a token: %d", res.StatusCode)
	}
	if res, _ := ask(plain, "GET", "/healthz", "Host", "evil.example"); res.StatusCode != 403 {
		t.Errorf("for another host: %d", res.StatusCode)
	}
	if res, _ := ask(plain, "GET", "/healthz", "Host", "hw.example"); res.StatusCode != 200 {
		t.Errorf("for the certificate's name: %d", res.StatusCode)
	}
	holder := func(by *authority, name pkix.Name) *http.Client {
		by.issue(t, in("c"), in("k"), &x509.Certificate{Subject: name})
		pair, err := tls.LoadX509KeyPair(in("c"), in("k"))
		if err != nil {
			t.Fatal(err)
		}
		return client(&pair)
	}
	for _, c := range []struct {
		name pkix.Name
		want string
		code int
	}{
		{pkix.Name{CommonName: "admin"}, `"role":"operator"`, 200},
		{pkix.Name{CommonName: "x", OrganizationalUnit: []string{"y", "ops"}}, `"role":"operator"`, 200},
		{pkix.Name{CommonName: "x", OrganizationalUnit: []string{"viewers"}}, `"role":"reader"`, 200},
		{pkix.Name{CommonName: "x"}, "", 403},
		{pkix.Name{}, "", 403},
	} {
		res, body := ask(holder(ca, c.name), "GET", session)
		if res.StatusCode != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%v: %d %s", c.name, res.StatusCode, body)
		}
	}
	// A certificate is sent by the browser itself: the token against other sites is needed.
	admin := holder(ca, pkix.Name{CommonName: "admin"})
	_, body := ask(admin, "GET", session)
	var who map[string]string
	json.Unmarshal([]byte(body), &who)
	if res, _ := ask(admin, "POST", "/api/heapwright/v1/change"); res.StatusCode != 403 {
		t.Errorf("without the token: %d", res.StatusCode)
	}
	if res, body := ask(admin, "POST", "/api/heapwright/v1/change", CSRFHeader, who["csrf"]); res.StatusCode != 200 {
		t.Errorf("with it: %d %s", res.StatusCode, body)
	}
	stranger := newAuthority(t)
	if res, err := holder(stranger, pkix.Name{CommonName: "admin"}).Get(base + session); err == nil {
		t.Errorf("of another authority: %d", res.StatusCode)
	}
	if _, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("it speaks TLS 1.1")
	}
	// Over TLS the cookie says so.
	res, _ := ask(plain, "GET", "/login")
	if c := res.Cookies(); len(c) != 1 || !c[0].Secure || !strings.HasPrefix(c[0].Name, "__Host-") {
		t.Errorf("the cookie: %v", c)
	}
	name := func() string {
		later()
		conn, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{RootCAs: roots})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	server.Subject.CommonName = "second"
	ca.issue(t, in("cert"), in("key"), server)
	if got := name(); got != "second" {
		t.Errorf("after the files changed it is %s", got)
	}
	os.WriteFile(in("key"), []byte("nonsense"), 0o600)
	if got := name(); got != "second" {
		t.Errorf("with a broken key it is %s", got)
	}
	server.Subject.CommonName = "third"
	ca.issue(t, in("cert"), in("key"), server)
	if got := name(); got != "third" {
		t.Errorf("mended, it is %s", got)
	}
	// The authority is another now: the connection that is open is worth nothing any longer.
	other, _ := os.ReadFile(stranger.file)
	os.WriteFile(ca.file, other, 0o600)
	later()
	if res, _ := ask(admin, "GET", session); res.StatusCode != 401 {
		t.Errorf("of the authority before: %d", res.StatusCode)
	}
	if res, err := http.Get("http://127.0.0.1:" + port + "/healthz"); err == nil && res.StatusCode == 200 {
		t.Error("it answers without TLS")
	}
}
