package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/agent"
	"github.com/heapwright/heapwright/cmd/internal/forecast"
	"github.com/heapwright/heapwright/cmd/internal/manifest"
	"github.com/heapwright/heapwright/cmd/internal/setting"
	"github.com/heapwright/heapwright/cmd/internal/tune"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// How much the twin may be asked at once, and for how long what it says is kept. A
// slider that moves asks several times a second, and is to get answers of one twin.
const (
	twinFor    = 20 * time.Second
	maxTwins   = 8  // that are kept
	maxAsked   = 64 // settings of one question
	maxKept    = 8  // fronts and plans that are kept of one twin
	twinsAtAll = 2  // computations at a time, one of each process
	twinWait   = 3 * time.Second
)

// A ForecastDocument is what would come of settings: what predict --json prints, with
// the forecast of the settings in effect by itself. The schema of the whole front is
// another, and its predictions are some 400.
type ForecastDocument struct {
	forecast.Prediction
	Current *forecast.Outlook `json:"current"`
	Error   *string           `json:"error"`
}

// A PlanDocument is the settings to use: what tune --json prints, and how to set them.
type PlanDocument struct {
	forecast.Plan
	Apply Apply `json:"apply"`
}

// An Apply is a plan in the forms of what starts processes.
type Apply struct {
	Env     *string `json:"env"`
	Export  *string `json:"export"`
	Systemd *string `json:"systemd"`
	Docker  *string `json:"docker"`
	Compose *string `json:"compose"`
	K8s     *string `json:"k8s"`
}

// twins are the twins of processes that were asked about lately.
type twins struct {
	fit   func(*record.Recording) (forecast.Twin, error)
	total *door

	mu   sync.Mutex
	list map[string]*fitted
}

// fitted is a twin, and what it was fitted to.
type fitted struct {
	turn *door // to all below
	used time.Time

	made      time.Time
	twin      forecast.Twin
	process   record.Process
	fileBytes uint64
	fronts    map[uint64]*ForecastDocument // by the container's limit
	plans     map[planned]*PlanDocument
	err       error
}

// planned is what a plan is for.
type planned struct {
	limit     uint64
	objective tune.Objective
}

func newTwins() *twins {
	return &twins{
		fit:   func(rec *record.Recording) (forecast.Twin, error) { return pacer.Fit(rec) },
		total: newDoor(twinsAtAll, twinWait), list: map[string]*fitted{},
	}
}

// of is the place of a process. What was not asked for longest makes room.
func (t *twins) of(process string, now time.Time) *fitted {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.list[process]
	if f == nil {
		f = &fitted{turn: newDoor(1, twinWait)}
		t.list[process] = f
	}
	f.used = now
	for len(t.list) > maxTwins {
		oldest := ""
		for id, other := range t.list {
			if other != f && (oldest == "" || other.used.Before(t.list[oldest].used) || other.used.Equal(t.list[oldest].used) && id < oldest) {
				oldest = id
			}
		}
		delete(t.list, oldest)
	}
	return f
}

// ask lets one question at a time have the twin of a process, which is made anew when
// it is old.
func (s *server) ask(ctx context.Context, process string, question func(*fitted) error) error {
	p, err := s.watched(process)
	if err != nil {
		return err
	}
	now := s.Now()
	f := s.twins.of(process, now)
	leave, err := f.turn.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	out, err := s.twins.total.enter(ctx)
	if err != nil {
		return err
	}
	defer out()
	if age := now.Sub(f.made); age < 0 || age > twinFor || f.made.IsZero() {
		*f = fitted{turn: f.turn, used: f.used, made: now, fronts: map[uint64]*ForecastDocument{}, plans: map[planned]*PlanDocument{}}
		var rec *record.Recording
		if rec, f.err = s.Agent.Recording(process); f.err == nil {
			f.process, f.fileBytes = rec.Process, tune.FileBytes(rec)
			f.twin, f.err = s.twins.fit(rec)
		}
	}
	if f.err != nil {
		return noTwin(f.err, p.Up)
	}
	return question(f)
}

// noTwin says why there is no twin of a process, and what to do.
func noTwin(err error, up bool) error {
	var (
		short   *pacer.ShortError
		gone    *agent.NotWatchedError
		odd     *pacer.UnfitError
		unknown *pacer.UnsupportedError
	)
	e := &Error{Status: http.StatusUnprocessableEntity, Text: err.Error(), Help: hintOf(err)}
	switch {
	case errors.As(err, &gone) && up:
		e.Status = http.StatusServiceUnavailable
	case errors.As(err, &gone):
		e.Status, e.Text = http.StatusConflict, "the process has ended: there is nothing to fit a twin to"
	case errors.As(err, &short) && short.Record > 0:
		e.hint("look again when it was watched for %v", short.Record.Round(time.Second))
	case errors.As(err, &short):
		e.hint("look again while it does the work that the settings are for")
	case errors.As(err, &odd):
		e.hint("the last minutes do not show what a twin needs: look again later, or record longer with heapwright record")
	case errors.As(err, &unknown):
		e.hint("heapwright version says which Go releases are known")
	}
	return e
}

// settingsOf reads the settings that a request asks about.
func settingsOf(q *query) forecast.Asked {
	var a forecast.Asked
	take := func(name string, parse func(string) error) {
		if v := q.text(name); v != "" {
			if err := parse(v); err != nil {
				q.fail("%s: %v", name, err)
			}
		}
	}
	take("gogc", func(v string) (err error) { a.GOGC, err = setting.ParseList(v, setting.ParseGOGC); return err })
	take("gomemlimit", func(v string) (err error) { a.Limits, err = setting.ParseList(v, setting.ParseMemoryLimit); return err })
	take("limit", func(v string) error {
		n, err := setting.ParseContainerLimit(v)
		a.Container = &n
		return err
	})
	a.GOMAXPROCS = q.count("gomaxprocs", 0, 1<<16)
	if max(len(a.GOGC), 1)*max(len(a.Limits), 1) > maxAsked {
		q.fail("these are more than %d settings", maxAsked)
	}
	return a
}

func documentOf(p *forecast.Prediction) *ForecastDocument {
	doc := &ForecastDocument{Prediction: *p}
	if now := p.Now(); now != nil {
		doc.Current = &now.Outlook
	}
	return doc
}

func (s *server) forecast(r *http.Request) (any, error) {
	q := parseQuery(r, s.Now(), "process", "gogc", "gomemlimit", "limit", "gomaxprocs")
	process, asked := q.process(), settingsOf(q)
	if err := q.failure(); err != nil {
		return nil, err
	}
	var doc *ForecastDocument
	err := s.ask(r.Context(), process, func(f *fitted) error {
		doc = documentOf(forecast.Predict(schemaForecast, f.twin, f.process, f.process.GoVersion, asked))
		return nil
	})
	return doc, err
}

func (s *server) front(r *http.Request) (any, error) {
	q := parseQuery(r, s.Now(), "process", "limit")
	process, asked := q.process(), settingsOf(q)
	if err := q.failure(); err != nil {
		return nil, err
	}
	asked.Grid = true
	var doc *ForecastDocument
	err := s.ask(r.Context(), process, func(f *fitted) error {
		key := f.twin.Current().ContainerLimitBytes
		if asked.Container != nil {
			key = *asked.Container
		}
		if doc = f.fronts[key]; doc != nil {
			return nil
		}
		doc = documentOf(forecast.Predict(schemaFront, f.twin, f.process, f.process.GoVersion, asked))
		if len(f.fronts) >= maxKept {
			clear(f.fronts)
		}
		f.fronts[key] = doc
		return nil
	})
	return doc, err
}

// objectives are the aims of a plan, by the names that documents have for them.
var objectives = []string{"least_gc_cpu", "least_memory", "bound", "price"}

// requestOf reads what a plan is wanted for.
func requestOf(q *query) tune.Request {
	var r tune.Request
	share := func(name string) float64 {
		v := q.text(name)
		if v == "" {
			return 0
		}
		f, err := setting.ParseShare(v)
		if err != nil {
			q.fail("%s: %v", name, err)
		}
		return f
	}
	if v := q.text("memory_limit"); v != "" {
		n, err := setting.ParseSize(v)
		switch {
		case err != nil:
			q.fail("memory_limit: %v", err)
		case n == 0:
			q.fail("memory_limit: nothing runs in 0 bytes")
		}
		r.MemoryLimitBytes = n
	}
	o := &r.Objective
	o.MaxGCCPURatio, o.MaxPauseRatio, o.MaxAssistRatio = share("max_gc_cpu_ratio"), share("max_pause_ratio"), share("max_assist_ratio")
	o.MemoryPrice, o.CPUPrice = q.number("price_per_gib_hour"), q.number("price_per_core_hour")
	name := q.oneOf("objective", objectives...)
	o.Kind = [...]tune.Kind{tune.LeastCPU, tune.LeastMemory, tune.Bound, tune.Price}[slices.Index(objectives, name)]
	wants := map[tune.Kind]string{tune.LeastCPU: "", tune.LeastMemory: "max_gc_cpu_ratio", tune.Bound: "max_pause_ratio or max_assist_ratio", tune.Price: "price_per_gib_hour and price_per_core_hour"}[o.Kind]
	given := map[tune.Kind]bool{
		tune.LeastCPU: true, tune.LeastMemory: o.MaxGCCPURatio > 0, tune.Bound: o.MaxPauseRatio > 0 || o.MaxAssistRatio > 0, tune.Price: o.MemoryPrice > 0 && o.CPUPrice > 0,
	}
	others := o.MaxGCCPURatio > 0 && o.Kind != tune.LeastMemory || o.MaxPauseRatio+o.MaxAssistRatio > 0 && o.Kind != tune.Bound || o.MemoryPrice+o.CPUPrice > 0 && o.Kind != tune.Price
	switch {
	case !given[o.Kind]:
		q.fail("objective=%s needs %s", name, wants)
	case others:
		q.fail("objective=%s takes %s, and nothing of the other objectives", name, cmp.Or(wants, "no bounds and no prices"))
	}
	return r
}

func (s *server) plan(r *http.Request) (any, error) {
	q := parseQuery(r, s.Now(), "process", "memory_limit", "objective", "max_gc_cpu_ratio", "max_pause_ratio", "max_assist_ratio", "price_per_gib_hour", "price_per_core_hour")
	process, request := q.process(), requestOf(q)
	if err := q.failure(); err != nil {
		return nil, err
	}
	var doc *PlanDocument
	err := s.ask(r.Context(), process, func(f *fitted) error {
		key := planned{request.MemoryLimitBytes, request.Objective}
		if doc = f.plans[key]; doc != nil {
			return nil
		}
		request.Process, request.FileBytes = f.process, f.fileBytes
		plan, err := tune.Make(f.twin, request)
		if err != nil {
			e := &Error{Status: http.StatusUnprocessableEntity, Text: err.Error(), Help: hintOf(err)}
			var none *tune.NoBudgetError
			if errors.As(err, &none) {
				e.hint("say how much memory it may have: memory_limit=512MiB")
			}
			return e
		}
		doc = &PlanDocument{*forecast.PlanOf(schemaPlan, f.process, f.twin, plan), applied(plan, f.process.Name)}
		if len(f.plans) >= maxKept {
			clear(f.plans)
		}
		f.plans[key] = doc
		return nil
	})
	return doc, err
}

// applied is a plan in all forms. Where the process's name cannot stand in one of
// them, the form has another name to be replaced.
func applied(plan *tune.Plan, name string) Apply {
	render := func(kind manifest.Kind) *string {
		t := manifest.Target{Name: name, Source: fmt.Sprintf("the last %v of %s, as the agent saw them", plan.Expected.Span.Round(time.Second), shown(name))}
		text, err := manifest.Render(kind, t, plan)
		if err != nil {
			t.Name = "name"
			if text, err = manifest.Render(kind, t, plan); err != nil {
				return nil
			}
		}
		s := string(text)
		return &s
	}
	return Apply{render(manifest.Env), render(manifest.Export), render(manifest.Systemd), render(manifest.Docker), render(manifest.Compose), render(manifest.K8s)}
}
