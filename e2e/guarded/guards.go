package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	automemlimit "github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/zeromicro/go-zero/core/load"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensionmiddleware"
	"go.opentelemetry.io/collector/extension/memorylimiterextension"
	"go.uber.org/zap"

	heapwrightguard "github.com/heapwright/heapwright/guard"
	"github.com/heapwright/heapwright/memlimit"
)

// A guard is the service's handler with what protects it in front.
type guard struct {
	handler http.Handler
	status  func() any // nil where it says nothing
	close   func()

	ours  *heapwrightguard.Guard // nil for the others, as is limit
	limit *memlimit.Limit
}

// guards are made with what their own documentation recommends. docs/GUARD.md has
// the list of their settings.
var guards = map[string]func(next http.Handler) (guard, error){
	"plain":        func(next http.Handler) (guard, error) { return guard{handler: next}, nil },
	"automemlimit": autoMemLimit,
	"otel":         otel,
	"gozero":       goZero,
	"failsafe":     failsafe,
	"failsafe+automemlimit": func(next http.Handler) (guard, error) {
		return both(next, failsafe)
	},
	"heapwright": heapwright,
	"gozero+automemlimit": func(next http.Handler) (guard, error) {
		return both(next, goZero)
	},
}

func guardNames() []string { return slices.Sorted(maps.Keys(guards)) }

func newGuard(name string, next http.Handler) (guard, error) {
	make, ok := guards[name]
	if !ok {
		return guard{}, fmt.Errorf("there is no such guard; there are %v", guardNames())
	}
	g, err := make(next)
	if g.close == nil {
		g.close = func() {}
	}
	return g, err
}

func (g guard) serveStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	var doc any
	if g.status != nil {
		doc = g.status()
	}
	if err := json.NewEncoder(w).Encode(doc); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// ready says whether requests should be sent.
func (g guard) ready() http.Handler {
	if g.ours != nil {
		return g.ours.ReadyHandler()
	}
	return http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
}

// autoMemLimit is automemlimit as its README has it: nine tenths of the cgroup's
// limit.
func autoMemLimit(next http.Handler) (guard, error) {
	_, err := automemlimit.Set(automemlimit.WithRatio(0.9), automemlimit.WithProvider(automemlimit.FromCgroup))
	return guard{handler: next}, err
}

// both is a guard and automemlimit.
func both(next http.Handler, make func(http.Handler) (guard, error)) (guard, error) {
	g, err := make(next)
	if err != nil {
		return g, err
	}
	_, err = autoMemLimit(next)
	return g, err
}

// otel is the memory limiter of OpenTelemetry's collector, in the form of its
// extension that is HTTP middleware: checked every second, a limit of 80% of the
// cgroup's and a spike of a fifth of that, which is its default and what its README
// begins with, and GOMEMLIMIT at 80%.
func otel(next http.Handler) (guard, error) {
	limit, err := automemlimit.FromCgroup()
	if err != nil {
		return guard{}, err
	}
	debug.SetMemoryLimit(int64(limit / 100 * 80))
	factory := memorylimiterextension.NewFactory()
	cfg := factory.CreateDefaultConfig().(*memorylimiterextension.Config)
	cfg.CheckInterval = time.Second
	cfg.MemoryLimitPercentage = 80
	if err := cfg.Validate(); err != nil {
		return guard{}, err
	}
	ctx := context.Background()
	settings := extension.Settings{
		ID:                component.NewID(factory.Type()),
		TelemetrySettings: componenttest.NewNopTelemetrySettings(),
	}
	settings.TelemetrySettings.Logger = zap.NewNop()
	ext, err := factory.Create(ctx, settings, cfg)
	if err != nil {
		return guard{}, err
	}
	middleware, ok := ext.(extensionmiddleware.HTTPServer)
	if !ok {
		return guard{}, errors.New("the extension is not HTTP middleware")
	}
	wrap, err := middleware.GetHTTPHandler(ctx)
	if err != nil {
		return guard{}, err
	}
	h, err := wrap(ctx, next)
	if err != nil {
		return guard{}, err
	}
	if err := ext.Start(ctx, componenttest.NewNopHost()); err != nil {
		return guard{}, err
	}
	return guard{handler: h, close: func() { _ = ext.Shutdown(ctx) }}, nil
}

// goZero is go-zero's adaptive shedder with the threshold that its REST server sets,
// called as its middleware calls it.
func goZero(next http.Handler) (guard, error) {
	shedder := load.NewAdaptiveShedder(load.WithCpuThreshold(900))
	return guard{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		promise, err := shedder.Allow()
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		defer promise.Pass()
		next.ServeHTTP(w, r)
	})}, nil
}

// failsafe is failsafe-go's adaptive limiter with its defaults, as its middleware.
func failsafe(next http.Handler) (guard, error) {
	limiter := adaptivelimiter.NewWithDefaults[*http.Response]()
	return guard{handler: failsafehttp.NewHandler(next, limiter)}, nil
}

// heapwright is memlimit and guard with their defaults.
func heapwright(next http.Handler) (guard, error) {
	limit, err := memlimit.Start(memlimit.Config{})
	if err != nil {
		return guard{}, err
	}
	g, err := heapwrightguard.Start(heapwrightguard.Config{})
	if err != nil {
		return guard{}, errors.Join(err, limit.Close())
	}
	return guard{
		handler: g.Handler(next),
		status: func() any {
			return map[string]any{"guard": g.Status(), "memlimit": limit.Report()}
		},
		close: func() { _ = errors.Join(g.Close(), limit.Close()) },
		ours:  g,
		limit: limit,
	}, nil
}
