// Package daemon puts the agent together as heapwright serve runs it: opens what is
// kept, starts what watches, tells and serves, in an order in which nothing is missed, and
// ends it in the opposite one. It decides nothing.
package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/agent"
	"github.com/heapwright/heapwright/cmd/internal/alert"
	"github.com/heapwright/heapwright/cmd/internal/blackbox"
	"github.com/heapwright/heapwright/cmd/internal/config"
	"github.com/heapwright/heapwright/cmd/internal/exposition"
	"github.com/heapwright/heapwright/cmd/internal/forward"
	"github.com/heapwright/heapwright/cmd/internal/history"
	"github.com/heapwright/heapwright/cmd/internal/series"
	"github.com/heapwright/heapwright/cmd/internal/store"
	"github.com/heapwright/heapwright/cmd/internal/vault"
	"github.com/heapwright/heapwright/cmd/internal/web"
	"github.com/heapwright/heapwright/cmd/internal/web/api"
)

// Options say what is run.
type Options struct {
	File    *config.File
	Dir     string // for everything that is kept
	Host    agent.Host
	Version string
	UI      fs.FS
	Logger  *slog.Logger
	// Reload delivers files that were read anew; nil for none.
	Reload <-chan *config.File
	// Changer makes the changes of operators, where the file allows them; nil for none.
	Changer api.Changer
	// Ready is called once the server listens, with its URL.
	Ready func(url string)
}

// A daemon is what runs.
type daemon struct {
	opt     Options
	host    string
	store   *store.DB
	reader  store.Reader
	vault   *vault.Vault
	history *history.History
	alerts  *alert.Alerter
	forward *forward.Forwarder
	agent   *agent.Agent
	server  *web.Server
	box     *blackbox.Watcher // nil for none
	deaths  *deaths
	// discovery is what the black box selects by; it changes when the file is read anew.
	discovery atomic.Pointer[config.Discovery]
	// base is where links in alerts begin; nil until the server listens.
	base     atomic.Pointer[string]
	closings []func(context.Context) error
}

// queries bounds what those who may read can make the agent hold in memory: 160 MB for
// each processor, which a question may be parted among, and each of three questions. The
// rest waits.
var queries = store.QueryOptions{MaxSamples: 10_000_000, Concurrent: 3, Wait: 30 * time.Second}

// shutdown is how long what is under way may take to end.
const shutdown = 10 * time.Second

// Run runs the agent until the context ends.
func Run(ctx context.Context, opt Options) (err error) {
	d := &daemon{opt: opt}
	if d.host, err = os.Hostname(); err != nil {
		return fmt.Errorf("naming this machine: %w", err)
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdown)
		defer cancel()
		for i := len(d.closings) - 1; i >= 0; i-- {
			err = errors.Join(err, d.closings[i](last))
		}
	}()
	if err := d.open(); err != nil {
		return err
	}
	return d.run(ctx)
}

// atEnd adds what is to be done when everything ends, the last first.
func (d *daemon) atEnd(f func(context.Context) error) { d.closings = append(d.closings, f) }

func (d *daemon) open() (err error) {
	f := d.opt.File
	if err := os.MkdirAll(d.opt.Dir, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	d.store, err = store.Open(store.Options{
		Dir: filepath.Join(d.opt.Dir, "tsdb"), Retention: f.Storage.Retention, MaxBytes: int64(f.Storage.MaxBytes),
		External: d.labels(), Logger: slog.New(quiet{d.opt.Logger.Handler()}), Query: queries,
	})
	if err != nil {
		return err
	}
	d.atEnd(func(context.Context) error { return d.store.Close() })
	if d.reader, err = d.openReader(); err != nil {
		return err
	}
	d.vault, err = vault.Open(vault.Options{
		Dir: filepath.Join(d.opt.Dir, "snapshots"), MaxBytes: int64(f.Snapshots.MaxBytes), PerProcess: int64(f.Snapshots.PerProcess), MaxAge: f.Snapshots.MaxAge,
	})
	if err != nil {
		return err
	}
	d.atEnd(func(context.Context) error { return d.vault.Close() })
	if d.history, err = history.Open(filepath.Join(d.opt.Dir, "history"), int64(f.History.MaxBytes)); err != nil {
		return err
	}
	d.atEnd(func(context.Context) error { return d.history.Close() })
	d.agent, err = agent.New(agent.Options{
		Host: d.opt.Host, Store: d.store, Vault: d.vault, History: d.history, Dir: d.opt.Dir, Logger: d.opt.Logger,
		Settings: settings(f), Observe: d.observe,
	})
	if err != nil {
		return err
	}
	if err := d.openBlackBox(); err != nil {
		return err
	}
	if err := d.tell(f); err != nil {
		return err
	}
	if d.server, err = d.newServer(); err != nil {
		return err
	}
	base := strings.TrimSuffix(cmp.Or(d.opt.File.ExternalURL, d.server.URL()), "/")
	d.base.Store(&base)
	if err := d.alerts.Remember(filepath.Join(d.opt.Dir, "alerts.json"), time.Now()); err != nil {
		d.opt.Logger.Warn("alerts of before the start may never be said to have ended", "error", err.Error())
	}
	return nil
}

// tell starts what tells others: alerts, and samples sent on.
func (d *daemon) tell(f *config.File) error {
	var err error
	if d.alerts, err = alert.Start(f.Alerts, d.alertLink, d.opt.Logger); err != nil {
		return err
	}
	d.atEnd(d.alerts.Close)
	if f.Forward.Empty() {
		return nil
	}
	d.forward, err = forward.Start(f.Forward, filepath.Join(d.opt.Dir, "forward"), d.store, d.vault, d.opt.Logger)
	if err != nil {
		return err
	}
	d.atEnd(d.forward.Close)
	return nil
}

func (d *daemon) labels() []series.Label {
	return []series.Label{{Name: "instance", Value: d.host}, {Name: "job", Value: "heapwright"}}
}

func (d *daemon) openReader() (store.Reader, error) {
	s := d.opt.File.Storage
	if s.URL == "" {
		return d.store.Reader(), nil
	}
	var opt store.DialOptions
	if s.TokenFile != "" {
		token, err := os.ReadFile(s.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("reading the token for the store: %w", err)
		}
		opt.Token = strings.TrimSpace(string(token))
	}
	return store.Dial(s.URL, opt)
}

func settings(f *config.File) agent.Settings {
	return agent.Settings{
		Discover: f.Discovery.Interval, Include: f.Discovery.Include, Exclude: f.Discovery.Exclude,
		MinUptime: f.Discovery.MinUptime, MaxProcesses: f.Discovery.MaxProcesses,
		Pace:     agent.Pace{Interval: f.Sampling.Interval, Fastest: f.Sampling.Fastest, Slowest: f.Sampling.Slowest, Adaptive: f.Sampling.Adaptive},
		Diagnose: f.Diagnose.Interval, Window: f.Diagnose.Window, Snapshots: f.Snapshots.Interval,
	}
}

// newServer listens before anything is watched: that the port is taken is to be known
// at once.
func (d *daemon) newServer() (*web.Server, error) {
	opt := webOptions(d.opt.File, d.opt.Dir)
	opt.UI, opt.API, opt.Metrics = d.opt.UI, api.Handler(d.sources()), exposition.Handler(d.opt.Version, d.agent, d.store.Stats, d.boxStats())
	opt.Store, opt.Live, opt.Ready, opt.Logger = d.reader, live{d.agent}, d.ready, d.opt.Logger
	opt.Rules = d.rules
	return web.New(opt)
}

func webOptions(f *config.File, dir string) web.Options {
	return web.Options{
		Listen: f.Listen, ExternalURL: f.ExternalURL, AllowedHosts: f.Access.AllowedHosts,
		TLS:             web.TLS{CertFile: f.TLS.CertFile, KeyFile: f.TLS.KeyFile, ClientCAFile: f.TLS.ClientCAFile, Readers: f.Access.Readers, Operators: f.Access.Operators},
		ReaderTokenFile: f.Access.ReaderTokenFile, OperatorTokenFile: f.Access.OperatorTokenFile,
		LoopbackOperator: f.Access.LoopbackOperator, AllowChanges: f.Access.AllowChanges, AuditFile: filepath.Join(dir, "audit.log"),
	}
}

func (d *daemon) sources() api.Sources {
	f := d.opt.File
	src := api.Sources{
		Agent: d.agent, Store: d.reader, Vault: d.vault, History: d.history, Labels: d.labels(),
		SampleInterval: f.Sampling.Slowest, SnapshotInterval: f.Snapshots.Interval,
		Experiments: append([]string{filepath.Join(d.opt.Dir, "experiments")}, f.Experiments.Dirs...),
		Version:     d.opt.Version, Host: d.host, StoreURL: f.Storage.URL,
		Alerts: d.alerts,
	}
	if f.Storage.URL == "" {
		src.Embedded = d.store
	}
	if d.forward != nil {
		src.Forward = d.forward
	}
	src.Postmortems = d.oomDir()
	if d.box != nil {
		src.BlackBox = d.box
	}
	if f.Access.AllowChanges {
		src.Changer = d.opt.Changer
	}
	return src
}

func (d *daemon) ready() error {
	if d.agent.Status().Discovered.IsZero() {
		return errors.New("the first look for processes is not done")
	}
	return nil
}

// run serves and watches until the context ends or one of the two fails.
func (d *daemon) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	parts := []func(context.Context) error{d.server.Run, d.agent.Run, d.reload}
	if d.box != nil {
		parts = append(parts, d.box.Run)
	}
	failed := make(chan error, len(parts))
	for _, part := range parts {
		go func() { failed <- part(ctx) }()
	}
	if d.opt.Ready != nil {
		d.opt.Ready(d.server.URL())
	}
	var all error
	for range parts {
		if err := <-failed; err != nil {
			all = errors.Join(all, err)
			cancel(err)
		}
		if ctx.Err() == nil {
			cancel(nil) // one part has ended by itself, and so do the others
		}
	}
	return all
}

// reload takes over what can be of a file that was read anew, and says what cannot.
func (d *daemon) reload(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-d.opt.Reload:
			d.reconfigure(f)
		}
	}
}

func (d *daemon) reconfigure(f *config.File) {
	changes := config.Diff(d.opt.File, f)
	if len(changes) == 0 {
		d.opt.Logger.Info("the configuration has not changed")
		return
	}
	for _, c := range changes {
		if c.Restart {
			d.opt.Logger.Warn("takes a restart", "key", c.Key, "from", c.Old, "to", c.New)
		} else {
			d.opt.Logger.Info("changed", "key", c.Key, "from", c.Old, "to", c.New)
		}
	}
	d.agent.Reconfigure(settings(f))
	d.discovery.Store(&f.Discovery)
	if err := d.alerts.Reconfigure(f.Alerts); err != nil {
		d.opt.Logger.Error("the alerts stay as they were", "error", err.Error())
		f.Alerts = d.opt.File.Alerts
	}
	d.opt.File = f // of this goroutine alone, once everything runs
}

// link is where the UI shows a process at a moment.
func (d *daemon) link(process string, at time.Time) string {
	q := url.Values{"from": {at.Add(-30 * time.Minute).UTC().Format(time.RFC3339)}, "to": {at.Add(5 * time.Minute).UTC().Format(time.RFC3339)}}
	path := "/ui/process/" + url.PathEscape(process) + "?" + q.Encode()
	if base := d.base.Load(); base != nil {
		return *base + path
	}
	return path
}

// Check says what is wrong with a configuration that config cannot see: addresses, and
// files that it names.
func Check(f *config.File, dir string) error {
	return web.Check(webOptions(f, dir))
}

// quiet is a log in which the database says at level debug what it says at info: it
// speaks to who develops it.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return q.Handler.Enabled(ctx, lower(l))
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = lower(r.Level)
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(as []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(as)} }
func (q quiet) WithGroup(name string) slog.Handler    { return quiet{q.Handler.WithGroup(name)} }

func lower(l slog.Level) slog.Level {
	if l == slog.LevelInfo {
		return slog.LevelDebug
	}
	return l
}
