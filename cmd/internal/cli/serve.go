package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/agent"
	"github.com/heapwright/heapwright/cmd/internal/config"
	"github.com/heapwright/heapwright/cmd/internal/daemon"
	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/web/ui"
	"github.com/heapwright/heapwright/memlimit"
)

type serveOptions struct {
	config, listen, data, store string
	check, print                bool
}

func serveCommand() command {
	var opt serveOptions
	return command{
		use:   "serve",
		short: "watch all Go processes, for weeks: storage, alerts, web pages",
		long: `
Watches the Go processes of this machine as they come and go, and shows them to
a browser: what each does now and did in the last weeks, what is wrong with it,
its GC cycles, goroutines and heap profiles. No process is stopped, and none is
written to unless the configuration allows it.

Everything is in this one process: samples go to an embedded Prometheus database
below --data, which answers PromQL at the same address, so that Grafana can use
it. With a configuration file it tells Alertmanager or a webhook, and sends on
to servers that speak Prometheus remote write, OTLP or Pyroscope's protocol.

It listens on this machine only. Another address takes TLS and a token, or
client certificates; docs/SERVE.md says how. The file is read again on SIGHUP.

It sees the processes of its own user. To see those of others it needs root, or
the capabilities CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; the pages list what it
cannot see, and why.`,
		example: `
  heapwright serve
  heapwright serve --listen 127.0.0.1:9000 --data ./heapwright-data
  heapwright serve --config /etc/heapwright/serve.yaml
  heapwright serve --config serve.yaml --check-config
  heapwright serve --print-config > serve.yaml
  heapwright serve --store http://prometheus:9090   # show what is stored there`,
		args: exactly(0, "no arguments"),
		flags: func(f *pflag.FlagSet) {
			f.StringVarP(&opt.config, "config", "c", "", "the configuration `file` (docs/CONFIG.md)")
			f.StringVar(&opt.listen, "listen", "", "address to listen on (default "+config.DefaultListen+")")
			f.StringVar(&opt.data, "data", "", "directory for everything that is kept")
			f.StringVar(&opt.store, "store", "", "show what is stored at this `URL` of a Prometheus-compatible server, instead of the embedded store")
			f.BoolVar(&opt.check, "check-config", false, "say what is wrong with the configuration, and end")
			f.BoolVar(&opt.print, "print-config", false, "print a configuration with all defaults, explained, and end")
		},
		run: func(ctx context.Context, env Env, _ arguments) error { return serve(ctx, env, opt) },
	}
}

// load reads the file, and puts what the flags say into it.
func (o *serveOptions) load() (*config.File, error) {
	f := config.Default()
	if o.config != "" {
		var err error
		if f, err = config.Load(o.config); err != nil {
			return nil, err
		}
	}
	f.Listen = cmp.Or(o.listen, f.Listen)
	f.DataDir = cmp.Or(o.data, f.DataDir)
	f.Storage.URL = cmp.Or(o.store, f.Storage.URL)
	return f, nil
}

func serve(ctx context.Context, env Env, opt serveOptions) error {
	f, err := opt.load()
	if err != nil {
		return err
	}
	dir := cmp.Or(f.DataDir, config.StateDir(env.Getenv, os.Getuid()))
	switch {
	case opt.print:
		return config.Annotated(env.Stdout)
	case dir == "":
		return hinted(errors.New("there is no place for data"), "give one with --data DIR")
	case opt.check:
		if err := daemon.Check(f, dir); err != nil {
			return err
		}
		fmt.Fprintf(env.Stdout, "%s is fine; data goes to %s\n", cmp.Or(opt.config, "the default configuration"), dir)
		return nil
	}
	log := newLogger(env.Stderr, f.Log)
	reload := make(chan *config.File)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
			}
			f, err := opt.load()
			if err != nil {
				log.Error("the configuration stays as it was", "error", err.Error(), "hint", hintOf(err))
				continue
			}
			select {
			case <-ctx.Done():
				return
			case reload <- f:
			}
		}
	}()
	changes, err := serveChanges(ctx, env, f)
	if err != nil {
		return err
	}
	defer changes.close() // what was changed is put back
	defer ownAdvice(env, log)()
	return daemon.Run(ctx, daemon.Options{
		Changer: changes,
		File:    f,
		Dir:     dir, Host: agentHost{env.Host, goproc.NewWatch()}, Version: versionOf().Version, UI: ui.FS(), Logger: log, Reload: reload,
		Ready: func(url string) {
			fmt.Fprintf(env.Stdout, "heapwright serves %s\n", url)
			log.Info("data", "dir", dir)
		},
	})
}

// ownAdvice puts the agent under what Heapwright tells others: GOMEMLIMIT from the
// container, and a GOGC for a program whose heap is mostly what it keeps for hours, and
// which allocates little: a lower one costs it next to no CPU and saves a quarter of its
// memory. What the environment says goes before. It returns what ends it.
func ownAdvice(env Env, log *slog.Logger) func() {
	if env.Getenv("GOGC") == "" {
		debug.SetGCPercent(ownGOGC)
	}
	l, err := memlimit.Start(memlimit.Config{Logger: log, Reserve: ownReserve})
	if err != nil {
		log.Warn("GOMEMLIMIT stays as it is", "error", err.Error())
		return func() {}
	}
	return func() {
		if err := l.Close(); err != nil {
			log.Warn("GOMEMLIMIT", "error", err.Error())
		}
	}
}

const (
	ownGOGC = 50
	// The database maps its files; the kernel takes those pages back when it needs them.
	ownReserve = 16 << 20
)

// serveChanges makes the changes that operators ask for, where the file allows that.
func serveChanges(ctx context.Context, env Env, f *config.File) (*operatorChanges, error) {
	o := &operatorChanges{same: samePID, leases: map[int]*operatorLease{}}
	o.ctx, o.end = context.WithCancel(ctx)
	if !f.Access.AllowChanges {
		return o, nil
	}
	var err error
	o.changer, err = env.Changes()
	return o, err
}

func newLogger(w io.Writer, l config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		level = slog.LevelInfo
	}
	opt := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opt))
	}
	return slog.New(slog.NewTextHandler(w, opt))
}

// An agentHost is the Host as the agent wants it, which looks for processes all the time.
type agentHost struct {
	host  Host
	watch *goproc.Watch
}

func (h agentHost) Processes(ctx context.Context) ([]goproc.Entry, error) { return h.watch.Look(ctx) }

func (h agentHost) Attach(ctx context.Context, pid int) (agent.Source, error) {
	t, err := h.host.Attach(ctx, pid)
	if err != nil {
		return nil, err
	}
	src, ok := t.(agent.Source)
	if !ok {
		t.Close()
		return nil, fmt.Errorf("process %d cannot be watched", pid)
	}
	return src, nil
}
