// Package api answers the questions of the web UI, and of scripts, in JSON: which
// processes there are, their history, findings, snapshots and profiles, what other
// settings would do, and the experiments. docs/api.md has every document.
//
// It reads what the agent, its stores and the twin know and puts it into form.
// Who may ask what is for the server in front of it, which also turns away requests
// of other sites; the API asks it for the role of a request and holds changes to it.
package api

import (
	"net/http"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
)

// Prefix is where the API is mounted.
const Prefix = "/api/heapwright/v1/"

// A Role says what a request may do. It is a function of who asks.
type Role string

// The roles, rising.
const (
	None     Role = "none"
	Reader   Role = "reader"
	Operator Role = "operator"
)

// A Session is what the server in front knows of a request.
type Session struct {
	Role Role
	CSRF CSRF
}

// Sources are what the API answers from. Those that are nil have nothing to say,
// and their endpoints say so.
type Sources struct {
	Session func(*http.Request) Session // nil: everybody is a reader

	// Experiments are directories with results of heapwright compare.
	Experiments []string

	Version  string
	Host     string
	StoreURL string           // of a store elsewhere, "" for the embedded one
	Now      func() time.Time // nil: the machine's clock
}

// A server answers requests.
type server struct {
	Sources
}

// Handler answers all requests below [Prefix].
func Handler(src Sources) http.Handler {
	s := &server{Sources: src}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Sources.Session == nil {
		s.Sources.Session = func(*http.Request) Session { return Session{Role: Reader} }
	}
	mux := http.NewServeMux()
	get := func(path string, e endpoint) { mux.Handle("GET "+Prefix+path, e) }
	get("session", s.session)
	get("explain/{id}", s.explain)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, failf(http.StatusNotFound, "there is nothing at %.80q", r.URL.Path).hint("docs/api.md has the addresses"))
	})
	return compressed(mux)
}

// compressed compresses answers that are long enough for it to pay.
func compressed(h http.Handler) http.Handler {
	const least = 1024
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(least), gzhttp.CompressionLevel(1))
	if err != nil {
		return h // only options that make no sense are refused
	}
	return wrap(h)
}

func (s *server) session(r *http.Request) (any, error) {
	q := parseQuery(r, s.Now())
	if err := q.failure(); err != nil {
		return nil, err
	}
	session := s.Sources.Session(r)
	doc := SessionDocument{
		Schema: schemaSession, Role: string(session.Role), CSRF: session.CSRF,
		Version: s.Version, Host: s.Host, Store: StoreIdentity{Kind: "embedded"}, Now: Time{q.now},
	}
	if s.StoreURL != "" {
		doc.Store = StoreIdentity{Kind: "remote", URL: &s.StoreURL}
	}
	return doc, nil
}

func (s *server) explain(r *http.Request) (any, error) {
	if err := parseQuery(r, s.Now()).failure(); err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	rule, ok := diagnose.Find(id)
	if !ok {
		e := failf(http.StatusNotFound, "no finding is called %.40q", id).hint("heapwright explain --list lists them")
		if near, ok := diagnose.Suggest(id); ok {
			e.hint("did you mean %s?", near)
		}
		return nil, e
	}
	return ExplainDocument{Schema: schemaExplain, ID: rule.ID, Title: rule.Title, Text: rule.Text()}, nil
}
