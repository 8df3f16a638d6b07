package alert

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"time"
)

// A Status is how telling somebody goes.
type Status struct {
	Name    string    `json:"name"`
	Kind    string    `json:"kind"` // stdout, webhook, alertmanager
	Sent    uint64    `json:"sent_total"`
	Failed  uint64    `json:"failed_total"`  // tries
	Dropped uint64    `json:"dropped_total"` // alerts that nobody will be told of
	Queued  int       `json:"queued"`
	Error   string    `json:"error,omitempty"` // of the last try; "" when it went well
	Since   time.Time `json:"since"`           // when that began
}

// A notifier tells somebody. Its methods return at once.
type notifier interface {
	notify(now time.Time, alerts, active []Alert)
	status() Status
	close(ctx context.Context) error
}

// An Alerter is an engine with those who are told.
type Alerter struct {
	link   func(*Alert) string
	log    *slog.Logger
	stdout io.Writer
	ending sync.WaitGroup // notifiers of before

	mu        sync.Mutex
	file      string // of what fires; "" for none
	engine    *Engine
	notifiers []notifier
}

// Start starts what a configuration says. link makes the address of what an alert is
// about: a moment of a process in the UI, or a post-mortem; it may be nil. The error says all that is wrong.
func Start(cfg Config, link func(*Alert) string, log *slog.Logger) (*Alerter, error) {
	return start(cfg, link, log, os.Stdout)
}

func start(cfg Config, link func(*Alert) string, log *slog.Logger, stdout io.Writer) (*Alerter, error) {
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("starting the alerts: %w", err)
	}
	a := &Alerter{engine: New(cfg.rules()), link: link, log: log, stdout: stdout}
	a.engine.repeat = cmp.Or(cfg.Repeat, a.engine.repeat)
	if cfg.Stdout {
		a.notifiers = append(a.notifiers, &lines{out: json.NewEncoder(stdout)})
	}
	var errs []error
	for i := range cfg.Webhooks {
		w, err := newWebhook(&cfg.Webhooks[i], log)
		if err != nil {
			errs = append(errs, fmt.Errorf("webhooks[%d]: %w", i, err))
			continue
		}
		a.notifiers = append(a.notifiers, w)
	}
	for i := range cfg.Alertmanagers {
		m, err := newManager(&cfg.Alertmanagers[i], cfg.Labels, log)
		if err != nil {
			errs = append(errs, fmt.Errorf("alertmanagers[%d]: %w", i, err))
			continue
		}
		a.notifiers = append(a.notifiers, m)
	}
	if err := errors.Join(errs...); err != nil {
		a.Close(closedContext())
		return nil, fmt.Errorf("starting the alerts: %w", err)
	}
	return a, nil
}

// closeWithin is how long notifiers that are no longer wanted may take to tell the rest.
const closeWithin = 10 * time.Second

// Reconfigure takes over another configuration. Rules that keep their name and signal go
// on where they are; who was told of an alert whose rule is gone is told that it ended.
// With an error, everything stays as it was.
func (a *Alerter) Reconfigure(cfg Config) error {
	next, err := start(cfg, a.link, a.log, a.stdout)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.notifiers
	ended := next.engine.adopt(a.engine)
	a.engine, a.notifiers = next.engine, next.notifiers
	for i := range ended {
		a.addLink(&ended[i])
	}
	a.tell(a.engine.last, ended)
	a.remember()
	a.ending.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
		defer cancel()
		if err := closeAll(ctx, before); err != nil {
			a.log.Warn("alerts were left when the configuration changed", "error", err)
		}
	})
	return nil
}

func closedContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// Observe takes in what was observed, and lets those be told who are to be. It waits
// for nobody.
func (a *Alerter) Observe(now time.Time, obs []Observation) []Alert {
	a.mu.Lock()
	defer a.mu.Unlock()
	alerts := a.engine.Step(now, obs)
	for i := range alerts {
		a.addLink(&alerts[i])
	}
	a.tell(now, alerts)
	if len(alerts) > 0 {
		a.remember()
	}
	return alerts
}

// tell hands alerts to all notifiers. The lock is held.
func (a *Alerter) tell(now time.Time, alerts []Alert) {
	active := a.active()
	for _, n := range a.notifiers {
		n.notify(now, alerts, active)
	}
}

// addLink adds the link to the moment from which the alert is.
func (a *Alerter) addLink(al *Alert) {
	if a.link != nil {
		al.Link = a.link(al)
	}
}

func (a *Alerter) active() []Alert {
	active := a.engine.Active()
	for i := range active {
		a.addLink(&active[i])
	}
	return active
}

// Active returns the alerts that fire, the most severe first.
func (a *Alerter) Active() []Alert {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.active()
}

// Rules returns the rules in force.
func (a *Alerter) Rules() []Rule {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.engine.Rules()
}

// Status says how telling goes, of each who is told.
func (a *Alerter) Status() []Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := []Status{}
	for _, n := range a.notifiers {
		out = append(out, n.status())
	}
	return out
}

// Close tells what is left to tell for as long as ctx lets it, and stops.
func (a *Alerter) Close(ctx context.Context) error {
	a.mu.Lock()
	all := a.notifiers
	a.mu.Unlock()
	err := closeAll(ctx, all)
	a.ending.Wait()
	return err
}

func closeAll(ctx context.Context, all []notifier) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, n := range all {
		wg.Go(func() { errs[i] = n.close(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// lines prints alerts, a line of JSON each.
type lines struct {
	mu  sync.Mutex
	out *json.Encoder
	st  Status
}

func (l *lines) notify(now time.Time, alerts, _ []Alert) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range alerts {
		if err := l.out.Encode(&alerts[i]); err != nil {
			l.st.failed(err, now)
			l.st.Dropped++
			continue
		}
		l.st.sent(1, now)
	}
}

func (l *lines) status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.st
	s.Name, s.Kind = "stdout", "stdout"
	return s
}

func (l *lines) close(context.Context) error { return nil }

func (s *Status) sent(n int, now time.Time) {
	s.Sent += uint64(n)
	if s.Error != "" || s.Since.IsZero() {
		s.Error, s.Since = "", now
	}
}

func (s *Status) failed(err error, now time.Time) {
	s.Failed++
	if s.Error == "" {
		s.Since = now
	}
	s.Error = err.Error()
}

// hostOf is the name of a destination that has none.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Host
}
