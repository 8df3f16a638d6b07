package heapwrightcaddy

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/heapwright/heapwright/guard/shed"
)

const (
	// baseCost and bodyCost are what package shed takes a request to hold, without
	// its body, and of its body at the most.
	baseCost = 16 << 10
	bodyCost = 32 << 20

	defaultRetryAfter = 2 * time.Second
)

var defaultHealth = []string{"/healthz", "/readyz", "/livez", "/health"}

// Handler asks the guard whether a request may be served by the handlers after it, and
// else answers 503 with Retry-After. What was begun is never cut.
type Handler struct {
	// Classes say how much a request matters: the first that matches counts.
	Classes []Classification `json:"classes,omitempty"`
	// Class is that of all other requests. Default: normal.
	Class shed.Class `json:"class,omitempty"`
	// Health are the paths that are always served. Default: /healthz, /readyz, /livez
	// and /health.
	Health []string `json:"health,omitempty"`
	// RetryAfter is the shortest time that a client is told to stay away, and half the
	// longest. Default: 2s.
	RetryAfter caddy.Duration `json:"retry_after,omitempty"`
	// Cost is how many bytes a request holds while it is served, beside its body,
	// about. Default: 16 KiB.
	Cost int64 `json:"cost_bytes,omitempty"`

	gate       *shed.Gate
	retryAfter [][]string
}

// Classification is the class of the requests that one of the matcher sets matches.
type Classification struct {
	Class          shed.Class               `json:"class"`
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match" caddy:"namespace=http.matchers"`

	matchers caddyhttp.MatcherSets
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.heapwright_guard", New: func() caddy.Module { return new(Handler) }}
}

// Provision finds the guard and loads the matchers.
func (h *Handler) Provision(ctx caddy.Context) error {
	g, err := guardOf(ctx)
	if err != nil {
		return err
	}
	h.gate = g.Gate()
	return h.prepare(ctx)
}

// prepare is what of Provision needs no guard.
func (h *Handler) prepare(ctx caddy.Context) error {
	for i := range h.Classes {
		c := &h.Classes[i]
		if len(c.MatcherSetsRaw) == 0 {
			return fmt.Errorf("class %v (number %d) has no matchers; the class of all other requests is a setting of its own", c.Class, i+1)
		}
		matchers, err := ctx.LoadModule(c, "MatcherSetsRaw")
		if err != nil {
			return fmt.Errorf("loading matchers of class %v: %w", c.Class, err)
		}
		if err := c.matchers.FromInterface(matchers); err != nil {
			return err
		}
	}
	if h.Health == nil {
		h.Health = defaultHealth
	}
	if h.Cost < 0 || h.RetryAfter < 0 {
		return fmt.Errorf("cost and retry_after are not negative; they are %d bytes and %v", h.Cost, time.Duration(h.RetryAfter))
	}
	if h.Cost == 0 {
		h.Cost = baseCost
	}
	base := time.Duration(h.RetryAfter)
	if base == 0 {
		base = defaultRetryAfter
	}
	seconds := int64(min(base, 24*time.Hour)+time.Second-1) / int64(time.Second)
	for s := seconds; s <= 2*seconds; s += (seconds + 59) / 60 {
		h.retryAfter = append(h.retryAfter, []string{strconv.FormatInt(s, 10)})
	}
	return nil
}

func guardOf(ctx caddy.Context) (*process, error) {
	app, err := ctx.App("heapwright")
	if err != nil {
		return nil, err
	}
	return app.(*App).theGuard()
}

// The headers' values and the body are the same for all responses; nobody changes
// them in place.
var (
	contentType  = []string{"text/plain; charset=utf-8"}
	cacheControl = []string{"no-store"}
	busy         = []byte("503 service unavailable: too busy, try again later\n")
)

// ServeHTTP is caddyhttp.MiddlewareHandler. A refusal is no error: Caddy would log
// each of them, when there is least time for it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if slices.Contains(h.Health, r.URL.Path) {
		return next.ServeHTTP(w, r)
	}
	class, err := h.classOf(r)
	if err != nil {
		return err
	}
	ticket, ok := h.gate.Admit(class, h.Cost+min(max(r.ContentLength, 0), bodyCost))
	if !ok {
		header := w.Header()
		header["Retry-After"] = h.retryAfter[rand.IntN(len(h.retryAfter))]
		header["Content-Type"] = contentType
		header["Cache-Control"] = cacheControl
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write(busy) // a client that has gone away needs no answer
		return nil
	}
	defer ticket.Done()
	return next.ServeHTTP(w, r)
}

func (h *Handler) classOf(r *http.Request) (shed.Class, error) {
	for i := range h.Classes {
		matched, err := h.Classes[i].matchers.AnyMatchWithError(r)
		if err != nil {
			return 0, err
		}
		if matched {
			return h.Classes[i].Class, nil
		}
	}
	return h.Class, nil
}

// Ready answers 200 while the guard would have the service be sent requests, else
// 503: for the health checks of a load balancer.
type Ready struct{ handler http.Handler }

// CaddyModule returns the Caddy module information.
func (Ready) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.heapwright_ready", New: func() caddy.Module { return new(Ready) }}
}

// Provision finds the guard.
func (h *Ready) Provision(ctx caddy.Context) error {
	g, err := guardOf(ctx)
	if err != nil {
		return err
	}
	h.handler = g.ReadyHandler()
	return nil
}

// ServeHTTP is caddyhttp.MiddlewareHandler.
func (h *Ready) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	h.handler.ServeHTTP(w, r)
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddy.Provisioner           = (*Ready)(nil)
	_ caddyhttp.MiddlewareHandler = (*Ready)(nil)
)
