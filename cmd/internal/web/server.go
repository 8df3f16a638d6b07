package web

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
)

const (
	headerLimit   = 32 << 10 // bytes of a request's line and headers
	headerTime    = 5 * time.Second
	bodyLimit     = 512 << 10
	bodyTime      = 10 * time.Second
	idleTime      = 2 * time.Minute
	streamsLimit  = 64 // requests at once on one connection of HTTP/2
	answersAtOnce = 32
	answersQueued = 256
	queueTime     = 10 * time.Second
	// shutdownTime is what requests under way have to end, once the server has to.
	shutdownTime = 5 * time.Second
)

// apiPrefix is where the agent's own API is.
const apiPrefix = "/api/heapwright/v1/"

// A Server listens from New on, and answers while Run runs.
type Server struct {
	o         Options
	local     bool // only this machine reaches it
	port      string
	origins   []string // of pages that may ask, besides the one that a request is for
	listener  *conns
	http      *http.Server
	names     names
	keys      *keys // nil without TLS
	readers   *tokenFile
	operators *tokenFile
	key       []byte // what tokens against cross-site requests are made from, new with each start
	sessions  sessions
	failures  failures
	audit     *auditLog
	hub       *hub
	gate      *gate
	stats     counters
}

type counters struct {
	requests, failed, denied, limited, busy, panics atomic.Uint64
}

// Stats are what a Server has done since New.
type Stats struct {
	Requests, Failed  uint64 // all, and those answered with 5xx
	Denied, Limited   uint64 // wrong tokens, and requests that had to wait after too many of them
	Busy              uint64 // requests refused because too many were being answered
	Panics            uint64
	Connections       int
	Refused           uint64 // connections refused because there were too many
	Streams           int    // clients of the live stream
	Messages, Dropped uint64 // of the live stream: sent, and left out for slow clients
	Slow              uint64 // clients of the live stream that were cut off because they did not read
	Sessions          int
}

// Stats returns the counts as they are now.
func (s *Server) Stats() Stats {
	c := &s.stats
	t := Stats{Requests: c.requests.Load(), Failed: c.failed.Load(), Denied: c.denied.Load(), Limited: c.limited.Load(), Busy: c.busy.Load(),
		Panics: c.panics.Load(), Sessions: s.sessions.len()}
	t.Connections, t.Refused = s.listener.counts()
	t.Streams, t.Messages, t.Dropped, t.Slow = s.hub.counts()
	return t
}

// New checks the options, reads the files that they name, and takes the address. Who
// does not Run the server has to Close it.
func New(o Options) (*Server, error) {
	if err := Check(o); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{o: o, key: make([]byte, 32), gate: newGate(answersAtOnce, answersQueued), hub: newHub(o.Live)}
	rand.Read(s.key) // never fails: it crashes the program instead
	s.sessions.now, s.failures.now = o.Now, o.Now
	s.local, _ = loopback(o.Listen) // Check had no objection
	if err := s.open(); err != nil {
		s.audit.close()
		return nil, err
	}
	l, err := net.Listen("tcp", o.Listen)
	if err == nil && s.local && !peer(l.Addr().String()).IsLoopback() {
		l.Close()
		err = &ConfigError{"Listen", fmt.Sprintf("%s is %s, which other machines can reach", o.Listen, l.Addr()), "listen on 127.0.0.1"}
	}
	if err != nil {
		s.audit.close()
		return nil, fmt.Errorf("listening: %w", err)
	}
	s.listener = newConns(l)
	_, s.port, _ = net.SplitHostPort(l.Addr().String())
	handler, err := s.routes()
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.http = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerLimit,
		ConnState:         s.listener.state,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: streamsLimit, SendPingTimeout: time.Minute, PingTimeout: 15 * time.Second, WriteByteTimeout: writeTime},
		ErrorLog:          log.New(serverLog{o.Logger}, "", 0),
	}
	if s.keys != nil {
		s.http.TLSConfig = s.keys.config()
	}
	return s, nil
}

// A serverLog takes what the HTTP server has to say. Most of it strangers can have it
// say as often as they like: broken handshakes, odd addresses.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Write(line []byte) (int, error) {
	level := slog.LevelDebug
	if bytes.HasPrefix(line, []byte("http: Accept error")) {
		level = slog.LevelWarn
	}
	l.log.Log(context.Background(), level, "the HTTP server says", "text", clip(strings.TrimSpace(string(line))))
	return len(line), nil
}

// open reads the files that the options name.
func (s *Server) open() (err error) {
	o := &s.o
	s.names = names{local: s.local, cert: s.keys.leaf}
	for _, h := range o.AllowedHosts {
		s.names.known = append(s.names.known, hostName(h))
	}
	if o.ExternalURL != "" {
		u, err := url.Parse(o.ExternalURL)
		if err != nil {
			return fmt.Errorf("reading the external URL: %w", err)
		}
		s.names.known = append(s.names.known, hostName(u.Host))
		s.origins = append(s.origins, u.Scheme+"://"+u.Host)
	}
	if o.TLS.CertFile != "" {
		if s.keys, err = openKeys(o.TLS, o.Now, o.Logger); err != nil {
			return err
		}
		s.names.cert = s.keys.leaf
	}
	if o.ReaderTokenFile != "" {
		if s.readers, err = openTokens(o.ReaderTokenFile, o.Now, o.Logger); err != nil {
			return err
		}
	}
	if o.OperatorTokenFile != "" {
		if s.operators, err = openTokens(o.OperatorTokenFile, o.Now, o.Logger); err != nil {
			return err
		}
	}
	if s.local && o.ExternalURL != "" && s.readers == nil && o.TLS.ClientCAFile == "" {
		o.Logger.Warn("whoever the proxy lets in is a reader: no token is asked for", "url", o.ExternalURL, "hint", "set a file of readers' tokens, unless the proxy asks who it is")
	}
	if o.AuditFile != "" {
		s.audit, err = openAudit(o.AuditFile, o.Now)
	}
	return err
}

// Addr is where it listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// URL is where this machine's browsers find it.
func (s *Server) URL() string {
	scheme, host := "http", s.Addr().String()
	if s.keys != nil {
		scheme = "https"
	}
	if a := peer(host); a.IsUnspecified() {
		host = net.JoinHostPort("localhost", s.port)
	}
	return scheme + "://" + host + "/"
}

// Handler returns what answers requests, for tests without a network.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Close gives the address back when Run was not called, or will not be.
func (s *Server) Close() error {
	s.hub.close()
	return errors.Join(s.listener.Close(), s.audit.close())
}

// Run answers requests until ctx is done, and then gives those under way some time
// to end. It returns nil when it ended because ctx did.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	over, stop := context.WithCancel(context.Background())
	defer stop()
	s.http.BaseContext = func(net.Listener) context.Context { return over }
	served := make(chan error, 1)
	go func() {
		if s.keys != nil {
			served <- s.http.ServeTLS(s.listener, "", "")
		} else {
			served <- s.http.Serve(s.listener)
		}
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	s.hub.close()
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := s.http.Shutdown(bound); err != nil {
		stop() // who still computes may stop now
		s.http.Close()
	}
	<-served
	return nil
}

// routes is what answers requests.
func (s *Server) routes() (http.Handler, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /login", s.login)
	mux.HandleFunc("POST /login", s.login)
	mux.Handle("POST /logout", s.guarded(http.HandlerFunc(s.logout)))
	login, err := loginFiles.ReadFile("login/login.css")
	if err != nil {
		return nil, err
	}
	mux.Handle("GET /login.css", newAsset("login.css", login))
	if s.o.UI != nil {
		ui, err := newPages(s.o.UI)
		if err != nil {
			return nil, err
		}
		// Without a method, or it would conflict with the paths below that take several.
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				w.Header().Set("Allow", "GET, HEAD")
				http.Error(w, "heapwright: this address is for GET", http.StatusMethodNotAllowed)
				return
			}
			ui.ServeHTTP(w, r)
		})
	}
	if s.o.Metrics != nil {
		mux.Handle("GET /metrics", s.guarded(s.o.Metrics)) // a scrape does not wait for queries
	}
	if s.o.API != nil {
		mux.Handle(apiPrefix, s.guarded(s.gated(s.o.API)))
	}
	if s.o.Live != nil {
		mux.Handle("GET "+apiPrefix+"live", s.guarded(http.HandlerFunc(s.stream)))
	}
	if s.o.Store != nil {
		mux.Handle("/api/v1/", s.guarded(s.gated(s.prometheus())))
	}
	return s.outermost(mux), nil
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.o.Ready != nil {
		if err := s.o.Ready(); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	io.WriteString(w, "ready\n")
}

// outermost sets headers, bounds the time that writing and reading may take, and
// refuses what is for another host or comes from a page of another site.
func (s *Server) outermost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(raw http.ResponseWriter, r *http.Request) {
		s.stats.requests.Add(1)
		setHeaders(raw.Header())
		w := newPaced(raw)
		if r.ContentLength != 0 {
			// Also for what nobody reads: the server reads some of it, to go on with the connection.
			w.control.SetReadDeadline(time.Now().Add(bodyTime))
		}
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p) // which is how a handler breaks a connection off
				}
				s.stats.panics.Add(1)
				s.o.Logger.Error("a handler panicked", "method", r.Method, "path", clip(r.URL.Path), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				if w.status == 0 {
					s.refuse(w, r, refusef(http.StatusInternalServerError, "the agent's log says more", "an internal error"))
				}
			}
			if w.status >= 500 && w.status != http.StatusServiceUnavailable {
				s.stats.failed.Add(1)
			}
			w.end()
		}()
		if len(r.RequestURI) > headerLimit/2 {
			s.refuse(w, r, refusef(http.StatusRequestURITooLong, "send long forms as POST", "the address is too long"))
			return
		}
		if !s.names.allow(r.Host) {
			s.refuse(w, r, refusef(http.StatusForbidden, "open it by its address or as localhost, or add the name to the allowed hosts", "the request is for a host that is not this one"))
			return
		}
		if no := sameSite(r, s.origins, !strings.HasPrefix(r.URL.Path, "/api/") && r.URL.Path != "/metrics"); no != nil {
			s.refuse(w, r, no)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// guarded lets in who may see something, and asks more of who wants to change something.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, no := s.identify(r)
		if no == nil && v.role == None {
			no = s.denied(r)
		}
		if no != nil {
			s.refuse(w, r, no)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), visitorKey{}, v))
		if safe(r.Method) || strings.HasPrefix(r.URL.Path, "/api/v1/") {
			// The query API takes long questions as POST, and changes nothing by them.
			next.ServeHTTP(w, r)
			return
		}
		if no := s.mayChange(r, v); no != nil {
			s.note(r, entry{Who: v.name, Role: v.role.String(), Action: r.Method + " " + r.URL.Path, Status: no.status, Outcome: no.reason}, v.role < Operator)
			s.refuse(w, r, no)
			return
		}
		s.audited(w, r, v, next)
	})
}

// readerMay are what a reader may POST: these change nothing in a process.
var readerMay = map[string]bool{"/logout": true, apiPrefix + "snapshots": true}

// mayChange says why an unsafe request is refused, or nil.
func (s *Server) mayChange(r *http.Request, v *visitor) *refusal {
	if !readerMay[r.URL.Path] {
		switch {
		case !s.o.AllowChanges:
			return refusef(http.StatusForbidden, "allow changes in the agent's configuration", "this agent changes nothing")
		case v.role < Operator:
			return refusef(http.StatusForbidden, "use an operator's token", "a %v may not change anything", v.role)
		}
	}
	if !tokenHolds(r, v) {
		return refusef(http.StatusForbidden, "send the header "+CSRFHeader+" with the token that GET "+apiPrefix+"session has", "the request does not bring the token against cross-site requests")
	}
	return nil
}

// audited answers an unsafe request, and writes to the log what was asked and what
// came of it. What cannot be logged is not done.
func (s *Server) audited(w http.ResponseWriter, r *http.Request, v *visitor, next http.Handler) {
	if r.URL.Path == "/logout" {
		next.ServeHTTP(w, r)
		return
	}
	body, no := readBody(w, r)
	if no != nil {
		s.refuse(w, r, no)
		return
	}
	stranger := v.role < Operator
	e := entry{Request: requestID(), Who: v.name, Role: v.role.String(), Action: r.Method + " " + r.URL.Path, What: what(body), Outcome: "asked"}
	if !stranger {
		if err := s.note(r, e, false); err != nil {
			s.refuse(w, r, refusef(http.StatusServiceUnavailable, "make room on the disk, or mend the audit file", "nothing is changed that cannot be logged: %v", err))
			return
		}
	}
	answer, returned := &heard{ResponseWriter: w}, false
	defer func() {
		if e.Status = answer.status; e.Status == 0 {
			e.Status = http.StatusOK
		}
		e.Outcome = outcome(e.Status, answer.text)
		if !returned {
			e.Status, e.Outcome = http.StatusInternalServerError, "the handler panicked"
		}
		s.note(r, e, stranger)
	}()
	next.ServeHTTP(answer, r)
	returned = true
}

// note writes a line of the audit log, and says in the other log when that fails.
func (s *Server) note(r *http.Request, e entry, stranger bool) error {
	e.From = r.RemoteAddr
	if a := s.from(r); a.IsValid() && a != peer(r.RemoteAddr) {
		e.From = a.String() + " by " + r.RemoteAddr
	}
	if e.Request == "" {
		e.Request = requestID()
	}
	err := s.audit.write(e, stranger)
	if err != nil {
		s.o.Logger.Error("the audit log cannot be written", "error", err, "who", e.Who, "action", e.Action, "outcome", e.Outcome)
	}
	return err
}

// heard keeps the beginning of an answer that says what went wrong.
type heard struct {
	http.ResponseWriter
	status int
	text   []byte
}

func (h *heard) WriteHeader(status int) {
	if h.status == 0 {
		h.status = status
	}
	h.ResponseWriter.WriteHeader(status)
}

func (h *heard) Write(b []byte) (int, error) {
	if h.status == 0 {
		h.status = http.StatusOK
	}
	if h.status >= 400 && len(h.text) < 1<<10 {
		h.text = append(h.text, b[:min(len(b), 1<<10-len(h.text))]...)
	}
	return h.ResponseWriter.Write(b)
}

func (h *heard) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// outcome says what came of a request, with the error that its answer has.
func outcome(status int, text []byte) string {
	if status < 400 {
		return "ok"
	}
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &said) == nil && said.Error != "" {
		return said.Error
	}
	return http.StatusText(status)
}

// gated bounds how many requests are answered at once, and reads their bodies.
func (s *Server) gated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.gate.enter(r.Context()) {
			s.stats.busy.Add(1)
			no := refusef(http.StatusServiceUnavailable, "try again", "too many requests are being answered")
			no.wait = time.Second
			s.refuse(w, r, no)
			return
		}
		defer s.gate.leave()
		if _, no := readBody(w, r); no != nil {
			s.refuse(w, r, no)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// readBody reads the body of a request into memory, where handlers find it.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *refusal) {
	if read, ok := r.Body.(*inMemory); ok {
		return read.all, nil
	}
	if r.ContentLength == 0 || r.Body == nil {
		return nil, nil
	}
	if r.ContentLength > bodyLimit {
		return nil, refusef(http.StatusRequestEntityTooLarge, fmt.Sprintf("send at most %d bytes", bodyLimit), "the body is too long")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if err != nil {
		tooLong := new(http.MaxBytesError)
		switch {
		case errors.As(err, &tooLong):
			return nil, refusef(http.StatusRequestEntityTooLarge, fmt.Sprintf("send at most %d bytes", bodyLimit), "the body is too long")
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, refusef(http.StatusRequestTimeout, "", "the body did not come in time")
		}
		return nil, refusef(http.StatusBadRequest, "", "reading the body: %v", err)
	}
	// The handler may take longer than the body, and is told when the client goes away.
	http.NewResponseController(w).SetReadDeadline(time.Time{})
	r.Body = &inMemory{bytes.NewReader(body), body}
	return body, nil
}

// inMemory is a body that was read.
type inMemory struct {
	*bytes.Reader
	all []byte
}

func (*inMemory) Close() error { return nil }

// refuse answers with an error: as the query API's clients expect it, for people as
// text, and for the rest as the agent's own API has it.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, no *refusal) {
	h := w.Header()
	no.retryAfter(h)
	if no.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="heapwright"`)
	}
	if strings.HasPrefix(r.URL.Path, "/api/v1/") {
		writeFailure(w, no.status, errorTypeOf(no.status), join(no.reason, no.hint))
		return
	}
	if strings.HasPrefix(r.URL.Path, "/api/") {
		doc, err := json.Marshal(struct {
			Schema string `json:"schema"`
			Error  string `json:"error"`
			Hint   string `json:"hint,omitempty"`
		}{"heapwright.error/1", no.reason, no.hint})
		if err == nil {
			h.Set("Content-Type", "application/json")
			w.WriteHeader(no.status)
			w.Write(append(doc, '\n'))
			return
		}
	}
	http.Error(w, "heapwright: "+join(no.reason, no.hint), no.status)
}

func (no *refusal) retryAfter(h http.Header) {
	if no.wait > 0 {
		h.Set("Retry-After", seconds(no.wait))
	}
}

func join(reason, hint string) string {
	if hint == "" {
		return reason
	}
	return reason + ": " + hint
}
