// Package api answers the questions of the web UI, and of scripts, in JSON: which
// processes there are, their history, findings, snapshots and profiles, what other
// settings would do, and the experiments. docs/api.md has every document.
//
// It reads what the agent, its stores and the twin know and puts it into form.
// Who may ask what is for the server in front of it, which also turns away requests
// of other sites; the API asks it for the role of a request and holds changes to it.
package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"github.com/heapwright/heapwright/cmd/internal/agent"
	"github.com/heapwright/heapwright/cmd/internal/alert"
	"github.com/heapwright/heapwright/cmd/internal/blackbox"
	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/forward"
	"github.com/heapwright/heapwright/cmd/internal/history"
	"github.com/heapwright/heapwright/cmd/internal/series"
	"github.com/heapwright/heapwright/cmd/internal/store"
	"github.com/heapwright/heapwright/cmd/internal/vault"
	"github.com/heapwright/heapwright/cmd/internal/web"
	"github.com/heapwright/heapwright/record"
)

// Prefix is where the API is mounted.
const Prefix = "/api/heapwright/v1/"

// Sources are what the API answers from. Those that are nil have nothing to say,
// and their endpoints say so.
type Sources struct {
	Agent   Agent
	Store   Reader
	Vault   Vault
	History History

	// What may be missing, and is nil then.
	Embedded *store.DB // the store, where it is this agent's own
	Alerts   Alerts
	Forward  Forward
	Changer  Changer // nil: nothing may be changed
	// BlackBox keeps post-mortems in the directory Postmortems; nil where it does not run.
	// The directory may have those of an earlier time even so.
	BlackBox    BlackBox
	Postmortems string

	// Labels are what everything of this host has in the store, where others may have
	// something in it too.
	Labels           []series.Label
	SampleInterval   time.Duration // of the processes that are sampled least often; 0: 5 s
	SnapshotInterval time.Duration // 0: 5 min

	// Experiments are directories with results of heapwright compare.
	Experiments []string

	Version  string
	Host     string
	StoreURL string           // of a store elsewhere, "" for the embedded one
	Now      func() time.Time // nil: the machine's clock
}

// An Agent is *agent.Agent.
type Agent interface {
	Processes() []agent.Process
	Process(id string) (agent.Process, bool)
	Unseen() []agent.Unseen
	Recording(id string) (*record.Recording, error) // the last minutes
	Snap(ctx context.Context, id, reason string) (vault.Entry, error)
	Status() agent.Status
	Own() (agent.Process, bool)
}

// Alerts are an *alert.Alerter's.
type Alerts interface {
	Active() []alert.Alert
	Rules() []alert.Rule
	Status() []alert.Status
}

// A BlackBox is *blackbox.Watcher.
type BlackBox interface{ Stats() blackbox.Stats }

// A Forward is *forward.Forwarder.
type Forward interface{ Status() []forward.Status }

// A Vault is *vault.Vault.
type Vault interface {
	Stats() vault.Stats
	List(process string, from, to time.Time) []vault.Entry
	Get(process, key string) (*record.Recording, error)
}

// A History is *history.History.
type History interface {
	Stats() history.Stats
	Episodes(history.Query) []history.Episode
	Events(history.Query) []history.Event
}

// A server answers requests.
type server struct {
	Sources
	snapped spacer
	reading *door // of snapshots and results
	twins   *twins

	summaries summaries
	deaths    deaths
}

// Handler answers all requests below [Prefix].
func Handler(src Sources) http.Handler { return handler(src, func(*server) {}) }

// handler is Handler with something to set before it begins, for tests.
func handler(src Sources, set func(*server)) http.Handler {
	s := &server{Sources: src, snapped: spacer{every: snapEvery}, reading: newDoor(2, 5*time.Second), twins: newTwins()}
	s.SampleInterval, s.SnapshotInterval = cmp.Or(s.SampleInterval, 5*time.Second), cmp.Or(s.SnapshotInterval, 5*time.Minute)
	if s.Now == nil {
		s.Now = time.Now
	}
	set(s)
	mux := http.NewServeMux()
	for path, methods := range s.routes() {
		var allowed []string
		for method, e := range methods {
			mux.Handle(method+" "+Prefix+path, e)
			allowed = append(allowed, method)
		}
		slices.Sort(allowed)
		mux.HandleFunc(Prefix+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			writeError(w, failf(http.StatusMethodNotAllowed, "%s takes %s", path, strings.Join(allowed, " and ")))
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, failf(http.StatusNotFound, "there is nothing at %.80q", r.URL.Path).hint("docs/api.md has the addresses"))
	})
	return compressed(mux)
}

// routes are the endpoints, by path and method.
func (s *server) routes() map[string]map[string]endpoint {
	const get, post = http.MethodGet, http.MethodPost
	return map[string]map[string]endpoint{
		"session":                 {get: s.session},
		"processes":               {get: s.processes},
		"processes/{id}":          {get: s.process},
		"series":                  {get: s.series},
		"cycles":                  {get: s.cycles},
		"findings":                {get: s.findings},
		"events":                  {get: s.events},
		"explain/{id}":            {get: s.explain},
		"snapshots":               {get: s.snapshots, post: s.snap},
		"profile":                 {get: s.profile},
		"goroutines":              {get: s.goroutines},
		"forecast":                {get: s.forecast},
		"front":                   {get: s.front},
		"plan":                    {get: s.plan},
		"experiments":             {get: s.experiments},
		"experiments/{id}":        {get: s.experiment},
		"experiments/{id}/report": {get: s.report},
		"oom":                     {get: s.postmortems},
		"oom/{id}":                {get: s.postmortem},
		"oom/{id}/report":         {get: s.postmortemReport},
		"alerts":                  {get: s.alerts},
		"status":                  {get: s.status},
		"change":                  {post: s.change},
		"undo":                    {post: s.undo},
	}
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
	doc := SessionDocument{
		Schema: schemaSession, Role: web.RoleOf(r.Context()).String(), CSRF: CSRF{Header: web.CSRFHeader, Token: web.CSRFOf(r.Context())},
		ChangesEnabled: s.Changer != nil, Version: s.Version, Host: s.Host, Store: StoreIdentity{Kind: "embedded"}, Now: Time{q.now},
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
