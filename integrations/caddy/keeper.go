package heapwrightcaddy

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/exp/zapslog"

	"github.com/heapwright/heapwright/guard"
	"github.com/heapwright/heapwright/memlimit"
	"github.com/heapwright/heapwright/metric"
)

// A keeper has the one memory limit of the process, for the configs that run. While
// one is replaced there are two, and if the new one fails the old one goes on. So
// the newest that runs decides, and when it ends, the one before it does.
type keeper struct {
	mu     sync.Mutex
	owners []owner
	conf   *memlimit.Config // of limit; nil: there is none
	limit  atomic.Pointer[memlimit.Limit]
	ours   bool // limit is to be closed: we started it
}

type owner struct {
	app  *App
	conf *memlimit.Config
}

var theKeeper = &keeper{}

func (k *keeper) take(app *App, conf *memlimit.Config) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.owners = append(k.owners, owner{app, conf})
	err := k.settle()
	if err != nil {
		k.owners = k.owners[:len(k.owners)-1]
		err = errors.Join(err, k.settle())
	}
	return err
}

func (k *keeper) giveBack(app *App) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.owners = slices.DeleteFunc(k.owners, func(o owner) bool { return o.app == app })
	return k.settle()
}

// settle has the limit that the newest config wants. With mu.
func (k *keeper) settle() error {
	var want *memlimit.Config
	if n := len(k.owners); n > 0 {
		want = k.owners[n-1].conf
	}
	if reflect.DeepEqual(want, k.conf) {
		return nil
	}
	old := k.limit.Swap(nil)
	k.conf = nil
	if old != nil && k.ours {
		// The settings are restored in any case. What has not returned is most likely the
		// log, for which neither a reload fails nor this line waits.
		if err := old.Close(); err != nil {
			go logger.Warn("the memory limit of the config before was given back, but has not ended", "error", err)
		}
	}
	if want == nil {
		return nil
	}
	l, err := memlimit.Start(*want)
	k.ours = err == nil
	if errors.Is(err, memlimit.ErrRunning) {
		// Another part of this build of Caddy, such as memlimit/auto, was first.
		if l = memlimit.Current(); l != nil {
			logger.Warn("the memory limit is kept by another part of this program; the settings of the app heapwright are not used")
			err = nil
		}
	}
	if err != nil {
		return err
	}
	k.limit.Store(l)
	k.conf = want
	return nil
}

func (k *keeper) current() *memlimit.Limit { return k.limit.Load() }

// parts are the guard and the memory limit of the config that runs; nil for none.
func (k *keeper) parts() (g *guard.Guard, l *memlimit.Limit) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := len(k.owners); n > 0 {
		app := k.owners[n-1].app
		app.mu.Lock()
		defer app.mu.Unlock()
		if app.guard != nil {
			g = app.guard.Guard
		}
	}
	return g, k.current()
}

// Metrics emits those of the config that runs, whoever asks: when a config fails, the
// admin API goes on with that config's registry.
func (k *keeper) Metrics(emit func(metric.Metric)) {
	g, l := k.parts()
	if l != nil {
		l.Metrics(emit)
	}
	if g != nil {
		g.Metrics(emit)
	}
}

// limitBytes is the limit where the guard cannot see it by itself: it was given.
func (k *keeper) limitBytes() uint64 {
	l := k.current()
	if l == nil {
		return 0
	}
	switch r := l.Report(); r.Source {
	case memlimit.SourceConfig, memlimit.SourceFile, memlimit.SourceEnvironment:
		return r.LimitBytes
	}
	return 0
}

// logger writes to Caddy's log as it is configured when the line is written: what it
// is given to lives longer than a config.
var logger = slog.New(&logHandler{with: func(h slog.Handler) slog.Handler { return h }})

type logHandler struct {
	with func(slog.Handler) slog.Handler // adds attributes and groups
}

func (*logHandler) now() slog.Handler {
	// Without stack traces: these lines come from one place.
	return zapslog.NewHandler(caddy.Log().Core(), zapslog.WithName("heapwright"), zapslog.AddStacktraceAt(slog.Level(127)))
}

func (h *logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.now().Enabled(ctx, level)
}

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.with(h.now()).Handle(ctx, r)
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{func(to slog.Handler) slog.Handler { return h.with(to).WithAttrs(attrs) }}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{func(to slog.Handler) slog.Handler { return h.with(to).WithGroup(name) }}
}
